"""Which alphas of a path have a name, and by which rule a method finds its convincing one."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from napari_why.core.events import Cancelled, never_cancelled
from napari_why.counterfactuals.boundary import (
    ENLARGEMENT,
    LARGEST_ALPHA,
    ExportedImages,
    Scores,
    alpha_for_probability,
    boundary,
    enlarge_until_valid,
    find_exported_boundary,
    find_exported_probability,
    outward,
)

# Two full displacements: twice as far as the classes lie apart.
FAR_ALPHA = 2.0
# Rounding alone moves a probability by less.
PROBABILITY_TOLERANCE = 0.01


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


class AlphaRule(ABC):
    """How a method finds the alphas of its path; one for each way that methods know."""

    # Whether alpha1 may be moved where the exported image is not predicted as the target.
    enlarges: ClassVar[bool] = True

    @property
    def full_alpha(self) -> float | None:
        """Where the change is held to be complete; None where the method has no such alpha."""
        return None

    @abstractmethod
    def find_alpha1(self, scores: Scores, probability: float) -> float | None:
        """Return the convincing alpha on the head alone, None where there is none.

        Parameters
        ----------
        scores : Scores
            Class scores on the path.
        probability : float
            What p(target) should reach there, for rules that promise it.
        """

    @abstractmethod
    def find(self, scores: Scores, probability: float) -> SpecialAlphas:
        """Return all special alphas on the head alone; nothing is inverted."""

    def notes(
        self,
        found: SpecialAlphas,
        final: SpecialAlphas,
        reached: float | None,
        probability: float,
        target: str,
    ) -> list[str]:
        """Return what is to be said about the alphas that this rule found.

        Parameters
        ----------
        found, final : SpecialAlphas
            On the head, and as corrected on exported images.
        reached : float or None
            p(target) of the exported image at alpha1; None where that is no valid one.
        probability : float
            What was wanted.
        target : str
            Name of the target class.
        """
        del found, probability  # only for rules that promise something
        return [] if reached is None else conviction_notes(final.alpha1, reached, None, target)


@dataclass(frozen=True)
class Convincing(AlphaRule):
    """Go past the boundary until the head is convinced: for methods that know no alpha of their own."""

    def find_alpha1(self, scores: Scores, probability: float) -> float | None:
        """See :func:`convincing_alpha`; None without a boundary ahead."""
        return self.find(scores, probability).alpha1

    def find(self, scores: Scores, probability: float) -> SpecialAlphas:
        """Return the boundary, which stands for alpha0 too, and the convincing alpha behind it."""
        crossing = boundary_ahead(scores)
        if crossing is None:
            return SpecialAlphas(None, None, None)
        return SpecialAlphas(crossing, crossing, convincing_alpha(scores, crossing, probability))

    def notes(
        self,
        found: SpecialAlphas,
        final: SpecialAlphas,
        reached: float | None,
        probability: float,
        target: str,
    ) -> list[str]:
        """Say where the promised probability is not reached."""
        del found
        if reached is None:
            return []
        return conviction_notes(final.alpha1, reached, probability, target)


@dataclass(frozen=True)
class Published(AlphaRule):
    """ECINN's formulas: ``alpha0`` from the hyperplane between the means, alpha1 = 4/5 + alpha0/2.

    Parameters
    ----------
    alpha0 : float or None
        Where the formula expects the boundary; None where the path runs along it.
    """

    alpha0: float | None
    enlarges: ClassVar[bool] = False  # a published alpha is shown as it was published

    def find_alpha1(self, scores: Scores, probability: float) -> float | None:
        """Return :func:`ecinn_alpha1`; the head is not asked."""
        del scores, probability
        return None if self.alpha0 is None else ecinn_alpha1(self.alpha0)

    def find(self, scores: Scores, probability: float) -> SpecialAlphas:
        """Return the formulas' alphas beside the boundary that the head has."""
        return SpecialAlphas(
            boundary_ahead(scores), self.alpha0, self.find_alpha1(scores, probability)
        )


@dataclass(frozen=True)
class Complete(AlphaRule):
    """The method knows where its change is complete, whatever the head says there.

    Parameters
    ----------
    alpha : float
        That alpha: 1 is the whole displacement, more is an overshoot.
    """

    alpha: float = 1.0

    @property
    def full_alpha(self) -> float | None:
        """Where the change is complete."""
        return self.alpha

    def find_alpha1(self, scores: Scores, probability: float) -> float | None:
        """Return the complete change; the head is not asked."""
        del scores, probability
        return self.alpha

    def find(self, scores: Scores, probability: float) -> SpecialAlphas:
        """Return the complete change, and apart from it where the wanted probability is reached."""
        crossing = boundary_ahead(scores)
        wanted = None
        if crossing is not None:
            wanted = alpha_for_probability(scores, probability, start=max(crossing, 0.0))
        return SpecialAlphas(crossing, crossing, self.alpha, wanted)

    def notes(
        self,
        found: SpecialAlphas,
        final: SpecialAlphas,
        reached: float | None,
        probability: float,
        target: str,
    ) -> list[str]:
        """Say where no image has the wanted probability."""
        return [
            *wanted_notes(found, final, probability, target),
            *super().notes(found, final, reached, probability, target),
        ]


def boundary_ahead(scores: Scores) -> float | None:
    """Return the boundary; None for an image that is predicted as the target already."""
    return None if scores.margin(0.0) > 0 else boundary(scores)


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
        return [f"no image on this path up to alpha {LARGEST_ALPHA:g} is called {target}"]
    if valid is False:
        return [f"the exported image at alpha1 is not called {target}"]
    moved = [
        ("the boundary", found.boundary, final.boundary),
        ("the wanted probability", found.wanted, final.wanted),
    ]
    sentences = []
    if found.alpha1 is not None and found.alpha1 < found.boundary and final.alpha1 != found.alpha1:
        # the head is not convinced there either: the export is not to blame
        sentences.append(
            f"the complete change, alpha {found.alpha1:.3g}, is not called {target}: "
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


def conviction_notes(
    alpha1: float | None, reached: float, wanted: float | None, target: str
) -> list[str]:
    """Return sentences about an alpha1 that does not convince, or lies far out.

    Parameters
    ----------
    alpha1 : float or None
        Position of the convincing image.
    reached : float
        p(target) of that image, as exported.
    wanted : float or None
        What was asked for; None for a method whose alpha1 is published.
    target : str
        Name of the target class.
    """
    sentences = []
    if wanted is not None and reached < wanted - PROBABILITY_TOLERANCE:
        sentences.append(f"p({target}) is {reached:.2f} at alpha1; {wanted:g} was wanted")
    if alpha1 is not None and alpha1 > FAR_ALPHA:
        sentences.append(
            f"alpha1 is {alpha1:.3g} times the difference between the classes: "
            f"the image lies beyond the training images of {target}"
        )
    return sentences
