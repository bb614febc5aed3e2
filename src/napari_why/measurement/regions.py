"""From a map of change to numbered regions, on the network's grid and on the source's pixels."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import pandas as pd
import skimage
from numpy.typing import NDArray

from napari_why.core.errors import MismatchError, ParameterError
from napari_why.counterfactuals import Counterfactual
from napari_why.counterfactuals.change import (
    measured_change,
    noise_limits,
    unchanged_image,
)
from napari_why.counterfactuals.spread import Spread
from napari_why.images import Grid, spatial_scale
from napari_why.measurement.change_maps import UNIT

if TYPE_CHECKING:
    from xarray import DataArray

# Of a value: a step of float32, in which pixels that are not whole numbers are stored.
RELATIVE_ROUNDING = 2.0**-23

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
    on_grid = grid or Grid((values.shape[0], values.shape[1]))
    strength = np.abs(values).astype(np.float64)
    threshold = _threshold(strength, rule, level, share)
    # without "> 0" a top share of more pixels than change would take in pixels without any change
    signs = np.where((strength >= threshold) & (strength > 0), np.sign(values), 0)
    # skimage joins pixels of equal value alone, so that signs keep increase and decrease apart
    numbered = skimage.measure.label(signs.astype(np.int8), background=0, connectivity=2)
    return Regions(_keep_large(numbered, minimum_size / pixel_area(on_grid)), threshold, on_grid)


# Half of the change of a region: its mean is then as likely of one sign as of the other.
MOSTLY = 0.5


def without_uncertain(regions: Regions, spread: Spread, channels: list[int]) -> Regions:
    """Leave out the regions most of whose change is of uncertain sign; number the others from 1.

    Parameters
    ----------
    regions : Regions
        Where the image changes.
    spread : Spread
        Of the change that they are of.
    channels : list of int
        Those whose change counts.

    Returns
    -------
    Regions
        Of the same shape.
    """
    amounts = np.abs(spread.change[channels].astype(np.float64))
    sure = np.where(spread.uncertain[channels], 0.0, amounts).sum(0)
    places, size = regions.labels.ravel(), regions.count + 1
    whole, known = (np.bincount(places, values.ravel(), size) for values in (amounts.sum(0), sure))
    kept = known >= MOSTLY * whole
    kept[0] = False  # the background
    numbers = np.where(kept, np.cumsum(kept), 0)
    return replace(regions, labels=np.asarray(numbers[regions.labels], dtype=np.int32))


def _threshold(
    strength: NDArray[np.float64], rule: ThresholdRule, level: float, share: float
) -> float:
    if rule == "fixed":
        return float(level)
    if rule == "otsu":  # foreground lies above Otsu's threshold, not on it
        return float(np.nextafter(skimage.filters.threshold_otsu(strength), np.inf))
    # at least one pixel: a small share of a small map would otherwise ask for the 0th largest
    kept = max(1, round(share * strength.size))
    return float(np.partition(strength, strength.size - kept, axis=None)[strength.size - kept])


def pixel_area(grid: Grid) -> float:
    """Return the area of a pixel of the grid, in pixels of the source."""
    return grid.step[0] * grid.step[1]


def _keep_large(numbered: NDArray[np.integer], minimum: float) -> NDArray[np.int32]:
    """Leave out small regions and number the others again from 1, in the same order."""
    sizes = np.bincount(numbered.ravel())
    kept = sizes >= minimum
    kept[0] = False  # the background, which is mostly the largest of all
    numbers = np.where(kept, np.cumsum(kept), 0)
    return np.asarray(numbers[numbered], dtype=np.int32)


def _grid_pixels(grid: Grid, axis: int, length: int) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Return for every source pixel of an axis its grid pixel, and whether there is one."""
    position = (np.arange(length) - grid.offset[axis]) / grid.step[axis]
    # an edge between two pixels belongs to the later one; 1e-9, far above the rounding of float64
    # and far below a pixel, keeps whole factors exact
    nearest = np.floor(position + 0.5 + 1e-9).astype(np.intp)
    inside = (nearest >= 0) & (nearest < grid.shape[axis])
    return np.clip(nearest, 0, grid.shape[axis] - 1), inside


# Names of columns carry their unit: a table is read far from this program. They are in files that
# users have, so they stay as they are.
REGION = "region"
AREA_PIXELS, AREA_MICROMETRES = "area (px)", "area (um^2)"
INTEGRATED_UNIT = f"{UNIT} x px"


def column(quantity: str, when: str, channel: str) -> str:
    """Return the name of an intensity column, with its unit.

    Parameters
    ----------
    quantity : {"mean", "integrated"}
    when : {"before", "after", "change"}
    channel : str

    Returns
    -------
    str

    Examples
    --------
    >>> column("mean", "before", "TMRM"), column("integrated", "change", "DAPI")
    ('TMRM mean before (grey levels)', 'DAPI integrated change (grey levels x px)')
    """
    unit = UNIT if quantity == "mean" else INTEGRATED_UNIT
    return f"{channel} {quantity} {when} ({unit})"


def effect_column(channel: str) -> str:
    """Return the name of a channel's effect size column; it has no unit."""
    return f"{channel} effect size (d)"


