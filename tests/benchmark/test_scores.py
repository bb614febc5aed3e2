import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_why.benchmark.scores import change_scores, standardise


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
