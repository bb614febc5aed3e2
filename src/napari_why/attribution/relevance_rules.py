"""The rules of layer-wise relevance propagation, and what each kind of operation does with them.

A rule by contribution says how much relevance a unit of positive contribution c_ij = x_i w_ij gets,
A_j, and a unit of negative, B_j; the bias is one more contribution:

    R_i = sum_j (c_ij^+ A_j + c_ij^- B_j),    c^+ = max(c, 0), c^- = min(c, 0).

With z^+ and z^- the sums of the positive and negative contributions, all of R_j is handed out when
z_j^+ A_j + z_j^- B_j = R_j. Signs are those of contributions, not of weights, so that the rules hold
for inputs of either sign (ELU, standardised images). Rules that favour the sign of z_j say the same as
R_i = sum_j (c_ij v_j + |c_ij| m_j), which takes fewer passes. Formulas and sources are in
:mod:`napari_why.attribution.relevance_shares`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from napari_why.attribution import relevance_shares as shares
from napari_why.attribution.relevance_shares import Share, divide, stabilise, total
from napari_why.attribution.relevance_tape import Operation
from napari_why.core.errors import UnsupportedNetworkError

RuleName = Literal[
    "composite", "epsilon", "gamma", "alpha_beta", "z_plus", "by_depth", "flat", "w_square"
]
InputRuleName = Literal["same", "flat", "w_square", "z_box"]


@dataclass(frozen=True)
class Rule:
    """A rule for one kind of layer.

    Parameters
    ----------
    title : str
        As the coverage report prints it.
    coefficients : callable or None
        ``(relevance, positive, negative) -> (A, B)`` of a rule that takes contributions apart by sign;
        a rule with neither this nor another one is the epsilon rule, which needs only z.
    agreement : callable or None
        ``(relevance, z, a) -> (v, m)`` of a rule that favours contributions of the sign of z.
    by_place : callable or None
        ``(x, weight, apply, relevance) -> Share`` of a rule that asks for no contributions.
    """

    title: str
    coefficients: shares.Coefficients | None = None
    agreement: shares.Agreement | None = None
    by_place: Callable[[Tensor, Tensor, shares.Apply, Tensor], Share] | None = None


FLAT = Rule("flat", by_place=shares.flat)
W_SQUARE = Rule("w-square", by_place=shares.w_square)


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
    even : bool
        Sums and averages give each of their inputs the same, and constants nothing, as flat and w-square
        do: these give relevance to silent neurons too, whose values have no proportion.
    from_below : tuple of Rule
        Where depth decides and not the kind: rules of equally many layers with weights each, those
        next to the image first.
    at_input : str
        Rule of the layers with weights that meet the image; ``same``: as the others.
    bounds : (Tensor, Tensor), shapes (1, C, H, W), or None
        Smallest and largest possible image, for ``z_box``.
    """

    linear: Rule
    convolution: Rule
    epsilon: float
    signed_sums: bool
    even: bool = False
    from_below: tuple[Rule, ...] = ()
    at_input: InputRuleName = "same"
    bounds: tuple[Tensor, Tensor] | None = None


def rule_set(
    name: RuleName,
    *,
    epsilon: float,
    gamma: float,
    alpha: float,
    at_input: InputRuleName = "same",
    bounds: tuple[Tensor, Tensor] | None = None,
) -> RuleSet:
    """Return the rules a choice stands for.

    ``composite`` takes epsilon for linear layers, where evidence for and against the class meets,
    and generalised z-plus for convolutions, which never increases the sum of |R|. ``by_depth`` goes
    by thirds of the layers (Montavon et al. 2019, with z-plus for their lowest gamma).

    Parameters
    ----------
    name : {"composite", "epsilon", "gamma", "alpha_beta", "z_plus", "by_depth", "flat", "w_square"}
    epsilon : float
        Stabiliser, relative to a layer's mean magnitude.
    gamma : float
        How much more contributions count that agree with the output.
    alpha : float
        Weight of positive contributions; that of negative ones is alpha - 1.
    at_input : {"same", "flat", "w_square", "z_box"}
        Rule of the layers that meet the image.
    bounds : (Tensor, Tensor), shape (1, C, H, W) each, optional
        Smallest and largest possible image, for ``z_box``.

    Returns
    -------
    RuleSet
    """
    in_proportion = Rule(f"epsilon {epsilon:g}")
    agreeing = Rule("generalised z-plus", agreement=shares.agreeing_with_output)
    of_gamma = Rule(f"gamma {gamma:g}", agreement=partial(shares.generalised_gamma, gamma=gamma))
    of_alpha = partial(shares.alpha_beta, alpha=alpha)
    z_plus = Rule("z-plus", partial(shares.alpha_beta, alpha=1.0))
    linear, convolution = {
        "composite": (in_proportion, agreeing),
        "epsilon": (in_proportion, in_proportion),
        "gamma": (of_gamma, of_gamma),
        "alpha_beta": 2 * (Rule(f"alpha {alpha:g} beta {alpha - 1:g}", of_alpha),),
        "z_plus": (z_plus, z_plus),
        "by_depth": (in_proportion, z_plus),
        "flat": (FLAT, FLAT),
        "w_square": (W_SQUARE, W_SQUARE),
    }[name]
    from_below = (z_plus, of_gamma, in_proportion) if name == "by_depth" else ()
    return RuleSet(
        linear,
        convolution,
        epsilon,
        signed_sums=name == "epsilon",
        even=name in ("flat", "w_square"),
        from_below=from_below,
        at_input=at_input,
        bounds=bounds,
    )


