"""Means and covariances of a network's latents by class, collected in one pass over the images."""

from collections.abc import Iterable, Mapping, Sized
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from napari_why.classifier.class_distances import ClassDistances
from napari_why.classifier.latent_collector import LatentCollector
from napari_why.classifier.stage_statistics import StageStatistics
from napari_why.errors import ModelFileError, ParameterError
from napari_why.events import (
    Advanced,
    Cancelled,
    Finished,
    OnEvent,
    Started,
    ignore_event,
    never_cancelled,
)
from napari_why.latent_transport import ClassTransport
from napari_why.networks.network import Network

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
