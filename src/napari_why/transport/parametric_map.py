"""A change in few numbers, fitted without pairs by the generalised method of moments.

A few dozen images cannot tell a map of thousands of numbers from chance. Here a channel, above its
background, is changed by a few plain terms: brightness, blur, more or less of fine structure, more or
less near the locked structures (nuclei, mostly), a curve of grey levels, larger or smaller structures.
Their coefficients are those for which the moved images of one class have, on average, the statistics of
real images of the other; each difference counts by how much the statistics vary between images (the
generalised method of moments: Hansen 1982). A Gaussian prior around no change keeps at nothing what the
images do not tell. Terms are added one by one while the evidence of the fit grows (Laplace's
approximation: MacKay 1992), so that brightness alone is the answer where brightness is all there is.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from napari_why.core.devices import to_float64
from napari_why.core.errors import ModelFileError
from napari_why.core.events import Cancelled, never_cancelled
from napari_why.transport.channel_change import (
    ALWAYS,
    CURVE_LEVELS,
    OPTIONAL,
    TERMS,
    ChannelChange,
    LockedStructures,
    Values,
    by_term,
)
from napari_why.transport.channel_statistics import ChannelFrame

# Images of a class that are looked at: the statistics of more are known no better than they need be.
MOST_IMAGES = 64
# Of fewer, some thirty statistics have no covariance to speak of.
FEWEST_IMAGES = 16
# Of a Gauss-Newton search: most rounds, and the gain below which it ends.
ROUNDS, LEAST_GAIN = 14, 0.05
# After these rounds the covariance of the moved images is taken anew.
WEIGHED_ANEW = (2, 5)
# Step of a coefficient for its slope, and the largest step of a round: logarithms of factors.
SLOPE_STEP, LARGEST_STEP = 0.03, 0.5
# Of six terms that are tried one does best by chance: each has to make the data seven times as likely.
LEAST_EVIDENCE = 2.0


class MomentFit:
    """The fit of one channel: its moments, their covariance, and the search for coefficients.

    Parameters
    ----------
    frame : ChannelFrame
    source, target : Tensor, shape (N, C, H, W)
        Preprocessed images of the two classes.
    groups : (Tensor, Tensor), int64, shape (N,), optional
        Which well, or other group, each image of the two is of: images of a group are alike, and tell
        less than as many of different groups. Every image on its own by default.
    """

    def __init__(
        self,
        frame: "ChannelFrame",
        source: Tensor,
        target: Tensor,
        groups: tuple[Tensor, Tensor] | None = None,
    ) -> None:
        self.change, self._statistics = frame.unchanged, frame.statistics
        self._source = self.change.prepare(source)
        generator = torch.Generator().manual_seed(0)  # one and the same noise for every coefficient
        shape = self._source.above.shape
        self._noise = (
            torch.randn(shape, generator=generator),
            torch.randn(shape, generator=generator),
        )
        found = frame.describe(target)
        self._groups = groups or (torch.arange(len(source)), torch.arange(len(target)))
        self._goal, self._spread = found.mean(0), _covariance_of_mean(found, self._groups[1])
        self._goal_count = len(found)

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
        moved = self.change.noisy(self._source, by_term(values, names), self._noise)
        return self._statistics(moved, self._source.shares)

    def solve(self, names: Sequence[str], start: Values | None = None) -> "Solution":
        """Find the coefficients of some terms by Gauss-Newton steps, damped (Levenberg-Marquardt).

        Parameters
        ----------
        names : sequence of str
            Keys of :data:`~napari_why.transport.channel_change.TERMS`, ``noise`` among them.
        start : mapping of str to Tensor, optional
            Coefficients by term to begin from; terms that are left out begin at no change.

        Returns
        -------
        Solution
        """
        prior = prior_precision(names)
        values = start_values(names, start)
        found = self.moments(values, names)
        weight, damping = self._weight(found), 1.0
        left, objective = self._measure(found, values, weight, prior)
        hessian = prior
        for step in range(ROUNDS):
            if step in WEIGHED_ANEW:
                weight = self._weight(found)
                left, objective = self._measure(found, values, weight, prior)
            slopes = torch.stack(
                [self._slope(values, names, k, found) for k in range(len(values))], 1
            )
            hessian = slopes.T @ weight @ slopes + prior
            gradient = slopes.T @ weight @ left + prior @ values
            better = None
            for _ in range(5):  # each damps four times as much
                damped = hessian + 0.1 * damping * torch.diag(hessian.diagonal())
                move = torch.linalg.solve(damped, -gradient).clamp(-LARGEST_STEP, LARGEST_STEP)
                tried = self.moments(values + move, names)
                after, reached = self._measure(tried, values + move, weight, prior)
                if reached < objective:
                    better = values + move, tried, after, reached
                    damping *= 0.3
                    break
                damping *= 4
            if better is None:
                break
            gained = objective - better[3]
            values, found, left, objective = better
            if gained < LEAST_GAIN and step >= max(WEIGHED_ANEW):
                break
        return Solution(tuple(names), values, hessian, prior, objective)

    def _slope(self, values: Tensor, names: Sequence[str], index: int, found: Tensor) -> Tensor:
        moved = values.clone()
        moved[index] += SLOPE_STEP
        return (self.moments(moved, names).mean(0) - found.mean(0)) / SLOPE_STEP

    def _measure(
        self, found: Tensor, values: Tensor, weight: Tensor, prior: Tensor
    ) -> tuple[Tensor, float]:
        left = found.mean(0) - self._goal
        return left, float(left @ weight @ left + values @ prior @ values)

    def covariance(self, found: "Solution") -> Tensor:
        """Return the covariance (K, K) of coefficients: Laplace's approximation, for few images.

        A covariance of S moments that is itself estimated from N images makes a fit look better known
        than it is: by (N - 1) / (N - S - 2) (Hartlap et al. 2007), and about as much again since the
        weights are of the same images (Dodelson & Schneider 2013). Both together are, to first order,
        (1 + S / N) squared, which also holds something where N is below S. The prior stays what it is.
        """
        images = len(self._source.above) + self._goal_count
        told = (1 + self.statistics_count / images) ** -2
        covariance: Tensor = torch.linalg.inv(told * (found.hessian - found.prior) + found.prior)
        return covariance

    def _weight(self, found: Tensor) -> Tensor:
        """Return the inverse covariance of the difference of both means, shrunk to its diagonal."""
        covariance = _covariance_of_mean(found, self._groups[0]) + self._spread
        # about as many numbers are estimated as there are images: the share that is noise
        share = min(0.5, found.shape[1] / (len(found) + self._goal_count))
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
    """

    names: tuple[str, ...]
    values: Tensor
    hessian: Tensor
    prior: Tensor
    objective: float

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


