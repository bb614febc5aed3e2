"""Whether an image holds enough to tell anything of its cells: content, focus, saturation.

The rule looks at the image alone: never at its class, the prediction or a probability.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_why.core.schema import Fields, ListOf, MapOf, Maybe, Number, Row, Text, Whole
from napari_why.model.appearance import cut_tiles
from napari_why.model.likeness import FEWEST_IMAGES, LARGEST_TILE, Unlikeness

Numbers = NDArray[np.float64]

# What an image can be flagged for: kinds of Unlikeness, and what a column ``quality`` holds.
EMPTY, BLURRED, CLIPPED = "hardly any cells", "out of focus", "saturated"
KINDS = (EMPTY, BLURRED, CLIPPED)

# The median and the spread of fewer images tell nothing of a class.
FEWEST_OF_CLASS = 5
# Pixels are compared with the background as means of 3 x 3: their noise is a third.
SMOOTHED = 3
# Shares of so many pixels are as good as those of all, and 200 images fit in memory.
SAMPLED_PIXELS = 2**15
DARK, BRIGHT = 0.05, 0.995  # quantiles: of the background, and of cells where more than a few are
# A pixel stands out at a quarter of the height of the image's own cells, so that a fainter stain is no
# empty field; at a twentieth of the usual height at least, since an empty field may have haze.
OF_HEIGHT, LEAST_OF_HEIGHT = 0.25, 0.05
# The darkest pixels are background up to half the usual height: above, cells cover the whole image.
DARKEST = 0.5
# Counted from the darkest 5 %, which lie 1.6 deviations below the middle of the background: of that,
# four and a half deviations are passed by one pixel of noise in 300,000.
NOISE_DEVIATIONS = 6.0
LEAST_SHARE = 1e-4  # of the pixels: below it none of the sampled ones may stand out
# A training image shows cells in a channel from this part of what the fullest tenth shows. What is
# usual is said of those: a class may lose the signal of a channel altogether.
SHOWING, FULLEST = 0.1, 0.9
# Cutoffs lie so many robust deviations away from the median of every class; one in 4,000 if normal.
DEVIATIONS = 3.5
# Less than an eighth of what is usual is wanted to say "hardly any", and a twentieth is always that: by
# eye, fields of leigh-ds-wt with a sixth show 30 nuclei, those of leigh-ds-tt with a tenth show one group.
SPARSE, NEXT_TO_NOTHING = 1 / 8, 1 / 20
# Focus is judged in channels with at least this part of the usual content: of fewer cells it varies.
JUDGED = 0.25
# Standard deviations of Gaussians in pixels: fine structure lies between the first two, coarse between
# the last two.
FINE, MIDDLE, COARSE = 1.0, 2.0, 8.0
# Pixels a side: focus is that of at most nine such tiles, which bounds the time for a large field.
FOCUS_TILE = 256
# Sum of the squares of the weights of the first difference, which white noise passes with:
# (1 / a^2 + 1 / b^2 - 4 / (a^2 + b^2)) / (4 pi).
NOISE_PASSED = (FINE**-2 + MIDDLE**-2 - 4 / (FINE**2 + MIDDLE**2)) / (4 * math.pi)
LEAST_RATIO = 1e-4  # of the variances: less fine structure than that is rounding
LEAST_LOSS = math.log(2)  # a loss of less than half of it occurs between any two fields
# Of the pixels that stand out: a tenth at the highest value, three times what training images have.
MOST_CLIPPED, CLIPPED_TIMES, CLIPPED_RARELY = 0.1, 3.0, 0.99
# Of fewer grey levels than a camera of 4 bits has, one level is a large part of any cell.
FEWEST_LEVELS = 16
# A resized plateau differs from its own maximum by rounding.
SAME_VALUE = 1e-6
NORMAL = 1.4826  # standard deviation of normally distributed values in median absolute deviations

CHANNEL = Fields(
    {
        "dark": Number(),
        "height": Number(0),
        "content": Number(0, 1),
        "focus": Maybe(Number()),
        "least_focus": Maybe(Number()),
        "most_clipped": Number(0),
    }
)
# As it is saved.
QUALITY = Fields(
    {
        "channels": MapOf(CHANNEL),
        "order": ListOf(Text(), fewest=1, unique=True),
        "tile": Row((Whole(1, LARGEST_TILE), Whole(1, LARGEST_TILE))),
        "least_content": Number(0),
        "training": MapOf(MapOf(Whole(0))),
    }
)


@dataclass(frozen=True, eq=False)
class _Look:
    """What is measured of one channel of one image.

    Parameters
    ----------
    levels : ndarray, shape (n,)
        Smoothed values of sampled pixels, ascending, raw units.
    noise : float
        Standard deviation, raw units, after smoothing.
    at_top : float
        Share of all pixels that have the highest value; 0 of fewer grey levels than 16.
    focus : float
        Logarithm of the ratio of fine to coarse structure.
    """

    levels: NDArray[np.float32]
    noise: float
    at_top: float
    focus: float

    @classmethod
    def of(cls, plane: Numbers, tiles: Sequence[Numbers]) -> "_Look":
        smooth = ndimage.uniform_filter(plane, SMOOTHED).ravel()
        # an odd step, so that an image of even width is not sampled in a few of its columns only
        step = -(-smooth.size // SAMPLED_PIXELS) | 1 if smooth.size > SAMPLED_PIXELS else 1
        noise = _noise(plane, step)
        return cls(
            np.sort(smooth[::step]).astype(np.float32),
            noise / SMOOTHED,
            _share_at_top(plane, step),
            _focus(tiles, noise),
        )

    @property
    def darkest(self) -> float:
        return float(self.levels[int(DARK * (len(self.levels) - 1))])

    def height(self, dark: float) -> float:
        """Return how high the image's bright pixels stand above the background."""
        return float(self.levels[int(BRIGHT * (len(self.levels) - 1))]) - dark

    def content(self, usual_dark: float, usual_height: float) -> float:
        """Return the share of pixels that stand out from the background."""
        dark = self.darkest
        least = max(NOISE_DEVIATIONS * self.noise, LEAST_OF_HEIGHT * usual_height)
        # of a flat image all is background, however bright: cells that cover it have structure
        if self.height(dark) > least:
            dark = min(dark, usual_dark + DARKEST * usual_height)
        own = OF_HEIGHT * min(self.height(dark), usual_height)
        return 1 - float(np.searchsorted(self.levels, dark + max(own, least), "right")) / len(
            self.levels
        )


