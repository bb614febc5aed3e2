"""A counterfactual in a viewer without Qt: shown, moved along, measured, taken away."""

import re
import threading
from pathlib import Path

import numpy as np
import pytest
from napari.layers import Labels

import napari_why as why
from napari_why.core.errors import MismatchError, ParameterError, WhyError
from napari_why.output.layer_metadata import LayerFacts
from napari_why.sessions import results_of, state_of


def collect(signal):
    """Return the list that what a signal tells is added to."""
    seen = []
    signal.connect(lambda *values: seen.append(values[0] if values else None))
    return seen


@pytest.fixture
def session(viewer, classifier):
    made = why.CounterfactualSession(viewer, classifier)
    yield made
    made.close()


@pytest.fixture
def shown(session):
    """A session that shows a series of five steps from alpha 0 to 2."""
    session.explain(steps=5, alpha_range=(0.0, 2.0))
    return session


@pytest.fixture
def measured(shown):
    shown.measure(channel="TMRM", threshold="top", top_share=0.1, minimum_size=2.0)
    return shown


def series_in(viewer):
    return [layer for layer in viewer.layers if layer.ndim == 3]


def regions_in(viewer):
    (layer,) = [layer for layer in viewer.layers if isinstance(layer, Labels)]
    return layer


def test_explaining_gives_what_the_function_gives(shown, classifier, dataset):
    expected = why.counterfactual(
        classifier, dataset.image(0), steps=5, alpha_range=(0.0, 2.0), method="transport"
    )
    np.testing.assert_array_equal(shown.result.images, expected.images)
    np.testing.assert_allclose(shown.result.probabilities, expected.probabilities, rtol=1e-5)


def test_the_series_stands_at_its_first_step_and_says_so(shown, viewer):
    assert viewer.dims.axis_labels[0] == "alpha"
    assert shown.alpha == viewer.dims.point[0] == 0.0
    text = viewer.canvas.overlays.text
    assert text.visible
    assert text.text.startswith("no change: called ")
    said = " ".join(text.text.split())  # broken into lines, which end with spaces
    # only the first doubts: whoever looks at a picture reads no page
    assert shown.verdict[:40] in said
    assert said.endswith("(more on the page)")
    assert shown.reservations
    assert shown.verdict.startswith(("not to be trusted", "does not flip", shown.reservations[0]))


def test_the_slider_of_the_viewer_moves_alpha_and_probabilities(shown, viewer):
    alphas = collect(shown.alpha_changed)
    viewer.dims.set_current_step(0, 3)
    assert alphas == [1.5]
    assert shown.alpha == 1.5
    expected = dict(zip(shown.result.classes, shown.result.probabilities[3], strict=True))
    assert shown.probabilities == pytest.approx(expected)
    assert viewer.canvas.overlays.text.text.startswith("change at 150 %: called ")


def test_a_step_moves_the_slider_of_the_viewer_to_the_nearest_alpha(shown, viewer):
    shown.step(0.9)
    assert viewer.dims.current_step[0] == 2, "the nearest of 0, 0.5, 1, 1.5, 2"
    assert shown.alpha == 1.0


def test_computing_touches_no_viewer_and_runs_in_a_thread(session, viewer):
    before = list(viewer.layers)
    subject, found = session.subject(), []
    thread = threading.Thread(
        target=lambda: found.append(session.compute(subject, steps=3, alpha_range=(0.0, 1.0)))
    )
    thread.start()
    thread.join()
    assert list(viewer.layers) == before
    assert session.result is None
    results = collect(session.result_changed)
    session.show(*found[0])
    assert results == [session.result]
    assert len(viewer.layers) == len(before) + 4


def test_a_result_of_the_function_is_shown_as_well(session, viewer, classifier, dataset):
    result = why.counterfactual(classifier, dataset.image(0), steps=3)
    session.show(result)
    assert session.result is result
    assert session.finding.subject.layers == tuple(viewer.layers[:2])
    assert session.alpha == 0.0


def test_without_a_classifier_the_session_takes_the_shared_one(viewer, classifier):
    session = why.CounterfactualSession(viewer)
    with pytest.raises(ParameterError, match="classifier: found none"):
        session.explain()
    state_of(viewer).classifier = classifier
    assert session.classifier is classifier
    assert session.subject().classifier is classifier


def test_layers_are_found_by_their_channel_whatever_their_name(session, viewer):
    raw = list(viewer.layers)
    raw[0].name, raw[1].name = "TMRM", "DAPI"
    viewer.layers.reverse()
    assert session.subject().layers == tuple(raw)


