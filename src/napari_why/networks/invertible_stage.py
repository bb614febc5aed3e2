"""Invertible stages: pixel-unshuffle downscaling, then contractive residual blocks.

Behrmann et al. 2019, Invertible residual networks (arXiv:1811.00995). In the triangular form some
channels are locked: they pass through as they are, and the blocks of the other, free channels
take them as a condition. The inverse copies them and solves for the free channels alone, so the
condition may enter by any function; only the dependence on the free channels has to contract.
"""

import math
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_why.core.devices import at_least_float32
from napari_why.networks.modules import ActNorm, ResidualSum
from napari_why.networks.spectral import SpectralConv2d, operator_norm_bound, plain_twin

# terms of the power series: on a tiny network three come within 5 % of the exact log-determinant,
# eight within 0.2 %, and each costs a backward pass (docs/training.md)
POWER_SERIES_TERMS = 3


@dataclass(frozen=True)
class StageShape:
    """What the convolutions of a stage need to know.

    Parameters
    ----------
    channels, width : int
        Free channels of the latent, and channels of the bottleneck.
    resolution : (int, int)
        Height and width of the latent in pixels.
    coefficient : float
        Largest operator norm of a convolution.
    power_iterations : int
        Per training forward pass.
    locked : int
        Locked channels of the latent, which come before the free ones.
    """

    channels: int
    width: int
    resolution: tuple[int, int]
    coefficient: float
    power_iterations: int
    locked: int = 0

    def convolution(self, inputs: int, outputs: int, kernel_size: int) -> SpectralConv2d:
        """Return a normalised convolution that works at this stage's resolution.

        Parameters
        ----------
        inputs, outputs : int
            Channels.
        kernel_size : int
            In positions; odd.

        Returns
        -------
        SpectralConv2d
        """
        return SpectralConv2d(
            inputs,
            outputs,
            kernel_size,
            self.resolution,
            self.coefficient,
            self.power_iterations,
        )


@dataclass(frozen=True)
class ResidualBranch:
    """What one block added to its input in a training forward pass.

    Parameters
    ----------
    stage : str
        ``stage1``, ...
    normalised, branch : Tensor, shape (N, K, h, w)
        u and g(u); both stand in the autograd graph of the pass.
    log_scale : Tensor, shape (1, K, 1, 1)
        Logarithm of the factors of the ActNorm that made u.
    """

    stage: str
    normalised: Tensor
    branch: Tensor
    log_scale: Tensor


