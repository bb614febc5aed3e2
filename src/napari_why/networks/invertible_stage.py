"""Invertible stages: pixel-unshuffle downscaling, then contractive residual blocks.

Behrmann et al. 2019, Invertible residual networks (arXiv:1811.00995).
"""

import math
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_why.networks.modules import ActNorm, ResidualSum
from napari_why.networks.spectral import SpectralConv2d, operator_norm_bound, plain_twin


@dataclass(frozen=True)
class StageShape:
    """What the convolutions of a stage need to know.

    Parameters
    ----------
    channels, width : int
        Channels of the latent and of the bottleneck.
    resolution : (int, int)
        Height and width of the latent in pixels.
    coefficient : float
        Largest operator norm of a convolution.
    power_iterations : int
        Per training forward pass.
    """

    channels: int
    width: int
    resolution: tuple[int, int]
    coefficient: float
    power_iterations: int

    def convolution(self, inputs: int, outputs: int, kernel_size: int) -> SpectralConv2d:
        """Return a normalised convolution that works at this stage's resolution."""
        return SpectralConv2d(
            inputs,
            outputs,
            kernel_size,
            self.resolution,
            self.coefficient,
            self.power_iterations,
        )


class ContractiveBlock(nn.Module):
    """y = u + g(u) with u = ActNorm(x) and a Lipschitz constant of g below 1.

    g is [ELU] - conv 3 x 3 - ELU - conv 1 x 1 - ELU - conv 3 x 3; the first ELU is left out in
    the very first block, where it would throw image content away. ELU has Lipschitz constant 1,
    so the constant of g is at most the product of the three operator norms.

    Attributes
    ----------
    certified_norms : Tensor, shape (3,)
        Upper bounds of the operator norms of the baked convolutions; 0 until frozen.
    """

    certified_norms: Tensor

    def __init__(self, shape: StageShape, *, activate_first: bool) -> None:
        super().__init__()
        self.resolution = shape.resolution
        self.actnorm = ActNorm(shape.channels)
        parts: OrderedDict[str, nn.Module] = OrderedDict()
        if activate_first:
            parts["elu1"] = nn.ELU()
        parts["conv1"] = shape.convolution(shape.channels, shape.width, 3)
        parts["elu2"] = nn.ELU()
        parts["conv2"] = shape.convolution(shape.width, shape.width, 1)
        parts["elu3"] = nn.ELU()
        parts["conv3"] = shape.convolution(shape.width, shape.channels, 3)
        self.branch = nn.Sequential(parts)
        self.sum = ResidualSum()
        self.register_buffer("certified_norms", torch.zeros(3))

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output for a batch (N, C, h, w)."""
        normalised = self.actnorm(x)
        summed: Tensor = self.sum(normalised, self.branch(normalised))
        return summed

    @property
    def lipschitz_bound(self) -> float:
        """Certified upper bound of the Lipschitz constant of g; infinite until frozen."""
        return float(self.certified_norms.prod()) if bool(self.certified_norms.all()) else math.inf

    def convolutions(self) -> Iterator[tuple[str, SpectralConv2d]]:
        """Yield the normalised convolutions of g by name; none once frozen."""
        for name, module in self.branch.named_children():
            if isinstance(module, SpectralConv2d):
                yield name, module

    def freeze(self) -> None:
        """Converge the norms, bake the kernels into plain convolutions and certify them."""
        norms = []
        for name, convolution in tuple(self.convolutions()):
            convolution.converge()
            baked = convolution.baked()
            self.branch.add_module(name, baked)
            norms.append(operator_norm_bound(baked.weight, self.resolution))
        if norms:
            self.certified_norms.copy_(torch.tensor(norms))

    def make_plain(self) -> None:
        """Put plain convolutions in place, for the weights of a frozen network to be loaded."""
        for name, convolution in tuple(self.convolutions()):
            self.branch.add_module(name, plain_twin(convolution))


class InvertibleStage(nn.Module):
    """Pixel-unshuffle by ``downscaling``, then contractive blocks ``block1``, ``block2``, ..."""

    def __init__(self, shape: StageShape, blocks: int, downscaling: int, *, first: bool) -> None:
        super().__init__()
        self.downscale = nn.PixelUnshuffle(downscaling)
        self.blocks = nn.Sequential(
            OrderedDict(
                (f"block{i + 1}", ContractiveBlock(shape, activate_first=not (first and i == 0)))
                for i in range(blocks)
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the latent (N, C f^2, h / f, w / f) of (N, C, h, w)."""
        latent: Tensor = self.blocks(self.downscale(x))
        return latent

    def upscale(self, latent: Tensor) -> Tensor:
        """Undo the downscaling."""
        return F.pixel_shuffle(latent, self.downscale.downscale_factor)

    def named_blocks(self) -> list[tuple[str, ContractiveBlock]]:
        """Return the blocks by name, first to last."""
        return [
            (name, block)
            for name, block in self.blocks.named_children()
            if isinstance(block, ContractiveBlock)
        ]
