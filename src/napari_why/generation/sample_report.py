"""How far drawn images are from real ones, beside how far real ones are from each other."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from napari_why.core.devices import limited_threads, to_float64
from napari_why.core.errors import MismatchError
from napari_why.datasets.features import frechet_distance, image_features
from napari_why.generation.image_generator import AT_A_TIME, ImageGenerator
from napari_why.model.classifier import Classifier, pooled_latents
from napari_why.training.examples import Examples

TEXTURE, NETWORK = "texture features", "pooled features of the classifier"
SAMPLES, HELD_OUT, TRAINING, CLASSES = (
    "samples",
    "held-out images",
    "other training images",
    "the other class",
)
# Training images that are looked at where nobody says how many: of twice as many texture takes twice as long.
MOST = 400
# Random choices of images, over which distances are means: their deviation tells what a choice is worth.
CHOICES = 20
# What is below is rounding, and no number to divide by.
TINY = 1e-12

Images = NDArray[np.float64]
Features = Callable[[Images], NDArray[np.float64]]


@dataclass(frozen=True, eq=False)
class SampleReport:
    """Fréchet distances of equally many images of each kind to training images.

    Parameters
    ----------
    table : DataFrame
        One row for each kind of features, number of images and what is compared: ``features``,
        ``dimensions`` (how many features), ``images`` (of either side), ``compared`` (samples, held-out
        images, other training images: the floor; where there are several classes, images of the second
        class with those of the first), ``distance`` (mean over random choices) and ``deviation`` (over
        these).
    """

    table: pd.DataFrame

    @property
    def sentences(self) -> tuple[str, ...]:
        """A line for each kind of features, of the largest number of images."""
        return tuple(
            _describe(str(features), rows[rows["images"] == rows["images"].max()])
            for features, rows in self.table.groupby("features", sort=False)
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the table as JSON types."""
        return {"rows": [_plain(row) for row in self.table.to_dict("records")]}


def _plain(row: "dict[Any, Any]") -> dict[str, Any]:
    return {str(name): value for name, value in row.items()}


def _describe(features: str, rows: pd.DataFrame) -> str:
    count, dimensions = (int(rows[name].iloc[0]) for name in ("images", "dimensions"))
    found = dict(zip(rows["compared"], rows["distance"], strict=True))
    each = ", ".join(f"{name} {distance:.3g}" for name, distance in found.items())
    few = (
        f"; fewer images than features ({dimensions}): most of it is chance"
        if count <= dimensions
        else ""
    )
    return f"Fréchet distance of {features} to {count} training images: {each}{few}"


