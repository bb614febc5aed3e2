"""The rules of layer-wise relevance propagation for layers z_j = sum_i c_ij + b_j.

Input i contributes c_ij = x_i w_ij to neuron j; the bias is one more contribution. A rule says
how much relevance a unit of positive contribution gets, A_j, and a unit of negative, B_j:

    R_i = sum_j (c_ij^+ A_j + c_ij^- B_j),    c^+ = max(c, 0), c^- = min(c, 0).

With z^+ and z^- the sums of the positive and negative contributions, the bias among them, all of
R_j is handed out when z_j^+ A_j + z_j^- B_j = R_j. Signs are those of contributions, not of
weights, so that the rules hold for inputs of either sign (ELU, standardised images).

Sources: Bach et al. 2015 (epsilon, alpha-beta), Montavon et al. 2017 (z-plus), Montavon et al.
2019 (gamma), Andéol et al. 2021 (gamma for inputs and outputs of either sign).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from napari_why.attribution.relevance_tape import Operation
from napari_why.core.devices import to_float64
from napari_why.core.errors import UnsupportedNetworkError

RuleName = Literal["composite", "epsilon", "gamma", "alpha_beta", "z_plus"]
SMALLEST = 1e-30  # sums below are empty: nothing contributes; 1 / 1e-30 is still a float32

Coefficients = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Rule:
    """A rule for one kind of layer.

    Parameters
    ----------
    title : str
        As the coverage report prints it.
    coefficients : callable or None
        ``(relevance, positive, negative) -> (A, B)``; None for the epsilon rule, which needs
        only z and is computed without taking contributions apart.
    """

    title: str
    coefficients: Coefficients | None = None


@dataclass(frozen=True)
class RuleSet:
    """Which rule each kind of layer gets.

    Parameters
    ----------
    linear, convolution : Rule
    epsilon : float
        Stabiliser of divisions by sums of either sign, relative to the layer's mean |z|.
    signed_sums : bool
        Residual sums and standalone affine layers share in proportion to their signed parts
        (as the epsilon rule does), not to the parts' magnitudes.
    """

    linear: Rule
    convolution: Rule
    epsilon: float
    signed_sums: bool


def rule_set(name: RuleName, *, epsilon: float, gamma: float, alpha: float) -> RuleSet:
    """Return the rules a choice stands for.

    ``composite`` takes epsilon for linear layers, where evidence for and against the class meets,
    and generalised z-plus for convolutions, which never increases the sum of |R|.
    """
    in_proportion = Rule(f"epsilon {epsilon:g}")
    if name == "epsilon":
        return RuleSet(in_proportion, in_proportion, epsilon, signed_sums=True)
    if name == "composite":
        agreeing = Rule("generalised z-plus", agreeing_with_output)
        return RuleSet(in_proportion, agreeing, epsilon, signed_sums=False)
    rule = {
        "gamma": Rule(f"gamma {gamma:g}", partial(generalised_gamma, gamma=gamma)),
        "alpha_beta": Rule(f"alpha {alpha:g} beta {alpha - 1:g}", partial(alpha_beta, alpha=alpha)),
        "z_plus": Rule("z-plus", partial(alpha_beta, alpha=1.0)),
    }[name]
    return RuleSet(rule, rule, epsilon, signed_sums=False)


def alpha_beta(
    relevance: Tensor, positive: Tensor, negative: Tensor, *, alpha: float
) -> tuple[Tensor, Tensor]:
    """R_i = sum_j (alpha c^+/z^+ - beta c^-/z^-) R_j with beta = alpha - 1.

    alpha = 1 is z-plus. Where a neuron has contributions of one sign only, these get all of its
    relevance, so that none is lost or made up.
    """
    for_positive = alpha * divide(relevance, positive)
    for_negative = (1 - alpha) * divide(relevance, negative)
    # beta = 0 is z-plus, and a neuron of negative contributions alone would lose all its relevance
    no_negative, no_positive = negative.abs() <= SMALLEST, positive.abs() <= SMALLEST
    return (
        torch.where(no_negative, divide(relevance, positive), for_positive),
        torch.where(no_positive, divide(relevance, negative), for_negative),
    )


def generalised_gamma(
    relevance: Tensor, positive: Tensor, negative: Tensor, *, gamma: float
) -> tuple[Tensor, Tensor]:
    """Contributions that agree with the sign of z_j count 1 + gamma times."""
    up = positive + negative >= 0
    weight_up = torch.where(up, 1 + gamma, 1.0)
    weight_down = torch.where(up, 1.0, 1 + gamma)
    share = divide(relevance, weight_up * positive + weight_down * negative)
    return weight_up * share, weight_down * share


def agreeing_with_output(
    relevance: Tensor, positive: Tensor, negative: Tensor
) -> tuple[Tensor, Tensor]:
    """Only contributions that agree with the sign of z_j count: gamma without limit.

    For active ReLU neurons this is z-plus; for the negative outputs of ELU networks it asks what
    made them negative.
    """
    up = positive + negative >= 0
    nothing = torch.zeros_like(relevance)
    return (
        torch.where(up, divide(relevance, positive), nothing),
        torch.where(up, nothing, divide(relevance, negative)),
    )


def divide(relevance: Tensor, total: Tensor) -> Tensor:
    """Return relevance / total, 0 where nothing contributes."""
    # both branches of where are computed, so the divisor must not be 0 in the one that is left out
    empty = total.abs() <= SMALLEST
    return torch.where(empty, 0.0, relevance / torch.where(empty, 1.0, total))


def stabilise(total: Tensor, epsilon: float) -> Tensor:
    """Return z + epsilon * mean|z| * sign(z), the mean taken over each image's layer."""
    # relative to the layer: the same epsilon then serves layers whose outputs differ a thousandfold
    scale = total.abs().flatten(1).mean(dim=1).view(-1, *[1] * (total.ndim - 1))
    return total + epsilon * scale * torch.where(total >= 0, 1.0, -1.0)


