"""Optimal transport of one class's latent vectors onto another's."""

from typing import Annotated

import torch
from torch import Tensor

from napari_why.core.devices import to_float64, to_like
from napari_why.core.errors import ParameterError
from napari_why.core.options import Help, Range
from napari_why.counterfactuals.method import (
    Complete,
    LatentPath,
    counterfactual_method,
    stage_named,
)
from napari_why.model.class_moments import StageStatistics
from napari_why.model.latent_statistics import LatentStatistics
from napari_why.networks.network import InvertibleNetwork
from napari_why.transport.maps import transport_matrix


@counterfactual_method(
    title="Gaussian transport at a stage",
    source="optimal transport between Gaussians: Dowson & Landau 1982; Takatsu 2011",
)
def gaussian_transport(
    network: InvertibleNetwork,
    statistics: LatentStatistics,
    image: Tensor,
    source: int,
    target: int,
    *,
    stage: Annotated[
        str, Help("stage whose latent is moved: first, last or a name; shallow follows content")
    ] = "first",
    shrinkage: Annotated[
        float, Help("how far covariances are drawn towards a sphere"), Range(0.0, 1.0)
    ] = 0.001,
) -> LatentPath:
    """Move every latent vector of the image as the classes' distributions move.

    The channel vectors z of all positions of a class, at one stage, are described by their mean
    m and covariance S. The optimal transport map from class p to class q between those Gaussians
    is ``T(z) = m_q + A (z - m_p)``, ``A = S_p^-1/2 (S_p^1/2 S_q S_p^1/2)^1/2 S_p^-1/2``;
    the path is ``z + alpha (T(z) - z)``.

    Locked channels c stay, and the others u move given them: both Gaussians are split into
    ``u = B [c, 1] + e``, and ``T(u, c) = B_q [c, 1] + A (u - B_p [c, 1])`` with the transport A
    between the covariances of e.

    Parameters
    ----------
    network : InvertibleNetwork
        Frozen.
    statistics : LatentStatistics
        Of the training images, by true label.
    image : Tensor, shape (1, C, H, W)
        Preprocessed.
    source, target : int
        Class indices p and q.
    stage : str
        ``first`` by default: measured on scenes of known truth, deeper latents transport worse.
    shrinkage : float
        S becomes (1 - shrinkage) S + shrinkage * mean variance * identity.

    Returns
    -------
    LatentPath
        Complete at alpha = 1, where the distributions have moved; the boundary is found on the head.

    Raises
    ------
    ParameterError
        No such stage, no covariance of that stage, or a class without training images.
    """
    name = stage_named(network, stage)
    if name not in statistics.stages:
        known = ", ".join(statistics.stages) or "none"
        raise ParameterError(
            f"stage: found {name!r}, which has too many channels for class covariances; "
            f"expected one of {known}"
        )
    matrix, offset = class_map(
        statistics.stages[name],
        statistics.classes,
        source,
        target,
        shrinkage,
        locked=network.locked_latent_channels(name),
    )
    start = network.encode_to(image, name)
    vectors = to_float64(start[0].cpu())
    moved = torch.einsum("kl,lyx->kyx", matrix, vectors) + offset.reshape(-1, 1, 1)
    return LatentPath(name, start, to_like(moved - vectors, start)[None], rule=Complete())


def class_map(
    stage: StageStatistics,
    classes: tuple[str, ...],
    source: int,
    target: int,
    shrinkage: float,
    locked: int = 0,
) -> tuple[Tensor, Tensor]:
    """Return the matrix A (K, K) and offset (K,) of the transport ``T(z) = A z + offset``.

    The first ``locked`` channels stay as they are, and the others move given them.

    Parameters
    ----------
    stage : StageStatistics
        Means (K,) and covariances (K, K) of each class's latent vectors.
    classes : tuple of str
        Names, for the error.
    source, target : int
        Class indices.
    shrinkage : float
        Between 0 and 1; see :func:`shrunk`.
    locked : int
        Number of locked channels, which come first.

    Returns
    -------
    (Tensor, Tensor)
        ``A``, shape (K, K), and the offset, shape (K,), in the dtype of the covariances.

    Raises
    ------
    ParameterError
        One of the classes has no training images.
    """
    for index in (source, target):
        if not stage.positions[index]:
            raise ParameterError(
                f"gaussian_transport: found no training image of {classes[index]}; "
                "expected at least one of the source and of the target class"
            )
    before, after = (shrunk(stage.covariances[index], shrinkage) for index in (source, target))
    # a class has one regression of the free on the locked channels, and what it leaves unexplained
    (slope, rest), (target_slope, target_rest) = (_given(c, locked) for c in (before, after))
    free = transport_matrix(rest, target_rest)
    matrix = torch.eye(len(before)).to(before)
    matrix[locked:, locked:] = free
    matrix[locked:, :locked] = target_slope - free @ slope
    offset = torch.zeros(len(before)).to(before)
    means = stage.means[source], stage.means[target]
    starts, ends = (
        mean[locked:] - part @ mean[:locked]
        for mean, part in zip(means, (slope, target_slope), strict=True)
    )
    offset[locked:] = ends - free @ starts
    return matrix, offset


def _given(covariance: Tensor, locked: int) -> tuple[Tensor, Tensor]:
    """Return the slopes (F, L) of the free on the locked channels, and the residual covariance."""
    of_locked, between = covariance[:locked, :locked], covariance[locked:, :locked]
    # pseudo-inverse: a locked channel without any spread explains nothing
    slope = between @ torch.linalg.pinv(of_locked, hermitian=True)
    return slope, covariance[locked:, locked:] - slope @ between.T


def shrunk(covariance: Tensor, shrinkage: float) -> Tensor:
    """Return a covariance (K, K) drawn towards the sphere of the same mean variance.

    Parameters
    ----------
    covariance : Tensor, shape (K, K)
    shrinkage : float
        0 leaves it as it is, 1 makes the sphere of it.

    Returns
    -------
    Tensor, shape (K, K)
    """
    variance = covariance.diagonal().mean()
    return torch.lerp(covariance, torch.eye(len(covariance)).to(covariance) * variance, shrinkage)
