"""What every network of the registry promises."""

import copy
import subprocess
import sys

import pytest
import torch
from torch import nn

from napari_why.core.errors import MismatchError, ParameterError
from napari_why.core.options import parameters_of
from napari_why.networks import (
    NETWORKS,
    GenerativeNetwork,
    Network,
    ResidualSum,
    build_network,
    wrap,
)

SIZE = 32
QUICK = {
    "resnext50": {"weights": "random"},
    "iresnet": {"widths": "4"},
    "cam_net": {},
    **{
        name: {"widths": "4,4", "latent_dimensions": 5}
        for name in ("vae", "autoencoder", "denoising_autoencoder")
    },
}


@pytest.fixture(scope="module", params=sorted(NETWORKS))
def network(request: pytest.FixtureRequest) -> Network:
    """Return each network of the registry, frozen."""
    name = request.param
    built = build_network(name, input_channels=2, classes=3, size=SIZE, **QUICK.get(name, {}))
    built.freeze()
    return built


@pytest.fixture
def batch() -> torch.Tensor:
    return torch.randn(2, 2, SIZE, SIZE, generator=torch.Generator().manual_seed(0))


def test_forward_is_the_head_of_the_last_maps(network: Network, batch: torch.Tensor) -> None:
    maps = network.feature_maps(batch)
    assert tuple(maps) == network.layer_names
    last = maps[network.layer_names[-1]]
    assert torch.equal(last, network.encode(batch))
    assert torch.equal(network.head(last), network(batch))
    assert network(batch).shape == (2, 3)


def test_frozen_forward_is_deterministic_and_changes_nothing(
    network: Network, batch: torch.Tensor
) -> None:
    before = copy.deepcopy(network.state_dict())
    assert torch.equal(network(batch), network(batch))
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_no_activation_works_in_place_or_twice(network: Network, batch: torch.Tensor) -> None:
    activations = [m for m in network.modules() if isinstance(m, nn.ReLU | nn.ELU | ResidualSum)]
    calls: list[nn.Module] = []
    handles = [
        module.register_forward_hook(lambda module, inputs, output: calls.append(module))
        for module in activations
    ]
    network(batch)
    if isinstance(network, GenerativeNetwork):
        network.decode(torch.ones(1, network.latent_dimensions, 1, 1))
    for handle in handles:
        handle.remove()
    assert len(calls) == len(set(calls)) == len(activations)
    assert not any(getattr(module, "inplace", False) for module in activations)


def test_every_map_has_a_gradient(network: Network, batch: torch.Tensor) -> None:
    maps = network.feature_maps(batch.clone().requires_grad_())
    score = network.head(maps[network.layer_names[-1]])[:, 1].sum()
    gradients = torch.autograd.grad(score, list(maps.values()))
    assert all(gradient.abs().sum() > 0 for gradient in gradients)


def test_state_and_configuration_rebuild_it(network: Network, batch: torch.Tensor) -> None:
    rebuilt = build_network(**network.configuration(), seed=5)
    rebuilt.load_state_dict(network.state_dict())
    assert rebuilt.frozen
    assert torch.equal(rebuilt(batch), network(batch))
    assert rebuilt.configuration() == network.configuration()


def test_skeleton_can_be_built_without_memory(network: Network) -> None:
    with torch.device("meta"):
        skeleton = build_network(**network.configuration())
    wanted = {name: (t.shape, t.dtype) for name, t in network.state_dict().items()}
    assert {name: (t.shape, t.dtype) for name, t in skeleton.state_dict().items()} == wanted
    assert all(value.isfinite().all() for value in network.state_dict().values())


def test_a_batch_of_no_image_has_maps_of_the_same_shapes(
    network: Network, batch: torch.Tensor
) -> None:
    """By which saved statistics are checked, without memory and time, when a classifier is loaded."""
    with torch.no_grad():
        wanted = {name: tuple(maps.shape[1:]) for name, maps in network.feature_maps(batch).items()}
        found = network.feature_maps(batch[:0])
    assert {name: tuple(maps.shape[1:]) for name, maps in found.items()} == wanted
    assert all(len(maps) == 0 for maps in found.values())


