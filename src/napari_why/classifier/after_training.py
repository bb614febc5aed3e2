"""What the images still teach once a network is trained: statistics, a second opinion, choices."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from napari_why.classifier.latent_statistics import LatentStatistics
from napari_why.classifier.second_network import SecondNetwork, train_second_network
from napari_why.classifier.transport_choice import TransportChooser
from napari_why.datasets.preprocessing import Preprocessing
from napari_why.events import Cancelled, Message, OnEvent
from napari_why.networks import DecodingNetwork, InvertibleNetwork, Network
from napari_why.training import Examples
from napari_why.training.batches import Batches

HELD_OUT_BATCH = 16


@dataclass(frozen=True)
class AfterTraining:
    """The steps that follow the training of a network with a way back to images.

    Parameters
    ----------
    network : Network
        Trained and frozen.
    parameters : mapping
        Of the fit and of the training.
    on_event, cancelled
        See :mod:`napari_why.events`.
    """

    network: Network
    parameters: Mapping[str, Any]
    on_event: OnEvent
    cancelled: Cancelled

    def latent_statistics(
        self, train: Examples, classes: tuple[str, ...]
    ) -> LatentStatistics | None:
        """Collect the latent statistics of the training images, also after a cancelled training."""
        if not isinstance(self.network, DecodingNetwork):
            return None
        return LatentStatistics.fitted(
            self.network,
            Batches(train, self.parameters["batch_size"]),
            classes,
            seed=self.parameters["seed"],
            transport=not self.cancelled(),
            on_event=self.on_event,
        )

    def second_network(self, examples: tuple[Examples, Examples | None]) -> SecondNetwork | None:
        """Train a second network on the training and validation images, where it is wanted."""
        if not (self.parameters["second_network"] and isinstance(self.network, DecodingNetwork)):
            return None
        return train_second_network(
            *examples,
            input_channels=self.network.input_channels,
            classes=self.network.classes,
            size=self.parameters["size"],
            seed=self.parameters["seed"],
            device=self.parameters["device"],
            threads=self.parameters["threads"] or None,
            on_event=self.on_event,
            cancelled=self.cancelled,
        )

    def with_choices(
        self,
        statistics: LatentStatistics | None,
        second: SecondNetwork | None,
        preprocessing: Preprocessing,
        held_out: Examples | None,
        dtype: str,
    ) -> LatentStatistics | None:
        """Let held-out images choose how each direction is transported.

        Parameters
        ----------
        statistics : LatentStatistics or None
        second : SecondNetwork or None
        preprocessing : Preprocessing
        held_out : Examples or None
            Validation images.
        dtype : str
            Of the training images.
        """
        transport = statistics.transport if statistics else None
        if statistics is None or transport is None or held_out is None or self.cancelled():
            return statistics
        if not isinstance(self.network, InvertibleNetwork):
            return statistics
        self.on_event(Message("choosing how to transport each class, on validation images"))
        chooser = TransportChooser(
            self.network, second.network if second else None, preprocessing, transport, dtype
        )
        # in the order of the table they would come from a well or two
        shuffled = Batches(held_out, HELD_OUT_BATCH, self.parameters["seed"])
        return replace(statistics, transport=chooser.chosen(shuffled))
