"""Whatever can be asked of a classifier is answered on a GPU without float64 as on the processor.

An answer that fails here cast to float64 on the device, past
:func:`napari_why.core.devices.to_float64`.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import napari_why as why
from napari_why.attribution import METHODS as ATTRIBUTIONS
from napari_why.counterfactuals import METHODS as COUNTERFACTUALS
from napari_why.datasets import Dataset
from napari_why.model import Classifier
from napari_why.networks.inverse import encode_float64, invert

# the smallest that have every part; what they learn does not matter
NETWORKS: dict[str, dict[str, Any]] = {
    "iresnet": {"blocks": "1,1", "widths": "4,4", "downscaling": "2,2"},
    "vae": {"widths": "4,4", "latent_dimensions": 4},
    "cam_net": {},
}
# Methods that ask for a linear head or for ReLU.
OF_RECTIFIERS = ("cam", "deep_taylor")
FAST = {
    "occlusion": {"window": 8, "stride": 8},
    "integrated_gradients": {"steps": 4},
    "information_bottleneck": {"steps": 2, "samples": 2},
    "rise": {"samples": 8},
    "region_shapley": {"exact": 0, "pairs": 2},
    "smoothgrad": {"samples": 4},
    "expected_gradients": {"samples": 16},  # two whole groups, so that the error is asked for
}

# Methods of counterfactuals that need networks of their own, and what trains these.
TRAINED_APART = {"translation": "fit_translation", "flow": "fit_flow"}


@dataclass(frozen=True)
class Question:
    """What is asked of a classifier: the function of napari_why, and arrays out of its answer."""

    network: str
    function: str
    ask: Callable[[Classifier, Dataset], Any]
    detail: str = ""

    def __str__(self) -> str:
        return "-".join(filter(None, (self.network, self.function, self.detail)))


def change(classifier: Classifier, scenes: Dataset, method: str = "transport", **options: Any):
    image = scenes.image(0)
    source = classifier.predict(image).label
    target = next(name for name in classifier.classes if name != source)
    return why.counterfactual(classifier, image, target, method, **{"steps": 2} | options)


def explained(method: str, classifier: Classifier, scenes: Dataset):
    image = scenes.image(0)
    halves = np.ones((image.sizes["y"], image.sizes["x"]), dtype=int)
    halves[:, image.sizes["x"] // 2 :] = 2
    given = {"references": scenes, "regions": halves}
    found = why.attribute(classifier, image, method, **FAST.get(method, {}), **given)
    return found.maps, found.joint, found.gap


def scored(classifier: Classifier, scenes: Dataset):
    image = scenes.image(0)
    found = why.attribute(classifier, image, "integrated_gradients", steps=2)
    return why.score_explanation(classifier, image, found, random_orders=2).facts


def averaged(classifier: Classifier, scenes: Dataset):
    found = why.class_maps(
        classifier, scenes.select(range(6)), "saliency", options={"alignment": "none"}
    )
    return [item.mean for item in found.maps], [item.standard_error for item in found.maps]


def climbed(classifier: Classifier, scenes: Dataset):
    found = why.activation_maximisation(classifier, "treated", references=scenes, steps=2)
    return found.images, found.values


def changed(method: str, classifier: Classifier, scenes: Dataset, **options: Any):
    found = change(classifier, scenes, method, **options)
    return found.images, found.probabilities, found.second_probabilities


def translated(name: str, classifier: Classifier, scenes: Dataset):
    """Train what leads from class to class where the classifier is, and change an image by it."""
    fit = {"translation": why.fit_translation, "flow": why.fit_flow}[name]
    device = classifier.device.type
    found = fit(classifier, scenes, epochs=1, widths="4,6", threads=1, device=device)
    return changed(name, found, scenes)


def compared(classifier: Classifier, scenes: Dataset):
    """Compare samples of a generator, the same one each time, by the classifier's features."""
    small = {"size": 16, "epochs": 1, "widths": "4,4", "code_dimensions": 4}
    generator = why.fit_generator(scenes, device="cpu", threads=1, **small)
    report = why.evaluate_generator(generator, scenes, classifier=classifier, counts=(2, 4))
    return report.table["distance"].to_numpy()


