"""Ties a table of regions to their Labels layer: a row and a label are chosen together."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from weakref import ref

from napari.layers import Labels

from napari_why.output.layers import region_centre
from napari_why.widgets.tables import Table

if TYPE_CHECKING:
    from napari.components import ViewerModel


class RegionLink:
    """Follows table and layer as long as the layer is in the viewer.

    Choosing a row chooses its label and moves the view there; choosing a label, by a click on the
    region while its layer is the active one or in napari's own controls, chooses the row.

    Parameters
    ----------
    viewer : ViewerModel
    layer : Labels
        The regions.
    table : Table
        One row a region.
    regions : sequence of int
        The label of each row.
    """

    def __init__(
        self, viewer: "ViewerModel", layer: Labels, table: Table, regions: Sequence[int]
    ) -> None:
        self._viewer, self._table, self._regions = viewer, table, list(regions)
        self._layer = ref(layer)
        self._busy = self._released = False
        layer.mouse_drag_callbacks.append(self._clicked)
        layer.events.selected_label.connect(self._label_chosen)
        table.itemSelectionChanged.connect(self._row_chosen)
        viewer.layers.events.removed.connect(self._removed)

    @property
    def layer(self) -> Labels | None:
        """The layer, None once it is gone."""
        layer = self._layer()
        return layer if layer is not None and layer in self._viewer.layers else None

    def release(self) -> None:
        """Follow table and layer no more."""
        if self._released:
            return
        self._released = True
        layer = self._layer()
        if layer is not None:
            if self._clicked in layer.mouse_drag_callbacks:
                layer.mouse_drag_callbacks.remove(self._clicked)
            layer.events.selected_label.disconnect(self._label_chosen)
        self._table.itemSelectionChanged.disconnect(self._row_chosen)
        self._viewer.layers.events.removed.disconnect(self._removed)

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
        layer = self.layer
        if layer is None or self._busy:
            return
        with self._quietly():
            if layer.selected_label in self._regions:
                self._table.selectRow(self._regions.index(layer.selected_label))
            else:
                self._table.clearSelection()

    def _row_chosen(self) -> None:
        layer, rows = self.layer, self._table.chosen_rows()
        if layer is None or self._busy or not rows:
            return
        region = self._regions[rows[0]]
        with self._quietly():
            layer.selected_label = region
        self._look_at(layer, region)

    def _look_at(self, layer: Labels, region: int) -> None:
        centre = region_centre(layer, region)
        if centre is None or self._viewer.dims.ndisplay != 2:
            return
        further = self._viewer.dims.ndim - layer.ndim
        y, x = (centre[axis - further] for axis in self._viewer.dims.displayed)
        camera = self._viewer.scene.camera
        camera.center = (camera.center[0], y, x)

    def _removed(self, event: Any = None) -> None:  # noqa: ARG002 (napari sends one)
        if self.layer is None:
            self.release()
            self._table.show_rows([], [])

    @contextmanager
    def _quietly(self) -> Iterator[None]:
        self._busy = True
        try:
            yield
        finally:
            self._busy = False
