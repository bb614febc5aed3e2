"""What is kept of one measured image: its row of the table, and its pairs for the statistics."""

from typing import Any

import numpy as np
import pandas as pd

from napari_why.counterfactuals import Counterfactual
from napari_why.measurement.change_maps import UNIT, changed_image
from napari_why.measurement.measure import Measurement
from napari_why.measurement.region_table import AREA_PIXELS, INTEGRATED_UNIT, column

MEAN_OF_IMAGE = f"mean of the image ({UNIT})"
MEAN_OF_REGIONS = f"mean of the regions ({UNIT})"
SUM_OF_REGIONS = f"integrated over the regions ({INTEGRATED_UNIT})"


def image_row(found: Measurement) -> dict[str, Any]:
    """Return what the table of images says of one image."""
    judged = found.verdict
    shares = {f"share of change in {name}": share for name, share in judged.shares.items()}
    offsets = {
        f"{name} global change ({UNIT})": float(offset)
        for name, offset in zip(found.map.channels, found.map.offset, strict=True)
    }
    return {
        "valid": judged.valid,
        "second agrees": judged.second_agrees,
        **shares,
        **offsets,
        "distance": np.nan if judged.distance is None else judged.distance,
        "regions": len(found.table),
        "area of regions (px)": float(found.table[AREA_PIXELS].sum()),
        "verdict": judged.line,
    }


def paired_rows(result: Counterfactual, table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return one pair of values, before and after, per measure and channel of one image.

    Regions of one image are pooled, increase and decrease together: were only those taken that
    increase, an increase would be found in noise as well. Without a region their values are NaN.
    """
    after = changed_image(result).astype(np.float64)
    area = float(table[AREA_PIXELS].sum())
    rows = []
    for index, channel in enumerate(result.channels):
        means = (float(result.reconstruction[index].mean()), float(after[index].mean()))
        rows.append(_pair(MEAN_OF_IMAGE, channel, *means))
        if area > 0:
            sums = [
                float(table[column("integrated", when, channel)].sum())
                for when in ("before", "after")
            ]
        else:
            sums = [np.nan, np.nan]
        rows.append(_pair(MEAN_OF_REGIONS, channel, *(value / (area or 1) for value in sums)))
        rows.append(_pair(SUM_OF_REGIONS, channel, *sums))
    return rows


def _pair(measure: str, channel: str, before: float, after: float) -> dict[str, Any]:
    return {"measure": measure, "channel": channel, "before": before, "after": after}
