"""Do counterfactuals of networks that make no images flip, through an invertible one? On real images.

    python benchmarks/through_generator.py --out FOLDER [--data bbbc013-translocation leigh-ds-tt]
        [--networks cam_net resnext50 own_module] [--size 64] [--tile 128] [--images 40]
        [--epochs 12] [--judge-epochs 20] [--set-epochs resnext50=4]
        [--set-size resnext50=32] [--seed 0] [--wells 60] [--no-pixel-maps] [--change latent]
        [--choose-again]

The generator, an `iresnet`, is trained along with the first network (``why.fit(..., generator="iresnet")``)
and makes the images for all; its own head is the last row. Split by well; `own_module` is a torch module with
functional operations behind ``why.networks.wrap``. `resnext50` starts from random weights. BBBC013 is cut into
tiles (its ends of the scale, inactive and active), leigh-ds-tt is taken as whole fields.

Printed for each network and direction, of test images that it calls by their class: the share whose class
flips at the complete change, as exported; how many of these an outside judge (a plain network that nothing
was chosen by) calls the target; p(target) before and after, median; what the judge and the network itself get
right of the test images. *real alike*: of each changed image's five real images of the target, of validation and
test wells, that are most like it in the mean of every channel (mostly how many cells there are, and how bright),
the share that the network calls the target: what a true change would flip, as far as the means tell. What lies in FOLDER is not trained again. `--wells` takes that many wells of each
class, `--no-pixel-maps` leaves out of the generator what takes longest to fit: transport of latents is left.
`--change` makes another kind of change than the chosen one; nothing is trained again for it. `--choose-again`
lets the generator in FOLDER, its maps as they are, choose by today's rule.
"""

import argparse
import os
import sys
import time
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from imbalance import take_wells
from localisation import tiles
from numpy.typing import NDArray
from torch import Tensor, nn

import napari_why as why
from napari_why.benchmark.ceilings import classify_images
from napari_why.benchmark.rows import train_reference_classifier
from napari_why.core.events import StopRequest, ignore_event, never_cancelled
from napari_why.datasets import Dataset
from napari_why.fitting.after_training import AfterTraining
from napari_why.fitting.left_out import LeftOut
from napari_why.model import Classifier
from napari_why.networks import register_network, wrap
from napari_why.networks.modules import Size
from napari_why.networks.wrapped import WrappedNetwork
from napari_why.training import TrainingOptions, examples_of
from napari_why.transport.maps import ChangeKind

GENERATOR = "iresnet"
HEAD = f"{GENERATOR} (itself)"
TILED = "bbbc013-translocation"
# Few enough to be alike, of the hundred or so of a class that nothing was fitted on.
MOST_ALIKE = 5
DATA = Path(os.environ.get("NAPARI_WHY_DATA", "../shared/data"))


