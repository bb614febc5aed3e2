"""The Attribution dock, run on a real classifier."""

from itertools import combinations
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.backend_bases import MouseEvent
from qtpy.QtCore import Qt

from napari_why.attribution import METHODS, Method
from napari_why.core.record import Record
from napari_why.sessions import state_of
from napari_why.sessions.attribution import Compared
from napari_why.widgets.attribution_dock import AttributionDock
from napari_why.widgets.dock import NARROWEST
from napari_why.widgets.plot import MapGrid


@pytest.fixture
def explaining(dock, viewer, classifier):
    widget = dock(AttributionDock, viewer)
    state_of(viewer).classifier = classifier
    return widget


def test_without_a_classifier_the_dock_says_where_to_get_one(dock, viewer):
    widget = dock(AttributionDock, viewer)
    assert "Train or load one" in widget.classifier_label.text()
    assert not widget.button.isEnabled()


def test_explaining_lays_maps_over_the_image(qtbot, explaining, viewer, classifier):
    raw = list(viewer.layers)
    explaining.method.box.setCurrentIndex(explaining.method.box.findData("occlusion"))
    explaining.method.form.set_value("window", 8)
    explaining.target.classes.setCurrentIndex(explaining.target.classes.findData("treated"))
    explaining.button.click()
    qtbot.waitUntil(lambda: len(viewer.layers) == 5, timeout=20_000)
    facts = viewer.layers[-1].metadata["napari_why"]
    assert (facts["method"], facts["target"]) == ("occlusion", "treated")
    assert facts["parameters"]["window"] == 8
    assert facts["classifier"] == classifier.fingerprint
    assert "Evidence for treated" in explaining.result_label.text()
    assert explaining.layers.layers() == raw, "an overlay is not offered as an image"
    assert viewer.layers.units[-1] == raw[0].units[-1]


def test_the_dock_does_what_the_console_does(qtbot, explaining, viewer, classifier):
    from napari_why.attribution import attribute
    from napari_why.output.raw_layers import image_from_layers

    image = image_from_layers(list(viewer.layers), classifier.channels)
    expected = attribute(classifier, image, "saliency", "diseased")
    explaining.method.box.setCurrentIndex(explaining.method.box.findData("saliency"))
    explaining.target.classes.setCurrentIndex(explaining.target.classes.findData("diseased"))
    explaining.explain()
    qtbot.waitUntil(lambda: len(viewer.layers) == 5, timeout=20_000)
    np.testing.assert_allclose(viewer.layers[-1].data, expected.joint, rtol=1e-5, atol=1e-7)
    facts = viewer.layers[-1].metadata["napari_why"]
    again = Record.from_dict({key: facts[key] for key in expected.record.to_dict()})
    assert again.parameters == expected.record.parameters


def test_a_deleted_layer_is_told_in_words_and_nothing_breaks(explaining, viewer):
    viewer.layers.remove(viewer.layers[0])
    explaining.explain()
    assert "no layer is chosen" in explaining.message.text()
    assert explaining.message.kind == "error"
    assert explaining.button.text() == "Explain"


def test_every_method_of_the_registry_is_offered_with_its_paper(explaining):
    from napari_why.attribution import METHODS

    box = explaining.method.box
    assert [box.itemData(index) for index in range(box.count())] == list(METHODS)
    for index in range(box.count()):
        box.setCurrentIndex(index)
        chosen = METHODS[explaining.method.name]
        assert chosen.source[1:] in explaining.method.about
        assert explaining.method.form.names == tuple(p.name for p in chosen.parameters)


def choose(box, value) -> None:
    box.setCurrentIndex(box.findData(value))