class ContractiveBlock(nn.Module):
    """y = u + g(u) with u = ActNorm(x) and a Lipschitz constant of g below 1.

    g is [ELU] - conv 3 x 3 - ELU - conv 1 x 1 - ELU - conv 3 x 3; the first ELU is left out in
    the very first block, where it would throw image content away. ELU has Lipschitz constant 1,
    so the constant of g is at most the product of the three operator norms. With locked channels
    x0 the first convolution's result gets + H x0, a 3 x 3 convolution without any limit: it is a
    constant for the inverse.

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
        # ELU: of Lipschitz constant 1 as ReLU, but with a continuous derivative, which training on
        # log-determinants differentiates once more
        if activate_first:
            parts["elu1"] = nn.ELU()
        parts["conv1"] = shape.convolution(shape.channels, shape.width, 3)
        parts["elu2"] = nn.ELU()
        parts["conv2"] = shape.convolution(shape.width, shape.width, 1)
        parts["elu3"] = nn.ELU()
        parts["conv3"] = shape.convolution(shape.width, shape.channels, 3)
        self.branch = nn.Sequential(parts)
        self.sum = ResidualSum()
        self.conditional = shape.locked > 0
        if self.conditional:
            # without a bias: conv1 has one already
            self.condition = nn.Conv2d(shape.locked, shape.width, 3, padding=1, bias=False)
            self.condition_sum = ResidualSum()
        # saved with the weights, so that a loaded network knows its bounds at once
        self.register_buffer("certified_norms", torch.zeros(3))  # one a convolution of g

    def forward(self, x: Tensor, locked: Tensor | None = None) -> Tensor:
        """Return the block's output for a batch (N, C, h, w) and its locked channels.

        Parameters
        ----------
        x : Tensor, shape (N, C, h, w)
            Free channels.
        locked : Tensor, shape (N, L, h, w), optional
            Of a block that was built with locked channels.

        Returns
        -------
        Tensor, shape (N, C, h, w)
        """
        normalised, branch = self.parts(x, locked)
        summed: Tensor = self.sum(normalised, branch)
        return summed

    def parts(self, x: Tensor, locked: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return u and g(u), of which the output is the sum.

        Parameters
        ----------
        x : Tensor, shape (N, C, h, w)
            Free channels.
        locked : Tensor, shape (N, L, h, w), optional

        Returns
        -------
        normalised, branch : Tensor, shape (N, C, h, w)
        """
        normalised = self.actnorm(x)
        return normalised, self.residual(normalised, self.conditioning(locked))

    def conditioning(self, locked: Tensor | None) -> Tensor | None:
        """Return H x0 (N, width, h, w), which does not depend on the free channels."""
        if not self.conditional or locked is None:
            return None
        conditioning: Tensor = self.condition(locked)
        return conditioning

    def residual(self, normalised: Tensor, conditioning: Tensor | None = None) -> Tensor:
        """Return g at u, given H x0.

        Parameters
        ----------
        normalised : Tensor, shape (N, C, h, w)
            u, behind the ActNorm.
        conditioning : Tensor, shape (N, width, h, w), optional
            From :meth:`conditioning`.

        Returns
        -------
        Tensor, shape (N, C, h, w)
        """
        for name, module in self.branch.named_children():
            normalised = module(normalised)
            if conditioning is not None and name == "conv1":
                normalised = self.condition_sum(normalised, conditioning)
        return normalised

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
        # a tuple first: children are replaced while they are gone through
        for name, convolution in tuple(self.convolutions()):
            convolution.converge()
            baked = convolution.bake()
            self.branch.add_module(name, baked)
            norms.append(operator_norm_bound(baked.weight, self.resolution))
        if norms:
            self.certified_norms.copy_(torch.tensor(norms))

    def make_plain(self) -> None:
        """Put plain convolutions in place, for the weights of a frozen network to be loaded."""
        for name, convolution in tuple(self.convolutions()):
            self.branch.add_module(name, plain_twin(convolution))


