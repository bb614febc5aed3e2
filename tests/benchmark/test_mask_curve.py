import numpy as np
import pytest
from torch import nn

from napari_why.benchmark.scores import MASK_SIZES, mask_curve
from napari_why.datasets import Preprocessing
from napari_why.model import Classifier
from napari_why.networks import wrap

SIZE = 20


@pytest.fixture
def classifier() -> Classifier:
    """Return a classifier that calls an image bright by its mean."""
    encoder, linear = nn.Conv2d(1, 1, 1), nn.Linear(1, 2)
    nn.init.constant_(encoder.weight, 1.0)
    nn.init.zeros_(encoder.bias)
    linear.weight.data[:, 0] = linear.weight.data.new_tensor([-30.0, 30.0])
    linear.bias.data[:] = linear.bias.data.new_tensor([3.0, -3.0])
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), linear)
    preprocessing = Preprocessing(("A",), None, "none", "linear", (0.0,), (1000.0,), (1.0,))
    network = wrap(encoder, head, input_channels=1, classes=2)
    return Classifier(network, preprocessing, ("dark", "bright"))


def images(change: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    source = np.zeros((1, 1, SIZE, SIZE), dtype=np.uint16)
    return source, (source + change).astype(np.uint16)


def test_few_strong_pixels_are_worth_more_than_a_veil(classifier: Classifier) -> None:
    spot = np.zeros((SIZE, SIZE))
    spot[:2, :2] = 20_000  # 1 % of the pixels
    veil = np.full((SIZE, SIZE), 200)
    by_spot = mask_curve(classifier, *images(spot), "bright")
    by_veil = mask_curve(classifier, *images(veil), "bright")
    assert by_spot.sizes == by_veil.sizes == MASK_SIZES
    assert by_spot.gains[-1] == pytest.approx(by_veil.gains[-1], abs=1e-4)
    assert by_spot.gains[MASK_SIZES.index(0.01)] == pytest.approx(by_spot.gains[-1], abs=1e-4)
    assert by_spot.area > by_veil.area + 0.2


def test_no_change_gains_nothing(classifier: Classifier) -> None:
    curve = mask_curve(classifier, *images(np.zeros((SIZE, SIZE))), "bright")
    assert set(curve.gains) == {0.0}
    assert curve.area == 0.0


def test_a_change_in_the_wrong_direction_loses(classifier: Classifier) -> None:
    source, brighter = images(np.full((SIZE, SIZE), 1000))
    curve = mask_curve(classifier, brighter, source, "bright")
    assert curve.gains[-1] < -0.9
    assert curve.area < -0.1
