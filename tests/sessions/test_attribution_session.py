"""An attribution in a viewer without Qt."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from napari.layers import Image

import napari_why as why
from napari_why.attribution import METHODS, Evidence, Method, RegionValue
from napari_why.core.errors import MismatchError, ParameterError
from napari_why.core.events import Message
from napari_why.output.layer_metadata import LayerFacts


def test_the_maps_lie_over_the_image_and_are_those_of_the_function(viewer, classifier, dataset):
    session = why.AttributionSession(viewer, classifier)
    found = session.explain("treated", "saliency")
    expected = why.attribute(classifier, dataset.image(0), "saliency", "treated")
    np.testing.assert_allclose(found.joint, expected.joint, rtol=1e-5, atol=1e-7)
    assert session.result is found
    joint = viewer.layers[-1]
    assert (joint.metadata["napari_why"]["target"], joint.visible) == ("treated", True)
    np.testing.assert_allclose(joint.scale, viewer.layers[0].scale)


def test_an_overlay_is_no_image_to_explain(viewer, classifier):
    session = why.AttributionSession(viewer, classifier)
    raw = session.subject().layers
    session.explain(method="saliency")
    assert session.subject().layers == raw


def test_options_and_events_reach_the_method(viewer, classifier):
    events = []
    session = why.AttributionSession(viewer, classifier)
    found = session.explain(window=8, on_event=events.append)
    assert found.record.method == "occlusion"
    assert found.record.parameters["window"] == 8
    assert events


def test_pixels_that_changed_since_the_layers_were_chosen_are_noticed(viewer, classifier):
    session = why.AttributionSession(viewer, classifier)
    subject = session.subject()
    viewer.layers[0].data = viewer.layers[0].data // 2
    with pytest.raises(MismatchError, match="was given other pixels"):
        session.compute(subject, method="saliency")
    finding = session.compute(session.subject(), method="saliency")
    assert finding.subject.choice.changed() == ""
    viewer.layers[1].data = viewer.layers[1].data // 2
    assert viewer.layers[1].name in finding.subject.choice.changed()


def test_what_is_odd_about_the_layers_is_sent_as_a_message(viewer, classifier):
    events = []
    session = why.AttributionSession(viewer, classifier)
    session.choose_layers(session.subject().layers[::-1])
    session.explain(method="saliency", on_event=events.append)
    told = [event.text for event in events if isinstance(event, Message)]
    assert sum("and its file calls it" in text for text in told) == 2


def test_a_session_takes_no_mix_of_two_images(viewer, classifier):
    session = why.AttributionSession(viewer, classifier)
    first = session.subject().layers
    facts = LayerFacts.of(first[1])
    data, words, _ = first[1].as_layer_data_tuple()
    words["metadata"] = replace(facts, source="other.tif").to_metadata()
    other = viewer.add_layer(Image(data + 1, **words))
    assert session.subject().layers == first
    viewer.layers.remove(first[1])
    with pytest.raises(MismatchError, match="found no layer that is surely of it"):
        session.subject()
    session.choose_layers([first[0], other])
    with pytest.raises(MismatchError, match="Found layers of different images"):
        session.explain(method="saliency")
    session.choose_layers([first[0], other], several_files=True)
    assert "other.tif" in session.explain(method="saliency").record.source


def test_a_view_that_shows_no_plane_is_refused(viewer, classifier):
    for layer in [*viewer.layers]:
        layer.data = np.stack([layer.data, layer.data // 2])
    session = why.AttributionSession(viewer, classifier)
    viewer.dims.set_current_step(0, 1)
    assert session.subject().plane == (1,)
    viewer.dims.roll()
    with pytest.raises(MismatchError, match="expected a plane of y and x"):
        session.subject()


def test_cancelled_work_shows_what_was_done(viewer, classifier):
    session = why.AttributionSession(viewer, classifier)
    found = session.explain("treated", "lrp", cancelled=lambda: True)
    assert abs(found.gap) > 0.5, "the map is not complete, and says so"
    assert session.finding.layers[-1] is viewer.layers[-1]


def test_sessions_need_neither_qt_nor_a_display():
    code = """
import json, sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("qtpy", "PySide6", "PyQt6", "PyQt5", "superqt"):
            raise ModuleNotFoundError(f"{name} is blocked in this test", name=name)
sys.meta_path.insert(0, Blocker())
import numpy as np
from napari.components import ViewerModel
import napari_why.sessions as sessions
viewer = ViewerModel()
viewer.add_image(np.zeros((4, 4)))
for kind in (sessions.AttributionSession, sessions.CounterfactualSession, sessions.LatentSession):
    kind(viewer).close()
