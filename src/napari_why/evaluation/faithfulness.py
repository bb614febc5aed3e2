"""Faithfulness: does the score change by what the map says when parts of the image are taken away.

A pixel is taken away in all channels at once. What stands in its place is the removal's baseline:
the training mean (0 of a standardised image), the blurred image, or the local background. None of
them makes an image that the network was trained on, and a score may fall for that alone; so maps
are compared with random orders of the same pixels, with the same baseline.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation
from scipy.sparse import coo_array, diags_array
from scipy.sparse.linalg import splu
from scipy.stats import spearmanr
from torch import Tensor

from napari_why.attribution.occlusion import batch_size, local_background
from napari_why.attribution.registry import References, baseline_image
from napari_why.core import events
from napari_why.core.errors import CancellationError, ParameterError
from napari_why.core.options import Help, Range, Unit
from napari_why.evaluation.explanations import (
    STOPPED,
    ExplanationCase,
    MetricValue,
    explanation_metric,
    needed,
    to_array,
)
from napari_why.model.classifier import softmax
from napari_why.networks.network import Network
from napari_why.networks.registry import build_network
from napari_why.training import TensorExamples, TrainingOptions, train_network

Values = NDArray[np.float64]
Ranks = NDArray[np.int64]
Removal = Literal["mean", "blur", "local"]
REMOVAL = Help(
    "what stands where pixels are taken away: the training mean, the blurred image, or the median of "
    "the frame round each square"
)
SIDE = Help("side of the squares that are taken away together; 0: a 16th of the shorter side")
STEPS = Help("how many times pixels are taken away until none is left")
ORDERS = Help("random orders that the network is asked about too, for the value of chance")
# Of a map in this unit a value times the distance from the baseline is what it says of a removal.
SLOPE = "per standard deviation"
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
        See :data:`REMOVAL`.
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


def step_counts(ranks: Ranks, steps: int) -> NDArray[np.int64]:
    """Return after how many squares the network is asked, from 0 to all of them.

    Parameters
    ----------
    ranks : ndarray of int, shape (H, W)
        Of :func:`removal_ranks`.
    steps : int
        How many there are after 0, at most; no more than squares.

    Returns
    -------
    ndarray of int64
        Rising, evenly spaced but for rounding.
    """
    squares = int(ranks.max()) + 1
    return np.unique(np.linspace(0, squares, min(steps, squares) + 1).round().astype(np.int64))


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


def score_of(logits: Values, target: int) -> Values:
    """Return one column of logits.

    Parameters
    ----------
    logits : ndarray, float64, shape (N, classes)
    target : int
        Index of the column.

    Returns
    -------
    ndarray, float64, shape (N,)
    """
    return logits[:, target]


def mean_drop(scores: Values, shares: Values) -> float:
    """Return the mean of s(x) - s(x without a share of its pixels) over shares from 0 to 1.

    Parameters
    ----------
    scores : ndarray, float64, shape (K,)
        s, first of the whole image.
    shares : ndarray, float64, shape (K,)
        Of the pixels taken away, from 0 to 1.

    Returns
    -------
    float
        In the unit of the scores.
    """
    return float(np.trapezoid(scores[0] - scores, shares))


def mean_score(scores: Values, shares: Values) -> float:
    """Return the area under a curve of scores over shares from 0 to 1.

    Parameters
    ----------
    scores, shares : ndarray, float64, shape (K,)
        The curve; shares rise from 0 to 1.

    Returns
    -------
    float
        In the unit of the scores.
    """
    return float(np.trapezoid(scores, shares))


def count_beaten(drops: Sequence[float] | Values, drop: float) -> float:
    """Return the number of orders that make the score fall less; one that draws counts half.

    Parameters
    ----------
    drops : sequence of float
        By how much the score falls in other orders.
    drop : float
        The same in the order that is judged.

    Returns
    -------
    float
        0 to the number of other orders.
    """
    others = np.asarray(drops)
    return float((others < drop).sum() + (others == drop).sum() / 2)


Area = Callable[[Values, Values], float]


@dataclass(frozen=True)
class RemovalCurves:
    """Pixels taken away, or put in, in the order of a map; measured as an area.

    Parameters
    ----------
    case : ExplanationCase
    removal, side, steps
        Of the metric.
    reading : callable
        ``(logits, target) -> values``.
    area : callable
        ``(values, shares) -> float``.
    insertion : bool
        Start without the image and put pixels in.
    """

    case: ExplanationCase
    removal: str
    side: int
    steps: int
    reading: Callable[[Values, int], Values] = score_of
    area: Area = mean_drop
    insertion: bool = False

    def curves(self, maps: Sequence[Values], **listeners: Any) -> tuple[Values, list[Values]]:
        """Return shares and, for each map (H, W), the values along its order.

        Parameters
        ----------
        maps : sequence of ndarray, each float64 (H, W)
            Squares go, or come, highest sum first.
        **listeners
            ``on_event``, ``cancelled`` and ``task`` of :func:`ask`.

        Returns
        -------
        shares : ndarray, float64, shape (K,)
            Of the squares, from 0 to 1.
        values : list of ndarray, each float64 (K,)
            Of ``reading``, one a map.
        """
        x = self.case.x
        side = square_side(x.shape, self.side)
        filling = removal_filling(x, self.removal, side)
        start, end = (filling, x) if self.insertion else (x, filling)
        generator = np.random.default_rng(self.case.seed)
        ranks = [removal_ranks(values, side, generator) for values in maps]
        counts = step_counts(ranks[0], self.steps)
        images = (image for rank in ranks for image in removal_images(start, end, rank, counts))
        logits = ask(self.case.network, images, len(ranks) * len(counts), **listeners)
        read = self.reading(logits, self.case.target).reshape(len(ranks), -1)
        return counts / counts[-1], list(read)

    def measure(self, values: Values, random_orders: int, **listeners: Any) -> MetricValue:
        """Measure one map and, where asked for, random orders of its squares.

        Parameters
        ----------
        values : ndarray, float64, shape (H, W)
            The map.
        random_orders : int
            0: none, and the value of chance is not known.
        **listeners
            ``on_event``, ``cancelled`` and ``task`` of :func:`ask`.

        Returns
        -------
        MetricValue
            The area; NaN where ``reading`` needs a probability and the target has none.
        """
        if self.reading is softmax_of and self.case.network.classes < 2:
            return MetricValue(np.nan, note=NO_PROBABILITY)
        generator = np.random.default_rng((self.case.seed, 1))
        others = [generator.random(values.shape) for _ in range(random_orders)]
        shares, curves = self.curves([values, *others], **listeners)
        areas = [self.area(curve, shares) for curve in curves]
        details = {
            "removal": self.removal,
            "side": square_side(self.case.x.shape, self.side),
            "shares": shares.tolist(),
            "curve": curves[0].tolist(),
        }
        if not others:
            return MetricValue(areas[0], details=details)
        spread = {"random": areas[1:], "random_spread": float(np.std(areas[1:]))}
        return MetricValue(areas[0], float(np.mean(areas[1:])), details=details | spread)


@explanation_metric(
    title="Pixel flipping, most relevant first",
    better="higher",
    low=-np.inf,
    high=np.inf,
    source="Bach et al. 2015, doi:10.1371/journal.pone.0130140; Samek et al. 2017, arXiv:1509.06321",
)
def pixel_flipping(
    case: ExplanationCase,
    *,
    removal: Annotated[Removal, REMOVAL] = "mean",
    side: Annotated[int, SIDE, Range(0, 1024), Unit("px")] = 1,
    steps: Annotated[int, STEPS, Range(1, 10_000)] = 32,
    random_orders: Annotated[int, ORDERS, Range(0, 1000)] = 0,
    **listeners: Any,
) -> MetricValue:
    """Mean fall of the score, in logits, while pixels go in the order of the joint map, highest first.

    Parameters
    ----------
    case : ExplanationCase
    removal : {"mean", "blur", "local"}
        What takes the place of pixels: the training mean, the blurred image, the median round each square.
    side : int
        Of the squares that go together, pixels; 0: a 16th of the shorter side.
    steps : int
        How many times some are taken away until none is left.
    random_orders : int
        Orders asked about too, for the value of chance; 0: it is not known.
    **listeners
        ``on_event`` and ``cancelled``, see :mod:`napari_why.core.events`.

    Returns
    -------
    MetricValue
        With the ``curve`` over ``shares`` in its details.
    """
    curves = RemovalCurves(case, removal, side, steps)
    return curves.measure(case.joint, random_orders, **listeners)


@explanation_metric(
    title="Pixel flipping, least relevant first",
    better="lower",
    low=-np.inf,
    high=np.inf,
    source="Bach et al. 2015, doi:10.1371/journal.pone.0130140; Ancona et al. 2018, arXiv:1711.06104",
)
def pixel_flipping_least_relevant(
    case: ExplanationCase,
    *,
    removal: Annotated[Removal, REMOVAL] = "mean",
    side: Annotated[int, SIDE, Range(0, 1024), Unit("px")] = 1,
    steps: Annotated[int, STEPS, Range(1, 10_000)] = 32,
    random_orders: Annotated[int, ORDERS, Range(0, 1000)] = 0,
    **listeners: Any,
) -> MetricValue:
    """Mean fall of the score, in logits, while pixels go in the order of the joint map, lowest first.

    Of a signed map evidence against the class goes first, so that the score may rise.

    Parameters
    ----------
    case : ExplanationCase
    removal, side, steps, random_orders, **listeners
        As of :func:`pixel_flipping`.

    Returns
    -------
    MetricValue
        With the ``curve`` over ``shares`` in its details.
    """
    curves = RemovalCurves(case, removal, side, steps)
    return curves.measure(-case.joint, random_orders, **listeners)


@explanation_metric(
    title="Deletion",
    better="lower",
    low=0,
    high=1,
    source="Petsiuk, Das & Saenko 2018, arXiv:1806.07421",
)
def deletion(
    case: ExplanationCase,
    *,
    removal: Annotated[Removal, REMOVAL] = "mean",
    side: Annotated[int, SIDE, Range(0, 1024), Unit("px")] = 1,
    steps: Annotated[int, STEPS, Range(1, 10_000)] = 32,
    random_orders: Annotated[int, ORDERS, Range(0, 1000)] = 0,
    **listeners: Any,
) -> MetricValue:
    """Area under the class's probability while pixels go, most relevant first.

    Parameters
    ----------
    case : ExplanationCase
    removal, side, steps, random_orders, **listeners
        As of :func:`pixel_flipping`.

    Returns
    -------
    MetricValue
        0 to 1; NaN of a network with one output.
    """
    curves = RemovalCurves(case, removal, side, steps, softmax_of, mean_score)
    return curves.measure(case.joint, random_orders, **listeners)


@explanation_metric(
    title="Insertion",
    better="higher",
    low=0,
    high=1,
    source="Petsiuk, Das & Saenko 2018, arXiv:1806.07421",
)
def insertion(
    case: ExplanationCase,
    *,
    # as in the paper: put into a grey image, the first pixels would be sharp edges of their own
    removal: Annotated[Removal, REMOVAL] = "blur",
    side: Annotated[int, SIDE, Range(0, 1024), Unit("px")] = 1,
    steps: Annotated[int, STEPS, Range(1, 10_000)] = 32,
    random_orders: Annotated[int, ORDERS, Range(0, 1000)] = 0,
    **listeners: Any,
) -> MetricValue:
    """Area under the class's probability while pixels come back, most relevant first.

    Parameters
    ----------
    case : ExplanationCase
    removal, side, steps, random_orders, **listeners
        As of :func:`pixel_flipping`; the removal is the image that pixels are put into.

    Returns
    -------
    MetricValue
        0 to 1; NaN of a network with one output.
    """
    curves = RemovalCurves(case, removal, side, steps, softmax_of, mean_score, insertion=True)
    return curves.measure(case.joint, random_orders, **listeners)


@explanation_metric(
    title="Deletion against random orders",
    better="higher",
    low=0,
    high=1,
    source="Samek et al. 2017, arXiv:1509.06321, as a share of random orders",
)
def deletion_against_random(
    case: ExplanationCase,
    *,
    removal: Annotated[Removal, REMOVAL] = "mean",
    side: Annotated[int, SIDE, Range(0, 1024), Unit("px")] = 0,
    steps: Annotated[int, STEPS, Range(1, 10_000)] = 16,
    random_orders: Annotated[int, ORDERS, Range(1, 1000)] = 10,
    **listeners: Any,
) -> MetricValue:
    """Share of random orders of the same squares that make the score fall less than the map's order.

    A draw counts half. Chance is one half.

    Parameters
    ----------
    case : ExplanationCase
    removal, side, steps
        As of :func:`pixel_flipping`.
    random_orders : int
        1 or more.
    **listeners
        ``on_event`` and ``cancelled``, see :mod:`napari_why.core.events`.

    Returns
    -------
    MetricValue
        With ``drop`` and ``random_drop`` in its details, logits.
    """
    measured = RemovalCurves(case, removal, side, steps).measure(
        case.joint, random_orders, **listeners
    )
    beaten = count_beaten(measured.details["random"], measured.value) / random_orders
    drops = {"drop": measured.value, "random_drop": measured.chance}
    return MetricValue(beaten, 0.5, details={**measured.details, **drops})


# Of Rong et al., figure 4: closer together where little is taken away.
ROAD_SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 0.9)
# Of their code: a direct neighbour weighs 1/6, a diagonal one 1/12.
NEIGHBOURS = {
    (row, column): 1 / 6 if row == 0 or column == 0 else 1 / 12
    for row in (-1, 0, 1)
    for column in (-1, 0, 1)
    if (row, column) != (0, 0)
}


def impute(x: Tensor, missing: NDArray[np.bool_], noise: Tensor) -> Tensor:
    """Replace pixels by the weighted mean of their neighbours, plus noise.

    Neighbours that are missing too are unknowns of the same linear system, which is solved once for
    all channels. At the border those that there are count. A missing image is the training mean.

    Parameters
    ----------
    x : Tensor, shape (1, C, H, W)
    missing : ndarray of bool, shape (H, W)
    noise : Tensor, shape (1, C, H, W)
        Added to what is imputed, so that a network cannot tell imputed pixels by their smoothness.

    Returns
    -------
    Tensor, shape (1, C, H, W)
        Pixels that are not missing as they were.
    """
    if not missing.any():
        return x
    where = torch.from_numpy(missing).to(x.device)
    if missing.all():
        return noise.clone()
    number = np.full(missing.shape, -1)
    number[missing] = np.arange(missing.sum())
    rows, columns = np.nonzero(missing)
    known = to_array(x[0])
    right = np.zeros((len(rows), x.shape[1]))
    weight_sum = np.zeros(len(rows))
    entries: list[tuple[NDArray[Any], NDArray[Any], NDArray[Any]]] = []
    for (down, across), weight in NEIGHBOURS.items():
        row, column = rows + down, columns + across
        inside = (row >= 0) & (row < missing.shape[0]) & (column >= 0) & (column < missing.shape[1])
        pixel = np.flatnonzero(inside)
        row, column = row[inside], column[inside]
        weight_sum[pixel] += weight
        absent = missing[row, column]
        right[pixel[~absent]] += weight * known[:, row[~absent], column[~absent]].T
        other = number[row[absent], column[absent]]
        entries.append((pixel[absent], other, np.full(len(other), -weight)))
    first, second, value = (np.concatenate(part) for part in zip(*entries, strict=True))
    size = (len(rows), len(rows))
    system = coo_array((value, (first, second)), shape=size) + diags_array(weight_sum)
    solved = splu(system.tocsc()).solve(right)
    filled = x.clone()
    filled[0][:, where] = torch.from_numpy(solved.T.copy()).to(x.dtype).to(x.device)
    return torch.where(where, filled + noise, x)


def _road(case: ExplanationCase, values: Values, noise: float, **listeners: Any) -> MetricValue:
    if case.network.classes < 2:
        return MetricValue(np.nan, note=NO_PROBABILITY)
    generator = np.random.default_rng(case.seed)
    ranks = removal_ranks(values, 1, generator)

    def images() -> Iterator[Tensor]:
        for share in ROAD_SHARES:
            drawn = generator.normal(0, noise, tuple(case.x.shape))
            added = torch.from_numpy(drawn).to(case.x.dtype).to(case.x.device)
            yield impute(case.x, ranks < round(share * ranks.size), added)

    logits = ask(case.network, images(), len(ROAD_SHARES), **listeners)
    probabilities = softmax_of(logits, case.target)
    details = {"shares": list(ROAD_SHARES), "curve": probabilities.tolist(), "noise": noise}
    return MetricValue(float(probabilities.mean()), details=details)


NOISE = Help("spread of the noise on imputed pixels, in training standard deviations")


@explanation_metric(
    title="ROAD, most relevant first",
    better="lower",
    low=0,
    high=1,
    source="Rong et al. 2022, arXiv:2202.00449",
)
def road_most_relevant(
    case: ExplanationCase,
    *,
    noise: Annotated[float, NOISE, Range(0, 10)] = 0.01,  # of the paper's code
    **listeners: Any,
) -> MetricValue:
    """Mean probability of the class with 10 to 90 % of the pixels imputed, most relevant first.

    Noisy linear imputation leaves no shape of the mask to be seen, and holds for any number of
    channels. Rong et al. measure the accuracy over a data set; of one image it is the probability.

    Parameters
    ----------
    case : ExplanationCase
    noise : float
        Spread of the noise on imputed pixels, training standard deviations.
    **listeners
        ``on_event`` and ``cancelled``, see :mod:`napari_why.core.events`.

    Returns
    -------
    MetricValue
        0 to 1; NaN of a network with one output.
    """
    return _road(case, case.joint, noise, **listeners)


@explanation_metric(
    title="ROAD, least relevant first",
    better="higher",
    low=0,
    high=1,
    source="Rong et al. 2022, arXiv:2202.00449",
)
def road_least_relevant(
    case: ExplanationCase,
    *,
    noise: Annotated[float, NOISE, Range(0, 10)] = 0.01,  # of the paper's code
    **listeners: Any,
) -> MetricValue:
    """Mean probability of the class with 10 to 90 % of the pixels imputed, least relevant first.

    Parameters
    ----------
    case : ExplanationCase
    noise, **listeners
        As of :func:`road_most_relevant`.

    Returns
    -------
    MetricValue
        0 to 1; NaN of a network with one output.
    """
    return _road(case, -case.joint, noise, **listeners)


def predicted_drop(case: ExplanationCase, filling: Tensor) -> Values:
    """Return by how much the score falls, as the map says, where a pixel (H, W) is taken away.

    The joint map itself where its values are contributions to the score; where they are slopes, the
    slope of each channel times its distance from what takes the pixel's place.

    Parameters
    ----------
    case : ExplanationCase
        The unit of its evidence says which of the two its values are.
    filling : Tensor, shape (1, C, H, W)
        What takes the place of pixels, standardised.

    Returns
    -------
    ndarray, float64, shape (H, W)
        In the unit of the score.
    """
    if SLOPE not in case.evidence.unit:
        return case.joint
    return np.asarray((case.maps * to_array(case.x - filling)[0]).sum(axis=0))


def _drops(
    case: ExplanationCase, filling: Tensor, masks: Sequence[NDArray[np.bool_]], **listeners: Any
) -> tuple[Values, Values]:
    """Return what the map says of each removal, and by how much the score falls."""
    says = predicted_drop(case, filling)
    images = (
        torch.where(torch.from_numpy(mask).to(case.x.device), filling, case.x) for mask in masks
    )
    logits = ask(case.network, chain((case.x,), images), len(masks) + 1, **listeners)
    scores = logits[:, case.target]
    return np.asarray([says[mask].sum() for mask in masks]), scores[0] - scores[1:]


@explanation_metric(
    title="Infidelity",
    better="lower",
    low=0,
    high=np.inf,
    source="Yeh, Hsieh, Suggala, Inouye & Ravikumar 2019, arXiv:1901.09392",
)
def infidelity(
    case: ExplanationCase,
    *,
    removal: Annotated[Removal, REMOVAL] = "mean",
    side: Annotated[int, SIDE, Range(0, 1024), Unit("px")] = 0,
    removals: Annotated[int, Help("squares that are tried, at random"), Range(2, 10_000)] = 64,
    scaled: Annotated[
        bool,
        Help("multiply the map by the one factor that suits it best, so that units do not count"),
    ] = True,
    **listeners: Any,
) -> MetricValue:
    """Mean square of (what the map says - what the score loses) over that of what it loses.

    One square after another is taken away. 0: the map says it exactly; 1: no better than a map of
    zeros. Scaled, it cannot be more than 1. Chance is what the same values get on other squares: less
    than 1 where most squares lose something, for a map that is the same everywhere says that already.

    Parameters
    ----------
    case : ExplanationCase
    removal, side
        As of :func:`pixel_flipping`.
    removals : int
        Squares that are tried, drawn without repetition; all where there are fewer.
    scaled : bool
        Multiply the map by the one factor, 0 or more, that suits it best.
    **listeners
        ``on_event`` and ``cancelled``, see :mod:`napari_why.core.events`.

    Returns
    -------
    MetricValue
        NaN where the score stays the same whatever is taken away.
    """
    square = square_side(case.x.shape, side)
    filling = removal_filling(case.x, removal, square)
    generator = np.random.default_rng(case.seed)
    shape = (case.x.shape[-2], case.x.shape[-1])
    squares = square_sums(np.ones(shape), square).shape
    chosen = generator.permutation(squares[0] * squares[1])[:removals]
    numbers = on_pixels(np.arange(squares[0] * squares[1]).reshape(squares), square, shape)
    _, lost = _drops(case, filling, [numbers == number for number in chosen], **listeners)
    if not lost.any():
        return MetricValue(np.nan, note="the score stays the same whatever is taken away")
    by_square = square_sums(predicted_drop(case, filling), square).ravel()
    said = by_square[chosen]
    value, factor = _infidelity(said, lost, scaled)
    others = (generator.permutation(by_square)[chosen] for _ in range(PERMUTATIONS))
    chance = float(np.mean([_infidelity(other, lost, scaled)[0] for other in others]))
    raw = float(((said - lost) ** 2).mean())
    details = {"in_square_logits": raw, "factor": factor, "side": square, "removal": removal}
    return MetricValue(value, chance, details=details)


# Enough for a mean to a few hundredths; no network is asked.
PERMUTATIONS = 50


def _infidelity(said: Values, lost: Values, scaled: bool) -> tuple[float, float]:
    """Return the relative mean square and the factor that the map was multiplied by."""
    size = (said**2).sum()
    factor = 1.0
    if scaled and size:  # not below 0: a map of the wrong sign is no better than none
        factor = max(0.0, float((said * lost).sum() / size))
    return float(((factor * said - lost) ** 2).sum() / (lost**2).sum()), factor


# Of Ancona et al.: from few features to most of them.
SUBSETS = (0.1, 0.3, 0.5, 0.7, 0.9)


@explanation_metric(
    title="Sensitivity-n",
    better="higher",
    low=-1,
    high=1,
    source="Ancona, Ceolini, Öztireli & Gross 2018, arXiv:1711.06104",
)
def sensitivity_n(
    case: ExplanationCase,
    *,
    removal: Annotated[Removal, REMOVAL] = "mean",
    side: Annotated[int, SIDE, Range(0, 1024), Unit("px")] = 0,
    subsets: Annotated[int, Help("random subsets of each size"), Range(3, 10_000)] = 20,
    **listeners: Any,
) -> MetricValue:
    """Correlation between the map's sum on n random squares and what the score loses without them.

    The mean over n of 10, 30, 50, 70 and 90 % of the squares. Chance is 0.

    Parameters
    ----------
    case : ExplanationCase
    removal, side
        As of :func:`pixel_flipping`.
    subsets : int
        Random ones of each size.
    **listeners
        ``on_event`` and ``cancelled``, see :mod:`napari_why.core.events`.

    Returns
    -------
    MetricValue
        With the ``correlations`` by ``shares`` in its details.
    """
    square = square_side(case.x.shape, side)
    filling = removal_filling(case.x, removal, square)
    generator = np.random.default_rng(case.seed)
    shape = (case.x.shape[-2], case.x.shape[-1])
    squares = square_sums(np.ones(shape), square).shape
    total = squares[0] * squares[1]
    masks = []
    for share in SUBSETS:
        count = min(max(1, round(share * total)), total - 1)
        for _ in range(subsets):
            chosen = generator.permutation(total) < count
            masks.append(on_pixels(chosen.reshape(squares), square, shape))
    said, lost = _drops(case, filling, masks, **listeners)
    by_size = [
        correlation(one, other)
        for one, other in zip(said.reshape(-1, subsets), lost.reshape(-1, subsets), strict=True)
    ]
    correlations = [value if np.isfinite(value) else None for value in by_size]
    details = {"shares": list(SUBSETS), "correlations": correlations, "side": square}
    note = "the map's sums do not differ" if not np.isfinite(by_size).any() else ""
    # a size at which nothing differs shows no agreement
    return MetricValue(float(np.nan_to_num(by_size).mean()), 0.0, note, details)


def correlation(one: Values, other: Values) -> float:
    """Return Pearson's r; NaN where either is constant but for rounding.

    Parameters
    ----------
    one, other : ndarray, float64, shape (N,)

    Returns
    -------
    float
        -1 to 1, or NaN.
    """
    first, second = one - one.mean(), other - other.mean()
    # far below what any map or score differs by, and above what rounding leaves of a constant
    if np.abs(first).max() <= 1e-9 * max(np.abs(one).max(), 1e-300):
        return float("nan")
    if np.abs(second).max() <= 1e-9 * max(np.abs(other).max(), 1e-300):
        return float("nan")
    return float((first * second).sum() / np.sqrt((first**2).sum() * (second**2).sum()))


@explanation_metric(
    title="Rank correlation with single deletion of regions",
    better="higher",
    low=-1,
    high=1,
    needs=("regions",),
    source="Hesse, Schaub-Meyer & Roth 2023 (FunnyBirds), arXiv:2308.06248, of cells for bird parts",
)
def single_deletion(
    case: ExplanationCase,
    *,
    removal: Annotated[Removal, Help("what a region is replaced by")] = "local",
    margin: Annotated[
        int,
        Help("width of the frame whose median is the local background"),
        Range(1, 256),
        Unit("px"),
    ] = 5,
    **listeners: Any,
) -> MetricValue:
    """Spearman's correlation between each region's evidence and what the score loses without it.

    A region's evidence is the method's own value where it explains by regions, else the sum of the
    joint map on it. Chance is 0.

    Parameters
    ----------
    case : ExplanationCase
        With regions.
    removal : {"mean", "blur", "local"}
        What a region is replaced by; local: each channel's median on a frame round it, outside all regions.
    margin : int
        Width of that frame, pixels.
    **listeners
        ``on_event`` and ``cancelled``, see :mod:`napari_why.core.events`.

    Returns
    -------
    MetricValue
        NaN of fewer than three regions.
    """
    labels = needed(case.regions, "regions").cpu().numpy()
    numbers = [int(number) for number in np.unique(labels) if number]
    if len(numbers) < 3:  # of two, every order is half right
        return MetricValue(np.nan, 0.0, f"found {len(numbers)} regions; expected 3 or more")
    whole = None if removal == "local" else removal_filling(case.x, removal, 1)
    masks = [labels == number for number in numbers]

    def images() -> Iterator[Tensor]:
        yield case.x
        for mask in masks:
            ring = binary_dilation(mask, iterations=margin) & (labels == 0)
            filling = _region_background(case.x, ring) if whole is None else whole
            yield torch.where(torch.from_numpy(mask).to(case.x.device), filling, case.x)

    scores = ask(case.network, images(), len(masks) + 1, **listeners)[:, case.target]
    own = {item.label: item.value for item in case.evidence.regions}
    said = [
        own.get(number, case.joint[mask].sum()) for number, mask in zip(numbers, masks, strict=True)
    ]
    lost = scores[0] - scores[1:]
    details = {"regions": numbers, "evidence": list(map(float, said)), "lost": lost.tolist()}
    if np.ptp(said) == 0 or np.ptp(lost) == 0:
        return MetricValue(0.0, 0.0, "all regions are the same to the map or the network", details)
    return MetricValue(float(spearmanr(said, lost).statistic), 0.0, details=details)


def _region_background(x: Tensor, ring: NDArray[np.bool_]) -> Tensor:
    """Return each channel's median (1, C, 1, 1) on a ring; the training mean where it has no pixel."""
    if not ring.any():
        return torch.zeros_like(x[..., :1, :1])
    pixels = x[0][:, torch.from_numpy(ring).to(x.device)]
    return pixels.median(dim=1).values[None, :, None, None]


