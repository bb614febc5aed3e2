"""A network whose evidence is known by hand, and cells whose places are."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_why.datasets import Dataset, Preprocessing
from napari_why.images import make_image
from napari_why.model import Classifier
from napari_why.networks.network import Network

CHANNELS = ("DAPI", "TMRM")


class Oracle(Network):
    """Logits are sums of pixels times known weights: input x gradient is weights times image."""

    name = "oracle"

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.classes, self.input_channels = weights.shape[:2]
        self.weights = torch.nn.Parameter(weights)

    def encode(self, x: Tensor) -> Tensor:
        return x * 1.0

    def head(self, features: Tensor) -> Tensor:
        return (features[:, None] * self.weights).sum(dim=(2, 3, 4))

    def feature_maps(self, x: Tensor) -> dict[str, Tensor]:
        return {"pixels": self.encode(x)}

    @property
    def layer_names(self) -> tuple[str, ...]:
        return ("pixels",)

    def configuration(self) -> Mapping[str, Any]:
        return {}


def make_oracle(weights: NDArray[Any], channels: tuple[str, ...] = CHANNELS) -> Classifier:
    """Return a classifier whose standardised image is (raw - 100) / 10, without resizing."""
    count = len(channels)
    preprocessing = Preprocessing(
        channels, None, "none", "linear", (100.0,) * count, (10.0,) * count, (1.0,) * count
    )
    network = Oracle(torch.as_tensor(weights, dtype=torch.float32))
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
