"""The emulated GPU refuses what Apple's refuses, and computes what the processor does."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from napari_why.core.devices import choose_device, copy_in_float64, to_float64, to_like

pytestmark = pytest.mark.usefixtures("gpu")


@pytest.mark.parametrize(
    "cast",
    [
        lambda tensor: tensor.double(),
        lambda tensor: tensor.to(torch.float64),
        lambda tensor: tensor.to("cpu", torch.float64),
        lambda tensor: tensor.sum(dtype=torch.float64),
        lambda tensor: torch.zeros(3, dtype=torch.float64, device=tensor.device),
        lambda tensor: torch.zeros(3, dtype=torch.float64).to(tensor),
        lambda tensor: torch.as_tensor(np.zeros(3), device=tensor.device),
        lambda tensor: nn.Linear(3, 2).to(tensor.device).double(),
    ],
)
def test_float64_is_refused(cast) -> None:
    with pytest.raises(TypeError, match="doesn't support float64"):
        cast(torch.ones(3, device="mps"))


def test_tensors_of_two_devices_do_not_mix() -> None:
    tensor = torch.ones(3, device="mps")
    with pytest.raises(RuntimeError, match="same device"):
        tensor + torch.ones(3)
    with pytest.raises(TypeError, match="numpy"):
        tensor.numpy()
    assert type(tensor.cpu() + torch.ones(3)) is torch.Tensor


def test_networks_train_there() -> None:
    layers = []
    for device in ("cpu", "mps"):
        torch.manual_seed(0)
        layer, images = nn.Conv2d(1, 2, 3), torch.rand(2, 1, 5, 5)
        optimiser = torch.optim.Adam(layer.to(device).parameters())
        layer(images.to(device)).square().sum().backward()
        optimiser.step()
        layers.append(copy.deepcopy(layer).to("cpu"))
    assert torch.equal(layers[0].weight, layers[1].weight)


def test_auto_chooses_it() -> None:
    assert choose_device("auto").name == "mps"
    assert torch.ones(3).to("mps").device.type == "mps"


def test_float64_is_computed_on_the_processor() -> None:
    tensor = torch.tensor([0.1, 2.0], device="mps")
    double = to_float64(tensor)
    assert (double.device.type, double.dtype) == ("cpu", torch.float64)
    assert torch.equal(double, torch.tensor([0.1, 2.0]).double())
    # wanted there, it stays on the processor
    assert to_float64(torch.ones(2), tensor.device).device.type == "cpu"


def test_float64_comes_back_as_float32() -> None:
    tensor = torch.ones(2, device="mps")
    back = to_like(torch.tensor([0.1, 2.0]).double(), tensor)
    assert (back.device.type, back.dtype) == ("mps", torch.float32)
    assert torch.equal(back.cpu(), torch.tensor([0.1, 2.0]))


def test_a_module_is_copied_to_the_processor() -> None:
    layer = nn.Conv2d(1, 2, 3).to("mps")
    twin = copy_in_float64(layer)
    assert (twin.weight.device.type, twin.weight.dtype) == ("cpu", torch.float64)
    assert torch.equal(twin.weight, layer.weight.cpu().double())
    assert layer.weight.device.type == "mps"
