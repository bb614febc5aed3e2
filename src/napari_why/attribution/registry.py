"""The attribution methods by name."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from napari_why.attribution.evidence import Evidence
from napari_why.errors import UnsupportedNetworkError
from napari_why.networks.network import Network
from napari_why.parameters import Parameter, parameters_of

Function = TypeVar("Function", bound=Callable[..., Evidence])
Needs = Callable[[Network], str | None]


@dataclass(frozen=True)
class Method:
    """One attribution method, as the docks and the shell offer it.

    Parameters
    ----------
    name : str
        Name of the function.
    title : str
        Name for the user.
    source : str
        The paper.
    function : callable
        ``(network, x, target, *, ...) -> Evidence`` with x of shape (1, C, H, W), standardised,
        and target the index of a class. Keywords that carry a
        :class:`~napari_why.parameters.Help` are the user's parameters; ``on_event``,
        ``cancelled`` and ``raw_zero`` (the preprocessed black image, shape of x) are passed to
        functions that name them.
    needs : callable
        Returns why a network is unsuitable, None where it is not.
    """

    name: str
    title: str
    source: str
    function: Callable[..., Evidence]
    needs: Needs

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """The user's parameters, in the order of the signature."""
        return parameters_of(self.function)

    @property
    def summary(self) -> str:
        """First line of the function's documentation."""
        return (inspect.getdoc(self.function) or "").partition("\n")[0]

    def unsuitable(self, network: Network) -> str | None:
        """Return why the method is not defined for this network, None where it is."""
        return self.needs(network)

    def check(self, network: Network) -> None:
        """Raise where the method is not defined for this network.

        Raises
        ------
        UnsupportedNetworkError
            With the reason.
        """
        reason = self.unsuitable(network)
        if reason:
            raise UnsupportedNetworkError(f"{self.title} cannot explain {network.name}: {reason}")

    def takes(self, keyword: str) -> bool:
        """Whether the function names this keyword."""
        return keyword in inspect.signature(self.function).parameters


METHODS: dict[str, Method] = {}


def any_network(_network: Network) -> str | None:
    """Find every network suitable."""
    return None


def attribution_method(
    *, title: str, source: str, needs: Needs = any_network
) -> Callable[[Function], Function]:
    """Put the decorated function into :data:`METHODS` under its own name.

    Parameters
    ----------
    title : str
        Name for the user.
    source : str
        The paper the method comes from.
    needs : callable, optional
        ``(network) -> reason or None``: why a network is unsuitable.

    Examples
    --------
    >>> from napari_why.attribution import METHODS
    >>> METHODS["occlusion"].title, [parameter.name for parameter in METHODS["cam"].parameters]
    ('Occlusion', [])
    """

    def register(function: Function) -> Function:
        name = function.__name__
        METHODS[name] = Method(name, title, source, function, needs)
        return function

    return register
