"""Whether an image is like the training images, and in words in what it is not."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_why.core.schema import Fields, Flag, ListOf, Number, Row, Text, Whole
from napari_why.model.appearance import (
    AT_HIGHEST,
    AT_LOWEST,
    CONTRAST,
    LEVELS,
    MEAN,
    MEDIAN,
    NEIGHBOURS,
    SHAPES,
    UNEVENNESS,
    Appearance,
    Flags,
    Numbers,
    count_measures,
    cut_tiles,
    exchange,
    name_measures,
)

# Of 16 images drawn from three real sets, at most 4 % of the others were taken for unlike; of 12, 9 %.
FEWEST_IMAGES = 16
# Share of images like the training images that may lie beyond the cutoff, and of those whose channels
# may pass for exchanged; together well below the 5 % that are promised.
RATE, SWAP_RATE = 0.02, 0.01
FOLDS = 5  # each distance is that of an image from those of other wells
# With fewer images than 1 / RATE the largest distance is the cutoff, widened by 5 / n: the largest of
# 20 would be passed by one image in 21.
WIDENED = 5.0
# A cutoff for wells of the same plates is passed by 7 % of the images of another plate of one set
# (leigh-ds-wt), the widened one by 3.5 %; images that are spoilt lie farther out by far.
MARGIN = 1.25
# In deviations: outliers among the training images must not decide about the covariance ...
OUTERMOST = 5.0
# ... and a measure that hardly varies must not outweigh all others.
LARGEST = 50.0
# Least spread of a measure; all are logarithms or of the order of 1: a difference below 2 % tells nothing.
LEAST_SPREAD = 0.02
RIDGE = 1e-2  # of the unit variance: keeps directions without variance from deciding
# Deviations from which on a measure is named, and that of noise and of a smooth image.
NAMED, MOST_NAMED = 4.0, 3
# A repair explains what is odd if it brings the image within the cutoff, or this far towards it.
EXPLAINS = 0.25
# Channels pass for exchanged only if the image, exchanged back, lies so much nearer: on another plate
# the balance of two similar channels is another one, without either being the other.
NEARER = 0.75
FACTOR = 1.5  # a smaller one is no other brightness, but the spread of any plate
# Of the training images: one in a hundred may be an empty field.
NOISY_SHARE = 0.01
# Of saturated pixels: so much more than any training image has.
SATURATED, SATURATED_TIMES = 0.01, 3.0
# Pixels a side of what is compared: far above what any network sees.
LARGEST_TILE = 16384
DIGITS = 6  # of what is saved: the distances then agree to one part in 10,000


NUMBERS = ListOf(Number())
# As it is saved; how long the lists are is looked at when it is made of them.
LIKENESS = Fields(
    {
        "channels": ListOf(Text(), fewest=1, unique=True),
        "tile": Row((Whole(1, LARGEST_TILE), Whole(1, LARGEST_TILE))),
        "images": Whole(1),
        "scale": Number(0, above=True),
        "centre": NUMBERS,
        "spread": ListOf(Number(0, above=True)),
        "covariance": NUMBERS,
        "cutoff": Number(0, above=True),
        "swap_limits": NUMBERS,
        "varying": ListOf(Flag()),
        "noisy": ListOf(Flag()),
        "saturated": ListOf(Number(0, 1)),
    }
)


@dataclass(frozen=True)
class Unlikeness:
    """One respect in which an image is unlike the training images.

    Parameters
    ----------
    kind : str
        ``pixel type``, ``size``, ``pixel size``, ``constant``, ``mean``, ``saturated``, ``noise``,
        ``swapped``, ``inverted``, ``brightness``, ``smooth``, ``missing``, ``other``; or
        ``unknown``: there is nothing to compare with.
    sentence : str
    channels : tuple of str
        That it is about; empty where it is about all.
    """

    kind: str
    sentence: str
    channels: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Likeness:
    """What is usual among training images, and from where on an image is not.

    The distance is Mahalanobis' over the square root of the number of measures, with a shrunken
    covariance (Ledoit & Wolf 2004) of measures that were cut off at five robust deviations. The
    cutoff is the conformal quantile (Vovk et al. 2005) of the distances of training images from
    those of other wells, widened by a quarter for those of other plates; another microscope may
    well lie beyond it.

    Parameters
    ----------
    channels : tuple of str
    tile : (int, int)
        Height and width in pixels of what was measured, as the network sees it.
    images : int
        That were measured.
    scale : float
        Raw units; see :meth:`~napari_why.model.appearance.Appearance.vector`.
    centre, spread : ndarray, shape (p,)
    covariance : ndarray, shape (p, p)
        In units of the spread.
    cutoff : float
    swap_limits : tuple of float
        For each pair of channels the score below which they pass for exchanged.
    varying : ndarray of bool, shape (C,)
        Channels that were constant in less than half of the training images.
    noisy : ndarray of bool, shape (C,)
        Channels that are like noise in more than 1 % of the training images.
    saturated : ndarray, shape (C,)
        Largest share of a training image's pixels at its highest value.
    """

    channels: tuple[str, ...]
    tile: tuple[int, int]
    images: int
    scale: float
    centre: Numbers = field(repr=False)
    spread: Numbers = field(repr=False)
    covariance: Numbers = field(repr=False)
    cutoff: float
    swap_limits: tuple[float, ...]
    varying: Flags
    noisy: Flags
    saturated: Numbers

    def __post_init__(self) -> None:
        count, measures = len(self.channels), count_measures(len(self.channels))
        shapes = {
            "centre": (measures,),
            "spread": (measures,),
            "covariance": (measures, measures),
            "swap_limits": (count * (count - 1) // 2,),
            "varying": (count,),
            "noisy": (count,),
            "saturated": (count,),
            "tile": (2,),
        }
        for name, shape in shapes.items():
            found = np.asarray(getattr(self, name))
            if found.shape != shape or not np.isfinite(found).all():
                raise ValueError(f"likeness: found {name} of shape {found.shape}; expected {shape}")
        positive = (self.scale, self.cutoff, *self.tile, float(self.spread.min()))
        if not (np.isfinite(positive).all() and min(positive) > 0):
            raise ValueError("likeness: found a scale, cutoff, tile or spread that is not above 0")
        np.linalg.cholesky(self.covariance + RIDGE * np.eye(measures))  # raises where it is none

    @classmethod
    def fit(
        cls,
        looks: Sequence[Appearance],
        groups: NDArray[Any],
        channels: Sequence[str],
        tile: tuple[int, int],
    ) -> "Likeness | None":
        """Learn what is usual.

        Parameters
        ----------
        looks : sequence of Appearance
            Of the training images.
        groups : ndarray, shape (n,)
            Their wells, which are kept together when distances are calibrated.
        channels : sequence of str
        tile : (int, int)
            Height and width of what was measured.

        Returns
        -------
        Likeness or None
            None where fewer than 16 images have structure in the same channels.
        """
        constant = np.array([look.constant for look in looks])
        varying = constant.mean(axis=0) < 0.5
        whole = np.flatnonzero(~constant[:, varying].any(axis=1))
        if len(whole) < FEWEST_IMAGES or not varying.any():
            return None
        # of the faintest channel, so that all are told from each other by logarithms
        structured = [looks[int(row)] for row in whole]
        contrasts = np.array([look.levels[:, CONTRAST] for look in structured])[:, varying]
        scale = max(float(np.median(contrasts, axis=0).min()), np.finfo(float).tiny)
        rows = np.array([look.vector(scale) for look in structured])
        distances, swaps = [], []
        for inside, outside in _folds(np.asarray(groups)[whole]):
            part = _Distances(*_fit_shape(rows[inside]), len(channels), varying)
            distances += [part.distance(row) for row in rows[outside]]
            swaps += [(part, row) for row in rows[outside]]
        cutoff = _cutoff(np.array(distances))
        scores = np.array([part.swap_scores(row, cutoff) for part, row in swaps])
        centre, spread, covariance = _fit_shape(rows)
        return cls(
            channels=tuple(channels),
            tile=tile,
            images=len(looks),
            scale=scale,
            centre=centre,
            spread=spread,
            covariance=covariance,
            cutoff=cutoff,
            swap_limits=tuple(map(float, _swap_limits(scores))),
            varying=varying,
            noisy=np.mean([look.noise for look in looks], axis=0) > NOISY_SHARE,
            saturated=np.max([look.saturated for look in looks], axis=0),
        )

    def judge(self, pixels: Numbers, top: float | None) -> Iterator[Unlikeness]:
        """Say in what an image is unlike the training images.

        Parameters
        ----------
        pixels : ndarray, shape (C, H, W)
            Raw units, at the size that the network sees.
        top : float or None
            Highest value of the pixel type; None for floating point numbers.

        Yields
        ------
        Unlikeness
            Nothing comes of an image that is like them.
        """
        looks = [Appearance.of(tile) for tile in cut_tiles(pixels, self.tile)]
        distances = [self.distance(look) for look in looks]
        # the median: in a field that is like the training images the one or other tile is empty
        middle = int(np.argsort(distances)[len(looks) // 2])
        look, distance = looks[middle], distances[middle]
        noise = self._noise(look)
        yield from noise
        yield from self._other_constants(look)
        yield from self._saturated(look, top)
        swapped = self._swapped(look)
        yield from swapped
        if distance > self.cutoff and not noise and not swapped:
            yield self._explain(look, distance, top)

    def distance(self, look: Appearance) -> float:
        """Return how far an image lies from the training images; see the class."""
        return self._distances.distance(look.vector(self.scale), look.constant)

    @cached_property
    def _distances(self) -> "_Distances":
        return _Distances(
            self.centre, self.spread, self.covariance, len(self.channels), self.varying
        )

    def _named(self, flags: Flags) -> tuple[str, ...]:
        return tuple(name for name, flag in zip(self.channels, flags, strict=True) if flag)

    def _noise(self, look: Appearance) -> list[Unlikeness]:
        names = self._named(look.noise & ~self.noisy & self.varying)
        if not names:
            return []
        return [
            Unlikeness(
                "noise",
                f"no structure in {_channels(names)}: neighbouring pixels are not alike, as in noise",
                names,
            )
        ]

    def _other_constants(self, look: Appearance) -> Iterator[Unlikeness]:
        names = self._named(~look.constant & ~self.varying)
        if names:
            words = f"{_channels(names)} has structure; in most training images it has none"
            yield Unlikeness("other", words, names)

    def _saturated(self, look: Appearance, top: float | None) -> Iterator[Unlikeness]:
        limits = np.maximum(SATURATED, SATURATED_TIMES * self.saturated)
        for index in np.flatnonzero((look.saturated > limits) & ~look.constant):
            at_top = top is not None and look.extremes[index, 1] >= top
            yield Unlikeness(
                "saturated",
                f"{look.saturated[index]:.0%} of the pixels of channel {self.channels[index]} have "
                f"the highest value, {look.extremes[index, 1]:g}"
                f"{'' if at_top else ' in the image'}: saturated? (at most "
                f"{self.saturated[index]:.1%} in the training images)",
                (self.channels[index],),
            )

    def _swapped(self, look: Appearance) -> list[Unlikeness]:
        if look.constant.any():
            return []
        scores = self._distances.swap_scores(look.vector(self.scale), self.cutoff)
        worst = int(np.argmin(scores - np.array(self.swap_limits))) if len(scores) else -1
        if worst < 0 or scores[worst] >= self.swap_limits[worst]:
            return []
        first, second = list(combinations(self.channels, 2))[worst]
        return [
            Unlikeness(
                "swapped",
                f"channel {first} looks like the channel {second} of the training images, and "
                f"{second} like {first}: channels swapped?",
                (first, second),
            )
        ]

    def _explain(self, look: Appearance, distance: float, top: float | None) -> Unlikeness:
        """Name the repair that would make the image like the training images, else what is odd."""
        repairs = [*self._inversions(look, top), *self._factors(look)]
        if repairs:
            repaired, found = min(
                ((self.distance(changed), found) for changed, found in repairs),
                key=lambda repair: repair[0],
            )
            if repaired <= max(self.cutoff, EXPLAINS * distance):
                return found
        return self._describe(look)

    def _inversions(
        self, look: Appearance, top: float | None
    ) -> Iterator[tuple[Appearance, Unlikeness]]:
        free = ~look.constant & self.varying
        # about any value: the one that gives the usual median back
        sums = [look.levels[:, MEDIAN] + self._usual_level(MEDIAN)]
        if top is not None:
            sums.append(np.full(len(free), top))
        for chosen in _alone_and_together(free):
            names = self._named(chosen)
            words = (
                f"intensities of {_channels(names)} are inverted: dark where the training images are "
                "bright"
            )
            for tops in sums:
                yield look.inverted(tops, chosen), Unlikeness("inverted", words, names)

    def _factors(self, look: Appearance) -> Iterator[tuple[Appearance, Unlikeness]]:
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios = look.levels[:, MEAN] / self._usual_level(MEAN)
        free = ~look.constant & self.varying & np.isfinite(ratios) & (ratios > 0)
        for chosen in _alone_and_together(free):
            ratio = float(np.exp(np.log(ratios[chosen]).mean()))
            if max(ratio, 1 / ratio) < FACTOR:
                continue
            names = self._named(chosen)
            amount = f"{ratio:.0f}" if ratio >= 3 else f"{ratio:.2g}"
            words = (
                f"{_channels(names)} is about {amount} times as bright as in the training images"
            )
            factors = np.where(chosen, 1 / ratio, 1.0)
            yield look.scaled(factors), Unlikeness("brightness", words, names)

    def _usual_level(self, which: int) -> Numbers:
        """Return one of :data:`LEVELS` of a usual training image, raw units, shape (C,)."""
        count = len(self.channels)
        levels = self.centre[: count * len(LEVELS)].reshape(count, -1)
        return np.asarray(np.sinh(levels[:, which]) * self.scale)

    def _describe(self, look: Appearance) -> Unlikeness:
        odd = (look.vector(self.scale) - self.centre) / self.spread
        odd[~self._distances.usable(look.constant)] = 0.0
        named = name_measures(self.channels)
        said: dict[str, None] = {}
        kinds, names = [], []
        for index in np.argsort(-np.abs(odd)):
            if abs(odd[index]) < NAMED or len(said) == MOST_NAMED:
                break
            measure, channels = named[index]
            kind, words = _words(measure, channels, rising=bool(odd[index] > 0))
            said[words] = None
            kinds.append(kind)
            names.extend(channels)
        words = ", ".join(said) or "an unusual combination of brightness, texture and channels"
        kind = kinds[0] if kinds else "other"
        return Unlikeness(kind, f"unlike the training images: {words}", tuple(dict.fromkeys(names)))

    def to_dict(self) -> dict[str, Any]:
        """Return JSON types; numbers with six digits."""
        below = np.tril_indices(len(self.centre))
        return {
            "channels": list(self.channels),
            "tile": list(self.tile),
            "images": self.images,
            "scale": self.scale,
            "centre": _rounded(self.centre),
            "spread": _rounded(self.spread),
            "covariance": _rounded(self.covariance[below]),
            "cutoff": self.cutoff,
            "swap_limits": list(self.swap_limits),
            "varying": self.varying.tolist(),
            "noisy": self.noisy.tolist(),
            "saturated": _rounded(self.saturated),
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "Likeness":
        """Make it of what :meth:`to_dict` returned, also after a detour over JSON.

        Raises
        ------
        ValueError, KeyError, TypeError
            A part is missing, or has another shape or values that cannot be.
        """
        centre = np.asarray(plain["centre"], dtype=np.float64)
        halved = np.asarray(plain["covariance"], dtype=float)
        expected = centre.size * (centre.size + 1) // 2
        # a single number would be taken for all of them; and before memory is taken for them
        if halved.shape != (expected,):
            raise ValueError(
                f"likeness: found {halved.size} numbers of a covariance; expected {expected}"
            )
        below = np.tril_indices(centre.size)
        covariance = np.zeros((centre.size, centre.size))
        covariance[below] = halved
        covariance += np.tril(covariance, -1).T
        flags = {name: np.asarray(plain[name]) for name in ("varying", "noisy")}
        if any(found.dtype != np.bool_ for found in flags.values()):
            raise ValueError("likeness: found flags that are not true or false")
        return cls(
            channels=tuple(map(str, plain["channels"])),
            tile=(int(plain["tile"][0]), int(plain["tile"][1])),
            images=int(plain["images"]),
            scale=float(plain["scale"]),
            centre=centre,
            spread=np.asarray(plain["spread"], dtype=np.float64),
            covariance=covariance,
            cutoff=float(plain["cutoff"]),
            swap_limits=tuple(map(float, plain["swap_limits"])),
            saturated=np.asarray(plain["saturated"], dtype=np.float64),
            **flags,
        )


@dataclass(frozen=True, eq=False)
class _Distances:
    """Distances by one centre and covariance."""

    centre: Numbers
    spread: Numbers
    covariance: Numbers
    channels: int
    varying: Flags

    def usable(self, constant: Flags) -> Flags:
        """Return which measures are of channels with structure."""
        whole = self.varying & ~constant
        below = np.tril_indices(self.channels, -1)
        return np.concatenate(
            [
                np.repeat(whole, len(LEVELS)),
                np.repeat(whole, len(SHAPES)),
                np.outer(whole, whole)[below],
            ]
        )

    def distance(self, row: Numbers, constant: Flags | None = None) -> float:
        used = self.usable(np.zeros(self.channels, dtype=bool) if constant is None else constant)
        if not used.any():
            return 0.0
        odd = np.clip((row - self.centre) / self.spread, -LARGEST, LARGEST)[used]
        covariance = self.covariance[np.ix_(used, used)] + RIDGE * np.eye(odd.size)
        return float(np.sqrt(odd @ np.linalg.solve(covariance, odd) / odd.size))

    def swap_scores(self, row: Numbers, cutoff: float) -> Numbers:
        """Return for each pair of channels 1 where they are as usual, -1 where they are exchanged.

        Fisher's discriminant between the training images and the same with both exchanged; at least
        0 where the image, exchanged back, is not like the training images, or hardly more so.
        """
        scores = np.array([self._swap_score(row, *pair) for pair in self._pairs])
        near = min(cutoff, NEARER * self.distance(row)) if (scores < 0).any() else 0.0
        for index in np.flatnonzero(scores < 0):
            if self.distance(row[self._pairs[index][0]]) > near:
                scores[index] = 0.0
        return scores

    @cached_property
    def _pairs(self) -> list[tuple[NDArray[np.intp], Numbers, Numbers, float]]:
        full = self.covariance * np.outer(self.spread, self.spread)
        used = self.usable(np.zeros(self.channels, dtype=bool))
        found = []
        for first, second in combinations(range(self.channels), 2):
            order = exchange(self.channels, first, second)
            usual = self.centre - self.centre[order]
            both = full + full[np.ix_(order, order)] - full[:, order] - full[order]
            moved = (order != np.arange(order.size)) & used & used[order]
            deviations = np.sqrt(np.maximum(np.diag(both), LEAST_SPREAD**2))
            scaled = both / np.outer(deviations, deviations) + RIDGE * np.eye(order.size)
            weights = np.zeros(order.size)
            if moved.any():
                solved = np.linalg.solve(scaled[np.ix_(moved, moved)], (usual / deviations)[moved])
                weights[moved] = solved / deviations[moved]
            # a single measure that is far out must not decide alone
            bound = np.abs(usual) + OUTERMOST * deviations
            found.append((order, weights, bound, float(weights @ usual)))
        return found

    def _swap_score(
        self, row: Numbers, order: NDArray[np.intp], weights: Numbers, bound: Numbers, unit: float
    ) -> float:
        if unit <= 0:  # the channels do not differ
            return 1.0
        return float(weights @ np.clip(row - row[order], -bound, bound)) / unit


def _fit_shape(rows: Numbers) -> tuple[Numbers, Numbers, Numbers]:
    # imported here: it takes half a second, and only fitting needs it
    from sklearn.covariance import LedoitWolf

    middle = np.median(rows, axis=0)
    # 1.4826: the standard deviation of normally distributed values in median absolute deviations
    robust = 1.4826 * np.median(np.abs(rows - middle), axis=0)
    # a quarter of the plain one where more than half of the images agree, as in crushed ones
    spread = np.maximum(robust, 0.25 * rows.std(axis=0)) + LEAST_SPREAD
    scaled = np.clip((rows - middle) / spread, -OUTERMOST, OUTERMOST)
    found = LedoitWolf().fit(scaled)
    return middle + spread * found.location_, spread, np.asarray(found.covariance_)


def _folds(groups: NDArray[Any]) -> Iterator[tuple[Flags, Flags]]:
    names = np.unique(groups)
    # wells of one group only cannot be held out: then images are
    keys = groups if len(names) >= FOLDS else np.arange(len(groups))
    shuffled = np.random.default_rng(0).permutation(np.unique(keys))
    for fold in range(FOLDS):
        outside = np.isin(keys, shuffled[fold::FOLDS])
        yield ~outside, outside


def _cutoff(distances: Numbers) -> float:
    ordered = np.sort(distances)
    place = int(np.ceil((len(ordered) + 1) * (1 - RATE)))
    if place <= len(ordered):
        return MARGIN * float(ordered[place - 1])
    return MARGIN * float(ordered[-1]) * (1 + WIDENED / len(ordered))


def _swap_limits(scores: Numbers) -> Numbers:
    count, pairs = scores.shape if scores.ndim == 2 else (len(scores), 0)
    if not pairs:
        return np.zeros(0)
    place = int(np.floor((count + 1) * SWAP_RATE / pairs))
    lowest = np.sort(scores, axis=0)[max(place - 1, 0)]
    # never above 0, where an image is as like the one as the other
    return np.asarray(np.minimum(lowest, 0.0))


def _alone_and_together(free: Flags) -> list[Flags]:
    """Return all channels that can be meant, then each of them alone."""
    single = [np.arange(len(free)) == index for index in np.flatnonzero(free)]
    return [free, *single] if len(single) > 1 else single


def _channels(names: Sequence[str]) -> str:
    return f"channel {names[0]}" if len(names) == 1 else "each of " + ", ".join(names)


def _words(measure: str, channels: tuple[str, ...], *, rising: bool) -> tuple[str, str]:
    """Return the kind of what is odd and words for it."""
    where = " and ".join(channels)
    if measure == "likeness":
        return "other", f"{where} are {'more' if rising else 'less'} alike"
    if measure in LEVELS:
        level = "higher" if rising else "lower"
        return "brightness", f"{measure} of {where} {level}"
    place = SHAPES.index(measure)
    if place < NEIGHBOURS + 3:
        return ("noise", f"{where} grainier") if rising else ("smooth", f"{where} smoother")
    if place == UNEVENNESS:
        return "missing", f"{where} {'less' if rising else 'more'} evenly filled"
    if place in (AT_LOWEST, AT_HIGHEST):
        end = "lowest" if place == AT_LOWEST else "highest"
        amount = "more" if rising else "fewer"
        return "missing" if rising else "other", f"{amount} pixels of {where} at the {end} value"
    return "other", f"another balance of bright and dark in {where}"


def _rounded(values: Numbers) -> list[float]:
    return [float(f"{value:.{DIGITS}g}") for value in values]
