"""Fitting: a classifier with its card."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from napari_why.core.errors import DatasetError, ParameterError
from napari_why.core.events import Finished, Message, Started
from napari_why.core.options import parameters_of
from napari_why.datasets import Dataset, Preprocessing
from napari_why.fitting import FitOptions, fit
from napari_why.images import make_image
from napari_why.model import load
from napari_why.networks import NETWORKS
from napari_why.simulation import simulate

SMALL: dict[str, Any] = {
    "size": 16,
    "epochs": 2,
    "device": "cpu",
    "lock": "none",
    "pixel_maps": False,
    "second_network": False,
}
WHOLE = SMALL | {"lock": "auto", "second_network": True, "pixel_maps": True}
BLOCKS = {"blocks": "1", "widths": "4", "downscaling": "2"}


def test_what_a_fit_gives(scenes, invertible):
    assert invertible.classes == ("diseased", "treated")
    assert invertible.channels == scenes.channels
    assert invertible.network.frozen
    assert not any(weight.requires_grad for weight in invertible.network.parameters())
    split = scenes.split(seed=0)
    for name in ("validation", "test"):
        metrics = invertible.metrics[name]
        assert metrics["images"]["images"] == len(split.part(name))
        assert metrics["groups"]["groups"] == len(set(split.part(name).groups))
        assert {"plate", "well", "label", "predicted"} <= set(metrics["by_group"][0])


def test_the_measured_metrics_are_those_of_its_predictions(scenes, invertible):
    test = scenes.split(seed=0).part("test")
    table = invertible.predict_many(test)
    accuracy = (table["predicted"] == table["label"]).mean()
    assert invertible.metrics["test"]["images"]["accuracy"] == pytest.approx(accuracy)


def test_the_card_tells_how_it_was_made(scenes, invertible):
    card = invertible.card
    split = scenes.split(seed=0)
    assert card["dataset"]["fingerprint"] == split.fingerprint
    for name in ("train", "validation", "test"):
        assert card["splits"][name] == split.part(name).table["path"].tolist()
    own = NETWORKS["iresnet"].training
    for name in ("batch_size", "optimiser", "schedule", "averaging", "jitter", "label_smoothing"):
        assert card["parameters"][name] == getattr(own, name)
    assert own.schedule == "one_cycle"
    assert card["parameters"]["patience"] == 0
    assert card["parameters"]["epochs"] == 2
    assert len(card["training"]["history"]) == 2
    assert card["training"]["status"] == "done"
    assert card["images"]["dtypes"] == ["uint16"]


def test_statistics_come_from_the_training_part_alone(scenes, invertible):
    train = scenes.split(seed=0).part("train")
    assert invertible.preprocessing == Preprocessing.from_dataset(train, size=16)
    statistics = invertible.latent_statistics
    assert statistics is not None
    assert sum(statistics.true_counts) == len(train)
    batch = torch.cat([invertible.prepare(train.image(row)) for row in range(len(train))])
    latents = invertible.network.encode(batch)
    expected = latents[torch.from_numpy(train.labels) == 1].mean(0)
    assert torch.allclose(statistics.true_means[1], expected, atol=1e-5)


def test_a_network_without_inverse_has_no_latent_statistics(plain):
    assert plain.latent_statistics is None


def test_the_tasks_follow_each_other_and_finish_once(invertible, told_by_a_fit):
    events = told_by_a_fit
    tasks = [event.task for event in events if isinstance(event, Started)]
    # only where a lock is in question, or latents were chosen, which are other tests' concern
    questioned = {"lock test, repeated", "how sure the transport is"}
    tasks = [task for task in tasks if task not in questioned]
    assert tasks == [
        "comparing the pixels of all images",
        "measuring intensities",
        "measuring training images",
        "reading images",
        "reading images",
        "lock test",
        "training",
        "latent statistics",
        "transport between classes",
        "maps between classes",
        "training",
        "reading validation images",
        "reading training images",
        "choosing the transport",
        "training on moved images",
        "training on moved images",
        "looking at content and focus",
        "evaluating",
        "looking at content and focus",
        "evaluating",
        "noting which images were seen",
        "evaluating the second network",
    ]
    said = [event.text for event in events if isinstance(event, Message)]
    assert "training a second network, for second opinions" in said
    assert "choosing how to transport each class, on validation images" in said
    assert [event for event in events if isinstance(event, Finished)] == [Finished(partial=False)]
    assert events[-1] == Finished(partial=False)


def test_the_same_seed_gives_the_same_classifier(scenes, invertible):
    blocks = {"blocks": "1,1", "widths": "4,4", "downscaling": "2,2"}
    # a second network has no say in the first, and nor has how the lock was found
    (locked,) = invertible.locked_channels
    again = fit(scenes, network_parameters=blocks, **(SMALL | {"lock": locked}))
    assert again.former_fingerprint == invertible.former_fingerprint
    assert again.second_network is None
    transports = [item.latent_statistics.transport.tensors() for item in (again, invertible)]
    assert all(torch.equal(value, transports[1][name]) for name, value in transports[0].items())
    other = fit(scenes, network_parameters=blocks, seed=1, **(SMALL | {"epochs": 1}))
    assert other.card["training"]["history"][0] != again.card["training"]["history"][0]
    assert other.card["splits"] != again.card["splits"]


def test_a_split_that_is_there_is_kept(scenes):
    split = scenes.split(seed=7)
    classifier = fit(split, "cam_net", **(SMALL | {"epochs": 1}))
    assert classifier.card["splits"]["test"] == split.part("test").table["path"].tolist()


def test_without_validation_and_test_images(scenes):
    split = scenes.split(fractions=(1, 0, 0))
    classifier = fit(split, "cam_net", **(SMALL | {"epochs": 1}))
    assert classifier.metrics == {"validation": None, "test": None}


def test_channels_and_preprocessing_can_be_chosen(scenes):
    classifier = fit(
        scenes,
        "cam_net",
        channels=["TMRM"],
        intensity="asinh",
        sizing="crop",
        **(SMALL | {"epochs": 1}),
    )
    assert classifier.channels == ("TMRM",)
    assert classifier.network.input_channels == 1
    assert (classifier.preprocessing.intensity, classifier.preprocessing.fit) == ("asinh", "crop")
    assert classifier.predict(scenes.image(0)).label in classifier.classes


def test_test_images_have_no_say_in_the_weights(scenes):
    """Neither early stopping nor the choice of the best epoch nor any statistics sees them."""
    split = scenes.split(seed=0)
    other = simulate(48, size=32, seed=9)
    images = [
        (other if name == "test" else split).image(row)
        for row, name in enumerate(split.table["split"])
    ]
    columns = {name: split.table[name].to_numpy() for name in ("plate", "well", "split")}
    changed = Dataset.from_images(images, list(split.table["label"]), **columns)
    settings = SMALL | {"network_parameters": BLOCKS, "patience": 1}
    first, second = fit(split, **settings), fit(changed, **settings)
    assert first.metrics["test"] != second.metrics["test"]
    # metrics and splits are part of the fingerprint; weights and statistics are all else in it
    weighed = replace(second, metrics=first.metrics, card=first.card)
    assert weighed.fingerprint == first.fingerprint


def test_a_class_with_one_image_is_named():
    scenes = simulate(12, size=16)
    images = [scenes.image(row) for row in range(12)]
    labels = ["rare", *["common"] * 11]
    with pytest.raises(DatasetError, match="rare"):
        fit(Dataset.from_images(images, labels, group=None), "cam_net", **SMALL)
    # all of it in the test part: nothing to learn the class from
    split = ["test", *["train"] * 8, *["validation"] * 3]
    dataset = Dataset.from_images(images, labels, group=None, split=split)
    with pytest.raises(DatasetError, match="found no image of rare"):
        fit(dataset, "cam_net", **SMALL)
    # and with its one image in the training part it works, and says what is not defined
    split = ["train", *["train"] * 7, "validation", "test", "test", "test"]
    dataset = Dataset.from_images(images, labels, group=None, split=split)
    classifier = fit(dataset, "cam_net", **SMALL)
    assert "rare has 0 of the 2 images" in classifier.metrics["test"]["images"]["notes"][0]


def test_images_that_are_zero_or_constant_can_be_fitted_and_saved(tmp_path: Path):
    rng = np.random.default_rng(0)
    dark = [np.zeros((2, 16, 16), np.uint16) for _ in range(6)]
    flat = [np.full((2, 16, 16), 700, np.uint16) for _ in range(5)]
    flat.append(rng.integers(0, 900, (2, 16, 16)).astype(np.uint16))
    images = [make_image(pixels, "cyx", ["a", "b"]) for pixels in dark + flat]
    labels = ["dark"] * 6 + ["flat"] * 6
    classifier = fit(
        Dataset.from_images(images, labels, group=None),
        network_parameters=BLOCKS,
        **(WHOLE | {"epochs": 3}),
    )
    assert all(np.isfinite(classifier.predict(image).logits).all() for image in images)
    assert load(classifier.save(tmp_path / "model")).fingerprint == classifier.fingerprint


@pytest.mark.parametrize(
    ("network", "given", "words"),
    [
        ("iresnet", {"size": 15}, "size: found 15"),
        ("iresnet", {"size": 30}, "multiples of 4"),
        ("lenet", {}, "network: found 'lenet'"),
        ("cam_net", {"epochs": -1}, "epochs: found -1"),
        ("cam_net", {"intensity": "gamma"}, "intensity: found 'gamma'"),
        ("cam_net", {"device": "tpu"}, "device: found 'tpu'"),
        ("cam_net", {"network_parameters": {"depth": 3}}, "depth"),
    ],
)
def test_what_cannot_be_is_refused_in_words(scenes, network, given, words):
    if network == "iresnet":
        given = {"network_parameters": BLOCKS | {"downscaling": "4"}} | given
    with pytest.raises(ParameterError, match=words):
        fit(scenes, network, **(SMALL | given))


def test_the_form_comes_from_the_signature():
    found = {item.name: item for item in parameters_of(FitOptions)}
    assert found["size"].unit == "px"
    assert found["intensity"].choices == ("linear", "log1p", "asinh")
    assert all(item.help for item in found.values())
    assert "on_event" not in found


def test_options_as_an_object_and_by_name_are_the_same(scenes, plain):
    by_name = {name: value for name, value in SMALL.items() if name != "epochs"}
    options = FitOptions(epochs=9, **by_name)
    classifier = fit(scenes, "cam_net", options, epochs=1, resume=False)
    assert classifier.card["parameters"]["epochs"] == 1
    again = fit(scenes, "cam_net", **(SMALL | {"epochs": 1}))
    assert again.fingerprint == classifier.fingerprint
    assert again.card["parameters"] == classifier.card["parameters"]
    with pytest.raises(ParameterError, match="found parameter epoch; expected one of"):
        fit(scenes, "cam_net", options, epoch=1)
    with pytest.raises(ParameterError, match="resume: found no folder"):
        fit(scenes, "cam_net", options, resume=True)


def test_the_card_names_the_parameters_as_it_always_did(plain):
    assert set(plain.card["parameters"]) == {
        *("size", "sizing", "intensity", "channels", "network_parameters", "lock", "threads"),
        *("epochs", "batch_size", "learning_rate", "optimiser", "step_size", "step_decay"),
        *("patience", "augment", "auxiliary_weight", "loss", "loss_weight", "second_network"),
        *("seed", "device", "duplicates"),
        # new since; where a card has none of them, none of it was done
        *("class_weights", "schedule", "weight_decay", "label_smoothing", "jitter", "averaging"),
        *("pixel_maps", "precision"),
    }


def test_wells_are_reported_as_records(plain):
    table = pd.DataFrame(plain.metrics["test"]["by_group"])
    share = table[["probability of diseased", "probability of treated"]].sum(axis=1)
    assert share.to_numpy() == pytest.approx(np.ones(len(table)))
