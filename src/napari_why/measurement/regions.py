"""From a map of change to numbered regions, on the network's grid and on the source's pixels."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from skimage.filters import threshold_otsu
from skimage.measure import label

from napari_why.errors import ParameterError
from napari_why.images import Grid

ThresholdRule = Literal["otsu", "fixed", "top"]


@dataclass(frozen=True)
class Regions:
    """Numbered regions of one map.

    Parameters
    ----------
    labels : ndarray, int32, shape (H, W)
        0 outside, 1 to ``count`` inside, on ``grid``.
    threshold : float
        The smallest absolute value of the map inside a region, in the map's unit, as the rule
        gave it.
    grid : Grid
        Where the pixels lie on the source image.
    """

    labels: NDArray[np.int32]
    threshold: float
    grid: Grid

    @property
    def count(self) -> int:
        """Number of regions."""
        return int(self.labels.max(initial=0))

    def on_source(self, shape: tuple[int, int]) -> NDArray[np.int32]:
        """Return the labels on the pixels of the source image.

        Every source pixel takes the label of the grid pixel in which its centre lies; 0 outside
        the grid (beside a crop).

        Parameters
        ----------
        shape : (int, int)
            Height and width of the source image.

        Returns
        -------
        ndarray, int32, shape ``shape``
        """
        rows, inside_rows = _grid_pixels(self.grid, 0, shape[0])
        columns, inside_columns = _grid_pixels(self.grid, 1, shape[1])
        mapped = self.labels[np.ix_(rows, columns)]
        mapped[~np.logical_and.outer(inside_rows, inside_columns)] = 0
        return mapped


def find_regions(
    values: NDArray[np.floating],
    grid: Grid | None = None,
    *,
    rule: ThresholdRule = "otsu",
    level: float = 100.0,
    share: float = 0.05,
    minimum_size: float = 0.0,
) -> Regions:
    """Threshold the absolute values of a map and number the connected pixels.

    Pixels that touch by an edge or a corner and have the same sign belong together, so that no
    region mixes increase and decrease. Pixels without any change belong to none.

    Parameters
    ----------
    values : ndarray, shape (H, W)
        One plane of a :class:`~napari_why.measurement.ChangeMap`.
    grid : Grid, optional
        Where the pixels lie on the source; on the source's own by default.
    rule : {"otsu", "fixed", "top"}
        ``otsu``: above the threshold of Otsu (1979) between the absolute values;
        ``fixed``: from ``level`` on; ``top``: the ``share`` of pixels that change most.
        Otsu and top find regions in noise too; a fixed level does not if it is above the noise.
    level : float
        For ``fixed``, in the map's unit.
    share : float
        For ``top``, above 0 and up to 1.
    minimum_size : float
        Smaller regions are left out; in pixels of the source image.

    Returns
    -------
    Regions

    Raises
    ------
    ParameterError
        An unknown rule or a number out of range.

    Examples
    --------
    >>> values = np.zeros((6, 6)); values[1:3, 1:3] = 50; values[1:3, 3:5] = -50
    >>> find_regions(values, rule="fixed", level=10).labels[2]
    array([0, 1, 1, 2, 2, 0], dtype=int32)
    """
    if rule not in get_args(ThresholdRule):
        found = ", ".join(get_args(ThresholdRule))
        raise ParameterError(f"threshold: found {rule!r}; expected {found}")
    if not 0 < share <= 1:
        raise ParameterError(f"share: found {share:g}; expected more than 0 and at most 1")
    place = grid or Grid((values.shape[0], values.shape[1]))
    strength = np.abs(values).astype(np.float64)
    threshold = _threshold(strength, rule, level, share)
    signs = np.where((strength >= threshold) & (strength > 0), np.sign(values), 0)
    numbered = label(signs.astype(np.int8), background=0, connectivity=2)
    return Regions(_large_enough(numbered, minimum_size / _area(place)), threshold, place)


def _threshold(
    strength: NDArray[np.float64], rule: ThresholdRule, level: float, share: float
) -> float:
    if rule == "fixed":
        return float(level)
    if rule == "otsu":  # foreground lies above Otsu's threshold, not on it
        return float(np.nextafter(threshold_otsu(strength), np.inf))
    kept = max(1, round(share * strength.size))
    return float(np.partition(strength, strength.size - kept, axis=None)[strength.size - kept])


def _area(grid: Grid) -> float:
    return grid.step[0] * grid.step[1]


def _large_enough(numbered: NDArray[np.integer], minimum: float) -> NDArray[np.int32]:
    """Leave out small regions and number the others again from 1, in the same order."""
    sizes = np.bincount(numbered.ravel())
    kept = sizes >= minimum
    kept[0] = False
    numbers = np.where(kept, np.cumsum(kept), 0)
    return np.asarray(numbers[numbered], dtype=np.int32)


def _grid_pixels(grid: Grid, axis: int, length: int) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Return for every source pixel of an axis its grid pixel, and whether there is one."""
    position = (np.arange(length) - grid.offset[axis]) / grid.step[axis]
    # an edge between two pixels belongs to the later one; the tolerance keeps whole factors exact
    nearest = np.floor(position + 0.5 + 1e-9).astype(np.intp)
    inside = (nearest >= 0) & (nearest < grid.shape[axis])
    return np.clip(nearest, 0, grid.shape[axis] - 1), inside
