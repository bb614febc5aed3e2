"""Whether held-out images show that classes are told apart: of all classes, and of each pair."""

import json

import numpy as np
import pytest
from scipy.stats import binomtest

from napari_why.model.chance import at_chance, balanced_accuracy, judge_classes, judge_pair
from napari_why.training.metrics import group_metrics, metrics_by

NAMES = ("healthy", "sham", "treated")


def split_of(matrix):
    return {"images": {"confusion_matrix": np.asarray(matrix).tolist()}, "groups": None}


def test_a_class_identical_to_another_is_found_whatever_the_third() -> None:
    metrics = {"test": split_of([[15, 15, 0], [15, 15, 0], [0, 0, 30]])}
    assert judge_classes(metrics).state == "told apart"  # two thirds are right
    assert at_chance(metrics) is None
    pair = judge_pair(metrics, NAMES, "healthy", "sham")
    assert (pair.state, pair.right, pair.counted, pair.chance) == ("chance", 30, 60, 0.5)
    assert judge_pair(metrics, NAMES, "sham", "healthy").state == "chance"
    assert judge_pair(metrics, NAMES, "healthy", "treated").state == "told apart"


def test_images_predicted_as_a_third_class_are_left_out_and_told() -> None:
    metrics = {"test": split_of([[10, 10, 10], [10, 10, 10], [0, 0, 30]])}
    pair = judge_pair(metrics, NAMES, "healthy", "sham")
    assert (pair.right, pair.counted, pair.apart) == (20, 40, 20)
    assert "20 predicted as a third class left out" in pair.sentence
    lost = judge_pair({"test": split_of([[0, 0, 9], [0, 0, 9], [0, 0, 9]])}, NAMES, *NAMES[:2])
    assert (lost.state, lost.interval) == ("not known", None)
    assert "18 test images were predicted as a third class" in lost.sentence


@pytest.mark.parametrize(("split", "other"), [("validation", "test"), ("test", "validation")])
def test_a_split_of_one_class_is_not_judged(split, other) -> None:
    """Of 29 of 32 right, where the other split cannot tell, 'at chance' would be false."""
    metrics = {split: split_of([[24, 0], [0, 0]]), other: split_of([[15, 1], [2, 14]])}
    assert at_chance(metrics) is None
    pair = judge_pair(metrics, "pq", "p", "q")
    assert (pair.state, pair.split, pair.counted) == ("told apart", other, 32)
    alone = judge_pair({split: metrics[split]}, "pq", "p", "q")
    assert alone.state == "not known"
    assert "not of both classes" in alone.sentence


def test_test_images_are_asked_before_validation_images() -> None:
    metrics = {"validation": split_of([[30, 0], [0, 30]]), "test": split_of([[15, 15], [14, 16]])}
    assert judge_classes(metrics).split == "test"
    assert "31 of 60 test images right" in str(at_chance(metrics))


@pytest.mark.parametrize("validation", [[[1, 6], [3, 4]], [[7, 0], [0, 7]], [[5, 2], [3, 4]]])
def test_luck_on_the_test_images_is_turned_by_validation_images(validation) -> None:
    """Of 12 of 14 test wells right nothing is shown where with validation wells it is half."""
    metrics = {"test": split_of([[5, 2], [0, 7]]), "validation": split_of(validation)}
    pair = judge_pair(metrics, "pq", "p", "q")
    right = 12 + validation[0][0] + validation[1][1]
    if right > 20:
        assert (pair.state, pair.split, pair.right) == ("told apart", "test", 12)
    else:
        assert pair.state in ("too few", "chance")
        assert (pair.split, pair.right, pair.counted) == ("test and validation", right, 28)
        assert judge_classes(metrics).state == pair.state


@pytest.mark.parametrize("per_class", [1, 2, 5, 8])
def test_of_few_images_the_interval_is_told(per_class) -> None:
    half = per_class // 2
    matrix = [[per_class - half, half], [half, per_class - half]]
    found = judge_classes({"test": split_of(matrix)})
    assert found.state == "too few"
    assert f"{2 * (per_class - half)} of {2 * per_class} test images right" in found.sentence
    assert "95 % interval" in found.sentence
    assert "chance 50 %" in found.sentence


def test_even_all_right_is_too_few_of_three_a_class_but_not_of_four() -> None:
    states = [judge_classes({"test": split_of(np.eye(2, dtype=int) * n)}).state for n in (3, 4)]
    assert states == ["too few", "told apart"]


def test_a_large_class_does_not_hide_that_the_small_one_is_never_found() -> None:
    found = judge_classes({"test": split_of([[190, 0], [20, 0]])})
    assert found.right / found.counted > 0.9
    assert (found.state, found.accuracy) == ("chance", 0.5)
    # right in a tenth more than chance on very many is shown, however small it is
    assert judge_classes({"test": split_of([[550, 450], [450, 550]])}).state == "told apart"


