"""Means and covariances of a network's latents by class, collected in one pass over the images."""

from collections.abc import Iterable, Mapping, Sized
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from napari_why.errors import DatasetError, ModelFileError, ParameterError
from napari_why.events import (
    Advanced,
    Cancelled,
    Finished,
    OnEvent,
    Started,
    ignore_event,
    never_cancelled,
)
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
    """

    means: Tensor
    covariances: Tensor
    positions: tuple[int, ...]


@dataclass(frozen=True)
class LatentStatistics:
    """Class statistics of a network's latents over the training images.

    Parameters
    ----------
    classes : tuple of str
        Names along the first axis of everything below.
    true_means : Tensor, float32, shape (classes, K, h, w)
        Mean last latent of the images that belong to a class; zero where there are none.
    predicted_means : Tensor, float32, shape (classes, K, h, w)
        Mean last latent of the images that are *predicted* to belong to a class. Where the
        network never predicts a class, the mean by true label stands in (`never_predicted`).
    true_counts, predicted_counts : tuple of int
        Images per class, by true and by predicted label.
    stages : dict of str to StageStatistics
        Per invertible stage with at most 256 channels; empty for a network without an inverse.
    complete : bool
        False when the pass over the images was cancelled.
    """

    classes: tuple[str, ...]
    true_means: Tensor
    predicted_means: Tensor
    true_counts: tuple[int, ...]
    predicted_counts: tuple[int, ...]
    stages: dict[str, StageStatistics]
    complete: bool = True

    @classmethod
    def fitted(
        cls,
        network: Network,
        batches: Iterable[tuple[Tensor, Tensor]],
        classes: tuple[str, ...],
        *,
        on_event: OnEvent = ignore_event,
        cancelled: Cancelled = never_cancelled,
    ) -> "LatentStatistics":
        """Collect the statistics in one pass; memory does not grow with the number of images.

        Parameters
        ----------
        network : Network
            Frozen (:meth:`Network.freeze`); left as it is.
        batches : iterable of (Tensor (N, C, H, W), Tensor int64 (N,))
            Preprocessed images, not augmented, and their class indices.
        classes : tuple of str
            Class names by index.

        Raises
        ------
        ParameterError
            The network is in training mode.
        DatasetError
            There is not a single image, or a label has no class name.
        """
        if network.training:
            raise ParameterError("network: found training mode; call network.freeze() first")
        on_event(Started("latent statistics", len(batches) if isinstance(batches, Sized) else None))
        collector = _Collector(network, len(classes))
        complete = True
        for done, (images, labels) in enumerate(batches, start=1):
            collector.add(images, labels)
            on_event(Advanced(done))
            if cancelled():
                complete = False
                break
        on_event(Finished(partial=not complete))
        return collector.statistics(tuple(classes), complete)

    @property
    def never_predicted(self) -> tuple[str, ...]:
        """Classes whose predicted-label mean is the true-label mean for want of predictions."""
        return tuple(
            name
            for name, count in zip(self.classes, self.predicted_counts, strict=True)
            if not count
        )

    def tensors(self) -> dict[str, Tensor]:
        """Return everything numeric by name, contiguous and on the CPU, ready for safetensors."""
        named = {"true_means": self.true_means, "predicted_means": self.predicted_means}
        for stage, statistics in self.stages.items():
            named[f"{stage}.means"] = statistics.means
            named[f"{stage}.covariances"] = statistics.covariances
        return {name: tensor.detach().cpu().contiguous() for name, tensor in named.items()}

    def to_dict(self) -> dict[str, Any]:
        """Return the part that is not tensors, as JSON types."""
        return {
            "classes": list(self.classes),
            "true_counts": list(self.true_counts),
            "predicted_counts": list(self.predicted_counts),
            "never_predicted": list(self.never_predicted),
            "positions": {name: list(stage.positions) for name, stage in self.stages.items()},
            "complete": self.complete,
        }

    @classmethod
    def from_parts(
        cls, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]
    ) -> "LatentStatistics":
        """Put together what :meth:`tensors` and :meth:`to_dict` took apart.

        Raises
        ------
        ModelFileError
            A part is missing or does not have the shape that the other parts ask for.
        """
        try:
            stages = {
                name: StageStatistics(
                    tensors[f"{name}.means"], tensors[f"{name}.covariances"], tuple(positions)
                )
                for name, positions in plain["positions"].items()
            }
            made = cls(
                tuple(plain["classes"]),
                tensors["true_means"],
                tensors["predicted_means"],
                tuple(plain["true_counts"]),
                tuple(plain["predicted_counts"]),
                stages,
                bool(plain["complete"]),
            )
        except KeyError as error:
            raise ModelFileError(f"latent statistics: {error} is missing") from error
        _check_shapes(made)
        return made


class _Moments:
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
        return self.scatter / max(self.count, 1)


class _Collector:
    """Sums over the images seen so far; float64 on the CPU, since some devices have no float64."""

    def __init__(self, network: Network, classes: int) -> None:
        self.network = network
        self.true_counts = torch.zeros(classes, dtype=torch.int64)
        self.predicted_counts = torch.zeros(classes, dtype=torch.int64)
        self.true_sums: Tensor | None = None
        self.predicted_sums: Tensor | None = None
        self.moments: dict[str, list[_Moments]] = {}

    @torch.no_grad()
    def add(self, images: Tensor, labels: Tensor) -> None:
        classes = len(self.true_counts)
        if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
            raise DatasetError(f"found label {int(labels.max())}; expected 0 to {classes - 1}")
        device = next(self.network.parameters()).device
        maps = self.network.feature_maps(images.to(device))
        last = maps[self.network.layer_names[-1]]
        predicted = self.network.head(last).argmax(dim=1).cpu()
        self._add_last(last.cpu().double(), labels.cpu(), predicted)
        for stage in self._stages(maps):
            self._add_stage(stage, maps[stage].cpu().double(), labels.cpu())

    def _stages(self, maps: Mapping[str, Tensor]) -> list[str]:
        if not isinstance(self.network, InvertibleNetwork):
            return []
        return [
            name for name in self.network.stage_names if maps[name].shape[1] <= LARGEST_COVARIANCE
        ]

    def _add_last(self, latents: Tensor, labels: Tensor, predicted: Tensor) -> None:
        if self.true_sums is None or self.predicted_sums is None:
            shape = (len(self.true_counts), *latents.shape[1:])
            self.true_sums = torch.zeros(shape, dtype=torch.float64)
            self.predicted_sums = torch.zeros(shape, dtype=torch.float64)
        self.true_sums.index_add_(0, labels, latents)
        self.predicted_sums.index_add_(0, predicted, latents)
        self.true_counts += torch.bincount(labels, minlength=len(self.true_counts))
        self.predicted_counts += torch.bincount(predicted, minlength=len(self.true_counts))

    def _add_stage(self, stage: str, latents: Tensor, labels: Tensor) -> None:
        channels = latents.shape[1]
        by_class = self.moments.setdefault(stage, [_Moments(channels) for _ in self.true_counts])
        for label in sorted(set(labels.tolist())):
            vectors = latents[labels == label].permute(0, 2, 3, 1).reshape(-1, channels)
            by_class[label].add(vectors)

    def statistics(self, classes: tuple[str, ...], complete: bool) -> LatentStatistics:
        if self.true_sums is None or self.predicted_sums is None:
            raise DatasetError("latent statistics: found no image; expected at least one")
        true_means = _means(self.true_sums, self.true_counts)
        predicted_means = _means(self.predicted_sums, self.predicted_counts)
        empty = self.predicted_counts == 0
        predicted_means[empty] = true_means[empty]
        return LatentStatistics(
            classes,
            true_means.float(),
            predicted_means.float(),
            tuple(self.true_counts.tolist()),
            tuple(self.predicted_counts.tolist()),
            {name: _stage_statistics(moments) for name, moments in self.moments.items()},
            complete,
        )


def _means(sums: Tensor, counts: Tensor) -> Tensor:
    return sums / counts.clamp(min=1).reshape(-1, 1, 1, 1)


def _stage_statistics(moments: list[_Moments]) -> StageStatistics:
    return StageStatistics(
        torch.stack([item.mean for item in moments]),
        torch.stack([item.covariance for item in moments]),
        tuple(item.count for item in moments),
    )


def _check_shapes(statistics: LatentStatistics) -> None:
    count = len(statistics.classes)
    last = statistics.true_means.shape
    fits = len(last) == 4 and last[0] == count and statistics.predicted_means.shape == last
    fits &= len(statistics.true_counts) == len(statistics.predicted_counts) == count
    for stage in statistics.stages.values():
        channels = stage.means.shape[-1]
        fits &= stage.means.shape == (count, channels)
        fits &= stage.covariances.shape == (count, channels, channels)
        fits &= len(stage.positions) == count
    if not fits:
        raise ModelFileError(f"latent statistics: the parts do not fit {count} classes")
