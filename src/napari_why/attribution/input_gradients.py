"""Gradients of a logit with respect to the image: saliency, input x gradient, and integrated."""

from typing import Annotated

import torch
from torch import Tensor

from napari_why.attribution.registry import (
    Evidence,
    ImageBaseline,
    attribution_method,
    baseline_image,
    relative_gap,
)
from napari_why.core import events
from napari_why.core.devices import to_float64
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
    from captum.attr import Saliency  # most of a second, since it imports matplotlib

    scores: list[Tensor] = []

    def score(images: Tensor) -> Tensor:
        scores.append(network(images)[:, target])
        return scores[-1]

    # the sign matters: a pixel may speak against the class
    leaf = x.detach().clone().requires_grad_()
    gradients: Tensor = Saliency(score).attribute(leaf, abs=False)
    return scores[-1].detach(), gradients.detach()


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
    # standardised, the training mean is 0: x itself is the distance from it
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
    # less than 0.1 % of gap on ELU networks; docs/attribution.md says where more are needed
    steps: Annotated[int, Help("points on the way; more bring the gap down"), Range(1, 1000)] = 32,
    baseline: Annotated[
        ImageBaseline,
        Help("where the way starts: no light, the training mean, or the blurred image"),
    ] = "mean",
    blur_sigma: Annotated[
        float, Help("width of the blur, for the baseline blur"), Range(0.1, 100), Unit("px")
    ] = 7.5,  # half a window of occlusion, so that both blur structures of one size away
    raw_zero: Tensor | None = None,
    on_event: events.OnEvent = events.ignore_event,
    cancelled: events.Cancelled = events.never_cancelled,
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
    from captum.attr import IntegratedGradients  # see input_gradient

    start = baseline_image(x, baseline, raw_zero, blur_sigma)
    on_event(events.Started("integrated gradients", steps))
    done, stopped = 0, False

    def score(point: Tensor) -> Tensor:
        nonlocal done, stopped
        stopped = stopped or cancelled()
        if stopped:  # captum has no way out: what is flat adds nothing, and costs nothing
            return point.flatten(1).sum(dim=1) * 0
        found: Tensor = network(point)[:, target]
        done += 1
        on_event(events.Advanced(done))
        return found

    # one point at a time: batches are slower on a CPU, and memory stays that of one image
    found = IntegratedGradients(score).attribute(
        x.detach(), start, n_steps=steps, method="gausslegendre", internal_batch_size=1
    )
    maps = found[0].detach().to(x.dtype)
    with torch.no_grad():
        reached, before = (network(image)[0, target].item() for image in (x, start))
    difference = reached - before
    return Evidence(
        maps=maps,
        joint=maps.sum(dim=0),
        unit="logit per pixel",
        gap=relative_gap(to_float64(maps).sum().item(), difference),
        gap_meaning="sum of the maps against the logit's difference from the baseline",
        details={"difference": difference, "steps_done": done},
        partial=done < steps,
        explained=reached,
        constants=before,
        constants_meaning="the logit of the baseline",
    )
