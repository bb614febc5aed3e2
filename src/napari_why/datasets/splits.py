"""Splits and folds that keep groups whole and classes even.

scikit-learn's ``StratifiedGroupKFold`` makes folds of equal size only and may leave a class out of
one, so groups are assigned here: greedily, as there, but in random order, and then by moves that
bring every class into every split before they improve the shares.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from napari_why.core.errors import DatasetError, ParameterError
from napari_why.datasets.spellings import SPLITS

# Of the images that are not in the test fold, as in a single split: enough to pick an epoch by.
VALIDATION_SHARE = 0.15
# The usual compromise: each network learns from 80 % of the images, and only five are trained.
DEFAULT_FOLDS = 5
# A smaller gain is rounding, and taking it could move a group to and fro.
SMALLEST_GAIN = 1e-12
# Per class: no deviation of shares costs more, since that is at most 2 in a class.
MISSING_COST = 4.0

Labels = NDArray[np.int64]


def draw_split(
    labels: Labels,
    groups: Labels,
    classes: Sequence[str],
    fractions: Sequence[float],
    seed: int,
) -> list[str]:
    """Draw the split of every image.

    Parameters
    ----------
    labels, groups : ndarray of int, shape (N,)
        Class and group number of every image; a group may hold several classes.
    classes : sequence of str
        Class names, for error messages.
    fractions : three floats
        Shares for train, validation and test, summing to 1.
    seed : int
        Seed of the random order of groups.

    Returns
    -------
    list of str
        ``train``, ``validation`` or ``test`` for every image.

    Raises
    ------
    ParameterError
        The fractions are no shares.
    DatasetError
        A class cannot be in every split.
    """
    shares = np.asarray(fractions, dtype=float)
    if shares.shape != (3,) or (shares < 0).any() or not np.isclose(shares.sum(), 1):
        raise ParameterError(
            f"fractions: found {tuple(fractions)}; expected three shares (train, validation, "
            "test) of at least 0 that sum to 1"
        )
    used = [name for name, share in zip(SPLITS, shares, strict=True) if share > 0]
    assigned = assign_groups(labels, groups, shares[shares > 0], np.random.default_rng(seed))
    _require_every_class(labels, groups, assigned, classes, used)
    return [used[part] for part in assigned]


def draw_folds(
    labels: Labels,
    groups: Labels,
    classes: Sequence[str],
    count: int | None,
    left_out: Labels | None,
    seed: int,
) -> list[list[str]]:
    """Draw the split of every image for every fold of a cross-validation.

    Parameters
    ----------
    labels, groups, classes
        As for :func:`draw_split`.
    count : int or None
        Number of folds; None for one per value of ``left_out``, or 5.
    left_out : ndarray of int, shape (N,), or None
        Number of the larger unit (plate) that is left out as a whole.
    seed : int
        Of the random order of groups.

    Returns
    -------
    list of list of str
        Every image is ``test`` in exactly one fold.

    Raises
    ------
    DatasetError
        There are fewer groups of a class, or fewer larger units, than needed.
    """
    rng = np.random.default_rng(seed)
    units = groups if left_out is None else left_out
    if count is None:
        count = DEFAULT_FOLDS if left_out is None else len(np.unique(units))
    _check_folds(count, groups, units)
    tests = assign_groups(labels, units, np.full(count, 1 / count), rng)
    # A plate that is left out as a whole may well lack a class: that is what it is left out for.
    if left_out is None:
        _require_every_class(
            labels, groups, tests, classes, [f"fold {i + 1}" for i in range(count)]
        )
    return [_draw_fold(labels, groups, classes, tests == fold, rng) for fold in range(count)]


def assign_groups(
    labels: Labels, groups: Labels, shares: NDArray[np.float64], rng: np.random.Generator
) -> Labels:
    """Assign whole groups to parts whose sizes are near ``shares``, class by class.

    When every group holds one class and every class has at least as many groups as there are
    parts, every class is in every part.

    Parameters
    ----------
    labels, groups : ndarray of int, shape (N,)
        Class and group number of every image.
    shares : ndarray, float64, shape (parts,)
        Of every class that each part should have, summing to 1.
    rng : Generator
        Draws the order of equal groups.

    Returns
    -------
    ndarray of int, shape (N,)
        The part of every image.
    """
    names, members = np.unique(groups, return_inverse=True)
    counts = np.zeros((len(names), int(labels.max()) + 1))
    np.add.at(counts, (members, labels), 1)
    # Deviations count relative to the size of the class, or a rare class would not matter.
    counts = counts / np.maximum(counts.sum(axis=0), 1)
    assigned = _fill_greedily(counts, shares, rng)
    return _improve(counts, shares, assigned)[members]


def _fill_greedily(
    counts: NDArray[np.float64], shares: NDArray[np.float64], rng: np.random.Generator
) -> Labels:
    filled = np.zeros((len(shares), counts.shape[1]))
    target = np.tile(shares[:, None], (1, counts.shape[1]))
    assigned = np.zeros(len(counts), dtype=np.int64)
    # In random order: the largest first would leave the small wells to the small splits.
    for group in rng.permutation(len(counts)):
        # How much the squared deviation falls when the group joins each part.
        gain = ((target - filled) * counts[group] * 2 - counts[group] ** 2).sum(axis=1)
        assigned[group] = int(np.argmax(gain))
        filled[assigned[group]] += counts[group]
    return assigned


def _improve(counts: NDArray[np.float64], shares: NDArray[np.float64], assigned: Labels) -> Labels:
    assigned = assigned.copy()
    here = counts > 0
    # Every move lowers the cost, so this ends by itself; the bound keeps huge sets quick.
    for _ in range(len(counts) * len(shares)):
        filled = _sum_parts(counts, assigned, len(shares))
        present = _sum_parts(here.astype(float), assigned, len(shares))
        cost = _cost_moves(counts, filled, present, assigned, shares)
        group, part = np.unravel_index(int(np.argmin(cost)), cost.shape)
        if cost[group, part] > -SMALLEST_GAIN:
            break
        assigned[group] = part
    return assigned


def _sum_parts(values: NDArray[np.float64], assigned: Labels, parts: int) -> NDArray[np.float64]:
    sums = np.zeros((parts, values.shape[1]))
    np.add.at(sums, assigned, values)
    return sums


def _cost_moves(
    counts: NDArray[np.float64],
    filled: NDArray[np.float64],
    present: NDArray[np.float64],
    assigned: Labels,
    shares: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Change of cost for moving each group to each part, shape (groups, parts).

    A class missing from a part costs more than any deviation of the shares can.
    """
    here = (counts > 0).astype(float)
    source = filled[assigned] - shares[assigned, None]
    leave = (counts**2 - 2 * counts * source).sum(axis=1)
    join = counts @ (2 * (filled - shares[:, None])).T + (counts**2).sum(axis=1)[:, None]
    emptied = ((present[assigned] == 1) * here).sum(axis=1)
    found = here @ (present == 0).T.astype(float)
    missing = MISSING_COST * counts.shape[1]
    cost = leave[:, None] + join + missing * (emptied[:, None] - found)
    cost[np.arange(len(counts)), assigned] = 0
    result: NDArray[np.float64] = cost
    return result


