"""Deep Taylor decomposition: its two rules by hand, and the networks that it refuses."""

import pytest
import torch
from torch import nn

from napari_why.attribution import METHODS
from napari_why.core.errors import UnsupportedNetworkError

deep_taylor = METHODS["deep_taylor"].function


def test_two_layers_by_hand(small_network) -> None:
    """One pixel in two channels, hidden neurons 2 and 1, weights 3 and -1 to the logit of class 0.

    Bounds 0 and 2, pixels 2 and 1. R = 5: all to the first neuron (z-plus), whose weights 1 and -0
    ... are (1.5, -1): parts x w - h w^- = 3 and 1, so that the first pixel gets 3/4.
    """
    network = small_network(nn.Sequential(nn.Conv2d(2, 2, 1, bias=False), nn.ReLU()), 2)
    network.encoder[0].weight.copy_(torch.tensor([[1.5, -1.0], [0.0, 1.0]]).view(2, 2, 1, 1))
    network.linear.weight.copy_(torch.tensor([[3.0, -1.0], [0.0, 1.0], [1.0, 1.0]]))
    network.linear.bias.zero_()
    # a second pixel that is the brightest, and is cut off behind the first by the pooling's share
    x = torch.tensor([2.0, 1.0]).view(1, 2, 1, 1)
    logit = network(x)[0, 0].item()
    assert logit == pytest.approx(5.0)
    evidence = deep_taylor(network, x, 0, raw_zero=torch.zeros_like(x))
    # brightest pixels: 2 and 1; parts (2 - 0) 1.5 = 3 and (1 - 1) (-1) = 0
    assert evidence.maps.flatten().tolist() == pytest.approx([5.0, 0.0])
    wide = torch.cat([x, torch.full_like(x, 2.0)], dim=3)
    evidence = deep_taylor(network, wide, 0, raw_zero=torch.zeros_like(wide))
    # hidden: (2, 1) and (1, 2); pooled (1.5, 1.5), R = 3 to the first, 2 : 1 to its positions;
    # parts there 3 and (1 - 2)(-1) = 1; and 3 and (2 - 2)(-1) = 0
    expected = [2 * 3 / 4, 1.0, 2 * 1 / 4, 0.0]
    total = network(wide)[0, 0].item()
    assert total == pytest.approx(3.0)
    assert evidence.maps.flatten().tolist() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("kind", ["cam_net", "bottleneck"])
def test_a_map_has_the_sign_of_the_logit_and_all_of_it(case, kind: str) -> None:
    network, x = case(kind, bias_free=True).network, case(kind).x
    for target in range(3):
        logit = network(x)[0, target]
        evidence = deep_taylor(network, x, target)
        assert evidence.gap < 0.01
        assert evidence.maps.double().sum().item() == pytest.approx(logit.item(), rel=0.01)
        # averages may share signed values: of maps behind a ReLU there are none
        assert (evidence.maps * logit.sign()).min() >= 0


@pytest.mark.parametrize("kind", ["iresnet", "linear_iresnet", "preactivation"])
def test_networks_with_other_activations_are_refused(case, kind: str) -> None:
    reason = METHODS["deep_taylor"].unsuitable(case(kind).network)
    assert "this network has ELU; take lrp" in reason


class Bent(nn.Module):
    """An activation that is no module."""

    def __init__(self, function) -> None:
        super().__init__()
        self.conv, self.function = nn.Conv2d(2, 4, 3), function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(self.conv(x))


@pytest.mark.parametrize(
    ("function", "found"),
    [(nn.functional.elu, "elu"), (torch.tanh, "tanh"), (lambda x: x, "no activation")],
)
def test_functions_that_no_module_shows_are_refused_too(small_network, function, found) -> None:
    network = small_network(Bent(function), 4)
    assert METHODS["deep_taylor"].unsuitable(network) is None
    with pytest.raises(UnsupportedNetworkError, match=f"this network has {found}; take lrp"):
        deep_taylor(network, torch.randn(1, 2, 8, 8), 1)
    rectified = small_network(Bent(nn.functional.relu), 4)
    assert deep_taylor(rectified, torch.randn(1, 2, 8, 8), 1).gap < 0.01