def used(classifier: Classifier, scenes: Dataset):
    result = change(classifier, scenes)
    found = why.find_used_change(classifier, result, scenes.image(0), tiles=2)
    return found.image, why.measure(result).table.to_dict()


def measured(classifier: Classifier, scenes: Dataset):
    images = [scenes.image(index) for index in range(3)]
    return why.measure_dataset(classifier, images, "treated", steps=2).images.to_dict()


def evaluated(classifier: Classifier, scenes: Dataset, *, nulls: bool):
    found = why.evaluate(classifier, scenes, nulls=nulls).to_dict()
    del found["record"]  # has the time of day
    return found


def reconstructed(classifier: Classifier, scenes: Dataset):
    found = why.reconstruct(classifier, scenes.image(0))
    return found.image, found.probabilities, found.mean_square_error


def generated(function: Callable[..., Any], classifier: Classifier, *args: Any, **options: Any):
    found = function(classifier, *args, **options)
    return found.images, found.probabilities


def exported(classifier: Classifier, _scenes: Dataset) -> Any:
    """Return what is in the folder that a classifier is given away as."""
    with TemporaryDirectory() as place:
        why.export_model(classifier, Path(place) / "hf", "huggingface", on_event=why.quiet)
        tensors = load_file(Path(place) / "hf" / "weights.safetensors")
        return {name: tensor.numpy() for name, tensor in tensors.items()}


QUESTIONS = [
    *(
        Question("iresnet", "attribute", partial(explained, method), method)
        for method in ATTRIBUTIONS
        if method not in OF_RECTIFIERS
    ),
    *(
        Question("cam_net", "attribute", partial(explained, method), method)
        for method in OF_RECTIFIERS
    ),
    Question("iresnet", "score_explanation", scored),
    Question("iresnet", "class_maps", averaged),
    Question("iresnet", "activation_maximisation", climbed),
    *(
        Question(
            "vae" if method.startswith("latent") else "iresnet",
            "counterfactual",
            partial(changed, method),
            method,
        )
        for method in COUNTERFACTUALS
        if method not in TRAINED_APART
    ),
    *(
        Question("iresnet", function, partial(translated, method), method)
        for method, function in TRAINED_APART.items()
    ),
    Question("iresnet", "counterfactual", partial(changed, "transport", whole_field=True), "field"),
    Question(
        "vae",
        "counterfactual",
        lambda c, s: changed("latent_interpolation", c, s, goal=s.image(1), keep_details=True),
        "goal",
    ),
    Question("iresnet", "predict", lambda c, s: c.predict(s.image(0)).probabilities),
    Question("iresnet", "second_opinion", lambda c, s: c.second_opinion(s.image(0))),
    Question("iresnet", "find_used_change", used),
    Question("cam_net", "evaluate_generator", compared),
    Question("iresnet", "measure_dataset", measured),
    Question("iresnet", "evaluate", partial(evaluated, nulls=True)),
    Question("vae", "evaluate", partial(evaluated, nulls=False)),
    Question("iresnet", "export_model", exported),
    Question("iresnet", "embed", lambda c, s: why.embed(c, s).latents),
    Question("vae", "reconstruct", reconstructed),
    Question("vae", "sample", lambda c, s: generated(why.sample, c, count=2)),
    Question("vae", "traverse", lambda c, s: generated(why.traverse, c, s.image(0), steps=2)),
    Question(
        "vae",
        "interpolate",
        lambda c, s: generated(why.interpolate, c, s.image(0), s.image(1), steps=2),
    ),
]


@pytest.fixture(scope="module")
def scenes() -> Dataset:
    """Return 24 scenes of 6 wells, split."""
    return why.simulate(24, size=32).split(seed=0)


