"""A change cut into units, region by channel, and the images that take over some of them."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.filters import threshold_otsu

from napari_why.images.image import export_pixels

# Pixels over which sign and strength of a change are averaged: those of single pixels follow the
# noise, and to take only the pixels that grow brighter would shift the mean of plain noise.
SMOOTHING = 3
# Pixels: the fewest of a strong unit; scraps below stay with the rest of their tile.
SMALLEST_UNIT = 4
# Strata of a tile: the weak change, and the strong one by its sign.
STRATA = 3


@dataclass(frozen=True)
class ChangeUnits:
    """Parts of a change of which each lies in one channel; together they are all of it.

    Parameters
    ----------
    labels : ndarray, int32, shape (C, H, W)
        Unit of every pixel, from 0; -1 in channels that do not change.
    sizes : ndarray, int64, shape (U,)
        Pixels of each unit that change.
    channels : ndarray, int64, shape (U,)
        In which channel each unit lies.
    changing : ndarray, bool, shape (C, H, W)
        Where anything changes.
    """

    labels: NDArray[np.int32]
    sizes: NDArray[np.int64]
    channels: NDArray[np.int64]
    changing: NDArray[np.bool_]

    @property
    def count(self) -> int:
        """Number of units."""
        return len(self.sizes)

    @cached_property
    def whole(self) -> frozenset[int]:
        """All units."""
        return frozenset(range(self.count))

    @property
    def changed_channels(self) -> tuple[int, ...]:
        """Channels in which there is any unit."""
        return tuple(np.unique(self.channels).tolist())

    def of_channel(self, channel: int) -> frozenset[int]:
        """Return the units of a channel."""
        return frozenset(np.flatnonzero(self.channels == channel).tolist())

    def size(self, chosen: Iterable[int]) -> int:
        """Return how many pixels change in some units, counted in each channel."""
        return int(self.sizes[list(chosen)].sum())

    def mask(self, chosen: Iterable[int], blur: float = 0.0) -> NDArray[np.float32]:
        """Return the weight (0 to 1) of some units at every pixel, float32, shape (C, H, W).

        Parameters
        ----------
        chosen : iterable of int
            Units. The weights of these and of all others add up to 1.
        blur : float
            Width of a Gaussian in pixels that softens the borders of units; 0 leaves them sharp.
        """
        inside = np.isin(self.labels, list(chosen))
        if not blur:
            return np.asarray(inside, dtype=np.float32)
        soft = ndimage.gaussian_filter(inside.astype(np.float64), (0, blur, blur), mode="reflect")
        # rounding of the filter must not leave a trace of what was not chosen, or lack of what was
        return np.asarray(np.clip(soft.round(6), 0, 1), dtype=np.float32)


def split_change(change: NDArray[np.floating[Any]], tiles: int) -> ChangeUnits:
    """Cut a change into units: by channel, by square tile, and in a tile by strength and sign.

    Strong is what lies above the threshold of Otsu (1979) between the absolute values of the
    channel, averaged over 3 x 3 pixels. So a structure that changes is a unit apart from what is
    around it, and one that grows brighter apart from one that grows darker.

    Parameters
    ----------
    change : ndarray, shape (C, H, W)
        After minus before.
    tiles : int
        Along either axis.

    Returns
    -------
    ChangeUnits

    Examples
    --------
    >>> change = np.zeros((2, 8, 8)); change[1, 1:4, 1:4] = 100
    >>> units = split_change(change, tiles=2)
    >>> units.changed_channels, units.sizes.tolist()
    ((1,), [9])
    """
    labels = np.full(change.shape, -1, dtype=np.int32)
    sizes: list[int] = []
    channels: list[int] = []
    tile = _number_tiles(change.shape[1:], tiles)
    for channel, plane in enumerate(change):
        changing = plane != 0
        if not changing.any():
            continue
        cell = tile * STRATA + _stratify(plane, tile)
        numbers, dense = np.unique(cell, return_inverse=True)
        counts = np.bincount(dense.ravel()[changing.ravel()], minlength=len(numbers))
        # a unit without any change would be asked about in vain: its pixels join the largest one
        place = np.full(len(numbers), -1)
        kept = np.flatnonzero(counts)
        place[kept] = len(sizes) + np.arange(len(kept))
        place[place < 0] = len(sizes) + int(counts[kept].argmax())
        labels[channel] = place[dense.reshape(plane.shape)]
        sizes += counts[kept].tolist()
        channels += [channel] * len(kept)
    return ChangeUnits(
        labels, np.array(sizes, dtype=np.int64), np.array(channels, dtype=np.int64), change != 0
    )


def _number_tiles(shape: tuple[int, ...], tiles: int) -> NDArray[np.int64]:
    rows, columns = (np.arange(length) * min(tiles, length) // length for length in shape)
    return np.asarray(rows[:, None] * tiles + columns[None])


def _stratify(plane: NDArray[np.floating[Any]], tile: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return 0 for the weak change, 1 and 2 for what strongly grows brighter and darker."""
    smooth = ndimage.uniform_filter(plane.astype(np.float64), SMOOTHING)
    strength = np.abs(smooth)
    if strength.min() == strength.max():
        return np.zeros(plane.shape, dtype=np.int64)
    strong = strength > threshold_otsu(strength)
    strata = np.where(strong, np.where(smooth > 0, 1, 2), 0)
    for stratum in range(1, STRATA):
        inside = (strata == stratum) & (plane != 0)
        few = np.bincount(tile[inside], minlength=int(tile.max()) + 1) < SMALLEST_UNIT
        strata[(strata == stratum) & few[tile]] = 0
    return strata


def mix_images(
    before: NDArray[Any], after: NDArray[Any], mask: NDArray[np.floating[Any]]
) -> NDArray[Any]:
    """Return ``before + mask (after - before)``, exported: rounded and clipped as a file has it.

    Parameters
    ----------
    before, after : ndarray, shape (C, H, W)
        Exported images of one dtype.
    mask : ndarray, shape (C, H, W)
        0 to 1. Where it is 0 or 1 the pixels are exactly those of one of the images.
    """
    mixed = before + mask * (after.astype(np.float64) - before)
    exported = export_pixels(mixed, before.dtype)
    return np.where(mask == 0, before, np.where(mask == 1, after, exported))
