"""Score-CAM: feature maps weighted by what the logit gains when an image shows through each of them."""

from typing import Annotated

import torch
from torch import Tensor
from torch.nn import functional as F

from napari_why.attribution.class_activation_maps import (
    layer_gradients,
    spread_to_pixels,
    with_channels_at_mean,
)
from napari_why.attribution.incremental import Forward, fold
from napari_why.attribution.input_gradients import BlurSigma
from napari_why.attribution.occlusion import Batch, batch_size
from napari_why.attribution.registry import (
    Evidence,
    ImageBaseline,
    attribution_method,
    baseline_image,
)
from napari_why.core import events
from napari_why.core.devices import at_a_time
from napari_why.core.options import Help, Range
from napari_why.networks.network import Network

Baseline = Annotated[
    ImageBaseline, Help("what hides the image: no light, the training mean, or the blurred image")
]
Maps = Annotated[
    int | None,
    Help("number of feature maps to take, those that vary most over the image first; none: all"),
    Range(1, 1_000_000),
]


@attribution_method(title="Score-CAM", source="Wang et al. 2020, arXiv:1910.01279")
def score_cam(
    network: Network,
    x: Tensor,
    target: int,
    *,
    layer: Annotated[str, Help("name of the layer whose feature maps are masks")] = "last",
    baseline: Baseline = "mean",
    blur_sigma: BlurSigma = 7.5,  # that of the other methods with such a baseline
    maps: Maps = None,
    relu: Annotated[bool, Help("cut off evidence against the class, as in the paper")] = False,
    batch: Batch = None,
    raw_zero: Tensor | None = None,
    on_event: events.OnEvent = events.ignore_event,
    cancelled: events.Cancelled = events.never_cancelled,
) -> Evidence:
    """Feature maps of a layer, each weighted by the logit of the image seen through it.

    w_k = s_c(b + H^k (x - b)) - s_c(b), with H^k the map A^k brought to the range 0 to 1 and to the
    pixels, and b the baseline. No gradient is used. The paper's softmax over k is left out: it takes
    the sign from the weights.

    Parameters
    ----------
    network : Network
        In evaluation mode.
    x : Tensor, shape (1, C, H, W)
        One standardised image.
    target : int
        Index of the class.
    raw_zero : Tensor, shape (1, C, H, W), optional
        The preprocessed image without light, for the baseline ``zero``.
    on_event, cancelled : callable
        One step per feature map. Cancelled work gives the sum over the maps so far, of which those
        that vary most over the image come first.

    Returns
    -------
    Evidence
        Joint: sum_k w_k A^k, interpolated to pixels such that the sum stays; no sum is promised. A map
        that is the same everywhere names no place, and hides nothing: H = 1.
        Maps: the change of the joint map when a channel is set to its training mean, with the weights
        of the image as it is.

    Raises
    ------
    ParameterError
        The network has no such layer.
    """
    found = layer_gradients(network, with_channels_at_mean(x), target, layer).maps
    absent = baseline_image(x, baseline, raw_zero, blur_sigma)
    chosen = varying_most(found[0])[:maps]
    on_event(events.Started("Score-CAM", len(chosen) + 1))
    forward = fold(network, x, len(chosen) + 2)
    least, most = scores_of(forward, torch.cat([absent, x]), target)
    weights, done, batch = (
        (most - least).repeat(found.shape[1]),
        0,
        at_a_time(batch) if batch else batch_size(x),
    )
    weights[varying_most(found[0])] = 0
    on_event(events.Advanced(1))
    # batch by batch: all masked images at once would take gigabytes
    while done < len(chosen) and not cancelled():
        some = chosen[done : done + batch]
        seen = absent + masks_of(found[0, some], x) * (x - absent)
        weights[some], done = scores_of(forward, seen, target) - least, done + len(some)
        on_event(events.Advanced(done + 1))
    return evidence_of_weights(weights, found, x, relu, done, len(chosen))


@torch.no_grad()
def scores_of(forward: Forward, images: Tensor, target: int) -> Tensor:
    """Return the scores (N,) of images.

    Parameters
    ----------
    forward : callable
        (N, C, H, W) to logits (N, K).
    images : Tensor, shape (N, C, H, W)
    target : int
        Index of the class.

    Returns
    -------
    Tensor, shape (N,)
    """
    return forward(images)[:, target]


def evidence_of_weights(
    weights: Tensor, found: Tensor, x: Tensor, relu: bool, done: int, wanted: int
) -> Evidence:
    """Return the weighted sum of feature maps (1 + C, K, h, w): the image's, and with a channel less.

    Parameters
    ----------
    weights : Tensor, shape (K,)
        In logits.
    found : Tensor, shape (1 + C, K, h, w)
    x : Tensor, shape (1, C, H, W)
        The image, for its size.
    relu : bool
        Cut off what is below 0.
    done, wanted : int
        How many maps have a weight, and how many were to have one.

    Returns
    -------
    Evidence
    """
    on_grid = torch.einsum("k,nkhw->nhw", weights, found)
    on_pixels = spread_to_pixels(on_grid.relu() if relu else on_grid, (x.shape[-2], x.shape[-1]))
    return Evidence(
        maps=on_pixels[0] - on_pixels[1:],
        joint=on_pixels[0],
        unit="logit x activation per pixel",
        details={"layer_grid": list(found.shape[-2:]), "maps_done": done, "maps": wanted},
        partial=done < wanted,
    )


def varying_most(maps: Tensor) -> Tensor:
    """Return the indices of feature maps (K, h, w) that are not constant, largest deviation first.

    Examples
    --------
    >>> varying_most(torch.tensor([[[1.0, 1.0]], [[0.0, 1.0]], [[0.0, 3.0]]])).tolist()
    [2, 1]
    """
    values = maps.flatten(1)
    order = values.std(dim=1, correction=0).argsort(descending=True, stable=True)
    return order[(values.amax(dim=1) > values.amin(dim=1))[order]]


def masks_of(maps: Tensor, x: Tensor) -> Tensor:
    """Return feature maps (K, h, w), none of them constant, as masks (K, 1, H, W) from 0 to 1.

    Parameters
    ----------
    maps : Tensor, shape (K, h, w)
    x : Tensor, shape (..., H, W)
        The image, for its size.

    Returns
    -------
    Tensor, shape (K, 1, H, W)

    Examples
    --------
    >>> masks_of(torch.tensor([[[-1.0, 3.0]]]), torch.zeros(1, 2, 1, 4)).flatten().tolist()
    [0.0, 0.25, 0.75, 1.0]
    """
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    masks = ((maps - low) / (high - low))[:, None]
    return F.interpolate(masks, size=x.shape[-2:], mode="bilinear", align_corners=False)
