"""Every method on an i-ResNet with locked channels, and on its head that judges positions."""

import copy
from functools import cache
from typing import Any

import pytest
import torch
from torch import nn

from napari_why.attribution import METHODS
from napari_why.networks import ActNorm, Network, build_network

SMALL = {"size": 16, "blocks": "2,1", "widths": "6,6", "downscaling": "2,2"}
FAST: dict[str, dict[str, Any]] = {
    "occlusion": {"window": 8, "stride": 8},
    "integrated_gradients": {"steps": 32},
}
WITH_GAP = ("simple_taylor", "expected_gradients", "counterfactual_gradients")
CASES = [
    *(("elu", "0,2", rule) for rule in ("composite", "epsilon", "gamma", "alpha_beta", "z_plus")),
    *(("convolutional", "0,2", rule) for rule in ("composite", "epsilon")),
    ("linear", "0,2", "composite"),
    ("elu", "", "composite"),
]


@cache
def triangular(*, head: str = "elu", locked: str = "1", biases: bool = True) -> Network:
    """Return a small frozen network of 3 channels with the normalisations of a trained one."""
    network = build_network(
        "iresnet", input_channels=3, classes=3, **SMALL, head=head, locked=locked
    )
    network.freeze()
    generator = torch.Generator().manual_seed(3)
    for module in network.modules():
        if isinstance(module, ActNorm):
            module.log_scale.copy_(0.3 * torch.randn(module.shift.shape, generator=generator))
            module.shift.copy_(0.3 * torch.randn(module.shift.shape, generator=generator))
        for name in ("bias", "shift"):
            if not biases and getattr(module, name, None) is not None:
                getattr(module, name).zero_()
    return network


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("head", "locked", "rule"), CASES)
def test_relevance_of_pixels_and_biases_is_the_logit(x, head: str, locked: str, rule: str) -> None:
    network = triangular(head=head, locked=locked)
    evidence = METHODS["lrp"].function(network, x, 1, rule=rule)
    assert evidence.gap < 0.01
    plain = triangular(head=head, locked=locked, biases=False)
    evidence = METHODS["lrp"].function(plain, x, 1, rule=rule)
    logit = plain(x)[0, 1].item()
    assert evidence.maps.double().sum().item() == pytest.approx(logit, rel=0.01)
    assert evidence.details["relevance_in_constants"] == pytest.approx(0, abs=0.01 * abs(logit))


@pytest.mark.parametrize("head", ["convolutional", "linear", "elu"])
def test_coverage_names_every_module_and_the_condition(x, head: str) -> None:
    network = triangular(head=head)
    coverage = METHODS["lrp"].function(network, x, 0).details["coverage"]
    rules = {entry["module"]: entry["rule"] for entry in coverage}
    leaves = {name for name, module in network.named_modules() if not any(module.children())}
    assert leaves <= set(rules)
    for name, module in network.named_modules():
        if name.endswith("condition_sum"):
            assert rules[name] == "sum, in proportion to magnitudes"
        if isinstance(module, nn.Conv2d):
            assert rules[name] == "generalised z-plus"


def test_a_locked_channel_has_evidence_by_way_of_the_condition(x) -> None:
    """It changes no latent that the head sees, other than through the blocks it conditions."""
    network = copy.deepcopy(triangular())
    for name in ("lrp", "saliency", "input_x_gradient", "integrated_gradients", "occlusion"):
        maps = METHODS[name].function(network, x, 1, **FAST.get(name, {})).maps
        assert maps[1].any(), name
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("condition.weight"):
                parameter.zero_()
    for name in ("lrp", "saliency", "input_x_gradient", "integrated_gradients", "occlusion"):
        maps = METHODS[name].function(network, x, 1, **FAST.get(name, {})).maps
        assert maps[1].abs().max() < 1e-6, name  # occlusion: rounding of two batches
        assert maps[[0, 2]].flatten(1).any(dim=1).all(), name


@pytest.mark.parametrize("name", sorted(METHODS))
@pytest.mark.parametrize("head", ["convolutional", "linear", "elu"])
def test_every_method_works_or_says_why_not(x, given, name: str, head: str) -> None:
    network, method = triangular(head=head), METHODS[name]
    reason = method.unsuitable(network)
    if reason is not None:
        assert (name, head) == ("cam", "elu") or name == "deep_taylor"
        assert "linear head" in reason or "this network has ELU" in reason
        return
    evidence = method.function(network, x, 1, **FAST.get(name, {}), **given(name, x))
    assert evidence.maps.shape == (3, 16, 16)
    assert torch.isfinite(evidence.maps).all()
    assert evidence.maps[0].any()
    # elsewhere the gap is that of few samples, of a linear term, or of a way over many kinks
    if evidence.gap is not None and name not in WITH_GAP:
        assert evidence.gap < 0.01


def test_cam_adds_up_to_the_logit_of_the_free_channels(x) -> None:
    network = triangular(head="linear")
    weights = network.linear_head_weights
    assert weights is not None
    locked = network.locked_latent_channels()
    assert weights.shape == (3, network.encode(x).shape[1])
    assert not weights[:, :locked].any()
    assert METHODS["cam"].function(network, x, 2).gap < 1e-3
