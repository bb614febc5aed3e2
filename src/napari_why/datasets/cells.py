"""Simulated cells: one scene, rendered as healthy, diseased or treated.

All random numbers of a scene are drawn before its class is known. The same cells can therefore be
rendered as any class, so that the true change, and where it is, are known.

Lengths are in units of the reference pixel of 0.65 um, as in a 10x or binned 20x image; nuclei
measure 7 to 11 um across.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

CLASSES = ("healthy", "diseased", "treated")
REFERENCE_PIXEL = 0.65
CELLS_PER_CROP = (2, 6)
CROP = 64.0
CLEARANCE = 17.0
BORDER = 4.0
PLACEMENT_TRIES = 60
REACH = 3.2

Plane = NDArray[np.float64]


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
    radius, cell = _cells(size, zoom, rng)
    count = int(cell.max())
    brightness = np.concatenate([[0.0], rng.uniform(0.7, 1.1, count)])
    dye = np.concatenate([[0.0], rng.uniform(0.7, 1.1, count)])
    texture = _unit(_noise(size, 2.0 * zoom, rng))
    nuclei = _blurred((radius < 1) * brightness[cell] * (1 + 0.12 * texture), zoom)
    ring = np.exp(-(np.maximum(radius - 1, 0) ** 2) / 0.6) * _step((radius - 1) / 0.06)
    waves = rng.standard_normal((size, size))
    bands = _unit(_blurred(waves, 1.2 * zoom) - _blurred(waves, 3.0 * zoom))
    network = _blurred(np.exp(-((bands / 0.35) ** 2)), 0.7 * zoom) * ring * dye[cell]
    gaps = _step((_unit(_noise(size, 1.1 * zoom, rng)) - 0.55) / 0.12)
    fragments = _rescaled(_blurred(network * gaps, 0.6 * zoom), network, cell)
    depolarised = 0.35 * fragments + 0.15 * _blurred(fragments, 3.0 * zoom)
    by_class = dict(zip(CLASSES, (network, fragments, depolarised), strict=True))
    return CellDyes(nuclei, MappingProxyType(by_class), cell)


def _cells(size: int, zoom: float, rng: np.random.Generator) -> tuple[Plane, NDArray[np.int32]]:
    """Return the elliptic distance to the nearest nucleus (1 at its rim) and whose it is."""
    radius = np.full((size, size), np.inf)
    cell = np.zeros((size, size), dtype=np.int32)
    for number, centre in enumerate(_centres(size / zoom, rng), start=1):
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


def _centres(side: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Place 2 to 6 cells per 64 x 64 reference pixels, well apart, in bounded time."""
    wanted = max(1, round(rng.uniform(*CELLS_PER_CROP) * (side / CROP) ** 2))
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


def _rescaled(fragments: Plane, network: Plane, cell: NDArray[np.int32]) -> Plane:
    """Give every cell as much dye in its fragments as it had in its network."""
    before = np.bincount(cell.ravel(), network.ravel())
    after = np.bincount(cell.ravel(), fragments.ravel())
    factor = np.divide(before, after, out=np.zeros_like(before), where=after > 1e-6 * before)
    factor[0] = 0.0
    return np.asarray(fragments * factor[cell])


def _noise(size: int, width: float, rng: np.random.Generator) -> Plane:
    return _blurred(rng.standard_normal((size, size)), width)


def _blurred(plane: Plane, width: float) -> Plane:
    return np.asarray(ndimage.gaussian_filter(plane, width))


def _unit(plane: Plane) -> Plane:
    return np.asarray((plane - plane.mean()) / plane.std())


def _step(x: Plane) -> Plane:
    return np.asarray(1 / (1 + np.exp(-np.clip(x, -60, 60))))
