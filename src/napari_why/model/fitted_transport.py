"""Latent statistics ``transport`` and ``pixel_maps``: how images get from class to class."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from napari_why.core.events import Cancelled, OnEvent, ignore_event, never_cancelled
from napari_why.core.schema import Maybe
from napari_why.model.latent_statistics import LatentBatch, StatisticKind, latent_statistic
from napari_why.networks.network import InvertibleNetwork, Network
from napari_why.transport import (
    ClassMaps,
    ClassTransport,
    LatentCrops,
    LatentLayout,
    Mass,
    fit_class_transport,
)
from napari_why.transport.class_maps import CLASS_MAPS, LARGEST_PIXEL_CROP, fit_class_maps
from napari_why.transport.class_transport import TRANSPORT
from napari_why.transport.fit import refit_class_transport

# Transport looks at 3 x 3 positions of the first latent's channels together.
LARGEST_TRANSPORTED = 32


class TransportCollector:
    """Keeps crops of the first latents and fits the transport on them."""

    def __init__(self, network: InvertibleNetwork, classes: int, seed: int) -> None:
        self._network, self._seed = network, seed
        self._stage = network.stage_names[0]
        self.crops = LatentCrops(classes, seed)

    def add(self, batch: LatentBatch) -> None:
        """Take the latents of a batch, unless they have too many channels."""
        if batch.maps[self._stage].shape[1] <= LARGEST_TRANSPORTED:
            self.crops.add(batch.maps[self._stage], batch.labels)

    def finish(self, on_event: OnEvent, cancelled: Cancelled) -> ClassTransport | None:
        """Fit the transport between the classes on the crops that were kept.

        Parameters
        ----------
        on_event, cancelled
            See :mod:`napari_why.core.events`.

        Returns
        -------
        ClassTransport or None
            None without crops of two classes, or when cancelled.
        """
        if not any(self.crops.seen):
            return None
        channels = next(len(crops[0]) for crops in self.crops.crops if crops)
        layout = LatentLayout(
            channels,
            self._network.locked_latent_channels(self._stage),
            channels // self._network.input_channels,
        )
        return fit_class_transport(
            self.crops,
            layout,
            self._stage,
            seed=self._seed,
            on_event=on_event,
            cancelled=cancelled,
        )


@torch.no_grad()
def refit_transport(
    network: InvertibleNetwork,
    transport: ClassTransport,
    batches: Iterable[tuple[Tensor, Tensor]],
    wanted: Collection[tuple[int, int, Mass]],
    *,
    groups: Tensor | None = None,
    seed: int = 0,
    on_event: OnEvent = ignore_event,
    cancelled: Cancelled = never_cancelled,
) -> ClassTransport | None:
    """Fit some maps of a transport anew on training images drawn with replacement, group by group.

    Parameters
    ----------
    network : InvertibleNetwork
        Frozen.
    transport : ClassTransport
        Between its latents.
    batches : iterable of (Tensor (N, C, H, W), Tensor (N,))
        Preprocessed training images and class indices, in the order of their groups.
    wanted : collection of (source, target, mass)
        Which maps.
    groups : Tensor, int64, shape (images,), optional
        Each image on its own by default.
    seed : int
        Of crops and draws.
    on_event, cancelled
        See :mod:`napari_why.core.events`.

    Returns
    -------
    ClassTransport or None
        With the replicates; None when cancelled.
    """
    crops, seen = LatentCrops(transport.evidence.classes, seed), 0
    device = next(network.parameters()).device
    for images, labels in batches:
        if cancelled():
            return None
        own = None if groups is None else groups[seen : seen + len(labels)]
        crops.add(network.encode_to(images.to(device), transport.stage), labels, own)
        seen += len(labels)
    return refit_class_transport(
        transport, crops, wanted, seed=seed, on_event=on_event, cancelled=cancelled
    )


@latent_statistic
class FittedTransportKind(StatisticKind):
    """Transport maps between the classes; seconds of work, on all training images or not at all."""

    name = "transport"
    schema = Maybe(TRANSPORT)
    of_all_images = True

    def start(self, network: Network, classes: int, seed: int) -> TransportCollector | None:
        """Collect for a network with an inverse."""
        if not isinstance(network, InvertibleNetwork):
            return None
        return TransportCollector(network, classes, seed)

    def load(self, tensors: Mapping[str, Tensor], plain: Any) -> ClassTransport | None:
        """Put the maps together; classifiers of version 0.1.0 have none."""
        return None if plain is None else ClassTransport.from_parts(tensors, plain)

    def of_network(
        self, statistic: ClassTransport, network: Network, channels: Mapping[str, int]
    ) -> bool:
        """Tell whether it is of the network's first stage, with its channels and its lock."""
        if not isinstance(network, InvertibleNetwork):
            return False
        stage, layout = network.stage_names[0], statistic.layout
        found = (statistic.stage, layout.channels, layout.locked, layout.phases)
        return found == (
            stage,
            channels[stage],
            network.locked_latent_channels(stage),
            channels[stage] // network.input_channels,
        )


class PixelMapsCollector:
    """Keeps crops of the images and fits maps of pixels on them."""

    def __init__(self, network: InvertibleNetwork, classes: int, seed: int) -> None:
        self._locked, self._seed = network.locked, seed
        self.crops = LatentCrops(classes, seed, LARGEST_PIXEL_CROP)

    def add(self, batch: LatentBatch) -> None:
        """Take the images of a batch."""
        self.crops.add(batch.images, batch.labels, batch.groups)

    def finish(self, on_event: OnEvent, cancelled: Cancelled) -> ClassMaps | None:
        """Fit the maps between the classes on the crops that were kept.

        Parameters
        ----------
        on_event, cancelled
            See :mod:`napari_why.core.events`.

        Returns
        -------
        ClassMaps or None
            None without crops of two classes, or when cancelled.
        """
        return fit_class_maps(
            self.crops, self._locked, seed=self._seed, on_event=on_event, cancelled=cancelled
        )


@latent_statistic
class FittedPixelMapsKind(StatisticKind):
    """Maps of pixels between the classes; on all training images or not at all."""

    name = "pixel_maps"
    schema = Maybe(CLASS_MAPS)
    of_all_images = True

    def start(self, network: Network, classes: int, seed: int) -> PixelMapsCollector | None:
        """Collect for a network with an inverse, which encodes what a map makes."""
        if not isinstance(network, InvertibleNetwork):
            return None
        return PixelMapsCollector(network, classes, seed)

    def load(self, tensors: Mapping[str, Tensor], plain: Any) -> ClassMaps | None:
        """Put the maps together; classifiers of earlier versions have none."""
        return None if plain is None else ClassMaps.from_parts(tensors, plain)
