"""Latent statistic ``distances``: how far an image lies from a class, among its training images."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from napari_why.core.devices import to_float64
from napari_why.core.events import Cancelled, OnEvent
from napari_why.model.latent_statistics import LatentBatch, StatisticKind, latent_statistic
from napari_why.networks.network import Network

# Of a sample of this size the 99 % quantile is known to within half a per cent.
LATENTS_PER_CLASS = 512
# Enough for what differs between images, few enough for a covariance of a hundred images.
COMPONENTS = 16
# One for each per cent, ends included.
QUANTILES = 101
# Of fewer images neither half has a covariance worth the name.
FEWEST = 8
# Images for each component, so that components are not noise.
IMAGES_PER_COMPONENT = 8


@dataclass(frozen=True)
class ClassDistances:
    """Mahalanobis distances of pooled latents to each class.

    Pooled latents are projected on the leading principal components of all training images; each
    class has a mean and a covariance shrunk after Ledoit & Wolf 2004.

    Parameters
    ----------
    mean : Tensor, float64, shape (K,)
    basis : Tensor, float64, shape (K, components)
    class_means : Tensor, float64, shape (classes, components)
    precisions : Tensor, float64, shape (classes, components, components)
        All zero for a class with fewer than 8 training images.
    quantiles : Tensor, float64, shape (classes, 101)
        Of the distances of a class's own training images, each measured by a fit on the other half.
    """

    mean: Tensor
    basis: Tensor
    class_means: Tensor
    precisions: Tensor
    quantiles: Tensor

    def share_closer(self, pooled: Tensor, target: int) -> float | None:
        """Return the share of the class's training images that lie closer to it than this image.

        Parameters
        ----------
        pooled : Tensor, shape (K,)
            Last latent of the image, averaged over positions.
        target : int
            Class index.

        Returns
        -------
        float or None
            0 to 1; 1 is further away than every training image. None where too few were seen.
        """
        if not bool(self.precisions[target].any()):
            return None
        projected = (to_float64(pooled.detach().cpu()) - self.mean) @ self.basis
        distance = _mahalanobis(projected[None], self.class_means[target], self.precisions[target])
        return float(to_float64(self.quantiles[target] < distance).mean())

    def fits(self, classes: int, channels: int) -> bool:
        """Tell whether the parts fit each other, and latents of that many channels.

        Parameters
        ----------
        classes : int
            Number of classes.
        channels : int
            K, of the last latent.

        Returns
        -------
        bool
        """
        width = self.basis.shape[-1] if self.basis.ndim else 0
        return (
            all(part.dtype == torch.float64 for part in vars(self).values())
            and self.mean.shape == (channels,)
            and self.basis.shape == (channels, width)
            and self.class_means.shape == (classes, width)
            and self.precisions.shape == (classes, width, width)
            and self.quantiles.shape == (classes, QUANTILES)
        )

    def to_dict(self) -> None:
        """Return nothing: all is in the tensors."""

    def tensors(self) -> dict[str, Tensor]:
        """Return everything by name, ready for safetensors."""
        return dict(vars(self))

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> "ClassDistances":
        """Put together what :meth:`tensors` returned; KeyError where a part is missing."""
        return cls(**{name: tensors[name] for name in cls.__dataclass_fields__})


@dataclass
class PooledLatents:
    """A random sample of pooled latents by class, bounded in memory (reservoir sampling).

    Parameters
    ----------
    classes : int
    seed : int
    """

    classes: int
    seed: int = 0
    kept: list[list[Tensor]] = field(init=False)

    def __post_init__(self) -> None:
        self.kept = [[] for _ in range(self.classes)]
        self._seen = [0] * self.classes
        self._generator = torch.Generator().manual_seed(self.seed)

    def add(self, pooled: Tensor, labels: Tensor) -> None:
        """Take pooled latents (N, K) and class indices (N,).

        Parameters
        ----------
        pooled : Tensor, shape (N, K)
            Last latents, averaged over their positions.
        labels : Tensor, int64, shape (N,)
        """
        for row, label in zip(to_float64(pooled), labels.tolist(), strict=True):
            kept = self.kept[label]
            self._seen[label] += 1
            if len(kept) < LATENTS_PER_CLASS:
                kept.append(row.clone())  # a view would keep the whole batch in memory
                continue
            slot = int(torch.randint(self._seen[label], (), generator=self._generator))
            if slot < LATENTS_PER_CLASS:
                kept[slot] = row.clone()

    def distances(self) -> ClassDistances | None:
        """Fit the distances; None where no class has enough images."""
        present = [torch.stack(kept) for kept in self.kept if kept]
        if not present or max(len(kept) for kept in present) < FEWEST:
            return None
        everything = torch.cat(present)
        mean = everything.mean(0)
        count = min(
            COMPONENTS, everything.shape[1], max(1, len(everything) // IMAGES_PER_COMPONENT)
        )
        basis = torch.linalg.svd(everything - mean, full_matrices=False)[2][:count].T.contiguous()
        means = torch.zeros(self.classes, count, dtype=torch.float64)
        precisions = torch.zeros(self.classes, count, count, dtype=torch.float64)
        quantiles = torch.zeros(self.classes, QUANTILES, dtype=torch.float64)
        steps = torch.linspace(0, 1, QUANTILES, dtype=torch.float64)
        for label, kept in enumerate(self.kept):
            if len(kept) >= FEWEST:
                projected = (torch.stack(kept) - mean) @ basis
                means[label], precisions[label] = _fit_class(projected)
                quantiles[label] = torch.quantile(_measure_halves(projected), steps)
        return ClassDistances(mean, basis, means, precisions, quantiles)


class DistancesCollector:
    """Keeps a sample of pooled latents and fits the distances on it."""

    def __init__(self, classes: int, seed: int) -> None:
        self.pooled = PooledLatents(classes, seed)

    def add(self, batch: LatentBatch) -> None:
        """Take the latents of a batch."""
        self.pooled.add(batch.last.mean((2, 3)).cpu(), batch.labels)

    def finish(self, on_event: OnEvent, cancelled: Cancelled) -> ClassDistances | None:
        """Return the distances; None where no class has enough images.

        Parameters
        ----------
        on_event, cancelled
            Not asked: it is quick.

        Returns
        -------
        ClassDistances or None
        """
        del on_event, cancelled  # quick
        return self.pooled.distances()


@latent_statistic
class ClassDistancesKind(StatisticKind):
    """How far the training images lie from their class."""

    name = "distances"

    def start(self, network: Network, classes: int, seed: int) -> DistancesCollector:
        """Collect for every network."""
        del network
        return DistancesCollector(classes, seed)

    def load(self, tensors: Mapping[str, Tensor], plain: Any) -> ClassDistances | None:
        """Put the tensors together; classifiers of version 0.1.0 have none."""
        del plain
        return ClassDistances.from_tensors(tensors) if tensors else None


def _fit_class(projected: Tensor) -> tuple[Tensor, Tensor]:
    from sklearn.covariance import LedoitWolf  # two seconds: most of scipy

    estimate = LedoitWolf().fit(projected.numpy())
    return torch.from_numpy(estimate.location_), torch.from_numpy(estimate.precision_)


def _measure_halves(projected: Tensor) -> Tensor:
    """Return each image's distance to the class as fitted on the other half of its images."""
    halves = projected[::2], projected[1::2]
    return torch.cat(
        [
            _mahalanobis(halves[0], *_fit_class(halves[1])),
            _mahalanobis(halves[1], *_fit_class(halves[0])),
        ]
    )


def _mahalanobis(projected: Tensor, mean: Tensor, precision: Tensor) -> Tensor:
    centred = projected - mean
    return (centred @ precision * centred).sum(1).clamp(min=0).sqrt()
