import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_why.benchmark.scores import (
    SpreadScores,
    change_scores,
    measure_frechet,
    spread_scores,
    standardise,
)
from napari_why.counterfactuals.spread import Spread


def changes(seed: int, count: int = 3) -> np.ndarray:
    truth = np.random.default_rng(seed).normal(size=(count, 2, 12, 12))
    truth[:, 0] = 0
    return truth


def test_the_truth_scores_one_and_doing_nothing_scores_nothing() -> None:
    truth = changes(0)
    perfect = change_scores(truth, truth, [1])
    assert (perfect.correlation, perfect.relative_error, perfect.off_target) == (1.0, 0.0, 0.0)
    nothing = change_scores(0 * truth, truth, [1])
    assert (nothing.correlation, nothing.relative_error, nothing.off_target) == (0.0, 1.0, 0.0)


def test_a_distance_stands_beside_that_of_as_many_real_images() -> None:
    random = np.random.default_rng(0)
    real = random.normal(size=(20, 3)) * [1, 100, 0]
    apart, floor = measure_frechet(real, real)
    assert floor > 0.1
    assert apart < floor  # some images are on both sides
    # of as many images whatever there is
    _, floor_of_fewer = measure_frechet(real[:4], real)
    assert floor_of_fewer > 2 * floor
    assert np.isnan(measure_frechet(real[:1], real)).all()
    assert np.isnan(measure_frechet(real, real[:3])).all()
    # in units of real images
    many = random.normal(size=(4000, 3)) * [1, 100, 0]
    shifted = many + np.array([many[:, 0].std(), 2 * many[:, 1].std(), 0])
    assert measure_frechet(shifted, many) == pytest.approx((5, 0), abs=0.1)


def test_the_floor_does_not_hang_on_the_order_of_the_images() -> None:
    random = np.random.default_rng(0)
    wells = np.repeat(random.normal(size=(8, 4)), 16, axis=0)
    by_well = wells + 0.3 * random.normal(size=wells.shape)
    other = by_well + 0.5
    mixed = random.permutation(len(by_well))
    sorted_by_well = measure_frechet(other, by_well)
    shuffled = measure_frechet(other[random.permutation(len(other))], by_well[mixed])
    # whole wells on either side came to a floor as large as the distance
    assert sorted_by_well == pytest.approx(shuffled, rel=0.5)
    assert sorted_by_well[0] > 2 * sorted_by_well[1]


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 1000), factor=st.floats(0.1, 3), offset=st.floats(-2, 2))
def test_correlation_ignores_amount_and_offset_which_relative_error_does_not(
    seed: int, factor: float, offset: float
) -> None:
    truth = changes(seed)
    scaled = factor * truth
    assert change_scores(scaled, truth, [1]).correlation == pytest.approx(1)
    assert change_scores(scaled, truth, [1]).relative_error == pytest.approx(abs(factor - 1))
    shifted = scaled.copy()
    shifted[:, 1] += offset
    assert change_scores(shifted, truth, [1]).correlation == pytest.approx(1)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 1000))
def test_unrelated_changes_do_not_correlate(seed: int) -> None:
    scores = change_scores(changes(seed + 5000, 20), changes(seed, 20), [1])
    assert abs(scores.correlation) < 0.25
    assert scores.relative_error > 1


def test_change_of_another_channel_is_off_target_and_an_error() -> None:
    truth = changes(1)
    change = truth.copy()
    change[:, 0] = truth[:, 1]
    scores = change_scores(change, truth, [1])
    assert scores.correlation == pytest.approx(1)
    assert scores.off_target == pytest.approx(1)
    assert scores.relative_error == pytest.approx(1)
    change[:, 1] = 0
    assert change_scores(change, truth, [1]).off_target == math.inf


def test_with_both_channels_affected_nothing_is_off_target() -> None:
    truth = np.random.default_rng(2).normal(size=(2, 2, 12, 12))
    scores = change_scores(truth, truth, [0, 1])
    assert scores.correlation == pytest.approx(1)
    assert math.isnan(scores.off_target)


def test_without_an_effect_or_a_truth_only_the_size_is_known() -> None:
    change = changes(3)
    for scores in (change_scores(change, 0 * change, []), change_scores(change, None, [1])):
        assert math.isnan(scores.correlation)
        assert math.isnan(scores.relative_error)
        assert scores.size > 0


def test_changes_are_measured_in_standard_deviations_of_the_channel() -> None:
    change = np.ones((1, 2, 4, 4))
    np.testing.assert_allclose(standardise(change, (2.0, 4.0))[0, :, 0, 0], [0.5, 0.25])


def known_spread(truth: np.ndarray, offset: float, deviation: float, agree: float = 1.0) -> Spread:
    """Return the spread of a change of one image that misses the truth by ``offset``, grey levels."""
    size = np.ones(truth.shape, np.float32)
    change = (truth + offset).astype(np.float32)
    return Spread(16, change, deviation * size, agree * size)


def test_limits_cover_the_truth_as_far_as_they_reach() -> None:
    truth = np.zeros((2, 2, 12, 12))
    truth[:, 1, 2:9, 2:9] = 100.0
    within, beyond = (known_spread(truth[0], 5.0, deviation) for deviation in (4.0, 2.0))
    found = spread_scores([within, beyond], truth, (50.0, 50.0), [1])
    # 1.645 deviations reach 6.6 and 3.3 grey levels
    assert found == SpreadScores(coverage=0.5, sure_share=1.0, right_signs=1.0)
    # where nothing changes nothing is asked, and a third image has no spread
    assert spread_scores([within], truth, (50.0, 50.0), [1]).coverage == 1.0
    nothing = spread_scores([within], 0 * truth, (50.0, 50.0), [1])
    assert math.isnan(nothing.coverage) and nothing.sure_share == 1.0


def test_noise_of_single_pixels_counts_no_more_than_in_the_other_figures() -> None:
    truth = np.full((1, 2, 30, 30), 100.0)
    noise = np.random.default_rng(0).normal(0, 10, truth.shape[1:])
    spread = known_spread(truth[0] + noise, 0.0, 5.0)
    # of single pixels 8.2 of a deviation of 10 would hold 59 %; of nine their mean deviates by 3.3
    assert spread_scores([spread], truth, (50.0, 50.0), [1]).coverage > 0.95


def test_only_claimed_signs_can_be_wrong() -> None:
    truth = np.full((1, 2, 12, 12), 100.0)
    wrong = known_spread(truth[0], -300.0, 10.0)
    claimed = spread_scores([wrong], truth, (50.0, 50.0), [1])
    assert (claimed.right_signs, claimed.sure_share, claimed.coverage) == (0.0, 1.0, 0.0)
    open_signs = spread_scores(
        [known_spread(truth[0], -300.0, 10.0, agree=0.5)], truth, (50.0, 50.0), [1]
    )
    assert math.isnan(open_signs.right_signs) and open_signs.sure_share == 0.0


def test_where_there_is_no_spread_nothing_is_said_of_it() -> None:
    found = spread_scores([], changes(0), (1.0, 1.0), [1])
    assert all(math.isnan(value) for value in vars(found).values())
