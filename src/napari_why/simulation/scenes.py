"""A field of cells under a camera, which can be rendered as any of its classes.

A scene is data: a number, a seed and what the cells undergo. It renders on demand and knows the
true change between any two of its classes.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_why.core.errors import ParameterError
from napari_why.simulation.cells import (
    CELLS_PER_CROP,
    REFERENCE_PIXEL,
    Anatomy,
    draw_anatomy,
    rescale_to_totals,
)
from napari_why.simulation.effects import (
    DISEASE,
    EFFECT_PAIRS,
    EFFECTS,
    Appearance,
    find_effect,
)

if TYPE_CHECKING:
    import xarray as xr

CHANNELS = ("DAPI", "TMRM")
# Pixels: less than a nucleus and its surroundings is no field of cells.
SMALLEST = 16
# The largest value of 16 bits; a camera saturates there.
FULL_SCALE = 65535
# The three classes' mitochondria fall to 1/e at 0.8 radii beyond the rim of the nucleus; no dye of
# their own fills the cytoplasm.
DISEASE_FALL = 0.6
# Every use of random numbers has a stream of its own, counted behind seed and number of the scene,
# so that one of them can change without the others: a noisier camera sees the same cells.
CELLS_STREAM, NOISE_STREAM, LIGHT_STREAM = 0, 1, 2


@dataclass(frozen=True)
class Camera:
    """How amounts of dye become 16-bit grey levels.

    Parameters
    ----------
    signal : (float, float)
        Photons per unit of dye: DAPI, TMRM.
    background : float
        Photons everywhere.
    illumination : (float, float)
        Range of a factor on all photons, drawn per image and channel.
    read_noise : float
        Standard deviation in photons.
    offset : float
        Grey level of no light.
    gain : float
        Grey levels per photon.
    """

    # A few hundred photons: shot noise of about 5 %, which read noise adds little to.
    signal: tuple[float, float] = (500.0, 400.0)
    background: float = 30.0
    # Images differ by up to 1.5 in brightness, so that a mean grey level is no safe sign of a class.
    illumination: tuple[float, float] = (0.8, 1.2)
    read_noise: float = 3.0
    # Scientific cameras add an offset of this size, so that read noise is not cut at 0.
    offset: float = 100.0
    # Full dye lies near 6000 grey levels: far from saturation even where fragments pile it up.
    gain: float = 12.0


@dataclass(frozen=True)
class Scene(ABC):
    """One field of cells that can be rendered as any of its classes.

    Parameters
    ----------
    number : int
        Which scene; with ``seed`` it fixes every random number.
    seed : int
        Which series of scenes.
    size : int
        Height and width in pixels, at least 16.
    pixel_size : float
        Micrometres per pixel.
    camera : Camera
        Light and noise.
    """

    number: int
    _: KW_ONLY
    seed: int = 0
    size: int = 128  # pixels: 8 to 24 cells
    pixel_size: float = REFERENCE_PIXEL
    camera: Camera = field(default_factory=Camera)

    def __post_init__(self) -> None:
        if self.size < SMALLEST:
            raise ParameterError(f"size: found {self.size}; expected at least {SMALLEST} pixels")
        if not self.pixel_size > 0:
            raise ParameterError(f"pixel size: found {self.pixel_size}; expected more than 0 um")

    @property
    @abstractmethod
    def appearances(self) -> Mapping[str, Appearance]:
        """How the cells look in each class; see :mod:`napari_why.simulation.effects`."""

    @cached_property
    def anatomy(self) -> Anatomy:
        """The cells and all that a class draws upon; the same in every class."""
        return self._draw_anatomy(np.random.default_rng([self.seed, self.number, CELLS_STREAM]))

    @property
    def cells(self) -> NDArray[np.int32]:
        """Number of the cell every pixel belongs to, from 1; 0 outside; shape (y, x)."""
        return self.anatomy.cells.number

    @property
    def classes(self) -> tuple[str, ...]:
        """What the scene can be rendered as."""
        return tuple(self.appearances)

    def dyes(self, label: str) -> NDArray[np.float64]:
        """Return the amounts of dye in one class, 0 to about 1; shape (c, y, x)."""
        return np.stack(self.appearances[label](self.anatomy))

    @property
    def light(self) -> NDArray[np.float64]:
        """Factor on all photons of each channel, the same in every class; shape (c,)."""
        rng = np.random.default_rng([self.seed, self.number, LIGHT_STREAM])
        return rng.uniform(*self.camera.illumination, len(CHANNELS))

    def image(self, label: str) -> "xr.DataArray":
        """Render as one class with noise: uint16, dims (c, y, x), channels DAPI and TMRM.

        Each channel's noise starts from the same random numbers in every class, so that a
        channel that does not change is bit-identical in all of them.
        """
        return self._as_image(self.pixels(label), label)

    def pixels(self, label: str) -> NDArray[np.uint16]:
        """Return the pixels of :meth:`image`, shape (c, y, x)."""
        seen = []
        for channel, photons in enumerate(self._photons(label)):
            rng = np.random.default_rng([self.seed, self.number, NOISE_STREAM, channel])
            # Read noise first: how many numbers shot noise consumes depends on the photons.
            read_noise = rng.normal(0, self.camera.read_noise, photons.shape)
            seen.append(rng.poisson(photons) + read_noise)
        grey = np.rint(self.camera.offset + self.camera.gain * np.stack(seen))
        return np.clip(grey, 0, FULL_SCALE).astype(np.uint16)

    def name(self, label: str) -> str:
        """Return what stands for a file's path in an image of one class."""
        return f"simulated scene {self.number} (seed {self.seed}), {label}"

    def noise_free(self, label: str) -> "xr.DataArray":
        """Return the expected grey levels as one class: float64, dims (c, y, x)."""
        grey = self.camera.offset + self.camera.gain * self._photons(label)
        return self._as_image(grey, label)

    def true_change(self, source: str, target: str) -> "xr.DataArray":
        """Return what changes from one class to another: grey levels, float64, without noise.

        Parameters
        ----------
        source, target : str
            Classes that the scene can be rendered as.

        Returns
        -------
        DataArray, float64, dims (c, y, x)
            Grey levels.
        """
        change = self.noise_free(target).values - self.noise_free(source).values
        return self._as_image(change, f"{source} to {target}")

    def change_mask(self, source: str, target: str, *, sigmas: float = 1.0) -> "xr.DataArray":
        """Return where the true change exceeds the noise of the source image.

        Parameters
        ----------
        source, target : str
            Classes.
        sigmas : float
            How many standard deviations of shot and read noise.

        Returns
        -------
        DataArray of bool, dims (c, y, x)
        """
        variance = self._photons(source) + self.camera.read_noise**2
        change = np.abs(self.true_change(source, target).values)
        mask = change > sigmas * self.camera.gain * np.sqrt(variance)
        return self._as_image(mask, f"{source} to {target}")

    @abstractmethod
    def _draw_anatomy(self, rng: np.random.Generator) -> Anatomy: ...

    def _photons(self, label: str) -> NDArray[np.float64]:
        if label not in self.classes:
            known = ", ".join(self.classes)
            raise ParameterError(f"class: found {label!r}; expected one of {known}")
        signal = np.array(self.camera.signal)[:, None, None]
        photons = (self.camera.background + signal * self.dyes(label)) * self.light[:, None, None]
        return np.asarray(photons)

    def _as_image(self, pixels: NDArray[np.generic], label: str) -> "xr.DataArray":
        # a sample of napari is opened without what reads files
        from napari_why.images import make_image

        return make_image(
            pixels,
            "cyx",
            CHANNELS,
            pixel_size={"y": self.pixel_size, "x": self.pixel_size},
            unit="um",
            source=self.name(label),
        )


