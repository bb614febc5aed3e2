"""ONNX files of other programs as classifiers: asked for logits, explained without gradients, or refused."""

import copy
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

import napari_why as why
from napari_why.attribution import METHODS
from napari_why.core.errors import ModelFileError, ParameterError, UnsupportedNetworkError, WhyError
from napari_why.counterfactuals import counterfactual, verdict
from napari_why.model import Classifier
from napari_why.networks import FOREIGN, NETWORKS, build_network
from napari_why.networks.onnx_network import onnx_network
from napari_why.networks.onnx_session import are_equal

from .conftest import SIZE, external, make_classifier, probabilities

NAMES = {"classes": "diseased,treated", "channels": "DAPI,TMRM"}
BLACK_BOX = ("occlusion", "region_occlusion", "region_shapley", "rise")


@pytest.fixture
def imported(make_graph, tmp_path) -> Classifier:
    path = tmp_path / "theirs.onnx"
    path.write_bytes(make_graph())
    return why.import_model(path, NAMES, size=SIZE)


def expected(scenes, content: bytes) -> np.ndarray:
    """The same by hand: mean of each channel, times the weights, softmax."""
    weights = onnx.numpy_helper.to_array(onnx.load_model_from_string(content).graph.initializer[0])
    means = np.array(
        [np.asarray(scenes.image(i)).mean(axis=(1, 2), dtype=float) for i in range(len(scenes))]
    )
    powers = np.exp(means @ weights.astype(float))
    return powers / powers.sum(axis=1, keepdims=True)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"batch": 1},
        {"batch": 3},
        {"size": (SIZE, SIZE)},
        {"channels_last": True},
        {"channels_last": True, "size": (SIZE, SIZE), "batch": 1},
        {"last": ""},
        {"element": TensorProto.DOUBLE},
    ],
    ids=str,
)
def test_it_predicts_what_the_graph_computes(make_graph, scenes, tmp_path, options) -> None:
    path = tmp_path / "theirs.onnx"
    path.write_bytes(make_graph(**options))
    back = why.import_model(path, NAMES)
    assert back.preprocessing.size == (SIZE if "size" in options else None)
    assert back.network.outputs == ("logits" if options.get("last") == "" else "probabilities")
    wanted = expected(scenes, path.read_bytes())
    np.testing.assert_allclose(probabilities(back, scenes), wanted, rtol=0, atol=1e-5)
    together = back.logits(torch.cat([back.prepare(scenes.image(i)) for i in range(5)]))
    np.testing.assert_allclose(together.softmax(1).numpy(), wanted[:5], rtol=0, atol=1e-5)
    assert back.logits(torch.zeros(0, 2, SIZE, SIZE)).shape == (0, 2)


@pytest.mark.parametrize("last", ["Sigmoid", ""])
def test_one_number_is_that_of_the_second_of_two_classes(
    make_graph, scenes, tmp_path, last
) -> None:
    path = tmp_path / "theirs.onnx"
    path.write_bytes(make_graph(classes=1, last=last))
    back = why.import_model(path, NAMES)
    weights = onnx.numpy_helper.to_array(onnx.load(path).graph.initializer[0]).astype(float)
    means = np.asarray(scenes.image(0)).mean(axis=(1, 2), dtype=float)
    wanted = 1 / (1 + np.exp(-(means @ weights).item()))
    assert back.predict(scenes.image(0)).probabilities["treated"] == pytest.approx(wanted, abs=1e-6)


def test_outputs_can_be_said(make_graph, scenes, tmp_path) -> None:
    path = tmp_path / "theirs.onnx"
    path.write_bytes(make_graph())
    told = why.import_model(path, NAMES, outputs="logits")
    assert told.network.outputs == "logits"
    guessed = why.import_model(path, NAMES)
    assert not np.allclose(probabilities(told, scenes), probabilities(guessed, scenes), atol=1e-3)


def test_grey_levels_are_standardised_as_the_user_says(make_graph, scenes, tmp_path) -> None:
    path = tmp_path / "theirs.onnx"
    path.write_bytes(make_graph(last=""))
    back = why.import_model(path, NAMES, mean="100", std="2, 4")
    pixels = np.asarray(scenes.image(0))
    wanted = (pixels - 100.0) / np.array([2.0, 4.0])[:, None, None]
    np.testing.assert_allclose(back.prepare(scenes.image(0))[0].numpy(), wanted, rtol=1e-6)
    with pytest.raises(ParameterError, match="found 3 numbers; expected one, or 2"):
        why.import_model(path, NAMES, std="1,2,3")
    with pytest.raises(ParameterError, match="std"):
        why.import_model(path, NAMES, std="0")


