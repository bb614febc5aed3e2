"""How sure a change is: the same change as other, equally plausible versions of it make it.

What a classifier learnt of its classes, it learnt from some dozen images; from others it would have
learnt it a little differently. Versions of a change (draws from the posterior of its coefficients, fits to
images drawn with replacement, or, of a network that undoes another change, versions of that) show how
differently: the spread of what they do to a pixel is how well its change is known, and where they do not
agree whether it brightens or dims, nothing is claimed.

Versions of one kind of change agree where the truth is of another kind. How far that is, held-out images tell:
where a change was chosen by them, the share of what sets the classes apart that they still have after it is
added, as a share of the squared change, to the squared spread.
"""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import takewhile
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from napari_why.core.errors import CancellationError
from napari_why.core.events import Cancelled, never_cancelled
from napari_why.core.pictures import Picture
from napari_why.core.record import Record
from napari_why.images.image import Grid

if TYPE_CHECKING:
    from napari_why.counterfactuals.engine import PathImages
    from napari_why.counterfactuals.result import Counterfactual

# Of draws, as the regions that are hatched are defined.
SHARED = 0.9
# Of a normal distribution: 5 and 95 %.
QUANTILE = 1.645
# Pixels. What is left of a change is wrong where the change is and right beside it, for structures are moved or
# widened by some pixels: limits of known changes held the truth in 77 % at least by the pixel alone, in 82 % over
# 5 pixels, and over 9 and 15 pixels in more only where they were wide enough (in the mean 95, 96 and 97 %).
AROUND = 5
# Fewer versions tell neither a deviation nor a share of 90 %.
FEWEST = 4


@dataclass(frozen=True, eq=False)
class Spread:
    """How well the change at alpha1 is known, pixel by pixel, on the result's grid.

    Parameters
    ----------
    draws : int
        How many versions of the change were made.
    change : ndarray, float32, shape (C, H, W)
        What changes at alpha1, grey levels, exported pixels both.
    deviation : ndarray, float32, shape (C, H, W)
        How far the versions lie from it, as root mean square, and how far the truth may lie from all of
        them, calibrated; grey levels. 0 where nothing can change.
    same_sign : ndarray, float32, shape (C, H, W)
        Share (0 to 1) of the versions that change a pixel in the direction in which it changes; 1 where
        nothing changes.
    left : float
        Share of the squared change that was added to the squared deviation, for what held-out images still
        differ in after it; 0 where that is not known.
    """

    draws: int
    change: NDArray[np.float32]
    deviation: NDArray[np.float32]
    same_sign: NDArray[np.float32]
    left: float = 0.0

    @property
    def low(self) -> NDArray[np.float32]:
        """5 % limit of the change, grey levels, shape (C, H, W)."""
        return np.asarray(self.change - QUANTILE * self.deviation, np.float32)

    @property
    def high(self) -> NDArray[np.float32]:
        """95 % limit of the change, grey levels, shape (C, H, W)."""
        return np.asarray(self.change + QUANTILE * self.deviation, np.float32)

    @property
    def free(self) -> list[int]:
        """Channels in which versions differ; locked ones are not among them."""
        return [index for index, plane in enumerate(self.deviation) if plane.any()]

    @property
    def uncertain(self) -> NDArray[np.bool_]:
        """Where fewer than 90 % of the versions share the sign of the change, shape (C, H, W)."""
        return np.asarray(self.same_sign < SHARED)

    @property
    def sure_share(self) -> float:
        """Share (0 to 1) of the absolute change, in grey levels, whose sign is shared; 1 of no change."""
        amounts = np.abs(self.change.astype(np.float64))
        total = float(amounts.sum())
        return float(amounts[~self.uncertain].sum()) / total if total > 0 else 1.0

    def pictures(self, channels: tuple[str, ...]) -> dict[str, Picture]:
        """Return, hidden, the deviation and where the sign is not shared, of channels that may change."""
        free = self.free
        names = tuple(channels[index] for index in free)
        if not free:
            return {}
        return {
            "spread": Picture(
                compute=lambda: self.deviation[free],
                channels=names,
                titles=tuple(f"{name}: spread of the change" for name in names),
                role="spread",
                kind="signed",
                unit="grey levels",
                visible=False,
                in_file=False,  # it has no alpha, as the series of the file has
            ),
            "uncertain": Picture(
                compute=lambda: self.uncertain[free].astype(np.int32),
                channels=names,
                titles=tuple(f"{name}: change of uncertain sign" for name in names),
                role="uncertain sign",
                kind="labels",
                unit="",
                visible=False,
                in_file=False,
            ),
        }

    def facts(self, channels: tuple[str, ...]) -> dict[str, Any]:
        """Return what a record keeps of it; JSON types."""
        deviations = self.deviation.astype(np.float64).mean((1, 2)).tolist()
        return {
            "draws": self.draws,
            "sure_share": self.sure_share,
            "left": self.left,
            "mean_deviation": dict(zip(channels, deviations, strict=True)),
        }


