"""CAM, Grad-CAM and HiRes-CAM: feature maps of a layer, weighted by what they do to one logit."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from napari_why.attribution.guard import check_same_logits
from napari_why.attribution.registry import Evidence, attribution_method, relative_gap
from napari_why.core.errors import ParameterError
from napari_why.core.options import Help
from napari_why.networks.network import Network


@dataclass(frozen=True)
class LayerGradients:
    """Feature maps and gradients (N, K, h, w) of one layer, and the logits (N, classes)."""

    maps: Tensor
    gradients: Tensor
    logits: Tensor


def layer_gradients(network: Network, x: Tensor, target: int, layer: str) -> LayerGradients:
    """Return a layer's feature maps and the gradients of one logit with respect to them.

    Parameters
    ----------
    network : Network
        In evaluation mode.
    x : Tensor, shape (N, C, H, W)
    target : int
        Index of the class.
    layer : str
        A layer name of the network, or ``last``.

    Returns
    -------
    LayerGradients

    Raises
    ------
    ParameterError
        The network has no such layer.
    UnsupportedNetworkError
        The logits by way of the feature maps are not the plain ones.
    """
    name = layer_name(network, layer)
    return gradients_of_layers(network, x, target, (name,))[name]


def gradients_of_layers(
    network: Network, x: Tensor, target: int, names: Sequence[str]
) -> dict[str, LayerGradients]:
    """Return the same of several layers, by their names, of one forward pass and one gradient.

    Parameters
    ----------
    network : Network
        In evaluation mode.
    x : Tensor, shape (N, C, H, W)
    target : int
        Index of the class.
    names : sequence of str
        Layers of the network.

    Returns
    -------
    dict of str to LayerGradients

    Raises
    ------
    UnsupportedNetworkError
        The logits by way of the feature maps are not the plain ones; on processors those of the first image.
    """
    last = network.layer_names[-1]
    # of the last layer alone no gradient goes through the encoder, which then is to remember nothing
    through_encoder = set(names) != {last}
    leaf = x.detach().clone().requires_grad_(through_encoder)
    # a user's own modules are watched by hooks
    with torch.set_grad_enabled(through_encoder), network.use.passing():
        maps = network.feature_maps(leaf)
    if not through_encoder:
        maps[last] = maps[last].detach().requires_grad_()
    with torch.enable_grad():
        # the head runs on the maps that are differentiated, so the gradient is of this very forward pass
        logits = network.head(maps[last])
        gradients = torch.autograd.grad(logits[:, target].sum(), [maps[name] for name in names])
    # all images go the same way, and one tells; other processors round otherwise for another number of images
    looked_at = x[:1] if x.is_cpu else x
    with torch.no_grad():
        plain = network(looked_at)
    check_same_logits(plain, logits[: len(plain)], "by way of the feature maps")
    return {
        name: LayerGradients(maps[name].detach(), gradient, logits.detach())
        for name, gradient in zip(names, gradients, strict=True)
    }


def layer_name(network: Network, layer: str) -> str:
    """Return the name of a layer; ``last`` is the last whose maps tell positions apart.

    Parameters
    ----------
    network : Network
    layer : str
        One of its layers, or ``last``.

    Returns
    -------
    str

    Raises
    ------
    ParameterError
        The network has no such layer.
    """
    names = network.layer_names
    if layer == "last":  # not always the last of all: a pooled latent has no positions
        return network.located_layer
    if layer not in names:
        raise ParameterError(
            f"layer: found {layer!r}; expected 'last' or a layer of {network.name}: "
            f"{', '.join(names)}"
        )
    return layer


def spread_to_pixels(layer_maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Interpolate maps of a layer to the input's pixels such that their sum stays the same.

    Parameters
    ----------
    layer_maps : Tensor, shape (N, h, w)
        Values per position of the layer's grid.
    size : (int, int)
        Height and width of the input.

    Returns
    -------
    Tensor, shape (N, H, W)
        Values per pixel, bilinear with half-pixel centres.

    Examples
    --------
    >>> spread_to_pixels(torch.ones(1, 2, 2), (4, 4)).sum().item()
    4.0
    """
    share = layer_maps.shape[-2] * layer_maps.shape[-1] / (size[0] * size[1])
    # half-pixel centres, as images are scaled: with align_corners maps would be shifted outwards
    finer = F.interpolate(layer_maps[:, None], size=size, mode="bilinear", align_corners=False)
    return finer[:, 0] * share


def with_channels_at_mean(x: Tensor) -> Tensor:
    """Return the image and, for each channel, the image with that channel at its training mean.

    Standardisation puts the training mean at 0.

    Parameters
    ----------
    x : Tensor, shape (1, C, H, W)

    Returns
    -------
    Tensor, shape (1 + C, C, H, W)
    """
    channels = x.shape[1]
    batch = x.repeat(1 + channels, 1, 1, 1)
    for channel in range(channels):
        batch[1 + channel, channel] = 0
    return batch


