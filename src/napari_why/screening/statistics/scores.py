"""How far a compound brings cells towards healthy, and what else it changes, with intervals and p."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special, stats

Values = NDArray[np.float64]
Mask = NDArray[np.bool_]

# Directions that wells are compared in, as many as the distances of training images have; and controls
# for each, so that a covariance is more than noise.
COMPONENTS, CONTROLS_A_COMPONENT = 16, 4
# Control wells that a deviation, and p by it, can be taken from.
FEWEST_CONTROLS = 4
# Degrees of freedom of the covariance below which an F distribution has no variance.
LEAST_FREE = 5
# Of the largest spread: a smaller one is rounding.
ROUNDING = 1e-9
TAIL = 0.025  # of a two-sided 95 % interval


@dataclass(frozen=True)
class Score:
    """A score of some wells of one kind.

    Parameters
    ----------
    value, low, high : float
        With the 95 % interval.
    p : float
        Against the negative controls.
    """

    value: float
    low: float
    high: float
    p: float


NO_SCORE = Score(*[float("nan")] * 4)


def place_between_controls(
    values: Values, plates: Sequence[str], negative: Mask, positive: Mask
) -> Values:
    """Return where wells lie between the controls of their plate: 0 as the negative, 1 as the positive.

    By the means of a plate's negative controls, and the distance of both controls over all plates: a
    plate of two positive wells would else decide what 1 is for all its compounds. On a plate without
    negative controls, by those of all plates.

    Parameters
    ----------
    values : ndarray, shape (W,)
        One a well; NaN where there is none.
    plates : sequence of W str
    negative, positive : ndarray of bool, shape (W,)

    Returns
    -------
    ndarray, shape (W,)
        NaN everywhere without controls of both kinds.

    Examples
    --------
    >>> values = np.array([0.0, 2.0, 11.0, 6.0])
    >>> place_between_controls(values, ["a"] * 4, values < 3, values > 10).tolist()
    [-0.1, 0.1, 1.0, 0.5]
    """
    centred = values - plate_centres(values[:, None], plates, negative)[:, 0]
    known = ~np.isnan(values)
    if not (negative & known).any() or not (positive & known).any():
        return np.full(len(values), np.nan)
    whole = float(centred[positive & known].mean())
    return centred / whole if whole else np.full(len(values), np.nan)


def plate_centres(values: Values, plates: Sequence[str], negative: Mask) -> Values:
    """Return the mean of the negative controls of each well's plate, shape (W, K).

    Of a plate without any, the mean of those of all plates.

    Parameters
    ----------
    values : ndarray, shape (W, K)
        One row a well; NaN where it is not known.
    plates : sequence of W str
    negative : ndarray of bool, shape (W,)
        The negative controls.

    Returns
    -------
    ndarray, shape (W, K)
        NaN where no plate has a negative control.
    """
    names = np.asarray(plates)
    used = negative & ~np.isnan(values).any(axis=1)
    everywhere = values[used].mean(axis=0) if used.any() else np.full(values.shape[1], np.nan)
    centres = np.tile(everywhere, (len(values), 1))
    for plate in dict.fromkeys(plates):
        here = used & (names == plate)
        if here.any():
            centres[names == plate] = values[here].mean(axis=0)
    return centres


class OnTarget:
    """How far wells lie on the way from the negative to the positive controls.

    The deviation is that of negative control wells about the means of their plates: a compound of two
    wells has none of its own worth the name.

    Parameters
    ----------
    places : ndarray, shape (W,)
        Of :func:`place_between_controls`, say.
    plates : sequence of W str
    negative : ndarray of bool, shape (W,)
    centre : float
        Where the negative controls lie.
    """

    def __init__(
        self, places: Values, plates: Sequence[str], negative: Mask, centre: float = 0.0
    ) -> None:
        used = negative & ~np.isnan(places)
        self._places, self._centre = places, centre
        self._plates, self._used = np.asarray(plates), used
        self.controls = int(used.sum())
        self.free = self.controls - len(
            {plate for plate, there in zip(plates, used, strict=True) if there}
        )
        squares = float(((places[used] - centre) ** 2).sum())
        self.deviation = (squares / self.free) ** 0.5 if self.free > 0 else float("nan")
        self._excess = excess_kurtosis((places[used] - centre)[:, None])[0]

    def score(self, wells: NDArray[np.int64]) -> Score:
        """Score the mean of some wells by Student's t; p is one-sided, of lying towards healthy.

        Where the tails of the controls are heavier than normal, with fewer degrees of freedom.

        The interval takes the distance of the controls for known: it tells whether two compounds
        differ, and not how sure it is what healthy is.
        """
        wells = wells[~np.isnan(self._places[wells])]
        values = self._places[wells]
        if not len(values) or self.controls < FEWEST_CONTROLS or not self.deviation > 0:
            return NO_SCORE
        # the negative controls' own means, which are taken off, are uncertain too
        centres = centre_variance(wells, self._plates, self._used)
        error = self.deviation * (1 / len(values) + centres) ** 0.5
        mean = float(values.mean())
        free = float(tail_freedom(self._excess, len(values), self.free))
        # scipy.stats gives the same numbers, and takes a hundred times as long for one at a time
        half = float(special.stdtrit(free, 1 - TAIL)) * error
        return Score(
            mean,
            mean - half,
            mean + half,
            float(special.stdtr(free, (self._centre - mean) / error)),
        )


class OffTarget:
    """How far wells lie off the line through both controls, in deviations of control wells.

    Numbers of a well (latents, textures) are centred on the negative controls of their plates, put in
    units of their deviation there, reduced to the directions in which wells differ most, and scaled by the
    covariance of control wells about their own means, shrunk after Ledoit & Wolf 2004 ("sphering"). Of both
    kinds: healthy cells may vary where diseased ones do not, and a compound that makes healthy cells would
    else be blamed for it. What is left of a compound's mean once its part along the line from the negative
    to the positive controls is taken off, is its other change.

    How large that is by chance is learnt from control wells, each judged by the others (also the centre of its
    plate is theirs), and taken of the kind that lies further off. Squared distances are taken as of a scaled F distribution, as Hotelling's
    T^2 has it (1931), with the mean of those of the controls; where they vary more than that, with as many
    fewer degrees of freedom as make the variance the same (Satterthwaite 1946).

    Parameters
    ----------
    latents : ndarray, shape (W, K)
        Latents, and what else tells how a well looks; NaN in wells without any.
    plates : sequence of W str
    negative, positive : ndarray of bool, shape (W,)
        Without positive controls every change counts as another one.
    """

    def __init__(
        self, latents: Values, plates: Sequence[str], negative: Mask, positive: Mask
    ) -> None:
        known: Mask = np.asarray(~np.isnan(latents).any(axis=1))
        used, shown = negative & known, positive & known
        self.controls = int(used.sum())
        self.fine = self.controls >= 2 * CONTROLS_A_COMPONENT and latents.shape[1] > 0
        if not self.fine:
            return
        centred = np.where(known[:, None], latents - plate_centres(latents, plates, used), 0.0)
        # latents and textures have units of their own; what never differs among controls says nothing
        unit = centred[used].std(axis=0)
        centred = np.divide(centred, unit, out=np.zeros_like(centred), where=unit > 0)
        count = min(COMPONENTS, latents.shape[1], self.controls // CONTROLS_A_COMPONENT)
        _, sizes, directions = np.linalg.svd(centred[known], full_matrices=False)
        # a direction in which no well differs is none
        count = min(count, int((sizes > ROUNDING * sizes[0]).sum()))
        points = centred @ directions[:count].T
        toward = points[shown].mean(axis=0) if shown.any() else None
        self._free_directions = points.shape[1] - (toward is not None)
        self.fine = self._free_directions > 0
        if not self.fine:
            return
        self._points, self._known = points, known
        self._plates, self._used = np.asarray(plates), used
        masks = [mask for mask in (used, shown) if mask.sum() >= FEWEST_CONTROLS]
        kinds = [points[mask] for mask in masks]
        self._root, self._axis = _sphere(_about_means(kinds), toward)
        self._learn_chance(kinds, [self._plates[mask] for mask in masks], toward)

    @property
    def profiles(self) -> Values:
        """The sphered latents, shape (W, components), 0 in wells without any."""
        return np.asarray(self._points @ self._root)

    @property
    def known(self) -> Mask:
        """Which wells have latents, shape (W,)."""
        return self._known

    @property
    def apart(self) -> float:
        """How far both controls lie apart, in the unit of the scores; NaN without positive ones."""
        axis = self._axis if self.fine else None
        return float("nan") if axis is None else float(np.linalg.norm(axis))

    def along(self, wells: NDArray[np.int64]) -> float:
        """Return where the mean of some wells lies on the line: 0 as negative, 1 as positive controls."""
        kept = wells[self._known[wells]] if self.fine else wells[:0]
        if not len(kept) or self._axis is None:
            return float("nan")
        mean = (self._points[kept] @ self._root).mean(axis=0)
        return float(mean @ self._axis / (self._axis @ self._axis))

    def score(self, wells: NDArray[np.int64]) -> Score:
        """Score the mean of some wells: the size of its other change, without what chance adds to it."""
        kept = wells[self._known[wells]] if self.fine else wells[:0]
        if not len(kept):
            return NO_SCORE
        weight = 1 / (1 / len(kept) + centre_variance(kept, self._plates, self._used))
        squared = weight * _off_line(
            (self._points[kept] @ self._root).mean(axis=0, keepdims=True), self._axis
        )
        found = float(squared[0]) / self._scale
        p = float(special.fdtrc(self._freedom, self._free, found))
        ends = [_noncentrality(found, self._freedom, self._free, tail) for tail in (1 - TAIL, TAIL)]
        size = max(0.0, self._freedom * (found * (self._free - 2) / self._free - 1))
        # a noncentrality is the squared distance in units of the scale, times the degrees of freedom
        unit = self._scale / self._freedom / weight
        value, low, high = ((unit * one) ** 0.5 for one in (size, *ends))
        return Score(value, low, high, p)

    def _learn_chance(
        self, kinds: list[Values], places: list[NDArray[np.str_]], toward: Values | None
    ) -> None:
        found = [
            squares
            for number in range(len(kinds))
            if len(squares := self._judge_left_out(kinds, places, number, toward))
            >= FEWEST_CONTROLS
        ]
        self.fine = bool(found)
        if not self.fine:
            return
        squares = max(found, key=lambda one: float(one.mean()))
        mean, variation = float(squares.mean()), float(squares.var(ddof=1))
        wells = sum(map(len, kinds)) - len(kinds) + 1
        free = max(wells - len(set(self._plates[self._used])) - self._points.shape[1], LEAST_FREE)
        excess = variation / mean**2 * (free - 4) - 2 if mean > 0 else 0.0
        most = float(self._free_directions)
        self._free = free
        self._freedom = min(most, 2 * (free - 2) / excess) if excess > 0 else most
        self._scale = mean * (free - 2) / free if mean > 0 else 1.0

    def _judge_left_out(
        self,
        kinds: list[Values],
        places: list[NDArray[np.str_]],
        number: int,
        toward: Values | None,
    ) -> Values:
        """Return squared distances of the controls of one kind, each judged by the others, as of one well.

        A negative control is part of the centre of its plate: its distance there is that from the others,
        of m wells m / (m - 1) times as far, and the others have their own without it. That of a plate alone
        tells nothing. A positive one is judged by the mean of the others.
        """
        controls, plates = kinds[number], places[number]
        negative = number == 0
        squares = np.full(len(controls), np.nan)
        for left_out, plate in enumerate(plates):
            others = np.delete(controls, left_out, axis=0)
            beside = np.delete(plates, left_out) == plate
            if negative and not beside.any():
                continue
            if negative:
                shift = controls[left_out] / beside.sum()
                others[beside] += shift
                apart, variance = controls[left_out] + shift, 1 + 1 / beside.sum()
            else:
                apart = controls[left_out] - others.mean(axis=0)
                variance = 1 + 1 / len(others) + self._vary_centres(plates, left_out)
            rest = [others, *(kind for place, kind in enumerate(kinds) if place != number)]
            root, axis = _sphere(_about_means(rest), toward)
            squares[left_out] = _off_line((apart @ root)[None], axis)[0] / variance
        return np.asarray(squares[~np.isnan(squares)])

    def _vary_centres(self, plates: NDArray[np.str_], left_out: int) -> float:
        """Return what the centres of plates add to the variance of a well minus the mean of the others."""
        names = np.unique(plates)
        weights = (names == plates[left_out]) - np.array(
            [(np.delete(plates, left_out) == name).mean() for name in names]
        )
        # a plate without negative controls has the mean of all
        counts = [int((self._used & (self._plates == name)).sum()) for name in names]
        return float(sum(weights**2 / np.array([count or self.controls for count in counts])))


def excess_kurtosis(residuals: Values) -> Values:
    """Return the excess kurtosis of columns (n, K), 0 of fewer than four and of columns of one value."""
    varied = np.ptp(residuals, axis=0) > 0 if len(residuals) >= FEWEST_CONTROLS else False
    found = np.zeros(residuals.shape[1])
    if np.any(varied):
        found[varied] = stats.kurtosis(residuals[:, varied], axis=0, bias=False)
    return found


def tail_freedom(excess: Values | float, wells: int, free: int) -> Values:
    """Return degrees of freedom that give Student's t the tails of a mean of some wells.

    A mean of n wells has 1/n of their excess kurtosis, and Student's t with v degrees of freedom 6 / (v - 4):
    v = 4 + 6 n / excess (moments, as Satterthwaite 1946 fits a chi-squared distribution). With those by which
    the deviation is known, 1 / (1 / free + 1 / v). Controls of normal or lighter tails change nothing.

    Parameters
    ----------
    excess : ndarray or float
        Excess kurtosis of single control wells; 0 of a normal distribution.
    wells : int
        That are averaged.
    free : int
        Degrees of freedom by which the deviation is known.

    Returns
    -------
    ndarray, shape of ``excess``
        Above 0, at most ``free``.

    Examples
    --------
    >>> tail_freedom(np.array([-1.0, 0.0, 3.0]), 2, 30).round(2).tolist()
    [30.0, 30.0, 6.32]
    """
    heavy = np.maximum(np.asarray(excess, np.float64), 0.0)
    return np.asarray(1 / (1 / free + heavy / (4 * heavy + 6 * wells)))


def centre_variance(wells: NDArray[np.int64], plates: NDArray[np.str_], used: Mask) -> float:
    """Return the variance of the centres that are taken off the mean of some wells.

    In variances of a control well: the sum over plates of (n_p / n)^2 / m_p, n_p of the n wells and m_p
    control wells being on a plate. Wells on plates without controls share the mean of all controls.

    Parameters
    ----------
    wells : ndarray, int64, shape (n,)
        Rows of the wells that are averaged.
    plates : ndarray of str, shape (W,)
        Of every well.
    used : ndarray, bool, shape (W,)
        Control wells.

    Returns
    -------
    float
        In variances of a control well; 0 to 1.
    """
    total = int(used.sum())
    alone, found = 0, 0.0
    for plate in np.unique(plates[wells]):
        n, m = int((plates[wells] == plate).sum()), int((used & (plates == plate)).sum())
        if m:
            found += (n / len(wells)) ** 2 / m
        else:
            alone += n
    return found + (alone / len(wells)) ** 2 / total


def _about_means(kinds: list[Values]) -> Values:
    return np.concatenate([kind - kind.mean(axis=0) for kind in kinds])


def _sphere(controls: Values, toward: Values | None) -> tuple[Values, Values | None]:
    """Return the matrix that makes the covariance of controls round, and the line in that space."""
    from sklearn.covariance import LedoitWolf  # two seconds: most of scipy

    values, vectors = np.linalg.eigh(LedoitWolf().fit(controls).covariance_)
    root = vectors / np.sqrt(np.maximum(values, np.finfo(float).tiny)) @ vectors.T
    return np.asarray(root), None if toward is None else np.asarray(toward @ root)


def _off_line(points: Values, axis: Values | None) -> Values:
    """Return the squared distances of points (n, p) from a line through 0."""
    squared = (points**2).sum(axis=1)
    if axis is None or not axis.any():
        return np.asarray(squared)
    return np.asarray(np.maximum(squared - (points @ axis) ** 2 / (axis @ axis), 0.0))


def _noncentrality(found: float, freedom: float, free: float, tail: float) -> float:
    """Return the noncentrality with which so small a ratio has the probability ``tail``."""
    if special.fdtr(freedom, free, found) <= tail:
        return 0.0
    high = max(1.0, found * freedom)
    while special.ncfdtr(freedom, free, high, found) > tail:
        high *= 2
    return float(
        optimize.brentq(
            lambda one: special.ncfdtr(freedom, free, one, found) - tail, 0.0, high, rtol=1e-6
        )
    )
