"""A permutation test of predictions that respects groups (wells) and plates."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PERMUTATIONS = 999

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class PermutationTest:
    """How predictions compare with those for labels that were dealt out anew.

    Parameters
    ----------
    accuracies : ndarray, shape (C,)
        Balanced accuracy of every row of predictions: the mean of the classes' recalls within each
        stratum that has two classes or more, averaged over these in proportion to their groups.
        Every group counts the same, whatever its number of images.
    chance : ndarray, shape (C,)
        Its mean over the permutations.
    p_values : ndarray, shape (C,)
        Share of the permutations (the real labels among them) with at least that accuracy.
    smallest_p : float
        What perfect predictions would get; with few groups it is large.
    """

    accuracies: NDArray[np.float64]
    chance: NDArray[np.float64]
    p_values: NDArray[np.float64]
    smallest_p: float


def permutation_test(
    predicted: Integers, labels: Integers, groups: Integers, strata: Integers, *, seed: int
) -> PermutationTest:
    """Compare predictions with labels that are dealt out anew within every stratum.

    Images of a group are not independent: a group of one class gets one label as a whole. In a
    group of several classes the labels are shuffled among its images. Strata (plates) keep the
    labels they have, so that what merely tells plates apart is no evidence for a class.

    Parameters
    ----------
    predicted : ndarray, shape (C, n)
        Rows of predictions that were made without the images' own labels.
    labels, groups, strata : ndarray, shape (n,)
        At least one stratum has two classes.
    seed : int

    Examples
    --------
    >>> labels = np.repeat([0, 1, 0, 1, 0, 1, 0, 1], 4)
    >>> groups, plates = np.repeat(np.arange(8), 4), np.zeros(32, dtype=int)
    >>> found = permutation_test(labels[None], labels, groups, plates, seed=0)
    >>> float(found.accuracies[0]), float(found.p_values[0]) < 0.05
    (1.0, True)
    """
    generator = np.random.default_rng(seed)
    strata = np.unique(strata, return_inverse=True)[1]
    shuffle = _Shuffle(labels, groups, strata)
    sizes = np.unique(groups, return_inverse=True, return_counts=True)
    weights = 1 / sizes[2][sizes[1]]
    real = _balanced_accuracies(predicted, labels, strata, weights)
    null, same = [], 1
    for _ in range(PERMUTATIONS):
        dealt = shuffle(generator)
        null.append(_balanced_accuracies(predicted, dealt, strata, weights))
        same += int(np.array_equal(dealt, labels))
    as_good = 1 + (np.stack(null) >= real - 1e-12).sum(axis=0)
    return PermutationTest(
        real,
        np.stack(null).mean(axis=0),
        as_good / (PERMUTATIONS + 1),
        same / (PERMUTATIONS + 1),
    )


class _Shuffle:
    """Deals labels out anew; which sets of units may be shuffled is found once."""

    def __init__(self, labels: Integers, groups: Integers, strata: Integers) -> None:
        self.labels = labels
        members = [np.flatnonzero(groups == group) for group in np.unique(groups)]
        self.mixed = [rows for rows in members if len(np.unique(labels[rows])) > 1]
        pure = [rows for rows in members if len(np.unique(labels[rows])) == 1]
        self.pure = [
            [rows for rows in pure if strata[rows[0]] == stratum] for stratum in np.unique(strata)
        ]

    def __call__(self, generator: np.random.Generator) -> Integers:
        dealt = self.labels.copy()
        for rows in self.mixed:
            dealt[rows] = generator.permutation(self.labels[rows])
        for wells in self.pure:
            given = generator.permutation([self.labels[rows[0]] for rows in wells])
            for rows, label in zip(wells, given, strict=True):
                dealt[rows] = label
        return dealt


def _balanced_accuracies(
    predicted: Integers, labels: Integers, strata: Integers, weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    shape = (int(strata.max()) + 1, int(labels.max()) + 1)
    cell = strata * shape[1] + labels

    def summed(values: NDArray[np.float64]) -> NDArray[np.float64]:
        summed_up = np.bincount(cell, values, minlength=shape[0] * shape[1])
        return np.asarray(summed_up.reshape(shape), dtype=np.float64)

    total = summed(weights)
    there = total > 0
    right = np.stack([summed(weights * (row == labels)) for row in predicted])
    recalls = np.where(there, right / np.where(there, total, 1), 0)
    balanced = recalls.sum(axis=2) / np.maximum(there.sum(axis=1), 1)
    share = total.sum(axis=1) * (there.sum(axis=1) > 1)
    return np.asarray(balanced @ share / share.sum(), dtype=np.float64)
