"""A measurement as layers: the map that was thresholded, and its regions as labels."""

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np
import pandas as pd

from napari_why.layers.colormaps import diverging, symmetric_limits
from napari_why.layers.placement import place

if TYPE_CHECKING:
    from napari.layers import Image, Labels

    from napari_why.measurement import Measurement

OPACITY = 0.8
# napari's own column that says which label a row of the features is about
INDEX = "index"
VIEWS = {
    "change": "change",
    "offset_free": "change without global offset",
    "influence": "influence on the probability",
}


def region_layers(
    measurement: "Measurement", sources: "list[Image]", plane: tuple[int, ...] | None = None
) -> "list[Image | Labels]":
    """Return the map that was thresholded, hidden, and above it the regions as outlined labels.

    Parameters
    ----------
    measurement : Measurement
    sources : list of Image layers
        The raw layers, empty when there are none.
    plane : tuple of int, optional
        See :func:`napari_why.to_layers`.

    Returns
    -------
    list of Image and Labels
        One each. ``features`` of the labels is the region table, by label; the pixels are not to be
        painted on, for the table would not follow.
    """
    from napari.layers import Image, Labels

    placement = place(measurement.regions.grid, sources[0] if sources else None, plane)
    identity = uuid4().hex
    title = f"{measurement.channel}: {VIEWS[measurement.map.kind]}"
    limits = symmetric_limits(measurement.plane)
    change = Image(
        placement.shaped(measurement.plane),
        name=title,
        colormap=diverging(),
        contrast_limits=limits,
        opacity=OPACITY,
        blending="translucent_no_depth",
        visible=False,
        metadata={"napari_why": _metadata(measurement, identity, "change map")},
        **placement.options,
    )
    change.contrast_limits_range = limits
    change.colorbar.visible = True
    regions = Labels(
        placement.shaped(measurement.regions.labels),
        name=f"regions ({title})",
        features=features_of(measurement.table),
        opacity=OPACITY,
        metadata={"napari_why": _metadata(measurement, identity, "regions")},
        **placement.options,
    )
    regions.contour = 1
    regions.editable = False
    regions.selected_label = 0  # none is chosen yet
    return [change, regions]


def features_of(table: pd.DataFrame) -> pd.DataFrame:
    """Return a region table as the features of a Labels layer, background first.

    Examples
    --------
    >>> features_of(pd.DataFrame({"region": [1], "area (px)": [12.0]}))["index"].tolist()
    [0, 1]
    """
    measured = table.drop(columns="region")
    background = pd.DataFrame({name: [np.nan] for name in measured})
    joined = pd.concat([background, measured], ignore_index=True).astype(float)
    joined.insert(0, INDEX, [0, *table["region"].astype(int)])
    return joined


def _metadata(measurement: "Measurement", identity: str, role: str) -> dict[str, Any]:
    return {
        **measurement.record.to_dict(),
        "id": identity,
        "role": role,
        "channel": measurement.channel,
        "verdict": measurement.verdict.line,
    }


def region_centre(layer: "Labels", region: int) -> tuple[float, ...] | None:
    """Return the world position of a region's centroid on every axis of its layer, None without."""
    places = np.argwhere(np.asarray(layer.data) == region)
    if not len(places):
        return None
    return tuple(float(value) for value in layer.data_to_world(places.mean(axis=0)))
