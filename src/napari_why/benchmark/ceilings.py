"""What each row of the benchmark makes of many images.

Rows with a network go by the product's own engine; the others are what they are compared with: the
truth, nothing, pixels transported without a network, true pairs learnt.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from napari_why.benchmark.data import BenchmarkData, Direction
from napari_why.core.devices import limited_threads, to_float64
from napari_why.core.errors import WhyError
from napari_why.core.events import (
    Advanced,
    Cancelled,
    Finished,
    OnEvent,
    Started,
    ignore_event,
    never_cancelled,
)
from napari_why.core.options import validated
from napari_why.counterfactuals import METHODS, CounterfactualOptions
from napari_why.counterfactuals.engine import Task, follow_paths
from napari_why.counterfactuals.method import require_statistics, suitable_network
from napari_why.counterfactuals.spread import Spread, measure_spread
from napari_why.counterfactuals.through import Roles
from napari_why.images import make_image
from napari_why.images.image import export_dtype, export_pixels
from napari_why.model import Classifier
from napari_why.transport.back_translation import train_on_pairs
from napari_why.transport.maps import ClassModel, Gates, GaussianMap, map_between

# A hundred small images are a few MB.
AT_A_TIME = 100
# Of a direction: a share of pixels of sixteen images differs by some hundredths from that of all, and versions
# of a change take as long as the change itself, or longer.
IMAGES_WITH_SPREAD = 16


def classify_images(classifier: Classifier, images: NDArray[Any]) -> NDArray[np.float64]:
    """Classify raw images as a file with these pixels would be; (N, C, H, W) to (N, K).

    Parameters
    ----------
    classifier : Classifier
    images : ndarray, shape (N, C, H, W)
        Raw units, on the network's grid.

    Returns
    -------
    ndarray, float64, shape (N, K)
        Probabilities.
    """
    batches = [images[start : start + AT_A_TIME] for start in range(0, len(images), AT_A_TIME)]
    logits = [classifier.logits(classifier.prepare_pixels(batch)) for batch in batches]
    shares: NDArray[np.float64] = to_float64(torch.cat(logits)).softmax(1).cpu().numpy()
    return shares


def find_predicted(classifier: Classifier, images: NDArray[Any], label: str) -> NDArray[np.bool_]:
    """Tell of each raw image (N, C, H, W) whether the classifier predicts it as ``label``.

    Parameters
    ----------
    classifier : Classifier
    images : ndarray, shape (N, C, H, W)
        Raw units, on the network's grid.
    label : str
        A class of the classifier.

    Returns
    -------
    ndarray, bool, shape (N,)
    """
    predicted: NDArray[np.bool_] = classify_images(classifier, images).argmax(
        1
    ) == classifier.classes.index(label)
    return predicted


def share_predicted(classifier: Classifier, images: NDArray[Any], label: str) -> float:
    """Return the share of raw images (N, C, H, W) that the classifier predicts as ``label``.

    Parameters
    ----------
    classifier : Classifier
    images : ndarray, shape (N, C, H, W)
        Raw units, on the network's grid.
    label : str
        A class of the classifier.

    Returns
    -------
    float
        0 to 1.
    """
    return float(find_predicted(classifier, images, label).mean())


@dataclass(frozen=True)
class ChangedImages:
    """What a row of the benchmark makes of the images of one direction.

    Parameters
    ----------
    images : ndarray, shape (N, C, H, W)
        As exported, dtype of the sources.
    change : ndarray, float64, shape (N, C, H, W)
        In raw units.
    training_seconds, seconds : float
        To learn from the training images, and to change all images.
    notes : tuple of str
        What is to be said beside them.
    spreads : tuple of Spread
        How sure the changes of the first images are; empty where that is not known.
    draws : ndarray, shape (N, S, C, H, W), or None
        Of a row that draws, all draws of each image, of which ``images`` are the first; None of a row that
        gives one answer.
    """

    images: NDArray[Any]
    change: NDArray[np.float64]
    training_seconds: float = 0.0
    seconds: float = 0.0
    notes: tuple[str, ...] = ()
    spreads: tuple[Spread, ...] = ()
    draws: NDArray[Any] | None = None


def change_by_network(
    classifier: Classifier,
    images: NDArray[Any],
    source: str,
    target: str,
    method: str,
    parameters: Mapping[str, Any],
    *,
    through: Classifier | None = None,
    on_event: OnEvent = ignore_event,
    cancelled: Cancelled = never_cancelled,
) -> ChangedImages | None:
    """Return the exported convincing counterfactuals of many images, None when cancelled.

    They are, bit for bit, those at ``alpha1`` of :func:`napari_why.counterfactual` with its
    defaults and this source, and those of the full change (alpha 1) where it finds no alpha1; only
    the series in between is left out. An image that is predicted as the target already is changed
    too: what counts here is its true class. How sure the change is, is measured for the first sixteen.

    Parameters
    ----------
    classifier : Classifier
        That is explained.
    images : ndarray, shape (N, C, H, W)
        Raw units.
    source, target : str
        True class of the images, and the class to reach.
    method : str
        A key of :data:`napari_why.counterfactuals.METHODS`.
    parameters : mapping
        The method's own.
    through : Classifier, optional
        Whose network is inverted, where it is another one.
    on_event, cancelled
        See :mod:`napari_why.core.events`.

    Returns
    -------
    ChangedImages or None

    Raises
    ------
    WhyError
        What the method raises where it is not defined for the classifier.
    """
    entry, usual = METHODS.named(method), CounterfactualOptions()
    roles = Roles.of(classifier, through)
    generator = roles.generator
    network = suitable_network(generator, entry)
    require_statistics(generator)
    roles.check(make_image(images[0], "cyx", generator.channels))
    task = Task(
        generator,
        network,
        entry,
        validated(entry.function, parameters),
        roles.index_of(source, "source"),
        roles.index_of(target, "target"),
        usual.probability,
        asked=classifier if roles.apart else None,
    )
    changed: list[NDArray[Any]] = []
    drawn: list[list[NDArray[Any]]] = []
    spreads: list[Spread | None] = []
    on_event(Started(f"counterfactuals by {method}", len(images)))
    with limited_threads(classifier.threads), torch.no_grad():
        prepared = generator.prepare_pixels(images)
        for done, followed in enumerate(follow_paths(task, prepared, images.dtype), start=1):
            if cancelled():
                return None
            changed.append(followed.convincing_image().image)
            if done <= IMAGES_WITH_SPREAD:
                # float64: images are unsigned integers, whose difference would wrap round below zero
                change = changed[-1].astype(float) - followed.exported_source.astype(float)
                spreads.append(measure_spread(followed, usual.draws, change, cancelled))
            samples = followed.path.samples
            if samples is not None:
                drawn.append(
                    [followed.export(samples.draw(number)) for number in range(usual.draws)]
                )
            on_event(Advanced(done))
    on_event(Finished())
    found = np.stack(changed)
    known = tuple(one for one in spreads if one is not None)
    return ChangedImages(
        found,
        found.astype(float) - images.astype(float),
        # all or none: by its place a spread is known to be of an image
        spreads=known if len(known) == len(spreads) else (),
        draws=np.stack([np.stack(each) for each in drawn]) if drawn else None,
    )


# A block has 16 values a channel, whose covariance can still be estimated.
BLOCK = 4
# Fewer than the product's eight: blocks of pixels know less of their surroundings.
GATES = 6
# More than a thousand for each of the 16 or 32 values whose covariance is estimated.
POSITIONS = 40_000


@dataclass(frozen=True)
class PixelTransport:
    """The product's conditional map between Gaussians, on blocks of pixels instead of latents.

    Parameters
    ----------
    fixed, moved : tuple of int
        Channels that condition the map and stay as they are, and the others.
    gates : Gates
        Soft clusters of the surroundings in the fixed channels.
    blocks : GaussianMap
        What a block of one class is in the other, given its surroundings.
    """

    fixed: tuple[int, ...]
    moved: tuple[int, ...]
    gates: Gates
    blocks: GaussianMap

    def __call__(self, images: Tensor) -> Tensor:
        """Move standardised images (N, C, H, W) of the source class; H and W multiples of 4."""
        values = _cut_blocks(images, self.moved)
        count, depth, height, width = values.shape
        moved = self.blocks(_rows(values), _rows(_surroundings(images, self.fixed)), self.gates)
        back = moved.reshape(count, height, width, depth).permute(0, 3, 1, 2)
        result = images.clone()
        result[:, list(self.moved)] = F.pixel_shuffle(back, BLOCK).to(images)
        return result


def fit_pixel_transport(
    source: Tensor, target: Tensor, fixed: tuple[int, ...], *, seed: int = 0
) -> PixelTransport:
    """Learn how blocks of 4 x 4 pixels of one class become those of another.

    Parameters
    ----------
    source, target : Tensor, shape (N, C, H, W)
        Standardised training images of the two classes, not paired.
    fixed : tuple of int
        Locked channels: they stay as they are and condition the map.
    seed : int
        Of the positions that are drawn, and of the clusters.

    Returns
    -------
    PixelTransport
    """
    moved = tuple(index for index in range(source.shape[1]) if index not in fixed)
    generator = torch.Generator().manual_seed(seed)
    values, known = [], []
    for images in (source, target):
        rows = _rows(_cut_blocks(images, moved))
        chosen = torch.randperm(len(rows), generator=generator)[:POSITIONS]
        values.append(rows[chosen])
        known.append(_rows(_surroundings(images, fixed))[chosen])
    both = torch.cat(known)
    gates = Gates.fit(both[torch.randperm(len(both), generator=generator)], GATES, seed)
    before, after = (
        ClassModel.fit(rows, conditions, gates, torch.ones(len(rows)))
        for rows, conditions in zip(values, known, strict=True)
    )
    return PixelTransport(fixed, moved, gates, map_between(before, after, values[0].shape[1]))


def _cut_blocks(images: Tensor, channels: tuple[int, ...]) -> Tensor:
    chosen = images[:, list(channels)].float()
    count, depth, height, width = chosen.shape
    if not depth:  # which pixel_unshuffle does not take
        return chosen.reshape(count, 0, height // BLOCK, width // BLOCK)
    return F.pixel_unshuffle(chosen, BLOCK)


def _surroundings(images: Tensor, channels: tuple[int, ...]) -> Tensor:
    """Return the 3 x 3 blocks around every block in ``channels``; (N, 9 * K, h, w)."""
    blocks = _cut_blocks(images, channels)
    count, depth, height, width = blocks.shape
    if not depth:  # nothing conditions
        return blocks
    padded = F.pad(blocks, (1, 1, 1, 1), mode="replicate")
    return F.unfold(padded, 3).reshape(count, 9 * depth, height, width)


def _rows(maps: Tensor) -> Tensor:
    return maps.permute(0, 2, 3, 1).flatten(0, 2)


def truth(direction: Direction) -> ChangedImages:
    """Return the scenes as images of the target class; the change is the true one.

    Raises
    ------
    WhyError
        The truth is not known.
    """
    if direction.truth is None or direction.paired is None:
        raise WhyError("the true change of these images is not known")
    return ChangedImages(direction.paired, direction.truth)


def do_nothing(direction: Direction) -> ChangedImages:
    """Return the sources."""
    return ChangedImages(direction.images, np.zeros(direction.images.shape))


def transported_pixels(
    classifier: Classifier, data: BenchmarkData, direction: Direction
) -> ChangedImages:
    """Transport blocks of pixels from class to class.

    Parameters
    ----------
    classifier : Classifier
        Lends its preprocessing and its decision which channels are locked.
    data : BenchmarkData
        With the training images.
    direction : Direction
        What to change.

    Returns
    -------
    ChangedImages
    """
    source, target = (
        training_images(classifier, data, label) for label in (direction.source, direction.target)
    )
    fixed = tuple(map(classifier.channels.index, classifier.locked_channels))
    move = fit_pixel_transport(source, target, fixed, seed=data.seed)
    return as_raw(classifier, direction, move(classifier.prepare_pixels(direction.images)))


def learnt_from_pairs(
    classifier: Classifier,
    data: BenchmarkData,
    direction: Direction,
    *,
    on_event: OnEvent = ignore_event,
    cancelled: Cancelled = never_cancelled,
) -> ChangedImages:
    """Predict the change by a network that was trained on the training images' true changes.

    Parameters
    ----------
    classifier : Classifier
        Lends its preprocessing.
    data : BenchmarkData
        With the true pairs.
    direction : Direction
        What to change.
    on_event, cancelled
        See :mod:`napari_why.core.events`.

    Returns
    -------
    ChangedImages

    Raises
    ------
    WhyError
        The true changes of these images are not known.
    """
    pairs = data.training_pairs(direction.source, direction.target)
    if pairs is None:
        raise WhyError("true pairs of these images are not known")
    std = np.asarray(classifier.preprocessing.std)[:, None, None]
    network = train_on_pairs(
        classifier.prepare_pixels(pairs.images),
        torch.from_numpy(pairs.changes / std).float(),
        epochs=pairs.epochs,
        seed=data.seed,
        on_event=on_event,
        cancelled=cancelled,
    )
    x = classifier.prepare_pixels(direction.images)
    with torch.no_grad():
        moved = torch.cat([batch + network(batch) for batch in torch.split(x, AT_A_TIME)])
    return as_raw(classifier, direction, moved)


def training_images(classifier: Classifier, data: BenchmarkData, label: str) -> Tensor:
    """Return the training images of a class as the classifier takes them, (N, C, H, W).

    Parameters
    ----------
    classifier : Classifier
        Lends its preprocessing.
    data : BenchmarkData
    label : str
        The class.

    Returns
    -------
    Tensor, shape (N, C, H, W)
    """
    train = data.dataset.part("train")
    rows = np.flatnonzero(train.table["label"] == label)
    return torch.stack([classifier.preprocessing(train.image(int(row))) for row in rows])


def as_raw(classifier: Classifier, direction: Direction, moved: Tensor) -> ChangedImages:
    """Return standardised images (N, C, H, W) as they would be exported, and their change.

    Parameters
    ----------
    classifier : Classifier
        Lends its preprocessing.
    direction : Direction
        Has the images before the change, raw units.
    moved : Tensor, shape (N, C, H, W)
        The same, changed and standardised.

    Returns
    -------
    ChangedImages
    """
    raw = classifier.preprocessing.inverse(moved)
    images = export_pixels(raw, export_dtype(direction.images.dtype))
    return ChangedImages(images, images.astype(float) - direction.images.astype(float))
