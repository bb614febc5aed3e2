"""Simulated cells: one scene, rendered as healthy, diseased or treated.

All random numbers of a scene are drawn before its class is known. The same cells can therefore be
rendered as any class, so that the true change, and where it is, are known.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from napari_why.datasets.cell_parts import (
    REFERENCE_PIXEL,
    draw_network,
    draw_pieces,
    draw_texture,
    nuclei,
    place_cells,
    ring,
)
from napari_why.datasets.planes import Plane, blurred, with_totals_of

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