@dataclass(frozen=True)
class UsualChannel:
    """What is usual of one channel.

    Parameters
    ----------
    dark, height : float
        The background, and how high cells stand above it; raw units. The height is 0 where no
        training image shows any: such a channel never counts.
    content : float
        Share of the pixels that stand out, in the training images that show cells.
    focus, least_focus : float or None
        Logarithm of the ratio of fine to coarse structure, and that below which it is out of focus;
        None where too few training images show cells.
    most_clipped : float
        Share, of the pixels that stand out, above which those at the highest value are too many.
    """

    dark: float
    height: float
    content: float
    focus: float | None
    least_focus: float | None
    most_clipped: float


@dataclass(frozen=True)
class Quality:
    """What is usual of content, focus and saturation, and from where on an image is flagged.

    Parameters
    ----------
    channels : dict of str to UsualChannel
        In the classifier's order.
    tile : (int, int)
        Height and width in pixels of the training images, as the network sees them.
    least_content : float
        An image is flagged that has less, in the channel that shows most, as a part of the usual.
    training : dict of str to dict of str to int
        By class, how many training images were measured (``images``), and of these how many are
        flagged (``flagged``), and for what.
    """

    channels: dict[str, UsualChannel]
    tile: tuple[int, int]
    least_content: float
    training: dict[str, dict[str, int]]

    def __post_init__(self) -> None:
        for name, usual in self.channels.items():
            # what is usual is divided by
            if usual.height > 0 and not usual.content > 0:
                raise ValueError(f"quality: found a content of {usual.content} of {name}")

    def judge(self, pixels: Numbers) -> tuple[Unlikeness, ...]:
        """Say what is wrong with an image; empty where nothing is.

        Parameters
        ----------
        pixels : ndarray, shape (C, H, W)
            Raw units, at the size that the network sees. Of a larger field than the training images
            content is that of the whole, focus that of up to nine tiles.
        """
        return self._judge(_look(pixels, self.tile))

    def _judge(self, looks: Sequence[_Look]) -> tuple[Unlikeness, ...]:
        contents = {
            name: look.content(usual.dark, usual.height)
            for (name, usual), look in zip(self.channels.items(), looks, strict=True)
            if usual.height > 0
        }
        if not contents:
            return ()
        parts = {name: share / self.channels[name].content for name, share in contents.items()}
        if max(parts.values()) < self.least_content:
            return (self._empty(contents),)
        seen = dict(zip(self.channels, looks, strict=True))
        blurred = self._blurred(seen, parts)
        return (*blurred, *self._clipped(seen, contents, parts))

    def _empty(self, contents: Mapping[str, float]) -> Unlikeness:
        here = " and ".join(f"{percent(share)} of {name}" for name, share in contents.items())
        usual = " and ".join(percent(self.channels[name].content) for name in contents)
        return Unlikeness(
            EMPTY,
            f"hardly any cells here: {here} stand out from the background; usual in training images "
            f"that show cells: {usual}",
            tuple(contents),
        )

    def _blurred(
        self, seen: Mapping[str, _Look], parts: Mapping[str, float]
    ) -> tuple[Unlikeness, ...]:
        # all that show cells: one alone may have changed by what was done to the cells
        lost = {}
        for name, part in parts.items():
            usual = self.channels[name]
            if part < JUDGED or usual.focus is None or usual.least_focus is None:
                continue
            if seen[name].focus >= usual.least_focus:
                return ()
            lost[name] = float(np.exp(seen[name].focus - usual.focus))
        if not lost:
            return ()
        words = " and ".join(f"{factor:.2g} times in {name}" for name, factor in lost.items())
        return (
            Unlikeness(
                BLURRED,
                f"out of focus: the ratio of fine to coarse structure is {words} what is usual in "
                "training images",
                tuple(lost),
            ),
        )

    def _clipped(
        self, seen: Mapping[str, _Look], contents: Mapping[str, float], parts: Mapping[str, float]
    ) -> list[Unlikeness]:
        found = []
        for name, share in contents.items():
            # of next to nothing that stands out the one brightest pixel is a large part
            if parts[name] < self.least_content or parts[name] < NEXT_TO_NOTHING:
                continue
            clipped = min(1.0, seen[name].at_top / share)
            if clipped > self.channels[name].most_clipped:
                sentence = (
                    f"saturated: {clipped:.0%} of what stands out in {name} has the highest value in "
                    f"the image; at most {self.channels[name].most_clipped:.0%} is taken for usual"
                )
                found.append(Unlikeness(CLIPPED, sentence, (name,)))
        return found

    def to_dict(self) -> dict[str, Any]:
        """Return JSON types."""
        # objects of JSON may lose their order, and that of the channels matters
        return asdict(self) | {"tile": list(self.tile), "order": list(self.channels)}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "Quality":
        """Make it of what :meth:`to_dict` returned, also after a detour over JSON."""
        if set(plain["order"]) != set(plain["channels"]):
            raise ValueError("quality: found other channels than their order names")
        return cls(
            {name: UsualChannel(**plain["channels"][name]) for name in plain["order"]},
            (int(plain["tile"][0]), int(plain["tile"][1])),
            float(plain["least_content"]),
            {name: dict(counts) for name, counts in plain["training"].items()},
        )


