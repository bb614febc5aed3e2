"""What one channel alone tells of the class: small networks, cross-validated by groups."""

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold
from torch import Tensor

from napari_why.core import events
from napari_why.core.events import Cancelled, OnEvent, never_cancelled
from napari_why.networks import Network, build_network
from napari_why.training.examples import Examples, derived_seed

# all of these keep the test at seconds beside a training of minutes; more would find weaker
# evidence, and what is undecided is not locked anyway
MOST_IMAGES = 600
# pixels: up to the first a side images are taken as they are, of larger ones two views of the second
NATIVE_SIDE, VIEW_SIDE = 96, 64
FOLDS = 3  # two thirds to learn from; every fold more is a network a channel more
WIDTHS = "8,16,32,32"  # half of small_cnn's own
# a large rate on a one-cycle schedule and strong decay: few steps, and little learnt by heart
BATCH, LEARNING_RATE, WEIGHT_DECAY = 32, 3e-3, 0.05
EPOCHS, LEAST_STEPS = 6, 60  # steps for data sets so small that six passes are but a few
CHUNK = 32  # images held at once


def choose_images(labels: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Return at most 600 image numbers in random order, the classes as even as they can be."""
    # shuffled first: in the order of the table the first of a class come from a well or two
    order = np.random.default_rng(seed).permutation(len(labels))
    rank = np.zeros(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        members = order[labels[order] == label]
        rank[members] = np.arange(len(members))
    return order[np.argsort(rank[order], kind="stable")][:MOST_IMAGES]


def reduce_images(
    examples: Examples, chosen: NDArray[np.int64], cancelled: Cancelled = never_cancelled
) -> Tensor | None:
    """Return small views of images, float32, shape (n, C, V, h, w); None when cancelled.

    Images of up to 96 px are taken as they are (V = 1). Of larger ones there are two views of 64
    px: the whole image made smaller, and a piece at full resolution, since class evidence may lie
    in fine texture. The piece is the one of the highest variance in each channel, so that it
    shows cells and not the empty background; labels have no say in it.
    """
    chunks = [chosen[start : start + CHUNK] for start in range(0, len(chosen), CHUNK)]
    views = []
    for chunk in chunks:
        if cancelled():
            return None
        views.append(_views(examples.images(chunk.tolist())))
    return torch.cat(views)


def out_of_fold_predictions(
    views: Tensor,
    labels: NDArray[np.int64],
    groups: NDArray[np.int64],
    classes: int,
    folds: int,
    *,
    seed: int,
    on_event: OnEvent,
    cancelled: Cancelled,
    steps_before: int = 0,
) -> NDArray[np.int64] | None:
    """Return the class that every image is taken for, by networks that did not see its group.

    Parameters
    ----------
    views : Tensor, shape (n, C, V, h, w)
        From :func:`reduce_images`.
    labels, groups : ndarray, shape (n,)
    classes, folds : int
    seed : int
        Of folds, first weights, order and flips.
    on_event, cancelled
        One step per channel and fold, counted on from ``steps_before``.

    Returns
    -------
    ndarray, shape (C, n), or None when cancelled
    """
    # by groups: images of a well are alike, and one seen in training gives its neighbours away;
    # scikit-learn takes seeds of 32 bits
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed % 2**32)
    # the same folds for every channel, so that their accuracies can be compared
    parts = [held for _, held in splitter.split(np.zeros(len(labels)), labels, groups)]
    predicted = np.full((views.shape[1], len(labels)), -1, dtype=np.int64)
    truth = torch.from_numpy(labels)
    for channel in range(views.shape[1]):
        for fold, held in enumerate(parts):
            if cancelled():
                return None
            if len(held):
                seen = np.setdiff1d(np.arange(len(labels)), held)
                own = derived_seed(seed, channel, fold)
                network = _train(views[seen, channel], truth[seen], classes, own)
                predicted[channel, held] = _predict(network, views[held, channel])
            on_event(events.Advanced(steps_before + channel * folds + fold + 1))
    return predicted


def _views(images: Tensor) -> Tensor:
    side = min(images.shape[-2:])
    if max(images.shape[-2:]) <= NATIVE_SIDE or side < VIEW_SIDE:
        return images[:, :, None]
    # area: every pixel counts, where bilinear sampling of a large image skips most of them
    whole = F.interpolate(images, size=(VIEW_SIDE, VIEW_SIDE), mode="area")
    tiles = images.unfold(2, VIEW_SIDE, VIEW_SIDE).unfold(3, VIEW_SIDE, VIEW_SIDE).flatten(2, 3)
    busiest = tiles.flatten(3).var(dim=3).argmax(dim=2)
    pieces = torch.take_along_dim(tiles, busiest[:, :, None, None, None], dim=2)[:, :, 0]
    return torch.stack([whole, pieces], dim=2)


def _train(x: Tensor, labels: Tensor, classes: int, seed: int) -> Network:
    """Train a small network for a fixed number of steps on (n, V, h, w)."""
    size = (x.shape[-2], x.shape[-1])
    network = build_network(
        "small_cnn",
        input_channels=x.shape[1],
        classes=classes,
        size=size,
        seed=seed,
        widths=WIDTHS,
    )
    # on the CPU whatever the training runs on: the network is small, and its result is then the same
    network.to(memory_format=torch.channels_last)
    counts = torch.bincount(labels, minlength=classes)
    weights = len(labels) / (classes * counts.clamp(min=1).float())  # balanced classes
    steps = max(LEAST_STEPS, EPOCHS * -(-len(labels) // BATCH))
    optimiser = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=steps)
    network.train()
    # a loop of its own: fixed steps, class weights and a one-cycle rate, and no epoch to choose
    for rows, flips in _draws(len(labels), steps, seed):
        loss = F.cross_entropy(
            network(_flip(x[rows], flips).contiguous(memory_format=torch.channels_last)),
            labels[rows],
            weights,
        )
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        schedule.step()
    network.freeze()
    return network


def _draws(count: int, steps: int, seed: int) -> Iterator[tuple[Tensor, list[bool]]]:
    generator = torch.Generator().manual_seed(seed)
    order = torch.empty(0, dtype=torch.int64)
    size = min(BATCH, count)
    for _ in range(steps):
        if len(order) < size:
            order = torch.randperm(count, generator=generator)
        rows, order = order[:size], order[size:]
        yield rows, (torch.rand(2, generator=generator) < 0.5).tolist()


def _flip(x: Tensor, flips: list[bool]) -> Tensor:
    return x.flip([axis for axis, flip in zip((-2, -1), flips, strict=True) if flip])


@torch.no_grad()
def _predict(network: Network, x: Tensor) -> NDArray[np.int64]:
    parts = [network(x[start : start + CHUNK]).argmax(dim=1) for start in range(0, len(x), CHUNK)]
    return torch.cat(parts).numpy()
