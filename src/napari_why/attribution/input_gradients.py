"""Saliency: the gradient of the logit."""

from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from napari_why.attribution.baselines import ImageBaseline, baseline_image
from napari_why.attribution.registry import Evidence, attribution_method, relative_gap
from napari_why.core.events import (
    Advanced,
    Cancelled,
    OnEvent,
    Started,
    ignore_event,
    never_cancelled,
)
from napari_why.core.options import Help, Range, Unit
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


@attribution_method(title="Saliency", source="Simonyan, Vedaldi & Zisserman 2014, arXiv:1312.6034")
def saliency(network: Network, x: Tensor, target: int) -> Evidence:
    """How much the logit rises when a pixel gets brighter: its gradient.

    Parameters
    ----------
    x : Tensor, shape (1, C, H, W)
        One standardised image.
    target : int
        Index of the class.

    Returns
    -------
    Evidence
        Maps: the signed gradient ds_c/dx, logit per training standard deviation. Joint: the
        largest absolute gradient over the channels, as in Simonyan et al. section 3.1, which has
        no sign. A gradient explains a change of the logit, not its value, and promises no sum.
    """
    _, gradients = input_gradient(network, x, target)
    maps = gradients[0]
    return Evidence(
        maps,
        maps.abs().amax(dim=0),
        "logit per standard deviation",
        details={"joint_has_sign": False},
    )


@attribution_method(
    title="Input x gradient", source="Shrikumar, Greenside & Kundaje 2016, arXiv:1605.01713"
)
def input_x_gradient(network: Network, x: Tensor, target: int) -> Evidence:
    """Gradient times the distance of a pixel from the training mean of its channel.

    Parameters
    ----------
    x : Tensor, shape (1, C, H, W)
        One standardised image; 0 is the training mean.
    target : int
        Index of the class.

    Returns
    -------
    Evidence
        Maps: x * ds_c/dx in logits per pixel; joint: their sum over channels. The sum over pixels
        is the logit only for networks without biases and with piecewise linear activations, so no
        gap is given.
    """
    _, gradients = input_gradient(network, x, target)
    maps = (x * gradients)[0]
    return Evidence(maps, maps.sum(dim=0), "logit per pixel")


@attribution_method(
    title="Integrated gradients", source="Sundararajan, Taly & Yan 2017, arXiv:1703.01365"
)
def integrated_gradients(
    network: Network,
    x: Tensor,
    target: int,
    *,
    steps: Annotated[int, Help("points on the way; more bring the gap down"), Range(1, 1000)] = 32,
    baseline: Annotated[
        ImageBaseline,
        Help("where the way starts: no light, the training mean, or the blurred image"),
    ] = "mean",
    blur_sigma: Annotated[
        float, Help("width of the blur, for the baseline blur"), Range(0.1, 100), Unit("px")
    ] = 7.5,
    raw_zero: Tensor | None = None,
    on_event: OnEvent = ignore_event,
    cancelled: Cancelled = never_cancelled,
) -> Evidence:
    """Gradients collected on the straight way from a baseline to the image.

    R = (x - b) * integral over a from 0 to 1 of ds_c/dx at b + a (x - b), by Gauss-Legendre
    quadrature.

    Parameters
    ----------
    x : Tensor, shape (1, C, H, W)
        One standardised image.
    target : int
        Index of the class.
    raw_zero : Tensor, shape (1, C, H, W), optional
        The preprocessed image without light, for the baseline ``zero``.
    on_event, cancelled : callable
        One step per point. Cancelled work gives the sum over the points so far, from the
        baseline on; its gap shows how much is missing.

    Returns
    -------
    Evidence
        Maps in logits per pixel; joint: their sum over channels. Their sum is s_c(x) - s_c(b) up
        to the error of the quadrature; the gap tells it.
    """
    start = baseline_image(x, baseline, raw_zero, blur_sigma)
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    on_event(Started("integrated gradients", steps))
    mean_gradient = torch.zeros_like(x)
    done = 0
    # one point at a time: batches are slower on a CPU, and memory stays that of one image
    for node, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
        if cancelled():
            break
        _, gradient = input_gradient(network, start + float(node) * (x - start), target)
        mean_gradient += float(weight) * gradient
        done += 1
        on_event(Advanced(done))
    maps = ((x - start) * mean_gradient)[0]
    with torch.no_grad():
        difference = (network(x) - network(start))[0, target].item()
    return Evidence(
        maps=maps,
        joint=maps.sum(dim=0),
        unit="logit per pixel",
        gap=relative_gap(maps.double().sum().item(), difference),
        gap_meaning="sum of the maps against the logit's difference from the baseline",
        details={"difference": difference, "steps_done": done},
        partial=done < steps,
    )
