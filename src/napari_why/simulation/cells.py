"""Smooth random planes and per-cell sums: what simulated cells are drawn with."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Plane = NDArray[np.float64]


def noise(size: int, width: float, rng: np.random.Generator) -> Plane:
    """Return white noise blurred by a Gaussian of ``width`` pixels; shape (size, size)."""
    return blurred(rng.standard_normal((size, size)), width)


def blurred(plane: Plane, width: float) -> Plane:
    """Blur by a Gaussian of ``width`` pixels."""
    return np.asarray(ndimage.gaussian_filter(plane, width))


def unit(plane: Plane) -> Plane:
    """Shift and scale to mean 0 and standard deviation 1."""
    return np.asarray((plane - plane.mean()) / plane.std())


def step(x: Plane) -> Plane:
    """Return the logistic function."""
    return np.asarray(1 / (1 + np.exp(-np.clip(x, -60, 60))))


def with_totals_of(plane: Plane, reference: Plane, cell: NDArray[np.int32]) -> Plane:
    """Rescale ``plane`` within every cell such that it sums to what ``reference`` sums to there.

    Parameters
    ----------
    plane, reference : ndarray, shape (y, x)
        Not negative. A cell in which ``plane`` is empty stays empty.
    cell : ndarray of int, shape (y, x)
        Number of the cell every pixel belongs to; 0 outside, where the result is 0.
    """
    before = np.bincount(cell.ravel(), reference.ravel())
    after = np.bincount(cell.ravel(), plane.ravel())
    factor = np.divide(before, after, out=np.zeros_like(before), where=after > 1e-6 * before)
    factor[0] = 0.0
    return np.asarray(plane * factor[cell])


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


CLASSES = ("healthy", "diseased", "treated")


@dataclass(frozen=True)
class CellDyes:
    """What is there, in relative amounts of dye (0 to about 1), before it is seen by a camera.

    Parameters
    ----------
    nuclei : ndarray, shape (y, x)
        DNA dye; the same in every class.
    mitochondria : mapping of str to ndarray, shape (y, x)
        Membrane-potential dye in each class.
    cell : ndarray of int, shape (y, x)
        Number of the cell a pixel belongs to, counted from 1; 0 outside.
    """

    nuclei: Plane
    mitochondria: Mapping[str, Plane]
    cell: NDArray[np.int32]


def draw_cells(size: int, pixel_size: float, rng: np.random.Generator) -> CellDyes:
    """Draw one scene and what its mitochondria look like in every class.

    - ``healthy``: a filamentous network around the nucleus,
    - ``diseased``: the same network broken into bright fragments, about a third of its area at
      the same amount of dye per cell,
    - ``treated``: the diseased cell depolarised (as FCCP does): 35 % of the dye stays in the
      fragments, 15 % spreads around them, the rest is lost.

    Parameters
    ----------
    size : int
        Height and width in pixels.
    pixel_size : float
        Micrometres per pixel.
    rng : Generator
        Source of all random numbers of the scene.
    """
    zoom = REFERENCE_PIXEL / pixel_size
    cells = place_cells(size, zoom, rng)
    dna = nuclei(cells, draw_texture(cells, rng))
    network = draw_network(cells, ring(cells, 0.6), rng)
    pieces = blurred(network * draw_pieces(cells, rng), 0.6 * zoom)
    fragments = with_totals_of(pieces, network, cells.number)
    depolarised = 0.35 * fragments + 0.15 * blurred(fragments, 3.0 * zoom)
    by_class = dict(zip(CLASSES, (network, fragments, depolarised), strict=True))
    return CellDyes(dna, MappingProxyType(by_class), cells.number)
