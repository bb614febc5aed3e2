"""The page for many images: it fills a table, and a click opens an image with its results."""

import numpy as np
import pandas as pd
import pytest
from qtpy.QtGui import QGuiApplication

from napari_why.output.layer_metadata import LayerFacts
from napari_why.sessions import state_of
from napari_why.simulation import simulate_to_folder
from napari_why.widgets.batch_panel import COLUMNS, BatchPage
from napari_why.widgets.session_buttons import SessionButtons


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("batch") / "scenes"
    simulate_to_folder(folder, 4, size=32, wells=4)
    return folder


@pytest.fixture
def page(dock, viewer, classifier):
    state_of(viewer).classifier = classifier
    return dock(BatchPage, viewer)


@pytest.fixture
def run_folder(page, scenes, tmp_path):
    """Run over the folder, with an attribution."""
    page.source.setCurrentIndex(page.source.findData("folder"))
    page.folder.line.setText(str(scenes))
    page.out.line.setText(str(tmp_path / "results"))
    page.each.attribute.setChecked(True)
    page.each.attribution.box.setCurrentIndex(page.each.attribution.box.findData("saliency"))
    page.button.click()
    return page


def test_without_a_classifier_nothing_runs(dock, viewer):
    page = dock(BatchPage, viewer)
    assert not page.button.isEnabled()
    assert not page.copy_buttons.isVisibleTo(page)


def test_a_folder_fills_the_table(run_folder, tmp_path):
    page = run_folder
    assert page.result is not None
    assert page.table.rowCount() == 4
    stored = pd.read_csv(tmp_path / "results" / "images.csv")
    shown = [page.table.text(row, COLUMNS.index("predicted")) for row in range(4)]
    assert shown == list(stored["predicted"])
    assert "4 of 4 images were done" in page.status.text()
    assert str(tmp_path / "results") in page.status.text()
    assert not page.bar.isVisibleTo(page)


def test_a_click_opens_the_image_with_its_results(qtbot, run_folder, viewer):
    page = run_folder
    before = len(viewer.layers)
    page.open_row(2)
    # two channels, a map of each, and the map of both
    qtbot.waitUntil(lambda: len(viewer.layers) == before + 5)
    raw, joint = viewer.layers[before], viewer.layers[-1]
    name = page.result.images["image"][2]
    assert LayerFacts.of(raw).origin == name
    assert LayerFacts.of(joint).record.source == name
    assert joint.visible
    np.testing.assert_allclose(joint.extent.world, raw.extent.world)
    low, high = joint.contrast_limits
    assert low == -high


def test_it_says_what_is_known_of_an_image(run_folder):
    run_folder.table.selectRow(1)
    assert run_folder.result.images["image"][1] in run_folder.about_row.text()


def test_training_images_are_marked(page, dataset, tmp_path):
    page.state.dataset = dataset
    page.out.line.setText(str(tmp_path / "results"))
    page.button.click()
    seen = page.result.images["trained on"].astype(bool)
    shown = ["(trained on)" in page.table.text(row, 0) for row in range(page.table.rowCount())]
    assert shown == list(seen)
    assert any(shown)
    assert not all(shown)


def test_the_selected_layers_are_an_image(page, viewer, classifier, tmp_path):
    page.source.setCurrentIndex(page.source.findData("layers"))
    page.out.line.setText(str(tmp_path / "results"))
    viewer.layers.selection.clear()
    page.button.click()
    assert "select them" in page.message.text()
    viewer.layers.selection = set(viewer.layers)
    page.button.click()
    assert page.message.text() == ""
    assert page.table.rowCount() == 1


def test_without_a_folder_for_results_it_says_so(page, dataset):
    page.state.dataset = dataset
    page.button.click()
    assert "Name one" in page.message.text() or "name one" in page.message.text()
    assert page.result is None


def test_a_network_without_transport_is_not_offered_it(page, classifier):
    box = page.each.counterfactual.box
    index = box.findData("transport")
    offered = bool(box.model().item(index).isEnabled())
    assert offered == (classifier.latent_statistics.transport is not None)


def test_what_ran_is_copied(run_folder, scenes):
    run_folder.copy_buttons.shell.click()
    text = QGuiApplication.clipboard().text()
    assert "explain-many" in text
    assert str(scenes) in text
    assert "--attribution=saliency" in text
    run_folder.copy_buttons.python.click()
    assert "attribution='saliency'" in QGuiApplication.clipboard().text()


def test_sessions_are_saved_and_opened_by_buttons(qtbot, page, viewer, tmp_path):
    buttons = SessionButtons(page, lambda: {"Batch": page})
    qtbot.addWidget(buttons)
    page.out.line.setText("somewhere")
    page.each.attribute.setChecked(True)
    count = len(viewer.layers)
    buttons.save_to(tmp_path / "work.json")
    assert "is saved" in page.message.text()
    page.out.line.clear()
    page.each.attribute.setChecked(False)
    buttons.open_from(tmp_path / "work.json")
    qtbot.waitUntil(lambda: len(viewer.layers) == 2 * count)
    assert page.out.line.text() == "somewhere"
    assert page.each.attribute.isChecked()
