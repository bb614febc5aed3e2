"""Layer-wise relevance propagation: one logit handed back, operation by operation, to the pixels."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Annotated, Any

import torch
from torch import Tensor

from napari_why.attribution import relevance_rules
from napari_why.attribution.registry import Evidence, attribution_method, relative_gap
from napari_why.attribution.relevance_places import (
    WEIGHTED,
    image_bounds,
    merge_composites,
    rules_by_place,
)
from napari_why.attribution.relevance_tape import Operation, Tape, record_checked_tape
from napari_why.attribution.targets import outputs_network, share_score
from napari_why.core import events
from napari_why.core.devices import to_float64
from napari_why.core.errors import UnsupportedNetworkError
from napari_why.core.options import DETAILS, Help, Range, ShownWith
from napari_why.networks.network import Network

# Names of torch functions without underscores round them, as the tape writes them down. What is in
# none of these sets has no rule, and the network is refused: nothing is ever skipped.
MAXIMA = {"max_pool1d", "max_pool2d", "max_pool3d", "adaptive_max_pool2d"}
# activations with f(0) = 0 that keep the sign: relevance of the output is that of the input
ACTIVATIONS = {"relu", "elu", "celu", "selu", "leaky_relu", "tanh", "hardtanh", "relu6", "softsign"}
# a sum is an average times a number of positions, which the proportion takes out again
AVERAGES = {"mean", "sum", "avg_pool1d", "avg_pool2d", "avg_pool3d"} | {
    *("adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d")
}
# every result is one of the inputs' values, or a zero of padding, so relevance follows the values
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
    """The operations that lead to the logits, handler and rules of each, and merged affine layers."""

    operations: list[Operation]
    handlers: dict[int, relevance_rules.Handler] = field(default_factory=dict)
    rules: dict[int, relevance_rules.RuleSet] = field(default_factory=dict)
    titles: dict[int, str] = field(default_factory=dict)
    merged: dict[int, relevance_rules.Affine] = field(default_factory=dict)


def propagate(
    tape: Tape,
    start: Tensor,
    rules: relevance_rules.RuleSet,
    on_event: events.OnEvent,
    cancelled: events.Cancelled,
) -> Relevance:
    """Start with the relevance of the outputs and run the tape backwards.

    Parameters
    ----------
    tape : Tape
    start : Tensor, shape (N, K)
        Relevance of the tape's outputs: of a class its logit, 0 for the others.
    rules : relevance_rules.RuleSet
    on_event, cancelled : callable
        One step per operation.

    Returns
    -------
    Relevance

    Raises
    ------
    UnsupportedNetworkError
        An operation on the way to the logits has no rule; none is ever skipped or replaced by a
        gradient.
    """
    # the whole plan first: an operation without a rule is refused before any work
    plan = make_plan(tape, rules)
    # by identity: equal tensors are not the same one; the tape holds them, so no id is used twice
    held: dict[int, Tensor] = {id(tape.logits): start}
    constants = 0.0
    complete = True
    for done, operation in enumerate(reversed(plan.operations)):
        if cancelled():
            complete = False
            break
        # popped, so that memory falls as the tape goes back; a result that leads nowhere has none
        relevance = tuple(
            held.pop(id(result)).detach() if id(result) in held else torch.zeros_like(result)
            for result in operation.results
        )
        key = id(operation)
        share = plan.handlers[key](
            operation, relevance, plan.rules.get(key, rules), plan.merged.get(key)
        )
        constants += share.constants
        for source, part in zip(operation.sources, share.sources, strict=True):
            # a tensor that several operations took, such as the input of a residual block, gets all
            held[id(source)] = held[id(source)] + part if id(source) in held else part
        on_event(events.Advanced(done + 1))
    # half way back relevance lies in layers, not on pixels, so a cancelled map is empty
    pixels = held.get(id(tape.image)) if complete else None
    return Relevance(
        pixels=torch.zeros_like(tape.image).detach() if pixels is None else pixels.detach(),
        constants=constants,
        coverage=coverage(plan, tape),
        complete=complete,
    )


def make_plan(tape: Tape, rules: relevance_rules.RuleSet) -> _Plan:
    """Choose a handler for every operation that leads to the logits, or refuse.

    Parameters
    ----------
    tape : Tape
        Of an image's way through a network.
    rules : RuleSet

    Returns
    -------
    _Plan

    Raises
    ------
    UnsupportedNetworkError
        Names every operation without a rule.
    """
    plan = _Plan(_leading_to_logits(tape))
    unknown = []
    into: dict[int, str] = {}
    if rules.at_input != "same":
        plan.operations, into = merge_composites(plan.operations, tape.image)
    plan.rules = rules_by_place(plan.operations, tape.image, rules)
    for operation in plan.operations:
        found = _handler(operation, plan.rules.get(id(operation), rules))
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
    plan.titles |= {key: f"merged into {module}" for key, module in into.items()}
    return plan


def coverage(plan: _Plan, tape: Tape) -> list[dict[str, str]]:
    """Return module, operation and rule of everything on the way, in forward order.

    Parameters
    ----------
    plan : _Plan
        From :func:`make_plan`.
    tape : Tape
        The same one; its silent modules come last.

    Returns
    -------
    list of dict
    """
    report = [
        {"module": item.module, "operation": item.name, "rule": plan.titles[id(item)]}
        for item in plan.operations
    ]
    silent = [{"module": m, "operation": "none", "rule": "identity"} for m in tape.silent]
    return report + silent


def _leading_to_logits(tape: Tape) -> list[Operation]:
    # auxiliary heads and unused branches are on the tape too, and need no rule
    wanted = {id(tape.logits)}
    leading = []
    for operation in reversed(tape.operations):
        if any(id(result) in wanted for result in operation.results):
            leading.append(operation)
            wanted.update(id(source) for source in operation.sources)
    return leading[::-1]


def _handler(
    operation: Operation, rules: relevance_rules.RuleSet
) -> tuple[relevance_rules.Handler, str] | None:
    """Return the handler of an operation and its rule's title, None where there is none."""
    name, sources = operation.name, len(operation.sources)
    sums = "even shares" if rules.even else "signed parts" if rules.signed_sums else "magnitudes"
    if name in WEIGHTED and sources == 1:
        rule = rules.linear if name == "linear" else rules.convolution
        return relevance_rules.weighted_layer, rule.title
    if name == "batch_norm" and sources == 1:
        return relevance_rules.batch_norm, f"sum of scaled input and shift, in proportion to {sums}"
    if name in SUMS and len(operation.args) >= 2:
        return relevance_rules.residual_sum, f"sum, in proportion to {sums}"
    if name in ACTIVATIONS and sources == 1:
        return relevance_rules.hand_on, "relevance of the output is that of the input"
    if name in FACTORS and sources == 1 and has_constant_factor(operation):
        return relevance_rules.hand_on, "product with a constant: relevance stays"
    if name in AVERAGES and sources == 1:
        how = "in even shares" if rules.even else "in proportion to the values"
        return relevance_rules.average, f"average, {how}"
    if name in MAXIMA and sources == 1:
        return relevance_rules.move, "maximum: winner takes all"
    return (relevance_rules.move, "moved with the values") if name in MOVES else None


