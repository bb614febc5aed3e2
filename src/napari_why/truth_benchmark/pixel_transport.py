"""Class-to-class transport without a network: conditional, on blocks of standardised pixels.

What a network adds has to show beside this. The maps are those of conditional transport in a
latent space, with pixels in its place: gates by the surroundings, a regression of every class on
them, and between the residuals the optimal map of Gaussians.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from torch import Tensor
from torch.nn import functional as F

from napari_why.latent_transport.bures import gaussian_transport

BLOCK = 4
GATES = 6
COMPONENTS = 8
POSITIONS = 40_000
RIDGE = 3e-3
FLOOR = 1e-4

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class PixelTransport:
    """The map from one class to another; see :func:`fit_pixel_transport`.

    Parameters
    ----------
    fixed, moved : tuple of int
        Channels that condition the map and stay as they are, and the others.
    gates : Gates or None
        None where nothing conditions.
    regressions : ndarray, shape (2, gates, conditions + 1, values)
        Mean of a block given its surroundings, of source and target class.
    matrices : ndarray, shape (gates, values, values)
        Transport of the residuals.
    """

    fixed: tuple[int, ...]
    moved: tuple[int, ...]
    gates: "Gates | None"
    regressions: Matrix
    matrices: Matrix

    def __call__(self, images: Tensor) -> Tensor:
        """Move standardised images (N, C, H, W) of the source class; H and W multiples of 4."""
        values, conditions = _blocks(images, self.moved), _surroundings(images, self.fixed)
        flat, known = _rows(values), _with_one(_rows(conditions))
        share = self.gates.shares(known[:, :-1]) if self.gates else np.ones((len(flat), 1))
        moved = np.zeros_like(flat)
        for gate, matrix in enumerate(self.matrices):
            expected = [known @ regression[gate] for regression in self.regressions]
            moved += share[:, [gate]] * (expected[1] + (flat - expected[0]) @ matrix.T)
        count, depth, height, width = values.shape
        back = torch.from_numpy(moved.reshape(count, height, width, depth)).permute(0, 3, 1, 2)
        result = images.clone()
        result[:, list(self.moved)] = F.pixel_shuffle(back, BLOCK).to(images)
        return result


@dataclass(frozen=True)
class Gates:
    """Soft clusters of surroundings."""

    components: PCA
    clusters: KMeans
    width: float

    @classmethod
    def fitted(cls, conditions: Matrix, seed: int) -> "Gates":
        """Cluster surroundings (positions, values)."""
        components = PCA(min(COMPONENTS, conditions.shape[1]), random_state=seed).fit(conditions)
        low = components.transform(conditions)
        clusters = KMeans(GATES, n_init=3, random_state=seed).fit(low)
        nearest = clusters.transform(low).min(axis=1)
        return cls(components, clusters, 0.5 * float(np.mean(nearest**2)) + FLOOR)

    def shares(self, conditions: Matrix) -> Matrix:
        """Return how far each surrounding belongs to each gate; rows sum to 1."""
        squares = self.clusters.transform(self.components.transform(conditions)) ** 2
        weights = np.exp(-(squares - squares.min(axis=1, keepdims=True)) / self.width)
        return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def fit_pixel_transport(
    source: Tensor, target: Tensor, fixed: tuple[int, ...], *, seed: int = 0
) -> PixelTransport:
    """Learn how blocks of 4 x 4 pixels of one class become those of another.

    Parameters
    ----------
    source, target : Tensor, shape (N, C, H, W)
        Standardised training images of the two classes, not paired.
    fixed : tuple of int
        Channels without class evidence: they stay as they are and condition the map.
    seed : int
        Of the positions that are drawn, and of the clusters.
    """
    moved = tuple(index for index in range(source.shape[1]) if index not in fixed)
    rng = np.random.default_rng(seed)
    values, known = [], []
    for images in (source, target):
        rows = _rows(_blocks(images, moved))
        chosen = rng.permutation(len(rows))[:POSITIONS]
        values.append(rows[chosen])
        known.append(_with_one(_rows(_surroundings(images, fixed))[chosen]))
    gates = Gates.fitted(np.concatenate(known)[:, :-1], seed) if fixed else None
    regressions, covariances = [], []
    for rows, conditions in zip(values, known, strict=True):
        shares = gates.shares(conditions[:, :-1]) if gates else np.ones((len(rows), 1))
        fits = [_regression(rows, conditions, share) for share in shares.T]
        regressions.append(np.stack([weights for weights, _ in fits]))
        covariances.append([covariance for _, covariance in fits])
    matrices = [
        gaussian_transport(torch.from_numpy(one), torch.from_numpy(other)).numpy()
        for one, other in zip(*covariances, strict=True)
    ]
    return PixelTransport(fixed, moved, gates, np.stack(regressions), np.stack(matrices))


def _regression(values: Matrix, conditions: Matrix, share: Matrix) -> tuple[Matrix, Matrix]:
    """Return weights (conditions, values) and residual covariance of a weighted ridge regression."""
    weighted = conditions * share[:, None]
    gram = weighted.T @ conditions
    gram += RIDGE * np.trace(gram) / len(gram) * np.eye(len(gram))
    weights = np.linalg.solve(gram, weighted.T @ values)
    residual = values - conditions @ weights
    covariance = (residual * share[:, None]).T @ residual / share.sum()
    return np.asarray(weights), np.asarray(covariance + FLOOR * np.eye(len(covariance)))


def _blocks(images: Tensor, channels: tuple[int, ...]) -> Tensor:
    chosen = images[:, list(channels)].double()
    count, depth, height, width = chosen.shape
    if not depth:  # which pixel_unshuffle does not take
        return chosen.reshape(count, 0, height // BLOCK, width // BLOCK)
    return F.pixel_unshuffle(chosen, BLOCK)


def _surroundings(images: Tensor, channels: tuple[int, ...]) -> Tensor:
    """Return the 3 x 3 blocks around every block in ``channels``; (N, 9 * K, h, w)."""
    blocks = _blocks(images, channels)
    count, depth, height, width = blocks.shape
    if not depth:  # nothing conditions
        return blocks
    padded = F.pad(blocks, (1, 1, 1, 1), mode="replicate")
    return F.unfold(padded, 3).reshape(count, 9 * depth, height, width)


def _rows(maps: Tensor) -> Matrix:
    return np.asarray(maps.permute(0, 2, 3, 1).flatten(0, 2).numpy())


def _with_one(rows: Matrix) -> Matrix:
    return np.concatenate([rows, np.ones((len(rows), 1))], axis=1)
