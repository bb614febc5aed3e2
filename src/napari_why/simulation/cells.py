"""Where simulated cells are, and what is in them before a disease or a treatment changes it.

Lengths are in reference pixels of 0.65 um; ``zoom`` is the number of pixels per reference pixel.
Amounts of dye are relative, 0 to about 1.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Plane = NDArray[np.float64]

# um: what a 10x objective gives on a camera with pixels of 6.5 um.
REFERENCE_PIXEL = 0.65
# Six nuclei with the clearance below cover a third of a crop, so that nearly all find room.
CELLS_PER_CROP = (2.0, 6.0)
# Side of the area that densities count on: the default size of an image of one effect.
CROP = 64.0
# Half-axes of nuclei: diameters of 6.5 to 11 um.
LONG_AXIS, SHORT_AXIS = (6.0, 8.5), (5.0, 7.5)
# Twice the longest half-axis: nuclei never overlap.
CLEARANCE = 2 * LONG_AXIS[1]
# Three quarters of the length of the largest nucleus lie inside the field, of others more.
BORDER = 4.0
# A crowded field ends with fewer cells instead of searching for ever.
PLACEMENT_TRIES = 60
# In radii of the nucleus: there the widest ring has fallen below a thousandth.
REACH = 3.2
# What stands for the distance to a nucleus beyond every reach: exp(-FAR) is 0.
FAR = 1e3
# Cells differ by up to 1.6 in brightness, so that the brightness of one cell tells no class.
DYE = (0.7, 1.1)
# Of the chromatin's texture in an untreated nucleus, in units of its dye.
CHROMATIN_CONTRAST = 0.12
# How fast mitochondria and cytoplasm thin out around the nucleus: to 1/e at 0.6 radii beyond the
# rim. Wider rings hold more pixels of dye but run into the neighbours'.
FALL = 0.35
# Cytoplasm is spread over the whole ring and therefore dimmer than mitochondria; it varies by a
# quarter, and the floor keeps the rare pixel beyond 3.2 standard deviations from being a hole.
CYTOPLASM, CYTOPLASM_GRAIN, SMALLEST_CYTOPLASM = 0.55, 0.25, 0.2


def draw_noise(size: int, width: float, rng: np.random.Generator) -> Plane:
    """Draw white noise and blur it by a Gaussian of ``width`` pixels; shape (size, size).

    Parameters
    ----------
    size : int
        Height and width in pixels.
    width : float
        Standard deviation of the Gaussian, in pixels.
    rng : Generator

    Returns
    -------
    ndarray, float64, shape (size, size)
    """
    return blur(rng.standard_normal((size, size)), width)


def blur(plane: Plane, width: float) -> Plane:
    """Blur by a Gaussian of ``width`` pixels.

    Parameters
    ----------
    plane : ndarray, shape (y, x)
    width : float
        Standard deviation of the Gaussian, in pixels.

    Returns
    -------
    ndarray, shape (y, x)
    """
    return np.asarray(ndimage.gaussian_filter(plane, width))


def standardise(plane: Plane) -> Plane:
    """Shift and scale to mean 0 and standard deviation 1."""
    return np.asarray((plane - plane.mean()) / plane.std())


def logistic(x: Plane) -> Plane:
    """Return the logistic function."""
    # Beyond 60 the result is 0 or 1 to the last bit; exp would overflow from 709 on.
    return np.asarray(1 / (1 + np.exp(-np.clip(x, -60, 60))))


def rescale_to_totals(plane: Plane, reference: Plane, cell: NDArray[np.int32]) -> Plane:
    """Rescale ``plane`` within every cell such that it sums to what ``reference`` sums to there.

    Parameters
    ----------
    plane, reference : ndarray, shape (y, x)
        Not negative. A cell in which ``plane`` is empty stays empty.
    cell : ndarray of int, shape (y, x)
        Number of the cell every pixel belongs to; 0 outside, where the result is 0.

    Returns
    -------
    ndarray, shape (y, x)
    """
    before = np.bincount(cell.ravel(), reference.ravel())
    after = np.bincount(cell.ravel(), plane.ravel())
    # A cell of which a millionth is left is empty but for rounding, which must not be enlarged.
    factor = np.divide(before, after, out=np.zeros_like(before), where=after > 1e-6 * before)
    factor[0] = 0.0
    return np.asarray(plane * factor[cell])


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
    size: int, zoom: float, rng: np.random.Generator, density: tuple[float, float]
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

    Returns
    -------
    Cells
    """
    radius, number = _draw_ellipses(size, zoom, rng, density)
    count = int(number.max())
    # Number 0 is no cell and holds no dye.
    nuclear = np.concatenate([[0.0], rng.uniform(*DYE, count)])
    dye = np.concatenate([[0.0], rng.uniform(*DYE, count)])
    return Cells(zoom, radius, number, nuclear[number], dye[number])


