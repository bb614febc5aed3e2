"""The one dock: what is chosen once for all pages, what is said before an answer, what runs."""

import gc
import json
import subprocess
import sys
import threading
from collections import Counter
from dataclasses import replace
from weakref import ref

import napari.settings
import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image
from napari.qt import get_stylesheet
from qtpy.QtCore import QEvent, QObject, QPoint, QPointF, Qt
from qtpy.QtGui import QWheelEvent
from qtpy.QtWidgets import (
    QAbstractSpinBox,
    QApplication,
    QComboBox,
    QFileDialog,
    QMessageBox,
    QPushButton,
    QScrollArea,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from napari_why.attribution import Contrast
from napari_why.core.registry import Registry
from napari_why.model import load
from napari_why.sessions import AttributionSession, state_of
from napari_why.sessions.facts_under_mouse import row_of_layer, rows_by_file
from napari_why.widgets import dataset_panel
from napari_why.widgets.classifier_bar import SaveDialog
from napari_why.widgets.classifier_dock import ClassifierDock
from napari_why.widgets.compare_window import CompareWindow
from napari_why.widgets.dock import NARROWEST, Column, Panel
from napari_why.widgets.image_files import layers_of
from napari_why.widgets.job import run_in_thread
from napari_why.widgets.tables import PlainLabel
from napari_why.widgets.why_dock import PAGES, CloseGuard, WhyDock

SIZE = 32  # pixels, of what a network is trained on here


@pytest.fixture
def why(dock, viewer):
    return dock(WhyDock, viewer)


@pytest.fixture
def with_classifier(why, classifier):
    why.state.classifier = classifier
    return why


def told(why):
    why.check_image()
    return why.image.tell()


def test_the_dock_is_opened_without_what_its_pages_need():
    """napari imports it in the thread of the window; the rest is imported beside."""
    code = "import json, sys; import napari_why.widgets.why_dock; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(json.loads(done.stdout))
    assert "napari_why.sessions.viewer_state" in loaded
    for room in ("images", "datasets", "model", "napari_reader", "output.layers"):
        assert f"napari_why.{room}" not in loaded, room
    assert loaded.isdisjoint({"torch", "tifffile", "matplotlib.figure"})


def test_pages_are_made_when_they_are_looked_at(why):
    assert list(why.pages) == ["Data"]
    buttons = [b for b in why.findChildren(QPushButton) if b.text() in PAGES]
    for button in buttons:
        button.click()
        assert why.stack.currentWidget() is why.pages[button.text()]
    assert list(why.pages) == list(PAGES)
    with pytest.raises(LookupError, match="expected one of Data"):
        why.page("Nothing")


def test_what_takes_long_the_first_time_is_looked_up_beside_the_window(
    qtbot, dock, viewer, classifier, monkeypatch
):
    """napari's settings, for which all manifests are read, and what other packages register."""
    threads = {}

    def note(name, function):
        def noted(*given):
            threads.setdefault(name, threading.current_thread())
            return function(*given)

        return noted

    monkeypatch.setattr(
        napari.settings,
        "get_plugin_settings",
        note("settings", napari.settings.get_plugin_settings),
    )
    monkeypatch.setattr(Registry, "complete", note("registry", Registry.complete))
    why = dock(WhyDock, viewer, run_in_thread)
    why.state.classifier = classifier
    for name in PAGES:
        why.show_page(name)
        qtbot.waitUntil(lambda name=name: name in why.pages, timeout=60_000)
    qtbot.waitUntil(lambda: bool(why.pages["Attribution"].method.name), timeout=60_000)
    assert set(threads) == {"settings", "registry"}
    assert threading.main_thread() not in threads.values()


def test_classifier_and_image_stand_on_top_and_in_no_page(with_classifier):
    assert "iresnet" in with_classifier.classifier_bar.label.text()
    assert with_classifier.image.texts() == ["DAPI", "TMRM"]
    with_classifier.show()
    for name in PAGES:
        with_classifier.show_page(name)
        page = with_classifier.pages[name]
        for part in ("classifier_label", "bar", "chooser", "image_label"):
            assert not (hasattr(page, part) and getattr(page, part).isVisible()), (name, part)


def test_the_explaining_pages_explain_the_image_that_is_selected(
    qtbot, with_classifier, viewer, dataset
):
    page = with_classifier.page("Attribution")
    images = [replace_source(dataset.image(row), f"image{row}.tif") for row in (1, 2)]
    opened = [[viewer.add_layer(layer) for layer in layers_of(image)] for image in images]
    viewer.layers.selection = {opened[0][1]}
    page.method.box.setCurrentIndex(page.method.box.findData("saliency"))
    page.explain()
    assert list(page.session.finding.subject.layers) == opened[0]
    viewer.layers.selection = {opened[1][0]}
    page.explain()
    assert list(page.session.finding.subject.layers) == opened[1]


def replace_source(image, source):
    return image.assign_attrs(source=source)


def test_what_is_unlike_the_training_is_said_before_anything_is_run(with_classifier, viewer):
    assert "uint8" not in told(with_classifier)
    for layer in viewer.layers:
        layer.data = (layer.data / 256).astype(np.uint8)
    assert "uint8" in told(with_classifier)


def test_layers_that_are_no_image_are_refused_or_told_before_anything_is_run(
    with_classifier, viewer
):
    choice = state_of(viewer).image
    dapi, tmrm = viewer.layers
    choice.choose_for("TMRM", dapi)
    assert "chosen for two channels" in told(with_classifier)
    page = with_classifier.page("Attribution")
    page.explain()
    assert page.message.kind == "error"
    assert page.session.finding is None
    named = Image(tmrm.data, name="x", metadata={"napari_why": {"channel": "FKHR-EGFP"}})
    choice.choose_for("TMRM", viewer.add_layer(named))
    assert "'x' was chosen for TMRM, and its file calls it FKHR-EGFP" in told(with_classifier)


def test_a_classifier_says_whether_it_is_saved(with_classifier, classifier, tmp_path):
    bar = with_classifier.classifier_bar
    assert "not saved yet" in bar.label.text()
    bar.save_to(tmp_path / "mine")
    assert bar.label.text().startswith("mine: diseased or treated, from DAPI, TMRM")
    assert with_classifier.message.text() == f"Saved as {tmp_path / 'mine'}."
    with_classifier.state.classifier = None
    bar.load_from(tmp_path / "mine")
    assert with_classifier.state.place == tmp_path / "mine"
    with_classifier.state.classifier = replace(classifier)
    assert "not saved yet" in bar.label.text()


def test_a_classifier_can_be_saved_over_itself_and_over_nothing_else(qtbot, classifier, tmp_path):
    saved = classifier.save(tmp_path / "mine")
    dialog = SaveDialog(saved)
    qtbot.addWidget(dialog)
    assert dialog.path == saved
    assert "Takes the place" in dialog.about.text()
    (button,) = [b for b in dialog.findChildren(QPushButton) if "Save" in b.text()]
    assert button.isEnabled()
    (tmp_path / "other").mkdir()
    dialog.name.setText("other")
    assert "give another name" in dialog.about.text()
    button.click()
    assert dialog.result() == 0
    dialog.name.setText("new")
    button.click()
    assert (dialog.result(), dialog.path) == (1, tmp_path / "new")


def test_each_page_runs_its_own_job_and_all_are_told(qtbot, dock, viewer, classifier):
    why = dock(WhyDock, viewer, run_in_thread)
    why.show()
    stop = threading.Event()
    page = why.page("Data")
    page.run("Reading", lambda **_: stop.wait(20), lambda _: None)
    row = why.strip.rows[-1]
    qtbot.waitUntil(row.isVisible)
    assert why.jobs() == ["Reading"]
    assert not page.is_free()
    assert "Something runs in this dock: Reading" in page.message.text()
    assert why.is_free()
    with qtbot.waitSignal(page.runner.ended, timeout=20_000):
        stop.set()
    assert page.message.text() == "", "what is said of a job that ended is said no more"
    assert (row.isHidden(), why.jobs()) == (True, [])


def test_a_dock_that_goes_away_shuts_its_pages_down_and_comes_again(
    qtbot, make_napari_viewer, classifier
):
    viewer = make_napari_viewer()
    why = WhyDock(viewer)
    viewer.window.add_dock_widget(why, name="napari-why")
    before = why.page("Attribution")
    viewer.window.remove_dock_widget(why)
    assert why.is_shut_down
    assert before.is_shut_down
    state_of(viewer).classifier = classifier
    viewer.window.add_dock_widget(why, name="napari-why")
    assert not why.is_shut_down
    assert "iresnet" in why.classifier_bar.label.text()
    page = why.page("Attribution")
    assert page is not before
    qtbot.waitUntil(lambda: bool(page.method.name), timeout=60_000)
    assert page.target.classes.count() == 3


@pytest.mark.parametrize("answer", ["Close all the same", "Keep open"])
def test_a_window_is_not_closed_over_an_unsaved_classifier(
    make_napari_viewer, classifier, tmp_path, monkeypatch, answer
):
    viewer = make_napari_viewer()
    why = WhyDock(viewer)
    viewer.window.add_dock_widget(why, name="napari-why")
    guard = CloseGuard(why, why.window())
    asked = []

    def press(box):
        asked.append(box.text())
        next(b for b in box.buttons() if b.text() == answer).click()
        return 0

    monkeypatch.setattr(QMessageBox, "exec", press)
    assert guard.may_close()
    assert asked == []
    why.state.classifier = classifier
    assert guard.may_close() == (answer == "Close all the same")
    assert asked == ["The classifier is not saved yet."]
    why.state.note_saved(classifier, tmp_path)
    assert guard.may_close()
    assert len(asked) == 1
    guard.release()


def wheel_over(widget):
    where = QPointF(widget.width() / 2, widget.height() / 2)
    event = QWheelEvent(
        where,
        widget.mapToGlobal(where),
        QPoint(0, -120),
        QPoint(0, -120),
        Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier,
        Qt.ScrollPhase.NoScrollPhase,
        False,
    )
    QApplication.sendEvent(widget, event)
    return event


def test_the_wheel_scrolls_and_changes_nothing(qtbot, with_classifier):
    why = with_classifier
    why.resize(NARROWEST, 420)
    why.show()
    tried = 0
    for name in PAGES:
        why.show_page(name)
        page = why.pages[name]
        qtbot.wait(50)
        area = page.findChild(QScrollArea)
        for box in [*page.findChildren(QComboBox), *page.findChildren(QAbstractSpinBox)]:
            if not box.isVisible():
                continue
            why.setFocus()
            area.verticalScrollBar().setValue(0)
            before = box.currentIndex() if isinstance(box, QComboBox) else box.text()
            event = wheel_over(box)
            after = box.currentIndex() if isinstance(box, QComboBox) else box.text()
            assert after == before, (name, box.toolTip())
            # a turn that the box does not take goes on to the page, where it comes from a real mouse
            assert not event.isAccepted() or area.verticalScrollBar().value() > 0, name
            tried += 1
    assert tried > 10


def test_a_run_ends_with_its_result_in_sight(qtbot, with_classifier):
    why = with_classifier
    why.resize(NARROWEST, 420)
    why.show()
    why.show_page("Attribution")
    page = why.pages["Attribution"]
    page.method.box.setCurrentIndex(page.method.box.findData("saliency"))
    area = page.findChild(QScrollArea)

    def top_of(widget):
        return widget.mapTo(area.viewport(), QPoint(0, 0)).y()

    qtbot.wait(50)
    assert top_of(page.button) > area.viewport().height() / 2
    page.button.click()
    qtbot.waitUntil(lambda: 0 <= top_of(page.button) < 40)
    assert 0 < top_of(page.result_label) < area.viewport().height()


def test_the_keys_go_from_the_top_down_and_start_the_work(qtbot, with_classifier, viewer):
    why = with_classifier
    why.resize(NARROWEST, 900)
    viewer_page = why.page("Attribution")
    why.show_page("Attribution")
    with qtbot.waitExposed(why):
        why.show()
    QApplication.setActiveWindow(why)
    viewer_page.target.kind.setFocus()
    places = []
    for _ in range(6):
        focus = why.focusWidget()
        places.append(focus.mapTo(why, QPoint(0, 0)).y())
        why.focusNextPrevChild(True)
    assert places == sorted(places)
    viewer_page.method.box.setCurrentIndex(viewer_page.method.box.findData("saliency"))
    viewer_page.press_run_button()
    assert viewer_page.session.finding is not None


def test_nothing_is_wider_than_the_narrowest_dock(with_classifier):
    for name in PAGES:
        page = with_classifier.page(name)
        inner = page.findChild(QScrollArea).widget()
        assert inner.minimumSizeHint().width() <= NARROWEST, name
    assert with_classifier.minimumSizeHint().width() <= NARROWEST


def test_every_tab_can_be_read_in_the_narrowest_dock(qtbot, with_classifier):
    why = with_classifier
    why.setStyleSheet(get_stylesheet("dark"))  # its tabs are wider than those of Qt
    why.resize(NARROWEST, 420)
    with qtbot.waitExposed(why):
        why.show()
    read = []
    for name in PAGES:
        page = why.page(name)
        why.show_page(name)
        qtbot.wait(50)
        for tabs in page.findChildren(QTabWidget):
            bar = tabs.tabBar()
            if not bar.isVisible():
                continue
            for index in range(bar.count()):
                assert bar.rect().contains(bar.tabRect(index)), bar.tabText(index)
                read.append(bar.tabText(index))
    assert {"Exchange", "Prototypes"} <= set(read)


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_every_page_button_can_be_read_in_the_narrowest_dock(qtbot, with_classifier, theme):
    why = with_classifier
    why.setStyleSheet(get_stylesheet(theme))
    why.resize(NARROWEST, 420)
    with qtbot.waitExposed(why):
        why.show()
    qtbot.wait(50)
    buttons = [why._button(name) for name in PAGES]
    for button in buttons:
        assert button.width() >= button.fontMetrics().horizontalAdvance(button.text()) + 2
    rows = [button.mapTo(why, QPoint(0, 0)).y() for button in buttons]
    assert sorted(Counter(rows).values()) == [3, 4]
    assert rows == sorted(rows)


def test_images_that_could_not_be_split_are_shown_and_not_trained_on(with_classifier, dataset):
    page = with_classifier.page("Classifier")
    page.load_catalogue()
    whole = replace(dataset, table=dataset.table.drop(columns="split"))
    with_classifier.state.dataset = whole
    assert "not split" in page.training.about_data.text()
    assert not page.training.button.isEnabled()
    with_classifier.state.dataset = dataset
    assert page.training.button.isEnabled()


def test_an_unsaved_classifier_is_not_replaced_unasked(monkeypatch, with_classifier):
    answers = iter([QMessageBox.StandardButton.Cancel, QMessageBox.StandardButton.Yes])
    monkeypatch.setattr(QMessageBox, "question", lambda *_: next(answers))
    bar = with_classifier.classifier_bar
    assert not bar.may_replace()
    assert bar.may_replace()
    with_classifier.state.classifier = None
    assert bar.may_replace()  # nothing is lost, so nobody is asked


def test_what_was_confirmed_is_compared_anew(with_classifier, viewer):
    choice = state_of(viewer).image
    for number, layer in enumerate(viewer.layers):
        layer.metadata = {"napari_why": {"channel": layer.name, "source": f"{'ab'[number]}.tif"}}
    refused = told(with_classifier)
    assert "a.tif" in refused
    choice.several_files = True
    assert "expected" not in told(with_classifier)
    assert "expected" in refused


@pytest.fixture
def saved(classifier, tmp_path):
    """The classifier out of a folder, as a session needs it."""
    return load(replace(classifier).save(tmp_path / "model"))


def test_forms_of_an_opened_session_reach_pages_that_are_made_later(dock, viewer, saved, tmp_path):
    first = dock(WhyDock, viewer)
    first.state.use_classifier(saved, saved.folder)
    page = first.page("Attribution")
    page.method.box.setCurrentIndex(page.method.box.findData("saliency"))
    page.wrapper.box.setCurrentIndex(page.wrapper.box.findData("shift_averaged"))
    page.wrapper.form.set_value("reach", 2)
    page.target.kind.setCurrentIndex(1)
    page.target.classes.setCurrentIndex(page.target.classes.findData("treated"))
    page.target.target_class.setCurrentIndex(page.target.target_class.findData("treated"))
    page.target.against.setCurrentIndex(page.target.against.findData("diseased"))
    series = first.page("Counterfactual")
    series.path_form.set_value("steps", 7)
    series.target.setCurrentIndex(series.target.findData("diseased"))
    training = first.page("Classifier").training
    training.network.setCurrentIndex(training.network.findData("cam_net"))
    training.network_form.set_value("joint_loss", True)
    training.main.set_value("epochs", 3)
    training.then_evaluate.setChecked(False)
    space = first.page("Latent space")
    space.projection.setCurrentIndex(space.projection.findData("umap"))
    space.selected.keep.setChecked(True)
    first.sessions.save_to(tmp_path / "work.session.json")
    first.shut_down()

    second = dock(WhyDock, ViewerModel())
    second.sessions.open_from(tmp_path / "work.session.json")
    assert list(second.pages) == ["Data"]
    # saved again before anybody looked at the pages: nothing is lost
    second.sessions.save_to(tmp_path / "again.session.json")
    third = dock(WhyDock, ViewerModel())
    third.sessions.open_from(tmp_path / "again.session.json")
    for opened in (second, third):
        page, series = opened.page("Attribution"), opened.page("Counterfactual")
        assert page.method.name == "saliency"
        assert page.wrapper.method.name == "shift_averaged"
        assert page.wrapper.form.values()["reach"] == 2
        assert page.target.classes.target == "treated"
        assert page.target.target == Contrast("treated", "diseased")
        assert series.path_form.values()["steps"] == 7
        assert series.target.target == "diseased"
        training, space = opened.page("Classifier").training, opened.page("Latent space")
        assert training.network.currentData() == "cam_net"
        assert training.network_form.values()["joint_loss"] is True
        assert training.main.values()["epochs"] == 3
        assert not training.then_evaluate.isChecked()
        assert space.projection.currentData() == "umap"
        assert space.selected.keep.isChecked()


def test_the_form_of_the_training_waits_for_the_networks(dock, viewer, held):
    page = dock(ClassifierDock, viewer, held)
    wanted = {"training": {"network": "cam_net", "options": {"epochs": 3, "unknown": 1}}}
    page.load_catalogue()
    page.restore_settings(wanted)
    assert page.settings() == wanted  # nothing is lost by saving meanwhile
    held.let_go()
    assert page.training.network.currentData() == "cam_net"
    assert page.settings()["training"]["options"]["epochs"] == 3


def test_a_session_is_written_beside_the_viewer(dock, viewer, held, tmp_path):
    page = dock(WhyDock, viewer, held)
    held.let_go()
    place = tmp_path / "work.session.json"
    page.sessions.save_to(place)
    assert page.jobs() == ["Saving the session"]
    assert not place.exists()
    held.let_go()
    assert place.exists()
    assert "is saved" in page.message.text()


def test_a_session_is_not_replaced_unasked(monkeypatch, why, tmp_path):
    there = tmp_path / "work.session.json"
    there.write_text("{}")
    answers = [QMessageBox.StandardButton.Cancel, QMessageBox.StandardButton.Yes]
    asked, saved = [], []
    monkeypatch.setattr(why.sessions, "save_to", saved.append)
    monkeypatch.setattr(
        QMessageBox, "exec", lambda box: asked.append(box.text()) or answers[len(asked) - 1]
    )

    def type_name(name):
        monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(tmp_path / name), ""))
        why.sessions.save.click()

    type_name("work")
    assert "work.session.json exists" in asked[0]
    assert saved == []
    type_name("work")
    assert saved == [there]
    # the file dialog has asked about this one, and there is nothing else to ask about
    type_name("work.session.json")
    type_name("other")
    assert len(asked) == 2
    assert len(saved) == 3


