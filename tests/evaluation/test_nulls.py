"""Labels without meaning: what they hold apart and what they must not."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_why.evaluation.comparison import (
    position_block_labels,
    random_group_labels,
    well_position,
)


@pytest.mark.parametrize(
    ("well", "position"),
    [
        ("A01", (1, 1)),
        ("h12", (8, 12)),
        ("AF48", (32, 48)),
        ("r02c11", (2, 11)),
        (" B-7 ", (2, 7)),
        ("well 3", None),
        ("", None),
        ("A123", None),
    ],
)
def test_a_wells_name_tells_its_position(well, position):
    assert well_position(well) == position


@given(st.integers(2, 40), st.integers(2, 4), st.integers(0, 99))
def test_random_labels_keep_groups_whole_and_classes_even(groups, classes, seed):
    column = pd.Series([f"w{index // 3}" for index in range(3 * groups)])
    labels = random_group_labels(column, classes, np.random.default_rng(seed))
    per_group = pd.Series(labels).groupby(column)
    assert per_group.nunique().max() == 1
    counts = np.bincount(per_group.first(), minlength=classes)
    assert counts.max() - counts.min() <= 1


def plate(rows: str, columns: range) -> pd.DataFrame:
    return pd.DataFrame({"well": [f"{row}{column:02d}" for row in rows for column in columns]})


def test_blocks_are_balanced_within_every_true_class():
    table = plate("ABCDEF", range(1, 9))
    truth = table["well"].str[0].isin(["A", "B", "C"]).to_numpy().astype(int)
    blocks = position_block_labels(table, truth, "column")
    assert blocks is not None
    for label in (0, 1):
        assert blocks[truth == label].mean() == 0.5
    column = table["well"].str[1:].astype(int).to_numpy()
    assert set(blocks[column <= 4]) == {0}
    assert set(blocks[column >= 5]) == {1}


def test_a_position_has_the_same_block_on_every_plate():
    table = pd.concat([plate("AB", range(1, 7))] * 2, ignore_index=True)
    truth = table["well"].str.startswith("A").to_numpy().astype(int)
    blocks = position_block_labels(table, truth, "row")
    assert blocks is not None
    assert (blocks[:12] == blocks[12:]).all()


def test_without_positions_there_are_no_blocks():
    truth = np.array([0, 0, 1, 1])
    assert position_block_labels(pd.DataFrame({"well": list("wxyz")}), truth, "row") is None
    assert position_block_labels(pd.DataFrame({"path": list("wxyz")}), truth, "row") is None


def test_too_few_wells_for_blocks():
    table = pd.DataFrame({"well": ["A01", "A01", "B01", "B02"]})
    assert position_block_labels(table, np.array([0, 0, 1, 1]), "row") is None
