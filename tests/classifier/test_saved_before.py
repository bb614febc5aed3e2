"""A classifier that version 0.1.0 saved loads, predicts and explains as it did."""

from pathlib import Path

import numpy as np
import pytest

import napari_why as why
from napari_why.images import make_image

SAVED = Path(__file__).parent / "saved_by_0.1.0"


def test_a_classifier_of_the_first_version_is_what_it_was() -> None:
    classifier, expected = why.load(SAVED), np.load(SAVED / "expected.npz")
    image = make_image(expected["image"], "cyx", classifier.channels)
    assert classifier.predict(image).logits == pytest.approx(expected["logits"], abs=1e-4)
    result = why.counterfactual(classifier, image, steps=3)
    np.testing.assert_allclose(result.alphas, expected["alphas"])
    # rounding to whole grey levels may fall the other way on another processor
    assert np.abs(result.images.astype(int) - expected["images"].astype(int)).max() <= 1


def test_saved_again_it_is_the_same_classifier(tmp_path: Path) -> None:
    classifier = why.load(SAVED)
    classifier.save(tmp_path / "again")
    again = why.load(tmp_path / "again")
    assert again.fingerprint == classifier.fingerprint
    assert again.latent_statistics is not None
    assert classifier.latent_statistics is not None
    assert set(again.latent_statistics.parts) == set(classifier.latent_statistics.parts)
