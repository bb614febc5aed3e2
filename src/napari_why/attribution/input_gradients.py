"""Gradients of a logit with respect to the image: at the image, and integrated along a way to it."""

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Annotated, Any, Literal

import numpy as np
import torch
from torch import Tensor

from napari_why.attribution.incremental import Forward, fold
from napari_why.attribution.registry import (
    Evidence,
    ImageBaseline,
    attribution_method,
    baseline_image,
    relative_gap,
)
from napari_why.core import events
from napari_why.core.devices import to_float64
from napari_why.core.errors import MismatchError
from napari_why.core.options import Help, Label, Presets, Range, ShownWith, Unit
from napari_why.networks.network import Network

# of every method that compares an image with one baseline
Baseline = Annotated[
    ImageBaseline,
    Help("where the way starts: no light, the training mean, or the blurred image"),
]
BlurSigma = Annotated[
    float,
    Help("width of the blur, for the baseline blur"),
    Range(0.1, 100),
    Unit("px"),
    Label("width of the blur"),
    ShownWith("baseline", ("blur",)),
]
Steps = Annotated[
    int,
    Help("points on the way; more bring the gap down"),
    Range(1, 1000),
    Label("points on the way"),
    Presets(16, 128),
]

Way = Annotated[
    Literal["path", "straight"],
    Help("through all images of the counterfactual, or straight from the first to the last"),
]


def input_gradient(network: Forward, x: Tensor, target: int) -> tuple[Tensor, Tensor]:
    """Return the logits of one class and their gradients, one for each image.

    Parameters
    ----------
    network : callable
        The network, or what computes its logits sooner.
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
        # images do not know of each other, so that the gradient of the sum has that of each
        (gradients,) = torch.autograd.grad(scores.sum(), leaf)
    return scores.detach(), gradients


def input_score(network: Forward, x: Tensor, target: int) -> float:
    """Return the logit of one class for one image, shape (1, C, H, W), without a gradient.

    Parameters
    ----------
    network : callable
        (N, C, H, W) to logits (N, K).
    x : Tensor, shape (1, C, H, W)
    target : int
        Index of the class.

    Returns
    -------
    float
    """
    with torch.no_grad():
        return float(network(x)[0, target])


def divided_difference(
    maps: Tensor,
    reached: float,
    before: float,
    origin: str,
    *,
    details: Mapping[str, Any],
    partial: bool,
    standard_error: Tensor | None = None,
) -> Evidence:
    """Return evidence of maps that are to add up to the difference of two logits.

    Parameters
    ----------
    maps : Tensor, shape (C, H, W)
    reached, before : float
        The logit that is explained, and the one it is compared with.
    origin : str
        What the latter is of: ``the baseline``.
    details : mapping
        Further facts than the difference.
    partial : bool
    standard_error : Tensor, shape (H, W), optional

    Returns
    -------
    Evidence
        In logits per pixel; joint: the sum over channels. The gap compares the sum of all with the
        difference.
    """
    return Evidence(
        maps=maps,
        joint=maps.sum(dim=0),
        unit="logit per pixel",
        gap=relative_gap(to_float64(maps).sum().item(), reached - before),
        gap_meaning=f"sum of the maps against the logit's difference from {origin}",
        details={"difference": reached - before, **details},
        partial=partial,
        explained=reached,
        constants=before,
        constants_meaning=f"the logit of {origin}",
        standard_error=standard_error,
    )


@attribution_method(title="Saliency", source="Simonyan, Vedaldi & Zisserman 2014, arXiv:1312.6034")
def saliency(network: Network, x: Tensor, target: int) -> Evidence:
    """How much the logit rises when a pixel gets brighter: its gradient.

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
    title="Sensitivity", source="Montavon, Samek & Müller 2018, arXiv:1706.07979, section 4.1"
)
def sensitivity(network: Network, x: Tensor, target: int) -> Evidence:
    """Squared gradient of the logit: how much it would change, whichever way.

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
        Maps: (ds_c/dx)^2, never negative; joint: their sum over channels. The sum over pixels is
        the squared length of the gradient, which is all that the gap compares with: a change of
        the logit is divided up, not its value, and nothing is ``explained``.
    """
    _, gradients = input_gradient(network, x, target)
    maps = gradients[0].square()
    squared_length = to_float64(gradients).norm().item() ** 2
    return Evidence(
        maps,
        maps.sum(dim=0),
        "squared logit per squared standard deviation",
        gap=relative_gap(to_float64(maps).sum().item(), squared_length),
        gap_meaning="sum of the maps against the squared length of the gradient",
        details={"joint_has_sign": False},
    )


