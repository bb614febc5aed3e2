"""Plate maps drawn like the plate: column numbers above, row letters at the left."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from napari_why.core.errors import DatasetError
from napari_why.datasets.spreadsheets import Sheet, read_sheets
from napari_why.images.wells import COLUMNS, row_number, well_name, well_place

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


WELL_COLUMNS = ("well", "wellname", "wellid", "wellposition", "position")
PLATE_COLUMNS = ("plate", "platename", "plateid", "barcode", "platebarcode")
ROW_COLUMNS, COLUMN_COLUMNS = ("row", "wellrow"), ("column", "col", "wellcolumn", "wellcol")
EXPECTED = (
    "one line per well with a column 'well' (or 'row' and 'column'), or a grid with the numbers of "
    "the columns above and the letters of the rows at its left"
)


def read_plate_map(path: str | Path, *, sheet: str | None = None) -> pd.DataFrame:
    """Read a plate map from CSV or Excel.

    Parameters
    ----------
    path : path
        Commas, semicolons or tabs (.csv, .tsv, .txt), or a workbook (.xlsx, .xlsm). Long: a line
        for each well. Or grids: column numbers above, row letters at the left, a value for each
        well; of several grids, one below the other or on sheets of their own, each becomes a
        column, called as the cell in its corner, else the one above it, else its sheet says
        ("treatment" where nothing does).
    sheet : str, optional
        Sheet of a workbook; by default all that hold a plate map.

    Returns
    -------
    DataFrame
        ``well`` ("A01"), ``plate`` where the map names it, and a column of text for everything
        else, empty where the cell is. Each well of a plate stands there once.

    Raises
    ------
    DatasetError
        There is no plate map, a well's name is none, or a well is listed twice with different
        values.
    """
    path = Path(path)
    sheets = read_sheets(path, sheet)
    lists = [table for one in sheets if (table := _long(path, one)) is not None]
    if len(lists) > 1:
        names = ", ".join(one.name for one in sheets)
        raise DatasetError(
            f"{path}: found lists of wells on several sheets ({names}); expected one; choose the "
            "sheet by its name"
        )
    if lists:
        table = lists[0]
    else:
        grids = [(one.name, grid) for one in sheets for grid in grids_in(one.rows)]
        if not grids:
            raise DatasetError(f"{path}: found {_words(sheets)}; expected {EXPECTED}")
        table = table_of_grids(str(path), grids, sheets=len(sheets))
    return _once_each(path, table)


def name_controls(
    table: pd.DataFrame, controls: Mapping[str, str | Sequence[str]] | None, column: str
) -> pd.DataFrame:
    """Add the column ``control``: the name of the control that a well is, empty for the others.

    Parameters
    ----------
    table : DataFrame
        A plate map.
    controls : mapping of str to str or sequence of str, or None
        For each control, the values of ``column`` that mean it
        (``{"negative": "DMSO", "positive": ["FCCP", "oligomycin"]}``); None leaves the table.
    column : str
        Where these values stand.

    Raises
    ------
    DatasetError
        There is no such column, a value is not in it, or one means two controls.
    """
    if controls is None:
        return table
    require_column("controls", table, column)
    texts = table[column].astype(str)
    named = pd.Series("", index=table.index)
    for name, values in controls.items():
        for value in [values] if isinstance(values, str) else values:
            mine = texts == value
            if not mine.any():
                there = ", ".join(sorted(set(texts) - {""}))
                raise DatasetError(
                    f"{name} control: found no well with {column} {value!r}; expected one of {there}"
                )
            if (named[mine] != "").any():
                raise DatasetError(
                    f"{name} control: found that {column} {value!r} is the "
                    f"{named[mine].iloc[0]} control already; expected every value once"
                )
            named[mine] = name
    return table.assign(control=named)


def require_column(source: str, table: pd.DataFrame, column: str) -> None:
    """Raise DatasetError where a plate map has no such column."""
    if column not in table.columns:
        raise DatasetError(
            f"{source}: found no column {column!r}; expected one of "
            f"{', '.join(map(str, table.columns))}"
        )


def with_numbers(table: pd.DataFrame, keep: Sequence[str]) -> pd.DataFrame:
    """Turn columns of numbers into numbers, NaN where they are empty; ``keep`` stay text."""
    changed = {}
    for name in table.columns:
        filled = table[name] != ""
        numbers = pd.to_numeric(table[name].where(filled), errors="coerce")
        if name not in keep and filled.any() and np.isfinite(numbers[filled]).all():
            changed[name] = numbers
    return table.assign(**changed)


def _long(path: Path, sheet: Sheet) -> pd.DataFrame | None:
    """Return the table of a list of wells, None where the sheet holds none."""
    for number, row in enumerate(sheet.rows):
        names = [_plain(cell) for cell in row]
        one, pair = (
            _find(names, WELL_COLUMNS),
            (
                _find(names, ROW_COLUMNS),
                _find(names, COLUMN_COLUMNS),
            ),
        )
        if one is None and None in pair:
            continue
        header = [cell.strip() for cell in row]
        _check_header(path, header)
        columns = [index for index, name in enumerate(header) if name]
        lines = [
            (number + 2 + below, [cells[index].strip() for index in range(len(header))])
            for below, cells in enumerate(sheet.rows[number + 1 :])
            if any(cell.strip() for cell in cells)
        ]
        if not lines:
            raise DatasetError(f"{path}: found no well below the header; expected one in each line")
        wells = [_well(path, line, cells, one, pair) for line, cells in lines]
        plate = _find(names, PLATE_COLUMNS)
        table = pd.DataFrame({"well": wells})
        for index in columns:
            if index != one:
                name = "plate" if index == plate else header[index]
                table[name] = [cells[index] for _, cells in lines]
        return table
    return None


def _well(
    path: Path,
    line: int,
    cells: Sequence[str],
    one: int | None,
    pair: tuple[int | None, int | None],
) -> str:
    if one is not None:
        text = cells[one]
    else:
        row, column = cells[pair[0] or 0], cells[pair[1] or 0]
        text = f"r{row}c{column}" if row.isdecimal() else f"{row}{column}"
    well = well_name(text)
    if well is None:
        raise DatasetError(
            f"{path}: found {text!r} for a well in line {line}; expected a name such as A1, A01 or "
            "r01c01"
        )
    return well


def _once_each(path: Path, table: pd.DataFrame) -> pd.DataFrame:
    """Leave out lines that say the same; refuse a well that is said to hold two things."""
    table = table.drop_duplicates(ignore_index=True)
    key = [name for name in ("plate", "well") if name in table.columns]
    twice = table[table.duplicated(key)]
    if len(twice):
        well = " ".join(str(twice[name].iloc[0]) for name in key)
        raise DatasetError(
            f"{path}: found {well} in several lines that differ; expected every well once, or with "
            "the same values; name the plates in a column 'plate' where there are several"
        )
    return table


def _check_header(path: Path, header: Sequence[str]) -> None:
    named = [name for name in header if name]
    twice = sorted({name for name in named if named.count(name) > 1})
    if twice:
        raise DatasetError(
            f"{path}: found several columns called {', '.join(twice)}; expected every name once"
        )


def _plain(cell: str) -> str:
    return "".join(letter for letter in cell.lower() if letter.isalnum())


def _find(names: Sequence[str], wanted: Sequence[str]) -> int | None:
    return next((names.index(name) for name in wanted if name in names), None)


def _words(sheets: Sequence[Sheet]) -> str:
    first = next((row for one in sheets for row in one.rows if any(row)), None)
    if first is None:
        return "an empty table"
    return f"a table that begins with {', '.join(repr(cell) for cell in first[:6])}"
