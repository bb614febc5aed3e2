"""The lock test: which channels hold no class evidence, so that counterfactuals leave them alone.

A small network that sees one channel alone is cross-validated by groups, and its predictions are
compared with labels that are dealt out anew.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold
from torch import Tensor

from napari_why.core import events
from napari_why.core.errors import ParameterError
from napari_why.core.events import Cancelled, OnEvent, ignore_event, never_cancelled
from napari_why.core.options import parameters_of
from napari_why.datasets.dataset import Dataset
from napari_why.networks import NETWORKS, Network, build_network
from napari_why.networks.modules import read_locked_channels
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
        One step per channel and fold.

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
            on_event(events.Advanced(channel * folds + fold + 1))
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


PERMUTATIONS = 999  # with the real labels a thousand, so that p comes in steps of 0.001

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class PermutationTest:
    """How predictions compare with those for labels that were dealt out anew.

    Parameters
    ----------
    accuracies : ndarray, shape (C,)
        Balanced accuracy of every row of predictions: the mean of the classes' recalls within each
        stratum that has two classes or more, averaged over these in proportion to their groups.
        Every group counts the same, whatever its number of images.
    chance : ndarray, shape (C,)
        Its mean over the permutations.
    p_values : ndarray, shape (C,)
        Share of the permutations (the real labels among them) with at least that accuracy.
    smallest_p : float
        What perfect predictions would get; with few groups it is large.
    """

    accuracies: NDArray[np.float64]
    chance: NDArray[np.float64]
    p_values: NDArray[np.float64]
    smallest_p: float


def permutation_test(
    predicted: Integers, labels: Integers, groups: Integers, strata: Integers, *, seed: int
) -> PermutationTest:
    """Compare predictions with labels that are dealt out anew within every stratum.

    Images of a group are not independent: a group of one class gets one label as a whole. In a
    group of several classes the labels are shuffled among its images. Strata (plates) keep the
    labels they have, so that what merely tells plates apart is no evidence for a class.

    Parameters
    ----------
    predicted : ndarray, shape (C, n)
        Rows of predictions that were made without the images' own labels.
    labels, groups, strata : ndarray, shape (n,)
        At least one stratum has two classes.
    seed : int

    Examples
    --------
    >>> labels = np.repeat([0, 1, 0, 1, 0, 1, 0, 1], 4)
    >>> groups, plates = np.repeat(np.arange(8), 4), np.zeros(32, dtype=int)
    >>> found = permutation_test(labels[None], labels, groups, plates, seed=0)
    >>> float(found.accuracies[0]), float(found.p_values[0]) < 0.05
    (1.0, True)
    """
    generator = np.random.default_rng(seed)
    strata = np.unique(strata, return_inverse=True)[1]
    shuffle = _Shuffle(labels, groups, strata)
    sizes = np.unique(groups, return_inverse=True, return_counts=True)
    # every group counts the same, whatever its number of images
    weights = 1 / sizes[2][sizes[1]]
    real = _balanced_accuracies(predicted, labels, strata, weights)
    null, same = [], 1
    for _ in range(PERMUTATIONS):
        dealt = shuffle(generator)
        null.append(_balanced_accuracies(predicted, dealt, strata, weights))
        same += int(np.array_equal(dealt, labels))
    # 1 for the real labels themselves, so that p is never 0; 1e-12 for the order of summation
    as_good = 1 + (np.stack(null) >= real - 1e-12).sum(axis=0)
    return PermutationTest(
        real,
        np.stack(null).mean(axis=0),
        as_good / (PERMUTATIONS + 1),
        same / (PERMUTATIONS + 1),
    )


class _Shuffle:
    """Deals labels out anew; which sets of units may be shuffled is found once."""

    def __init__(self, labels: Integers, groups: Integers, strata: Integers) -> None:
        self.labels = labels
        members = [np.flatnonzero(groups == group) for group in np.unique(groups)]
        self.mixed = [rows for rows in members if len(np.unique(labels[rows])) > 1]
        pure = [rows for rows in members if len(np.unique(labels[rows])) == 1]
        self.pure = [
            [rows for rows in pure if strata[rows[0]] == stratum] for stratum in np.unique(strata)
        ]

    def __call__(self, generator: np.random.Generator) -> Integers:
        dealt = self.labels.copy()
        for rows in self.mixed:
            dealt[rows] = generator.permutation(self.labels[rows])
        for wells in self.pure:
            given = generator.permutation([self.labels[rows[0]] for rows in wells])
            for rows, label in zip(wells, given, strict=True):
                dealt[rows] = label
        return dealt


def _balanced_accuracies(
    predicted: Integers, labels: Integers, strata: Integers, weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    shape = (int(strata.max()) + 1, int(labels.max()) + 1)
    cell = strata * shape[1] + labels

    def sum_by_cell(values: NDArray[np.float64]) -> NDArray[np.float64]:
        sums = np.bincount(cell, values, minlength=shape[0] * shape[1])
        return np.asarray(sums.reshape(shape), dtype=np.float64)

    total = sum_by_cell(weights)
    there = total > 0
    right = np.stack([sum_by_cell(weights * (row == labels)) for row in predicted])
    recalls = np.where(there, right / np.where(there, total, 1), 0)
    balanced = recalls.sum(axis=2) / np.maximum(there.sum(axis=1), 1)
    share = total.sum(axis=1) * (there.sum(axis=1) > 1)
    return np.asarray(balanced @ share / share.sum(), dtype=np.float64)


SIGNIFICANT = 0.05  # the usual level: one data set in twenty falls below it by chance
# of what lies between chance and 1: what a balanced accuracy must be above chance to count as
# evidence, however significant, and what it may be above chance to be locked where it is not
NEGLIGIBLE, NEAR_CHANCE = 0.12, 0.2

ChannelVerdict = Literal["evidence", "chance", "undecided"]


@dataclass(frozen=True)
class ChannelEvidence:
    """What the test found in one channel.

    Parameters
    ----------
    channel : str
    accuracy : float
        Cross-validated balanced accuracy of a small network that sees this channel alone.
    chance : float
        What that would be without evidence: its mean over permuted labels.
    p_value : float
        Of the permutation test, see :func:`permutation_test`.
    verdict : {"evidence", "chance", "undecided"}
        p below 0.05 and not negligible; near chance; or neither, where the images are too few.
    """

    channel: str
    accuracy: float
    chance: float
    p_value: float
    verdict: ChannelVerdict


@dataclass(frozen=True)
class LockTest:
    """Which channels are locked, by whom, and why.

    Parameters
    ----------
    locked : tuple of str
    decided_by : {"test", "user"}
    sentence : str
        The outcome in words.
    channels : tuple of ChannelEvidence
        Empty where nothing was tested.
    images, groups, folds : int
        What the cross-validation had.
    """

    locked: tuple[str, ...]
    decided_by: Literal["test", "user"]
    sentence: str
    channels: tuple[ChannelEvidence, ...] = ()
    images: int = 0
    groups: int = 0
    folds: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return JSON types, for the card."""
        return {
            **asdict(self),
            "locked": list(self.locked),
            "channels": [*map(asdict, self.channels)],
        }


