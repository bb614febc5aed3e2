"""The comparison must clear a real difference and expose one that positions explain."""

import numpy as np
import pandas as pd

from napari_why.evaluation.comparison import (
    BLOCK_LABELS,
    RANDOM_LABELS,
    TRUE_CLASSES,
    compare_with_nulls,
)


def plate_with_signal(class_effect: float, column_effect: float):
    """Two plates, rows A-D one class and E-H the other, four fields in every well."""
    rng = np.random.default_rng(3)
    rows = [
        {"plate": plate, "well": f"{row}{column:02d}", "field": field}
        for plate in (1, 2)
        for row in "ABCDEFGH"
        for column in range(2, 12)
        for field in range(4)
    ]
    table = pd.DataFrame(rows)
    labels = table["well"].str[0].isin(list("EFGH")).to_numpy().astype(np.int64)
    column = table["well"].str[1:].astype(int).to_numpy()
    features = rng.normal(size=(len(table), 4))
    features[:, 0] += class_effect * labels
    features[:, 1] += column_effect * (column > 6)
    return table, labels, features


def compare(class_effect: float, column_effect: float):
    table, labels, features = plate_with_signal(class_effect, column_effect)
    return compare_with_nulls(
        {"intensity": features}, table, labels, ("plate", "well"), draws=4, seed=1
    )


def accuracy(comparison, labels: str, by: str) -> float:
    rows = comparison.table
    return rows[(rows["labels"] == labels) & (rows["by"] == by)]["accuracy"].item()


def test_a_real_difference_is_not_matched_by_any_null():
    comparison = compare(class_effect=4.0, column_effect=0.5)
    assert comparison.matched_by.empty
    for by in ("plate and well", "plate"):
        assert accuracy(comparison, TRUE_CLASSES, by) > 0.95
        assert 0.35 < accuracy(comparison, RANDOM_LABELS, by) < 0.65


def test_a_difference_that_positions_explain_as_well_is_exposed():
    comparison = compare(class_effect=1.5, column_effect=2.0)
    assert accuracy(comparison, TRUE_CLASSES, "plate and well") > 0.7
    assert BLOCK_LABELS.format(axis="column") in set(comparison.matched_by["labels"])
    assert RANDOM_LABELS not in set(comparison.matched_by["labels"])


def test_a_class_in_one_group_gives_no_comparison_rather_than_a_wrong_one():
    table = pd.DataFrame({"well": ["A01"] * 4 + ["B01"] * 4})
    labels = np.repeat([0, 1], 4)
    comparison = compare_with_nulls({"intensity": np.ones((8, 2))}, table, labels, ("well",))
    assert comparison.table.empty
    assert comparison.matched_by.empty


def test_always_naming_the_larger_class_is_no_difference_between_the_classes():
    """Four wells in five are of one class: noise is told right in 80 % of images, and means nothing."""
    rng = np.random.default_rng(0)
    wells = [f"{row}{column:02d}" for row in "ABCDEF" for column in range(1, 11)]
    treated = dict(zip(wells, rng.permutation(len(wells)) < len(wells) // 5, strict=True))
    table = pd.DataFrame({"well": np.repeat(wells, 3)})
    labels = table["well"].map(treated).to_numpy().astype(np.int64)
    features = {"intensity": rng.normal(size=(len(table), 3))}
    comparison = compare_with_nulls(features, table, labels, ("well",), draws=2)
    assert 0.3 < accuracy(comparison, TRUE_CLASSES, "well") < 0.65
    assert not comparison.table["told_apart"].any()


def test_cancelling_keeps_what_is_done():
    table, labels, features = plate_with_signal(1.0, 1.0)
    calls = iter([False, False] + [True] * 1000)
    comparison = compare_with_nulls(
        {"intensity": features}, table, labels, ("plate", "well"), cancelled=lambda: next(calls)
    )
    assert 1 <= len(comparison.table) < 6