def test_what_is_exported_here_comes_back_the_same(scenes, classifier, tmp_path) -> None:
    path = tmp_path / "own.onnx"
    why.export_model(classifier, path, on_event=why.quiet)
    back = why.import_model(path)
    assert (back.classes, back.channels) == (classifier.classes, classifier.channels)
    np.testing.assert_allclose(
        probabilities(back, scenes), probabilities(classifier, scenes), rtol=0, atol=1e-5
    )
    # standardised as before, so that the training mean is a baseline as before; of probabilities the
    # difference of two scores is that of the logits
    contrast = why.Contrast("treated", "diseased")
    maps = [
        why.attribute(item, scenes.image(0), "occlusion", contrast, on_event=why.quiet).joint
        for item in (classifier, back)
    ]
    assert np.abs(maps[0]).max() > 1e-3
    np.testing.assert_allclose(maps[1], maps[0], rtol=0, atol=1e-3 * np.abs(maps[0]).max())


def test_methods_that_ask_for_logits_alone_explain_it_and_all_others_refuse(
    imported, scenes
) -> None:
    image = scenes.image(0)
    regions = np.arange(SIZE * SIZE).reshape(SIZE, SIZE) // (SIZE * 8) + 1
    assert tuple(sorted(name for name in METHODS if METHODS[name].black_box)) == BLACK_BOX
    for name in METHODS:
        given = {"regions": regions, "references": scenes, "on_event": why.quiet}
        if name in BLACK_BOX:
            found = why.attribute(imported, image, name, **given)
            assert np.abs(found.joint).max() > 0, name
        else:
            with pytest.raises(UnsupportedNetworkError, match=f"{name}: .*cannot explain onnx"):
                why.attribute(imported, image, name, **given)


def test_occlusion_finds_what_the_graph_looks_at(imported, scenes) -> None:
    """Of a mean over positions every window takes what it covers, in proportion."""
    contrast = why.Contrast("treated", "diseased")
    found = why.attribute(
        imported,
        scenes.image(0),
        "occlusion",
        contrast,
        window=8,
        stride=8,
        baseline="zero",
        on_event=why.quiet,
    )
    network = onnx.load_model_from_string(imported.network.content.numpy().tobytes())
    weights = onnx.numpy_helper.to_array(network.graph.initializer[0]).astype(float)
    per_channel = weights[:, 1] - weights[:, 0]
    pixels = np.asarray(scenes.image(0), dtype=float)
    blocks = pixels.reshape(2, 4, 8, 4, 8).sum(axis=(2, 4)) / SIZE**2
    wanted = np.einsum("c,cyx->yx", per_channel, blocks)
    np.testing.assert_allclose(found.joint[4::8, 4::8], wanted, rtol=1e-3, atol=1e-5)


def test_a_gradient_is_refused_and_never_0(imported, scenes) -> None:
    x = imported.prepare(scenes.image(0)).requires_grad_()
    with pytest.raises(UnsupportedNetworkError, match="has no gradients"):
        imported.network(x)


def test_what_needs_latents_refuses_in_words(imported, scenes) -> None:
    with pytest.raises(UnsupportedNetworkError, match="logits alone"):
        why.embed(imported, scenes, on_event=why.quiet)
    for target in (why.Similarity(scenes.image(1)), why.EmbeddingCoordinate(0)):
        with pytest.raises(UnsupportedNetworkError, match="logits alone"):
            why.attribute(imported, scenes.image(0), "occlusion", target, on_event=why.quiet)
    with pytest.raises(WhyError, match="onnx"):
        counterfactual(imported, scenes.image(0), on_event=why.quiet)
    with pytest.raises(UnsupportedNetworkError, match="logits alone"):
        why.export_model(imported, "never.onnx", on_event=why.quiet)


def test_it_is_evaluated_and_its_maps_scored(imported, scenes) -> None:
    found = why.evaluate(imported, scenes, on_event=why.quiet)
    assert len(found.predictions) == len(scenes)
    image = scenes.image(0)
    attribution = why.attribute(imported, image, "occlusion", on_event=why.quiet)
    score = why.score_explanation(imported, image, attribution, on_event=why.quiet)
    assert score.deletion is not None
    assert any("cannot be drawn anew" in note for note in score.notes)


def test_a_generator_makes_its_counterfactuals(imported, scenes) -> None:
    generator = why.fit(
        why.simulate(24, size=SIZE, wells=12),
        "iresnet",
        size=SIZE,
        epochs=1,
        lock="none",
        second_network=False,
        pixel_maps=False,
        network_parameters={"blocks": "1", "widths": "4", "downscaling": "2"},
        on_event=why.quiet,
    )
    result = counterfactual(
        imported, scenes.image(0), through=generator, steps=3, draws=0, on_event=why.quiet
    )
    assert result.record.details["through"]["network"] == "iresnet"
    assert result.record.classifier == imported.fingerprint
    last = why.Classifier.prepare_pixels(imported, result.images[-1][None])
    np.testing.assert_allclose(
        imported.logits(last).softmax(1)[0].numpy(), result.probabilities[-1], atol=1e-6
    )
    assert verdict(result).line


