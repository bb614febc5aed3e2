"""What a change in few numbers costs to fit, and whether its terms hang on which wells were fitted on.

    python benchmarks/few_numbers.py DATA [--effect blur] [--seed 0] [--scenes validation] [--subsets 4]
        [--slow]

A known change is planted into half of the groups of a data set (wells). For both directions the change of
the planted channel, with all others locked, is fitted on the benchmark's training tiles, on all groups and on
random four fifths of them. Processor seconds, terms, logarithm of the evidence, misfit (squared
distance left between the moments, per degree of freedom) and the relative error of the
true change on tiles of other groups are printed; 1 is what doing nothing has. *chance* is the relative error, in the
mean, of changes with the same terms whose coefficients are drawn from what the groups leave open about them: what groups
that differ by chance alone would cost, if these terms, and the prior that holds them near no change, were right. --slow fits
every term to the end, with slopes of all images, beside it.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from napari_why import Dataset
from napari_why.benchmark import PlantedData, PlantedProtocol
from napari_why.benchmark.scores import change_scores
from napari_why.datasets import Preprocessing
from napari_why.simulation import PlantOptions
from napari_why.transport.channel_change import TERMS, ChannelChange
from napari_why.transport.parametric_map import ParametricMap, fit_channel

# Of the groups of each class: those that are left out are what a jackknife by fifths leaves out.
KEPT = 0.8
# Of what the groups leave open: of one coefficient, their mean error is known to a twelfth.
DRAWS = 80


class Tiles:
    """Preprocessed training tiles and groups of each class, and tiles whose true change is known."""

    def __init__(self, data: PlantedData) -> None:
        train = data.dataset.part("train")
        self.data = data
        self.preprocessing = Preprocessing.from_dataset(train, size=data.protocol.options.tile)
        self.images, self.groups = {}, {}
        labels, groups = np.array([train.classes[label] for label in train.labels]), train.groups
        order = np.random.default_rng(0).permutation(len(labels))
        for name in train.classes:
            rows = [row for row in order if labels[row] == name]
            self.images[name] = torch.stack(
                [self.preprocessing(train.image(row)).float() for row in rows]
            )
            self.groups[name] = torch.tensor(groups[rows])

    def keep(self, name: str, rng: np.random.Generator | None) -> tuple[torch.Tensor, torch.Tensor]:
        """Return images and groups of a class, of random four fifths of the groups."""
        images, groups = self.images[name], self.groups[name]
        names = torch.unique(groups)
        if rng is None:
            return images, groups
        kept = names[rng.permutation(len(names))[: round(KEPT * len(names))]]
        chosen = torch.isin(groups, kept)
        return images[chosen], groups[chosen]

    def score(self, change: ChannelChange, place: int) -> float:
        """Return the relative error of a change on unseen tiles."""
        return self._error(self._move(change, place), place)

    def chance(self, change: ChannelChange, place: int) -> float:
        """Return the mean relative error, beside the change itself, of what is drawn about it."""
        # a map is drawn the wider the worse it fits, which is not chance
        fitted = ParametricMap((replace(change, misfit=1.0),))
        generator = torch.Generator().manual_seed(0)
        moved, truth = self._move(change, place), self._truth(place)
        drawn = [fitted.draw(generator).changes[0] for _ in range(DRAWS)]
        errors = [self._error(truth + self._move(one, place) - moved, place) for one in drawn]
        return float(np.mean(errors))

    def _error(self, moved: NDArray[np.float64], place: int) -> float:
        return change_scores(moved, self._truth(place), self.data.affected).relative_error

    def _truth(self, place: int) -> NDArray[np.float64]:
        std = np.asarray(self.preprocessing.std)[:, None, None]
        truth: NDArray[np.float64] = self.data.directions[place].truth / std
        return truth

    def _move(self, change: ChannelChange, place: int) -> NDArray[np.float64]:
        """Return what a change does to unseen tiles (N, C, H, W), standardised."""
        mean, std = (
            np.asarray(part)[:, None, None]
            for part in (self.preprocessing.mean, self.preprocessing.std)
        )
        images = torch.tensor((self.data.directions[place].images - mean) / std).float()
        moved: NDArray[np.float64] = np.zeros(images.shape)
        moved[:, change.channel] = (change(images) - images[:, change.channel]).numpy()
        return moved


def main() -> None:
    """Fit and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument(
        "--effect", default="blur", help="a direction: blur, swelling, dimming, ..."
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scenes", choices=("validation", "test"), default="validation")
    parser.add_argument("--subsets", type=int, default=4, help="random four fifths of the groups")
    parser.add_argument("--slow", action="store_true", help="every term to the end, too")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    protocol = PlantedProtocol(scenes=chosen.scenes, options=PlantOptions(tile=64))
    data = PlantedData(Dataset.open(chosen.data), chosen.effect, chosen.seed, protocol)
    tiles, channel = Tiles(data), data.affected[0]
    locked = [place for place in range(len(data.dataset.channels)) if place != channel]
    forms = {"fast": {}} | (
        {"slow": {"fitted": len(TERMS), "slope_images": 10**6}} if chosen.slow else {}
    )
    print(
        "direction | groups | form | seconds | terms | evidence | misfit | relative error | chance"
    )
    for place, direction in enumerate(data.directions):
        for subset in range(chosen.subsets + 1):
            rng = np.random.default_rng(subset) if subset else None
            pairs = [tiles.keep(name, rng) for name in (direction.source, direction.target)]
            for form, settings in forms.items():
                before = time.process_time()
                found = fit_channel(
                    pairs[0][0],
                    pairs[1][0],
                    channel,
                    locked,
                    groups=(pairs[0][1], pairs[1][1]),
                    **settings,
                )
                print(
                    f"{direction.name} | {'all' if rng is None else f'subset {subset}'} | {form} | "
                    f"{time.process_time() - before:.1f} | {', '.join(found.terms) or 'none'} | "
                    f"{found.evidence:.1f} | {found.misfit:.2f} | {tiles.score(found, place):.3f} | "
                    f"{tiles.chance(found, place):.3f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
