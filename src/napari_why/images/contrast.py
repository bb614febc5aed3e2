"""Contrast limits from the pixels themselves, never from what the pixel type could hold."""

from typing import Any

import numpy as np
import xarray as xr

LOW_PERCENTILE = 1.0
HIGH_PERCENTILE = 99.5
# Below this many grey levels between the percentiles, the rare bright pixels are all there is.
FEWEST_LEVELS = 8
SAMPLE_PIXELS = 2**21
SAMPLE_PLANES = 3


def contrast_limits(pixels: Any) -> tuple[float, float]:
    """Return the values to be shown as black and as full colour.

    The background (1st percentile) is black, and one pixel in two hundred saturates, so that a hot
    pixel does not turn the rest dark. Where hardly a grey level lies between the two, the largest
    value is full colour; a constant image is shown between zero and its value.

    Parameters
    ----------
    pixels : array
        Pixels of one channel, any shape; values that are no finite numbers are left out.

    Returns
    -------
    low, high : float
        ``low < high`` always.

    Examples
    --------
    >>> contrast_limits(np.zeros((8, 8), "uint16")), contrast_limits(np.full((8, 8), 7, "uint8"))
    ((0.0, 1.0), (0.0, 7.0))
    >>> nearly_black = np.ones((100, 100), "uint8"); nearly_black[0, :5] = range(5)
    >>> contrast_limits(nearly_black)
    (1.0, 4.0)
    """
    sample = _sample(np.asarray(pixels))
    if sample.size == 0:
        return 0.0, 1.0
    low, high = map(float, np.percentile(sample, (LOW_PERCENTILE, HIGH_PERCENTILE)))
    smallest, largest = float(sample.min()), float(sample.max())
    integer = sample.dtype.kind in "bui"
    if high <= low or (integer and high - low < FEWEST_LEVELS):
        high = largest
    if high <= low:
        low = smallest
    return (low, high) if low < high else _around(low)


def image_contrast_limits(image: xr.DataArray) -> list[tuple[float, float]]:
    """Return the contrast limits of every channel of an image.

    Of a dask array, the first, middle and last plane of each channel are looked at.
    """
    return [contrast_limits(_planes(image.isel(c=index).data)) for index in range(image.sizes["c"])]


def _planes(channel: Any) -> Any:
    if isinstance(channel, np.ndarray) or channel.ndim <= 2:
        return channel
    stack = channel.reshape((-1, *channel.shape[-2:]))
    count = stack.shape[0]
    wanted = np.unique(np.linspace(0, count - 1, SAMPLE_PLANES).round().astype(int))
    return stack[wanted]


def _sample(pixels: Any) -> Any:
    """Every n-th pixel of large images; finite values only."""
    flat = pixels.reshape(-1)
    step = -(-flat.size // SAMPLE_PIXELS)
    # An odd step does not run along the columns of images whose width is a power of two.
    sample = flat[:: step + 1 - step % 2] if step > 1 else flat
    if sample.dtype == np.bool_:
        return sample.astype(np.uint8)
    return sample[np.isfinite(sample)] if sample.dtype.kind == "f" else sample


def _around(value: float) -> tuple[float, float]:
    """Return limits for an image of one value."""
    if value == 0:
        return 0.0, 1.0
    return (0.0, value) if value > 0 else (value, 0.0)