class OwnModule(nn.Module):
    """Three residual stages as a user may write them: plain functions, a sum in place."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        widths = (channels, 16, 32, 64)
        self.enter = nn.ModuleList(
            nn.Conv2d(before, after, 3, 2, 1) for before, after in pairwise(widths)
        )
        self.inner = nn.ModuleList(nn.Conv2d(width, width, 3, 1, 1) for width in widths[1:])
        self.norms = nn.ModuleList(nn.GroupNorm(8, width) for width in widths[1:])

    def forward(self, images: Tensor) -> Tensor:
        """Return maps of an eighth of the side."""
        maps = images
        for enter, inner, norm in zip(self.enter, self.inner, self.norms, strict=True):
            maps = nn.functional.relu(enter(maps))
            maps = maps + norm(inner(maps))
        return torch.relu(maps)


@register_network(title="A module of one's own", source="benchmark")
def own_module(
    *, input_channels: int, classes: int, size: Size, frozen: bool = False
) -> WrappedNetwork:
    """Wrap it."""
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, classes))
    network = wrap(
        OwnModule(input_channels),
        head,
        input_channels=input_channels,
        classes=classes,
        name="own_module",
        size=size,
    )
    if frozen:
        network.freeze()
    return network


@dataclass(frozen=True)
class Judged:
    """One counterfactual: what the network said before and after, and the judge after.

    ``alike`` is the share of real images of the target as bright as the changed one that the network calls so.
    """

    valid: bool
    believed: bool
    before: float
    after: float
    alike: float


class Alike:
    """Real images of the target class: the mean of every channel, and which the network calls by their class."""

    def __init__(
        self, classifier: Classifier, generator: Classifier, parts: list[Dataset], target: str
    ) -> None:
        self._generator = generator
        images = [
            part.image(number)
            for part in parts
            for number in np.flatnonzero(part.table["label"] == target)
        ]
        self._means = np.array([self._mean(image) for image in images])
        self._called = np.array([classifier.predict(image).label == target for image in images])

    def _mean(self, image: Any) -> NDArray[np.float64]:
        shown = self._generator.prepare_pixels(np.asarray(image)[None])[0]
        return shown.mean((1, 2)).double().cpu().numpy()

    def share(self, image: Any) -> float:
        """Return the share of the five that are most like an image that the network calls the target."""
        distance = np.square(self._means - self._mean(image)).sum(1)
        return float(self._called[np.argsort(distance, kind="stable")[:MOST_ALIKE]].mean())


def main() -> None:
    """Fit what is not there, change, print."""
    options = arguments()
    write(
        "| data | network | right on test images | direction | images | flips | real alike | judge agrees "
        "| p(target) before | p(target) after |\n" + "|---" * 10 + "|"
    )
    for name in options.data:
        dataset = take_wells(opened(name, options.tile), options.wells).split(seed=options.seed)
        fitted = fit_all(name, dataset, options)
        generator = fitted[options.networks[0]].generator
        assert generator is not None  # a generator that fails is told by the fit
        if options.choose_again:
            generator = choose_again(generator, dataset, options)
        judge = train_reference_classifier(
            dataset,
            generator.preprocessing,
            size=options.size,
            seed=options.seed,
            epochs=options.judge_epochs,
        )
        test = dataset.part("test")
        real = [dataset.part("validation"), test]
        known = right(judge, test)
        note(
            f"{name}: {len(dataset)} images, {len(test)} of test wells; judge right on {known:.1%}"
        )
        choices(generator)
        for network, classifier in {**fitted, HEAD: generator}.items():
            named = f"| {name} | {network} | {right(classifier, test):.3f} |"
            for direction in (dataset.classes, dataset.classes[::-1]):
                found = sources(classifier, test, direction[0], options.images, options.seed)
                alike = Alike(classifier, generator, real, direction[1])
                judged = [
                    change(classifier, generator, judge, alike, image, direction[1], options.change)
                    for image in found
                ]
                write(f"{named} {' to '.join(direction)} | {figures(judged)} |")


def opened(name: str, tile: int) -> Dataset:
    """Open a data set; fields of BBBC013 are large and few, and are cut."""
    if name == TILED:
        return tiles(Dataset.open(DATA / name, label="class3"), tile)
    return Dataset.open(DATA / name)


def fit_all(name: str, dataset: Dataset, options: argparse.Namespace) -> dict[str, Classifier]:
    """Return the explained classifiers; the first has the generator."""
    found = {}
    epochs, sizes = (
        dict(text.split("=") for text in given) for given in (options.set_epochs, options.set_size)
    )
    for number, network in enumerate(options.networks):
        place = options.out / f"{name}-{network}-{options.size}-{options.seed}"
        if not place.exists():
            start = time.perf_counter()
            more: dict[str, Any] = {"generator": GENERATOR} if number == 0 else {}
            if network == "resnext50":
                more["network_parameters"] = {"weights": "random"}
            classifier = why.fit(
                dataset,
                network,
                size=int(sizes.get(network, options.size)),
                epochs=int(epochs.get(network, options.epochs)),
                seed=options.seed,
                second_network=number == 0,
                pixel_maps=options.pixel_maps,
                **more,
            )
            classifier.save(place)
            note(f"{name}, {network}: fitted in {time.perf_counter() - start:.0f} s")
        found[network] = why.load(place)
    return found


def choose_again(
    generator: Classifier, dataset: Dataset, options: argparse.Namespace
) -> Classifier:
    """Return the generator with another choice; networks that undo a change are trained again."""
    steps = AfterTraining(
        generator.network,
        TrainingOptions(epochs=options.epochs, batch_size=16, seed=options.seed),
        ignore_event,
        never_cancelled,
        LeftOut(ignore_event, StopRequest()),
    )
    parts = [dataset.part(name) for name in ("train", "validation")]
    train, held_out = (
        examples_of(part, generator.preprocessing, dataset.classes) for part in parts
    )
    assert train is not None
    statistics = steps.choose_transport(
        generator.latent_statistics,
        generator.preprocessing,
        (train, held_out),
        str(dataset.image(0).dtype),
        [part.groups for part in parts],
    )
    return replace(generator, latent_statistics=statistics)


def figures(judged: list[Judged]) -> str:
    """Return the figures of one row."""
    if not judged:
        return "0 | – | – | – | – | –"
    flips, alike, agrees = (np.mean([getattr(item, part) for item in judged]) for part in SHARES)
    before, after = (np.median([getattr(item, part) for item in judged]) for part in MEDIANS)
    return f"{len(judged)} | {flips:.3f} | {alike:.3f} | {agrees:.3f} | {before:.3f} | {after:.3f}"


SHARES, MEDIANS = ("valid", "alike", "believed"), ("before", "after")


def change(
    classifier: Classifier,
    generator: Classifier,
    judge: Classifier,
    alike: "Alike",
    image: Any,
    target: str,
    kind: str,
) -> Judged:
    """Make one counterfactual and ask everybody."""
    made = why.counterfactual(classifier, image, target, through=generator, steps=2, change=kind)
    place = made.classes.index(target)
    last = made.special_images["alpha1"]
    return Judged(
        made.valid,
        classify_images(judge, last[None])[0].argmax() == judge.classes.index(target),
        float(made.probabilities[0, place]),
        float(made.special_probabilities["alpha1"][place]),
        alike.share(last),
    )


def sources(classifier: Classifier, test: Dataset, source: str, count: int, seed: int) -> list[Any]:
    """Return test images of a class that are called so, in random order."""
    found: list[Any] = []
    for number in np.random.default_rng(seed).permutation(len(test)):
        if test.table["label"].iloc[number] != source or len(found) == count:
            continue
        image = test.image(int(number))
        if classifier.predict(image).label == source:
            found.append(image)
    return found


def right(classifier: Classifier, test: Dataset) -> float:
    """Return the share of test images that are called by their class."""
    said = [classifier.predict(test.image(number)).label for number in range(len(test))]
    return float(np.mean(np.array(said) == test.table["label"].to_numpy()))


def choices(generator: Classifier) -> None:
    """Say which change was chosen for each direction."""
    statistics = generator.latent_statistics
    assert statistics is not None and statistics.transport is not None
    for (source, target), choice in statistics.transport.choices.items():
        names = generator.classes[source], generator.classes[target]
        note(f"  {' to '.join(names)}: {(choice.scores or {}).get('chosen change')}")


def write(text: str) -> None:
    """Print a line of the table at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def note(text: str) -> None:
    """Say something beside the table."""
    sys.stderr.write(f"{text}\n")


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", nargs="+", default=[TILED, "leigh-ds-tt"])
    parser.add_argument("--networks", nargs="+", default=["cam_net", "resnext50", "own_module"])
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--tile", type=int, default=128, help="of BBBC013, in pixels of the camera")
    parser.add_argument("--images", type=int, default=40, help="most for each direction")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--judge-epochs", type=int, default=20)
    parser.add_argument("--set-epochs", nargs="*", default=[], metavar="NETWORK=EPOCHS")
    parser.add_argument("--set-size", nargs="*", default=[], metavar="NETWORK=SIZE")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--wells", type=int, default=0, help="of each class; 0: all")
    parser.add_argument("--no-pixel-maps", dest="pixel_maps", action="store_false")
    parser.add_argument("--choose-again", action="store_true")
    parser.add_argument("--change", default="auto", choices=("auto", *get_args(ChangeKind)))
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    main()
