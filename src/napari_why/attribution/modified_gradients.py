"""Gradients whose way back through rectifiers is changed, and their products with Grad-CAM.

The rules do not hang on modules, as captum's do, but on the operations of a tape. captum 0.9 puts
its hook on the tensor that the skip connection of a pre-activation block shares with the branch,
so that it changes both; it does not see functional activations, nor any but ``nn.ReLU``. On a plain
chain of ReLU layers both agree.
"""

from collections import Counter
from dataclasses import replace
from typing import Annotated

import torch
from torch import Tensor

from napari_why.attribution.class_activation_maps import LAYER_UNIT, grad_cam
from napari_why.attribution.registry import Evidence, attribution_method
from napari_why.attribution.relevance_tape import (
    BackwardRule,
    Operation,
    gradient_of_step,
    record_checked_tape,
    run_back,
)
from napari_why.core import events
from napari_why.core.errors import UnsupportedNetworkError
from napari_why.core.options import Help
from napari_why.networks.network import Network

# What lets positive values pass and holds negative ones back, wholly (ReLU) or in part (ELU): torch
# functions without underscores round them, as the tape writes them down
RECTIFIERS = {"relu", "relu6", "leaky_relu", "rrelu", "prelu", "elu", "celu", "selu"} | {
    *("softplus", "gelu", "silu", "mish", "hardswish")
}

RANDOMISATION = (
    "the map shows edges of the image, nearly the same for every class and for a network with random "
    "weights (Nie 2018, Adebayo 2018): no proof of where the network looked"
)


def is_rectifier(operation: Operation) -> bool:
    """Whether an operation is an activation that holds negative values back."""
    if operation.name in {"clamp", "clamp_min", "clip"}:
        bounds = (*operation.args[1:], *operation.kwargs.values())
        # clamp(min=0) is a ReLU by another name; with an upper bound it is something else
        return [bound for bound in bounds if bound is not None] == [0]
    return operation.name in RECTIFIERS and len(operation.sources) == 1


