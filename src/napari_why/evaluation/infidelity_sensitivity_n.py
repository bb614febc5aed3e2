"""Infidelity and sensitivity-n: is the fall of the score the one that the map's values foretell."""

from collections.abc import Sequence
from itertools import chain
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_why.core.options import Help, Range
from napari_why.evaluation.explanations import (
    ExplanationCase,
    MetricValue,
    Values,
    explanation_metric,
    to_array,
)
from napari_why.evaluation.pixel_removal import (
    RemovalOption,
    SideOption,
    ask,
    on_pixels,
    removal_filling,
    square_side,
    square_sums,
)

# Of a map in this unit a value times the distance from the baseline is what it says of a removal.
SLOPE = "per standard deviation"


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
    removal: RemovalOption = "mean",
    side: SideOption = 0,
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
        As of :func:`~napari_why.evaluation.perturbation_curves.pixel_flipping`.
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
    removal: RemovalOption = "mean",
    side: SideOption = 0,
    subsets: Annotated[int, Help("random subsets of each size"), Range(3, 10_000)] = 20,
    **listeners: Any,
) -> MetricValue:
    """Correlation between the map's sum on n random squares and what the score loses without them.

    The mean over n of 10, 30, 50, 70 and 90 % of the squares. Chance is 0.

    Parameters
    ----------
    case : ExplanationCase
    removal, side
        As of :func:`~napari_why.evaluation.perturbation_curves.pixel_flipping`.
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
