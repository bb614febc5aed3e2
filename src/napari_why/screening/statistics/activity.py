"""Whether a compound does anything: its wells are more alike than they and the controls are."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, product
from math import comb, prod

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
Numbers = NDArray[np.int64]

# Numbers of a block of permutations: 2^21 floats and their ranks take some 50 MB.
AT_A_TIME = 2**21
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
    profiles: Values,
    controls: Values,
    plates: tuple[Sequence[str], Sequence[str]] | None = None,
    *,
    draws: int = 2000,
    seed: int = 0,
) -> Activity:
    """Return the phenotypic activity of a compound: mean average precision with a permutation p.

    Every well of the compound ranks all others by cosine similarity; its average precision is that of
    finding the other wells of the compound before the negative controls (Kalinin et al. 2025, Nature
    Communications 16, 5181). p is the share of random choices of as many wells, out of the compound's
    and the controls', whose mean is as high. So it keeps what the wells have in common, and cannot fall
    below one over the number of such choices.

    With ``plates``, wells are centred on the controls of their plates, in each choice on those that it leaves
    there. For wells of one plate have the error of its centre in common and are alike by that, while the
    centre is that of its controls, which are unalike. Where wells of the compound share a plate, choices have
    as many wells on each plate as the compound; where all are on plates of their own, so are those of the
    choices, which may be on other plates. Ties speak against what is chosen.

    Parameters
    ----------
    profiles : ndarray, shape (n, K)
        Latents of the compound's wells, scaled; without ``plates`` centred on the controls of their plates.
    controls : ndarray, shape (m, K)
        The same of the negative controls.
    plates : (sequence of n str, sequence of m str), optional
        Of the compound's wells and of the controls. Wells on a plate without controls are chosen always.
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
    wells = np.vstack([profiles, controls])
    names = [""] * (n + m) if plates is None else [*plates[0], *plates[1]]
    groups = [np.flatnonzero(np.asarray(names) == name) for name in dict.fromkeys(names)]
    centred = [] if plates is None else [group for group in groups if (group >= n).any()]
    own = np.arange(n)
    observed = _mean_precision(wells, own[None], centred)[0]
    choices = _list_choices(groups, n, draws)
    exact = choices is not None
    if choices is None:
        choices = _draw_choices(groups, n, draws, np.random.default_rng(seed))
    block = max(1, AT_A_TIME // (len(wells) * max(n, wells.shape[1])))
    null = np.concatenate(
        [
            _mean_precision(wells, choices[first : first + block], centred)
            for first in range(0, len(choices), block)
        ]
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


def _mean_precision(wells: Values, chosen: Numbers, centred: Sequence[Numbers]) -> Values:
    """Return the mean average precision of choices of rows, shape (D, n), among all, shape (D,).

    Groups of rows in ``centred`` are centred on those that are not chosen.
    """
    member = np.zeros((len(chosen), len(wells)), bool)
    np.put_along_axis(member, chosen, values=True, axis=1)
    moved = np.repeat(wells[None], len(chosen) if centred else 1, axis=0)
    for group in centred:
        left = ~member[:, group]
        centres = left.astype(np.float64) @ wells[group] / left.sum(axis=1, keepdims=True)
        moved[:, group] -= centres[:, None]
    lengths = np.linalg.norm(moved, axis=2, keepdims=True)
    unit = np.divide(moved, lengths, out=np.zeros_like(moved), where=lengths > 0)
    unit = np.broadcast_to(unit, (len(chosen), *wells.shape))
    alike = np.take_along_axis(unit, chosen[:, :, None], axis=1) @ unit.transpose(0, 2, 1)
    # the last digits tell equal rows apart by chance; of rows as alike those that are chosen come last
    alike = np.round(alike, DIGITS) - 0.1**DIGITS / 4 * member[:, None]
    np.put_along_axis(alike, chosen[:, :, None], -np.inf, axis=2)  # itself, which is cut off
    order = np.argsort(-alike, axis=2)[:, :, :-1]
    found = np.take_along_axis(np.broadcast_to(member[:, None], alike.shape), order, axis=2)
    return np.asarray(average_precision(found).mean(axis=1))


def _list_choices(groups: Sequence[Numbers], n: int, most: int) -> Numbers | None:
    """Return every choice, shape (D, n), or None where there are more than ``most``."""
    parts = _share_out(groups, n)
    if parts is not None:
        total = prod(comb(len(group), count) for group, count in parts)
        if total > most:
            return None
        each = [combinations(group.tolist(), count) for group, count in parts]
        return np.array([sum(choice, ()) for choice in product(*each)])
    free = _find_free(groups)
    # sums of products of n sizes: the elementary symmetric polynomial
    counts = np.zeros(n + 1)
    counts[0] = 1
    for group in free:
        counts[1:] += len(group) * counts[:-1]
    if counts[n] > most:
        return None
    return np.array([choice for few in combinations(free, n) for choice in product(*few)], np.int64)


def _draw_choices(
    groups: Sequence[Numbers], n: int, draws: int, rng: np.random.Generator
) -> Numbers:
    """Return random choices, shape (D, n)."""
    parts = _share_out(groups, n)
    if parts is not None:
        drawn = [
            group[rng.random((draws, len(group))).argpartition(count - 1, axis=1)[:, :count]]
            for group, count in parts
        ]
        return np.concatenate(drawn, axis=1)
    free = _find_free(groups)
    wells = np.stack([group[rng.integers(len(group), size=draws)] for group in free], axis=1)
    which = rng.random((draws, len(free))).argpartition(n - 1, axis=1)[:, :n]
    return np.take_along_axis(wells, which, axis=1)


def _share_out(groups: Sequence[Numbers], n: int) -> list[tuple[Numbers, int]] | None:
    """Return how many are chosen of each group, or None where it is one of each of any n groups."""
    counts = [int((group < n).sum()) for group in groups]
    alone = any(count == len(group) for group, count in zip(groups, counts, strict=True))
    if max(counts) == 1 and not alone:
        return None
    return [(group, count) for group, count in zip(groups, counts, strict=True) if count]


def _find_free(groups: Sequence[Numbers]) -> list[Numbers]:
    """Return groups that keep a control when one of them is chosen."""
    return [group for group in groups if len(group) > 1]
