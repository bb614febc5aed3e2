"""What a treatment does to cells, in effects of which the truth is known.

Every effect is a function of the same anatomy, whose random numbers are all drawn before effect
and class are known. Lengths are in reference pixels of 0.65 um.
"""

from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from napari_why.simulation.cells import (
    CELLS_PER_CROP,
    REFERENCE_PIXEL,
    Cells,
    Plane,
    blurred,
    draw_network,
    draw_pieces,
    draw_texture,
    noise,
    nuclei,
    place_cells,
    ring,
    unit,
    with_totals_of,
)

FALL = 0.35
SMALLEST_CYTOPLASM = 0.2


@dataclass(frozen=True)
class Anatomy:
    """All that an effect can draw upon, in relative amounts of dye.

    Parameters
    ----------
    cells : Cells
        Places and brightness of the cells.
    texture : ndarray, shape (y, x)
        Of the chromatin, unit variance.
    nuclei, mitochondria, cytoplasm : ndarray, shape (y, x)
        Amounts of dye in untreated cells.
    pieces : ndarray, shape (y, x)
        Which pieces of the mitochondria stay when they break, 0 to 1.
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


@dataclass(frozen=True)
class Effect:
    """One kind of treatment.

    Parameters
    ----------
    name, title : str
        In code and for readers.
    healthy, treated : callable
        From an :class:`Anatomy` to the amounts of dye (nuclei, second channel).
    channels : tuple of str
        Where anything changes.
    keeps_totals : bool
        Every cell keeps its amount of dye; it only moves.
    partial : bool
        Only ``Anatomy.responders`` respond.
    plate_brightness : bool
        Plates differ in brightness, and treated images lie mostly on the bright ones.
    """

    name: str
    title: str
    healthy: Callable[[Anatomy], tuple[Plane, Plane]]
    treated: Callable[[Anatomy], tuple[Plane, Plane]]
    channels: tuple[str, ...] = ("TMRM",)
    keeps_totals: bool = False
    partial: bool = False
    plate_brightness: bool = False


def draw_anatomy(
    size: int,
    pixel_size: float,
    rng: np.random.Generator,
    density: tuple[float, float] = CELLS_PER_CROP,
) -> Anatomy:
    """Draw the cells of a scene and everything an effect may need.

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
    """
    zoom = REFERENCE_PIXEL / pixel_size
    cells = place_cells(size, zoom, rng, density)
    texture = draw_texture(cells, rng)
    around = ring(cells, FALL)
    mitochondria = draw_network(cells, around, rng)
    grain = np.maximum(1 + 0.25 * unit(noise(size, 1.5 * zoom, rng)), SMALLEST_CYTOPLASM)
    return Anatomy(
        cells=cells,
        texture=texture,
        nuclei=nuclei(cells, texture),
        mitochondria=mitochondria,
        cytoplasm=0.55 * around * cells.dye * grain,
        pieces=draw_pieces(cells, rng),
        responders=_half(int(cells.number.max()), rng),
    )


def _half(count: int, rng: np.random.Generator) -> tuple[int, ...]:
    chosen = max(1, int(count / 2 + rng.uniform()))  # of an odd number, now one more, now one less
    return tuple(sorted((rng.permutation(count)[:chosen] + 1).tolist()))


def _with_mitochondria(anatomy: Anatomy) -> tuple[Plane, Plane]:
    return anatomy.nuclei, anatomy.mitochondria


def _with_cytoplasm(anatomy: Anatomy) -> tuple[Plane, Plane]:
    return anatomy.nuclei, anatomy.cytoplasm


def _depolarised(anatomy: Anatomy) -> tuple[Plane, Plane]:
    spread = blurred(anatomy.mitochondria, 3.0 * anatomy.cells.zoom)
    return anatomy.nuclei, 0.35 * anatomy.mitochondria + 0.15 * spread


def _translocated(anatomy: Anatomy) -> tuple[Plane, Plane]:
    inside = blurred((anatomy.cells.radius < 1).astype(float), 0.8 * anatomy.cells.zoom)
    moved = with_totals_of(inside, anatomy.cytoplasm, anatomy.cells.number)
    return anatomy.nuclei, 0.3 * anatomy.cytoplasm + 0.7 * moved


def _fragmented(anatomy: Anatomy) -> tuple[Plane, Plane]:
    pieces = blurred(anatomy.mitochondria * anatomy.pieces, 0.6 * anatomy.cells.zoom)
    return anatomy.nuclei, with_totals_of(pieces, anatomy.mitochondria, anatomy.cells.number)


def _partly_depolarised(anatomy: Anatomy) -> tuple[Plane, Plane]:
    responding = np.isin(anatomy.cells.number, anatomy.responders).astype(float)
    weight = blurred(responding, 0.5 * anatomy.cells.zoom)
    _, depolarised = _depolarised(anatomy)
    return anatomy.nuclei, weight * depolarised + (1 - weight) * anatomy.mitochondria


def _both_changed(anatomy: Anatomy) -> tuple[Plane, Plane]:
    condensed = 1.25 * nuclei(anatomy.cells, anatomy.texture, contrast=0.3)
    return np.maximum(condensed, 0), _depolarised(anatomy)[1]


EFFECTS = MappingProxyType(
    {
        effect.name: effect
        for effect in (
            Effect("depolarisation", "Depolarisation", _with_mitochondria, _depolarised),
            Effect(
                "translocation",
                "Translocation into the nucleus",
                _with_cytoplasm,
                _translocated,
                keeps_totals=True,
            ),
            Effect(
                "fragmentation",
                "Fragmentation",
                _with_mitochondria,
                _fragmented,
                keeps_totals=True,
            ),
            Effect(
                "partial_response",
                "Depolarisation of half the cells",
                _with_mitochondria,
                _partly_depolarised,
                partial=True,
            ),
            Effect(
                "both_channels",
                "Depolarisation and condensed chromatin",
                _with_mitochondria,
                _both_changed,
                channels=("DAPI", "TMRM"),
            ),
            Effect(
                "nuisance",
                "Depolarisation on brighter plates",
                _with_mitochondria,
                _depolarised,
                plate_brightness=True,
            ),
            Effect("null", "No effect", _with_mitochondria, _with_mitochondria, channels=()),
        )
    }
)
"""The effects by name."""
