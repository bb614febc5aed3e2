"""The same rules as other libraries have them, on networks that these treat right.

zennit and autoLRP are asked where they are installed. All see a chain of plain layers without biases
right; what they miss is written in docs/attribution.md.
"""

from typing import Any

import pytest
import torch
from torch import nn

from napari_why.attribution import METHODS
from napari_why.networks import wrap

lrp = METHODS["lrp"].function


@pytest.fixture
def network(small_network) -> Any:
    """A chain of convolutions without biases, in double precision."""
    torch.manual_seed(0)
    encoder = nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1, bias=False),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 8, 3, stride=2, bias=False),
        nn.ReLU(),
    )
    network = small_network(encoder, 8).double()
    network.linear.bias.zero_()
    return network


@pytest.fixture
def x() -> torch.Tensor:
    """No negative pixels: captum and zennit's gamma take signs of weights for signs of contributions."""
    return torch.rand(1, 2, 12, 12, generator=torch.Generator().manual_seed(1)).double()


def highest(network: nn.Module, x: torch.Tensor) -> int:
    """Return a class with a positive logit."""
    logits = network(x)[0]
    assert logits.max() > 0
    return int(logits.argmax())


class Chain(nn.Module):
    """The network as modules alone, as captum and zennit want it."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.maps = nn.Sequential(*network.encoder, network.pool)
        self.linear = network.linear

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(self.maps(x).flatten(1))  # captum has no rule for nn.Flatten


@pytest.mark.parametrize("rule", ["epsilon", "gamma", "z_plus"])
def test_captum(network, x, rule: str) -> None:
    from captum.attr import LRP
    from captum.attr._utils.lrp_rules import Alpha1_Beta0_Rule, EpsilonRule, GammaRule

    target = highest(network, x)
    ours = lrp(network, x, target, rule=rule, epsilon=0.0).maps
    chain = Chain(network)
    make = {"epsilon": EpsilonRule, "gamma": GammaRule, "z_plus": Alpha1_Beta0_Rule}[rule]
    for module in chain.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.rule = make()
    theirs = LRP(chain).attribute(x.clone().requires_grad_(), target=target)[0].detach()
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("rule", ["epsilon", "gamma", "alpha_beta", "z_plus", "flat", "w_square"])
@pytest.mark.parametrize("input_rule", ["same", "flat", "w_square", "z_box"])
def test_zennit(network, x, rule: str, input_rule: str) -> None:
    rules = pytest.importorskip("zennit.rules")
    from zennit.attribution import Gradient
    from zennit.composites import LayerMapComposite, SpecialFirstLayerMapComposite
    from zennit.types import Activation, AvgPool, Convolution, Linear

    target = highest(network, x)
    zero = torch.full_like(x, -0.3)
    options = {"rule": rule, "input_rule": input_rule, "epsilon": 0.0, "raw_zero": zero}
    ours = lrp(network, x, target, **options).maps
    tiny = 1e-12
    high = x.amax((2, 3), keepdim=True).expand_as(x)
    made = {
        "epsilon": lambda: rules.Epsilon(tiny),
        "gamma": lambda: rules.Gamma(0.25, tiny),
        "alpha_beta": lambda: rules.AlphaBeta(2, 1, tiny),
        "z_plus": lambda: rules.ZPlus(tiny),
        "flat": lambda: rules.Flat(tiny),
        "w_square": lambda: rules.WSquare(tiny),
        "z_box": lambda: rules.ZBox(zero, high, tiny),
    }
    # without a rule a silent ReLU would cut off what flat and w-square give it
    even = rule in ("flat", "w_square")
    averaged = rules.Flat(tiny) if even else rules.Norm(tiny)
    passed = [(AvgPool, averaged), (Activation, rules.Pass())]
    layers = [*passed, (Convolution, made[rule]()), (Linear, made[rule]())]
    composite = LayerMapComposite(layers)
    if input_rule != "same":
        composite = SpecialFirstLayerMapComposite(layers, [(Convolution, made[input_rule]())])
    chain = Chain(network)
    chosen = nn.functional.one_hot(torch.tensor([target]), 3)
    with Gradient(chain, composite, attr_output=lambda out: out * chosen) as attributor:
        _, theirs = attributor(x.clone())
    torch.testing.assert_close(ours, theirs[0], rtol=1e-5, atol=1e-8)


def test_autolrp(network, x) -> None:
    """Behind no average: autoLRP 0.2 shares a mean in another way, and average pooling as a gradient."""
    autolrp = pytest.importorskip("autolrp")
    head = nn.Sequential(nn.Flatten(), nn.Linear(8 * 2 * 2, 3, bias=False))
    network = wrap(network.encoder, head.double(), input_channels=2, classes=3, size=12)
    network.freeze()
    target = 0
    ours = lrp(network, x, target, rule="epsilon", epsilon=0.0).maps
    given = autolrp.tensor(x.clone())
    score = network(given)[0, target]
    score.lrp()
    theirs = given.relevance[0].detach() * score.item()  # it starts with a relevance of 1
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
