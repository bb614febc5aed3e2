"""Of all results in a viewer one is on show, with its text, its slider and its colours."""

import gc
import weakref

import numpy as np
import pytest
from napari.layers import Image, Labels

import napari_why as why
from napari_why.output.layer_metadata import LayerFacts
from napari_why.sessions import results_of

SIZE = 32  # of the images of this folder's data set


@pytest.fixture
def maps(viewer, classifier):
    session = why.AttributionSession(viewer, classifier)
    yield session
    session.close()


@pytest.fixture
def series(viewer, classifier):
    session = why.CounterfactualSession(viewer, classifier)
    yield session
    session.close()


def visible(viewer):
    return [layer for layer in viewer.layers if layer.visible and LayerFacts.of(layer).is_result]


def text(viewer):
    overlay = viewer.canvas.overlays.text
    return overlay.text if overlay.visible else ""


def test_a_new_result_hides_the_former_and_deletes_nothing(viewer, maps):
    maps.explain("treated", "saliency")
    former = maps.finding.layers
    maps.explain("treated", "input_x_gradient")
    assert visible(viewer) == [maps.finding.layers[-1]]
    assert all(layer in viewer.layers for layer in former)


def test_what_is_hidden_is_not_hidden_again(viewer, maps):
    """napari draws all overlays anew each time, which took longer with each result."""
    maps.explain("treated", "saliency")
    former = maps.finding.layers
    maps.explain("treated", "input_x_gradient")
    told = []
    for layer in former:
        layer.events.visible.connect(told.append)
    maps.explain("treated", "saliency")
    maps.explain("treated", "input_x_gradient")
    assert told == []
    assert not any(layer.visible for layer in former)


def test_a_map_hides_a_series_with_its_regions_and_its_text(viewer, maps, series):
    series.explain("treated", steps=3)
    series.measure(threshold="top", minimum_size=0.0)
    assert any(isinstance(layer, Labels) for layer in visible(viewer))
    assert "change" in text(viewer)
    maps.explain("treated", "saliency")
    assert visible(viewer) == [maps.finding.layers[-1]]
    assert text(viewer) == ""
    assert series.alpha is None


def test_the_text_is_that_of_the_series_on_show_and_the_slider_as_long(viewer, series):
    series.explain("treated", steps=5, alpha_range=(0.0, 4.0))
    first = series.finding
    series.explain("treated", steps=3, alpha_range=(0.0, 1.0))
    assert tuple(viewer.dims.range[0]) == pytest.approx((0.0, 1.0, 0.5))
    series.step(1.0)
    assert "change at 100 %" in text(viewer)
    viewer.layers.selection.active = first.layers[0]
    assert series.finding is first
    assert tuple(viewer.dims.range[0]) == pytest.approx((0.0, 4.0, 1.0))
    series.step(4.0)
    assert "change at 400 %" in text(viewer)
    assert {LayerFacts.of(layer).id for layer in visible(viewer)} == {
        LayerFacts.of(first.layers[0]).id
    }


def test_an_earlier_result_comes_back_with_all_that_was_found_of_it(viewer, series):
    heard = []
    series.explain("treated", steps=3)
    first, measurement = series.result, series.measure(threshold="top", minimum_size=0.0)
    layer = series.finding.layers[0]
    series.explain("treated", steps=4)
    assert series.measurement is None
    series.result_changed.connect(heard.append)
    series.measurement_changed.connect(heard.append)
    layer.visible = True
    assert heard == [first, measurement]
    assert series.result is first
    assert series.measurement is measurement
    assert series.regions is not None
    assert series.alpha is not None
    assert series.verdict


def test_a_score_comes_back_with_its_map(viewer, maps):
    maps.explain("treated", "saliency")
    finding = maps.finding
    score = maps.score(finding, "treated")
    maps.show_score(finding, score)
    maps.explain("treated", "input_x_gradient")
    assert "score" not in maps.made.kept
    viewer.layers.selection.active = finding.layers[-1]
    assert maps.made.kept["score"] is score


def test_where_the_series_has_no_image_nothing_is_said(viewer, series):
    viewer.add_image(np.zeros((9, 4, 4)), name="a stack of someone else's")
    series.explain("treated", steps=3, alpha_range=(0.0, 1.0))
    viewer.dims.set_point(0, 1.0)
    assert "change" in text(viewer)
    viewer.dims.set_point(0, 5.0)
    assert text(viewer) == ""
    viewer.dims.set_point(0, 0.0)
    for layer in series.finding.layers:
        layer.visible = False
    assert text(viewer) == ""


