"""Where a path crosses into the target class; of an invertible network without inverting."""

import math
from collections.abc import Callable, Iterator

import torch
from scipy import optimize

from napari_why.counterfactuals.path import LatentPath
from napari_why.networks.network import DecodingNetwork

# Beyond this many full displacements a path is extrapolated so far that nothing is to be found.
LARGEST_ALPHA = 8.0
_ALPHA_TOLERANCE = 1e-7


class ScoresOnPath:
    """Class scores of the latents on a path; each alpha is computed once.

    Parameters
    ----------
    network : DecodingNetwork
        Frozen.
    path : LatentPath
        The path.
    target : int
        Index of the target class.
    """

    def __init__(self, network: DecodingNetwork, path: LatentPath, target: int) -> None:
        self.target = target
        self._network, self._path = network, path
        self._known: dict[float, torch.Tensor] = {}

    @torch.no_grad()
    def logits(self, alpha: float) -> torch.Tensor:
        """Return the logits (classes,) in float64."""
        if alpha not in self._known:
            self._known[alpha] = self._path.logits(self._network, [alpha])[0].cpu().double()
        return self._known[alpha]

    def probability(self, alpha: float) -> float:
        """Return the target's probability."""
        return self.logits(alpha).softmax(0)[self.target].item()

    def margin(self, alpha: float) -> float:
        """Return the target's logit minus the largest of the others'."""
        return (self.logits(alpha)[self.target] - self._others(alpha).max()).item()

    def log_odds(self, alpha: float) -> float:
        """Return log(p / (1 - p)) of the target; falls and rises evenly where p saturates."""
        return (self.logits(alpha)[self.target] - self._others(alpha).logsumexp(0)).item()

    def _others(self, alpha: float) -> torch.Tensor:
        logits = self.logits(alpha)
        return logits[torch.arange(len(logits)) != self.target]


def boundary(scores: ScoresOnPath, *, maximum: float = LARGEST_ALPHA) -> float | None:
    """Find the first alpha at which the target overtakes its strongest competitor.

    With two classes that is p(target) = 0.5; with more it is where the prediction changes.

    Parameters
    ----------
    scores : ScoresOnPath
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
    scores: ScoresOnPath,
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
            return float(optimize.brentq(function, before, alpha, xtol=_ALPHA_TOLERANCE))
        before = alpha
    return None


def outward(start: float, maximum: float) -> Iterator[float]:
    """Yield alphas from ``start`` to ``maximum``: eighths up to 1, then steps of a quarter alpha."""
    alpha = start
    while alpha < maximum:
        yield alpha
        alpha += max(0.125, alpha / 4 if alpha >= 1 else 0.0)
    yield maximum
