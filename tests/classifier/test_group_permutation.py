"""Predictions against labels that are dealt out anew, well by well and plate by plate."""

import numpy as np
import pytest

from napari_why.fitting.lock_test import permutation_test

WELLS, PER_WELL = 16, 4
GROUPS = np.repeat(np.arange(WELLS), PER_WELL)
LABELS = np.repeat(np.arange(WELLS) % 2, PER_WELL)
ONE_PLATE = np.zeros(len(LABELS), dtype=np.int64)


@pytest.fixture(autouse=True)
def fewer_permutations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari_why.fitting.lock_test.PERMUTATIONS", 199)


def test_each_channel_is_judged_by_itself() -> None:
    wrong = np.random.default_rng(0).integers(0, 2, len(LABELS))
    found = permutation_test(np.stack([LABELS, wrong]), LABELS, GROUPS, ONE_PLATE, seed=0)
    assert found.accuracies[0] == 1
    assert found.accuracies[1] == pytest.approx(0.5, abs=0.15)
    assert found.chance == pytest.approx([0.5, 0.5], abs=0.03)
    assert found.p_values[0] == found.smallest_p == 1 / 200
    assert found.p_values[1] > 0.05


def test_images_of_a_well_are_not_independent() -> None:
    """A network that recognises wells looks significant image by image, and is not."""
    rng = np.random.default_rng(1)
    by_well = rng.integers(0, 2, WELLS)
    by_well[:5] = LABELS[::PER_WELL][:5]  # five wells more right than chance has
    predicted = np.repeat(by_well, PER_WELL)[None]
    as_wells = permutation_test(predicted, LABELS, GROUPS, ONE_PLATE, seed=0)
    as_images = permutation_test(predicted, LABELS, np.arange(len(LABELS)), ONE_PLATE, seed=0)
    assert as_wells.accuracies == pytest.approx(as_images.accuracies)
    assert as_wells.p_values[0] > 3 * as_images.p_values[0]


def test_what_tells_plates_apart_is_no_evidence_for_a_class() -> None:
    plates = (GROUPS >= WELLS // 2).astype(np.int64)
    labels = plates.copy()
    for well in (0, 1, 8, 9):  # some wells of the other class on each plate
        labels[well == GROUPS] = 1 - plates[well == GROUPS]
    predicted = plates[None]
    without = permutation_test(predicted, labels, GROUPS, ONE_PLATE, seed=0)
    assert without.p_values[0] < 0.1
    within = permutation_test(predicted, labels, GROUPS, plates, seed=0)
    assert within.accuracies[0] == pytest.approx(0.5)
    assert within.p_values[0] == 1


def test_few_wells_cannot_tell_anything() -> None:
    few = GROUPS < 4
    found = permutation_test(LABELS[None, few], LABELS[few], GROUPS[few], ONE_PLATE[few], seed=0)
    assert found.accuracies[0] == 1
    assert found.smallest_p > 0.1
    assert found.p_values[0] > 0.1


def test_a_well_of_many_images_counts_as_one() -> None:
    groups = np.array([0] * 50 + [1, 2, 3, 4, 5])
    labels = np.array([0] * 50 + [1, 0, 1, 0, 1])
    predicted = np.array([1] * 50 + [1, 0, 1, 0, 1])[None]
    found = permutation_test(predicted, labels, groups, np.zeros(55, dtype=np.int64), seed=0)
    assert found.accuracies[0] == pytest.approx((2 / 3 + 1) / 2)


def test_images_of_a_well_of_both_classes_are_dealt_out_singly() -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat([0, 1], 20)
    labels = rng.permutation(np.repeat([0, 1], 20))
    found = permutation_test(labels[None], labels, groups, np.zeros(40, dtype=np.int64), seed=0)
    assert found.p_values[0] == 1 / 200


def test_predictions_that_know_nothing_are_rarely_significant() -> None:
    rng = np.random.default_rng(0)
    predicted = np.repeat(rng.integers(0, 2, (40, WELLS)), PER_WELL, axis=1)
    found = permutation_test(predicted, LABELS, GROUPS, ONE_PLATE, seed=0)
    assert (found.p_values < 0.05).mean() <= 0.1
    assert 0.3 < np.median(found.p_values) < 0.9


def test_the_seed_decides() -> None:
    wrong = np.random.default_rng(0).integers(0, 2, len(LABELS))[None]
    one, again = (permutation_test(wrong, LABELS, GROUPS, ONE_PLATE, seed=4) for _ in range(2))
    assert one.p_values == again.p_values
