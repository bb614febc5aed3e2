"""Choose an image's channels by name and bring it to the network's size."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from napari_why.errors import MismatchError, WhyError
from napari_why.images import Grid, channel_names

Fit = Literal["resize", "crop", "none"]


def chosen_pixels(image: xr.DataArray, channels: Sequence[str]) -> NDArray[np.float64]:
    """Return the named channels in this order, float64, shape (C, y, x), raw units.

    Raises
    ------
    MismatchError
        The image is no plane, or lacks a channel.
    WhyError
        A value is NaN or infinite.
    """
    if image.dims != ("c", "y", "x"):
        raise MismatchError(
            f"found an image with the axes {', '.join(map(str, image.dims))}; expected c, y, x: "
            "take one plane of it"
        )
    there = channel_names(image)
    if not set(channels) <= set(there):
        raise MismatchError(
            f"found an image with the channels {', '.join(there)}; expected "
            f"{', '.join(channels)}; name the image's channels accordingly when opening it"
        )
    order = [there.index(name) for name in channels]
    pixels = np.asarray(image.isel(c=order), dtype=np.float64)
    bad = [n for n, p in zip(channels, pixels, strict=True) if not np.isfinite(p).all()]
    if bad:
        raise WhyError(
            f"{image.attrs.get('source') or 'image'}: found NaN or infinite values in channel "
            f"{', '.join(bad)}; expected finite numbers; replace them before"
        )
    return pixels


def sized(pixels: NDArray[np.float64], size: int | None, fit: Fit) -> NDArray[np.float64]:
    """Bring pixels to ``size`` x ``size``; pixels that have it already are returned unchanged.

    Raises
    ------
    MismatchError
        The image is too small to crop.
    """
    source = (pixels.shape[1], pixels.shape[2])
    grid = sized_grid(source, size, fit)
    if grid.shape == source:
        return pixels
    if fit == "crop":
        top, left = int(grid.offset[0]), int(grid.offset[1])
        return pixels[:, top : top + grid.shape[0], left : left + grid.shape[1]]
    return _resized(pixels, grid.shape)


def sized_grid(source: tuple[int, int], size: int | None, fit: Fit) -> Grid:
    """Return where the pixels of :func:`sized` lie on the source's.

    Examples
    --------
    >>> sized_grid((100, 100), 50, "resize")
    Grid(shape=(50, 50), step=(2.0, 2.0), offset=(0.5, 0.5))
    >>> sized_grid((100, 100), 50, "crop")
    Grid(shape=(50, 50), step=(1.0, 1.0), offset=(25.0, 25.0))
    """
    if size is None or fit == "none" or source == (size, size):
        return Grid(source)
    if fit == "resize":
        return Grid.reduced(source, (size, size))
    if source[0] < size or source[1] < size:
        raise MismatchError(
            f"found an image of {source[0]} x {source[1]} pixels; expected at least {size} x "
            f"{size} to cut out; use fit='resize'"
        )
    return Grid.cropped((size, size), ((source[0] - size) // 2, (source[1] - size) // 2))


def _resized(pixels: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.float64]:
    import torch

    batch = torch.from_numpy(np.ascontiguousarray(pixels))[None]
    resized = torch.nn.functional.interpolate(
        batch, size=size, mode="bilinear", align_corners=False, antialias=True
    )
    return np.asarray(resized[0].numpy())
