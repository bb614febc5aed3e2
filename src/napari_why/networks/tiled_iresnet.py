"""The invertible network on images of any size: tile by tile, so that memory stays bounded."""

import math
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise, product

import torch
from torch import Tensor, nn

from napari_why.core.devices import to_float64, to_like
from napari_why.core.errors import UnsupportedNetworkError
from napari_why.networks.inverse import TOLERANCE, check_converged, invert_stages
from napari_why.networks.invertible_stage import ContractiveBlock, InvertibleStage
from napari_why.networks.iresnet import IResNet
from napari_why.networks.modules import HeadBlock, check_batch
from napari_why.networks.spectral import norm_bound_of_any_size

Window = tuple[slice, slice]


@dataclass(frozen=True)
class Tile:
    """A rectangle of a map and the larger one, within the map, that it is computed from.

    Parameters
    ----------
    inner, outer : (slice, slice)
        Rows and columns of the map.
    """

    inner: Window
    outer: Window

    @property
    def core(self) -> Window:
        """Where ``inner`` lies in ``outer``."""
        return within(self.inner, self.outer)

    def enlarge(self, factor: int) -> Window:
        """Return ``outer`` on a map that is ``factor`` times as fine."""
        return scale_window(self.outer, factor)


def tiles_of(shape: tuple[int, int], side: int, halo: int) -> list[Tile]:
    """Return tiles whose inner rectangles cover a map once, row by row.

    Parameters
    ----------
    shape : (int, int)
        Height and width of the map.
    side : int
        Largest height and width of an inner rectangle; the tiles are about alike.
    halo : int
        How much wider ``outer`` is on every side, as far as the map goes.

    Returns
    -------
    list of Tile

    Examples
    --------
    >>> [(tile.inner[1], tile.outer[1]) for tile in tiles_of((4, 9), 5, 2)]
    [(slice(0, 5, None), slice(0, 7, None)), (slice(5, 9, None), slice(3, 9, None))]
    """
    rows, columns = (_spans(size, side, halo) for size in shape)
    return [
        Tile((row[0], column[0]), (row[1], column[1])) for row, column in product(rows, columns)
    ]


def scale_window(window: Window, factor: int) -> Window:
    """Return a window on a map that is ``factor`` times as fine.

    Parameters
    ----------
    window : (slice, slice)
        Rows and columns.
    factor : int

    Returns
    -------
    (slice, slice)
    """
    rows, columns = (slice(s.start * factor, s.stop * factor) for s in window)
    return rows, columns


def within(inner: Window, outer: Window) -> Window:
    """Return where ``inner`` lies in ``outer``.

    Parameters
    ----------
    inner, outer : (slice, slice)
        Rows and columns on one map.

    Returns
    -------
    (slice, slice)
        Rows and columns of a map that holds ``outer`` alone.
    """
    rows, columns = (
        slice(a.start - b.start, a.stop - b.start) for a, b in zip(inner, outer, strict=True)
    )
    return rows, columns


def _spans(size: int, side: int, halo: int) -> list[tuple[slice, slice]]:
    count = math.ceil(size / side)
    borders = [math.ceil(index * size / count) for index in range(count + 1)]
    return [
        (slice(start, end), slice(max(0, start - halo), min(size, end + halo)))
        for start, end in pairwise(borders)
    ]


# two tiles may each be off by the tolerance in every block; 5e-5 is still below a 16-bit grey level
# of most images (docs/counterfactuals.md)
LARGEST_SEAM = 5 * TOLERANCE
# positions a side of the windows on which iterations are counted: enough for every block to see
# neighbours, and a fraction of a field's cost
PROBE = 64
EachTile = Callable[[int, int], None]  # told how many tiles are done, and how many there are


