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

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from skimage.filters import threshold_otsu
from torch import Tensor

from napari_why.core.devices import to_float64
from napari_why.core.errors import ModelFileError
from napari_why.core.events import Cancelled, never_cancelled
from napari_why.transport.pixel_maps import smooth

Values = Mapping[str, Tensor]
"""Coefficients by the name of their term."""


@dataclass(frozen=True)
class Term:
    """One way in which a channel may change.

    Parameters
    ----------
    name : str
        Under which its coefficients are saved.
    size : int
        Number of coefficients; 0 of each is no change.
    deviation : float
        Of the Gaussian prior, in the coefficients' own units: mostly logarithms of factors.
    smooth : bool
        Neighbouring coefficients differ by as much as one of them differs from 0: they are values of
        one function.
    needs_lock : bool
        It looks at a locked channel.
    start : float
        Where the search begins, for terms of no slope at 0.
    """

    name: str
    size: int
    deviation: float
    smooth: bool = False
    needs_lock: bool = False
    start: float = 0.0


# Distances from the border of the locked structures, in their typical radii: within, at the border, and
# out to where the next cell begins.
RADII = (-0.4, 0.0, 0.35, 0.8, 1.6, 3.2)
# Gaussians between whose widths (pixels) an image is parted into scales.
SIGMAS = (0.6, 1.0, 1.6, 2.5, 4.0, 8.0)
# About the middle of each scale, and the widths at which the factors of scales are given; the coarsest
# is brightness, and has none.
MIDDLES = (0.4, 0.8, 1.3, 2.0, 3.2, 5.7, 10.0)
SCALE_KNOTS = (0.6, 1.5, 4.0, 10.0)
# Levels between which a curve is straight: few, for a curve is to be told from few images.
CURVE_LEVELS = (0.6, 0.85, 0.99)
# The square in which structures grow or shrink: 5 pixels reach 2 beyond the border of a structure.
GROWTH = 5
# Fine enough to keep the border of a structure, coarse enough for noise not to grow.
FINEST = 0.7
# Below this width a blur changes less than resampling does.
LEAST_BLUR = 0.25

# Deviations: a factor of two either way is ordinary (log 2 = 0.7), a curve is flatter.
TERMS: Mapping[str, Term] = {
    term.name: term
    for term in (
        Term("gain", 1, 0.7),
        Term("blur", 1, 1.0, start=0.4),
        Term("scales", len(SCALE_KNOTS) - 1, 0.7, smooth=True),
        Term("distance", len(RADII), 0.7, smooth=True, needs_lock=True),
        Term("redistribution", len(RADII), 1.0, smooth=True, needs_lock=True),
        Term("curve", len(CURVE_LEVELS) + 1, 0.4),
        Term("growth", 1, 0.4),
        # what a camera adds; it is estimated along and never put into an image
        Term("noise", 2, 1.0, start=0.3),
    )
}
ALWAYS = ("noise",)
"""Terms of every fit: with these alone nothing changes, and this is the answer unless images tell more."""
OPTIONAL = tuple(name for name in TERMS if name not in ALWAYS)


