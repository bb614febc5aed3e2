"""What attribution methods share: their registry, the evidence they hand back, baselines."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from napari_why.core.errors import ParameterError
from napari_why.core.registry import Method, Needs, Registry, any_network


@dataclass(frozen=True)
class References:
    """Images that an image is compared with, by class: the training images, or a part of them.

    Parameters
    ----------
    images : Tensor, shape (N, C, H, W)
        Standardised as the image that is explained.
    labels : Tensor, shape (N,), int64
        Index of the class that each was given; below 0 of one that does not matter.
    """

    images: Tensor
    labels: Tensor


@dataclass(frozen=True)
class RegionValue:
    """Evidence that one region holds.

    Parameters
    ----------
    label : int
        Its number in the label image.
    value : float
        In the unit of the evidence.
    standard_error : float or None
        Of the value, where it was sampled; None where it was computed.
    """

    label: int
    value: float
    standard_error: float | None = None


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
    explained : float or None
        The logit that is divided up, where the method promises a sum.
    constants : float or None
        What of it belongs to no pixel and is in no map (biases, the logit of a baseline); None
        where the method promises no sum.
    constants_meaning : str
        What the constants are; empty where there are none.
    standard_error : Tensor, shape (H, W), or None
        Of the joint map, where it was sampled: the spread that another seed would bring.
    regions : tuple of RegionValue
        Evidence of whole regions, of methods that explain by regions.
    layers : mapping of str to Tensor, shapes (H, W)
        What the joint map is made of, by name: the map of each layer, say, so that depths can be
        compared.
    labels : Tensor, shape (H, W), int64, or None
        The regions as a label image, 0 where none is, where they were found and not given.
    """

    maps: Tensor
    joint: Tensor
    unit: str
    gap: float | None = None
    gap_meaning: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)
    partial: bool = False
    explained: float | None = None
    constants: float | None = None
    constants_meaning: str = ""
    standard_error: Tensor | None = None
    regions: tuple[RegionValue, ...] = ()
    layers: Mapping[str, Tensor] = field(default_factory=dict)
    labels: Tensor | None = None


# Far below any logit: a logit of exactly 0 then gives a large gap, and not a division by zero.
SMALLEST = 1e-12


def relative_gap(found: float, expected: float) -> float:
    """Return ``|found - expected|`` relative to ``|expected|``.

    Parameters
    ----------
    found, expected : float
        What maps add up to, and what they should.

    Returns
    -------
    float
        0 or more; 0 where both are equal.

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
    *,
    title: str,
    source: str,
    needs: Needs = any_network,
    caution: str = "",
    black_box: bool = False,
) -> Callable[[Function], Function]:
    """Put the decorated function into :data:`METHODS` under its own name.

    The function is ``(network, x, target, *, ...) -> Evidence`` with x of shape (1, C, H, W),
    standardised, and target the index of a class. Keywords that carry a
    :class:`~napari_why.core.options.Help` are the user's parameters. Passed to functions that name
    them: ``on_event``, ``cancelled``; ``raw_zero``, the preprocessed black image, shape of x;
    ``references``, :class:`References`; ``regions``, labels (H, W) int64 on the pixels of x, 0
    where no region is; ``alpha_path``, images (T, C, H, W) of a counterfactual from x (first) to
    the other class (last).

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
    black_box : bool
        It asks the network for logits alone, so that networks without gradients and layers
        (``Network.black_box``: ONNX files) are explained too. Others are refused for these.

    Returns
    -------
    callable
        The decorator, which returns the function as it is.

    Examples
    --------
    >>> from napari_why.attribution import METHODS
    >>> METHODS["occlusion"].title, [parameter.name for parameter in METHODS["cam"].parameters]
    ('Occlusion', ['layer'])
    """

    def register(function: Function) -> Function:
        name = function.__name__
        METHODS.add(Method(name, title, source, function, needs, caution, black_box=black_box))
        return function

    return register


ImageBaseline = Literal["zero", "mean", "blur"]


def baseline_image(x: Tensor, baseline: str, raw_zero: Tensor | None, blur_sigma: float) -> Tensor:
    """Return the image that stands for absence.

    Parameters
    ----------
    x : Tensor, shape (1, C, H, W)
        One standardised image.
    baseline : str
        ``zero``: raw intensity 0, no light; ``mean``: each channel's training mean, 0 after
        standardisation; ``blur``: the image itself, blurred with a Gaussian channel by channel.
    raw_zero : Tensor, shape (1, C, H, W), or None
        The preprocessed image of raw intensity 0; needed for ``zero`` only.
    blur_sigma : float
        Standard deviation of the Gaussian in pixels.

    Returns
    -------
    Tensor, shape (1, C, H, W)

    Raises
    ------
    ParameterError
        ``zero`` is asked for where the image of raw intensity 0 is not known.
    """
    if baseline == "zero":
        if raw_zero is None:
            raise ParameterError(
                "baseline: found 'zero' without the preprocessed image of raw intensity 0; "
                "expected raw_zero, or the baseline 'mean'"
            )
        return raw_zero.expand_as(x)
    if baseline == "mean":
        return torch.zeros_like(x)
    # "nearest": any other border would darken or mirror what lies at the edge
    blurred = gaussian_filter(x.cpu().numpy(), sigma=(0, 0, blur_sigma, blur_sigma), mode="nearest")
    return torch.from_numpy(blurred).to(x)
