"""The attribution methods by name, and the evidence that each hands back."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from torch import Tensor

from napari_why.core.registry import Method, Needs, Registry, any_network


@dataclass(frozen=True)
class Evidence:
    """Signed evidence for one class on the pixels of the network's input.

    Parameters
    ----------
    maps : Tensor, shape (C, H, W)
        Evidence in each channel.
    joint : Tensor, shape (H, W)
        Evidence of all channels together.
    unit : str
        What a value means.
    gap : float or None
        Relative failure to add up, see :class:`napari_why.attribution.Attribution`.
    gap_meaning : str
        What is compared; empty where ``gap`` is None.
    details : mapping
        Further JSON facts for the record.
    partial : bool
        The work was cancelled and the maps hold what there was by then.
    """

    maps: Tensor
    joint: Tensor
    unit: str
    gap: float | None = None
    gap_meaning: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)
    partial: bool = False


# Far below any logit: a logit of exactly 0 then gives a large gap, and not a division by zero.
SMALLEST = 1e-12


def relative_gap(found: float, expected: float) -> float:
    """Return ``|found - expected|`` relative to ``|expected|``.

    Examples
    --------
    >>> relative_gap(0.99, 1.0) < 0.011, relative_gap(0.0, 0.0)
    (True, 0.0)
    """
    difference = abs(found - expected)
    return difference / max(abs(expected), SMALLEST) if difference else 0.0


Function = TypeVar("Function", bound=Callable[..., Evidence])

# Other packages join through entry points of this group; docs/extending.md has an example.
METHODS: Registry[Method] = Registry("method", "napari_why.attributions")


def attribution_method(
    *, title: str, source: str, needs: Needs = any_network, caution: str = ""
) -> Callable[[Function], Function]:
    """Put the decorated function into :data:`METHODS` under its own name.

    The function is ``(network, x, target, *, ...) -> Evidence`` with x of shape (1, C, H, W),
    standardised, and target the index of a class. Keywords that carry a
    :class:`~napari_why.core.options.Help` are the user's parameters; ``on_event``, ``cancelled``
    and ``raw_zero`` (the preprocessed black image, shape of x) are passed to functions that name
    them.

    Parameters
    ----------
    title : str
        Name for the user.
    source : str
        The paper the method comes from.
    needs : callable, optional
        ``(network) -> reason or None``: why a network is unsuitable.
    caution : str, optional
        A sentence that goes with every result of this method.

    Examples
    --------
    >>> from napari_why.attribution import METHODS
    >>> METHODS["occlusion"].title, [parameter.name for parameter in METHODS["cam"].parameters]
    ('Occlusion', [])
    """

    def register(function: Function) -> Function:
        METHODS.add(Method(function.__name__, title, source, function, needs, caution))
        return function

    return register
