"""The latent space of a data set in a viewer without Qt."""

import numpy as np
import pytest

import napari_why as why
from napari_why.core.errors import ParameterError, WhyError
from napari_why.latent_space import path_of
from napari_why.sessions import MOST_OPENED, results_of, state_of


def collect(signal):
    """Return the list that what a signal tells is added to."""
    seen = []
    signal.connect(seen.append)
    return seen


@pytest.fixture
def session(viewer, classifier, dataset):
    made = why.LatentSession(viewer, classifier, dataset)
    yield made
    made.close()


@pytest.fixture
def shown(session):
    session.embed()
    return session


def test_embedding_shows_every_image_once(session, dataset):
    views = collect(session.view_changed)
    view = session.embed(projection="pca")
    assert views == [view]
    assert session.view is view
    assert view.projection.coordinates.shape == (len(dataset), 2)
    assert session.ringed.shape == (len(dataset),)


def test_without_classifier_or_data_set_the_error_says_what_is_missing(viewer, classifier):
    session = why.LatentSession(viewer)
    with pytest.raises(WhyError, match="found no classifier"):
        session.embed()
    state_of(viewer).classifier = classifier
    with pytest.raises(WhyError, match="found no data set"):
        session.embed()
    with pytest.raises(WhyError, match="found no latent space"):
        session.select([0])


def test_a_change_of_what_the_docks_share_clears_only_what_is_about_it(viewer, classifier, dataset):
    shared = why.LatentSession(viewer)
    own = why.LatentSession(viewer, classifier, dataset)
    state_of(viewer).classifier, state_of(viewer).dataset = classifier, dataset
    for session in (shared, own):
        session.embed()
    state_of(viewer).dataset = dataset.select(range(12))
    assert shared.view is None
    assert own.view is not None


def test_colours_follow_a_column_of_the_table(shown):
    columns = collect(shown.colouring_changed)
    shown.color_by = "well"
    assert columns == ["well"]
    assert shown.colouring.column == "well"
    with pytest.raises(ParameterError, match="color_by: found 'nothing'; expected one of"):
        shown.color_by = "nothing"


def test_chosen_points_are_told_and_opened_beside_the_image(shown, viewer, dataset):
    chosen = collect(shown.selection_changed)
    shown.select([5])
    shown.open()
    assert chosen == [[5]]
    (row,) = shown.view.dataset_rows(shown.selection)
    np.testing.assert_array_equal(viewer.layers[-1].data, dataset.image(row)[1])
    right = viewer.layers[0].extent.world[1][-1]
    assert viewer.layers[-1].extent.world[0][-1] > right
    with pytest.raises(ParameterError, match="expected numbers below 16"):
        shown.select([99])


def test_images_take_the_place_of_those_before_and_too_many_are_told(shown, viewer):
    sentences = collect(shown.opener.left_out)
    shown.open(list(range(16)))
    assert len(shown.opener.opened) == 2 * MOST_OPENED
    assert "first 9 of 16" in sentences[0]
    shown.open([1])
    assert len(viewer.layers) == 4


def test_the_path_of_a_counterfactual_follows_the_slider_of_the_viewer(shown, viewer, classifier):
    paths, steps = collect(shown.path_changed), collect(shown.step_changed)
    other = why.CounterfactualSession(viewer, classifier)
    result = other.explain(steps=4, alpha_range=(0.0, 1.5))
    expected = shown.view.projection.project(path_of(result, classifier))
    np.testing.assert_allclose(shown.path, expected, rtol=1e-3, atol=1e-3)
    np.testing.assert_array_equal(paths[-1], shown.path)
    other.step(1.0)
    assert shown.step == steps[-1] == 2
    for layer in [layer for layer in viewer.layers if layer.ndim == 3]:
        viewer.layers.remove(layer)
    assert shown.path is shown.step is None


def test_a_path_of_a_series_that_is_gone_when_it_is_encoded_is_dropped(
    viewer, classifier, dataset, held
):
    session = why.LatentSession(viewer, classifier, dataset, host=held)
    session.embed()
    held.let_go()
    why.CounterfactualSession(viewer, classifier).explain(steps=3)
    for layer in [layer for layer in viewer.layers if layer.ndim == 3]:
        viewer.layers.remove(layer)
    held.let_go()
    assert session.path is None


def test_looking_again_with_other_settings_keeps_the_projection(shown):
    projection = shown.view.projection
    shown.find_outliers(rate=0.2)
    assert shown.view.projection is projection
    assert len(shown.view.outliers.listed)


def test_tables_and_figure_are_saved(shown, tmp_path):
    assert (shown.save(tmp_path / "out") / "images.csv").exists()


def test_a_closed_session_follows_nothing_and_keeps_what_it_shows(viewer, classifier, dataset):
    # which follow their viewer as long as that is there
    results_of(viewer), state_of(viewer)
    events = (
        viewer.layers.events.inserted,
        viewer.layers.events.removed,
        viewer.dims.events.current_step,
    )
    before = [len(event.callbacks) for event in events]
    state_of(viewer).classifier, state_of(viewer).dataset = classifier, dataset
    session = why.LatentSession(viewer)
    session.embed()
    session.close()
    assert [len(event.callbacks) for event in events] == before
    state_of(viewer).dataset = None
    assert session.view is not None
    session.close()
