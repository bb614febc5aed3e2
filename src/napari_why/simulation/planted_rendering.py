"""How a planted change looks under the camera of the real images: the light, and the noise it brings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import ndimage

from napari_why.core.errors import ParameterError
from napari_why.simulation.cells import Plane, blur
from napari_why.simulation.planted_effects import (
    DENOISED,
    PlantedEffect,
    change_light,
    find_cells,
    shade_factor,
)
from napari_why.simulation.scenes import FULL_SCALE

UNTOUCHED, PLANTED = "untouched", "planted"
PLANTED_CLASSES = (UNTOUCHED, PLANTED)
Levels = NDArray[np.float64]

# Second differences along both axes (Immerkaer 1996): what is left of a smooth image is noise, of 36
# times its variance.
RESIDUAL = np.outer([1, -2, 1], [1, -2, 1])
RESIDUAL_GAIN = 36.0
# Blocks of 9 x 9 pixels; their residuals are correlated and count like 81 / 3.8 free ones. Of blocks as
# bright as each other the quietest fifth tells the noise; the others hold structure.
BLOCK, BLOCK_FREEDOM, QUIET = 9, 21, 0.2
# Levels of brightness that the curve is laid through, each of no fewer blocks than this.
LEVELS, FEWEST_BLOCKS = 12, 8
# Of the noise of the dark: what both classes get on top. It adds a sixteenth to the variance.
READ_NOISE = 0.25
# Sums and differences of grey levels are right to about a thousand-millionth.
ROUNDING = 1e-6
# Grey levels: of images without any noise, so that rounding tells nothing.
LEAST_NOISE = 0.5
# Draws of noise that are sent through an effect to see how much of it comes out, and the width in pixels
# over which that is averaged: 100 values, a standard error of 14 %.
DRAWS, AVERAGED = 2, 2.0
# Percentile of the change above which it is asked how noisy the changed image is.
MOST_CHANGED = 90.0


@dataclass(frozen=True)
class CameraNoise:
    """Variance of the noise by brightness, as photon transfer finds it in real images.

    Parameters
    ----------
    gain : float
        Grey levels per photon: by how much the variance rises with the grey level.
    offset : float
        Grey level of no light, where the line meets 0. Read noise shifts it down: without dark images
        the two cannot be told apart.
    floor : float
        Variance in the darkest places, in grey levels squared.
    """

    gain: float
    offset: float
    floor: float

    def variance(self, level: Plane) -> Plane:
        """Return the variance of the noise at grey levels."""
        return np.maximum(self.gain * (level - self.offset), self.floor)


def estimate_noise(planes: Sequence[Plane]) -> CameraNoise:
    """Estimate a camera's noise from real images by photon transfer (Janesick 2007), robustly.

    The variance of the finest scale, against the local mean, in blocks; of blocks as bright as each
    other the quietest fifth counts, as the others show structure; then a parabola through these whose
    terms are not negative: the floor is read noise, the line shot noise, and the square, which is left
    out, structure, whose contrast grows with the light. Where bright places are never smooth the gain
    is overestimated: up to 1.6-fold on simulated networks of mitochondria.

    Parameters
    ----------
    planes : sequence of ndarray, shape (y, x)
        Images of one channel, grey levels.

    Examples
    --------
    >>> light = 200 * (1 + np.linspace(0, 4, 256))[None].repeat(256, 0)
    >>> seen = 100 + 5 * np.random.default_rng(0).poisson(light)
    >>> noise = estimate_noise([seen])
    >>> bool(abs(noise.gain / 5 - 1) < 0.2)
    True
    """
    means: list[Plane] = []
    variances: list[Plane] = []
    for plane in planes:
        level = np.asarray(plane, float)
        residual = ndimage.convolve(level, RESIDUAL) ** 2 / RESIDUAL_GAIN
        for found, values in ((means, level), (variances, residual)):
            # Rims mirror the image and have another residual: they are left out.
            found.append(_block_means(values[1:-1, 1:-1]))
    mean, variance = np.concatenate(means), np.concatenate(variances)
    usable = (variance > 0) & (mean < mean.max(initial=0) + 1)
    mean, variance = mean[usable], variance[usable]
    if len(mean) < FEWEST_BLOCKS:
        # Noiseless, or a few pixels: nothing to estimate from.
        return CameraNoise(0.0, 0.0, float(np.median(variance)) if len(variance) else 0.0)
    order = np.argsort(mean)
    parts = np.array_split(order, max(1, min(LEVELS, len(order) // FEWEST_BLOCKS)))
    # Here, for both take seconds to import, which samples of cells without planting should not wait for.
    from scipy import optimize, stats

    # Of noise alone the quietest fifth lies this much below the mean.
    expected = stats.chi2.ppf(QUIET, BLOCK_FREEDOM) / BLOCK_FREEDOM
    levels = np.array([np.median(mean[part]) for part in parts])
    quiet = np.array([np.quantile(variance[part], QUIET) for part in parts]) / expected
    above = levels - levels[0]
    # In relative errors, as a quantile of variances scatters with its size.
    terms = np.stack([np.ones_like(above), above, above**2], axis=1) / quiet[:, None]
    scale = np.maximum(np.abs(terms).max(axis=0), np.finfo(float).tiny)
    floor, gain, _ = optimize.nnls(terms / scale, np.ones_like(above))[0] / scale
    return CameraNoise(float(gain), float(levels[0] - floor / gain) if gain else 0.0, float(floor))


def _block_means(values: Plane) -> Plane:
    height, width = (size // BLOCK * BLOCK for size in values.shape)
    if not height or not width:
        return np.array([values.mean()])
    cut = values[:height, :width].reshape(height // BLOCK, BLOCK, width // BLOCK, BLOCK)
    return np.asarray(cut.mean(axis=(1, 3))).ravel()


@dataclass(frozen=True, eq=False)
class PlantedTile:
    """One tile of a real image that can be rendered untouched or with the planted change.

    Parameters
    ----------
    source : DataArray, float, dims (c, y, x)
        The real grey levels, noise and all; of 8-bit images times 256.
    changed : ndarray, shape (c, y, x)
        The same as the effect leaves it, without new noise.
    rendered : mapping of str to ndarray, uint16, shape (c, y, x)
        By label.
    """

    source: xr.DataArray
    changed: NDArray[np.float32]
    rendered: dict[str, NDArray[np.uint16]]

    def image(self, label: str) -> xr.DataArray:
        """Return the tile as one class, uint16; a channel that does not change is the same in both."""
        return self.source.copy(data=self.rendered[_checked(label)])

    def noise_free(self, label: str) -> xr.DataArray:
        """Return the grey levels of one class without new noise: float64, dims (c, y, x)."""
        pixels = self.source.to_numpy() if _checked(label) == UNTOUCHED else self.changed
        return self.source.copy(data=pixels.astype(np.float64))

    def true_change(self, source: str, target: str) -> xr.DataArray:
        """Return what changes from one class to the other: grey levels, float64, without noise.

        Parameters
        ----------
        source, target : str
            Labels.

        Returns
        -------
        DataArray, float64, dims (c, y, x)
            Grey levels.
        """
        change = self.noise_free(target).to_numpy() - self.noise_free(source).to_numpy()
        return self.source.copy(data=change)


def _checked(label: str) -> str:
    if label not in PLANTED_CLASSES:
        raise ParameterError(
            f"class: found {label!r}; expected one of {', '.join(PLANTED_CLASSES)}"
        )
    return label


@dataclass(frozen=True)
class ChangedField:
    """A real image before and after a change, and the noise in it; arrays (c, y, x) by class.

    Parameters
    ----------
    levels : mapping of str to ndarray
        Grey levels without new noise.
    smooth : mapping of str to ndarray
        The same, lightly blurred: what the noise of a camera follows from.
    passed : mapping of str to ndarray
        Variance of the real image's own noise that is still there.
    """

    levels: Mapping[str, Levels]
    smooth: Mapping[str, Levels]
    passed: Mapping[str, Levels]

    def cut(self, window: tuple[slice, ...]) -> "ChangedField":
        """Return a part of the field."""
        parts = (self.levels, self.smooth, self.passed)
        return ChangedField(*({key: each[key][window] for key in each} for each in parts))


@dataclass(frozen=True)
class Planter:
    """Plants one effect under one camera.

    Parameters
    ----------
    effect : PlantedEffect
    direction : str
    strength : float
    channels : tuple of int
        Which are changed.
    nuclei : int or None
        Channel that shows the cells.
    noise : tuple of CameraNoise
        Of every channel.
    """

    effect: PlantedEffect
    direction: str
    strength: float
    channels: tuple[int, ...]
    nuclei: int | None
    noise: tuple[CameraNoise, ...]

    def change(self, before: Levels, seed: Sequence[int]) -> ChangedField:
        """Change an image, whole fields at best: so cells at the rim of a tile are known as cells.

        Parameters
        ----------
        before : ndarray, shape (c, y, x)
            Grey levels.
        seed : sequence of int
            Of the effect's random numbers, and of those below.

        Returns
        -------
        ChangedField
            Of the size of ``before``.
        """
        cells = find_cells(None if self.nuclei is None else before[self.nuclei], before.shape[1:])
        numbers = int(np.random.default_rng(seed).integers(2**63))

        def change(levels: Levels) -> Levels:
            return change_light(
                levels, self.effect, self.direction, self.channels, cells, self.strength, numbers
            )

        after = change(before)
        levels = {UNTOUCHED: before, PLANTED: np.clip(after, 0, FULL_SCALE)}
        smooth = {
            label: np.stack([blur(plane, DENOISED) for plane in found])
            for label, found in levels.items()
        }
        variance = self._variance(smooth[UNTOUCHED])
        rng = np.random.default_rng([*seed, 1])
        sent, came = np.zeros(before.shape), np.zeros(before.shape)
        for _ in range(DRAWS):
            drawn = np.sqrt(variance) * rng.standard_normal(before.shape)
            through = change(before + drawn) - after
            for index in self.channels:
                sent[index] += blur(drawn[index] ** 2, AVERAGED)
                came[index] += blur(through[index] ** 2, AVERAGED)
        # Of the same draws, so that what does not change lets through all of it, but for rounding.
        share = np.divide(came, sent, out=np.ones_like(sent), where=sent > 0)
        passed = variance * np.where(np.abs(share - 1) < ROUNDING, 1, share)
        return ChangedField(levels, smooth, {UNTOUCHED: variance, PLANTED: passed})

    def excess_noise(self, field: ChangedField) -> float:
        """Return the noise where the effect changes most over that of a real image so bright."""
        found = []
        for index in self.channels:
            before, after = (field.levels[label][index] for label in PLANTED_CLASSES)
            change = np.abs(after - before)
            most = (change > 0) & (change >= np.percentile(change, MOST_CHANGED))
            wanted = self.noise[index].variance(field.smooth[PLANTED][index][most])
            if most.any() and wanted.min() > 0:
                passed = field.passed[PLANTED][index][most]
                found.append(float(np.sqrt(np.median(passed / wanted))))
        return max(found, default=1.0)

    def expose(
        self, field: ChangedField, dark: Levels, gradient: float, seed: Sequence[int]
    ) -> tuple[dict[str, Levels], dict[str, NDArray[np.uint16]]]:
        """Return a tile as both classes, without new noise and as a camera would show it.

        Parameters
        ----------
        field : ChangedField
            Cut to the tile.
        dark : ndarray, shape (c,)
            Grey levels of no light, for uneven light.
        gradient : float
            Its strength; 0: none.
        seed : sequence of int
            Of the noise. It starts from the same numbers in both classes, so that a channel that does
            not change is the same in both.

        Returns
        -------
        (dict, dict)
            By label: the light, float64, and the image, uint16; each (c, y, x) in grey levels.
        """
        shape = field.levels[UNTOUCHED].shape
        factor, ground = shade_factor(shape[-1], gradient), dark[:, None, None]
        shot, read = np.random.default_rng(seed).standard_normal((2, *shape))
        floors = [max(READ_NOISE * np.sqrt(noise.floor), LEAST_NOISE) for noise in self.noise]
        light, seen = {}, {}
        for label in PLANTED_CLASSES:
            light[label], level = (
                np.clip(ground + factor * (found - ground), 0, FULL_SCALE)
                for found in (field.levels[label], field.smooth[label])
            )
            missing = self._variance(level) - factor**2 * field.passed[label]
            grey = light[label] + np.sqrt(np.maximum(missing, 0)) * shot
            grey += np.array(floors)[:, None, None] * read
            seen[label] = np.clip(np.rint(grey), 0, FULL_SCALE).astype(np.uint16)
        return light, seen

    def _variance(self, smooth: Levels) -> Levels:
        return np.stack([n.variance(plane) for n, plane in zip(self.noise, smooth, strict=True)])