class QualityFit:
    """Learns from one training image after the other.

    Every cutoff is the lowest (of saturation the highest) of those of all classes, so that a class
    which has less of something by nature is not flagged for it. That is all that classes are for.

    Parameters
    ----------
    channels : sequence of str
    """

    def __init__(self, channels: Sequence[str]) -> None:
        self._channels = tuple(channels)
        self._looks: list[list[_Look]] = []
        self._classes: list[str] = []
        self._tile: tuple[int, int] | None = None

    def add(self, pixels: Numbers, label: str) -> None:
        """Take an image (C, H, W), raw units at the size that the network sees, and its class.

        Parameters
        ----------
        pixels : ndarray, shape (C, H, W)
            The first image's height and width are those of the tiles that larger ones are cut into.
        label : str
            Class of the image.
        """
        self._tile = self._tile or (pixels.shape[1], pixels.shape[2])
        self._looks.append(_look(pixels, self._tile))
        self._classes.append(label)

    def finish(self) -> Quality | None:
        """Return what is usual; None of fewer than 16 images, or where no channel ever shows cells."""
        if self._tile is None or len(self._looks) < FEWEST_IMAGES:
            return None
        classes = np.array(self._classes)
        levels = [_usual_levels([looks[c] for looks in self._looks]) for c in self._places]
        if not any(height > 0 for _, height in levels):
            return None
        contents = np.array(
            [
                [look.content(*level) for look, level in zip(looks, levels, strict=True)]
                for looks in self._looks
            ]
        )
        shown = np.array([height > 0 for _, height in levels])
        contents[:, ~shown] = 0.0
        usual = [_usual_content(contents[:, c]) for c in self._places]
        parts = contents / np.array(usual)
        fullest = np.log(parts.max(axis=1) + LEAST_SHARE)
        lowest = min(
            np.median(mine) + _bounded(-DEVIATIONS * _spread(mine), NEXT_TO_NOTHING, SPARSE)
            for mine in _by_class(fullest, classes)
        )
        found = {
            name: self._usual_channel(c, levels[c], contents[:, c], usual[c], classes)
            for c, name in enumerate(self._channels)
        }
        # a class that shows nothing at all is never flagged for that
        least = max(float(np.exp(lowest)) - LEAST_SHARE, 0.0)
        quality = Quality(found, self._tile, least, {})
        flags = [[item.kind for item in quality._judge(looks)] for looks in self._looks]
        return replace(quality, training=count_flagged(classes, flags))

    @property
    def _places(self) -> range:
        return range(len(self._channels))

    def _usual_channel(
        self,
        place: int,
        level: tuple[float, float],
        content: Numbers,
        usual: float,
        classes: NDArray[Any],
    ) -> UsualChannel:
        looks = [looks[place] for looks in self._looks]
        judged = content >= JUDGED * usual
        focus = np.array([look.focus for look in looks])[judged]
        middle = least = None
        if judged.sum() >= FEWEST_OF_CLASS:
            middle = float(np.median(focus))
            least = min(
                float(np.median(mine)) - max(DEVIATIONS * _spread(mine), LEAST_LOSS)
                for mine in _by_class(focus, classes[judged])
            )
        shows = content >= NEXT_TO_NOTHING * usual
        at_top = np.array([look.at_top for look in looks])[shows] / content[shows]
        highest = max(
            (
                float(np.quantile(mine, CLIPPED_RARELY))
                for mine in _by_class(at_top, classes[shows])
            ),
            default=0.0,
        )
        return UsualChannel(
            *level, usual, middle, least, max(MOST_CLIPPED, CLIPPED_TIMES * highest)
        )


