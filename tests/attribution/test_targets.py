"""What a map explains beside a class: a contrast, a number of the embedding, a similarity."""

import numpy as np
import pytest
import torch

from napari_why.attribution import (
    METHODS,
    Contrast,
    EmbeddingCoordinate,
    Similarity,
    attribute,
)
from napari_why.attribution.targets import find_target
from napari_why.core.errors import MismatchError, ParameterError, UnsupportedNetworkError
from napari_why.images import make_image


@pytest.fixture
def other_image():
    pixels = np.random.default_rng(1).integers(100, 4000, (2, 16, 16)).astype(np.uint16)
    return make_image(pixels, ("c", "y", "x"), ("nuclei", "mitochondria"), source="other.tif")


@pytest.fixture(params=["contrast", "embedding", "similarity"])
def target(request, other_image):
    return {
        "contrast": Contrast("treated", "healthy"),
        "embedding": EmbeddingCoordinate(2),
        "similarity": Similarity(other_image),
    }[request.param]


def embedding_of(classifier, image):
    with torch.no_grad():
        return classifier.network.encode(classifier.prepare(image)).mean(dim=(2, 3))[0]


def test_scores_are_what_their_names_say(classifier, image, other_image) -> None:
    logits = classifier.logits(classifier.prepare(image))[0]
    embedding, other = embedding_of(classifier, image), embedding_of(classifier, other_image)
    cosine = torch.nn.functional.cosine_similarity(embedding, other, dim=0).item()
    expected = {
        Contrast("treated", "healthy"): (logits[1] - logits[2]).item(),
        EmbeddingCoordinate(2): embedding[2].item(),
        Similarity(other_image): cosine,
    }
    for asked, score in expected.items():
        assert attribute(classifier, image, "saliency", asked).score == pytest.approx(score, 1e-5)


@pytest.mark.parametrize("name", ["saliency", "input_x_gradient", "hires_cam", "grad_cam", "cam"])
def test_linear_methods_take_the_difference_of_two_classes(classifier, image, name: str) -> None:
    first, second, contrast = (
        attribute(classifier, image, name, target).maps
        for target in ("treated", "healthy", Contrast("treated", "healthy"))
    )
    np.testing.assert_allclose(contrast, first - second, atol=1e-5 * np.abs(first).max())


def test_a_map_of_a_feature_map_is_that_feature_map(classifier, image) -> None:
    found = attribute(classifier, image, "cam", EmbeddingCoordinate(2))
    assert found.gap == pytest.approx(0, abs=1e-5)
    assert found.unit == "embedding per pixel"
    assert found.target == "embedding coordinate 2"
    assert found.joint.sum() == pytest.approx(embedding_of(classifier, image)[2].item(), rel=1e-4)


def test_gradients_of_a_similarity_are_those_of_the_cosine(classifier, image, other_image) -> None:
    x = classifier.prepare(image).requires_grad_()
    other = embedding_of(classifier, other_image)
    embedding = classifier.network.encode(x).mean(dim=(2, 3))[0]
    torch.nn.functional.cosine_similarity(embedding, other, dim=0).backward()
    found = attribute(classifier, image, "saliency", Similarity(other_image))
    np.testing.assert_allclose(found.maps, x.grad[0].numpy(), rtol=1e-4, atol=1e-8)
    assert found.unit == "similarity per standard deviation"
    assert "other.tif" in found.target


def test_every_method_takes_every_target_or_says_why_not(classifier, image, target) -> None:
    for name in ("occlusion", "integrated_gradients", "lrp", "hires_cam", "cam"):
        options = {"occlusion": {"window": 8, "stride": 8}}.get(name, {})
        if name == "cam" and isinstance(target, Similarity):
            with pytest.raises(UnsupportedNetworkError, match="hires_cam"):
                attribute(classifier, image, name, target)
            continue
        found = attribute(classifier, image, name, target, **options)
        assert np.isfinite(found.maps).all()
        assert found.maps.any()
        assert found.record.details["target"] == found.target


def test_integrated_gradients_add_up_to_any_score(classifier, image, target) -> None:
    found = attribute(classifier, image, "integrated_gradients", target, steps=128)
    assert found.maps.sum() == pytest.approx(found.score - found.constants, rel=0.02)


def test_lrp_hands_out_a_contrast_from_both_logits(classifier, image) -> None:
    first, second, contrast = (
        attribute(classifier, image, "lrp", target, rule="epsilon")
        for target in ("treated", "healthy", Contrast("treated", "healthy"))
    )
    # linear in what it starts with, so that the contrast is the difference of the two maps
    np.testing.assert_allclose(
        contrast.maps, first.maps - second.maps, atol=1e-4 * np.abs(first.maps).max()
    )


def test_lrp_conserves_every_score(classifier, image, target) -> None:
    found = attribute(classifier, image, "lrp", target)
    assert found.explained == pytest.approx(found.score, rel=1e-4)
    assert found.gap < 0.01


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (Contrast("treated", "treated"), "another class"),
        (Contrast("treated", "missing"), "against: found 'missing'"),
        (EmbeddingCoordinate(1000), "expected 0 to 7"),
        (EmbeddingCoordinate(-1), "expected 0 to 7"),
    ],
)
def test_impossible_targets_are_refused(classifier, image, asked, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        attribute(classifier, image, "saliency", asked)


def test_the_other_image_must_fit(classifier, image, other_image) -> None:
    with pytest.raises(MismatchError, match="mitochondria"):
        attribute(classifier, image, "saliency", Similarity(other_image[:1]))


def test_an_explained_network_shares_everything(classifier, other_image) -> None:
    network = classifier.network
    found = find_target(classifier, Similarity(other_image)).network
    assert found.use is network.use
    assert found.layer_names == network.layer_names
    assert {id(p) for p in found.parameters()} == {id(p) for p in network.parameters()}
    assert all(METHODS[name].unsuitable(found) is None for name in ("saliency", "lrp"))


def test_the_sum_of_a_contrast_is_told_in_words(classifier, image) -> None:
    found = attribute(classifier, image, "integrated_gradients", Contrast("treated", "healthy"))
    assert found.gap_meaning == (
        "sum of the maps against how far the difference of the logits is from that of the baseline"
    )
    assert found.constants_meaning == "the difference of the logits of the baseline"
