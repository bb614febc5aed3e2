"""Choosing a method of a registry, with its parameters."""

from collections.abc import Callable, Mapping
from typing import Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QComboBox, QVBoxLayout, QWidget

from napari_why.core.registry import Method
from napari_why.widgets.dock import as_sentence
from napari_why.widgets.parameter_form import ParameterForm
from napari_why.widgets.tables import PlainLabel, plain_tip


class MethodChooser(QWidget):
    """A combo box of methods; below it what the method does, its paper and its parameters.

    Attributes
    ----------
    changed : Signal()
        Another method was chosen.
    """

    changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._methods: dict[str, Method] = {}
        self.box = QComboBox(self)
        self.box.currentIndexChanged.connect(self._show)
        self._about = PlainLabel("", self)
        self._about.setWordWrap(True)
        self._form: ParameterForm | None = None
        self._layout = QVBoxLayout(self)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._layout.addWidget(self.box)
        self._layout.addWidget(self._about)

    @property
    def name(self) -> str:
        """Registry name of the chosen method, empty without one."""
        return self.box.currentData() or ""

    @property
    def title(self) -> str:
        """The chosen method's name for the user."""
        return str(self.box.currentText())

    @property
    def about(self) -> str:
        """What is said about the chosen method."""
        return str(self._about.text())

    @property
    def form(self) -> ParameterForm:
        """The form of the chosen method."""
        if self._form is None:
            raise LookupError("no method is chosen")
        return self._form

    def set_methods(
        self, methods: Mapping[str, Method], unsuitable: Callable[[Method], str | None], first: str
    ) -> None:
        """Offer methods; those that do not suit are shown, greyed out, with the reason.

        Parameters
        ----------
        methods : mapping of str to method
        unsuitable : callable
            Returns why a method cannot be used, None where it can.
        first : str
            Chosen to start with, where it suits.
        """
        # Another classifier is no reason to give up the method that the user chose.
        chosen = self.name or first
        self._methods = dict(methods)
        # Filling the box would show the form of each first entry, and make a form for it.
        self.box.blockSignals(True)
        self.box.clear()
        for index, (name, method) in enumerate(methods.items()):
            self.box.addItem(method.title, name)
            reason = unsuitable(method)
            if reason:
                # Greyed out and not left out: the reason teaches what another network could do.
                self._item(index).setEnabled(False)
                self.box.setItemData(index, plain_tip(reason), Qt.ItemDataRole.ToolTipRole)
        self.box.setCurrentIndex(self._suitable(chosen))
        self.box.blockSignals(False)
        self._show()

    def _item(self, index: int) -> Any:
        model: Any = self.box.model()
        return model.item(index)

    def _suitable(self, wanted: str) -> int:
        able = [index for index in range(self.box.count()) if self._item(index).isEnabled()]
        found = self.box.findData(wanted)
        return found if found in able else (able[0] if able else -1)

    def _show(self) -> None:
        if self._form is not None:
            self._layout.removeWidget(self._form)
            # Later, for one of its own signals may have led here.
            self._form.deleteLater()
            self._form = None
        method = self._methods.get(self.name)
        if method is None:
            self._about.clear()
            return
        sentences = map(as_sentence, filter(None, [method.summary, method.source, method.caution]))
        self._about.setText("\n".join(sentences))
        self._form = ParameterForm(method.function, parent=self)
        self._layout.addWidget(self._form)
        self.changed.emit()
