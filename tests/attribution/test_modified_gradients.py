"""Deconvolution and guided backpropagation equal their rules written out, wherever a rectifier is."""

import pytest
import torch
from captum.attr import Deconvolution, GuidedBackprop
from torch import Tensor, nn
from torch.nn import functional

from napari_why.attribution import METHODS, attribute
from napari_why.core.errors import UnsupportedNetworkError

deconvolution = METHODS["deconvolution"].function
guided_backprop = METHODS["guided_backprop"].function


class Shared(nn.Module):
    """u + B f(u) + C f(v), u = A x, v = B f(u): skip and branch share u, and f is used twice."""

    def __init__(self, activation) -> None:
        super().__init__()
        self.activation = activation
        generator = torch.Generator().manual_seed(2)
        for name, shape in (("a", (4, 2)), ("b", (4, 4)), ("c", (4, 4))):
            self.register_buffer(name, torch.randn(shape, generator=generator))

    def forward(self, x: Tensor) -> Tensor:
        u = torch.einsum("kc,nchw->nkhw", self.a, x)
        v = torch.einsum("kc,nchw->nkhw", self.b, self.activation(u))
        return u + v + torch.einsum("kc,nchw->nkhw", self.c, self.activation(v))


def slope(name: str, u: Tensor) -> Tensor:
    return torch.where(u > 0, 1.0, 0.0 if name == "relu" else u.exp())


def written_out(network, x: Tensor, target: int, name: str, rule) -> Tensor:
    """The way back through :class:`Shared`, position by position."""
    a, b, c = network.encoder.a, network.encoder.b, network.encoder.c
    f = {"relu": functional.relu, "elu": functional.elu}[name]
    weights = network.linear.weight[target] / (x.shape[2] * x.shape[3])
    found = torch.zeros_like(x[0])
    for row in range(x.shape[2]):
        for column in range(x.shape[3]):
            u = a @ x[0, :, row, column]
            v = b @ f(u)
            of_v = weights + rule(c.T @ weights, slope(name, v))
            of_u = weights + rule(b.T @ of_v, slope(name, u))
            found[:, row, column] = a.T @ of_u
    return found


RULES = {
    "saliency": lambda gradient, slope: gradient * slope,
    "deconvolution": lambda gradient, slope: gradient.clamp(min=0),
    "guided_backprop": lambda gradient, slope: (gradient * slope).clamp(min=0),
}
ACTIVATIONS = {
    "module used twice": ("relu", nn.ReLU()),
    "function": ("relu", functional.relu),
    "method": ("relu", lambda u: u.relu()),
    "clamp": ("relu", lambda u: u.clamp(min=0)),
    "maximum with 0": ("relu", lambda u: torch.clamp_min(u, 0)),
    "ELU": ("elu", nn.ELU()),
    "functional ELU": ("elu", functional.elu),
}


@pytest.mark.parametrize("method", sorted(RULES))
@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_equals_the_rule_written_out_where_skip_and_branch_share(
    small_network, method: str, activation: str
) -> None:
    name, function = ACTIVATIONS[activation]
    network = small_network(Shared(function), 4)
    x = torch.randn(1, 2, 3, 4, generator=torch.Generator().manual_seed(1))
    expected = written_out(network, x, 1, name, RULES[method])
    found = METHODS[method].function(network, x, 1)
    torch.testing.assert_close(found.maps, expected, atol=1e-6, rtol=1e-5)


@pytest.fixture
def chain(small_network):
    """Convolutions, batch normalisation, ReLU and pooling in a row, one module each."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = nn.Sequential(
            nn.Conv2d(2, 6, 3, padding=1),
            nn.BatchNorm2d(6),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 5, 3),
            nn.ReLU(),
        )
        return small_network(layers, 5).eval(), torch.randn(1, 2, 12, 12)


@pytest.mark.parametrize(
    ("method", "theirs"), [("deconvolution", Deconvolution), ("guided_backprop", GuidedBackprop)]
)
@pytest.mark.filterwarnings("ignore:Setting backward hooks on ReLU")
def test_equals_captum_on_a_plain_chain(chain, method: str, theirs) -> None:
    network, x = chain
    expected = theirs(network).attribute(x.clone().requires_grad_(), target=2)
    found = METHODS[method].function(network, x, 2).maps
    torch.testing.assert_close(found, expected[0], atol=1e-5 * expected.abs().max().item(), rtol=0)


@pytest.mark.parametrize("method", ["deconvolution", "guided_backprop"])
def test_rectifiers_that_got_the_rule_are_counted(case, method: str) -> None:
    for kind, expected in (("iresnet", {"elu": 5, "relu": 3}), ("resnext50", {"relu": 49})):
        found = METHODS[method].function(case(kind).network, case(kind).x, 0)
        assert found.details["rule_at"] == expected


@pytest.mark.parametrize("method", ["deconvolution", "guided_backprop"])
def test_without_rectifiers_it_would_be_the_gradient_and_is_refused(
    small_network, method: str
) -> None:
    network = small_network(nn.Sequential(nn.Conv2d(2, 4, 3), nn.Tanh()), 4)
    with pytest.raises(UnsupportedNetworkError, match="saliency"):
        METHODS[method].function(network, torch.ones(1, 2, 8, 8), 0)


@pytest.mark.parametrize("method", ["deconvolution", "guided_backprop"])
def test_every_result_says_that_it_proves_little(classifier, image, method: str) -> None:
    (said,) = [one for one in attribute(classifier, image, method).notes if "random weights" in one]
    assert "no proof" in said
    assert said in attribute(classifier, image, method).record.details["notes"]


@pytest.mark.parametrize("method", ["deconvolution", "guided_backprop"])
def test_a_clamp_with_two_bounds_is_no_rectifier(small_network, method: str) -> None:
    network = small_network(Shared(lambda u: u.clamp(0, 6)), 4)
    with pytest.raises(UnsupportedNetworkError, match="saliency"):
        METHODS[method].function(network, torch.ones(1, 2, 8, 8), 0)


def test_every_value_handed_on_is_positive_up_to_the_first_layer(chain) -> None:
    """So that the signs of the map are those of the first layer's weights alone."""
    network, x = chain
    with torch.no_grad():
        for layer in (network.encoder[0], network.encoder[4]):
            layer.weight.abs_()
        network.linear.weight.abs_()
    for method in (deconvolution, guided_backprop):
        assert (method(network, x, 0).maps >= 0).all()


@pytest.mark.parametrize("method", ["deconvolution", "guided_backprop", "deeplift"])
def test_cancelled_work_reaches_no_pixel(case, method: str) -> None:
    found = METHODS[method].function(
        case("bottleneck").network, case("bottleneck").x, 0, cancelled=lambda: True
    )
    assert found.partial
    assert not found.maps.any()
