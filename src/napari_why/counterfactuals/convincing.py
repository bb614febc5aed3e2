"""Which alpha is convincing: past the boundary, by a rule that is checked on exported pixels."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from scipy import optimize

from napari_why.core.events import Cancelled, never_cancelled
from napari_why.counterfactuals.boundary import (
    LARGEST_ALPHA,
    ScoresOnPath,
    alpha_for_probability,
    boundary,
    outward,
)
from napari_why.counterfactuals.path import LatentPath
from napari_why.counterfactuals.sequence import ImagesOnPath

ENLARGEMENT = 1.25
# A difference of log-probabilities; of two classes, 0.02 is p = 0.505.
UNDECIDED = 0.02
# A difference of log-odds; around p = 0.9 it is 0.005.
REACHED = 0.05
FURTHER = 1.5


@dataclass(frozen=True)
class SpecialAlphas:
    """The alphas worth a name on one path; see :class:`Counterfactual.special_alphas`."""

    boundary: float | None
    alpha0: float | None
    alpha1: float | None
    wanted: float | None = None

    @property
    def end(self) -> float:
        """Where the series ends by default: at alpha1, else after one full displacement."""
        return self.alpha1 if self.alpha1 is not None and self.alpha1 > 0 else 1.0

    def named(self) -> dict[str, float | None]:
        """Return them by name."""
        wanted = {} if self.wanted is None else {"wanted": self.wanted}
        return {"boundary": self.boundary, "alpha0": self.alpha0, "alpha1": self.alpha1, **wanted}


def special_alphas(path: LatentPath, scores: ScoresOnPath, probability: float) -> SpecialAlphas:
    """Find the special alphas on the head alone; nothing is inverted.

    Parameters
    ----------
    path : LatentPath
        The path.
    scores : ScoresOnPath
        Its class scores.
    probability : float
        What p(target) should reach: at alpha1, for paths without a formula; at an alpha of its own,
        ``wanted``, for paths that know where their change is complete.
    """
    # an image that is called the target already has no boundary ahead
    crossing = None if scores.margin(0.0) > 0 else boundary(scores)
    if path.closed_form:
        alpha1 = None if path.alpha0 is None else ecinn_alpha1(path.alpha0)
        return SpecialAlphas(crossing, path.alpha0, alpha1)
    if path.full_alpha is not None:
        wanted = None
        if crossing is not None:
            wanted = alpha_for_probability(scores, probability, start=max(crossing, 0.0))
        return SpecialAlphas(crossing, crossing, path.full_alpha, wanted)
    if crossing is None:
        return SpecialAlphas(None, None, None)
    return SpecialAlphas(crossing, crossing, convincing_alpha(scores, crossing, probability))


def ecinn_alpha1(alpha0: float) -> float:
    """Return ECINN's convincing alpha, 4/5 + alpha0/2.

    It stands behind alpha0 only for alpha0 < 1.6.

    Examples
    --------
    >>> ecinn_alpha1(0.5)
    1.05
    """
    return 0.8 + alpha0 / 2


def convincing_alpha(scores: ScoresOnPath, crossing: float, probability: float) -> float:
    """Return an alpha behind the boundary at which the head is convinced.

    The larger of ECINN's 4/5 + boundary/2 and the alpha at which p(target) reaches
    ``probability``; the former counts only where p(target) has not fallen again by then. Where
    ``probability`` is never reached, the larger of ECINN's and 5/4 of the boundary, if the target
    still leads there; else the alpha at which it leads most.
    """
    published = ecinn_alpha1(crossing)
    reached = alpha_for_probability(scores, probability, start=crossing)
    if reached is not None:
        holds = scores.probability(published) >= probability
        return max(published, reached) if holds else reached
    behind = max(published, ENLARGEMENT * crossing)
    if scores.margin(behind) > 0:
        return behind
    return max(outward(crossing, LARGEST_ALPHA), key=scores.margin)


def checked_as_exported(
    found: SpecialAlphas,
    images: ImagesOnPath,
    target: int,
    *,
    probability: float,
    enlarge: bool,
    cancelled: Cancelled = never_cancelled,
) -> SpecialAlphas:
    """Correct the special alphas where rounding and clipping make the exported images differ.

    Parameters
    ----------
    found : SpecialAlphas
        As found on the head.
    images : ImagesOnPath
        The path's images.
    target : int
        Index of the target class.
    probability : float
        What p(target) should reach at ``wanted``.
    enlarge : bool
        Whether alpha1 may be moved: a published formula's is not.
    cancelled : callable
        Asked before every inversion; the alphas then stay about where they are.
    """
    alpha1, crossing = found.alpha1, found.boundary
    if enlarge and alpha1 is not None:
        alpha1 = enlarged_until_valid(images, alpha1, target, cancelled)
    if crossing is not None:
        crossing = undecided_as_exported(images, crossing, target, alpha1, cancelled)
    wanted = found.wanted
    if wanted is not None:
        start = max(0.0, crossing or 0.0)
        wanted = reached_as_exported(images, wanted, target, probability, start, cancelled)
    return SpecialAlphas(crossing, found.alpha0, alpha1, wanted)


def enlarged_until_valid(
    images: ImagesOnPath, alpha1: float, target: int, cancelled: Cancelled = never_cancelled
) -> float:
    """Enlarge alpha1 until the image *as exported* is predicted as the target.

    Clipping and rounding can undo a flip. Returns ``alpha1`` itself where no larger one up to
    the largest alpha helps.
    """
    alpha = alpha1
    while alpha <= LARGEST_ALPHA and not cancelled():
        if images.frame(alpha).margin(target) > 0:
            return alpha
        alpha *= ENLARGEMENT
    return alpha1


def undecided_as_exported(
    images: ImagesOnPath,
    crossing: float,
    target: int,
    alpha1: float | None,
    cancelled: Cancelled = never_cancelled,
) -> float:
    """Return the alpha near ``crossing`` whose exported image is undecided.

    That is ``crossing`` itself unless clipping has moved the exported image off the boundary;
    then the boundary is bisected again on exported images, each of which has to be inverted.
    """

    def margin(alpha: float) -> float:
        if cancelled():
            return 0.0
        found = images.frame(alpha).margin(target)
        return 0.0 if abs(found) < UNDECIDED else found

    off = margin(crossing)
    other = 0.0 if off > 0 else alpha1
    if off == 0 or other is None or margin(other) * off >= 0:
        return crossing
    return float(optimize.brentq(margin, crossing, other, xtol=1e-6))


def reached_as_exported(
    images: ImagesOnPath,
    wanted: float,
    target: int,
    probability: float,
    start: float = 0.0,
    cancelled: Cancelled = never_cancelled,
) -> float | None:
    """Return the alpha at which p(target) of the *exported* image reaches ``probability``.

    That is ``wanted`` itself unless rounding, clipping or channels put back make the exported
    image differ from what the head was asked about. Only then more images are inverted: from
    ``start``, the boundary, on where p(target) is higher than asked for, and outward, by steps of
    a half, where it is lower. None where no exported image up to the largest alpha reaches it.
    """
    odds = math.log(probability / (1 - probability))

    def missing(alpha: float) -> float:
        if cancelled():
            return 0.0
        found = images.frame(alpha).log_odds(target) - odds
        return 0.0 if abs(found) < REACHED else found

    here = missing(wanted)
    reached: float | None
    if here > 0:
        reached = _back_from(missing, wanted, start)
    else:
        reached = wanted if here == 0 else _onward_from(missing, wanted)
    return wanted if cancelled() else reached  # what was asked last then means nothing


def _back_from(missing: Callable[[float], float], wanted: float, start: float) -> float:
    low = start if start < wanted and missing(start) <= 0 else 0.0
    if missing(low) >= 0:
        return low
    return float(optimize.brentq(missing, low, wanted, xtol=1e-6))


def _onward_from(missing: Callable[[float], float], wanted: float) -> float | None:
    alpha, here = wanted, -1.0
    while here < 0:
        if alpha >= LARGEST_ALPHA:
            return None
        before, alpha = alpha, min(LARGEST_ALPHA, FURTHER * max(alpha, 0.125))
        here = missing(alpha)
    return alpha if here == 0 else float(optimize.brentq(missing, before, alpha, xtol=1e-6))
