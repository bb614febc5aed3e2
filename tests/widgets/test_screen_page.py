"""The page of screens: runs one as a process, shows plates and compounds, opens wells."""

import shlex
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from qtpy.QtCore import QEvent, QPointF, Qt
from qtpy.QtGui import QDesktopServices, QGuiApplication, QMouseEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from napari_why.model import load
from napari_why.screening import ScreenOptions, screen
from napari_why.sessions import state_of
from napari_why.simulation.compounds import ScreenDesign, simulate_screen
from napari_why.widgets import screen_page
from napari_why.widgets.dock import NARROWEST
from napari_why.widgets.job import JobState
from napari_why.widgets.plate_grid import EMPTY
from napari_why.widgets.screen_page import ScreenPage
from napari_why.widgets.screen_plates import FRAMES
from napari_why.widgets.why_dock import WhyDock

ASKED = {"healthy": "treated", "negative": "DMSO", "positive": "healthy", "draws": 100}
COLUMN = "log-odds of treated"


@pytest.fixture(scope="module")
def saved(classifier, tmp_path_factory):
    """The classifier out of a folder."""
    return load(replace(classifier).save(tmp_path_factory.mktemp("screen") / "model"))


@pytest.fixture(scope="module")
def plate_map(tmp_path_factory):
    """Two plates of six wells: two compounds between two columns of controls."""
    design = ScreenDesign(compounds=2, actives=0, plates=2, shape=(2, 3), size=32)
    return simulate_screen(tmp_path_factory.mktemp("screen") / "data", design)


@pytest.fixture(scope="module")
def finished(saved, plate_map, tmp_path_factory):
    """The folder of a screen without pictures."""
    out = tmp_path_factory.mktemp("screen") / "out"
    screen(saved, plate_map.parent / "plates", out, plate_map=plate_map, **ASKED)
    return out


@pytest.fixture
def page(dock, viewer, saved):
    viewer.layers.clear()
    state_of(viewer).use_classifier(saved, saved.folder)
    return dock(ScreenPage, viewer)


@pytest.fixture
def opened(page, finished):
    """A page that shows the finished screen."""
    page.out.line.setText(str(finished))
    page.open.click()
    return page


def fill(page, plate_map, out):
    page.plates.show_paths([str(plate_map.parent / "plates")])
    page.plate_map.line.setText(str(plate_map))
    page.healthy.setCurrentText("treated")
    for name in ("negative", "positive", "draws"):
        page.questions.set_value(name, ASKED[name])
    page.out.line.setText(str(out))


def test_a_screen_runs_as_a_process_and_its_plates_are_shown(page, plate_map, tmp_path):
    fill(page, plate_map, tmp_path / "out")
    page.button.click()
    assert page.message.text() == ""
    assert page.session.state.complete
    assert "12 of 12 fields of 12 wells on 2 plates were done" in page.status.text()
    assert [page.shown.plate.itemText(index) for index in range(2)] == ["P1", "P2"]
    assert page.shown.column == "way to healthy"
    assert set(page.shown.grid.wells) == {(row, column) for row in range(2) for column in range(3)}
    assert page.report.isEnabled()
    page.copy_buttons.shell.click()
    text = QGuiApplication.clipboard().text()
    assert shlex.split(text)[:2] == ["napari-why", "screen"]
    assert {"--negative=DMSO", "--positive=healthy", "--healthy=treated"} <= set(shlex.split(text))


@pytest.mark.parametrize("missing", ["plates", "plate_map", "out"])
def test_without_a_place_it_says_which(page, plate_map, tmp_path, missing):
    fill(page, plate_map, tmp_path / "out")
    {
        "plates": page.plates.lines,
        "plate_map": page.plate_map.line,
        "out": page.out.line,
    }[missing].clear()
    page.button.click()
    assert "yet: name one" in page.message.text()
    assert page.session.state is None


def test_a_classifier_that_is_not_saved_is_offered_to_be_and_the_screen_goes_on(
    page, classifier, plate_map, tmp_path, monkeypatch
):
    began = []

    def run(place, call, **_listeners):
        began.append((place, call))
        return Path(call.out)

    monkeypatch.setattr(screen_page, "run_screen", run)
    unsaved = replace(classifier, folder=None)
    page.state.use_classifier(unsaved)
    fill(page, plate_map, tmp_path / "out")
    monkeypatch.setattr(page.bar, "ask_where_to_save", lambda: False)
    page.button.click()
    assert "save it first" in page.message.text()
    page.state.note_saved(unsaved, tmp_path / "elsewhere")
    assert began == [], "nobody asked for it any more"
    page.state.use_classifier(unsaved)

    def ask():
        page.bar.save_to(tmp_path / "model")
        return True

    monkeypatch.setattr(page.bar, "ask_where_to_save", ask)
    page.button.click()
    page.button.click()
    assert [place for place, _ in began] == [tmp_path / "model"]