def has_constant_factor(operation: Operation) -> bool:
    """Whether one of :data:`FACTORS` multiplies what depends on the image with what does not.

    Parameters
    ----------
    operation : Operation
        Of one source.

    Returns
    -------
    bool
        False where the image stands on both sides, below a fraction line, or where the quotient is rounded.
    """
    if operation.name == "neg":
        return True
    if operation.kwargs.get("rounding_mode"):
        return False
    # x * x depends on the image twice, and 1 / x is no product: neither has a share to hand on
    given = dict(zip(("input", "other"), operation.args, strict=False)) | operation.kwargs
    first, second = given["input"], given["other"]
    if operation.name in {"div", "truediv", "divide"}:
        return not operation.depends(second)
    return operation.depends(first) != operation.depends(second)


def _merge_affine_layers(plan: _Plan, tape: Tape) -> None:
    """Merge each batch normalisation into the convolution before it, through max pooling too.

    The winner of a pooling window reaches the normalisation unchanged, so the merged weights are
    right for it; the other values have no relevance.
    """
    makers = {id(result): item for item in plan.operations for result in item.results}
    # a convolution whose result is also taken elsewhere cannot take the normalisation's weights
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
        plan.merged[id(before)] = relevance_rules.batch_norm_affine(operation)
        plan.handlers[id(operation)] = relevance_rules.hand_on
        plan.titles[id(operation)] = f"merged into {before.module}"


RuleChoice = Annotated[
    relevance_rules.RuleName,
    Help(
        "composite: epsilon for linear layers, generalised z-plus for convolutions, stable; by_depth: "
        "epsilon, gamma, z-plus from the logits down; epsilon and gamma are noisy and may explode on "
        "deep and on ELU networks; flat and w_square ask for no contributions"
    ),
]
InputRuleChoice = Annotated[
    relevance_rules.InputRuleName,
    Help(
        "rule of the layer that meets the image, instead of its own: pixels at the training mean get "
        "their share then; flat does not tell channels apart"
    ),
]
Epsilon = Annotated[
    float, Help("stabiliser, relative to a layer's mean output"), Range(0, 1), DETAILS
]
Gamma = Annotated[
    float,
    Help("extra weight of contributions that agree, rules gamma and by_depth"),
    Range(0, 1000),
    ShownWith("rule", ("gamma", "by_depth")),
]
Alpha = Annotated[
    float,
    Help("weight of positive contributions, rule alpha_beta; beta is alpha - 1"),
    Range(1, 10),
    ShownWith("rule", ("alpha_beta",)),
]


