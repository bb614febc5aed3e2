"""What is known of a network's latents over the training images, by class.

The means of the last latent are always there. Everything else is a :class:`StatisticKind`: one class
in one file, which says how it is collected, saved and loaded; it is found by its name in
:attr:`LatentStatistics.parts`.
"""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sized
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Protocol, Self

import torch
from torch import Tensor

from napari_why.core.devices import to_float64
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
from napari_why.core.registry import Registry
from napari_why.core.schema import Open, Schema
from napari_why.networks.network import Network
from napari_why.transport import ClassMaps, ClassTransport


@dataclass(frozen=True)
class LatentBatch:
    """What a network makes of a batch of training images.

    Parameters
    ----------
    maps : mapping of str to Tensor, shape (N, K, h, w)
        Feature maps by layer, on the network's device.
    last : Tensor, shape (N, K, h, w)
        Those of the last layer.
    labels, predicted : Tensor, int64, shape (N,)
        True and predicted class indices, on the CPU.
    images : Tensor, shape (N, C, H, W)
        The preprocessed images.
    groups : Tensor, int64, shape (N,), or None
        The well, or other group, of each image.
    """

    maps: Mapping[str, Tensor]
    last: Tensor
    labels: Tensor
    predicted: Tensor
    images: Tensor
    groups: Tensor | None = None


class Statistic(Protocol):
    """A latent statistic, ready to be used and saved."""

    def tensors(self) -> dict[str, Tensor]:
        """Return everything numeric by name."""

    def to_dict(self) -> Any:
        """Return what is not tensors, as JSON types; None where there is nothing."""

    def fits(self, classes: int, channels: int) -> bool:
        """Tell whether the parts fit each other, and last latents of that many channels.

        Parameters
        ----------
        classes : int
            Number of classes.
        channels : int
            Of the last latent.

        Returns
        -------
        bool
        """


class Distances(Statistic, Protocol):
    """The statistic ``distances``, as counterfactuals use it."""

    def share_closer(self, pooled: Tensor, target: int) -> float | None:
        """Return the share of the class's training images that lie closer to it than an image.

        Parameters
        ----------
        pooled : Tensor, shape (K,)
            The image's last latent, averaged over its positions.
        target : int
            Index of the class.

        Returns
        -------
        float or None
            0 to 1; None for a class with too few training images.
        """


class Collector(Protocol):
    """Looks at the latents of all training images, a batch at a time."""

    def add(self, batch: LatentBatch) -> None:
        """Take the latents of a batch."""

    def finish(self, on_event: OnEvent, cancelled: Cancelled) -> Statistic | None:
        """Return the statistic; None where there was not enough for one.

        Parameters
        ----------
        on_event, cancelled
            See :mod:`napari_why.core.events`.

        Returns
        -------
        Statistic or None
        """


