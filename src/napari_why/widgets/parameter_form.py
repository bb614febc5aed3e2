"""Forms made of annotated parameters: of a function or of options, and of the method that is chosen."""

from collections.abc import Callable, Mapping
from typing import Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QComboBox, QFormLayout, QVBoxLayout, QWidget
from superqt import QCollapsible

from napari_why.core.options import (
    BASIC,
    PRESETS,
    Parameter,
    parameters_of,
    preset_values,
    validated,
)
from napari_why.core.registry import Method
from napari_why.widgets.dock import as_sentence
from napari_why.widgets.parameter_field import (
    Editor,
    find_lowest_meaning,
    narrow,
    write_tooltip,
)
from napari_why.widgets.tables import PlainLabel, plain_tip

__all__ = [
    "Editor",
    "Fold",
    "MethodChooser",
    "OptionalMethodChooser",
    "ParameterForm",
    "find_lowest_meaning",
    "narrow",
]


class Fold(QCollapsible):
    """A group that is folded until somebody asks for it; its triangle points to what is folded."""

    def __init__(self, title: str, parent: QWidget | None = None) -> None:
        super().__init__(title, parent, expandedIcon="▼", collapsedIcon="▶")
        # several stand below each other: folded, each is as high as its title
        layout = self.layout()
        if layout is not None:
            layout.setContentsMargins(0, 0, 0, 0)
            layout.setSpacing(0)


class ParameterForm(QWidget):
    """One row a parameter, experts' rows folded by topic, and presets where there are some.

    Parameters
    ----------
    function : callable
        Its annotated keyword parameters make the form (:func:`napari_why.core.options.parameters_of`).
    only : sequence of str, optional
        Show these parameters alone.
    without : sequence of str, optional
        Leave these out.
    defaults : mapping, optional
        Values to start with in place of the signature's.
    own : mapping, optional
        What defaults stand for here, by name: the chosen network's epochs.
    offered : mapping, optional
        What can be chosen here for a text, by name: values, with what the box says for each. Without
        any, the row is left out.

    Examples
    --------
    >>> form = ParameterForm(occlusion)  # doctest: +SKIP
    >>> form.values()  # doctest: +SKIP
    {'window': 15, 'stride': 6}
    """

    changed = Signal()

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        only: tuple[str, ...] | None = None,
        without: tuple[str, ...] = (),
        defaults: Mapping[str, Any] | None = None,
        own: Mapping[str, Any] | None = None,
        offered: Mapping[str, Mapping[Any, str]] | None = None,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._function = function
        self._offered = dict(offered or {})
        without = (*without, *(name for name, choices in self._offered.items() if not choices))
        self._editors: dict[str, Editor] = {}
        self._labels: dict[str, PlainLabel] = {}
        self.groups: dict[str, Fold] = {}
        self._column = layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._rows: dict[str, QFormLayout] = {BASIC: _make_rows()}
        shown = [
            item
            for item in parameters_of(function)
            if item.name not in without and (only is None or item.name in only)
        ]
        self.presets: PresetBox | None = None
        if any(item.presets for item in shown):
            self.presets = PresetBox()
            self.presets.chosen.connect(self._take_preset)
            self._rows[BASIC].addRow(PlainLabel("how thorough"), self.presets)
        layout.addLayout(self._rows[BASIC])
        for parameter in shown:
            value = (defaults or {}).get(parameter.name, parameter.default)
            self._add(parameter, value, (own or {}).get(parameter.name))
        self._follow()

    def _add(self, parameter: Parameter, value: Any, own: Any) -> None:
        editor = Editor(parameter, value, own, self, words=self._offered.get(parameter.name))
        label = PlainLabel(parameter.label)
        label.setToolTip(plain_tip(write_tooltip(parameter)))
        self._editors[parameter.name], self._labels[parameter.name] = editor, label
        if parameter.topic not in self._rows:
            self._rows[parameter.topic] = self.add_group(parameter.topic)
        self._rows[parameter.topic].addRow(label, editor)
        editor.changed.connect(self._follow)

    def add_group(self, title: str) -> QFormLayout:
        """Add a folded group below the others, and return where its rows go."""
        rows, inner, fold = _make_rows(), QWidget(), Fold(title, self)
        inner.setLayout(rows)
        fold.addWidget(inner)
        self._column.addWidget(fold)
        self.groups[title] = fold
        return rows

    @property
    def names(self) -> tuple[str, ...]:
        """The parameters shown, in order."""
        return tuple(self._editors)

    def values(self) -> dict[str, Any]:
        """Return the values of the parameters shown, checked.

        Raises
        ------
        ParameterError
            A value that the parameter does not allow.
        """
        shown = {name: editor.value() for name, editor in self._editors.items()}
        checked = validated(self._function, shown)
        return {name: checked[name] for name in shown}

    def set_value(self, name: str, value: Any) -> None:
        """Show a value.

        Parameters
        ----------
        name : str
            Of a parameter that the form has.
        value : object
            As :meth:`values` returns it.
        """
        self._editors[name].set_value(value)

    def set_own(self, own: Mapping[str, Any]) -> None:
        """Say what defaults stand for now, by name: another network has other epochs."""
        for name, value in own.items():
            if name in self._editors:
                self._editors[name].set_own(value)

    def describe_sizes(self, describe: Callable[[float], str] | None) -> None:
        """Say beside each size in pixels what it is in another unit."""
        for editor in self._editors.values():
            editor.describe_sizes(describe)

    def editor(self, name: str) -> "Editor":
        """Return the editor of a parameter."""
        return self._editors[name]

    def label(self, name: str) -> PlainLabel:
        """Return what stands before the editor of a parameter."""
        return self._labels[name]

    def _take_preset(self, preset: str) -> None:
        for name, value in preset_values(self._function, preset).items():
            if name in self._editors:
                self._editors[name].set_value(value)

    def _follow(self) -> None:
        values = {name: editor.value() for name, editor in self._editors.items()}
        for name, editor in self._editors.items():
            condition = editor.parameter.shown_with
            # one that is not in this form cannot be asked: then the row stays
            if condition is not None and condition.name in values:
                meant = values[condition.name] in condition.values
                editor.setVisible(meant)
                self._labels[name].setVisible(meant)
        if self.presets is not None:
            self.presets.show_values(self._function, values)
        self.changed.emit()


