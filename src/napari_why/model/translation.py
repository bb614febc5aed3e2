"""Latent statistics ``translation`` and ``flow``: networks that lead images from class to class.

Not collected in a pass over the images, but trained and added afterwards
(:func:`napari_why.fit_translation`, :func:`napari_why.fit_flow`); saved and loaded like every other one.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from napari_why.adversarial.cycle_gan import TRANSLATORS, ClassTranslators
from napari_why.adversarial.flow_matching import FLOW, ClassFlow
from napari_why.core.schema import Maybe
from napari_why.model.latent_statistics import StatisticKind, latent_statistic
from napari_why.networks.network import InvertibleNetwork, Network

TRANSLATION, FLOW_OF_CLASSES = "translation", "flow"


class _TrainedApart(StatisticKind):
    """What is trained for a classifier whose network encodes the images that it makes."""

    def start(self, network: Network, classes: int, seed: int) -> None:
        """Collect nothing: training takes minutes, and is asked for apart."""
        del network, classes, seed

    def of_network(
        self, statistic: ClassTranslators | ClassFlow, network: Network, channels: Mapping[str, int]
    ) -> bool:
        """Tell whether it changes what the network lets them change."""
        del channels
        return (
            isinstance(network, InvertibleNetwork)
            and statistic.channels == network.input_channels
            and set(network.locked) <= set(statistic.locked)
        )


@latent_statistic
class TranslationKind(_TrainedApart):
    """Translators between the classes, trained against discriminators."""

    name = TRANSLATION
    schema = Maybe(TRANSLATORS)

    def load(self, tensors: Mapping[str, Tensor], plain: Any) -> ClassTranslators | None:
        """Put the translators together."""
        return None if plain is None else ClassTranslators.from_parts(tensors, plain)


@latent_statistic
class FlowKind(_TrainedApart):
    """A flow from noise to the free channels of each class."""

    name = FLOW_OF_CLASSES
    schema = Maybe(FLOW)

    def load(self, tensors: Mapping[str, Tensor], plain: Any) -> ClassFlow | None:
        """Put the flow together."""
        return None if plain is None else ClassFlow.from_parts(tensors, plain)
