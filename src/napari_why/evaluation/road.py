"""ROAD, remove and debias: the score while pixels are imputed from their neighbours."""

from collections.abc import Iterator
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_array, diags_array
from scipy.sparse.linalg import splu
from torch import Tensor

from napari_why.core.options import Help, Range
from napari_why.evaluation.explanations import (
    ExplanationCase,
    MetricValue,
    Values,
    explanation_metric,
    to_array,
)
from napari_why.evaluation.pixel_removal import NO_PROBABILITY, ask, removal_ranks, softmax_of

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
