"""Robustness: how far a map moves when the image changes in what should not matter.

A brighter background, noise, a shift by a pixel.
"""

from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from napari_why.core.options import Help, Range, Unit
from napari_why.evaluation.explanations import (
    ExplanationCase,
    MetricValue,
    Values,
    explain_all,
    explanation_metric,
    needed,
    to_array,
)


def _change(one: Values, other: Values) -> float:
    """Return the length of the difference over that of the first map."""
    size = float(np.linalg.norm(one))
    return float(np.linalg.norm(other - one)) / size if size else np.nan


@explanation_metric(
    title="Independence of the background's level",
    better="lower",
    low=0,
    high=np.inf,
    needs=("explain", "background"),
    source="after Kindermans et al. 2017, arXiv:1711.00867 (input invariance), of the background alone",
)
def background_shift(
    case: ExplanationCase,
    *,
    shift: Annotated[
        float,
        Help("what is added to the background, in training standard deviations"),
        Range(-10, 10),
    ] = 0.2,
    **listeners: Any,
) -> MetricValue:
    """By how much the map on the cells moves, relative to itself, when the background gets brighter.

    0: not at all. 1: as much as the map is long. The score may move too (``details``), and then the
    network is what looks at the background.

    Parameters
    ----------
    case : ExplanationCase
        With the background and the method to explain again.
    shift : float
        Added to the background in all channels, training standard deviations.
    **listeners
        ``on_event`` and ``cancelled``, see :mod:`napari_why.core.events`.

    Returns
    -------
    MetricValue
        NaN where the background is nothing or everything.
    """
    empty = needed(case.background, "background").cpu().numpy().astype(bool)
    if not empty.any() or empty.all():
        return MetricValue(np.nan, note="the background is nothing, or everything")
    place = torch.from_numpy(empty).to(case.x.device)
    brighter = torch.where(place, case.x + shift, case.x)
    (evidence,) = explain_all(case, [(case.network, brighter, case.target)], 1, **listeners)
    moved = _change(case.joint[~empty], to_array(evidence.joint)[~empty])
    with torch.no_grad():
        scores = to_array(case.network(torch.cat([case.x, brighter])))[:, case.target]
    note = "" if np.isfinite(moved) else "the map is 0 on the cells"
    held = np.abs(case.joint[empty]).sum() / max(np.abs(case.joint).sum(), 1e-300)
    details = {"score_moves": float(scores[1] - scores[0]), "share_in_background": float(held)}
    return MetricValue(moved, None, note, details)


@explanation_metric(
    title="Largest change by noise",
    better="lower",
    low=0,
    high=np.inf,
    needs=("explain",),
    source="Yeh, Hsieh, Suggala, Inouye & Ravikumar 2019, arXiv:1901.09392 (max-sensitivity)",
)
def noise_change(
    case: ExplanationCase,
    *,
    noise: Annotated[
        float, Help("spread of the noise, in training standard deviations"), Range(0, 10)
    ] = 0.05,  # about the shot noise of a few hundred photons
    draws: Annotated[int, Help("noisy images"), Range(1, 1000)] = 5,
    **listeners: Any,
) -> MetricValue:
    """Largest change of the joint map over noisy images, relative to its length.

    A map that knows nothing of the image does not change either: read it beside the others. Maps
    that are random each time change by 1.4.

    Parameters
    ----------
    case : ExplanationCase
        With the method to explain again.
    noise : float
        Spread of the noise, training standard deviations.
    draws : int
        Noisy images.
    **listeners
        ``on_event`` and ``cancelled``, see :mod:`napari_why.core.events`.

    Returns
    -------
    MetricValue
        0 or more, with the ``changes`` of every image in its details.
    """
    generator = torch.Generator().manual_seed(case.seed)
    noisy = [
        case.x + noise * torch.randn(case.x.shape, generator=generator).to(case.x)
        for _ in range(draws)
    ]
    jobs = ((case.network, image, case.target) for image in noisy)
    found = explain_all(case, jobs, draws, **listeners)
    changes = [_change(case.joint, to_array(evidence.joint)) for evidence in found]
    note = "" if np.isfinite(changes).all() else "the map is 0 everywhere"
    return MetricValue(float(np.max(changes)), None, note, {"changes": changes})


@explanation_metric(
    title="Largest change by a shift",
    better="lower",
    low=0,
    high=np.inf,
    needs=("explain",),
    source="Alvarez-Melis & Jaakkola 2018, arXiv:1806.08049 (robustness), of shifts",
)
def shift_change(
    case: ExplanationCase,
    *,
    distance: Annotated[int, Help("how far the image is shifted"), Range(1, 256), Unit("px")] = 1,
    **listeners: Any,
) -> MetricValue:
    """Largest change of the joint map, moved back, over shifts in four directions, relative to it.

    The border, from where pixels are repeated, does not count.

    Parameters
    ----------
    case : ExplanationCase
        With the method to explain again.
    distance : int
        How far the image is shifted, pixels.
    **listeners
        ``on_event`` and ``cancelled``, see :mod:`napari_why.core.events`.

    Returns
    -------
    MetricValue
        0 or more, with the ``changes`` by ``moves`` in its details; NaN where the shorter side has no more
        than 4 distances.
    """
    height, width = case.x.shape[-2:]
    if min(height, width) <= 4 * distance:
        return MetricValue(np.nan, note=f"the image is too small for shifts of {distance} px")
    moves = [(distance, 0), (-distance, 0), (0, distance), (0, -distance)]
    border = [distance] * 4
    wide = F.pad(case.x, border, mode="replicate")

    def shifted(down: int, right: int) -> Tensor:
        top, left = distance - down, distance - right
        return wide[..., top : top + height, left : left + width]

    jobs = ((case.network, shifted(*move), case.target) for move in moves)
    found = explain_all(case, jobs, len(moves), **listeners)
    inner = slice(distance, -distance)
    changes = []
    for (down, right), evidence in zip(moves, found, strict=True):
        back = np.roll(to_array(evidence.joint), (-down, -right), axis=(0, 1))
        changes.append(_change(case.joint[inner, inner], back[inner, inner]))
    note = "" if np.isfinite(changes).all() else "the map is 0 everywhere"
    return MetricValue(float(np.max(changes)), None, note, {"changes": changes, "moves": moves})
