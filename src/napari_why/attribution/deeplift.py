"""DeepLIFT: how much of the difference from a reference image each pixel brings about.

Written on the tape of :mod:`napari_why.attribution.relevance_tape` and not taken from captum 0.9.
Its DeepLift puts hooks on activation modules: it raises where one is used twice, does not see
functional activations, and on pre-activation residual blocks, where skip and branch share a tensor,
its rule overwrites the gradient of both, so that the map misses the difference without a word.
"""

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from napari_why.attribution.input_gradients import Baseline, BlurSigma, divided_difference
from napari_why.attribution.lrp import AVERAGES, MOVES, SUMS
from napari_why.attribution.registry import (
    Evidence,
    attribution_method,
    baseline_image,
)
from napari_why.attribution.relevance_places import WEIGHTED
from napari_why.attribution.relevance_rules import batch_norm_affine
from napari_why.attribution.relevance_tape import (
    Operation,
    Tape,
    gradient_of_step,
    record_checked_tape,
    run_back,
)
from napari_why.core import events
from napari_why.core.devices import to_float64, to_like
from napari_why.core.errors import UnsupportedNetworkError
from napari_why.networks.network import Network

# functions of one number each, by their names on the tape
ELEMENTWISE = {"relu", "relu6", "leaky_relu", "prelu", "elu", "celu", "selu", "gelu", "silu"} | {
    *("mish", "softplus", "sigmoid", "logsigmoid", "tanh", "hardtanh", "hardswish", "hardsigmoid"),
    *("softsign", "threshold", "hardshrink", "softshrink", "tanhshrink", "clamp", "clamp_min"),
    *("clamp_max", "clip", "abs", "exp", "expm1", "log", "log1p", "sqrt", "rsqrt", "square"),
    *("reciprocal", "sin", "cos", "erf"),
}
# Share of the values below which their difference is rounding of float64, as is then the quotient
NEAR = 1e-9
# beside the image: below any value, and far enough from the largest float64 to be reckoned with
LOWEST = -1e100
# points of Gauss-Legendre quadrature: exact for products of up to 31 factors, and to float32 for
# what is as smooth as a norm or a softmax
POINTS = 16


def multipliers_of_step(
    operation: Operation, given: tuple[Tensor, ...], *, references: dict[int, Operation]
) -> tuple[Tensor, ...]:
    """Return the multipliers of an operation's sources from those of its results.

    A multiplier is the gradient averaged over the straight way from the reference's values to the
    image's. For what is linear that is the gradient; for a function of one number the quotient of
    the differences, the rescale rule; products of two parts are shared evenly. A place in a window of
    max pooling has the share of the way on which it is the largest. captum and SHAP give all to the
    place of the larger of both maxima, which in a uniform reference is settled by rounding.

    Parameters
    ----------
    operation : Operation
        On the image's tape.
    given : tuple of Tensor
        Multipliers of its results, each of their shape.
    references : dict of int to Operation
        From :func:`pair_steps`.

    Returns
    -------
    tuple of Tensor
        One a source, each of its shape.
    """
    reference = references[id(operation)]
    if operation.name == "batch_norm":
        batch_norm_affine(operation)  # refuses the statistics of a batch, which are not linear
    linear = operation.name in AVERAGES | MOVES | SUMS | {"batch_norm"}
    if linear or (operation.name in WEIGHTED and len(operation.sources) == 1):
        return gradient_of_step(operation, given)
    if operation.name in ELEMENTWISE and len(operation.sources) == 1:
        return (_rescale(operation, reference, given[0]),)
    if operation.name == "max_pool2d":
        return (_share_maximum(operation, reference, given[0]),)
    return _average_over_way(operation, reference, given)


def _rescale(operation: Operation, reference: Operation, given: Tensor) -> Tensor:
    """Difference of the outputs over that of the inputs; the slope where these are the same."""
    # float64, since quotients of small differences are mostly rounding in float32
    x, start = (to_float64(step.sources[0].detach()) for step in (operation, reference))
    way = x - start
    near = way.abs() <= NEAR * torch.maximum(x.abs(), start.abs())
    (slope,) = gradient_of_step(operation, (torch.ones_like(x),), ((x + start) / 2,))
    _, (reached, *_rest) = operation.replay((x,))
    _, (before, *_rest) = operation.replay((start,))
    quotient = (reached - before).detach() / torch.where(near, 1.0, way)
    return given * to_like(torch.where(near, slope, quotient), given)


def _share_maximum(operation: Operation, reference: Operation, given: Tensor) -> Tensor:
    """Each place of a window gets the share of the way on which it is the largest.

    On the way from the reference to the image a value is a line r + a (x - r); a place's share is the
    length of the interval of a where its line lies above those of all others.
    """
    names = ("input", "kernel_size", "stride", "padding", "dilation")
    options = dict(zip(names, operation.args, strict=False)) | operation.kwargs
    kernel, padding, dilation = (
        _pair(options.get(name, default))
        for name, default in (("kernel_size", 1), ("padding", 0), ("dilation", 1))
    )
    stride = _pair(options.get("stride") or kernel)
    ends = [to_float64(step.sources[0].detach()) for step in (reference, operation)]
    height, width = ends[0].shape[-2:]
    # as many rows and columns below as whole windows take (ceil_mode looks beyond the border)
    below, right = (
        (count - 1) * stride[axis] + dilation[axis] * (kernel[axis] - 1) + 1 - side - padding[axis]
        for axis, (count, side) in enumerate(zip(given.shape[-2:], (height, width), strict=True))
    )
    borders = (padding[1], right, padding[0], below)
    windows = {"kernel_size": kernel, "stride": stride, "dilation": dilation}
    # the places of a window on an axis of their own: (N, C, K, windows)
    split = (*ends[0].shape[:2], kernel[0] * kernel[1], -1)
    start, end = (
        functional.unfold(functional.pad(one, borders, value=LOWEST), **windows).view(split)
        for one in ends
    )
    shares = to_float64(given).flatten(2)[:, :, None] * _shares_of_way(start, end - start)
    whole = (height + padding[0] + below, width + padding[1] + right)
    collected = functional.fold(shares.flatten(1, 2), whole, **windows)
    # cut to the image again, also where the last windows left rows out
    found = functional.pad(collected, [-side for side in borders])
    return to_like(found, given)