def can_lock(network: str) -> bool:
    """Tell whether a network, by registry name, has a triangular form."""
    entry = NETWORKS.get(network)
    return entry is not None and "locked" in {item.name for item in parameters_of(entry.builder)}


def read_wanted_lock(
    lock: str, network: str, network_parameters: Mapping[str, Any], channels: Sequence[str]
) -> LockTest | None:
    """Return what the user decided; None where the test is to decide, or where nothing can be.

    Parameters
    ----------
    lock : str
        ``auto``, ``none``, or names of channels separated by commas.
    network : str
        Registry name.
    network_parameters : mapping
        The network's own parameter ``locked`` counts as the user's decision too.
    channels : sequence of str
        Names in the network's order.

    Raises
    ------
    ParameterError
        An unknown channel, all channels, or channels for a network that cannot lock any.
    """
    wanted = lock.strip()
    # the network's own parameter first: it is the more particular of the two
    own = str(network_parameters.get("locked", "")).strip()
    if own:
        names = tuple(channels[index] for index in read_locked_channels(own, len(channels)))
        return LockTest(names, "user", f"{_join_names(names)} locked, as asked for.")
    if wanted == "auto":
        return None
    if wanted in ("", "none"):
        return LockTest((), "user", "No channel is locked, as asked for.")
    names = tuple(name.strip() for name in wanted.split(","))
    unknown = [name for name in names if name not in channels]
    if unknown or not can_lock(network) or len(set(names)) == len(channels):
        raise ParameterError(
            f"lock: found {lock!r} for {network}; expected auto, none, or some but not all of "
            f"{', '.join(channels)}"
            + ("" if can_lock(network) else "; only an invertible residual network locks channels")
        )
    ordered = tuple(name for name in channels if name in names)
    return LockTest(ordered, "user", f"{_join_names(ordered)} locked, as asked for.")


