"""Which image layers make the image that is classified or explained: one a channel."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from weakref import ref

from napari.layers import Image
from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFormLayout,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_why.core.errors import MismatchError
from napari_why.output.raw_layers import (
    LayerChoice,
    describe_offset,
    image_of_layer,
    is_one_field,
    notes_of_choice,
    require_different,
)
from napari_why.sessions import assign_layers, find_raw_layers, shown_plane
from napari_why.widgets.dock import MessageArea
from napari_why.widgets.tables import PlainLabel, plain_tip

# Where a layer lies: what is said of a choice is not true any more once one of these changes.
PLACES = ("scale", "translate", "rotate", "shear", "affine", "units")

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from xarray import DataArray


class LayerChooser(QWidget):
    """One combo box a channel, filled with the viewer's raw image layers.

    Layers are told apart as objects: renaming one changes its text here and nothing else. Layers are
    matched to channels by name (:func:`~napari_why.output.raw_layers.match_layers`) and the user
    sees the assignment; a box stays empty where that is unsure. So it does when its layer is
    removed, unless the same image has another one. What is odd about a choice stands below it, with
    a box to confirm that layers of different files show one field.

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
            "Assign the layers that are selected in the layer list, by channel name"
        )
        self._from_selection.clicked.connect(self.use_selected)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._hint)
        layout.addLayout(self._rows)
        self._several_files = QCheckBox("These files show one field", self)
        self._several_files.setToolTip("Take layers of different files as channels of one image")
        self._several_files.toggled.connect(lambda _checked: self._tell_what_is_odd())
        self._odd = MessageArea(self)
        self.changed.connect(self._tell_what_is_odd)
        for widget in (self._from_selection, self._odd, self._several_files):
            layout.addWidget(widget)
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
        for layer in self.list_layers():
            for name in PLACES:
                getattr(layer.events, name).disconnect(self._moved)

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
            box.currentIndexChanged.connect(self._choice_changed)
            self._boxes.append(box)
            self._rows.addRow(PlainLabel(channel), box)
        # Once each channel has its box, for what is said of the choice follows.
        self._several_files.setChecked(False)
        self._hint.setVisible(not self._channels)
        self._from_selection.setVisible(bool(self._channels))
        self._refresh()

    def layers(self) -> list[Image]:
        """Return the chosen layers, one a channel.

        Raises
        ------
        MismatchError
            A channel has no layer, or two have the same.
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
        require_different(chosen)
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

    @property
    def several_files(self) -> bool:
        """Whether the user says that layers of different files show one field."""
        return bool(self._several_files.isChecked())

    def choice(self) -> LayerChoice:
        """Return what is chosen, with the plane that is shown and what the layers hold now.

        Raises
        ------
        MismatchError
            A channel has no layer, one layer is chosen for two, or the viewer shows no plane.
        """
        return LayerChoice.of(
            self.layers(), self._channels, self.plane(), several_files=self.several_files
        )

    def image(self) -> "DataArray":
        """Return the image (c, y, x) that the chosen layers make, at the plane that is shown.

        Raises
        ------
        MismatchError
            A channel has no layer, or the layers do not fit together.
        """
        return self.choice().read()

    def tell(self) -> str:
        """Return what is odd about the choice, or what has to be chosen; empty if nothing."""
        return str(self._odd.text())

    def choose(self, layers: Sequence[Image]) -> None:
        """Assign layers to the channels that they are called by; the other boxes stay as they are."""
        for box, layer in zip(self._boxes, assign_layers(layers, self._channels), strict=True):
            if layer is not None:
                box.setCurrentIndex(_index_of(box, layer))

    def use_selected(self) -> None:
        """Assign the layers that are selected in the viewer's layer list."""
        selected = self._viewer.layers.selection
        self.choose([layer for layer in find_raw_layers(self._viewer) if layer in selected])

    def _refresh(self, event: Any = None) -> None:  # noqa: ARG002 (napari sends one)
        layers = find_raw_layers(self._viewer)
        for layer in layers:
            for name in PLACES:
                # Once for each layer, however often it is asked for; napari holds it weakly.
                getattr(layer.events, name).connect(self._moved)
        before = [_layer_in(box) for box in self._boxes]
        kept = [layer if layer in layers else None for layer in before]
        for box, layer in zip(self._boxes, self._fill(kept, layers), strict=True):
            # Emptying a box would announce a choice that nobody made.
            box.blockSignals(True)
            box.clear()
            for held in layers:
                # A weak reference: a removed layer must not live on, pixels and all, in a box.
                box.addItem(held.name, ref(held))
            box.setCurrentIndex(_index_of(box, layer))
            box.blockSignals(False)
        if None in kept:
            self._several_files.setChecked(False)  # it was said of other layers
        self.changed.emit()

    def _fill(self, kept: "list[Image | None]", layers: "list[Image]") -> "list[Image | None]":
        """Propose layers for empty boxes, of the image that the other boxes show."""
        chosen = [layer for layer in kept if layer is not None]
        if not chosen:
            return assign_layers(layers, self._channels)
        # a layer of another image beside those kept would be a mix of two that nobody asked for
        images = {image_of_layer(layer) for layer in chosen}
        others = [layer for layer in layers if layer in chosen or image_of_layer(layer) in images]
        proposed = assign_layers(others, self._channels)
        return [
            mine if mine is not None else other if other not in chosen else None
            for mine, other in zip(kept, proposed, strict=True)
        ]

    def _choice_changed(self, index: int = -1) -> None:  # noqa: ARG002 (the box sends one)
        self._several_files.setChecked(False)  # it was said of other layers
        self.changed.emit()

    def _moved(self, event: Any = None) -> None:  # noqa: ARG002 (napari sends one)
        self._tell_what_is_odd()

    def _tell_what_is_odd(self) -> None:
        chosen = [_layer_in(box) for box in self._boxes]
        pairs = [
            (layer, channel)
            for layer, channel in zip(chosen, self._channels, strict=True)
            if layer is not None
        ]
        several = not is_one_field([layer for layer, _ in pairs])
        self._several_files.setVisible(several)
        said: list[str] = []
        if pairs:
            layers, channels = zip(*pairs, strict=True)
            said += notes_of_choice(layers, channels, confirmed=self.several_files)
        for layer, _ in pairs[1:]:
            first = pairs[0][0]
            if layer.data.shape == first.data.shape and (apart := describe_offset(first, layer)):
                said.append(apart)
        missing = [c for c, layer in zip(self._channels, chosen, strict=True) if layer is None]
        if missing and self.list_layers():
            said.append(
                f"Choose the layer that shows {' and '.join(missing)}: no layer of this image is clearly "
                "named so, or several are"
            )
        self._odd.tell("\n".join(f"{sentence}." for sentence in said), "warning")


def _layer_in(box: QComboBox) -> Image | None:
    held = box.currentData()
    return held() if held is not None else None


def _index_of(box: QComboBox, layer: Image | None) -> int:
    held = [box.itemData(index)() for index in range(box.count())]
    return held.index(layer) if layer in held else -1