@attribution_method(
    title="Input x gradient", source="Shrikumar, Greenside & Kundaje 2016, arXiv:1605.01713"
)
def input_x_gradient(network: Network, x: Tensor, target: int) -> Evidence:
    """Gradient times the distance of a pixel from the training mean of its channel.

    Parameters
    ----------
    network : Network
        In evaluation mode.
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
    steps: Steps = 32,
    baseline: Baseline = "mean",
    blur_sigma: BlurSigma = 7.5,  # half a window of occlusion: both blur structures of one size away
    raw_zero: Tensor | None = None,
    on_event: events.OnEvent = events.ignore_event,
    cancelled: events.Cancelled = events.never_cancelled,
) -> Evidence:
    """Gradients collected on the straight way from a baseline to the image.

    R = (x - b) * integral over a from 0 to 1 of ds_c/dx at b + a (x - b), by Gauss-Legendre
    quadrature.

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
        One step per point. Cancelled work gives the sum over the points so far, from the
        baseline on; its gap shows how much is missing.

    Returns
    -------
    Evidence
        Maps in logits per pixel; joint: their sum over channels. Their sum is s_c(x) - s_c(b) up
        to the error of the quadrature; the gap tells it.
    """
    from captum.attr import IntegratedGradients  # most of a second, since it imports matplotlib

    start = baseline_image(x, baseline, raw_zero, blur_sigma)
    forward = fold(network, x, 2 * steps)  # a gradient is two passes
    on_event(events.Started("integrated gradients", steps))
    done, stopped = 0, False

    def score(point: Tensor) -> Tensor:
        nonlocal done, stopped
        stopped = stopped or cancelled()
        if stopped:  # captum has no way out: what is flat adds nothing, and costs nothing
            return point.flatten(1).sum(dim=1) * 0
        found = forward(point)[:, target]
        done += 1
        on_event(events.Advanced(done))
        return found

    # one point at a time: batches are slower on a CPU, and memory stays that of one image
    found = IntegratedGradients(score).attribute(
        x.detach(), start, n_steps=steps, method="gausslegendre", internal_batch_size=1
    )
    maps = found[0].detach().to(x.dtype)
    reached, before = (input_score(forward, image, target) for image in (x, start))
    return divided_difference(
        maps, reached, before, "the baseline", details={"steps_done": done}, partial=done < steps
    )


@attribution_method(
    title="Counterfactual gradients",
    source="after Eckstein et al. 2021, arXiv:2109.13412; Adjavon et al. 2024",
)
def counterfactual_gradients(
    network: Network,
    x: Tensor,
    target: int,
    *,
    way: Way = "path",
    # as integrated_gradients, whose gap they share; every piece of the way gets one at least
    steps: Steps = 32,
    alpha_path: Tensor,
    on_event: events.OnEvent = events.ignore_event,
    cancelled: events.Cancelled = events.never_cancelled,
) -> Evidence:
    """Which of the pixels that a counterfactual changes bring the change of the logit about.

    R = sum over the pieces of the way of (p_t+1 - p_t) * integral of ds_c/dx along the piece, by
    Gauss-Legendre quadrature. Positive: what was changed here speaks for the class. For the
    counterfactual's class the whole is what the change won, for the image's own what it lost.

    Parameters
    ----------
    network : Network
        In evaluation mode.
    x : Tensor, shape (1, C, H, W)
        One standardised image, the first of the way.
    target : int
        Index of the class.
    alpha_path : Tensor, shape (T, C, H, W)
        The images of a counterfactual from x to the other class, two or more.
    on_event, cancelled : callable
        One step per point. Cancelled work gives the sum over the points so far, from x on; its
        gap shows how much is missing.

    Returns
    -------
    Evidence
        Maps in logits per pixel, 0 where nothing was changed; joint: their sum over channels. Their
        sum is s_c(last) - s_c(first) up to the error of the quadrature; the gap tells it.

    Raises
    ------
    MismatchError
        The way is not one of two or more images of the size of x.
    """
    images = _images_of_way(alpha_path.to(x), x, way)
    points = list(points_of_way(images, steps))
    on_event(events.Started("counterfactual gradients", len(points)))
    maps, done = torch.zeros_like(x[0]), 0
    for point, weighted_way in points:
        if cancelled():
            break
        _, gradients = input_gradient(network, point[None], target)
        maps = maps + weighted_way * gradients[0]
        done += 1
        on_event(events.Advanced(done))
    before, reached = (input_score(network, images[index, None], target) for index in (0, -1))
    origin = "the first image of the way; that of the last is explained"
    return divided_difference(
        maps, reached, before, origin, details={"steps_done": done}, partial=done < len(points)
    )


def points_of_way(images: Tensor, steps: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the points of Gauss-Legendre quadrature on a way from image to image.

    Parameters
    ----------
    images : Tensor, shape (T, C, H, W)
    steps : int
        Points on the whole way; every piece gets as many as the others, and one at least.

    Yields
    ------
    point, weighted_way : Tensor, shape (C, H, W)
        The integral is the sum of weighted_way * gradient at the point.
    """
    nodes, weights = np.polynomial.legendre.leggauss(-(-steps // (len(images) - 1)))
    for start, end in pairwise(images):
        for node, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
            yield start + float(node) * (end - start), float(weight) * (end - start)


def _images_of_way(path: Tensor, x: Tensor, way: str) -> Tensor:
    if path.ndim != 4 or path.shape[1:] != x.shape[1:] or len(path) < 2:
        raise MismatchError(
            f"alpha_path: found shape {tuple(path.shape)}; expected two or more images of "
            f"{tuple(x.shape[1:])}, the explained one first"
        )
    return path[[0, -1]] if way == "straight" else path
