"""LRP conserves the logit on every shipped network, by every rule."""

import pytest
import torch
from torch import nn

from napari_why.attribution import METHODS

lrp = METHODS["lrp"].function
RULES = [
    {"rule": "composite"},
    {"rule": "epsilon"},
    {"rule": "gamma"},
    {"rule": "alpha_beta", "alpha": 2.0},  # alpha 1 is z_plus, see relevance/test_rules.py
    {"rule": "z_plus"},
]
POOLED = ("iresnet", "linear_iresnet", "resnext50", "cam_net", "preactivation", "bottleneck")
KINDS = (*POOLED, "vae")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", RULES, ids=lambda options: "-".join(map(str, options.values())))
def test_all_of_the_logit_reaches_the_pixels_of_a_network_without_biases(
    case, kind: str, options
) -> None:
    """No bias, no shift, no running mean: sum R = s_c within 1 %, nothing in constants."""
    network, x = case(kind, bias_free=True).network, case(kind).x
    evidence = lrp(network, x, 2, **options)
    logit = network(x)[0, 2].item()
    assert evidence.maps.double().sum().item() == pytest.approx(logit, rel=0.01)
    assert abs(evidence.details["relevance_in_constants"]) < 0.01 * abs(logit)
    assert evidence.gap < 0.01
    assert torch.equal(evidence.joint, evidence.maps.sum(0))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", RULES, ids=lambda options: "-".join(map(str, options.values())))
def test_pixels_and_biases_share_the_logit(case, kind: str, options) -> None:
    """With biases: sum R + relevance of the biases = s_c within 1 %; the biases do take some."""
    network, x = case(kind).network, case(kind).x
    evidence = lrp(network, x, 1, **options)
    logit = network(x)[0, 1].item()
    in_constants = evidence.details["relevance_in_constants"]
    assert evidence.maps.double().sum().item() + in_constants == pytest.approx(logit, rel=0.01)
    assert abs(in_constants) > 0.01 * abs(logit)
    assert evidence.gap < 0.01


@pytest.mark.parametrize("kind", POOLED)
def test_composite_never_makes_relevance_grow_below_the_head(case, kind: str) -> None:
    """Generalised z-plus hands on at most |R|, so the map is bounded by the head's evidence."""
    network, x = case(kind).network, case(kind).x
    features = network.encode(x)
    weights = network.linear_head_weights[1]
    at_the_head = (weights[None, :, None, None] * features).abs().mean((2, 3)).sum().item()
    assert lrp(network, x, 1).maps.abs().sum().item() <= at_the_head * 1.0001


@pytest.mark.parametrize("kind", ["cam_net", "resnext50", "bottleneck"])
def test_epsilon_is_input_times_gradient_on_relu_networks(case, kind: str) -> None:
    """Known equivalence (Ancona et al. 2018, proposition 1), for epsilon to 0."""
    network, x = case(kind).network, case(kind).x
    ours = lrp(network, x, 2, rule="epsilon", epsilon=0.0).maps
    theirs = METHODS["input_x_gradient"].function(network, x, 2).maps
    torch.testing.assert_close(ours, theirs, atol=1e-3 * theirs.abs().max().item(), rtol=0.01)


def test_coverage_names_every_module_and_sum_with_its_rule(shipped) -> None:
    evidence = lrp(shipped.network, shipped.x, 0)
    coverage = evidence.details["coverage"]
    named = {entry["module"] for entry in coverage}
    leaves = {
        name
        for name, module in shipped.network.named_modules()
        if not any(module.children()) and not isinstance(module, nn.ModuleDict)
    }
    assert leaves <= named
    assert all(entry["rule"] for entry in coverage)
    by_rule = {entry["module"]: entry["rule"] for entry in coverage}
    for name, module in shipped.network.named_modules():
        kind = type(module).__name__
        if kind == "BatchNorm2d":
            assert by_rule[name].startswith("merged into ")
        if kind == "ResidualSum":
            assert by_rule[name] == "sum, in proportion to magnitudes"
        if kind == "Conv2d":
            assert by_rule[name] == "generalised z-plus"


def test_coverage_of_an_autoencoder_is_all_that_leads_to_the_logits(case) -> None:
    network, x = case("vae").network, case("vae").x
    called: set[str] = set()
    leaves = {name: m for name, m in network.named_modules() if not any(m.children())}
    handles = [
        module.register_forward_hook(lambda *_, name=name: called.add(name))
        for name, module in leaves.items()
    ]
    network(x)
    for handle in handles:
        handle.remove()
    named = {entry["module"] for entry in lrp(network, x, 0).details["coverage"]}
    assert called <= named
    assert {name.split(".")[0] for name in set(leaves) - called} == {
        "decoder",
        "from_latent",
        "to_log_variance",
    }


def test_head_with_hidden_layers_conserves_too() -> None:
    from napari_why.networks.registry import build_network

    network = build_network(
        "iresnet", input_channels=2, classes=2, size=16, blocks="1,1", widths="4,4",
        downscaling="2,2", head="thesis",
    )  # fmt: skip
    network.freeze()
    x = torch.randn(1, 2, 16, 16, generator=torch.Generator().manual_seed(0))
    for options in RULES:
        assert lrp(network, x, 0, **options).gap < 0.01


def test_an_image_at_the_training_mean_is_explained_by_the_biases_alone(case) -> None:
    evidence = lrp(case("iresnet").network, torch.zeros(1, 2, 32, 32), 0)
    assert not evidence.maps.any()
    assert evidence.gap < 0.01


def test_cancelled_relevance_never_reached_the_pixels(case) -> None:
    evidence = lrp(case("bottleneck").network, case("bottleneck").x, 0, cancelled=lambda: True)
    assert evidence.partial
    assert not evidence.maps.any()
    assert evidence.gap == pytest.approx(1.0)
