"""Conditional optimal transport between two classes, linear within each gate."""

from dataclasses import dataclass

import torch
from torch import Tensor

from napari_why.latent_transport.bures import gaussian_transport
from napari_why.latent_transport.gates import Gates

RIDGE = 3e-3
SMALLEST_VARIANCE = 1e-4


@dataclass(frozen=True)
class GaussianMap:
    """``T(u, c) = sum_k share_k(c) (A_k u + M_k [c, 1])``, of which the centre channels are kept.

    Parameters
    ----------
    matrices : Tensor, shape (gates, d, m)
        A_k: what the surroundings u of a position make of its d free channels.
    conditioning : Tensor, shape (gates, d, c + 1)
        M_k: what the conditions add.
    """

    matrices: Tensor
    conditioning: Tensor

    def __call__(self, moving: Tensor, conditions: Tensor, gates: Gates) -> Tensor:
        """Return the free channels (n, d) that positions would have in the other class.

        Parameters
        ----------
        moving : Tensor, shape (n, m)
        conditions : Tensor, shape (n, c)
            Not standardised.
        gates : Gates
        """
        known = with_one(gates.standardised(conditions))
        shares = gates.shares(conditions)
        moved = moving.new_zeros(len(moving), self.matrices.shape[1])
        for share, matrix, conditioning in zip(
            shares.T, self.matrices, self.conditioning, strict=True
        ):
            moved += share[:, None] * (moving @ matrix.T + known @ conditioning.T)
        return moved


@dataclass(frozen=True)
class ClassModel:
    """How the surroundings of a position follow from its conditions in one class, by gate.

    Parameters
    ----------
    coefficients : Tensor, float64, shape (gates, c + 1, m)
        Ridge regression of u on [c, 1].
    covariances : Tensor, float64, shape (gates, m, m)
        Of what it leaves.
    """

    coefficients: Tensor
    covariances: Tensor

    @classmethod
    def fitted(
        cls, moving: Tensor, conditions: Tensor, gates: Gates, weights: Tensor
    ) -> "ClassModel":
        """Fit positions (n, m) with conditions (n, c), each counted ``weights`` (n,)."""
        known = with_one(gates.standardised(conditions)).double()
        shares = gates.shares(conditions).double() * weights.double()[:, None]
        moving = moving.double()
        coefficients, covariances = [], []
        for share in shares.T:
            share = share / share.sum().clamp(min=1e-12)
            weighted = known * share[:, None]
            gram = weighted.T @ known + RIDGE * torch.eye(known.shape[1], dtype=known.dtype)
            solved = torch.linalg.solve(gram, weighted.T @ moving)
            left = moving - known @ solved
            covariance = (left * share[:, None]).T @ left
            coefficients.append(solved)
            covariances.append(
                covariance + SMALLEST_VARIANCE * torch.eye(len(covariance), dtype=known.dtype)
            )
        return cls(torch.stack(coefficients), torch.stack(covariances))


def map_between(source: ClassModel, target: ClassModel, free: int) -> GaussianMap:
    """Return the transport of one class model onto another, its first ``free`` channels.

    Within a gate, ``T(u, c) = B_q [c, 1] + A (u - B_p [c, 1])`` with the optimal transport A of
    the residual covariances.
    """
    matrices, conditioning = [], []
    for index in range(len(source.covariances)):
        transport = gaussian_transport(source.covariances[index], target.covariances[index])
        matrix = transport[:free]
        matrices.append(matrix)
        conditioning.append(
            target.coefficients[index].T[:free] - matrix @ source.coefficients[index].T
        )
    return GaussianMap(torch.stack(matrices).float(), torch.stack(conditioning).float())


def with_one(vectors: Tensor) -> Tensor:
    """Return vectors (n, c) with a 1 behind each, shape (n, c + 1)."""
    return torch.cat([vectors, vectors.new_ones(len(vectors), 1)], 1)
