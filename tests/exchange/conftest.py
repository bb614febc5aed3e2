"""A small classifier, images for it, and ONNX graphs as other programs write them."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from napari_why.datasets import Dataset, Preprocessing
from napari_why.model import Classifier
from napari_why.networks import build_network
from napari_why.simulation import simulate

SIZE = 32


@pytest.fixture(scope="session")
def scenes() -> Dataset:
    """Eight simulated images of two classes and two channels."""
    return simulate(8, size=SIZE)


def make_classifier(
    scenes: Dataset, network: str = "small_cnn", intensity: str = "linear", **parameters: Any
) -> Classifier:
    """Return a classifier that was not trained: what it predicts is of no matter here."""
    preprocessing = Preprocessing.from_dataset(scenes, size=SIZE, intensity=intensity)
    built = build_network(network, input_channels=2, classes=2, size=SIZE, seed=3, **parameters)
    return Classifier(built, preprocessing, scenes.classes)


@pytest.fixture(scope="session")
def classifier(scenes: Dataset) -> Classifier:
    return make_classifier(scenes)


def probabilities(classifier: Classifier, scenes: Dataset) -> np.ndarray:
    """Return the probabilities (N, K) of every image."""
    found = [classifier.predict(scenes.image(index)).probabilities for index in range(len(scenes))]
    return np.array([[item[name] for name in classifier.classes] for item in found])


GraphMaker = Callable[..., bytes]


@pytest.fixture
def make_graph() -> GraphMaker:
    """Make an ONNX graph of the mean of each channel, a linear layer and what is asked for after it."""

    def make(
        *,
        batch: int | str = "n",
        size: tuple[int | str, int | str] = ("h", "w"),
        channels: int = 2,
        classes: int = 2,
        last: str = "Softmax",
        channels_last: bool = False,
        element: int = TensorProto.FLOAT,
        further: list[Any] | None = None,
        opset: list[Any] | None = None,
    ) -> bytes:
        kind = helper.tensor_dtype_to_np_dtype(element)
        random = np.random.default_rng(5)
        weights = (random.standard_normal((channels, classes)) / 1000).astype(kind)
        shape = [batch, *size, channels] if channels_last else [batch, channels, *size]
        nodes = []
        source = "image"
        if channels_last:
            nodes.append(helper.make_node("Transpose", ["image"], ["moved"], perm=[0, 3, 1, 2]))
            source = "moved"
        nodes += [
            helper.make_node("ReduceMean", [source, "axes"], ["flat"], keepdims=0),
            helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
        ]
        if last:
            nodes.append(helper.make_node(last, ["logits"], ["answer"]))
        nodes += further or []
        graph = helper.make_graph(
            nodes,
            "their_network",
            [helper.make_tensor_value_info("image", element, shape)],
            [
                helper.make_tensor_value_info(
                    "answer" if last else "logits", element, [batch, classes]
                )
            ],
            [
                numpy_helper.from_array(weights, "weights"),
                numpy_helper.from_array(np.array([2, 3]), "axes"),
            ],
        )
        opsets = opset or [helper.make_opsetid("", 18)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
        content: bytes = model.SerializeToString()
        return content

    return make


def external(content: bytes) -> bytes:
    """Return a graph whose weights are said to lie in another file."""
    model = onnx.load_model_from_string(content)
    tensor = model.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.ClearField("raw_data")
    for key, value in (("location", "/etc/passwd"), ("offset", "0"), ("length", "16")):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    changed: bytes = model.SerializeToString()
    return changed