LayerMap = Callable[[LayerGradients], Tensor]
# A layer's value is shared out among the pixels that its position covers; see spread_to_pixels.
LAYER_UNIT = "logit per pixel"


def evidence_of_layer(
    network: Network,
    x: Tensor,
    target: int,
    layer: str,
    layer_map: LayerMap,
    promised: Callable[[LayerGradients], tuple[float, float]] | None = None,
    gap_meaning: str = "",
    constants_meaning: str = "",
) -> Evidence:
    """Compute a layer's map, and its change when one channel is set to its training mean.

    A layer mixes the channels, so its map belongs to all of them. The map of a channel is
    ``M(x) - M(x with that channel at its training mean)``: positive where the layer finds more
    evidence for the class because of what this channel shows. These do not sum to the joint map.

    Parameters
    ----------
    network : Network
        In evaluation mode.
    x : Tensor, shape (1, C, H, W)
    target : int
        Index of the class.
    layer : str
        A layer name of the network, or ``last``.
    layer_map : callable
        (N, K, h, w) maps and gradients to (N, h, w) values, logits per position.
    promised : callable, optional
        The logit that the joint map should add up to, and what of it is constant and in no map;
        None where the method promises no sum.
    gap_meaning, constants_meaning : str
        What the gap compares, and what the constants are.

    Returns
    -------
    Evidence
        Joint: the layer's map of the image, interpolated to pixels such that its sum stays. With
        ``promised`` it tells the gap, what is explained, and the constants.
    """
    found = layer_gradients(network, with_channels_at_mean(x), target, layer)
    on_grid = layer_map(found)
    on_pixels = spread_to_pixels(on_grid, (x.shape[-2], x.shape[-1]))
    joint = on_pixels[0]
    # on the layer's grid, where the sum is promised; the interpolation keeps it but for rounding
    evidence = Evidence(
        maps=joint[None] - on_pixels[1:],
        joint=joint,
        unit=LAYER_UNIT,
        details={"layer_grid": list(on_grid.shape[-2:])},
    )
    if promised is None:
        return evidence
    logit, constants = promised(found)
    return replace(
        evidence,
        gap=relative_gap(on_grid[0].sum().item(), logit - constants),
        gap_meaning=gap_meaning,
        explained=logit,
        constants=constants,
        constants_meaning=constants_meaning,
    )


def by_mean_gradient(found: LayerGradients) -> Tensor:
    """Return sum_k mean_ij(ds_c/dA^k_ij) A^k, shape (N, h, w): Grad-CAM without its ReLU."""
    return torch.einsum("nk,nkhw->nhw", found.gradients.mean(dim=(2, 3)), found.maps)


def needs_linear_head(network: Network) -> str | None:
    """Return why CAM is not defined where the head is not linear on pooled feature maps."""
    if network.linear_head_weights is None:
        return (
            "CAM is defined for a linear head on globally averaged feature maps, and this head is "
            "another; take hires_cam or grad_cam, or train with a linear head (of iresnet: "
            "head='convolutional' or 'linear')"
        )
    return None


# Of a linear head on averaged maps the gradient is the head's weight at every position, so that
# weighing by weights, by mean gradients or by gradients place by place is the same.
SAME_FOR_LINEAR_HEADS = ("cam", "grad_cam", "hires_cam")


def note_of_same_maps(method: str, network: Network, values: Mapping[str, Any]) -> tuple[str, ...]:
    """Say that methods are one for this network, which would else be taken for three that agree.

    Parameters
    ----------
    method : str
        Registry name.
    network : Network
    values : mapping
        The method's parameters.

    Returns
    -------
    tuple of str
        One sentence or none.
    """
    at_the_end = values.get("layer") in ("last", network.layer_names[-1])
    if method not in SAME_FOR_LINEAR_HEADS or not at_the_end or values.get("relu"):
        return ()
    if needs_linear_head(network) or network.located_layer != network.layer_names[-1]:
        return ()
    return (
        "CAM, Grad-CAM and HiRes-CAM are the same map for this network, whose head is linear: they are "
        "no three methods that agree",
    )


