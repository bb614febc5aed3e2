"""The alphas of a path that have a name: found on the head, settled on exported images, and told."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import scipy

from napari_why.core.events import Cancelled, never_cancelled

# Beyond this many full displacements a path is extrapolated so far that nothing is to be found.
LARGEST_ALPHA = 8.0
# A ten-millionth of the displacement is far below one grey level of any image.
ALPHA_TOLERANCE = 1e-7
# Exported pixels are rounded: their boundary has no more digits than this.
EXPORTED_TOLERANCE = 1e-6
# Where the wanted probability is out of reach, clearly behind the boundary: a quarter of it further.
BEHIND = 1.25
# The whole displacement of a path, as large as the classes differ.
FULL_DISPLACEMENT = 1.0
# A difference of log-probabilities; of two classes, 0.02 is p = 0.505.
UNDECIDED = 0.02
# A difference of log-odds; around p = 0.9 it is 0.005.
REACHED = 0.05
# Outward by halves: from any start the largest alpha is eleven inversions away at the most.
FURTHER = 1.5
# The first step outward from alpha 0, which a factor alone would never leave.
LEAST_STEP = 0.125


class Scores(Protocol):
    """What a search asks of the class scores on a path."""

    def margin(self, alpha: float) -> float:
        """Return the target's score minus that of its strongest competitor."""

    def log_odds(self, alpha: float) -> float:
        """Return log(p / (1 - p)) of the target."""

    def probability(self, alpha: float) -> float:
        """Return the target's probability."""


class ExportedImage(Protocol):
    """What a search asks of an exported image."""

    def margin(self, target: int) -> float:
        """Return log p(target) minus that of its strongest competitor."""

    def log_odds(self, target: int) -> float:
        """Return log(p / (1 - p)) of the target."""


class ExportedImages(Protocol):
    """The exported images on a path; each is made when it is asked for."""

    def frame(self, alpha: float) -> ExportedImage:
        """Return the image at one alpha."""


@dataclass(frozen=True)
class SpecialAlphas:
    """The alphas worth a name on one path; see :class:`~napari_why.counterfactuals.Counterfactual`.

    ``boundary``, ``alpha0`` and ``wanted`` may lie beyond the complete change, where they are told
    as such; ``alpha1``, whose image is the answer, does not, but for a published formula.
    """

    boundary: float | None
    alpha0: float | None
    alpha1: float | None
    wanted: float | None = None

    @property
    def end(self) -> float:
        """Where the series ends by default: at alpha1, else after one full displacement."""
        return self.alpha1 if self.alpha1 is not None and self.alpha1 > 0 else FULL_DISPLACEMENT

    def by_name(self) -> dict[str, float | None]:
        """Return them by name."""
        wanted = {} if self.wanted is None else {"wanted": self.wanted}
        return {"boundary": self.boundary, "alpha0": self.alpha0, "alpha1": self.alpha1, **wanted}


def boundary_ahead(scores: Scores) -> float | None:
    """Return the boundary; None for an image that is predicted as the target already."""
    return None if scores.margin(0.0) > 0 else boundary(scores)


def boundary(scores: Scores, *, maximum: float = LARGEST_ALPHA) -> float | None:
    """Find the first alpha at which the target overtakes its strongest competitor.

    With two classes that is p(target) = 0.5; with more it is where the prediction changes.

    Parameters
    ----------
    scores : Scores
        The path with its head.
    maximum : float
        Largest alpha to look at.

    Returns
    -------
    float or None
        None where there is no such alpha up to ``maximum``.
    """
    return first_crossing(scores.margin, 0.0, maximum)


def alpha_for_probability(
    scores: Scores,
    wanted: float,
    *,
    start: float = 0.0,
    maximum: float = LARGEST_ALPHA,
) -> float | None:
    """Find the first alpha, from ``start`` on, at which p(target) reaches ``wanted``.

    Parameters
    ----------
    scores : Scores
        The path with its head.
    wanted : float
        Probability, between 0 and 1.
    start, maximum : float
        First and largest alpha to look at, in displacements.

    Returns
    -------
    float or None
        None where it is not reached up to ``maximum``.
    """
    odds = math.log(wanted / (1 - wanted))
    return first_crossing(lambda alpha: scores.log_odds(alpha) - odds, start, maximum)


