"""A second opinion: independent, saved with the classifier, and never in the way."""

import json
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save

from napari_why.core.errors import ModelFileError
from napari_why.core.events import Event, Finished, Message
from napari_why.fitting.second_network import train_second_network
from napari_why.model import Classifier, load
from napari_why.model.classifier import second_probabilities
from napari_why.model.description import checksum_of
from napari_why.networks import build_network
from napari_why.training import TensorExamples, TrainingOptions


def bright_and_dark(count: int, size: int = 16, seed: int = 0) -> TensorExamples:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 2
    images = torch.randn(count, 1, size, size, generator=generator)
    return TensorExamples(images + 2 * labels[:, None, None, None], labels)


ON_CPU = TrainingOptions(device="cpu")


@pytest.fixture
def saved(invertible: Classifier, tmp_path: Path) -> Path:
    return invertible.save(tmp_path / "model")


def rewritten(folder: Path, *, without_weights: bool = False, without_entry: bool = False) -> Path:
    """Take parts of the second network out of a saved classifier, and mend the checksums."""
    file, description = folder / "weights.safetensors", folder / "classifier.json"
    plain = json.loads(description.read_text())
    if without_weights:
        tensors = load_file(file)
        kept = {name: value for name, value in tensors.items() if not name.startswith("second/")}
        assert len(kept) < len(tensors)
        content = save(kept)
        file.write_bytes(content)
        plain["files"] = {file.name: sha256(content).hexdigest()}
    if without_entry:
        plain["second_network"] = None
    plain["checksum"] = checksum_of(plain)
    description.write_text(json.dumps(plain))
    return folder


def test_a_fit_trains_one_of_another_kind(invertible, scenes) -> None:
    second = invertible.second_network
    assert second.name == "small_cnn"
    assert second.frozen
    assert not any(weight.requires_grad for weight in second.parameters())
    told = invertible.card["second_network"]
    assert told["network"] == "small_cnn"
    assert 0 <= told["validation_accuracy"] <= 1
    assert 0 <= told["validation_balanced_accuracy"] <= 1
    opinion = invertible.second_opinion(scenes.image(0))
    assert opinion.shape == (2,)
    assert opinion.dtype == np.float64
    assert opinion.sum() == pytest.approx(1)


def test_it_is_asked_about_images_prepared_alike(invertible, scenes) -> None:
    image = scenes.image(3)
    prepared = invertible.preprocessing(image)[None]
    expected = invertible.second_network(prepared).double().softmax(1)[0]
    assert invertible.second_opinion(image) == pytest.approx(expected.numpy())


def test_it_is_not_the_one_that_predicts(invertible, scenes) -> None:
    alone = Classifier(invertible.network, invertible.preprocessing, invertible.classes)
    assert alone.second_opinion(scenes.image(0)) is None
    assert alone.former_fingerprint == invertible.former_fingerprint
    assert alone.fingerprint != invertible.fingerprint  # opinions are results too
    found = alone.predict(scenes.image(0)).logits
    assert np.array_equal(found, invertible.predict(scenes.image(0)).logits)


def test_networks_without_a_way_back_have_none(plain, scenes) -> None:
    assert plain.second_network is None
    assert plain.card["second_network"] is None
    assert plain.second_opinion(scenes.image(0)) is None


def test_it_is_saved_and_loaded(invertible, saved, scenes) -> None:
    loaded = load(saved)
    assert loaded.second_network.frozen
    for row in range(4):
        image = scenes.image(row)
        assert np.array_equal(loaded.second_opinion(image), invertible.second_opinion(image))


@pytest.mark.parametrize("missing", ["without_weights", "without_entry"])
def test_half_of_it_is_refused(saved, missing) -> None:
    with pytest.raises(ModelFileError, match="half of the second network"):
        load(rewritten(saved, **{missing: True}))


def test_it_learns_what_can_be_learnt_and_tells_how_well() -> None:
    events: list[Event] = []
    validation = bright_and_dark(20, seed=1)
    made = train_second_network(
        bright_and_dark(60), validation, ON_CPU, classes=2, on_event=events.append
    )
    assert made is not None
    assert made.accuracy is not None
    assert made.accuracy > 0.9  # 1 with each of ten seeds
    probabilities = second_probabilities(made.network, validation.stack)
    assert probabilities.shape == (20, 2)
    right = probabilities.argmax(1) == validation.labels
    assert made.accuracy == pytest.approx(float(right.double().mean()))
    assert events[0] == Message("training a second network, for second opinions")
    assert not any(isinstance(event, Finished) for event in events)  # the fit goes on


def test_its_weights_are_drawn_from_another_seed_than_the_first_networks() -> None:
    def weights(made) -> torch.Tensor:
        return torch.cat([value.flatten() for value in made.parameters()])

    trained = [
        train_second_network(
            bright_and_dark(8), None, TrainingOptions(device="cpu", seed=seed), classes=2
        )
        for seed in (0, 0, 1)
    ]
    assert all(made is not None and made.accuracy is None for made in trained)
    one, again, other = (weights(made.network) for made in trained)
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    first = build_network("small_cnn", input_channels=1, classes=2, size=16, seed=0)
    # the first layer moves little in a few steps: from the same start it would lie close by
    start = first.layers.layer1.conv.weight.flatten()
    found = trained[0].network.layers.layer1.conv.weight.flatten()
    # -0.09 to 0.12 over ten seeds
    assert torch.corrcoef(torch.stack([start, found]))[0, 1] < 0.5


def test_cancelled_or_of_tiny_images_there_is_none() -> None:
    images = bright_and_dark(8)
    assert train_second_network(images, None, ON_CPU, classes=2, cancelled=lambda: True) is None
    tiny = bright_and_dark(8, size=8)
    assert train_second_network(tiny, None, ON_CPU, classes=2) is None