@pytest.fixture(scope="module")
def fitted(scenes: Dataset, with_gpu) -> dict[str, Classifier]:
    """Return classifiers that were trained on the GPU, by network."""
    with with_gpu():
        return {name: fit(scenes, name, "mps") for name in NETWORKS}


def fit(scenes: Dataset, name: str, device: str) -> Classifier:
    return why.fit(
        scenes,
        name,
        size=16,
        sizing="crop",
        epochs=1,
        device=device,
        threads=1,
        lock="DAPI" if name == "iresnet" else "none",
        network_parameters=NETWORKS[name],
        second_network=name == "iresnet",
    )


@pytest.mark.parametrize("name", NETWORKS)
def test_fit(fitted: dict[str, Classifier], scenes: Dataset, name: str) -> None:
    there, here = fitted[name], fit(scenes, name, "cpu")
    assert there.card["training"]["device"] == "mps"
    assert there.device.type == "cpu"
    assert there.fingerprint == here.fingerprint
    assert_same(there.metrics, here.metrics)
    assert_same(there.card["second_network"], here.card["second_network"])
    for mine, own in zip(statistics(there), statistics(here), strict=True):
        assert torch.equal(mine, own)
    assert (there.second_network is None) == (name != "iresnet")


def statistics(classifier: Classifier) -> list[torch.Tensor]:
    found = classifier.latent_statistics
    return [] if found is None else list(found.tensors().values())


@pytest.mark.parametrize("question", QUESTIONS, ids=str)
def test_answers(
    fitted: dict[str, Classifier], scenes: Dataset, question: Question, with_gpu
) -> None:
    classifier = fitted[question.network]
    here = question.ask(classifier, scenes)
    with with_gpu():
        classifier.to("mps")
        try:
            there = question.ask(classifier, scenes)
        finally:
            classifier.to("cpu")
    assert_same(there, here)


def test_a_saved_classifier_is_loaded_onto_it(
    fitted: dict[str, Classifier], scenes: Dataset, tmp_path: Path, gpu: torch.device
) -> None:
    fitted["iresnet"].save(tmp_path / "model")
    classifier = why.load(tmp_path / "model", device="auto")
    assert classifier.device == gpu
    assert_same(
        classifier.predict(scenes.image(0)).probabilities,
        fitted["iresnet"].predict(scenes.image(0)).probabilities,
    )


def test_the_inverse_is_refined_to_float64(
    fitted: dict[str, Classifier], scenes: Dataset, gpu: torch.device
) -> None:
    classifier = fitted["iresnet"]
    x = classifier.prepare(scenes.image(0))
    here = invert(classifier.network, encode_float64(classifier.network, x), dtype=torch.float64)
    classifier.to("mps")
    try:
        network = classifier.network
        latent = encode_float64(network, x.to(gpu))
        there = invert(network, latent, dtype=torch.float64)
        from_float32 = invert(network, network.last_latent(x.to(gpu)), dtype=torch.float64)
    finally:
        classifier.to("cpu")
    assert torch.equal(there.x, here.x)
    assert from_float32.x.dtype == torch.float64


def test_nothing_that_takes_a_classifier_is_left_out() -> None:
    functions = {name: getattr(why, name) for name in why.__all__}
    takers = {
        name
        for name, function in functions.items()
        if inspect.isfunction(function) and "classifier" in inspect.signature(function).parameters
    }
    # these ask the others for one image after the other
    takers -= {"explain_many", "attribute_many", "screen"}
    assert takers <= {question.function for question in QUESTIONS}
    asked = {question.detail for question in QUESTIONS}
    assert {*ATTRIBUTIONS, *COUNTERFACTUALS} <= asked


def assert_same(one: Any, other: Any) -> None:
    """Compare answers number by number; the emulated GPU computes as the processor does."""
    np.testing.assert_equal(one, other)
