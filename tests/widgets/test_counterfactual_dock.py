"""The Counterfactual dock, run on a real classifier."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from qtpy.QtCore import QPoint

from napari_why.core.errors import ParameterError
from napari_why.images import contrast_limits, read
from napari_why.sessions import state_of
from napari_why.transport.class_maps import ClassMaps
from napari_why.transport.coarse_to_fine import fit_coarse_to_fine
from napari_why.transport.responding_cells import RespondingCells
from napari_why.widgets.counterfactual_dock import AlphaRange, CounterfactualDock, summary_of

SIZE = 32  # of the images of this folder's data set


@pytest.fixture
def made(qtbot, dock, viewer, classifier):
    """A dock that has made a series of five steps from alpha 0 to 2."""
    widget = dock(CounterfactualDock, viewer)
    state_of(viewer).classifier = classifier
    widget.path_form.set_value("steps", 5)
    widget.alphas.automatic.setChecked(False)
    widget.alphas.last.setValue(2.0)
    widget.button.click()
    qtbot.waitUntil(lambda: widget.link is not None, timeout=20_000)
    return widget


def test_the_series_starts_at_alpha_zero_and_says_so(made, viewer):
    assert viewer.dims.axis_labels[0] == "alpha"
    assert viewer.dims.point[0] == 0.0
    text = viewer.canvas.overlays.text
    assert text.visible
    assert text.text.startswith("no change: called")
    assert made.curve.marked == 0.0


def test_the_slider_moves_text_and_curve(made, viewer):
    viewer.dims.set_current_step(0, 3)
    assert viewer.canvas.overlays.text.text.startswith("change at 150 %: called ")
    assert made.curve.marked == pytest.approx(1.5)


def test_a_click_on_the_curve_moves_the_slider(made, viewer):
    from matplotlib.backend_bases import MouseButton, MouseEvent

    axes = made.curve.panels[0]
    x, y = axes.transData.transform((0.9, 0.5))
    event = MouseEvent("button_press_event", made.curve, x, y, MouseButton.LEFT)
    made.curve.callbacks.process("button_press_event", event)
    assert viewer.dims.current_step[0] == 2, "the nearest of 0, 0.5, 1, 1.5, 2"
    assert made.curve.marked == pytest.approx(1.0)


def test_series_and_changes_are_layers_of_each_channel(made, viewer, classifier):
    results = [layer for layer in viewer.layers if "role" in layer.metadata["napari_why"]]
    roles = [(layer.metadata["napari_why"]["role"], layer.visible) for layer in results]
    assert roles == [("series", True)] * 2 + [("difference", False)] * 2
    raw = viewer.layers[0]
    assert results[0].colormap.name == raw.colormap.name == "why_grey"
    made.result_actions.grey.setChecked(False)
    assert results[0].colormap.name == raw.colormap.name == "blue"
    made.result_actions.grey.setChecked(True)  # which is kept, for the next test too
    assert tuple(results[0].contrast_limits) == contrast_limits(results[0].data[0])
    assert results[0].data.shape[0] == 5
    assert results[0].data.dtype == raw.data.dtype


def test_removing_the_series_ends_the_link_and_takes_the_text_away(made, viewer):
    for layer in [layer for layer in viewer.layers if layer.ndim == 3]:
        viewer.layers.remove(layer)
    assert not viewer.canvas.overlays.text.visible
    made.curve.clicked.emit(1.0)
    assert viewer.dims.ndim == 2


def test_a_renamed_series_is_still_followed(made, viewer):
    for layer in viewer.layers:
        layer.name = "renamed"
    viewer.dims.set_current_step(0, 4)
    assert made.curve.marked == pytest.approx(2.0)


def test_a_second_series_takes_the_place_of_the_first_in_text_and_curve(qtbot, made, viewer):
    first = made.link
    made.alphas.last.setValue(1.0)
    made.explain()
    qtbot.waitUntil(lambda: made.link is not None and made.link is not first, timeout=20_000)
    np.testing.assert_allclose(made.curve.panels[0].lines[0].get_xdata(), np.linspace(0, 1, 5))
    viewer.dims.set_point(0, 1.0)
    assert viewer.canvas.overlays.text.text.startswith("change at 100 %: called ")


def test_a_network_without_an_inverse_is_refused_in_words(dock, viewer, dataset):
    from napari_why.fitting import fit

    widget = dock(CounterfactualDock, viewer)
    state_of(viewer).classifier = fit(dataset, "cam_net", size=32, epochs=1, threads=1)
    assert not widget.button.isEnabled()
    assert "makes no images; train an iresnet" in widget.message.text()


def test_an_empty_range_of_alpha_is_refused(qtbot):
    alphas = AlphaRange()
    qtbot.addWidget(alphas)
    assert alphas.value() is None
    alphas.automatic.setChecked(False)
    alphas.first.setValue(1.0)
    with pytest.raises(ParameterError, match="expected the first to be the smaller"):
        alphas.value()


def test_any_classifier_goes_through_a_chosen_generator(
    qtbot, dock, viewer, classifier, dataset, tmp_path
):
    from napari_why.model import Classifier
    from napari_why.networks import build_network

    place = classifier.save(tmp_path / "generator")
    network = build_network("small_cnn", input_channels=2, classes=2, size=32, seed=0)
    state_of(viewer).classifier = asked = Classifier(
        network, classifier.preprocessing, classifier.classes
    )
    widget = dock(CounterfactualDock, viewer)
    assert not widget.button.isEnabled()
    widget.choose_generator(place)
    assert widget.button.isEnabled()
    assert widget.generators.label.text() == "Images are made by the chosen generator (iresnet)."
    widget.path_form.set_value("steps", 2)
    widget.button.click()
    qtbot.waitUntil(lambda: widget.session.result is not None, timeout=20_000)
    record = widget.session.result.record
    assert record.classifier == asked.fingerprint
    assert record.details["through"]["fingerprint"] == classifier.fingerprint
    widget.choose_generator(None)
    assert not widget.button.isEnabled()
    # its own generator needs no choice
    state_of(viewer).classifier = Classifier(
        network, classifier.preprocessing, classifier.classes, generator=classifier
    )
    assert widget.button.isEnabled()
    assert widget.generators.label.text() == "Images are made by its generator (iresnet)."


def test_what_to_know_before_believing_it_leaves_the_curve_in_sight(qtbot, made):
    long = replace(made.session.result, notes=("one reason to doubt", "another"))
    made.show_result(long)
    assert made.remarks.text() == "One reason to doubt.\nAnother."
    assert "doubt" not in made.result_label.text()
    with qtbot.waitExposed(made):
        made.show()  # widgets have no places before
    below = [made.curve, made.remarks, made.measuring]
    places = [widget.mapTo(made, QPoint(0, 0)).y() for widget in below]
    assert places == sorted(set(places))


def test_the_summary_says_where_the_class_changes_and_what_lies_beyond(made):
    result = made.session.result
    known = replace(result.circumstances, full_alpha=1.0)
    for boundary, said in (
        (0.7, "The class changes at alpha 0.70."),
        (1.7, "The class changes at alpha 1.70, beyond the complete change."),
        (None, "The class does not change on this path."),
    ):
        one = replace(result, special_alphas={"boundary": boundary}, circumstances=known)
        assert said in summary_of(one)


def test_draws_are_layers_with_a_slider_of_their_own_and_are_saved(
    qtbot, dock, viewer, classifier, dataset, tmp_path
):
    prepared = classifier.prepare(dataset.image(0))
    dimmed = prepared * torch.tensor([1.0, 0.3])[:, None, None]
    cells = RespondingCells(fit_coarse_to_fine(prepared, dimmed, (0,)), 0, 0.5, 0.02)
    kinds = {(*pair, "responding_cells"): cells for pair in ((0, 1), (1, 0))}
    statistics = classifier.latent_statistics.with_part("pixel_maps", ClassMaps(2, kinds))
    widget = dock(CounterfactualDock, viewer)
    state_of(viewer).classifier = replace(classifier, latent_statistics=statistics)
    widget.path_form.set_value("steps", 3)
    widget.path_form.set_value("draws", 4)
    widget.method.form.set_value("change", "responding_cells")
    widget.button.click()
    qtbot.waitUntil(lambda: widget.link is not None, timeout=20_000)
    draws = [one for one in viewer.layers if one.metadata["napari_why"].get("role") == "draws"]
    assert [one.data.shape[:2] for one in draws] == [(4, 1)] * 2
    assert viewer.dims.axis_labels[:2] == ("draw", "alpha")
    assert viewer.dims.nsteps[0] == 4
    # at the image itself there is nothing to draw; at alpha1 the slider shows one draw after another
    middle = SIZE // 2, SIZE // 2
    before = draws[1].data_to_world((0, -2, *middle))  # two steps before alpha1
    assert draws[1].get_value(before, world=True) is None
    widget.session.step(1.0)
    assert widget.session.alpha == 1.0
    for number in (0, 3):
        viewer.dims.set_current_step(0, number)
        assert widget.session.alpha == 1.0
        place = draws[1].data_to_world((number, 0, *middle))
        assert place[1] == 1.0
        drawn = widget.session.result.samples.image(number)[1]
        assert draws[1].get_value(place, world=True) == drawn[middle]
    assert "slider draw shows all 4 draws" in widget.result_label.text()
    assert not widget.saving.samples.isHidden()
    widget.saving.save_samples(tmp_path / "draws.ome.tif")
    saved = read(tmp_path / "draws.ome.tif")
    assert np.array_equal(saved.values, widget.session.result.samples.images)


def test_one_answer_offers_no_draws(made):
    assert made.saving.samples.isHidden()
