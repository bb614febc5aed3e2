"""Networks of every kind that patches have to be right for, at sizes that are no square."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from napari_why.attribution.incremental import scores
from napari_why.networks.network import Network
from napari_why.networks.registry import build_network

Size = tuple[int, int]
SHIPPED: dict[str, tuple[Size, dict[str, Any]]] = {
    "cam_net": ((48, 64), {}),
    "iresnet": ((32, 48), {}),
    "iresnet, linear head": (
        (32, 48),
        {"blocks": "2,1", "widths": "8,8", "downscaling": "2,2", "head": "linear"},
    ),
    "iresnet, head elu": ((32, 24), {"head": "elu", "downscaling": "4"}),
    "resnext50": ((64, 96), {"weights": "random"}),
    "small_cnn": ((47, 32), {}),
    "vae": ((64, 48), {"widths": "8,8,8", "latent_dimensions": 12}),
}


@pytest.fixture(scope="session")
def trained(randomise: Callable[..., Network]) -> Callable[..., tuple[Network, Tensor]]:
    """Return a function that gives a network with the statistics of a trained one, and an image."""

    def make(kind: str, channels: int = 2, **changes: Any) -> tuple[Network, Tensor]:
        size, parameters = SHIPPED[kind]
        with torch.random.fork_rng():
            torch.manual_seed(0)
            network = build_network(
                kind.partition(",")[0],
                input_channels=channels,
                classes=3,
                size=size,
                **parameters,
                **changes,
            )
        network.freeze()
        randomise(network, bias_free=False).eval()
        generator = torch.Generator().manual_seed(1)
        return network, torch.randn(1, channels, *size, generator=generator)

    return make


@pytest.fixture
def by_patches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let patches be used however small the work is."""
    monkeypatch.setattr(scores, "FEWEST_CHANGES", 0)
    monkeypatch.setattr(scores, "FEWEST_PIXELS", 0)
