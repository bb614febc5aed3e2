"""What an image of a channel is like, in about thirty numbers that plain changes change.

They are what a change in few numbers is fitted by, and, beside texture features, what tells how near changed
images are to real ones: they know where a channel lies to the locked structures.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from napari_why.core.devices import to_float64
from napari_why.transport.channel_change import (
    CURVE_LEVELS,
    FINEST,
    LEAST_BRIGHTNESS,
    SIGMAS,
    ChannelChange,
    DistanceShares,
    LockedStructures,
    differences,
    extreme_nearby,
)
from napari_why.transport.pixel_maps import smooth

# Quantiles of the levels that the shares of bright pixels are counted at.
COUNTED = (0.3, 0.6, 0.85, 0.95, 0.99)
# Share of an image that a distance has to fill to count fully.
FILLED = 0.02


@dataclass(frozen=True)
class ChannelStatistics:
    """About thirty numbers of an image's channel that terms change; smooth in what they are of.

    Mean brightness, also by distance from the locked structures; strength and peakedness of the
    structures by scale; shares of bright pixels; how much structures fill out; how structures of each
    scale lie to the locked ones; skewness.

    Parameters
    ----------
    brightness : float
        See :class:`ChannelChange`.
    levels : tuple of float
        At which bright pixels are counted, above the background.
    typical : Tensor, shape (7,), or None
        Of all images, the mean logarithm of the brightness and how much of an image lies at each
        distance from the locked structures.
    """

    brightness: float
    levels: tuple[float, ...]
    typical: Tensor | None = None

    def __call__(self, above: Tensor, shares: DistanceShares | None) -> Tensor:
        """Return the statistics (N, S) of a channel above its background (N, H, W)."""
        least = LEAST_BRIGHTNESS * self.brightness
        fine = smooth(above, FINEST)
        # the finest part, which is noise, and the two coarsest tell nothing
        bands = differences([smooth(fine, sigma) for sigma in SIGMAS[:5]])
        mean = fine.mean((1, 2))
        bright = torch.log(mean.clamp(min=0) + least)
        found = [bright, *self._by_distance(fine, shares, bright, least)]
        deviations = [band.square().mean((1, 2)).sqrt() for band in bands]
        for band, deviation in zip(bands, deviations, strict=True):
            found.append(torch.log(deviation + 0.1 * least))
            found.append(band.abs().mean((1, 2)) / (deviation + 0.01 * least))
        for level in self.levels:
            width = (
                0.15 * level + 0.05 * self.brightness
            )  # smooth, or nothing could be differentiated
            found.append(torch.sigmoid((fine - level) / width).mean((1, 2)))
        finer = smooth(fine, FINEST)
        for largest in (True, False):
            # what the term of growth makes with a coefficient of 1 and of -1, with one filter for both
            grown = fine + (extreme_nearby(finer, largest) - finer)
            found.append(torch.log((grown - fine).abs().mean((1, 2)) + 0.1 * least))
        for band, deviation in zip(bands[:3], deviations, strict=False):
            cube = (band**3).mean((1, 2))
            found.append(cube.sign() * cube.abs() ** (1 / 3) / (deviation + 0.01 * least))
        found += self._by_structure(bands, shares, mean.clamp(min=least))
        found += self._by_crowding(bright, shares)
        return to_float64(torch.stack(found, 1))

    def _by_distance(
        self, fine: Tensor, shares: DistanceShares | None, bright: Tensor, least: float
    ) -> list[Tensor]:
        if shares is None:
            return []
        # one distance after the other: a product of all of them would not fit into a cache
        sums = torch.stack([(share * fine).sum((1, 2)) for share in shares.of_pixels])
        means = sums / (shares.sums + 1e-3)
        # of a distance that hardly occurs in an image nothing is known there
        counts = (shares.means / FILLED).clamp(max=1)
        return list(counts * (torch.log(means.clamp(min=0) + least) - bright))

    def _by_crowding(self, bright: Tensor, shares: DistanceShares | None) -> list[Tensor]:
        """Return how brightness goes along with the share of an image that lies near structures.

        What comes near a nucleus from elsewhere leaves the total as it is, however many nuclei there
        are; what is brighter near nuclei brightens a crowded image more.
        """
        if shares is None or self.typical is None:
            return []
        areas = shares.means - self.typical[1:, None]
        above = bright - self.typical[0]
        return [above * areas[low:high].sum(0) for low, high in ZONES]

    def _by_structure(
        self, bands: Sequence[Tensor], shares: DistanceShares | None, mean: Tensor
    ) -> list[Tensor]:
        if shares is None:
            return []
        return [
            (centred * band).mean((1, 2)) / mean for band in bands[1:4] for centred in shares.far
        ]


# Distances of which the shares of an image are taken together: within the structures, around, and far.
ZONES = ((0, 2), (2, 4), (4, 6))


@dataclass(frozen=True)
class ChannelFrame:
    """What is known of a channel before anything is fitted, and how it is described.

    Parameters
    ----------
    unchanged : ChannelChange
        Without coefficients.
    statistics : ChannelStatistics
    """

    unchanged: ChannelChange
    statistics: ChannelStatistics

    @classmethod
    def of(cls, images: Tensor, channel: int, locked: Sequence[int]) -> "ChannelFrame":
        """Look at preprocessed images (N, C, H, W) of all classes; no label is asked for.

        Parameters
        ----------
        images : Tensor, shape (N, C, H, W)
        channel : int
            The one that is described.
        locked : sequence of int
            Channels whose structures distances are measured from.

        Returns
        -------
        ChannelFrame
        """
        pixels = images[:, channel].flatten().float()
        # as many as a quantile can be taken of in one call, and more than it needs
        generator = torch.Generator().manual_seed(0)
        drawn = pixels[torch.randint(len(pixels), (DRAWN_PIXELS,), generator=generator)]
        # in one call, which sorts the pixels once
        shares = torch.tensor([BACKGROUND, BRIGHT, *CURVE_LEVELS, *COUNTED])
        background, bright, *others = torch.quantile(drawn, shares).tolist()
        brightness = max(bright - background, LEAST_RANGE)
        above = [level - background for level in others]
        levels, counted = tuple(above[: len(CURVE_LEVELS)]), tuple(above[len(CURVE_LEVELS) :])
        structures = LockedStructures.find(images, locked)
        nothing = torch.zeros(0, 0)
        unchanged = ChannelChange(channel, background, brightness, levels, structures, {}, nothing)
        prepared, typical = unchanged.prepare(images), None
        if prepared.shares is not None:
            mean = prepared.above.mean((1, 2)).clamp(min=0)
            typical_mean = torch.log(mean + LEAST_BRIGHTNESS * brightness).mean()
            typical = torch.cat([typical_mean[None], prepared.shares.mean((1, 2, 3))])
        return cls(unchanged, ChannelStatistics(brightness, counted, typical))

    def describe(self, images: Tensor) -> Tensor:
        """Return the statistics (N, S), float64, of preprocessed images (N, C, H, W)."""
        prepared = self.unchanged.prepare(images)
        return self.statistics(prepared.above, prepared.distances)


# Pixels that quantiles are taken of.
DRAWN_PIXELS = 200_000
# Quantiles for what nothing emits, not the minimum, which a dead pixel may be; and for what is bright.
BACKGROUND, BRIGHT = 0.005, 0.95
# Of a standardised channel: a constant one has no range to divide by.
LEAST_RANGE = 1e-3