def test_wrong_number_of_channels_is_refused(network: Network) -> None:
    with pytest.raises(MismatchError, match="expected"):
        network(torch.zeros(1, 5, SIZE, SIZE))


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_parameters_have_help_and_plain_types(name: str) -> None:
    parameters = parameters_of(NETWORKS[name].builder)
    assert parameters
    assert all(p.help and p.type in (bool, int, float, str) for p in parameters)


def test_same_seed_same_weights_and_torch_stays_as_it_is() -> None:
    def weights(seed: int) -> torch.Tensor:
        network = build_network("cam_net", input_channels=2, classes=2, size=16, seed=seed)
        return torch.cat([p.flatten() for p in network.parameters()])

    before = torch.get_rng_state()
    assert torch.equal(weights(3), weights(3))
    assert not torch.equal(weights(3), weights(4))
    assert torch.equal(torch.get_rng_state(), before)


def test_the_network_that_stands_first_is_no_matter_of_chance() -> None:
    """A window loads its pages in threads: one may import a network's file while the room is on its way."""
    code = """
import importlib, sys

class Meanwhile:
    def find_spec(self, name, path=None, target=None):
        if name == "napari_why.networks.iresnet":
            sys.meta_path.remove(self)
            importlib.import_module("napari_why.networks.autoencoder")

sys.meta_path.insert(0, Meanwhile())
from napari_why.networks import NETWORKS
print(*NETWORKS)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == list(NETWORKS)
    assert done.stdout.split()[:2] == ["iresnet", "resnext50"]


def test_unknown_network_names_the_known() -> None:
    with pytest.raises(ParameterError, match="iresnet, resnext50, cam_net"):
        build_network("alexnet", input_channels=2, classes=2, size=32)


def test_unknown_parameter_is_refused() -> None:
    with pytest.raises(ParameterError, match="joint_loss"):
        build_network("cam_net", input_channels=2, classes=2, size=32, depth=3)


@pytest.mark.parametrize(("name", "smallest"), [("cam_net", 16), ("resnext50", 32), ("vae", 16)])
def test_too_small_a_size_is_refused(name: str, smallest: int) -> None:
    with pytest.raises(ParameterError, match=f"{smallest} x {smallest} or more"):
        build_network(name, input_channels=2, classes=2, size=smallest - 1, **QUICK.get(name, {}))


@pytest.mark.parametrize("size", [0, (8,), (8, 8, 8), (8, 0)])
def test_size_is_one_number_or_two(size) -> None:
    with pytest.raises(ParameterError, match="size"):
        build_network("cam_net", input_channels=2, classes=2, size=size)


@pytest.mark.parametrize("name", ["small_cnn", "cam_net", "iresnet", "resnext50"])
def test_freezing_changes_the_layout_of_weights_and_no_value(
    name: str, batch: torch.Tensor
) -> None:
    built = build_network(name, input_channels=2, classes=3, size=SIZE, **QUICK.get(name, {}))
    kernels = {
        key: value.clone()
        for key, value in built.state_dict().items()
        if value.ndim == 4 and not key.startswith("stages.")  # whose norms freezing converges
    }
    built.eval()
    with torch.no_grad():
        before = built(batch)
    settled = copy.deepcopy(built)
    built.freeze()
    for key, value in built.state_dict().items():
        assert value.ndim != 4 or value.is_contiguous(memory_format=torch.channels_last)
        assert key not in kernels or torch.equal(value, kernels[key])
    if name != "iresnet":
        torch.testing.assert_close(built(batch), before, rtol=1e-4, atol=1e-5)
        assert not all(
            value.is_contiguous(memory_format=torch.channels_last)
            for value in settled.state_dict().values()
            if value.ndim == 4
        )
    # a skeleton that weights are loaded into is laid out alike, and computes the same bits
    loaded = build_network(
        name, input_channels=2, classes=3, size=SIZE, frozen=True, **QUICK.get(name, {})
    )
    loaded.load_state_dict({key: value.contiguous() for key, value in built.state_dict().items()})
    assert torch.equal(loaded(batch), built(batch))


def test_modules_of_the_users_own_keep_their_layout() -> None:
    class Viewing(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.view(len(x), -1)

    encoder = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU())
    head = nn.Sequential(Viewing(), nn.Linear(4 * 6 * 6, 3))
    own = wrap(encoder, head, input_channels=2, classes=3, size=8)
    own.freeze()
    assert encoder[0].weight.is_contiguous()
    assert own(torch.zeros(1, 2, 8, 8)).shape == (1, 3)
