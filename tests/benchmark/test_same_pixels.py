"""What the benchmark measures is what the product makes: the very same pixels."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

import napari_why as why
from napari_why.benchmark import EffectData
from napari_why.benchmark.ceilings import change_by_network
from napari_why.counterfactuals import METHODS, changed_image
from napari_why.images import make_image
from napari_why.model import Classifier
from napari_why.networks import build_network
from napari_why.transport import Choice

from .conftest import PROTOCOL

TINY = {"blocks": "1,1", "widths": "4,4", "downscaling": "2,2"}
SMALL = replace(PROTOCOL, training=40, held_out=24, scored=2)
BY_NETWORK = {
    "iresnet": ("transport", "gaussian_transport", "mean_shift", "translation", "flow"),
    "vae": ("latent_mean_shift", "latent_interpolation"),
}


@pytest.fixture(scope="module")
def trained() -> Callable[[str, str], tuple[EffectData, Classifier]]:
    """Return the images of an effect and a network that saw them once: any weights will do."""

    @cache
    def make(effect: str, network: str) -> tuple[EffectData, Classifier]:
        data = EffectData(SMALL, effect, 0)
        classifier = why.fit(
            data.dataset,
            network,
            size=SMALL.size,
            epochs=1,
            second_network=False,
            lock="DAPI" if network == "iresnet" else "none",
            # of one effect, so that a change by one of them is met too
            pixel_maps=effect == "partial_response",
            threads=1,
            network_parameters=TINY if network == "iresnet" else {},
        )
        if network == "iresnet":
            quick = {"epochs": 1, "widths": "4,6", "threads": 1, "on_event": why.quiet}
            classifier = why.fit_translation(
                classifier, data.dataset, discriminator_widths="4,6", **quick
            )
            classifier = why.fit_flow(classifier, data.dataset, **quick)
        return data, classifier

    return make


# Of a change that no map of pixels makes, and of one that may be; whatever the cells undergo, benchmark and
# product take the same way to it.
EFFECTS = {"iresnet": ("depolarisation", "partial_response"), "vae": ("depolarisation",)}


@pytest.mark.parametrize(
    ("network", "effect", "method"),
    [
        (network, effect, name)
        for network, names in BY_NETWORK.items()
        for effect in EFFECTS[network]
        for name in names
    ],
)
def test_the_pixels_of_the_benchmark_are_those_of_the_product(
    trained: Callable[[str, str], tuple[EffectData, Classifier]],
    network: str,
    effect: str,
    method: str,
) -> None:
    data, classifier = trained(effect, network)
    for direction in data.directions:
        measured = change_by_network(
            classifier, direction.images, direction.source, direction.target, method, {}
        )
        assert measured is not None
        for image, pixels in zip(direction.images, measured.images, strict=True):
            made = why.counterfactual(
                classifier,
                make_image(image, "cyx", classifier.channels),
                direction.target,
                method,
                source=direction.source,
                steps=2,
                alpha_range=(0.0, 1.0),
            )
            # where there is no alpha1, the benchmark takes the full displacement
            product = made.special_images.get("alpha1", made.images[-1])
            assert product.dtype == pixels.dtype
            np.testing.assert_array_equal(product, pixels)


def test_channels_put_back_are_the_source_bit_for_bit_in_product_and_benchmark(
    trained: Callable[[str, str], tuple[EffectData, Classifier]],
) -> None:
    data, classifier = trained("depolarisation", "iresnet")
    statistics = classifier.latent_statistics
    assert statistics is not None
    assert statistics.transport is not None
    choices = {(0, 1): Choice(reset_channels=(1,)), (1, 0): Choice(reset_channels=(1,))}
    chosen = statistics.with_part("transport", statistics.transport.with_choices(choices))
    classifier = replace(classifier, latent_statistics=chosen)
    direction = data.directions[0]
    measured = change_by_network(
        classifier, direction.images, direction.source, direction.target, "transport", {}
    )
    assert measured is not None
    for image, pixels in zip(direction.images, measured.images, strict=True):
        named = make_image(image, "cyx", classifier.channels)
        made = why.counterfactual(
            classifier, named, direction.target, source=direction.source, steps=3
        )
        np.testing.assert_array_equal(pixels[1], image[1])
        assert (made.images[:, 1] == image[1]).all()  # alpha 0 included
        for shown in made.special_images.values():
            np.testing.assert_array_equal(shown[1], image[1])


def test_every_method_is_compared() -> None:
    assert {name for names in BY_NETWORK.values() for name in names} == set(METHODS)


def test_so_they_are_of_a_classifier_that_is_explained_through_another(
    trained: Callable[[str, str], tuple[EffectData, Classifier]],
) -> None:
    data, generator = trained("depolarisation", "iresnet")
    network = build_network("small_cnn", input_channels=2, classes=2, size=SMALL.size, seed=1)
    asked = Classifier(network, generator.preprocessing, generator.classes)
    direction = data.directions[0]
    measured = change_by_network(
        asked,
        direction.images,
        direction.source,
        direction.target,
        "transport",
        {},
        through=generator,
    )
    assert measured is not None
    for image, pixels in zip(direction.images, measured.images, strict=True):
        made = why.counterfactual(
            asked,
            make_image(image, "cyx", generator.channels),
            direction.target,
            source=direction.source,
            through=generator,
            steps=2,
        )
        np.testing.assert_array_equal(changed_image(made), pixels)
