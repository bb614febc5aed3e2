"""Means and covariances of channel vectors, merged batch by batch."""

from collections.abc import Iterable, Mapping, Sized
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from sklearn.covariance import LedoitWolf
from torch import Tensor

from napari_why.core.errors import DatasetError, ModelFileError, ParameterError
from napari_why.core.events import (
    Advanced,
    Cancelled,
    Finished,
    OnEvent,
    Started,
    ignore_event,
    never_cancelled,
)
from napari_why.networks.network import InvertibleNetwork, Network
from napari_why.transport import ClassTransport, LatentCrops, LatentLayout, fit_class_transport


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


LATENTS_PER_CLASS = 512
COMPONENTS = 16
QUANTILES = 101
FEWEST = 8


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
        projected = (pooled.detach().cpu().double() - self.mean) @ self.basis
        distance = _mahalanobis(projected[None], self.class_means[target], self.precisions[target])
        return float((self.quantiles[target] < distance).double().mean())

    def fits(self, classes: int, channels: int) -> bool:
        """Tell whether the parts fit each other, and latents of that many channels."""
        width = self.basis.shape[-1]
        return (
            self.mean.shape == (channels,)
            and self.basis.shape == (channels, width)
            and self.class_means.shape == (classes, width)
            and self.precisions.shape == (classes, width, width)
            and self.quantiles.shape == (classes, QUANTILES)
        )

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
        """Take pooled latents (N, K) and class indices (N,)."""
        for row, label in zip(pooled.double(), labels.tolist(), strict=True):
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
        count = min(COMPONENTS, everything.shape[1], max(1, len(everything) // 8))
        basis = torch.linalg.svd(everything - mean, full_matrices=False)[2][:count].T.contiguous()
        means = torch.zeros(self.classes, count, dtype=torch.float64)
        precisions = torch.zeros(self.classes, count, count, dtype=torch.float64)
        quantiles = torch.zeros(self.classes, QUANTILES, dtype=torch.float64)
        steps = torch.linspace(0, 1, QUANTILES, dtype=torch.float64)
        for label, kept in enumerate(self.kept):
            if len(kept) >= FEWEST:
                projected = (torch.stack(kept) - mean) @ basis
                means[label], precisions[label] = _fitted(projected)
                quantiles[label] = torch.quantile(_cross_fitted(projected), steps)
        return ClassDistances(mean, basis, means, precisions, quantiles)


def _fitted(projected: Tensor) -> tuple[Tensor, Tensor]:
    estimate = LedoitWolf().fit(projected.numpy())
    return torch.from_numpy(estimate.location_), torch.from_numpy(estimate.precision_)


def _cross_fitted(projected: Tensor) -> Tensor:
    """Return each image's distance to the class as fitted on the other half of its images."""
    halves = projected[::2], projected[1::2]
    return torch.cat(
        [_mahalanobis(halves[0], *_fitted(halves[1])), _mahalanobis(halves[1], *_fitted(halves[0]))]
    )


def _mahalanobis(projected: Tensor, mean: Tensor, precision: Tensor) -> Tensor:
    centred = projected - mean
    return (centred @ precision * centred).sum(1).clamp(min=0).sqrt()


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


TRANSPORT, DISTANCES = "transport.", "distances."


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
    transport : ClassTransport or None
        Transport maps between the classes at the first stage; None for a network without an
        inverse, with a first latent of too many channels, or after a cancelled pass.
    distances : ClassDistances or None
        How far the training images lie from their class; None in classifiers of version 0.1.0.
    """

    classes: tuple[str, ...]
    true_means: Tensor
    predicted_means: Tensor
    true_counts: tuple[int, ...]
    predicted_counts: tuple[int, ...]
    stages: dict[str, StageStatistics]
    complete: bool = True
    transport: ClassTransport | None = None
    distances: ClassDistances | None = None

    @classmethod
    def fitted(
        cls,
        network: Network,
        batches: Iterable[tuple[Tensor, Tensor]],
        classes: tuple[str, ...],
        *,
        seed: int = 0,
        transport: bool = True,
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
        seed : int
            Of the sample of latents that the transport is fitted on.
        transport : bool
            Whether to fit the transport between the classes, which takes seconds.

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
        collector = LatentCollector(network, len(classes), seed)
        complete = True
        for done, (images, labels) in enumerate(batches, start=1):
            collector.add(images, labels)
            on_event(Advanced(done))
            if cancelled():
                complete = False
                break
        on_event(Finished(partial=not complete))
        statistics = cls(classes=tuple(classes), complete=complete, **collector.parts())
        if not (complete and transport):
            return statistics
        maps = collector.transport(seed, on_event, cancelled)
        return replace(statistics, transport=maps)

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
        for prefix, part in ((TRANSPORT, self.transport), (DISTANCES, self.distances)):
            if part is not None:
                named |= {prefix + name: tensor for name, tensor in part.tensors().items()}
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
            "transport": self.transport.to_dict() if self.transport else None,
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
                _transport(tensors, plain),
                _distances(tensors),
            )
        except KeyError as error:
            raise ModelFileError(f"latent statistics: {error} is missing") from error
        _check_shapes(made)
        return made


def _transport(tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> ClassTransport | None:
    described = plain.get("transport")  # classifiers of version 0.1.0 have none
    return (
        None
        if described is None
        else ClassTransport.from_parts(_under(TRANSPORT, tensors), described)
    )


def _distances(tensors: Mapping[str, Tensor]) -> ClassDistances | None:
    parts = _under(DISTANCES, tensors)
    return ClassDistances.from_tensors(parts) if parts else None


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }


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
    transport, distances = statistics.transport, statistics.distances
    fits &= transport is None or transport.evidence.classes == count
    fits &= distances is None or distances.fits(count, last[1])
    if not fits:
        raise ModelFileError(f"latent statistics: the parts do not fit {count} classes")
