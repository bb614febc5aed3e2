"""A function's signature as a form."""

from typing import Annotated, Literal

import pytest
from qtpy.QtWidgets import QCheckBox, QComboBox, QLineEdit, QSpinBox

from napari_why.core.errors import ParameterError
from napari_why.core.options import Help, Range, Unit
from napari_why.fitting import FitOptions
from napari_why.widgets.parameter_form import ParameterForm, ShortNumberBox


def occlusion(
    image: object,
    *,
    window: Annotated[int, Help("side of the square"), Range(1, 512), Unit("px")] = 15,
    rate: Annotated[float, Help("step"), Range(0, 1)] = 0.001,
    baseline: Annotated[Literal["zero", "local_mean"], Help("what is put there")] = "zero",
    signed: Annotated[bool, Help("keep the sign")] = True,
    layer: Annotated[str, Help("where")] = "last",
    stride: Annotated[int | None, Help("step of the window"), Range(1, 99)] = None,
    epochs: Annotated[int, Help("passes; 0: the network's own"), Range(0, 99)] = 0,
    on_event: object = None,
) -> None:
    """Take keyword parameters of every kind."""


@pytest.fixture
def form(qtbot):
    made = ParameterForm(occlusion)
    qtbot.addWidget(made)
    return made


def test_the_form_starts_with_the_defaults_of_the_signature(form):
    assert form.values() == {
        "window": 15,
        "rate": 0.001,
        "baseline": "zero",
        "signed": True,
        "layer": "last",
        "stride": None,
        "epochs": 0,
    }


def test_each_parameter_has_the_editor_of_its_kind(form):
    kinds = {name: type(form.editor(name).field) for name in form.names}
    assert kinds == {
        "window": QSpinBox,
        "rate": ShortNumberBox,
        "baseline": QComboBox,
        "signed": QCheckBox,
        "layer": QLineEdit,
        "stride": QSpinBox,
        "epochs": QSpinBox,
    }


def test_help_range_and_unit_are_shown(form):
    window = form.editor("window").field
    assert (window.minimum(), window.maximum(), window.suffix()) == (1, 512, " px")
    assert window.toolTip() == "side of the square\n1 to 512 px"
    assert form.editor("rate").field.text() == "0.001"
    assert form.editor("epochs").field.text() == "the network's own"
    assert form.editor("baseline").field.itemText(1) == "local mean"


def test_what_the_user_enters_is_what_the_function_gets(form):
    form.editor("window").field.setValue(21)
    form.editor("baseline").field.setCurrentIndex(1)
    form.editor("signed").field.setChecked(False)
    form.set_value("rate", 0.25)
    values = form.values()
    entered = {name: values[name] for name in ("window", "baseline", "signed", "rate")}
    assert entered == {"window": 21, "baseline": "local_mean", "signed": False, "rate": 0.25}


def test_an_optional_parameter_is_none_until_its_box_is_ticked(form):
    stride = form.editor("stride")
    assert not stride.field.isEnabled()
    stride.given.setChecked(True)
    stride.field.setValue(4)
    assert form.values()["stride"] == 4
    stride.given.setChecked(False)
    assert form.values()["stride"] is None


def test_a_form_can_show_a_part_with_other_defaults(qtbot):
    form = ParameterForm(occlusion, only=("window", "rate"), defaults={"window": 7})
    qtbot.addWidget(form)
    assert form.values() == {"window": 7, "rate": 0.001}


def test_a_change_is_told(form, qtbot):
    with qtbot.waitSignal(form.changed):
        form.editor("window").field.setValue(20)


def test_values_are_checked_by_the_parameters_themselves(qtbot):
    def pick(*, even: Annotated[Literal[2, 4], Help("a number")] = 2) -> None: ...

    form = ParameterForm(pick, defaults={"even": 5})
    qtbot.addWidget(form)
    with pytest.raises(ParameterError):
        form.values()


def test_a_value_that_stands_for_the_networks_own_says_so(qtbot):
    """Where 0 says something of its own, -1 stands for the network's value."""
    form = ParameterForm(FitOptions)
    qtbot.addWidget(form)
    for name in ("weight_decay", "label_smoothing", "jitter", "averaging"):
        box = form.editor(name).field
        assert (box.value(), box.text()) == (-1, "the network's own")
        form.set_value(name, 0.0)
        assert (form.values()[name], box.text()) == (0, "0")
    assert form.editor("patience").field.text() == "10, but never with one_cycle"
    assert form.editor("epochs").field.text() == "the network's own"
    choices = form.editor("schedule").field
    assert [choices.itemData(row) for row in range(choices.count())] == [
        "auto",
        "step",
        "one_cycle",
    ]
