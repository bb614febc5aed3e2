import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from napari_why.core.errors import DatasetError, ParameterError
from napari_why.datasets.splits import draw_folds, draw_split

Rows = tuple[NDArray[np.int64], NDArray[np.int64], tuple[str, ...]]
CLASSES = ("a", "b", "c")


@st.composite
def wells_of_one_class(draw: st.DrawFn) -> Rows:
    """Make wells of 1 to 9 images of one class each, at least three per class."""
    wells = [
        (number, draw(st.integers(1, 9)))
        for number in range(draw(st.integers(2, 3)))
        for _ in range(draw(st.integers(3, 12)))
    ]
    labels = np.repeat([label for label, _ in wells], [size for _, size in wells])
    groups = np.repeat(np.arange(len(wells)), [size for _, size in wells])
    return labels, groups, CLASSES[: labels.max() + 1]


@st.composite
def wells_of_several_classes(draw: st.DrawFn) -> Rows:
    """Make 9 to 20 wells that hold every class in random numbers, at least one of each."""
    counts = draw(st.lists(st.tuples(*[st.integers(1, 4)] * 3), min_size=9, max_size=20))
    labels = np.concatenate([np.repeat(np.arange(3), count) for count in counts])
    groups = np.repeat(np.arange(len(counts)), [sum(count) for count in counts])
    return labels, groups, CLASSES


def check_whole_groups(groups: NDArray[np.int64], names: list[str]) -> None:
    pairs = set(zip(groups.tolist(), names, strict=True))
    assert len(pairs) == len(set(groups.tolist())), "a group is in two splits"


@given(rows=st.one_of(wells_of_one_class(), wells_of_several_classes()), seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_groups_stay_whole_and_every_class_is_in_every_split(rows: Rows, seed: int) -> None:
    labels, groups, classes = rows
    names = draw_split(labels, groups, classes, (0.6, 0.2, 0.2), seed)
    assert len(names) == len(labels)
    check_whole_groups(groups, names)
    for number in range(len(classes)):
        mine = {name for name, label in zip(names, labels, strict=True) if label == number}
        assert mine == {"train", "validation", "test"}
    assert names == draw_split(labels, groups, classes, (0.6, 0.2, 0.2), seed)


@given(rows=wells_of_one_class(), seed=st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_in_folds_every_image_is_tested_once(rows: Rows, seed: int) -> None:
    labels, groups, classes = rows
    folds = draw_folds(labels, groups, classes, 3, None, seed)
    tested = np.array([[name == "test" for name in fold] for fold in folds])
    np.testing.assert_array_equal(tested.sum(axis=0), 1)
    for fold in folds:
        check_whole_groups(groups, fold)
        for number in range(len(classes)):
            mine = {name for name, label in zip(fold, labels, strict=True) if label == number}
            assert mine == {"train", "validation", "test"}


def test_shares_are_near_the_fractions_for_few_wells() -> None:
    sizes = [7, 8, 9, 9, 9, 9, 9, 9, 9, 9, 8, 9, 7, 9, 9] * 2
    labels = np.repeat(np.repeat([0, 1], 15), sizes)
    groups = np.repeat(np.arange(30), sizes)
    for seed in range(5):
        names = np.array(draw_split(labels, groups, CLASSES[:2], (0.7, 0.15, 0.15), seed))
        for number in (0, 1):
            mine = names[labels == number]
            assert abs((mine == "train").mean() - 0.7) < 0.05
            assert abs((mine == "test").mean() - 0.15) < 0.05


def test_small_wells_do_not_gather_in_the_small_splits() -> None:
    sizes = np.tile([1, 5], 60)
    labels, groups = np.repeat(np.zeros(120, int), sizes), np.repeat(np.arange(120), sizes)
    ratios = []
    for seed in range(10):
        names = np.array(draw_split(labels, groups, ("a",), (0.7, 0.15, 0.15), seed))
        ratios.append((names == "test").sum() / len(set(groups[names == "test"])))
    assert 2.4 < np.mean(ratios) < 3.6


def test_seeds_give_different_splits() -> None:
    labels, groups = np.tile([0, 1], 20), np.arange(40)
    drawn = {tuple(draw_split(labels, groups, "ab", (0.5, 0.25, 0.25), s)) for s in range(5)}
    assert len(drawn) == 5


def test_a_split_may_stay_empty() -> None:
    labels, groups = np.array([0, 0, 1, 1]), np.arange(4)
    assert set(draw_split(labels, groups, "ab", (0.5, 0, 0.5), 0)) == {"train", "test"}


@pytest.mark.parametrize("fractions", [(0.5, 0.5), (0.5, 0.2, 0.2), (1.2, -0.1, -0.1)])
def test_fractions_that_are_no_shares(fractions: tuple[float, ...]) -> None:
    with pytest.raises(ParameterError, match="expected three shares"):
        draw_split(np.array([0, 1]), np.array([0, 1]), "ab", fractions, 0)


def test_leaving_out_a_whole_plate() -> None:
    plates = np.repeat([0, 1, 2], 12)
    labels, groups = np.tile([0, 1], 18), np.repeat(np.arange(18), 2)
    labels = np.repeat(np.tile([0, 1], 9), 2)
    folds = draw_folds(labels, groups, ("a", "b"), None, plates, 0)
    assert len(folds) == 3
    for fold in folds:
        tested = {p for p, name in zip(plates.tolist(), fold, strict=True) if name == "test"}
        assert len(tested) == 1
        assert fold.count("test") == 12
        check_whole_groups(groups, fold)


def test_a_group_across_the_units_left_out_is_refused() -> None:
    labels, groups, plates = np.tile([0, 1], 6), np.arange(12) // 2, np.arange(12) % 2
    with pytest.raises(DatasetError, match="several values of the column to leave out"):
        draw_folds(labels, groups, ("a", "b"), None, plates, 0)


def test_more_folds_than_groups() -> None:
    with pytest.raises(DatasetError, match="found 5 for 4 groups"):
        draw_folds(np.array([0, 0, 1, 1]), np.arange(4), ("a", "b"), 5, None, 0)
