"""Perturbation curves: the score while pixels go, or come, in the order of a map."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from napari_why.core.options import Help, Range
from napari_why.evaluation.explanations import (
    ExplanationCase,
    MetricValue,
    Values,
    explanation_metric,
)
from napari_why.evaluation.pixel_removal import (
    NO_PROBABILITY,
    Ranks,
    RemovalOption,
    SideOption,
    ask,
    removal_filling,
    removal_images,
    removal_ranks,
    softmax_of,
    square_side,
)

StepsOption = Annotated[
    int, Help("how many times pixels are taken away until none is left"), Range(1, 10_000)
]


ORDERS = Help("random orders that the network is asked about too, for the value of chance")
OrdersOption = Annotated[int, ORDERS, Range(0, 1000)]


def step_counts(ranks: Ranks, steps: int) -> NDArray[np.int64]:
    """Return after how many squares the network is asked, from 0 to all of them.

    Parameters
    ----------
    ranks : ndarray of int, shape (H, W)
        Of :func:`~napari_why.evaluation.pixel_removal.removal_ranks`.
    steps : int
        How many there are after 0, at most; no more than squares.

    Returns
    -------
    ndarray of int64
        Rising, evenly spaced but for rounding.
    """
    squares = int(ranks.max()) + 1
    return np.unique(np.linspace(0, squares, min(steps, squares) + 1).round().astype(np.int64))


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
            ``on_event``, ``cancelled`` and ``task`` of :func:`~napari_why.evaluation.pixel_removal.ask`.

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
            ``on_event``, ``cancelled`` and ``task`` of :func:`~napari_why.evaluation.pixel_removal.ask`.

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
    removal: RemovalOption = "mean",
    side: SideOption = 1,
    steps: StepsOption = 32,
    random_orders: OrdersOption = 0,
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
    removal: RemovalOption = "mean",
    side: SideOption = 1,
    steps: StepsOption = 32,
    random_orders: OrdersOption = 0,
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
    removal: RemovalOption = "mean",
    side: SideOption = 1,
    steps: StepsOption = 32,
    random_orders: OrdersOption = 0,
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
    removal: RemovalOption = "blur",
    side: SideOption = 1,
    steps: StepsOption = 32,
    random_orders: OrdersOption = 0,
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
    removal: RemovalOption = "mean",
    side: SideOption = 0,
    steps: StepsOption = 16,
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
