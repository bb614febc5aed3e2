"""Networks, images and a classifier to explain."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from torch import Tensor, nn

from napari_why.datasets import Preprocessing
from napari_why.images import make_image
from napari_why.model import Classifier
from napari_why.networks.modules import ActNorm, ResidualSum
from napari_why.networks.network import Network
from napari_why.networks.registry import build_network

SHIPPED: dict[str, dict[str, Any]] = {
    "iresnet": {"size": 32},
    "linear_iresnet": {
        "name": "iresnet",
        "size": 32,
        "blocks": "2,2",
        "widths": "8,8",
        "downscaling": "2,2",
        "head": "linear",
    },
    "resnext50": {"size": 64, "weights": "random", "head": "linear"},
    "cam_net": {"size": 32},
}
"""Networks whose head is linear on pooled maps."""

GENERATIVE: dict[str, dict[str, Any]] = {
    "vae": {"size": 32, "widths": "8,8,8", "latent_dimensions": 12},
}
"""Networks whose head looks at a latent without positions."""


class Small(Network):
    """An encoder of modules and a linear head on pooled maps."""

    name = "small"

    def __init__(self, encoder: nn.Module, features: int, channels: int = 2) -> None:
        super().__init__()
        self.input_channels, self.classes = channels, 3
        self.encoder, self.pool = encoder, nn.AdaptiveAvgPool2d(1)
        self.linear = nn.Linear(features, 3)

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x)

    def head(self, features: Tensor) -> Tensor:
        return self.linear(self.pool(features).flatten(1))

    def feature_maps(self, x: Tensor) -> dict[str, Tensor]:
        return {"encoder": self.encode(x)}

    @property
    def layer_names(self) -> tuple[str, ...]:
        return ("encoder",)

    @property
    def linear_head_weights(self) -> Tensor:
        return self.linear.weight

    def configuration(self) -> Mapping[str, Any]:
        return {}


class PreActivation(nn.Module):
    """u + conv(ELU(conv(ELU(u)))) with u = ActNorm(x): skip and first ELU share a tensor."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm, self.sum = ActNorm(channels), ResidualSum()
        self.branch = nn.Sequential(
            nn.ELU(),
            nn.Conv2d(channels, 6, 3, padding=1),
            nn.ELU(),
            nn.Conv2d(6, channels, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        u = self.norm(x)
        return self.sum(u, self.branch(u))


class Bottleneck(nn.Module):
    """Grouped bottleneck with batch normalisation and a projection on the skip connection."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.Conv2d(channels, 8, 1, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 8, 3, padding=1, stride=2, groups=4, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 12, 1, bias=False),
            nn.BatchNorm2d(12),
        )
        self.skip = nn.Sequential(nn.Conv2d(channels, 12, 1, stride=2), nn.BatchNorm2d(12))
        self.sum, self.relu = ResidualSum(), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.sum(self.skip(x), self.branch(x)))


def randomised(network: Network, *, bias_free: bool) -> Network:
    """Give normalisations the statistics of a trained network; take all biases away on demand."""
    generator = torch.Generator().manual_seed(3)

    def noise(like: Tensor, scale: float, mean: float = 0.0) -> Tensor:
        return mean + scale * torch.randn(like.shape, generator=generator)

    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.copy_(noise(module.running_mean, 0.3))
                module.running_var.copy_(noise(module.running_var, 0.3, 1.0).abs() + 0.2)
                module.weight.copy_(noise(module.weight, 0.5, 1.0))
                module.bias.copy_(noise(module.bias, 0.3))
            if isinstance(module, ActNorm):
                module.log_scale.copy_(noise(module.log_scale, 0.3))
                module.shift.copy_(noise(module.shift, 0.3))
            if bias_free:
                for name in ("bias", "shift", "running_mean"):
                    if getattr(module, name, None) is not None:
                        getattr(module, name).zero_()
    return network


def built_as(kind: str) -> dict[str, Any]:
    """Return the parameters of a network of the registry, empty for those defined here."""
    return (SHIPPED | GENERATIVE).get(kind, {})


@cache
def make_network(kind: str, channels: int = 2, bias_free: bool = False) -> Network:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if kind == "preactivation":
            network: Network = Small(
                nn.Sequential(
                    nn.PixelUnshuffle(2), PreActivation(4 * channels), PreActivation(4 * channels)
                ),
                4 * channels,
                channels,
            )
        elif kind == "bottleneck":
            network = Small(nn.Sequential(Bottleneck(channels)), 12, channels)
        else:
            named = {"name": kind} | built_as(kind)
            network = build_network(input_channels=channels, classes=3, **named)
    network.freeze()
    return randomised(network, bias_free=bias_free).eval()


@dataclass(frozen=True)
class Case:
    """A network and an image of its size."""

    network: Network
    x: Tensor


def make_image_tensor(kind: str, channels: int = 2, seed: int = 1) -> Tensor:
    size = built_as(kind).get("size", 16)
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(1, channels, size, size, generator=generator)


@pytest.fixture(scope="session")
def case() -> Callable[..., Case]:
    """Return a function that gives a network of a kind, and an image."""

    def make(kind: str, channels: int = 2, bias_free: bool = False) -> Case:
        return Case(make_network(kind, channels, bias_free), make_image_tensor(kind, channels))

    return make


@pytest.fixture(scope="session")
def randomise() -> Callable[..., Network]:
    """Return the function that gives normalisations the statistics of a trained network."""
    return randomised


@pytest.fixture(scope="session")
def small_network() -> Callable[..., Network]:
    """Return a function that puts an encoder under a linear head with three classes."""

    def make(encoder: nn.Module, features: int, channels: int = 2) -> Network:
        network = Small(encoder, features, channels)
        network.freeze()
        return network

    return make


@pytest.fixture(params=tuple(SHIPPED))
def shipped(request: pytest.FixtureRequest, case: Callable[..., Case]) -> Case:
    """Every network that ships, with random normalisation statistics."""
    return case(request.param)


@pytest.fixture(params=("preactivation", "bottleneck"))
def residual(request: pytest.FixtureRequest, case: Callable[..., Case]) -> Case:
    """Small residual networks: pre-activation ELU with ActNorm, grouped bottleneck with BN."""
    return case(request.param)


@pytest.fixture
def image() -> xr.DataArray:
    """Two channels of 16-bit noise."""
    pixels = np.random.default_rng(0).integers(100, 4000, (2, 16, 16)).astype(np.uint16)
    return make_image(pixels, ("c", "y", "x"), ("nuclei", "mitochondria"), source="field.tif")


@pytest.fixture
def classifier(case: Callable[..., Case]) -> Classifier:
    """A classifier round a small residual network."""
    preprocessing = Preprocessing(
        channels=("nuclei", "mitochondria"),
        size=16,
        fit="resize",
        intensity="linear",
        mean=(2000.0, 2100.0),
        std=(1100.0, 1200.0),
        cofactor=(1.0, 1.0),
    )
    network = case("preactivation").network
    return Classifier(network, preprocessing, ("diseased", "treated", "healthy"))
