"""Labels without meaning, to see what accuracy is worth.

Fields of one well look alike, and so do neighbouring wells. Where a meaningless labelling of the
plate is learnt as well as the true classes, accuracy is no evidence that the classes differ.
"""

import re
from collections.abc import Hashable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Labels = NDArray[np.int64]

WELL_PATTERNS = (
    re.compile(r"^(?P<letters>[A-Z]{1,2})[-_]?(?P<column>\d{1,2})$", re.IGNORECASE),
    re.compile(r"^r(?P<row>\d{1,2})c(?P<column>\d{1,2})$", re.IGNORECASE),
)


def well_position(well: str) -> tuple[int, int] | None:
    """Return (row, column), counted from 1, of a well's name, or None where it tells none.

    Examples
    --------
    >>> well_position("B07"), well_position("r02c11"), well_position("left")
    ((2, 7), (2, 11), None)
    """
    for pattern in WELL_PATTERNS:
        match = pattern.match(well.strip())
        if match:
            parts = match.groupdict()
            row = int(parts["row"]) if "row" in parts else _row_of(parts["letters"])
            return row, int(parts["column"])
    return None


def random_group_labels(groups: pd.Series, classes: int, rng: np.random.Generator) -> Labels:
    """Give every group one class at random, all classes to about as many groups.

    Parameters
    ----------
    groups : Series, length N
        The group (well) of each image.
    classes : int
        Number of classes.
    rng : numpy Generator

    Returns
    -------
    ndarray of int, length N
    """
    names = groups.unique()
    drawn = rng.permutation(np.arange(len(names)) % classes)
    return groups.map(dict(zip(names, drawn, strict=True))).to_numpy(dtype=np.int64)


def position_block_labels(table: pd.DataFrame, labels: Labels, axis: str) -> Labels | None:
    """Label the wells of each true class by where they lie on the plate, in contiguous blocks.

    Within every true class the well positions, in order along ``axis``, are cut into as many
    blocks as there are classes; block k gets label k. Each meaningless label thus holds about as
    many wells of every true class, so only the position on the plate can tell them apart. The
    same position has the same label on every plate.

    Parameters
    ----------
    table : DataFrame, length N
        With a column ``well`` of names that tell row and column.
    labels : ndarray of int, length N
        The true classes.
    axis : str
        ``"row"`` or ``"column"``: what the wells are ordered by first.

    Returns
    -------
    ndarray of int, length N, or None
        None where positions are not known, or where a class has fewer wells than labels.
    """
    positions = table["well"].astype(str).map(well_position) if "well" in table else None
    if positions is None or positions.isna().any():
        return None
    count = len(np.unique(labels))
    order = (0, 1) if axis == "row" else (1, 0)
    blocks = np.zeros(len(table), dtype=np.int64)
    for label in np.unique(labels):
        inside = labels == label
        wells = sorted(set(positions[inside]), key=lambda well: (well[order[0]], well[order[1]]))
        if len(wells) < count:
            return None
        block_of: dict[Hashable, int] = {
            well: index * count // len(wells) for index, well in enumerate(wells)
        }
        blocks[inside] = positions[inside].map(block_of).to_numpy(dtype=np.int64)
    return blocks


def _row_of(letters: str) -> int:
    row = 0
    for letter in letters.upper():
        row = row * 26 + ord(letter) - ord("A") + 1
    return row
