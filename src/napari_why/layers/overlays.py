"""An attribution as coloured overlays on the raw image."""

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from napari_why.layers.colormaps import diverging, symmetric_limits
from napari_why.layers.placement import place

if TYPE_CHECKING:
    from napari.layers import Image

    from napari_why.attribution.explain import Attribution

OPACITY = 0.8


def overlay_layers(
    attribution: "Attribution", sources: "list[Image]", plane: tuple[int, ...] | None = None
) -> "list[Image]":
    """Return the joint map, visible, and one map a channel, hidden.

    All share one pair of contrast limits, so that channels compare by eye.

    Parameters
    ----------
    attribution : Attribution
    sources : list of Image layers
        The raw layers, empty when there are none.
    plane : tuple of int, optional
        See :func:`napari_why.to_layers`.

    Returns
    -------
    list of Image layers
        Values in the attribution's unit, limits symmetric around zero.
    """
    from napari.layers import Image

    placement = place(attribution.grid, sources[0] if sources else None, plane)
    identity = uuid4().hex
    title = f"{attribution.record.method}: {attribution.target}"

    def layer(values: NDArray[Any], limits: tuple[float, float], channel: str | None) -> Image:
        made = Image(
            placement.shaped(np.asarray(values, dtype=np.float32)),
            name=title if channel is None else f"{title}, {channel}",
            colormap=diverging(),
            contrast_limits=limits,
            opacity=OPACITY,
            blending="translucent_no_depth",
            visible=channel is None,
            metadata={"napari_why": _metadata(attribution, identity, channel)},
            **placement.options,
        )
        made.contrast_limits_range = limits
        made.colorbar.visible = True
        return made

    maps = zip(attribution.maps, attribution.channels, strict=True)
    shared = symmetric_limits(attribution.maps)
    return [
        *(layer(values, shared, channel) for values, channel in maps),
        layer(attribution.joint, symmetric_limits(attribution.joint), None),
    ]


def _metadata(attribution: "Attribution", identity: str, channel: str | None) -> dict[str, Any]:
    return {
        **attribution.record.to_dict(),
        "id": identity,
        "role": "attribution",
        "channel": channel,
        "target": attribution.target,
        "unit": attribution.unit,
        "gap": attribution.gap,
        "gap_meaning": attribution.gap_meaning,
    }
