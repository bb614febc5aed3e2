"""What is inside each region: size, place and intensity, before and after."""

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from skimage.measure import regionprops

from napari_why.counterfactuals import Counterfactual
from napari_why.errors import MismatchError
from napari_why.images import spatial_scale
from napari_why.measurement.change_maps import UNIT, changed_image
from napari_why.measurement.regions import Regions

if TYPE_CHECKING:
    from xarray import DataArray

REGION = "region"
AREA_PIXELS, AREA_MICROMETRES = "area (px)", "area (um^2)"
INTEGRATED_UNIT = f"{UNIT} x px"


def column(quantity: str, when: str, channel: str) -> str:
    """Return the name of an intensity column, with its unit.

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
        - for every channel ``effect size (d)``: the change of the mean divided by the root mean
          square of the standard deviations over the region's pixels before and after (Cohen's
          d_av; Lakens 2013, eq. 10); NaN where neither varies. It says how large the change is
          beside the variation inside the region; pixels of one region are no independent
          observations, so it is no test.

        ``attrs["units"]`` names the unit of each column.

    Raises
    ------
    MismatchError
        The regions are not on the grid of the result.
    """
    before = result.reconstruction.astype(np.float64)
    after = changed_image(result).astype(np.float64)
    if regions.labels.shape != before.shape[1:]:
        raise MismatchError(
            f"regions: found a map of {regions.labels.shape} pixels; expected "
            f"{before.shape[1:]}, the grid of the counterfactual"
        )
    scale = _micrometres(source)
    rows = [
        {**_shape(region, regions, scale), **_intensities(region, before, after, regions, result)}
        for region in regionprops(regions.labels)
    ]
    names = _columns(result.channels, scale)
    table = pd.DataFrame(rows, columns=names)
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
    return "" if unit == "d" else unit


def _micrometres(source: "DataArray | None") -> tuple[float, float] | None:
    if source is None or source.attrs.get("unit") != "um":
        return None
    return spatial_scale(source)


def _shape(region: Any, regions: Regions, scale: tuple[float, float] | None) -> dict[str, float]:
    grid = regions.grid
    pixels = float(region.area) * grid.step[0] * grid.step[1]
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
    pixels = float(region.area) * regions.grid.step[0] * regions.grid.step[1]
    found = {}
    for index, channel in enumerate(result.channels):
        old, new = before[index, rows, columns], after[index, rows, columns]
        means = {"before": old.mean(), "after": new.mean(), "change": (new - old).mean()}
        for when, mean in means.items():
            found[column("mean", when, channel)] = float(mean)
            found[column("integrated", when, channel)] = float(mean * pixels)
        found[effect_column(channel)] = effect_size(old, new)
    return found


def effect_size(before: NDArray[np.float64], after: NDArray[np.float64]) -> float:
    """Return Cohen's d_av of two sets of values: difference of means over the mean spread.

    Returns
    -------
    float
        NaN where neither set varies.

    Examples
    --------
    >>> effect_size(np.array([1.0, 3.0]), np.array([3.0, 5.0]))
    2.0
    """
    spread = float(np.sqrt((before.var() + after.var()) / 2))
    return float((after.mean() - before.mean()) / spread) if spread > 0 else float("nan")
