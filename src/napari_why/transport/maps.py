"""Maps between two classes: Gaussian within soft gates, then corrected slice by slice."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from napari_why.core.devices import to_float64


def transport_matrix(source: Tensor, target: Tensor) -> Tensor:
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
    >>> transport_matrix(torch.eye(2) * 4.0, torch.eye(2) * 9.0)
    tensor([[1.5000, 0.0000],
            [0.0000, 1.5000]])
    """
    values, vectors = torch.linalg.eigh(source)
    varies = values > values.max() * torch.finfo(source.dtype).eps * len(values)
    roots = torch.where(varies, values, 0.0).sqrt()
    root = (vectors * roots) @ vectors.T
    inverse_root = (vectors * torch.where(varies, 1 / roots, 0.0)) @ vectors.T
    # where the source does not vary there is nothing to scale: those directions stay
    still = vectors[:, ~varies]
    moving = inverse_root @ square_root(root @ target @ root) @ inverse_root
    matrix: Tensor = moving + still @ still.T
    return matrix


def square_root(matrix: Tensor) -> Tensor:
    """Return the symmetric square root of a positive semi-definite matrix (K, K)."""
    values, vectors = torch.linalg.eigh((matrix + matrix.T) / 2)
    root: Tensor = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    return root


# Principal components that conditions are clustered in: distances in all 80 would be noise.
COMPONENTS = 8
# Of the squared distance to the nearest centre: neighbouring gates blend, distant ones do not.
SOFTNESS = 0.5
# Rows that k-means looks at: 2,500 for each of eight gates.
SAMPLE = 20_000
# Below this a standardised condition has no spread but rounding.
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
    def fit(cls, vectors: Tensor, count: int, seed: int) -> "Gates":
        """Cluster condition vectors (n, c) of all classes; without conditions there is one gate.

        Parameters
        ----------
        vectors : Tensor, shape (n, c)
        count : int
            Gates at most.
        seed : int
            Of the clustering.

        Returns
        -------
        Gates
        """
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
        from sklearn.cluster import KMeans  # two seconds: most of scipy

        means = KMeans(count, n_init=1, max_iter=50, random_state=seed)
        means.fit(to_float64(projected[:SAMPLE]).numpy())
        centres = torch.from_numpy(means.cluster_centers_).float()
        nearest = torch.cdist(projected, centres).square().amin(1)
        return cls(mean, deviation, basis, centres, SOFTNESS * nearest.mean().clamp(min=1e-6))

    def standardise(self, vectors: Tensor) -> Tensor:
        """Return condition vectors (n, c) with mean 0 and deviation 1."""
        return (vectors - self.mean) / self.deviation

    def components(self, vectors: Tensor) -> Tensor:
        """Return the principal components (n, 8) of condition vectors (n, c)."""
        return self.standardise(vectors) @ self.basis

    def shares(self, vectors: Tensor) -> Tensor:
        """Return how much each gate counts (n, gates) for condition vectors (n, c); rows sum to 1."""
        if len(self.centres) == 1:
            return vectors.new_ones(len(vectors), 1)
        distances = torch.cdist(self.components(vectors), self.centres).square()
        return torch.softmax(-distances / self.temperature, 1)


