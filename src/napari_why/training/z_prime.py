"""Z': how well the predicted probability separates the classes."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ZPrime:
    """Z' between two classes.

    Parameters
    ----------
    classes : (str, str)
        The classes p and q.
    value : float or None
        At most 1; None where it is not defined.
    reason : str
        Why it is not defined, in words; empty otherwise.
    """

    classes: tuple[str, str]
    value: float | None
    reason: str = ""


def z_prime(first: NDArray[np.float64], second: NDArray[np.float64]) -> float | None:
    """Return 1 - 3 (sd_p + sd_q) / |mean_p - mean_q| of two samples.

    Zhang, Chung & Oldenburg 1999, J Biomol Screen 4(2), eq. for Z'; standard deviations with
    n - 1.

    Parameters
    ----------
    first, second : ndarray, shape (n,) and (m,)
        A score (here the predicted probability) of the images of either class.

    Returns
    -------
    float or None
        None with fewer than two values of a class or with equal means.

    Examples
    --------
    >>> round(z_prime(np.array([0.0, 0.1]), np.array([0.9, 1.0])), 3)
    0.529
    """
    if min(len(first), len(second)) < 2:
        return None
    distance = abs(float(first.mean() - second.mean()))
    if distance == 0:
        return None
    return 1 - 3 * float(first.std(ddof=1) + second.std(ddof=1)) / distance


def pairwise_z_prime(
    labels: NDArray[np.int64], probabilities: NDArray[np.float64], classes: Sequence[str]
) -> list[ZPrime]:
    """Return Z' of every pair of classes.

    The score of a pair (p, q) is P(q) / (P(p) + P(q)) over the images that truly are p or q; with
    two classes that is the probability of the second.

    Parameters
    ----------
    labels : ndarray, shape (N,)
        True classes as indices.
    probabilities : ndarray, shape (N, K)
    classes : sequence of K str
    """
    found = []
    for p, q in combinations(range(len(classes)), 2):
        pair = probabilities[:, [p, q]]
        total = pair.sum(axis=1)
        # where neither class is given any probability the pair is undecided
        score = np.divide(pair[:, 1], total, out=np.full(len(pair), 0.5), where=total > 0)
        value = z_prime(score[labels == p], score[labels == q])
        names = (classes[p], classes[q])
        reason = "" if value is not None else _reason(labels, (p, q), names)
        found.append(ZPrime(names, value, reason))
    return found


def _reason(labels: NDArray[np.int64], pair: tuple[int, int], names: tuple[str, str]) -> str:
    for index, name in zip(pair, names, strict=True):
        count = int((labels == index).sum())
        if count < 2:
            return f"Z' is not defined: {name} has {count} of the 2 images needed for a spread"
    return f"Z' is not defined: {names[0]} and {names[1]} have the same mean probability"