def test_one_class_rather_than_another(qtbot, explaining, viewer, classifier):
    from napari_why.attribution import Contrast, attribute
    from napari_why.output.raw_layers import image_from_layers

    image = image_from_layers(list(viewer.layers), classifier.channels)
    expected = attribute(classifier, image, "saliency", Contrast("treated", "diseased"))
    choose(explaining.method.box, "saliency")
    explaining.target.kind.setCurrentIndex(1)
    choose(explaining.target.target_class, "treated")
    explaining.explain()
    assert "Choose both classes" in explaining.message.text()
    choose(explaining.target.against, "diseased")
    explaining.explain()
    qtbot.waitUntil(lambda: len(viewer.layers) == 5, timeout=20_000)
    np.testing.assert_allclose(viewer.layers[-1].data, expected.joint, rtol=1e-5, atol=1e-7)
    assert "score of treated rather than diseased" in explaining.result_label.text()


def test_a_number_of_the_embedding_and_the_similarity_to_a_file(
    qtbot, explaining, viewer, tmp_path, classifier
):
    from napari_why import write
    from napari_why.output.raw_layers import image_from_layers

    choose(explaining.method.box, "saliency")
    explaining.target.kind.setCurrentIndex(2)
    explaining.target.coordinate.setValue(1)
    explaining.explain()
    qtbot.waitUntil(lambda: len(viewer.layers) == 5, timeout=20_000)
    assert "embedding coordinate 1" in explaining.result_label.text()
    image = image_from_layers(list(viewer.layers[:2]), classifier.channels)
    write(image, tmp_path / "other.ome.tif")
    explaining.target.kind.setCurrentIndex(3)
    explaining.explain()
    assert "Choose the image file" in explaining.message.text()
    explaining.target.image.choose(tmp_path / "other.ome.tif")
    explaining.explain()
    qtbot.waitUntil(lambda: len(viewer.layers) == 8, timeout=20_000)
    assert "similarity to" in explaining.result_label.text()
    # of the same image: nothing makes it more alike
    assert "that is explained is 1." in explaining.result_label.text()


def test_what_stands_around_the_maps_of_two_rows_does_not_touch(qtbot, viewer):
    """Two lines below a map, and two above the next one."""
    maps = SimpleNamespace(result=SimpleNamespace(joint=np.eye(8)))
    judged = SimpleNamespace(deletion=SimpleNamespace(beaten=9, random_drops=range(10)))
    found = [Compared("integrated_gradients", maps, judged)] * 6
    grid = MapGrid(viewer, found, lambda _: "Integrated gradients")
    qtbot.addWidget(grid)
    grid.resize(300, grid.height())
    grid.show()
    renderer = grid.get_renderer()
    places = [
        text.get_window_extent(renderer)
        for axes in grid.panels
        for text in (axes.title, *axes.texts)
    ]
    assert len(places) == 12
    assert not any(one.overlaps(other) for one, other in combinations(places, 2))
    assert all(grid.figure.bbox.y0 <= one.y0 and one.y1 <= grid.figure.bbox.y1 for one in places)
    grid.release()


def test_methods_are_compared_and_one_is_kept(qtbot, explaining, viewer):
    comparing = explaining.comparing
    assert "saliency" in comparing.chosen
    comparing.tick(["saliency", "input_x_gradient"])
    comparing.compare()
    qtbot.waitUntil(lambda: comparing.grid is not None, timeout=20_000)
    titles = [axes.get_title().replace("\n", " ") for axes in comparing.grid.panels[:2]]
    assert titles == ["Saliency", "Input x gradient"]
    assert len(viewer.layers) == 2, "nothing is added before one is chosen"
    with qtbot.waitSignal(comparing.grid.clicked):
        axes = comparing.grid.panels[1]
        x, y = axes.transAxes.transform((0.5, 0.5))
        event = MouseEvent("button_press_event", comparing.grid, x, y, button=1)
        comparing.grid.callbacks.process("button_press_event", event)
    qtbot.waitUntil(lambda: len(viewer.layers) == 5, timeout=20_000)
    assert viewer.layers[-1].metadata["napari_why"]["method"] == "input_x_gradient"


def test_without_a_method_nothing_is_compared(explaining):
    explaining.comparing.tick([])
    explaining.comparing.compare()
    assert "Tick the methods" in explaining.message.text()


