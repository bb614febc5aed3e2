"""The regions of a measurement in the viewer: one is chosen by its number or by a click."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from weakref import ref

from napari.layers import Labels
from psygnal import Signal

from napari_why.output.layers import region_centre

if TYPE_CHECKING:
    from napari.components import ViewerModel


class RegionSelection:
    """Follows a Labels layer as long as it is in the viewer.

    Choosing a region moves the view there; a click on one while its layer is the active one, or
    napari's own controls, choose it and leave the view.

    Parameters
    ----------
    viewer : ViewerModel
    layer : Labels
        The regions.

    Attributes
    ----------
    chosen : psygnal.Signal
        Emitted with the number of a region, 0 for the background.
    removed : psygnal.Signal
        Emitted when the layer has left the viewer.
    """

    chosen = Signal(int)
    removed = Signal()

    def __init__(self, viewer: "ViewerModel", layer: Labels) -> None:
        self._viewer = viewer
        # weak: a removed layer gives its memory back although the measurement is kept
        self._layer = ref(layer)
        self._released = False
        layer.mouse_drag_callbacks.append(self._clicked)
        layer.events.selected_label.connect(self._label_chosen)
        viewer.layers.events.removed.connect(self._layer_removed)

    @property
    def layer(self) -> Labels | None:
        """The layer, None once it is gone."""
        layer = self._layer()
        return layer if layer is not None and layer in self._viewer.layers else None

    @property
    def region(self) -> int:
        """Number of the chosen region, 0 for none."""
        return 0 if self.layer is None else int(self.layer.selected_label)

    def choose(self, region: int) -> None:
        """Choose a region, and move the view there."""
        layer = self.layer
        if layer is not None:
            layer.selected_label = region
            self._look_at(layer, region)

    def release(self) -> None:
        """Follow the layer no more."""
        if self._released:
            return
        self._released = True
        layer = self._layer()
        if layer is not None:
            if self._clicked in layer.mouse_drag_callbacks:
                layer.mouse_drag_callbacks.remove(self._clicked)
            layer.events.selected_label.disconnect(self._label_chosen)
        self._viewer.layers.events.removed.disconnect(self._layer_removed)

    def _clicked(self, layer: Labels, event: Any) -> Iterator[None]:
        """Choose the region under the pointer, unless the pointer is dragged to move the view."""
        moved = False
        yield
        while event.type == "mouse_move":
            moved = True
            yield
        if moved:
            return
        region = layer.get_value(
            event.position,
            view_direction=event.view_direction,
            dims_displayed=event.dims_displayed,
            world=True,
        )
        if region:
            layer.selected_label = int(region)
            self._label_chosen()  # napari says nothing of a label that was chosen already

    def _label_chosen(self, event: Any = None) -> None:  # noqa: ARG002 (napari sends one)
        if self.layer is not None:
            self.chosen.emit(self.region)

    def _look_at(self, layer: Labels, region: int) -> None:
        centre = region_centre(layer, region)
        # in 3D the camera looks at a volume that is drawn whole
        if centre is None or self._viewer.dims.ndisplay != 2:
            return
        further = self._viewer.dims.ndim - layer.ndim
        if min(self._viewer.dims.displayed) < further:
            return  # rolled to an axis that the layer does not have: no place to look at
        y, x = (centre[axis - further] for axis in self._viewer.dims.displayed)
        camera = self._viewer.scene.camera
        camera.center = (camera.center[0], y, x)

    def _layer_removed(self, event: Any = None) -> None:  # noqa: ARG002 (napari sends one)
        if self.layer is None:
            self.release()
            self.removed.emit()
