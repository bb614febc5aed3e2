"""Metrics, and what they say where they are not defined."""

import json

import numpy as np
import pandas as pd
import pytest

from napari_why.core.errors import MismatchError
from napari_why.training import classification_metrics, group_metrics, metrics_by
from napari_why.training.metrics import describe_accuracy, pairwise_z_prime, z_prime

TWO = ("diseased", "treated")
THREE = ("diseased", "healthy", "treated")


def binary(*second: float) -> list[list[float]]:
    return [[1 - p, p] for p in second]


def test_a_good_classifier_of_two_classes():
    metrics = classification_metrics([0, 0, 1, 1], binary(0.0, 0.1, 0.9, 1.0), TWO)
    assert metrics["accuracy"] == metrics["f1"] == metrics["roc_auc"] == 1.0
    # 1 - 3 (sd + sd) / |0.05 - 0.95| with sd = 0.1 / sqrt 2
    assert metrics["z_prime"] == pytest.approx(1 - 6 * 0.1 / np.sqrt(2) / 0.9)
    assert metrics["confusion_matrix"] == [[2, 0], [0, 2]]
    assert metrics["notes"] == []


def test_rows_of_the_confusion_matrix_are_true_classes():
    metrics = classification_metrics(["diseased"] * 3 + ["treated"], binary(0, 1, 1, 1), TWO)
    assert metrics["confusion_matrix"] == [[1, 2], [0, 1]]
    assert metrics["f1_by_class"] == {"diseased": 0.5, "treated": 0.5}


def test_z_prime_of_three_classes_is_pairwise_and_the_worst_counts():
    probabilities = np.array(
        [
            [0.90, 0.05, 0.05],
            [0.80, 0.10, 0.10],
            [0.10, 0.80, 0.10],
            [0.20, 0.70, 0.10],
            [0.10, 0.40, 0.50],
            [0.10, 0.30, 0.60],
        ]
    )
    metrics = classification_metrics([0, 0, 1, 1, 2, 2], probabilities, THREE)
    pairs = {tuple(pair["classes"]): pair["z_prime"] for pair in metrics["z_prime_pairs"]}
    assert set(pairs) == {
        ("diseased", "healthy"),
        ("diseased", "treated"),
        ("healthy", "treated"),
    }
    # the pair's own share: P(healthy) / (P(diseased) + P(healthy)) of those two classes' images
    first = np.array([0.05 / 0.95, 0.10 / 0.90])
    second = np.array([0.80 / 0.90, 0.70 / 0.90])
    assert pairs["diseased", "healthy"] == pytest.approx(z_prime(first, second))
    assert metrics["z_prime"] == min(pairs.values())
    assert metrics["roc_auc"] == 1.0


def test_z_prime_does_not_depend_on_the_order_of_the_classes():
    labels = np.array([0, 0, 1, 1])
    probabilities = np.array(binary(0.1, 0.3, 0.6, 0.9))
    forth = pairwise_z_prime(labels, probabilities, TWO)[0].value
    back = pairwise_z_prime(1 - labels, probabilities[:, ::-1], TWO[::-1])[0].value
    assert forth == pytest.approx(back)


@pytest.mark.parametrize(
    ("labels", "second", "undefined", "words"),
    [
        ([0, 0, 0], (0.1, 0.2, 0.6), ("z_prime", "roc_auc"), "treated has 0 of the 2 images"),
        ([0], (0.1,), ("z_prime", "roc_auc"), "diseased has 1 of the 2 images"),
        ([0, 0, 1], (0.1, 0.2, 0.6), ("z_prime",), "treated has 1 of the 2 images"),
        ([0, 0, 1, 1], (0.5, 0.5, 0.5, 0.5), ("z_prime",), "same mean probability"),
    ],
)
def test_what_is_not_defined_is_none_and_said(labels, second, undefined, words):
    metrics = classification_metrics(labels, binary(*second), TWO)
    assert {name for name in ("z_prime", "roc_auc") if metrics[name] is None} == set(undefined)
    assert words in " ".join(metrics["notes"])
    json.dumps(metrics, allow_nan=False)


def test_f1_of_a_class_that_neither_is_nor_is_predicted_is_not_defined():
    metrics = classification_metrics([0, 1], [[1, 0, 0], [0, 1, 0]], THREE)
    assert metrics["f1_by_class"]["treated"] is None
    assert metrics["f1"] == 1.0


