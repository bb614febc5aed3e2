"""Forms made of annotated parameters: of a function or of options, and of the method that is chosen."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from qtpy import QtWidgets
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QComboBox, QVBoxLayout, QWidget

from napari_why.core.options import Parameter, parameters_of, validated
from napari_why.core.registry import Method
from napari_why.widgets.dock import as_sentence
from napari_why.widgets.tables import PlainLabel, plain_tip

# What a QSpinBox can hold, where a parameter has no bounds.
LARGEST_INT = 2**31 - 1
# More than any parameter takes, and short enough to keep the box narrow.
LARGEST_FLOAT = 1e9
# Qt rounds what is typed to these: a learning rate of 1e-5 keeps three digits.
DECIMALS = 8
# Of a number as it is shown: what single precision holds.
SHOWN_DIGITS = 6


class ParameterForm(QtWidgets.QWidget):
    """One row a parameter: label, editor with range and unit, help as tooltip.

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
        parent: QtWidgets.QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._function = function
        self._editors: dict[str, Editor] = {}
        layout = QtWidgets.QFormLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setFieldGrowthPolicy(QtWidgets.QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        layout.setRowWrapPolicy(QtWidgets.QFormLayout.RowWrapPolicy.WrapLongRows)
        for parameter in parameters_of(function):
            if parameter.name in without or (only is not None and parameter.name not in only):
                continue
            value = (defaults or {}).get(parameter.name, parameter.default)
            editor = Editor(parameter, value, self)
            editor.changed.connect(self.changed)
            self._editors[parameter.name] = editor
            layout.addRow(PlainLabel(_write_label(parameter)), editor)
            layout.labelForField(editor).setToolTip(plain_tip(_write_tooltip(parameter)))

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
        """Show a value."""
        self._editors[name].set_value(value)

    def editor(self, name: str) -> "Editor":
        """Return the editor of a parameter."""
        return self._editors[name]


class Editor(QtWidgets.QWidget):
    """The editor of one parameter; an optional one has a box to tick before it.

    Attributes
    ----------
    field : QWidget
        The spin box, combo box, check box or line edit.
    given : QCheckBox or None
        Unticked stands for None.
    """

    changed = Signal()

    def __init__(
        self, parameter: Parameter, value: Any, parent: QtWidgets.QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self.parameter = parameter
        self._access = _make_field(parameter)
        self.field = self._access.widget
        self.given: QtWidgets.QCheckBox | None = None
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        if parameter.optional:
            self.given = QtWidgets.QCheckBox(self)
            self.given.setToolTip("Untick to let the method choose")
            self.given.toggled.connect(self.field.setEnabled)
            self.given.toggled.connect(self.changed)
            layout.addWidget(self.given)
        layout.addWidget(self.field, 1)
        self.field.setToolTip(plain_tip(_write_tooltip(parameter)))
        self._access.changed.connect(self.changed)
        self.set_value(value)

    def value(self) -> Any:
        """Return what is shown, None where the box before it is not ticked."""
        if self.given is not None and not self.given.isChecked():
            return None
        return self._access.read()

    def set_value(self, value: Any) -> None:
        """Show a value."""
        if self.given is not None:
            self.given.setChecked(value is not None)
            self.field.setEnabled(value is not None)
        if value is not None:  # the field keeps its last value, for when the box is ticked again
            self._access.write(value)


class ShortNumberBox(QtWidgets.QDoubleSpinBox):
    """A spin box that shows 0.001 and not 0.00100000, and steps by a tenth of the value."""

    def __init__(self) -> None:
        super().__init__()
        self.setDecimals(DECIMALS)
        self.setStepType(QtWidgets.QAbstractSpinBox.StepType.AdaptiveDecimalStepType)

    def textFromValue(self, value: float) -> str:  # noqa: N802 (the name is Qt's)
        """Write a number as short as it can be."""
        text: str = self.locale().toString(value, "g", SHOWN_DIGITS)
        return text


@dataclass(frozen=True)
class _Field:
    """A widget, and how its value is read, written and followed: each of Qt's has its own names."""

    widget: Any
    read: Callable[[], Any]
    write: Callable[[Any], Any]
    changed: Any


def _make_field(parameter: Parameter) -> _Field:
    if parameter.choices:
        box = QtWidgets.QComboBox()
        for choice in parameter.choices:
            box.addItem(str(choice).replace("_", " "), choice)
        return _Field(
            box,
            box.currentData,
            lambda value: box.setCurrentIndex(box.findData(value)),
            box.currentIndexChanged,
        )
    if parameter.type is bool:
        tick = QtWidgets.QCheckBox()
        return _Field(tick, tick.isChecked, tick.setChecked, tick.toggled)
    if parameter.type is str:
        line = QtWidgets.QLineEdit()
        return _Field(line, line.text, line.setText, line.textChanged)
    number = _make_number_box(parameter)
    return _Field(number, number.value, number.setValue, number.valueChanged)


def _make_number_box(parameter: Parameter) -> QtWidgets.QSpinBox | ShortNumberBox:
    whole = parameter.type is int
    # A QSpinBox holds no float, and a QDoubleSpinBox shows decimals of whole numbers.
    number = QtWidgets.QSpinBox() if whole else ShortNumberBox()
    limit = LARGEST_INT if whole else LARGEST_FLOAT
    low = -limit if parameter.low is None else max(parameter.low, -limit)
    high = limit if parameter.high is None else min(parameter.high, limit)
    number.setRange(parameter.type(low), parameter.type(high))
    if parameter.unit:
        number.setSuffix(f" {parameter.unit}")
    # Qt shows the special text at the minimum, wherever that is.
    if meaning := find_lowest_meaning(parameter):
        number.setSpecialValueText(meaning)
    return number


def find_lowest_meaning(parameter: Parameter) -> str:
    """Return what the help says the lowest value stands for, empty where it says nothing.

    Examples
    --------
    >>> text = "passes; 0: the network's own"
    >>> find_lowest_meaning(Parameter("epochs", int, 0, help=text, low=0, high=99))
    "the network's own"
    """
    if parameter.low is None:
        return ""
    _, found, meaning = parameter.help.partition(f"; {parameter.low:g}: ")
    return meaning if found else ""


def _write_label(parameter: Parameter) -> str:
    return parameter.name.replace("_", " ")


def _write_tooltip(parameter: Parameter) -> str:
    parts = [parameter.help]
    if parameter.low is not None and parameter.high is not None:
        parts.append(f"{parameter.low:g} to {parameter.high:g} {parameter.unit}".rstrip())
    if parameter.optional:
        parts.append("Untick the box to let the method choose.")
    return "\n".join(parts)


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
        narrow(self.box)
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


# Letters that a box of choices shows at least; longer ones are cut off, and whole in the open list.
SHORTEST_CHOICE = 12


def narrow(box: QComboBox) -> None:
    """Let a combo box be narrower than its longest choice, so that it fits into a dock."""
    box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    box.setMinimumContentsLength(SHORTEST_CHOICE)


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
