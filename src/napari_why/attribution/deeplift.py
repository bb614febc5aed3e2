"""DeepLIFT: how much of the difference from a reference image each pixel brings about.

Written on the operations that :mod:`napari_why.attribution.relevance_tape` sees and not taken from
captum 0.9. Its DeepLift puts hooks on activation modules: it raises where one is used twice, does not see
functional activations, and on pre-activation residual blocks, where skip and branch share a tensor,
its rule overwrites the gradient of both, so that the map misses the difference without a word.

The reference goes through the network first. On the image's way the result of every operation that is
not linear gets a gradient of its own, that of the rule, so that one backward pass gives the multipliers.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from napari_why.attribution.input_gradients import (
    Baseline,
    BlurSigma,
    divided_difference,
    input_score,
)
from napari_why.attribution.lrp import AVERAGES, FACTORS, MOVES, SUMS, has_constant_factor
from napari_why.attribution.registry import (
    Evidence,
    attribution_method,
    baseline_image,
)
from napari_why.attribution.relevance_places import WEIGHTED
from napari_why.attribution.relevance_rules import batch_norm_arguments
from napari_why.attribution.relevance_tape import (
    Operation,
    gradient_of_step,
    record_checked_tape,
    record_tape,
    tensors_in,
)
from napari_why.core import events
from napari_why.core.devices import to_float64, to_like
from napari_why.core.errors import CancellationError, UnsupportedNetworkError
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
# share of input and output below which a difference of inputs takes float64: above it the rounding of outputs,
# 6e-8 of them or of the inputs, puts a quotient off by some 2e-6
UNSURE = 1 / 16
# beside the image: below any value, and far enough from the largest float64 to be reckoned with
LOWEST = -1e100
# pairs of lines that are compared at once: 2 MB in float64
PAIRS = 2**18
# points of Gauss-Legendre quadrature: exact for products of up to 31 factors, and to float32 for
# what is as smooth as a norm or a softmax
POINTS = 16

Rule = Callable[[tuple[Tensor, ...]], tuple[Tensor, ...]]
"""Multipliers of an operation's results to those of its sources, each of their shape."""


def rule_of(operation: Operation, reference: Operation) -> Rule:
    """Return how the multipliers of an operation's results become those of its sources.

    A multiplier is the gradient averaged over the straight way from the reference's values to the
    image's. For what is linear that is the gradient; for a function of one number the quotient of
    the differences, the rescale rule; products of two parts are shared evenly. A place in a window of
    max pooling has the share of the way on which it is the largest. captum and SHAP give all to the
    place of the larger of both maxima, which in a uniform reference is settled by rounding.

    Parameters
    ----------
    operation, reference : Operation
        The same one on the image's way and on the reference's.

    Returns
    -------
    callable
        ``(multipliers of the results) -> multipliers of the sources``.
    """
    if is_linear(operation):
        return partial(gradient_of_step, operation)
    if operation.name in ELEMENTWISE and len(operation.sources) == 1:
        quotient = _rescale(operation, reference)
        return lambda given: (given[0] * quotient,)
    if operation.name == "max_pool2d":
        return lambda given: (_share_maximum(operation, reference, given[0]),)
    return partial(_average_over_way, operation, reference)


def is_linear(operation: Operation) -> bool:
    """Whether an operation is linear in what depends on the image, but for a constant.

    Parameters
    ----------
    operation : Operation

    Returns
    -------
    bool

    Raises
    ------
    UnsupportedNetworkError
        A batch normalisation with the statistics of the batch, which is not.
    """
    if operation.name == "batch_norm":
        batch_norm_arguments(operation)  # refuses them
        return True
    if operation.name in AVERAGES | MOVES | SUMS:
        return True
    if len(operation.sources) != 1:
        return False
    product = operation.name in FACTORS and has_constant_factor(operation)
    return product or operation.name in WEIGHTED


def _rescale(operation: Operation, reference: Operation) -> Tensor:
    """Difference of the outputs over that of the inputs; the slope where these are the same."""
    x, start = (step.sources[0].detach() for step in (operation, reference))
    # a function of each number alone can be asked about some of them
    alone = sum(1 for _ in tensors_in((operation.args, operation.kwargs))) == 1
    if x.dtype == torch.float64 or not alone:
        return _rescale_in_float64(operation, x, start)
    reached, before = (step.results[0].detach() for step in (operation, reference))
    way = x - start
    quotient = (reached - before) / way
    if operation.name == "relu":  # exact: its outputs are 0 or the inputs
        return torch.where(way == 0, (x > 0).to(x.dtype), quotient)
    # of the image's numbers: where the reference's are much larger, nothing cancels
    unsure = way.abs() <= x.abs().add_(reached.abs()).mul_(UNSURE)
    if unsure.any():
        quotient[unsure] = _rescale_in_float64(operation, x[unsure], start[unsure])
    return quotient


