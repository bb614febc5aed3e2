"""Sums, samples and crops of a network's latents, collected image by image."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from napari_why.classifier.class_distances import PooledLatents
from napari_why.classifier.stage_statistics import Moments, stage_statistics
from napari_why.errors import DatasetError
from napari_why.events import Cancelled, OnEvent
from napari_why.latent_transport import (
    ClassTransport,
    LatentCrops,
    LatentLayout,
    fit_class_transport,
)
from napari_why.networks.network import InvertibleNetwork, Network

# A covariance of K channels costs K^2 numbers per class and an eigendecomposition of K^3.
LARGEST_COVARIANCE = 256
# Transport looks at 3 x 3 positions of the first latent's channels together.
LARGEST_TRANSPORTED = 32


class LatentCollector:
    """Sums over the images seen so far; float64 on the CPU, since some devices have no float64."""

    def __init__(self, network: Network, classes: int, seed: int) -> None:
        self.network = network
        self.crops = LatentCrops(classes, seed)
        self.pooled = PooledLatents(classes, seed)
        self.true_counts = torch.zeros(classes, dtype=torch.int64)
        self.predicted_counts = torch.zeros(classes, dtype=torch.int64)
        self.true_sums: Tensor | None = None
        self.predicted_sums: Tensor | None = None
        self.moments: dict[str, list[Moments]] = {}

    @torch.no_grad()
    def add(self, images: Tensor, labels: Tensor) -> None:
        """Take preprocessed images (N, C, H, W) and class indices (N,)."""
        classes = len(self.true_counts)
        if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
            raise DatasetError(f"found label {int(labels.max())}; expected 0 to {classes - 1}")
        device = next(self.network.parameters()).device
        maps = self.network.feature_maps(images.to(device))
        last = maps[self.network.layer_names[-1]]
        predicted = self.network.head(last).argmax(dim=1).cpu()
        self._add_last(last.cpu().double(), labels.cpu(), predicted)
        self.pooled.add(last.mean((2, 3)).cpu(), labels.cpu())
        for stage in self._stages(maps):
            self._add_stage(stage, maps[stage].cpu().double(), labels.cpu())
        first = self._transported(maps)
        if first is not None:
            self.crops.add(maps[first], labels.cpu())

    def _stages(self, maps: Mapping[str, Tensor]) -> list[str]:
        if not isinstance(self.network, InvertibleNetwork):
            return []
        return [
            name for name in self.network.stage_names if maps[name].shape[1] <= LARGEST_COVARIANCE
        ]

    def _transported(self, maps: Mapping[str, Tensor]) -> str | None:
        """Return the stage whose latent is transported, where the network has one."""
        if not isinstance(self.network, InvertibleNetwork):
            return None
        first = self.network.stage_names[0]
        return first if maps[first].shape[1] <= LARGEST_TRANSPORTED else None

    def transport(
        self, seed: int, on_event: OnEvent, cancelled: Cancelled
    ) -> ClassTransport | None:
        """Fit the transport between the classes on the crops that were kept."""
        if not isinstance(self.network, InvertibleNetwork) or not any(self.crops.seen):
            return None
        first = self.network.stage_names[0]
        channels = next(len(crops[0]) for crops in self.crops.crops if crops)
        layout = LatentLayout(
            channels,
            self.network.locked_latent_channels(first),
            channels // self.network.input_channels,
        )
        return fit_class_transport(
            self.crops, layout, first, seed=seed, on_event=on_event, cancelled=cancelled
        )

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
        by_class = self.moments.setdefault(stage, [Moments(channels) for _ in self.true_counts])
        for label in sorted(set(labels.tolist())):
            vectors = latents[labels == label].permute(0, 2, 3, 1).reshape(-1, channels)
            by_class[label].add(vectors)

    def parts(self) -> dict[str, Any]:
        """Return what was collected, by the names of the fields of LatentStatistics.

        Raises
        ------
        DatasetError
            There was not a single image.
        """
        if self.true_sums is None or self.predicted_sums is None:
            raise DatasetError("latent statistics: found no image; expected at least one")
        true_means = _means(self.true_sums, self.true_counts)
        predicted_means = _means(self.predicted_sums, self.predicted_counts)
        empty = self.predicted_counts == 0
        predicted_means[empty] = true_means[empty]
        return {
            "true_means": true_means.float(),
            "predicted_means": predicted_means.float(),
            "true_counts": tuple(self.true_counts.tolist()),
            "predicted_counts": tuple(self.predicted_counts.tolist()),
            "stages": {name: stage_statistics(moments) for name, moments in self.moments.items()},
            "distances": self.pooled.distances(),
        }


def _means(sums: Tensor, counts: Tensor) -> Tensor:
    return sums / counts.clamp(min=1).reshape(-1, 1, 1, 1)