def render_nuclei(cells: Cells, texture: Plane, contrast: float = CHROMATIN_CONTRAST) -> Plane:
    """Return the DNA dye of nuclei whose chromatin varies by ``contrast`` times the texture.

    Parameters
    ----------
    cells : Cells
    texture : ndarray, shape (y, x)
        Of mean 0 and deviation 1.
    contrast : float
        Relative change of the dye where the texture is 1.

    Returns
    -------
    ndarray, shape (y, x)
        Relative amount of dye.
    """
    filled = (cells.radius < 1) * cells.nuclear_dye * (1 + contrast * texture)
    return blur(filled, cells.zoom)


@dataclass(frozen=True)
class Anatomy:
    """All that a disease or treatment can draw upon, in relative amounts of dye.

    Parameters
    ----------
    cells : Cells
        Positions and brightness of the cells.
    texture : ndarray, shape (y, x)
        Of the chromatin, unit variance.
    nuclei, mitochondria, cytoplasm : ndarray, shape (y, x)
        Amounts of dye in untreated cells.
    pieces : ndarray, shape (y, x)
        Which pieces of the mitochondria stay when they break, 0 to 1; about a third of the area.
    responders : tuple of int
        Numbers of a random half of the cells, at least one.
    """

    cells: Cells
    texture: Plane
    nuclei: Plane
    mitochondria: Plane
    cytoplasm: Plane
    pieces: Plane
    responders: tuple[int, ...]


def draw_anatomy(
    size: int,
    pixel_size: float,
    rng: np.random.Generator,
    density: tuple[float, float] = CELLS_PER_CROP,
    *,
    fall: float = FALL,
    cytoplasm: bool = True,
) -> Anatomy:
    """Draw the cells of a scene and everything that a disease or treatment may need.

    Every random number is drawn before anybody knows what becomes of the cells, so that two classes
    of one scene differ in nothing but the class.

    Parameters
    ----------
    size : int
        Height and width in pixels.
    pixel_size : float
        Micrometres per pixel.
    rng : Generator
        Source of all random numbers.
    density : (float, float)
        Fewest and most cells per 64 x 64 reference pixels.
    fall : float
        How far mitochondria and cytoplasm reach; see :func:`_render_ring`.
    cytoplasm : bool
        False leaves the cytoplasm empty and draws no random numbers for it.

    Returns
    -------
    Anatomy
    """
    zoom = REFERENCE_PIXEL / pixel_size
    # The order of the draws is part of every scene's identity: a seed means the same cells for ever.
    cells = place_cells(size, zoom, rng, density)
    # 1.3 um, a few grains across a nucleus.
    texture = standardise(draw_noise(size, 2.0 * zoom, rng))
    around = _render_ring(cells, fall)
    mitochondria = _draw_network(cells, around, rng)
    filling = _draw_cytoplasm(cells, around, rng) if cytoplasm else np.zeros_like(around)
    return Anatomy(
        cells=cells,
        texture=texture,
        nuclei=render_nuclei(cells, texture),
        mitochondria=mitochondria,
        cytoplasm=filling,
        pieces=_draw_pieces(cells, rng),
        responders=_choose_half(int(cells.number.max()), rng),
    )


