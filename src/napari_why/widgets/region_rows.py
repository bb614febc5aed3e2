"""A measurement in the few columns and words that a dock has room for."""

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_why.measurement import Measurement


def region_rows(found: "Measurement") -> tuple[list[tuple[str, str]], list[list[str]], list[int]]:
    """Return headers with their tooltips, rows, and the label of each row, largest region first.

    Of a joint map the changes of all channels; of a channel's map the change and effect size of
    that channel. The file that is saved has all columns.
    """
    from napari_why.measurement.regions import (
        AREA_MICROMETRES,
        AREA_PIXELS,
        REGION,
        column,
        effect_column,
    )

    table = found.table
    known = AREA_MICROMETRES in table
    area = AREA_MICROMETRES if known else AREA_PIXELS
    shown = [(REGION, REGION), ("area µm²" if known else "area px", area)]
    one = found.channel in found.map.channels
    channels = (found.channel,) if one else found.map.channels
    shown += [(f"Δ {channel}", column("mean", "change", channel)) for channel in channels]
    if one:
        shown.append(("d", effect_column(found.channel)))
    ordered = table.sort_values(area, ascending=False, kind="stable")
    rows = [
        [str(int(values[0])), *(short(value) for value in values[1:])]
        for values in ordered[[name for _, name in shown]].to_numpy()
    ]
    return shown, rows, [int(region) for region in ordered[REGION]]


def measurement_summary(found: "Measurement") -> str:
    """Say how many regions there are, above which value, and what each channel changes at large."""
    count = found.regions.count
    told = "No region" if not count else f"{count} region{'s' if count > 1 else ''}"
    offsets = ", ".join(
        f"{name} {short(offset, '+')}"
        for name, offset in zip(found.map.channels, found.map.offset, strict=True)
    )
    return (
        f"{told} from {short(found.regions.threshold)} on. Global change of each channel, in grey "
        f"levels: {offsets}."
    )


def short(value: float, sign: str = "") -> str:
    """Write a number for a narrow column: three digits, but never as a power of ten.

    Examples
    --------
    >>> short(0.12345), short(-12345.6), short(float("nan")), short(2, "+")
    ('0.123', '-12346', '', '+2')
    """
    if math.isnan(value):
        return ""
    return f"{value:{sign}.0f}" if abs(value) >= 1000 else f"{value:{sign}.3g}"