def test_chosen_layers_are_taken_and_a_removed_one_is_missed(session, viewer):
    raw = list(viewer.layers)
    session.choose_layers(raw[::-1])
    assert session.subject().layers == tuple(raw[::-1])
    viewer.layers.remove(raw[0])
    with pytest.raises(MismatchError, match="no longer in the viewer"):
        session.subject()
    session.choose_layers(raw[:1])
    with pytest.raises(MismatchError, match="found 1 layers; expected 2"):
        session.subject()
    session.choose_layers(None)
    with pytest.raises(MismatchError, match="found no layer that is surely of it"):
        session.subject()


def test_of_a_stack_the_plane_that_is_shown_is_explained(classifier, dataset):
    from napari.components import ViewerModel

    image = dataset.image(0)
    viewer = ViewerModel()
    for channel in image.coords["c"].values:
        pixels = image.sel(c=channel).to_numpy()
        layer = viewer.add_image(np.stack([np.zeros_like(pixels), pixels, np.zeros_like(pixels)]))
        layer.metadata["napari_why"] = {"channel": str(channel)}
    viewer.dims.set_current_step(0, 1)
    session = why.CounterfactualSession(viewer, classifier)
    assert session.subject().plane == (1,)
    result = session.explain(steps=3)
    np.testing.assert_array_equal(session.finding.subject.image, image)
    session.step(float(result.alphas[-1]))
    assert session.alpha == pytest.approx(float(result.alphas[-1]))


def test_removing_the_series_ends_alpha_and_takes_the_text_away(shown, viewer):
    for layer in series_in(viewer):
        viewer.layers.remove(layer)
    assert shown.slider is shown.alpha is shown.probabilities is None
    assert not viewer.canvas.overlays.text.visible
    assert shown.result is not None
    shown.step(1.0)
    assert viewer.dims.ndim == 2


def test_one_layer_of_the_series_is_enough_to_follow(shown, viewer):
    viewer.layers.remove(series_in(viewer)[0])
    viewer.dims.set_current_step(0, 4)
    assert shown.alpha == 2.0


def test_a_closed_session_leaves_layers_and_follows_nothing(measured, viewer):
    viewer.canvas.overlays.text.visible = True
    count = len(viewer.layers)
    alphas = collect(measured.alpha_changed)
    measured.close()
    assert not viewer.canvas.overlays.text.visible
    viewer.dims.set_current_step(0, 2)
    regions_in(viewer).selected_label = 1
    assert alphas == []
    assert len(viewer.layers) == count
    assert (measured.slider, measured.regions, measured.region) == (None, None, 0)
    measured.close()


def test_a_closed_session_disconnects_from_the_viewer(viewer, classifier):
    results_of(viewer)  # which follows its viewer as long as that is there
    events = (viewer.layers.events.removed, viewer.dims.events.current_step)
    before = [len(event.callbacks) for event in events]
    session = why.CounterfactualSession(viewer, classifier)
    session.explain(steps=3)
    session.measure(threshold="top", minimum_size=0.0)
    session.close()
    # layers that came connect callbacks of napari's own, which leave with them
    for layer in list(viewer.layers)[2:]:
        viewer.layers.remove(layer)
    assert [len(event.callbacks) for event in events] == before


def test_a_second_result_takes_the_place_of_the_first(measured, viewer):
    first, measurements = measured.slider, collect(measured.measurement_changed)
    measured.explain(steps=3, alpha_range=(0.0, 1.0))
    assert measured.slider is not first
    assert measurements == [None]
    viewer.dims.set_point(0, 1.0)
    assert viewer.canvas.overlays.text.text.startswith("change at 100 %")


def test_two_sessions_on_one_viewer_each_know_their_alpha(shown, viewer, classifier):
    other = why.CounterfactualSession(viewer, classifier)
    other.explain(steps=3, alpha_range=(0.0, 1.0))
    viewer.dims.set_point(0, 1.0)
    assert (shown.alpha, other.alpha) == (None, 1.0), "one of them is on show"
    text = viewer.canvas.overlays.text
    assert text.text.startswith("change at 100 %")
    viewer.layers.selection.active = shown.finding.layers[0]
    viewer.dims.set_point(0, 2.0)
    assert (shown.alpha, other.alpha) == (2.0, None)
    assert text.text.startswith("change at 200 %")
    shown.close()
    assert not text.visible


def test_of_two_sessions_the_first_may_leave_first(shown, viewer, classifier):
    text = viewer.canvas.overlays.text
    other = why.CounterfactualSession(viewer, classifier)
    other.explain(steps=3, alpha_range=(0.0, 1.0))
    shown.close()
    assert text.text.startswith("no change: called")
    viewer.dims.set_point(0, 1.0)
    assert text.text.startswith("change at 100 %")
    other.close()
    assert (text.visible, text.text) == (False, "")


