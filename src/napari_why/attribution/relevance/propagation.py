"""Run a tape backwards: from one logit to relevance of every pixel."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from napari_why.attribution.relevance.handlers import (
    Affine,
    Handler,
    average,
    batch_norm,
    batch_norm_affine,
    hand_on,
    move,
    residual_sum,
    weighted_layer,
)
from napari_why.attribution.relevance.rules import RuleSet
from napari_why.attribution.relevance.tape import Operation, Tape
from napari_why.core.errors import UnsupportedNetworkError
from napari_why.core.events import Advanced, Cancelled, OnEvent

WEIGHTED = {"conv1d", "conv2d", "conv3d", "linear"}
MAXIMA = {"max_pool1d", "max_pool2d", "max_pool3d", "adaptive_max_pool2d"}
# activations with f(0) = 0 that keep the sign: relevance of the output is that of the input
ACTIVATIONS = {"relu", "elu", "celu", "selu", "leaky_relu", "tanh", "hardtanh", "relu6", "softsign"}
AVERAGES = {"mean", "sum", "avg_pool1d", "avg_pool2d", "avg_pool3d"} | {
    *("adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d")
}
MOVES = {"view", "reshape", "flatten", "unflatten", "permute", "transpose", "movedim"} | {
    *("squeeze", "unsqueeze", "getitem", "narrow", "select", "chunk", "split", "unbind"),
    *("cat", "concat", "stack", "pad", "clone", "contiguous", "to", "expand", "repeat"),
    *("pixel_shuffle", "pixel_unshuffle", "flip", "swapaxes", "index_select"),
}
SUMS = {"add", "radd", "sub", "rsub"}
FACTORS = {"mul", "rmul", "multiply", "div", "truediv", "divide", "neg"}


@dataclass
class Relevance:
    """Where a logit's relevance went.

    Parameters
    ----------
    pixels : Tensor, shape (N, C, H, W)
    constants : float
        Relevance of biases and shifts.
    coverage : list of dict
        ``module``, ``operation`` and ``rule`` of every operation on the way to the logits, and of
        every module that handed its input on unchanged.
    complete : bool
        False where the work was cancelled before relevance reached the pixels.
    """

    pixels: Tensor
    constants: float
    coverage: list[dict[str, str]]
    complete: bool


@dataclass
class _Plan:
    """The operations that lead to the logits, the handler of each, and merged affine layers."""

    operations: list[Operation]
    handlers: dict[int, Handler] = field(default_factory=dict)
    titles: dict[int, str] = field(default_factory=dict)
    merged: dict[int, Affine] = field(default_factory=dict)


def propagate(
    tape: Tape, target: int, rules: RuleSet, on_event: OnEvent, cancelled: Cancelled
) -> Relevance:
    """Start with the logit of ``target`` as its own relevance and run the tape backwards.

    Parameters
    ----------
    tape : Tape
    target : int
        Index of the class.
    rules : RuleSet
    on_event, cancelled : callable
        One step per operation.

    Raises
    ------
    UnsupportedNetworkError
        An operation on the way to the logits has no rule; none is ever skipped or replaced by a
        gradient.
    """
    plan = make_plan(tape, rules)
    start = torch.zeros_like(tape.logits)
    start[:, target] = tape.logits[:, target].detach()
    held: dict[int, Tensor] = {id(tape.logits): start}
    constants = 0.0
    complete = True
    for done, operation in enumerate(reversed(plan.operations)):
        if cancelled():
            complete = False
            break
        relevance = tuple(
            held.pop(id(result), torch.zeros_like(result)).detach() for result in operation.results
        )
        key = id(operation)
        share = plan.handlers[key](operation, relevance, rules, plan.merged.get(key))
        constants += share.constants
        for source, part in zip(operation.sources, share.sources, strict=True):
            held[id(source)] = held[id(source)] + part if id(source) in held else part
        on_event(Advanced(done + 1))
    pixels = held.get(id(tape.image)) if complete else None
    return Relevance(
        pixels=torch.zeros_like(tape.image).detach() if pixels is None else pixels.detach(),
        constants=constants,
        coverage=coverage(plan, tape),
        complete=complete,
    )


def make_plan(tape: Tape, rules: RuleSet) -> _Plan:
    """Choose a handler for every operation that leads to the logits, or refuse.

    Raises
    ------
    UnsupportedNetworkError
        Names every operation without a rule.
    """
    plan = _Plan(_leading_to_logits(tape))
    unknown = []
    for operation in plan.operations:
        found = _handler(operation, rules)
        if found is None:
            unknown.append(operation.place)
            continue
        plan.handlers[id(operation)], plan.titles[id(operation)] = found
    if unknown:
        raise UnsupportedNetworkError(
            f"LRP has no rule for {', '.join(dict.fromkeys(unknown))}; expected convolutions, "
            "linear layers, batch normalisation, ReLU-like activations, pooling, sums, products "
            "with constants and rearrangements; take another method, such as occlusion"
        )
    _merge_affine_layers(plan, tape)
    return plan


def coverage(plan: _Plan, tape: Tape) -> list[dict[str, str]]:
    """Return module, operation and rule of everything on the way, in forward order."""
    report = [
        {"module": item.module, "operation": item.name, "rule": plan.titles[id(item)]}
        for item in plan.operations
    ]
    silent = [{"module": m, "operation": "none", "rule": "identity"} for m in tape.silent]
    return report + silent


def _leading_to_logits(tape: Tape) -> list[Operation]:
    wanted = {id(tape.logits)}
    leading = []
    for operation in reversed(tape.operations):
        if any(id(result) in wanted for result in operation.results):
            leading.append(operation)
            wanted.update(id(source) for source in operation.sources)
    return leading[::-1]


def _handler(operation: Operation, rules: RuleSet) -> tuple[Handler, str] | None:
    """Return the handler of an operation and its rule's title, None where there is none."""
    name, sources = operation.name, len(operation.sources)
    sums = "signed parts" if rules.signed_sums else "magnitudes"
    if name in WEIGHTED and sources == 1:
        rule = rules.linear if name == "linear" else rules.convolution
        return weighted_layer, rule.title
    if name == "batch_norm" and sources == 1:
        return batch_norm, f"sum of scaled input and shift, in proportion to {sums}"
    if name in SUMS and len(operation.args) >= 2:
        return residual_sum, f"sum, in proportion to {sums}"
    if name in ACTIVATIONS and sources == 1:
        return hand_on, "relevance of the output is that of the input"
    if name in FACTORS and sources == 1 and _constant_factor(operation):
        return hand_on, "product with a constant: relevance stays"
    if name in AVERAGES and sources == 1:
        return average, "average, in proportion to the values"
    if name in MAXIMA and sources == 1:
        return move, "maximum: winner takes all"
    return (move, "moved with the values") if name in MOVES else None


