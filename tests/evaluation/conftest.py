"""Networks whose true explanation is known, and cells whose places are."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_why.attribution import Evidence
from napari_why.datasets import Dataset, Preprocessing
from napari_why.evaluation import ExplanationCase
from napari_why.images import make_image
from napari_why.model import Classifier
from napari_why.networks.network import Network

CHANNELS = ("DAPI", "TMRM")


class LinearNetwork(Network):
    """Logits sum_chw w_kchw x_chw + b_k: what a pixel adds is w x, and nothing else is true."""

    name = "linear"

    def __init__(self, weights: Tensor, bias: float = 0.3) -> None:
        super().__init__()
        self.classes, self.input_channels = weights.shape[:2]
        self.weights = nn.Parameter(weights)
        self.bias = nn.Parameter(torch.full((self.classes,), bias))

    def encode(self, x: Tensor) -> Tensor:
        return x

    def head(self, features: Tensor) -> Tensor:
        return torch.einsum("nchw,kchw->nk", features, self.weights) + self.bias

    def feature_maps(self, x: Tensor) -> dict[str, Tensor]:
        return {"image": x}

    @property
    def layer_names(self) -> tuple[str, ...]:
        return ("image",)

    def configuration(self) -> Mapping[str, Any]:
        return {}


def make_oracle(weights: NDArray[Any], channels: tuple[str, ...] = CHANNELS) -> Classifier:
    """Return a classifier whose standardised image is (raw - 100) / 10, without resizing."""
    count = len(channels)
    preprocessing = Preprocessing(
        channels, None, "none", "linear", (100.0,) * count, (10.0,) * count, (1.0,) * count
    )
    network = LinearNetwork(torch.as_tensor(weights, dtype=torch.float32), bias=0.0)
    return Classifier(network, preprocessing, ("diseased", "treated"))


def make_dataset(
    pixels: NDArray[Any], labels: list[str], wells: list[str], channels: tuple[str, ...] = CHANNELS
) -> Dataset:
    images = [
        make_image(plane, "cyx", channels, source=f"{i}.tif") for i, plane in enumerate(pixels)
    ]
    return Dataset.from_images(images, labels, well=wells)


@pytest.fixture
def oracle() -> Callable[..., Classifier]:
    """Return :func:`make_oracle`."""
    return make_oracle


@pytest.fixture
def in_memory() -> Callable[..., Dataset]:
    """Return :func:`make_dataset`."""
    return make_dataset


def explain_linear(network: Network, x: Tensor, target: int) -> Evidence:
    """Return the true map of a linear network."""
    maps = (network.weights[target].detach() * x)[0]
    return Evidence(maps, maps.sum(dim=0), "logit per pixel")


@pytest.fixture
def linear_case() -> Callable[..., ExplanationCase]:
    """Return a function that gives a linear network, an image and the true map."""

    def make(channels: int = 2, size: tuple[int, int] = (6, 8), **given: Any) -> ExplanationCase:
        generator = torch.Generator().manual_seed(11)
        weights = torch.randn(3, channels, *size, generator=generator)
        x = torch.randn(1, channels, *size, generator=generator)
        network = LinearNetwork(weights)
        network.freeze()
        evidence = explain_linear(network, x, 1)
        values = {"evidence": evidence, "explain": explain_linear} | given
        return ExplanationCase(network, x, 1, **values)

    return make


@pytest.fixture
def linear_network() -> Callable[[Tensor], Network]:
    """Return a function that makes a linear network of weights (K, C, H, W)."""
    return LinearNetwork


@pytest.fixture(name="explain_linear")
def truth_of_linear() -> Callable[[Network, Tensor, int], Evidence]:
    """Return the method whose maps of linear networks are true."""
    return explain_linear


@pytest.fixture
def linear_classifier() -> Classifier:
    """A classifier with the linear network of random weights, of images of 32 pixels."""
    generator = torch.Generator().manual_seed(7)
    preprocessing = Preprocessing(
        channels=("nuclei", "mitochondria"),
        size=32,
        fit="resize",
        intensity="linear",
        mean=(2000.0, 2100.0),
        std=(1100.0, 1200.0),
        cofactor=(1.0, 1.0),
    )
    network = LinearNetwork(torch.randn(3, 2, 32, 32, generator=generator))
    return Classifier(network, preprocessing, ("diseased", "treated", "healthy"))


@pytest.fixture
def noise_image() -> xr.DataArray:
    """Two channels of 16-bit noise."""
    pixels = np.random.default_rng(0).integers(100, 4000, (2, 32, 32)).astype(np.uint16)
    return make_image(pixels, ("c", "y", "x"), ("nuclei", "mitochondria"), source="field.tif")