def test_balanced_accuracy_and_the_largest_class_stand_beside_accuracy():
    """Nine of ten are of one class, and it is always named: right for 90 %, and nothing is learnt."""
    metrics = classification_metrics([0] * 9 + [1], binary(*[0.2] * 10), TWO)
    assert metrics["accuracy"] == metrics["majority_accuracy"] == 0.9
    assert metrics["balanced_accuracy"] == 0.5
    assert metrics["majority_class"] == "diseased"
    words = "accuracy 90.0% (balanced 50.0%; always naming diseased 90.0%)"
    assert describe_accuracy(metrics) == words
    earlier = ("accuracy", "f1_by_class", "confusion_matrix")
    assert describe_accuracy({name: metrics[name] for name in earlier}) == words


def test_balanced_accuracy_is_the_mean_over_the_classes_that_there_are():
    scores = np.eye(3)[[0, 0, 1, 1, 2]]
    metrics = classification_metrics([0, 0, 0, 0, 1], scores, THREE)
    # half of the diseased, none of the healthy, and there are no treated
    assert metrics["balanced_accuracy"] == pytest.approx((0.5 + 0) / 2)


def test_z_prime_of_the_log_odds_is_not_flattered_by_a_probability_that_saturates():
    odds = np.array([-30.0, -8, -12, 25, 9, 10])
    second = 1 / (1 + np.exp(-odds))
    metrics = classification_metrics([0, 0, 0, 1, 1, 1], binary(*second), TWO)
    assert metrics["z_prime"] > 0.99
    expected = z_prime(odds[:3], odds[3:])
    assert metrics["z_prime_log_odds"] == pytest.approx(expected, abs=1e-6)
    assert metrics["z_prime_log_odds"] < -0.9
    assert metrics["z_prime_pairs"][0]["z_prime_log_odds"] == metrics["z_prime_log_odds"]
    # as far as float32 goes: a probability of exactly 0 has no logarithm
    json.dumps(classification_metrics([0, 0, 1, 1], binary(0, 0, 1, 0.9), TWO), allow_nan=False)


def test_a_pair_without_any_probability_is_undecided():
    probabilities = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]] * 2)
    metrics = classification_metrics([0, 1, 0, 1], probabilities, THREE)
    json.dumps(metrics, allow_nan=False)
    assert metrics["z_prime_pairs"][0]["z_prime"] == 1.0


@pytest.mark.parametrize(
    ("labels", "probabilities"),
    [
        ([], np.zeros((0, 2))),
        ([0, 1], np.zeros((3, 2))),
        ([0], [[0.5, 0.3, 0.2]]),
        ([0], [[np.nan, 1.0]]),
        ([2], [[0.5, 0.5]]),
        (["cured"], [[0.5, 0.5]]),
    ],
)
def test_what_does_not_fit_is_refused(labels, probabilities):
    with pytest.raises(MismatchError, match="found"):
        classification_metrics(labels, probabilities, TWO)


def test_per_well_the_probabilities_are_averaged():
    groups = pd.DataFrame({"plate": [1, 1, 1, 2], "well": ["A1", "A1", "B1", "A1"]})
    table = metrics_by([0, 0, 1, 1], binary(0.2, 0.6, 0.9, 0.4), TWO, groups)
    assert table[["plate", "well", "label", "images"]].to_numpy().tolist() == [
        [1, "A1", "diseased", 2],
        [1, "B1", "treated", 1],
        [2, "A1", "treated", 1],
    ]
    assert table["probability of treated"].tolist() == pytest.approx([0.4, 0.9, 0.4])
    assert table["predicted"].tolist() == ["diseased", "treated", "diseased"]
    assert table["correct"].tolist() == [True, True, False]
    assert table["accuracy"].tolist() == [0.5, 1.0, 0.0]
    metrics = group_metrics(table, TWO)
    assert (metrics["groups"], metrics["accuracy"]) == (3, pytest.approx(2 / 3))


def test_a_well_with_images_of_two_classes_makes_two_rows():
    table = metrics_by([0, 1], binary(0.2, 0.6), TWO, pd.Series(["A1", "A1"], name="well"))
    assert table["label"].tolist() == ["diseased", "treated"]
    with pytest.raises(MismatchError, match="found 1 rows"):
        metrics_by([0, 1], binary(0.2, 0.6), TWO, pd.Series(["A1"], name="well"))