def count_flagged(
    classes: Sequence[str] | NDArray[Any], flags: Sequence[Sequence[str]]
) -> dict[str, dict[str, int]]:
    """Count by class the images, those that are flagged, and those for each reason.

    Parameters
    ----------
    classes : sequence of str
        The class of each image.
    flags : sequence of sequence of str
        For what each is flagged, out of :data:`KINDS`; of the same length.

    Returns
    -------
    dict of str to dict of str to int
        In the order of the classes' names.

    Examples
    --------
    >>> count_flagged(["a", "b", "b"], [[], ["out of focus"], []])["b"]
    {'images': 2, 'flagged': 1, 'hardly any cells': 0, 'out of focus': 1, 'saturated': 0}
    """
    return {
        str(name): {
            "images": len(mine),
            "flagged": sum(bool(kinds) for kinds in mine),
            **{kind: sum(kind in kinds for kinds in mine) for kind in KINDS},
        }
        for name in sorted(set(map(str, classes)))
        for mine in [
            [kinds for found, kinds in zip(classes, flags, strict=True) if str(found) == name]
        ]
    }


def percent(share: float) -> str:
    """Write a share with two digits: 7.1 %, 0.15 %, and none below 0.01 %.

    Examples
    --------
    >>> percent(0.1183), percent(0.00148), percent(0.00001)
    ('12 %', '0.15 %', 'less than 0.01 %')
    """
    return "less than 0.01 %" if share < LEAST_SHARE else f"{100 * share:.2g} %"