@attribution_method(
    title="CAM",
    source="Zhou, Khosla, Lapedriza, Oliva & Torralba 2016, arXiv:1512.04150",
    needs=needs_linear_head,
)
def cam(
    network: Network,
    x: Tensor,
    target: int,
    *,
    layer: Annotated[
        str,
        Help("layer with a linear classifier of its own; of cam_net with joint_loss every block"),
    ] = "last",
) -> Evidence:
    """Feature maps of a layer, weighted with its linear classifier's weights for the class.

    Of the last layer that classifier is the head. A network trained with the joint loss has one on
    every block; its map explains the logit of that classifier, which is not the network's answer.

    Parameters
    ----------
    network : Network
        In evaluation mode.
    x : Tensor, shape (1, C, H, W)
        One standardised image.
    target : int
        Index of the class, the wrong one too.

    Returns
    -------
    Evidence
        Joint: sum_k w_k^c A^k, divided by the number of positions that the classifier averages
        over, interpolated to pixels such that the sum stays: the map's sum plus the classifier's
        bias is its logit. Maps: see
        :func:`~napari_why.attribution.class_activation_maps.evidence_of_layer`.

    Raises
    ------
    ParameterError
        The layer has no linear classifier.
    """
    weights = network.layer_weights()
    head_layer = network.layer_names[-1]
    name = head_layer if layer == "last" else layer
    if name not in weights:
        raise ParameterError(
            f"layer: found {layer!r}; expected 'last' or a layer of {network.name} with a linear "
            f"classifier of its own: {', '.join(weights)}; grad_cam and hires_cam take any layer, "
            "and cam_net trained with joint_loss=True has a classifier on every block"
        )
    row = weights[name][target].detach()

    def logit_on(maps: dict[str, Tensor]) -> float:
        with torch.no_grad():
            if name == head_layer:
                return network.head(maps[name])[0, target].item()
            return network.auxiliary_logits(maps)[name][0, target].item()

    def class_activation(found: LayerGradients) -> Tensor:
        positions = found.maps.shape[-2] * found.maps.shape[-1]
        return torch.einsum("k,nkhw->nhw", row, found.maps) / positions

    # the head may be more than a matrix (a bias, a temperature), so its constant is asked for
    def logit_and_bias(found: LayerGradients) -> tuple[float, float]:
        with torch.no_grad(), network.use.passing():
            maps = network.feature_maps(x)
        return logit_on(maps), logit_on({**maps, name: torch.zeros_like(found.maps[:1])})

    whose = "the head" if name == head_layer else f"the classifier of {name}"
    found = evidence_of_layer(
        network,
        x,
        target,
        name,
        class_activation,
        logit_and_bias,
        f"sum of the joint map against the logit of {whose} without its bias",
        f"the bias of {whose}",
    )
    return replace(found, details={**found.details, "layer": name, "explained_by": whose})


@attribution_method(title="Grad-CAM", source="Selvaraju et al. 2017, arXiv:1610.02391")
def grad_cam(
    network: Network,
    x: Tensor,
    target: int,
    *,
    layer: Annotated[str, Help("name of the layer whose feature maps are weighted")] = "last",
    relu: Annotated[bool, Help("cut off evidence against the class, as in the paper")] = False,
) -> Evidence:
    """Feature maps of a layer, each weighted with its mean gradient.

    Parameters
    ----------
    network : Network
        In evaluation mode.
    x : Tensor, shape (1, C, H, W)
        One standardised image.
    target : int
        Index of the class.

    Returns
    -------
    Evidence
        Joint: sum_k mean_ij(ds_c/dA^k_ij) A^k, interpolated to pixels such that the sum stays.
        Without ``relu`` and on the last layer of a network with a linear head on pooled maps
        this is CAM; elsewhere it promises no sum, so no gap is given.
        Maps: see :func:`~napari_why.attribution.class_activation_maps.evidence_of_layer`.

    Raises
    ------
    ParameterError
        The network has no such layer.
    """

    def weigh(found: LayerGradients) -> Tensor:
        evidence = by_mean_gradient(found)
        return evidence.relu() if relu else evidence

    return evidence_of_layer(network, x, target, layer, weigh)


@attribution_method(title="HiRes-CAM", source="Draelos & Carin 2020, arXiv:2011.08891")
def hires_cam(
    network: Network,
    x: Tensor,
    target: int,
    *,
    layer: Annotated[str, Help("name of the layer whose feature maps are weighted")] = "last",
) -> Evidence:
    """Gradient times activation at one layer, summed over feature maps, not averaged.

    Parameters
    ----------
    network : Network
        In evaluation mode.
    x : Tensor, shape (1, C, H, W)
        One standardised image.
    target : int
        Index of the class.

    Returns
    -------
    Evidence
        Joint: sum_k (ds_c/dA^k) * A^k elementwise, interpolated to pixels such that the sum
        stays. On the last layer of a network with a linear head on pooled maps this is CAM;
        for other heads and layers it promises no sum, so no gap is given.
        Maps: see :func:`~napari_why.attribution.class_activation_maps.evidence_of_layer`.

    Raises
    ------
    ParameterError
        The network has no such layer.
    """

    def gradient_x_activation(found: LayerGradients) -> Tensor:
        return (found.gradients * found.maps).sum(dim=1)

    return evidence_of_layer(network, x, target, layer, gradient_x_activation)
