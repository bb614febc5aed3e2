"""The counterfactual methods by name. A method is one decorated function."""

from collections.abc import Callable
from typing import Any, Protocol

from torch import Tensor

from napari_why.core.registry import Method, Needs, Registry
from napari_why.counterfactuals.path import LatentPath
from napari_why.model.latent_statistics import LatentStatistics
from napari_why.networks.network import (
    DecodingNetwork,
    GenerativeNetwork,
    InvertibleNetwork,
    Network,
)


class PathFunction(Protocol):
    """What a method is: the path that leads one image from a class towards another."""

    def __call__(
        self,
        network: DecodingNetwork,
        statistics: LatentStatistics,
        image: Tensor,
        source: int,
        target: int,
        **parameters: Any,
    ) -> LatentPath:
        """Return the path of ``image`` (1, C, H, W) from class ``source`` to ``target``."""


METHODS: Registry[Method] = Registry("method", "napari_why.counterfactuals")


def needs_inverse(network: Network) -> str | None:
    """Return why a network cannot be inverted exactly, None where it can."""
    if isinstance(network, InvertibleNetwork):
        return None
    return (
        f"it inverts the network that classified, and {network.name} has no inverse; "
        "train a classifier with the network iresnet"
    )


def needs_decoder(network: Network) -> str | None:
    """Return why a network has no approximate decoder, None where it has one."""
    if isinstance(network, GenerativeNetwork):
        return None
    return (
        f"it moves an image through the latent space of a generative network, and {network.name} "
        "is none; train a classifier with the network vae, autoencoder or denoising_autoencoder"
    )


def counterfactual_method(
    *, title: str, source: str, caution: str = "", needs: Needs = needs_inverse
) -> Callable[[Callable[..., LatentPath]], Callable[..., LatentPath]]:
    """Put a function into :data:`METHODS` under its own name.

    Parameters
    ----------
    title : str
        Name shown to the user.
    source : str
        Citation.
    caution : str, optional
        A sentence that goes with every result of this method.
    needs : callable, optional
        ``(network) -> reason or None``: why a network is unsuitable.
    """

    def register(function: Callable[..., LatentPath]) -> Callable[..., LatentPath]:
        METHODS.add(Method(function.__name__, title, source, function, needs, caution))
        return function

    return register
