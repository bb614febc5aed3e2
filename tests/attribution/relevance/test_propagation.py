"""Sums, normalisations and pooling against literal formulas, and what has no rule."""

import pytest
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from napari_why.attribution import METHODS
from napari_why.attribution.lrp import propagate
from napari_why.attribution.relevance_rules import rule_set
from napari_why.attribution.relevance_tape import record_tape
from napari_why.core.errors import UnsupportedNetworkError
from napari_why.core.events import ignore_event, never_cancelled
from napari_why.networks.modules import ActNorm, ResidualSum

lrp = METHODS["lrp"].function
RULES = ("composite", "epsilon", "gamma", "alpha_beta", "z_plus")


def relevance_of(module: nn.Module, x: torch.Tensor, rule: str = "composite", target: int = 0):
    """Propagate output ``target`` of a module whose output is (1, n)."""
    rules = rule_set(rule, epsilon=0.0, gamma=0.25, alpha=2.0)
    module = module.eval().requires_grad_(False)
    tape = record_tape(module, x)
    start = torch.zeros_like(tape.logits)
    start[:, target] = tape.logits[:, target].detach()
    return propagate(tape, start, rules, ignore_event, never_cancelled)


class Apply(nn.Module):
    """A function as a module."""

    def __init__(self, function, *modules: nn.Module) -> None:
        super().__init__()
        self.function, self.parts = function, nn.ModuleList(modules)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


def row(*values: float) -> torch.Tensor:
    return torch.tensor([values], dtype=torch.float64)


@pytest.mark.parametrize("branch", [3.0, -0.5, -0.99])
def test_residual_sum_shares_in_proportion(branch: float) -> None:
    add = ResidualSum()
    module = Apply(lambda x: add(x[:, :1], branch * x[:, 1:]), add)
    x = row(1.0, 1.0)
    output = 1 + branch
    signed = relevance_of(module, x, "epsilon").pixels[0]
    torch.testing.assert_close(signed, output * row(1, branch)[0] / (1 + branch))
    bounded = relevance_of(module, x).pixels[0]
    torch.testing.assert_close(bounded, output * row(1, abs(branch))[0] / (1 + abs(branch)))


@pytest.mark.parametrize(
    "function",
    [
        lambda x: 2.0 + 3 * x,
        lambda x: torch.mul(x, other=3) + 2.0,
        lambda x: x * 3 + torch.tensor(2.0),
        lambda x: x / (1 / 3) - (-2.0),
        lambda x: -(-2.0 - x * 3),
        lambda x: torch.add(torch.tensor([2.0]), x, alpha=3),
    ],
)
def test_a_shift_is_a_part_of_the_sum_too(function) -> None:
    for rule, share in (("composite", 1.5 / 3.5), ("epsilon", -1.5 / 0.5)):
        found = relevance_of(Apply(function), row(-0.5), rule)
        assert found.pixels.item() == pytest.approx(0.5 * share)
        assert found.constants == pytest.approx(0.5 - 0.5 * share)


def test_one_tensor_in_several_places_collects_all_its_relevance() -> None:
    found = relevance_of(Apply(lambda x: (x + x) + torch.relu(x)), row(2.0))
    assert found.pixels.item() == pytest.approx(6.0)


def test_actnorm_scale_keeps_relevance_and_shift_takes_its_share() -> None:
    norm = ActNorm(2)
    with torch.no_grad():
        norm.log_scale.copy_(torch.tensor([2.0, 3.0]).log().view(1, 2, 1, 1))
        norm.shift.copy_(torch.tensor([-1.0, 0.0]).view(1, 2, 1, 1))
    x = torch.ones(1, 2, 1, 1)
    found = relevance_of(nn.Sequential(norm, nn.Flatten()), x, target=0)
    torch.testing.assert_close(found.pixels.flatten(), torch.tensor([2 / 3, 0.0]))
    assert found.constants == pytest.approx(1 / 3)


def test_average_shares_in_proportion_and_maximum_goes_to_the_winner() -> None:
    x = torch.tensor([[[[1.0, -2.0], [4.0, 3.0]]]])
    average = relevance_of(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), x).pixels
    torch.testing.assert_close(average, x / 4)
    for function in (lambda t: t.mean((2, 3)), lambda t: nn.functional.avg_pool2d(t, 2).flatten(1)):
        torch.testing.assert_close(relevance_of(Apply(function), x).pixels, x / 4)
    winner = relevance_of(nn.Sequential(nn.MaxPool2d(2), nn.Flatten()), x).pixels
    torch.testing.assert_close(winner, torch.where(x == 4, x, 0.0))


@pytest.mark.parametrize("module", [nn.PixelUnshuffle(2), nn.PixelShuffle(2), nn.Identity()])
def test_rearrangements_permute_relevance(module: nn.Module) -> None:
    x = torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    target = 21
    found = relevance_of(nn.Sequential(module, nn.Flatten()), x, target=target)
    value = module(x).flatten()[target]
    torch.testing.assert_close(found.pixels, torch.where(x == value, x, 0.0))
    assert found.constants == 0


