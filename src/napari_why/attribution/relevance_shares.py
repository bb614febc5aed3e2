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
"""``(R_j, z_j^+, z_j^-) -> (A_j, B_j)``, see :func:`by_sign`."""
Agreement = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""``(R_j, z_j, a_j) -> (v_j, m_j)``, see :func:`by_agreement`."""
Apply = Callable[[Tensor, Tensor], Tensor]
"""The bias-free map (input, weight) -> output of a layer."""


@dataclass(frozen=True)
class Layer:
    """A layer as it met an image, with whatever was merged into it.

    Parameters
    ----------
    x : Tensor
        Its inputs x_i.
    weight : Tensor
        w_ij, without what was merged into the layer.
    factor : Tensor or None
        What each output's weights are multiplied by, with as many axes as ``output`` has behind that of
        the images; None where nothing was merged.
    bias : Tensor
        b_j, the same axes.
    apply : callable
        ``(inputs, weights) -> outputs`` without a bias.
    output : Tensor
        z_j, the bias included.
    gradient : callable
        ``(s_j) -> sum_j w_ij s_j``.
    """

    x: Tensor
    weight: Tensor
    factor: Tensor | None
    bias: Tensor
    apply: Apply
    output: Tensor
    gradient: Callable[[Tensor], Tensor]

    @property
    def merged_weight(self) -> Tensor:
        """The weights with the factors in them."""
        if self.factor is None:
            return self.weight
        return self.weight * self.factor.view(-1, *[1] * (self.weight.ndim - 1))


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

    Parameters
    ----------
    relevance : Tensor
        R_j.
    positive, negative : Tensor
        z_j^+ and z_j^-, of the same shape.
    alpha : float
        1 or more.

    Returns
    -------
    for_positive, for_negative : Tensor
        A_j and B_j.
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
    relevance: Tensor, output: Tensor, magnitude: Tensor, *, gamma: float
) -> tuple[Tensor, Tensor]:
    """Contributions that agree with the sign of z_j count 1 + gamma times.

    Parameters
    ----------
    relevance : Tensor
        R_j.
    output, magnitude : Tensor
        z_j and a_j = sum_i |c_ij|, of the same shape.
    gamma : float
        0 or more; 0 is the proportion itself.

    Returns
    -------
    of_values, of_sizes : Tensor
        v_j and m_j of :func:`by_agreement`.
    """
    # with the sign s of z: c + gamma (c + s |c|) / 2, of which the sum is (1 + gamma / 2) z + gamma / 2 s a
    of_values, of_sizes = 1 + gamma / 2, gamma / 2
    whole = of_values * output + of_sizes * torch.copysign(magnitude, output)
    share = divide(relevance, whole)
    # the sum has the sign s, so that s share is the one with the sign of the relevance
    return of_values * share, of_sizes * torch.copysign(share, relevance)


def agreeing_with_output(
    relevance: Tensor, output: Tensor, magnitude: Tensor
) -> tuple[Tensor, Tensor]:
    """Only contributions that agree with the sign of z_j count: gamma without limit.

    For active ReLU neurons this is z-plus; for the negative outputs of ELU networks it asks what
    made them negative.

    Parameters
    ----------
    relevance : Tensor
        R_j.
    output, magnitude : Tensor
        z_j and a_j = sum_i |c_ij|, of the same shape.

    Returns
    -------
    of_values, of_sizes : Tensor
        v_j and m_j of :func:`by_agreement`.
    """
    # c + s |c| is twice c where they agree and 0 where they do not, and sums to z + s a
    share = divide(relevance, output + torch.copysign(magnitude, output))
    return share, torch.copysign(share, relevance)


def divide(relevance: Tensor, total: Tensor) -> Tensor:
    """Return relevance / total, 0 where nothing contributes.

    Parameters
    ----------
    relevance, total : Tensor
        Of one shape.

    Returns
    -------
    Tensor
        Of that shape.
    """
    return (relevance / total).masked_fill_(total.abs() <= SMALLEST, 0.0)


def stabilise(total: Tensor, epsilon: float) -> Tensor:
    """Return z + epsilon * mean|z| * sign(z), the mean taken over each image's layer.

    Parameters
    ----------
    total : Tensor, shape (N, ...)
        z.
    epsilon : float
        0 or more.

    Returns
    -------
    Tensor, shape (N, ...)
    """
    # relative to the layer: the same epsilon then serves layers whose outputs differ a thousandfold
    scale = total.abs().flatten(1).mean(dim=1).view(-1, *[1] * (total.ndim - 1))
    return total + epsilon * scale * torch.where(total >= 0, 1.0, -1.0)


def by_epsilon(layer: Layer, relevance: Tensor, epsilon: float) -> Share:
    """Share in proportion to the contributions themselves, R_i = sum_j c_ij / (z_j + eps) R_j.

    Parameters
    ----------
    layer : Layer
    relevance : Tensor
        Of its outputs.
    epsilon : float
        Relative to the mean magnitude of its outputs.

    Returns
    -------
    Share
    """
    # x * gradient of the linear map is sum_j x_i w_ij s_j, for every stride, padding and grouping
    share = divide(relevance, stabilise(layer.output, epsilon))
    return Share((layer.x * layer.gradient(share),), _weighed(share, layer.bias))


def by_sign(layer: Layer, relevance: Tensor, coefficients: Coefficients) -> Share:
    """Give a unit of positive contribution A_j and a unit of negative one B_j.

    Parameters
    ----------
    layer : Layer
    relevance : Tensor
        Of its outputs.
    coefficients : callable
        ``(R, z^+, z^-) -> (A, B)``, all of the outputs' shape.

    Returns
    -------
    Share
    """
    # four passes of the same linear map give the positive and negative sums for inputs of either sign;
    # two of them where no input is negative, as after a ReLU
    up, down = layer.x.clamp(min=0).requires_grad_(), layer.x.clamp(max=0).requires_grad_()
    weight = layer.merged_weight
    weight_up, weight_down = weight.clamp(min=0), weight.clamp(max=0)
    bias_up, bias_down = layer.bias.clamp(min=0), layer.bias.clamp(max=0)
    with torch.enable_grad():
        positive, negative = layer.apply(up, weight_up), layer.apply(up, weight_down)
        leaves = [up]
        if bool((down < 0).any()):
            positive = positive + layer.apply(down, weight_down)
            negative = negative + layer.apply(down, weight_up)
            leaves.append(down)
    for_positive, for_negative = coefficients(
        relevance, positive.detach() + bias_up, negative.detach() + bias_down
    )
    gradients = torch.autograd.grad((positive, negative), leaves, (for_positive, for_negative))
    to_source = torch.stack([a.detach() * g for a, g in zip(leaves, gradients, strict=True)])
    to_bias = bias_up * for_positive + bias_down * for_negative
    return Share((to_source.sum(dim=0),), total(to_bias))


def by_agreement(layer: Layer, relevance: Tensor, agreement: Agreement) -> Share:
    """Give a unit of contribution v_j, and a unit of its size m_j: R_i = sum_j (c_ij v_j + |c_ij| m_j).

    What a rule wants that favours contributions of the sign of z_j. It takes the sum z of the
    contributions, which the network has computed, and that of their sizes a, in place of a sum for each sign:
    z^+ = (z + a) / 2 and z^- = (z - a) / 2. Of these the one that agrees with z is a / 2 at least, and nothing
    is divided by the other one, which may be what rounding left of two large numbers.

    Parameters
    ----------
    layer : Layer
    relevance : Tensor
        Of its outputs.
    agreement : callable
        ``(R, z, a) -> (v, m)``, all of the outputs' shape.

    Returns
    -------
    Share
    """
    size = layer.x.abs().requires_grad_()
    with torch.enable_grad():
        # factors stay outside: a product with every weight costs more than one with every output
        sizes = layer.apply(size, layer.weight.abs())
    scale = None if layer.factor is None else layer.factor.abs()
    magnitude = sizes.detach() if scale is None else sizes.detach() * scale
    of_values, of_sizes = agreement(relevance, layer.output, magnitude + layer.bias.abs())
    given = of_sizes if scale is None else of_sizes * scale
    (gradient,) = torch.autograd.grad(sizes, size, given)
    to_source = layer.x * layer.gradient(of_values) + size.detach() * gradient
    return Share((to_source,), total(layer.bias * of_values) + total(layer.bias.abs() * of_sizes))


def flat(x: Tensor, weight: Tensor, apply: Apply, relevance: Tensor) -> Share:
    """Give every input of a neuron the same, R_i = sum_j R_j / (number of inputs of j).

    Parameters
    ----------
    x, weight : Tensor
        Inputs and weights of a layer; their values do not matter.
    apply : callable
        ``(inputs, weights) -> outputs`` without a bias.
    relevance : Tensor
        Of its outputs.

    Returns
    -------
    Share
    """
    return _by_weight_alone(x, torch.ones_like(weight), apply, relevance)


def w_square(x: Tensor, weight: Tensor, apply: Apply, relevance: Tensor) -> Share:
    """Share by squared weights, R_i = sum_j w_ij^2 / (sum_i w_ij^2) R_j.

    Parameters
    ----------
    x, weight : Tensor
        Inputs and weights of a layer; the values of the inputs do not matter.
    apply : callable
        ``(inputs, weights) -> outputs`` without a bias.
    relevance : Tensor
        Of its outputs.

    Returns
    -------
    Share
    """
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
    x, weight : Tensor
        Inputs and weights of a layer.
    apply : callable
        ``(inputs, weights) -> outputs`` without a bias.
    relevance : Tensor
        Of its outputs.
    low, high : Tensor, shape of x
        Smallest and largest possible value of each input.

    Returns
    -------
    Share
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


def _weighed(share: Tensor, bias: Tensor) -> float:
    """Return the sum of bias * share, whose bias is the same at all positions."""
    return total(share.sum_to_size(1, *bias.shape) * bias)


def total(tensor: Tensor) -> float:
    """Return the sum of all values, taken in float64."""
    return to_float64(tensor.detach()).sum().item()  # float32 would lose what the gap is to show
