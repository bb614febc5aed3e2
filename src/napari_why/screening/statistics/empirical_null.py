"""What chance does to a screen's samples, most of which do nothing, beside what its controls show of it."""

import sys
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from napari_why.latent_space.robust import DEVIATIONS

Values = NDArray[np.float64]

# Tests of samples whose middle tells a centre and a spread: of fewer, chance alone moves both too much.
FEWEST_TESTS = 100
# Of the kernel by which the most frequent z is found, in deviations of the controls: as wide as the middle of
# what does nothing, so that neither noise nor a few that act make a peak of their own.
BANDWIDTH = 0.8
# How many tests below the centre the spread is by that is worth one degree of freedom, and grid points of z.
TESTS_A_FREEDOM, GRID = 6, 400
# p of 0 and 1 have no finite z.
LEAST_P, MOST_P = sys.float_info.min, 1 - sys.float_info.epsilon


@dataclass(frozen=True, eq=False)
class EmpiricalNull:
    """p of many tests by the more careful of two nulls.

    Parameters
    ----------
    p : ndarray, shape (T,)
        Never smaller than before; NaN stays.
    centre, spread : float
        Of the tests that do nothing, in z: 0 and 1 where they are as the controls say, and where the
        samples were not asked. What is taken is never below 0 and 1.
    tests : int
        That they were taken from; 0 where there are too few.
    """

    p: Values
    centre: float
    spread: float
    tests: int


def heed_samples(p: Values) -> EmpiricalNull:
    """Let the bulk of many tests widen the null that their p were taken from (Efron 2004).

    Controls are few, lie at places of their own, and are pipetted by other hands: how far samples that do
    nothing lie apart they need not tell. Of a screen most samples do nothing, so that the middle of all
    one-sided z = quantile of 1 - p is theirs: its centre is the median, its spread that of the lower half
    (median to lower quartile), which what is looked for, with its small p, does not reach. Chance is taken
    as the wider of both nulls, centre max(0, median) and spread max(1, spread): real effects in the bulk
    cost power, and never make p smaller.

    Parameters
    ----------
    p : ndarray, shape (T,)
        One-sided: small where what is looked for is there. NaN does not count.

    Notes
    -----
    B. Efron, J. Am. Stat. Assoc. 99, 96-104 (2004), doi:10.1198/016214504000000089, which fits the centre
    of the histogram; a kernel and a median here are cruder and need fewer tests.

    Examples
    --------
    >>> even = (np.arange(100) + 0.5) / 100
    >>> found = heed_samples(even)
    >>> bool(np.allclose(found.p, even, atol=0.02)), found.tests
    (True, 100)
    >>> twice = stats.norm.sf(2 * stats.norm.isf(even))  # z twice as wide as controls would have it
    >>> bool(np.allclose(heed_samples(twice).p[:50], even[:50], atol=0.03))
    True
    """
    known = ~np.isnan(p)
    if known.sum() < FEWEST_TESTS:
        return EmpiricalNull(p.copy(), 0.0, 1.0, 0)
    z = stats.norm.isf(np.clip(p[known], LEAST_P, MOST_P))
    centre = _find_peak(z)
    # a peak is found by chance some tenths too high, and what lies below it would seem to lie far below
    pivot = min(0.0, centre)
    below = z[z < pivot]
    spread = DEVIATIONS * (pivot - float(np.median(below))) if len(below) else 0.0
    away = (z - max(0.0, centre)) / max(1.0, spread)
    free = len(z) / TESTS_A_FREEDOM
    by_samples = stats.t.sf(away, free) if spread > 1 else stats.norm.sf(away)
    widened = p.copy()
    widened[known] = np.maximum(p[known], by_samples)
    return EmpiricalNull(widened, centre, spread, int(known.sum()))


def _find_peak(z: Values) -> float:
    """Return where values are densest, by a normal kernel."""
    low, high = (float(one) for one in np.quantile(z, (0.02, 0.98)))
    grid = np.linspace(low, high, GRID)
    density = np.exp(-0.5 * ((grid[:, None] - z) / BANDWIDTH) ** 2).sum(axis=1)
    return float(grid[int(density.argmax())])