@dataclass(frozen=True)
class EffectScene(Scene):
    """One field of cells that can be rendered as ``healthy`` or ``treated``.

    Parameters
    ----------
    number : int
        Which scene; with ``seed`` it fixes every random number, whatever the effect.
    effect : str
        A key of :data:`napari_why.simulation.effects.EFFECTS`.
    seed, pixel_size, camera
        See :class:`napari_why.simulation.scenes.Scene`.
    size : int
        Height and width in pixels, 64 by default.
    strength : float
        0: treated is healthy; 1: the effect; between and beyond, dyes are inter- and extrapolated
        (and kept from falling below 0). 0 to 2.
    density : (float, float)
        Fewest and most cells per 64 x 64 reference pixels.
    brightness : float
        Factor on all photons of both channels, as of the plate; the same in both classes, so
        that the true change is what the effect does under this light.

    Examples
    --------
    >>> scene = EffectScene(3, "translocation")
    >>> change = scene.true_change("healthy", "treated")
    >>> bool(change.sel(c="DAPI").any()), abs(float(change.sum())) < 1e-6 * float(abs(change).sum())
    (False, True)
    >>> scene.responding_cells == tuple(range(1, scene.cells.max() + 1))
    True
    """

    effect: str = "depolarisation"
    _: KW_ONLY
    size: int = 64  # pixels: a crop of 2 to 6 cells, as the benchmark trains on
    # 0 to 2: extrapolated further, most dye would be cut at 0 and the effect be another one.
    strength: float = 1.0
    density: tuple[float, float] = CELLS_PER_CROP
    brightness: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        find_effect(self.effect)
        low, high = self.density
        checks = {
            "strength": (self.strength, 0 <= self.strength <= 2, "0 to 2"),
            "density": (self.density, 0 < low <= high, "two numbers above 0 in rising order"),
            "brightness": (self.brightness, self.brightness > 0, "more than 0"),
        }
        for name, (value, fine, expected) in checks.items():
            if not fine:
                raise ParameterError(f"{name}: found {value}; expected {expected}")

    @property
    def appearances(self) -> Mapping[str, Appearance]:
        """``healthy`` and ``treated``."""
        return EFFECTS[self.effect].appearances

    @property
    def responding_cells(self) -> tuple[int, ...]:
        """Numbers of the cells that treatment changes."""
        effect = EFFECTS[self.effect]
        if not effect.channels or self.strength == 0:
            return ()
        return self.anatomy.responders if effect.partial else tuple(range(1, self.cells.max() + 1))

    @property
    def light(self) -> NDArray[np.float64]:
        """Factor on all photons of each channel, the same in both classes; shape (c,)."""
        return super().light * self.brightness

    def dyes(self, label: str) -> NDArray[np.float64]:
        """Return the amounts of dye in one class, 0 to about 1; shape (c, y, x)."""
        # At 0 and 1 without arithmetic, which would leave rounding where nothing changes.
        if label == "healthy" or self.strength == 0:
            return super().dyes("healthy")
        full = super().dyes("treated")
        if self.strength == 1:
            return full
        healthy = super().dyes("healthy")
        dyes = np.maximum(healthy + self.strength * (full - healthy), 0)
        # Beyond 1 some dye falls below 0; what is cut there would be gained by the cell.
        if EFFECTS[self.effect].keeps_totals and self.strength > 1:
            dyes[1] = rescale_to_totals(dyes[1], healthy[1], self.cells)
        return dyes

    def _draw_anatomy(self, rng: np.random.Generator) -> Anatomy:
        return draw_anatomy(self.size, self.pixel_size, rng, self.density)


