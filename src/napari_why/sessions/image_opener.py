"""Opens images of a data set side by side, in one contrast."""

from collections.abc import Callable, Mapping, Sequence
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
    """Opens images as layers beside what is shown, and takes away those it opened before.

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

        Parameters
        ----------
        dataset : Dataset
        rows : sequence of int
            Of its table, from 0; of more than nine the first are taken, which is said.
        """
        if self.busy or not rows:
            return
        chosen = list(rows)[:MOST_OPENED]
        if len(rows) > MOST_OPENED:
            self.left_out.emit(
                f"The first {MOST_OPENED} of {len(rows)} images are opened; choose others in the "
                "table."
            )

        self.bring(lambda: side_by_side(dataset, chosen))

    def bring(self, make: Callable[[], list[Layer]]) -> None:
        """Bring layers, results among them, that are made beside the viewer.

        While others are on their way, nothing happens.
        """
        if self.busy:
            return
        self.busy = True

        def work() -> list[Layer]:
            try:
                return make()
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
        with_results = any(LayerFacts.of(layer).is_result for layer in (*layers, *before))
        if with_results:
            results_of(viewer).add_layers_alone(layers)
        change = LayerChange(viewer, layers, before, reuse=not with_results)
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
    """Move layers to the right of others: one over another could not be told apart.

    Parameters
    ----------
    layers : sequence of Layer
        Of one image, one at least.
    shown : sequence of Layer
        In the viewer; without any nothing is moved.
    """
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
        shift(layer, corner)


def shift(layer: Layer, offset: tuple[float, float]) -> None:
    """Move a layer by so much down and to the right, whatever axes it has before those.

    Parameters
    ----------
    layer : Layer
    offset : (float, float)
        Along y and x, in the unit of the viewer's world.
    """
    translate = np.array(layer.translate, float)
    translate[-2:] += offset
    layer.translate = tuple(translate)


def arrange(images: Sequence[Sequence[Layer]]) -> None:
    """Move the layers of each image to a place of its own, three images a row, the first at its place.

    The first layer of each covers what lies below.
    """
    firsts = [layers[0] for layers in images]
    height = max(layer.data.shape[-2] * layer.scale[-2] for layer in firsts) * GAP
    width = max(layer.data.shape[-1] * layer.scale[-1] for layer in firsts) * GAP
    for place, layers in enumerate(images):
        down, across = divmod(place, COLUMNS)
        for layer in layers:
            shift(layer, (down * height, across * width))
        # additive over an image that lies below, every channel would brighten it
        layers[0].blending = "translucent_no_depth"


def side_by_side(dataset: "Dataset", rows: Sequence[int]) -> list[Layer]:
    """Make the raw layers of images, three images a row.

    All have one contrast for each channel, that of the data set, so that an image that is
    brighter than others looks brighter. The first channel of each covers what lies below.

    Parameters
    ----------
    dataset : Dataset
    rows : sequence of int
        Of its table, from 0.

    Returns
    -------
    list of Layer
        In no viewer yet.
    """
    from napari_why.datasets import typical_contrast

    contrast = typical_contrast(dataset)
    made = [[Layer.create(*data) for data in image_layers(dataset.image(row))] for row in rows]
    for row, layers in zip(rows, made, strict=True):
        path = Path(str(dataset.table["path"].iloc[row]))
        name = image_name(path.name) or path.name.partition(".")[0]
        for layer in layers:
            show_as(layer, name, contrast)
            layer.translate = (0.0, 0.0)
    arrange(made)
    return [layer for layers in made for layer in layers]


def show_as(layer: Layer, name: str, contrast: Mapping[str, tuple[float, float]]) -> None:
    """Name a raw layer by image and channel, and show it in the contrast of its channel.

    Parameters
    ----------
    layer : Layer
        Its metadata tell its channel.
    name : str
        Of the image.
    contrast : mapping of str to (float, float)
        Grey levels shown as black and as bright, by channel; others stay as they are.
    """
    channel = LayerFacts.of(layer).channel or ""
    layer.name = f"{name} {channel}"
    if isinstance(layer, Image) and channel in contrast:
        layer.contrast_limits = contrast[channel]