def normalised(features: int, seed: int) -> nn.BatchNorm2d:
    generator = torch.Generator().manual_seed(seed)
    norm = nn.BatchNorm2d(features).eval()
    with torch.no_grad():
        for item, mean in ((norm.weight, 0.0), (norm.bias, 0.0), (norm.running_mean, 0.0)):
            item.copy_(mean + torch.randn(features, generator=generator))
        norm.running_var.copy_(torch.rand(features, generator=generator) + 0.5)
    return norm


@pytest.mark.parametrize("rule", RULES)
def test_batch_norm_is_merged_into_the_convolution(small_network, rule: str) -> None:
    torch.manual_seed(0)
    conv, norm = nn.Conv2d(2, 6, 3, padding=1).eval(), normalised(6, 1)
    x = torch.randn(1, 2, 8, 8, generator=torch.Generator().manual_seed(2))
    separate = small_network(nn.Sequential(conv, norm, nn.ReLU()), 6)
    fused = small_network(nn.Sequential(fuse_conv_bn_eval(conv, norm), nn.ReLU()), 6)
    fused.linear.load_state_dict(separate.linear.state_dict())
    mine, theirs = (lrp(network, x, 1, rule=rule) for network in (separate, fused))
    torch.testing.assert_close(mine.maps, theirs.maps, atol=1e-6, rtol=1e-3)
    assert {"module": "encoder.1", "operation": "batch_norm", "rule": "merged into encoder.0"} in (
        mine.details["coverage"]
    )


@pytest.mark.parametrize("rule", RULES)
def test_batch_norm_is_merged_through_max_pooling(small_network, rule: str) -> None:
    """With positive factors pooling and normalisation commute, so the fused network is the same."""
    torch.manual_seed(0)
    conv, norm = nn.Conv2d(2, 6, 5, padding=2).eval(), normalised(6, 3)
    with torch.no_grad():
        norm.weight.abs_()
    x = torch.randn(1, 2, 8, 8, generator=torch.Generator().manual_seed(2))
    separate = small_network(nn.Sequential(conv, nn.MaxPool2d(2), norm, nn.ReLU()), 6)
    fused = small_network(
        nn.Sequential(fuse_conv_bn_eval(conv, norm), nn.MaxPool2d(2), nn.ReLU()), 6
    )
    fused.linear.load_state_dict(separate.linear.state_dict())
    mine, theirs = (lrp(network, x, 1, rule=rule) for network in (separate, fused))
    torch.testing.assert_close(mine.maps, theirs.maps, atol=1e-6, rtol=1e-3)


def test_batch_norm_that_cannot_be_merged_shares_in_proportion() -> None:
    norm = normalised(3, 5)
    x = torch.randn(1, 3, 1, 1, generator=torch.Generator().manual_seed(2))
    module = nn.Sequential(norm, nn.Flatten())
    factor = norm.weight / (norm.running_var + norm.eps).sqrt()
    scaled, shift = factor * x.flatten(), norm.bias - norm.running_mean * factor
    output = (scaled + shift)[1]
    found = relevance_of(module, x, target=1)
    expected = output * scaled[1].abs() / (scaled[1].abs() + shift[1].abs())
    assert found.pixels[0, 1].item() == pytest.approx(expected.item(), rel=1e-5)
    assert found.constants == pytest.approx((output - expected).item(), rel=1e-4)


def test_batch_statistics_are_refused() -> None:
    with pytest.raises(UnsupportedNetworkError, match="statistics of the batch"):
        relevance_of(
            nn.Sequential(nn.BatchNorm2d(2, track_running_stats=False), nn.Flatten()),
            torch.randn(1, 2, 4, 4),
        )


@pytest.mark.parametrize(
    ("function", "culprit"),
    [
        (lambda x: torch.sigmoid(x), "sigmoid in middle"),
        (lambda x: nn.functional.layer_norm(x, x.shape[1:]), "layer_norm in middle"),
        (lambda x: x * x, "mul in middle"),
        (lambda x: torch.div(x, 0.1, rounding_mode="floor"), "div in middle"),
        (lambda x: 1 / (x + 9), "(div|reciprocal|rdiv|rtruediv) in middle"),
        (lambda x: torch.div(other=x + 9, input=torch.ones(())), "div in middle"),
        (lambda x: torch.div(input=torch.ones(()), other=x + 9), "div in middle"),
        (lambda x: x.softmax(1), "softmax in middle"),
        (lambda x: nn.functional.conv2d(x, x * 2), "conv2d in middle"),
        (lambda x: x.detach() * 2, "detach in middle"),
    ],
)
def test_an_operation_without_a_rule_is_an_error_that_names_it(function, culprit: str) -> None:
    from collections import OrderedDict

    module = nn.Sequential(OrderedDict(middle=Apply(function), flatten=nn.Flatten()))
    with pytest.raises(UnsupportedNetworkError, match=f"no rule for {culprit}"):
        relevance_of(module, torch.rand(1, 1, 3, 3))


def test_operations_off_the_way_to_the_logits_do_not_matter() -> None:
    found = relevance_of(Apply(lambda x: (x.sigmoid(), x * 2)[1]), row(2.0))
    assert found.pixels.item() == 4.0