def test_saved_and_loaded_it_is_bit_for_bit_the_same(imported, scenes, tmp_path) -> None:
    imported.save(tmp_path / "model")
    with pytest.warns(UserWarning, match="made by another program"):
        loaded = why.load(tmp_path / "model")
    assert loaded.fingerprint == imported.fingerprint
    np.testing.assert_array_equal(probabilities(loaded, scenes), probabilities(imported, scenes))


def test_copies_and_pickles_compute_the_same(imported, scenes) -> None:
    x = imported.prepare(scenes.image(0))
    wanted = imported.network(x)
    assert torch.equal(copy.deepcopy(imported.network)(x), wanted)
    assert torch.equal(pickle.loads(pickle.dumps(imported.network))(x), wanted)  # noqa: S301 - our own


def test_content_that_is_changed_in_place_is_computed(imported) -> None:
    """What a network computes is what its tensors say, by which it is saved and told apart."""
    network = copy.deepcopy(imported.network)
    x = torch.ones(1, 2, SIZE, SIZE)
    before = network(x)
    graph = onnx.load_model_from_string(network.content.numpy().tobytes())
    weights = onnx.numpy_helper.to_array(graph.graph.initializer[0])
    graph.graph.initializer[0].raw_data = (-weights).tobytes()
    changed = graph.SerializeToString()
    assert len(changed) == len(network.content)
    network.content.copy_(torch.frombuffer(bytearray(changed), dtype=torch.uint8))
    torch.testing.assert_close(network(x).flip(1), before)
    network.load_state_dict(imported.network.state_dict())
    assert torch.equal(network(x), before)


@pytest.mark.parametrize("length", [0, 1, 7, 8, 9, 24, 31])
@pytest.mark.parametrize("offset", [0, 3, 8])
def test_every_byte_of_a_file_is_compared(length, offset) -> None:
    content = torch.arange(offset + length, dtype=torch.uint8)[offset:]
    assert are_equal(content, content.clone())
    assert not are_equal(content, torch.zeros(length + 1, dtype=torch.uint8))
    for place in range(length):
        other = content.clone()
        other[place] ^= 128
        assert not are_equal(content, other), place
        assert not are_equal(other, content), place


