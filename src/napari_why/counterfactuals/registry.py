"""The counterfactual methods by name. A method is one decorated function."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from napari_why.classifier.latent_statistics import LatentStatistics
from napari_why.counterfactuals.path import LatentPath
from napari_why.errors import UnsupportedNetworkError
from napari_why.networks.generative import GenerativeNetwork
from napari_why.networks.network import DecodingNetwork, InvertibleNetwork, Network
from napari_why.parameters import Parameter, parameters_of

Needs = Callable[[Network], str | None]


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


@dataclass(frozen=True)
class CounterfactualMethod:
    """One entry of the registry.

    Parameters
    ----------
    name, title : str
        The name in code, shell and records; the name shown to the user.
    source : str
        Where the method comes from.
    function : callable
        :class:`PathFunction`; its annotated keyword parameters are the method's.
    caution : str
        A sentence that goes with every result, empty where none is due.
    needs : callable
        Returns why a network is unsuitable, None where it is not.
    """

    name: str
    title: str
    source: str
    function: PathFunction
    caution: str
    needs: Needs

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """The parameters, for forms and shell options."""
        return parameters_of(self.function)

    @property
    def summary(self) -> str:
        """First line of the function's documentation."""
        return (inspect.getdoc(self.function) or "").partition("\n")[0]

    def unsuitable(self, network: Network) -> str | None:
        """Return why the method is not defined for this network, None where it is."""
        return self.needs(network)

    def takes(self, keyword: str) -> bool:
        """Whether the function names this keyword."""
        return keyword in inspect.signature(self.function).parameters

    def check(self, network: Network) -> None:
        """Raise where the method is not defined for this network.

        Raises
        ------
        UnsupportedNetworkError
            With the reason, and the methods that this network has.
        """
        reason = self.unsuitable(network)
        if reason is None:
            return
        others = [name for name, method in METHODS.items() if method.unsuitable(network) is None]
        advice = f", or take {' or '.join(others)}" if others else ""
        raise UnsupportedNetworkError(f"{self.name}: {reason}{advice}")


METHODS: dict[str, CounterfactualMethod] = {}


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
        name = function.__name__
        METHODS[name] = CounterfactualMethod(name, title, source, function, caution, needs)
        return function

    return register