@dataclass(frozen=True)
class Affine:
    """A factor and a shift per channel, shapes (K,): what is merged into a convolution."""

    factor: Tensor
    shift: Tensor


Handler = Callable[[Operation, tuple[Tensor, ...], RuleSet, Affine | None], Share]


def hand_on(
    operation: Operation, relevance: tuple[Tensor, ...], _rules: RuleSet, _affine: Affine | None
) -> Share:
    """Elementwise activation with f(0) = 0, or a product with a constant: all to the source.

    Parameters
    ----------
    operation : Operation
    relevance : tuple of Tensor
        Of its results, each of their shape.

    Returns
    -------
    Share
    """
    (source,) = operation.sources
    return Share((relevance[0].sum_to_size(source.shape),))


def move(
    operation: Operation, relevance: tuple[Tensor, ...], _rules: RuleSet, _affine: Affine | None
) -> Share:
    """Permutation, reshape, selection, joining: relevance goes where the values came from.

    Max pooling too: the winner takes all.

    Parameters
    ----------
    operation : Operation
    relevance : tuple of Tensor
        Of its results, each of their shape.

    Returns
    -------
    Share
        What reaches no source counts as a constant's.
    """
    # the gradient of a rearrangement is the rearrangement back; of a maximum, the winner
    moved = operation.gradients(relevance)
    rest = sum(map(total, relevance)) - sum(map(total, moved))
    return Share(tuple(moved), rest)


def average(
    operation: Operation, relevance: tuple[Tensor, ...], rules: RuleSet, _affine: Affine | None
) -> Share:
    """Mean or sum over positions: in proportion to the signed values.

    R_i / z stays bounded although z may be near 0: the layer above gives relevance in
    proportion to z.

    Parameters
    ----------
    operation : Operation
    relevance : tuple of Tensor
        Of its results, each of their shape.
    rules : RuleSet

    Returns
    -------
    Share
    """
    (leaf,), results = operation.replay()
    if rules.even:  # as of a layer with the same weight everywhere
        leaf = torch.ones_like(leaf).requires_grad_()
        with torch.enable_grad():
            results = operation.run_on([leaf])
    share = divide(relevance[0], stabilise(results[0].detach(), rules.epsilon))
    (gradient,) = torch.autograd.grad(results, leaf, share)
    return Share((leaf.detach() * gradient,))


def residual_sum(
    operation: Operation, relevance: tuple[Tensor, ...], rules: RuleSet, _affine: Affine | None
) -> Share:
    """Skip plus branch, or a shift by a constant: in proportion.

    Parameters
    ----------
    operation : Operation
    relevance : tuple of Tensor
        Of its results, each of their shape.
    rules : RuleSet

    Returns
    -------
    Share
    """
    first, second = operation.args[:2]
    factor = operation.kwargs.get("alpha", 1) * (-1 if operation.name == "sub" else 1)
    if operation.name == "rsub":  # 1 - x arrives as rsub(x, 1)
        first, second, factor = second, first, -1
    like = relevance[0]
    parts = [_as_part(first, like), _as_part(second, like)]
    if factor != 1:
        parts[1] = factor * parts[1]
    if rules.even:
        parts = [torch.full_like(like, operation.depends(value)) for value in (first, second)]
    shares = in_proportion(parts, like, rules)
    return _collect(operation, zip((first, second), shares, strict=True))


def batch_norm(
    operation: Operation, relevance: tuple[Tensor, ...], rules: RuleSet, _affine: Affine | None
) -> Share:
    """Batch normalisation that could not be merged: scaled input and shift share in proportion.

    Parameters
    ----------
    operation : Operation
    relevance : tuple of Tensor
        Of its results, each of their shape.
    rules : RuleSet

    Returns
    -------
    Share
    """
    affine = batch_norm_affine(operation)
    (source,) = operation.sources
    by_channel = (1, -1, *[1] * (source.ndim - 2))
    scaled = source.detach() * affine.factor.view(by_channel)
    shift = affine.shift.view(by_channel).expand_as(scaled)
    if rules.even:
        scaled, shift = torch.ones_like(scaled), torch.zeros_like(shift)
    to_source, to_shift = in_proportion([scaled, shift], relevance[0], rules)
    return Share((to_source,), total(to_shift))