class StatisticKind(ABC):
    """A kind of latent statistic: how it is collected and loaded.

    Attributes
    ----------
    name : str
        In :attr:`LatentStatistics.parts`.
    key : str
        Of its JSON part in a saved classifier; the name where empty.
    prefix : str or None
        Of its tensors in a saved classifier; the name and a dot where None.
    schema : Schema
        What its JSON part may be.
    of_all_images : bool
        It takes long, and is fitted only where all training images were seen.
    """

    name: ClassVar[str]
    key: ClassVar[str] = ""
    prefix: ClassVar[str | None] = None
    schema: ClassVar[Schema] = Open()
    of_all_images: ClassVar[bool] = False

    @abstractmethod
    def start(self, network: Network, classes: int, seed: int) -> Collector | None:
        """Return a collector; None where the network has no such statistic.

        Parameters
        ----------
        network : Network
            Frozen.
        classes : int
            Number of classes.
        seed : int
            Of whatever it draws.

        Returns
        -------
        Collector or None
        """

    @abstractmethod
    def load(self, tensors: Mapping[str, Tensor], plain: Any) -> Statistic | None:
        """Put together what was saved: tensors without prefix, and the JSON part.

        Parameters
        ----------
        tensors : mapping of str to Tensor
        plain : object
            As read from JSON; None where nothing was saved.

        Returns
        -------
        Statistic or None
            None where a classifier of an earlier version has none.

        Raises
        ------
        KeyError
            A part is missing.
        """

    def of_network(self, statistic: Any, network: Network, channels: Mapping[str, int]) -> bool:
        """Tell whether a loaded statistic is of that network.

        Parameters
        ----------
        statistic : Statistic
            What :meth:`load` returned.
        network : Network
            A skeleton: its weights must not be looked at.
        channels : mapping of str to int
            Channels of its feature maps, by layer.

        Returns
        -------
        bool
        """
        del statistic, network, channels
        return True

    def is_saved(self, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> bool:
        """Tell whether anything of this statistic was saved.

        Parameters
        ----------
        tensors : mapping of str to Tensor
            Of all latent statistics, with their prefixes.
        plain : mapping
            The JSON parts of all of them.

        Returns
        -------
        bool
        """
        return self.saved_key in plain or bool(_under(self.saved_prefix, tensors))

    @property
    def saved_key(self) -> str:
        """Where the JSON part stands."""
        return self.key or self.name

    @property
    def saved_prefix(self) -> str:
        """What the names of the tensors begin with."""
        return f"{self.name}." if self.prefix is None else self.prefix


STATISTICS: Registry[StatisticKind] = Registry("latent statistic", "napari_why.latent_statistics")


def latent_statistic(kind: type[StatisticKind]) -> type[StatisticKind]:
    """Put the decorated kind into :data:`STATISTICS`."""
    STATISTICS.add(kind())
    return kind


class LatentCollector:
    """Sums over the images seen so far; float64 on the CPU, since some devices have no float64."""

    def __init__(
        self, network: Network, classes: int, seed: int, left_out: Collection[str] = ()
    ) -> None:
        self.network = network
        self.true_counts = torch.zeros(classes, dtype=torch.int64)
        self.predicted_counts = torch.zeros(classes, dtype=torch.int64)
        self.true_sums: Tensor | None = None
        self.predicted_sums: Tensor | None = None
        started = {
            name: kind.start(network, classes, seed)
            for name, kind in STATISTICS.items()
            if name not in left_out
        }
        self.collectors = {name: item for name, item in started.items() if item is not None}

    @torch.no_grad()
    def add(self, images: Tensor, labels: Tensor, groups: Tensor | None = None) -> None:
        """Take preprocessed images (N, C, H, W), class indices (N,) and groups (N,).

        Parameters
        ----------
        images : Tensor, shape (N, C, H, W)
        labels : Tensor, int64, shape (N,)
        groups : Tensor, int64, shape (N,), optional
            The well of each; each image on its own by default.

        Raises
        ------
        DatasetError
            A label is no index of a class.
        """
        classes = len(self.true_counts)
        if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
            raise DatasetError(f"found label {int(labels.max())}; expected 0 to {classes - 1}")
        device = next(self.network.parameters()).device
        maps = self.network.feature_maps(images.to(device))
        last = maps[self.network.layer_names[-1]]
        predicted = self.network.head(last).argmax(dim=1).cpu()
        batch = LatentBatch(maps, last, labels.cpu(), predicted, images, groups)
        self._add_last(to_float64(last.cpu()), batch.labels, predicted)
        for collector in self.collectors.values():
            collector.add(batch)

    def finish(
        self, *, of_all_images: bool, on_event: OnEvent, cancelled: Cancelled
    ) -> dict[str, Statistic]:
        """Return the statistics by name: those that need all images, or the others.

        Parameters
        ----------
        of_all_images : bool
            Which of them, see :attr:`StatisticKind.of_all_images`.
        on_event, cancelled
            See :mod:`napari_why.core.events`.

        Returns
        -------
        dict of str to Statistic
            Without those that came to nothing.
        """
        found = {
            name: collector.finish(on_event, cancelled)
            for name, collector in self.collectors.items()
            if STATISTICS[name].of_all_images == of_all_images
        }
        return {name: part for name, part in found.items() if part is not None}

    def _add_last(self, latents: Tensor, labels: Tensor, predicted: Tensor) -> None:
        if self.true_sums is None or self.predicted_sums is None:
            shape = (len(self.true_counts), *latents.shape[1:])
            self.true_sums = torch.zeros(shape, dtype=torch.float64)
            self.predicted_sums = torch.zeros(shape, dtype=torch.float64)
        self.true_sums.index_add_(0, labels, latents)
        self.predicted_sums.index_add_(0, predicted, latents)
        self.true_counts += torch.bincount(labels, minlength=len(self.true_counts))
        self.predicted_counts += torch.bincount(predicted, minlength=len(self.true_counts))

    def means(self) -> dict[str, Any]:
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
        }


