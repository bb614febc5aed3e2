"""How one channel may change: a few plain terms, each with its coefficients, and what they look at.

A channel, above its background, is made brighter, blurred, given more or less of fine structure, made
brighter or dimmer by its distance from the locked structures (nuclei, mostly), bent by a curve of grey
levels, or its structures grow. How the coefficients are found is another matter: see
:mod:`~napari_why.transport.parametric_map`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

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
    least : float
        No coefficient is lower: those of widths and noise, of which there is no less than none.
    """

    name: str
    size: int
    deviation: float
    smooth: bool = False
    needs_lock: bool = False
    start: float = 0.0
    least: float = -math.inf


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
# The square in which structures grow or shrink: 5 pixels reach 2 beyond the border of a structure. How
# _largest_nearby pairs neighbours is made for 5.
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
        Term("blur", 1, 1.0, start=0.4, least=0.0),
        Term("scales", len(SCALE_KNOTS) - 1, 0.7, smooth=True),
        Term("distance", len(RADII), 0.7, smooth=True, needs_lock=True),
        Term("redistribution", len(RADII), 1.0, smooth=True, needs_lock=True),
        Term("curve", len(CURVE_LEVELS) + 1, 0.4),
        Term("growth", 1, 0.4),
        # what a camera adds; it is estimated along and never put into an image
        # (half a per cent of the brightness is next to none, and has a slope yet)
        Term("noise", 2, 1.0, start=0.3, least=0.1),
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
        """Find them in the locked channel that has the clearest; None without any.

        Parameters
        ----------
        images : Tensor, shape (N, C, H, W)
            Preprocessed, of any class.
        channels : sequence of int
            The locked ones.

        Returns
        -------
        LockedStructures or None
            In the channel of whose variance a threshold explains most; None where all are constant.
        """
        from skimage.filters import threshold_otsu  # of a training alone, and slow to import

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
class DistanceShares:
    """How much each distance from the locked structures counts at every pixel, and in every image.

    Parameters
    ----------
    of_pixels : Tensor, shape (6, N, H, W)
        See :meth:`LockedStructures.shares`.
    """

    of_pixels: Tensor

    @cached_property
    def sums(self) -> Tensor:
        """Over the pixels of each image, (6, N)."""
        return self.of_pixels.sum((2, 3))

    @cached_property
    def means(self) -> Tensor:
        """Share of each image, (6, N)."""
        return self.of_pixels.mean((2, 3))

    @cached_property
    def far(self) -> list[Tensor]:
        """Of the two farthest, what a pixel (N, H, W) has more than its image has on average."""
        return [share - share.mean((1, 2), keepdim=True) for share in self.of_pixels[-2:]]


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

    @cached_property
    def distances(self) -> DistanceShares | None:
        """What statistics ask of the shares."""
        return None if self.shares is None else DistanceShares(self.shares)

    def first(self, count: int) -> "Prepared":
        """Return the first of the images."""
        shares = None if self.shares is None else self.shares[:, :count].contiguous()
        return Prepared(self.above[:count], shares)


def part_into_scales(above: Tensor) -> Tensor:
    """Return differences of Gaussians (7, N, H, W), finest first, that add up to the maps (N, H, W)."""
    smoothed = [above, *(smooth(above, sigma) for sigma in SIGMAS)]
    return torch.stack([*differences(smoothed), smoothed[-1]])


def differences(smoothed: Sequence[Tensor]) -> list[Tensor]:
    """Return what each of these maps, finest first, has more than the next."""
    return [fine - coarse for fine, coarse in pairwise(smoothed)]


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
        """Return the channel above its background as these coefficients change it.

        Parameters
        ----------
        prepared : Prepared
            From :meth:`prepare`, of N images.
        values : mapping of str to Tensor
            Coefficients by term, shape () or (size of the term,); a term that is left out changes nothing.

        Returns
        -------
        Tensor, shape (N, H, W)
            Above the background, without noise of a camera.
        """
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
            changed = grow(changed, float(values["growth"]))
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

        Parameters
        ----------
        prepared : Prepared
            From :meth:`prepare`, of N images.
        values : mapping of str to Tensor
            As of :meth:`change`, with the two of ``noise``.
        noise : (Tensor, Tensor), shape (N, H, W) each
            Standard normal numbers: for the even part and for the part that grows with the brightness.

        Returns
        -------
        Tensor, shape (N, H, W)
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
SCALE_SHARES = torch.from_numpy(
    np.stack(
        [
            np.interp(np.log(MIDDLES), np.log(SCALE_KNOTS), np.eye(len(SCALE_KNOTS))[knot])
            for knot in range(len(SCALE_KNOTS) - 1)
        ],
        axis=1,
    )
).to(torch.float32)


def grow(above: Tensor, amount: float) -> Tensor:
    """Go some way to the largest (amount > 0) or smallest values around; structures grow or shrink.

    Parameters
    ----------
    above : Tensor, shape (N, H, W)
        A channel above its background.
    amount : float
        Share of the way; 1 is all of it, to the extremes within 2 pixels.

    Returns
    -------
    Tensor, shape (N, H, W)
    """
    fine = smooth(above, FINEST)
    return above + abs(amount) * (extreme_nearby(fine, amount >= 0) - fine)


def extreme_nearby(maps: Tensor, largest: bool) -> Tensor:
    """Return the largest, or the smallest, value in the square around each pixel.

    Parameters
    ----------
    maps : Tensor, shape (N, H, W)
    largest : bool
        Else the smallest.

    Returns
    -------
    Tensor, shape (N, H, W)
        Of 5 x 5 pixels; at the border, of those that there are.
    """
    sign = 1.0 if largest else -1.0
    return sign * _largest_nearby(_largest_nearby(sign * maps, 2), 1)


def _largest_nearby(maps: Tensor, axis: int) -> Tensor:
    """Return the largest of five neighbours along an axis; torch's pooling takes five times as long."""
    size, half = maps.shape[axis], GROWTH // 2
    ends = [maps.narrow(axis, index, 1) for index in (0, size - 1)]
    padded = torch.cat([ends[0]] * half + [maps] + [ends[1]] * half, axis)
    # of two neighbours, of four by two of these, and of the fifth: a step less than one by one
    two = torch.maximum(padded.narrow(axis, 0, size + 3), padded.narrow(axis, 1, size + 3))
    four = torch.maximum(two.narrow(axis, 0, size), two.narrow(axis, 2, size))
    return torch.maximum(four, padded.narrow(axis, GROWTH - 1, size))


def by_term(values: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
    """Return coefficients (K,) by term, as float32.

    Parameters
    ----------
    values : Tensor, shape (K,)
        In the order of ``names``, as many of each as the term has.
    names : sequence of str
        Keys of :data:`TERMS`.

    Returns
    -------
    dict of str to Tensor
        Shape () of terms with one coefficient, else (size,).
    """
    sizes = [TERMS[name].size for name in names]
    parts = torch.split(values.float(), sizes)
    return {
        name: part[0] if TERMS[name].size == 1 else part
        for name, part in zip(names, parts, strict=True)
    }
