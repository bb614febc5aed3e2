"""How far controls stand apart: Z', SSMD and their robust forms, with intervals over wells."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_why.latent_space.robust import DEVIATIONS
from napari_why.training.metrics import z_prime, z_primes

Values = NDArray[np.float64]
Statistic = Callable[[Values, Values], float | None]

# Of three wells a bootstrap has ten different samples, whose quantiles are those of the values.
FEWEST_FOR_INTERVAL = 4
# Below, quantiles of a bootstrap are known to lie too near together: the interval is said to be rough.
FEW = 8
# Degrees of freedom of a deviation over plates; of one it is hardly known.
FEWEST_FREE = 2
# Share of the draws that a measure has to be defined for.
MOST_DRAWS = 0.9
# Wells of samples that are measured together, 2 MB: of thousands of controls all draws would fill hundreds.
DRAWN_AT_ONCE = 2**18
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
    return float(_spreads(values))


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
    return _alone(_ssmd, negative, positive)


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
    return _alone(_robust_ssmd, negative, positive)


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
    return _alone(_robust_z_prime, negative, positive)


# By what they are called in tables.
MEASURES: dict[str, Statistic] = {
    "Z'": z_prime,
    "robust Z'": robust_z_prime,
    "SSMD": ssmd,
    "robust SSMD": robust_ssmd,
}


# The same of many samples at once, (D, n) and (D, m), as bootstraps have them: (D,), NaN where not defined.


def _ssmd(negative: Values, positive: Values) -> Values:
    return _standardise(negative, positive, np.mean, lambda values: values.std(axis=-1, ddof=1))


def _robust_ssmd(negative: Values, positive: Values) -> Values:
    return _standardise(negative, positive, np.median, _known_spreads)


def _robust_z_prime(negative: Values, positive: Values) -> Values:
    distance = np.abs(np.median(positive, axis=-1) - np.median(negative, axis=-1))
    spread = _known_spreads(negative) + _known_spreads(positive)
    return np.asarray(1 - 3 * spread / _unless_zero(distance))


OF_SAMPLES: dict[str, Callable[[Values, Values], Values]] = {
    "Z'": z_primes,
    "robust Z'": _robust_z_prime,
    "SSMD": _ssmd,
    "robust SSMD": _robust_ssmd,
}


def _alone(
    measure: Callable[[Values, Values], Values], negative: Values, positive: Values
) -> float | None:
    if min(len(negative), len(positive)) < 2:
        return None
    value = float(measure(negative, positive))
    return None if np.isnan(value) else value


def _standardise(
    negative: Values,
    positive: Values,
    centre: Callable[..., Values],
    spreads: Callable[[Values], Values],
) -> Values:
    noise = np.hypot(spreads(negative), spreads(positive))
    apart = centre(positive, axis=-1) - centre(negative, axis=-1)
    return np.asarray(apart / _unless_zero(noise))


def _spreads(values: Values) -> Values:
    middle = np.median(values, axis=-1, keepdims=True)
    return np.asarray(DEVIATIONS * np.median(np.abs(values - middle), axis=-1))


def _known_spreads(values: Values) -> Values:
    """Return scaled median absolute deviations; NaN where they are 0, which says nothing."""
    return _unless_zero(_spreads(values))


def _unless_zero(values: Values) -> Values:
    return np.where(values > 0, values, np.nan)


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
    draws = draws if few >= FEWEST_FOR_INTERVAL else 0
    samples = _draw(rng, (negative, positive), (len(negative), len(positive)), draws)
    return _measure((negative, positive), samples, few, f"{few} wells")


def separate_plates(
    negative: Values,
    positive: Values,
    plates: tuple[Sequence[str], Sequence[str]],
    *,
    draws: int = 2000,
    seed: int = 0,
) -> list[Separation]:
    """Return how far control wells of several plates stand apart, each judged by its plate.

    Positive controls are taken from the mean of their plate's negative ones (of a plate without any, from
    that of all). Deviations are those about the means of plates, with as many degrees of freedom fewer as
    there are plates: a control that is alone on its plate tells of none. Where that leaves positive controls
    fewer than two, theirs is about the mean of all, and holds the error of the centres too. Medians and
    median absolute deviations are of the same values.

    The interval is a bootstrap of deviations (Efron 1979): in each draw every well gets one of its kind, and
    plates are centred again.

    Parameters
    ----------
    negative, positive : ndarray, shape (n,) and (m,)
        One value a well, without NaN; one negative well at least.
    plates : (sequence of n str, sequence of m str)
        Of the negative and of the positive wells.
    draws, seed : int
        Of the bootstrap.

    Returns
    -------
    list of Separation
        One a measure; NaN of one that is not defined, with the reason.

    Examples
    --------
    >>> negative, positive = np.array([-1.0, 1.0, 9.0, 11.0]), np.array([4.0, 6.0, 14.0, 16.0])
    >>> found = separate_plates(negative, positive, (list("aabb"), list("aabb")), draws=0)
    >>> [round(one.value, 2) for one in found if one.measure == "SSMD"]
    [2.5]
    """
    names = np.unique([*plates[0], *plates[1]])
    codes = [np.searchsorted(names, np.asarray(own)) for own in plates]
    way = positive - _centre(negative, codes[0], len(names))[codes[1]]
    within = len(way) - len(np.unique(codes[1])) >= FEWEST_FREE
    if not within:
        codes[1] = np.zeros(len(way), np.int64)
    few = 1 + min(len(own) - len(np.unique(own)) for own in codes)
    rng = np.random.default_rng(seed)
    pools = (_stretch(negative, codes[0]), _stretch(way, codes[1]))
    draws = draws if few >= FEWEST_FOR_INTERVAL else 0

    def pool(drawn: Values, other: Values) -> tuple[Values, Values]:
        # deviations about the mean of all have the error of the centres in them
        error = _centre(drawn, codes[0], len(names))[..., codes[1]] if within else 0.0
        other = way.mean() + other - error
        return _pool(drawn, codes[0]), _pool(other, codes[1]) + other.mean(axis=-1, keepdims=True)

    drawn = _draw(rng, pools, (len(codes[0]), len(codes[1])), draws)
    samples = (pool(*some) for some in drawn)
    groups = (_pool(negative, codes[0]), _pool(way, codes[1]) + way.mean())
    if not all(map(len, groups)):
        note = "not defined: too few wells more than plates"
        return [Separation(name, float("nan"), note=note) for name in MEASURES]
    return _measure(groups, samples, few, f"{few - 1} wells more than plates")


def _draw(
    rng: np.random.Generator, pools: tuple[Values, Values], sizes: tuple[int, int], draws: int
) -> Iterator[tuple[Values, Values]]:
    """Yield samples with replacement of two pools, (d, n) and (d, m), until there are ``draws``."""
    at_once = max(1, DRAWN_AT_ONCE // max(1, sum(sizes)))
    for start in range(0, draws, at_once):
        drawn = tuple(np.empty((min(at_once, draws - start), size)) for size in sizes)
        for samples in zip(*drawn, strict=True):
            for pool, sample in zip(pools, samples, strict=True):
                sample[:] = rng.choice(pool, len(sample))
        yield drawn[0], drawn[1]


def _centre(values: Values, codes: NDArray[np.int64], count: int) -> Values:
    """Return the means (..., count) of plates of values (..., n); of one without values, that of all."""
    wells = np.bincount(codes, minlength=count)
    rows = values.reshape(-1, len(codes))
    cells = count * np.arange(len(rows))[:, None] + codes
    sums = np.bincount(cells.ravel(), rows.ravel(), minlength=count * len(rows))
    means = sums.reshape(*values.shape[:-1], count) / np.maximum(wells, 1)
    return np.where(wells > 0, means, values.mean(axis=-1, keepdims=True))


def _pool(values: Values, codes: NDArray[np.int64]) -> Values:
    """Return deviations about plates, of whose squares n - 1 make the variance; empty of too few."""
    free = len(codes) - len(np.unique(codes))
    if free < FEWEST_FREE:
        return np.empty((*values.shape[:-1], 0))
    deviations = values - _centre(values, codes, int(codes.max()) + 1)[..., codes]
    return np.asarray(deviations * ((len(codes) - 1) / free) ** 0.5)


def _stretch(values: Values, codes: NDArray[np.int64]) -> Values:
    """Return deviations about plates as large as those about means that were known, where there are any."""
    wells = np.bincount(codes)[codes]
    deviations = values - _centre(values, codes, int(codes.max()) + 1)[codes]
    return np.asarray((deviations * (wells / np.maximum(wells - 1, 1)) ** 0.5)[wells > 1])


def _measure(
    groups: tuple[Values, Values],
    samples: Iterable[tuple[Values, Values]],
    few: int,
    counted: str,
) -> list[Separation]:
    """Return every measure, with the interval of the drawn samples; ``counted`` says of how many wells."""
    found = []
    of_samples: dict[str, list[Values]] = {name: [] for name in MEASURES}
    for some in samples:
        for name, measured in of_samples.items():
            measured.append(OF_SAMPLES[name](*some))
    for name, statistic in MEASURES.items():
        value = statistic(*groups)
        if value is None:
            wells = " and ".join(str(len(group)) for group in groups)
            note = f"not defined: {wells} wells, or no spread or distance"
            found.append(Separation(name, float("nan"), note=note))
            continue
        every = np.concatenate([*of_samples[name], np.empty(0)])
        drawn = every[~np.isnan(every)]
        # draws of the same well again and again have no spread; of the others alone it would be too narrow
        if not len(drawn) or len(drawn) < len(every) * MOST_DRAWS:
            note = f"no interval: of {counted}"
            found.append(Separation(name, value, note=note))
            continue
        low, high = np.percentile(drawn, ENDS)
        note = f"rough: of {counted}" if few < FEW else ""
        found.append(Separation(name, value, float(low), float(high), note))
    return found