# Close together where few pixels are enough, which is what the curve is to tell.
MASK_SIZES = (0.0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class MaskCurve:
    """What is gained by more and more pixels of a counterfactual; of one image, or a mean over images.

    Parameters
    ----------
    sizes : tuple of float
        Share of the pixels that is taken from the counterfactual, 0 to 1.
    gains : tuple of float
        What p(target) gains over the source by it, -1 to 1.
    """

    sizes: tuple[float, ...]
    gains: tuple[float, ...]

    @property
    def area(self) -> float:
        """Area under the curve, -1 to 1; 1 where the first pixel takes p(target) from 0 to 1."""
        return float(np.trapezoid(self.gains, self.sizes))


@explanation_metric(
    title="Mask size against score change",
    better="higher",
    low=-1,
    high=1,
    needs=("counterfactual",),
    source="Adjavon et al. 2024 (QuAC, Quantitative Attributions with Counterfactuals)",
)
def mask_size_curve(case: ExplanationCase, **listeners: Any) -> MetricValue:
    """Area under what the class's probability changes while pixels of the counterfactual are pasted in.

    Most relevant pixels first: those for the class where the counterfactual has less of it, those
    against it where it has more. Divided by nothing: a counterfactual that changes no probability
    gives 0 for every map.

    Parameters
    ----------
    case : ExplanationCase
        With a counterfactual.
    **listeners
        ``on_event`` and ``cancelled``, see :mod:`napari_why.core.events`.

    Returns
    -------
    MetricValue
        With ``sizes`` and ``gains`` in its details; NaN of a network with one output.
    """
    other = needed(case.counterfactual, "counterfactual")
    if case.network.classes < 2:
        return MetricValue(np.nan, note=NO_PROBABILITY)
    ends = softmax_of(ask(case.network, iter((case.x, other)), 2), case.target)
    towards = 1.0 if ends[1] >= ends[0] else -1.0
    ranks = removal_ranks(-towards * case.joint, 1, np.random.default_rng(case.seed))
    counts = [round(size * ranks.size) for size in MASK_SIZES]
    images = removal_images(case.x, other, ranks, counts)
    reached = softmax_of(ask(case.network, images, len(counts), **listeners), case.target)
    curve = MaskCurve(MASK_SIZES, tuple((towards * (reached - reached[0])).tolist()))
    details = {"sizes": list(curve.sizes), "gains": list(curve.gains)}
    # pasted in a random order, the area is on average about half of the whole change; not exactly
    return MetricValue(curve.area, details=details)


Predict = Callable[[Tensor], Tensor]
Retrain = Callable[[References, int], Predict]
"""``(training images, seed) -> (images (N, C, H, W) -> logits)``: train anew and hand back the result."""
# Of Hooker et al.
ROAR_SHARES = (0.1, 0.3, 0.5, 0.7, 0.9)


@explanation_metric(
    title="ROAR, remove and retrain",
    better="lower",
    low=0,
    high=1,
    needs=("explain", "references"),
    source="Hooker, Erhan, Kindermans & Kim 2019, arXiv:1806.10758",
)
def remove_and_retrain(
    case: ExplanationCase,
    *,
    side: Annotated[int, SIDE, Range(0, 1024), Unit("px")] = 1,
    held_out: Annotated[
        float, Help("share of each class's images that is kept for testing"), Range(0.05, 0.95)
    ] = 0.33,
    epochs: Annotated[
        int, Help("passes over the images; 0: the network's own"), Range(0, 10_000)
    ] = 0,
    retrain: Retrain | None = None,
    on_event: events.OnEvent = events.ignore_event,
    cancelled: events.Cancelled = events.never_cancelled,
) -> MetricValue:
    """Accuracy of networks trained anew on images without their most relevant pixels.

    Every image is explained for its own class; the most relevant 10, 30, 50, 70 and 90 % of its
    pixels are set to the training mean, in training and held-out images alike, and a network is
    trained from the start for each share. The value is the mean accuracy on held-out images, chance
    that with random pixels removed. The image of the case does not count.

    Parameters
    ----------
    case : ExplanationCase
        With the method to explain again, and training images.
    side : int
        Of the squares that go together, pixels; 0: a 16th of the shorter side.
    held_out : float
        Share of each class's images that is kept for testing.
    epochs : int
        Passes over the images; 0: the network's own number.
    retrain : callable, optional
        ``(References, seed) -> (images -> logits)``; by default the network's own architecture, as
        :func:`~napari_why.training.train_network` trains it.
    on_event, cancelled : callable
        See :mod:`napari_why.core.events`.

    Returns
    -------
    MetricValue
        0 to 1, with both ``accuracy`` and ``random`` by ``shares`` in its details; NaN of a network with
        one output.

    Raises
    ------
    ParameterError
        The case lacks what is needed, or a class has a single training image.
    CancellationError
        Cancelled before all networks were trained.
    """
    explain = needed(case.explain, "explain")
    references = needed(case.references, "references")
    known = references.labels >= 0  # below: of no class of the network
    labels = references.labels[known]
    images = references.images[known.to(references.images.device)]
    if case.network.classes < 2:
        return MetricValue(np.nan, note="a target that is no class has no accuracy")
    train = retrain or retrain_anew(case.network, epochs, on_event, cancelled)
    generator = np.random.default_rng(case.seed)
    testing = _held_out(labels.cpu().numpy(), held_out, generator)
    on_event(events.Started("explaining the training images", len(images)))
    ranks: dict[str, list[Ranks]] = {"map": [], "random": []}
    for index, (image, label) in enumerate(zip(images, labels.tolist(), strict=True)):
        if cancelled():
            raise CancellationError(f"remove_and_retrain: {STOPPED}")
        joint = to_array(explain(case.network, image[None], label).joint)
        ranks["map"].append(removal_ranks(joint, square_side(joint.shape, side), generator))
        noise = generator.random(joint.shape)
        ranks["random"].append(removal_ranks(noise, square_side(joint.shape, side), generator))
        on_event(events.Advanced(index + 1))
    curves: dict[str, list[float]] = {"map": [], "random": []}
    for share in ROAR_SHARES:
        for name, curve in curves.items():
            if cancelled():
                raise CancellationError(f"remove_and_retrain: {STOPPED}")
            place = torch.from_numpy(np.stack(ranks[name])).to(images.device)
            last = place.flatten(1).amax(dim=1)[:, None, None] + 1
            left = images.masked_fill((place < (share * last).round())[:, None], 0.0)
            kept = ~testing
            predict = train(References(left[kept], labels[kept]), case.seed)
            with torch.no_grad():
                found = predict(left[testing]).argmax(dim=1)
            curve.append(float((found == labels[testing].to(found.device)).float().mean()))
    details = {"shares": list(ROAR_SHARES), "accuracy": curves["map"], "random": curves["random"]}
    return MetricValue(float(np.mean(curves["map"])), float(np.mean(curves["random"])), "", details)


def _held_out(labels: NDArray[Any], share: float, generator: np.random.Generator) -> Tensor:
    """Choose images for testing, the same share of each class and one at least of either part."""
    chosen = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        places = generator.permutation(np.flatnonzero(labels == label))
        if len(places) < 2:
            raise ParameterError(
                f"references: found {len(places)} image of class {label}; expected 2 or more, one "
                "to train on and one to test with"
            )
        chosen[places[: min(max(1, round(share * len(places))), len(places) - 1)]] = True
    return torch.from_numpy(chosen)


def retrain_anew(
    network: Network,
    epochs: int = 0,
    on_event: events.OnEvent = events.ignore_event,
    cancelled: events.Cancelled = events.never_cancelled,
) -> Retrain:
    """Return what trains a network of the same architecture from the start, leaving this one alone.

    Parameters
    ----------
    network : Network
        Gives the configuration; its weights are not used.
    epochs : int
        Passes over the images; 0: the network's own number.
    on_event, cancelled : callable
        See :mod:`napari_why.core.events`.

    Returns
    -------
    callable
        ``(References, seed) -> (images -> logits)``, on the processor.
    """

    def train(references: References, seed: int) -> Predict:
        fresh = build_network(**{**network.configuration(), "seed": seed, "frozen": False})
        examples = TensorExamples(references.images.cpu(), references.labels.cpu())
        options = TrainingOptions(seed=seed, epochs=epochs)
        train_network(fresh, examples, None, options, on_event=on_event, cancelled=cancelled)
        fresh.freeze()
        return lambda images: fresh(images.cpu())

    return train
