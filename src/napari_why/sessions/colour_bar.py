"""What stands beside a colour bar, and what bar and title lie on."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.components.overlays import TextOverlay
from napari.layers import Image, Layer

from napari_why.core.pictures import BAR_GROUND, BAR_PLACE, BAR_TEXT, EVIDENCE_ROLES
from napari_why.output.layer_metadata import LayerFacts

if TYPE_CHECKING:
    from napari.components import ViewerModel

# The viewer's overlay that says what the colour bar next to it is of.
TITLE = "napari_why_bar_title"
TITLE_SIZE = 9  # points, a little smaller than napari's own text, 10
# Of 1: text on a brighter ground is black.
MIDDLE_GREY = 0.5


def write_bar(
    viewer: "ViewerModel", layers: Sequence[Layer], below: Sequence[Layer], doubt: str = ""
) -> None:
    """Say beside the colour bar what it is of, in which unit, and let zero look as in the picture.

    Parameters
    ----------
    viewer : ViewerModel
    layers : sequence of Layer
        Those of the result on show that are in the viewer; none takes the title away.
    below : sequence of Layer
        The channels that may be seen where the result is transparent.
    doubt : str
        Said below the title, where there is one.
    """
    overlays = viewer.canvas.overlays
    text = title_of_bar(layers)
    if text and doubt:
        text += f"\n{doubt}"
    if TITLE not in overlays:
        if not text:
            return
        overlays[TITLE] = TextOverlay(position=BAR_PLACE, font_size=TITLE_SIZE)
    ground, ink = _colours_of_bar(viewer, layers, below)
    for overlay in (overlays[TITLE], *(layer.colorbar for layer in _with_bar(layers))):
        overlay.box_color, overlay.color = ground, ink
    overlays[TITLE].text = text
    overlays[TITLE].visible = bool(text)


def title_of_bar(layers: Sequence[Layer]) -> str:
    """Say what the colour bars of the visible layers are of, and in which unit; empty without one.

    Numbers stand at the bar; how many pixels lie beyond its ends stands here.
    """
    barred = _with_bar(layers)
    if not barred:
        return ""
    layer = barred[-1]
    facts, said = LayerFacts.of(layer), _said(layer)
    what = "all channels" if facts.channel is None else str(facts.channel)
    if facts.role in EVIDENCE_ROLES:
        lines = [f"against (-) / for (+) {facts.target}", f"{what}, {said['unit']}"]
    else:
        role = "change" if facts.is_difference else facts.role
        lines = [f"{role}: less (-) / more (+)", f"{what}, {said['unit']}"]
    if said.get("clipped"):
        lines.append(f"{100 * said['clipped']:.2g} % beyond the ends")
    return "\n".join(lines)


def _with_bar(layers: Sequence[Layer]) -> list[Image]:
    seen = [layer for layer in layers if layer.visible and isinstance(layer, Image)]
    return [layer for layer in seen if layer.colorbar.visible and "unit" in _said(layer)]


def _colours_of_bar(
    viewer: "ViewerModel", layers: Sequence[Layer], below: Sequence[Layer]
) -> tuple[Any, str]:
    """Return what bars lie on, and the colour of their text, so that zero is the same as in the picture.

    Zero of a map over an image is transparent: what lies below is seen, black as long as a channel is
    shown, and the canvas of the theme where none is.
    """
    covered = any(layer.visible and layer in viewer.layers for layer in below)
    if covered or not any(_is_clear_at_zero(layer) for layer in _with_bar(layers)):
        return BAR_GROUND, BAR_TEXT
    canvas = np.asarray(viewer.canvas.background_color)
    return canvas, "black" if canvas[:3].mean() > MIDDLE_GREY else "white"


def _is_clear_at_zero(layer: Image) -> bool:
    return bool(layer.colormap.map(0.5)[0, 3] == 0)  # limits are as far below zero as above


def _said(layer: Layer) -> dict[str, Any]:
    return dict(LayerFacts.of(layer).further)
