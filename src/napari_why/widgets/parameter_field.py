"""The field of one parameter: magicgui's widget for its type, and what magicgui has not."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from magicgui.widgets import create_widget
from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QAbstractSpinBox,
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QHBoxLayout,
    QSpinBox,
    QWidget,
)

from napari_why.core.options import Parameter
from napari_why.widgets.tables import PlainLabel, plain_tip

# What a QSpinBox can hold, where a parameter has no bounds.
LARGEST_INT = 2**31 - 1
# More than any parameter takes, and short enough to keep the box narrow.
LARGEST_FLOAT = 1e9
# Qt rounds what is typed to these: a learning rate of 1e-5 keeps three digits.
DECIMALS = 8
# Of a number as it is shown: what single precision holds.
SHOWN_DIGITS = 6
# A bound as large as this keeps slips of the hand out; no user ever comes near it.
TOLD_UP_TO = 5_000
# Letters that a box of choices shows at least; longer ones are cut off, and whole in the open list.
SHORTEST_CHOICE = 12


def narrow(box: QComboBox) -> None:
    """Let a combo box be narrower than its longest choice, so that it fits into a dock."""
    box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    box.setMinimumContentsLength(SHORTEST_CHOICE)


class Editor(QWidget):
    """The editor of one parameter; an optional one has a box to tick before it.

    Parameters
    ----------
    parameter : Parameter
    value : object
        To start with.
    own : object, optional
        What the parameter's default stands for here: the epochs of the chosen network, where the
        default says "the network's own". The field then shows it, and counts on from it.
    words : mapping, optional
        What the box says for each value that it offers; what the values say, without.

    Attributes
    ----------
    field : QWidget
        The spin box, combo box, check box or line edit.
    given : QCheckBox or None
        Unticked stands for None.
    """

    changed = Signal()

    def __init__(
        self,
        parameter: Parameter,
        value: Any,
        own: Any = None,
        parent: QWidget | None = None,
        *,
        words: Mapping[Any, str] | None = None,
    ) -> None:
        super().__init__(parent)
        if words is not None:
            parameter = replace(parameter, suggested=tuple(words))
            value = value if value in words else next(iter(words))
        self.parameter = parameter
        self._own, self._words = own, words
        self._describe: Callable[[float], str] | None = None
        is_number = parameter.type in (int, float) and not parameter.choices
        # Kept: the field's signals are those of magicgui's object.
        self._widget: Any = (
            None if is_number and _is_ours(parameter, own) else _ask(parameter, own, words)
        )
        self.field: Any = (
            _make_number_box(parameter) if self._widget is None else self._widget.native
        )
        self.given: QCheckBox | None = None
        self._aside = PlainLabel()
        self._aside.hide()
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        if parameter.optional and own is None:
            self.given = QCheckBox(self)
            self.given.setToolTip("Untick to let the method choose")
            self.given.toggled.connect(self.field.setEnabled)
            self.given.toggled.connect(self.changed)
            layout.addWidget(self.given)
        layout.addWidget(self.field, 1)
        layout.addWidget(self._aside)
        self.field.setToolTip(plain_tip(write_tooltip(parameter)))
        if self._widget is None:
            self.field.valueChanged.connect(self._tell)
        else:
            self._widget.changed.connect(self._tell)
        self.set_value(value)
        self._tell()

    def value(self) -> Any:
        """Return what is shown.

        None where the box before it is not ticked; the default where the field shows what that
        stands for.
        """
        if self.given is not None and not self.given.isChecked():
            return None
        shown = self.field.value() if self._widget is None else self._widget.value
        return self.parameter.default if self._stands_for_default(shown) else shown

    def set_value(self, value: Any) -> None:
        """Show a value."""
        if self._own is not None and value == self.parameter.default and not self._has_choices:
            value = self._own
        if self.given is not None:
            self.given.setChecked(value is not None)
            self.field.setEnabled(value is not None)
        if value is None:  # the field keeps its last value, for when the box is ticked again
            return
        if self._widget is None:
            self.field.setValue(value)
        elif self._has_choices:
            self._choose(value)
        else:
            self._widget.value = value

    def set_own(self, own: Any) -> None:
        """Show what the default stands for now, where the user has chosen nothing else."""
        chosen = self.value()
        self._own = own
        if self._has_choices:
            self._widget.choices = _choices(self.parameter, own, self._words)
        self.set_value(chosen)
        self._tell()

    def describe_sizes(self, describe: Callable[[float], str] | None) -> None:
        """Say beside a size in pixels what it is in another unit."""
        self._describe = describe
        self._tell()

    @property
    def _has_choices(self) -> bool:
        return bool(self.parameter.choices or self.parameter.suggested)

    def _choose(self, value: Any) -> None:
        if self.parameter.suggested and self.field.findData(value) < 0:
            self._widget.choices = [
                *_choices(self.parameter, self._own, self._words),
                (str(value), value),
            ]
        # what is no choice leaves the box empty, and the parameter then says what is expected
        self.field.setCurrentIndex(self.field.findData(value))

    def _stands_for_default(self, shown: Any) -> bool:
        return self._own is not None and not self._has_choices and shown == self._own

    def _tell(self, _value: Any = None) -> None:
        if self._widget is None:
            shown, unit = self.field.value(), self.parameter.unit
            whose = find_default_meaning(self.parameter) if self._stands_for_default(shown) else ""
            self.field.setSuffix(f"{unit and f' {unit}'}{whose and f' ({whose})'}")
            self._aside.setText(self._describe(shown) if self._describe and unit == "px" else "")
            self._aside.setVisible(bool(self._aside.text()))
        self.changed.emit()


class ShortNumberBox(QDoubleSpinBox):
    """A spin box that shows 0.001 and not 0.00100000, and steps by a tenth of the value."""

    def __init__(self) -> None:
        super().__init__()
        self.setDecimals(DECIMALS)
        self.setStepType(QAbstractSpinBox.StepType.AdaptiveDecimalStepType)

    def textFromValue(self, value: float) -> str:  # noqa: N802 (the name is Qt's)
        """Write a number as short as it can be."""
        text: str = self.locale().toString(value, "g", SHOWN_DIGITS)
        return text


def _is_ours(parameter: Parameter, own: Any) -> bool:
    """Whether a number shows what magicgui's boxes cannot: few digits, units, words for a value."""
    plain = not parameter.unit and own is None and not find_lowest_meaning(parameter)
    return parameter.type is float or not plain


