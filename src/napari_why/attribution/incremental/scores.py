"""Scores of an image with small changes: by patches where that can be, else in whole passes."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from napari_why.attribution.incremental.folded import FEWEST_PIXELS, Forward, fold
from napari_why.attribution.incremental.passes import IncrementalPasses
from napari_why.attribution.incremental.plan import Box
from napari_why.core.durations import MINUTE, describe_duration
from napari_why.core.errors import UnsupportedNetworkError
from napari_why.networks.network import Network

# To prepare patches takes some five whole passes and up to a tenth of a second besides: below so many
# changes, or so few pixels that folding would not be worth its time, patches are not either.
FEWEST_CHANGES = 64
# Batches that are put in order together, so that windows which touch like sizes come together; no
# more, since work that is cancelled should have covered the image from the top on.
ORDERED_BATCHES = 4


class Passes(Protocol):
    """What gives the logits of changed images; see :class:`IncrementalPasses`."""

    logits: Tensor
    batch: int
    seconds: float

    @property
    def share(self) -> float:
        """Of a whole pass's multiplications, those that a change takes, in the mean."""

    def batches(self, boxes: Sequence[int]) -> Iterator[list[int]]:
        """Yield the positions of boxes that are best asked for together."""

    def run(self, boxes: Sequence[int], pixels: Sequence[Tensor]) -> Tensor:
        """Return the logits of the image with each of these boxes changed, alone.

        Parameters
        ----------
        boxes : sequence of int
            Their numbers.
        pixels : sequence of Tensor, shapes (C, h, w)
            What each shows instead.

        Returns
        -------
        Tensor, shape (N, classes)
        """


class WholePasses:
    """The same by the network itself: every changed image in full.

    Parameters
    ----------
    network : callable
        The network, or what computes its logits sooner.
    x : Tensor, shape (1, C, H, W)
    boxes : sequence of (slice, slice)
    batch : int
    """

    share = 1.0

    def __init__(self, network: Forward, x: Tensor, boxes: Sequence[Box], batch: int) -> None:
        self._network, self._x, self._boxes = network, x, boxes
        self.batch = batch
        begun = time.perf_counter()
        with torch.no_grad():
            self.logits = network(x)
        self.seconds = time.perf_counter() - begun

    def batches(self, boxes: Sequence[int]) -> Iterator[list[int]]:
        """Yield them as they come: every image costs the same."""
        for start in range(0, len(boxes), self.batch):
            yield list(range(start, min(start + self.batch, len(boxes))))

    def run(self, boxes: Sequence[int], pixels: Sequence[Tensor]) -> Tensor:
        """Return the logits (N, classes).

        Parameters
        ----------
        boxes : sequence of int
            Their numbers.
        pixels : sequence of Tensor, shapes (C, h, w)
            What each shows instead.

        Returns
        -------
        Tensor, shape (N, classes)
        """
        images = []
        for number, new in zip(boxes, pixels, strict=True):
            image = self._x.clone()
            rows, columns = self._boxes[number]
            image[0, :, rows, columns] = new
            images.append(image)
        with torch.no_grad():
            return self._network(torch.cat(images))


@dataclass(frozen=True, eq=False)
class ChangedScores:
    """Scores of one image, changed in one box after the other.

    Parameters
    ----------
    passes : Passes
    column : int
        Of the logits.
    count : int
        How many changes will be asked for.
    how : str
        How the scores are computed, in words.
    ordered : int
        How many changes to put in order together.
    """

    passes: Passes
    column: int
    count: int
    how: str
    ordered: int

    def batches(self, boxes: Sequence[int]) -> Iterator[list[int]]:
        """Yield the positions of boxes that are best asked for together."""
        return self.passes.batches(boxes)

    def losses(self, boxes: Sequence[int], pixels: Sequence[Tensor]) -> list[float]:
        """Return what the score loses with each of these boxes changed, alone.

        Parameters
        ----------
        boxes : sequence of int
            Their numbers.
        pixels : sequence of Tensor, shapes (C, h, w)
            What each shows instead.

        Returns
        -------
        list of float
            Score of the image less that of the changed one, in logits.
        """
        score = self.passes.logits[0, self.column]
        lost: list[float] = (score - self.passes.run(boxes, pixels)[:, self.column]).tolist()
        return lost

    def warning(self, what: str) -> str:
        """Say how long all will take; empty where that is below a minute.

        Parameters
        ----------
        what : str
            What is done, as in "occlusion".
        """
        seconds = self.passes.seconds * self.passes.share * self.count
        if seconds < MINUTE:
            return ""
        return (
            f"{what}: {describe_duration(seconds)} for {self.count:,} changed images, as far as the "
            f"first passes tell; {self.how}"
        )


def open_scores(
    network: Network,
    x: Tensor,
    column: int,
    boxes: Sequence[Box],
    *,
    count: int,
    whole_batch: int,
    batch: int | None = None,
    by_patches: bool = True,
) -> ChangedScores:
    """Prepare the scores of changed images.

    Parameters
    ----------
    network : Network
        In evaluation mode.
    x : Tensor, shape (1, C, H, W)
    column : int
    boxes : sequence of (slice, slice)
        Rows and columns of all changes.
    count : int
        How many changes will be asked for: each box may be changed in several ways.
    whole_batch : int
        Whole images at once.
    batch : int, optional
        Changes at once, in place of what is best for patches and of ``whole_batch``.
    by_patches : bool
        False runs whole images in any case.

    Returns
    -------
    ChangedScores
    """
    passes: Passes
    try:
        _check_worth(x, count, by_patches)
        passes = IncrementalPasses(network, x, boxes)
        passes.batch = batch or passes.batch
        how = f"only what a change touches is computed again, {passes.share:.1%} of a whole pass"
        ordered = ORDERED_BATCHES
    except UnsupportedNetworkError as error:
        # as it was asked for in full passes, these are the reference: of the network and nothing else
        forward = fold(network, x, count) if by_patches else network
        passes = WholePasses(forward, x, boxes, batch or whole_batch)
        how, ordered = f"every image is run in full: {error}", 1
    return ChangedScores(passes, column, count, how, ordered * passes.batch)


def _check_worth(x: Tensor, count: int, by_patches: bool) -> None:
    if not by_patches:
        raise UnsupportedNetworkError("it was asked for")
    if count < FEWEST_CHANGES or count * x[0, 0].numel() < FEWEST_PIXELS:
        raise UnsupportedNetworkError("they are so few or small that this takes a moment")
    if x.device.type != "cpu":
        raise UnsupportedNetworkError(f"patches are tried on processors alone, not on {x.device}")