def test_a_closed_comparison_keeps_no_result_alive(qtbot, viewer, classifier):
    session = AttributionSession(viewer, classifier)
    session.explain(method="saliency")
    result = ref(session.result)
    window = CompareWindow(viewer)
    qtbot.addWidget(window)
    window.open()
    qtbot.waitUntil(lambda: window.canvas is not None)
    assert len(window.chosen) == 1
    window.close()
    window.open()
    qtbot.waitUntil(lambda: window.canvas is not None)
    assert len(window.chosen) == 1, "what was ticked is ticked again"
    window.close()
    for layer in session.finding.layers:
        viewer.layers.remove(layer)
    session.close()
    del session
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    gc.collect()
    assert result() is None


def test_the_form_folds_after_a_run_unless_it_was_unfolded(qtbot, with_classifier):
    why = with_classifier
    why.resize(NARROWEST, 420)
    why.show()
    why.show_page("Attribution")
    page = why.pages["Attribution"]
    page.method.box.setCurrentIndex(page.method.box.findData("saliency"))
    page.method.box.setFocus()
    assert page.method.isVisible()
    page.button.click()
    assert not page.method.isVisible()
    assert page.button.isVisible()
    assert page.result_label.isVisible()
    assert why.focusWidget() is page.fold.button
    page.fold.button.click()
    assert page.method.isVisible()
    page.button.click()
    assert page.method.isVisible()
    page.fold.button.click()
    page.fold.unfold()
    page.button.click()
    assert not page.method.isVisible()