@dataclass(frozen=True)
class LockedStructures:
    """Where the structures of a locked channel are, and how far from them a pixel lies.

    Parameters
    ----------
    channel : int
        The locked channel.
    threshold : float
        Of the smoothed channel (Otsu 1979).
    radius : float
        Typical radius of the structures in pixels.
    """

    channel: int
    threshold: float
    radius: float

    @classmethod
    def find(cls, images: Tensor, channels: Sequence[int]) -> "LockedStructures | None":
        """Find them in the locked channel that has the clearest; None without any."""
        best: tuple[float, LockedStructures] | None = None
        for channel in channels:
            levels = smooth(images[:, channel].float(), STRUCTURE_SIGMA).numpy()
            if not np.ptp(levels) > 0:
                continue
            threshold = float(threshold_otsu(levels))
            mask = levels > threshold
            # the share of the variance that the two sides of the threshold explain
            inside, outside, share = levels[mask], levels[~mask], float(mask.mean())
            explained = share * (1 - share) * (inside.mean() - outside.mean()) ** 2 / levels.var()
            radius = float(np.clip(_typical_radius(mask), 2.0, 0.25 * min(levels.shape[1:])))
            if best is None or explained > best[0]:
                best = float(explained), cls(channel, threshold, radius)
        return None if best is None else best[1]

    def shares(self, images: Tensor) -> Tensor:
        """Return how much each distance of :data:`RADII` counts at a pixel (6, N, H, W); sums are 1."""
        levels = smooth(images[:, self.channel].float(), STRUCTURE_SIGMA)
        distances = torch.from_numpy(
            np.stack([_signed_distance(one) for one in self._masks(levels)])
        )
        knots = [self.radius * radius for radius in RADII]
        place = torch.zeros_like(distances)
        for low, high in pairwise(knots):
            place += ((distances - low) / (high - low)).clamp(0, 1)
        return torch.stack(
            [(1 - (place - index).abs()).clamp(min=0) for index in range(len(knots))]
        )

    def _masks(self, levels: Tensor) -> np.ndarray[Any, np.dtype[np.bool_]]:
        mask: np.ndarray[Any, np.dtype[np.bool_]] = (levels > self.threshold).cpu().numpy()
        return mask


# Nuclei are told from noise, and stay apart.
STRUCTURE_SIGMA = 1.5
# Smaller regions are specks.
SMALLEST_REGION = 16


def _typical_radius(masks: np.ndarray[Any, np.dtype[np.bool_]]) -> float:
    """Return the radius of the circle of the mean area of regions; 4 where there is none."""
    areas: list[float] = []
    for mask in masks:
        labels, _ = ndimage.label(mask)
        areas += [
            float(area) for area in np.bincount(labels.ravel())[1:] if area >= SMALLEST_REGION
        ]
    return math.sqrt(float(np.mean(areas)) / math.pi) if areas else 4.0


def _signed_distance(mask: np.ndarray[Any, np.dtype[np.bool_]]) -> np.ndarray[Any, Any]:
    """Return the distance of each pixel from the border of a mask, negative within."""
    if not mask.any():
        # as far away as anything: a field without a nucleus is all background
        return np.full(mask.shape, 1e4, np.float32)
    outside = ndimage.distance_transform_edt(~mask)
    inside = ndimage.distance_transform_edt(mask)
    return np.asarray(outside - inside, np.float32)


@dataclass(frozen=True)
class Prepared:
    """A channel above its background, with what terms and statistics ask of it again and again.

    Parameters
    ----------
    above : Tensor, shape (N, H, W)
    shares : Tensor, shape (6, N, H, W), or None
        See :meth:`LockedStructures.shares`.
    """

    above: Tensor
    shares: Tensor | None

    @cached_property
    def scales(self) -> Tensor:
        """The channel parted into scales (7, N, H, W), finest first; their sum is the channel."""
        return part_into_scales(self.above)


def part_into_scales(above: Tensor) -> Tensor:
    """Return differences of Gaussians (7, N, H, W), finest first, that add up to the maps (N, H, W)."""
    smoothed = [above, *(smooth(above, sigma) for sigma in SIGMAS)]
    bands = [fine - coarse for fine, coarse in pairwise(smoothed)]
    return torch.stack([*bands, smoothed[-1]])