def lock_test(
    dataset: Dataset,
    examples: Examples,
    channels: Sequence[str],
    *,
    seed: int = 0,
    on_event: OnEvent = ignore_event,
    cancelled: Cancelled = never_cancelled,
) -> LockTest | None:
    """Find the channels that hold no class evidence.

    A small network per channel is cross-validated by groups on at most 600 small images, which
    takes seconds. Its predictions are compared with labels permuted among groups, within plates
    where a column ``plate`` tells them apart. A channel is locked when it is near chance and
    another channel clearly is not; in doubt nothing is locked.

    Parameters
    ----------
    dataset : Dataset
        The training images, for their labels, groups and plates.
    examples : Examples
        The same images, preprocessed.
    channels : sequence of str
        Names, in the order of the examples' channels.
    seed : int
    on_event, cancelled
        One step per channel and fold; a Message tells the outcome.

    Returns
    -------
    LockTest, or None when cancelled
    """
    chosen = choose_images(dataset.labels, seed)
    labels, groups = dataset.labels[chosen], dataset.groups[chosen]
    # every fold needs a group of every class
    folds = min([FOLDS, *(len(set(groups[labels == label])) for label in np.unique(labels))])
    if len(channels) == 1 or folds < 2:
        why = "there is one only" if len(channels) == 1 else "a class has one group of images only"
        return _report_outcome(LockTest((), "test", f"No channel is locked: {why}."), on_event)
    on_event(events.Started("lock test", len(channels) * folds))
    views = reduce_images(examples, chosen, cancelled)
    if views is None:
        return None
    predicted = out_of_fold_predictions(
        views,
        labels,
        groups,
        len(dataset.classes),
        folds,
        seed=seed,
        on_event=on_event,
        cancelled=cancelled,
    )
    if predicted is None:
        return None
    found = permutation_test(predicted, labels, groups, _plates(dataset, chosen), seed=seed)
    evidence = tuple(_reach_verdict(name, found, index) for index, name in enumerate(channels))
    locked = _to_lock(evidence)
    sizes = (len(chosen), len(set(groups.tolist())), folds)
    if found.smallest_p >= SIGNIFICANT:
        sentence = f"No channel is locked: {sizes[1]} groups of images are too few to tell."
    else:
        sentence = _sentence(evidence, locked)
    return _report_outcome(LockTest(locked, "test", sentence, evidence, *sizes), on_event)


def _reach_verdict(channel: str, found: PermutationTest, index: int) -> ChannelEvidence:
    accuracy, chance, p_value = (
        float(values[index]) for values in (found.accuracies, found.chance, found.p_values)
    )
    verdict: ChannelVerdict = "undecided"
    possible = 1 - chance
    if p_value < SIGNIFICANT and accuracy - chance > NEGLIGIBLE * possible:
        verdict = "evidence"
    elif found.smallest_p < SIGNIFICANT and accuracy - chance <= NEAR_CHANCE * possible:
        verdict = "chance"
    return ChannelEvidence(channel, accuracy, chance, p_value, verdict)


def _to_lock(evidence: Sequence[ChannelEvidence]) -> tuple[str, ...]:
    # where nothing tells the classes apart, locking would leave the network nothing to learn from
    if not any(item.verdict == "evidence" for item in evidence):
        return ()
    return tuple(item.channel for item in evidence if item.verdict == "chance")


def _sentence(evidence: Sequence[ChannelEvidence], locked: Sequence[str]) -> str:
    figures = ", ".join(f"{item.channel} {item.accuracy:.2f}" for item in evidence)
    measured = f"(balanced accuracy of one channel alone: {figures})"
    if locked:
        names = _join_names(locked)
        return f"{names} locked: no class evidence there {measured}."
    if any(item.verdict == "evidence" for item in evidence):
        return f"No channel is locked: each may hold class evidence {measured}."
    return f"No channel is locked: none alone clearly tells the classes apart {measured}."


def _join_names(names: Sequence[str]) -> str:
    return f"{' and '.join(names)} {'is' if len(names) == 1 else 'are'}"


def _plates(dataset: Dataset, chosen: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return plate numbers; all 0 where there are none, or where each plate has one class."""
    nothing = np.zeros(len(chosen), dtype=np.int64)
    if "plate" not in dataset.table.columns:
        return nothing
    rows = dataset.table.iloc[chosen]
    # then labels dealt out within plates stay as they are, and nothing could be tested
    if (rows.groupby("plate")["label"].nunique() == 1).all():
        return nothing
    numbers, _ = rows["plate"].factorize()
    return np.asarray(numbers, dtype=np.int64)


def _report_outcome(outcome: LockTest, on_event: OnEvent) -> LockTest:
    on_event(events.Message(outcome.sentence))
    return outcome
