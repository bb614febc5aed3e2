"""Soft clusters of the conditions: where a position lies, judged by the locked channels."""

from dataclasses import dataclass

import torch
from sklearn.cluster import KMeans
from torch import Tensor

COMPONENTS = 8
SOFTNESS = 0.5
SAMPLE = 20_000
CONSTANT = 1e-6


@dataclass(frozen=True)
class Gates:
    """Soft k-means clusters on principal components of the conditions.

    Parameters
    ----------
    mean, deviation : Tensor, float32, shape (c,)
        Of every condition.
    basis : Tensor, shape (c, 8)
        Leading principal components of the standardised conditions.
    centres : Tensor, shape (gates, 8)
        Cluster centres.
    temperature : Tensor, shape ()
        Half the mean squared distance to the nearest centre.
    """

    mean: Tensor
    deviation: Tensor
    basis: Tensor
    centres: Tensor
    temperature: Tensor

    @classmethod
    def fitted(cls, vectors: Tensor, count: int, seed: int) -> "Gates":
        """Cluster condition vectors (n, c) of all classes; without conditions there is one gate."""
        mean = vectors.mean(0)
        spread = (vectors - mean).square().mean(0).sqrt()
        # what is constant in training tells nothing, and is not to explode where it is not
        deviation = torch.where(spread > CONSTANT, spread, 1.0)
        standard = (vectors - mean) / deviation
        covariance = standard.T @ standard / len(standard)
        # contiguous, as they are once saved and loaded: products then agree to the last digit
        basis = torch.linalg.eigh(covariance)[1][:, -COMPONENTS:].contiguous()
        projected = standard @ basis
        count = min(count, len(vectors)) if bool((spread > CONSTANT).any()) else 1
        if count == 1:
            return cls(mean, deviation, basis, projected.mean(0, keepdim=True), torch.tensor(1.0))
        means = KMeans(count, n_init=1, max_iter=50, random_state=seed)
        means.fit(projected[:SAMPLE].double().numpy())
        centres = torch.from_numpy(means.cluster_centers_).float()
        nearest = torch.cdist(projected, centres).square().amin(1)
        return cls(mean, deviation, basis, centres, SOFTNESS * nearest.mean().clamp(min=1e-6))

    def standardised(self, vectors: Tensor) -> Tensor:
        """Return condition vectors (n, c) with mean 0 and deviation 1."""
        return (vectors - self.mean) / self.deviation

    def components(self, vectors: Tensor) -> Tensor:
        """Return the principal components (n, 8) of condition vectors (n, c)."""
        return self.standardised(vectors) @ self.basis

    def shares(self, vectors: Tensor) -> Tensor:
        """Return how much each gate counts (n, gates) for condition vectors (n, c); rows sum to 1."""
        if len(self.centres) == 1:
            return vectors.new_ones(len(vectors), 1)
        distances = torch.cdist(self.components(vectors), self.centres).square()
        return torch.softmax(-distances / self.temperature, 1)