def _ask(parameter: Parameter, own: Any, words: Mapping[Any, str] | None) -> Any:
    """Make magicgui's widget for a parameter's type."""
    if parameter.choices or parameter.suggested:
        options = {"choices": _choices(parameter, own, words)}
        widget = create_widget(widget_type="ComboBox", options=options)
        narrow(widget.native)
        return widget
    if parameter.type is int:
        low, high = parameter.low, parameter.high
        limits = {"min": -LARGEST_INT if low is None else low, "max": high or LARGEST_INT}
        return create_widget(annotation=int, options=limits)
    return create_widget(annotation=parameter.type)


def _choices(
    parameter: Parameter, own: Any, words: Mapping[Any, str] | None
) -> list[tuple[str, Any]]:
    """Return what a box of choices says, and what each choice stands for."""
    if words is not None:
        return [(said, choice) for choice, said in words.items()]

    def word(choice: Any) -> str:
        words = str(choice).replace("_", " ")
        if own is not None and choice == parameter.default:
            return f"{str(own).replace('_', ' ')} ({find_default_meaning(parameter)})"
        return words

    return [(word(choice), choice) for choice in parameter.choices or parameter.suggested]


def _make_number_box(parameter: Parameter) -> QSpinBox | ShortNumberBox:
    whole = parameter.type is int
    # A QSpinBox holds no float, and a QDoubleSpinBox shows decimals of whole numbers.
    number = QSpinBox() if whole else ShortNumberBox()
    limit = LARGEST_INT if whole else LARGEST_FLOAT
    low = -limit if parameter.low is None else max(parameter.low, -limit)
    high = limit if parameter.high is None else min(parameter.high, limit)
    number.setRange(parameter.type(low), parameter.type(high))
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
    return "" if parameter.low is None else _find_meaning(parameter, f"{parameter.low:g}")


def find_default_meaning(parameter: Parameter) -> str:
    """Return what the help says the default stands for, "usual" where it says nothing."""
    default = parameter.default
    value = "none" if default is None else default if isinstance(default, str) else f"{default:g}"
    return _find_meaning(parameter, value) or "usual"


def _find_meaning(parameter: Parameter, value: str) -> str:
    _, _, meaning = parameter.help.partition(f"; {value}: ")
    return meaning.partition("; ")[0]


def write_tooltip(parameter: Parameter) -> str:
    """Return help, range and unit of a parameter, as far as they tell anything."""
    parts = [parameter.help]
    if parameter.low is not None and parameter.high is not None:
        low, high = f"{parameter.low:g}", f"{parameter.high:g} {parameter.unit}".rstrip()
        if abs(parameter.high) <= TOLD_UP_TO:
            parts.append(f"{low} to {high}")
        elif parameter.low > 0:
            parts.append(f"at least {low} {parameter.unit}".rstrip())
    if parameter.optional:
        parts.append("Untick the box to let the method choose.")
    return "\n".join(parts)
