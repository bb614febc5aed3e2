"""A change cut into units, region by channel, and the search for the fewest that convince a network."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import skimage
from numpy.typing import NDArray
from scipy import ndimage

from napari_why.images.image import export_pixels

# Pixels over which sign and strength of a change are averaged: those of single pixels follow the
# noise, and to take only the pixels that grow brighter would shift the mean of plain noise.
SMOOTHING = 3
# Pixels: the fewest of a strong unit; scraps below stay with the rest of their tile.
SMALLEST_UNIT = 4
# Strata of a tile: the weak change, and the strong one by its sign.
STRATA = 3


@dataclass(frozen=True)
class ChangeUnits:
    """Parts of a change of which each lies in one channel; together they are all of it.

    Parameters
    ----------
    labels : ndarray, int32, shape (C, H, W)
        Unit of every pixel, from 0; -1 in channels that do not change.
    sizes : ndarray, int64, shape (U,)
        Pixels of each unit that change.
    channels : ndarray, int64, shape (U,)
        In which channel each unit lies.
    changing : ndarray, bool, shape (C, H, W)
        Where anything changes.
    """

    labels: NDArray[np.int32]
    sizes: NDArray[np.int64]
    channels: NDArray[np.int64]
    changing: NDArray[np.bool_]

    @property
    def count(self) -> int:
        """Number of units."""
        return len(self.sizes)

    @cached_property
    def whole(self) -> frozenset[int]:
        """All units."""
        return frozenset(range(self.count))

    @property
    def changed_channels(self) -> tuple[int, ...]:
        """Channels in which there is any unit."""
        return tuple(np.unique(self.channels).tolist())

    def of_channel(self, channel: int) -> frozenset[int]:
        """Return the units of a channel."""
        return frozenset(np.flatnonzero(self.channels == channel).tolist())

    def size(self, chosen: Iterable[int]) -> int:
        """Return how many pixels change in some units, counted in each channel."""
        return int(self.sizes[list(chosen)].sum())

    def mask(self, chosen: Iterable[int], blur: float = 0.0) -> NDArray[np.float32]:
        """Return the weight (0 to 1) of some units at every pixel, float32, shape (C, H, W).

        Parameters
        ----------
        chosen : iterable of int
            Units. The weights of these and of all others add up to 1.
        blur : float
            Width of a Gaussian in pixels that softens the borders of units; 0 leaves them sharp.

        Returns
        -------
        ndarray, float32, shape (C, H, W)
        """
        inside = np.isin(self.labels, list(chosen))
        if not blur:
            return np.asarray(inside, dtype=np.float32)
        soft = ndimage.gaussian_filter(inside.astype(np.float64), (0, blur, blur), mode="reflect")
        # rounding of the filter must not leave a trace of what was not chosen, or lack of what was
        return np.asarray(np.clip(soft.round(6), 0, 1), dtype=np.float32)


def split_change(change: NDArray[np.floating[Any]], tiles: int) -> ChangeUnits:
    """Cut a change into units: by channel, by square tile, and in a tile by strength and sign.

    Strong is what lies above the threshold of Otsu (1979) between the absolute values of the
    channel, averaged over 3 x 3 pixels. So a structure that changes is a unit apart from what is
    around it, and one that grows brighter apart from one that grows darker.

    Parameters
    ----------
    change : ndarray, shape (C, H, W)
        After minus before.
    tiles : int
        Along either axis.

    Returns
    -------
    ChangeUnits

    Examples
    --------
    >>> change = np.zeros((2, 8, 8)); change[1, 1:4, 1:4] = 100
    >>> units = split_change(change, tiles=2)
    >>> units.changed_channels, units.sizes.tolist()
    ((1,), [9])
    """
    labels = np.full(change.shape, -1, dtype=np.int32)
    sizes: list[int] = []
    channels: list[int] = []
    tile = _number_tiles(change.shape[1:], tiles)
    for channel, plane in enumerate(change):
        changing = plane != 0
        if not changing.any():
            continue
        cell = tile * STRATA + _stratify(plane, tile)
        numbers, dense = np.unique(cell, return_inverse=True)
        counts = np.bincount(dense.ravel()[changing.ravel()], minlength=len(numbers))
        # a unit without any change would be asked about in vain: its pixels join the largest one
        place = np.full(len(numbers), -1)
        kept = np.flatnonzero(counts)
        place[kept] = len(sizes) + np.arange(len(kept))
        place[place < 0] = len(sizes) + int(counts[kept].argmax())
        labels[channel] = place[dense.reshape(plane.shape)]
        sizes += counts[kept].tolist()
        channels += [channel] * len(kept)
    return ChangeUnits(
        labels, np.array(sizes, dtype=np.int64), np.array(channels, dtype=np.int64), change != 0
    )


def _number_tiles(shape: tuple[int, ...], tiles: int) -> NDArray[np.int64]:
    rows, columns = (np.arange(length) * min(tiles, length) // length for length in shape)
    return np.asarray(rows[:, None] * tiles + columns[None])


def _stratify(plane: NDArray[np.floating[Any]], tile: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return 0 for the weak change, 1 and 2 for what strongly grows brighter and darker."""
    smooth = ndimage.uniform_filter(plane.astype(np.float64), SMOOTHING)
    strength = np.abs(smooth)
    if strength.min() == strength.max():
        return np.zeros(plane.shape, dtype=np.int64)
    strong = strength > skimage.filters.threshold_otsu(strength)
    strata = np.where(strong, np.where(smooth > 0, 1, 2), 0)
    for stratum in range(1, STRATA):
        inside = (strata == stratum) & (plane != 0)
        few = np.bincount(tile[inside], minlength=int(tile.max()) + 1) < SMALLEST_UNIT
        strata[(strata == stratum) & few[tile]] = 0
    return strata