def _rescale_in_float64(operation: Operation, x: Tensor, start: Tensor) -> Tensor:
    # quotients of small differences are mostly rounding in float32
    end, begin = to_float64(x), to_float64(start)
    way = end - begin
    near = way.abs() <= NEAR * torch.maximum(end.abs(), begin.abs())
    _, (reached, *_rest) = operation.replay((end,))
    _, (before, *_rest) = operation.replay((begin,))
    quotient = (reached - before).detach() / torch.where(near, 1.0, way)
    if near.any():
        (slope,) = gradient_of_step(operation, (torch.ones_like(end),), ((end + begin) / 2,))
        quotient = torch.where(near, slope, quotient)
    return to_like(quotient, x)


def _share_maximum(operation: Operation, reference: Operation, given: Tensor) -> Tensor:
    """Each place of a window gets the share of the way on which it is the largest.

    On the way from the reference to the image a value is a line r + a (x - r); a place's share is the
    length of the interval of a where its line lies above those of all others.
    """
    names = ("input", "kernel_size", "stride", "padding", "dilation", "ceil_mode")
    options = dict(zip(names, operation.args, strict=False)) | operation.kwargs
    options = {name: options[name] for name in names[1:] if options.get(name)}
    end, start = (step.sources[0].detach() for step in (operation, reference))
    # of maps as they are laid out: torch looks ten times as long for maxima of others
    _, places = functional.max_pool2d(end, **options, return_indices=True)
    # rows one after the other on one axis
    begin, reached, places, multipliers = (each.flatten(2) for each in (start, end, places, given))
    shares = torch.zeros_like(reached)
    # what is the largest at both ends is so all the way between: the largest of lines is convex
    always = begin.gather(2, places) == reference.results[0].detach().flatten(2)
    shares.scatter_add_(2, places, torch.where(always, multipliers, 0.0))
    image, channel, which = (~always).nonzero(as_tuple=True)
    if len(which):
        inside, spots = _places_of_windows(which, given.shape, end.shape, options)
        values = (to_float64(each[image, channel, spots]) for each in (begin, reached))
        first, last = (torch.where(inside.to(each.device), each, LOWEST) for each in values)
        parts = _shares_of_way(first, last - first)
        parts *= to_float64(multipliers[image, channel, which])
        shares.index_put_((image, channel, spots), to_like(parts, shares), accumulate=True)
    return shares.view(end.shape)