def _draw_fold(
    labels: Labels,
    groups: Labels,
    classes: Sequence[str],
    test: NDArray[np.bool_],
    rng: np.random.Generator,
) -> list[str]:
    shares = np.array([1 - VALIDATION_SHARE, VALIDATION_SHARE])
    rest = assign_groups(labels[~test], groups[~test], shares, rng)
    _require_every_class(labels[~test], groups[~test], rest, classes, ["train", "validation"])
    column = np.full(len(labels), "test", dtype=object)
    column[~test] = np.array(["train", "validation"], dtype=object)[rest]
    return [str(name) for name in column]


def _check_folds(count: int, groups: Labels, units: Labels) -> None:
    there = len(np.unique(units))
    if not 2 <= count <= there:
        raise DatasetError(f"folds: found {count} for {there} groups; expected 2 to {there}")
    pairs = np.unique(np.stack([groups, units]), axis=1)
    if pairs.shape[1] > len(np.unique(groups)):
        raise DatasetError(
            "folds: found a group (well) with several values of the column to leave out; expected "
            "every group to have one, or its images would be in training and test"
        )


def _require_every_class(
    labels: Labels, groups: Labels, assigned: Labels, classes: Sequence[str], names: Sequence[str]
) -> None:
    for number, label in enumerate(classes):
        mine = labels == number
        absent = [name for part, name in enumerate(names) if part not in assigned[mine]]
        if absent and mine.any():
            there = len(np.unique(groups[mine]))
            raise DatasetError(
                f"class {label}: found {there} groups ({int(mine.sum())} images), none left for "
                f"{' and '.join(absent)}; expected at least {len(names)} groups of each class; add "
                "images, open the data set with another group column, or leave a split empty"
            )
