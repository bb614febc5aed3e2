"""LRP conserves the logit on every shipped network, by every rule."""

import pytest
import torch
from torch import nn
from torchvision.models import resnet18

from napari_why.attribution import METHODS
from napari_why.networks import wrap
from napari_why.networks.network import Network

lrp = METHODS["lrp"].function
RULES = [
    {"rule": "composite"},
    {"rule": "epsilon"},
    {"rule": "gamma"},
    {"rule": "alpha_beta", "alpha": 2.0},  # alpha 1 is z_plus, see relevance/test_rules.py
    {"rule": "z_plus"},
]
# each new rule somewhere: at the image, for all layers, in the composite by depth
PLACED = [
    {"rule": "by_depth", "input_rule": "z_box"},
    {"rule": "composite", "input_rule": "w_square"},
    {"rule": "z_plus", "input_rule": "flat"},
    {"rule": "flat"},
    {"rule": "w_square"},
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


@pytest.mark.parametrize(
    ("kind", "options"),
    # the largest network with two of them, since the small ones have all
    [(kind, given) for kind in KINDS for given in (PLACED[::3] if kind == "resnext50" else PLACED)],
    ids=lambda item: item if isinstance(item, str) else "-".join(item.values()),
)
def test_rules_by_place_conserve_the_logit_too(case, kind: str, options) -> None:
    """Without biases in the maps alone; with them (at the small networks) in maps and constants."""
    x = case(kind).x
    for bias_free in (True, False) if kind != "resnext50" else (True,):
        network = case(kind, bias_free=bias_free).network
        logit = network(x)[0, 2].item()
        evidence = lrp(network, x, 2, **options)
        in_maps = evidence.maps.double().sum().item()
        if bias_free:
            assert in_maps == pytest.approx(logit, rel=0.01)
        assert in_maps + evidence.constants == pytest.approx(logit, rel=0.01)
        assert evidence.gap < 0.01


@pytest.fixture(scope="module")
def torchvision_resnet() -> Network:
    """resnet18 as torchvision has it: in-place ReLUs that are used twice, and ``out += identity``."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = resnet18(weights=None)
        module.conv1 = nn.Conv2d(2, 64, 7, stride=2, padding=3, bias=False)
        parts = list(module.children())
        head = nn.Sequential(parts[-2], nn.Flatten(), nn.Linear(512, 3, bias=False))
    network = wrap(
        nn.Sequential(*parts[:-2]), head, input_channels=2, classes=3, layers=["4", "5"], size=32
    )
    network.freeze()
    return network


@pytest.mark.parametrize(
    "options",
    [*RULES, *PLACED],
    ids=lambda options: "-".join(map(str, options.values())),
)
def test_a_wrapped_torchvision_resnet_conserves_the_logit(torchvision_resnet, options) -> None:
    x = torch.randn(1, 2, 32, 32, generator=torch.Generator().manual_seed(1))
    logit = torchvision_resnet(x)[0, 1].item()
    evidence = lrp(torchvision_resnet, x, 1, **options)
    # its batch normalisation is that of a new network, which shifts nothing
    assert evidence.maps.double().sum().item() == pytest.approx(logit, rel=0.01)
    assert evidence.gap < 0.01
    named = {entry["module"] for entry in evidence.details["coverage"]}
    sums = [e for e in evidence.details["coverage"] if e["operation"] == "add"]
    assert len(sums) == 8  # one a block, though none is a module
    assert {"encoder.0", "encoder.4.0.conv1", "encoder.7.1.bn2", "classifier.2"} <= named


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
