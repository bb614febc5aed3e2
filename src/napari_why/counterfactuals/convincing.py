"""Which alpha is convincing: past the boundary, by a rule that is checked on exported pixels."""

from dataclasses import dataclass

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


@dataclass(frozen=True)
class SpecialAlphas:
    """The alphas worth a name on one path; see :class:`Counterfactual.special_alphas`."""

    boundary: float | None
    alpha0: float | None
    alpha1: float | None

    @property
    def end(self) -> float:
        """Where the series ends by default: at alpha1, else after one full displacement."""
        return self.alpha1 if self.alpha1 is not None and self.alpha1 > 0 else 1.0

    def named(self) -> dict[str, float | None]:
        """Return them by name."""
        return {"boundary": self.boundary, "alpha0": self.alpha0, "alpha1": self.alpha1}


def special_alphas(path: LatentPath, scores: ScoresOnPath, probability: float) -> SpecialAlphas:
    """Find the special alphas on the head alone; nothing is inverted.

    Parameters
    ----------
    path : LatentPath
        The path.
    scores : ScoresOnPath
        Its class scores.
    probability : float
        What p(target) should reach at alpha1, for paths without a published formula.
    """
    crossing = boundary(scores)
    if path.closed_form:
        alpha1 = None if path.alpha0 is None else ecinn_alpha1(path.alpha0)
        return SpecialAlphas(crossing, path.alpha0, alpha1)
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
    ``probability`` (where it never does: at which it is largest). The former counts only where
    p(target) has not fallen again by then.
    """
    reached = alpha_for_probability(scores, probability, start=crossing)
    if reached is None:
        reached = max(outward(crossing, LARGEST_ALPHA), key=scores.log_odds)
    published = ecinn_alpha1(crossing)
    enough = min(probability, scores.probability(reached))
    return max(published, reached) if scores.probability(published) >= enough else reached


def enlarged_until_valid(images: ImagesOnPath, alpha1: float, target: int) -> float:
    """Enlarge alpha1 until the image *as exported* is predicted as the target.

    Clipping and rounding can undo a flip. Returns ``alpha1`` itself where no larger one up to
    the largest alpha helps.
    """
    alpha = alpha1
    while alpha <= LARGEST_ALPHA:
        if int(images.frame(alpha).probabilities.argmax()) == target:
            return alpha
        alpha *= ENLARGEMENT
    return alpha1