def _render_ring(cells: Cells, fall: float) -> Plane:
    """Return a ring around each nucleus that falls as ``exp(-(radius - 1)^2 / fall)``."""
    outside = np.exp(-(np.maximum(cells.radius - 1, 0) ** 2) / fall)
    # 0.06 radii, half a pixel: the rim of the nucleus has no steps of whole pixels.
    return np.asarray(outside * logistic((cells.radius - 1) / 0.06))


def _draw_network(cells: Cells, around: Plane, rng: np.random.Generator) -> Plane:
    """Draw a filamentous network of mitochondria within ``around``."""
    waves = rng.standard_normal((cells.size, cells.size))
    # The lines where band-passed noise crosses zero form a net; 1.2 to 3 pixels set its meshes to
    # a few micrometres, 0.35 the width of its filaments, 0.7 the blur of the optics.
    bands = standardise(blur(waves, 1.2 * cells.zoom) - blur(waves, 3.0 * cells.zoom))
    return blur(np.exp(-((bands / 0.35) ** 2)), 0.7 * cells.zoom) * around * cells.dye


def _draw_cytoplasm(cells: Cells, around: Plane, rng: np.random.Generator) -> Plane:
    """Draw a grainy dye that fills ``around``."""
    # 1 um, a little finer than the chromatin.
    grain = 1 + CYTOPLASM_GRAIN * standardise(draw_noise(cells.size, 1.5 * cells.zoom, rng))
    return CYTOPLASM * around * cells.dye * np.maximum(grain, SMALLEST_CYTOPLASM)


def _draw_pieces(cells: Cells, rng: np.random.Generator) -> Plane:
    """Draw which pieces of a network stay when it breaks: 0 to 1, about a third of the area."""
    # 0.29 of a normal distribution lie above 0.55; 0.12 makes the pieces' rims soft.
    return logistic((standardise(draw_noise(cells.size, 1.1 * cells.zoom, rng)) - 0.55) / 0.12)


def _choose_half(count: int, rng: np.random.Generator) -> tuple[int, ...]:
    # Of an odd number it is now one more, now one less, so that on average half responds.
    chosen = max(1, int(count / 2 + rng.uniform()))
    return tuple(sorted((rng.permutation(count)[:chosen] + 1).tolist()))


def _draw_ellipses(
    size: int, zoom: float, rng: np.random.Generator, density: tuple[float, float]
) -> tuple[Plane, NDArray[np.int32]]:
    """Return the elliptic distance to the nearest nucleus (1 at its rim) and whose it is."""
    radius = np.full((size, size), np.inf)
    cell = np.zeros((size, size), dtype=np.int32)
    for number, centre in enumerate(_draw_centres(size / zoom, rng, density), start=1):
        long, short = rng.uniform(*LONG_AXIS), rng.uniform(*SHORT_AXIS)
        angle = rng.uniform(0, np.pi)
        # Only the window that the cell can reach: whole planes would cost cells times pixels.
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
    return np.where(np.isfinite(radius), radius, FAR), cell


def _draw_centres(
    side: float, rng: np.random.Generator, density: tuple[float, float]
) -> NDArray[np.float64]:
    """Place the cells of a field of ``side`` reference pixels, well apart, in bounded time."""
    wanted = max(1, round(rng.uniform(*density) * (side / CROP) ** 2))
    # In a field too small for two borders, every cell is at the centre.
    low, high = min(BORDER, side / 2), max(side - BORDER, side / 2)
    tries = rng.uniform(low, high, (wanted * PLACEMENT_TRIES, 2))
    placed: list[NDArray[np.float64]] = [tries[0]]
    for candidate in tries[1:]:
        if len(placed) == wanted:
            break
        distances = np.hypot(*(np.array(placed) - candidate).T)
        if distances.min() > CLEARANCE:
            placed.append(candidate)
    return np.array(placed)