def mix_images(
    before: NDArray[Any], after: NDArray[Any], mask: NDArray[np.floating[Any]]
) -> NDArray[Any]:
    """Return ``before + mask (after - before)``, exported: rounded and clipped as a file has it.

    Parameters
    ----------
    before, after : ndarray, shape (C, H, W)
        Exported images of one dtype.
    mask : ndarray, shape (C, H, W)
        0 to 1. Where it is 0 or 1 the pixels are exactly those of one of the images.

    Returns
    -------
    ndarray, shape (C, H, W)
        Of the same dtype, raw grey levels.
    """
    mixed = before + mask * (after.astype(np.float64) - before)
    exported = export_pixels(mixed, before.dtype)
    return np.where(mask == 0, before, np.where(mask == 1, after, exported))


# Sizes at which the ranking is looked at before it is bisected: a curve that can be drawn.
CURVE_POINTS = 12


@dataclass(frozen=True)
class Answer:
    """What the network says of the image with some units of the change.

    Parameters
    ----------
    probabilities : ndarray, float32, shape (classes,)
        Of exactly the exported image.
    log_odds : float
        log(p / (1 - p)) of the target, from the logits, so that it has no ceiling.
    flips : bool
        The image is predicted as the target.
    """

    probabilities: NDArray[np.float32]
    log_odds: float
    flips: bool


@dataclass(frozen=True)
class Step:
    """One subset of the change that was tried on the way.

    Parameters
    ----------
    units : frozenset of int
    size : float
        Its share (0 to 1) of the pixels that change, counted in each channel.
    probability : float
        Of the target.
    log_odds : float
    flips : bool
    """

    units: frozenset[int]
    size: float
    probability: float
    log_odds: float
    flips: bool


class StopSearchError(Exception):
    """No more images may be classified: cancelled, or the number that was allowed is reached."""