def _make_rows() -> QFormLayout:
    rows = QFormLayout()
    rows.setContentsMargins(0, 0, 0, 0)
    rows.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
    rows.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
    return rows


class PresetBox(QWidget):
    """A box of presets, which says so where the form has other values; beside it the time it takes.

    Attributes
    ----------
    chosen : Signal(str)
        A preset was chosen.
    """

    chosen = Signal(str)
    # what the box says where the form has values of none of the presets
    OTHER = "own settings"

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.box = QComboBox(self)
        narrow(self.box)
        for name in PRESETS:
            self.box.addItem(name.replace("_", " "), name)
        self.time = PlainLabel()
        self.time.setWordWrap(True)
        self.time.hide()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.box)
        layout.addWidget(self.time)
        # activated and not changed: by the user, and not by what the form shows
        self.box.activated.connect(self._tell)

    def show_values(self, function: Callable[..., Any], values: Mapping[str, Any]) -> None:
        """Show which preset the values of a form are.

        Parameters
        ----------
        function : callable
            Whose parameters the form is made of.
        values : mapping
            By name.
        """

        def is_shown(preset: str) -> bool:
            wanted = preset_values(function, preset)
            return all(values[name] == value for name, value in wanted.items() if name in values)

        found = next((index for index, name in enumerate(PRESETS) if is_shown(name)), None)
        if found is None and self.box.count() == len(PRESETS):
            self.box.addItem(self.OTHER, "")
        elif found is not None and self.box.count() > len(PRESETS):
            self.box.removeItem(len(PRESETS))
        self.box.setCurrentIndex(len(PRESETS) if found is None else found)

    def show_time(self, words: str) -> None:
        """Say how long it takes, nothing where that is not known."""
        self.time.setText(words)
        self.time.setVisible(bool(words))

    def _tell(self, _index: int) -> None:
        if preset := self.box.currentData():
            self.chosen.emit(preset)


