"""Optimal transport between two Gaussians."""

import torch
from torch import Tensor


def gaussian_transport(source: Tensor, target: Tensor) -> Tensor:
    """Return the optimal transport matrix between two centred Gaussians.

    ``A = S_p^-1/2 (S_p^1/2 S_q S_p^1/2)^1/2 S_p^-1/2`` (Dowson & Landau 1982; Takatsu 2011).

    Parameters
    ----------
    source, target : Tensor, float64, shape (K, K)
        Covariances; directions in which the source does not vary are left alone.

    Returns
    -------
    Tensor, shape (K, K)
        Symmetric A with ``A source A = target``.

    Examples
    --------
    >>> gaussian_transport(torch.eye(2) * 4.0, torch.eye(2) * 9.0)
    tensor([[1.5000, 0.0000],
            [0.0000, 1.5000]])
    """
    values, vectors = torch.linalg.eigh(source)
    varies = values > values.max() * torch.finfo(source.dtype).eps * len(values)
    roots = torch.where(varies, values, 0.0).sqrt()
    root = (vectors * roots) @ vectors.T
    inverse_root = (vectors * torch.where(varies, 1 / roots, 0.0)) @ vectors.T
    still = vectors[:, ~varies]
    moving = inverse_root @ square_root(root @ target @ root) @ inverse_root
    matrix: Tensor = moving + still @ still.T
    return matrix


def square_root(matrix: Tensor) -> Tensor:
    """Return the symmetric square root of a positive semi-definite matrix (K, K)."""
    values, vectors = torch.linalg.eigh((matrix + matrix.T) / 2)
    root: Tensor = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    return root
