"""One counterfactual measured: map of change, regions, table, and the verdict in one line."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import pandas as pd

from napari_why.core.options import Help, Options, Range, Unit
from napari_why.core.pictures import Picture
from napari_why.core.record import Record
from napari_why.counterfactuals import Counterfactual, Verdict, verdict
from napari_why.measurement import change_maps
from napari_why.measurement.regions import (
    Regions,
    ThresholdRule,
    find_regions,
    region_table,
    without_uncertain,
)

if TYPE_CHECKING:
    from xarray import DataArray

    from napari_why.images import Grid

# Titles of layers, by kind of map.
MAP_TITLES: dict[change_maps.MapKind, str] = {
    "change": "change",
    "offset_free": "change without global offset",
    "influence": "influence on the probability",
}
# No bound of its own (grey levels of float images, pixels of any field): forms need a number.
LARGEST_NUMBER = 1e9


@dataclass(frozen=True)
class Measurement:
    """What :func:`measure` found in one counterfactual.

    Parameters
    ----------
    map : change_maps.ChangeMap
        What was thresholded, and the global change of each channel (``map.offset``).
    channel : str
        Which plane of the map: a channel, or ``joint``.
    regions : Regions
    table : DataFrame
        See :func:`~napari_why.measurement.regions.region_table`.
    verdict : Verdict
    record : Record
        How the counterfactual and the measurement were made.
    left_out : int
        Regions that are not among them, since most of their change is of uncertain sign.
    """

    map: change_maps.ChangeMap
    channel: str
    regions: Regions
    table: pd.DataFrame
    verdict: Verdict
    record: Record
    left_out: int = 0

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
        return (self.verdict.line, *say_left_out(self.left_out))

    @property
    def facts(self) -> dict[str, Any]:
        """What its layers carry beside the record."""
        return self.verdict.facts

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
                unit=change_maps.UNIT,
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


@dataclass(frozen=True, kw_only=True)
class MeasurementOptions(Options):
    """What is measured, and where a region begins.

    Parameters
    ----------
    view, channel, threshold, level, top_share, minimum_size, offset
        See the annotations; checked when the options are made.
    """

    view: Annotated[
        change_maps.MapKind,
        Help(
            "what is measured: the change, the change without each channel's global offset, or "
            "the steps of the series weighted by their influence on the probability"
        ),
    ] = "change"
    channel: Annotated[str, Help("name of a channel, or joint for all together")] = (
        change_maps.JOINT
    )
    threshold: Annotated[
        ThresholdRule,
        Help(
            "where a region begins: Otsu's threshold, a fixed level, or the top share of pixels; "
            "Otsu and top find regions in noise too"
        ),
    ] = "otsu"  # the only rule that needs no number from the user, who has not seen the map yet
    # 100 of the 65,535 grey levels of 16 bits: a start to be moved, since noise differs by camera
    level: Annotated[
        float, Help("of the fixed threshold"), Range(0.0, LARGEST_NUMBER), Unit(change_maps.UNIT)
    ] = 100.0
    # one pixel in twenty: few enough for regions, enough for several of them
    top_share: Annotated[float, Help("of pixels, for top"), Range(0.0001, 1.0)] = 0.05
    # a disc 5 px across; a smaller size keeps specks of noise, a larger one loses small organelles
    minimum_size: Annotated[
        float, Help("smaller regions are left out"), Range(0.0, LARGEST_NUMBER), Unit("px")
    ] = 20.0
    # the mean, so that the change without it sums to nothing; the median is not moved by structures
    offset: Annotated[
        change_maps.OffsetRule,
        Help("what a channel's global change is: of all its pixels the mean or median"),
    ] = "mean"


def measure(
    result: Counterfactual,
    source: "DataArray | None" = None,
    options: MeasurementOptions | None = None,
    **changes: Any,
) -> Measurement:
    """Find the regions that a counterfactual changes, and measure them before and after.

    Parameters
    ----------
    result : Counterfactual
    source : DataArray, dims (c, y, x), optional
        The image that ``result`` is about; gives the pixel size.
    options : MeasurementOptions, optional
        What is measured; the defaults of the class without any.
    **changes
        Single options by name, in place of those in ``options``: ``view``, ``channel``,
        ``threshold``, ``level``, ``top_share``, ``minimum_size``, ``offset``.

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
    chosen = MeasurementOptions.of(options, changes)
    mapped = change_maps.change_map(result, chosen.view, offset=chosen.offset)
    regions = find_regions(
        mapped.plane(chosen.channel),
        result.grid,
        rule=chosen.threshold,
        level=chosen.level,
        share=chosen.top_share,
        minimum_size=chosen.minimum_size,
    )
    found_regions = regions.count
    if result.spread is not None:
        channels = mapped.planes_of(chosen.channel)
        regions = without_uncertain(regions, result.spread, channels)
    left_out = found_regions - regions.count
    table = region_table(result, regions, source)
    found = verdict(result)
    details = {
        # whole, so that the table alone tells how its counterfactual was made
        "counterfactual": result.record.to_dict(),
        "threshold": regions.threshold,
        "regions": regions.count,
        "regions_of_uncertain_sign": left_out,
        "offset": dict(zip(result.channels, mapped.offset.tolist(), strict=True)),
        **found.facts,
        "units": table.attrs["units"],
    }
    record = Record(
        kind="measurement",
        method=chosen.view,
        parameters=chosen.to_dict(),
        classifier=result.record.classifier,
        source=result.record.source,
        details=details,
    )
    return Measurement(mapped, chosen.channel, regions, table, found, record, left_out)


def say_left_out(regions: int) -> tuple[str, ...]:
    """Return the sentence that tells of regions that were left out; none of none."""
    if not regions:
        return ()
    were = "region was" if regions == 1 else "regions were"
    return (f"{regions} {were} left out: most of what changes there is of uncertain sign",)
