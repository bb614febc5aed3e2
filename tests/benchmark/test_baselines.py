"""One factor and one curve of grey levels: what they do, and what they cannot do."""

from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_why.benchmark import EffectData, Protocol
from napari_why.benchmark.scores import (
    ChangeScores,
    change_scores,
    match_histograms,
    multiply,
    standardise,
)

IMAGES = np.array([[[[10, 20], [30, 40]], [[1, 2], [3, 4]]]], dtype=np.uint16)
BOTH = (multiply, match_histograms)


def test_one_factor_matches_the_means_of_the_channels_that_are_meant() -> None:
    target = IMAGES * np.array([3, 2], dtype=np.uint16)[:, None, None]
    np.testing.assert_allclose(multiply(IMAGES, IMAGES, target, [0, 1]), target)
    only = multiply(IMAGES, IMAGES, target, [1])
    np.testing.assert_array_equal(only[:, 0], IMAGES[:, 0])
    np.testing.assert_allclose(only[:, 1], target[:, 1])


def test_a_black_channel_has_no_factor() -> None:
    black = np.zeros_like(IMAGES)
    np.testing.assert_array_equal(multiply(IMAGES, black, IMAGES, [0, 1]), IMAGES)


def test_one_curve_undoes_any_rising_curve() -> None:
    rng = np.random.default_rng(0)
    source = rng.integers(0, 500, (20, 2, 16, 16), dtype=np.uint16)
    target = np.round(np.sqrt(source.astype(float)) * 40 + 100)
    found = match_histograms(source[:3], source, target, [1])
    np.testing.assert_array_equal(found[:, 0], source[:3, 0])
    # levels that became one (by rounding) share a rank, so that the middle of it is met to a level
    assert np.abs(found[:, 1] - target[:3, 1]).max() < 20
    assert np.abs(found[:, 1] - target[:3, 1]).mean() < 1


def test_one_curve_rises_and_stays_within_the_target_class() -> None:
    rng = np.random.default_rng(1)
    source, target = rng.normal(100, 20, (2, 10, 1, 16, 16)) * np.array([1, 3]).reshape(
        2, 1, 1, 1, 1
    )
    levels = np.linspace(0, 400, 100).reshape(1, 1, 10, 10)
    curve = match_histograms(levels, source, target, [0]).ravel()
    assert (np.diff(curve) >= 0).all()
    assert target.min() <= curve.min()
    assert curve.max() <= target.max()


@cache
def training_images(effect: str) -> tuple[EffectData, NDArray[np.uint16]]:
    data = EffectData(Protocol("validation", training=60, held_out=8, scored=12), effect, 0)
    train = data.dataset.part("train")
    return data, np.stack([train.image(row).values for row in range(len(train))])


def scored(effect: str, baseline) -> list[ChangeScores]:
    """Return the scores of a baseline that is told which channels have the effect, by direction."""
    data, images = training_images(effect)
    labels = data.dataset.part("train").table["label"].to_numpy()
    std = images.std((0, 2, 3))
    found = []
    for direction in data.directions:
        source, target = (images[labels == name] for name in (direction.source, direction.target))
        changed = np.round(baseline(direction.images, source, target, data.affected))
        change = standardise(changed - direction.images, std)
        found.append(change_scores(change, standardise(direction.truth, std), data.affected))
    return found


def test_a_global_loss_of_dye_is_no_test_of_a_method() -> None:
    """Figures of scenes, the same on every machine: correlation alone is won by one factor."""
    assert all(scores.correlation > 0.9 for scores in scored("depolarisation", multiply))
    curve = scored("depolarisation", match_histograms)
    assert all(scores.correlation > 0.9 for scores in curve)
    assert all(scores.relative_error < 0.4 for scores in curve)


@pytest.mark.parametrize("baseline", BOTH)
@pytest.mark.parametrize(("effect", "direction"), [("translocation", 0), ("partial_response", 1)])
def test_where_it_matters_in_which_place_a_level_is_both_fail(effect, direction, baseline) -> None:
    scores = scored(effect, baseline)[direction]
    assert scores.correlation < 0.75
    assert scores.relative_error > 0.8
