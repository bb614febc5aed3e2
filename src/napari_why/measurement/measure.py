"""One counterfactual measured: map of change, regions, table, and the verdict in one line."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_why.core.options import Help, Options, Range, Unit
from napari_why.core.record import Record
from napari_why.counterfactuals import Counterfactual
from napari_why.measurement import change_maps
from napari_why.measurement.regions import Regions, ThresholdRule, find_regions, region_table

if TYPE_CHECKING:
    from xarray import DataArray

# Share of the training images of a class that lie closer to it: from here on an image is further
# away than what training images usually are. One in twenty of them is, so it is no proof.
FAR = 0.95
# A share that rounds to all or to nothing is named in words: half a per cent rounds either way.
ROUNDS_TO_NOTHING, ROUNDS_TO_ALL = 0.005, 0.995


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
        What the second network predicts that image as; None without a second network.
    target : str
        The class that was to be reached.
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
        """Whether the second network predicts the target; None without a second network."""
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
        return f"second network disagrees (predicts {self.second_class})"

    def _share(self) -> str:
        leader, share = leading(self.shares)
        if share == 0:
            return "nothing changes"
        text = f"{percent(share)} of the change in {leader}"
        # a bright channel leads in grey levels by its brightness alone; where a dim one changes
        # more beside its own spread, one number would mislead
        other, relative = leading(self.relative_shares)
        if other != leader:
            text += f" (relative to each channel's own spread, {percent(relative)} in {other})"
        return text

    def _far(self) -> str:
        if self.distance is None or self.distance < FAR:
            return ""
        if self.distance == 1:  # "further than 100 % of" would read as a rounded share
            return f"further from the data than every training image of {self.target}"
        return (
            f"further from the data than {percent(self.distance)} of the training images "
            f"of {self.target}"
        )


def verdict(result: Counterfactual) -> Verdict:
    """Say what one counterfactual is worth.

    Examples
    --------
    >>> verdict(result).line  # doctest: +SKIP
    'flips; second network agrees; 92 % of the change in TMRM'
    """
    change = np.abs(change_maps.changed_image(result).astype(np.float64) - result.reconstruction)
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
    if ROUNDS_TO_ALL <= share < 1:
        return "more than 99 %"
    if 0 < share < ROUNDS_TO_NOTHING:
        return "less than 1 %"
    return f"{share:.0%}".replace("%", " %")


def _shares(channels: tuple[str, ...], amounts: NDArray[np.float64]) -> dict[str, float]:
    total = float(amounts.sum())
    parts = amounts / total if total > 0 else np.zeros_like(amounts)
    return dict(zip(channels, parts.tolist(), strict=True))


def _second_class(result: Counterfactual) -> str | None:
    # asked about exactly the exported image, which is what a user shows to others
    found = (result.second_probabilities or {}).get("alpha1")
    return None if found is None else result.classes[int(np.argmax(found))]


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
    """

    map: change_maps.ChangeMap
    channel: str
    regions: Regions
    table: pd.DataFrame
    verdict: Verdict
    record: Record

    @property
    def plane(self) -> Any:
        """The map that was thresholded, float32, shape (H, W)."""
        return self.map.plane(self.channel)


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
    table = region_table(result, regions, source)
    found = verdict(result)
    details = {
        # whole, so that the table alone tells how its counterfactual was made
        "counterfactual": result.record.to_dict(),
        "threshold": regions.threshold,
        "regions": regions.count,
        "offset": dict(zip(result.channels, mapped.offset.tolist(), strict=True)),
        "verdict": found.line,
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
    return Measurement(mapped, chosen.channel, regions, table, found, record)
