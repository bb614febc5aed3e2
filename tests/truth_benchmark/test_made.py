import numpy as np
import pytest

from napari_why import counterfactual
from napari_why.classifier import Classifier, load
from napari_why.errors import UnsupportedNetworkError
from napari_why.images import make_image
from napari_why.truth_benchmark import EffectData
from napari_why.truth_benchmark.data import Direction
from napari_why.truth_benchmark.made import made_by_network

from .conftest import PROTOCOL, Finished


@pytest.fixture(scope="module")
def classifier(finished: Finished) -> Classifier:
    return load(finished.results.classifier_place("depolarisation", 0, "locked"))


@pytest.fixture(scope="module")
def direction() -> Direction:
    return EffectData(PROTOCOL, "depolarisation", 0).directions[0]


@pytest.mark.parametrize("method", ["transport", "mean_shift"])
def test_images_made_together_are_those_made_one_by_one(
    classifier: Classifier, direction: Direction, method: str
) -> None:
    images = direction.images
    made = made_by_network(classifier, images, direction.source, direction.target, method, {})
    np.testing.assert_array_equal(made.change, made.images.astype(float) - images)
    compared = 0
    for image, together in zip(images, made.images, strict=True):
        named = make_image(image, "cyx", classifier.channels)
        if classifier.predict(named).label != direction.source:
            continue  # which the product refuses to change
        alone = counterfactual(classifier, named, direction.target, method, steps=2)
        difference = alone.special_images["alpha1"].astype(int) - together
        assert np.abs(difference).max() <= 1
        compared += 1
    assert compared >= 3  # 5 to 9 of 10 over ten seeds of the network


def test_a_method_for_other_networks_is_refused(
    classifier: Classifier, direction: Direction
) -> None:
    with pytest.raises(UnsupportedNetworkError, match="latent_mean_shift"):
        made_by_network(classifier, direction.images, "healthy", "treated", "latent_mean_shift", {})


def test_cancelled_there_is_nothing(classifier: Classifier, direction: Direction) -> None:
    assert (
        made_by_network(
            classifier,
            direction.images,
            "healthy",
            "treated",
            "transport",
            {},
            cancelled=lambda: True,
        )
        is None
    )
