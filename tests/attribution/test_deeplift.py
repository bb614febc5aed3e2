"""DeepLIFT is complete on every network, and equals its rules written out."""

import pytest
import torch
from captum.attr import DeepLift
from torch import Tensor, nn
from torch.nn import functional

from napari_why.attribution import METHODS
from napari_why.core import events
from napari_why.core.devices import copy_in_float64
from napari_why.core.errors import UnsupportedNetworkError
from napari_why.networks import wrap

deeplift = METHODS["deeplift"].function
KINDS = (
    "iresnet", "linear_iresnet", "resnext50", "cam_net", "preactivation", "bottleneck", "vae",
)  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "baseline"),
    [*((kind, "mean") for kind in KINDS), *(("iresnet", other) for other in ("zero", "blur"))],
)
def test_adds_up_to_the_difference_from_the_reference(case, kind: str, baseline: str) -> None:
    """To rounding: 1e-9 in float64; float32 loses what cancels on the way."""
    network, x = case(kind).network, case(kind).x
    black = torch.full_like(x, -1.5)
    single = deeplift(network, x, 1, baseline=baseline, raw_zero=black)
    assert single.gap < 1e-3
    network, x, black = copy_in_float64(network), x.double(), black.double()
    found = deeplift(network, x, 1, baseline=baseline, raw_zero=black)
    assert found.gap < 1e-9
    assert found.explained == network(x)[0, 1].item()
    if baseline != "blur":
        reference = black if baseline == "zero" else torch.zeros_like(x)
        expected = (network(x) - network(reference))[0, 1].item()
        assert found.maps.sum().item() == pytest.approx(expected, rel=1e-9)
    largest = found.maps.abs().max().item()
    torch.testing.assert_close(single.maps.double(), found.maps, atol=1e-3 * largest, rtol=0)


class OneOfEach(nn.Module):
    """What users write: functions, one module used twice, gates, softmax, joining, pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(2, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.relu, self.norm, self.slopes = nn.ReLU(), nn.GroupNorm(2, 6), nn.PReLU(6)

    def forward(self, x: Tensor) -> Tensor:
        u = self.relu(self.first(x))
        v = functional.max_pool2d(self.relu(self.norm(self.second(u) + u)), 3, 1, 1)
        gate = torch.sigmoid(v.mean(dim=(2, 3), keepdim=True))
        weights = v.flatten(2).softmax(dim=2).reshape(v.shape)
        return torch.cat([gate * u, weights * v, self.slopes(v - u)], dim=1)


def test_complete_where_users_write_functions() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(18, 2))
        network = wrap(OneOfEach(), head, input_channels=2, classes=2).double()
        x = torch.randn(1, 2, 8, 8).double()
    network.freeze()
    found = deeplift(network, x, 0, baseline="blur", blur_sigma=1.0)
    assert found.maps.abs().sum() > 1e-3
    assert found.gap < 1e-7  # GroupNorm and softmax by quadrature


@pytest.mark.filterwarnings("ignore:Setting forward, backward hooks")
def test_equals_captum_on_a_plain_chain(small_network) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = small_network(
            nn.Sequential(
                nn.Conv2d(2, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 5, 3), nn.ReLU()
            ),
            5,
        ).eval()
        x = torch.randn(1, 2, 12, 12)
    expected = DeepLift(network).attribute(x.clone().requires_grad_(), torch.zeros_like(x), 2)[0]
    found = deeplift(network, x, 2).maps
    torch.testing.assert_close(
        found, expected.detach(), atol=1e-5 * expected.abs().max().item(), rtol=0
    )


class Shared(nn.Module):
    """u + B ELU(u) with u = A x: skip and branch share u."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(2)
        self.register_buffer("a", torch.randn((4, 2), generator=generator))
        self.register_buffer("b", torch.randn((4, 4), generator=generator))

    def forward(self, x: Tensor) -> Tensor:
        u = torch.einsum("kc,nchw->nkhw", self.a, x)
        return u + torch.einsum("kc,nchw->nkhw", self.b, functional.elu(u))


