"""A scene of healthy, diseased or treated cells, with the true change known."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from napari_why.datasets.cells import CLASSES, CellDyes, draw_cells
from napari_why.datasets.scene import Scene


@dataclass(frozen=True)
class SimulatedScene(Scene):
    """One field of cells that can be rendered as ``healthy``, ``diseased`` or ``treated``.

    See :class:`napari_why.datasets.scene.Scene` for the parameters.

    Examples
    --------
    >>> scene = SimulatedScene(number=3, size=64)
    >>> scene.image("diseased").shape, scene.image("diseased").dtype
    ((2, 64, 64), dtype('uint16'))
    >>> bool(scene.true_change("diseased", "treated").sel(c="DAPI").any())
    False
    """

    @property
    def cells(self) -> NDArray[np.int32]:
        """Number of the cell every pixel belongs to, from 1; 0 outside; shape (y, x)."""
        return self._drawn.cell

    @property
    def classes(self) -> tuple[str, ...]:
        """``healthy``, ``diseased`` and ``treated``."""
        return CLASSES

    def dyes(self, label: str) -> NDArray[np.float64]:
        """Return the amounts of dye in one class, 0 to about 1; shape (c, y, x)."""
        return np.stack([self._drawn.nuclei, self._drawn.mitochondria[label]])

    @cached_property
    def _drawn(self) -> CellDyes:
        rng = np.random.default_rng([self.seed, self.number, 0])
        return draw_cells(self.size, self.pixel_size, rng)
