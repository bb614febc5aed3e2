"""How a layer z_j = sum_i c_ij + b_j shares its relevance R_j among its inputs and its bias.

Input i contributes c_ij = x_i w_ij to neuron j. Two kinds of rules:

- by contribution: each c_ij gets its part, and the bias, being one more contribution, too;
- by place: the part of an input hangs on the weights (w-square), on the distance from the bounds of
  the image (z-box), or on nothing (flat). They are made for the layer that meets the image, where
  x_i = 0 means "at the training mean" and not "nothing there"; the bias gets nothing, as published.

Sources: Bach et al. 2015 (epsilon, alpha-beta), Montavon et al. 2017 (z-plus, w-square, z-box),
Montavon et al. 2019 (gamma), Andéol et al. 2021 (gamma for inputs and outputs of either sign),
Lapuschkin et al. 2019 (flat).
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from napari_why.core.devices import to_float64

SMALLEST = 1e-30  # sums below are empty: nothing contributes; 1 / 1e-30 is still a float32

Coefficients = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
Apply = Callable[[Tensor, Tensor], Tensor]
"""The bias-free map (input, weight) -> output of a layer."""


@dataclass(frozen=True)
class Share:
    """Relevance of an operation's sources, in their order, and of its constants (biases)."""

    sources: tuple[Tensor, ...]
    constants: float = 0.0


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


def by_epsilon(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    apply: Apply,
    relevance: Tensor,
    epsilon: float,
) -> Share:
    """Share in proportion to the contributions themselves, R_i = sum_j c_ij / (z_j + eps) R_j."""
    # x * gradient of the linear map is sum_j x_i w_ij s_j, for every stride, padding and grouping
    leaf = x.requires_grad_()
    with torch.enable_grad():
        without_bias = apply(leaf, weight)
    share = divide(relevance, stabilise(without_bias.detach() + bias, epsilon))
    (gradient,) = torch.autograd.grad(without_bias, leaf, share)
    return Share((leaf.detach() * gradient,), total(bias * share))


def by_sign(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    apply: Apply,
    relevance: Tensor,
    coefficients: Coefficients,
) -> Share:
    """Give a unit of positive contribution A_j and a unit of negative one B_j."""
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
    return Share((to_source.sum(dim=0),), total(to_bias))


def flat(x: Tensor, weight: Tensor, apply: Apply, relevance: Tensor) -> Share:
    """Give every input of a neuron the same, R_i = sum_j R_j / (number of inputs of j)."""
    return _by_weight_alone(x, torch.ones_like(weight), apply, relevance)


def w_square(x: Tensor, weight: Tensor, apply: Apply, relevance: Tensor) -> Share:
    """Share by squared weights, R_i = sum_j w_ij^2 / (sum_i w_ij^2) R_j."""
    return _by_weight_alone(x, weight.square(), apply, relevance)


def _by_weight_alone(x: Tensor, weight: Tensor, apply: Apply, relevance: Tensor) -> Share:
    # of ones, so that padding, which is no input, takes no part
    leaf = torch.ones_like(x).requires_grad_()
    with torch.enable_grad():
        whole = apply(leaf, weight)
    (gradient,) = torch.autograd.grad(whole, leaf, divide(relevance, whole.detach()))
    return Share((gradient,), _without_a_taker(relevance, whole))


def z_box(
    x: Tensor, weight: Tensor, apply: Apply, relevance: Tensor, *, low: Tensor, high: Tensor
) -> Share:
    """Share by the distance from the bounds l <= x <= h of the image.

    R_i = sum_j (x_i w_ij - l_i w_ij^+ - h_i w_ij^-) / (sum_i of these) R_j. Every part is positive.

    Parameters
    ----------
    low, high : Tensor, shape of x
        Smallest and largest possible value of each input.
    """
    # the same formula as differences from the bounds: sums of which no two cancel
    above, below = (x - low).requires_grad_(), (x - high).requires_grad_()
    with torch.enable_grad():
        whole = apply(above, weight.clamp(min=0)) + apply(below, weight.clamp(max=0))
    leaves = (above, below)
    gradients = torch.autograd.grad(whole, leaves, divide(relevance, whole.detach()))
    parts = [leaf.detach() * gradient for leaf, gradient in zip(leaves, gradients, strict=True)]
    return Share((parts[0] + parts[1],), _without_a_taker(relevance, whole))


def _without_a_taker(relevance: Tensor, whole: Tensor) -> float:
    """Return the relevance of neurons without any input to give it to (weights of 0, l = h)."""
    return total(torch.where(whole.detach().abs() <= SMALLEST, relevance, 0.0))


def total(tensor: Tensor) -> float:
    """Return the sum of all values, taken in float64."""
    return to_float64(tensor.detach()).sum().item()  # float32 would lose what the gap is to show
