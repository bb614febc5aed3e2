"""The method ``translation``: translators of images on the way through a network's latent."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import napari_why as why
from napari_why.adversarial import ClassTranslators
from napari_why.adversarial.cycle_gan import Translator
from napari_why.core.errors import (
    CancellationError,
    MismatchError,
    ModelFileError,
    UnsupportedNetworkError,
)
from napari_why.core.events import Message
from napari_why.counterfactuals import METHODS, counterfactual
from napari_why.datasets import Dataset
from napari_why.model import Classifier
from napari_why.model.translation import FLOW_OF_CLASSES, TRANSLATION
from napari_why.simulation import simulate

QUICK = {
    "epochs": 1,
    "widths": "4,6",
    "discriminator_widths": "4,6",
    "threads": 1,
    "device": "cpu",
    "on_event": why.quiet,
}


@pytest.fixture(scope="module")
def scenes() -> Dataset:
    return simulate(48, size=32).split(seed=0)


@pytest.fixture(scope="module")
def plain(scenes) -> Classifier:
    """An invertible classifier that keeps DAPI."""
    return why.fit(
        scenes,
        "iresnet",
        size=32,
        epochs=1,
        lock="DAPI",
        pixel_maps=False,
        second_network=False,
        network_parameters={"blocks": "1,1", "widths": "8,8", "downscaling": "2,2"},
        threads=1,
        device="cpu",
        on_event=why.quiet,
    )


@pytest.fixture(scope="module")
def translating(plain, scenes) -> Classifier:
    return why.fit_translation(plain, scenes, **QUICK)


def biased(classifier: Classifier, by: float) -> Classifier:
    """Return a classifier whose translation adds a number of standard deviations to TMRM."""
    made = Translator(2, (0,), (4, 6)).eval()
    torch.nn.init.constant_(made.change.last.bias, by)
    translators = ClassTranslators(2, (0,), (4, 6), {(0, 1): made, (1, 0): made}, 1)
    statistics = classifier.latent_statistics.with_part(TRANSLATION, translators)
    return replace(classifier, latent_statistics=statistics)


def other_class(classifier: Classifier, image) -> tuple[str, str]:
    label = classifier.predict(image).label
    return label, next(name for name in classifier.classes if name != label)


def test_the_complete_change_is_the_translation_and_what_is_locked_stays(plain, scenes) -> None:
    image = scenes.part("test").image(0)
    classifier = biased(plain, 0.25)
    source, target = other_class(classifier, image)
    result = counterfactual(classifier, image, target, "translation", source=source, steps=3)
    assert result.special_alphas["alpha1"] == 1.0
    np.testing.assert_array_equal(result.images[:, 0], np.stack([image.values[0]] * 3))
    change = result.images[-1, 1].astype(float) - image.values[1]
    # exported as whole numbers, after an inverse that is exact to rounding
    np.testing.assert_allclose(change, 0.25 * classifier.preprocessing.std[1], atol=1.01)
    half = result.images[1, 1].astype(float) - image.values[1]
    assert 0 < np.median(half) < np.median(change)


def test_a_trained_translation_keeps_locked_channels_and_the_network(
    plain, translating, scenes
) -> None:
    image = scenes.part("test").image(1)
    source, target = other_class(translating, image)
    result = counterfactual(translating, image, target, "translation", source=source, steps=2)
    np.testing.assert_array_equal(result.images[-1, 0], image.values[0])
    assert any("what it invents is no evidence" in note for note in result.notes)
    assert translating.fingerprint != plain.fingerprint
    assert translating.predict(image).probabilities == plain.predict(image).probabilities
    assert translating.card[TRANSLATION]["parameters"]["epochs"] == 1
    assert METHODS["translation"].missing(translating) is None


def test_without_translators_the_method_says_how_to_train_them(plain, scenes) -> None:
    image = scenes.image(0)
    source, target = other_class(plain, image)
    assert "fit_translation" in METHODS["translation"].missing(plain)
    with pytest.raises(UnsupportedNetworkError, match="fit_translation"):
        counterfactual(plain, image, target, "translation", source=source)


def test_a_saved_translation_is_loaded_and_checked(translating, scenes, tmp_path) -> None:
    place = translating.save(tmp_path / "model")
    loaded = why.load(place)
    assert loaded.fingerprint == translating.fingerprint
    image = scenes.part("test").image(0)
    source, target = other_class(loaded, image)
    both = [
        counterfactual(each, image, target, "translation", source=source, steps=2).images
        for each in (translating, loaded)
    ]
    np.testing.assert_array_equal(*both)


def test_translators_that_change_what_the_network_locks_are_refused(plain, tmp_path) -> None:
    free = Translator(2, (), (4, 6)).eval()
    translators = ClassTranslators(2, (), (4, 6), {(0, 1): free}, 1)
    statistics = plain.latent_statistics.with_part(TRANSLATION, translators)
    place = replace(plain, latent_statistics=statistics).save(tmp_path / "model")
    with pytest.raises(ModelFileError, match="statistics of another network"):
        why.load(place)


def test_translators_stopped_early_say_so(plain, scenes) -> None:
    classifier = biased(plain, 0.1)
    translators = replace(classifier.latent_statistics.parts[TRANSLATION], complete=False)
    classifier = replace(
        classifier,
        latent_statistics=classifier.latent_statistics.with_part(TRANSLATION, translators),
    )
    image = scenes.image(0)
    source, target = other_class(classifier, image)
    result = counterfactual(classifier, image, target, "translation", source=source, steps=2)
    assert any("stopped after 1 epochs" in note for note in result.notes)


def test_the_generator_of_another_classifier_gets_them(plain, scenes) -> None:
    asked = why.fit(
        scenes, "small_cnn", size=32, epochs=1, threads=1, device="cpu", on_event=why.quiet
    )
    with pytest.raises(UnsupportedNetworkError, match="found a small_cnn without a generator"):
        why.fit_translation(asked, scenes, **QUICK)
    through = why.fit_translation(replace(asked, generator=plain), scenes, **QUICK)
    assert TRANSLATION in through.generator.latent_statistics.parts
    assert through.folder is None
    assert through.card["generator"]["fingerprint"] == through.generator.fingerprint
    image = scenes.image(0)
    source, target = other_class(through, image)
    result = counterfactual(through, image, target, "translation", source=source, steps=2)
    np.testing.assert_array_equal(result.images[-1, 0], image.values[0])


def test_other_classes_are_refused_and_other_images_told(plain, scenes) -> None:
    with pytest.raises(MismatchError, match="expected diseased, treated"):
        why.fit_translation(
            plain, simulate(8, classes=("healthy", "treated"), size=32).split(seed=0), **QUICK
        )
    heard = []
    again = scenes.split(seed=1, redraw=True)
    why.fit_translation(plain, again, **{**QUICK, "on_event": heard.append})
    said = [event.text for event in heard if isinstance(event, Message) and event.finding]
    assert any("other images, or on another split" in text for text in said)


def test_images_that_are_not_split_are_split_as_for_the_classifier(plain, translating) -> None:
    heard = []
    whole = simulate(48, size=32)
    again = why.fit_translation(plain, whole, **{**QUICK, "on_event": heard.append})
    assert again.fingerprint == translating.fingerprint
    assert not any(isinstance(event, Message) and event.finding for event in heard)


def test_cancelled_at_once_there_is_nothing(plain, scenes) -> None:
    with pytest.raises(CancellationError, match="nothing was trained"):
        why.fit_translation(plain, scenes, cancelled=lambda: True, **QUICK)


FLOW = {"epochs": 1, "widths": "4,6", "threads": 1, "device": "cpu", "on_event": why.quiet}


def test_a_flow_is_a_method_of_its_own_and_is_saved_beside_the_translators(
    translating, scenes, tmp_path
) -> None:
    image = scenes.part("test").image(0)
    source, target = other_class(translating, image)
    assert "fit_flow" in METHODS["flow"].missing(translating)
    with pytest.raises(UnsupportedNetworkError, match="fit_flow"):
        counterfactual(translating, image, target, "flow", source=source)
    both = why.fit_flow(translating, scenes, **FLOW)
    assert set(both.latent_statistics.parts) >= {TRANSLATION, FLOW_OF_CLASSES}
    loaded = why.load(both.save(tmp_path / "model"))
    assert loaded.fingerprint == both.fingerprint
    made = [
        counterfactual(
            each, image, target, "flow", source=source, steps=2, integration_steps=2
        ).images
        for each in (both, loaded)
    ]
    np.testing.assert_array_equal(*made)
    np.testing.assert_array_equal(made[0][-1, 0], image.values[0])
    assert not np.array_equal(made[0][-1, 1], image.values[1])
