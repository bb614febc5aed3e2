"""The one number of a well's looks that lies furthest beyond both controls, with a p that knows of all."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from napari_why.latent_space.robust import DEVIATIONS
from napari_why.screening.statistics.empirical_null import FEWEST_TESTS
from napari_why.screening.statistics.scores import (
    FEWEST_CONTROLS,
    centre_variance,
    excess_kurtosis,
    plate_centres,
    tail_freedom,
)

Values = NDArray[np.float64]
Mask = NDArray[np.bool_]

# Degrees of freedom about the plates' means from which a kind of controls tells a deviation: those of as many
# wells on one plate as a deviation is ever taken from.
FEWEST_FREE = FEWEST_CONTROLS - 1


@dataclass(frozen=True)
class Change:
    """The number that tells most.

    Parameters
    ----------
    place : int
        Which of the columns; -1 where nothing could be judged.
    size : float
        How far beyond both controls the mean lies, in deviations of a control well; negative below both.
    p : float
        That one of so many numbers lies so far by chance.
    """

    place: int
    size: float
    p: float


NO_CHANGE = Change(-1, float("nan"), float("nan"))


class LargestChange:
    """How far wells lie beyond the controls in any single number of how they look.

    What else a compound changes is mostly one thing: chromatin, light, the number of cells. The distance in
    many directions (:class:`~napari_why.screening.statistics.OffTarget`) thins that out; here each number
    is tested alone, and the least p is multiplied by how many there are (Bonferroni). A number between the
    means of both controls is on the way and no other change, so that what is tested is the distance from
    that range. Its deviation is the larger one of both kinds of controls about the means of their plates;
    where their tails are heavier than normal, Student's t has fewer degrees of freedom (:func:`tail_freedom`).
    A kind with fewer than three degrees of freedom (one well a plate, say) has no part in that; ``fine`` is
    False where neither has more, or there are fewer than four negative controls.

    Parameters
    ----------
    numbers : ndarray, shape (W, K)
        Textures, say; NaN in wells without any.
    plates : sequence of W str
    negative, positive : ndarray of bool, shape (W,)
    """

    def __init__(
        self, numbers: Values, plates: Sequence[str], negative: Mask, positive: Mask
    ) -> None:
        known: Mask = np.asarray(~np.isnan(numbers).any(axis=1))
        self._known, self._used = known, negative & known
        shown = positive & known
        self.fine = bool(numbers.shape[1]) and int(self._used.sum()) >= FEWEST_CONTROLS
        if not self.fine:
            return
        self._plates = np.asarray(plates)
        self._centred = numbers - plate_centres(numbers, plates, self._used)
        kinds = [
            found
            for mask in (self._used, shown)
            if (found := _describe(self._centred[mask], self._plates[mask]))[2] >= FEWEST_FREE
        ]
        self.fine = bool(kinds)
        if not self.fine:
            return
        deviations = np.array([deviation for deviation, _, _ in kinds])
        # of the kind that varies more; of tails, of either
        self._deviation = deviations.max(axis=0)
        self._excess = np.max([excess for _, excess, _ in kinds], axis=0)
        self._free = min(free for _, _, free in kinds)
        self._end = self._centred[shown].mean(axis=0) if shown.any() else np.zeros(numbers.shape[1])
        self._middle = np.zeros(numbers.shape[1])
        self._shown = int(shown.sum())

    def heed_samples(self, samples: Sequence[NDArray[np.int64]]) -> None:
        """Take chance as wide as samples show it, most of which do nothing, where they show more than controls.

        Of each number the deviation is multiplied by the spread of the samples' t about their median (median
        absolute deviation), where that is larger than 1, and the range of the controls is widened to that
        median; see :func:`~napari_why.screening.statistics.heed_samples`, which does so with p.

        Parameters
        ----------
        samples : sequence of ndarray
            Wells of each of many compounds.
        """
        kept = [own for wells in samples if len(own := wells[self._known[wells]])]
        if not self.fine or len(kept) < FEWEST_TESTS:
            return
        means = np.array([self._centred[own].mean(axis=0) for own in kept])
        errors = np.array(
            [(1 / len(own) + centre_variance(own, self._plates, self._used)) ** 0.5 for own in kept]
        )
        self._middle = np.median(means, axis=0)
        apart = np.abs(means - self._middle) / errors[:, None]
        spread = DEVIATIONS * np.median(apart, axis=0)
        self._deviation = np.maximum(self._deviation, spread)

    def score(self, wells: NDArray[np.int64]) -> Change:
        """Return the number in which the mean of some wells lies furthest beyond the controls."""
        kept = wells[self._known[wells]] if self.fine else wells[:0]
        tested = self._deviation > 0 if len(kept) else np.zeros(0, bool)
        if not tested.any():
            return NO_CHANGE
        means = self._centred[kept].mean(axis=0)
        ends = np.stack([np.zeros_like(means), self._end, self._middle])
        low, high = ends.min(axis=0), ends.max(axis=0)
        beyond = means - np.clip(means, low, high)
        # the end that is passed is a mean of few wells too: of the plates' negative ones, or the positive
        passed = (beyond != 0) & (np.sign(beyond) == np.sign(self._end))
        own = 1 / len(kept) + centre_variance(kept, self._plates, self._used)
        variance = own + np.where(passed, 1 / max(self._shown, 1), 0.0)
        size = np.divide(beyond, self._deviation, out=np.zeros_like(beyond), where=tested)
        free = tail_freedom(self._excess, len(kept), self._free)
        p = 2 * stats.t.sf(np.abs(size) / np.sqrt(variance), free)
        place = int(np.argmin(np.where(tested, p, np.inf)))
        return Change(place, float(size[place]), float(min(1.0, p[place] * tested.sum())))


def _describe(points: Values, plates: NDArray[np.str_]) -> tuple[Values, Values, int]:
    """Return deviations and excess kurtosis of numbers about the means of their plates, and freedom."""
    own = points.copy()
    for plate in np.unique(plates):
        own[plates == plate] -= own[plates == plate].mean(axis=0)
    free = len(own) - len(np.unique(plates))
    deviation = np.sqrt((own**2).sum(axis=0) / max(free, 1))
    return deviation, excess_kurtosis(own), free