def region_table(
    result: Counterfactual, regions: Regions, source: "DataArray | None" = None
) -> pd.DataFrame:
    """Measure every region in every channel, before and after.

    Before is the reconstruction f^-1(f(x)), after the convincing image; both as the network's grid
    has them. Sizes are those of the source's pixels.

    Parameters
    ----------
    result : Counterfactual
    regions : Regions
        Of a map of ``result``.
    source : DataArray, optional
        The image the result is about; gives the pixel size. Without it, or without a calibrated
        pixel size, there are no micrometres.

    Returns
    -------
    DataFrame
        One row a region, in the order of their numbers:

        - ``region``: its number in ``regions.labels``,
        - ``area (px)`` in pixels of the source, ``area (um^2)`` where the pixel size is known,
        - ``y (px)``, ``x (px)``: centroid in pixel coordinates of the source,
        - for every channel ``mean`` (grey levels) and ``integrated`` (mean times area in source
          pixels) ``before``, ``after`` and ``change`` (after minus before),
        - for every channel ``effect size (d)``: the change of the mean divided by the mean of the
          standard deviations (n - 1) over the region's pixels before and after (Cohen's d_av;
          Lakens 2013, eq. 10); NaN where neither varies, and of a single pixel. It says how large the change is
          beside the variation inside the region; pixels of one region are no independent
          observations, so it is no test.

        ``attrs["units"]`` names the unit of each column.

    Raises
    ------
    MismatchError
        The regions are not on the grid of the result.
    """
    before = unchanged_image(result).astype(np.float64)
    after = before + measured_change(result)
    if regions.labels.shape != before.shape[1:]:
        raise MismatchError(
            f"regions: found a map of {regions.labels.shape} pixels; expected "
            f"{before.shape[1:]}, the grid of the counterfactual"
        )
    scale = _micrometres(source)
    rows = [
        {**_shape(region, regions, scale), **_intensities(region, before, after, regions, result)}
        for region in skimage.measure.regionprops(regions.labels)
    ]
    # the columns are given, so that a table without any region has them too
    names = _columns(result.channels, scale)
    table = pd.DataFrame(rows, columns=names)
    # Parquet keeps attrs, and the record lists them: units for programs, not only for eyes
    table.attrs["units"] = {name: _unit(name) for name in names}
    return table


def _columns(channels: tuple[str, ...], scale: tuple[float, float] | None) -> list[str]:
    names = [REGION, AREA_PIXELS, *([AREA_MICROMETRES] if scale else []), "y (px)", "x (px)"]
    for channel in channels:
        for quantity in ("mean", "integrated"):
            names += [column(quantity, when, channel) for when in ("before", "after", "change")]
        names.append(effect_column(channel))
    return names


def _unit(name: str) -> str:
    unit = name.rpartition("(")[2].rstrip(")") if name.endswith(")") else ""
    return "" if unit == "d" else unit  # Cohen's d is a name in brackets, not a unit


def _micrometres(source: "DataArray | None") -> tuple[float, float] | None:
    # a file without calibration has a pixel size of 1, which is no micrometre
    if source is None or source.attrs.get("unit") != "um":
        return None
    return spatial_scale(source)


def _shape(region: Any, regions: Regions, scale: tuple[float, float] | None) -> dict[str, float]:
    grid = regions.grid
    pixels = float(region.area) * pixel_area(grid)
    found: dict[str, float] = {REGION: int(region.label), AREA_PIXELS: pixels}
    if scale is not None:
        found[AREA_MICROMETRES] = pixels * scale[0] * scale[1]
    for axis, name in enumerate("yx"):
        found[f"{name} (px)"] = grid.offset[axis] + float(region.centroid[axis]) * grid.step[axis]
    return found


def _intensities(
    region: Any,
    before: NDArray[np.float64],
    after: NDArray[np.float64],
    regions: Regions,
    result: Counterfactual,
) -> dict[str, float]:
    rows, columns = region.coords.T
    # the network's grid may be coarser than the source, and light is counted in the source's pixels
    pixels = float(region.area) * pixel_area(regions.grid)
    found, noise = {}, noise_limits(result)
    for index, channel in enumerate(result.channels):
        old, new = before[index, rows, columns], after[index, rows, columns]
        if not noise.has_change(new - old):
            new = old
        means = {"before": old.mean(), "after": new.mean(), "change": (new - old).mean()}
        for when, mean in means.items():
            found[column("mean", when, channel)] = float(mean)
            found[column("integrated", when, channel)] = float(mean * pixels)
        found[effect_column(channel)] = effect_size(old, new)
    return found


def effect_size(before: NDArray[np.float64], after: NDArray[np.float64]) -> float:
    """Return Cohen's d_av: (mean after - mean before) / ((SD before + SD after) / 2).

    Lakens 2013, Front Psychol 4:863, eq. 10; standard deviations with n - 1.

    Parameters
    ----------
    before, after : ndarray, float64, shape (n,)
        In the same unit.

    Returns
    -------
    float
        NaN where neither set varies, and of single values.

    Examples
    --------
    >>> round(effect_size(np.array([1.0, 3.0]), np.array([3.0, 5.0])), 3)  # 2 / sqrt(2)
    1.414
    """
    if len(before) < 2:
        return float("nan")
    # d_av, not the paired d: that divides by the spread of the change, and where every pixel of a
    # region changes alike it grows without limit
    spread = float(before.std(ddof=1) + after.std(ddof=1)) / 2
    # of pixels that are all alike the deviation is not always exactly 0
    largest = float(max(np.abs(before).max(), np.abs(after).max()))
    if spread <= RELATIVE_ROUNDING * largest:
        return float("nan")
    return float((after.mean() - before.mean()) / spread)