def test_content_is_compared_eight_bytes_at_once_and_by_threads_side_by_side(
    imported, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = copy.deepcopy(imported.network)
    x = torch.ones(1, 2, SIZE, SIZE)
    before = network(x)
    equal, both, compared = torch.equal, threading.Barrier(2), []

    def compare(one: torch.Tensor, other: torch.Tensor) -> bool:
        if one.dtype == torch.int64:
            both.wait(30)  # fails where the other thread is kept out meanwhile
        compared.append(len(one))
        return equal(one, other)

    monkeypatch.setattr(torch, "equal", compare)
    with ThreadPoolExecutor(2) as threads:
        found = list(threads.map(network, [x, x]))
    assert all(equal(item, before) for item in found)
    length = len(network.content)
    assert sorted(compared) == sorted([length // 8, length % 8] * 2)


def test_it_is_built_by_its_name_and_offered_for_no_training(imported) -> None:
    rebuilt = build_network(**imported.network.configuration())
    rebuilt.load_state_dict(imported.network.state_dict())
    x = torch.ones(1, 2, SIZE, SIZE)
    assert torch.equal(rebuilt(x), imported.network(x))
    assert "onnx" in FOREIGN
    assert not set(FOREIGN) & set(NETWORKS)


def test_tensors_in_other_files_are_refused(make_graph, tmp_path) -> None:
    path = tmp_path / "theirs.onnx"
    path.write_bytes(external(make_graph()))
    with pytest.raises(ModelFileError, match="lie in other files"):
        why.import_model(path, NAMES)


def test_they_are_refused_in_a_saved_classifier_too(imported, make_graph) -> None:
    """Whoever alters a folder can compute its checksums anew."""
    changed = external(make_graph())
    network = build_network(**{**imported.network.configuration(), "length": len(changed)})
    network.content.copy_(torch.frombuffer(bytearray(changed), dtype=torch.uint8))
    with pytest.raises(ModelFileError, match="lie in other files"):
        network(torch.ones(1, 2, SIZE, SIZE))


def test_operations_of_a_library_are_refused(make_graph, tmp_path) -> None:
    node = helper.make_node("RunShell", ["logits"], ["more"], domain="evil.org")
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("evil.org", 1)]
    path = tmp_path / "theirs.onnx"
    path.write_bytes(make_graph(further=[node], opset=opsets))
    with pytest.raises(ModelFileError, match=r"evil\.org\.RunShell"):
        why.import_model(path, NAMES)


@pytest.mark.parametrize(
    ("graph", "names", "error", "said"),
    [
        ({}, {}, ParameterError, "classes: found none"),
        ({}, {"classes": "a,b"}, ParameterError, "channels: found none"),
        ({}, {"classes": "a", "channels": "x,y"}, ParameterError, "the name of each"),
        ({}, {"classes": "a,a", "channels": "x,y"}, ParameterError, "the name of each"),
        ({}, {"classes": "a,b", "channels": "x"}, ParameterError, "expected 2 names"),
        ({}, {"classes": "a,b,c", "channels": "x,y"}, UnsupportedNetworkError, "a number for each"),
        ({"size": (8, 16)}, NAMES, UnsupportedNetworkError, "a square"),
        ({"size": (8, 8)}, {**NAMES, "size": 9}, ParameterError, "which it was made for"),
        ({"opset": [helper.make_opsetid("", 999)]}, NAMES, ModelFileError, "cannot compute it"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_does_not_fit_is_refused_in_words(
    make_graph, tmp_path, graph, names, error, said
) -> None:
    path = tmp_path / "theirs.onnx"
    path.write_bytes(make_graph(**graph))
    with pytest.raises(error, match=said):
        why.import_model(path, names)


@pytest.mark.parametrize("content", [b"", b"\x08", b"no graph at all", bytes(1000)])
def test_what_is_no_onnx_file_is_refused(tmp_path, content) -> None:
    path = tmp_path / "theirs.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=r"theirs\.onnx"):
        why.import_model(path, NAMES)


def test_other_files_and_links_are_refused(tmp_path, make_graph) -> None:
    with pytest.raises(ModelFileError, match="no such file"):
        why.import_model(tmp_path / "nothing.onnx")
    (tmp_path / "a.txt").write_text("a")
    with pytest.raises(ModelFileError, match="found the ending"):
        why.import_model(tmp_path / "a.txt")
    (tmp_path / "real.bin").write_bytes(make_graph())
    (tmp_path / "link.onnx").symlink_to(tmp_path / "real.bin")
    with pytest.raises(ModelFileError, match="found a link"):
        why.import_model(tmp_path / "link.onnx", NAMES)


def test_metadata_that_lies_is_refused(classifier, tmp_path) -> None:
    path = tmp_path / "own.onnx"
    why.export_model(classifier, path, on_event=why.quiet)
    model = onnx.load(path)
    model.metadata_props[0].value = model.metadata_props[0].value.replace(
        '"size": 32', '"size": -1'
    )
    onnx.save(model, path)
    with pytest.raises(ModelFileError, match="size"):
        why.import_model(path)


def test_whole_numbers_as_input_are_refused(tmp_path) -> None:
    graph = helper.make_graph(
        [helper.make_node("ReduceSum", ["image", "axes"], ["sums"], keepdims=0)],
        "g",
        [helper.make_tensor_value_info("image", TensorProto.INT32, ["n", 2, "h", "w"])],
        [helper.make_tensor_value_info("sums", TensorProto.INT32, ["n", 2])],
        [onnx.numpy_helper.from_array(np.array([2, 3]), "axes")],
    )
    path = tmp_path / "whole.onnx"
    opsets = [helper.make_opsetid("", 18)]
    path.write_bytes(
        helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()
    )
    with pytest.raises(UnsupportedNetworkError, match="floating point"):
        why.import_model(path, NAMES)


def test_bytes_alone_make_a_network(make_graph) -> None:
    network = onnx_network(
        make_graph(last=""), input_channels=2, classes=2, size=(SIZE, SIZE), outputs="logits"
    )
    assert network.frozen
    assert network(torch.ones(3, 2, 8, 8)).shape == (3, 2)


def test_an_exported_network_is_not_the_one_it_came_from(scenes, tmp_path) -> None:
    """Nothing of the classifier is looked up by name: what is in the file decides."""
    first, second = tmp_path / "1.onnx", tmp_path / "2.onnx"
    own = make_classifier(scenes)
    why.export_model(own, first, on_event=why.quiet)
    with torch.no_grad():
        own.network.classifier[-1].bias.add_(torch.tensor([3.0, 0.0]))
    why.export_model(own, second, on_event=why.quiet)
    one, other = (probabilities(why.import_model(path), scenes) for path in (first, second))
    assert (other[:, 0] > one[:, 0]).all()
