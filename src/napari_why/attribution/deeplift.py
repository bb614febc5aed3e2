"""DeepLIFT: how much of the difference from a reference image each pixel brings about.

Written on the tape of :mod:`napari_why.attribution.relevance_tape` and not taken from captum 0.9.
Its DeepLift puts hooks on activation modules: it raises where one is used twice, does not see
functional activations, and on pre-activation residual blocks, where skip and branch share a tensor,
its rule overwrites the gradient of both, so that the map misses the difference without a word.
"""

from functools import partial

import numpy as np
import torch
from torch import Tensor

from napari_why.attribution.input_gradients import Baseline, BlurSigma, divided_difference
from napari_why.attribution.lrp import AVERAGES, MAXIMA, MOVES, SUMS, WEIGHTED
from napari_why.attribution.modified_gradients import (
    gradient_of_step,
    record_checked_tape,
    run_back,
)
from napari_why.attribution.registry import (
    Evidence,
    attribution_method,
    baseline_image,
)
from napari_why.attribution.relevance_rules import batch_norm_affine
from napari_why.attribution.relevance_tape import Operation, Tape
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
# points of Gauss-Legendre quadrature: exact for products of up to 31 factors, and to float32 for
# what is as smooth as a norm or a softmax
POINTS = 16


def multipliers_of_step(
    operation: Operation, given: tuple[Tensor, ...], *, references: dict[int, Operation]
) -> tuple[Tensor, ...]:
    """Return the multipliers of an operation's sources from those of its results.

    A multiplier is the gradient averaged over the straight way from the reference's values to the
    image's. For what is linear that is the gradient; for a function of one number the quotient of
    the differences, the rescale rule; products of two parts are shared evenly. A maximum gives its
    difference to the place of the larger of the two maxima, the rule of captum and SHAP.
    """
    reference = references[id(operation)]
    if operation.name == "batch_norm":
        batch_norm_affine(operation)  # refuses the statistics of a batch, which are not linear
    linear = operation.name in AVERAGES | MOVES | SUMS | {"batch_norm"}
    if linear or (operation.name in WEIGHTED and len(operation.sources) == 1):
        return gradient_of_step(operation, given)
    if operation.name in ELEMENTWISE and len(operation.sources) == 1:
        return (_rescale(operation, reference, given[0]),)
    if operation.name in MAXIMA:
        return (_give_to_larger(operation, reference, given[0]),)
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


def _give_to_larger(operation: Operation, reference: Operation, given: Tensor) -> Tensor:
    """Each window's difference goes to where the larger of both maxima is.

    There the inputs differ by as much at least and in the same direction, so that the multiplier
    is between 0 and 1; at the image's own maximum it would have no limit.
    """
    reached, before = operation.results[0].detach(), reference.results[0].detach()
    difference = given * (reached - before)
    up = reached >= before
    (here,) = gradient_of_step(operation, (torch.where(up, difference, 0.0),))
    (there,) = gradient_of_step(reference, (torch.where(up, 0.0, difference),))
    way = (operation.sources[0] - reference.sources[0]).detach()
    (slope,) = gradient_of_step(operation, (given,))
    return torch.where(way == 0, slope, (here + there) / torch.where(way == 0, 1.0, way))


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
