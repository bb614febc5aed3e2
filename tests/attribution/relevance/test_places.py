"""Rules that hang on a layer's place: against their formulas, at the image, and by depth."""

import numpy as np
import pytest
import torch
from torch import nn

from napari_why.attribution import METHODS
from napari_why.attribution.lrp import propagate
from napari_why.attribution.relevance_places import (
    bounds_at_input,
    image_bounds,
    merge_composites,
    rules_by_place,
)
from napari_why.attribution.relevance_rules import Affine, rule_set, weighted_layer
from napari_why.attribution.relevance_tape import record_tape
from napari_why.core.events import ignore_event, never_cancelled
from napari_why.networks.modules import ActNorm, RGBComposite

lrp = METHODS["lrp"].function
LAYERS = {
    "linear": (lambda bias: nn.Linear(6, 5, bias=bias), (1, 6)),
    "padded": (lambda bias: nn.Conv2d(2, 3, 3, padding=1, bias=bias), (1, 2, 5, 4)),
    "strided and grouped": (
        lambda bias: nn.Conv2d(4, 6, 3, stride=2, groups=2, bias=bias),
        (1, 4, 5, 5),
    ),
    "dilated": (lambda bias: nn.Conv2d(2, 2, 3, dilation=2, padding=2, bias=bias), (1, 2, 5, 5)),
}


NONE = {"epsilon": 0.0, "gamma": 0.25, "alpha": 1.0}


def literal(rule: str, matrix, x, low, high, relevance) -> np.ndarray:
    """R_i = sum_j share_ij R_j, one neuron and one input after the other, as printed."""
    result = np.zeros(len(x))
    for row, of_neuron in zip(matrix, relevance, strict=True):
        parts = np.zeros(len(x))
        for i, weight in enumerate(row):
            if rule == "flat":
                parts[i] = 1.0 if weight != 0 else 0.0  # no weight of the layer itself is 0
            elif rule == "w_square":
                parts[i] = weight**2
            else:
                parts[i] = x[i] * weight - low[i] * max(weight, 0) - high[i] * min(weight, 0)
        result += parts / parts.sum() * of_neuron
    return result


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("rule", ["flat", "w_square", "z_box"])
@pytest.mark.parametrize(("bias", "merged"), [(False, False), (True, False), (True, True)])
def test_rule_equals_its_formula_and_gives_the_bias_nothing(kind, rule, bias, merged) -> None:
    make, shape = LAYERS[kind]
    generator = torch.Generator().manual_seed(7)

    def noise(*sizes: int) -> torch.Tensor:
        return torch.randn(*sizes, generator=generator, dtype=torch.float64)

    layer = make(bias).double().requires_grad_(False)
    for parameter in layer.parameters():
        parameter.copy_(noise(*parameter.shape))
    x = noise(*shape)
    low, high = x - noise(*shape).abs(), x + noise(*shape).abs()
    outputs = layer(x)
    matrix = torch.autograd.functional.jacobian(layer, x).reshape(outputs.numel(), x.numel())
    affine = None
    if merged:
        affine = Affine(noise(outputs.shape[1]), noise(outputs.shape[1]))
        factor = affine.factor.view(1, -1, *[1] * (outputs.ndim - 2)).expand(outputs.shape)
        matrix = matrix * factor.reshape(-1, 1)
    relevance = noise(*outputs.shape)
    tape = record_tape(layer, x)
    rules = rule_set("z_plus", **NONE, at_input=rule, bounds=(low, high))
    chosen = rules_by_place(tape.operations, tape.image, rules)
    (operation,) = tape.operations
    share = weighted_layer(operation, (relevance,), chosen[id(operation)], affine)
    flat_values = [values.numpy().ravel() for values in (x, low, high, relevance)]
    expected = literal(rule, matrix.numpy(), *flat_values)
    np.testing.assert_allclose(share.sources[0].numpy().ravel(), expected, rtol=1e-9, atol=1e-11)
    assert share.constants == 0


@pytest.mark.parametrize("rule", ["flat", "w_square"])
def test_a_rule_for_all_layers_by_hand(rule: str) -> None:
    """Two layers: R = 8 x 3 = 24 at the output, shared 1 : 1 or 1 : 4 at each."""
    module = nn.Sequential(nn.Linear(2, 1, bias=False), nn.ReLU(), nn.Linear(1, 1, bias=False))
    with torch.no_grad():
        module[0].weight.copy_(torch.tensor([[2.0, -4.0]]))
        module[2].weight.fill_(3.0)
    tape = record_tape(module.requires_grad_(False), torch.tensor([[4.0, 0.0]]))
    start = tape.logits.detach()
    found = propagate(tape, start, rule_set(rule, **NONE), ignore_event, never_cancelled)
    expected = [12.0, 12.0] if rule == "flat" else [24 / 5, 24 * 4 / 5]
    assert found.pixels.flatten().tolist() == pytest.approx(expected)
    assert found.constants == 0


