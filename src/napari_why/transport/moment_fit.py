"""The search for the coefficients of a change in few numbers: the generalised method of moments.

The moved images of one class are to have, on average, the statistics of real images of the other
(Hansen 1982). What a difference counts is told by how much means over a dozen wells differ anyway: wells, and
not images, are what is drawn from a class. Slopes are of changes of the very same images, so that a few
dozen tell them; how far the statistics are from their goal is always told by all.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from napari_why.core.devices import to_float64
from napari_why.transport.channel_change import TERMS, Prepared, Values, by_term
from napari_why.transport.channel_statistics import ChannelFrame

# Of a Gauss-Newton search: most rounds, and the gain below which it ends.
ROUNDS, LEAST_GAIN = 14, 0.05
# How often the covariance of the moved images is taken anew where nothing is known of it.
WEIGHED_ANEW = 2
# Step of a coefficient for its slope, and the largest step of a round: logarithms of factors.
SLOPE_STEP, LARGEST_STEP = 0.03, 0.5
# Farther from no change nothing is foreseen: a factor of e.
LARGEST_START = 1.0
# After a smaller step slopes are as they were: no coefficient changed anything by more than a tenth.
STEADY = 0.1
# Of the diagonal, at the first step.
DAMPING = 0.01
# Of statistics that never differ.
SMALLEST_VARIANCE = 1e-30
# Images that slopes are taken of: noise and cells are the same before and after.
SLOPE_IMAGES = 64


class MomentFit:
    """The fit of one channel: its moments, their covariance, and the search for coefficients.

    Parameters
    ----------
    frame : ChannelFrame
    source, target : Tensor, shape (N, C, H, W)
        Preprocessed images of the two classes, in mixed order.
    groups : (Tensor, Tensor), int64, shape (N,), optional
        Which well, or other group, each image of the two is of: images of a group are alike, and tell
        less than as many of different groups. Every image on its own by default.
    slope_images : int
        Slopes are taken of that many of the source's images, the first.
    """

    def __init__(
        self,
        frame: ChannelFrame,
        source: Tensor,
        target: Tensor,
        groups: tuple[Tensor, Tensor] | None = None,
        *,
        slope_images: int = SLOPE_IMAGES,
    ) -> None:
        self.change, self._statistics = frame.unchanged, frame.statistics
        self._source = self.change.prepare(source)
        generator = torch.Generator().manual_seed(0)  # one and the same noise for every coefficient
        shape = self._source.above.shape
        self._noise = (
            torch.randn(shape, generator=generator),
            torch.randn(shape, generator=generator),
        )
        self._few = self._source.first(slope_images)
        self._noise_of_few = self._noise[0][:slope_images], self._noise[1][:slope_images]
        found = frame.describe(target)
        self._groups = groups or (torch.arange(len(source)), torch.arange(len(target)))
        self._goal, self._spread = found.mean(0), covariance_of_mean(found, self._groups[1])
        # as many observations as there are groups
        self._independent = sum(len(torch.unique(part)) for part in self._groups)

    @property
    def statistics_count(self) -> int:
        """How many statistics are compared."""
        return len(self._goal)

    def moments(self, values: Tensor, names: Sequence[str]) -> Tensor:
        """Return the statistics (N, S) of the moved images.

        Parameters
        ----------
        values : Tensor, shape (K,)
            Coefficients in the order of ``names``.
        names : sequence of str
            Keys of :data:`~napari_why.transport.channel_change.TERMS`, ``noise`` among them.

        Returns
        -------
        Tensor, shape (N, S)
        """
        return self._describe(self._source, values, names, self._noise)

    def solve(
        self, names: Sequence[str], start: Tensor | None = None, *, weight: Tensor | None = None
    ) -> "Solution":
        """Find the coefficients of some terms.

        Parameters
        ----------
        names : sequence of str
            Terms.
        start : Tensor, float64, shape (K,), optional
            Where the search begins; no change by default.
        weight : Tensor, float64, shape (S, S), optional
            What differences count, as told by a solution that this one is to be compared with; found
            anew from the moved images by default.

        Returns
        -------
        Solution
        """
        values = start_values(names, None) if start is None else start
        if weight is not None:
            return self._search(names, values, weight)
        found = self._search(names, values, self._weigh(self.moments(values, names)))
        for _ in range(WEIGHED_ANEW if start is None else 1):
            weight = self._weigh(self.moments(found.values, names))
            found = self._search(names, found.values, weight)
        return found

    def foresee(self, known: "Solution", name: str) -> "Solution":
        """Return what one more term would come to, were all as straight as it begins.

        One step of Gauss and Newton from a solution, with the slopes of the new term alone to be taken
        (after the score test: Rao 1948).

        Parameters
        ----------
        known : Solution
            Without the new term.
        name : str
            Of the new term, a key of :data:`~napari_why.transport.channel_change.TERMS`.

        Returns
        -------
        Solution
            Of all terms, not searched for.
        """
        names = (*known.names, name)
        values, old = start_values(names, known.by_name()), len(known.values)
        new = range(old, len(values))
        at_start, left = self._mean_of_few(values, names), known.left
        if TERMS[name].start:
            nothing = values.clone()
            nothing[old:] = 0
            left = left + at_start - self._mean_of_few(nothing, names)
        slopes = torch.cat([known.slopes, self._slopes(values, names, new, at_start)], 1)
        prior, weight = prior_precision(names), known.weight
        hessian = slopes.T @ weight @ slopes + prior
        gradient = slopes.T @ weight @ left + prior @ values
        move = _step(hessian, gradient, least_values(names) - values)
        left = left + slopes @ move
        values = values + move
        objective = _objective(left, values, weight, prior)
        return Solution(names, values, hessian, prior, objective, left, weight, slopes)

    def _search(self, names: Sequence[str], values: Tensor, weight: Tensor) -> "Solution":
        """Take Gauss-Newton steps, damped (Levenberg-Marquardt), while they gain anything."""
        prior, least, damping = prior_precision(names), least_values(names), DAMPING
        left = self.moments(values, names).mean(0) - self._goal
        objective = _objective(left, values, weight, prior)
        slopes, fresh = self._slopes(values, names), True
        for _ in range(ROUNDS):
            hessian = slopes.T @ weight @ slopes + prior
            gradient = slopes.T @ weight @ left + prior @ values
            before, gained = objective, False
            for _ in range(5):  # each damps ten times as much
                damped = hessian + damping * torch.diag(hessian.diagonal())
                move = _step(damped, gradient, least - values).clamp(-LARGEST_STEP, LARGEST_STEP)
                after = self.moments(values + move, names).mean(0) - self._goal
                reached = _objective(after, values + move, weight, prior)
                if gained := reached < objective:
                    values, left, objective = values + move, after, reached
                    damping /= 10
                    break
                damping *= 10
            if fresh and (not gained or before - objective < LEAST_GAIN):
                break
            fresh = (
                not gained or before - objective < LEAST_GAIN or float(move.abs().max()) > STEADY
            )
            if fresh:
                slopes = self._slopes(values, names)
        hessian = slopes.T @ weight @ slopes + prior
        return Solution(tuple(names), values, hessian, prior, objective, left, weight, slopes)

    def _describe(
        self,
        prepared: Prepared,
        values: Tensor,
        names: Sequence[str],
        noise: tuple[Tensor, Tensor],
    ) -> Tensor:
        moved = self.change.noisy(prepared, by_term(values, names), noise)
        return self._statistics(moved, prepared.distances)

    def _mean_of_few(self, values: Tensor, names: Sequence[str]) -> Tensor:
        return self._describe(self._few, values, names, self._noise_of_few).mean(0)

    def _slopes(
        self,
        values: Tensor,
        names: Sequence[str],
        which: Sequence[int] | None = None,
        here: Tensor | None = None,
    ) -> Tensor:
        """Return the slopes (S, K) of the mean statistics for some of the coefficients, or all."""
        here = self._mean_of_few(values, names) if here is None else here
        found = []
        for index in range(len(values)) if which is None else which:
            moved = values.clone()
            moved[index] += SLOPE_STEP
            found.append((self._mean_of_few(moved, names) - here) / SLOPE_STEP)
        return torch.stack(found, 1)

    def covariance(self, found: "Solution") -> Tensor:
        """Return the covariance (K, K) of coefficients: Laplace's approximation, for few images.

        A covariance of S moments that is itself estimated from N images makes a fit look better known
        than it is: by (N - 1) / (N - S - 2) (Hartlap et al. 2007), and about as much again since the
        weights are of the same images (Dodelson & Schneider 2013). Both together are, to first order,
        (1 + S / N) squared, which also holds something where N is below S. The prior stays what it is.
        N counts groups, where images come in groups.
        """
        told = (1 + self.statistics_count / self._independent) ** -2
        covariance: Tensor = torch.linalg.inv(told * (found.hessian - found.prior) + found.prior)
        return covariance

    def _weigh(self, found: Tensor) -> Tensor:
        """Return the inverse covariance of the difference of both means, shrunk to its diagonal."""
        covariance = covariance_of_mean(found, self._groups[0]) + self._spread
        # about as many numbers are estimated as there are images: the share that is noise
        share = min(0.5, found.shape[1] / sum(map(len, self._groups)))
        diagonal = torch.diag(covariance.diagonal())
        ridge = 1e-9 * torch.eye(len(covariance), dtype=covariance.dtype)
        weight: Tensor = torch.linalg.inv((1 - share) * covariance + share * diagonal + ridge)
        return weight


@dataclass(frozen=True)
class Solution:
    """Coefficients of some terms and how well they explain the difference of the classes.

    Parameters
    ----------
    names : tuple of str
        Terms.
    values : Tensor, float64, shape (K,)
    hessian, prior : Tensor, float64, shape (K, K)
        Half the second derivatives of the objective, and its part that the prior makes.
    objective : float
        Squared distance of the moments plus that from no change.
    left : Tensor, float64, shape (S,)
        How far the moments are from their goal.
    weight : Tensor, float64, shape (S, S)
        What these distances count. Evidence is compared under one and the same weight.
    slopes : Tensor, float64, shape (S, K)
        Of the moments.
    """

    names: tuple[str, ...]
    values: Tensor
    hessian: Tensor
    prior: Tensor
    objective: float
    left: Tensor
    weight: Tensor
    slopes: Tensor

    @property
    def evidence(self) -> float:
        """Logarithm of the evidence, but for a constant (Laplace's approximation)."""
        occam = torch.linalg.slogdet(self.prior)[1] - torch.linalg.slogdet(self.hessian)[1]
        return -0.5 * self.objective + 0.5 * float(occam)

    def by_name(self) -> dict[str, Tensor]:
        """Return the coefficients by term."""
        return by_term(self.values, self.names)


def start_values(names: Sequence[str], known: Values | None) -> Tensor:
    """Return where the search begins: what is known already, else no change.

    Parameters
    ----------
    names : sequence of str
        Keys of :data:`~napari_why.transport.channel_change.TERMS`.
    known : mapping of str to Tensor, or None
        Coefficients of some of them, and perhaps of others.

    Returns
    -------
    Tensor, float64, shape (K,)
        In the order of ``names``.
    """
    parts = []
    for name in names:
        term = TERMS[name]
        found = None if known is None else known.get(name)
        parts.append(torch.full((term.size,), term.start) if found is None else found.reshape(-1))
    return to_float64(torch.cat(parts))


def start_near(foreseen: Solution) -> Tensor:
    """Return where to begin the search for what was foreseen: no farther than a few steps of it."""
    return foreseen.values.clamp(-LARGEST_START, LARGEST_START)


def least_values(names: Sequence[str]) -> Tensor:
    """Return how low each coefficient may go, float64, shape (K,)."""
    return to_float64(
        torch.cat([torch.full((TERMS[name].size,), TERMS[name].least) for name in names])
    )


def prior_precision(names: Sequence[str]) -> Tensor:
    """Return the precision (K, K), float64, of the Gaussian prior around no change."""
    blocks = []
    for name in names:
        term = TERMS[name]
        if not term.smooth:
            blocks.append(torch.eye(term.size) / term.deviation**2)
            continue
        steps = torch.diff(torch.eye(term.size), dim=0)
        # neighbours tied, and the whole loosely: a function may lie anywhere and is to be smooth
        blocks.append((steps.T @ steps + 0.25 * torch.eye(term.size)) / term.deviation**2)
    whole = torch.zeros(0, 0)
    for block in blocks:
        size = len(whole)
        whole = F.pad(whole, (0, len(block), 0, len(block)))
        whole[size:, size:] = block
    return to_float64(whole)


def covariance_of_mean(found: Tensor, groups: Tensor) -> Tensor:
    """Return the covariance (S, S) of the mean of statistics (N, S) of images that come in groups.

    Of few groups a covariance of their means has too low a rank to be used alone. It is mixed with that of
    independent images, each statistic of which varies by as much more as the means of its groups do (the
    design effect: Kish 1965): that of S statistics counts as S groups would.

    Parameters
    ----------
    found : Tensor, float64, shape (N, S)
    groups : Tensor, int64, shape (N,)

    Returns
    -------
    Tensor, float64, shape (S, S)
    """
    centred = found - found.mean(0)
    independent = centred.T @ centred / max(1, len(found) - 1) / len(found)
    names, member = torch.unique(groups, return_inverse=True)
    if len(names) == len(found) or len(names) < 2:
        return independent
    sums = torch.zeros(len(names), found.shape[1], dtype=found.dtype).index_add_(0, member, centred)
    grouped = sums.T @ sums * len(names) / (len(names) - 1) / len(found) ** 2
    # never less than of independent images: that would be chance
    least = independent.diagonal()
    variance = torch.maximum(grouped.diagonal(), least)
    share = found.shape[1] / (found.shape[1] + len(names) - 1)
    return share * _rescale(independent, variance) + (1 - share) * _rescale(grouped, variance)


def _rescale(covariance: Tensor, variance: Tensor) -> Tensor:
    """Return a covariance (S, S) of the same correlations with these variances (S,)."""
    own = covariance.diagonal()
    factor = torch.where(own > 0, variance / own.clamp(min=SMALLEST_VARIANCE), 0).sqrt()
    return covariance * factor[:, None] * factor


def _step(hessian: Tensor, gradient: Tensor, least: Tensor) -> Tensor:
    """Return the Newton step (K,) that stays above ``least``: what would go below stops there."""
    move: Tensor = torch.linalg.solve(hessian, -gradient)
    held = move < least
    if not held.any():
        return move
    move = torch.where(held, least, move)
    free = ~held
    rest = gradient[free] + hessian[free][:, held] @ move[held]
    move[free] = torch.linalg.solve(hessian[free][:, free], -rest)
    return torch.maximum(move, least)


def _objective(left: Tensor, values: Tensor, weight: Tensor, prior: Tensor) -> float:
    return float(left @ weight @ left + values @ prior @ values)