def report_samples(
    generator: ImageGenerator,
    train: Examples,
    held_out: Examples | None,
    classes: Sequence[str],
    *,
    classifier: Classifier | None = None,
    counts: Sequence[int] = (),
    most: int = MOST,
    seed: int = 0,
) -> SampleReport:
    """Measure how far samples are from training images, and how far real images are from each other.

    The Fréchet distance (Heusel et al. 2017, arXiv:1706.08500) of finitely many images is above 0 for two
    halves of one set too, and the more so the fewer they are; so every distance is one of equally many
    images, and that of disjoint training images stands beside it. Features are in units of their standard
    deviation over training images. They are not those of Inception, and the numbers are not FIDs of papers.

    Parameters
    ----------
    generator : ImageGenerator
    train, held_out : Examples
        Preprocessed as the generator's training images were.
    classes : sequence of str
        That labels of the examples count.
    classifier : Classifier, optional
        Whose network's pooled features are compared too: one that was trained apart.
    counts : sequence of int, optional
        Numbers of images; half of the training images that are looked at, or the held-out images where
        these are fewer, by default.
    most : int
        Training images that are looked at, evenly spread.
    seed : int
        Of the samples and the choices.

    Returns
    -------
    SampleReport
        A row a kind of features, number of images and pair of sets.

    Raises
    ------
    MismatchError
        The classifier needs a channel that the generator does not make.
    """
    rows = np.unique(
        np.linspace(0, len(train.labels) - 1, min(len(train.labels), most)).astype(int)
    )
    labels = [classes[int(train.labels[row])] for row in rows]
    images = {SAMPLES: draw_like(generator, labels, seed)}
    if held_out is not None:
        images[HELD_OUT] = _raw(generator, held_out, range(len(held_out.labels)))
    images[TRAINING] = _raw(generator, train, rows.tolist())
    usual = min(len(part) // (2 if name == TRAINING else 1) for name, part in images.items())
    found = []
    for name, features in _kinds(generator, classifier).items():
        sets = _standardise({kind: features(part) for kind, part in images.items()})
        for count in counts or (max(usual, 2),):
            found += [
                {"features": name, "dimensions": sets[TRAINING].shape[1], "images": count, **row}
                for row in _compare(sets, np.array(labels), count, seed)
            ]
    return SampleReport(pd.DataFrame(found))


def draw_like(generator: ImageGenerator, labels: Sequence[str], seed: int) -> Images:
    """Return as many samples (N, C, H, W) as there are labels, of each class as many, in their order.

    Parameters
    ----------
    generator : ImageGenerator
    labels : sequence of str
        A class a sample; of a generator without classes only their number counts.
    seed : int
        Of the codes.

    Returns
    -------
    ndarray, float64, shape (N, C, H, W)
        Raw grey levels.
    """
    if not generator.classes:
        return generator.sample(count=len(labels), seed=seed).images.astype(np.float64)
    height, width = generator.network.size
    made = np.empty((len(labels), len(generator.channels), height, width))
    for place, name in enumerate(dict.fromkeys(labels)):
        chosen = np.array(labels) == name
        # of one seed, the classes would have the same codes
        drawn = generator.sample(count=int(chosen.sum()), seed=seed + place, label=name)
        made[chosen] = drawn.images
    return made


def _raw(generator: ImageGenerator, examples: Examples, rows: Sequence[int]) -> Images:
    return np.concatenate(
        [generator.preprocessing.inverse(examples.images([row])) for row in rows]
    ).astype(np.float64)


def _kinds(generator: ImageGenerator, classifier: Classifier | None) -> dict[str, Features]:
    kinds: dict[str, Features] = {
        TEXTURE: lambda images: image_features(images, range(images.shape[1]))
    }
    if classifier is not None:
        missing = [name for name in classifier.channels if name not in generator.channels]
        if missing:
            raise MismatchError(
                f"classifier: found one that needs {', '.join(missing)}; expected channels that the "
                f"generator makes: {', '.join(generator.channels)}"
            )
        order = [generator.channels.index(name) for name in classifier.channels]
        known = classifier
        kinds[NETWORK] = lambda images: _pool(known, images[:, order])
    return kinds


@torch.no_grad()
def _pool(classifier: Classifier, images: Images) -> NDArray[np.float64]:
    pooled = []
    with limited_threads(classifier.threads):
        for start in range(0, len(images), AT_A_TIME):
            prepared = classifier.prepare_pixels(
                images[start : start + AT_A_TIME].astype(np.float32)
            )
            pooled.append(to_float64(pooled_latents(classifier.network, prepared)[0]).cpu().numpy())
    return np.concatenate(pooled)


def _standardise(sets: dict[str, NDArray[np.float64]]) -> dict[str, NDArray[np.float64]]:
    real = sets[TRAINING]
    # or the feature of the largest numbers would decide
    scale = real.std(axis=0)
    used = scale > TINY
    return {
        name: (found - real.mean(axis=0))[:, used] / scale[used] for name, found in sets.items()
    }


def _compare(
    sets: dict[str, NDArray[np.float64]], labels: NDArray[Any], count: int, seed: int
) -> list[dict[str, Any]]:
    """Return mean distance and deviation over random choices of so many images, of each that has them."""
    random = np.random.default_rng(seed)
    found: dict[str, list[float]] = {}
    real = sets[TRAINING]
    of_class = [real[labels == name] for name in dict.fromkeys(labels)]
    for _ in range(CHOICES):
        order = random.permutation(len(real))
        target = real[order[:count]]
        others = {name: part for name, part in sets.items() if name != TRAINING}
        others[TRAINING] = real[order[count:]]
        for name, part in others.items():
            if min(len(part), len(target)) >= count:
                chosen = random.choice(len(part), count, replace=False)
                found.setdefault(name, []).append(frechet_distance(part[chosen], target))
        if len(of_class) > 1 and min(map(len, of_class[:2])) >= count:
            pair = [part[random.choice(len(part), count, replace=False)] for part in of_class[:2]]
            found.setdefault(CLASSES, []).append(frechet_distance(*pair))
    return [
        {"compared": name, "distance": float(np.mean(each)), "deviation": float(np.std(each))}
        for name, each in found.items()
    ]