@dataclass(frozen=True)
class ChannelChange:
    """How one channel changes.

    Parameters
    ----------
    channel : int
    background, brightness : float
        Level that nothing emits, and how far the 95 % quantile lies above it.
    levels : tuple of float
        Of the curve, above the background, rising.
    structures : LockedStructures or None
        What distances are measured from.
    values : mapping of str to Tensor
        Coefficients by term, those of the terms that were chosen.
    covariance : Tensor, float32, shape (K, K)
        Of the coefficients (Laplace's approximation), in the order of ``values``.
    evidence : float
        Logarithm of the evidence gained over no change.
    misfit : float
        Squared distance that the fit left between the moments, per degree of freedom: about 1 where
        the terms explain the difference of the classes, more where they do not.
    """

    channel: int
    background: float
    brightness: float
    levels: tuple[float, ...]
    structures: LockedStructures | None
    values: Values
    covariance: Tensor
    evidence: float = 0.0
    misfit: float = 1.0

    @property
    def terms(self) -> tuple[str, ...]:
        """Names of the terms by which it changes; none where nothing changes."""
        return tuple(name for name in self.values if name not in ALWAYS)

    def prepare(self, images: Tensor) -> Prepared:
        """Return the channel of preprocessed images (N, C, H, W), ready to be changed."""
        above = images[:, self.channel].float() - self.background
        return Prepared(above, self.structures.shares(images) if self.structures else None)

    def __call__(self, images: Tensor) -> Tensor:
        """Return the changed channel (N, H, W) of preprocessed images (N, C, H, W)."""
        return self.change(self.prepare(images), self.values) + self.background

    def change(self, prepared: Prepared, values: Values) -> Tensor:
        """Return the channel above its background as these coefficients change it."""
        changed = prepared.above
        if "blur" in values and abs(float(values["blur"])) > LEAST_BLUR:
            changed = smooth(changed, abs(float(values["blur"])))
        if "scales" in values:
            blurred = "blur" in values and changed is not prepared.above
            parts = part_into_scales(changed) if blurred else prepared.scales
            factors = torch.exp(SCALE_SHARES @ values["scales"])
            changed = torch.einsum("k,knhw->nhw", factors, parts)
        if "gain" in values:
            changed = changed * torch.exp(values["gain"])
        for name, kept in (("distance", False), ("redistribution", True)):
            if name in values and prepared.shares is not None:
                changed = self._change_by_distance(changed, prepared.shares, values[name], kept)
        if "curve" in values:
            changed = self._bend(changed, values["curve"])
        if "growth" in values:
            changed = _grow(changed, float(values["growth"]))
        return changed

    def _change_by_distance(
        self, above: Tensor, shares: Tensor, values: Tensor, kept: bool
    ) -> Tensor:
        """Multiply by a function of the distance from the locked structures; keep the local total."""
        moved = above * torch.exp(torch.einsum("k,knhw->nhw", values, shares))
        if not kept or self.structures is None:
            return moved
        # over about a cell: what comes near a nucleus has left the surroundings of the same nucleus
        width = KEPT_RADII * self.structures.radius
        least = LEAST_BRIGHTNESS * self.brightness
        before, after = (smooth(part.clamp(min=0), width) + least for part in (above, moved))
        kept_total: Tensor = moved * (before / after)
        return kept_total

    def _bend(self, above: Tensor, values: Tensor) -> Tensor:
        """Apply a curve through the background, straight between levels, of slopes exp(values)."""
        bent, low = above.clamp(max=0), 0.0
        for slope, high in zip(torch.exp(values).tolist(), (*self.levels, math.inf), strict=True):
            bent = bent + slope * (above.clamp(low, high) - low)
            low = high
        return bent

    def noisy(self, prepared: Prepared, values: Values, noise: tuple[Tensor, Tensor]) -> Tensor:
        """Return the changed channel with the noise that a camera would add, for its statistics.

        The noise of the source is changed along with it; what is missing is added: even, and growing
        with the brightness.
        """
        changed = self.change(prepared, values)
        even, shot = (values["noise"].abs() * NOISE_UNIT * self.brightness).tolist()
        grown = shot * (changed.clamp(min=0) / self.brightness).sqrt()
        noisy: Tensor = changed + even * noise[0] + grown * noise[1]
        return noisy


# Widths, in radii of a nucleus, over which a redistribution keeps the total: about a cell.
KEPT_RADII = 1.5
# Of the brightness: keeps ratios finite where there is nothing.
LEAST_BRIGHTNESS = 0.02
# Of the brightness: a coefficient of 1 is noise of 5 % of it, as in a dim image.
NOISE_UNIT = 0.05
# (7, 3): how much each knot of the scales counts in each part; of the coarsest part none does.
SCALE_SHARES = torch.tensor(
    [
        [
            float(np.interp(math.log(middle), np.log(SCALE_KNOTS), np.eye(len(SCALE_KNOTS))[knot]))
            for knot in range(len(SCALE_KNOTS) - 1)
        ]
        for middle in MIDDLES
    ]
)