def test_what_the_user_wrote_in_the_corner_comes_back_or_stays(viewer, classifier):
    text = viewer.canvas.overlays.text
    text.text, text.visible, text.position = "my own", True, "bottom_right"
    session = why.CounterfactualSession(viewer, classifier)
    session.explain(steps=3)
    assert text.text != "my own"
    session.close()
    assert (text.text, text.visible, text.position) == ("my own", True, "bottom_right")
    session.show(session.result)
    text.text = "written since"
    session.close()
    assert text.text == "written since"


def test_measuring_shows_regions_with_their_table(measured, viewer):
    layer, table = regions_in(viewer), measured.measurement.table
    assert len(table) > 1
    assert layer.features["index"].tolist() == [0, *table["region"]]
    np.testing.assert_allclose(layer.scale, viewer.layers[0].scale)


def test_a_chosen_region_is_labelled_and_looked_at(measured, viewer):
    regions = collect(measured.region_changed)
    region = int(measured.measurement.table["region"].iloc[-1])
    measured.choose_region(region)
    assert regions == [region]
    assert measured.region == regions_in(viewer).selected_label == region
    place = measured.measurement.table.set_index("region").loc[region]
    expected = viewer.layers[0].data_to_world((place["y (px)"], place["x (px)"]))
    np.testing.assert_allclose(viewer.scene.camera.center[1:], expected)


def test_a_label_that_is_chosen_in_the_viewer_is_told_and_leaves_the_view(measured, viewer):
    regions, centre = collect(measured.region_changed), viewer.scene.camera.center
    regions_in(viewer).selected_label = 2
    assert regions == [2]
    assert measured.region == 2
    assert viewer.scene.camera.center == centre


def test_removing_the_regions_ends_the_measurement(measured, viewer):
    measurements = collect(measured.measurement_changed)
    viewer.layers.remove(regions_in(viewer))
    assert measurements == [None]
    assert measured.measurement is None
    measured.choose_region(1)
    assert measured.region == 0
    assert measured.measure(threshold="top", minimum_size=0.0) is measured.measurement


def test_what_is_not_there_cannot_be_measured_or_saved(session, tmp_path):
    with pytest.raises(WhyError, match="found no counterfactual"):
        session.measure()
    with pytest.raises(WhyError, match="found no counterfactual"):
        session.save_series(tmp_path / "series.ome.tif")
    with pytest.raises(WhyError, match="found no measurement"):
        session.save_table(tmp_path / "regions.csv")
    session.step(1.0)


def test_series_figure_and_table_are_saved(measured, tmp_path):
    back = why.read(measured.save_series(tmp_path / "series.ome.tif"))
    np.testing.assert_array_equal(back.to_numpy(), measured.result.images)
    for path in (
        measured.save_animation(tmp_path / "series.gif"),
        measured.save_figure(tmp_path / "figure.svg"),
        measured.save_table(tmp_path / "regions.csv"),
    ):
        assert path.exists()


def test_layers_that_come_one_by_one_are_followed_when_all_are_there(held, viewer, classifier):
    session = why.CounterfactualSession(viewer, classifier, host=held)
    session.explain(steps=3)
    assert session.result is not None
    assert session.slider is None
    held.let_go()
    assert session.alpha == 0.0


@pytest.mark.parametrize("meanwhile", ["closed", "another result"])
def test_a_result_whose_layers_come_too_late_is_not_followed(held, viewer, classifier, meanwhile):
    session = why.CounterfactualSession(viewer, classifier, host=held)
    first = session.explain(steps=3)
    if meanwhile == "closed":
        session.close()
        held.let_go()
        assert session.slider is None
    else:
        second = session.explain(steps=5, alpha_range=(0.0, 4.0))
        held.let_go()
        session.step(4.0)
        assert session.alpha == 4.0
        assert session.result is second is not first


def test_a_script_uses_a_session_as_the_documentation_says(
    viewer, classifier, tmp_path, monkeypatch, capsys
):
    page = Path(__file__).parents[2] / "docs" / "user-guide.md"
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    (code,) = [block for block in blocks if "session.explain(" in block]
    classifier.save(tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    names = {"why": why, "viewer": viewer}
    exec(code, names)  # noqa: S102
    assert "'diseased': " in capsys.readouterr().out
    assert (tmp_path / "figure.svg").exists()
    assert names["session"].region == 0, "closed"
    assert regions_in(viewer).selected_label == names["table"]["region"].iloc[0]


def test_the_used_part_is_shown_and_forgotten_with_its_counterfactual(viewer, classifier):
    session = why.CounterfactualSession(viewer, classifier)
    with pytest.raises(WhyError, match="explain an image first"):
        session.find_used()
    session.explain(steps=2)
    heard = []
    session.used_changed.connect(heard.append)
    used = session.find_used(tiles=2)
    assert session.used is used
    roles = [LayerFacts.of(layer).role for layer in viewer.layers]
    assert roles.count("used change") == len(classifier.channels)
    session.explain(steps=2)
    assert session.used is None
    assert heard == [used, None]
