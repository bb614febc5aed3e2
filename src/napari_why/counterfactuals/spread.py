"""How sure a change is, by other versions of it; and draws, where there is more than one answer.

What a classifier learnt of its classes, it learnt from some dozen images; from others it would have
learnt it a little differently. Versions of a change (draws from the posterior of its coefficients, fits to
images drawn with replacement, or, of a network that undoes another change, versions of that) show how
differently: the spread of what they do to a pixel is how well its change is known, and where they do not
agree whether it brightens or dims, nothing is claimed.

Versions of one kind of change agree where the truth is of another kind. How far that is, held-out images tell:
where a change was chosen by them, the share of what sets the classes apart that they still have after it is
added, as a share of the squared change, to the squared spread.

Draws are another thing. Where only some cells respond and nothing tells which, no number of images would
say what becomes of this one: each draw is an answer, and none is the answer.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import takewhile
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from napari_why.core.errors import CancellationError
from napari_why.core.events import Cancelled, never_cancelled
from napari_why.core.pictures import Axis, Picture
from napari_why.core.record import Record
from napari_why.counterfactuals.engine import Exporter, PathImages, exported_probabilities
from napari_why.images.image import Grid
from napari_why.transport.responding_cells import CellSamples

if TYPE_CHECKING:
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
        Of the counterfactual, which says that the file holds its spread.
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
    record = _say_what_is_shown(result, "spread")
    return SpreadImages(result.spread, result.channels, result.grid, record)


@dataclass(frozen=True, eq=False)
class Samples:
    """Draws of what an image could be, on the result's grid; each is made when it is asked for.

    Parameters
    ----------
    sampler : CellSamples
        Draws, by number.
    export : Exporter
        Exports what was drawn.
    probabilities : ndarray, float32, shape (S, K)
        Of every class, for each of the S exported draws.
    target : str
        The class that was asked for.
    target_index : int
        Its place along K.
    """

    sampler: CellSamples
    export: Exporter
    probabilities: NDArray[np.float32]
    target: str
    target_index: int

    def __len__(self) -> int:
        """Return the number of draws, S."""
        return len(self.probabilities)

    def image(self, index: int) -> NDArray[Any]:
        """Return an exported draw, raw units, shape (C, H, W); the first is that of the series."""
        return self.export(self.sampler.draw(range(len(self))[index]))

    @property
    def images(self) -> NDArray[Any]:
        """All exported draws, raw units, shape (S, C, H, W); made anew whenever they are asked for."""
        return np.stack([self.image(index) for index in range(len(self))])

    @cached_property
    def _drawn_cells(self) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """The sampler's numbers of those cells that lie in the image, and each pixel's place among them."""
        height, width = self.export.source.shape[-2:]
        # a whole field is drawn with mirrored margins, whose cells are not exported
        found, places = np.unique(self.sampler.number[:height, :width], return_inverse=True)
        return found, places.reshape(height, width).astype(np.int32)

    @property
    def cells(self) -> NDArray[np.int32]:
        """To which cell every pixel belongs, from 1, shape (H, W)."""
        return self._drawn_cells[1] + 1

    @property
    def responding(self) -> NDArray[np.bool_]:
        """Which cells respond, shape (S, cells), in the order of their numbers."""
        there = self._drawn_cells[0] - 1
        return np.stack([self.sampler.responding(index)[there] for index in range(len(self))])

    @property
    def share(self) -> tuple[float, float]:
        """Share of cells that respond, 0 to 1, as it was estimated, and its standard error."""
        return self.sampler.cells.share, self.sampler.cells.error

    @property
    def reached(self) -> NDArray[np.float32]:
        """p(target) of each draw, shape (S,)."""
        return np.asarray(self.probabilities[:, self.target_index])

    @property
    def flips(self) -> int:
        """How many of the draws are predicted as the target."""
        return int((self.probabilities.argmax(1) == self.target_index).sum())

    def picture(self, channels: tuple[str, ...], at: Axis | None = None) -> Picture:
        """Return the draws along an axis; ``at``: the alpha where they lie beside a series.

        Parameters
        ----------
        channels : tuple of str
            Names along C.
        at : Axis or None
            The one alpha, along an axis of alphas; None for draws on their own.

        Returns
        -------
        Picture
            Of shape (S, C, H, W), or (S, 1, C, H, W) beside a series; grey levels.
        """
        return Picture(
            compute=lambda: self.images if at is None else self.images[:, None],
            channels=channels,
            titles=tuple(f"{name}: draws of {self.target}" for name in channels),
            role="draws",
            kind="intensity",
            unit="grey levels",
            axis=Axis("draw", np.arange(len(self), dtype=float)),
            second_axis=at,
            in_file=at is None,  # beside a series they would read as its continuation
        )

    def facts(self) -> dict[str, Any]:
        """Return what a record keeps of them; JSON types.

        Of responding cells how many there are in each draw: which ones, seed and number of a draw repeat.
        """
        share, error = self.share
        return {
            "draws": len(self),
            "seed": self.sampler.seed,
            "share": share,
            "share_error": error,
            "cells": int(self.cells.max()),
            "responding": self.responding.sum(1).tolist(),
            "p_target": self.reached.astype(float).tolist(),
            "predicted_as_target": self.flips,
        }


@dataclass(frozen=True, eq=False)
class SampleImages:
    """The draws of one counterfactual as images to write.

    Parameters
    ----------
    samples : Samples
    channels : tuple of str
        Names along C.
    grid : Grid
    record : Record
        Of the counterfactual, which says that the file holds its draws.
    """

    samples: Samples
    channels: tuple[str, ...]
    grid: Grid
    record: Record
    notes: tuple[str, ...] = ()

    @property
    def facts(self) -> dict[str, Any]:
        """What layers would carry beside the record."""
        return self.samples.facts()

    def pictures(self) -> dict[str, Picture]:
        """Return the draws."""
        return {"draws": self.samples.picture(self.channels)}


def _say_what_is_shown(result: "Counterfactual", shown: str) -> Record:
    """Return the record for a file that holds something other than the series."""
    return replace(result.record, details={**result.record.details, "shows": shown})


def sample_images(result: "Counterfactual") -> SampleImages | None:
    """Return the draws as images to write; None where there is one answer only."""
    if result.samples is None:
        return None
    record = _say_what_is_shown(result, "draws")
    return SampleImages(result.samples, result.channels, result.grid, record)


def images_shown(result: "Counterfactual", shown: str) -> SpreadImages | SampleImages | None:
    """Return what a file holds whose record ``shows`` this; None where there is no such thing.

    Parameters
    ----------
    result : Counterfactual
    shown : str
        ``draws`` or ``spread``; of anything else there is no such thing.

    Returns
    -------
    SpreadImages, SampleImages or None
    """
    if shown == "draws":
        return sample_images(result)
    return spread_images(result) if shown == "spread" else None


def count_shown(details: Mapping[str, Any]) -> int | None:
    """Return how many draws or versions a record's file was made of; None of any other file.

    Cancelled, they are fewer than were asked for.
    """
    kept = details.get({"draws": "samples", "spread": "spread"}.get(details.get("shows", ""), ""))
    return None if kept is None else int(kept["draws"])


def draw_samples(
    images: PathImages, count: int, cancelled: Cancelled = never_cancelled
) -> Samples | None:
    """Classify draws of a path; one at a time, so that those of a whole field need no room together.

    Parameters
    ----------
    images : PathImages
        Of a path that leads to the first of several draws.
    count : int
        How many are drawn; one at least.
    cancelled : callable
        Asked between two draws; those made by then count.

    Returns
    -------
    Samples or None
        None where the path leads to the only answer, or the first draw was cancelled.
    """
    sampler, task = images.path.samples, images.task
    if sampler is None:
        return None
    found = list[NDArray[np.float32]]()
    with suppress(CancellationError):  # of a whole field, which is cancelled tile by tile
        for index in range(max(count, 1)):
            if found and cancelled():
                break
            drawn = images.export(sampler.draw(index))
            found.append(exported_probabilities(task.judge, drawn, task.classifier.channels))
    if not found:
        return None
    target = task.classifier.classes[task.target]
    return Samples(sampler, images.export, np.stack(found), target, task.judged_target)


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

    Returns
    -------
    Spread or None
        In grey levels, float32.
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
