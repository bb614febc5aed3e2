"""What is gained without any network: one factor per channel, and one curve of grey levels.

Where all cells lose most of their dye, multiplying every pixel by one number comes close to the truth.
So a figure of the benchmark counts by what it gains over the better of these two.
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_why.benchmark.ceilings import ChangedImages, training_images
from napari_why.benchmark.data import BenchmarkData, Direction
from napari_why.images.image import export_dtype, export_pixels
from napari_why.model import Classifier

Trivial = Literal["one_factor", "grey_level_curve"]
BASELINES = ("one-factor", "grey-level-curve")
"""The rows of these two, which are always made: a figure counts by what it gains over the better."""


def multiply(
    images: NDArray[Any], source: NDArray[Any], target: NDArray[Any], channels: Sequence[int]
) -> NDArray[np.float64]:
    """Multiply each channel by the ratio of the classes' means over all pixels.

    Parameters
    ----------
    images : ndarray, shape (N, C, H, W)
        What is changed, grey levels.
    source, target : ndarray, shape (M, C, H, W)
        Training images of the two classes, grey levels, not paired.
    channels : sequence of int
        Those that are changed.

    Returns
    -------
    ndarray, float64, shape (N, C, H, W)
        Not rounded. A channel that is black throughout the source class stays.
    """
    changed = images.astype(np.float64)
    for channel in channels:
        before, after = (float(part[:, channel].mean()) for part in (source, target))
        if before:
            changed[:, channel] *= after / before
    return changed


def match_histograms(
    images: NDArray[Any], source: NDArray[Any], target: NDArray[Any], channels: Sequence[int]
) -> NDArray[np.float64]:
    """Map grey levels by the one rising curve that turns a class's histogram into the other's.

    The curve of a channel takes each grey level of all pixels of the source class, by its middle rank,
    to the level of that rank in the target class (Gonzalez & Woods, Digital Image Processing:
    histogram specification). Of all maps of single grey levels it is the one of least cost (optimal
    transport in one dimension). Levels beyond those of the source class go where its extremes go.

    Parameters
    ----------
    images, source, target, channels
        See :func:`multiply`.

    Returns
    -------
    ndarray, float64, shape (N, C, H, W)
        Not rounded.
    """
    changed = images.astype(np.float64)
    for channel in channels:
        levels, counts = np.unique(source[:, channel], return_counts=True)
        ranks = (np.cumsum(counts) - counts / 2) / counts.sum()
        reached = np.quantile(target[:, channel], ranks)
        changed[:, channel] = np.interp(changed[:, channel], levels, reached)
    return changed


def change_trivially(
    classifier: Classifier, data: BenchmarkData, direction: Direction, kind: Trivial
) -> ChangedImages:
    """Change images by one factor or one curve per channel, learnt from the training images.

    Parameters
    ----------
    classifier : Classifier
        Lends its grid of pixels and its decision which channels carry no class evidence: these stay,
        so that what is gained over these rows is not gained by locking.
    data : BenchmarkData
        With the training images.
    direction : Direction
        What to change.
    kind : {"one_factor", "grey_level_curve"}
    """
    dtype = export_dtype(direction.images.dtype)
    source, target = (
        export_pixels(
            classifier.preprocessing.inverse(training_images(classifier, data, label)), dtype
        )
        for label in (direction.source, direction.target)
    )
    locked = classifier.locked_channels
    free = [place for place, name in enumerate(classifier.channels) if name not in locked]
    change = multiply if kind == "one_factor" else match_histograms
    images = export_pixels(change(direction.images, source, target, free), dtype)
    return ChangedImages(images, images.astype(float) - direction.images.astype(float))