# Of a unit variance: makes a gate with few positions solvable and leaves the others as they are.
RIDGE = 3e-3
# Keeps covariances invertible where a channel is constant within a gate.
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
        known = with_one(gates.standardise(conditions))
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
    def fit(cls, moving: Tensor, conditions: Tensor, gates: Gates, weights: Tensor) -> "ClassModel":
        """Fit positions (n, m) with conditions (n, c), each counted ``weights`` (n,).

        Parameters
        ----------
        moving : Tensor, shape (n, m)
            Surroundings u of each position.
        conditions : Tensor, shape (n, c)
        gates : Gates
            Fitted on conditions of all classes.
        weights : Tensor, shape (n,)
            0 or more; only their ratios matter.

        Returns
        -------
        ClassModel
        """
        known = to_float64(with_one(gates.standardise(conditions)))
        shares = to_float64(gates.shares(conditions)) * to_float64(weights)[:, None]
        moving = to_float64(moving)
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

    Parameters
    ----------
    source, target : ClassModel
        With the same gates.
    free : int
        d, how many channels of the surroundings belong to the position itself; they come first.

    Returns
    -------
    GaussianMap
        float32.
    """
    matrices, conditioning = [], []
    for index in range(len(source.covariances)):
        transport = transport_matrix(source.covariances[index], target.covariances[index])
        matrix = transport[:free]
        matrices.append(matrix)
        conditioning.append(
            target.coefficients[index].T[:free] - matrix @ source.coefficients[index].T
        )
    return GaussianMap(torch.stack(matrices).float(), torch.stack(conditioning).float())


def with_one(vectors: Tensor) -> Tensor:
    """Return vectors (n, c) with a 1 behind each, shape (n, c + 1)."""
    return torch.cat([vectors, vectors.new_ones(len(vectors), 1)], 1)


# Every 1.6 %: the tails, where granules are, still have a knot of their own.
QUANTILES = 64


@dataclass(frozen=True)
class SlicedCorrection:
    """Rounds of matching the quantiles of ``u = (z / s) R`` between two classes.

    R is a random rotation of the free channels z of a position (sliced transport: Pitié, Kokaram
    & Dahyot 2007; Bonneel et al. 2015). It mends what a map between Gaussians leaves: the marginal
    distributions. Conditions are taken care of by what it is fitted on: positions of the two classes
    whose conditions have the same distribution.

    Parameters
    ----------
    scale : Tensor, shape (d,)
        Standard deviation s of the free channels.
    rotations : Tensor, shape (rounds, d, d)
    source, target : Tensor, shape (rounds, 64, d)
        Quantiles of u in the two classes, rising.
    """

    scale: Tensor
    rotations: Tensor
    source: Tensor
    target: Tensor

    @classmethod
    def fit(
        cls, moved: Tensor, target: Tensor, rounds: int, generator: torch.Generator
    ) -> "SlicedCorrection":
        """Fit on moved source positions and target positions.

        Parameters
        ----------
        moved, target : Tensor, shape (n, d), (m, d)
            Free channels. Their conditions must have the same distribution.
        rounds : int
        generator : torch.Generator

        Returns
        -------
        SlicedCorrection
            Of no round it changes nothing.
        """
        width = target.shape[1]
        scale = target.std(0, correction=0).clamp(min=1e-6)
        current, goal = moved / scale, target / scale
        steps = torch.linspace(0, 1, QUANTILES)
        rotations = [target.new_zeros(0, width, width)]
        sources, targets = [target.new_zeros(0, QUANTILES, width)], []
        targets.append(sources[0])
        for _ in range(rounds):
            rotation = torch.linalg.qr(torch.randn(width, width, generator=generator))[0]
            u = current @ rotation
            source_quantiles = quantiles_of(u, steps)
            target_quantiles = quantiles_of(goal @ rotation, steps)
            moved_u = quantile_mapped(u, source_quantiles, target_quantiles)
            current = current + (moved_u - u) @ rotation.T
            rotations.append(rotation[None])
            sources.append(source_quantiles[None])
            targets.append(target_quantiles[None])
        return cls(scale, torch.cat(rotations), torch.cat(sources), torch.cat(targets))

    def __call__(self, moved: Tensor) -> Tensor:
        """Return corrected free channels (n, d) of moved positions."""
        current = moved / self.scale
        for rotation, source, target in zip(self.rotations, self.source, self.target, strict=True):
            u = current @ rotation
            current = current + (quantile_mapped(u, source, target) - u) @ rotation.T
        return current * self.scale


def quantiles_of(values: Tensor, shares: Tensor) -> Tensor:
    """Return what ``torch.quantile(values, shares, dim=0)`` does, in a quarter of the time.

    Sorting is what it takes time for, and numpy sorts faster.

    Parameters
    ----------
    values : Tensor, float32, shape (n, d)
        On the CPU.
    shares : Tensor, shape (quantiles,)

    Returns
    -------
    Tensor, float32, shape (quantiles, d)
        nan in columns that hold one.

    Examples
    --------
    >>> quantiles_of(torch.tensor([[3.0], [1.0], [2.0]]), torch.tensor([0.0, 0.75])).flatten().tolist()
    [1.0, 2.5]
    """
    ordered = torch.from_numpy(np.sort(values.T.contiguous().numpy()))
    ranks = to_float64(shares) * (len(values) - 1)
    below = ranks.long()
    low, high = ordered[:, below], ordered[:, ranks.ceil().long()]
    found = torch.lerp(low, high, (ranks - below).float().expand_as(low))
    # numpy puts what is no number last
    return torch.where(ordered[:, -1:].isnan(), torch.nan, found).T.contiguous()


def quantile_mapped(values: Tensor, source: Tensor, target: Tensor) -> Tensor:
    """Map each column by linear interpolation between quantiles; beyond them, shift.

    Parameters
    ----------
    values : Tensor, shape (n, d)
    source, target : Tensor, shape (quantiles, d)
        Rising along the first axis.

    Returns
    -------
    Tensor, shape (n, d)

    Examples
    --------
    >>> source, target = torch.tensor([[0.0], [1.0]]), torch.tensor([[0.0], [2.0]])
    >>> quantile_mapped(torch.tensor([[-1.0], [0.5], [3.0]]), source, target).flatten().tolist()
    [-1.0, 1.0, 4.0]
    """
    columns = values.T.contiguous()
    knots, images = source.T.contiguous(), target.T.contiguous()
    right = torch.searchsorted(knots, columns).clamp(1, knots.shape[1] - 1)
    low, high = knots.gather(1, right - 1), knots.gather(1, right)
    low_image, high_image = images.gather(1, right - 1), images.gather(1, right)
    share = ((columns - low) / (high - low).clamp(min=1e-9)).clamp(0, 1)
    inside = torch.lerp(low_image, high_image, share)
    below, above = columns - knots[:, :1], columns - knots[:, -1:]
    mapped = torch.where(below < 0, images[:, :1] + below, inside)
    return torch.where(above > 0, images[:, -1:] + above, mapped).T


# Among the scores of a choice: whether changed held-out images are surely nearer to real ones of the target
# than unchanged ones; false of classes that do not differ.
NEARER = "nearer than unchanged images"
# Which share of what sets the classes apart (a squared distance) held-out images still have after the change:
# the median of draws, and what five of six draws stay below.
LEFT = "difference left"
LEFT_AT_MOST = "difference left at most"
# And which share of it the change back leaves, where that is why a network that undoes it was taken.
LEFT_BY_WAY_BACK = "difference left by the way back"
# Why the network was taken that learnt from draws of responding cells: the way back speaks of a part of the cells; its
# cells are more like real ones than those of any other candidate that changes all; its images are the nearest.
BY_DRAWS_FOR = "learnt from draws of responding cells"
PART_RESPONDED = "taken because a part of the cells responded"
SHOWN_BY_CELLS = "its cells are more like real ones than those of every change of all cells"
NEAREST_IMAGES = "its images are the nearest"
Mass = Literal["full", "excess"]
# And whether the cells of draws, of which a share responds, are surely more like real ones as a crowd than
# those of any one change: classes that differ a little in all cells may have such a share too.
ONLY_SOME_CELLS = "cells of draws are more like real ones than those of any one change"
PixelKind = Literal["curve", "parametric", "coarse_to_fine", "back_translated", "responding_cells"]
"""Kinds of maps of pixels, the plainest first; see :mod:`napari_why.transport.class_maps`.

