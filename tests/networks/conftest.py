"""Small networks for the tests of this room."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from napari_why.networks import build_network
from napari_why.networks.iresnet import IResNet

SMALL = {"blocks": "2,1", "widths": "6,8", "downscaling": "2,2"}


@pytest.fixture
def small_iresnet() -> Callable[..., IResNet]:
    """Return a builder of small invertible networks that have seen one training batch."""

    def build(*, gain: float = 1.0, seed: int = 0, **parameters: Any) -> IResNet:
        arguments = {"input_channels": 2, "classes": 3, "size": 16} | SMALL | parameters
        network = build_network("iresnet", seed=seed, **arguments)
        assert isinstance(network, IResNet)
        for block in network.named_blocks().values():
            for _, convolution in block.convolutions():
                convolution.weight.data.mul_(gain)
        network.train()
        network(training_batch(network, arguments["size"]))
        return network.eval()

    return build


@pytest.fixture
def stress_iresnet(small_iresnet: Callable[..., IResNet]) -> Callable[..., IResNet]:
    """Return a builder of networks whose branches are as long as the coefficient allows.

    Every kernel passes its channels through, so that the branch's stretch comes near the product
    of the norms, where the fixed-point iteration is slow.
    """

    def build(**parameters: Any) -> IResNet:
        network = small_iresnet(**({"widths": "8,32", "coefficient": 0.97} | parameters))
        for block in network.named_blocks().values():
            for _, convolution in block.convolutions():
                torch.nn.init.dirac_(convolution.weight)
                torch.nn.init.constant_(convolution.bias, 0.3)
        network.freeze()
        return network

    return build


def training_batch(network: IResNet, size: int | tuple[int, int]) -> torch.Tensor:
    """Return eight standardised random images."""
    shape = (size, size) if isinstance(size, int) else size
    generator = torch.Generator().manual_seed(1)
    return torch.randn(8, network.input_channels, *shape, generator=generator)


@pytest.fixture
def images() -> Callable[..., torch.Tensor]:
    """Return a maker of standardised random images."""

    def make(*shape: int, seed: int = 2) -> torch.Tensor:
        return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))

    return make