def _means(sums: Tensor, counts: Tensor) -> Tensor:
    return sums / counts.clamp(min=1).reshape(-1, 1, 1, 1)


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
    complete : bool
        False when the pass over the images was cancelled.
    parts : mapping of str to Statistic
        Further statistics by the names of :data:`STATISTICS`, those that there are.
    """

    classes: tuple[str, ...]
    true_means: Tensor
    predicted_means: Tensor
    true_counts: tuple[int, ...]
    predicted_counts: tuple[int, ...]
    complete: bool = True
    parts: Mapping[str, Statistic] = field(default_factory=dict)

    @property
    def stages(self) -> Mapping[str, Any]:
        """A :class:`~napari_why.model.class_moments.StageStatistics` per invertible stage.

        Of stages with at most 256 channels; empty for a network without an inverse.
        """
        found: Any = self.parts.get("stages", {})
        return dict(found)

    @property
    def transport(self) -> ClassTransport | None:
        """Transport maps between the classes at the first stage.

        None for a network without an inverse, with a first latent of too many channels, or after a
        cancelled pass.
        """
        found: Any = self.parts.get("transport")
        return None if found is None else found

    @property
    def pixel_maps(self) -> ClassMaps | None:
        """Maps of pixels between the classes; None as for :attr:`transport`, or of earlier versions."""
        found: Any = self.parts.get("pixel_maps")
        return None if found is None else found

    @property
    def distances(self) -> Distances | None:
        """How far the training images lie from their class; None in classifiers of version 0.1.0."""
        found: Any = self.parts.get("distances")
        return None if found is None else found

    def with_part(self, name: str, part: Statistic | None) -> Self:
        """Return the same with another statistic of that name, or without one.

        Parameters
        ----------
        name : str
            In :data:`STATISTICS`.
        part : Statistic or None

        Returns
        -------
        LatentStatistics
        """
        # in its place: a classifier that was loaded is saved in the same order
        parts = {**self.parts, name: part}
        kept = {key: value for key, value in parts.items() if value is not None}
        return replace(self, parts=kept)

    @classmethod
    def collect(
        cls,
        network: Network,
        batches: Iterable[tuple[Tensor, Tensor]],
        classes: tuple[str, ...],
        *,
        seed: int = 0,
        groups: Tensor | None = None,
        transport: bool = True,
        left_out: Collection[str] = (),
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
        groups : Tensor, int64, shape (N,), optional
            The well, or other group, of each image, in the order of the batches.
        transport : bool
            Whether to fit what takes seconds too: the transport between the classes.
        left_out : collection of str
            Names of statistics that are not wanted.
        on_event, cancelled
            See :mod:`napari_why.core.events`. Cancelled, they are of the images seen by then.

        Returns
        -------
        LatentStatistics

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
        collector = LatentCollector(network, len(classes), seed, left_out)
        complete, seen = True, 0
        for done, (images, labels) in enumerate(batches, start=1):
            own = None if groups is None else groups[seen : seen + len(labels)]
            collector.add(images, labels, own)
            seen += len(labels)
            on_event(Advanced(done))
            if cancelled():
                complete = False
                break
        on_event(Finished(partial=not complete))
        parts = collector.finish(of_all_images=False, on_event=on_event, cancelled=cancelled)
        if complete and transport:
            parts |= collector.finish(of_all_images=True, on_event=on_event, cancelled=cancelled)
        return cls(classes=tuple(classes), complete=complete, parts=parts, **collector.means())

    @property
    def never_predicted(self) -> tuple[str, ...]:
        """Classes whose predicted-label mean is the true-label mean for want of predictions."""
        return tuple(
            name
            for name, count in zip(self.classes, self.predicted_counts, strict=True)
            if not count
        )

    def of_network(self, network: Network, channels: Mapping[str, int]) -> bool:
        """Tell whether all parts are of that network; see :meth:`StatisticKind.of_network`.

        Parameters
        ----------
        network : Network
            A skeleton will do: its weights are not looked at.
        channels : mapping of str to int
            Channels of its feature maps, by layer.

        Returns
        -------
        bool
        """
        return all(
            STATISTICS[name].of_network(part, network, channels)
            for name, part in self.parts.items()
        )

    def tensors(self) -> dict[str, Tensor]:
        """Return everything numeric by name, contiguous and on the CPU, ready for safetensors."""
        named = {"true_means": self.true_means, "predicted_means": self.predicted_means}
        for name, part in self.parts.items():
            prefix = STATISTICS[name].saved_prefix
            named |= {prefix + key: tensor for key, tensor in part.tensors().items()}
        return {name: tensor.detach().cpu().contiguous() for name, tensor in named.items()}

    def to_dict(self) -> dict[str, Any]:
        """Return the part that is not tensors, as JSON types."""
        plain = {
            "classes": list(self.classes),
            "true_counts": list(self.true_counts),
            "predicted_counts": list(self.predicted_counts),
            "never_predicted": list(self.never_predicted),
            "complete": self.complete,
        }
        described = {
            STATISTICS[name].saved_key: part.to_dict() for name, part in self.parts.items()
        }
        return plain | {key: value for key, value in described.items() if value is not None}

    @classmethod
    def from_parts(
        cls, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]
    ) -> "LatentStatistics":
        """Put together what :meth:`tensors` and :meth:`to_dict` took apart.

        Parameters
        ----------
        tensors : mapping of str to Tensor
        plain : mapping
            As read from JSON, or as :meth:`to_dict` made it.

        Returns
        -------
        LatentStatistics

        Raises
        ------
        ModelFileError
            A part is missing or does not have the shape that the other parts ask for.
        """
        try:
            loaded = {
                name: kind.load(_under(kind.saved_prefix, tensors), plain.get(kind.saved_key))
                for name, kind in STATISTICS.items()
                if kind.is_saved(tensors, plain)
            }
            made = cls(
                tuple(plain["classes"]),
                tensors["true_means"],
                tensors["predicted_means"],
                tuple(plain["true_counts"]),
                tuple(plain["predicted_counts"]),
                bool(plain["complete"]),
                {name: part for name, part in loaded.items() if part is not None},
            )
        except KeyError as error:
            raise ModelFileError(f"latent statistics: {error} is missing") from error
        _check_shapes(made)
        if plain.get("never_predicted", []) != list(made.never_predicted):
            raise ModelFileError("latent statistics: the counts contradict never_predicted")
        _warn_of_others(tensors, plain)
        return made


def _warn_of_others(tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> None:
    """Tell of statistics that were saved by a package which is not installed here."""
    known = {kind.saved_prefix.removesuffix(".") for kind in STATISTICS.values()}
    for kind in STATISTICS.values():
        if not kind.saved_prefix:  # its tensors are named by the keys of its JSON part
            known |= set(plain.get(kind.saved_key) or {})
    found = {name.rpartition(".")[0].partition(".")[0] for name in tensors if "." in name}
    others = sorted(found - {name.partition(".")[0] for name in known})
    if others:
        warnings.warn(
            f"latent statistics: {', '.join(others)} left out: no installed package knows what it is",
            stacklevel=2,
        )


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
    fits &= statistics.true_means.dtype == statistics.predicted_means.dtype == torch.float32
    fits &= all(part.fits(count, last[1]) for part in statistics.parts.values())
    if not fits:
        raise ModelFileError(f"latent statistics: the parts do not fit {count} classes")
