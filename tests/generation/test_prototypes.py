"""Activation maximisation where the maximum is known, and what the verdict makes of it."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from scipy.special import expit
from torch import Tensor

import napari_why as why
from napari_why.core.errors import (
    MismatchError,
    NetworkBusyError,
    ParameterError,
    UnsupportedNetworkError,
)
from napari_why.datasets import Preprocessing
from napari_why.generation import activation_maximisation
from napari_why.generation.prototype_result import (
    Judgement,
    Opinion,
    ask_others,
    measure_nearest,
)
from napari_why.generation.prototypes import fit_spectrum, prepare_references
from napari_why.images import make_image
from napari_why.model import Classifier
from napari_why.networks import build_network
from napari_why.networks.network import Network
from napari_why.output.images import result_image

SIDE, CHANNELS = 6, ("DAPI", "TMRM")
COUNT = 2 * SIDE**2  # numbers in an image


class Linear(Network):
    """Logits are sums of pixels times weights, of feature maps that are pixels too."""

    name = "linear"

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.classes, self.input_channels = weights.shape[:2]
        self.weights = torch.nn.Parameter(weights)

    def encode(self, x: Tensor) -> Tensor:
        return x * 1.0

    def head(self, features: Tensor) -> Tensor:
        return (features[:, None] * self.weights).sum(dim=(2, 3, 4))

    def feature_maps(self, x: Tensor) -> dict[str, Tensor]:
        return {"pixels": self.encode(x)}

    @property
    def layer_names(self) -> tuple[str, ...]:
        return ("pixels",)

    def configuration(self) -> Mapping[str, Any]:
        return {}


def weights(seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, 2, SIDE, SIDE, generator=generator)


def linear_classifier(planted: Tensor | None = None, second: Tensor | None = None) -> Classifier:
    preprocessing = Preprocessing(
        CHANNELS, SIDE, "none", "linear", (100.0, 200.0), (10.0, 20.0), (1.0, 1.0)
    )
    network = Linear(weights() if planted is None else planted)
    judge = None if second is None else Linear(second)
    return Classifier(network, preprocessing, ("diseased", "treated"), second_network=judge)


def standardised(images: np.ndarray) -> np.ndarray:
    mean, std = np.array([100.0, 200.0]), np.array([10.0, 20.0])
    return (images.astype(float) - mean[:, None, None]) / std[:, None, None]


def random_dataset(count: int = 12) -> why.Dataset:
    rng = np.random.default_rng(0)
    fields = rng.normal(size=(count, 2, SIDE, SIDE))
    # neighbours alike and channels too
    fields = fields + np.roll(fields, 1, 3) + 0.5 * np.roll(fields, 1, 2)
    fields[:, 1] += 0.7 * fields[:, 0]
    pixels = (
        np.array([100.0, 200.0])[:, None, None] + np.array([10.0, 20.0])[:, None, None] * fields
    )
    labels = ["diseased", "treated"] * (count // 2)
    images = [make_image(item, "cyx", CHANNELS, source=f"{i}") for i, item in enumerate(pixels)]
    return why.Dataset.from_images(images, labels)


def test_the_first_step_goes_along_the_weights_and_the_limit_is_theirs() -> None:
    classifier = linear_classifier()
    strength = 3.0
    found = activation_maximisation(
        classifier, "treated", score="logit", strength=strength, noise=0, steps=40, images=41
    )
    images, direction = standardised(found.images), weights()[1].numpy()
    np.testing.assert_allclose(images[0], 0, atol=1e-6)
    cosine = (images[1] * direction).sum() / np.linalg.norm(images[1]) / np.linalg.norm(direction)
    assert cosine == pytest.approx(1, abs=1e-6)
    # w.x - strength |x|^2 / n is largest at x = n w / (2 strength)
    np.testing.assert_allclose(images[-1], COUNT * direction / (2 * strength), rtol=2e-3, atol=0.05)
    assert found.values[-1] == pytest.approx(
        COUNT * (direction**2).sum() / (4 * strength), rel=1e-5
    )
    assert (np.diff(found.values) >= -1e-6 * np.abs(found.values[1:])).all()
    np.testing.assert_allclose(found.scores - found.penalties, found.values)


@pytest.mark.parametrize("strength", [0.3, 30.0])
def test_with_log_probability_the_limit_solves_its_equation(strength: float) -> None:
    found = activation_maximisation(
        linear_classifier(), "diseased", strength=strength, noise=0, steps=300, images=2
    )
    direction = (weights()[0] - weights()[1]).numpy()
    square = (direction**2).sum()
    # x = a d: (1 - p(a)) d = 2 strength a d / n, p the logistic of a d.d
    a = brentq(lambda a: expit(-a * square) - 2 * strength * a / COUNT, 0, 1e3)
    last = standardised(found.image)
    assert (last * direction).sum() / square == pytest.approx(a, rel=0.02)
    assert np.linalg.norm(last - a * direction) < 0.05 * np.linalg.norm(a * direction)
    assert found.probabilities[-1, 0] == pytest.approx(1 / (1 + np.exp(-a * square)), abs=0.01)


def test_a_density_prior_pulls_towards_what_references_vary_in() -> None:
    classifier, dataset = linear_classifier(), random_dataset()
    strength = 50.0
    found = activation_maximisation(
        classifier,
        "treated",
        prior="density",
        references=dataset,
        score="logit",
        strength=strength,
        noise=0,
        steps=400,
        images=2,
    )
    real = np.concatenate([item.numpy() for item in prepare_references(classifier, dataset)])
    real = real.astype(float)
    mean = real.mean(axis=(0, 2, 3))
    centred = real - mean[:, None, None]
    # literally: the covariance of two pixels is the mean product over images and all circular shifts
    covariance = np.zeros((2, SIDE, SIDE, 2, SIDE, SIDE))
    for y in range(SIDE):
        for x in range(SIDE):
            moved = np.roll(centred, (-y, -x), (2, 3))
            product = np.einsum("napq,nb->abpq", moved, centred[:, :, y, x])
            for q in range(SIDE):
                for p in range(SIDE):
                    block = np.roll(product, (q, p), (2, 3))
                    covariance[:, :, :, :, q, p] += (
                        block.transpose(0, 2, 3, 1) / len(real) / SIDE**2
                    )
    direction = weights()[1].numpy().astype(float)
    pulled = np.einsum("apqbij,bij->apq", covariance, direction)
    expected = mean[:, None, None] + COUNT * pulled / (2 * strength)
    last = standardised(found.image)
    assert np.linalg.norm(last - expected) < 0.02 * np.linalg.norm(expected)


def test_white_noise_gets_the_spectra_of_references() -> None:
    classifier = linear_classifier()
    real = prepare_references(classifier, random_dataset(40))
    colour = fit_spectrum(real)
    codes = torch.randn(400, 2, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    made, there = colour(codes), torch.cat(real)
    for of in (
        lambda x: x.std(dim=(0, 2, 3)),
        lambda x: (x[..., 1:] * x[..., :-1]).mean(dim=(0, 2, 3)),
    ):
        # centred alike
        one, other = (of(item - item.mean(dim=(0, 2, 3), keepdim=True)) for item in (made, there))
        np.testing.assert_allclose(one, other, rtol=0.35)


@pytest.fixture(scope="module")
def invertible() -> Classifier:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = build_network(
            "iresnet",
            input_channels=2,
            classes=2,
            size=16,
            blocks="1,1",
            widths="4,4",
            downscaling="2,2",
            head="linear",
        )
    preprocessing = Preprocessing(
        CHANNELS, 16, "resize", "linear", (1000.0, 1000.0), (300.0, 300.0), (1.0, 1.0)
    )
    return Classifier(network, preprocessing, ("diseased", "treated"))


@pytest.fixture(scope="module")
def tiny_scenes() -> why.Dataset:
    return why.simulate(12, size=16)


def test_in_the_code_of_an_invertible_network_the_limit_is_the_gradient_of_its_head(
    invertible, tiny_scenes
) -> None:
    strength = 20.0
    settings = {"prior": "generator", "references": tiny_scenes, "score": "logit", "noise": 0}
    found = activation_maximisation(
        invertible, "treated", **settings, strength=strength, steps=60, images=4
    )
    network = invertible.network
    latents = torch.cat(
        [network.last_latent(item) for item in prepare_references(invertible, tiny_scenes)]
    )
    spread = latents.std(dim=(0, 2, 3), keepdim=True)
    middle = latents.mean(dim=(0, 2, 3), keepdim=True).expand(1, *latents.shape[1:])
    code = torch.zeros_like(middle, requires_grad=True)
    stage = network.stage_names[-1]
    logit = network.head(network.encode_from(middle + spread * code, stage))[0, 1]
    (slope,) = torch.autograd.grad(logit, code)
    best = code.numel() * slope / (2 * strength)
    value = logit.item() + code.numel() * float((slope**2).sum()) / (4 * strength)
    assert found.values[-1] == pytest.approx(value, rel=1e-3)
    with torch.no_grad():
        expected = network.decode(middle + spread * best)
    np.testing.assert_allclose(
        found.image, invertible.preprocessing.inverse(expected)[0], rtol=0.02, atol=3
    )
    # judged by the image itself, encoded anew
    again = invertible.prepare_pixels(found.image[None])
    np.testing.assert_allclose(
        invertible.logits(again).softmax(1)[0].numpy(), found.probabilities[-1], atol=1e-3
    )


def test_another_network_finds_the_same_maximum_in_the_images(invertible, tiny_scenes) -> None:
    settings = {"prior": "generator", "references": tiny_scenes, "score": "logit", "strength": 20.0}
    own = activation_maximisation(invertible, "treated", **settings, steps=100, images=2)
    twin = Classifier(invertible.network, invertible.preprocessing, invertible.classes)
    other = activation_maximisation(
        twin, "treated", **settings, generator=invertible, steps=150, images=2
    )
    assert other.values[-1] == pytest.approx(own.values[-1], rel=0.02)
    assert other.penalties[-1] == pytest.approx(own.penalties[-1], rel=0.1)


def test_in_the_code_of_a_vae_the_value_rises_and_the_code_stays_near_its_prior(
    vae_classifier, scenes
) -> None:
    found = activation_maximisation(
        vae_classifier, "treated", prior="generator", steps=20, images=3, references=scenes
    )
    assert found.values[-1] > found.values[0]
    assert (np.diff(found.values) > -1e-9).all()
    assert found.images.shape == (3, 2, 32, 32)
    assert found.probabilities[-1, 1] > found.probabilities[0, 1]
    # twice a usual code at most, since log p can gain no more than it lacks
    assert found.penalties[-1] < found.penalties[0] - found.scores[0]
    assert found.judgement.others[0].who == "a second network"
    assert found.judgement.nearest is not None
    assert found.judgement.likeness is not None


def test_a_single_unit_or_map_can_be_maximised() -> None:
    classifier = linear_classifier()
    found = {
        position: activation_maximisation(
            classifier,
            layer="pixels",
            unit=1,
            position=position,
            strength=1.0,
            noise=0,
            steps=50,
            images=2,
            references=random_dataset(),
        )
        for position in ("map", "centre")
    }
    of_map, of_centre = (standardised(item.image) for item in found.values())
    # the mean of channel 1 minus |x|^2 / n: every pixel at n / (2 * 36)
    np.testing.assert_allclose(of_map[1], COUNT / (2 * SIDE**2), rtol=1e-3)
    np.testing.assert_allclose(of_map[0], 0, atol=1e-4)
    expected = np.zeros((2, SIDE, SIDE))
    expected[1, 3, 3] = COUNT / 2
    np.testing.assert_allclose(of_centre, expected, atol=0.05)
    judgement = found["map"].judgement
    value, largest = judgement.unit
    assert value == pytest.approx(1.0, rel=1e-3)
    real = prepare_references(classifier, random_dataset())
    assert largest == pytest.approx(max(float(item[0, 1].mean()) for item in real))
    assert judgement.believed is None
    assert "no other network has this unit" in judgement.line
    with pytest.raises(ParameterError, match="unit: found 2; expected 0 to 1"):
        activation_maximisation(classifier, layer="pixels", unit=2)
    with pytest.raises(ParameterError, match="layer: found 'no'; expected one of pixels"):
        activation_maximisation(classifier, layer="no")


def test_what_only_its_own_network_believes_is_none() -> None:
    settings = {"noise": 0, "strength": 0.1, "steps": 50}
    contrary = linear_classifier(second=weights().flip(0))
    alone, agreed = linear_classifier(), linear_classifier(second=weights() + 0.1 * weights(5))
    refused, unasked, believed = (
        activation_maximisation(item, "diseased", **settings) for item in (contrary, alone, agreed)
    )
    assert refused.judgement.believed is False
    assert refused.notes[0].startswith("no prototype of diseased (its own network p 1.00")
    assert "a prototype that only its own network believes is none" in refused.notes[0]
    assert unasked.judgement.believed is None
    assert "no second network was asked" in unasked.notes[0]
    assert unasked.notes[0].startswith("doubtful prototype of diseased")
    assert believed.judgement.believed is True
    other = activation_maximisation(alone, "diseased", judge=contrary, **settings)
    assert other.judgement.others[0].after > 0.9
    assert refused.judgement.others[0].after == pytest.approx(
        float(
            contrary.second_network(contrary.prepare_pixels(refused.image[None])).softmax(1)[0, 0]
        ),
        abs=1e-4,
    )


def test_without_a_second_network_the_generator_is_asked_unless_it_made_the_images() -> None:
    contrary = linear_classifier(weights().flip(0))
    own = replace(linear_classifier(), generator=contrary)
    settings = {"noise": 0, "strength": 0.1, "steps": 50}
    found = activation_maximisation(own, "diseased", **settings).judgement
    assert [item.who for item in found.others] == ["the generator's network"]
    assert found.believed is False
    with_second = replace(contrary, second_network=Linear(weights()))
    better = activation_maximisation(replace(own, generator=with_second), "diseased", **settings)
    assert [item.who for item in better.judgement.others] == ["the generator's second network"]
    assert better.judgement.believed is True
    raw = better.images[[0, -1]]
    ends = own.prepare_pixels(raw)
    assert ask_others(own, None, ends, raw, "diseased", made_by_generator=True) == ()
    stranger = Classifier(Linear(weights()), own.preprocessing, ("a", "b"))
    with pytest.raises(MismatchError, match="judge: found the classes a, b; expected diseased"):
        activation_maximisation(own, "diseased", judge=stranger, **settings)


def test_agreement_from_the_start_and_unlike_images_are_held_against_it() -> None:
    before = Judgement(
        "a", Opinion("its own network", 0.5, 1.0), (Opinion("a second network", 0.9, 0.95),)
    )
    assert "called the image it began with so already" in before.line
    good = Judgement(
        "a",
        Opinion("its own network", 0.5, 1.0),
        (Opinion("a second network", 0.4, 0.95),),
        likeness=0.8,
        nearest=0.9,
    )
    assert good.reservations == ()
    assert good.line.startswith("prototype of a, believed by others and like real images")
    dark = Judgement(good.subject, good.own, good.others, 0.8, 0.9, below_zero=0.3)
    assert dark.reservations == ("30% of its pixels are below 0, which no camera gives",)
    far = Judgement(good.subject, good.own, good.others, likeness=3.2, nearest=2.5)
    assert far.line.startswith("doubtful prototype of a")
    assert "3.2 times the limit" in far.line
    assert "2.50 times as far from the nearest real image" in far.line
    failed = Judgement("a", Opinion("its own network", 0.1, 0.2), good.others, 0.5, 0.5)
    assert failed.line.startswith("no prototype of a")


def test_distance_to_real_images_is_zero_for_one_of_them_and_large_far_off() -> None:
    classifier = linear_classifier()
    real = prepare_references(classifier, random_dataset())
    assert measure_nearest(classifier, real[3], real) == pytest.approx(0, abs=1e-4)
    assert measure_nearest(classifier, real[3] + 50, real) > 10
    assert measure_nearest(classifier, real[3], real[:2]) is None


def test_the_series_is_even_seeded_and_ready_for_layers_and_files() -> None:
    classifier = linear_classifier()
    first, same, other = (
        activation_maximisation(classifier, "treated", steps=9, images=4, seed=seed)
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first.images, same.images)
    assert not np.array_equal(first.images[0], other.images[0])
    assert list(first.steps) == [0, 3, 6, 9]
    assert dict(result_image(first).sizes) == {"t": 4, "c": 2, "y": SIDE, "x": SIDE}
    layers = why.to_layers(first)
    assert [layer.data.shape for layer in layers] == [(4, SIDE, SIDE)] * 2
    assert layers[0].name == "DAPI: prototype of treated"
    record = first.record.to_dict()
    assert record["seed"] == 1
    assert record["parameters"]["strength"] == 1.0
    assert record["details"]["verdict"] == first.notes[0]


def test_cancelled_work_keeps_the_steps_so_far() -> None:
    asked = iter([False] * 5)
    events = []
    found = activation_maximisation(
        linear_classifier(),
        "treated",
        steps=10,
        images=6,
        on_event=lambda event: events.append(type(event).__name__),
        cancelled=lambda: next(asked, True),
    )
    assert list(found.steps) == [0, 2, 4]
    assert not found.complete
    assert found.notes[0].startswith("incomplete")
    assert (events[0], events.count("Advanced"), events[-1]) == ("Started", 5, "Finished")


def test_what_cannot_be_is_refused_in_words(invertible, tiny_scenes) -> None:
    classifier = linear_classifier()
    for given in ({}, {"target": "treated", "layer": "pixels"}):
        with pytest.raises(ParameterError, match="expected a class, or a layer and its unit"):
            activation_maximisation(classifier, **given)
    with pytest.raises(ParameterError, match="references: found none"):
        activation_maximisation(classifier, "treated", prior="density")
    with pytest.raises(UnsupportedNetworkError, match="no generator"):
        activation_maximisation(classifier, "treated", prior="generator")
    with pytest.raises(MismatchError, match="preprocessed in another way"):
        activation_maximisation(classifier, "treated", prior="generator", generator=invertible)
    with pytest.raises(ParameterError, match="prior"):
        activation_maximisation(classifier, "treated", prior="dream")
    with classifier.network.use.trained(), pytest.raises(NetworkBusyError):
        activation_maximisation(classifier, "treated")


def test_the_network_comes_out_as_it_was(invertible, tiny_scenes) -> None:
    before = {name: value.clone() for name, value in invertible.network.state_dict().items()}
    activation_maximisation(
        invertible, "treated", prior="generator", references=tiny_scenes, steps=2, images=2
    )
    after = invertible.network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(item.grad is None for item in invertible.network.parameters())