def forward_tiled(stage: InvertibleStage, x: Tensor, side: int, each_tile: EachTile) -> Tensor:
    """Return the latent (N, C f^2, h / f, w / f) of (N, C, h, w); equal to ``stage(x)``.

    Parameters
    ----------
    stage : InvertibleStage
        Frozen.
    x : Tensor
    side : int
        Of a tile, in positions of the latent.
    each_tile : callable

    Returns
    -------
    Tensor, shape (N, C f^2, h / f, w / f)
    """
    factor = stage.downscale.downscale_factor
    shape = (x.shape[-2] // factor, x.shape[-1] // factor)
    # exact: no output depends on more than the convolutions reach
    halo = sum(_reach(block) for _, block in stage.named_blocks())
    tiles = tiles_of(shape, side, halo)
    latent = x.new_empty(len(x), x.shape[1] * factor**2, *shape)
    for done, tile in enumerate(tiles, start=1):
        latent[_all(tile.inner)] = stage(x[_all(tile.enlarge(factor))])[_all(tile.core)]
        each_tile(done, len(tiles))
    return latent


def run_block_tiled(block: HeadBlock, maps: Tensor, side: int, each_tile: EachTile) -> Tensor:
    """Return a head block's maps (N, K', h / f, w / f, rounded up) of (N, K, h, w).

    Parameters
    ----------
    block : HeadBlock
        In evaluation mode, whose batch norm looks at no other position.
    maps : Tensor
    side : int
        Of a tile, in positions of the result.
    each_tile : callable

    Returns
    -------
    Tensor, shape (N, K', h / f, w / f), rounded up
    """
    factor = block.factor
    height, width = (-(-size // factor) for size in maps.shape[-2:])
    # in positions of the result, each of which covers at least as many of the input as are needed
    tiles = tiles_of((height, width), side, block.reach)
    made = maps.new_empty(len(maps), block.conv.out_channels, height, width)
    for done, tile in enumerate(tiles, start=1):
        # slices end at the border by themselves where the result was rounded up
        made[_all(tile.inner)] = block(maps[_all(tile.enlarge(factor))])[_all(tile.core)]
        each_tile(done, len(tiles))
    return made


def invert_tiled(
    name: str,
    stage: InvertibleStage,
    latent: Tensor,
    side: int,
    each_tile: EachTile,
    bounds: Mapping[str, float],
) -> Tensor:
    """Return the map (N, C, h, w) whose latent after the stage is ``latent``.

    Where tiles meet, they differ by at most 5 times the tolerance of the inverse.

    Parameters
    ----------
    name : str
        Of the stage.
    stage : InvertibleStage
        Frozen.
    latent : Tensor, shape (N, C f^2, h / f, w / f)
    side : int
        Of a tile, in positions of the latent.
    each_tile : callable
    bounds : mapping of str to float
        Lipschitz bound of each block on maps of any size.

    Returns
    -------
    Tensor, shape (N, C, h, w)

    Raises
    ------
    InversionError
        A block's inverse did not converge.
    """

    def invert(part: Tensor) -> Tensor:
        x, blocks = invert_stages([(name, stage)], part, bounds=bounds)
        check_converged(blocks)
        return x

    largest = max(latent.shape[-2:])
    halo = inverse_halo(name, stage, latent, bounds) if side < largest else 0
    while side < largest and halo < largest:
        side = max(side, halo)  # narrower tiles would be mostly halo
        x, seam = _join_tiles(
            stage, latent, tiles_of(_shape(latent), side, halo), invert, each_tile
        )
        if seam <= LARGEST_SEAM:
            return x
        halo *= 2  # the probes had missed the slowest place; ends at the latest with one tile
    x = invert(latent)
    each_tile(1, 1)
    return x


def inverse_halo(
    name: str, stage: InvertibleStage, latent: Tensor, bounds: Mapping[str, float]
) -> int:
    """Measure how wide a halo, in positions of the latent, the stage's inverse needs.

    Each block needs its field of view once for every step of its iteration; the steps are counted
    on windows in the middle and where the latent is largest.

    Parameters
    ----------
    name : str
        Of the stage.
    stage : InvertibleStage
        Frozen.
    latent : Tensor, shape (N, K, h, w)
        After the stage.
    bounds : mapping of str to float
        Lipschitz bound of each block on maps of any size, by its full name.

    Returns
    -------
    int
    """
    windows = [latent[_all(window)] for window in _probes(latent)]
    reach = {f"{name}.{key}": _reach(block) for key, block in stage.named_blocks()}
    halos = []
    for part in windows:
        _, blocks = invert_stages([(name, stage)], part, bounds=bounds)
        halos.append(sum(block.evaluations * reach[block.name] for block in blocks))
    return max(halos)


def _join_tiles(
    stage: InvertibleStage,
    latent: Tensor,
    tiles: list[Tile],
    invert: Callable[[Tensor], Tensor],
    each_tile: EachTile,
) -> tuple[Tensor, float]:
    """Return the tiles put together, and how far they differ beyond the borders between them."""
    factor = stage.downscale.downscale_factor
    count, channels, height, width = latent.shape
    x = latent.new_empty(count, channels // factor**2, height * factor, width * factor)
    seam = 0.0
    for done, tile in enumerate(tiles, start=1):
        part = invert(latent[_all(tile.outer)])
        outer, inner = tile.enlarge(factor), scale_window(tile.inner, factor)
        # compared before they are overwritten, with what the tiles before have put there
        for strip in _strips(inner, factor):
            difference = part[_all(within(strip, outer))] - x[_all(strip)]
            seam = max(seam, float(difference.abs().amax()))
        x[_all(inner)] = part[_all(within(inner, outer))]
        each_tile(done, len(tiles))
    return x, seam


def _strips(inner: Window, width: int) -> list[Window]:
    """Return what lies just above and to the left: tiles before this one have filled it."""
    rows, columns = inner
    strips = []
    if rows.start:
        strips.append((slice(rows.start - width, rows.start), columns))
    if columns.start:
        strips.append((rows, slice(columns.start - width, columns.start)))
    return strips


def _probes(latent: Tensor) -> list[Window]:
    height, width = _shape(latent)
    # where values are largest the iteration most likely needs the most steps
    peak = int(latent[0].abs().amax(0).argmax())
    return [
        (_around(row, height), _around(column, width))
        for row, column in ((height // 2, width // 2), divmod(peak, width))
    ]


def _around(position: int, size: int) -> slice:
    start = max(0, min(position - PROBE // 2, size - PROBE))
    return slice(start, min(size, start + PROBE))


def _reach(block: ContractiveBlock) -> int:
    """Return how far, in positions, a block's branch looks."""
    kernels = [
        part.kernel_size[0] for part in block.branch.modules() if isinstance(part, nn.Conv2d)
    ]
    return sum(kernel // 2 for kernel in kernels)


def _shape(latent: Tensor) -> tuple[int, int]:
    return latent.shape[-2], latent.shape[-1]


def _all(window: Window) -> tuple[slice, slice, slice, slice]:
    return (slice(None), slice(None), *window)


def lipschitz_of_any_size(block: ContractiveBlock) -> float:
    """Return an upper bound of the Lipschitz constant of a frozen block's branch on any map."""
    convolutions = [part for part in block.branch.modules() if isinstance(part, nn.Conv2d)]
    bound = torch.tensor([norm_bound_of_any_size(part.weight) for part in convolutions]).prod()
    return float(bound)


# of the widest map of a tile without its halo: 8 MiB of float32, of which a stage holds a few, so
# that a field of any size needs little beyond its latents; smaller tiles are mostly halo
VALUES_PER_MAP = 2**21


def _ignore_tile(done: int, total: int) -> None:
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
        each_tile: EachTile = _ignore_tile,
        values_per_map: int = VALUES_PER_MAP,
    ) -> None:
        if not network.frozen:
            raise UnsupportedNetworkError(
                "whole field: found a network whose norms still change; call freeze()"
            )
        super().__init__(
            OrderedDict(network.stages_to(None)),
            network.named_head_blocks(),
            network.classifier,
            network.configuration(),
        )
        # not freeze(): the network's own is done, and the blocks are shared with it
        self.eval()
        self.frozen = True
        self.use = network.use  # what is done to one is done to the other
        self._each_tile, self._values = each_tile, values_per_map
        self._bounds: dict[str, float] = {}

    def encode_to(self, x: Tensor, stage: str) -> Tensor:
        """Return the latent after ``stage``."""
        check_batch(self.name, x, self.input_channels, self.downscaling)
        for name, _ in self.stages_to(stage):
            x = self._forward(name, x)
        return x

    def encode_from(self, latent: Tensor, stage: str) -> Tensor:
        """Return the maps of the last layer for a latent that was taken after ``stage``."""
        for name, _ in self.stages_to(None)[len(self.stages_to(stage)) :]:
            latent = self._forward(name, latent)
        return self.last_maps(latent)

    def feature_maps(self, x: Tensor) -> dict[str, Tensor]:
        """Return the latent after every stage, and the maps of every block of the head."""
        check_batch(self.name, x, self.input_channels, self.downscaling)
        maps = {}
        for name, _ in self.stages_to(None):
            maps[name] = x = self._forward(name, x)
        return maps | self.head_maps(x)

    def run_head_block(self, block: nn.Module, maps: Tensor) -> Tensor:
        """Return the maps of one block of the head; equal to ``block(maps)``."""
        if not isinstance(block, HeadBlock):
            return super().run_head_block(block, maps)
        widest = max(block.conv.in_channels, block.conv.out_channels)
        side = max(1, self._side(widest) // block.factor)
        return run_block_tiled(block, maps, side, self._each_tile)

    def head(self, features: Tensor) -> Tensor:
        """Return the logits of maps of the last layer, averaged over their positions."""
        # what comes before pooling looks at single positions, so that tiles need no halo
        parts = list(self.classifier.children())
        pool = next(i for i, part in enumerate(parts) if isinstance(part, nn.AdaptiveAvgPool2d))
        # the blocks of a convolutional head have left locked channels out already
        free = features[:, 0 if self.head_blocks else self.locked_latent_channels() :]
        height, width = free.shape[-2:]
        total: Tensor | None = None
        for tile in tiles_of((height, width), self._side(free.shape[1]), 0):
            maps = free[(slice(None), slice(None), *tile.inner)]
            for part in parts[:pool]:
                maps = part(maps)
            # in float64 on the CPU, since some devices have none: millions of positions add up
            sums = to_float64(maps.cpu()).sum((2, 3))
            total = sums if total is None else total + sums
        if total is None:
            raise UnsupportedNetworkError("whole field: found an image without pixels")
        logits = to_like(total / (height * width), features)[..., None, None]
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
        # the certified bound is for maps of the training size, and norms grow with the map
        if name not in self._bounds:
            self._bounds[name] = lipschitz_of_any_size(self.named_blocks()[name])
        if self._bounds[name] >= 1:
            raise UnsupportedNetworkError(
                f"whole field: found {name} with a Lipschitz bound of {self._bounds[name]:.2f} on "
                "large images; expected less than 1, or it need not be invertible there; train on "
                "larger crops or with a smaller coefficient"
            )
        return self._bounds[name]
