"""Explaining leaves the network bit-identical, and refuses networks that do not allow it."""

import pytest
import torch
from torch import nn

from napari_why.attribution import METHODS, explaining
from napari_why.attribution.guard import LARGE
from napari_why.core.errors import UnsupportedNetworkError


def bits(network: nn.Module) -> dict[str, bytes]:
    return {name: value.numpy().tobytes() for name, value in network.state_dict().items()}


def hooks(network: nn.Module) -> list[tuple[str, int]]:
    return [
        (f"{name}.{key}", len(value))
        for name, module in network.named_modules()
        for key, value in vars(module).items()
        if "hooks" in key
    ]


def flags(network: nn.Module) -> tuple[list[bool], list[bool], list[int]]:
    return (
        [module.training for module in network.modules()],
        [parameter.requires_grad for parameter in network.parameters()],
        [id(module) for module in network.modules()],
    )


@pytest.mark.parametrize("method", sorted(METHODS))
@pytest.mark.parametrize("end", ["success", "exception", "cancel"])
def test_network_is_bit_identical_afterwards(residual, given, method: str, end: str) -> None:
    network, chosen = residual.network, METHODS[method]
    if chosen.unsuitable(network):
        pytest.skip(f"{method} is not defined for this network")
    # a network in an awkward state: training, with gradients, partly trainable
    network.train()
    network.linear.requires_grad_(True)
    network.linear.weight.grad = torch.ones_like(network.linear.weight)
    before = bits(network), hooks(network), flags(network)
    calls = 0

    def cancelled() -> bool:
        nonlocal calls
        calls += 1
        if end == "exception" and calls > 2:
            raise ArithmeticError
        return end == "cancel" and calls > 2

    context = {"cancelled": cancelled} if chosen.takes("cancelled") else {}
    context |= given(method, residual.x)
    if "batch" in {parameter.name for parameter in chosen.parameters}:
        context |= {"batch": 1}  # several rounds, so that there is something to stop
    try:
        with explaining(network, residual.x):
            assert not network.training
            evidence = chosen.function(network, residual.x, 1, **context)
            assert evidence.partial == (end == "cancel" and "cancelled" in context)
            if end == "exception":
                raise ArithmeticError
    except ArithmeticError:
        pass
    assert (bits(network), hooks(network), flags(network)) == before
    assert torch.equal(network.linear.weight.grad, torch.ones_like(network.linear.weight))
    network.linear.weight.grad = None
    network.eval().requires_grad_(False)


def test_yields_the_plain_logits(shipped) -> None:
    with explaining(shipped.network, shipped.x) as logits:
        assert torch.equal(logits, shipped.network(shipped.x))


class Counting(nn.Module):
    """Changes a buffer in every forward pass, also in evaluation mode."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3)
        self.register_buffer("count", torch.zeros(1), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.count += 1
        return self.conv(x)


def test_refuses_a_network_that_changes_in_evaluation_mode(small_network) -> None:
    network = small_network(Counting(), 4)
    with (
        pytest.raises(UnsupportedNetworkError, match=r"values of encoder\.count"),
        explaining(network, torch.zeros(1, 2, 8, 8)),
    ):
        pass


def test_notices_a_hook_that_was_left_behind(small_network) -> None:
    network = small_network(nn.Conv2d(2, 4, 3), 4)
    with (
        pytest.raises(UnsupportedNetworkError, match="forward_hooks of encoder"),
        explaining(network),
    ):
        network.encoder.register_forward_hook(lambda *_: None)


def large(small_network, dtype: torch.dtype = torch.float32):
    """A network whose first kernel has more values than are compared one by one, laid out channels last."""
    network = (
        small_network(nn.Conv2d(2, 300, 3), 300).to(dtype).to(memory_format=torch.channels_last)
    )
    assert network.encoder.weight.numel() > LARGE
    assert not network.encoder.weight.is_contiguous()
    return network


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_notices_one_value_of_many(small_network, dtype: torch.dtype) -> None:
    network = large(small_network, dtype)
    with (
        pytest.raises(UnsupportedNetworkError, match=r"values of encoder\.weight"),
        explaining(network),
    ):
        value = network.encoder.weight.data[123, 1, 2, 0]
        value.copy_(torch.nextafter(value, torch.ones_like(value)))


def test_values_that_stay_may_be_laid_out_anew_and_be_no_numbers(small_network) -> None:
    network = large(small_network)
    network.encoder.weight.data[5, 0, 0, 0] = torch.nan
    with explaining(network):
        network.encoder.weight.data = network.encoder.weight.data.contiguous()
    assert network.encoder.weight.isnan().sum() == 1


@pytest.mark.parametrize("training", [True, False])
def test_flags_that_were_set_meanwhile_are_put_back(small_network, training: bool) -> None:
    network = small_network(nn.Conv2d(2, 4, 3), 4).train(training).requires_grad_(training)
    with explaining(network):
        network.encoder.train(not training)
        network.linear.bias.requires_grad_(not training)
    assert {module.training for module in network.modules()} == {training}
    assert {item.requires_grad for item in network.parameters()} == {training}


class Wavering(nn.Module):
    """Gives other maps each time."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x) + torch.rand(1)


@pytest.mark.parametrize(
    "method", ["hires_cam", "grad_cam", "cam", "lrp", "deeplift", "guided_backprop"]
)
def test_observed_forward_must_equal_the_plain_one(small_network, method: str) -> None:
    network = small_network(Wavering(), 4)
    with pytest.raises(UnsupportedNetworkError, match="differ by"):
        METHODS[method].function(network, torch.zeros(1, 2, 8, 8), 0)