def _constant_factor(operation: Operation) -> bool:
    """Whether the image-dependent argument stands once, and not below a fraction line."""
    if operation.name == "neg":
        return True
    first, second = operation.args[:2]
    if operation.name in {"div", "truediv", "divide"}:
        return not operation.depends(second)
    return operation.depends(first) != operation.depends(second)


def _merge_affine_layers(plan: _Plan, tape: Tape) -> None:
    """Merge each batch normalisation into the convolution before it, through max pooling too.

    The winner of a pooling window reaches the normalisation unchanged, so the merged weights are
    right for it; the other values have no relevance.
    """
    makers = {id(result): item for item in plan.operations for result in item.results}
    uses = Counter(id(source) for item in plan.operations for source in item.sources)
    uses[id(tape.logits)] += 1
    for operation in plan.operations:
        if operation.name != "batch_norm":
            continue
        before: Any = makers.get(id(operation.sources[0]))
        while before is not None and before.name in MAXIMA and uses[id(before.results[0])] == 1:
            before = makers.get(id(before.sources[0]))
        if before is None or before.name not in WEIGHTED or uses[id(before.results[0])] != 1:
            continue
        plan.merged[id(before)] = batch_norm_affine(operation)
        plan.handlers[id(operation)] = hand_on
        plan.titles[id(operation)] = f"merged into {before.module}"
