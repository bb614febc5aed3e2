"""Opens images of a data set side by side, in one contrast."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Layer
from psygnal import Signal

from napari_why.napari_reader import image_layers
from napari_why.output.layer_metadata import LayerFacts, image_name
from napari_why.sessions.explanation import Host
from napari_why.sessions.layers_in_viewer import LayerChange
from napari_why.sessions.results_on_show import results_of

if TYPE_CHECKING:
    from napari_why.datasets import Dataset

# Three by three: more images would each be too small to look at beside one another.
MOST_OPENED = 9
COLUMNS = 3  # nine images make a square
# Distance of the images as a share of their size: wide enough to tell two dark fields apart.
GAP = 1.04


class ImageOpener:
    """Opens images as raw layers beside what is shown, and takes away those it opened before.

    Parameters
    ----------
    host : Host
        The viewer, where images are read, and how their layers are added.

    Attributes
    ----------
    left_out : psygnal.Signal
        Emitted with a sentence for the user when more images are asked for than are opened.
    shown : psygnal.Signal
        Emitted with the layers once all of them are in the viewer.
    keep : bool
        Whether images stay when others are opened; False to start with.
    busy : bool
        Images are on their way.
    """

    left_out = Signal(str)
    shown = Signal(list)

    def __init__(self, host: Host) -> None:
        self._host = host
        self._opened: list[Layer] = []
        self._layout: list[Any] = []
        self.busy = self.keep = False

    @property
    def opened(self) -> list[Layer]:
        """The layers opened last that are still in the viewer."""
        return [layer for layer in self._opened if layer in self._host.viewer.layers]

    def open(self, dataset: "Dataset", rows: Sequence[int]) -> None:
        """Open the images of some rows of a data set, at most nine.

        While images are being opened, nothing happens: a double click asks twice.
        """
        if self.busy or not rows:
            return
        self.busy = True
        chosen = list(rows)[:MOST_OPENED]
        if len(rows) > MOST_OPENED:
            self.left_out.emit(
                f"The first {MOST_OPENED} of {len(rows)} images are opened; choose others in the "
                "table."
            )

        def work() -> list[Layer]:
            try:
                return side_by_side(dataset, chosen)
            except Exception:
                # the host tells what went wrong, and calls nobody back
                self.busy = False
                raise

        self._host.load(work, self._add)

    def release(self) -> None:
        """Wait no more for images that are being opened."""
        self.busy = False

    def _add(self, layers: list[Layer]) -> None:
        viewer = self._host.viewer
        before = [] if self.keep else self.opened
        # their results would lie over images that they are not about
        results_of(viewer).hide_those_about(before)
        # points without a point lie nowhere: an image moved beside them would be lost
        shown = [
            layer
            for layer in viewer.layers
            if layer.visible and layer.ndim >= 2 and np.isfinite(layer.extent.world[:, -2:]).all()
        ]
        move_beside(layers, [layer for layer in shown if layer not in before])
        change = LayerChange(viewer, layers, before)
        self._opened = change.layers
        self._host.carry_out(change, self._look_at_them)

    def _look_at_them(self) -> None:
        viewer = self._host.viewer
        self.busy = False
        layout = [(tuple(layer.translate), layer.data.shape) for layer in self._opened]
        if layout != self._layout:
            # images of one size in the place of others: the user's zoom holds
            self._layout = layout
            viewer.reset_view()
        self.shown.emit(self.opened)


def move_beside(layers: Sequence[Layer], shown: Sequence[Layer]) -> None:
    """Move layers to the right of others: one over another could not be told apart."""
    if not shown:
        return
    top = min(layer.extent.world[0][-2] for layer in shown)
    right = max(layer.extent.world[1][-1] for layer in shown)
    width = max(layer.data.shape[-1] * layer.scale[-1] for layer in layers)
    # extents end at the edges of pixels, translations are the centres of the first
    corner = (
        top + layers[0].scale[-2] / 2,
        right + (GAP - 1) * width + layers[0].scale[-1] / 2,
    )
    for layer in layers:
        layer.translate = tuple(np.add(layer.translate, corner))


def side_by_side(dataset: "Dataset", rows: Sequence[int]) -> list[Layer]:
    """Make the raw layers of images, three images a row.

    All have one contrast for each channel, that of the data set, so that an image that is
    brighter than others looks brighter. The first channel of each covers what lies below.
    """
    from napari_why.datasets import typical_contrast

    contrast = typical_contrast(dataset)
    made = [[Layer.create(*data) for data in image_layers(dataset.image(row))] for row in rows]
    height = max(layers[0].data.shape[-2] * layers[0].scale[-2] for layers in made) * GAP
    width = max(layers[0].data.shape[-1] * layers[0].scale[-1] for layers in made) * GAP
    for place, (row, layers) in enumerate(zip(rows, made, strict=True)):
        down, across = divmod(place, COLUMNS)
        path = Path(str(dataset.table["path"].iloc[row]))
        name = image_name(path.name) or path.name.partition(".")[0]
        for layer in layers:
            _show_as(layer, name, contrast, (down * height, across * width))
        # additive over an image that lies below, every channel would brighten it
        layers[0].blending = "translucent_no_depth"
    return [layer for layers in made for layer in layers]


def _show_as(
    layer: Layer,
    name: str,
    contrast: dict[str, tuple[float, float]],
    place: tuple[float, float],
) -> None:
    channel = LayerFacts.of(layer).channel or ""
    layer.name = f"{name} {channel}"
    layer.translate = place
    if isinstance(layer, Image) and channel in contrast:
        layer.contrast_limits = contrast[channel]
