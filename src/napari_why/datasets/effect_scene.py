"""A scene of one effect, rendered as healthy or treated, with the true change known."""

from dataclasses import KW_ONLY, dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from napari_why.datasets.cell_parts import CELLS_PER_CROP
from napari_why.datasets.effects import EFFECTS, Anatomy, Effect, draw_anatomy
from napari_why.datasets.planes import with_totals_of
from napari_why.datasets.scene import Scene
from napari_why.errors import ParameterError

EFFECT_CLASSES = ("healthy", "treated")


def effect_named(name: str) -> Effect:
    """Return an effect by name, or raise ParameterError."""
    if name not in EFFECTS:
        raise ParameterError(f"effect: found {name!r}; expected one of {', '.join(EFFECTS)}")
    return EFFECTS[name]


@dataclass(frozen=True)
class EffectScene(Scene):
    """One field of cells that can be rendered as ``healthy`` or ``treated``.

    Parameters
    ----------
    number : int
        Which scene; with ``seed`` it fixes every random number, whatever the effect.
    effect : str
        A key of :data:`napari_why.datasets.effects.EFFECTS`.
    seed, pixel_size, camera
        See :class:`napari_why.datasets.scene.Scene`.
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
    size: int = 64
    strength: float = 1.0
    density: tuple[float, float] = CELLS_PER_CROP
    brightness: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        effect_named(self.effect)
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
    def cells(self) -> NDArray[np.int32]:
        """Number of the cell every pixel belongs to, from 1; 0 outside; shape (y, x)."""
        return self.anatomy.cells.number

    @property
    def classes(self) -> tuple[str, ...]:
        """``healthy`` and ``treated``."""
        return EFFECT_CLASSES

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
        effect = EFFECTS[self.effect]
        healthy = np.stack(effect.healthy(self.anatomy))
        if label == "healthy" or self.strength == 0:
            return healthy
        full = np.stack(effect.treated(self.anatomy))
        if self.strength == 1:
            return full
        dyes = np.maximum(healthy + self.strength * (full - healthy), 0)
        if effect.keeps_totals and self.strength > 1:  # what was cut at 0 would be gained
            dyes[1] = with_totals_of(dyes[1], healthy[1], self.cells)
        return dyes

    @cached_property
    def anatomy(self) -> Anatomy:
        """The cells and all that the effect draws upon."""
        rng = np.random.default_rng([self.seed, self.number, 0])
        return draw_anatomy(self.size, self.pixel_size, rng, self.density)