def test_equals_the_rescale_rule_written_out_where_skip_and_branch_share(small_network) -> None:
    network = small_network(Shared(), 4)
    a, b = network.encoder.a, network.encoder.b
    x = torch.randn(1, 2, 3, 4, generator=torch.Generator().manual_seed(1))
    x[0, :, 0, 0] = 0  # at the reference: nothing differs
    weights = network.linear.weight[1] / 12
    expected = torch.zeros_like(x[0])
    for row in range(3):
        for column in range(4):
            u = a @ x[0, :, row, column]
            quotient = torch.where(u == 0, 1.0, functional.elu(u) / u)
            expected[:, row, column] = a.T @ (weights + quotient * (b.T @ weights))
    found = deeplift(network, x, 1)
    torch.testing.assert_close(found.maps, expected * x[0], atol=1e-6, rtol=1e-5)


def summing_maxima(small_network, *pooling, **options):
    """A network whose first score is the sum of the maxima of six windows."""
    pool = nn.MaxPool2d(*pooling, **options)
    network = small_network(nn.Sequential(pool, nn.Conv2d(1, 1, 1)), 1, 1)
    with torch.no_grad():
        network.encoder[1].weight.fill_(1.0)
        network.linear.weight.fill_(6.0)
    return network


def test_a_maximum_is_shared_by_who_is_largest_on_the_way(small_network) -> None:
    """By hand: overlapping windows of two in a row, a reference that is 0 or the image below."""
    network = summing_maxima(small_network, (1, 2), stride=1)
    x = torch.tensor([[[[-2.0, -1.0, -3.0], [5.0, -1.0, -2.0], [0.0, 4.0, 3.0]]]])
    # from 0 on, the largest of the image is the largest all the way
    expected = torch.tensor([[[0.0, -2.0, 0.0], [5.0, -1.0, 0.0], [0.0, 8.0, 0.0]]])
    torch.testing.assert_close(deeplift(network, x, 0).maps, expected)
    # 1 - a and 3 a: the second is larger from a = 1/4 on, so that it has 3/4 of its rise of 3
    start, end = torch.tensor([[[[1.0, 0.0]]]]), torch.tensor([[[[0.0, 3.0]]]])
    network = summing_maxima(small_network, (1, 2))
    found = deeplift(network, end, 0, baseline="zero", raw_zero=start)
    torch.testing.assert_close(found.maps, 6 * torch.tensor([[[-0.25, 2.25]]]))


@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 3, "stride": 2, "padding": 1},
        {"kernel_size": 2, "ceil_mode": True},
        {"kernel_size": 2, "stride": 3},
        {"kernel_size": (3, 2), "stride": 1, "dilation": (1, 2)},
    ],
)
def test_a_maximum_equals_its_gradient_averaged_over_the_way(small_network, options) -> None:
    network = summing_maxima(small_network, **options)
    generator = torch.Generator().manual_seed(0)
    start, x = torch.randn(2, 1, 1, 7, 9, generator=generator)
    found = deeplift(network, x, 0, baseline="zero", raw_zero=start)
    assert found.gap < 1e-5
    # a place is the largest on an interval: each end of it is off by a two-thousandth at most
    shares = ((torch.arange(2000) + 0.5) / 2000).view(-1, 1, 1, 1)
    points = (start + shares * (x - start)).requires_grad_()
    (gradients,) = torch.autograd.grad(network(points)[:, 0].sum(), points)
    expected = gradients.mean(dim=0, keepdim=True) * (x - start)
    torch.testing.assert_close(found.maps, expected[0], atol=5e-3, rtol=5e-3)


@pytest.mark.parametrize("pairs", [1, 20, 200])
def test_a_maximum_of_a_large_window_is_shared_a_few_lines_at_a_time(
    small_network, monkeypatch: pytest.MonkeyPatch, pairs: int
) -> None:
    """All pairs of the pixels of a global maximum would not fit into memory."""
    network = summing_maxima(small_network, 5)
    x, raw_zero = torch.randn(2, 1, 1, 10, 10, generator=torch.Generator().manual_seed(0))
    given = {"baseline": "zero", "raw_zero": raw_zero}
    at_once = deeplift(network, x, 0, **given).maps
    monkeypatch.setattr("napari_why.attribution.deeplift.PAIRS", pairs)
    assert torch.equal(deeplift(network, x, 0, **given).maps, at_once)


