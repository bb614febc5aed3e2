"""The Latent space dock, run on a real classifier."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.backend_bases import MouseButton, MouseEvent

from napari_why.core.registry import Method
from napari_why.counterfactuals import counterfactual
from napari_why.latent_space import PROJECTIONS, path_of
from napari_why.output.layers import to_layers
from napari_why.sessions import MOST_OPENED, state_of
from napari_why.widgets.latent_space_dock import LatentSpaceDock


@pytest.fixture
def shown(dock, viewer, classifier, dataset):
    """A dock that shows the data set."""
    widget = dock(LatentSpaceDock, viewer)
    state_of(viewer).classifier, state_of(viewer).dataset = classifier, dataset
    widget.button.click()
    assert widget.view is not None, widget.message.text()
    return widget


@pytest.fixture
def series(viewer, classifier, dataset):
    """A counterfactual that is in the viewer."""
    result = counterfactual(classifier, dataset.image(0), steps=4, alpha_range=(0.0, 1.5))
    for layer in to_layers(result, [*viewer.layers]):
        viewer.add_layer(layer)
    return result


def mouse(scatter, name, data, button=MouseButton.LEFT):
    x, y = scatter.panels[0].transData.transform(data)
    scatter.callbacks.process(name, MouseEvent(name, scatter, x, y, button))


def draw_around(scatter, outline):
    mouse(scatter, "button_press_event", outline[0])
    for place in [*outline[1:], outline[0]]:
        mouse(scatter, "motion_notify_event", place)
    mouse(scatter, "button_release_event", outline[0])


def around(points, margin=1e-3):
    (left, bottom), (right, top) = points.min(axis=0), points.max(axis=0)
    wide, high = margin + (right - left) * 0.02, margin + (top - bottom) * 0.02
    return [
        (left - wide, bottom - high),
        (right + wide, bottom - high),
        (right + wide, top + high),
        (left - wide, top + high),
    ]


def opened_names(widget):
    return {layer.name.rpartition(" ")[0] for layer in widget.opener.opened}


def test_without_classifier_or_data_set_nothing_can_be_computed(dock, viewer, dataset, classifier):
    widget = dock(LatentSpaceDock, viewer)
    assert not widget.button.isEnabled()
    state_of(viewer).dataset = dataset
    assert "are needed" in widget.button.toolTip()
    state_of(viewer).classifier = classifier
    assert widget.button.isEnabled()


def test_every_image_is_a_point_coloured_by_its_class(shown, dataset):
    points = shown.scatter.panels[0].collections
    counts = {item.get_label(): len(item.get_offsets()) for item in points}
    assert counts["diseased"] + counts["treated"] == len(dataset)
    assert shown.color_by.currentText() == "class"


def test_the_column_of_a_session_colours_the_points_once_there_are_some(
    dock, viewer, classifier, dataset
):
    widget = dock(LatentSpaceDock, viewer)
    widget.restore_settings({"colour by": "well", "projection": "of no package"})
    assert widget.settings()["colour by"] == "well"
    state_of(viewer).classifier, state_of(viewer).dataset = classifier, dataset
    widget.button.click()
    assert widget.session.color_by == widget.color_by.currentText() == "well"
    widget.color_by.setCurrentText("class")
    widget.button.click()
    assert widget.session.color_by == "class"  # what was chosen since stays


def test_every_column_can_colour_the_points(shown):
    columns = [shown.color_by.itemText(index) for index in range(shown.color_by.count())]
    assert {"class", "prediction", "probability", "plate", "well", "distance"} <= set(columns)
    shown.color_by.setCurrentText("well")
    assert len(shown.scatter.panels) == 1
    shown.color_by.setCurrentText("probability")
    assert shown.scatter.panels[1].get_xlabel() == "probability", "a colour bar"
    shown.color_by.setCurrentText("prediction")
    assert len(shown.scatter.panels) == 1


def test_the_pointer_tells_which_image_a_point_is(shown):
    place = shown.view.projection.coordinates[3]
    mouse(shown.scatter, "motion_notify_event", place, None)
    hovered = shown.scatter.hovered
    assert hovered is not None
    np.testing.assert_allclose(shown.view.projection.coordinates[hovered], place, atol=1e-6)
    assert "class: " in shown.view.tooltips[3]
    assert "well: " in shown.view.tooltips[3]


def test_a_click_opens_the_image_of_the_point(qtbot, shown, viewer, dataset):
    before = len(viewer.layers)
    place = shown.view.projection.coordinates[5]
    mouse(shown.scatter, "button_press_event", place)
    mouse(shown.scatter, "button_release_event", place)
    qtbot.waitUntil(lambda: len(viewer.layers) == before + 2)
    (row,) = shown.view.dataset_rows(shown.selected.points)
    np.testing.assert_array_equal(viewer.layers[-1].data, dataset.image(row)[1])
    assert viewer.layers[-1].metadata["napari_why"]["channel"] == "TMRM"
    shown_before = viewer.layers[0].extent.world[1][-1]
    assert viewer.layers[-1].extent.world[0][-1] > shown_before, "beside it, not over it"
    assert shown.selected.table.rowCount() == 1


def test_the_next_click_takes_the_place_of_the_image_before(qtbot, shown, viewer):
    before = len(viewer.layers)
    for points in ([1], [2]):
        shown.open_points(points)
        qtbot.waitUntil(lambda: not shown.opener.busy)
    assert len(viewer.layers) == before + 2
    shown.selected.keep.setChecked(True)
    shown.open_points([3])
    qtbot.waitUntil(lambda: len(viewer.layers) == before + 4)


def test_a_line_around_points_lists_and_opens_them_side_by_side(qtbot, shown, viewer):
    coordinates = shown.view.projection.coordinates
    order = np.argsort(coordinates[:, 0])[:3]
    draw_around(shown.scatter, around(coordinates[order]))
    listed = shown.selected.points
    assert set(order.tolist()) <= set(listed)
    assert shown.selected.table.rowCount() == len(listed)
    if len(listed) <= MOST_OPENED:
        qtbot.waitUntil(lambda: not shown.opener.busy)
        assert len({tuple(layer.translate) for layer in shown.opener.opened}) == len(listed)


def test_many_points_are_listed_and_some_are_opened_on_demand(qtbot, shown, viewer):
    before = len(viewer.layers)
    draw_around(shown.scatter, around(shown.view.projection.coordinates))
    assert len(shown.selected.points) == 16
    assert len(viewer.layers) == before
    assert "Select up to 9 rows" in shown.selected.about.text()
    shown.selected.table.selectRow(4)
    shown.selected.open.click()
    qtbot.waitUntil(lambda: not shown.opener.busy)
    assert len(viewer.layers) == before + 2
    shown.selected.table.clearSelection()
    shown.selected.open.click()
    qtbot.waitUntil(lambda: not shown.opener.busy)
    assert len(shown.opener.opened) == 2 * MOST_OPENED
    assert "first 9 of 16" in shown.message.text()


def test_opened_images_share_one_contrast(qtbot, shown):
    shown.open_points([0, 1, 2])
    qtbot.waitUntil(lambda: not shown.opener.busy)
    limits = {(layer.name[-4:], tuple(layer.contrast_limits)) for layer in shown.opener.opened}
    assert len(limits) == 2, "one for each channel"


def test_the_path_of_the_counterfactual_is_drawn_and_follows_the_slider(
    qtbot, shown, series, viewer, classifier
):
    qtbot.waitUntil(lambda: shown.scatter.path is not None)
    expected = shown.view.projection.project(path_of(series, classifier))
    np.testing.assert_allclose(shown.scatter.path, expected, rtol=1e-3, atol=1e-3)
    for step in (0, 2, 3):
        viewer.dims.set_current_step(0, step)
        np.testing.assert_allclose(shown.scatter.marked, expected[step], rtol=1e-3, atol=1e-3)
    shown.color_by.setCurrentText("well")
    np.testing.assert_allclose(shown.scatter.marked, expected[3], rtol=1e-3, atol=1e-3)


def test_a_path_that_was_there_before_is_drawn_and_goes_with_its_layers(
    qtbot, dock, viewer, series, classifier, dataset
):
    widget = dock(LatentSpaceDock, viewer)
    state_of(viewer).classifier, state_of(viewer).dataset = classifier, dataset
    widget.compute()
    qtbot.waitUntil(lambda: widget.scatter.path is not None)
    for layer in [layer for layer in viewer.layers if layer.ndim == 3]:
        viewer.layers.remove(layer)
    qtbot.waitUntil(lambda: widget.scatter.path is None)
    viewer.dims.set_current_step(0, 1)


def test_outlier_images_are_listed_and_a_double_click_opens_them(qtbot, shown, viewer):
    outliers = shown.view.outliers
    assert shown.outliers.verdict.text().startswith(outliers.sentences[0])
    shown.outliers.form.set_value("rate", 0.2)
    shown.outliers.button.click()
    listed = shown.view.outliers.listed
    assert len(listed)
    table = shown.outliers.images
    assert table.rowCount() == len(listed)
    assert table.text(0, 0) == str(listed["path"].iloc[0]).rpartition("/")[2]
    before = len(viewer.layers)
    table.doubleClicked.emit(table.model().index(0, 0))
    qtbot.waitUntil(lambda: len(viewer.layers) == before + 2)
    assert shown.selected.points == [listed.index[0]]


def test_outlying_wells_open_all_their_images(shown, dataset):
    odd = dataset.table["well"][6]
    shown.view.space.latents[(shown.view.space.table["well"] == odd).to_numpy()] += 100
    shown.outliers.form.set_value("rate", 0.05)
    shown.outliers.button.click()
    table = shown.outliers.wells
    assert table.rowCount() == len(shown.view.outliers.listed_wells)
    assert table.text(0, 2) == odd
    table.doubleClicked.emit(table.model().index(0, 0))
    rows = shown.view.dataset_rows(shown.selected.points)
    assert set(dataset.table["well"].iloc[rows]) == {odd}


def test_shares_are_told_by_any_column(shown):
    shown.outliers.by.setCurrentText("class")
    table = shown.outliers.shares
    assert {table.text(row, 0) for row in range(table.rowCount())} == {"diseased", "treated"}
    assert table.text(0, 1) == "8"


def test_another_classifier_or_data_set_clears_what_is_shown(shown, viewer, dataset):
    state_of(viewer).dataset = dataset.select(range(12))
    assert shown.view is None
    assert shown.scatter.isHidden()
    assert shown.tabs.isHidden()


def test_a_projection_that_is_not_installed_is_refused_and_pca_stays(shown, monkeypatch):
    monkeypatch.setattr("napari_why.latent_space.projection.find_spec", lambda _name: None)
    shown.projection.setCurrentText("UMAP")
    assert "napari-why[umap]" in shown.message.text()
    assert shown.projection.currentText() == "PCA"
    shown.projection.blockSignals(True)
    shown.projection.setCurrentText("UMAP")
    shown.projection.blockSignals(False)
    shown.compute()
    assert shown.view.projection.method == "pca"
    assert "napari-why[umap]" in shown.message.text()


def test_projections_of_other_packages_are_offered_with_the_first_latent_space(shown):
    PROJECTIONS.add(Method("again", "PCA again", "", PROJECTIONS["pca"].function))
    try:
        assert shown.projection.findText("PCA again") < 0
        shown.compute()
        assert shown.projection.findText("PCA again") == 2
        assert shown.projection.currentText() == "PCA"
    finally:
        del PROJECTIONS["again"]


def test_everything_is_saved_as_files(shown, tmp_path):
    shown.color_by.setCurrentText("well")
    shown.save_to(tmp_path / "out")
    assert "Saved in" in shown.message.text()
    assert len(pd.read_csv(tmp_path / "out" / "images.csv")) == 16


def test_a_closed_dock_follows_nothing(shown, viewer, classifier):
    events = (
        viewer.layers.events.inserted,
        viewer.layers.events.removed,
        viewer.dims.events.current_step,
        viewer.events.theme,
    )
    with_dock = [len(event.callbacks) for event in events]
    shown.shut_down()
    assert [len(event.callbacks) for event in events] == [count - 1 for count in with_dock]
    state_of(viewer).classifier = classifier
    assert shown.view is not None, "not told any more"
    shown.reopen()
    assert shown.view is None
    shown.compute()
    assert shown.scatter.path is None
    assert shown.view is not None


def test_encoding_runs_beside_the_viewer_and_tells_its_progress(
    qtbot, dock, viewer, classifier, dataset
):
    from napari_why.core.events import Advanced
    from napari_why.widgets.job import run_in_thread

    widget = dock(LatentSpaceDock, viewer, run_in_thread)
    state_of(viewer).classifier, state_of(viewer).dataset = classifier, dataset
    seen = []
    widget.runner.event.connect(seen.append)
    with qtbot.waitSignal(widget.runner.ended, timeout=60_000):
        widget.button.click()
    assert widget.view.space.complete
    assert any(isinstance(event, Advanced) for event in seen)
