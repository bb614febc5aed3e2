"""Counterfactuals of networks whose decoder is approximate."""

import numpy as np
import pytest
import torch

from napari_why.core.errors import ParameterError, UnsupportedNetworkError
from napari_why.counterfactuals import METHODS, counterfactual, verdict
from napari_why.counterfactuals.engine import exported_probabilities
from napari_why.datasets import Dataset
from napari_why.fitting import fit
from napari_why.model import Classifier
from napari_why.simulation import simulate

GENERATIVE = ["latent_mean_shift", "latent_interpolation"]


@pytest.fixture(scope="module")
def scenes() -> Dataset:
    return simulate(64, size=16).split(seed=0)


@pytest.fixture(scope="module")
def classifier(scenes: Dataset) -> Classifier:
    """Return a classifier with a variational autoencoder trained for seconds.

    It calls an image by the nearer class mean, so that, whatever was learnt, some image is called
    the one class and some the other.
    """
    made = fit(
        scenes,
        "vae",
        size=16,
        epochs=6,
        batch_size=8,
        learning_rate=3e-3,
        device="cpu",
        threads=1,
        network_parameters={"widths": "8,16", "latent_dimensions": 12},
    )
    means = made.latent_statistics.true_means.flatten(1)
    linear = made.network.classifier.linear
    linear.weight.data.copy_(2 * means)
    linear.bias.data.copy_(-means.square().sum(1))
    return made


@pytest.fixture
def image(classifier, scenes):
    return next(
        scenes.image(index)
        for index in range(len(scenes))
        if classifier.predict(scenes.image(index)).label == classifier.classes[0]
    )


def decoded(classifier, latent):
    with torch.no_grad():
        return classifier.preprocessing.inverse(classifier.network.decode(latent))[0]


def encoded(classifier, image):
    with torch.no_grad():
        return classifier.network.encode(classifier.prepare(image))


def mean_latents(classifier):
    return classifier.latent_statistics.true_means


@pytest.mark.parametrize("method", GENERATIVE)
@pytest.mark.parametrize("keep", [False, True])
def test_it_flips_or_says_that_it_does_not(classifier, image, method, keep) -> None:
    result = counterfactual(classifier, image, method=method, keep_details=keep, steps=3)
    last = result.special_images.get("alpha1")
    called = None if last is None else exported_probabilities(classifier, last).argmax()
    flips = called == result.classes.index(result.target)
    assert result.valid == flips
    assert result.special_alphas["alpha1"] <= result.record.details["full_alpha"] == 1.0
    why = ("is predicted as", "is not predicted as", "does not see it", "undid the flip")
    assert flips or any(word in note for note in result.notes for word in why)
    assert any("the decoder misses the unchanged image" in note for note in result.notes)
    error = result.record.details["decoder_error"]["by_channel"]
    assert all(error[channel] > 1 for channel in result.channels)


def test_the_shift_is_the_difference_of_the_class_means(classifier, image) -> None:
    result = counterfactual(
        classifier, image.astype("float32"), method="latent_mean_shift", alpha_range=(0, 1), steps=2
    )
    p, q = (result.classes.index(name) for name in (result.source_class, result.target))
    means, start = mean_latents(classifier), encoded(classifier, image)
    np.testing.assert_allclose(result.images[0], decoded(classifier, start), rtol=1e-4, atol=0.05)
    moved = start + means[q] - means[p]
    np.testing.assert_allclose(result.images[1], decoded(classifier, moved), rtol=1e-4, atol=0.05)


def test_interpolation_ends_at_the_class_mean_or_at_the_goal(classifier, image, scenes) -> None:
    options = {"method": "latent_interpolation", "alpha_range": (0, 1), "steps": 2}
    raw = image.astype("float32")
    result = counterfactual(classifier, raw, **options)
    mean = mean_latents(classifier)[result.classes.index(result.target)][None]
    np.testing.assert_allclose(result.images[1], decoded(classifier, mean), rtol=1e-4, atol=0.05)
    goal = next(
        scenes.image(index)
        for index in range(len(scenes))
        if classifier.predict(scenes.image(index)).label == classifier.classes[1]
    )
    result = counterfactual(classifier, raw, goal=goal, **options)
    expected = decoded(classifier, encoded(classifier, goal))
    np.testing.assert_allclose(result.images[1], expected, rtol=1e-4, atol=0.05)
    assert result.target == classifier.classes[1]


def test_a_goal_that_is_unlike_the_training_images_is_told(classifier, image) -> None:
    goal = image.copy(data=np.full_like(image.values, 500))
    target = next(name for name in classifier.classes if name != classifier.predict(image).label)
    usual, found = (
        counterfactual(
            classifier, image, target, "latent_interpolation", goal=aim, alpha_range=(0, 1), steps=2
        )
        for aim in (None, goal)
    )
    said = "the image to go towards: channel DAPI is 500 everywhere"
    assert said in found.notes
    assert said in verdict(found).reservations
    assert found.record.details["goal_unlike"] == list(classifier.check(goal))
    assert not any("to go towards" in note for note in usual.notes)


def test_differences_are_taken_against_the_decoded_image(classifier, image) -> None:
    result = counterfactual(classifier, image.astype("float32"), method="latent_mean_shift")
    assert np.abs(result.differences[0]).max() == 0
    largest = np.abs(result.reconstruction - image.values).max()
    assert result.round_trip_error == pytest.approx(largest, rel=1e-3)
    assert result.round_trip_error > 10


def test_kept_details_leave_the_source_as_it_is_and_change_it_alike(classifier, image) -> None:
    raw = image.astype("float32")
    plain, kept = (
        counterfactual(
            classifier, raw, method="latent_mean_shift", keep_details=keep, alpha_range=(0, 1)
        )
        for keep in (False, True)
    )
    np.testing.assert_allclose(kept.images[0], raw.values, atol=0.1)
    np.testing.assert_allclose(kept.differences[-1], plain.differences[-1], atol=0.5)
    assert any("was added back to every image" in note for note in kept.notes)


def test_probabilities_are_those_of_the_decoded_image(classifier, image) -> None:
    result = counterfactual(classifier, image.astype("float32"), method="latent_mean_shift")
    boundary = result.special_alphas["boundary"]
    if boundary:  # 0 where the reconstruction is called the target already
        at_boundary = result.special_probabilities["boundary"]
        assert at_boundary == pytest.approx([0.5, 0.5], abs=0.01)
    for pixels, stated in zip(result.images, result.probabilities, strict=True):
        assert np.array_equal(exported_probabilities(classifier, pixels), stated)


@pytest.mark.parametrize("method", ["transport", "mean_shift"])
def test_methods_that_invert_are_refused_with_the_ones_that_do_not(
    classifier, image, method
) -> None:
    with pytest.raises(UnsupportedNetworkError, match=r"vae has no inverse.*latent_mean_shift"):
        counterfactual(classifier, image, method=method)


def test_an_invertible_network_is_no_generative_one(coupling_network) -> None:
    network = coupling_network()
    for name in GENERATIVE:
        assert "train a classifier with the network vae" in (
            METHODS[name].unsuitable(network) or ""
        )


def test_a_goal_is_for_the_methods_that_take_one(classifier, image) -> None:
    with pytest.raises(ParameterError, match="latent_interpolation"):
        counterfactual(classifier, image, method="latent_mean_shift", goal=image)
    with pytest.raises(ParameterError, match="already"):
        counterfactual(classifier, image, method="latent_interpolation", goal=image)