def test_another_classifier_does_not_go_on_with_a_screen(page, classifier, finished, plate_map):
    other = replace(classifier, folder=page.state.place, classes=("diseased", "cured"))
    assert other.fingerprint != page.state.classifier.fingerprint
    page.state.use_classifier(other, page.state.place)
    fill(page, plate_map, finished)
    page.button.click()
    assert "the one in use" in page.message.text()
    assert page.runner.state is JobState.IDLE


def test_an_earlier_screen_fills_the_form(opened, plate_map, finished):
    page = opened
    assert page.plates.paths == [plate_map.parent / "plates"]
    assert page.plate_map.path == plate_map
    assert page.healthy.currentText() == "treated"
    assert page.options() == ScreenOptions.of_flat(ASKED)
    assert page.session.state.complete
    assert str(finished) in page.findings.text()


def test_what_was_explained_is_in_the_form_too(page, saved, plate_map, tmp_path):
    asked = {
        **ASKED,
        "attribution": "integrated_gradients",
        "attribution_steps": 7,
        "counterfactual": "mean_shift",
    }
    page.each.attribute.setChecked(False)
    page.each.attribution.form.set_value("steps", 9)
    out = tmp_path / "out"
    screen(saved, plate_map.parent / "plates", out, plate_map=plate_map, **asked, shard="1/6")
    page.out.line.setText(str(out))
    page.open.click()
    assert page.session.state.done == 2
    assert page.options() == ScreenOptions.of_flat(asked)
    assert page.message.text() == ""


def test_a_form_that_cannot_say_it_says_so(page, saved, plate_map, tmp_path):
    asked = {**ASKED, "counterfactual": "transport", "change_steps": 13}
    out = tmp_path / "out"
    screen(saved, plate_map.parent / "plates", out, plate_map=plate_map, **asked, shard="1/6")
    page.out.line.setText(str(out))
    page.open.click()
    assert "cannot say all" in page.message.text()


def test_a_folder_without_a_screen_says_so(page, tmp_path):
    page.open.click()
    assert "Name the folder" in page.message.text()
    page.out.line.setText(str(tmp_path))
    page.open.click()
    assert "found no plan of a screen" in page.message.text()
    assert not page.shown.isVisibleTo(page)


def test_wells_are_coloured_framed_and_told(opened, finished):
    shown = opened.shown
    wells = pd.read_parquet(finished / "wells.parquet")
    first = wells[wells["Metadata_Plate"] == "P1"].set_index("Metadata_Well")
    shown.colour_by.setCurrentIndex(shown.colour_by.findData(COLUMN))
    shown.colour_by.activated.emit(shown.colour_by.currentIndex())
    assert shown.column == opened.session.column == COLUMN
    drawn = {
        one.well: shown.grid.wells[one.place]
        for one in opened.session.state.show_plate("P1", COLUMN)
    }
    for well, row in first.iterrows():
        assert drawn[well].colour == FRAMES.get(row["Metadata_Role"], EMPTY)
        assert f"{COLUMN}: {row[COLUMN]:.3g}" in drawn[well].words.split("\n")
    low = min(first.index, key=lambda well: first.loc[well, COLUMN])
    high = max(first.index, key=lambda well: first.loc[well, COLUMN])
    grid = shown.grid
    grid.resize(300, grid.heightForWidth(300))
    picture = grid.grab().toImage()
    for well in (low, high):
        place = next(p for p, one in grid.wells.items() if one is drawn[well])
        colour = picture.pixelColor(grid.centre_of(place).toPoint()).name()
        assert colour == drawn[well].fill
    texts = shown.scale.texts()
    assert all(texts)
    assert texts[0] != texts[2]


def test_the_plate_box_shows_another_plate(opened):
    shown = opened.shown
    before = shown.grid.wells
    shown.plate.setCurrentText("P2")
    assert all(one.words.startswith("P2 ") for one in shown.grid.wells.values())
    assert all(one.words.startswith("P1 ") for one in before.values())


