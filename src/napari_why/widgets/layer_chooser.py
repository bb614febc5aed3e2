"""Which image layers make the image that is classified or explained: one a channel."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any
from weakref import ref

from napari.layers import Image
from qtpy.QtCore import QEvent, QSize, Qt
from qtpy.QtGui import QResizeEvent
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFormLayout,
    QPushButton,
    QStyle,
    QStyleOptionButton,
    QVBoxLayout,
    QWidget,
)

from napari_why.sessions import ImageChoice, state_of
from napari_why.widgets.dock import MessageArea
from napari_why.widgets.parameter_form import narrow
from napari_why.widgets.tables import PlainLabel, plain_tip

if TYPE_CHECKING:
    from napari.components import ViewerModel


class LayerChooser(QWidget):
    """One combo box a channel: shows, and changes, the image that the docks of a viewer share.

    The choice itself is :class:`~napari_why.sessions.ImageChoice`. Layers are told apart as objects:
    renaming one changes its text here and nothing else. What is odd about a choice stands below it,
    with a box to confirm that layers of different files show one field.

    Parameters
    ----------
    viewer : ViewerModel
    folded : bool
        Show one line, which a press unfolds.
    """

    def __init__(
        self, viewer: "ViewerModel", parent: QWidget | None = None, *, folded: bool = False
    ) -> None:
        super().__init__(parent)
        self.model: ImageChoice = state_of(viewer).image
        self._boxes: dict[str, QComboBox] = {}
        self._found: tuple[str, ...] = ()
        self.line = FoldLine(self)
        self._place = QWidget(self)
        self._rows = QFormLayout(self._place)
        self._rows.setContentsMargins(0, 0, 0, 0)
        self._rows.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        self._several_files = QCheckBox("These files show one field", self)
        self._several_files.setToolTip("Take layers of different files as channels of one image")
        self._odd = MessageArea(self)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        for widget in (self.line, self._place, self._odd, self._several_files):
            layout.addWidget(widget)
        self.line.toggled.connect(self._place.setVisible)
        self.line.toggled.connect(lambda _open: self._show_line())
        self._several_files.toggled.connect(self._confirm)
        self.line.setChecked(not folded)
        self.line.setVisible(folded)
        self._place.setVisible(not folded)
        self._following = False
        self.follow()

    def follow(self) -> None:
        """Keep up with the shared choice."""
        if not self._following:
            self._following = True
            self.model.changed.connect(self.show_choice)
        self.show_choice()

    def release(self) -> None:
        """Follow the shared choice no more."""
        self._following = False
        self.model.changed.disconnect(self.show_choice, missing_ok=True)

    def show_found(self, sentences: Sequence[str]) -> None:
        """Say beside what is odd about the layers what their pixels show."""
        self._found = tuple(sentences)
        self._tell_what_is_odd()

    def tell(self) -> str:
        """Return what is odd about the choice, or what has to be chosen; empty if nothing."""
        return str(self._odd.text())

    def texts(self) -> list[str]:
        """Return the names of the chosen layers as they are shown."""
        return [str(box.currentText()) for box in self._boxes.values()]

    def show_choice(self) -> None:
        """Show what is chosen, of the layers that there are."""
        if tuple(self._boxes) != self.model.channels:
            self._make_boxes()
        layers = self.model.list_layers()
        for box, chosen in zip(self._boxes.values(), self.model.chosen, strict=True):
            # Emptying a box would announce a choice that nobody made.
            box.blockSignals(True)
            box.clear()
            for layer in layers:
                # A weak reference: a removed layer must not live on, pixels and all, in a box.
                box.addItem(layer.name, ref(layer))
            box.setCurrentIndex(layers.index(chosen) if chosen in layers else -1)
            box.blockSignals(False)
        self._show_line()
        self._tell_what_is_odd()

    def _make_boxes(self) -> None:
        while self._rows.rowCount():
            self._rows.removeRow(0)
        self._boxes = {}
        for channel in self.model.channels:
            box = QComboBox(self)
            narrow(box)
            box.setToolTip(
                plain_tip(
                    f"The layer that shows {channel}; a raw layer that is selected in the layer list "
                    "chooses its image for all channels"
                )
            )
            box.currentIndexChanged.connect(
                lambda _index, channel=channel: self._choose_for(channel)
            )
            self._boxes[channel] = box
            self._rows.addRow(PlainLabel(channel), box)

    def _choose_for(self, channel: str) -> None:
        self.model.choose_for(channel, _layer_in(self._boxes[channel]))

    def _confirm(self, checked: bool) -> None:
        self.model.several_files = checked

    def _show_line(self) -> None:
        sign = "\u25be" if self.line.isChecked() else "\u25b8"  # triangles: open, folded
        text = f"{sign} Image: {self.model.describe()}"
        self.line.show_text(text)
        self.line.setToolTip(plain_tip(f"{text}\nPress to choose the layer of each channel"))
        self.line.setEnabled(bool(self.model.channels))

    def _tell_what_is_odd(self) -> None:
        self._several_files.blockSignals(True)
        self._several_files.setChecked(self.model.several_files)
        self._several_files.blockSignals(False)
        self._several_files.setVisible(self.model.confirmable)
        said = [*self.model.doubts(), *self._found]
        self._odd.tell("\n".join(f"{sentence.rstrip('.')}." for sentence in said), "warning")


class FoldLine(QPushButton):
    """A line of text that can be pressed; where it is too long a second one, shortened in its middle.

    Ends are kept, for files are told apart by the end of their names, and channels stand there.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._whole = ""
        self.setFlat(True)
        self.setCheckable(True)
        self.setStyleSheet("text-align: left; padding: 2px;")

    def show_text(self, text: str) -> None:
        """Show a text as far as two lines hold it; a line break in it, of a name say, is a space."""
        # and so are several: spaces at an end would count as width and be seen by nobody
        whole = " ".join(text.split())
        if whole != self._whole:
            self._whole = whole
            self._fit()

    def minimumSizeHint(self) -> QSize:  # noqa: N802 (the name is Qt's)
        """As high as its lines, whatever the width."""
        return QSize(1, self.sizeHint().height())

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802 (the name is Qt's)
        """Break the text anew."""
        super().resizeEvent(event)
        self._fit()

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802 (the name is Qt's)
        """Break the text anew where letters are of another size by now."""
        super().changeEvent(event)
        if event.type() in (QEvent.Type.FontChange, QEvent.Type.StyleChange):
            self._fit()

    def _fit(self) -> None:
        option = QStyleOptionButton()
        self.initStyleOption(option)
        inside = self.style().subElementRect(QStyle.SubElement.SE_PushButtonContents, option, self)
        width, words = inside.width(), self.fontMetrics()
        first, rest = break_line(self._whole, lambda text: words.horizontalAdvance(text) <= width)
        lines = [first]
        if rest:
            lines.append(words.elidedText(rest, Qt.TextElideMode.ElideMiddle, width))
        # an ampersand would underline the letter behind it
        self.setText("\n".join(lines).replace("&", "&&"))


def break_line(text: str, fits: Callable[[str], bool]) -> tuple[str, str]:
    """Return as many words as fit into a line, at least one, and the others.

    Parameters
    ----------
    text : str
    fits : callable
        Tells whether a text fits.

    Returns
    -------
    (str, str)

    Examples
    --------
    >>> break_line("Image: A01 DNA", lambda text: len(text) <= 11)
    ('Image: A01', 'DNA')
    >>> break_line("Image: A01 DNA", lambda text: len(text) <= 20)
    ('Image: A01 DNA', '')
    """
    words = text.split(" ")
    count = len(words)
    while count > 1 and not fits(" ".join(words[:count])):
        count -= 1
    return " ".join(words[:count]), " ".join(words[count:])


def _layer_in(box: QComboBox) -> Image | None:
    held: Any = box.currentData()
    return held() if held is not None else None
