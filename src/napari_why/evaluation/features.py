"""Cheap features of an image, for asking what can be told from intensities alone."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import ndimage

from napari_why.core.events import (
    Advanced,
    Cancelled,
    OnEvent,
    Started,
    ignore_event,
    never_cancelled,
)
from napari_why.datasets import Dataset
from napari_why.model import Classifier

PERCENTILES = (1, 5, 25, 50, 75, 95, 99, 99.9)
BAND_WIDTHS = (1, 2, 4, 8)


def intensity_features(image: xr.DataArray) -> NDArray[np.float64]:
    """Describe a two-dimensional image by its intensities and its coarseness.

    Parameters
    ----------
    image : DataArray, dims (c, y, x)

    Returns
    -------
    ndarray, shape (C * 14 + C * (C - 1) / 2,)
        Per channel the mean, the standard deviation, eight percentiles and the standard deviation
        in four bands of spatial frequency (differences of Gaussians); then the correlation of
        every pair of channels (0 where a channel is constant).
    """
    pixels = np.asarray(image, dtype=np.float64)
    per_channel = [value for channel in pixels for value in _channel_features(channel)]
    pairs = [
        _correlation(pixels[first], pixels[second])
        for first in range(len(pixels))
        for second in range(first + 1, len(pixels))
    ]
    return np.array(per_channel + pairs)


def feature_tables(
    classifier: Classifier,
    dataset: Dataset,
    *,
    on_event: OnEvent = ignore_event,
    cancelled: Cancelled = never_cancelled,
) -> dict[str, NDArray[np.float64]]:
    """Compute both kinds of cheap features for every image of a data set, reading each once.

    Returns
    -------
    dict
        ``intensity``: :func:`intensity_features`; ``network``: the last feature maps of the
        frozen network, averaged over positions. Both (images, features); fewer rows than images
        when cancelled.
    """
    on_event(Started("cheap features", len(dataset)))
    intensity, network = [], []
    for done, image in enumerate(_images(dataset, cancelled), start=1):
        intensity.append(intensity_features(image))
        network.append(_pooled(classifier, image))
        on_event(Advanced(done))
    return {"intensity": np.array(intensity), "network": np.array(network)}


def _images(dataset: Dataset, cancelled: Cancelled) -> Iterator[xr.DataArray]:
    for index in range(len(dataset)):
        if cancelled():
            return
        yield dataset.image(index)


def _pooled(classifier: Classifier, image: xr.DataArray) -> NDArray[np.float64]:
    import torch

    with torch.no_grad():
        maps = classifier.network.encode(classifier.prepare(image))
    pooled: NDArray[np.float64] = maps.mean(dim=(2, 3))[0].double().cpu().numpy()
    return pooled


def _channel_features(channel: NDArray[np.float64]) -> list[float]:
    blurred = [ndimage.gaussian_filter(channel, width) for width in (*BAND_WIDTHS, 16)]
    bands = [float((fine - coarse).std()) for fine, coarse in pairwise(blurred)]
    percentiles = [float(value) for value in np.percentile(channel, PERCENTILES)]
    return [float(channel.mean()), float(channel.std()), *percentiles, *bands]


def _correlation(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    if first.std() == 0 or second.std() == 0:
        return 0.0
    return float(np.corrcoef(first.ravel(), second.ravel())[0, 1])
