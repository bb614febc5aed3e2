"""Latent statistic ``stages``: where each class lies in the latent of every invertible stage."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from napari_why.core.devices import to_float64
from napari_why.core.events import Cancelled, OnEvent
from napari_why.core.schema import ListOf, MapOf, Whole
from napari_why.model.latent_statistics import LatentBatch, StatisticKind, latent_statistic
from napari_why.networks.network import InvertibleNetwork, Network

# A covariance of K channels costs K^2 numbers per class and an eigendecomposition of K^3.
LARGEST_COVARIANCE = 256


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
    predicted_means : Tensor, float64, shape (classes, K), or None
        Mean channel vector of the images that are *predicted* to belong to a class; that by true label
        where none is. None but for a last stage that layers of a head follow: of the last layer
        :class:`~napari_why.model.latent_statistics.LatentStatistics` keeps it by position.
    """

    means: Tensor
    covariances: Tensor
    positions: tuple[int, ...]
    predicted_means: Tensor | None = None


class ClassMoments(dict[str, StageStatistics]):
    """Statistics by stage; no stage of a network without an inverse has any."""

    def tensors(self) -> dict[str, Tensor]:
        """Return everything numeric by name."""
        return {
            f"{stage}.{name}": tensor
            for stage, statistics in self.items()
            for name in ("means", "covariances", "predicted_means")
            if (tensor := getattr(statistics, name)) is not None
        }

    def to_dict(self) -> dict[str, list[int]]:
        """Return the number of samples by stage and class."""
        return {stage: list(statistics.positions) for stage, statistics in self.items()}

    def fits(self, classes: int, channels: int) -> bool:
        """Tell whether the parts fit each other and that many classes.

        Parameters
        ----------
        classes : int
            Number of classes.
        channels : int
            Of the last latent; they do not matter.

        Returns
        -------
        bool
        """
        del channels  # those of the last stage; each stage has its own
        return all(
            stage.means.ndim == 2
            and stage.means.shape[0] == classes
            and stage.covariances.shape == (classes, *stage.means.shape[-1:] * 2)
            and len(stage.positions) == classes
            and stage.means.dtype == stage.covariances.dtype == torch.float64
            and (
                stage.predicted_means is None
                or (stage.predicted_means.shape == stage.means.shape)
                & (stage.predicted_means.dtype == torch.float64)
            )
            for stage in self.values()
        )


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


class MomentsCollector:
    """Merges the latents of all stages batch by batch, in float64 on the CPU."""

    def __init__(self, stages: Sequence[str], classes: int, by_prediction: str | None) -> None:
        self._stages, self._classes = stages, classes
        self._by_prediction = by_prediction  # the stage whose means by predicted label are kept too
        self._predicted_sums: Tensor | None = None
        self._predicted_counts = torch.zeros(classes, dtype=torch.float64)
        self.moments: dict[str, list[Moments]] = {}

    def add(self, batch: LatentBatch) -> None:
        """Take the latents of a batch."""
        for stage in self._stages:
            if batch.maps[stage].shape[1] > LARGEST_COVARIANCE:
                continue
            latents = to_float64(batch.maps[stage].cpu())
            self._add_stage(stage, latents, batch.labels)
            if stage == self._by_prediction:
                self._add_predicted(latents.mean(dim=(2, 3)), batch.predicted)

    def finish(self, on_event: OnEvent, cancelled: Cancelled) -> ClassMoments:
        """Return the statistics of the stages that were not too wide.

        Parameters
        ----------
        on_event, cancelled
            Not asked: it is quick.

        Returns
        -------
        ClassMoments
        """
        del on_event, cancelled  # quick
        return ClassMoments(
            (
                stage,
                StageStatistics(
                    torch.stack([item.mean for item in moments]),
                    torch.stack([item.covariance for item in moments]),
                    tuple(item.count for item in moments),
                    self._predicted_means(moments) if stage == self._by_prediction else None,
                ),
            )
            for stage, moments in self.moments.items()
        )

    def _add_predicted(self, pooled: Tensor, predicted: Tensor) -> None:
        if self._predicted_sums is None:
            self._predicted_sums = pooled.new_zeros(self._classes, pooled.shape[1])
        self._predicted_sums.index_add_(0, predicted, pooled)
        self._predicted_counts += torch.bincount(predicted, minlength=self._classes)

    def _predicted_means(self, moments: Sequence[Moments]) -> Tensor:
        by_label = torch.stack([item.mean for item in moments])
        if self._predicted_sums is None:
            return by_label
        counts = self._predicted_counts.reshape(-1, 1)
        return torch.where(counts > 0, self._predicted_sums / counts.clamp(min=1), by_label)

    def _add_stage(self, stage: str, latents: Tensor, labels: Tensor) -> None:
        channels = latents.shape[1]
        by_class = self.moments.setdefault(stage, [Moments(channels) for _ in range(self._classes)])
        for label in sorted(set(labels.tolist())):
            vectors = latents[labels == label].permute(0, 2, 3, 1).reshape(-1, channels)
            by_class[label].add(vectors)


@latent_statistic
class ClassMomentsKind(StatisticKind):
    """Means and covariances of channel vectors by class and stage."""

    name = "stages"
    key = "positions"
    prefix = ""  # tensors are named after their stages alone
    schema = MapOf(ListOf(Whole()))

    def start(self, network: Network, classes: int, seed: int) -> MomentsCollector:
        """Collect for every network; one without an inverse has no stages."""
        del seed
        if not isinstance(network, InvertibleNetwork):
            return MomentsCollector((), classes, None)
        last = network.stage_names[-1]
        return MomentsCollector(
            network.stage_names, classes, None if last == network.layer_names[-1] else last
        )

    def load(self, tensors: Mapping[str, Tensor], plain: Any) -> ClassMoments:
        """Put the stages together."""
        if plain is None:
            raise KeyError(self.saved_key)
        return ClassMoments(
            (
                stage,
                StageStatistics(
                    tensors[f"{stage}.means"],
                    tensors[f"{stage}.covariances"],
                    tuple(positions),
                    tensors.get(f"{stage}.predicted_means"),
                ),
            )
            for stage, positions in plain.items()
        )

    def of_network(
        self, statistic: ClassMoments, network: Network, channels: Mapping[str, int]
    ) -> bool:
        """Tell whether the stages are the network's, with its channels."""
        stages = network.stage_names if isinstance(network, InvertibleNetwork) else ()
        return all(
            name in stages and stage.means.shape[1] == channels[name]
            for name, stage in statistic.items()
        )