@dataclass(frozen=True)
class Affine:
    """A factor and a shift per channel, shapes (K,): what is merged into a convolution."""

    factor: Tensor
    shift: Tensor


@dataclass(frozen=True)
class Share:
    """Relevance of an operation's sources, in their order, and of its constants (biases)."""

    sources: tuple[Tensor, ...]
    constants: float = 0.0


Handler = Callable[[Operation, tuple[Tensor, ...], RuleSet, Affine | None], Share]


def hand_on(
    operation: Operation, relevance: tuple[Tensor, ...], _rules: RuleSet, _affine: Affine | None
) -> Share:
    """Elementwise activation with f(0) = 0, or a product with a constant: all to the source."""
    (source,) = operation.sources
    return Share((relevance[0].sum_to_size(source.shape),))


def move(
    operation: Operation, relevance: tuple[Tensor, ...], _rules: RuleSet, _affine: Affine | None
) -> Share:
    """Permutation, reshape, selection, joining: relevance goes where the values came from.

    Max pooling too: the winner takes all.
    """
    # the gradient of a rearrangement is the rearrangement back; of a maximum, the winner
    leaves, results = operation.replay()
    moved = torch.autograd.grad(results, leaves, relevance)
    rest = sum(map(_total, relevance)) - sum(map(_total, moved))
    return Share(tuple(moved), rest)


def average(
    operation: Operation, relevance: tuple[Tensor, ...], rules: RuleSet, _affine: Affine | None
) -> Share:
    """Mean or sum over positions: in proportion to the signed values.

    R_i / z stays bounded although z may be near 0: the layer above gives relevance in
    proportion to z.
    """
    (leaf,), results = operation.replay()
    share = divide(relevance[0], stabilise(results[0].detach(), rules.epsilon))
    (gradient,) = torch.autograd.grad(results, leaf, share)
    return Share((leaf.detach() * gradient,))