@dataclass(frozen=True, eq=False)
class SpreadImages:
    """The spread of one counterfactual as images to write, of the channels that may change.

    Parameters
    ----------
    spread : Spread
    channels : tuple of str
        Names along C.
    grid : Grid
    record : Record
        Of the counterfactual.
    """

    spread: Spread
    channels: tuple[str, ...]
    grid: Grid
    record: Record
    notes: tuple[str, ...] = ()

    @property
    def facts(self) -> dict[str, Any]:
        """What layers would carry beside the record."""
        return self.spread.facts(self.channels)

    def pictures(self) -> dict[str, Picture]:
        """Return deviation, both limits, and the share of versions that agree in the sign."""
        spread, free = self.spread, self.spread.free
        stacks = {
            "deviation": (spread.deviation, "grey levels"),
            "5 % limit": (spread.low, "grey levels"),
            "95 % limit": (spread.high, "grey levels"),
            "share of the same sign": (spread.same_sign, ""),
        }
        return {
            name: Picture(
                compute=partial(np.take, values, free, axis=0),
                channels=tuple(f"{self.channels[index]} {name}" for index in free),
                titles=tuple(f"{self.channels[index]} {name}" for index in free),
                role="spread",
                kind="signed",
                unit=unit,
            )
            for name, (values, unit) in stacks.items()
        }


def spread_images(result: "Counterfactual") -> SpreadImages | None:
    """Return how sure a change is as images to write; None where that was not measured."""
    if result.spread is None or not result.spread.free:
        return None
    return SpreadImages(result.spread, result.channels, result.grid, result.record)


def measure_spread(
    images: "PathImages",
    draws: int,
    change: NDArray[np.float64],
    cancelled: Cancelled = never_cancelled,
) -> Spread | None:
    """Measure how well a complete change is known.

    Parameters
    ----------
    images : PathImages
        Whose path knows other versions of its complete change. Of latents each takes an inversion.
    draws : int
        How many versions are made at most.
    change : ndarray, float64, shape (C, H, W)
        The complete change, grey levels, exported pixels both.
    cancelled : callable
        Asked between two versions; those made by then count.

    Returns
    -------
    Spread or None
        None where the path knows no versions, or fewer than four were made.
    """
    versions = images.path.versions
    if versions is None or not draws:
        return None
    # float64: images are unsigned integers, whose difference would wrap round below zero
    before = images.exported_source.astype(np.float64)
    moved = (images.export(one) - before for one in _until(cancelled, versions.make(draws)))
    return compare_changes(change, moved, versions.widening, versions.left)


def _until(cancelled: Cancelled, versions: Iterable[Tensor]) -> Iterator[Tensor]:
    """Yield what is made before it is cancelled, which of a whole field may be within a version."""
    with suppress(CancellationError):
        yield from takewhile(lambda _: not cancelled(), versions)


def compare_changes(
    change: NDArray[np.float64],
    versions: Iterable[NDArray[np.float64]],
    widening: float = 1.0,
    left: float = 0.0,
) -> Spread | None:
    """Return the spread of versions of a change; None of fewer than four.

    The deviation is ``sqrt((widening * spread)^2 + left * mean(change^2))``, the mean over 5 x 5 pixels. The
    agreement is that of the versions as they are. One at a time, so that the versions of a whole field
    need not lie in memory together.

    Parameters
    ----------
    change : ndarray, float64, shape (C, H, W)
        Grey levels.
    versions : iterable of the same
    widening, left : float
        See :class:`napari_why.counterfactuals.method.Versions`.
    """
    count, squares, agree = 0, np.zeros_like(change), np.zeros_like(change)
    for version in versions:
        # about the change itself, not about their mean: what is shown is what the limits are of
        squares += (version - change) ** 2
        # as they are: widened, they would call signs uncertain of which nine in ten are right
        agree += np.sign(version) == np.sign(change)
        count += 1
    if count < FEWEST:
        return None
    around = ndimage.uniform_filter(change**2, (0, AROUND, AROUND))
    # running sums of squares can end some rounding below zero
    variance = widening**2 * squares / count + left * np.maximum(around, 0)
    return Spread(
        count,
        change.astype(np.float32),
        np.sqrt(variance).astype(np.float32),
        np.where(change == 0, 1.0, agree / count).astype(np.float32),
        left,
    )
