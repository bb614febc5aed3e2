"""A counterfactual from raw image to exported pixels."""

import numpy as np
import pytest
import torch

from napari_why.core.errors import ParameterError, UnsupportedNetworkError
from napari_why.core.events import Advanced, Finished, Started
from napari_why.core.record import Record
from napari_why.counterfactuals import METHODS, counterfactual
from napari_why.counterfactuals.engine import exported_probabilities


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
@pytest.mark.parametrize("label", [0, 1])
def test_the_exported_image_at_alpha1_is_called_the_target(
    small_classifier, raw_image, dtype, label
):
    classifier = small_classifier()
    result = counterfactual(classifier, raw_image(label, dtype))
    assert (result.source_class, result.target) == (("p", "q") if label == 0 else ("q", "p"))
    assert result.valid
    assert result.images.dtype == dtype
    assert result.images.shape == (11, 2, 16, 16)
    assert result.probabilities[-1].argmax() == 1 - label
    assert np.array_equal(result.images[-1], result.special_images["alpha1"])


def test_alphas_are_evenly_spaced_from_the_image_to_alpha1(small_classifier, raw_image):
    result = counterfactual(small_classifier(), raw_image(0), steps=5)
    np.testing.assert_allclose(result.alphas, np.linspace(0, result.special_alphas["alpha1"], 5))
    chosen = counterfactual(small_classifier(), raw_image(0), steps=4, alpha_range=(-0.5, 1.0))
    np.testing.assert_allclose(chosen.alphas, [-0.5, 0.0, 0.5, 1.0])


def test_alpha_zero_is_the_reconstruction(small_classifier, raw_image):
    image = raw_image(0, "float32")
    result = counterfactual(small_classifier(), image)
    assert np.array_equal(result.images[0], result.reconstruction)
    assert np.abs(result.differences[0]).max() == 0
    assert result.round_trip_error == pytest.approx(
        np.abs(result.reconstruction - image.values).max(), abs=1e-3
    )
    assert 0 < result.round_trip_error < 0.01


def test_sixteen_bit_source_comes_back_bit_exact_at_alpha_zero(small_classifier, raw_image):
    image = raw_image(0, "uint16")
    assert np.array_equal(counterfactual(small_classifier(), image).images[0], image.values)


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
@pytest.mark.parametrize("method", ["transport", "mean_shift"])
def test_at_the_boundary_the_exported_float_image_is_undecided(
    small_classifier, raw_image, dtype, method
):
    classifier = small_classifier(std=9.0, mean=30.0)
    image = raw_image(0, dtype, std=9.0, mean=30.0)
    result = counterfactual(classifier, image, method=method)
    assert result.images.dtype == np.float32
    assert result.special_probabilities["boundary"] == pytest.approx([0.5, 0.5], abs=0.01)


def test_probabilities_are_those_of_the_exported_pixels(small_classifier, raw_image):
    classifier = small_classifier(std=9.0, mean=3.0)
    result = counterfactual(classifier, raw_image(1, "uint16", std=9.0, mean=3.0))
    for pixels, stated in zip(result.images, result.probabilities, strict=True):
        prepared = torch.from_numpy((pixels.astype(np.float64) - 3.0) / 9.0).float()
        with torch.no_grad():
            expected = classifier.network(prepared[None]).softmax(1)[0].numpy()
        np.testing.assert_allclose(stated, expected, atol=1e-5)
    assert np.array_equal(
        exported_probabilities(classifier, result.images[-1]), result.probabilities[-1]
    )


def test_where_clipping_moves_the_boundary_the_exported_image_is_still_undecided(
    small_classifier, raw_image
):
    # The mean grey level is 9: on the way to the darker class, many values fall below zero.
    classifier = small_classifier(std=9.0, mean=9.0)
    image = raw_image(1, "uint16", std=9.0, mean=9.0)
    result = counterfactual(classifier, image)
    assert result.out_of_range > 0.1
    assert any("outside the range of uint16" in note for note in result.notes)
    assert any("moved the boundary" in note for note in result.notes)
    assert result.valid
    assert result.special_probabilities["boundary"] == pytest.approx([0.5, 0.5], abs=0.01)
    moved, guess = result.special_alphas["boundary"], result.special_alphas["alpha0"]
    assert 0 < moved < result.special_alphas["alpha1"]
    assert moved != guess


def test_a_flip_that_clipping_makes_impossible_is_called_invalid(small_classifier, raw_image):
    # The darker class lies below black for the most part, where uint16 ends.
    classifier = small_classifier(std=9.0, mean=-30.0)
    result = counterfactual(classifier, raw_image(1, "uint16", std=9.0, mean=-30.0), "p")
    assert not result.valid
    assert result.special_probabilities["alpha1"].argmax() != result.classes.index("p")
    assert result.special_alphas["alpha1"] == 1.0
    assert result.special_alphas["boundary"] is None
    said = "the complete change towards p leaves p(p) at less than 0.01: this classifier does not see it"
    assert said in result.notes
    nowhere = "no exported image that was tried up to alpha 8 is predicted as p"
    assert any(nowhere in note for note in result.notes)