# Of a mouse, from napari as it opens to a trained, evaluated and explained image; the first two open the
# dock: the menu Plugins, and its line.
MOST_CLICKS = 8


def test_from_nothing_to_an_explained_image_are_few_clicks(qtbot, dock, monkeypatch):
    # smaller and shorter than what a user waits for, and nothing that a click would be needed for
    monkeypatch.setattr(dataset_panel, "SIMULATED_IMAGES", 16)
    monkeypatch.setattr(dataset_panel, "SIMULATED_SIZE", SIZE)
    viewer = ViewerModel()
    why = dock(WhyDock, viewer)
    why.resize(NARROWEST, 700)
    why.show()
    clicks = ["Plugins", "napari-why"]

    def click(button):
        assert button.isVisible(), button.text()
        assert button.isEnabled(), button.text()
        clicks.append(button.text())
        qtbot.mouseClick(button, Qt.MouseButton.LeftButton)

    def show(name):
        click(next(b for b in why.findChildren(QPushButton) if b.text() == name))
        return why.pages[name]

    click(why.pages["Data"].dataset.simulated)
    click(why.pages["Data"].dataset.train)
    learning = why.pages["Classifier"]
    for name, value in {"size": SIZE, "epochs": 1, "pixel_maps": False, "lock": "none"}.items():
        learning.training.main.set_value(name, value)
    for name, value in {"blocks": "1,1", "widths": "4,4", "downscaling": "2,2"}.items():
        learning.training.network_form.set_value(name, value)
    learning.evaluation.nulls.setChecked(False)
    click(learning.training.button)
    qtbot.waitUntil(lambda: bool(learning.evaluation.verdict.text()), timeout=60_000)
    qtbot.waitUntil(lambda: None not in why.state.image.chosen)
    page = show("Attribution")
    page.method.box.setCurrentIndex(page.method.box.findData("saliency"))
    click(page.button)
    assert page.session.result is not None
    shown = page.session.finding.subject.layers[0]
    rows = rows_by_file(why.state.dataset)
    opened = why.state.dataset.table.iloc[row_of_layer(rows, shown)]
    assert opened["split"] == "test", "an image that the network was not trained on"
    assert len(clicks) <= MOST_CLICKS, clicks


class Deaf(QObject):
    """Keeps from a widget that what is inside it has changed, as tabs in between may."""

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802 (the name is Qt's)
        return event.type() == QEvent.Type.LayoutRequest


def test_a_panel_asks_for_its_height_where_the_tabs_pass_nothing_on(qtbot):
    column, tabs, panel = Column(), QTabWidget(), Panel(None)
    qtbot.addWidget(column)
    QVBoxLayout(column).addWidget(tabs)
    tabs.addTab(panel, "a panel")
    label, plot = PlainLabel("short"), QWidget()
    label.setWordWrap(True)
    plot.setFixedHeight(190)
    for widget in (label, plot):
        panel.column.addWidget(widget)
    column.resize(250, 300)
    column.show()
    QApplication.processEvents()
    before, deaf = column.minimumHeight(), Deaf()
    column.installEventFilter(deaf)
    label.setText("a long sentence " * 100)
    qtbot.waitUntil(lambda: column.minimumHeight() > before, timeout=5_000)
    needed = column.layout().totalMinimumHeightForWidth(column.width())
    qtbot.waitUntil(lambda: column.height() >= needed, timeout=5_000)
    assert label.geometry().bottom() < plot.geometry().top()
