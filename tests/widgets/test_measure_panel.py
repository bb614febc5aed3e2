"""Measuring in the Counterfactual dock: layer, table and the link between them."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from napari.layers import Labels

import napari_why as why
from napari_why.sessions import state_of
from napari_why.sessions.alpha_slider import LETTER_WIDTH
from napari_why.widgets.counterfactual_dock import CounterfactualDock


@pytest.fixture
def made(qtbot, dock, viewer, classifier):
    """A dock that has made a series of three steps."""
    widget = dock(CounterfactualDock, viewer)
    state_of(viewer).classifier = classifier
    widget.path_form.set_value("steps", 3)
    widget.button.click()
    qtbot.waitUntil(lambda: widget.link is not None, timeout=20_000)
    return widget


@pytest.fixture
def measured(qtbot, made):
    """The same, with the top tenth of the pixels of TMRM measured."""
    panel = made.measuring
    panel.channel.setCurrentText("TMRM")
    for name, value in {"threshold": "top", "top_share": 0.1, "minimum_size": 2.0}.items():
        panel.form.set_value(name, value)
    panel.button.click()
    qtbot.waitUntil(lambda: panel.link is not None, timeout=20_000)
    return panel


def regions_in(viewer) -> Labels:
    (layer,) = [layer for layer in viewer.layers if isinstance(layer, Labels)]
    return layer


def test_there_is_nothing_to_measure_before_there_is_a_series(dock, viewer):
    widget = dock(CounterfactualDock, viewer)
    assert widget.measuring.isHidden()
    assert widget.saving.isHidden()
    widget.measuring.measure()
    assert len(viewer.layers) == 2


def test_the_regions_lie_on_the_raw_layer_with_the_table_as_features(measured, viewer):
    layer, table = regions_in(viewer), measured.measurement.table
    assert len(table) > 1
    assert layer.features["index"].tolist() == [0, *table["region"]]
    raw = viewer.layers[0]
    np.testing.assert_allclose(layer.scale, raw.scale)
    np.testing.assert_allclose(layer.translate, raw.translate)
    assert viewer.layers.units is not None
    assert measured.table.rowCount() == len(table)
    assert f"{len(table)} regions from" in measured.summary.text()
    assert measured.table.horizontalHeaderItem(2).toolTip() == "TMRM mean change (grey levels)"


def test_rows_come_in_the_order_of_size_with_the_numbers_of_the_table(measured):
    table = measured.measurement.table.set_index("region")
    shown = [int(measured.table.text(row, 0)) for row in range(measured.table.rowCount())]
    areas = table.loc[shown, "area (um^2)"]
    assert areas.is_monotonic_decreasing
    assert float(measured.table.text(0, 1)) == pytest.approx(areas.iloc[0], rel=0.01)


def test_a_row_chooses_its_label_and_the_view_goes_there(measured, viewer):
    row = measured.table.rowCount() - 1
    region = int(measured.table.text(row, 0))
    measured.table.selectRow(row)
    assert regions_in(viewer).selected_label == region
    place = measured.measurement.table.set_index("region").loc[region]
    expected = viewer.layers[0].data_to_world((place["y (px)"], place["x (px)"]))
    np.testing.assert_allclose(viewer.scene.camera.center[1:], expected)


def test_a_label_chooses_its_row_and_leaves_the_view(measured, viewer):
    centre = viewer.scene.camera.center
    region = int(measured.table.text(1, 0))
    regions_in(viewer).selected_label = region
    assert measured.table.chosen_rows() == [1]
    regions_in(viewer).selected_label = 0
    assert measured.table.chosen_rows() == []
    assert viewer.scene.camera.center == centre


def click(layer, position, *, drag=False):
    from napari.utils.interactions import (
        mouse_move_callbacks,
        mouse_press_callbacks,
        mouse_release_callbacks,
    )

    class Event:
        """A mouse event; napari shows a callback the later events in the place of the first."""

        def __setattr__(self, name, value):
            if name == "__wrapped__":
                self.__dict__.update(value.__dict__)
            else:
                super().__setattr__(name, value)

        def __init__(self, kind):
            self.type, self.position, self.handled = kind, position, False
            self.view_direction, self.dims_displayed = None, [0, 1]
            self.is_dragging = kind == "mouse_move"

    mouse_press_callbacks(layer, Event("mouse_press"))
    if drag:
        mouse_move_callbacks(layer, Event("mouse_move"))
    mouse_release_callbacks(layer, Event("mouse_release"))


def test_a_click_on_a_region_chooses_its_row_and_a_drag_does_not(measured, viewer):
    layer = regions_in(viewer)
    for row in (1, 0):
        region = int(measured.table.text(row, 0))
        inside = layer.data_to_world(np.argwhere(layer.data == region)[0])
        click(layer, inside, drag=True)
        assert measured.table.chosen_rows() != [row]
        click(layer, inside)
        assert measured.table.chosen_rows() == [row]


def test_removing_the_layer_empties_the_table(measured, viewer):
    viewer.layers.remove(regions_in(viewer))
    assert measured.table.rowCount() == 0
    measured.session.close()


def test_measuring_again_ties_the_table_to_the_new_regions(qtbot, measured, viewer):
    first = measured.link
    measured.form.set_value("top_share", 0.3)
    measured.measure()
    qtbot.waitUntil(lambda: measured.link not in (None, first), timeout=20_000)
    newest = viewer.layers[-1]
    newest.selected_label = int(measured.table.text(0, 0))
    assert measured.table.chosen_rows() == [0]


def test_what_the_threshold_does_not_use_is_greyed_out(made):
    form = made.measuring.form
    assert [form.editor(name).isEnabled() for name in ("level", "top_share")] == [False, False]
    form.set_value("threshold", "fixed")
    assert [form.editor(name).isEnabled() for name in ("level", "top_share")] == [True, False]


def test_the_table_is_saved_with_all_columns(measured, tmp_path: Path):
    measured.save(str(tmp_path / "regions.csv"))
    pd.testing.assert_frame_equal(
        pd.read_csv(tmp_path / "regions.csv"), measured.measurement.table, check_dtype=False
    )
    assert "regions.csv" in measured.dock.message.text()
    measured.save(str(tmp_path / "regions.doc"))
    assert "expected .csv or .parquet" in measured.dock.message.text()


def test_the_verdict_stands_in_dock_and_overlay(made, viewer):
    line = viewer.layers[2].metadata["napari_why"]["verdict"]
    assert "second network" in line
    assert line in made.result_label.text()
    below = viewer.canvas.overlays.text.text.splitlines()[1:]
    said = " ".join(" ".join(below).split())
    assert line[:40] in said
    assert said.endswith("(more on the page)"), "the whole of it would cover the picture"
    width = viewer.canvas.size[1] / LETTER_WIDTH
    assert len(line) > width >= max(map(len, below)), "what is longer is cut off"
    viewer.canvas.size = (300, 300)
    narrow = viewer.canvas.overlays.text.text.splitlines()
    assert max(map(len, narrow)) <= 300 / LETTER_WIDTH, "wrapped anew"


def test_the_overlay_that_was_there_before_comes_back(qtbot, dock, viewer, classifier):
    text = viewer.canvas.overlays.text
    text.text, text.visible, text.position = "my own", True, "bottom_right"
    widget = dock(CounterfactualDock, viewer)
    state_of(viewer).classifier = classifier
    widget.button.click()
    qtbot.waitUntil(lambda: widget.link is not None, timeout=20_000)
    assert text.text != "my own"
    for layer in [layer for layer in viewer.layers if layer.ndim == 3]:
        viewer.layers.remove(layer)
    assert (text.text, text.visible, text.position) == ("my own", True, "bottom_right")


def test_series_animation_and_figure_are_saved(made, viewer, tmp_path: Path):
    made.saving.save_series(tmp_path / "series.ome.tif")
    made.saving.save_animation(tmp_path / "series.gif")
    made.saving.save_figure(tmp_path / "figure.svg")
    assert "figure.svg" in made.message.text()
    back = why.read(tmp_path / "series.ome.tif")
    assert back.dims == ("t", "c", "y", "x")
    assert back.attrs["pixel_size"]["y"] == pytest.approx(float(viewer.layers[0].scale[-1]))
    np.testing.assert_array_equal(back[:, 0], viewer.layers[2].data)
    record = why.read(tmp_path / "series.ome.tif").attrs["record"]
    assert len(record["details"]["alphas"]) == len(record["details"]["probabilities"]) == 3
    assert (tmp_path / "series.gif").exists()


def test_the_panel_works_in_a_real_viewer(qtbot, make_napari_viewer, dataset, classifier):
    from napari_why.widgets.image_files import layers_of

    viewer = make_napari_viewer()
    for layer in layers_of(dataset.image(0)):
        viewer.add_layer(layer)
    widget = CounterfactualDock(viewer)
    viewer.window.add_dock_widget(widget, name="Counterfactual")
    state_of(viewer).classifier = classifier
    qtbot.waitUntil(lambda: bool(widget.method.name), timeout=20_000)
    widget.explain()
    qtbot.waitUntil(lambda: widget.link is not None, timeout=60_000)
    widget.measuring.form.set_value("threshold", "top")
    widget.measuring.form.set_value("minimum_size", 0.0)
    widget.measuring.measure()
    qtbot.waitUntil(lambda: widget.measuring.link is not None, timeout=60_000)
    widget.measuring.table.selectRow(0)
    assert viewer.layers[-1].selected_label == int(widget.measuring.table.text(0, 0))


def test_what_the_network_uses_is_said_and_shown(qtbot, made, viewer):
    panel = made.measuring
    panel.used_button.click()

    def roles():
        return [layer.metadata["napari_why"].get("role") for layer in viewer.layers]

    qtbot.waitUntil(lambda: roles().count("used change") == 2, timeout=60_000)
    used = made.session.used
    assert used.sentences[0] in panel.used_label.text().replace("&#x27;", "'")
    assert roles().count("used image") == roles().count("rest image") == 2
    # of another counterfactual nothing is known yet
    made.button.click()
    qtbot.waitUntil(lambda: made.session.used is None, timeout=20_000)
    assert panel.used_label.text() == ""
