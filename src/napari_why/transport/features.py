"""What is looked at around a position of a latent: conditions, neighbourhood, evidence.

A latent (N, K, h, w) holds its locked channels first; pixel-unshuffle puts the phases of an input
channel next to each other, so that each *group* of channels belongs to one input channel.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

# A position and its eight neighbours: texture has no meaning at a single position.
NEIGHBOURHOOD = 3
# Widths in positions over which channels are averaged: context of about a cell.
SCALES = (5, 9, 17)
# Evidence is smoothed afterwards anyway: the widest context would only blur it more.
EVIDENCE_SCALES = (5, 9)
# Positions around a position that its features depend on.
HALO = max(SCALES) // 2
# Half the resolution is enough to say where the evidence lies, at a quarter of the work.
EVIDENCE_STRIDE = 2
EVIDENCE_HALO = 2 * (max(EVIDENCE_SCALES) // 2) + 4 * EVIDENCE_STRIDE
"""Positions around a position that its evidence, smoothed, depends on."""


@dataclass(frozen=True)
class LatentLayout:
    """Which channels of a latent are locked, and which belong together.

    Parameters
    ----------
    channels : int
        All channels of the latent.
    locked : int
        How many of them, the first ones, are locked.
    phases : int
        Channels per input channel.
    """

    channels: int
    locked: int
    phases: int

    @property
    def free(self) -> int:
        """Number of channels that may change."""
        return self.channels - self.locked

    @property
    def conditions(self) -> int:
        """Length of a position's vector of conditions."""
        return NEIGHBOURHOOD**2 * self.locked + len(SCALES) * (self.locked // self.phases)

    @property
    def moving(self) -> int:
        """Length of a position's vector of free channels and their surroundings."""
        return NEIGHBOURHOOD**2 * self.free + len(SCALES) * (self.free // self.phases)

    @property
    def evidence(self) -> int:
        """Number of maps that a local classifier sees."""
        means, deviations = self.channels // self.phases, self.free // self.phases
        return self.channels + len(EVIDENCE_SCALES) * (means + deviations)


def conditions(latent: Tensor, layout: LatentLayout) -> Tensor:
    """Return what is known and stays: the locked channels nearby and their means further around.

    Parameters
    ----------
    latent : Tensor, shape (N, K, h, w)
    layout : LatentLayout

    Returns
    -------
    Tensor, shape (N, layout.conditions, h, w)
        Without channels where nothing is locked.
    """
    locked = latent[:, : layout.locked]
    if not layout.locked:
        return locked
    return torch.cat([_neighbourhood(locked), *_local_means(locked, layout.phases, SCALES)], 1)


def moving_features(latent: Tensor, layout: LatentLayout) -> Tensor:
    """Return what is transported: the free channels, first, and what surrounds them.

    Parameters
    ----------
    latent : Tensor, shape (N, K, h, w)
    layout : LatentLayout

    Returns
    -------
    Tensor, shape (N, layout.moving, h, w)
        The first ``layout.free`` channels are those of the position itself.
    """
    free = latent[:, layout.locked :]
    centre = NEIGHBOURHOOD**2 // 2
    around = _neighbourhood(free)
    is_centre = torch.arange(around.shape[1], device=free.device) % NEIGHBOURHOOD**2 == centre
    means = _local_means(free, layout.phases, SCALES)
    return torch.cat([free, around[:, ~is_centre], *means], 1)


def evidence_features(latent: Tensor, layout: LatentLayout) -> Tensor:
    """Return what a local classifier sees: channels, local means and local deviations.

    Its field of view is about a cell. A wider one, or deep latents, would learn from a cell's
    neighbours what class the image has, and call cells affected that are not.

    Parameters
    ----------
    latent : Tensor, shape (N, K, h, w)
    layout : LatentLayout

    Returns
    -------
    Tensor, shape (N, E, h / 2, w / 2), rounded up
    """
    free, locked = latent[:, layout.locked :], latent[:, : layout.locked]
    parts = [free, locked]
    for channels in (free, locked):
        if not channels.shape[1]:
            continue
        grouped = _grouped(channels, layout.phases)
        for scale in EVIDENCE_SCALES:
            mean = _local_mean(grouped, scale)
            parts.append(mean)
            if channels is free:
                parts.append(_local_mean((grouped - mean).abs(), scale))
    return F.avg_pool2d(torch.cat(parts, 1), EVIDENCE_STRIDE, ceil_mode=True)


def positions(maps: Tensor) -> Tensor:
    """Return maps (N, K, h, w) as one row a position, shape (N h w, K)."""
    return maps.permute(0, 2, 3, 1).flatten(0, 2)


def _grouped(channels: Tensor, phases: int) -> Tensor:
    count, size = channels.shape[0], channels.shape[-2:]
    return channels.reshape(count, -1, phases, *size).mean(2)


def _neighbourhood(channels: Tensor) -> Tensor:
    count, width, *size = channels.shape
    half = NEIGHBOURHOOD // 2
    padded = _padded(channels, half)
    unfolded = F.unfold(padded, NEIGHBOURHOOD)
    return unfolded.reshape(count, width * NEIGHBOURHOOD**2, *size)


def _local_means(channels: Tensor, phases: int, scales: Sequence[int]) -> list[Tensor]:
    grouped = _grouped(channels, phases)
    return [_local_mean(grouped, scale) for scale in scales]


def _local_mean(maps: Tensor, scale: int) -> Tensor:
    return F.avg_pool2d(_padded(maps, scale // 2), scale, stride=1)


def _padded(maps: Tensor, margin: int) -> Tensor:
    # an image smaller than the margin cannot be mirrored that far
    mode = "reflect" if margin < min(maps.shape[-2:]) else "replicate"
    return F.pad(maps, (margin,) * 4, mode=mode)