def first_crossing(
    function: Callable[[float], float], start: float, maximum: float
) -> float | None:
    """Find where a function first rises through zero: bracketed outward, then bisected.

    The bracket is searched in steps that grow with alpha. Inside it Brent's method (bisection
    that takes a secant step where that is safe) needs a third of the evaluations of plain
    bisection.

    Parameters
    ----------
    function : callable
        An alpha to a number; below zero before the crossing.
    start, maximum : float
        First and largest argument to look at.

    Returns
    -------
    float or None
        ``start`` where the function is positive there already; None where it stays negative.

    Examples
    --------
    >>> round(first_crossing(lambda alpha: alpha**2 - 2, 0.0, 8.0), 6)
    1.414214
    >>> first_crossing(lambda alpha: -1.0, 0.0, 8.0) is None
    True
    """
    before = start
    for alpha in outward(start, maximum):
        if function(alpha) >= 0:
            if alpha == start:
                return start
            return float(scipy.optimize.brentq(function, before, alpha, xtol=ALPHA_TOLERANCE))
        before = alpha
    return None


def outward(start: float, maximum: float) -> Iterator[float]:
    """Yield alphas from ``start`` to ``maximum``: eighths up to 1, then steps of a quarter alpha.

    Parameters
    ----------
    start, maximum : float
        Both are among the alphas; ``maximum`` alone where ``start`` is not below it.

    Yields
    ------
    float
    """
    alpha = start
    while alpha < maximum:
        yield alpha
        alpha += max(LEAST_STEP, alpha / 4 if alpha >= 1 else 0.0)
    yield maximum


def ecinn_alpha1(alpha0: float) -> float:
    """Return ECINN's convincing alpha, 4/5 + alpha0/2.

    It stands behind alpha0 only for alpha0 < 1.6.

    Examples
    --------
    >>> ecinn_alpha1(0.5)
    1.05
    """
    return 0.8 + alpha0 / 2


def convincing_alpha(
    scores: Scores, crossing: float, probability: float, complete: float = FULL_DISPLACEMENT
) -> float:
    """Return an alpha behind the boundary at which the head is convinced, at most ``complete``.

    The larger of ECINN's 4/5 + boundary/2 and the alpha at which p(target) reaches
    ``probability``; the former counts only where p(target) has not fallen again by then. Where
    ``probability`` is not reached up to ``complete``, the larger of ECINN's and 5/4 of the boundary, if
    the target still leads there; else the alpha at which it leads most.

    Parameters
    ----------
    scores : Scores
        The path with its head.
    crossing : float
        The boundary, at most ``complete``.
    probability : float
        What p(target) should reach.
    complete : float
        Where the change is complete: nothing beyond is looked at.

    Returns
    -------
    float
        Between ``crossing`` and ``complete``.
    """
    published = min(ecinn_alpha1(crossing), complete)
    reached = alpha_for_probability(scores, probability, start=crossing, maximum=complete)
    if reached is not None:
        holds = scores.probability(published) >= probability
        return max(published, reached) if holds else reached
    behind = min(max(published, BEHIND * crossing), complete)
    if scores.margin(behind) > 0:
        return behind
    return max(outward(crossing, complete), key=scores.margin)


def settle_on_exported(
    found: SpecialAlphas,
    images: ExportedImages,
    target: int,
    *,
    probability: float,
    cancelled: Cancelled = never_cancelled,
) -> SpecialAlphas:
    """Correct the special alphas where rounding and clipping make the exported images differ.

    ``alpha1`` stays: a change is as large as its method says, and is not made larger to convince.
    Where its exported image does not flip, that is told.

    Parameters
    ----------
    found : SpecialAlphas
        As found on the head.
    images : ExportedImages
        The path's images.
    target : int
        Index of the target class.
    probability : float
        What p(target) should reach at ``wanted``.
    cancelled : callable
        Asked before every inversion; the alphas then stay about where they are.

    Returns
    -------
    SpecialAlphas
        ``boundary`` and ``wanted`` corrected, None where no exported image has them; the others as
        found.
    """
    if found.boundary is None:
        return found
    crossing = find_exported_boundary(images, found.boundary, target, found.alpha1, cancelled)
    wanted = found.wanted
    if crossing is None:
        wanted = None  # half of what is wanted is not reached
    elif wanted is not None:
        start = max(0.0, crossing)
        wanted = find_exported_probability(images, wanted, target, probability, start, cancelled)
    return SpecialAlphas(crossing, found.alpha0, found.alpha1, wanted)