def residual_sum(
    operation: Operation, relevance: tuple[Tensor, ...], rules: RuleSet, _affine: Affine | None
) -> Share:
    """Skip plus branch, or a shift by a constant: in proportion."""
    first, second = operation.args[:2]
    factor = operation.kwargs.get("alpha", 1) * (-1 if operation.name == "sub" else 1)
    if operation.name == "rsub":  # 1 - x arrives as rsub(x, 1)
        first, second, factor = second, first, -1
    like = relevance[0]
    parts = [_as_part(first, like), factor * _as_part(second, like)]
    shares = in_proportion(parts, like, rules)
    return _collect(operation, zip((first, second), shares, strict=True))


def batch_norm(
    operation: Operation, relevance: tuple[Tensor, ...], rules: RuleSet, _affine: Affine | None
) -> Share:
    """Batch normalisation that could not be merged: scaled input and shift share in proportion."""
    affine = batch_norm_affine(operation)
    (source,) = operation.sources
    by_channel = (1, -1, *[1] * (source.ndim - 2))
    scaled = source.detach() * affine.factor.view(by_channel)
    shift = affine.shift.view(by_channel).expand_as(scaled)
    to_source, to_shift = in_proportion([scaled, shift], relevance[0], rules)
    return Share((to_source,), _total(to_shift))


def weighted_layer(
    operation: Operation, relevance: tuple[Tensor, ...], rules: RuleSet, affine: Affine | None
) -> Share:
    """Linear layer or convolution, with an affine layer merged into it, by its rule."""
    x, weight, bias, apply = weights_of(operation)
    if affine is not None:
        weight = weight * affine.factor.view(-1, *[1] * (weight.ndim - 1))
        bias = affine.shift if bias is None else bias * affine.factor + affine.shift
    if bias is None:
        bias = weight.new_zeros(weight.shape[0])
    if operation.name != "linear":  # channels stand before the positions
        bias = bias.view(-1, *[1] * (weight.ndim - 2))
    rule = rules.linear if operation.name == "linear" else rules.convolution
    if rule.coefficients is None:
        return _by_epsilon(x, weight, bias, apply, relevance[0], rules.epsilon)
    return _by_sign(x, weight, bias, apply, relevance[0], rule.coefficients)


def in_proportion(parts: list[Tensor], relevance: Tensor, rules: RuleSet) -> list[Tensor]:
    """Share relevance among the parts of an elementwise sum.

    By magnitude, R_k = R |p_k| / sum |p|, no part gets more than there is; the signed proportion
    R p_k / sum p of the epsilon rule grows without limit where the parts cancel.
    """
    if rules.signed_sums:
        share = divide(relevance, stabilise(torch.stack(parts).sum(dim=0), rules.epsilon))
        return [part * share for part in parts]
    share = divide(relevance, torch.stack(parts).abs().sum(dim=0))
    return [part.abs() * share for part in parts]


def weights_of(
    operation: Operation,
) -> tuple[Tensor, Tensor, Tensor | None, Callable[[Tensor, Tensor], Tensor]]:
    """Return input, weight, bias and the bias-free map (input, weight) -> output of a layer.

    Raises
    ------
    UnsupportedNetworkError
        The weight or bias depends on the image.
    """
    names = ("input", "weight", "bias")
    given = dict(zip(names, operation.args, strict=False)) | operation.kwargs
    x, weight, bias = given["input"], given["weight"], given.get("bias")
    # attention and hyper-networks: the contribution x w has then no single input to go to
    if operation.depends(weight) or operation.depends(bias):
        raise UnsupportedNetworkError(
            f"{operation.place}: the weight depends on the image; expected constant weights"
        )
    further = operation.args[3:]
    options = {key: value for key, value in operation.kwargs.items() if key not in names}

    def apply(values: Tensor, weights: Tensor) -> Tensor:
        result: Tensor = operation.function(values, weights, None, *further, **options)
        return result

    return x.detach(), weight.detach(), None if bias is None else bias.detach(), apply


