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
from typing import Literal

import torch
from torch import Tensor

RuleName = Literal["composite", "epsilon", "gamma", "alpha_beta", "z_plus"]
SMALLEST = 1e-30  # sums below are empty: nothing contributes

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
    for_positive = alpha * divided(relevance, positive)
    for_negative = (1 - alpha) * divided(relevance, negative)
    no_negative, no_positive = negative.abs() <= SMALLEST, positive.abs() <= SMALLEST
    return (
        torch.where(no_negative, divided(relevance, positive), for_positive),
        torch.where(no_positive, divided(relevance, negative), for_negative),
    )


def generalised_gamma(
    relevance: Tensor, positive: Tensor, negative: Tensor, *, gamma: float
) -> tuple[Tensor, Tensor]:
    """Contributions that agree with the sign of z_j count 1 + gamma times."""
    up = positive + negative >= 0
    weight_up = torch.where(up, 1 + gamma, 1.0)
    weight_down = torch.where(up, 1.0, 1 + gamma)
    share = divided(relevance, weight_up * positive + weight_down * negative)
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
        torch.where(up, divided(relevance, positive), nothing),
        torch.where(up, nothing, divided(relevance, negative)),
    )


def divided(relevance: Tensor, total: Tensor) -> Tensor:
    """Return relevance / total, 0 where nothing contributes."""
    empty = total.abs() <= SMALLEST
    return torch.where(empty, 0.0, relevance / torch.where(empty, 1.0, total))


def stabilised(total: Tensor, epsilon: float) -> Tensor:
    """Return z + epsilon * mean|z| * sign(z), the mean taken over each image's layer."""
    scale = total.abs().flatten(1).mean(dim=1).view(-1, *[1] * (total.ndim - 1))
    return total + epsilon * scale * torch.where(total >= 0, 1.0, -1.0)
