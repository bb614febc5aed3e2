"""What the images still teach once a network is trained: statistics, a second opinion, choices."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from napari_why.core.events import Cancelled, Message, OnEvent, never_cancelled
from napari_why.datasets.preprocessing import Preprocessing
from napari_why.fitting.second_network import SMALLEST, SecondNetwork, train_second_network
from napari_why.fitting.transport_choice import TransportChooser
from napari_why.model.classifier import Classifier
from napari_why.model.latent_statistics import LatentStatistics
from napari_why.networks import DecodingNetwork, InvertibleNetwork, Network
from napari_why.training import Examples
from napari_why.training.examples import Batches

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
        See :mod:`napari_why.core.events`. What a Cancel leaves out is told, and listed in ``left_out``.
    """

    network: Network
    parameters: Mapping[str, Any]
    on_event: OnEvent
    cancelled: Cancelled
    left_out: list[str] = field(default_factory=list, init=False)

    def latent_statistics(
        self, train: Examples, classes: tuple[str, ...]
    ) -> LatentStatistics | None:
        """Collect the latent statistics of the training images.

        After a cancelled training too, and then of all of them: counterfactuals cannot do without.
        A Cancel that comes later ends them early.
        """
        if not isinstance(self.network, DecodingNetwork):
            return None
        early = self.cancelled()
        found = LatentStatistics.fitted(
            self.network,
            Batches(train, self.parameters["batch_size"]),
            classes,
            seed=self.parameters["seed"],
            transport=not early,
            on_event=self.on_event,
            cancelled=never_cancelled if early else self.cancelled,
        )
        if not found.complete:
            missing = len(train.labels) - sum(found.true_counts)
            self._leave_out(f"{missing} of {len(train.labels)} images in the latent statistics")
        if isinstance(self.network, InvertibleNetwork) and not found.transport:
            self._leave_out("the transport between the classes")
        return found

    def second_network(self, examples: tuple[Examples, Examples | None]) -> SecondNetwork | None:
        """Train a second network on the training and validation images, where it is wanted."""
        if not (self.parameters["second_network"] and isinstance(self.network, DecodingNetwork)):
            return None
        found = train_second_network(
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
        if found is None and self.parameters["size"] >= SMALLEST:
            self._leave_out("the second network")
        return found

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
        if statistics is None or transport is None or held_out is None:
            return statistics
        if not isinstance(self.network, InvertibleNetwork):
            return statistics
        if not self.cancelled():
            self.on_event(Message("choosing how to transport each class, on validation images"))
        in_the_making = Classifier(
            self.network,
            preprocessing,
            statistics.classes,
            statistics,
            threads=self.parameters["threads"] or None,
            second_network=second.network if second else None,
        )
        chooser = TransportChooser(in_the_making, dtype, self.on_event, self.cancelled)
        # in the order of the table they would come from a well or two
        shuffled = Batches(held_out, HELD_OUT_BATCH, self.parameters["seed"])
        chosen = chooser.choose(shuffled)
        if not chooser.complete:
            directions = sum(mass == "full" for *_, mass in transport.maps)
            lost = directions - chooser.settled
            self._leave_out(f"how to transport {lost} of {directions} directions")
        return statistics.with_part("transport", chosen)

    def _leave_out(self, what: str) -> None:
        if self.cancelled():  # else it is not there for another reason, which was told
            self.left_out.append(what)
            self.on_event(Message(f"cancelled: left out {what}"))