def _covariance_of_mean(found: Tensor, groups: Tensor) -> Tensor:
    """Return the covariance (S, S) of the mean of statistics (N, S) of images that come in groups.

    That of independent images, times how much more the means of groups scatter than those of as many
    independent images would (the design effect: Kish 1965), on average over the statistics. Of few
    groups a covariance of its own would have too low a rank.
    """
    centred = found - found.mean(0)
    independent = centred.T @ centred / max(1, len(found) - 1) / len(found)
    names, member = torch.unique(groups, return_inverse=True)
    if len(names) == len(found) or len(names) < 2:
        return independent
    sums = torch.zeros(len(names), found.shape[1], dtype=found.dtype).index_add_(0, member, centred)
    grouped = sums.square().sum(0) * len(names) / (len(names) - 1) / len(found) ** 2
    varies = independent.diagonal() > 0
    effect = (grouped[varies] / independent.diagonal()[varies]).mean() if varies.any() else 1.0
    # never less than of independent images: that would be chance
    return independent * max(1.0, float(effect))


def fit_channel(
    source: Tensor,
    target: Tensor,
    channel: int,
    locked: Sequence[int],
    *,
    groups: tuple[Tensor, Tensor] | None = None,
    cancelled: Cancelled = never_cancelled,
) -> ChannelChange:
    """Fit the change of one channel; terms are added while the evidence grows.

    Parameters
    ----------
    source, target : Tensor, shape (N, C, H, W)
        Preprocessed images of the two classes, not paired.
    channel : int
        The one that changes.
    locked : sequence of int
        Channels that stay, whose structures distances are measured from.
    groups : (Tensor, Tensor), optional
        See :class:`MomentFit`.
    cancelled : callable
        Asked between two terms; what was found by then is returned.

    Returns
    -------
    ChannelChange
        Of ``noise`` alone, which changes nothing, where no term is worth its coefficients.
    """
    frame = ChannelFrame.of(torch.cat([source, target]), channel, locked)
    fit = MomentFit(frame, source, target, groups)
    near = frame.unchanged.structures is not None
    optional = [name for name in OPTIONAL if near or not TERMS[name].needs_lock]
    best = fit.solve(ALWAYS)
    nothing = best.evidence
    while not cancelled():
        tried = [
            fit.solve((*best.names, name), best.by_name())
            for name in optional
            if name not in best.names
        ]
        next_best = max(tried, key=lambda item: item.evidence, default=best)
        if next_best.evidence < best.evidence + LEAST_EVIDENCE:
            break
        best = next_best
    return replace(
        frame.unchanged,
        values=best.by_name(),
        covariance=fit.covariance(best).float(),
        evidence=best.evidence - nothing,
        misfit=best.objective / max(1, fit.statistics_count - len(best.values)),
    )