def _grow(above: Tensor, amount: float) -> Tensor:
    """Go some way to the largest (amount > 0) or smallest values around; structures grow or shrink."""
    fine = smooth(above, FINEST)
    sign = 1.0 if amount >= 0 else -1.0
    largest = _largest_nearby(_largest_nearby(sign * fine, 2), 1)
    return above + abs(amount) * (sign * largest - fine)


def _largest_nearby(maps: Tensor, axis: int) -> Tensor:
    """Return the largest of five neighbours along an axis; torch's pooling takes five times as long."""
    size, half = maps.shape[axis], GROWTH // 2
    ends = [maps.narrow(axis, index, 1) for index in (0, size - 1)]
    padded = torch.cat([ends[0]] * half + [maps] + [ends[1]] * half, axis)
    largest = padded.narrow(axis, 0, size)
    for step in range(1, GROWTH):
        largest = torch.maximum(largest, padded.narrow(axis, step, size))
    return largest


# Quantiles of the levels that the shares of bright pixels are counted at.
COUNTED = (0.3, 0.6, 0.85, 0.95, 0.99)
# Share of an image that a distance has to fill to count fully.
FILLED = 0.02


@dataclass(frozen=True)
class ChannelStatistics:
    """About thirty numbers of an image's channel that terms change; smooth in what they are of.

    Mean brightness, also by distance from the locked structures; strength and peakedness of the
    structures by scale; shares of bright pixels; how much structures fill out; how structures of each
    scale lie to the locked ones; skewness.

    Parameters
    ----------
    brightness : float
        See :class:`ChannelChange`.
    levels : tuple of float
        At which bright pixels are counted, above the background.
    typical : Tensor, shape (7,), or None
        Of all images, the mean logarithm of the brightness and how much of an image lies at each
        distance from the locked structures.
    """

    brightness: float
    levels: tuple[float, ...]
    typical: Tensor | None = None

    def __call__(self, above: Tensor, shares: Tensor | None) -> Tensor:
        """Return the statistics (N, S) of a channel above its background (N, H, W)."""
        least = LEAST_BRIGHTNESS * self.brightness
        fine = smooth(above, FINEST)
        bands = part_into_scales(fine)[1:]
        mean = fine.mean((1, 2))
        bright = torch.log(mean.clamp(min=0) + least)
        found = [bright, *self._by_distance(fine, shares, bright, least)]
        for band in bands[:4]:
            deviation = band.square().mean((1, 2)).sqrt()
            found.append(torch.log(deviation + 0.1 * least))
            found.append(band.abs().mean((1, 2)) / (deviation + 0.01 * least))
        for level in self.levels:
            width = (
                0.15 * level + 0.05 * self.brightness
            )  # smooth, or nothing could be differentiated
            found.append(torch.sigmoid((fine - level) / width).mean((1, 2)))
        for amount in (1.0, -1.0):
            grown = (_grow(fine, amount) - fine).abs().mean((1, 2))
            found.append(torch.log(grown + 0.1 * least))
        for band in bands[:3]:
            cube = (band**3).mean((1, 2))
            deviation = band.square().mean((1, 2)).sqrt() + 0.01 * least
            found.append(cube.sign() * cube.abs() ** (1 / 3) / deviation)
        found += self._by_structure(bands, shares, mean.clamp(min=least))
        found += self._by_crowding(bright, shares)
        return to_float64(torch.stack(found, 1))

    def _by_distance(
        self, fine: Tensor, shares: Tensor | None, bright: Tensor, least: float
    ) -> list[Tensor]:
        if shares is None:
            return []
        area = shares.sum((2, 3))
        means = (shares * fine).sum((2, 3)) / (area + 1e-3)
        # of a distance that hardly occurs in an image nothing is known there
        counts = (shares.mean((2, 3)) / FILLED).clamp(max=1)
        return list(counts * (torch.log(means.clamp(min=0) + least) - bright))

    def _by_crowding(self, bright: Tensor, shares: Tensor | None) -> list[Tensor]:
        """Return how brightness goes along with the share of an image that lies near structures.

        What comes near a nucleus from elsewhere leaves the total as it is, however many nuclei there
        are; what is brighter near nuclei brightens a crowded image more.
        """
        if shares is None or self.typical is None:
            return []
        areas = shares.mean((2, 3)) - self.typical[1:, None]
        above = bright - self.typical[0]
        return [above * areas[low:high].sum(0) for low, high in ZONES]

    def _by_structure(self, bands: Tensor, shares: Tensor | None, mean: Tensor) -> list[Tensor]:
        if shares is None:
            return []
        found = []
        for band in bands[1:4]:
            for share in shares[-2:]:
                centred = share - share.mean((1, 2), keepdim=True)
                found.append((centred * band).mean((1, 2)) / mean)
        return found


