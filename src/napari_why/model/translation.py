"""Latent statistic ``translation``: networks that translate images from class to class.

Not collected in a pass over the images, but trained and added afterwards
(:func:`napari_why.fit_translation`); saved and loaded like every other one.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from napari_why.adversarial.cycle_gan import TRANSLATORS, ClassTranslators
from napari_why.core.schema import Maybe
from napari_why.model.latent_statistics import StatisticKind, latent_statistic
from napari_why.networks.network import InvertibleNetwork, Network

TRANSLATION = "translation"


@latent_statistic
class TranslationKind(StatisticKind):
    """Translators between the classes, of a classifier whose network encodes what they make."""

    name = TRANSLATION
    schema = Maybe(TRANSLATORS)

    def start(self, network: Network, classes: int, seed: int) -> None:
        """Collect nothing: training takes minutes, and is asked for apart."""
        del network, classes, seed

    def load(self, tensors: Mapping[str, Tensor], plain: Any) -> ClassTranslators | None:
        """Put the translators together."""
        return None if plain is None else ClassTranslators.from_parts(tensors, plain)

    def of_network(
        self, statistic: ClassTranslators, network: Network, channels: Mapping[str, int]
    ) -> bool:
        """Tell whether they change what the network lets them change."""
        del channels
        return (
            isinstance(network, InvertibleNetwork)
            and statistic.channels == network.input_channels
            and set(network.locked) <= set(statistic.locked)
        )