def _find_changes_beside(
    found: dict[int, ChannelChange],
    pair: tuple[Tensor, Tensor],
    groups: tuple[Tensor, Tensor] | None,
    cancelled: Cancelled,
) -> None:
    """Look for changes by the distance from the structures of channels that do not change.

    Few images lock nothing, and yet a channel may change only near the nuclei of another one. Which of two
    channels moved towards the other's structures cannot be told, so only the one whose change the images
    speak for most is taken, and it is no longer asked where its structures are.
    """
    while not cancelled():
        still = [channel for channel, change in found.items() if not change.terms]
        tried = {
            channel: fit_channel(
                *pair,
                channel,
                [other for other in still if other != channel],
                groups=groups,
                cancelled=cancelled,
            )
            for channel in found
            if any(other != channel for other in still)
        }
        gains = {
            channel: change.evidence - found[channel].evidence for channel, change in tried.items()
        }
        best = max(gains, key=lambda channel: gains[channel], default=None)
        if best is None or gains[best] < LEAST_EVIDENCE:
            return
        found[best] = tried[best]
        if len(still) < 2:
            return


@dataclass(frozen=True)
class ParametricMap:
    """The change of every free channel in few numbers; a :class:`~.pixel_maps.PixelMap`.

    Parameters
    ----------
    changes : tuple of ChannelChange
        One a free channel.
    """

    changes: tuple[ChannelChange, ...]
    kind: ClassVar[str] = "parametric"

    @classmethod
    def fit(
        cls,
        source: Tensor,
        target: Tensor,
        locked: Sequence[int],
        *,
        groups: tuple[Tensor, Tensor] | None = None,
        cancelled: Cancelled = never_cancelled,
        each_channel: Callable[[], None] = lambda: None,
    ) -> "ParametricMap | None":
        """Fit on images (N, C, H, W) of the two classes; None of fewer than 16 of a class.

        The first 64 images of each are used, so they should be in a mixed order.

        Parameters
        ----------
        source, target : Tensor, shape (N, C, H, W), (M, C, H, W)
            Preprocessed.
        locked : sequence of int
            Channels that stay; distances are measured from their structures.
        groups : (Tensor, Tensor), int64, shape (N,), (M,), optional
            See :class:`MomentFit`.
        cancelled : callable
            Asked between two terms; what was found by then is returned.
        each_channel : callable
            Called after every free channel, for a bar.

        Returns
        -------
        ParametricMap or None
        """
        if min(len(source), len(target)) < FEWEST_IMAGES:
            return None
        source, target = source[:MOST_IMAGES].float(), target[:MOST_IMAGES].float()
        if groups is not None:
            groups = groups[0][:MOST_IMAGES], groups[1][:MOST_IMAGES]
        free = [channel for channel in range(source.shape[1]) if channel not in locked]
        found = {}
        for channel in free:
            found[channel] = fit_channel(
                source, target, channel, locked, groups=groups, cancelled=cancelled
            )
            each_channel()
        if not locked:
            _find_changes_beside(found, (source, target), groups, cancelled)
        return cls(tuple(found.values()))

    def __call__(self, images: Tensor) -> Tensor:
        """See :class:`~.pixel_maps.PixelMap`."""
        moved = images.clone()
        for change in self.changes:
            moved[:, change.channel] = change(images.cpu()).to(images)
        return moved

    def draw(self, generator: torch.Generator) -> "ParametricMap":
        """Return the map with coefficients drawn from what the images leave open about them.

        The posterior is as much wider as the fit explains the difference of the classes worse than
        chance would (the Birge ratio, squared: Birge 1932); never narrower.
        """
        drawn = []
        for change in self.changes:
            names = tuple(change.values)
            values = torch.cat([change.values[name].reshape(-1) for name in names])
            noise = torch.randn(len(values), generator=generator)
            covariance = max(1.0, change.misfit) * change.covariance
            factor = torch.linalg.cholesky(covariance + 1e-9 * torch.eye(len(values)))
            drawn.append(replace(change, values=by_term(values + factor @ noise, names)))
        return ParametricMap(tuple(drawn))

    def tensors(self) -> dict[str, Tensor]:
        """See :class:`~.pixel_maps.PixelMap`."""
        named = {}
        for change in self.changes:
            named[f"{change.channel}.covariance"] = change.covariance
            for name, value in change.values.items():
                named[f"{change.channel}.{name}"] = value.reshape(-1)
        return {name: value.contiguous() for name, value in named.items()}

    def to_dict(self) -> dict[str, Any]:
        """See :class:`~.pixel_maps.PixelMap`."""
        return {
            "channels": [
                {
                    "channel": change.channel,
                    "background": change.background,
                    "brightness": change.brightness,
                    "levels": list(change.levels),
                    "structures": None if change.structures is None else vars(change.structures),
                    "terms": list(change.values),
                    "evidence": change.evidence,
                    "misfit": change.misfit,
                }
                for change in self.changes
            ]
        }

    @classmethod
    def from_parts(cls, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> "ParametricMap":
        """See :class:`~.pixel_maps.PixelMap`.

        Parameters
        ----------
        tensors : mapping of str to Tensor
        plain : mapping
            As read from JSON, or as :meth:`to_dict` made it.

        Returns
        -------
        ParametricMap
        """
        return cls(tuple(_read_channel(tensors, entry) for entry in plain["channels"]))


def _read_channel(tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> ChannelChange:
    channel, names = int(plain["channel"]), tuple(plain["terms"])
    unknown = [name for name in names if name not in TERMS]
    if unknown or not set(ALWAYS) <= set(names):
        raise ModelFileError(
            f"parametric map: found the terms {', '.join(names)}; expected {', '.join(ALWAYS)} and "
            f"some of {', '.join(OPTIONAL)}; train anew"
        )
    found = torch.cat([tensors[f"{channel}.{name}"].reshape(-1) for name in names])
    covariance = tensors[f"{channel}.covariance"]
    size, levels = sum(TERMS[name].size for name in names), tuple(map(float, plain["levels"]))
    if (
        len(found) != size
        or covariance.shape != (size, size)
        or len(levels) != len(CURVE_LEVELS)
        or not float(plain["brightness"]) > 0
    ):
        raise ModelFileError(
            f"parametric map: found {len(found)} coefficients of channel {channel}; expected {size}; "
            "train anew"
        )
    structures = plain["structures"]
    return ChannelChange(
        channel,
        float(plain["background"]),
        float(plain["brightness"]),
        levels,
        None if structures is None else LockedStructures(**structures),
        by_term(found, names),
        covariance,
        float(plain["evidence"]),
        float(plain.get("misfit", 1.0)),
    )