class InvertibleStage(nn.Module):
    """Pixel-unshuffle by ``downscaling``, then contractive blocks ``block1``, ``block2``, ...

    Parameters
    ----------
    order : sequence of int, optional
        Order in which the channels of the input are taken: the locked ones first. As they come
        when None.
    """

    def __init__(
        self,
        shape: StageShape,
        blocks: int,
        downscaling: int,
        *,
        first: bool,
        order: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.locked = shape.locked
        # None where nothing changes, so that networks without a lock compute what they always did
        self.order = None if order is None or list(order) == sorted(order) else tuple(order)
        # pixels move into channels: nothing is lost, as it would be by pooling or strides
        self.downscale = nn.PixelUnshuffle(downscaling)
        self.blocks = nn.Sequential(
            OrderedDict(
                (f"block{i + 1}", ContractiveBlock(shape, activate_first=not (first and i == 0)))
                for i in range(blocks)
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the latent (N, C f^2, h / f, w / f) of (N, C, h, w)."""
        locked, free = self.split(self.enter(x))
        for _, block in self.named_blocks():
            free = block(free, locked)
        return self.join(locked, free)

    def trace(self, x: Tensor, name: str) -> tuple[Tensor, list[ResidualBranch]]:
        """Return the latent as ``forward`` does, and what every block added to its input.

        Parameters
        ----------
        x : Tensor, shape (N, C, H, W)
            What comes into the stage.
        name : str
            Of the stage, which the branches are to tell.

        Returns
        -------
        latent : Tensor, shape (N, C f^2, H / f, W / f)
            f is the stage's downscaling.
        branches : list of ResidualBranch
            One a block, first to last.
        """
        locked, free = self.split(self.enter(x))
        branches = []
        for _, block in self.named_blocks():
            normalised, branch = block.parts(free, locked)
            # for penalties, which are means of it; the sum takes the precision of u by itself
            exact = at_least_float32(branch)
            branches.append(ResidualBranch(name, normalised, exact, block.actnorm.log_scale))
            free = block.sum(normalised, branch)
        return self.join(locked, free), branches

    def enter(self, x: Tensor) -> Tensor:
        """Return the input with its channels in order, downscaled."""
        # torch would leave the shape of a batch of no image as it is; its size is asked for without len,
        # which would tell torch.export that all batches have that many images
        if x.shape[0] == 0:
            factor = self.downscale.downscale_factor
            height, width = (side // factor for side in x.shape[2:])
            return x.new_empty(0, x.shape[1] * factor**2, height, width)
        downscaled: Tensor = self.downscale(_reorder_channels(x, self.order))
        return downscaled

    def upscale(self, latent: Tensor) -> Tensor:
        """Undo :meth:`enter`."""
        image = F.pixel_shuffle(latent, self.downscale.downscale_factor)
        if self.order is None:
            return image
        return _reorder_channels(
            image, [self.order.index(channel) for channel in range(len(self.order))]
        )

    @property
    def locked_inputs(self) -> tuple[int, ...]:
        """Indices of the locked channels of the input."""
        # downscaling multiplied their number
        count = self.locked // self.downscale.downscale_factor**2
        return tuple(range(count)) if self.order is None else self.order[:count]

    def split(self, latent: Tensor) -> tuple[Tensor | None, Tensor]:
        """Return the locked channels (None where there are none) and the free ones."""
        if not self.locked:
            return None, latent
        return latent[:, : self.locked], latent[:, self.locked :]

    def join(self, locked: Tensor | None, free: Tensor) -> Tensor:
        """Undo :meth:`split`.

        Parameters
        ----------
        locked : Tensor, shape (N, L, h, w), or None
        free : Tensor, shape (N, K - L, h, w)

        Returns
        -------
        Tensor, shape (N, K, h, w)
        """
        return free if locked is None else torch.cat([locked, free], dim=1)

    def named_blocks(self) -> list[tuple[str, ContractiveBlock]]:
        """Return the blocks by name, first to last."""
        return [
            (name, block)
            for name, block in self.blocks.named_children()
            if isinstance(block, ContractiveBlock)
        ]


def log_determinant(
    branches: Sequence[ResidualBranch],
    generator: torch.Generator,
    *,
    terms: int = POWER_SERIES_TERMS,
) -> Tensor:
    """Estimate log|det| of the encoder's Jacobian with respect to the free channels, with gradient.

    ActNorms are exact. Of a residual block u + g(u) it is
    tr log(I + J) = sum_k (-1)^(k+1) tr(J^k) / k (Behrmann et al. 2019, equation 4), cut off after
    ``terms``, with every trace estimated as v^T J^k v for one random sign vector v an image
    (Hutchinson 1990). What is cut off is at most d L^(k+1) / ((k+1) (1 - L)) for d elements and the
    Lipschitz constant L of g.

    Parameters
    ----------
    branches : sequence of ResidualBranch
        In the graph of a forward pass.
    generator : torch.Generator
        On the CPU.
    terms : int
        At least 1.

    Returns
    -------
    Tensor, shape (N,)
        In nats, one estimate an image.
    """
    # signs and not normal numbers: of all independent ones of variance 1 they give a trace estimate
    # of the least variance (Hutchinson 1990)
    total = torch.zeros(len(branches[0].branch), device=branches[0].branch.device)
    for one in branches:
        # drawn on the CPU, so that every device trains with the same signs
        signs = torch.randint(0, 2, one.branch.shape, generator=generator) * 2 - 1
        signs = signs.to(one.branch)
        product = signs
        positions = one.branch.shape[-2] * one.branch.shape[-1]
        # an ActNorm scales every position of a channel alike: its determinant needs no estimate
        total = total + one.log_scale.sum() * positions
        for power in range(1, terms + 1):
            (product,) = torch.autograd.grad(
                one.branch, one.normalised, product, create_graph=True, retain_graph=True
            )
            trace = (product * signs).sum(dim=(1, 2, 3))
            total = total + trace * ((-1) ** (power + 1) / power)
    return total


def _reorder_channels(x: Tensor, order: Sequence[int] | None) -> Tensor:
    """Return the channels in another order, bit for bit."""
    if order is None:
        return x
    return torch.cat([x[:, channel : channel + 1] for channel in order], dim=1)
