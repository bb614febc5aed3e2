"""How far controls stand apart: Z', SSMD and their robust forms, with intervals over wells."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_why.latent_space.robust import DEVIATIONS
from napari_why.training.metrics import z_prime

Values = NDArray[np.float64]
Statistic = Callable[[Values, Values], float | None]

# Of three wells a bootstrap has ten different samples, whose quantiles are those of the values.
FEWEST_FOR_INTERVAL = 4
# Below, quantiles of a bootstrap are known to lie too near together: the interval is said to be rough.
FEW = 8
# Share of the draws that a measure has to be defined for.
MOST_DRAWS = 0.9
# Ends of a 95 % interval, in per cent.
ENDS = (2.5, 97.5)


@dataclass(frozen=True)
class Separation:
    """How far two groups of wells stand apart by one measure.

    Parameters
    ----------
    measure : str
    value, low, high : float
        With the 95 % interval; NaN where it is not defined.
    note : str
        Why not, or how rough it is.
    """

    measure: str
    value: float
    low: float = float("nan")
    high: float = float("nan")
    note: str = ""


def spread_of(values: Values) -> float:
    """Return the median absolute deviation, scaled to the standard deviation of a normal distribution.

    Examples
    --------
    >>> round(spread_of(np.array([1.0, 2.0, 3.0, 4.0, 100.0])), 4)
    1.4826
    """
    return DEVIATIONS * float(np.median(np.abs(values - np.median(values))))


def ssmd(negative: Values, positive: Values) -> float | None:
    """Return the strictly standardised mean difference of two independent groups.

    (mean_p - mean_n) / sqrt(sd_p^2 + sd_n^2) (Zhang 2007, Genomics 89, eq. 2), standard deviations with
    n - 1. Positive where the positive group has the higher values; beyond 3 the controls are strong.

    Parameters
    ----------
    negative, positive : ndarray, shape (n,) and (m,)
        One value a well, without NaN.

    Returns
    -------
    float or None
        None of fewer than two wells in a group, or where nothing varies.

    Examples
    --------
    >>> ssmd(np.array([-1.0, 1.0]), np.array([9.0, 11.0]))
    5.0
    """
    return _standardise(negative, positive, np.mean, lambda values: float(values.std(ddof=1)))


def robust_ssmd(negative: Values, positive: Values) -> float | None:
    """Return SSMD by medians and median absolute deviations (Zhang 2007, eq. 11).

    Parameters
    ----------
    negative, positive : ndarray, shape (n,) and (m,)
        One value a well, without NaN.

    Returns
    -------
    float or None
        None of fewer than two wells in a group, or where more than half of one have one value.
    """
    return _standardise(negative, positive, np.median, _known_spread)


def robust_z_prime(negative: Values, positive: Values) -> float | None:
    """Return 1 - 3 (s_p + s_n) / |median_p - median_n|, s the scaled median absolute deviation.

    Birmingham et al. 2009, Nature Methods 6, 569. Not defined where more than half of a group have one
    value: its deviation is 0, which says nothing about the others.

    Parameters
    ----------
    negative, positive : ndarray, shape (n,) and (m,)
        One value a well, without NaN.

    Returns
    -------
    float or None
        1 at the most; None where it is not defined.

    Examples
    --------
    >>> round(robust_z_prime(np.array([0.0, 1.0, 2.0]), np.array([20.0, 21.0, 22.0])), 4)
    0.5552
    """
    if min(len(negative), len(positive)) < 2:
        return None
    distance = abs(float(np.median(positive) - np.median(negative)))
    spread = _known_spread(negative) + _known_spread(positive)
    return 1 - 3 * spread / distance if distance > 0 and np.isfinite(spread) else None


# By what they are called in tables.
MEASURES: dict[str, Statistic] = {
    "Z'": z_prime,
    "robust Z'": robust_z_prime,
    "SSMD": ssmd,
    "robust SSMD": robust_ssmd,
}


def separate(
    negative: Values, positive: Values, *, draws: int = 2000, seed: int = 0
) -> list[Separation]:
    """Return every measure of how far control wells stand apart, with its 95 % interval.

    Wells are drawn with replacement within each group (percentile bootstrap, Efron 1979): a well, and no
    field, is what an experiment repeats.

    Parameters
    ----------
    negative, positive : ndarray, shape (n,) and (m,)
        One value a well, without NaN.
    draws, seed : int
        Of the bootstrap.

    Returns
    -------
    list of Separation
        One a measure; NaN of one that is not defined, with the reason.
    """
    rng = np.random.default_rng(seed)
    few = min(len(negative), len(positive))
    samples = [
        (rng.choice(negative, len(negative)), rng.choice(positive, len(positive)))
        for _ in range(draws if few >= FEWEST_FOR_INTERVAL else 0)
    ]
    found = []
    for name, statistic in MEASURES.items():
        value = statistic(negative, positive)
        if value is None:
            note = (
                f"not defined: {len(negative)} and {len(positive)} wells, or no spread or distance"
            )
            found.append(Separation(name, float("nan"), note=note))
            continue
        drawn = [one for pair in samples if (one := statistic(*pair)) is not None]
        # draws of the same well again and again have no spread; of the others alone it would be too narrow
        if not drawn or len(drawn) < len(samples) * MOST_DRAWS:
            note = f"no interval: of {few} wells"
            found.append(Separation(name, value, note=note))
            continue
        low, high = np.percentile(drawn, ENDS)
        note = f"rough: of {few} wells" if few < FEW else ""
        found.append(Separation(name, value, float(low), float(high), note))
    return found


def _standardise(
    negative: Values,
    positive: Values,
    centre: Callable[[Values], np.floating],
    spread: Callable[[Values], float],
) -> float | None:
    if min(len(negative), len(positive)) < 2:
        return None
    noise = float(np.hypot(spread(negative), spread(positive)))
    apart = float(centre(positive) - centre(negative))
    return apart / noise if 0 < noise < np.inf else None


def _known_spread(values: Values) -> float:
    """Return the scaled median absolute deviation; infinite where it says nothing."""
    return spread_of(values) or np.inf