def test_channels_are_grey_below_a_result_and_get_their_colours_back(viewer, maps, series):
    raw = [layer for layer in viewer.layers if isinstance(layer, Image)]
    before = [layer.colormap.name for layer in raw]
    maps.explain("treated", "saliency")
    assert [layer.colormap.name for layer in raw] == ["why_grey", "why_grey"]
    results_of(viewer).grey = False
    assert [layer.colormap.name for layer in raw] == before
    results_of(viewer).grey = True
    series.explain("treated", steps=3)
    shown = [layer for layer in visible(viewer) if LayerFacts.of(layer).is_series]
    assert [layer.colormap.name for layer in (*raw, *shown)] == ["why_grey"] * 4
    for made in results_of(viewer).made:
        for layer in made.layers:
            viewer.layers.remove(layer)
    assert [layer.colormap.name for layer in raw] == before


def test_a_removed_result_gives_its_memory_back(viewer, maps):
    maps.explain("treated", "saliency")
    gone = weakref.ref(results_of(viewer).shown)
    for layer in list(maps.finding.layers):
        viewer.layers.remove(layer)
    assert results_of(viewer).made == []
    assert results_of(viewer).shown is None
    maps.explain("treated", "saliency")
    gc.collect()
    assert gone() is None


def test_removing_a_layer_brings_no_other_result_up(viewer, maps):
    maps.explain("treated", "saliency")
    maps.explain("treated", "input_x_gradient")
    shown = results_of(viewer).shown
    viewer.layers.remove(shown.layers[0])
    assert results_of(viewer).shown is shown


def test_results_of_images_beside_each_other_stay_together(viewer, maps, dataset):
    from napari.layers import Layer

    from napari_why.napari_reader import image_layers

    first = list(viewer.layers)
    maps.choose_layers(first)
    maps.explain("treated", "saliency")
    beside = [Layer.create(*item) for item in image_layers(dataset.image(1))]
    for layer in beside:
        layer.translate = np.add(layer.translate, (0, 1000))
        viewer.add_layer(layer)
    maps.choose_layers(beside)
    maps.explain("treated", "saliency")
    assert len(visible(viewer)) == 2


def test_the_bar_says_what_it_is_of(viewer, maps, series):
    maps.explain("treated", "saliency")
    title = viewer.canvas.overlays["napari_why_bar_title"]
    assert title.visible
    assert title.text.startswith("against (-) / for (+) treated\nall channels, logit")
    series.explain("treated", steps=3)
    assert not title.visible, "changes are hidden"
    change = next(layer for layer in viewer.layers if LayerFacts.of(layer).is_difference)
    change.visible = True
    assert title.text.startswith("change: less (-) / more (+)")
    assert "grey levels" in title.text


def test_zero_is_the_same_colour_in_bar_and_picture(viewer, maps):
    maps.explain("treated", "saliency")
    shown, title = maps.finding.layers[-1], viewer.canvas.overlays["napari_why_bar_title"]
    for theme, canvas in (("light", 1.0), ("dark", 0.0)):
        viewer.theme = theme
        for layer in viewer.layers[:2]:
            layer.visible = True
        # black is seen below, as channels are at their darkest
        assert tuple(shown.colorbar.box_color[:3]) == (0, 0, 0)
        for layer in viewer.layers[:2]:
            layer.visible = False
        for overlay in (shown.colorbar, title):
            assert tuple(overlay.box_color[:3]) == pytest.approx((canvas,) * 3)
            assert tuple(overlay.color[:3]) == pytest.approx((1 - canvas,) * 3)


def test_names_say_which_image_and_method_in_words(viewer, maps, series, tmp_path, dataset):
    maps.explain("treated", "input_x_gradient")
    assert [layer.name for layer in maps.finding.layers] == [
        "Input x gradient: treated · DAPI",
        "Input x gradient: treated · TMRM",
        "Input x gradient: treated · all channels",
    ]
    for layer in list(viewer.layers):
        viewer.layers.remove(layer)
    path = why.write(dataset.image(0), tmp_path / "A02_f1.ome.tif")
    from napari.layers import Layer

    from napari_why.napari_reader import read_layers

    for item in read_layers(path):
        viewer.add_layer(Layer.create(*item))
    assert [layer.name for layer in viewer.layers] == ["A02_f1 DAPI", "A02_f1 TMRM"]
    series.explain("treated", steps=2)
    assert series.finding.layers[0].name.startswith("A02_f1 · Class-to-class transport: ")
    assert text(viewer).startswith("A02_f1: no change: called ")