@dataclass
class UnitSearch:
    """Looks for a set of units that is enough and of which none can be missed.

    ``found`` is the smallest set that is known to be enough, empty where there is none; ``minimal``
    tells whether the search came to its end; ``curve`` has the sets that were tried in between.

    Parameters
    ----------
    units : ChangeUnits
    ask : callable
        ``ask(units)`` returns the :class:`Answer` for a set of units; raises StopSearchError.
    share : float
        Of the log-odds that the whole change moves; 0 asks for the flip alone.
    target : int
        Index of the target class.
    """

    units: ChangeUnits
    ask: Callable[[frozenset[int]], Answer]
    share: float
    target: int
    found: frozenset[int] = frozenset()
    minimal: bool = False
    curve: list[Step] = field(default_factory=list)
    alone: dict[int, Answer] = field(default_factory=dict)
    without: dict[int, Answer] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.before, self.whole = self.ask(frozenset()), self.ask(self.units.whole)
        self.needs_flip = self.whole.flips

    @property
    def moved(self) -> float:
        """What the whole change adds to the log-odds of the target."""
        return self.whole.log_odds - self.before.log_odds

    def is_enough(self, answer: Answer) -> bool:
        """Whether a part does what is asked of it."""
        if self.needs_flip and not answer.flips:
            return False
        return answer.log_odds - self.before.log_odds >= self.share * self.moved

    def run(self) -> None:
        """Search; what was found by then stays where it is stopped."""
        self.found = self.units.whole
        try:
            self._try_channels()
            if self.needs_flip or self.moved > 0:
                self.found = self._choose_channels()
            self._go_along(self._rank(self.found))
            if self._does_enough():
                self._eliminate()
        except StopSearchError:
            pass
        if not self._does_enough():
            self.found = frozenset()

    def _does_enough(self) -> bool:
        return not self._finds_nothing() and self.is_enough(self.ask(self.found))

    def _finds_nothing(self) -> bool:
        # a change that does not move the network has no part that does, whatever share is asked for
        return not self.needs_flip and (self.moved <= 0 or self.share == 0)

    def _try_channels(self) -> None:
        for channel in self.units.changed_channels:
            own = self.units.of_channel(channel)
            self.alone[channel] = self.ask(own)
            self.without[channel] = self.ask(self.units.whole - own)
        # the whole change need not flip where a part of it does: the rest may speak against it
        self.needs_flip |= any(answer.flips for answer in self.alone.values())

    def _choose_channels(self) -> frozenset[int]:
        """Return the units of one channel that is enough alone, else of as few as are enough."""
        enough = [channel for channel, answer in self.alone.items() if self.is_enough(answer)]
        if enough:
            return self.units.of_channel(max(enough, key=lambda c: self.alone[c].log_odds))
        kept = self.units.whole
        # what is missed least goes first
        for channel in sorted(self.without, key=lambda c: -self.without[c].log_odds):
            fewer = kept - self.units.of_channel(channel)
            if fewer and self.is_enough(self.ask(fewer)):
                kept = fewer
        return kept

    def _rank(self, kept: frozenset[int]) -> list[int]:
        """Order units by what they do for the log-odds, per pixel, the most useful first.

        What a unit does is the mean of what it adds alone and of what is missed without it: where
        the network adds its evidence up both agree; where either of two parts is enough only the
        first shows it; where both are needed only the second does.
        """
        complete = self.ask(kept).log_odds
        worth = {}
        for unit in sorted(kept):
            gained = self.ask(frozenset([unit])).log_odds - self.before.log_odds
            missed = complete - self.ask(kept - {unit}).log_odds
            worth[unit] = (gained + missed) / 2 / self.units.sizes[unit]
        # of equal ones the smaller first, then by number: the order is the same on every run
        return sorted(kept, key=lambda unit: (-worth[unit], self.units.sizes[unit], unit))

    def _go_along(self, ranking: list[int]) -> None:
        """Find the shortest beginning of a ranking that is enough."""
        lengths = np.unique(np.linspace(0, len(ranking), CURVE_POINTS).round().astype(int)).tolist()
        answers = [self._note(frozenset(ranking[:length])) for length in lengths]
        self.needs_flip |= any(answer.flips for answer in answers)
        enough = [place for place, answer in enumerate(answers) if self.is_enough(answer)]
        if self._finds_nothing() or not enough:
            return
        short, long = lengths[max(0, enough[0] - 1)], lengths[enough[0]]
        while long - short > 1:
            middle = (short + long) // 2
            if self.is_enough(self._note(frozenset(ranking[:middle]))):
                long = middle
            else:
                short = middle
        self.found = frozenset(ranking[:long])

    def _eliminate(self) -> None:
        """Leave out units as long as the others are enough, until none can be missed."""
        while True:
            complete = self.ask(self.found).log_odds
            dispensable = {}
            for unit in sorted(self.found):
                answer = self.ask(self.found - {unit})
                if self.is_enough(answer):
                    dispensable[unit] = (complete - answer.log_odds) / self.units.sizes[unit]
            if not dispensable:
                self._note(self.found)
                self.minimal = True
                return
            order = sorted(dispensable, key=lambda u: (dispensable[u], -self.units.sizes[u], u))
            # one can be left out, as was measured; how many together is bisected
            few, many = 1, len(order) + 1
            while many - few > 1:
                middle = (few + many) // 2
                if self.is_enough(self._note(self.found - frozenset(order[:middle]))):
                    few = middle
                else:
                    many = middle
            self.found -= frozenset(order[:few])

    def _note(self, chosen: frozenset[int]) -> Answer:
        answer = self.ask(chosen)
        size = self.units.size(chosen) / max(1, int(self.units.sizes.sum()))
        self.curve.append(
            Step(
                chosen,
                size,
                float(answer.probabilities[self.target]),
                answer.log_odds,
                answer.flips,
            )
        )
        return answer


def answer_of(logits: NDArray[Any], target: int) -> Answer:
    """Return the answer that is in the logits (classes,) of one image.

    Parameters
    ----------
    logits : ndarray, shape (classes,)
        Of two classes or more.
    target : int
        Index of the class whose log-odds count.

    Returns
    -------
    Answer
        With log-odds in nats.
    """
    exact = logits.astype(np.float64)
    shifted = exact - exact.max()
    probabilities = np.exp(shifted) / np.exp(shifted).sum()
    others = np.delete(exact, target)
    log_odds = exact[target] - (others.max() + np.log(np.exp(others - others.max()).sum()))
    return Answer(probabilities.astype(np.float32), float(log_odds), bool(exact.argmax() == target))
