"""Means and covariances of channel vectors, merged batch by batch."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class StageStatistics:
    """Where each class lies in the latent of one stage, position by position.

    The latent vector of every position of every image of a class (by true label) is one sample.

    Parameters
    ----------
    means : Tensor, float64, shape (classes, K)
        Mean channel vector.
    covariances : Tensor, float64, shape (classes, K, K)
        Covariance of the channel vectors (divided by the number of samples).
    positions : tuple of int
        Number of samples per class.
    """

    means: Tensor
    covariances: Tensor
    positions: tuple[int, ...]


class Moments:
    """Running mean and scatter of vectors, merged batch by batch (Chan, Golub & LeVeque 1983)."""

    def __init__(self, channels: int) -> None:
        self.count = 0
        self.mean = torch.zeros(channels, dtype=torch.float64)
        self.scatter = torch.zeros(channels, channels, dtype=torch.float64)

    def add(self, vectors: Tensor) -> None:
        """Take float64 vectors (n, K)."""
        new = len(vectors)
        if not new:
            return
        mean = vectors.mean(dim=0)
        centred = vectors - mean
        shift = mean - self.mean
        total = self.count + new
        self.scatter += centred.T @ centred
        self.scatter += torch.outer(shift, shift) * (self.count * new / total)
        self.mean += shift * (new / total)
        self.count = total

    @property
    def covariance(self) -> Tensor:
        """Covariance of the vectors so far, shape (K, K)."""
        return self.scatter / max(self.count, 1)


def stage_statistics(moments: list[Moments]) -> StageStatistics:
    """Put the moments of all classes together."""
    return StageStatistics(
        torch.stack([item.mean for item in moments]),
        torch.stack([item.covariance for item in moments]),
        tuple(item.count for item in moments),
    )
