"""Move images from class to class scale by scale: coarse structure first, then what is finer.

The free channels are split into Gaussian scales. The coarsest is transported given the locked
channels, every finer one given them *and the coarser ones already moved* (the rearrangement of
Knothe 1957 and Rosenblatt 1952, over scales). Products of coarse intensity and locked channels are
among the conditions: they say "as much dye as this cell has, on its nucleus".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import torch
from torch import Tensor
from torch.nn import functional as F

from napari_why.core.devices import to_float64
from napari_why.core.errors import ModelFileError, ParameterError
from napari_why.core.schema import Fields, ListOf, Number, Schema, Whole
from napari_why.transport.features import positions
from napari_why.transport.maps import (
    CONSTANT,
    SMALLEST_VARIANCE,
    Gates,
    transport_matrix,
    with_one,
)
from napari_why.transport.pixel_maps import smooth

# Pixels: about the inside of a cell, and about the resolution; what is finer is the third scale.
SCALES = (4.0, 1.5)
# A block has 16 values a channel, whose covariance can still be estimated.
BLOCK = 4
# Means of the locked channels this far around say what kind of cell it is.
CONTEXT = (4.0, 8.0)
# Pixels: of the locked channels in the products, which are to say where a nucleus is and no more.
BROAD = 2.0
# Fewer than the eight of latents: blocks of pixels know less of their surroundings.
GATES = 6
# Eighty for each of about 230 conditions; the time to fit rises with it.
POSITIONS = 20_000
# The grid of blocks is laid at these offsets and what they move is averaged: no block has an edge.
OFFSETS = (0, 2)
# Moved at once: some hundred conditions of each, which a processor is to keep at hand.
BLOCKS_AT_ONCE = 4096
# Smaller images have no surroundings to be moved by.
SMALLEST_SIDE = 8
PLAIN: Schema = Fields(
    {"channels": Whole(1), "locked": ListOf(Whole(), unique=True)},
    # earlier versions believed all of every scale
    {"shares": ListOf(ListOf(Number(0, 1))), "noise": ListOf(ListOf(Number(0)))},
)


def split_scales(images: Tensor) -> list[Tensor]:
    """Return images (N, C, H, W) as scales that sum to them, the coarsest first."""
    smoothed = [smooth(images, width) for width in SCALES]
    finer = [*smoothed[1:], images]
    return [
        smoothed[0],
        *(fine - coarse for coarse, fine in zip(smoothed, finer, strict=True)),
    ]


@dataclass(frozen=True)
class Level:
    """The transport of one scale.

    Parameters
    ----------
    gates : Gates
        Of the level's conditions; only the surroundings in the locked channels, which come first,
        decide which gate counts.
    matrices : Tensor, shape (gates, 16 d, 16 d)
        What becomes of what the conditions leave of a block.
    before, after : Tensor, shape (gates, 16 d, c + 1)
        What a block is given the conditions [c, 1] in the source, and in the target.
    """

    gates: Gates
    matrices: Tensor
    before: Tensor
    after: Tensor

    def __call__(self, blocks: Tensor, conditions: Tensor, moved_conditions: Tensor) -> Tensor:
        """Return what blocks (n, 16 d) are in the other class, given their conditions (n, c)."""
        shares = self.gates.shares(conditions)
        known, moved_known = (
            with_one(self.gates.standardise(vectors)) for vectors in (conditions, moved_conditions)
        )
        # of all gates at once: the conditions are large, and reading them takes the time
        before, after = (
            (vectors @ coefficients.flatten(0, 1).T).reshape(len(vectors), len(self.matrices), -1)
            for vectors, coefficients in ((known, self.before), (moved_known, self.after))
        )
        moved = torch.zeros_like(blocks)
        for gate, (share, matrix) in enumerate(zip(shares.T, self.matrices, strict=True)):
            left = blocks - before[:, gate]
            moved += share[:, None] * (after[:, gate] + left @ matrix.T)
        return moved


@dataclass(frozen=True)
class CoarseToFineMap:
    """What an image of one class would be as one of another; see the module.

    Parameters
    ----------
    channels : int
        Of the images.
    locked : tuple of int
        Channels that stay, bit for bit, and condition the move.
    levels : sequence of Level
        Coarsest first.
    shares : tuple of tuple of float
        How much of its change each scale makes in each free channel, 0 to 1; empty: all of it.
    noise : tuple of tuple of float
        Mean squared change, in standardised units, by which such maps differ that are fitted on images
        drawn anew; empty where that is not known.
    """

    kind: ClassVar[str] = "coarse_to_fine"

    channels: int
    locked: tuple[int, ...]
    levels: Sequence[Level]
    shares: tuple[tuple[float, ...], ...] = ()
    noise: tuple[tuple[float, ...], ...] = ()

    @property
    def free(self) -> list[int]:
        """Channels that move."""
        return [index for index in range(self.channels) if index not in self.locked]

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Move standardised images (N, C, H, W) of the source class; sides of 8 pixels or more."""
        check_images(images, self.channels)
        on_cpu = images.float().cpu()
        by_offset = [self._move_scales(on_cpu, offset)[1] for offset in OFFSETS]
        moved = torch.stack([torch.stack(scales).sum(0) for scales in by_offset]).mean(0)
        result = images.clone()
        result[:, self.free] = moved.to(images)
        return result

    @torch.no_grad()
    def change_scales(self, images: Tensor) -> list[Tensor]:
        """Return what changes in the free channels of images (N, C, H, W), scale by scale."""
        changes = [
            [moved - scale for scale, moved in zip(*self._move_scales(images, offset), strict=True)]
            for offset in OFFSETS
        ]
        return [torch.stack(scale).mean(0) for scale in zip(*changes, strict=True)]

    @property
    def chance(self) -> float:
        """Share (0 to 1) of the squared change that may be chance, before it was shrunk; 0: not known."""
        pairs = [
            # where nothing is left of a change it was no larger than chance
            (chance, chance / (1 - share) if 0 < share < 1 else chance)
            for row, noise in zip(self.shares, self.noise, strict=True)
            for share, chance in zip(row, noise, strict=True)
        ]
        size = sum(size for _, size in pairs)
        return sum(chance for chance, _ in pairs) / size if size > 0 else 0.0

    def shrink(self, noise: Sequence[Sequence[float]], changes: Sequence[Tensor]) -> Self:
        """Return this map with less of each scale's change, by how much of that is chance.

        After James & Stein 1961: of a change of mean square m, of which n is chance, ``1 - n / m`` is
        made; nothing where all of it may be chance.

        Parameters
        ----------
        noise : sequence of sequence of float
            By scale and free channel; see the parameter of the map.
        changes : sequence of Tensor, shape (N, d, H, W)
            What the map changes in images of the source class; see :meth:`change_scales`.

        Returns
        -------
        CoarseToFineMap
            With ``shares`` of 0 to 1 for every scale and free channel.
        """
        shares = tuple(
            tuple(
                max(0.0, 1 - chance / size) if size > 0 else 1.0
                for chance, size in zip(row, change.square().mean((0, 2, 3)).tolist(), strict=True)
            )
            for row, change in zip(noise, changes, strict=True)
        )
        return replace(self, shares=shares, noise=tuple(tuple(row) for row in noise))

    def _move_scales(self, images: Tensor, offset: int) -> tuple[list[Tensor], list[Tensor]]:
        """Return the scales of the free channels and the moved ones.

        They are moved on a grid of blocks that starts ``offset`` pixels outside.
        """
        count = max(1, BLOCKS_AT_ONCE * BLOCK**2 // images[0, 0].numel()) if len(images) else 1
        parts = [self._move_few(few, offset) for few in torch.split(images, count)]
        before, after = (
            [torch.cat(scale) for scale in zip(*(part[side] for part in parts), strict=True)]
            for side in range(2)
        )
        return before, after

    def _move_few(self, images: Tensor, offset: int) -> tuple[list[Tensor], list[Tensor]]:
        height, width = images.shape[-2:]
        padded = _pad_to_blocks(images, offset)
        known = describe_locked(padded[:, list(self.locked)])
        before = split_scales(padded[:, self.free])
        after: list[Tensor] = []
        for level, scale in zip(self.levels, before, strict=True):
            conditions, moved_conditions = (
                positions(torch.cat([known.described, *known.products(scales)], 1))
                for scales in (before[: len(after)], after)
            )
            blocks = F.pixel_unshuffle(scale, BLOCK)
            moved = level(positions(blocks), conditions, moved_conditions)
            count, depth, rows, columns = blocks.shape
            moved = moved.reshape(count, rows, columns, depth).permute(0, 3, 1, 2)
            whole = F.pixel_shuffle(moved, BLOCK)
            if self.shares:
                share = torch.tensor(self.shares[len(after)])[:, None, None]
                whole = torch.lerp(scale, whole, share)
            after.append(whole)
        inside = (..., slice(offset, offset + height), slice(offset, offset + width))
        return [scale[inside] for scale in before], [scale[inside] for scale in after]

    def tensors(self) -> dict[str, Tensor]:
        """Return everything numeric by name, ready for safetensors."""
        named: dict[str, Tensor] = {}
        for index, level in enumerate(self.levels):
            named |= {f"{index}.gates.{name}": value for name, value in vars(level.gates).items()}
            named |= {f"{index}.{name}": getattr(level, name) for name in LEVEL_TENSORS}
        return {name: tensor.detach().cpu().float().contiguous() for name, tensor in named.items()}

    def to_dict(self) -> dict[str, Any]:
        """Return the part that is not tensors, as JSON types."""
        known = {"shares": self.shares, "noise": self.noise}
        return {
            "channels": self.channels,
            "locked": list(self.locked),
            **{name: [list(row) for row in rows] for name, rows in known.items() if rows},
        }

    @classmethod
    def from_parts(cls, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> Self:
        """Put together what :meth:`tensors` and :meth:`to_dict` took apart.

        Parameters
        ----------
        tensors : mapping of str to Tensor
        plain : mapping
            As read from JSON, or as :meth:`to_dict` made it.

        Returns
        -------
        CoarseToFineMap

        Raises
        ------
        ModelFileError
            A part is missing or does not fit the others.
        """
        PLAIN.check(plain, "coarse-to-fine map:")
        channels, locked = plain["channels"], tuple(plain["locked"])
        free = channels - len(locked)
        if free < 1 or any(channel >= channels for channel in locked):
            raise _misfit(f"locked channels {locked} of {channels}")
        levels = []
        for index in range(len(SCALES) + 1):
            width = _conditions(len(locked), free, index)
            levels.append(_read_level(tensors, index, width, BLOCK**2 * free))
        further = set(tensors) - set(cls(channels, locked, levels).tensors())
        if further:
            raise _misfit(f"the tensors {', '.join(sorted(further)[:3])}, which belong to no scale")
        shares, noise = (
            tuple(tuple(map(float, row)) for row in plain.get(name, ()))
            for name in ("shares", "noise")
        )
        for rows in (shares, noise):
            if rows and [len(row) for row in rows] != [free] * len(levels):
                raise _misfit("shares or noise that are not of every scale and free channel")
        return cls(channels, locked, levels, shares, noise)


LEVEL_TENSORS = ("matrices", "before", "after")
GATE_TENSORS = ("mean", "deviation", "basis", "centres", "temperature")


def _read_level(tensors: Mapping[str, Tensor], index: int, width: int, blocks: int) -> Level:
    names = [*(f"gates.{name}" for name in GATE_TENSORS), *LEVEL_TENSORS]
    missing = [name for name in names if f"{index}.{name}" not in tensors]
    if missing:
        raise _misfit(f"no {missing[0]} of scale {index}")
    # clones lie in memory as fitted ones do: products then agree to the last digit
    found = {name: tensors[f"{index}.{name}"].clone() for name in names}
    centres = found["gates.centres"]
    if centres.ndim != 2 or not len(centres):
        raise _misfit(f"no gates of scale {index}")
    gates, components = centres.shape
    wanted = {
        "gates.mean": (width,),
        "gates.deviation": (width,),
        "gates.basis": (width, components),
        "gates.centres": (gates, components),
        "gates.temperature": (),
        "matrices": (gates, blocks, blocks),
        "before": (gates, blocks, width + 1),
        "after": (gates, blocks, width + 1),
    }
    for name, shape in wanted.items():
        if found[name].shape != shape or found[name].dtype != torch.float32:
            raise _misfit(f"{name} of scale {index} with shape {tuple(found[name].shape)}")
    if not (found["gates.deviation"] > 0).all() or not found["gates.temperature"] > 0:
        raise _misfit(f"gates of scale {index} without a width")
    if not all(bool(value.isfinite().all()) for value in found.values()):
        raise _misfit(f"numbers of scale {index} that are not finite")
    return Level(
        Gates(**{name: found[f"gates.{name}"] for name in GATE_TENSORS}),
        *(found[name] for name in LEVEL_TENSORS),
    )


def _misfit(found: str) -> ModelFileError:
    return ModelFileError(f"coarse-to-fine map: found {found}; train anew")


@dataclass(frozen=True)
class LockedChannels:
    """What the locked channels say about every block.

    Parameters
    ----------
    described : Tensor, shape (N, 146 k, h, w)
        Blocks around, and means further around.
    inside, around : Tensor, shape (N, k, 16, h, w), (N, k, 9, h, w)
        The block's own pixels, and broad means of it and its neighbours.
    """

    described: Tensor
    inside: Tensor
    around: Tensor

    def products(self, scales: Sequence[Tensor]) -> list[Tensor]:
        """Return coarser scales (N, d, H, W) as conditions: blocks, and their means times this."""
        parts: list[Tensor] = []
        for scale in scales:
            blocks = F.pixel_unshuffle(scale, BLOCK)
            parts.append(blocks)
            means = F.avg_pool2d(scale, BLOCK)[:, :, None, None]
            parts += [(means * maps[:, None]).flatten(1, 3) for maps in (self.inside, self.around)]
        return parts


def describe_locked(locked: Tensor) -> LockedChannels:
    """Describe locked channels (N, k, H, W) by blocks; H and W multiples of 4, k may be 0."""
    count, width, height, across = locked.shape
    rows, columns = height // BLOCK, across // BLOCK
    if not width:  # which unfold does not take
        nothing = locked.reshape(count, 0, rows, columns)
        return LockedChannels(nothing, nothing[:, :, None], nothing[:, :, None])
    blocks = F.pixel_unshuffle(locked, BLOCK)
    context = [F.avg_pool2d(smooth(locked, far), BLOCK) for far in CONTEXT]
    around = _unfold(F.avg_pool2d(smooth(locked, BROAD), BLOCK))
    return LockedChannels(
        torch.cat([_unfold(blocks), *context], 1),
        blocks.reshape(count, width, BLOCK**2, rows, columns),
        around.reshape(count, width, 9, rows, columns),
    )


def _unfold(blocks: Tensor) -> Tensor:
    """Return the 3 x 3 positions around each, (N, K, h, w) to (N, 9 K, h, w)."""
    count, width, *size = blocks.shape
    padded = F.pad(blocks, (1, 1, 1, 1), mode="replicate")
    return F.unfold(padded, 3).reshape(count, 9 * width, *size)


def _conditions(locked: int, free: int, level: int) -> int:
    surroundings = (9 * BLOCK**2 + len(CONTEXT)) * locked
    return surroundings + level * free * (BLOCK**2 + locked * (BLOCK**2 + 9))


def _pad_to_blocks(images: Tensor, offset: int) -> Tensor:
    height, width = images.shape[-2:]
    below, right = (-(offset + side) % BLOCK for side in (height, width))
    return F.pad(images, (offset, right, offset, below), mode="replicate")


def check_images(images: Tensor, channels: int) -> None:
    """Raise ParameterError for images that a map of this many channels does not take.

    Parameters
    ----------
    images : Tensor
        To be of shape (N, C, H, W), with sides of 8 pixels or more.
    channels : int
        C.

    Raises
    ------
    ParameterError
        Another shape, or smaller.
    """
    fits = images.ndim == 4 and images.shape[1] == channels
    if not fits or min(images.shape[-2:]) < SMALLEST_SIDE:
        raise ParameterError(
            f"images: found shape {tuple(images.shape)}; expected (N, {channels}, H, W) with sides of "
            f"{SMALLEST_SIDE} pixels or more"
        )


# What two classes do differently is penalised as much as predicts other images best, in units of
# standardised conditions; the largest of these leaves next to nothing of it.
SHRINKAGES = (3e-3, 3e-2, 0.3, 3.0, 30.0)
# The same for what both classes do alike.
RIDGES = (3e-5, 3e-4, 3e-3, 3e-2)
# Of the largest weight: positions that count less belong to other gates, and only cost time.
NEGLIGIBLE = 1e-3
# Images take turns in these, so that a half is judged by what the other half says.
HALVES = 2


def fit_coarse_to_fine(
    source: Tensor,
    target: Tensor,
    locked: Sequence[int],
    *,
    target_weights: Tensor | None = None,
    seed: int = 0,
) -> "CoarseToFineMap":
    """Learn what images of one class would be as ones of another.

    Parameters
    ----------
    source, target : Tensor, shape (N, C, H, W), (M, C, H, W)
        Standardised training images of the two classes, not paired; sides of 8 pixels or more.
    locked : sequence of int
        Channels that stay and condition the map; there may be none, but one channel must be free.
    target_weights : Tensor, shape (M, 1, H, W), optional
        How much each pixel of the target counts, as where only some cells responded; all alike by
        default.
    seed : int
        Of the positions that are drawn, and of the clusters.

    Returns
    -------
    CoarseToFineMap

    Raises
    ------
    ParameterError
        Images that do not fit each other, or no free channel.
    """
    channels = source.shape[1] if source.ndim == 4 else 0
    for images in (source, target):
        check_images(images, channels)
    locked = tuple(sorted(locked))
    empty = CoarseToFineMap(channels, locked, ())
    if not empty.free or set(locked) - set(range(channels)):
        raise ParameterError(
            f"locked: found {locked} of {channels} channels; expected such that one stays free"
        )
    generator = torch.Generator().manual_seed(seed)
    sides = [
        _Positions.draw(images.float(), weights, empty, generator)
        for images, weights in ((source, None), (target, target_weights))
    ]
    surroundings = torch.cat([side.conditions(0) for side in sides])
    shuffled = surroundings[torch.randperm(len(surroundings), generator=generator)]
    gates = Gates.fit(shuffled, GATES, seed)
    return CoarseToFineMap(
        channels, locked, [_fit_level(sides, gates, level) for level in range(len(SCALES) + 1)]
    )


def measure_noise(
    changes: Sequence[Tensor], replicates: Sequence[CoarseToFineMap], images: Tensor
) -> tuple[tuple[float, ...], ...]:
    """Return by how much maps differ that were fitted on images drawn anew, by scale and free channel.

    Parameters
    ----------
    changes : sequence of Tensor, shape (N, d, H, W)
        What a map changes in the images; see :meth:`CoarseToFineMap.change_scales`.
    replicates : sequence of CoarseToFineMap
        The map, fitted on groups drawn with replacement.
    images : Tensor, shape (N, C, H, W)
        Of the source class.

    Returns
    -------
    tuple of tuple of float
        Mean square, in standardised units.
    """
    squares = [
        [
            (other - change).square().mean((0, 2, 3))
            for change, other in zip(changes, replicate.change_scales(images), strict=True)
        ]
        for replicate in replicates
    ]
    means = [torch.stack(scale).mean(0) for scale in zip(*squares, strict=True)]
    return tuple(tuple(mean.tolist()) for mean in means)


@dataclass(frozen=True)
class _Positions:
    """Blocks drawn from the images of one class: what they are, and what is known."""

    blocks: list[Tensor]
    known: Tensor
    products: list[Tensor]
    weights: Tensor
    half: Tensor

    @classmethod
    def draw(
        cls,
        images: Tensor,
        weights: Tensor | None,
        template: "CoarseToFineMap",
        generator: torch.Generator,
    ) -> "_Positions":
        # whole blocks only: what is padded is no observation
        height, width = (side - side % BLOCK for side in images.shape[-2:])
        scales = split_scales(images[:, template.free])
        scales = [scale[..., :height, :width] for scale in scales]
        locked = images[:, list(template.locked), :height, :width]
        known = describe_locked(locked)
        rows = len(images) * (height // BLOCK) * (width // BLOCK)
        chosen = torch.randperm(rows, generator=generator)[:POSITIONS]
        counted = images.new_ones(len(images), 1, height, width)
        if weights is not None:
            counted = weights[..., :height, :width].float()
        return cls(
            [positions(F.pixel_unshuffle(scale, BLOCK))[chosen] for scale in scales],
            positions(known.described)[chosen],
            [positions(torch.cat(known.products([scale]), 1))[chosen] for scale in scales[:-1]],
            positions(F.avg_pool2d(counted, BLOCK))[chosen, 0],
            (chosen // (rows // len(images))) % HALVES,
        )

    def conditions(self, level: int) -> Tensor:
        """Return what is known at a level, (n, c)."""
        return torch.cat([self.known, *self.products[:level]], 1)


def _fit_level(sides: Sequence[_Positions], gates: Gates, level: int) -> "Level":
    conditions = [side.conditions(level) for side in sides]
    widened = _widen(gates, torch.cat(conditions))
    known = [to_float64(with_one(widened.standardise(vectors))) for vectors in conditions]
    blocks = [to_float64(side.blocks[level]) for side in sides]
    shares = [to_float64(gates.shares(side.known) * side.weights[:, None]) for side in sides]
    found: list[tuple[Tensor, Tensor, Tensor]] = []
    for gate in range(shares[0].shape[1]):
        weights = [share[:, gate] / share[:, gate].sum().clamp(min=1e-12) for share in shares]
        moments = [
            [
                _Moments.of(known[i], blocks[i], weights[i] * (side.half == half))
                for half in range(HALVES)
            ]
            for i, side in enumerate(sides)
        ]
        coefficients = _regress(moments)
        left = [blocks[i] - known[i] @ coefficients[i] for i in range(len(sides))]
        floor = SMALLEST_VARIANCE * torch.eye(blocks[0].shape[1], dtype=blocks[0].dtype)
        source, target = (
            (rest * weight[:, None]).T @ rest + floor
            for rest, weight in zip(left, weights, strict=True)
        )
        before, after = coefficients
        found.append((transport_matrix(source, target), before.T, after.T))
    return Level(
        widened, *(torch.stack(part).float().contiguous() for part in zip(*found, strict=True))
    )


def _widen(gates: Gates, conditions: Tensor) -> Gates:
    """Return the same gates for conditions of which those that they are of come first."""
    further = conditions[:, len(gates.mean) :]
    spread = (further - further.mean(0)).square().mean(0).sqrt()
    return Gates(
        torch.cat([gates.mean, further.mean(0)]),
        torch.cat([gates.deviation, torch.where(spread > CONSTANT, spread, 1.0)]),
        torch.cat([gates.basis, gates.basis.new_zeros(further.shape[1], gates.basis.shape[1])]),
        gates.centres,
        gates.temperature,
    )


@dataclass(frozen=True)
class _Moments:
    """Weighted sums of products: of what is known with itself, and with the blocks."""

    gram: Tensor
    cross: Tensor

    @classmethod
    def of(cls, known: Tensor, blocks: Tensor, weights: Tensor) -> "_Moments":
        used = weights > NEGLIGIBLE * weights.max()
        weighted = known[used] * weights[used, None]
        return cls(weighted.T @ known[used], weighted.T @ blocks[used])

    def __add__(self, other: "_Moments") -> "_Moments":
        return _Moments(self.gram + other.gram, self.cross + other.cross)

    def solve(self, ridges: Sequence[float]) -> Tensor:
        """Return the coefficients (R, c + 1, m) of ridge regressions; the constant is not shrunk.

        All ridges in one call: the matrices are small, and calls cost more than what they compute.
        """
        shrunk = torch.tensor(ridges, dtype=self.gram.dtype, device=self.gram.device)
        penalty = shrunk[:, None].repeat(1, len(self.gram))
        penalty[:, -1] = shrunk.clamp(max=RIDGES[0])
        # a gram with a ridge is positive definite: half the work of a solution of any system
        factor = torch.linalg.cholesky(self.gram + penalty.diag_embed())
        cross = self.cross.expand(len(ridges), *self.cross.shape)
        solved: Tensor = torch.cholesky_solve(cross, factor)
        return solved

    def left_by(self, coefficients: Tensor) -> "_Moments":
        """Return the moments of what these coefficients leave."""
        return _Moments(self.gram, self.cross - self.gram @ coefficients)

    def errors(self, coefficients: Tensor) -> Tensor:
        """Return the squared errors (R,) of predictions, less what no coefficients change."""
        return ((self.gram @ coefficients - 2 * self.cross) * coefficients).sum((1, 2))


def _regress(moments: Sequence[Sequence[_Moments]]) -> tuple[Tensor, Tensor]:
    """Regress the blocks of two classes on what is known: alike, but for what other images confirm."""

    def total(side: Sequence[_Moments], halves: Sequence[int]) -> _Moments:
        return _add([side[half] for half in halves])

    def agree(halves: Sequence[int], ridges: Sequence[float]) -> Tensor:
        return _add([total(side, halves) for side in moments]).solve(ridges)

    def differ(halves: Sequence[int], common: Tensor, shrinkages: Sequence[float]) -> list[Tensor]:
        return [common + total(side, halves).left_by(common).solve(shrinkages) for side in moments]

    def judge(half: int, found: Sequence[Tensor]) -> Tensor:
        return sum(
            (side[half].errors(each) for side, each in zip(moments, found, strict=True)),
            torch.zeros(()),
        )

    every = tuple(range(HALVES))
    others = [[other for other in every if other != half] for half in every]
    tried = [agree(halves, RIDGES) for halves in others]
    best = int(torch.stack([judge(h, [tried[h]] * len(moments)) for h in every]).sum(0).argmin())
    confirmed = [judge(h, differ(others[h], tried[h][best], SHRINKAGES)) for h in every]
    shrinkage = SHRINKAGES[int(torch.stack(confirmed).sum(0).argmin())]
    before, after = differ(every, agree(every, RIDGES[best : best + 1])[0], [shrinkage])
    return before[0], after[0]


def _add(moments: Sequence[_Moments]) -> _Moments:
    first, *others = moments
    for other in others:
        first = first + other
    return first
