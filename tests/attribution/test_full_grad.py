"""FullGrad adds up to the logit, and puts each bias where it acts."""

import pytest
import torch
from torch import nn

from napari_why.attribution import METHODS
from napari_why.attribution.class_activation_maps import spread_to_pixels
from napari_why.attribution.targets import Readout, TargetNetwork
from napari_why.networks import wrap
from napari_why.networks.modules import ActNorm, ResidualSum

full_grad = METHODS["full_grad"].function
KINDS = ("cam_net", "resnext50", "bottleneck", "vae", "iresnet", "linear_iresnet", "preactivation")
WITH_ELU = ("iresnet", "linear_iresnet", "preactivation")


@pytest.mark.parametrize("kind", KINDS)
def test_pixels_and_biases_add_up_to_the_logit(case, kind: str) -> None:
    network, x = case(kind).network, case(kind).x
    evidence = full_grad(network, x, 1)
    logit = network(x)[0, 1].item()
    total = evidence.joint.double().sum().item() + evidence.constants
    assert total == pytest.approx(logit, rel=1e-4)
    assert evidence.gap < 1e-4
    assert evidence.explained == pytest.approx(logit)
    theirs = METHODS["input_x_gradient"].function(network, x, 1)
    torch.testing.assert_close(evidence.maps, theirs.maps, rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(evidence.joint, sum(evidence.layers.values()))
    # what bends is nothing in piecewise linear networks; of ELU it is what biases alone would miss
    missed = evidence.details["activations"]
    assert (missed != 0) == (kind in WITH_ELU)


def test_without_biases_and_bends_it_is_input_times_gradient(case) -> None:
    network, x = case("cam_net", bias_free=True).network, case("cam_net").x
    evidence = full_grad(network, x, 2)
    torch.testing.assert_close(
        evidence.joint, METHODS["input_x_gradient"].function(network, x, 2).joint
    )
    assert evidence.constants == 0


def test_biases_are_shared_out_where_they_act(small_network) -> None:
    """Two layers written out: convolution bias, batch normalisation's shift, and the head's bias."""
    torch.manual_seed(0)
    conv, norm = nn.Conv2d(2, 3, 3, stride=2, padding=1), nn.BatchNorm2d(3).eval()
    with torch.no_grad():
        for item in (norm.weight, norm.bias, norm.running_mean):
            item.copy_(torch.randn(3))
        norm.running_var.copy_(torch.rand(3) + 0.5)
    network = small_network(nn.Sequential(conv, norm, nn.ReLU()), 3)
    x = torch.randn(1, 2, 8, 8)
    factor = norm.weight / (norm.running_var + norm.eps).sqrt()
    on = (norm(conv(x)) > 0).float()[0]
    expected = torch.zeros(4, 4)
    for k in range(3):
        slope = network.linear.weight[1, k] / 16 * on[k]
        expected += slope * (norm.bias[k] - norm.running_mean[k] * factor[k])
        expected += slope * factor[k] * conv.bias[k]
    evidence = full_grad(network, x, 1)
    on_pixels = spread_to_pixels(expected[None], (8, 8))[0].detach()
    torch.testing.assert_close(evidence.layers["biases"], on_pixels, rtol=1e-4, atol=1e-6)
    assert evidence.constants == pytest.approx(network.linear.bias[1].item())
    assert not evidence.layers["activations"].any()


def test_what_an_elu_adds_is_what_bends(small_network) -> None:
    network = small_network(nn.Sequential(nn.Conv2d(2, 1, 1, bias=False), nn.ELU()), 1)
    network.encoder[0].weight.fill_(1.0)
    x = torch.tensor([[[[1.0, -1.0]], [[0.5, -0.5]]]])
    evidence = full_grad(network, x, 0)
    value = torch.tensor([1.5, -1.5])
    slope = torch.where(value > 0, 1.0, value.exp())
    expected = (torch.where(value > 0, value, value.expm1()) - slope * value) / 2
    expected = expected * network.linear.weight[0, 0]
    torch.testing.assert_close(evidence.layers["activations"].flatten(), expected)


class Free(nn.Module):
    """Functional operations of every kind: a shift, gates, a quotient, a sum in place."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(2, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.norm, self.sum = ActNorm(2), ResidualSum()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        maps = self.conv1(2 - self.norm(x))
        gate = maps.mean((2, 3), keepdim=True).sigmoid()
        maps = torch.nn.functional.gelu(maps * gate) / (1 + maps.square())
        out = self.conv2(maps)
        out += maps
        return out.clamp(min=-0.2)


def test_any_operation_of_a_wrapped_network_is_counted() -> None:
    torch.manual_seed(0)
    head = nn.Sequential(
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(24, 5), nn.Tanh(), nn.Linear(5, 3)
    )
    network = wrap(Free().eval(), head, input_channels=2, classes=3, size=16)
    network.freeze()
    x = torch.randn(1, 2, 16, 16)
    for target in range(3):
        evidence = full_grad(network, x, target)
        total = evidence.joint.double().sum().item() + evidence.constants
        assert total == pytest.approx(network(x)[0, target].item(), rel=1e-4, abs=1e-5)
        assert evidence.constants != 0


def test_cancelled_work_holds_the_pixels_own_part(case) -> None:
    network, x = case("bottleneck").network, case("bottleneck").x
    evidence = full_grad(network, x, 1, cancelled=lambda: True)
    assert evidence.partial
    torch.testing.assert_close(evidence.joint, evidence.maps.sum(0))


def test_a_similarity_is_divided_up_too(case) -> None:
    """Its score bends, as a cosine does: that part has no place, and is with the constants."""
    network, x = case("bottleneck").network, case("bottleneck").x
    weights = torch.randn(12, generator=torch.Generator().manual_seed(0))
    readout = Readout(weights / weights.norm(), embedded=True, by_length=True)
    similar = TargetNetwork(network, readout)
    evidence = full_grad(similar, x, 0)
    total = evidence.joint.double().sum().item() + evidence.constants
    assert total == pytest.approx(similar(x).item(), rel=1e-4)