def test_layers_of_one_image_stand_together_and_what_is_no_image_stays(viewer, maps, dataset):
    from napari.layers import Layer

    from napari_why.napari_reader import image_layers

    first = list(viewer.layers)
    other = [Layer.create(*item) for item in image_layers(dataset.image(1))]
    for layer in other:
        viewer.add_layer(layer)
    cells = viewer.add_labels(np.ones((4, 4), int))
    maps.choose_layers(first)
    maps.explain("treated", "saliency")
    assert list(viewer.layers) == [*other, *first, cells, *maps.finding.layers]


def test_a_result_whose_channels_show_another_image_says_so(viewer, maps):
    maps.explain("treated", "saliency")
    made, raw = results_of(viewer).shown, maps.finding.subject.layers
    results_of(viewer).hide_those_about(raw)
    assert results_of(viewer).shown is None
    assert visible(viewer) == []
    for layer in raw:
        layer.data = layer.data // 2
    results_of(viewer).put_on_show(made)
    assert "show another image by now" in viewer.canvas.overlays["napari_why_bar_title"].text


def test_images_are_not_seen_around_maps_of_classes_and_come_back(viewer, maps):
    maps.explain("treated", "saliency")
    made = results_of(viewer).shown
    hidden = viewer.add_image(np.zeros((8, 8)), visible=False)
    averages = why.to_layers(maps.result)
    for turn in range(2):
        results_of(viewer).add_layers_alone(averages, hides_images=True)
        for layer in averages:
            viewer.add_layer(layer)
        assert not any(layer.visible for layer in made.about)
        if turn == 0:
            made.layers[-1].visible = True
            assert all(layer.visible for layer in made.about)
        for layer in averages:
            viewer.layers.remove(layer)
        assert all(layer.visible for layer in made.about)
    assert not hidden.visible


def show_averages(viewer, maps, shift=0.0):
    """Put layers on show that hide images, as maps of classes do, and return them."""
    averages = why.to_layers(maps.result)
    for layer in averages:
        layer.translate = (*layer.translate[:-1], shift)
    results_of(viewer).add_layers_alone(averages, hides_images=True)
    for layer in averages:
        viewer.add_layer(layer)
    return averages


def remove(viewer, layers):
    for layer in layers:
        viewer.layers.remove(layer)


def test_images_stay_hidden_while_what_hides_them_is_on_show(viewer, maps):
    maps.explain("treated", "saliency")
    raw = maps.finding.subject.layers
    averages = show_averages(viewer, maps)
    beside = why.to_layers(maps.result)
    for layer in beside:
        layer.translate = (*layer.translate[:-1], 1000.0)
    results_of(viewer).add_layers_alone(beside)
    for layer in beside:
        viewer.add_layer(layer)
    assert visible(viewer) == [averages[-1], beside[-1]]
    assert not any(layer.visible for layer in raw)
    # no more than the one on show goes
    remove(viewer, beside)
    assert not any(layer.visible for layer in raw)
    remove(viewer, averages)
    assert all(layer.visible for layer in raw)


def test_images_come_back_with_the_last_result_that_hides_them(viewer, maps):
    maps.explain("treated", "saliency")
    wide = viewer.add_image(np.ones((SIZE, 2000)))
    first, second = show_averages(viewer, maps), show_averages(viewer, maps, 1000.0)
    assert visible(viewer) == [first[-1], second[-1]]
    remove(viewer, first)
    assert not wide.visible
    remove(viewer, second)
    assert wide.visible


def test_an_image_that_the_user_has_shown_is_left_to_the_user(viewer, maps):
    maps.explain("treated", "saliency")
    raw = maps.finding.subject.layers
    averages = show_averages(viewer, maps)
    raw[0].visible = True
    raw[0].visible = False
    remove(viewer, averages)
    assert [layer.visible for layer in raw] == [False, True]


def test_maps_of_classes_hide_what_was_on_show_too(viewer, maps):
    maps.explain("treated", "saliency")
    made = results_of(viewer).shown
    others = why.to_layers(maps.result)
    results_of(viewer).add_layers_alone(others)
    for layer in others:
        viewer.add_layer(layer)
    assert visible(viewer) == [others[-1]]
    made.layers[-1].visible = True
    assert visible(viewer) == [made.layers[-1]]