def test_what_a_method_takes_is_asked_for_and_nothing_else(explaining, viewer):
    def explain_regions(network, x, target, *, regions):
        return METHODS["saliency"].function(network, x, target)

    METHODS.add(Method("by_regions", "By regions", "none", explain_regions))
    try:
        explaining.show_classifier(explaining.state.classifier)
        choose(explaining.method.box, "saliency")
        assert explaining.given.isHidden()
        choose(explaining.method.box, "by_regions")
        assert not explaining.given.isHidden()
        explaining.explain()
        assert "regions: found none" in explaining.message.text()
    finally:
        del METHODS["by_regions"]


def test_maps_of_classes_are_averaged_over_the_data_set_in_use(qtbot, explaining, viewer, dataset):
    page = explaining.class_maps
    assert not page.button.isEnabled()
    state_of(viewer).dataset = dataset
    assert page.button.isEnabled()
    assert f"{len(dataset)} images" in page.about_data.text()
    choose(page.method.box, "saliency")
    page.form.set_value("alignment", "none")
    before = len(viewer.layers)
    assert not page.open_button.isEnabled()
    page.average()
    qtbot.waitUntil(lambda: page.canvas is not None, timeout=30_000)
    page.open_button.click()
    assert page.canvas.isVisible()
    qtbot.waitUntil(lambda: len(viewer.layers) > before + 4, timeout=20_000)
    assert any("treated" in layer.name for layer in viewer.layers[before:])
    assert page.notes.text()


def test_a_map_is_scored_on_request_and_keeps_its_score(qtbot, explaining, viewer):
    assert not explaining.score_button.isEnabled()
    choose(explaining.method.box, "saliency")
    explaining.explain()
    qtbot.waitUntil(lambda: len(viewer.layers) == 5, timeout=20_000)
    qtbot.waitUntil(explaining.score_button.isEnabled, timeout=5_000)
    explaining.score_button.click()
    qtbot.waitUntil(lambda: "of 10" in explaining.score_label.text(), timeout=30_000)
    kept = viewer.layers[-1].metadata["napari_why"]["explanation_score"]
    assert kept["line"][1:] in explaining.score_label.text()
    assert "random" in kept["line"], "no bare number"
    choose(explaining.method.box, "input_x_gradient")
    explaining.explain()
    qtbot.waitUntil(lambda: len(viewer.layers) == 8, timeout=20_000)
    assert explaining.score_label.text() == "", "of another map"


def test_maps_are_compared_with_their_scores(qtbot, explaining, viewer):
    comparing = explaining.comparing
    comparing.tick(["saliency"])
    comparing.scored.setChecked(True)
    comparing.compare()
    qtbot.waitUntil(lambda: comparing.grid is not None, timeout=30_000)
    (caption,) = [text.get_text() for text in comparing.grid.panels[0].texts]
    assert "of 10" in caption
    comparing.grid.clicked.emit(comparing.grid._found[0])
    qtbot.waitUntil(lambda: len(viewer.layers) == 5, timeout=20_000)
    assert "of 10" in explaining.score_label.text()
    assert "explanation_score" in viewer.layers[-1].metadata["napari_why"]


def test_a_prototype_comes_as_steps_with_what_others_say_of_it(qtbot, explaining, viewer):
    page = explaining.prototypes
    choose(page.target, "treated")
    page.form.set_value("steps", 2)
    page.form.set_value("images", 2)
    before = len(viewer.layers)
    page.make()
    qtbot.waitUntil(lambda: len(viewer.layers) == before + 2, timeout=30_000)
    assert viewer.layers[-1].data.shape[0] == 2
    qtbot.waitUntil(lambda: viewer.dims.current_step[0] == 1, timeout=5_000)
    assert "prototype" in page.verdict.text().lower()


def test_a_wrapper_makes_something_of_the_map(qtbot, explaining, viewer, classifier):
    from napari.layers import Labels

    choose(explaining.method.box, "saliency")
    choose(explaining.wrapper.box, "pooled")
    choose(explaining.wrapper.form.editor("by").field, "grid")
    explaining.explain()
    qtbot.waitUntil(lambda: any(isinstance(one, Labels) for one in viewer.layers), timeout=20_000)
    facts = viewer.layers[-1].metadata["napari_why"]
    assert facts["details"]["wrapper"] == "pooled"
    assert facts["details"]["wrapper_options"]["by"] == "grid"