class MethodChooser(QWidget):
    """A combo box of methods; below it what the method does, its paper and its parameters.

    Attributes
    ----------
    changed : Signal()
        Another method was chosen.
    edited : Signal()
        Something in the method's form was changed.
    """

    changed = Signal()
    edited = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._methods: dict[str, Method] = {}
        self.box = QComboBox(self)
        narrow(self.box)
        self._wanted = ""
        self._own: Callable[[Method], Mapping[str, Any]] | None = None
        self._offered: Callable[[Method], Mapping[str, Mapping[Any, str]]] | None = None
        self._describe: Callable[[float], str] | None = None
        self.box.currentIndexChanged.connect(self._choose)
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
    def method(self) -> Method | None:
        """The chosen method, None without one."""
        return self._methods.get(self.name)

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
        self,
        methods: Mapping[str, Method],
        unsuitable: Callable[[Method], str | None],
        first: str,
        own: Callable[[Method], Mapping[str, Any]] | None = None,
        offered: Callable[[Method], Mapping[str, Mapping[Any, str]]] | None = None,
    ) -> None:
        """Offer methods; those that do not suit are shown, greyed out, with the reason.

        Parameters
        ----------
        methods : mapping of str to method
        unsuitable : callable
            Returns why a method cannot be used, None where it can.
        first : str
            Chosen to start with, where it suits.
        own : callable, optional
            Returns what a method's defaults stand for here, by name.
        offered : callable, optional
            Returns what can be chosen for texts of a method here, by name; see :class:`ParameterForm`.
        """
        self._own, self._offered = own, offered
        # Another classifier is no reason to give up the method that the user chose.
        chosen = self._wanted or first
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

    def _choose(self) -> None:
        self._wanted = self.name
        self._show()

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
        own = self._own(method) if self._own is not None else {}
        offered = self._offered(method) if self._offered is not None else {}
        self._form = ParameterForm(method.function, own=own, offered=offered, parent=self)
        self._form.describe_sizes(self._describe)
        self._form.changed.connect(self.edited)
        self._layout.addWidget(self._form)
        self.changed.emit()

    def describe_sizes(self, describe: Callable[[float], str] | None) -> None:
        """Say beside each size in pixels what it is in another unit, of this method and the next."""
        self._describe = describe
        if self._form is not None:
            self._form.describe_sizes(describe)


class OptionalMethodChooser(QWidget):
    """A combo box of methods whose first entry is none of them; below it the chosen one's form.

    Parameters
    ----------
    nothing : str
        What the first entry says.

    Attributes
    ----------
    changed : Signal()
        Another one was chosen.
    """

    changed = Signal()

    def __init__(self, nothing: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._nothing = nothing
        self._methods: Mapping[str, Method] = {}
        self.box = QComboBox(self)
        narrow(self.box)
        self.form: ParameterForm | None = None
        self._layout = QVBoxLayout(self)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._layout.addWidget(self.box)
        self.set_methods({})
        self.box.currentIndexChanged.connect(self._show)

    @property
    def method(self) -> Method | None:
        """The chosen one, None without."""
        return self._methods.get(self.box.currentData() or "")

    def set_methods(self, methods: Mapping[str, Method]) -> None:
        """Offer these, and keep the chosen one where it is among them."""
        chosen = self.box.currentData()
        self._methods = methods
        self.box.blockSignals(True)
        self.box.clear()
        self.box.addItem(self._nothing, "")
        for index, (name, method) in enumerate(methods.items(), start=1):
            self.box.addItem(method.title, name)
            tip = " ".join(map(as_sentence, filter(None, [method.summary, method.source])))
            self.box.setItemData(index, plain_tip(tip), Qt.ItemDataRole.ToolTipRole)
        self.box.setCurrentIndex(max(self.box.findData(chosen), 0))
        self.box.blockSignals(False)
        self._show()

    def _show(self) -> None:
        if self.form is not None:
            self.form.deleteLater()
            self.form = None
        if self.method is not None:
            self.form = ParameterForm(self.method.function, parent=self)
            self._layout.addWidget(self.form)
        self.changed.emit()
