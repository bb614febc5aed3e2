"""The page Data leads from a folder to a data set in use, and remembers."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile
from napari.components import ViewerModel

from napari_why.datasets import Choices, Dataset
from napari_why.images import make_image
from napari_why.simulation import simulate_to_folder
from napari_why.widgets.class_preview import draw_in_one_contrast
from napari_why.widgets.open_dock import OpenDock
from napari_why.widgets.remembered import (
    last_folder,
    propose_channels,
    remember_channels,
    remember_folder,
)


@pytest.fixture
def plate(tmp_path: Path) -> tuple[Path, Path]:
    """Twelve wells with unnamed channels; the map knows a drug, a batch and controls."""
    lines = ["well,batch,drug,control"]
    (tmp_path / "images").mkdir()
    for number in range(12):
        well, drug = f"A{number + 1:02d}", ("DMSO", "FCCP", "intermediate")[number % 3]
        lines.append(f"{well},{number // 6},{drug},{'yes' if number < 9 else 'no'}")
        pixels = np.random.default_rng(number).integers(0, 900, (2, 16, 16)).astype("uint16")
        path = tmp_path / "images" / f"{well}.tif"
        tifffile.imwrite(path, pixels, imagej=True, metadata={"axes": "CYX"})
    (tmp_path / "map.csv").write_text("\n".join(lines))
    return tmp_path / "images", tmp_path / "map.csv"


@pytest.fixture
def opening(dock) -> OpenDock:
    return dock(OpenDock, ViewerModel())


def choose(box, name: str) -> None:
    box.setCurrentIndex(box.findData(name))
    box.activated.emit(box.currentIndex())


def test_a_plate_without_its_map_asks_for_it_and_leads_to_a_data_set(opening, plate) -> None:
    panel = opening.dataset
    panel.open_location(plate[0])
    assert "Choose the plate map" in panel.where.text()
    assert panel.use_button.isHidden() or panel.asking.isHidden()
    panel.open_location(*plate)
    choices = panel.choices
    assert choices.column.currentData() == "drug"
    assert choices.classes.names() == ("DMSO", "FCCP", "intermediate")
    assert choices.classes.item(0, 1).text() == "4"
    choices.classes.tick("intermediate", False)
    assert set(panel.preview.pictures) == {"DMSO", "FCCP"}
    for field, name in zip(choices.channels, ("DAPI", "TMRM"), strict=True):
        field.setText(name)
    panel.use()
    dataset = opening.state.dataset
    assert dataset.classes == ("DMSO", "FCCP")
    assert dataset.channels == ("DAPI", "TMRM")
    assert len(dataset) == 8
    assert not panel.using.isHidden()
    assert not opening.plate.isHidden()


def test_another_column_or_only_controls_ask_for_no_file_again(
    opening, plate, monkeypatch: pytest.MonkeyPatch
) -> None:
    panel = opening.dataset
    panel.open_location(*plate)
    panel.use()
    from napari_why.datasets import image_store

    monkeypatch.setattr(image_store, "read", lambda *_, **__: pytest.fail("read again"))
    choose(panel.choices.column, "batch")
    assert panel.choices.classes.names() == ("0", "1")
    panel.use()
    assert opening.state.dataset.classes == ("0", "1")
    choose(panel.choices.column, "drug")
    choose(panel.choices.only, "control")
    panel.choices.values.tick("no", False)
    panel.use()
    assert opening.message.kind != "error", opening.message.text()
    assert len(opening.state.dataset) == 9
    panel.choices.channels[0].setText("DAPI")
    panel.use()
    assert opening.state.dataset.channels[0] == "DAPI"


def test_what_was_opened_elsewhere_is_asked_again_with_its_answers(opening, plate) -> None:
    dataset = Dataset.from_plate(
        *plate,
        label="drug",
        classes=["DMSO", "FCCP"],
        channels=["DAPI", "TMRM"],
        group="batch",
    )
    dataset = dataset.where("control", ["yes"])
    assert dataset.opened_as
    opening.state.dataset = dataset  # as a session that is opened does
    panel = opening.dataset
    assert panel.where.text() == "images, with the plate map map.csv."
    assert not panel.change.isHidden()
    panel.change.click()
    answers = panel.choices.choices()
    assert answers == Choices(
        label="drug",
        classes=("DMSO", "FCCP"),
        group="batch",
        channels=("DAPI", "TMRM"),
        only=("control", ("yes",)),
    )
    assert panel.choices.classes.names(ticked=False) == ("intermediate",)
    panel.use()
    assert opening.message.kind != "error", opening.message.text()
    assert list(opening.state.dataset.table["path"]) == list(dataset.table["path"])
    assert opening.state.dataset.channels == dataset.channels


def test_change_asks_about_what_is_in_use(opening, plate, tmp_path: Path) -> None:
    panel = opening.dataset
    panel.open_location(*plate)
    panel.use()
    simulate_to_folder(tmp_path / "cells", 8, size=24, wells=4)
    opening.state.dataset = Dataset.open(tmp_path / "cells").split(seed=7)
    panel.change.click()
    assert panel.choices.classes.names() == opening.state.dataset.classes
    assert panel.seed.value() == opening.state.dataset.opened_as["split_seed"] == 7
    opening.state.dataset = opening.state.dataset.rename_channels(["a", "b"])
    panel.change.click()
    assert panel.choices.classes.names() == opening.state.dataset.classes
    assert panel.where.text().startswith("cells")


def test_change_tells_the_answers_of_what_is_in_use_and_not_those_before(opening, plate) -> None:
    panel = opening.dataset
    panel.open_location(*plate)
    panel.use()
    two = ("DMSO", "FCCP")
    opening.state.dataset = Dataset.from_plate(*plate, label="drug", classes=two)
    panel.change.click()
    assert panel.choices.classes.names() == two
    panel.use()
    survey = panel._survey
    panel.change.click()  # what was answered here is at hand
    assert panel._survey is survey


@pytest.mark.parametrize("group", ["batch", ("batch", "drug"), ("well",), None])
def test_what_is_kept_together_stays(opening, plate, group) -> None:
    opening.state.dataset = Dataset.from_plate(*plate, label="drug", group=group)
    panel = opening.dataset
    panel.change.click()
    kept = panel.choices.choices().group
    assert kept == (group if group != ("well",) else "auto")
    assert "w and e" not in panel.choices.group.currentText()
    panel.use()
    assert opening.message.kind != "error", opening.message.text()
    expected = (group,) if isinstance(group, str) else group or ()
    assert opening.state.dataset.group_columns == expected


def test_of_images_in_memory_nothing_can_be_asked(opening) -> None:
    opening.dataset.open_simulated()
    assert opening.dataset.change.isHidden()


def test_names_of_channels_are_proposed_and_remembered(opening, plate) -> None:
    classifier = SimpleNamespace(channels=("DAPI", "TMRM"))  # all that is asked of it here
    opening.state.classifier = classifier
    panel = opening.dataset
    panel.open_location(*plate)
    assert panel.choices.channel_names() == classifier.channels
    assert "classifier" in panel.choices.origin.text()
    panel.choices.channels[1].setText("Mito")
    panel.use()
    panel.open_location(*plate)
    assert panel.choices.channel_names() == (classifier.channels[0], "Mito")
    assert "last time" in panel.choices.origin.text()


def test_two_channels_of_one_name_are_not_used(opening, plate) -> None:
    panel = opening.dataset
    panel.open_location(*plate)
    for field in panel.choices.channels:
        field.setText("DAPI")
    panel.use()
    assert "a name of its own" in opening.message.text()
    assert opening.state.dataset is None


def test_names_in_files_go_before_those_of_a_classifier(tmp_path: Path) -> None:
    found = ("FKHR-EGFP", "DNA")
    assert propose_channels(tmp_path, found, ("DAPI", "TMRM")).names == found
    remember_channels(tmp_path, found, ("GFP", "DNA"))
    assert propose_channels(tmp_path, found, ("DAPI", "TMRM")).names == ("GFP", "DNA")
    unnamed = ("channel 1", "channel 2")
    assert propose_channels(tmp_path, unnamed).names == unnamed
    remember_channels(tmp_path, unnamed, ("DAPI", "TMRM"))
    assert propose_channels(tmp_path / "another", unnamed).names == ("DAPI", "TMRM")


def test_the_last_folder_is_where_the_next_dialog_begins(tmp_path: Path) -> None:
    assert last_folder() == ""
    remember_folder(tmp_path / "chosen")
    assert last_folder() == str(tmp_path)


def test_a_dimmer_class_looks_dimmer() -> None:
    bright = np.linspace(0, 1000, 4096).reshape(1, 64, 64)
    examples = {
        name: make_image(pixels, "cyx", ["TMRM"])
        for name, pixels in (("bright", bright), ("dim", bright / 4))
    }
    drawn = draw_in_one_contrast(examples, ["TMRM"])
    assert drawn["dim"].max() < 0.5 * drawn["bright"].max()


def test_the_page_ends_with_the_way_to_training(qtbot, opening) -> None:
    opening.dataset.open_simulated()
    assert len(opening.state.dataset.classes) == 2
    assert "split" in opening.state.dataset.table.columns
    with qtbot.waitSignal(opening.page_wanted) as wanted:
        opening.dataset.train.click()
    assert wanted.args == ["Classifier"]


def test_the_status_tells_what_is_under_the_mouse(qtbot, opening, tmp_path: Path) -> None:
    simulate_to_folder(tmp_path, 8, size=24, wells=4)
    opening.dataset.open_location(tmp_path)
    opening.dataset.use()
    opening.dataset.images.selectRow(1)
    opening.dataset.open_selected()
    viewer = opening.viewer
    qtbot.waitUntil(lambda: len(viewer.layers) == 2, timeout=10_000)
    known = opening.state.dataset.table.iloc[1]
    viewer.cursor.position = viewer.layers[0].extent.world.mean(axis=0)
    viewer.status = "DAPI [3 4]: 7"
    assert viewer.status.startswith("DAPI [3 4]: 7")
    assert f"class {known['label']}" in viewer.status
    assert f"well {known['well']}" in viewer.status
    viewer.cursor.position = (-1e4, -1e4)
    viewer.status = "beside"
    assert viewer.status == "beside"


def test_what_is_said_of_a_data_set_is_found_beside_the_window(monkeypatch, dock, held):
    page = dock(OpenDock, ViewerModel(), held)
    held.let_go()
    page.dataset.open_simulated()
    ((work, deliver),) = held.held
    found = work()

    def refuse(*_arguments):
        raise AssertionError("looked for in the window's thread")

    monkeypatch.setattr("napari_why.datasets.dataset.find_confounding", refuse)
    deliver(found)
    assert page.state.dataset is not None
    assert page.dataset.summary.model().rowCount() == 2