def test_everything_fits_into_the_width_of_the_dock(explaining):
    # beside the bar that scrolls up and down; there is none from left to right
    assert explaining.column.parentWidget().minimumSizeHint().width() <= NARROWEST - 20
    explaining.target.kind.setCurrentIndex(1)
    assert explaining.tabs.minimumSizeHint().width() <= NARROWEST - 20


def test_a_map_is_scored_as_it_was_asked_whatever_the_form_says_now(qtbot, explaining, viewer):
    choose(explaining.method.box, "saliency")
    explaining.explain()
    qtbot.waitUntil(lambda: len(viewer.layers) == 5, timeout=20_000)
    explaining.target.kind.setCurrentIndex(2)
    choose(explaining.method.box, "deep_taylor")
    explaining.explain()
    assert "cannot explain" in explaining.message.text()
    explaining.score()
    qtbot.waitUntil(lambda: "of 10" in explaining.score_label.text(), timeout=30_000)


def test_values_of_regions_are_a_table_that_is_linked_both_ways(qtbot, explaining, viewer):
    labels = np.zeros(viewer.layers[0].data.shape[-2:], dtype=int)
    labels[2:10, 2:10], labels[20:28, 4:12] = 2, 7
    layer = viewer.add_labels(labels)
    choose(explaining.method.box, "region_occlusion")
    explaining.explain()
    values = explaining.region_values
    qtbot.waitUntil(lambda: explaining.session.regions is not None, timeout=20_000)
    assert {values.table.text(row, 0) for row in range(values.table.rowCount())} == {"2", "7"}
    assert "by iresnet" in values.about.text()
    values.table.selectRow(1)
    assert layer.selected_label == int(values.table.text(1, 0))
    layer.selected_label = int(values.table.text(0, 0))
    assert values.table.chosen_rows() == [0]


def test_an_earlier_map_that_is_selected_is_told_again(qtbot, explaining, viewer):
    choose(explaining.method.box, "lrp")
    explaining.explain()
    qtbot.waitUntil(lambda: len(viewer.layers) == 5, timeout=20_000)
    first, said = viewer.layers[-1], explaining.result_label.text()
    choose(explaining.method.box, "saliency")
    explaining.explain()
    qtbot.waitUntil(lambda: len(viewer.layers) == 8, timeout=20_000)
    assert not first.visible
    assert explaining.result_label.text() != said
    viewer.layers.selection.active = first
    assert first.visible
    assert explaining.result_label.text() == said
    explaining.score()
    qtbot.waitUntil(lambda: bool(explaining.score_label.text()), timeout=60_000)


def test_results_are_compared_in_a_window_that_follows_the_viewer(qtbot, dock, explaining, viewer):
    from napari_why.widgets.counterfactual_dock import CounterfactualDock

    choose(explaining.method.box, "saliency")
    explaining.explain()
    qtbot.waitUntil(lambda: len(viewer.layers) == 5, timeout=20_000)
    other = dock(CounterfactualDock, viewer)
    other.explain()
    qtbot.waitUntil(lambda: other.link is not None, timeout=20_000)
    other.result_actions.open_comparison()
    window = other.result_actions.window_of_results
    qtbot.addWidget(window)
    assert window.results.count() == 2
    for row in range(2):
        window.results.item(row).setCheckState(Qt.CheckState.Checked)
    titles = ("before", "after", "change", "Saliency")

    def drawn() -> list[str]:
        return [] if window.figure is None else [a.get_title() for a in window.figure.figure.axes]

    qtbot.waitUntil(lambda: all(any(t in title for title in drawn()) for t in titles))
    result = other.session.result
    other.session.step(float(result.alphas[-1]))
    ((_, after), *_) = window.figure.show(float(result.alphas[-1]))
    np.testing.assert_array_equal(after.get_array(), result.images[-1, 0])
    window.slider.setValue(0)
    assert other.session.alpha == float(result.alphas[0])
    assert "no change" in window.text.text()
    window.close()
