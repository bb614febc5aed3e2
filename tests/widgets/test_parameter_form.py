"""A function's signature as a form."""

from typing import Annotated, Literal

import pytest
from qtpy.QtWidgets import QCheckBox, QComboBox, QLineEdit, QSpinBox
from superqt import QLargeIntSpinBox

from napari_why.core.errors import ParameterError
from napari_why.core.options import (
    Help,
    Label,
    Presets,
    Range,
    ShownWith,
    Suggested,
    Topic,
    Unit,
    parameters_of,
)
from napari_why.fitting import FitOptions
from napari_why.networks import NETWORKS
from napari_why.widgets.parameter_field import ShortNumberBox
from napari_why.widgets.parameter_form import ParameterForm


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
        "stride": QLargeIntSpinBox,
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
    assert form.editor("patience").field.text() == "usual"
    assert form.editor("epochs").field.text() == "the network's own"
    choices = form.editor("schedule").field
    assert [choices.itemData(row) for row in range(choices.count())] == [
        "auto",
        "step",
        "one_cycle",
    ]


def test_a_seed_of_63_bits_is_shown_and_returned_whole(qtbot):
    form = ParameterForm(FitOptions, only=("seed",), defaults={"seed": 2**62 + 1})
    qtbot.addWidget(form)
    assert form.values() == {"seed": 2**62 + 1}
    assert "to" not in form.editor("seed").field.toolTip().splitlines()[-1].split()


def test_a_default_that_stands_for_a_number_shows_it_and_counts_on(qtbot):
    own = {"epochs": 24, "weight_decay": 0.01, "optimiser": "adamw"}
    form = ParameterForm(FitOptions, own=own)
    qtbot.addWidget(form)
    epochs = form.editor("epochs").field
    assert epochs.text() == "24 (the network's own)"
    assert form.editor("weight_decay").field.text() == "0.01 (the network's own)"
    assert form.editor("optimiser").field.currentText() == "adamw (the network's own)"
    assert (form.values()["epochs"], form.values()["optimiser"]) == (0, "auto")
    epochs.stepBy(1)
    assert (epochs.text(), form.values()["epochs"]) == ("25", 25)
    form.set_own({"epochs": 30})
    assert form.values()["epochs"] == 25
    form.set_value("epochs", 0)
    assert epochs.text() == "30 (the network's own)"


def test_of_a_training_six_rows_at_most_are_not_folded(qtbot):
    form = ParameterForm(FitOptions)
    qtbot.addWidget(form)
    basic = [item.name for item in parameters_of(FitOptions) if item.topic == "basic"]
    assert basic == ["size", "epochs"]
    assert set(form.groups) == {item.topic for item in parameters_of(FitOptions)} - {"basic"}
    form.show()
    assert form.editor("epochs").isVisible()
    assert not any(group.isExpanded() for group in form.groups.values())


def test_labels_are_words(qtbot):
    for function in (FitOptions, *(entry.builder for entry in NETWORKS.values())):
        form = ParameterForm(function)
        qtbot.addWidget(form)
        for name in form.names:
            assert "_" not in form.label(name).text()
    seeds = ParameterForm(FitOptions, only=("seed",))
    qtbot.addWidget(seeds)
    assert seeds.label("seed").text() == "seed of the training"


def draw(
    *,
    samples: Annotated[int, Help("how many"), Range(1, 999), Presets(8, 128)] = 32,
    baseline: Annotated[Literal["mean", "blur"], Help("what is absent")] = "mean",
    sigma: Annotated[
        float, Help("width"), Range(0, 9), Unit("px"), ShownWith("baseline", ("blur",))
    ] = 1.5,
    device: Annotated[str, Help("where"), Suggested(("auto", "cpu")), Topic("computer")] = "auto",
    seed: Annotated[int, Help("of draws"), Label("seed of the draws"), Topic("computer")] = 0,
) -> None: ...


@pytest.fixture
def drawing(qtbot):
    made = ParameterForm(draw)
    qtbot.addWidget(made)
    made.show()
    return made


def test_presets_fill_the_form_and_it_says_where_it_has_other_values(drawing):
    box = drawing.presets.box
    assert box.currentText() == "standard"
    drawing.presets.chosen.emit("thorough")
    assert drawing.values()["samples"] == 128
    assert box.currentText() == "thorough"
    drawing.set_value("samples", 50)
    assert box.currentText() == "own settings"
    drawing.set_value("samples", 8)
    assert [box.itemText(row) for row in range(box.count())] == [
        "quick look",
        "standard",
        "thorough",
    ]
    assert box.currentText() == "quick look"


def test_a_row_without_meaning_is_not_shown(drawing):
    assert not drawing.editor("sigma").isVisible()
    assert not drawing.label("sigma").isVisible()
    drawing.set_value("baseline", "blur")
    assert drawing.editor("sigma").isVisible()


def test_a_text_with_suggestions_is_a_list_that_takes_others(drawing):
    device = drawing.editor("device").field
    assert [device.itemText(row) for row in range(device.count())] == ["auto", "cpu"]
    drawing.set_value("device", "cuda:1")
    assert (drawing.values()["device"], device.currentText()) == ("cuda:1", "cuda:1")


def test_topics_are_folded_with_a_triangle_that_points_right(drawing):
    computer = drawing.groups["computer"]
    assert not computer.isExpanded()
    assert computer.content().maximumHeight() == 0
    computer.expand(animate=False)
    assert computer.content().maximumHeight() >= drawing.editor("seed").sizeHint().height()


def test_sizes_are_told_in_another_unit_too(drawing):
    drawing.set_value("baseline", "blur")
    drawing.describe_sizes(lambda size: f"= {2 * size:g} px of the image")
    assert "= 3 px of the image" in [
        label.text() for label in drawing.editor("sigma").children() if hasattr(label, "text")
    ]