@pytest.mark.parametrize(
    ("matrix", "state"),
    [
        ([[1, 29], [28, 2]], "below chance"),
        ([[0, 5], [5, 0]], "below chance"),
        ([[450, 550], [550, 450]], "below chance"),
        ([[0, 3], [3, 0]], "too few"),
        ([[0, 30], [0, 30]], "chance"),
        ([[12, 18], [17, 13]], "chance"),
    ],
)
@pytest.mark.parametrize("validation", [None, [[30, 0], [0, 30]]])
def test_reliably_wrong_is_not_at_chance(matrix, state, validation) -> None:
    """And validation images, which chose the epoch, do not make it right."""
    metrics = {"test": split_of(matrix)}
    if validation and state == "below chance":
        metrics["validation"] = split_of(validation)
    for found in (judge_pair(metrics, "pq", "p", "q"), judge_classes(metrics, "pq")):
        assert found.state == state
        assert found.says_nothing is (state != "too few")
        for text in (found.short, found.sentence):
            assert ("below chance" in text) == ("exchanged?" in text) == (state == "below chance")
            assert ("at chance" in text) == (state == "chance")
    assert at_chance(metrics) == judge_classes(metrics).sentence
    # of three classes, the pair alone may be exchanged
    three = {"test": split_of([[*matrix[0], 0], [*matrix[1], 0], [0, 0, 30]])}
    assert judge_pair(three, NAMES, "healthy", "sham").state == state


@pytest.mark.parametrize("metrics", [{}, {"test": None}, {"validation": None, "test": {}}])
def test_without_metrics_it_is_not_known(metrics) -> None:
    assert judge_pair(metrics, "pq", "p", "q").state == "not known"
    assert "no metrics of held-out images" in str(at_chance(metrics))


def measured(labels, probabilities, wells, classes):
    wells = {"plate": ["1"] * len(labels), "well": wells}
    import pandas as pd

    table = metrics_by(labels, probabilities, classes, pd.DataFrame(wells))
    plain = {
        "images": {"confusion_matrix": [[0] * len(classes)] * len(classes)},
        "groups": group_metrics(table, classes),
        "by_group": table.to_dict("records"),
    }
    return json.loads(json.dumps(plain))  # as it comes back from a file


def test_wells_count_and_not_their_images() -> None:
    """Four wells of fifty images that are alike: 200 images right show no more than four wells."""
    labels = np.repeat([0, 0, 1, 1], 50)
    found = measured(labels, np.eye(2)[labels], np.repeat(list("abcd"), 50), ("p", "q"))
    judged = judge_pair({"test": found}, ("p", "q"), "p", "q")
    assert (judged.state, judged.unit, judged.counted) == ("too few", "wells", 4)
    assert judge_classes({"test": found}).counted == 4


def test_wells_are_compared_within_the_pair() -> None:
    """Most of the probability goes to a third class, which has no say between these two."""
    labels = np.repeat([0, 1], 12)
    probabilities = np.where(labels[:, None] == [0, 1, 2], 0.3, 0.1)
    probabilities[:, 2] = 0.6
    wells = [f"w{row}" for row in range(24)]
    judged = judge_pair({"test": measured(labels, probabilities, wells, NAMES)}, NAMES, *NAMES[:2])
    assert (judged.state, judged.right, judged.counted) == ("told apart", 24, 24)
    undecided = np.tile([0.2, 0.2, 0.6], (24, 1))
    judged = judge_pair({"test": measured(labels, undecided, wells, NAMES)}, NAMES, *NAMES[:2])
    assert judged.right == 0


def test_the_interval_covers_what_it_says() -> None:
    """Of draws of chance, one in forty at most may seem to be told apart."""
    random = np.random.default_rng(0)
    for counted in ([8, 8], [30, 10], [12, 12, 12]):
        chance = 1 / len(counted)
        right = random.binomial(counted, chance, (400, len(counted)))
        above = [balanced_accuracy(row, counted)[1][0] > chance for row in right]
        assert np.mean(above) < 0.05


@pytest.mark.parametrize(
    ("right", "counted"), [(0, 1), (1, 1), (3, 7), (0, 40), (39, 40), (150, 300)]
)
def test_the_interval_of_one_class_is_that_of_scipy(right: int, counted: int) -> None:
    exact = binomtest(right, counted).proportion_ci(0.95, method="exact")
    share, (low, high) = balanced_accuracy([right], [counted])
    assert share == right / counted
    assert (low, high) == pytest.approx((exact.low, exact.high), abs=1e-9)