def test_a_neuron_without_any_input_leaves_its_relevance_to_the_constants() -> None:
    """x = l = h: z-box has nobody to give relevance to, and loses none of it unsaid."""
    layer = nn.Linear(2, 1).requires_grad_(False)
    x = torch.tensor([[1.0, 2.0]])
    rules = rule_set("z_plus", **NONE, at_input="z_box", bounds=(x, x))
    tape = record_tape(layer, x)
    found = propagate(tape, tape.logits.detach(), rules, ignore_event, never_cancelled)
    assert not found.pixels.any()
    assert found.constants == pytest.approx(tape.logits.item())


class Residual(nn.Module):
    """u + conv2(relu(conv1(u))) with u a rescaled image: conv1 meets the image, conv2 does not."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.unshuffle = ActNorm(8), nn.PixelUnshuffle(2)
        self.conv1, self.conv2 = nn.Conv2d(8, 4, 3, padding=1), nn.Conv2d(4, 8, 1)
        self.conv3 = nn.Conv2d(8, 3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        u = -self.norm(self.unshuffle(x))
        maps = self.conv3(u + self.conv2(self.conv1(u).relu()))
        return maps.mean((2, 3))


def test_layers_at_the_image_are_found_through_skips_with_the_bounds_that_reach_them() -> None:
    module = Residual().eval().requires_grad_(False)
    module.norm.shift.fill_(0.5)
    x = torch.randn(1, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    low, high = image_bounds(x, None)
    tape = record_tape(module, x)
    found = bounds_at_input(tape.operations, tape.image, (low, high))
    named = {item.module: found.get(id(item)) for item in tape.operations if item.name == "conv2d"}
    assert {name for name, bounds in named.items() if bounds} == {"conv1"}
    # the sign is turned round, so the brightest image gives the lowest value
    for bound, image in zip(named["conv1"], (high, low), strict=True):
        torch.testing.assert_close(bound, -(nn.functional.pixel_unshuffle(image, 2) + 0.5))


def test_bounds_are_no_light_and_the_brightest_pixel_of_each_channel() -> None:
    x = torch.tensor([[[[0.0, 2.0]], [[-1.0, -3.0]]]])
    zero = torch.tensor([[[[-1.0, -1.0]], [[-2.0, -2.0]]]])
    low, high = image_bounds(x, zero)
    assert high.tolist() == [[[[2.0, 2.0]], [[-1.0, -1.0]]]]
    assert low.tolist() == [[[[-1.0, -1.0]], [[-3.0, -3.0]]]]  # below raw 0: the darkest pixel
    assert image_bounds(x, None)[0].tolist() == [[[[0.0, 0.0]], [[-3.0, -3.0]]]]


@pytest.mark.parametrize("rule", ["flat", "w_square", "z_box"])
def test_a_composite_and_the_layer_behind_it_are_one_layer(small_network, rule: str) -> None:
    torch.manual_seed(0)
    composite, conv = RGBComposite(2), nn.Conv2d(3, 6, 5, stride=2, padding=2)
    whole = nn.Conv2d(2, 6, 5, stride=2, padding=2)
    with torch.no_grad():
        whole.weight.copy_(torch.einsum("jkhw,kc->jchw", conv.weight, composite.weight[..., 0, 0]))
        whole.bias.copy_(conv.bias)
    x = torch.randn(1, 2, 9, 9)
    two, one = (small_network(nn.Sequential(*parts, nn.ReLU()), 6)
                for parts in ((composite, conv), (whole,)))  # fmt: skip
    one.linear.load_state_dict(two.linear.state_dict())
    mine, theirs = (lrp(network, x, 1, input_rule=rule) for network in (two, one))
    torch.testing.assert_close(mine.maps, theirs.maps, atol=1e-6, rtol=1e-3)
    assert mine.gap < 1e-3
    # a convolution with the same weights everywhere does not tell channels apart
    assert torch.allclose(mine.maps[0], mine.maps[1]) == (rule == "flat")
    rules = {entry["module"]: entry["rule"] for entry in mine.details["coverage"]}
    assert rules["encoder.0"] == "merged into encoder.1"
    title = {"flat": "flat", "w_square": "w-square", "z_box": "z-box"}[rule]
    assert rules["encoder.1"] == title
    # what may not be merged: padding would cut a bias off
    biased = nn.Sequential(nn.Conv2d(2, 3, 1), conv).requires_grad_(False)
    tape = record_tape(biased, x)
    assert merge_composites(tape.operations, tape.image) == (tape.operations, {})


def test_rules_go_by_thirds_of_the_depth(case) -> None:
    network, x = case("cam_net").network, case("cam_net").x
    evidence = lrp(network, x, 1, rule="by_depth", input_rule="flat")
    layers = [
        e["rule"] for e in evidence.details["coverage"] if e["operation"] in ("conv2d", "linear")
    ]
    assert layers == ["flat", "z-plus", "gamma 0.25", "epsilon 1e-06", "epsilon 1e-06"]
    without = lrp(network, x, 1, rule="by_depth")
    assert without.details["coverage"][0]["rule"] == "z-plus"
