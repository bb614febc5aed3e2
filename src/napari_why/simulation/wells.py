"""Wells of a simulated screen as numbers, without images: thousands of screens of known effects in minutes."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_why.core.errors import ParameterError
from napari_why.images.wells import spell_well

Values = NDArray[np.float64]

ROWS, COLUMNS = (
    16,
    24,
)  # a plate of 384 wells, whose two outer columns on each side hold the controls
OUTER = (1, 2, 23, 24)
# Directions in which wells of nothing vary together, out of those that are measured: so few are behind the
# dozens of textures of real screens, too.
SHARED = 6
TEXTURES = 20
SCORE = "log-odds of healthy"
NAMES = [f"texture of stain: {number}" for number in range(1, TEXTURES + 1)]
# How far healthy cells lie from diseased ones, in deviations of a well: an SSMD of 4 / sqrt(2), a fair assay.
DISTANCE = 4.0
PLATE_TO_PLATE = 2.0  # deviations of a well: staining and light of another day


@dataclass(frozen=True)
class WellsDesign:
    """A screen of a score and some textures, all in deviations of a well.

    Parameters
    ----------
    compounds, plates : int
        Each compound is once on each plate.
    controls : int
        Wells of either control on each plate, 2 to 32.
    active, other : float
        Share of compounds that bring cells towards healthy, and of those that change one texture; drawn
        independently, so that some do both.
    effect, change : float
        How far, in deviations of a well.
    place : float
        Deviation of the effects of column, row and edge.
    same_places : bool
        Whether a compound is in the same well of each plate.
    heavy : bool
        Whether wells vary with the tails of Student's t with 5 degrees of freedom.
    wider : float
        How much more samples vary than controls, 0 for as much.
    seed : int

    Raises
    ------
    ParameterError
        The wells do not fit.
    """

    compounds: int = 200
    plates: int = 2
    controls: int = 16
    active: float = 0.1
    other: float = 0.1
    effect: float = 4.0
    change: float = 5.0
    place: float = 0.0
    same_places: bool = True
    heavy: bool = False
    wider: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        room = ROWS * (COLUMNS - len(OUTER))
        if not (1 <= self.compounds <= room and 2 <= self.controls <= ROWS * len(OUTER) // 2):
            raise ParameterError(
                f"compounds and controls: found {self.compounds} and {self.controls}; expected 1 to {room} and 2 "
                f"to {ROWS * len(OUTER) // 2}"
            )


def simulate_wells(design: WellsDesign) -> pd.DataFrame:
    """Return the wells as a screen gathers them, with the truth.

    Returns
    -------
    DataFrame
        The columns of ``napari_why.screening.tables.gather_wells``: plate, well, compound, role, ``log-odds of
        healthy`` and 20 textures, all of which vary together in six directions; healthy cells differ in the
        score and the first three textures. Beside them ``Metadata_active`` and ``Metadata_other``, the truth.

    Examples
    --------
    >>> table = simulate_wells(WellsDesign(compounds=50, controls=4))
    >>> len(table), int((table["Metadata_Role"] == "negative control").sum())
    (116, 8)
    """
    rng = np.random.default_rng(design.seed)
    total = design.compounds + 2 * design.controls
    active = np.r_[
        np.zeros(2 * design.controls, bool), rng.random(design.compounds) < design.active
    ]
    other = np.r_[np.zeros(2 * design.controls, bool), rng.random(design.compounds) < design.other]
    changed = rng.integers(TEXTURES, size=total)  # which texture another change is of
    positive = (np.arange(total) >= design.controls) & (np.arange(total) < 2 * design.controls)
    roles = ["negative control"] * design.controls + ["positive control"] * design.controls
    roles += ["sample"] * design.compounds
    names = ["DMSO"] * design.controls + ["healthy"] * design.controls
    names += [f"C{number:03d}" for number in range(1, design.compounds + 1)]
    # unit variance of every number, half of it shared
    load = rng.normal(size=(SHARED, 1 + TEXTURES))
    load /= np.linalg.norm(load, axis=0) * 2**0.5
    healthy = np.r_[1.0, rng.uniform(0, 1, 3), np.zeros(TEXTURES - 3)] * DISTANCE
    effects = rng.normal(0, design.place, (3, 1 + TEXTURES))
    places = _draw_places(rng, design)
    tables = []
    for plate in range(1, design.plates + 1):
        if not design.same_places:
            places = _draw_places(rng, design)
        noise = _draw(rng, (total, SHARED), design) @ load
        noise += _draw(rng, (total, 1 + TEXTURES), design) / 2**0.5
        noise[2 * design.controls :] *= 1 + design.wider
        numbers = noise + rng.normal(0, PLATE_TO_PLATE, 1 + TEXTURES) + _describe(places) @ effects
        share = np.where(positive, 1.0, active * design.effect / DISTANCE)
        numbers += np.outer(share, healthy)
        numbers[np.arange(total), 1 + changed] += other * design.change
        about = {
            "Metadata_Plate": f"P{plate}",
            "Metadata_Well": [spell_well(row, column) for row, column in places.tolist()],
            "Metadata_Compound": names,
            "Metadata_Role": roles,
            "Metadata_active": active,
            "Metadata_other": other,
            "Metadata_quality": "",
            "Metadata_fields": 1,
            "Metadata_fields failed": 0,
            "flagged": 0.0,
        }
        measured = pd.DataFrame(numbers, columns=[SCORE, *NAMES])
        tables.append(pd.concat([pd.DataFrame(about), measured], axis=1))
    return pd.concat(tables, ignore_index=True)


def _draw(rng: np.random.Generator, shape: tuple[int, int], design: WellsDesign) -> Values:
    # Student's t with 5 degrees of freedom has the variance 5/3
    return rng.standard_t(5, shape) / (5 / 3) ** 0.5 if design.heavy else rng.normal(size=shape)


def _draw_places(rng: np.random.Generator, design: WellsDesign) -> NDArray[np.int64]:
    """Return row and column of the controls and of all compounds, from 1."""
    every = np.stack(np.meshgrid(np.arange(1, ROWS + 1), np.arange(1, COLUMNS + 1)), axis=-1)
    every = every.reshape(-1, 2)
    outer = np.isin(every[:, 1], OUTER)
    return np.concatenate(
        [
            rng.permutation(every[outer])[: 2 * design.controls],
            rng.permutation(every[~outer])[: design.compounds],
        ]
    )


def _describe(places: NDArray[np.int64]) -> Values:
    """Return column and row from -1 to 1, and whether a well lies at the edge, shape (W, 3)."""
    row, column = places[:, 0], places[:, 1]
    edge = np.isin(row, (1, ROWS)) | np.isin(column, (1, COLUMNS))
    return np.stack(
        [2 * (column - 1) / (COLUMNS - 1) - 1, 2 * (row - 1) / (ROWS - 1) - 1, edge], axis=1
    ).astype(np.float64)
