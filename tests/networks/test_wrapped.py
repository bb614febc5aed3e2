import pytest
import torch
from torch import nn

from napari_why.core.errors import ParameterError, UnsupportedNetworkError
from napari_why.networks import NETWORKS, NetworkEntry, build_network, wrap


def my_encoder() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.ReLU(inplace=True), nn.Conv2d(4, 8, 3), nn.ReLU(inplace=True)
    )


def my_head() -> nn.Sequential:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.1), nn.Linear(8, 3))


def my_network(*, input_channels, classes, size, frozen=False):
    network = wrap(
        my_encoder(),
        my_head(),
        input_channels=input_channels,
        classes=classes,
        layers=["1"],
        name="mine",
        size=size,
    )
    if frozen:
        network.freeze()
    return network


def test_users_own_modules_become_a_network() -> None:
    network = my_network(input_channels=2, classes=3, size=16)
    x = torch.randn(2, 2, 16, 16)
    network.freeze()
    maps = network.feature_maps(x)
    assert list(maps) == list(network.layer_names) == ["1", "encoder"]
    assert maps["1"].shape == (2, 4, 14, 14)
    assert torch.equal(maps["encoder"], network.encode(x))
    assert torch.equal(network(x), network.head(maps["encoder"]))
    assert network.linear_head_weights is network.classifier[3].weight


def test_asking_for_maps_leaves_no_hook_behind() -> None:
    network = my_network(input_channels=2, classes=3, size=16)
    network.feature_maps(torch.zeros(1, 2, 16, 16))
    with pytest.raises(RuntimeError):
        network.feature_maps(torch.zeros(1, 5, 16, 16))
    assert not any(module._forward_hooks for module in network.modules())


def test_activations_no_longer_work_in_place() -> None:
    network = my_network(input_channels=2, classes=3, size=16)
    assert not any(getattr(module, "inplace", False) for module in network.modules())


def test_registered_builder_rebuilds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(NETWORKS, "mine", NetworkEntry("My network", "me", my_network))
    network = build_network("mine", input_channels=2, classes=3, size=16)
    network.freeze()
    rebuilt = build_network(**network.configuration(), seed=1)
    rebuilt.load_state_dict(network.state_dict())
    x = torch.randn(1, 2, 16, 16)
    assert torch.equal(rebuilt(x), network(x))


def test_encoder_that_pools_is_refused_in_words() -> None:
    network = wrap(
        nn.Sequential(my_encoder(), nn.Flatten()), nn.LazyLinear(3), input_channels=2, classes=3
    )
    with pytest.raises(UnsupportedNetworkError, match="leave pooling"):
        network(torch.zeros(1, 2, 16, 16))


def test_layers_have_to_be_submodules() -> None:
    with pytest.raises(ParameterError, match="'9'"):
        wrap(my_encoder(), my_head(), input_channels=2, classes=3, layers=["9"])


def test_head_with_a_hidden_layer_is_not_linear() -> None:
    head = nn.Sequential(my_head(), nn.ReLU(), nn.Linear(3, 3))
    assert wrap(my_encoder(), head, input_channels=2, classes=3).linear_head_weights is None


class Halved(nn.Module):
    def __init__(self, encoder: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.encoder, self.dtype = encoder.to(dtype), dtype

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.encoder(x.to(self.dtype)).float()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("part", ["encoder", "head", "one layer"])
def test_modules_of_half_precision_are_refused(dtype, part) -> None:
    encoder, head = my_encoder(), my_head()
    if part == "encoder":
        encoder = Halved(encoder, dtype)
    elif part == "head":
        head = nn.Sequential(head).to(dtype)
    else:
        encoder[2] = Halved(encoder[2], dtype)
    with pytest.raises(UnsupportedNetworkError, match=r"half precision \(b?float16.*\.float\(\)"):
        wrap(encoder, head, input_channels=2, classes=3)


def test_modules_of_double_precision_are_taken() -> None:
    network = wrap(my_encoder().double(), my_head().double(), input_channels=2, classes=3)
    assert network(torch.zeros(1, 2, 16, 16, dtype=torch.float64)).dtype == torch.float64
