"""The search for the smallest part of a change that still convinces a network."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_why.measurement.change_units import ChangeUnits

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
    """Looks for the smallest set of units that is enough; the largest known one is ``found``.

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
            self._eliminate()
        except StopSearchError:
            pass
        if self._finds_nothing():
            self.found, self.minimal = frozenset(), False

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
            self._note(self.found)

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
    """Return the answer that is in the logits (classes,) of one image."""
    exact = logits.astype(np.float64)
    shifted = exact - exact.max()
    probabilities = np.exp(shifted) / np.exp(shifted).sum()
    others = np.delete(exact, target)
    log_odds = exact[target] - (others.max() + np.log(np.exp(others - others.max()).sum()))
    return Answer(probabilities.astype(np.float32), float(log_odds), bool(exact.argmax() == target))
