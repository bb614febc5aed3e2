"""Single deletion: does a region's evidence rank as the score's fall without that region."""

from collections.abc import Iterator
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation
from scipy.stats import spearmanr
from torch import Tensor

from napari_why.core.options import Help, Range, Unit
from napari_why.evaluation.explanations import (
    ExplanationCase,
    MetricValue,
    explanation_metric,
    needed,
)
from napari_why.evaluation.pixel_removal import Removal, ask, removal_filling


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
