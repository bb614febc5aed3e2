"""How little of a counterfactual's change is enough: mask size against change of the score.

After the attribution curve of QuAC (Adjavon et al. 2024, Quantitative Attributions with
Counterfactuals): the largest changes are pasted into the source, more and more of them.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_why.classifier import Classifier
from napari_why.truth_benchmark.classify import probabilities

MASK_SIZES = (0.0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class MaskCurve:
    """Mean over images.

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


def mask_curve(
    classifier: Classifier,
    sources: NDArray[Any],
    counterfactuals: NDArray[Any],
    target: str,
) -> MaskCurve:
    """Paste the most changed pixels of counterfactuals into their sources and classify.

    A pixel counts by its largest change over channels, in standard deviations of the channel, and
    is pasted in all channels.

    Parameters
    ----------
    classifier : Classifier
        Judges.
    sources, counterfactuals : ndarray, shape (N, C, H, W)
        As exported, raw units.
    target : str
        The class.
    """
    std = np.asarray(classifier.preprocessing.std)[:, None, None]
    change = (np.abs(counterfactuals.astype(float) - sources.astype(float)) / std).max(axis=1)
    order = change.reshape(len(change), -1).argsort(axis=1)[:, ::-1]
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.arange(order.shape[1])[None], axis=1)
    rank = rank.reshape(change.shape)
    column = classifier.classes.index(target)
    reached = []
    for size in MASK_SIZES:
        mask = rank < round(size * order.shape[1])
        pasted = np.where(mask[:, None], counterfactuals, sources)
        reached.append(probabilities(classifier, pasted)[:, column].mean())
    return MaskCurve(MASK_SIZES, tuple(float(value - reached[0]) for value in reached))
