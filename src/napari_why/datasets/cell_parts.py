"""The parts that simulated cells are put together from: nuclei, mitochondria, cytoplasm.

Lengths are in units of the reference pixel of 0.65 um, as in a 10x or binned 20x image; nuclei
measure 7 to 11 um across.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_why.datasets.planes import Plane, blurred, noise, step, unit

REFERENCE_PIXEL = 0.65
CELLS_PER_CROP = (2.0, 6.0)
CROP = 64.0
CLEARANCE = 17.0
BORDER = 4.0
PLACEMENT_TRIES = 60
REACH = 3.2


@dataclass(frozen=True)
class Cells:
    """Where the cells of a scene are and how much dye each holds.

    Parameters
    ----------
    zoom : float
        Pixels per reference pixel.
    radius : ndarray, shape (y, x)
        Elliptic distance to the nearest nucleus: 1 at its rim, large where no cell reaches.
    number : ndarray of int, shape (y, x)
        Whose nucleus that is, counted from 1; 0 where no cell reaches.
    nuclear_dye, dye : ndarray, shape (y, x)
        Amount per cell, 0.7 to 1.1, at every pixel of the cell.
    """

    zoom: float
    radius: Plane
    number: NDArray[np.int32]
    nuclear_dye: Plane
    dye: Plane

    @property
    def size(self) -> int:
        """Height and width in pixels."""
        return len(self.radius)


def place_cells(
    size: int,
    zoom: float,
    rng: np.random.Generator,
    density: tuple[float, float] = CELLS_PER_CROP,
) -> Cells:
    """Place cells of random shape and brightness, well apart.

    Parameters
    ----------
    size : int
        Height and width in pixels.
    zoom : float
        Pixels per reference pixel.
    rng : Generator
        Source of all random numbers.
    density : (float, float)
        Fewest and most cells per 64 x 64 reference pixels.
    """
    radius, number = _ellipses(size, zoom, rng, density)
    count = int(number.max())
    nuclear = np.concatenate([[0.0], rng.uniform(0.7, 1.1, count)])
    dye = np.concatenate([[0.0], rng.uniform(0.7, 1.1, count)])
    return Cells(zoom, radius, number, nuclear[number], dye[number])


def draw_texture(cells: Cells, rng: np.random.Generator) -> Plane:
    """Draw the unit-variance texture of the chromatin."""
    return unit(noise(cells.size, 2.0 * cells.zoom, rng))


def nuclei(cells: Cells, texture: Plane, contrast: float = 0.12) -> Plane:
    """Return the DNA dye of nuclei whose chromatin varies by ``contrast`` times the texture."""
    filled = (cells.radius < 1) * cells.nuclear_dye * (1 + contrast * texture)
    return blurred(filled, cells.zoom)


def ring(cells: Cells, fall: float) -> Plane:
    """Return a ring around each nucleus that falls as ``exp(-(radius - 1)^2 / fall)``."""
    outside = np.exp(-(np.maximum(cells.radius - 1, 0) ** 2) / fall)
    return np.asarray(outside * step((cells.radius - 1) / 0.06))


def draw_network(cells: Cells, around: Plane, rng: np.random.Generator) -> Plane:
    """Draw a filamentous network of mitochondria within ``around``."""
    waves = rng.standard_normal((cells.size, cells.size))
    bands = unit(blurred(waves, 1.2 * cells.zoom) - blurred(waves, 3.0 * cells.zoom))
    return blurred(np.exp(-((bands / 0.35) ** 2)), 0.7 * cells.zoom) * around * cells.dye


def draw_pieces(cells: Cells, rng: np.random.Generator) -> Plane:
    """Draw which pieces of a network stay when it breaks: 0 to 1, about a third of the area."""
    return step((unit(noise(cells.size, 1.1 * cells.zoom, rng)) - 0.55) / 0.12)


def _ellipses(
    size: int, zoom: float, rng: np.random.Generator, density: tuple[float, float]
) -> tuple[Plane, NDArray[np.int32]]:
    """Return the elliptic distance to the nearest nucleus (1 at its rim) and whose it is."""
    radius = np.full((size, size), np.inf)
    cell = np.zeros((size, size), dtype=np.int32)
    for number, centre in enumerate(_centres(size / zoom, rng, density), start=1):
        long, short = rng.uniform(6.0, 8.5), rng.uniform(5.0, 7.5)
        angle = rng.uniform(0, np.pi)
        reach = REACH * max(long, short)
        low = np.maximum(np.floor((centre - reach) * zoom), 0).astype(int)
        high = np.minimum(np.ceil((centre + reach) * zoom) + 1, size).astype(int)
        window = (slice(low[0], high[0]), slice(low[1], high[1]))
        y, x = np.mgrid[window] / zoom
        dy, dx = y - centre[0], x - centre[1]
        along = (dx * np.cos(angle) + dy * np.sin(angle)) / long
        across = (dy * np.cos(angle) - dx * np.sin(angle)) / short
        mine = np.hypot(along, across)
        nearer = mine < radius[window]
        radius[window] = np.where(nearer, mine, radius[window])
        cell[window] = np.where(nearer, number, cell[window])
    return np.where(np.isfinite(radius), radius, 1e3), cell


def _centres(
    side: float, rng: np.random.Generator, density: tuple[float, float]
) -> NDArray[np.float64]:
    """Place the cells of a field of ``side`` reference pixels, well apart, in bounded time."""
    wanted = max(1, round(rng.uniform(*density) * (side / CROP) ** 2))
    tries = rng.uniform(
        min(BORDER, side / 2), max(side - BORDER, side / 2), (wanted * PLACEMENT_TRIES, 2)
    )
    placed: list[NDArray[np.float64]] = [tries[0]]
    for candidate in tries[1:]:
        if len(placed) == wanted:
            break
        distances = np.hypot(*(np.array(placed) - candidate).T)
        if distances.min() > CLEARANCE:
            placed.append(candidate)
    return np.array(placed)
