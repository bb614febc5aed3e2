"""Pixels taken away: which go first, what stands in their place, and what the network says without.

A pixel is taken away in all channels at once. What stands in its place is the removal's baseline:
the training mean (0 of a standardised image), the blurred image, or the local background. None of
them makes an image that the network was trained on, and a score may fall for that alone; so maps
are compared with random orders of the same pixels, with the same baseline.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_why.attribution.occlusion import batch_size, local_background
from napari_why.attribution.registry import baseline_image
from napari_why.core import events
from napari_why.core.errors import CancellationError
from napari_why.core.options import Help, Range, Unit
from napari_why.evaluation.explanations import STOPPED, Values, to_array
from napari_why.model.classifier import softmax
from napari_why.networks.network import Network

Ranks = NDArray[np.int64]


Removal = Literal["mean", "blur", "local"]


RemovalOption = Annotated[
    Removal,
    Help(
        "what stands where pixels are taken away: the training mean, the blurred image, or the median "
        "of the frame round each square"
    ),
]


SideOption = Annotated[
    int,
    Help("side of the squares that are taken away together; 0: a 16th of the shorter side"),
    Range(0, 1024),
    Unit("px"),
]


# A 16th gives 256 squares: few enough to be ordered well by chance sometimes, many enough to matter.
SQUARES_ALONG = 16


NO_PROBABILITY = "a target with one output has no probability; take pixel_flipping"


def square_side(shape: Sequence[int], side: int) -> int:
    """Return the side of squares in pixels; 0 stands for a 16th of the shorter side.

    Parameters
    ----------
    shape : sequence of int
        Of the image, H and W last.
    side : int
        As asked for, pixels.

    Returns
    -------
    int
        1 or more.
    """
    return side or max(1, min(shape[-2:]) // SQUARES_ALONG)


def square_sums(values: Values, side: int) -> Values:
    """Return the sums of a map (H, W) in squares from the upper left; those at the far borders are cut.

    Parameters
    ----------
    values : ndarray, float64, shape (H, W)
    side : int
        Of the squares, pixels.

    Returns
    -------
    ndarray, float64, shape (ceil(H / side), ceil(W / side))
    """
    rows = np.add.reduceat(values, np.arange(0, values.shape[0], side), axis=0)
    return np.asarray(np.add.reduceat(rows, np.arange(0, values.shape[1], side), axis=1))


def on_pixels(squares: NDArray[Any], side: int, shape: tuple[int, int]) -> NDArray[Any]:
    """Give each pixel of (H, W) the value of its square.

    Parameters
    ----------
    squares : ndarray, shape (ceil(H / side), ceil(W / side))
        One value a square.
    side : int
        Of the squares, pixels.
    shape : (int, int)
        H and W.

    Returns
    -------
    ndarray, shape (H, W)
    """
    wide = squares.repeat(side, axis=0).repeat(side, axis=1)
    return np.asarray(wide[: shape[0], : shape[1]])


def removal_ranks(values: Values, side: int, generator: np.random.Generator) -> Ranks:
    """Return when each pixel is taken away, 0 first: its square's place by the map, highest first.

    Squares of equal value come in random order. Sorted as they lie, a map of zeros would take the
    image away from top to bottom, and be judged by where cells are.

    Parameters
    ----------
    values : ndarray, float64, shape (H, W)
        The map; sums over squares decide.
    side : int
        Of the squares, pixels.
    generator : Generator
        Draws the order of ties.

    Returns
    -------
    ndarray, int64, shape (H, W)
        0 to the number of squares less 1, the same on all pixels of a square.
    """
    sums = square_sums(values, side)
    order = np.lexsort((generator.random(sums.size), -sums.ravel()))
    ranks = np.empty(sums.size, np.int64)
    ranks[order] = np.arange(sums.size)
    return on_pixels(ranks.reshape(sums.shape), side, (values.shape[0], values.shape[1]))


def removal_filling(x: Tensor, removal: str, side: int) -> Tensor:
    """Return the image (1, C, H, W) whose pixels stand in for those that are taken away.

    Parameters
    ----------
    x : Tensor, shape (1, C, H, W)
        The standardised image.
    removal : {"mean", "blur", "local"}
        See :data:`RemovalOption`.
    side : int
        Of the squares, pixels; decides about the blur and the frame of ``local``.

    Returns
    -------
    Tensor, shape (1, C, H, W)
    """
    if removal != "local":
        # half an occlusion window, as the baseline of integrated gradients; more where squares are large
        return baseline_image(x, removal, None, blur_sigma=max(7.5, side / 2))
    filling = torch.empty_like(x)
    for top in range(0, x.shape[-2], side):
        for left in range(0, x.shape[-1], side):
            rows, columns = slice(top, top + side), slice(left, left + side)
            frame = local_background(x, rows, columns, max(1, side // 2))
            filling[..., rows, columns] = frame
    return filling


def ask(
    network: Network,
    images: Iterable[Tensor],
    total: int,
    *,
    on_event: events.OnEvent = events.ignore_event,
    cancelled: events.Cancelled = events.never_cancelled,
    task: str = "asking the network",
) -> Values:
    """Return the logits (total, classes) of images (1, C, H, W) that are made one after another.

    Parameters
    ----------
    network : Network
        Frozen.
    images : iterable of Tensor, each (1, C, H, W)
        One at least; read a batch at a time.
    total : int
        How many there are, for the events.
    on_event, cancelled : callable
        See :mod:`napari_why.core.events`.
    task : str
        What the events call the work.

    Returns
    -------
    ndarray, float64, shape (total, classes)

    Raises
    ------
    CancellationError
        Cancelled before all were asked.
    """
    on_event(events.Started(task, total))
    found: list[Values] = []
    left = iter(images)
    first = next(left)
    left = chain((first,), left)
    with torch.no_grad():
        while batch := list(islice(left, batch_size(first))):
            if cancelled():
                raise CancellationError(f"{task}: {STOPPED}")
            found.append(to_array(network(torch.cat(batch))))
            on_event(events.Advanced(sum(map(len, found))))
    return np.concatenate(found)


def removal_images(
    x: Tensor, filling: Tensor, ranks: Ranks, counts: Iterable[int]
) -> Iterator[Tensor]:
    """Make the image with the first squares of an order taken away, for each count.

    Parameters
    ----------
    x, filling : Tensor, shape (1, C, H, W)
        The image, and what takes the place of its pixels.
    ranks : ndarray of int, shape (H, W)
        Of :func:`removal_ranks`.
    counts : iterable of int
        How many squares are taken away.

    Yields
    ------
    Tensor, shape (1, C, H, W)
    """
    place = torch.from_numpy(ranks).to(x.device)
    for count in counts:
        yield torch.where(place < count, filling, x)


def softmax_of(logits: Values, target: int) -> Values:
    """Return the probability of one class, for each row of logits.

    Parameters
    ----------
    logits : ndarray, float64, shape (N, classes)
    target : int
        Index of the class.

    Returns
    -------
    ndarray, float64, shape (N,)
        0 to 1.
    """
    return softmax(logits)[:, target]