def test_the_runner_up_of_three_classes_by_default_and_any_other_by_name(
    small_classifier, raw_image
):
    classifier, image = small_classifier(classes=3), raw_image(0)
    ranked = exported_probabilities(classifier, image.values).argsort()[::-1]
    assert counterfactual(classifier, image).target == classifier.classes[ranked[1]]
    for index in ranked[1:]:
        result = counterfactual(classifier, image, classifier.classes[index], steps=3)
        assert result.valid
        at_boundary = np.sort(result.special_probabilities["boundary"])[::-1]
        assert at_boundary[0] == pytest.approx(at_boundary[1], abs=0.02)
        assert result.probabilities.shape == (3, 3)


def test_mean_shift_keeps_its_published_alphas_and_its_caution(small_classifier, raw_image):
    result = counterfactual(small_classifier(), raw_image(0), method="mean_shift")
    special = result.special_alphas
    assert special["alpha1"] == pytest.approx(0.8 + special["alpha0"] / 2)
    assert any("adversarial" in note for note in result.notes)


@pytest.mark.parametrize("value", [0, 700])
@pytest.mark.parametrize("method", ["transport", "mean_shift"])
def test_constant_images(small_classifier, raw_image, value, method):
    image = raw_image(0)
    result = counterfactual(
        small_classifier(), image.copy(data=np.full_like(image.values, value)), method=method
    )
    assert (result.images[0] == value).all()
    assert np.isfinite(result.probabilities).all()


def test_the_network_comes_out_bit_identical(small_classifier, raw_image, trained_apart):
    classifier = small_classifier()
    classifier.latent_statistics = trained_apart(classifier.latent_statistics)
    network = classifier.network
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    suitable = [name for name, item in METHODS.items() if item.unsuitable(network) is None]
    assert {"mean_shift", "transport"} <= set(suitable)
    for method in suitable:
        counterfactual(classifier, raw_image(0), method=method)
    assert all(torch.equal(tensor, network.state_dict()[name]) for name, tensor in before.items())
    assert not network.training
    assert all(item.grad is None and not item.requires_grad for item in network.parameters())


def test_cancelled_it_returns_the_first_images(small_classifier, raw_image):
    events = []
    result = counterfactual(
        small_classifier(), raw_image(0), on_event=events.append, cancelled=lambda: True
    )
    assert not result.complete
    assert result.alphas[0] == 0
    assert 1 <= len(result.images) == len(result.alphas) == len(result.probabilities)
    assert not result.valid
    for word in ("is not predicted as", "does not see it", "undid the flip"):
        assert not any(word in note for note in result.notes)  # nobody has looked
    assert events[-1] == Finished(partial=True)


def test_progress_reaches_the_announced_total(small_classifier, raw_image):
    events = []
    counterfactual(small_classifier(), raw_image(0), steps=7, on_event=events.append)
    total = [event.total for event in events if isinstance(event, Started)][-1]
    done = [event.done for event in events if isinstance(event, Advanced)]
    assert done == list(range(1, total + 1))
    assert events[-1] == Finished()


def test_the_record_says_how_it_was_made(small_classifier, raw_image):
    result = counterfactual(
        small_classifier(), raw_image(0), steps=3, method="gaussian_transport", stage="stage2"
    )
    record = Record.from_dict(result.record.to_dict())
    assert (record.kind, record.method, record.source) == (
        "counterfactual",
        "gaussian_transport",
        "field.tif",
    )
    assert record.parameters == {
        "steps": 3,
        "probability": 0.9,
        "whole_field": False,
        "draws": 16,
        "alpha_range": None,
        "stage": "stage2",
        "shrinkage": 0.001,
    }
    assert record.details["target"] == "q"
    assert record.details["special_alphas"] == result.special_alphas


def test_bad_questions_are_answered_in_words(small_classifier, raw_image):
    classifier, image = small_classifier(), raw_image(0)
    for message, arguments in {
        "predicted as p already": {"target": "p"},
        "expected one of p, q": {"target": "z"},
        "expected one of .*mean_shift, transport": {"method": "magic"},
        "expected one of responders, change, overshoot": {"positions": "each"},
        "steps: found 1": {"steps": 1},
        "alpha_range": {"alpha_range": (1.0, 0.0)},
        "probability": {"probability": 0.2},
    }.items():
        with pytest.raises(ParameterError, match=message):
            counterfactual(classifier, image, **arguments)


def test_a_network_without_an_inverse_is_refused(small_classifier, raw_image):
    classifier = small_classifier()
    plain = torch.nn.Linear(2, 2)
    plain.name = "cam_net"
    classifier.network = plain
    with pytest.raises(UnsupportedNetworkError, match=r"cam_net has no inverse; train .* iresnet"):
        counterfactual(classifier, raw_image(0))


def test_a_classifier_without_statistics_is_refused(small_classifier, raw_image):
    classifier = small_classifier()
    classifier.latent_statistics = None
    with pytest.raises(UnsupportedNetworkError, match="latent statistics"):
        counterfactual(classifier, raw_image(0))