def _places_of_windows(
    which: Tensor, outputs: torch.Size, inputs: torch.Size, options: dict[str, Any]
) -> tuple[Tensor, Tensor]:
    """Return where windows look.

    Parameters
    ----------
    which : Tensor, int64, shape (M,)
        Windows as numbers, row by row.
    outputs, inputs : Size
        Their last two are height and width.
    options : dict
        Of max pooling.

    Returns
    -------
    inside : Tensor, bool, shape (K, M)
        Whether a place of a window lies on the image.
    places : Tensor, int64, shape (K, M)
        Numbers of pixels, row by row; some pixel or other for what lies beside the image.
    """
    kernel = _pair(options["kernel_size"])
    stride = _pair(options.get("stride", kernel))
    padding, dilation = _pair(options.get("padding", 0)), _pair(options.get("dilation", 1))
    starts = (which // outputs[-1], which % outputs[-1])
    inside, along = [], []
    for axis, side in enumerate(inputs[-2:]):
        steps = torch.arange(kernel[axis], device=which.device)[:, None] * dilation[axis]
        at = starts[axis] * stride[axis] - padding[axis] + steps
        inside.append((at >= 0) & (at < side))
        along.append(at.clamp(0, side - 1))
    places = along[0][:, None] * inputs[-1] + along[1]
    return (inside[0][:, None] & inside[1]).flatten(0, 1), places.flatten(0, 1)


def _shares_of_way(start: Tensor, slope: Tensor) -> Tensor:
    """Return how much of 0 <= a <= 1 each of the lines start + a slope is the highest on.

    Parameters
    ----------
    start, slope : Tensor, shape (K, M)
        K lines, M times.

    Returns
    -------
    Tensor, shape (K, M)
        Their sum over K is 1; of equal lines the first has all.
    """
    # of as many windows, or of as many lines of one, as stay in the processor's cache all pairs at once
    windows = max(1, PAIRS // len(start) ** 2)
    places = torch.arange(len(start), device=start.device)
    lines = torch.split(places, max(1, PAIRS // len(start)))
    found = [
        torch.cat([_shares_of_lines(first, slopes, which) for which in lines])
        for first, slopes in zip(
            torch.split(start, windows, dim=1), torch.split(slope, windows, dim=1), strict=True
        )
    ]
    return torch.cat(found, dim=1)


def _shares_of_lines(start: Tensor, slope: Tensor, which: Tensor) -> Tensor:
    # a line of those that are asked for, those that it is compared with, and windows
    above, steeper = start - start[which, None], slope[which, None] - slope
    crossing = above / torch.where(steeper == 0, 1.0, steeper)
    place = torch.arange(len(start), device=start.device)
    earlier = (place < which[:, None])[:, :, None]
    behind = (steeper == 0) & ((above > 0) | ((above == 0) & earlier))
    # overtakes what is less steep, is overtaken by what is steeper
    first = torch.where(steeper > 0, crossing, 0.0).amax(dim=1).clamp(min=0)
    last = torch.where(steeper < 0, crossing, torch.where(behind, 0.0, 1.0)).amin(dim=1)
    return (last.clamp(max=1) - first).clamp(min=0)


def _pair(value: int | Sequence[int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[-1])


def _average_over_way(
    operation: Operation, reference: Operation, given: tuple[Tensor, ...]
) -> tuple[Tensor, ...]:
    """Gradients at points of the way, averaged by their weights."""
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


class _Step(torch.autograd.Function):
    """Results that are there already, and the rule by which their gradients go back."""

    @staticmethod
    def forward(ctx: Any, rule: Rule, results: Sequence[Tensor], *sources: Tensor) -> Any:
        """Return the results; sources are named for autograd alone."""
        del sources
        ctx.rule = rule
        return tuple(result.detach() for result in results)

    @staticmethod
    def backward(ctx: Any, *given: Tensor) -> Any:
        """Return the multipliers of the sources from those of the results."""
        return (None, None, *ctx.rule(given))


class _ImagesWay:
    """Gives what the network does with the image the multipliers for gradients.

    Parameters
    ----------
    references : list of Operation
        What it did with the reference, in order.
    on_event, cancelled : callable
        One step per operation.
    """

    def __init__(
        self,
        references: list[Operation],
        on_event: events.OnEvent,
        cancelled: events.Cancelled,
    ) -> None:
        self.references, self.on_event, self.cancelled = references, on_event, cancelled
        self.done = 0

    def __call__(self, operation: Operation) -> Sequence[Tensor]:
        """Return the results, of which a backward pass asks for the multipliers."""
        if self.cancelled():
            raise CancellationError("cancelled while the image went through the network")
        self.expect(operation.place)
        reference = self.references[self.done]
        results: Sequence[Tensor] = operation.results
        # what autograd has recorded of a linear step stands; of others its own record is let go
        if not (is_linear(operation) and all(result.requires_grad for result in results)):
            step = replace(operation, results=tuple(result.detach() for result in results))
            with torch.enable_grad():  # multipliers pass where a network asks for no gradients, too
                results = _Step.apply(rule_of(step, reference), step.results, *step.sources)
        self.done += 1
        self.on_event(events.Advanced(self.done))
        return results

    def expect(self, place: str) -> None:
        """Refuse an operation that is not the reference's next one, and an end before its end."""
        ended = self.done == len(self.references)
        other = "the end" if ended else self.references[self.done].place
        if place != other:
            raise UnsupportedNetworkError(
                f"DeepLIFT: found {place} as operation {self.done + 1} on the image and {other} on the "
                "reference; expected the same ones for every image; take integrated_gradients"
            )


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
    with network.use.passing():
        reference = record_tape(network, start)
    on_event(events.Started("DeepLIFT", len(reference.operations)))
    way = _ImagesWay(reference.operations, on_event, cancelled)
    before = reference.logits[0, target].item()
    difference = partial(divided_difference, before=before, origin="the reference", details={})
    try:
        tape = record_checked_tape(network, x, substitute=way)
    except CancellationError:
        reached = input_score(network, x, target)
        return difference(torch.zeros_like(x[0]), reached, partial=True)
    way.expect("the end")
    with torch.enable_grad():  # whoever calls may have turned gradients off
        score = tape.logits[0, target]
    (multipliers,) = torch.autograd.grad(
        score, tape.image, allow_unused=True, materialize_grads=True
    )
    maps = ((x - start) * multipliers)[0]
    return difference(maps, score.item(), partial=False)