def rectified_gradient(
    network: Network,
    x: Tensor,
    target: int,
    rule: BackwardRule,
    on_event: events.OnEvent,
    cancelled: events.Cancelled,
) -> Evidence:
    """Return the gradient of a logit that is changed by a rule at every rectifier.

    Parameters
    ----------
    network : Network
        In evaluation mode.
    x : Tensor, shape (1, C, H, W)
        One standardised image.
    target : int
        Index of the class.
    rule : callable
        ``(operation, gradients of its results) -> gradients of its sources`` for rectifiers.
    on_event, cancelled : callable
        One step per operation of the network. Cancelled work gives a map of zeros.

    Returns
    -------
    Evidence
        Joint: the sum over channels; no sum is promised.

    Raises
    ------
    UnsupportedNetworkError
        The network has no rectifier, and the map would be the plain gradient.
    """
    tape = record_checked_tape(network, x)
    found = Counter(operation.name for operation in tape.operations if is_rectifier(operation))
    if not found:
        raise UnsupportedNetworkError(
            f"{network.name}: found no activation that holds negative values back; expected ReLU or "
            "one like it (ELU, GELU), without which this is the gradient; take saliency"
        )

    def at_rectifiers(operation: Operation, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (rule if is_rectifier(operation) else gradient_of_step)(operation, given)

    on_event(events.Started("modified gradient", len(tape.operations)))
    gradient = run_back(tape, target, at_rectifiers, on_event, cancelled)
    maps = torch.zeros_like(x[0]) if gradient is None else gradient[0]
    return Evidence(
        maps,
        maps.sum(dim=0),
        "modified gradient",
        details={"rule_at": dict(found)},
        partial=gradient is None,
    )


@attribution_method(
    title="Deconvolution",
    source="Zeiler & Fergus 2014, arXiv:1311.2901, section 2.1",
    caution=RANDOMISATION,
)
def deconvolution(
    network: Network,
    x: Tensor,
    target: int,
    *,
    on_event: events.OnEvent = events.ignore_event,
    cancelled: events.Cancelled = events.never_cancelled,
) -> Evidence:
    """Gradient of which every activation hands on the positive part, whatever its own input was.

    At each rectifier f the gradient g of its output becomes max(g, 0) for its input, also where f
    was off. The rule is that of ReLU; at ELU and other activations of its kind it is applied as it
    stands, and ``rule_at`` of the record names them.

    Parameters
    ----------
    network : Network
        In evaluation mode.
    x : Tensor, shape (1, C, H, W)
        One standardised image.
    target : int
        Index of the class.
    on_event, cancelled : callable
        One step per operation of the network. Cancelled work gives a map of zeros: gradients reach
        the pixels at the end only.

    Returns
    -------
    Evidence
        Maps: the modified gradient, signed by the first layer's weights; joint: their sum over
        channels. No sum is promised, and no value is a change of the logit.

    Raises
    ------
    UnsupportedNetworkError
        The network has no rectifier.
    """

    def rule(_operation: Operation, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (given[0].clamp(min=0),)  # elementwise, so that result and source are of one shape

    return rectified_gradient(network, x, target, rule, on_event, cancelled)


@attribution_method(
    title="Guided backpropagation",
    source="Springenberg et al. 2015, arXiv:1412.6806, section 3.4",
    caution=RANDOMISATION,
)
def guided_backprop(
    network: Network,
    x: Tensor,
    target: int,
    *,
    on_event: events.OnEvent = events.ignore_event,
    cancelled: events.Cancelled = events.never_cancelled,
) -> Evidence:
    """Gradient of which every activation hands on the positive part, where it was on itself.

    At each rectifier f the gradient g of its output becomes max(f' g, 0) for its input. For ReLU that
    is g where both it and the input are positive. At ELU and other activations of its kind f' is
    between 0 and 1 where the input is negative, so that they are guided in proportion; ``rule_at`` of
    the record names them.

    Parameters
    ----------
    network : Network
        In evaluation mode.
    x : Tensor, shape (1, C, H, W)
        One standardised image.
    target : int
        Index of the class.
    on_event, cancelled : callable
        One step per operation of the network. Cancelled work gives a map of zeros: gradients reach
        the pixels at the end only.

    Returns
    -------
    Evidence
        Maps: the modified gradient, signed by the first layer's weights; joint: their sum over
        channels. No sum is promised, and no value is a change of the logit.

    Raises
    ------
    UnsupportedNetworkError
        The network has no rectifier.
    """

    def rule(operation: Operation, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(part.clamp(min=0) for part in gradient_of_step(operation, given))

    return rectified_gradient(network, x, target, rule, on_event, cancelled)


Layer = Annotated[str, Help("name of the layer whose Grad-CAM says where")]
CutOff = Annotated[
    bool, Help("show no place that Grad-CAM finds to speak against the class, as in the paper")
]
DETAIL_CAUTION = (
    "its detail is that of a modified gradient, nearly the same for every class and for a network with "
    "random weights; only the place is the class's, and its sign is for brighter or darker times for "
    "or against"
)


@attribution_method(
    title="Guided Grad-CAM",
    source="Selvaraju et al. 2017, arXiv:1610.02391, section 3.2",
    caution=DETAIL_CAUTION,
)
def guided_grad_cam(
    network: Network,
    x: Tensor,
    target: int,
    *,
    layer: Layer = "last",
    relu: CutOff = False,
    on_event: events.OnEvent = events.ignore_event,
    cancelled: events.Cancelled = events.never_cancelled,
) -> Evidence:
    """Guided backpropagation times Grad-CAM, pixel by pixel.

    Parameters
    ----------
    network : Network
        In evaluation mode.
    x : Tensor, shape (1, C, H, W)
        One standardised image.
    target : int
        Index of the class.
    on_event, cancelled : callable
        As of guided backpropagation.

    Returns
    -------
    Evidence
        Maps: the guided gradient of each channel times the joint map of Grad-CAM at the layer; joint:
        their sum over channels. Where Grad-CAM is negative the sign of the gradient is turned round;
        ``relu`` leaves these places out.

    Raises
    ------
    ParameterError
        The network has no such layer.
    UnsupportedNetworkError
        The network has no activation that can be guided.
    """
    place = grad_cam(network, x, target, layer=layer, relu=relu)
    detail = guided_backprop(network, x, target, on_event=on_event, cancelled=cancelled)
    return product_of(detail, place)


@attribution_method(
    title="Guided deconvolution CAM",
    source="Zeiler & Fergus 2014, Selvaraju et al. 2017",
    caution=DETAIL_CAUTION,
)
def guided_deconvolution_cam(
    network: Network,
    x: Tensor,
    target: int,
    *,
    layer: Layer = "last",
    relu: CutOff = False,
    on_event: events.OnEvent = events.ignore_event,
    cancelled: events.Cancelled = events.never_cancelled,
) -> Evidence:
    """Deconvolution times Grad-CAM, pixel by pixel.

    Parameters
    ----------
    network : Network
        In evaluation mode.
    x : Tensor, shape (1, C, H, W)
        One standardised image.
    target : int
        Index of the class.
    on_event, cancelled : callable
        As of deconvolution.

    Returns
    -------
    Evidence
        As of :func:`guided_grad_cam`, with the gradient of deconvolution.

    Raises
    ------
    ParameterError
        The network has no such layer.
    UnsupportedNetworkError
        The network has no activation that can be guided.
    """
    place = grad_cam(network, x, target, layer=layer, relu=relu)
    detail = deconvolution(network, x, target, on_event=on_event, cancelled=cancelled)
    return product_of(detail, place)


def product_of(detail: Evidence, place: Evidence) -> Evidence:
    """Return the maps of a modified gradient at the places of a joint map.

    A product adds up to nothing, so that no gap is given.

    Parameters
    ----------
    detail : Evidence
        Whose maps (C, H, W) are multiplied.
    place : Evidence
        Whose joint map (H, W) they are multiplied with.

    Returns
    -------
    Evidence
        With the details of both; joint: the sum over channels.
    """
    maps = detail.maps * place.joint
    return replace(
        detail,
        maps=maps,
        joint=maps.sum(dim=0),
        unit=f"{LAYER_UNIT} x {detail.unit}",
        details={**detail.details, **place.details},
    )
