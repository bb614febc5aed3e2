"""What one channel alone tells of the class, and how sure that is better than chance.

Small networks that see one channel are cross-validated by groups. Their predictions are compared with
labels dealt out anew, and their accuracies get intervals; both count groups (wells) and not images,
since images of a group are not independent.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.special import stdtrit  # of scipy.stats, which takes one and a half seconds to import
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
    """Return at most 600 image numbers in random order, the classes as even as they can be.

    Parameters
    ----------
    labels : ndarray of int, shape (N,)
        Class indices.
    seed : int
        Of the order, and so of which images of a class are taken.

    Returns
    -------
    ndarray of int, shape (min(N, 600),)
        Indices into ``labels``, the classes in turn until one runs out.
    """
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

    Parameters
    ----------
    examples : Examples
        Preprocessed images of one size, (C, H, W).
    chosen : ndarray of int, shape (n,)
        Which of them, in this order.
    cancelled : callable
        Asked before every chunk of images.

    Returns
    -------
    Tensor, float32, shape (n, C, V, h, w), or None
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
        One step per channel and fold.
    steps_before : int
        Steps done already, where this is a part of longer work; counted on from there.

    Returns
    -------
    ndarray, shape (C, n), or None when cancelled
    """
    from sklearn.model_selection import StratifiedGroupKFold  # two seconds: most of scipy

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


PERMUTATIONS = 999  # with the real labels a thousand, so that p comes in steps of 0.001
CONFIDENCE = 0.95  # of the intervals, as is usual
# Numbers that one call works on: some megabytes, and calls no longer cost more than the counting.
DEALT_AT_ONCE = 2**18