sys.stdout.write(json.dumps(sorted({"qtpy", "torch", "matplotlib.pyplot"} & set(sys.modules))))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == []


@pytest.mark.parametrize("name", ["AttributionSession", "CounterfactualSession", "LatentSession"])
def test_sessions_are_public(name):
    assert name in why.__all__
    assert name == getattr(why, name).__name__


@pytest.fixture
def by_regions():
    """A method whose value of a region is its label, with a standard error of a tenth of that."""

    def by_regions(network, x, target, *, regions):
        values = tuple(
            RegionValue(int(label), float(label), float(label) / 10) for label in regions.unique()
        )
        return Evidence(x[0], x[0].sum(dim=0), "logit per region", regions=values)

    METHODS.add(Method("by_regions", "By regions", "none", by_regions))
    yield
    del METHODS["by_regions"]


def cells(viewer) -> np.ndarray:
    labels = np.zeros(viewer.layers[0].data.shape[-2:], dtype=int)
    labels[2:10, 2:10], labels[20:28, 4:12] = 2, 7
    return labels


@pytest.mark.usefixtures("by_regions")
def test_values_of_regions_stand_in_the_features_of_their_layer(viewer, classifier):
    layer = viewer.add_labels(cells(viewer), features={"index": [0, 2, 7], "size": [0, 1, 2]})
    session = why.AttributionSession(viewer, classifier)
    session.explain("treated", "by_regions", regions=layer)
    features = layer.features.set_index("index")
    assert features.loc[[2, 7], "By regions: treated"].tolist() == [2.0, 7.0]
    assert features.loc[[2, 7], "By regions: treated, standard error"].tolist() == [0.2, 0.7]
    assert features["size"].tolist() == [0, 1, 2], "what was there stays"
    session.explain("treated", "by_regions", regions=layer)
    assert layer.features.columns.tolist().count("By regions: treated") == 1
    session.explain("diseased", "by_regions", regions=layer)
    assert {"By regions: treated", "By regions: diseased"} < set(layer.features)


@pytest.mark.usefixtures("by_regions")
def test_a_layer_that_was_removed_meanwhile_does_no_harm(viewer, classifier):
    layer = viewer.add_labels(cells(viewer))
    session = why.AttributionSession(viewer, classifier)
    finding = session.compute(session.subject(), "treated", "by_regions", regions=layer)
    viewer.layers.remove(layer)
    session.show(*finding)
    assert session.result is finding.result


def test_compared_methods_are_those_that_were_asked_for(viewer, classifier):
    session = why.AttributionSession(viewer, classifier)
    before = len(viewer.layers)
    found = session.compare(session.subject(), "treated", ["saliency", "by_regions", "lrp"])
    assert [one.method for one in found] == ["saliency", "by_regions", "lrp"]
    assert [one.finding is None for one in found] == [False, True, False]
    assert isinstance(found[1].problem, ParameterError)
    assert len(viewer.layers) == before
    expected = session.compute(session.subject(), "treated", "lrp").result
    np.testing.assert_array_equal(found[2].finding.result.joint, expected.joint)


def test_parameters_and_wrappers_of_compared_methods_are_scored_too(viewer, classifier):
    session = why.AttributionSession(viewer, classifier)
    given = {
        "smoothgrad": {"samples": 2},
        "saliency": {"wrapper": "pooled", "wrapper_options": {"by": "grid"}},
    }
    found = session.compare(session.subject(), "treated", list(given), given, scored=True)
    assert [one.problem for one in found] == [None, None]
    assert found[0].finding.result.record.parameters["samples"] == 2
    assert all(one.score.randomisation is not None for one in found)


def test_cancelled_comparisons_give_what_was_done(viewer, classifier):
    session = why.AttributionSession(viewer, classifier)
    subject, asked = session.subject(), []

    def cancelled() -> bool:
        asked.append(True)
        return len(asked) > 1

    found = session.compare(subject, "treated", ["saliency", "lrp"], cancelled=cancelled)
    assert len(found) == 1


@pytest.mark.usefixtures("by_regions")
def test_values_of_regions_are_kept_whichever_map_was_made_last(viewer, classifier):
    layer = viewer.add_labels(cells(viewer))
    session = why.AttributionSession(viewer, classifier)
    given = {"by_regions": {"regions": layer}}
    first, last = session.compare(session.subject(), "treated", ["by_regions", "saliency"], given)
    session.show(*last.finding)
    assert "By regions: treated" not in layer.features
    session.show(*first.finding)
    assert "By regions: treated" in layer.features
