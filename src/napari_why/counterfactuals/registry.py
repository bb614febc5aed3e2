"""The counterfactual methods by name. A method is one decorated function."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from napari_why.classifier.latent_statistics import LatentStatistics
from napari_why.counterfactuals.path import LatentPath
from napari_why.networks.network import InvertibleNetwork
from napari_why.parameters import Parameter, parameters_of


class PathFunction(Protocol):
    """What a method is: the path that leads one image from a class towards another."""

    def __call__(
        self,
        network: InvertibleNetwork,
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
    """

    name: str
    title: str
    source: str
    function: PathFunction
    caution: str = ""

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """The parameters, for forms and shell options."""
        return parameters_of(self.function)

    @property
    def summary(self) -> str:
        """First line of the function's documentation."""
        return (inspect.getdoc(self.function) or "").partition("\n")[0]


METHODS: dict[str, CounterfactualMethod] = {}


def counterfactual_method(
    *, title: str, source: str, caution: str = ""
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
    """

    def register(function: Callable[..., LatentPath]) -> Callable[..., LatentPath]:
        name = function.__name__
        METHODS[name] = CounterfactualMethod(name, title, source, function, caution)
        return function

    return register
