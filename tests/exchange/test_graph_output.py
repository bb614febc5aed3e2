"""What the numbers of somebody else's graph are is told by its steps, or asked for: never guessed."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

import napari_why as why
from napari_why.core.errors import (
    MismatchError,
    ParameterError,
    UnsupportedNetworkError,
)
from napari_why.exchange.graph_output import find_ending
from napari_why.networks import build_network
from napari_why.networks.onnx_network import onnx_network

from .conftest import SIZE, make_classifier, probabilities

NAMES = {"classes": "diseased,treated", "channels": "DAPI,TMRM"}
BIAS = (0.4, 0.3)
Node = tuple[str, Sequence[str], str, dict[str, Any]]
Writer = Callable[..., Path]


@pytest.fixture
def write_graph(tmp_path: Path) -> Writer:
    """Write a graph of channels' means, a linear layer, and the steps that are given after ``logits``."""

    def write(
        *steps: Node,
        classes: int = 2,
        outputs: Sequence[str] = ("answer",),
        shape: Sequence[int | str] = ("n", 2, "h", "w"),
        axes: Sequence[int] = (2, 3),
    ) -> Path:
        weights = np.random.default_rng(1).standard_normal((2, classes)) / 1000
        constants = {
            "axes": np.array(axes),
            "weights": weights.astype(np.float32),
            "bias": np.array(BIAS[:classes], np.float32),
            "one": np.array(1, np.float32),
            "half": np.array(0.5, np.float32),
            "flat": np.array([-1, classes]),
            "deep": np.array([-1, classes, 1, 1]),
        }
        nodes = [
            helper.make_node("ReduceMean", ["image", "axes"], ["means"], keepdims=0),
            helper.make_node("Gemm", ["means", "weights", "bias"], ["logits"]),
            *(helper.make_node(op, list(given), [made], **more) for op, given, made, more in steps),
        ]
        graph = helper.make_graph(
            nodes,
            "their_network",
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, list(shape))],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
            [numpy_helper.from_array(value, name) for name, value in constants.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
        path = tmp_path / "theirs.onnx"
        path.write_bytes(model.SerializeToString())
        return path

    return write


def step(operation: str, *given: str, to: str = "answer", **more: Any) -> Node:
    return operation, given or ("logits",), to, more


def logits_of(scenes: Any, path: Path) -> np.ndarray:
    """The linear layer by hand, of the first image."""
    known = {item.name: numpy_helper.to_array(item) for item in onnx.load(path).graph.initializer}
    means = np.asarray(scenes.image(0)).mean(axis=(1, 2), dtype=float)
    return means @ known["weights"].astype(float) + known["bias"]


def test_one_logit_that_lies_between_0_and_1_is_no_probability(write_graph, scenes) -> None:
    path = write_graph(step("Identity"), classes=1)
    back = why.import_model(path, NAMES)
    (logit,) = logits_of(scenes, path)
    assert back.network.outputs == "logits"
    found = back.predict(scenes.image(0)).probabilities["treated"]
    assert found == pytest.approx(1 / (1 + np.exp(-logit)), abs=1e-6)
    assert any("it gives logits, since it ends in a weighted sum" in note for note in back.notes)


@pytest.mark.parametrize(
    ("steps", "ending"),
    [
        ([step("Softmax", axis=1)], "softmax"),
        ([step("Softmax", axis=1, to="p"), step("Squeeze", "p")], "softmax"),
        ([step("Reshape", "logits", "deep", to="d"), step("Flatten", "d")], "sum"),
        ([step("Mul", "logits", "half")], "sum"),
        ([step("LogSoftmax", axis=1)], "log_softmax"),
        ([step("Sigmoid", to="p"), step("Reshape", "p", "flat")], "sigmoid"),
        ([step("Relu")], "unknown"),
        ([step("Sigmoid", to="p"), step("Sub", "one", "p")], "unknown"),
        ([step("Exp", to="e"), step("Div", "one", "e")], "unknown"),
        ([step("Softmax", axis=1, to="p"), step("Gemm", "p", "weights")], "unknown"),
        ([step("Tanh", to="t"), step("MatMul", "t", "logits")], "unknown"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_the_step_that_makes_the_numbers_is_found(write_graph, steps, ending) -> None:
    assert find_ending(onnx.load(write_graph(*steps)), "answer") == ending


def test_steps_in_a_function_of_the_file_are_followed(write_graph) -> None:
    path = write_graph(step("Answer", domain="their.own"))
    model = onnx.load(path)
    body = [helper.make_node("Softmax", ["x"], ["y"], axis=1)]
    opsets = [helper.make_opsetid("", 18)]
    model.functions.append(helper.make_function("their.own", "Answer", ["x"], ["y"], body, opsets))
    model.opset_import.append(helper.make_opsetid("their.own", 1))
    assert find_ending(model, "answer") == "softmax"


def test_what_its_steps_do_not_tell_is_asked_for(write_graph, scenes) -> None:
    path = write_graph(step("Relu"))
    with pytest.raises(UnsupportedNetworkError, match="outputs=logits or outputs=probabilities"):
        why.import_model(path, NAMES)
    assert why.import_model(path, NAMES, outputs="logits").network.outputs == "logits"


def test_a_softmax_over_another_axis_is_no_probability_of_a_class(write_graph) -> None:
    path = write_graph(step("Softmax", axis=0))
    with pytest.raises(UnsupportedNetworkError, match="outputs=logits"):
        why.import_model(path, NAMES)


def test_classes_that_do_not_exclude_each_other_are_refused(write_graph) -> None:
    path = write_graph(step("Sigmoid"))
    with pytest.raises(UnsupportedNetworkError, match="do not exclude each other"):
        why.import_model(path, NAMES)
    with pytest.raises(MismatchError, match="a sum of 1"):
        why.import_model(path, NAMES, outputs="probabilities")


def test_of_two_outputs_that_may_be_the_classes_one_has_to_be_named(write_graph, scenes) -> None:
    path = write_graph(
        step("Mul", "means", "one", to="latent"),
        step("Softmax", axis=1),
        outputs=("latent", "answer"),
    )
    with pytest.raises(UnsupportedNetworkError, match=r"latent of shape .*output=NAME"):
        why.import_model(path, NAMES)
    back = why.import_model(path, NAMES, output="answer")
    powers = np.exp(logits_of(scenes, path))
    np.testing.assert_allclose(
        probabilities(back, scenes)[0], powers / powers.sum(), rtol=0, atol=1e-6
    )
    with pytest.raises(ParameterError, match="expected one of latent, answer"):
        why.import_model(path, NAMES, output="other")


def test_an_output_of_exactly_a_number_a_class_goes_before_others(write_graph) -> None:
    path = write_graph(
        step("Reshape", "means", "deep", to="latent"),
        step("Softmax", axis=1),
        outputs=("latent", "answer"),
    )
    assert why.import_model(path, NAMES).network.output == "answer"


def test_the_output_that_was_chosen_is_saved(write_graph, scenes, tmp_path) -> None:
    path = write_graph(
        step("Mul", "means", "one", to="latent"), step("Softmax"), outputs=("latent", "answer")
    )
    back = why.import_model(path, NAMES, output="answer")
    back.save(tmp_path / "model")
    with pytest.warns(UserWarning, match="made by another program"):
        loaded = why.load(tmp_path / "model")
    np.testing.assert_array_equal(probabilities(loaded, scenes), probabilities(back, scenes))


def test_a_graph_for_another_size_asks_for_it(write_graph) -> None:
    path = write_graph(
        step("Flatten", "image", to="f"),
        step("MatMul", "f", "wide", to="g"),
        step("Add", "logits", "g"),
    )
    model = onnx.load(path)
    wide = np.ones((2 * SIZE * SIZE, 2), np.float32)
    model.graph.initializer.append(numpy_helper.from_array(wide, "wide"))
    onnx.save(model, path)
    with pytest.raises(MismatchError, match="say it") as found:
        why.import_model(path, NAMES, outputs="logits")
    assert "64, 64" in str(found.value)
    assert why.import_model(path, NAMES, outputs="logits", size=SIZE).preprocessing.size == SIZE


def test_where_channels_stand_is_kept_and_asked_for(write_graph) -> None:
    path = write_graph(step("Softmax"), shape=("n", "a", "b", "c"), axes=(1, 2))
    network = onnx_network(
        path.read_bytes(),
        input_channels=2,
        classes=2,
        size=(SIZE, SIZE),
        outputs="probabilities",
        layout="channels_last",
    )
    x = torch.rand(1, 2, SIZE, SIZE)
    rebuilt = build_network(**network.configuration())
    rebuilt.load_state_dict(network.state_dict())
    assert torch.equal(rebuilt(x), network(x))
    known = {n.name: numpy_helper.to_array(n) for n in onnx.load(path).graph.initializer}
    wanted = x.mean(dim=(2, 3)).numpy() @ known["weights"] + known["bias"]
    found = network(x).softmax(1).numpy()
    np.testing.assert_allclose(found, np.exp(wanted) / np.exp(wanted).sum(), rtol=0, atol=1e-6)
    with pytest.raises(ParameterError, match="layout=channels_first or layout=channels_last"):
        why.import_model(path, NAMES)
    back = why.import_model(path, NAMES, layout="channels_last")
    np.testing.assert_array_equal(back.network(x), network(x))


def test_what_is_loaded_into_a_network_that_was_at_work_is_computed(write_graph) -> None:
    x = torch.rand(1, 2, SIZE, SIZE)
    given = {"input_channels": 2, "classes": 2, "size": (SIZE, SIZE), "outputs": "logits"}
    first = onnx_network(write_graph(step("Mul", "logits", "half")).read_bytes(), **given)
    second = onnx_network(write_graph(step("Mul", "logits", "bias")).read_bytes(), **given)
    before = first(x)
    first.load_state_dict(second.state_dict())
    assert torch.equal(first(x), second(x))
    assert not torch.equal(first(x), before)


@pytest.mark.parametrize("intensity", ["linear", "log1p"])
@pytest.mark.parametrize("given", [{"mean": "100"}, {"std": "5"}])
def test_a_graph_that_standardises_itself_is_given_no_mean(
    scenes, tmp_path, intensity, given
) -> None:
    path = tmp_path / "own.onnx"
    why.export_model(make_classifier(scenes, intensity=intensity), path, on_event=why.quiet)
    with pytest.raises(ParameterError, match="its graph standardises grey levels itself"):
        why.import_model(path, **given)


def test_what_an_exported_file_says_of_its_outputs_is_not_talked_over(classifier, tmp_path) -> None:
    path = tmp_path / "own.onnx"
    why.export_model(classifier, path, on_event=why.quiet)
    with pytest.raises(ParameterError, match="as it says itself"):
        why.import_model(path, outputs="logits")


def test_that_grey_levels_go_in_as_they_are_is_told(write_graph) -> None:
    path = write_graph(step("Softmax"))
    assert any("as they are" in note for note in why.import_model(path, NAMES).notes)
    for given in ({"mean": "0"}, {"std": "1000"}):
        told = why.import_model(path, NAMES, **given)
        assert not any("as they are" in note for note in told.notes)


def test_resizing_to_the_one_size_of_a_graph_is_told(write_graph) -> None:
    path = write_graph(step("Softmax"), shape=("n", 2, SIZE, SIZE))
    assert any("by resizing" in note for note in why.import_model(path, NAMES).notes)
    said = why.import_model(path, NAMES, size=SIZE, sizing="crop")
    assert said.preprocessing.fit == "crop"
    assert not any("by resizing" in note for note in said.notes)


def test_of_a_single_output_two_names_are_asked_for(write_graph) -> None:
    path = write_graph(step("Sigmoid"), classes=1)
    with pytest.raises(ParameterError, match="of a single output two"):
        why.import_model(path, NAMES | {"classes": "treated"})


@pytest.mark.parametrize(
    ("shape", "channels", "said"),
    [
        (("n", 2, "h", "w"), "a,b,c", "expected 2 names"),
        (("n", "h", "w", 2), "a,b,c", "expected 2 names"),
        (("n", 64, 64, 2), "a,b,c", "expected 64 or 2 names"),
        (("n", 2, 2, 2), "a,b", "layout"),
    ],
)
def test_names_that_are_not_as_many_as_channels_are_refused(
    write_graph, shape, channels, said
) -> None:
    path = write_graph(step("Identity"), shape=shape, axes=(2, 3) if shape[1] == 2 else (1, 2))
    with pytest.raises(ParameterError, match=said):
        why.import_model(path, NAMES | {"channels": channels})