# Distances of which the shares of an image are taken together: within the structures, around, and far.
ZONES = ((0, 2), (2, 4), (4, 6))


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
        """Return the statistics (N, S) of the moved images."""
        moved = self.change.noisy(self._source, by_term(values, names), self._noise)
        return self._statistics(moved, self._source.shares)

    def solve(self, names: Sequence[str], start: Values | None = None) -> "Solution":
        """Find the coefficients of some terms by Gauss-Newton steps, damped (Levenberg-Marquardt)."""
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


def by_term(values: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
    """Return coefficients (K,) by term, as float32."""
    sizes = [TERMS[name].size for name in names]
    parts = torch.split(values.float(), sizes)
    return {
        name: part[0] if TERMS[name].size == 1 else part
        for name, part in zip(names, parts, strict=True)
    }


def start_values(names: Sequence[str], known: Values | None) -> Tensor:
    """Return where the search begins: what is known already, else no change."""
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


@dataclass(frozen=True)
class ChannelFrame:
    """What is known of a channel before anything is fitted, and how it is described.

    Parameters
    ----------
    unchanged : ChannelChange
        Without coefficients.
    statistics : ChannelStatistics
    """

    unchanged: ChannelChange
    statistics: ChannelStatistics

    @classmethod
    def of(cls, images: Tensor, channel: int, locked: Sequence[int]) -> "ChannelFrame":
        """Look at preprocessed images (N, C, H, W) of all classes; no label is asked for."""
        pixels = images[:, channel].flatten().float()
        # as many as a quantile can be taken of in one call, and more than it needs
        generator = torch.Generator().manual_seed(0)
        drawn = pixels[torch.randint(len(pixels), (DRAWN_PIXELS,), generator=generator)]
        background = float(torch.quantile(drawn, BACKGROUND))
        brightness = max(float(torch.quantile(drawn, BRIGHT)) - background, LEAST_RANGE)
        levels, counted = (
            tuple(float(torch.quantile(drawn, share)) - background for share in shares)
            for shares in (CURVE_LEVELS, COUNTED)
        )
        structures = LockedStructures.find(images, locked)
        nothing = torch.zeros(0, 0)
        unchanged = ChannelChange(channel, background, brightness, levels, structures, {}, nothing)
        prepared, typical = unchanged.prepare(images), None
        if prepared.shares is not None:
            mean = prepared.above.mean((1, 2)).clamp(min=0)
            bright = torch.log(mean + LEAST_BRIGHTNESS * brightness).mean()
            typical = torch.cat([bright[None], prepared.shares.mean((1, 2, 3))])
        return cls(unchanged, ChannelStatistics(brightness, counted, typical))

    def describe(self, images: Tensor) -> Tensor:
        """Return the statistics (N, S), float64, of preprocessed images (N, C, H, W)."""
        prepared = self.unchanged.prepare(images)
        return self.statistics(prepared.above, prepared.shares)


# Pixels that quantiles are taken of.
DRAWN_PIXELS = 200_000
# Quantiles for what nothing emits, not the minimum, which a dead pixel may be; and for what is bright.
BACKGROUND, BRIGHT = 0.005, 0.95
# Of a standardised channel: a constant one has no range to divide by.
LEAST_RANGE = 1e-3


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
        """See :class:`~.pixel_maps.PixelMap`."""
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
