"""Predictions against labels that are dealt out anew, well by well and plate by plate."""

import numpy as np
import pytest

from napari_why.training.class_evidence import confidence_intervals, permutation_test

WELLS, PER_WELL = 16, 4
GROUPS = np.repeat(np.arange(WELLS), PER_WELL)
LABELS = np.repeat(np.arange(WELLS) % 2, PER_WELL)
ONE_PLATE = np.zeros(len(LABELS), dtype=np.int64)


@pytest.fixture(autouse=True)
def fewer_permutations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari_why.training.class_evidence.PERMUTATIONS", 199)


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


@pytest.mark.parametrize("repetitions", [1, 4])
@pytest.mark.parametrize("wells", [20, 60])
@pytest.mark.parametrize("likeness", [0.0, 0.15])
def test_intervals_hold_the_accuracy_as_often_as_they_say(
    repetitions: int, wells: int, likeness: float
) -> None:
    """Images that are right more or less often, those of a well alike: the truth is 0.6."""
    rng = np.random.default_rng(0)
    labels, groups = np.repeat(np.arange(wells) % 2, 5), np.repeat(np.arange(wells), 5)
    one_plate = np.zeros(len(labels), dtype=np.int64)
    tried, above, below = 300, 0, 0
    for _ in range(tried):
        often = 0.6 + np.repeat(rng.choice([-likeness, likeness], wells), 5)
        often = often + rng.choice([-0.2, 0.2], len(labels))
        right = rng.random((repetitions, 1, len(labels))) < often
        found = confidence_intervals(np.where(right, labels, 1 - labels), labels, groups, one_plate)
        above += found.high[0, 0] < 0.6
        below += found.low[0, 0] > 0.6
    # 2.5 % on either side are due; 5 % of 300 are eight more, three standard deviations
    assert above <= 0.05 * tried
    assert below <= 0.05 * tried


def test_many_questions_are_corrected_for() -> None:
    """Of twelve classes one looks striking in every second set; of all sets few may be significant."""
    rng = np.random.default_rng(0)
    labels, groups = np.repeat(np.arange(48) % 12, 3), np.repeat(np.arange(48), 3)
    predicted = rng.integers(0, 12, (60, len(labels)))
    found = permutation_test(
        predicted, labels, groups, np.zeros(len(labels), dtype=np.int64), seed=0
    )
    assert (found.family_p < 0.05).mean() <= 0.12  # 5 % and two and a half deviations
    assert np.all(found.family_p <= np.nanmin(found.class_p_values, axis=1) + 1e-12)


def test_each_class_is_judged_against_the_rest() -> None:
    labels, groups = np.repeat(np.arange(30) % 3, 4), np.repeat(np.arange(30), 4)
    predicted = np.where(labels == 0, 0, np.random.default_rng(0).integers(1, 3, len(labels)))
    found = permutation_test(
        predicted[None], labels, groups, np.zeros(len(labels), dtype=np.int64), seed=0
    )
    assert found.class_accuracies[0, 0] == 1
    # of a class that is never taken for 0, half of its recall and what the others are taken for
    for k in (1, 2):
        recall = (predicted[labels == k] == k).mean()
        others = [(predicted[labels == j] != k).mean() for j in range(3) if j != k]
        assert found.class_accuracies[0, k] == pytest.approx((recall + np.mean(others)) / 2)
    assert found.class_p_values[0, 0] == 1 / 200
    by_one = permutation_test(
        np.stack([predicted, predicted])[:, None], labels, groups, 0 * labels, seed=0
    )
    assert by_one.accuracies == pytest.approx(found.accuracies)  # repetitions that agree


@pytest.mark.parametrize("at_once", [1, 7])
def test_labels_counted_together_are_those_counted_one_by_one(
    monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    """On three plates, of wells with one class and of wells with several."""
    rng = np.random.default_rng(2)
    plates = GROUPS % 3
    labels = np.where(GROUPS < 12, LABELS, rng.integers(0, 3, len(LABELS)))
    predicted = np.where(rng.random((2, len(labels))) < 0.6, labels, 2)
    together = permutation_test(predicted, labels, GROUPS, plates, seed=0)
    monkeypatch.setattr("napari_why.training.class_evidence.DEALT_AT_ONCE", at_once * len(labels))
    parts = permutation_test(predicted, labels, GROUPS, plates, seed=0)
    for name, value in vars(together).items():
        np.testing.assert_array_equal(getattr(parts, name), value, err_msg=name)