def batch_norm_affine(operation: Operation) -> Affine:
    """Return factor and shift of a batch normalisation in evaluation mode.

    Raises
    ------
    UnsupportedNetworkError
        It normalises with the statistics of the batch itself.
    """
    names = ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum")
    given = dict(zip((*names, "eps"), operation.args, strict=False)) | operation.kwargs
    mean, variance = given["running_mean"], given["running_var"]
    if given.get("training") or mean is None or variance is None:
        raise UnsupportedNetworkError(
            f"{operation.place} normalises with the statistics of the batch; expected those of "
            "the training set (track_running_stats=True, evaluation mode)"
        )
    factor = (variance + given.get("eps", 1e-5)).rsqrt()
    if given.get("weight") is not None:
        factor = factor * given["weight"]
    shift = -mean * factor
    if given.get("bias") is not None:
        shift = shift + given["bias"]
    return Affine(factor.detach(), shift.detach())


def _by_epsilon(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    apply: Callable[[Tensor, Tensor], Tensor],
    relevance: Tensor,
    epsilon: float,
) -> Share:
    # x * gradient of the linear map is sum_j x_i w_ij s_j, for every stride, padding and grouping
    leaf = x.requires_grad_()
    with torch.enable_grad():
        without_bias = apply(leaf, weight)
    share = divide(relevance, stabilise(without_bias.detach() + bias, epsilon))
    (gradient,) = torch.autograd.grad(without_bias, leaf, share)
    return Share((leaf.detach() * gradient,), _total(bias * share))


def _by_sign(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    apply: Callable[[Tensor, Tensor], Tensor],
    relevance: Tensor,
    coefficients: Coefficients,
) -> Share:
    # four passes of the same linear map give the positive and negative sums for inputs of either sign;
    # two of them where no input is negative, as after a ReLU
    up, down = x.clamp(min=0).requires_grad_(), x.clamp(max=0).requires_grad_()
    weight_up, weight_down = weight.clamp(min=0), weight.clamp(max=0)
    bias_up, bias_down = bias.clamp(min=0), bias.clamp(max=0)
    with torch.enable_grad():
        positive, negative = apply(up, weight_up), apply(up, weight_down)
        leaves = [up]
        if bool((down < 0).any()):
            positive = positive + apply(down, weight_down)
            negative = negative + apply(down, weight_up)
            leaves.append(down)
    for_positive, for_negative = coefficients(
        relevance, positive.detach() + bias_up, negative.detach() + bias_down
    )
    gradients = torch.autograd.grad((positive, negative), leaves, (for_positive, for_negative))
    to_source = torch.stack([a.detach() * g for a, g in zip(leaves, gradients, strict=True)])
    to_bias = bias_up * for_positive + bias_down * for_negative
    return Share((to_source.sum(dim=0),), _total(to_bias))


def _as_part(value: Any, like: Tensor) -> Tensor:
    part = value.detach() if isinstance(value, Tensor) else torch.tensor(float(value))
    return part.to(like).expand_as(like)


def _collect(operation: Operation, shares: Any) -> Share:
    """Give each source what its arguments got; the rest goes to constants."""
    # x + x has one source and two arguments, whose shares it gets together
    collected = {id(source): torch.zeros_like(source) for source in operation.sources}
    constants = 0.0
    for value, share in shares:
        if operation.depends(value):
            collected[id(value)] = collected[id(value)] + share.sum_to_size(value.shape)
        else:
            constants += _total(share)
    return Share(tuple(value.detach() for value in collected.values()), constants)


def _total(tensor: Tensor) -> float:
    return to_float64(tensor.detach()).sum().item()  # float32 would lose what the gap is to show
