"""Guided Grad-CAM and its sister: fine detail of a modified gradient, at the places of Grad-CAM."""

from dataclasses import replace
from typing import Annotated

from torch import Tensor

from napari_why.attribution.class_activation_maps import LAYER_UNIT, grad_cam
from napari_why.attribution.registry import METHODS, Evidence, attribution_method
from napari_why.core import events
from napari_why.core.options import Help
from napari_why.networks.network import Network

Layer = Annotated[str, Help("name of the layer whose Grad-CAM says where")]
CutOff = Annotated[
    bool, Help("show no place that Grad-CAM finds to speak against the class, as in the paper")
]
CAUTION = (
    "its detail is that of a modified gradient, nearly the same for every class and for a network with "
    "random weights; only the place is the class's, and its sign is for brighter or darker times for "
    "or against"
)


def needs_of_guided_backprop(network: Network) -> str | None:
    """Return why guided backpropagation is not defined for a network."""
    return METHODS["guided_backprop"].unsuitable(network)


def needs_of_deconvolution(network: Network) -> str | None:
    """Return why deconvolution is not defined for a network."""
    return METHODS["deconvolution"].unsuitable(network)


@attribution_method(
    title="Guided Grad-CAM",
    source="Selvaraju et al. 2017, arXiv:1610.02391, section 3.2",
    needs=needs_of_guided_backprop,
    caution=CAUTION,
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
    detail = METHODS["guided_backprop"].function(
        network, x, target, on_event=on_event, cancelled=cancelled
    )
    return product_of(detail, place)


@attribution_method(
    title="Guided deconvolution CAM",
    source="Zeiler & Fergus 2014, Selvaraju et al. 2017",
    needs=needs_of_deconvolution,
    caution=CAUTION,
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
    detail = METHODS["deconvolution"].function(
        network, x, target, on_event=on_event, cancelled=cancelled
    )
    return product_of(detail, place)


def product_of(detail: Evidence, place: Evidence) -> Evidence:
    """Return the maps of a modified gradient at the places of a joint map.

    A product adds up to nothing, so that no gap is given.
    """
    maps = detail.maps * place.joint
    return replace(
        detail,
        maps=maps,
        joint=maps.sum(dim=0),
        unit=f"{LAYER_UNIT} x {detail.unit}",
        details={**detail.details, **place.details},
    )
