"""The few coordinates in which distances from a class are taken."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA

Points = NDArray[np.float64]

EXPLAINED = 0.95
NOTHING_LEFT = 1e-4


@dataclass(frozen=True, eq=False)
class Subspace:
    """Principal components within classes, and the distance from them.

    Parameters
    ----------
    centres : dict of str to ndarray, shape (K,)
        Median latent of each class.
    directions : ndarray, shape (p, K)
        Orthonormal.
    with_rest : bool
        Whether a last coordinate tells the logarithm of the distance from the components: an
        image may be odd in a way in which no reference image varies (Hubert, Rousseeuw & Vanden
        Branden 2005). False where the components explain everything.
    rest_floor : float
        Added to that distance, so that an image without any has a logarithm.
    """

    centres: dict[str, Points]
    directions: Points
    with_rest: bool
    rest_floor: float

    @classmethod
    def fitted(
        cls, latents: NDArray[np.float32], labels: NDArray[np.object_], components: int
    ) -> "Subspace":
        """Find the components of latents (n, K) about the medians of their classes.

        So many that 95 % of the variance is explained, at most ``components``, and at most half
        as many as the smallest class has images.
        """
        values = latents.astype(np.float64)
        names = sorted(set(labels))
        centres = {name: np.median(values[labels == name], axis=0) for name in names}
        centred = values - np.stack([centres[name] for name in labels])
        smallest = min(int((labels == name).sum()) for name in names)
        most = max(1, min(components, smallest // 2, *centred.shape))
        found = PCA(most, svd_solver="full").fit(centred)
        shares = np.cumsum(np.nan_to_num(found.explained_variance_ratio_))
        count = min(int(np.searchsorted(shares, EXPLAINED)) + 1, most)
        directions = np.asarray(found.components_[:count])
        rest = np.linalg.norm(centred - centred @ directions.T @ directions, axis=1)
        scale = float(np.sqrt((centred**2).sum(axis=1).mean()))
        with_rest = bool(np.median(rest) > np.sqrt(NOTHING_LEFT) * scale)
        return cls(centres, directions, with_rest, 1e-3 * scale)

    def coordinates(self, latents: NDArray[Any], name: str) -> Points:
        """Return the coordinates of latents (n, K) about a class, shape (n, p) or (n, p + 1)."""
        centred = latents.astype(np.float64) - self.centres[name]
        scores = centred @ self.directions.T
        if not self.with_rest:
            return np.asarray(scores)
        rest = np.linalg.norm(centred - scores @ self.directions, axis=1) + self.rest_floor
        return np.column_stack([scores, np.log(rest)])
