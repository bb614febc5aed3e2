"""Mask size against score change: how few pixels of a counterfactual change what the network says."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from napari_why.evaluation.explanations import (
    ExplanationCase,
    MetricValue,
    explanation_metric,
    needed,
)
from napari_why.evaluation.pixel_removal import (
    NO_PROBABILITY,
    ask,
    removal_images,
    removal_ranks,
    softmax_of,
)

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
