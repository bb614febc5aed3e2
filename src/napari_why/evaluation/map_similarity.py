"""How alike two maps of one image are, and how alike they would be by chance."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import spearmanr
from skimage.metrics import structural_similarity

from napari_why.evaluation.explanations import Values


@dataclass(frozen=True)
class PairSimilarity:
    """How alike two maps are.

    Parameters
    ----------
    rank : float
        Spearman's correlation of the signed maps, -1 to 1.
    magnitude_rank : float
        The same of their magnitudes.
    ssim : float
        Structural similarity of the magnitudes, each divided by its largest, -1 to 1; NaN of maps
        smaller than its window of 7 pixels.
    """

    rank: float
    magnitude_rank: float
    ssim: float

    @property
    def value(self) -> float:
        """0 (unrelated) to 1: the larger of both rank correlations, of the signed one the size.

        A map with its sign turned is the same map, and one whose places stay while signs are drawn
        anew still shows a viewer the same picture.
        """
        return max(abs(self.rank), self.magnitude_rank, 0.0)


# The usual window of structural similarity.
SSIM_WINDOW = 7


def compare_maps(one: Values, other: Values) -> PairSimilarity:
    """Compare two maps (H, W); one that is the same everywhere is like no other.

    Parameters
    ----------
    one, other : ndarray, float64, shape (H, W)
        Signed.

    Returns
    -------
    PairSimilarity
    """
    sizes = np.abs(one), np.abs(other)
    small = min(one.shape) < SSIM_WINDOW
    scaled = [size / size.max() if size.max() else size for size in sizes]
    ssim = np.nan if small else structural_similarity(*scaled, data_range=1.0)
    return PairSimilarity(rank_correlation(one, other), rank_correlation(*sizes), float(ssim))


def rank_correlation(one: Values, other: Values) -> float:
    """Return Spearman's correlation, 0 where either is constant.

    Parameters
    ----------
    one, other : ndarray, float64
        Of the same shape.

    Returns
    -------
    float
        -1 to 1.
    """
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return 0.0
    return float(spearmanr(one.ravel(), other.ravel()).statistic)


# Enough for a mean to a few hundredths; no network is asked.
MOVES = 20


def similarity_by_chance(values: Values, seed: int) -> float:
    """Return how alike a map and itself are, moved by any distance round the borders, on average.

    What two smooth maps have in common that have nothing to do with each other.

    Parameters
    ----------
    values : ndarray, float64, shape (H, W)
    seed : int
        Of the distances.

    Returns
    -------
    float
        0 to 1, the mean of :attr:`PairSimilarity.value`.
    """
    generator = np.random.default_rng((seed, 2))
    moves = [tuple(generator.integers(0, side) for side in values.shape) for _ in range(MOVES)]
    moved = [np.roll(values, move, axis=(0, 1)) for move in moves]
    return float(np.mean([compare_maps(values, other).value for other in moved]))