The last draws its images, and is never chosen: a draw errs where nobody can know."""
ChangeKind = Literal["latent", PixelKind]
"""What a change is made by: the transport of latents, or a map of pixels."""


@dataclass(frozen=True)
class PairMap:
    """The transport from one class to another.

    Parameters
    ----------
    gaussian : GaussianMap
    correction : SlicedCorrection
    """

    gaussian: GaussianMap
    correction: SlicedCorrection

    def __call__(self, moving: Tensor, known: Tensor, gates: Gates) -> Tensor:
        """Return the free channels (n, d) that positions would have in the other class."""
        return self.correction(self.gaussian(moving, known, gates))


@dataclass(frozen=True)
class Choice:
    """How a direction is best transported, judged on held-out images.

    Parameters
    ----------
    mass : {"full", "excess"}
        Whether everything moves or only the excess mass.
    overshoot : float
        A multiple of the displacement, 1 or more, that older versions chose for looking like the target
        class. It is kept as it was saved, and not applied: a change is as large as the classes differ.
    reset_channels : tuple of int
        Input channels that are put back to the source's.
    scores : mapping
        What was measured for the choice; JSON types. Empty where nothing was held out.
    second_had_a_say : bool or None
        Whether the second network, whose opinion is shown beside results, was asked when this was
        chosen. It was in version 0.1.0, and is no more; None where that is not known.
    kind : str
        What makes the change; ``mass`` is only of a transport of latents.
    """

    mass: Mass = "full"
    overshoot: float = 1.0
    reset_channels: tuple[int, ...] = ()
    scores: Mapping[str, Any] | None = None
    second_had_a_say: bool | None = False
    kind: ChangeKind = "latent"
