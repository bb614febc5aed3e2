"""The tape sees every torch function, and says where it cannot."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from napari_why.attribution import METHODS
from napari_why.attribution.relevance_tape import Operation, gradient_of_step, record_tape
from napari_why.core.errors import UnsupportedNetworkError


def test_plain_sums_and_parametrised_weights_are_seen() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = parametrizations.spectral_norm(nn.Conv2d(2, 2, 3, padding=1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (x + self.conv(torch.nn.functional.elu(x))).flatten(1)

    block = Block().eval().requires_grad_(False)
    tape = record_tape(block, torch.randn(1, 2, 4, 4))
    assert [(item.name, item.module) for item in tape.operations] == [
        ("elu", ""),
        ("conv2d", "conv"),
        ("add", ""),
        ("flatten", ""),
    ]
    used = tape.operations[1].args[1]
    assert torch.equal(used, block.conv.weight)  # the normalised one, not the stored one
    assert not torch.equal(used, block.conv.parametrizations.weight.original)


def test_modules_that_pass_their_input_on_are_listed() -> None:
    module = nn.Sequential(nn.Identity(), nn.Dropout(0.4), nn.Flatten()).eval()
    assert record_tape(module, torch.randn(1, 2, 4, 4)).silent == ["0", "1"]


class InPlace(nn.Module):
    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x * 1.0).flatten(1)


def overwrite(x: torch.Tensor) -> torch.Tensor:
    x[:, 0] = 1.0
    return x


@pytest.mark.parametrize("function", [nn.ReLU(inplace=True), nn.ELU(inplace=True), overwrite])
def test_in_place_operations_are_refused(function) -> None:
    with pytest.raises(UnsupportedNetworkError, match="works in place"):
        record_tape(InPlace(function), torch.randn(1, 2, 4, 4))


def add_in_place(x: torch.Tensor) -> torch.Tensor:
    x += 1
    x *= 2
    return x


def add_in_place_under_another_name(x: torch.Tensor) -> torch.Tensor:
    y = x
    y += 1
    return x


def test_sums_and_products_in_place_are_followed() -> None:
    module, x = InPlace(add_in_place), torch.randn(1, 2, 4, 4)
    tape = record_tape(module, x)
    assert [item.name for item in tape.operations] == ["mul", "add", "mul", "flatten"]
    assert torch.equal(tape.logits, module(x))


def test_a_sum_in_place_that_another_name_sees_is_told_by_the_logits(small_network) -> None:
    """The tape leaves x alone, the network does not: then what was seen is not what it computes."""
    maps = nn.Conv2d(2, 3, 3)

    class Renamed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.maps = maps

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return add_in_place_under_another_name(self.maps(x))

    network = small_network(Renamed(), 3)
    with pytest.raises(UnsupportedNetworkError, match="look for in-place operations"):
        METHODS["lrp"].function(network, torch.randn(1, 2, 8, 8), 0)


class Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return torch.ops.aten.mul.Scalar(x, 2.0)

    @staticmethod
    def backward(ctx, gradient):
        return 2 * gradient


def test_custom_autograd_functions_are_seen_through() -> None:
    tape = record_tape(InPlace(Doubled.apply), torch.randn(1, 2, 4, 4))
    assert [item.name for item in tape.operations] == ["mul", "mul.Scalar", "flatten"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_compiled_modules_hide_what_they_do() -> None:
    module = nn.Sequential(nn.Conv2d(2, 2, 3), nn.ReLU(), nn.Flatten()).eval().requires_grad_(False)
    scripted = torch.jit.script(module)
    with pytest.raises(UnsupportedNetworkError, match="scripted"):
        record_tape(InPlace(scripted), torch.randn(1, 2, 4, 4))
    with pytest.raises(UnsupportedNetworkError, match="scripted"):
        record_tape(scripted, torch.randn(1, 2, 4, 4))


@pytest.mark.filterwarnings("ignore:Converting a tensor")
@pytest.mark.parametrize("number", [float, torch.Tensor.item, lambda x: x.tolist()])
def test_ways_through_plain_numbers_are_refused(number) -> None:
    with pytest.raises(UnsupportedNetworkError, match="plain numbers"):
        record_tape(InPlace(lambda x: x * number(x.sum())), torch.randn(1, 2, 4, 4))


def test_hooks_are_gone_after_an_exception() -> None:
    def fail(x: torch.Tensor) -> torch.Tensor:
        raise ArithmeticError

    module = InPlace(fail)
    with pytest.raises(ArithmeticError):
        record_tape(module, torch.randn(1, 2, 4, 4))
    assert not any(value for key, value in vars(module).items() if "hooks" in key)


def test_gradients_of_a_step_stay_within_it() -> None:
    """One source is made of the other, and one step is computed without a graph."""

    class Joined(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.detached = nn.Conv2d(2, 2, 3, padding=1), nn.Conv2d(4, 4, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            both = torch.cat([x, self.conv(x)], dim=1)
            with torch.no_grad():
                return self.detached(both)

    x = torch.randn(1, 2, 5, 5, generator=torch.Generator().manual_seed(0))
    tape = record_tape(Joined().requires_grad_(False), x)
    assert [item.name for item in tape.operations] == ["conv2d", "cat", "conv2d"]
    for operation in tape.operations:
        given = tuple(torch.randn_like(result) for result in operation.results)
        found = operation.gradients(given)
        for one, other in zip(found, gradient_of_step(operation, given), strict=True):
            torch.testing.assert_close(one, other)
        again = operation.gradients(given)  # the graph is kept
        assert all(torch.equal(one, other) for one, other in zip(found, again, strict=True))


def test_a_network_goes_on_with_what_takes_the_place_of_results() -> None:
    """Also of an operation that has several results, one of them without numbers."""

    class Sorted(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            values, order = torch.max(x.relu(), dim=1)
            left, right = values.split(2, dim=-1)
            return left + 2 * right + order[..., :2]

    def double_gradients(operation: Operation) -> list[torch.Tensor]:
        told.append(operation.name)
        return [result.detach() + 2 * (result - result.detach()) for result in operation.results]

    told: list[str] = []
    x = torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    plain, other = record_tape(Sorted(), x), record_tape(Sorted(), x, double_gradients)
    assert told == [operation.name for operation in plain.operations]
    torch.testing.assert_close(other.logits, plain.logits)
    expected, found = (
        torch.autograd.grad(tape.logits.sum(), tape.image)[0] for tape in (plain, other)
    )
    assert expected.any()
    # each way from the image to the end leads through relu, max, split, and one sum or two and a product
    assert set((found / expected)[expected != 0].unique().tolist()) <= {2.0**5, 2.0**6}
