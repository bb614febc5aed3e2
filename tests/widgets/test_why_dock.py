"""The one dock: what is chosen once for all pages, what is said before an answer, what runs."""

import threading
from dataclasses import replace

import numpy as np
import pytest
from napari.layers import Image
from qtpy.QtCore import QPoint, QPointF, Qt
from qtpy.QtGui import QWheelEvent
from qtpy.QtWidgets import (
    QAbstractSpinBox,
    QApplication,
    QComboBox,
    QMessageBox,
    QPushButton,
    QScrollArea,
)

from napari_why.sessions import state_of
from napari_why.widgets.classifier_bar import SaveDialog
from napari_why.widgets.dock import NARROWEST
from napari_why.widgets.image_files import layers_of
from napari_why.widgets.job import run_in_thread
from napari_why.widgets.why_dock import PAGES, CloseGuard, WhyDock


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


def test_pages_are_made_when_they_are_looked_at(why):
    assert list(why.pages) == ["Data"]
    buttons = [b for b in why.findChildren(QPushButton) if b.text() in PAGES]
    for button in buttons:
        button.click()
        assert why.stack.currentWidget() is why.pages[button.text()]
    assert list(why.pages) == list(PAGES)
    with pytest.raises(LookupError, match="expected one of Data"):
        why.page("Nothing")


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