@dataclass(frozen=True)
class PairScene(Scene):
    """One field of cells that can be rendered with neither, one or both of two effects.

    A class can be made of them as is wanted: one that comes with the first effect alone, the second
    being there at random, and so on. ``true_change("neither", "first")`` is what the first does.

    Parameters
    ----------
    pair : str
        A key of :data:`napari_why.simulation.effects.EFFECT_PAIRS`.
    number, seed, size, pixel_size, camera
        See :class:`napari_why.simulation.scenes.Scene`.
    density : (float, float)
        Fewest and most cells per 64 x 64 reference pixels.

    Examples
    --------
    >>> scene = PairScene(3, "tag", size=48)
    >>> whole = scene.true_change("neither", "both")
    >>> parts = [scene.true_change("neither", part) for part in ("first", "second")]
    >>> bool(abs(whole - sum(parts)).max() < 1e-6)
    True
    """

    pair: str = "two_channels"
    _: KW_ONLY
    size: int = 48  # pixels: the smallest field with two or three cells
    density: tuple[float, float] = CELLS_PER_CROP

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pair not in EFFECT_PAIRS:
            raise ParameterError(
                f"pair: found {self.pair!r}; expected one of {', '.join(EFFECT_PAIRS)}"
            )

    @property
    def appearances(self) -> Mapping[str, Appearance]:
        """``neither``, ``first``, ``second`` and ``both``."""
        return EFFECT_PAIRS[self.pair].appearances

    def _draw_anatomy(self, rng: np.random.Generator) -> Anatomy:
        return draw_anatomy(self.size, self.pixel_size, rng, self.density)


@dataclass(frozen=True)
class SimulatedScene(Scene):
    """One field of cells that can be rendered as ``healthy``, ``diseased`` or ``treated``.

    See :class:`napari_why.simulation.scenes.Scene` for the parameters.

    Examples
    --------
    >>> scene = SimulatedScene(number=3, size=64)
    >>> scene.image("diseased").shape, scene.image("diseased").dtype
    ((2, 64, 64), dtype('uint16'))
    >>> bool(scene.true_change("diseased", "treated").sel(c="DAPI").any())
    False
    """

    @property
    def appearances(self) -> Mapping[str, Appearance]:
        """``healthy``, ``diseased`` and ``treated``."""
        return DISEASE

    def _draw_anatomy(self, rng: np.random.Generator) -> Anatomy:
        return draw_anatomy(self.size, self.pixel_size, rng, fall=DISEASE_FALL, cytoplasm=False)
