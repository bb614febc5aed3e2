"""The Attribution dock, run on a real classifier."""

import pytest

from napari_why.core.record import Record
from napari_why.sessions import state_of
from napari_why.widgets.explaining_dock import AttributionDock


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
    explaining.target.setCurrentIndex(explaining.target.findData("treated"))
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
    import numpy as np

    from napari_why.attribution import attribute
    from napari_why.output.raw_layers import image_from_layers

    image = image_from_layers(list(viewer.layers), classifier.channels)
    expected = attribute(classifier, image, "saliency", "diseased")
    explaining.method.box.setCurrentIndex(explaining.method.box.findData("saliency"))
    explaining.target.setCurrentIndex(explaining.target.findData("diseased"))
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
