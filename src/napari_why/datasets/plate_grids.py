"""Plate maps drawn like the plate: column numbers above, row letters at the left."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pandas as pd

from napari_why.datasets.well_names import COLUMNS, row_number, well_name, well_place
from napari_why.errors import DatasetError

DEFAULT_NAME = "treatment"
FEWEST_COLUMNS = 2

Rows = Sequence[Sequence[str]]


@dataclass(frozen=True)
class PlateGrid:
    """One grid: its title, empty where it has none, and the value of each well."""

    title: str
    wells: dict[str, str]


def grids_in(rows: Rows) -> list[PlateGrid]:
    """Find the grids on a sheet, in reading order.

    A grid is a row of consecutive numbers (at least two) with consecutive row letters below the
    cell before the first of them.

    Parameters
    ----------
    rows : sequence of sequence of str
        Cells; all rows of one length.

    Examples
    --------
    >>> grids_in([["drug", "1", "2"], ["A", "DMSO", ""], ["B", "", "FCCP"]])
    [PlateGrid(title='drug', wells={'A01': 'DMSO', 'B02': 'FCCP'})]
    """
    return [
        _grid(rows, top, left, columns)
        for top in range(len(rows))
        for left, columns in _headers(rows[top])
        if _row_letters(rows, top, left)
    ]


def table_of_grids(
    source: str, grids: Sequence[tuple[str, PlateGrid]], *, sheets: int
) -> pd.DataFrame:
    """Return a table with a line for each well and a column for each grid.

    Parameters
    ----------
    source : str
        The file, for errors.
    grids : sequence of (str, PlateGrid)
        Each with the name of its sheet.
    sheets : int
        How many sheets there are; of one, its name means nothing.

    Raises
    ------
    DatasetError
        Two grids have the same name, or all are empty.
    """
    named: dict[str, dict[str, str]] = {}
    for sheet, grid in grids:
        name = grid.title or (sheet if sheets > 1 else DEFAULT_NAME)
        if name in named:
            raise DatasetError(
                f"{source}: found two grids called {name!r}; expected a name of its own for each, in "
                "the corner above the row letters"
            )
        named[name] = grid.wells
    wells = sorted({well for values in named.values() for well in values}, key=well_place)
    if not wells:
        raise DatasetError(f"{source}: found grids without values; expected one for each well used")
    columns = {name: [values.get(well, "") for well in wells] for name, values in named.items()}
    return pd.DataFrame({"well": wells, **columns})


def _headers(row: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yield where runs of consecutive column numbers begin (the cell before), and their lengths."""
    numbers = [_column(cell) for cell in row]
    start = 1
    while start < len(numbers):
        end = start
        while end < len(numbers) and numbers[end] and numbers[end] == numbers[start] + end - start:
            end += 1
        if end - start >= FEWEST_COLUMNS and not numbers[start - 1]:
            yield start - 1, end - start
        start = max(end, start + 1)


def _grid(rows: Rows, top: int, left: int, columns: int) -> PlateGrid:
    values = {}
    for below, letters in enumerate(_row_letters(rows, top, left), start=top + 1):
        for across in range(left + 1, left + 1 + columns):
            value = rows[below][across].strip()
            well = well_name(f"{letters}{_column(rows[top][across])}")
            if value and well:
                values[well] = value
    return PlateGrid(_title(rows, top, left), values)


def _row_letters(rows: Rows, top: int, left: int) -> list[str]:
    letters: list[str] = []
    for row in rows[top + 1 :]:
        number = row_number(row[left])
        if not number or (letters and number != row_number(letters[-1]) + 1):
            break
        letters.append(row[left].strip())
    return letters


def _title(rows: Rows, top: int, left: int) -> str:
    """Return what stands in the corner, else the only text of the row above."""
    corner = rows[top][left].strip()
    if corner or top == 0:
        return corner
    above = [cell.strip() for cell in rows[top - 1] if cell.strip()]
    return above[0] if len(above) == 1 else ""


def _column(cell: str) -> int:
    text = cell.strip()
    number = int(text) if text.isdecimal() and len(text) <= 3 else 0
    return number if number <= COLUMNS else 0
