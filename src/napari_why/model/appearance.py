"""How an image looks, in numbers that tell an image from noise and one channel from another."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
Flags = NDArray[np.bool_]

# Intensities in raw units; the order of a row of ``Appearance.levels``.
LEVELS = ("darkest pixels", "median", "brightest pixels", "mean", "contrast")
MEDIAN, MEAN, CONTRAST = 1, 3, 4
# What neither gain nor offset changes; the order of a row of ``Appearance.shapes``.
SHAPES = (
    "difference of neighbours",
    "difference at two pixels",
    "difference at four pixels",
    "skewness",
    "skewness of the extremes",
    "skewness of the middle",
    "unevenness",
    "share at the lowest value",
    "share at the highest value",
    "reach of the extremes",
)
NEIGHBOURS, UNEVENNESS, AT_LOWEST, AT_HIGHEST = 0, 6, 7, 8
# Those that change their sign when dark and bright are exchanged.
SKEW = slice(3, 6)
LAGS = (1, 2, 4)  # pixels: noise has no structure at any, an image that is out of focus at all
QUANTILES = (0.01, 0.25, 0.5, 0.75, 0.99)
# Quantiles of so many pixels are as good as those of all, and take a tenth of the time at 512 px.
SAMPLED_PIXELS = 2**15
BLOCKS = 4  # a side, for the unevenness: a channel of which half is missing differs between blocks
# Added to shares and ratios before their logarithm: below it, a difference is not worth telling.
LEAST_SHARE = 1e-2
LEAST_RATIO = 1e-3
# Relative to the mean: what rounding leaves of a constant channel, as in Preprocessing.
CONSTANT = 1e-9
# Largest correlation of channels that is told from 1: Fisher's z would be infinite there.
LARGEST_CORRELATION = 0.999
# Correlations of N independent pairs have the standard deviation N ** -0.5; four of them are passed
# by one channel of noise in 16,000. Never less than 0.02: no image has so little structure.
NOISE_DEVIATIONS, LEAST_CORRELATION = 4.0, 0.02
# Resizing an image of noise correlates neighbours, hardly by more than this, and no others.
RESIZED_NOISE = 0.5
# Tiles a side of an image larger than the training images: nine tell the usual from the odd.
TILES = 3


@dataclass(frozen=True, eq=False)
class Appearance:
    """Measures of one image, per channel and between channels.

    Parameters
    ----------
    levels : ndarray, shape (C, 5)
        Raw units: 1 %, 50 % and 99 % quantile, mean and standard deviation.
    shapes : ndarray, shape (C, 10)
        See :data:`SHAPES`; 0 for a constant channel.
    relations : ndarray, shape (C, C)
        Fisher's z of the correlation of each two channels, 0 on the diagonal.
    extremes : ndarray, shape (C, 2)
        Lowest and highest value.
    saturated : ndarray, shape (C,)
        Share of the pixels that have the highest value.
    constant : ndarray of bool, shape (C,)
    noise : ndarray of bool, shape (C,)
        Whether pixels two and four apart are no more alike than any two.
    """

    levels: Numbers
    shapes: Numbers
    relations: Numbers
    extremes: Numbers
    saturated: Numbers
    constant: Flags
    noise: Flags

    @classmethod
    def of(cls, pixels: Numbers) -> "Appearance":
        """Measure an image (C, H, W) of finite values."""
        channels = [_measure_channel(plane) for plane in pixels]
        levels, shapes, extremes, saturated, noise = (
            np.array(values) for values in zip(*channels, strict=True)
        )
        deviations = levels[:, CONTRAST]
        constant = deviations <= CONSTANT * np.abs(levels[:, MEAN])
        centred = (pixels - levels[:, MEAN, None, None]).reshape(len(pixels), -1)
        products = centred @ centred.T / centred.shape[1]
        scale = np.where(constant, 1.0, deviations)
        correlations = products / np.outer(scale, scale)
        known = ~constant[:, None] & ~constant & ~np.eye(len(pixels), dtype=bool)
        bounded = np.clip(correlations, -LARGEST_CORRELATION, LARGEST_CORRELATION)
        relations = np.where(known, np.arctanh(bounded), 0.0)
        return cls(levels, shapes, relations, extremes, saturated, constant, noise & ~constant)

    def vector(self, scale: float) -> Numbers:
        """Return all measures in one row, levels as ``asinh(level / scale)``.

        That is a logarithm of what is much brighter than the scale, and defined for what is dark or
        negative.
        """
        below = np.tril_indices(len(self.levels), -1)
        levels = np.arcsinh(self.levels / scale)
        return np.concatenate([levels.ravel(), self.shapes.ravel(), self.relations[below]])

    def scaled(self, factors: Numbers) -> "Appearance":
        """Return what the image would be with the intensities of each channel times a factor."""
        return replace(self, levels=self.levels * factors[:, None])

    def inverted(self, tops: Numbers, chosen: Flags) -> "Appearance":
        """Return what the image would be with ``top - value`` in the chosen channels (C,).

        Parameters
        ----------
        tops : ndarray, shape (C,)
            What each channel is subtracted from, raw units.
        chosen : ndarray of bool, shape (C,)

        Returns
        -------
        Appearance
            Measures that an inversion leaves alone are shared; ``extremes`` and ``saturated`` stay as well.
        """
        levels, shapes = self.levels.copy(), self.shapes.copy()
        turned = tops[:, None] - self.levels[:, [2, 1, 0, MEAN]]
        levels[:, :CONTRAST] = np.where(chosen[:, None], turned, levels[:, :CONTRAST])
        shapes[chosen, SKEW] *= -1
        for end, other in ((AT_LOWEST, AT_HIGHEST), (AT_HIGHEST, AT_LOWEST)):
            shapes[chosen, end] = self.shapes[chosen, other]
        signs = np.where(chosen, -1.0, 1.0)
        return replace(
            self, levels=levels, shapes=shapes, relations=self.relations * np.outer(signs, signs)
        )


def count_measures(channels: int) -> int:
    """Return the length of :meth:`Appearance.vector`."""
    return channels * len(LEVELS) + channels * len(SHAPES) + channels * (channels - 1) // 2


def name_measures(channels: Sequence[str]) -> list[tuple[str, tuple[str, ...]]]:
    """Return what each number of :meth:`Appearance.vector` is, and of which channels."""
    named: list[tuple[str, tuple[str, ...]]] = [
        (name, (channel,)) for names in (LEVELS, SHAPES) for channel in channels for name in names
    ]
    for later, name in enumerate(channels):
        named += [("likeness", (earlier, name)) for earlier in channels[:later]]
    return named


def exchange(channels: int, first: int, second: int) -> NDArray[np.intp]:
    """Return in which order the measures stand when two channels are exchanged.

    Parameters
    ----------
    channels : int
        C, how many there are.
    first, second : int
        Those that are exchanged.

    Returns
    -------
    ndarray of int, shape (C * 15 + C * (C - 1) / 2,)
        Indices into :meth:`Appearance.vector`.
    """
    order = list(range(channels))
    order[first], order[second] = second, first
    moved = []
    start = 0
    for width in (len(LEVELS), len(SHAPES)):
        rows = start + np.arange(channels * width).reshape(channels, width)
        moved.append(rows[order].ravel())
        start += rows.size
    places = np.zeros((channels, channels), dtype=np.intp)
    below = np.tril_indices(channels, -1)
    places[below] = start + np.arange(len(below[0]))
    places += places.T
    return np.concatenate([*moved, places[np.ix_(order, order)][below]])


def cut_tiles(pixels: Numbers, shape: tuple[int, int]) -> Iterator[Numbers]:
    """Yield tiles (C, h, w) of a larger image, at most nine, evenly spread; else the image itself.

    Measures of a field and of a crop differ by the size alone: so a field is judged by its tiles.

    Parameters
    ----------
    pixels : ndarray, shape (C, H, W)
    shape : (int, int)
        Height and width of a tile in pixels; cut down to those of the image.

    Yields
    ------
    ndarray, shape (C, h, w)
        Views of ``pixels``.
    """
    height, width = (
        min(side, wanted) for side, wanted in zip(pixels.shape[1:], shape, strict=True)
    )
    for top in _spread(pixels.shape[1], height):
        for left in _spread(pixels.shape[2], width):
            yield pixels[:, top : top + height, left : left + width]


def _spread(size: int, tile: int) -> list[int]:
    count = min(TILES, max(1, size // tile))
    if count == 1:  # the centre, which crops are taken from
        return [(size - tile) // 2]
    return [int(start) for start in np.linspace(0, size - tile, count)]


def _measure_channel(plane: Numbers) -> tuple[Numbers, Numbers, Numbers, float, bool]:
    flat = plane.ravel()
    low, high, mean = float(flat.min()), float(flat.max()), float(flat.mean())
    centred = plane - mean
    squares = centred * centred
    variance = float(squares.sum()) / flat.size
    deviation = variance**0.5
    quantiles = _quantiles(flat)
    levels = np.array([quantiles[0], quantiles[2], quantiles[4], mean, deviation])
    extremes = np.array([low, high])
    at_low, at_high = (np.count_nonzero(flat == end) / flat.size for end in (low, high))
    if deviation <= CONSTANT * abs(mean):
        return levels, np.zeros(len(SHAPES)), extremes, at_high, False
    differences = np.array([_difference(centred, lag) for lag in LAGS]) / variance
    shapes = [
        *np.log(differences + LEAST_RATIO),
        np.arcsinh(float(np.vdot(squares, centred)) / flat.size / deviation**3),
        _balance(quantiles[[0, 2, 4]]),
        _balance(quantiles[[1, 2, 3]]),
        np.log(_block_means(centred).std() / deviation + LEAST_SHARE),
        np.log(at_low + LEAST_SHARE),
        np.log(at_high + LEAST_SHARE),
        np.log(
            (quantiles[4] - quantiles[0]) / deviation + 0.1
        ),  # 4.7 of normally distributed values
    ]
    return levels, np.array(shapes), extremes, at_high, _is_noise(1 - differences, flat.size)


def _quantiles(flat: Numbers) -> Numbers:
    # an odd step, so that an image of even width is not sampled in a few of its columns only
    step = flat.size // SAMPLED_PIXELS | 1
    sample = flat[::step] if flat.size > SAMPLED_PIXELS else flat
    places = [round(share * (sample.size - 1)) for share in QUANTILES]
    return np.asarray(np.partition(sample, places)[places])


def _difference(centred: Numbers, lag: int) -> float:
    """Return half the mean squared difference of pixels so far apart along x or y."""
    pairs = [centred[:, lag:] - centred[:, :-lag], centred[lag:] - centred[:-lag]]
    found = [float(np.vdot(pair, pair)) / pair.size / 2 for pair in pairs if pair.size]
    return float(np.mean(found)) if found else 0.0


def _balance(quantiles: Numbers) -> float:
    """Return from -1 to 1 on which side of the middle the outer quantiles lie farther away."""
    low, middle, high = (float(value) for value in quantiles)
    return (high + low - 2 * middle) / (high - low) if high > low else 0.0


def _block_means(centred: Numbers) -> Numbers:
    # an image of fewer pixels than blocks has fewer blocks
    rows, columns = (np.unique(np.arange(BLOCKS + 1) * size // BLOCKS) for size in centred.shape)
    return np.array(
        [
            centred[top:bottom, left:right].mean()
            for top, bottom in pairwise(rows)
            for left, right in pairwise(columns)
        ]
    )


def _is_noise(correlations: Numbers, pixels: int) -> bool:
    # along x and along y: about twice as many pairs as pixels
    bound = max(LEAST_CORRELATION, NOISE_DEVIATIONS / (2 * pixels) ** 0.5)
    return bool((np.abs(correlations[1:]) < bound).all() and correlations[0] < RESIZED_NOISE)