def _look(pixels: Numbers, tile: tuple[int, int]) -> list[_Look]:
    tiles = list(cut_tiles(pixels, (min(tile[0], FOCUS_TILE), min(tile[1], FOCUS_TILE))))
    return [_Look.of(plane, [cut[c] for cut in tiles]) for c, plane in enumerate(pixels)]


def _noise(plane: Numbers, step: int) -> float:
    # second differences across the diagonal: what a gradient or an edge along an axis leaves is 0
    crossed = plane[1:, 1:] - plane[:-1, 1:] - plane[1:, :-1] + plane[:-1, :-1]
    # of four independent pixels: half of it is one deviation
    sampled = np.abs(crossed.ravel()[::step])
    return NORMAL * float(np.median(sampled)) / 2 if crossed.size else 0.0


def _share_at_top(plane: Numbers, step: int) -> float:
    if np.unique(plane.ravel()[::step]).size < FEWEST_LEVELS:
        return 0.0
    highest = float(plane.max())
    return float(np.mean(plane >= highest - SAME_VALUE * abs(highest)))


def _focus(tiles: Sequence[Numbers], noise: float) -> float:
    fine = coarse = 0.0
    for tile in tiles:
        sharp, middle, smooth = (
            ndimage.gaussian_filter(tile, width) for width in (FINE, MIDDLE, COARSE)
        )
        fine += max(float((sharp - middle).var()) - NOISE_PASSED * noise**2, 0.0)
        coarse += float((middle - smooth).var())
    return float(np.log(fine / coarse + LEAST_RATIO)) if coarse > 0 else float(np.log(LEAST_RATIO))


def _usual_levels(looks: Sequence[_Look]) -> tuple[float, float]:
    """Return the background of a channel and the height of cells above it; 0 where none shows."""
    darks = np.array([look.darkest for look in looks])
    heights = np.array([look.height(dark) for look, dark in zip(looks, darks, strict=True)])
    # a quarter: where cells cover most images whole, the others tell what is dark
    dark = float(np.quantile(darks, 0.25))
    clear = heights[heights > NOISE_DEVIATIONS * np.array([look.noise for look in looks])]
    if not len(clear):
        return dark, 0.0
    # of those with cells: in most tiles there may be none
    return dark, float(np.median(clear[clear >= OF_HEIGHT * np.quantile(clear, FULLEST)]))


def _usual_content(content: Numbers) -> float:
    shows = content[content >= SHOWING * np.quantile(content, FULLEST)]
    return max(float(np.median(shows)), LEAST_SHARE)


def _by_class(values: Numbers, classes: NDArray[Any]) -> list[Numbers]:
    """Return the values of every class that has enough of them; of none, all together."""
    parts = [values[classes == name] for name in np.unique(classes)]
    return [part for part in parts if len(part) >= FEWEST_OF_CLASS] or (
        [values] if len(values) else []
    )


def _spread(values: Numbers) -> float:
    return NORMAL * float(np.median(np.abs(values - np.median(values))))


def _bounded(value: float, low: float, high: float) -> float:
    return float(np.clip(value, np.log(low), np.log(high)))
