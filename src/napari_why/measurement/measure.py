"""One counterfactual measured: map, regions, table and verdict."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import pandas as pd

from napari_why.core.options import Help, Range, Unit, validated
from napari_why.core.pictures import Picture
from napari_why.core.record import Record
from napari_why.counterfactuals import Counterfactual, Verdict, verdict
from napari_why.measurement.change_maps import (
    JOINT,
    UNIT,
    ChangeMap,
    MapKind,
    OffsetRule,
    change_map,
)
from napari_why.measurement.regions import Regions, ThresholdRule, find_regions, region_table

if TYPE_CHECKING:
    from xarray import DataArray

    from napari_why.images import Grid

# What the layer of each kind of map is called.
MAP_TITLES: dict[MapKind, str] = {
    "change": "change",
    "offset_free": "change without global offset",
    "influence": "influence on the probability",
}


@dataclass(frozen=True)
class Measurement:
    """What :func:`measure` found in one counterfactual.

    Parameters
    ----------
    map : ChangeMap
        What was thresholded, and the global change of each channel (``map.offset``).
    channel : str
        Which plane of the map: a channel, or ``joint``.
    regions : Regions
    table : DataFrame
        See :func:`~napari_why.measurement.regions.region_table`.
    verdict : Verdict
    record : Record
        How the counterfactual and the measurement were made.
    """

    map: ChangeMap
    channel: str
    regions: Regions
    table: pd.DataFrame
    verdict: Verdict
    record: Record

    @property
    def plane(self) -> Any:
        """The map that was thresholded, float32, shape (H, W)."""
        return self.map.plane(self.channel)

    @property
    def grid(self) -> "Grid":
        """Where the pixels of map and regions lie on the source image."""
        return self.regions.grid

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences to read beside the table."""
        return (self.verdict.line,)

    @property
    def facts(self) -> dict[str, Any]:
        """What its layers carry beside the record."""
        return {"verdict": self.verdict.line}

    def pictures(self) -> dict[str, Picture]:
        """Return the map that was thresholded, hidden, and above it the regions."""
        title = f"{self.channel}: {MAP_TITLES[self.map.kind]}"
        return {
            "map": Picture(
                compute=lambda: self.plane[None],
                channels=(self.channel,),
                titles=(title,),
                role="change map",
                kind="signed",
                unit=UNIT,
                visible=False,
                over_raw=True,
            ),
            "regions": Picture(
                compute=lambda: self.regions.labels[None],
                channels=(self.channel,),
                titles=(f"regions ({title})",),
                role="regions",
                kind="labels",
                unit="",
                in_file=False,  # numbers of regions and a map in float32 have no common pixel type
                table=self.table,
            ),
        }


def measurement_options(
    *,
    view: Annotated[
        MapKind,
        Help(
            "what is measured: the change, the change without each channel's global offset, or "
            "the steps of the series weighted by their influence on the probability"
        ),
    ] = "change",
    channel: Annotated[str, Help("name of a channel, or joint for all together")] = JOINT,
    threshold: Annotated[
        ThresholdRule,
        Help(
            "where a region begins: Otsu's threshold, a fixed level, or the top share of pixels; "
            "Otsu and top find regions in noise too"
        ),
    ] = "otsu",
    level: Annotated[float, Help("of the fixed threshold"), Range(0.0, 1e9), Unit(UNIT)] = 100.0,
    top_share: Annotated[float, Help("of pixels, for top"), Range(0.0001, 1.0)] = 0.05,
    minimum_size: Annotated[
        float, Help("smaller regions are left out"), Range(0.0, 1e9), Unit("px")
    ] = 20.0,
    offset: Annotated[
        OffsetRule, Help("what a channel's global change is: of all its pixels the mean or median")
    ] = "mean",
) -> dict[str, Any]:
    """Return the options of a measurement; forms, shell and validation read this signature."""
    return {
        "view": view,
        "channel": channel,
        "threshold": threshold,
        "level": level,
        "top_share": top_share,
        "minimum_size": minimum_size,
        "offset": offset,
    }


def measure(
    result: Counterfactual, source: "DataArray | None" = None, **options: Any
) -> Measurement:
    """Find the regions that a counterfactual changes, and measure them before and after.

    Parameters
    ----------
    result : Counterfactual
    source : DataArray, dims (c, y, x), optional
        The image that ``result`` is about; gives the pixel size.
    **options
        Those of :func:`measurement_options`: ``view``, ``channel``, ``threshold``, ``level``,
        ``top_share``, ``minimum_size``, ``offset``.

    Returns
    -------
    Measurement

    Raises
    ------
    ParameterError
        An unknown option or channel, or a value out of range.

    Examples
    --------
    >>> found = why.measure(result, image, threshold="fixed", level=200)  # doctest: +SKIP
    >>> found.table["area (um^2)"].sum()  # doctest: +SKIP
    412.3
    """
    values = validated(measurement_options, options)
    mapped = change_map(result, values["view"], offset=values["offset"])
    regions = find_regions(
        mapped.plane(values["channel"]),
        result.grid,
        rule=values["threshold"],
        level=values["level"],
        share=values["top_share"],
        minimum_size=values["minimum_size"],
    )
    table = region_table(result, regions, source)
    judged = verdict(result)
    details = {
        "counterfactual": result.record.to_dict(),
        "threshold": regions.threshold,
        "regions": regions.count,
        "offset": dict(zip(result.channels, mapped.offset.tolist(), strict=True)),
        "verdict": judged.line,
        "units": table.attrs["units"],
    }
    record = replace(
        Record(kind="measurement", method=values["view"], parameters=values, details=details),
        classifier=result.record.classifier,
        source=result.record.source,
    )
    return Measurement(mapped, values["channel"], regions, table, judged, record)
