"""Every rule against its formula, written out over the dense matrix of each kind of layer."""

import numpy as np
import pytest
import torch
from torch import nn

from napari_why.attribution.relevance_rules import Affine, rule_set, weighted_layer
from napari_why.attribution.relevance_tape import record_tape

LAYERS = {
    "linear": (lambda bias: nn.Linear(6, 5, bias=bias), (1, 6)),
    "padded": (lambda bias: nn.Conv2d(2, 3, 3, padding=1, bias=bias), (1, 2, 5, 4)),
    "strided and grouped": (
        lambda bias: nn.Conv2d(4, 6, 3, stride=2, groups=2, bias=bias),
        (1, 4, 5, 5),
    ),
    "dilated": (lambda bias: nn.Conv2d(2, 2, 3, dilation=2, padding=2, bias=bias), (1, 2, 5, 5)),
    "same": (lambda bias: nn.Conv2d(2, 2, 3, padding="same", bias=bias), (1, 2, 4, 4)),
}
INPUTS = {"any sign": lambda x: x, "not negative": torch.relu, "negative": lambda x: -x.abs()}


def dense(layer: nn.Module, x: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Return the matrix (outputs, inputs) and the bias (outputs,) of a layer."""
    outputs = layer(x).numel()
    matrix = torch.autograd.functional.jacobian(layer, x).reshape(outputs, x.numel())
    return matrix.double().numpy(), layer(torch.zeros_like(x)).detach().double().numpy().ravel()


def shares(row: np.ndarray, scale: float, name: str, options: dict) -> list[float]:
    """Return the share of each contribution to one neuron, by the formulas as printed."""
    z, positive, negative = row.sum(), row[row > 0].sum(), row[row < 0].sum()
    alpha = 1.0 if name == "z_plus" else options["alpha"]
    alpha = 1.0 if negative == 0 else 0.0 if positive == 0 else alpha

    def epsilon(c: float) -> float:
        return c / (z + options["epsilon"] * scale * (1 if z >= 0 else -1))

    def alpha_beta(c: float) -> float:
        return alpha * c / positive if c > 0 else (1 - alpha) * c / negative if c < 0 else 0.0

    def weighted(c: float) -> float:
        return c + options["gamma"] * (max(c, 0) if z >= 0 else min(c, 0))

    # once a row: for each of its contributions anew it took most of the time of all rules
    total = sum(map(weighted, row)) if name == "gamma" else np.nan

    def gamma(c: float) -> float:
        return weighted(c) / total

    def composite(c: float) -> float:
        return c / (positive if z >= 0 else negative) if c * z > 0 else 0.0

    formulas = {"epsilon": epsilon, "gamma": gamma, "composite": composite}
    return list(map(formulas.get(name, alpha_beta), row))


def literal(matrix, bias, x, relevance, name: str, options: dict) -> tuple[np.ndarray, float]:
    """Return R_i = sum_j share_ij R_j, and what the biases got."""
    contributions = np.concatenate([matrix * x, bias[:, None]], axis=1)
    scale = np.abs(contributions.sum(axis=1)).mean()
    table = np.array([shares(row, scale, name, options) for row in contributions])
    handed = table * relevance[:, None]
    return handed[:, :-1].sum(axis=0), handed[:, -1].sum()


CHOICES = [
    ("epsilon", {"epsilon": 0.1}),
    ("gamma", {"gamma": 0.25}),
    ("gamma", {"gamma": 10.0}),
    ("alpha_beta", {"alpha": 2.0}),
    ("alpha_beta", {"alpha": 1.0}),
    ("z_plus", {}),
    ("composite", {"epsilon": 1e-6}),
]


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("sign", INPUTS)
@pytest.mark.parametrize(("name", "given"), CHOICES)
@pytest.mark.parametrize(("bias", "merged"), [(False, False), (True, False), (True, True)])
def test_rule_equals_its_formula(kind, sign, name, given, bias, merged) -> None:
    make, shape = LAYERS[kind]
    generator = torch.Generator().manual_seed(7)
    layer = make(bias).double().requires_grad_(False)
    for parameter in layer.parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=generator))
    x = INPUTS[sign](torch.randn(shape, generator=generator, dtype=torch.float64))
    matrix, offset = dense(layer, x)
    affine = None
    if merged:  # a factor, negative for some, and a shift per output channel
        outputs = layer(x).shape
        affine = Affine(
            *(torch.randn(outputs[1], generator=generator, dtype=torch.float64) for _ in "fs")
        )
        each = [
            item.view(1, -1, *[1] * (len(outputs) - 2)).expand(outputs).numpy().ravel()
            for item in (affine.factor, affine.shift)
        ]
        matrix, offset = matrix * each[0][:, None], offset * each[0] + each[1]
    options = {"epsilon": 1e-6, "gamma": 0.25, "alpha": 2.0} | given
    rules = rule_set(name, **options)
    relevance = torch.randn(layer(x).shape, generator=generator, dtype=torch.float64)
    (operation,) = record_tape(layer, x).operations
    share = weighted_layer(operation, (relevance,), rules, affine)
    formula = "epsilon" if name == "composite" and kind == "linear" else name
    expected, to_bias = literal(
        matrix, offset, x.numpy().ravel(), relevance.numpy().ravel(), formula, options
    )
    np.testing.assert_allclose(share.sources[0].numpy().ravel(), expected, rtol=1e-9, atol=1e-12)
    assert share.constants == pytest.approx(to_bias, rel=1e-9, abs=1e-12)


def test_alpha_one_is_z_plus() -> None:
    one = rule_set("alpha_beta", epsilon=0, gamma=0, alpha=1.0).convolution
    other = rule_set("z_plus", epsilon=0, gamma=0, alpha=5.0).convolution
    values = torch.randn(3, 50, generator=torch.Generator().manual_seed(0))
    given = values[0], values[1].abs(), -values[2].abs()
    for mine, theirs in zip(one.coefficients(*given), other.coefficients(*given), strict=True):
        assert torch.equal(mine, theirs)
