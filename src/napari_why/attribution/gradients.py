"""Gradients of one logit, with respect to the input or to the feature maps of a layer."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from napari_why.attribution.guard import check_same_logits
from napari_why.core.errors import ParameterError
from napari_why.networks.network import Network


def input_gradient(network: Network, x: Tensor, target: int) -> tuple[Tensor, Tensor]:
    """Return the logits of one class and their gradients, one for each image.

    Parameters
    ----------
    x : Tensor, shape (N, C, H, W)
    target : int
        Index of the class.

    Returns
    -------
    scores : Tensor, shape (N,)
    gradients : Tensor, shape (N, C, H, W)
    """
    leaf = x.detach().clone().requires_grad_()
    with torch.enable_grad():
        scores = network(leaf)[:, target]
        (gradients,) = torch.autograd.grad(scores.sum(), leaf)
    return scores.detach(), gradients


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
    x : Tensor, shape (N, C, H, W)
    target : int
        Index of the class.
    layer : str
        A layer name of the network, or ``last``.

    Raises
    ------
    ParameterError
        The network has no such layer.
    UnsupportedNetworkError
        The logits by way of the feature maps are not the plain ones.
    """
    name = layer_name(network, layer)
    with torch.no_grad():
        plain = network(x)
    leaf = x.detach().clone().requires_grad_()
    with torch.enable_grad():
        maps = network.feature_maps(leaf)
        logits = network.head(maps[network.layer_names[-1]])
        (gradients,) = torch.autograd.grad(logits[:, target].sum(), maps[name])
    check_same_logits(plain, logits, "by way of the feature maps")
    return LayerGradients(maps[name].detach(), gradients, logits.detach())


def layer_name(network: Network, layer: str) -> str:
    """Return the name of a layer; ``last`` is the last whose maps tell positions apart.

    Raises
    ------
    ParameterError
        The network has no such layer.
    """
    names = network.layer_names
    if layer == "last":
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