def find_exported_boundary(
    images: ExportedImages,
    crossing: float,
    target: int,
    alpha1: float | None,
    cancelled: Cancelled = never_cancelled,
) -> float | None:
    """Return the alpha whose exported image is undecided.

    That is ``crossing`` itself unless rounding, clipping or channels put back have moved the exported
    image off the boundary; then it is bisected again on exported images, each of which has to be
    inverted: before ``crossing``, between it and ``alpha1``, or beyond both by steps of a half. None
    where no exported image that was tried, up to the largest alpha, is predicted as the target.

    Parameters
    ----------
    images : ExportedImages
        The path's images.
    crossing : float
        The boundary as found on the head.
    target : int
        Index of the target class.
    alpha1 : float or None
        Of the answer, if there is one.
    cancelled : callable
        Asked before every inversion; the search then ends where it is.

    Returns
    -------
    float or None
    """

    def margin(alpha: float) -> float:
        if cancelled():
            return 0.0
        found = images.frame(alpha).margin(target)
        return 0.0 if abs(found) < UNDECIDED else found

    off = margin(crossing)
    if off == 0 or (off > 0 and margin(0.0) >= 0):
        return crossing
    if off > 0:
        return float(scipy.optimize.brentq(margin, 0.0, crossing, xtol=EXPORTED_TOLERANCE))
    if alpha1 is not None and alpha1 > 0 and margin(alpha1) >= 0:
        low = crossing if alpha1 > crossing else 0.0
        if margin(low) < 0:
            return float(scipy.optimize.brentq(margin, low, alpha1, xtol=EXPORTED_TOLERANCE))
    beyond = _onward_from(margin, max(crossing, alpha1 or 0.0))
    return crossing if cancelled() else beyond  # what was asked last then means nothing


def find_exported_probability(
    images: ExportedImages,
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

    Parameters
    ----------
    images : ExportedImages
        The path's images.
    wanted : float
        The alpha as found on the head.
    target : int
        Index of the target class.
    probability : float
        What p(target) should reach, between 0 and 1.
    start : float
        The boundary of the exported images; 0 or more.
    cancelled : callable
        Asked before every inversion; the search then ends where it is.

    Returns
    -------
    float or None
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
    return float(scipy.optimize.brentq(missing, low, wanted, xtol=EXPORTED_TOLERANCE))


def _onward_from(missing: Callable[[float], float], wanted: float) -> float | None:
    alpha, here = wanted, -1.0
    while here < 0:
        if alpha >= LARGEST_ALPHA:
            return None
        before, alpha = alpha, min(LARGEST_ALPHA, FURTHER * max(alpha, LEAST_STEP))
        here = missing(alpha)
    return (
        alpha
        if here == 0
        else float(scipy.optimize.brentq(missing, before, alpha, xtol=EXPORTED_TOLERANCE))
    )


def boundary_notes(
    found: SpecialAlphas, final: SpecialAlphas, target: str, complete: float | None = None
) -> list[str]:
    """Return what there is to say about the boundary, and where the export moved an alpha.

    Parameters
    ----------
    found, final : SpecialAlphas
        As found on the head, and as corrected on exported images.
    target : str
        Name of the target class.
    complete : float or None
        Where the change is complete; None where the method does not know.

    Returns
    -------
    list of str
        Empty where there is nothing to say.
    """
    if found.boundary is None:
        return [f"no image on this path up to alpha {LARGEST_ALPHA:g} is predicted as {target}"]
    if final.boundary is None:
        return [
            f"no exported image that was tried up to alpha {LARGEST_ALPHA:g} is predicted as {target}: "
            f"rounding, clipping or channels put back undo what the head sees from alpha {found.boundary:.3g} on"
        ]
    sentences = []
    if complete is not None and final.boundary > complete:
        sentences.append(
            f"{target} is reached only at alpha {final.boundary:.3g}, beyond the complete change "
            f"(alpha {complete:.3g})"
        )
    moved = [
        ("the boundary", found.boundary, final.boundary),
        ("the wanted probability", found.wanted, final.wanted),
    ]
    return sentences + [
        f"rounding, clipping or channels put back moved {name} of the exported images "
        f"from alpha {before:.3g} to {after:.3g}"
        for name, before, after in moved
        if before is not None and after is not None and before != after
    ]


def wanted_notes(
    found: SpecialAlphas,
    final: SpecialAlphas,
    wanted: float,
    target: str,
    complete: float = LARGEST_ALPHA,
) -> list[str]:
    """Return a sentence when the complete change has the target, but not the wanted probability.

    Parameters
    ----------
    found, final : SpecialAlphas
        As found on the head, and as corrected on exported images.
    wanted : float
        Probability that was wanted, between 0 and 1.
    target : str
        Name of the target class.
    complete : float
        Alpha where the change is complete; by default none is beyond it.

    Returns
    -------
    list of str
        One sentence at most.
    """
    if final.boundary is None:
        return []
    if final.wanted is not None:
        beyond = final.boundary <= complete < final.wanted
        where = f"p({target}) reaches {wanted:g} only at alpha {final.wanted:.3g}"
        return [f"{where}, beyond the complete change (alpha {complete:.3g})"] if beyond else []
    if found.wanted is None:
        return [
            f"p({target}) reaches {wanted:g} nowhere on this path up to alpha {LARGEST_ALPHA:g}"
        ]
    return [
        f"no exported image up to alpha {LARGEST_ALPHA:g} reaches p({target}) = {wanted:g}: "
        "rounding, clipping or channels put back keep it below"
    ]
