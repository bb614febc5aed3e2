"""Run one invertible stage over a large map in tiles, forwards and backwards.

Forwards, a position depends on a few positions around it: with that halo the tiles equal the
whole. Backwards, it depends on all of the map, ever less with distance. After k steps of the
fixed-point iteration, though, it depends on the positions within k fields of view, so with a halo
of that width the iterates of a tile are those of the whole map, and the tile is as accurate as
the whole after as many steps. How many steps there are is measured first. Neighbouring tiles are
compared where they meet; if they differ, the halo was too small and is doubled.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from napari_why.networks.inverse import TOLERANCE, check_converged, invert_stages
from napari_why.networks.invertible_stage import ContractiveBlock, InvertibleStage
from napari_why.networks.spectral import norm_bound_of_any_size
from napari_why.networks.tiles import Tile, Window, scaled, tiles_of, within

LARGEST_SEAM = 5 * TOLERANCE
PROBE = 64
EachTile = Callable[[int, int], None]
"""Told how many tiles are done, and how many there are."""


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
    """
    factor = stage.downscale.downscale_factor
    shape = (x.shape[-2] // factor, x.shape[-1] // factor)
    halo = sum(_reach(block) for _, block in stage.named_blocks())
    tiles = tiles_of(shape, side, halo)
    latent = x.new_empty(len(x), x.shape[1] * factor**2, *shape)
    for done, tile in enumerate(tiles, start=1):
        latent[_all(tile.inner)] = stage(x[_all(tile.enlarged(factor))])[_all(tile.core)]
        each_tile(done, len(tiles))
    return latent


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
        x, seam = _joined(stage, latent, tiles_of(_shape(latent), side, halo), invert, each_tile)
        if seam <= LARGEST_SEAM:
            return x
        halo *= 2
    x = invert(latent)
    each_tile(1, 1)
    return x


def inverse_halo(
    name: str, stage: InvertibleStage, latent: Tensor, bounds: Mapping[str, float]
) -> int:
    """Measure how wide a halo, in positions of the latent, the stage's inverse needs.

    Each block needs its field of view once for every step of its iteration; the steps are counted
    on windows in the middle and where the latent is largest.
    """
    windows = [latent[_all(window)] for window in _probes(latent)]
    reach = {f"{name}.{key}": _reach(block) for key, block in stage.named_blocks()}
    halos = []
    for part in windows:
        _, blocks = invert_stages([(name, stage)], part, bounds=bounds)
        halos.append(sum(block.evaluations * reach[block.name] for block in blocks))
    return max(halos)


def _joined(
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
        outer, inner = tile.enlarged(factor), scaled(tile.inner, factor)
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
