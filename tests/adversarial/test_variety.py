"""Whether a collapse is seen, and nothing where there is none."""

import numpy as np
import pytest

from napari_why.adversarial import Variety, measure_variety

CLASSES = ["healthy"] * 40 + ["treated"] * 40


def draw(seed: int, shift: float = 20.0) -> np.ndarray:
    """Two classes that lie far apart in the first of five features."""
    features = np.random.default_rng(seed).normal(size=(80, 5))
    features[40:, 0] += shift
    return features


def test_other_draws_of_the_same_are_varied_and_cover_all() -> None:
    for seed in range(1, 6):
        found = measure_variety(draw(seed), CLASSES, draw(0), CLASSES)
        assert found.spread == pytest.approx(1, abs=0.3)
        assert min(found.coverage.values()) > 0.75
        assert found.sentences == ()


def test_one_image_again_and_again_is_called_a_collapse() -> None:
    alike = np.repeat(draw(1)[:1], 80, axis=0)
    found = measure_variety(alike, CLASSES, draw(0), CLASSES)
    assert found.spread == pytest.approx(0)
    assert max(found.coverage.values()) < 0.5
    varying, missing = found.sentences
    assert "vary little (0.00 times" in varying
    assert "healthy (" in missing
    assert "treated (" in missing


def test_a_class_that_is_never_made_is_named() -> None:
    samples = np.concatenate([draw(1)[:40], draw(2)[:40]])  # healthy ones all of them
    unconditional = measure_variety(samples, None, draw(0), CLASSES)
    assert unconditional.coverage["healthy"] > 0.75
    assert unconditional.coverage["treated"] == 0
    (sentence,) = unconditional.sentences
    assert sentence.startswith("no sample is like most images of treated (0%)")
    # asked for as treated, and healthy all the same
    conditional = measure_variety(samples, CLASSES, draw(0), CLASSES)
    assert conditional.coverage["treated"] == 0


def test_what_never_differs_counts_for_nothing() -> None:
    real = draw(0)
    real[:, 2] = 7
    samples = draw(1)
    assert measure_variety(samples, CLASSES, real, CLASSES).spread > 0.7
    constant = measure_variety(samples, CLASSES, np.ones((80, 5)), CLASSES)
    assert constant == Variety(1.0, {})


def test_of_a_few_images_there_is_no_coverage() -> None:
    found = measure_variety(draw(1), None, draw(0)[:46], CLASSES[:46])
    assert set(found.coverage) == {"healthy"}
    assert set(found.to_dict()) == {"spread", "coverage of healthy"}