@pytest.mark.parametrize("layout", ["transposed", "cropped", "channels last"])
def test_a_maximum_is_found_however_maps_lie_in_memory(small_network, layout: str) -> None:
    change = {
        "transposed": lambda x: x.transpose(2, 3),
        "cropped": lambda x: x[:, :, 1:, 2:],
        "channels last": lambda x: x.to(memory_format=torch.channels_last),
    }[layout]

    class Pooled(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            maps = change(x)
            return functional.max_pool2d(maps.contiguous() if self.anew else maps, 3, 2, 1)

    network = small_network(Pooled(), 2)
    x = torch.randn(1, 2, 8, 10, generator=torch.Generator().manual_seed(0))
    maps = []
    for network.encoder.anew in (False, True):
        maps.append(deeplift(network, x, 0, baseline="blur", blur_sigma=1.0).maps)
    assert maps[0].abs().max() > 1e-3
    torch.testing.assert_close(*maps)


class Unseen(nn.Module):
    """What autograd has no record of, and products with and without a constant."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            u = self.conv(x)
        v = torch.mul(u, other=0.5) * (u * u + 3) / (1 + u.square())
        return -v + torch.div(u, 0.25, rounding_mode="floor").square() * 0 + u / 3


def test_multipliers_pass_where_a_network_asks_for_no_gradients(small_network) -> None:
    network = small_network(Unseen(), 4).double()
    x = torch.randn(1, 2, 8, 8, generator=torch.Generator().manual_seed(0)).double()
    found = deeplift(network, x, 0)
    assert found.maps.abs().max() > 1e-3
    assert found.gap < 1e-7  # products and quotients of the image by quadrature


@pytest.mark.parametrize(
    "function", [torch.sigmoid, functional.elu, functional.gelu, functional.softplus, torch.relu]
)
@pytest.mark.parametrize("distance", [0.0, 1e-6, 1e-3, 1.0])
def test_quotients_of_small_differences_are_no_rounding(
    small_network, function, distance: float
) -> None:
    """Of pairs as near as float32 tells them apart the multiplier is that of float64."""

    class Applied(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return function(x)

    generator = torch.Generator().manual_seed(0)
    start = torch.randn(1, 2, 16, 16, generator=generator)
    x = start + distance * torch.randn(start.shape, generator=generator)
    network = small_network(Applied(), 2)
    found = deeplift(network, x, 1, baseline="zero", raw_zero=start).maps
    # the same float32 numbers, so that their differences are the same
    double = copy_in_float64(network)
    expected = deeplift(double, x.double(), 1, baseline="zero", raw_zero=start.double()).maps
    # slopes beside an extremum are as near to 0 as rounding: of the largest, then
    largest = expected.abs().max().item()
    torch.testing.assert_close(found.double(), expected, atol=1e-5 * largest, rtol=0)


def test_steps_are_those_of_the_network(small_network) -> None:
    network = small_network(nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 1)), 4)
    told: list[object] = []
    deeplift(network, torch.ones(1, 2, 8, 8), 0, on_event=told.append)
    assert isinstance(told[0], events.Started)
    assert [event.done for event in told[1:]] == list(range(1, told[0].total + 1))
    assert told[0].total >= 5  # convolutions, rectifier, pooling, head


def test_at_the_reference_itself_nothing_is_explained(case) -> None:
    found = deeplift(case("iresnet").network, torch.zeros_like(case("iresnet").x), 0)
    assert not found.maps.any()
    assert found.gap == 0


@pytest.mark.parametrize("longer", [False, True])
def test_a_way_that_ends_sooner_is_refused(small_network, longer: bool) -> None:
    class Branching(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.relu() if bool((x > 0).any()) == longer else x

    network = nn.Sequential(Branching())  # nothing comes behind
    network.use = small_network(nn.Identity(), 2).use
    with pytest.raises(UnsupportedNetworkError, match="the end"):
        deeplift(network, torch.ones(1, 2, 1, 1).flatten(1), 0)


def test_another_way_for_the_reference_is_refused(small_network) -> None:
    class Branching(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.relu() if bool((x > 0).any()) else x * 2

    network = small_network(Branching(), 2)
    with pytest.raises(UnsupportedNetworkError, match="integrated_gradients"):
        deeplift(network, torch.ones(1, 2, 4, 4), 0)


def test_equals_integrated_gradients_of_one_layer_of_activations(small_network) -> None:
    """Known: both are the difference of the outputs where one number goes into each activation."""
    network = small_network(nn.ELU(), 2)
    x = torch.randn(1, 2, 6, 6, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        deeplift(network, x, 0).maps,
        METHODS["integrated_gradients"].function(network, x, 0, steps=32).maps,
        atol=1e-5,
        rtol=1e-4,
    )