def weighted_layer(
    operation: Operation, relevance: tuple[Tensor, ...], rules: RuleSet, affine: Affine | None
) -> Share:
    """Linear layer or convolution, with an affine layer merged into it, by its rule.

    Parameters
    ----------
    operation : Operation
    relevance : tuple of Tensor
        Of its results, each of their shape.
    rules : RuleSet
    affine : Affine or None
        What is merged into it.

    Returns
    -------
    Share
    """
    rule = rules.linear if operation.name == "linear" else rules.convolution
    layer = _layer_of(operation, affine)
    if rule.by_place is not None:
        return rule.by_place(layer.x, layer.merged_weight, layer.apply, relevance[0])
    if rule.agreement is not None:
        return shares.by_agreement(layer, relevance[0], rule.agreement)
    if rule.coefficients is not None:
        return shares.by_sign(layer, relevance[0], rule.coefficients)
    return shares.by_epsilon(layer, relevance[0], rules.epsilon)


def _layer_of(operation: Operation, affine: Affine | None) -> shares.Layer:
    """Return a layer with weights as it met the image, and with the affine layer in it."""
    x, weight, bias, apply = weights_of(operation)
    output = operation.results[0].detach()
    # channels stand before the positions
    by_output = (-1, *[1] * (0 if operation.name == "linear" else weight.ndim - 2))
    bias = (weight.new_zeros(weight.shape[0]) if bias is None else bias).view(by_output)
    if affine is None:
        return shares.Layer(
            x, weight, None, bias, apply, output, lambda given: operation.gradients([given])[0]
        )
    factor, shift = affine.factor.view(by_output), affine.shift.view(by_output)
    return shares.Layer(
        x,
        weight,
        factor,
        bias * factor + shift,
        apply,
        output * factor + shift,
        lambda given: operation.gradients([given * factor])[0],
    )


def in_proportion(parts: list[Tensor], relevance: Tensor, rules: RuleSet) -> list[Tensor]:
    """Share relevance among the parts of an elementwise sum.

    By magnitude, R_k = R |p_k| / sum |p|, no part gets more than there is; the signed proportion
    R p_k / sum p of the epsilon rule grows without limit where the parts cancel.

    Parameters
    ----------
    parts : list of Tensor
        Of one shape; their sum is the result.
    relevance : Tensor
        Of the sum, of that shape.
    rules : RuleSet
        Says by which of the two.

    Returns
    -------
    list of Tensor
        One a part.
    """
    if rules.signed_sums:
        share = divide(relevance, stabilise(_added(parts), rules.epsilon))
        return [part * share for part in parts]
    sizes = [part.abs() for part in parts]
    share = divide(relevance, _added(sizes))
    return [size * share for size in sizes]


def _added(parts: list[Tensor]) -> Tensor:
    first, *others = parts
    for other in others:
        first = first + other
    return first


def weights_of(
    operation: Operation,
) -> tuple[Tensor, Tensor, Tensor | None, shares.Apply]:
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
    given = batch_norm_arguments(operation)
    factor = (given["running_var"] + given.get("eps", 1e-5)).rsqrt()
    if given.get("weight") is not None:
        factor = factor * given["weight"]
    shift = -given["running_mean"] * factor
    if given.get("bias") is not None:
        shift = shift + given["bias"]
    return Affine(factor.detach(), shift.detach())


def batch_norm_arguments(operation: Operation) -> dict[str, Any]:
    """Return what a batch normalisation was called with, by name, where it is linear.

    Raises
    ------
    UnsupportedNetworkError
        It normalises with the statistics of the batch itself.
    """
    names = ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum")
    given = dict(zip((*names, "eps"), operation.args, strict=False)) | operation.kwargs
    if given.get("training") or given["running_mean"] is None or given["running_var"] is None:
        raise UnsupportedNetworkError(
            f"{operation.place} normalises with the statistics of the batch; expected those of "
            "the training set (track_running_stats=True, evaluation mode)"
        )
    return given


def _as_part(value: Any, like: Tensor) -> Tensor:
    part = value.detach() if isinstance(value, Tensor) else torch.tensor(float(value))
    return part.to(like).expand_as(like)


def _collect(operation: Operation, shares: Any) -> Share:
    """Give each source what its arguments got; the rest goes to constants."""
    collected: dict[int, Tensor] = {}
    constants = 0.0
    for value, share in shares:
        if not operation.depends(value):
            constants += total(share)
            continue
        # x + x has one source and two arguments, whose shares it gets together
        own, key = share.sum_to_size(value.shape), id(value)
        collected[key] = collected[key] + own if key in collected else own
    return Share(tuple(collected[id(source)].detach() for source in operation.sources), constants)