def test_a_click_opens_the_well_and_marks_its_compound(qtbot, opened, viewer):
    page, grid = opened, opened.shown.grid
    grid.resize(300, grid.heightForWidth(300))
    place = (1, 1)  # a compound
    QTest.mouseClick(grid, Qt.MouseButton.LeftButton, pos=grid.centre_of(place).toPoint())
    qtbot.waitUntil(lambda: len(viewer.layers) == 2)
    assert all(layer.name.startswith("P1 B02 field 1") for layer in viewer.layers)
    assert grid.selected == place
    (row,) = page.shown.hits.chosen_rows()
    compound = page.shown.hits.text(row, 0)
    assert compound in page.shown.about.text()
    # the other way round, and on another plate
    page.shown.plate.setCurrentText("P2")
    page.shown.hits.clearSelection()
    page.shown.hits.selectRow(row)
    wells = [well for plate, well in page.session.state.wells_of_hit(row) if plate == "P2"]
    marked = {grid.wells[place].words.split("\n")[0] for place in grid.marked}
    assert marked == {f"P2 {well}" for well in wells}
    QTest.mouseClick(grid, Qt.MouseButton.LeftButton, pos=grid.centre_of((0, 0)).toPoint())
    assert page.shown.hits.chosen_rows() == [], "a control is no compound"


def move_mouse(grid, place):
    point = QPointF(grid.centre_of(place))
    event = QMouseEvent(
        QEvent.Type.MouseMove,
        point,
        QPointF(grid.mapToGlobal(point)),
        Qt.MouseButton.NoButton,
        Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier,
    )
    QApplication.sendEvent(grid, event)


def test_the_well_under_the_mouse_stands_in_the_status_bar(opened, viewer):
    grid = opened.shown.grid
    grid.resize(300, grid.heightForWidth(300))
    move_mouse(grid, (0, 1))
    assert viewer.status.startswith("P1 A02   |   C00")
    move_mouse(grid, (1, 0))
    assert viewer.status.startswith("P1 B01")
    assert "control" in viewer.status
    QApplication.sendEvent(grid, QEvent(QEvent.Type.Leave))
    assert viewer.status == "Ready"


def test_the_report_opens_in_the_browser(opened, finished, monkeypatch):
    opened_urls = []
    monkeypatch.setattr(QDesktopServices, "openUrl", opened_urls.append)
    opened.report.click()
    assert [url.toLocalFile() for url in opened_urls] == [str(finished / "report.html")]


def test_a_plate_that_fills_keeps_column_and_choice(page, saved, plate_map, tmp_path):
    out = tmp_path / "out"
    plates = plate_map.parent / "plates"
    screen(saved, plates, out, plate_map=plate_map, **ASKED, shard="1/2")
    page.out.line.setText(str(out))
    page.open.click()
    shown = page.shown
    assert "wells: not done yet" in shown.legend.text()
    assert sum(bool(one.fill) for one in shown.grid.wells.values()) == 3
    assert not shown.hits.isVisibleTo(page)
    shown.colour_by.setCurrentIndex(shown.colour_by.findData("probability of treated"))
    shown.colour_by.activated.emit(shown.colour_by.currentIndex())
    shown.choose_well("P1", "A02")
    chosen = shown.grid.selected
    screen(saved, plates, out, plate_map=plate_map, **ASKED, resume=True)
    page.session.refresh()
    assert sum(bool(one.fill) for one in shown.grid.wells.values()) == 6
    assert "not done yet" not in shown.legend.text()
    assert shown.column == "probability of treated"
    assert shown.grid.selected == chosen
    assert shown.hits.rowCount() == 2


def test_what_the_form_says_is_kept_in_sessions(dock, viewer, page, plate_map, saved, tmp_path):
    fill(page, plate_map, tmp_path / "out")
    page.each.attribute.setChecked(True)
    page.each.attribution.box.setCurrentIndex(page.each.attribution.box.findData("saliency"))
    page.engine.set_value("workers", 3)
    page.resume.setChecked(False)
    page.shown.want_column(COLUMN)
    said = page.settings()
    other = dock(ScreenPage, viewer)
    other.restore_settings(said)
    assert other.settings() == said
    assert other.call() == page.call()


def test_the_dock_asks_before_it_is_closed_over_a_screen(
    dock, viewer, saved, plate_map, tmp_path, held, monkeypatch
):
    state_of(viewer).use_classifier(saved, saved.folder)
    why = dock(WhyDock, viewer, held)
    page = why.page("Screen")
    held.let_go()
    stopped = []

    def run(place, call, *, on_event, cancelled):
        stopped.append(cancelled())
        return Path(call.out)

    monkeypatch.setattr(screen_page, "run_screen", run)
    fill(page, plate_map, tmp_path / "out")
    page.button.click()
    assert "Screen" in why.jobs()
    why.shut_down()
    held.let_go()
    assert stopped == [True], "the process is asked to stop"


def test_nothing_is_wider_than_a_narrow_dock(opened):
    inner = opened.fold.parentWidget()
    assert inner.minimumSizeHint().width() <= NARROWEST
