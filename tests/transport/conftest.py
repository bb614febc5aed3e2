"""Latents of known truth: structures that stay, and a signal that classes place differently."""

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from napari_why.transport import (
    ClassTransport,
    LatentCrops,
    LatentLayout,
    TransportOptions,
    fit_class_transport,
)

SMALL = TransportOptions(gates=4, rounds=3, samples=4000, matching_clusters=32)


@pytest.fixture(scope="session")
def scenes() -> Callable[..., Tensor]:
    """Return a maker of latents (n, 2, s, s): nuclei, and a signal around (0) or in them (1)."""

    def make(count: int, label: int, seed: int = 0, size: int | tuple[int, int] = 24) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        height, width = (size, size) if isinstance(size, int) else size
        seeds = (torch.rand(count, 1, height, width, generator=generator) < 0.015).float()
        nuclei = F.max_pool2d(seeds, 5, stride=1, padding=2)
        around = F.max_pool2d(seeds, 9, stride=1, padding=4) - nuclei
        signal = 2 * (nuclei if label else around)
        noise = 0.1 * torch.randn(count, 2, height, width, generator=generator)
        return torch.cat([2 * nuclei, signal], 1) + noise

    return make


@pytest.fixture(scope="session")
def fitted() -> Callable[..., ClassTransport]:
    """Return a function that fits a small transport on latents of classes."""

    def fit(
        by_class: Sequence[Tensor], layout: LatentLayout, options: TransportOptions = SMALL
    ) -> ClassTransport:
        transport = fit_class_transport(crops_of(by_class), layout, "stage1", options)
        assert transport is not None
        return transport

    return fit


@pytest.fixture(scope="session")
def crops_of_classes() -> Callable[[Sequence[Tensor]], LatentCrops]:
    """Return a function that makes crops of latents given by class."""
    return crops_of


def crops_of(by_class: Sequence[Tensor]) -> LatentCrops:
    crops = LatentCrops(len(by_class))
    for label, latents in enumerate(by_class):
        crops.add(latents, torch.full((len(latents),), label))
    return crops
