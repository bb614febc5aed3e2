"""A classifier with a generator: fitted together, saved and loaded as one."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from napari_why.core.errors import ModelFileError, ParameterError
from napari_why.core.events import Message
from napari_why.counterfactuals import counterfactual
from napari_why.datasets import Dataset
from napari_why.fitting import FitOptions, fit
from napari_why.fitting.fit_steps import Fitting
from napari_why.model import Classifier, load

SMALL = {"blocks": "1,1", "widths": "4,4", "downscaling": "2,2"}
OPTIONS = {
    "size": 16,
    "epochs": 1,
    "device": "cpu",
    "second_network": False,
    "lock": "none",
    "pixel_maps": False,
    "generator_parameters": SMALL,
}


@pytest.fixture(scope="module")
def fitted(scenes: Dataset) -> Classifier:
    """Return a small network without an inverse, and one with, trained on the same images."""
    return fit(scenes, "cam_net", generator="iresnet", **OPTIONS)


def test_both_are_trained_on_the_same_images(fitted: Classifier) -> None:
    made = fitted.generator
    assert made is not None
    assert (fitted.network.name, made.network.name) == ("cam_net", "iresnet")
    assert made.preprocessing == fitted.preprocessing
    for entry in ("splits", "seen_images", "images"):
        assert made.card[entry] == fitted.card[entry]
    # what is left open is each network's own, what is given holds for both
    own = (fitted.card["parameters"], made.card["parameters"])
    assert [item["epochs"] for item in own] == [1, 1]
    assert own[0]["learning_rate"] == FitOptions().for_network("cam_net").learning_rate
    assert own[1]["learning_rate"] == FitOptions().for_network("iresnet").learning_rate
    assert own[1]["network_parameters"] == SMALL
    assert made.metrics["test"]["images"]["images"] == fitted.metrics["test"]["images"]["images"]
    told = fitted.card["generator"]
    assert told["fingerprint"] == made.fingerprint
    assert told["test_balanced_accuracy"] == made.metrics["test"]["images"]["balanced_accuracy"]
    assert fitted.left_out == ()


def test_it_is_saved_and_loaded_with_it(
    fitted: Classifier, scenes: Dataset, tmp_path: Path
) -> None:
    place = fitted.save(tmp_path / "model")
    again = load(place)
    assert again.fingerprint == fitted.fingerprint
    assert again.generator is not None
    assert again.generator.fingerprint == fitted.generator.fingerprint
    image = scenes.image(0)
    before, after = (counterfactual(one, image, steps=2) for one in (fitted, again))
    np.testing.assert_array_equal(before.images, after.images)
    np.testing.assert_array_equal(before.probabilities, after.probabilities)
    assert before.probabilities[0].argmax() == fitted.logits(fitted.prepare(image))[0].argmax()
    # the folder of the classifier stands for its generator
    other = counterfactual(replace(fitted, generator=None), image, through=again, steps=2)
    np.testing.assert_array_equal(before.images, other.images)


def test_a_generator_that_was_altered_is_refused(fitted: Classifier, tmp_path: Path) -> None:
    place = fitted.save(tmp_path / "model")
    described = place / "generator.json"
    plain = json.loads(described.read_text())
    described.write_text(json.dumps({**plain, "notes": ["better"]}))
    with pytest.raises(ModelFileError, match=r"generator.json: found content that was altered"):
        load(place)
    (place / "generator.safetensors").unlink()
    fitted.save(place, overwrite=True)
    weights = place / "generator.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(ModelFileError, match="altered or cut off"):
        load(place)
    # without one again: files that nobody names are not looked at
    replace(fitted, generator=None).save(place, overwrite=True)
    assert load(place).generator is None


def test_a_network_without_images_is_no_generator(scenes: Dataset) -> None:
    with pytest.raises(ParameterError, match="generator: found small_cnn, which makes no images"):
        fit(scenes, "cam_net", generator="small_cnn", size=16)


def test_a_generator_that_fails_leaves_the_classifier(
    scenes: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Fitting.test_lock

    def fails(self: Fitting, train: object) -> object:
        if self.network == "iresnet":
            raise RuntimeError("out of memory")
        return whole(self, train)

    monkeypatch.setattr(Fitting, "test_lock", fails)
    told: list[str] = []
    classifier = fit(
        scenes,
        "cam_net",
        generator="iresnet",
        on_event=lambda event: told.append(event.text) if isinstance(event, Message) else None,
        **(OPTIONS | {"lock": "auto"}),
    )
    assert classifier.generator is None
    assert classifier.left_out == ("the generator (iresnet) (RuntimeError: out of memory)",)
    assert "failed: left out the generator (iresnet) (RuntimeError: out of memory)" in told
    assert classifier.metrics["test"] is not None


def test_a_cancelled_generator_leaves_the_classifier(scenes: Dataset) -> None:
    seen: list[str] = []

    def listen(event: object) -> None:
        if isinstance(event, Message) and "generator" in event.text:
            seen.append(event.text)

    classifier = fit(
        scenes,
        "cam_net",
        generator="iresnet",
        on_event=listen,
        cancelled=lambda: bool(seen),
        **OPTIONS,
    )
    assert seen[0] == "training the generator, for counterfactuals"
    assert classifier.generator is None
    assert classifier.left_out[0].startswith("the generator (iresnet)")
    assert classifier.card["training"]["status"] != "cancelled"
