"""One counterfactual measured: map of change, regions, table, and the verdict in one line."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_why.core.options import Help, Range, Unit, validated
from napari_why.core.record import Record
from napari_why.counterfactuals import Counterfactual
from napari_why.measurement.change_maps import (
    JOINT,
    UNIT,
    ChangeMap,
    MapKind,
    OffsetRule,
    change_map,
    changed_image,
)
from napari_why.measurement.regions import Regions, ThresholdRule, find_regions, region_table

if TYPE_CHECKING:
    from xarray import DataArray

# From here on an image is further from its class than what training images usually are.
FAR = 0.95


@dataclass(frozen=True)
class Verdict:
    """What is to be said of one counterfactual.

    Parameters
    ----------
    valid : bool
        The exported convincing image is predicted as the target.
    complete : bool
        False when the work was cancelled, perhaps before there was a convincing image.
    second_class : str or None
        What the second network calls that image; None where nobody asked one.
    target : str
        The class that was asked for.
    shares : dict of str to float
        Of each channel, its share (0 to 1) of the absolute change, summed over all pixels in grey
        levels. All 0 where nothing changes.
    relative_shares : dict of str to float
        The same with the change of each channel in units of that channel's own standard deviation
        over the pixels of the image: a bright channel does not outweigh a dim one here.
    distance : float or None
        As :attr:`~napari_why.counterfactuals.Counterfactual.distance`.
    """

    valid: bool
    complete: bool
    second_class: str | None
    target: str
    shares: dict[str, float]
    relative_shares: dict[str, float]
    distance: float | None

    @property
    def second_agrees(self) -> bool | None:
        """Whether the second network calls the image the target; None where nobody asked one."""
        return None if self.second_class is None else self.second_class == self.target

    @property
    def line(self) -> str:
        """All of it in one line.

        Examples
        --------
        >>> shares = {"DAPI": 0.08, "mitochondria": 0.92}
        >>> Verdict(True, True, "treated", "treated", shares, shares, None).line
        'flips; second network agrees; 92 % of the change in mitochondria'
        """
        return "; ".join(
            part for part in (self._flip(), self._second(), self._share(), self._far()) if part
        )

    def _flip(self) -> str:
        if not self.complete and not self.valid:
            return "stopped before the convincing image was made"
        return "flips" if self.valid else "does not flip"

    def _second(self) -> str:
        if self.second_class is None:
            return "no second network"
        if self.second_agrees:
            return "second network agrees"
        return f"second network disagrees (calls it {self.second_class})"

    def _share(self) -> str:
        leader, share = leading(self.shares)
        if share == 0:
            return "nothing changes"
        text = f"{percent(share)} of the change in {leader}"
        other, relative = leading(self.relative_shares)
        if other != leader:
            text += f" (relative to each channel's own spread, {percent(relative)} in {other})"
        return text

    def _far(self) -> str:
        if self.distance is None or self.distance < FAR:
            return ""
        if self.distance == 1:
            return f"further from the data than every training image of {self.target}"
        return (
            f"further from the data than {percent(self.distance)} of the training images "
            f"of {self.target}"
        )


def verdict(result: Counterfactual) -> Verdict:
    """Judge one counterfactual.

    Examples
    --------
    >>> verdict(result).line  # doctest: +SKIP
    'flips; second network agrees; 92 % of the change in TMRM'
    """
    change = np.abs(changed_image(result).astype(np.float64) - result.reconstruction)
    amounts = change.sum(axis=(1, 2))
    spreads = result.reconstruction.astype(np.float64).std(axis=(1, 2))
    # a channel without any structure has no spread to compare its change with
    relative = np.divide(amounts, spreads, out=np.zeros_like(amounts), where=spreads > 0)
    return Verdict(
        valid=result.valid,
        complete=result.complete,
        second_class=_second_class(result),
        target=result.target,
        shares=_shares(result.channels, amounts),
        relative_shares=_shares(result.channels, relative),
        distance=result.distance,
    )


def leading(shares: dict[str, float]) -> tuple[str, float]:
    """Return the channel with the largest share, and that share."""
    name = max(shares, key=lambda channel: shares[channel])
    return name, shares[name]


def percent(share: float) -> str:
    """Write a share; never 100 % or 0 % for what is not all or nothing.

    Examples
    --------
    >>> percent(0.918), percent(0.9999), percent(1.0), percent(0.001)
    ('92 %', 'more than 99 %', '100 %', 'less than 1 %')
    """
    if 0.995 <= share < 1:
        return "more than 99 %"
    if 0 < share < 0.005:
        return "less than 1 %"
    return f"{share:.0%}".replace("%", " %")


def _shares(channels: tuple[str, ...], amounts: NDArray[np.float64]) -> dict[str, float]:
    total = float(amounts.sum())
    parts = amounts / total if total > 0 else np.zeros_like(amounts)
    return dict(zip(channels, parts.tolist(), strict=True))


def _second_class(result: Counterfactual) -> str | None:
    found = (result.second_probabilities or {}).get("alpha1")
    return None if found is None else result.classes[int(np.argmax(found))]


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
