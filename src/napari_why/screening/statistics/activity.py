"""Whether a compound does anything: its wells are more alike than they and the controls are."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from math import comb

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

# Numbers of a block of permutations: 2^22 truth values and counts take some 40 MB.
AT_A_TIME = 2**22
# Of a cosine, whose rounding is some 1e-16.
DIGITS = 12


@dataclass(frozen=True)
class Activity:
    """How well a compound's wells find each other among the negative controls.

    Parameters
    ----------
    precision : float
        Mean average precision, 0 to 1; NaN with fewer than two wells or without controls.
    expected : float
        Mean of the same over permutations: what chance gives.
    p : float
        Of the permutations; exact where all of them were counted.
    wells : int
    """

    precision: float
    expected: float
    p: float
    wells: int


def measure_activity(
    profiles: Values, controls: Values, *, draws: int = 2000, seed: int = 0
) -> Activity:
    """Return the phenotypic activity of a compound: mean average precision with a permutation p.

    Every well of the compound ranks all others by cosine similarity; its average precision is that of
    finding the other wells of the compound before the negative controls (Kalinin et al. 2025, Nature
    Communications 16, 5181). p is the share of random choices of as many wells, out of the compound's
    and the controls', whose mean is as high. So it keeps what the wells have in common, and cannot fall
    below one over the number of such choices.

    Parameters
    ----------
    profiles : ndarray, shape (n, K)
        Latents of the compound's wells, centred on the controls of their plates and scaled.
    controls : ndarray, shape (m, K)
        The same of the negative controls.
    draws, seed : int
        Of the permutations.

    Returns
    -------
    Activity
        NaN of fewer than two wells, or without controls.

    Examples
    --------
    >>> alike, spread = np.array([[9.0, 1.0], [9.0, 1.1]]), np.array([[0.1, -1.0], [-1.0, 0.2], [-1.0, -1.0]])
    >>> measure_activity(alike, spread).precision
    1.0
    """
    n, m = len(profiles), len(controls)
    if n < 2 or m < 1:
        return Activity(float("nan"), float("nan"), float("nan"), n)
    order = _rank(np.vstack([profiles, controls]))
    observed = _mean_precision(order, np.arange(n)[None])[0]
    exact = comb(n + m, n) <= draws
    null = np.concatenate(
        [_mean_precision(order, chosen) for chosen in _choices(n, n + m, draws, seed, exact=exact)]
    )
    # a rounding of the last digit must not make two equal means differ
    as_high = int((null >= observed - 1e-12).sum())
    p = as_high / len(null) if exact else (1 + as_high) / (1 + len(null))
    return Activity(float(observed), float(null.mean()), float(p), n)


def average_precision(found: NDArray[np.bool_]) -> Values:
    """Return the average precision of ranked lists, the first rank first, along the last axis.

    Examples
    --------
    >>> average_precision(np.array([[True, False, True], [False, True, True]])).round(4).tolist()
    [0.8333, 0.5833]
    """
    ranks = np.arange(1, found.shape[-1] + 1)
    precisions = np.cumsum(found, axis=-1) / ranks
    return np.asarray((precisions * found).sum(axis=-1) / found.sum(axis=-1))


def _rank(profiles: Values) -> NDArray[np.int64]:
    """Return for each row the others from the most alike on, shape (N, N - 1).

    Of others that are as alike, later rows come first: the compound's, which are the first rows, gain
    nothing by ties.
    """
    lengths = np.linalg.norm(profiles, axis=1, keepdims=True)
    unit = np.divide(profiles, lengths, out=np.zeros_like(profiles), where=lengths > 0)
    alike = unit @ unit.T
    np.fill_diagonal(alike, -np.inf)  # the last, which is cut off
    # the last digits tell equal rows apart by chance
    backward = np.argsort(-np.round(alike[:, ::-1], DIGITS), axis=1, kind="stable")[:, :-1]
    return np.asarray(len(alike) - 1 - backward)


def _mean_precision(order: NDArray[np.int64], chosen: NDArray[np.int64]) -> Values:
    """Return the mean average precision of choices of rows, shape (D, n), among all, shape (D,)."""
    member = np.zeros((len(chosen), len(order)), bool)
    np.put_along_axis(member, chosen, values=True, axis=1)
    found = np.take_along_axis(member[:, None, :], order[chosen], axis=2)
    return np.asarray(average_precision(found).mean(axis=1))


def _choices(
    n: int, total: int, draws: int, seed: int, *, exact: bool
) -> Iterator[NDArray[np.int64]]:
    block = max(1, AT_A_TIME // (n * total))
    if exact:
        every = np.array(list(combinations(range(total), n)))
        yield from (every[first : first + block] for first in range(0, len(every), block))
        return
    rng = np.random.default_rng(seed)
    for first in range(0, draws, block):
        count = min(block, draws - first)
        yield rng.random((count, total)).argpartition(n - 1, axis=1)[:, :n]