@attribution_method(
    title="LRP", source="Bach et al. 2015, doi:10.1371/journal.pone.0130140; Montavon et al. 2019"
)
def lrp(
    network: Network,
    x: Tensor,
    target: int,
    *,
    rule: RuleChoice = "composite",
    # small enough to take next to no relevance; the gap shows how much it takes
    epsilon: Epsilon = 1e-6,
    # a quarter, the value of Montavon et al. 2019 for lower layers
    gamma: Gamma = 0.25,
    # 2, beta 1: the common choice that shows evidence against (Bach et al. 2015)
    alpha: Alpha = 2.0,
    input_rule: InputRuleChoice = "same",
    raw_zero: Tensor | None = None,
    on_event: events.OnEvent = events.ignore_event,
    cancelled: events.Cancelled = events.never_cancelled,
) -> Evidence:
    """Hand the logit back layer by layer until every pixel has its share.

    Each neuron gives its relevance to its inputs in proportion to what they contributed; see
    :mod:`napari_why.attribution.relevance_shares`. Batch normalisation is merged into the
    convolution before it; residual sums share in proportion; averages share in proportion;
    maxima go to the winner. Biases take their share as inputs do, and what they took is reported;
    under ``flat``, ``w_square`` and ``z_box`` they get nothing.

    Parameters
    ----------
    network : Network
        In evaluation mode.
    x : Tensor, shape (1, C, H, W)
        One standardised image; a pixel at its channel's training mean is 0 and gets nothing, unless
        ``input_rule`` is another than ``same``.
    target : int
        Index of the class.
    raw_zero : Tensor, shape (1, C, H, W), optional
        The preprocessed image without light: the lower bound of ``z_box``. The upper one is the
        brightest pixel of each channel.
    on_event, cancelled : callable
        One step per operation of the network. Cancelled work gives a map of zeros: relevance
        reaches the pixels at the end only.

    Returns
    -------
    Evidence
        Maps in logits per pixel; joint: their sum over channels. The sum of the maps and of the
        biases' relevance (``constants``) is the logit; the gap tells how far not. Since whatever
        reaches no pixel is counted with the constants, a small gap says nothing of the share of
        the logit that the map holds: read the constants beside it. ``coverage`` of the record names
        every operation and the rule it got.

    Raises
    ------
    UnsupportedNetworkError
        The network holds an operation without a rule.
    """
    rules = relevance_rules.rule_set(
        rule,
        epsilon=epsilon,
        gamma=gamma,
        alpha=alpha,
        at_input=input_rule,
        bounds=image_bounds(x, raw_zero),
    )
    tape = record_checked_tape(network, x, outputs_network(network))
    start = share_score(network, tape.logits, target)
    return relevance_evidence(tape, start, rules, on_event, cancelled)


def relevance_evidence(
    tape: Tape,
    start: Tensor,
    rules: relevance_rules.RuleSet,
    on_event: events.OnEvent,
    cancelled: events.Cancelled,
) -> Evidence:
    """Propagate what each output adds to the score back, and put together what was found.

    The parameters are those of :func:`propagate`.

    Parameters
    ----------
    tape, start, rules
        As of :func:`propagate`; of one image.
    on_event, cancelled : callable
        One step per operation.

    Returns
    -------
    Evidence
        In logits per pixel; joint: the sum over channels. With the relevance of biases and shifts all
        adds up to the logit.
    """
    on_event(events.Started("layer-wise relevance propagation", len(tape.operations)))
    relevance = propagate(tape, start, rules, on_event, cancelled)
    score = start.sum().item()
    maps = relevance.pixels[0]
    found = to_float64(maps).sum().item() + relevance.constants
    return Evidence(
        maps=maps,
        joint=maps.sum(dim=0),
        unit="logit per pixel",
        gap=relative_gap(found, score),
        gap_meaning="sum of the maps and of the biases' relevance against the logit",
        explained=score,
        constants=relevance.constants,
        constants_meaning="biases and shifts",
        details={
            "relevance_in_constants": relevance.constants,
            "coverage": relevance.coverage,
        },
        partial=not relevance.complete,
    )