Integers = NDArray[np.int64]
Numbers = NDArray[np.float64]


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
    class_accuracies : ndarray, shape (C, K)
        Each class against the rest: the mean of its recall and of the mean share, over the other
        classes, of their images that are not taken for it. 0.5 is chance; nan where no stratum
        has it beside another class.
    class_p_values : ndarray, shape (C, K)
        Of these, corrected for being one of K + 1 questions: the share of the permutations whose
        most striking figure, in standard deviations, is at least as striking (Westfall & Young
        1993). Of two classes, the one question's own.
    family_p : ndarray, shape (C,)
        The smallest corrected p, that of the overall accuracy among them: whether there is
        evidence for anything.
    """

    accuracies: Numbers
    chance: Numbers
    p_values: Numbers
    smallest_p: float
    class_accuracies: Numbers
    class_p_values: Numbers
    family_p: Numbers


def permutation_test(
    predicted: Integers, labels: Integers, groups: Integers, strata: Integers, *, seed: int
) -> PermutationTest:
    """Compare predictions with labels that are dealt out anew within every stratum.

    Images of a group are not independent: a group of one class gets one label as a whole. In a
    group of several classes the labels are shuffled among its images. Strata (plates) keep the
    labels they have, so that what merely tells plates apart is no evidence for a class.

    Parameters
    ----------
    predicted : ndarray, shape (C, n) or (R, C, n)
        Rows of predictions that were made without the images' own labels, once or R times over.
    labels, groups, strata : ndarray, shape (n,)
        At least one stratum has two classes.
    seed : int

    Returns
    -------
    PermutationTest
        By channel, of the labels as they are and as they are dealt out anew.

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
    counting = _Counting.of(predicted, groups, strata, int(labels.max()) + 1)
    real = counting.figures(labels)
    null = np.empty((PERMUTATIONS, *real.shape))
    same = 1
    at_once = max(1, DEALT_AT_ONCE // max(len(labels), counting.rates_a_dealing))
    for first in range(0, PERMUTATIONS, at_once):
        part = null[first : first + at_once]
        dealt = np.stack([shuffle(generator) for _ in part])
        part[:] = counting.figures(dealt)
        same += int((dealt == labels).all(axis=1).sum())
    # 1 for the real labels themselves, so that p is never 0; 1e-12 for the order of summation
    as_good = 1 + (null[:, :, 0] >= real[:, 0] - 1e-12).sum(axis=0)
    p_values = as_good / (PERMUTATIONS + 1)
    corrected = p_values[:, None].repeat(real.shape[1], axis=1)
    if real.shape[1] > 3:  # of two classes, each against the rest is the same question again
        corrected = _corrected_p(real, null)
    return PermutationTest(
        real[:, 0],
        null[:, :, 0].mean(axis=0),
        p_values,
        same / (PERMUTATIONS + 1),
        real[:, 1:],
        corrected[:, 1:],
        np.nanmin(corrected, axis=1),
    )


def _corrected_p(real: Numbers, null: Numbers) -> Numbers:
    """Return p (C, F) of figures, each against the most striking figure of every permutation."""
    mean, spread = null.mean(axis=0), null.std(axis=0)
    # figures that never vary say nothing, whatever rounding leaves of their spread
    steady = spread < 1e-9
    scale = np.where(steady, np.inf, spread)
    found = (real - mean) / scale
    most = np.nanmax((null - mean) / scale, axis=2)
    as_striking = 1 + (most[:, :, None] >= found[None] - 1e-9).sum(axis=0)
    return np.where(np.isnan(found), np.nan, as_striking / (len(null) + 1))


class _Shuffle:
    """Deals labels out anew; which sets of units may be shuffled is found once."""

    def __init__(self, labels: Integers, groups: Integers, strata: Integers) -> None:
        self.labels = labels
        members = [np.flatnonzero(groups == group) for group in np.unique(groups)]
        self.mixed = [rows for rows in members if len(np.unique(labels[rows])) > 1]
        pure = [rows for rows in members if len(np.unique(labels[rows])) == 1]
        by_stratum = [
            [rows for rows in pure if strata[rows[0]] == stratum] for stratum in np.unique(strata)
        ]
        # of each stratum the images of all pure groups, how many each group has, and its label
        self.pure = [
            (
                np.concatenate(wells),
                np.array([len(rows) for rows in wells]),
                labels[[rows[0] for rows in wells]],
            )
            for wells in by_stratum
            if wells
        ]

    def __call__(self, generator: np.random.Generator) -> Integers:
        dealt = self.labels.copy()
        for rows in self.mixed:
            dealt[rows] = generator.permutation(self.labels[rows])
        for rows, sizes, wells in self.pure:
            dealt[rows] = np.repeat(generator.permutation(wells), sizes)
        return dealt


@dataclass(frozen=True)
class _Counting:
    """Counts what is taken for what; the labels may change, the predictions stay.

    Parameters
    ----------
    taken : ndarray, shape (C, n, K)
        Share of the repetitions in which an image is taken for a class.
    weights : ndarray, shape (n,)
        1 over the images of its group, so that every group counts the same.
    strata : ndarray, shape (n,)
        From 0 on.
    """

    taken: Numbers
    weights: Numbers
    strata: Integers

    @classmethod
    def of(
        cls, predicted: Integers, groups: Integers, strata: Integers, classes: int
    ) -> "_Counting":
        repeated = predicted[None] if predicted.ndim == 2 else predicted
        classes = max(classes, int(repeated.max()) + 1)
        taken = np.mean([np.eye(classes)[once] for once in repeated], axis=0)
        _, place, sizes = np.unique(groups, return_inverse=True, return_counts=True)
        return cls(taken, 1 / sizes[place], strata)

    @property
    def classes(self) -> int:
        return int(self.taken.shape[2])

    @property
    def rates_a_dealing(self) -> int:
        """How many shares of a class taken for another there are in all strata: C S K K."""
        strata = int(self.strata.max()) + 1
        return int(self.taken.shape[0] * strata * self.classes**2)

    def cells(self, labels: Integers) -> Integers:
        """Return the stratum and class of every image as one number; labels (..., n)."""
        return np.asarray(self.strata * self.classes + labels, dtype=np.int64)

    def totals(self, labels: Integers) -> Numbers:
        """Return the weight of every stratum and class, shape (..., S, K), of labels (..., n)."""
        return self._sum_by_cell(labels, self.weights)

    def figures(self, labels: Integers) -> Numbers:
        """Return the overall accuracy, then that of every class against the rest.

        Of labels (..., n) it is (..., C, 1 + K): calls cost more than the counting of one dealing.
        """
        total = self.totals(labels)
        # rates (..., C, S, K, K): of a stratum's images of a class, the share that is taken for another
        sums = [
            [self._sum_by_cell(labels, self.weights * taken) for taken in values.T]
            for values in self.taken
        ]
        rates = np.stack([np.stack(each, axis=-1) for each in sums], axis=-4)
        rates = rates / np.where(total > 0, total, 1)[..., None, :, :, None]
        coefficients = self.coefficients(total)
        right = np.einsum("...jj->...j", rates)
        found = [np.einsum("...sj,...csj->...c", coefficients[0], right)]
        for k in range(self.classes):
            not_taken = 1 - rates[..., k]  # of the others, those that are not taken for it
            not_taken[..., k] = right[..., k]
            found.append(np.einsum("...sj,...csj->...c", coefficients[1 + k], not_taken))
        return np.stack(found, axis=-1)

    def coefficients(self, total: Numbers) -> Numbers:
        """Return what each stratum and class counts in each figure, shape (1 + K, ..., S, K).

        nan in a figure that no stratum tells of.
        """
        there = total > 0
        count = there.sum(axis=-1)
        share = np.where(count > 1, total.sum(axis=-1), 0)
        made = np.zeros((1 + self.classes, *total.shape))
        made[0] = there / np.maximum(count, 1)[..., None] * _shares_of_sum(share)[..., None]
        for k in range(self.classes):
            own = np.where(there[..., k], share, 0)
            others = there / np.maximum(count - 1, 1)[..., None] / 2
            others[..., k] = there[..., k] / 2
            made[1 + k] = others * _shares_of_sum(own)[..., None]
        return made

    def _sum_by_cell(self, labels: Integers, values: Numbers) -> Numbers:
        """Return the sums of the images' values (n,) by stratum and class, (..., S, K)."""
        size = (int(self.strata.max()) + 1) * self.classes
        cells = self.cells(labels).reshape(-1, labels.shape[-1])
        first = size * np.arange(len(cells))[:, None]
        every = np.broadcast_to(values, cells.shape).ravel()
        sums = np.bincount((first + cells).ravel(), every, minlength=size * len(cells))
        return np.asarray(sums.reshape(*labels.shape[:-1], -1, self.classes), dtype=np.float64)


def _shares_of_sum(values: Numbers) -> Numbers:
    """Return values (..., S) as shares of their sum; nan where that is 0."""
    total = values.sum(axis=-1, keepdims=True)
    return values / np.where(total > 0, total, np.nan)


@dataclass(frozen=True)
class Intervals:
    """Two-sided 95 % confidence intervals, each ndarray of shape (C, 1 + K).

    Of the overall accuracy, then of every class against the rest.
    """

    low: Numbers
    high: Numbers


def confidence_intervals(
    predicted: Integers, labels: Integers, groups: Integers, strata: Integers
) -> Intervals:
    """Return intervals of the figures of :func:`permutation_test`, from the spread between groups.

    The figures are averages of averages over groups; to first order their variance is that of the
    groups' deviations from their class, summed up, and the interval is Student's t with as many
    degrees of freedom as there are groups beyond the averages. Where all groups of a class agree to
    the last image (a network that takes everything for one class), the data show no spread, and
    it counts as if one further group had been right and one wrong.

    Parameters
    ----------
    predicted : ndarray, shape (C, n) or (R, C, n)
        As in :func:`permutation_test`. Repetitions are averaged for every image: they take the
        chance of one training out, not that of which wells there are.
    labels, groups, strata : ndarray, shape (n,)

    Returns
    -------
    Intervals
        Limits, 0 to 1, by channel.
    """
    strata = np.unique(strata, return_inverse=True)[1]
    counting = _Counting.of(predicted, groups, strata, int(labels.max()) + 1)
    figures, total = counting.figures(labels), counting.totals(labels)
    coefficients = counting.coefficients(total).reshape(1 + counting.classes, -1)
    cell, members = counting.cells(labels), np.unique(groups, return_inverse=True)[1]
    # groups of each stratum and class
    groups_of = np.bincount(np.unique(np.stack([cell, members]), axis=1)[0], minlength=total.size)
    many = np.sqrt(groups_of / np.maximum(groups_of - 1, 1))
    low, high = np.empty_like(figures), np.empty_like(figures)
    for channel, taken in enumerate(counting.taken):
        for figure in range(figures.shape[1]):
            k = figure - 1
            own = taken[np.arange(len(labels)), labels]
            right = own if figure == 0 else np.where(labels == k, taken[:, k], 1 - taken[:, k])
            sums = np.bincount(cell, counting.weights * right, minlength=total.size)
            mean = sums / np.maximum(total.ravel(), 1e-12)
            deviation = counting.weights * (right - mean[cell]) / total.ravel()[cell]
            deviation *= (coefficients[figure] * many)[cell]
            by_group = np.bincount(members, deviation)
            by_class = coefficients[figure].reshape(total.shape).sum(axis=0)
            variance = (by_group**2).sum() + _least_variance(deviation, labels, members, by_class)
            used = coefficients[figure] > 0
            freedom = max(1, len(by_group) - int(used.sum()))
            reach = stdtrit(freedom, (1 + CONFIDENCE) / 2) * np.sqrt(variance)
            low[channel, figure] = max(0.0, figures[channel, figure] - reach)
            high[channel, figure] = min(1.0, figures[channel, figure] + reach)
    return Intervals(low, high)


def _least_variance(
    deviation: Numbers, labels: Integers, members: Integers, coefficients: Numbers
) -> float:
    """Return what a variance lacks where the groups of a class agree more than can be known.

    One right and one wrong beside m that agree have a mean whose variance is 1 / (2 (m + 1)(m + 2)).
    m are the groups where none differs, and the images else.

    Parameters
    ----------
    deviation : ndarray, shape (n,)
        What every image adds to the figure beside what its class has on average.
    coefficients : ndarray, shape (K,)
        What each class counts in the figure, over all strata.
    """
    pairs, place = np.unique(np.stack([labels, members]), axis=1, return_inverse=True)
    by_pair = np.bincount(place.ravel(), deviation)
    size = len(coefficients)
    shown = np.bincount(pairs[0], by_pair**2, minlength=size)
    # rounding leaves a trace where all agree
    agree = shown < 1e-18
    groups, images = (np.bincount(item, minlength=size) for item in (pairs[0], labels))
    count = np.where(agree, groups, images)
    least = coefficients**2 * 0.5 / ((count + 1) * (count + 2))
    return float(np.maximum(0, least - shown).sum())
