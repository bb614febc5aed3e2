"""Which image layers make the image that is classified or explained: one a channel."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from weakref import ref

from napari.layers import Image
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QFormLayout, QPushButton, QVBoxLayout, QWidget

from napari_why.core.errors import MismatchError
from napari_why.output.raw_layers import image_from_layers
from napari_why.sessions import assign_layers, find_raw_layers, shown_plane
from napari_why.widgets.tables import PlainLabel, plain_tip

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from xarray import DataArray


class LayerChooser(QWidget):
    """One combo box a channel, filled with the viewer's raw image layers.

    Layers are told apart as objects: renaming one changes its text here and nothing else, and
    removing one takes it out. Layers are first matched to channels by the channel name that the
    reader wrote into their metadata, then by their order, and the user sees the assignment.

    Parameters
    ----------
    viewer : ViewerModel

    Attributes
    ----------
    changed : Signal()
        Another layer was chosen, or layers came or went.
    """

    changed = Signal()

    def __init__(self, viewer: "ViewerModel", parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._channels: tuple[str, ...] = ()
        self._boxes: list[QComboBox] = []
        self._hint = PlainLabel("Load or train a classifier first; it knows its channels.", self)
        self._hint.setWordWrap(True)
        self._rows = QFormLayout()
        self._rows.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        self._from_selection = QPushButton("Use the selected layers", self)
        self._from_selection.setToolTip(
            "Assign the layers that are selected in the layer list, by channel name or by order"
        )
        self._from_selection.clicked.connect(self.use_selected)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._hint)
        layout.addLayout(self._rows)
        layout.addWidget(self._from_selection)
        self.follow()
        self.set_channels(())

    def follow(self) -> None:
        """Keep up with the viewer's layers."""
        for signal in self._layer_events():
            signal.connect(self._refresh)

    def release(self) -> None:
        """Follow the viewer's layers no more."""
        for signal in self._layer_events():
            signal.disconnect(self._refresh)

    def _layer_events(self) -> tuple[Any, ...]:
        events = self._viewer.layers.events
        return (events.inserted, events.removed, events.reordered, events.renamed)

    @property
    def channels(self) -> tuple[str, ...]:
        """The channels that layers are chosen for."""
        return self._channels

    def set_channels(self, channels: Sequence[str]) -> None:
        """Ask for these channels."""
        self._channels = tuple(channels)
        while self._rows.rowCount():
            self._rows.removeRow(0)
        self._boxes = []
        for channel in self._channels:
            box = QComboBox(self)
            box.setToolTip(plain_tip(f"The layer that shows {channel}"))
            box.currentIndexChanged.connect(self.changed)
            self._boxes.append(box)
            self._rows.addRow(PlainLabel(channel), box)
        self._hint.setVisible(not self._channels)
        self._from_selection.setVisible(bool(self._channels))
        self._refresh()

    def layers(self) -> list[Image]:
        """Return the chosen layers, one a channel.

        Raises
        ------
        MismatchError
            A channel has no layer.
        """
        chosen = []
        for channel, box in zip(self._channels, self._boxes, strict=True):
            layer = _layer_in(box)
            if layer is None:
                raise MismatchError(
                    f"Channel {channel}: no layer is chosen; open an image that has it, or choose "
                    "a layer."
                )
            chosen.append(layer)
        return chosen

    def list_layers(self) -> list[Image]:
        """Return the layers that can be chosen."""
        return find_raw_layers(self._viewer)

    def texts(self) -> list[str]:
        """Return the names of the chosen layers as they are shown."""
        return [str(box.currentText()) for box in self._boxes]

    def plane(self) -> tuple[int, ...]:
        """Return the index, on each axis before y and x, that the viewer shows."""
        return shown_plane(self._viewer, self.layers()[0])

    def image(self) -> "DataArray":
        """Return the image (c, y, x) that the chosen layers make, at the plane that is shown.

        Raises
        ------
        MismatchError
            A channel has no layer, or the layers do not fit together.
        """
        return image_from_layers(self.layers(), self._channels, self.plane())

    def choose(self, layers: Sequence[Image]) -> None:
        """Assign layers to channels, by channel name where they have one, else by order."""
        for box, layer in zip(self._boxes, assign_layers(layers, self._channels), strict=True):
            if layer is not None:
                box.setCurrentIndex(_index_of(box, layer))

    def use_selected(self) -> None:
        """Assign the layers that are selected in the viewer's layer list."""
        selected = self._viewer.layers.selection
        self.choose([layer for layer in find_raw_layers(self._viewer) if layer in selected])

    def _refresh(self, event: Any = None) -> None:  # noqa: ARG002 (napari sends one)
        layers = find_raw_layers(self._viewer)
        before = [_layer_in(box) for box in self._boxes]
        proposed = assign_layers(layers, self._channels)
        for box, kept, other in zip(self._boxes, before, proposed, strict=True):
            # Emptying a box would announce a choice that nobody made.
            box.blockSignals(True)
            box.clear()
            for layer in layers:
                # A weak reference: a removed layer must not live on, pixels and all, in a box.
                box.addItem(layer.name, ref(layer))
            box.setCurrentIndex(_index_of(box, kept if kept in layers else other))
            box.blockSignals(False)
        self.changed.emit()


def _layer_in(box: QComboBox) -> Image | None:
    held = box.currentData()
    return held() if held is not None else None


def _index_of(box: QComboBox, layer: Image | None) -> int:
    held = [box.itemData(index)() for index in range(box.count())]
    return held.index(layer) if layer in held else -1
