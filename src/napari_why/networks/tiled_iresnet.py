"""An i-ResNet at work on fields that are larger than what it was trained on, in bounded memory."""

import math
from collections import OrderedDict

import torch
from torch import Tensor, nn

from napari_why.errors import UnsupportedNetworkError
from napari_why.networks.iresnet import IResNet
from napari_why.networks.shapes import check_batch
from napari_why.networks.tiled_stage import (
    EachTile,
    forward_tiled,
    invert_tiled,
    lipschitz_of_any_size,
)
from napari_why.networks.tiles import tiles_of

VALUES_PER_MAP = 2**21
"""Values of the widest map of a tile without its halo: 8 MiB of float32, of which a stage holds a few."""


def _no_tile_told(done: int, total: int) -> None:
    del done, total


class TiledIResNet(IResNet):
    """The same network, weights shared, that goes through every stage tile by tile.

    The network is fully convolutional up to its head's pooling, so it takes images of any size;
    the logits are those of features averaged over all positions. The latents are held whole: they
    have as many values as the image. What a block computes in between is held for a tile only.

    Parameters
    ----------
    network : IResNet
        Frozen; left as it is.
    each_tile : callable, optional
        Told ``(done, total)`` after each tile of a stage; what it raises ends the work.
    values_per_map : int
        Size of a tile: positions times the larger of the stage's channels and widths.

    Raises
    ------
    UnsupportedNetworkError
        The network is not frozen; or, when decoding, its blocks need not contract on large maps.
    """

    def __init__(
        self,
        network: IResNet,
        each_tile: EachTile = _no_tile_told,
        values_per_map: int = VALUES_PER_MAP,
    ) -> None:
        if not network.frozen:
            raise UnsupportedNetworkError(
                "whole field: found a network whose norms still change; call freeze()"
            )
        super().__init__(
            OrderedDict(network.stages_to(None)), network.classifier, network.configuration()
        )
        self.eval()
        self.frozen = True
        self._each_tile, self._values = each_tile, values_per_map
        self._bounds: dict[str, float] = {}

    def encode_to(self, x: Tensor, stage: str) -> Tensor:
        """Return the latent after ``stage``."""
        return self.feature_maps(x, stage)[stage]

    def encode_from(self, latent: Tensor, stage: str) -> Tensor:
        """Return the last latent of a latent that was taken after ``stage``."""
        for name, _ in self.stages_to(None)[len(self.stages_to(stage)) :]:
            latent = self._forward(name, latent)
        return latent

    def feature_maps(self, x: Tensor, last: str | None = None) -> dict[str, Tensor]:
        """Return the latent after every stage up to ``last`` (None: all)."""
        check_batch(self.name, x, self.input_channels, self.downscaling)
        maps = {}
        for name, _ in self.stages_to(last):
            maps[name] = x = self._forward(name, x)
        return maps

    def head(self, features: Tensor) -> Tensor:
        """Return the logits of latents after the last stage, averaged over their positions."""
        parts = list(self.classifier.children())
        pool = next(i for i, part in enumerate(parts) if isinstance(part, nn.AdaptiveAvgPool2d))
        free = features[:, self.locked_latent_channels() :]
        height, width = free.shape[-2:]
        total: Tensor | None = None
        for tile in tiles_of((height, width), self._side(free.shape[1]), 0):
            maps = free[(slice(None), slice(None), *tile.inner)]
            for part in parts[:pool]:
                maps = part(maps)
            # in float64 on the CPU, since some devices have none: millions of positions add up
            sums = maps.cpu().double().sum((2, 3))
            total = sums if total is None else total + sums
        if total is None:
            raise UnsupportedNetworkError("whole field: found an image without pixels")
        logits = (total / (height * width)).to(features)[..., None, None]
        for part in parts[pool:]:
            logits = part(logits)
        return logits

    @torch.no_grad()
    def decode(self, latent: Tensor, stage: str | None = None) -> Tensor:
        """Return the batch whose latent after ``stage`` (None: the last) this is.

        Raises
        ------
        InversionError
            A block's inverse did not converge.
        UnsupportedNetworkError
            A block need not contract on maps larger than those it was trained on.
        """
        for name, module in reversed(self.stages_to(stage)):
            side = self._side(max(latent.shape[1], self._width(name)))
            bounds = {f"{name}.{key}": self._bound(name, key) for key, _ in module.named_blocks()}
            latent = invert_tiled(name, module, latent, side, self._each_tile, bounds)
        return latent

    @property
    def bounds_of_any_size(self) -> dict[str, float]:
        """Upper bound of the Lipschitz constant of g by block, for images of any size."""
        return {
            f"{name}.{key}": self._bound(name, key)
            for name, module in self.stages_to(None)
            for key, _ in module.named_blocks()
        }

    def _forward(self, name: str, x: Tensor) -> Tensor:
        module = dict(self.stages_to(None))[name]
        channels = x.shape[1] * module.downscale.downscale_factor**2
        side = self._side(max(channels, self._width(name)))
        return forward_tiled(module, x, side, self._each_tile)

    def _width(self, name: str) -> int:
        """Return the channels inside the blocks of a stage."""
        return max(
            part.out_channels
            for part in dict(self.stages_to(None))[name].modules()
            if isinstance(part, nn.Conv2d)
        )

    def _side(self, channels: int) -> int:
        return max(1, math.isqrt(self._values // channels))

    def _bound(self, stage: str, key: str) -> float:
        """Return the block's Lipschitz bound; the one certified in training holds for its size."""
        name = f"{stage}.{key}"
        if name not in self._bounds:
            self._bounds[name] = lipschitz_of_any_size(self.named_blocks()[name])
        if self._bounds[name] >= 1:
            raise UnsupportedNetworkError(
                f"whole field: found {name} with a Lipschitz bound of {self._bounds[name]:.2f} on "
                "large images; expected less than 1, or it need not be invertible there; train on "
                "larger crops or with a smaller coefficient"
            )
        return self._bounds[name]
