"""The alphas of a path that have a name: found on the head, settled on exported images, and told."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from scipy import optimize

from napari_why.core.events import Cancelled, never_cancelled

# Beyond this many full displacements a path is extrapolated so far that nothing is to be found.
LARGEST_ALPHA = 8.0
# A ten-millionth of the displacement is far below one grey level of any image.
ALPHA_TOLERANCE = 1e-7
# Exported pixels are rounded: their boundary has no more digits than this.
EXPORTED_TOLERANCE = 1e-6
# Two or three enlargements reach what clipping takes away; smaller ones would cost inversions.
ENLARGEMENT = 1.25
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
    """The alphas worth a name on one path; see :class:`~napari_why.counterfactuals.Counterfactual`."""

    boundary: float | None
    alpha0: float | None
    alpha1: float | None
    wanted: float | None = None

    @property
    def end(self) -> float:
        """Where the series ends by default: at alpha1, else after one full displacement."""
        return self.alpha1 if self.alpha1 is not None and self.alpha1 > 0 else 1.0

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
    wanted : float
        Probability, between 0 and 1.

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
            return float(optimize.brentq(function, before, alpha, xtol=ALPHA_TOLERANCE))
        before = alpha
    return None


def outward(start: float, maximum: float) -> Iterator[float]:
    """Yield alphas from ``start`` to ``maximum``: eighths up to 1, then steps of a quarter alpha."""
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


def convincing_alpha(scores: Scores, crossing: float, probability: float) -> float:
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


def settle_on_exported(
    found: SpecialAlphas,
    images: ExportedImages,
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
    images : ExportedImages
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
        alpha1 = enlarge_until_valid(images, alpha1, target, cancelled)
    if crossing is not None:
        crossing = find_exported_boundary(images, crossing, target, alpha1, cancelled)
    wanted = found.wanted
    if wanted is not None:
        start = max(0.0, crossing or 0.0)
        wanted = find_exported_probability(images, wanted, target, probability, start, cancelled)
    return SpecialAlphas(crossing, found.alpha0, alpha1, wanted)


def enlarge_until_valid(
    images: ExportedImages, alpha1: float, target: int, cancelled: Cancelled = never_cancelled
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


def find_exported_boundary(
    images: ExportedImages,
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
    return float(optimize.brentq(margin, crossing, other, xtol=EXPORTED_TOLERANCE))


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
    return float(optimize.brentq(missing, low, wanted, xtol=EXPORTED_TOLERANCE))


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
        else float(optimize.brentq(missing, before, alpha, xtol=EXPORTED_TOLERANCE))
    )


def boundary_notes(
    found: SpecialAlphas, final: SpecialAlphas, valid: bool | None, target: str
) -> list[str]:
    """Return what there is to say about the boundary and about alpha1.

    Parameters
    ----------
    found, final : SpecialAlphas
        As found on the head, and as corrected on exported images.
    valid : bool or None
        The exported image at alpha1 is predicted as the target; None where there is no such
        image, since the method gives no alpha1 or the work was cancelled before.
    target : str
        Name of the target class.
    """
    if found.boundary is None:
        return [f"no image on this path up to alpha {LARGEST_ALPHA:g} is predicted as {target}"]
    if valid is False:
        return [f"the exported image at alpha1 is not predicted as {target}"]
    moved = [
        ("the boundary", found.boundary, final.boundary),
        ("the wanted probability", found.wanted, final.wanted),
    ]
    sentences = []
    if found.alpha1 is not None and found.alpha1 < found.boundary and final.alpha1 != found.alpha1:
        # the head is not convinced there either: the export is not to blame
        sentences.append(
            f"the complete change, alpha {found.alpha1:.3g}, is not predicted as {target}: "
            f"it was enlarged to alpha {final.alpha1:.3g}"
        )
    else:
        moved.insert(1, ("alpha1", found.alpha1, final.alpha1))
    return sentences + [
        f"rounding, clipping or channels put back moved {name} of the exported images "
        f"from alpha {before:.3g} to {after:.3g}"
        for name, before, after in moved
        if before is not None and after is not None and before != after
    ]


def wanted_notes(
    found: SpecialAlphas, final: SpecialAlphas, wanted: float, target: str
) -> list[str]:
    """Return a sentence when there is a boundary, but no image with the wanted probability."""
    if final.boundary is None or final.wanted is not None:
        return []
    if found.wanted is None:
        return [
            f"p({target}) reaches {wanted:g} nowhere on this path up to alpha {LARGEST_ALPHA:g}"
        ]
    return [
        f"no exported image up to alpha {LARGEST_ALPHA:g} reaches p({target}) = {wanted:g}: "
        "rounding, clipping or channels put back keep it below"
    ]