def _shares_of_way(start: Tensor, slope: Tensor) -> Tensor:
    """Return how much of 0 <= a <= 1 each of the lines start + a slope is the highest on.

    Parameters
    ----------
    start, slope : Tensor, shape (N, C, K, L)
        K lines, L times.

    Returns
    -------
    Tensor, shape (N, C, K, L)
        Their sum over K is 1; of equal lines the first has all.
    """
    shares = torch.empty_like(start)
    places = torch.arange(start.shape[2], device=start.device)[:, None]
    for place in range(start.shape[2]):
        here = slice(place, place + 1)
        above, steeper = start - start[:, :, here], slope[:, :, here] - slope
        crossing = above / torch.where(steeper == 0, 1.0, steeper)
        behind = (steeper == 0) & ((above > 0) | ((above == 0) & (places < place)))
        # overtakes what is less steep, is overtaken by what is steeper
        first = torch.where(steeper > 0, crossing, 0.0).amax(dim=2).clamp(min=0)
        last = torch.where(steeper < 0, crossing, torch.where(behind, 0.0, 1.0)).amin(dim=2)
        shares[:, :, place] = (last.clamp(max=1) - first).clamp(min=0)
    return shares


def _pair(value: int | Sequence[int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[-1])


def _average_over_way(
    operation: Operation, reference: Operation, given: tuple[Tensor, ...]
) -> tuple[Tensor, ...]:
    nodes, weights = np.polynomial.legendre.leggauss(POINTS)
    ends = [
        (start.detach(), source.detach())
        for start, source in zip(reference.sources, operation.sources, strict=True)
    ]
    total = [torch.zeros_like(start) for start, _ in ends]
    for node, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
        at = tuple(start + float(node) * (source - start) for start, source in ends)
        parts = gradient_of_step(operation, given, at)
        total = [old + float(weight) * part for old, part in zip(total, parts, strict=True)]
    return tuple(total)


def pair_steps(tape: Tape, reference: Tape) -> dict[int, Operation]:
    """Return for each operation on an image's tape, by id, the same one of the reference's.

    Parameters
    ----------
    tape, reference : Tape
        Of the image and of the reference image, through the same network.

    Returns
    -------
    dict of int to Operation

    Raises
    ------
    UnsupportedNetworkError
        The network did something else with the reference.
    """
    places, others = ([step.place for step in one.operations] for one in (tape, reference))
    if places != others:
        raise UnsupportedNetworkError(
            f"DeepLIFT: found {len(places)} operations on the image and {len(others)} on the "
            "reference, which differ; expected the same ones for every image; take integrated_gradients"
        )
    return {
        id(one): other for one, other in zip(tape.operations, reference.operations, strict=True)
    }


@attribution_method(
    title="DeepLIFT",
    source="Shrikumar, Greenside & Kundaje 2017, arXiv:1704.02685, rescale rule",
)
def deeplift(
    network: Network,
    x: Tensor,
    target: int,
    *,
    baseline: Baseline = "mean",
    blur_sigma: BlurSigma = 7.5,  # as integrated_gradients has it, so that both can be compared
    raw_zero: Tensor | None = None,
    on_event: events.OnEvent = events.ignore_event,
    cancelled: events.Cancelled = events.never_cancelled,
) -> Evidence:
    """Difference of the logit from that of a reference image, handed back to the pixels.

    R = (x - b) m, where the multiplier m goes back operation by operation by the chain rule, with
    (f(u) - f(u_b)) / (u - u_b) for the slope of an activation f.

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
        One step per operation of the network. Cancelled work gives a map of zeros: multipliers
        reach the pixels at the end only.

    Returns
    -------
    Evidence
        Maps in logits per pixel; joint: their sum over channels. Their sum is s_c(x) - s_c(b) up
        to rounding; the gap tells it.

    Raises
    ------
    UnsupportedNetworkError
        The network does other things with the reference than with the image.
    """
    start = baseline_image(x, baseline, raw_zero, blur_sigma)
    tape, reference = (record_checked_tape(network, image) for image in (x, start))
    on_event(events.Started("DeepLIFT", len(tape.operations)))
    rule = partial(multipliers_of_step, references=pair_steps(tape, reference))
    multipliers = run_back(tape, target, rule, on_event, cancelled)
    reached, before = (one.logits[0, target].item() for one in (tape, reference))
    maps = torch.zeros_like(x[0]) if multipliers is None else ((x - start) * multipliers)[0]
    return divided_difference(
        maps, reached, before, "the reference", details={}, partial=multipliers is None
    )
