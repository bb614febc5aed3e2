"""Plate maps: what is in which well, from CSV files and Excel workbooks.

A map is long, a line for each well, or drawn like the plate, as grids with column numbers above and
row letters at the left. Cells are read as text first, because only the whole map tells what is a
number.
"""

import csv
import re
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from napari_why.core.errors import DatasetError
from napari_why.images.wells import COLUMNS, row_number, well_name, well_place

TEXT_SUFFIXES = (".csv", ".tsv", ".txt")
EXCEL_SUFFIXES = (".xlsx", ".xlsm")
# Tab and semicolon first: of equally many, the comma may be a decimal one.
SEPARATORS = "\t;,"
# Lines that separators are counted in: enough to outweigh a title with commas.
COUNTED_LINES = 50
# The largest plate has 1536 wells; a list of a whole screen still stays far below this.
MOST_ROWS, MOST_COLUMNS = 200_000, 500
_DECIMAL_COMMA = re.compile(r"\s*[+-]?\d+,\d+(?:[eE][+-]?\d+)?\s*")

# Names of columns as the software of readers, liquid handlers and microscopes writes them, in lower
# case and without what is no letter or digit.
WELL_COLUMNS = ("well", "wellname", "wellid", "wellposition", "position")
PLATE_COLUMNS = ("plate", "platename", "plateid", "barcode", "platebarcode")
ROW_COLUMNS, COLUMN_COLUMNS = ("row", "wellrow"), ("column", "col", "wellcolumn", "wellcol")
# Name of the only grid of a map that gives it none: what plates mostly differ in.
DEFAULT_NAME = "treatment"
# A single number above a letter is more often a value than a plate of one column.
FEWEST_COLUMNS = 2
EXPECTED = (
    "one line per well with a column 'well' (or 'row' and 'column'), or a grid with the numbers of "
    "the columns above and the letters of the rows at its left"
)

Rows = Sequence[Sequence[str]]


@dataclass(frozen=True)
class Sheet:
    """A sheet's name and its cells as text, all rows of one length; empty cells are ``""``."""

    name: str
    rows: list[list[str]]


@dataclass(frozen=True)
class WellGrid:
    """A grid drawn like the plate: its title, empty where it has none, and each well's value."""

    title: str
    wells: dict[str, str]


def read_plate_map(path: str | Path, *, sheet: str | None = None) -> pd.DataFrame:
    """Read a plate map from CSV or Excel.

    Parameters
    ----------
    path : path
        Commas, semicolons or tabs (.csv, .tsv, .txt), or a workbook (.xlsx, .xlsm). Long: a line
        for each well. Or grids: column numbers above, row letters at the left, a value for each
        well; of several grids, one below the other or on sheets of their own, each becomes a
        column, named as the cell in its corner, else the one above it, else its sheet says
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
    lists = [table for one in sheets if (table := _read_list(path, one)) is not None]
    if len(lists) > 1:
        names = ", ".join(one.name for one in sheets)
        raise DatasetError(
            f"{path}: found lists of wells on several sheets ({names}); expected one; choose the "
            "sheet by its name"
        )
    # A list says "well" in so many words, so it goes before what only looks like a grid.
    table = lists[0] if lists else _read_grids(path, sheets)
    return _keep_each_well_once(path, table)


def read_sheets(path: Path, sheet: str | None = None) -> list[Sheet]:
    """Read the sheets of a workbook, or a text file as one sheet.

    In files with semicolons or tabs, numbers may have a decimal comma. Text is UTF-8 or UTF-16,
    else Windows-1252, as German Excel writes it.

    Parameters
    ----------
    path : Path
        A .csv, .tsv, .txt, .xlsx or .xlsm file.
    sheet : str, optional
        Read only this sheet of a workbook.

    Raises
    ------
    DatasetError
        There is no such file or sheet, or it cannot be read.
    """
    suffix = path.suffix.lower()
    if not path.is_file():
        raise DatasetError(f"{path}: found no such file; expected a CSV or Excel file")
    if suffix in EXCEL_SUFFIXES:
        return _read_workbook(path, sheet)
    if suffix not in TEXT_SUFFIXES:
        raise DatasetError(
            f"{path}: found the ending {path.suffix!r}; expected "
            f"{', '.join((*TEXT_SUFFIXES, *EXCEL_SUFFIXES))}; save it as one of them"
        )
    if sheet is not None:
        raise DatasetError(f"{path}: found a text file, which has no sheets, asked for {sheet!r}")
    return [Sheet(path.stem, _read_text(path))]


def find_grids(rows: Rows) -> list[WellGrid]:
    """Find the grids on a sheet, in reading order.

    A grid is a row of consecutive numbers (at least two) with consecutive row letters below the
    cell before the first of them.

    Parameters
    ----------
    rows : sequence of sequence of str
        Cells; all rows of one length.

    Examples
    --------
    >>> find_grids([["drug", "1", "2"], ["A", "DMSO", ""], ["B", "", "FCCP"]])
    [WellGrid(title='drug', wells={'A01': 'DMSO', 'B02': 'FCCP'})]
    """
    return [
        _read_grid(rows, top, left, columns)
        for top in range(len(rows))
        for left, columns in _find_headers(rows[top])
        if _row_letters(rows, top, left)
    ]


def _read_grids(path: Path, sheets: Sequence[Sheet]) -> pd.DataFrame:
    """Return a table with a line for each well and a column for each grid."""
    named: dict[str, dict[str, str]] = {}
    for sheet in sheets:
        for grid in find_grids(sheet.rows):
            # The name of the only sheet ("Sheet1", the file's) means nothing.
            name = grid.title or (sheet.name if len(sheets) > 1 else DEFAULT_NAME)
            if name in named:
                raise DatasetError(
                    f"{path}: found two grids called {name!r}; expected a name of its own for "
                    "each, in the corner above the row letters"
                )
            named[name] = grid.wells
    if not named:
        raise DatasetError(f"{path}: found {_describe(sheets)}; expected {EXPECTED}")
    wells = sorted({well for values in named.values() for well in values}, key=well_place)
    if not wells:
        raise DatasetError(f"{path}: found grids without values; expected one for each well used")
    columns = {name: [values.get(well, "") for well in wells] for name, values in named.items()}
    return pd.DataFrame({"well": wells, **columns})


def _find_headers(row: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yield where runs of consecutive column numbers begin (the cell before), and their lengths."""
    numbers = [_column_number(cell) for cell in row]
    start = 1
    while start < len(numbers):
        end = start
        while end < len(numbers) and numbers[end] and numbers[end] == numbers[start] + end - start:
            end += 1
        # Right behind another number there is no corner, below which row letters could stand.
        if end - start >= FEWEST_COLUMNS and not numbers[start - 1]:
            yield start - 1, end - start
        start = max(end, start + 1)


def _read_grid(rows: Rows, top: int, left: int, columns: int) -> WellGrid:
    values = {}
    for below, letters in enumerate(_row_letters(rows, top, left), start=top + 1):
        for across in range(left + 1, left + 1 + columns):
            value = rows[below][across].strip()
            well = well_name(f"{letters}{_column_number(rows[top][across])}")
            if value and well:
                values[well] = value
    return WellGrid(_title(rows, top, left), values)


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


def _column_number(cell: str) -> int:
    text = cell.strip()
    # No plate has a thousand columns: longer numbers are values.
    number = int(text) if text.isdecimal() and len(text) <= 3 else 0
    return number if number <= COLUMNS else 0


def _read_list(path: Path, sheet: Sheet) -> pd.DataFrame | None:
    """Return the table of a list of wells, None where the sheet holds none."""
    # Whatever stands above the header (titles, dates) is passed over.
    for number, row in enumerate(sheet.rows):
        plain = ["".join(letter for letter in cell.lower() if letter.isalnum()) for cell in row]
        well, plate, row_at, column_at = (
            next((plain.index(name) for name in names if name in plain), None)
            for names in (WELL_COLUMNS, PLATE_COLUMNS, ROW_COLUMNS, COLUMN_COLUMNS)
        )
        if well is None and (row_at is None or column_at is None):
            continue
        header = [cell.strip() for cell in row]
        _check_header(path, header)
        lines = [
            # Counted from 1, as spreadsheets and editors number them for whoever gets an error.
            (number + 2 + below, [cell.strip() for cell in cells])
            for below, cells in enumerate(sheet.rows[number + 1 :])
            if any(cell.strip() for cell in cells)
        ]
        if not lines:
            raise DatasetError(f"{path}: found no well below the header; expected one in each line")
        table = pd.DataFrame(
            {
                "well": [
                    _read_well(path, line, _spell_well(cells, well, row_at, column_at))
                    for line, cells in lines
                ]
            }
        )
        for index, name in enumerate(header):
            if name and index != well:
                table["plate" if index == plate else name] = [cells[index] for _, cells in lines]
        return table
    return None


def _spell_well(
    cells: Sequence[str], well: int | None, row_at: int | None, column_at: int | None
) -> str:
    if well is not None:
        return cells[well]
    row, column = cells[row_at or 0], cells[column_at or 0]
    return f"r{row}c{column}" if row.isdecimal() else f"{row}{column}"


def _read_well(path: Path, line: int, text: str) -> str:
    well = well_name(text)
    if well is None:
        raise DatasetError(
            f"{path}: found {text!r} for a well in line {line}; expected a name such as A1, A01 or "
            "r01c01"
        )
    return well


def _keep_each_well_once(path: Path, table: pd.DataFrame) -> pd.DataFrame:
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


def _describe(sheets: Sequence[Sheet]) -> str:
    first = next((row for one in sheets for row in one.rows if any(row)), None)
    if first is None:
        return "an empty table"
    # Six cells are enough to recognise one's own file by.
    return f"a table that begins with {', '.join(repr(cell) for cell in first[:6])}"


def _read_text(path: Path) -> list[list[str]]:
    lines = _decode(path.read_bytes()).splitlines()
    counted = lines[:COUNTED_LINES]
    # First in how many lines it is, since it is in all of them, and only then how often: one cell of
    # text may hold more semicolons than a short map has commas.
    separator = max(
        SEPARATORS,
        key=lambda mark: (
            sum(mark in line for line in counted),
            sum(line.count(mark) for line in counted),
        ),
    )
    try:
        rows = list(csv.reader(lines, delimiter=separator, strict=False))
    except csv.Error as error:
        raise DatasetError(f"{path}: found no readable table ({error})") from error
    # Where commas separate they cannot be decimal, and "1,5" would be two cells anyway.
    if separator != ",":
        rows = [
            [cell.replace(",", ".") if _DECIMAL_COMMA.fullmatch(cell) else cell for cell in row]
            for row in rows
        ]
    return _even_out(path, rows)


def _decode(raw: bytes) -> str:
    # Excel's "Unicode text" is UTF-16 with a mark; UTF-8 without one fails on other encodings.
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        return raw.decode("utf-16", errors="replace")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return raw.decode("cp1252", errors="replace")


def _read_workbook(path: Path, sheet: str | None) -> list[Sheet]:
    from openpyxl import load_workbook
    from openpyxl.utils.exceptions import InvalidFileException

    try:
        book = load_workbook(path, read_only=True, data_only=True)
    except (InvalidFileException, zipfile.BadZipFile, KeyError, ValueError, OSError) as error:
        raise DatasetError(
            f"{path}: found no readable workbook ({error}); expected an Excel file; save it again "
            "as .xlsx, or as CSV"
        ) from error
    try:
        names = [one.title for one in book.worksheets]
        if sheet is not None and sheet not in names:
            raise DatasetError(
                f"{path}: found no sheet {sheet!r}; expected one of {', '.join(names)}"
            )
        return [
            Sheet(
                one.title,
                _even_out(path, [[_cell_text(cell) for cell in row] for row in _iterate_rows(one)]),
            )
            for one in book.worksheets
            if sheet in (None, one.title)
        ]
    finally:
        book.close()


def _iterate_rows(worksheet: Any) -> Any:
    # A formatted but empty column stretches a sheet to its end; no plate map is that large. One row
    # more than allowed, so that a list that is too long is noticed.
    return worksheet.iter_rows(values_only=True, max_row=MOST_ROWS + 1, max_col=MOST_COLUMNS)


def _cell_text(cell: Any) -> str:
    """Return a cell as it is read: 1.0 is "1", an empty cell is ""."""
    # Excel keeps every number as a float, column numbers and doses alike.
    if cell is None:
        return ""
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return str(cell)


def _even_out(path: Path, rows: list[list[str]]) -> list[list[str]]:
    width = max((len(row) for row in rows), default=0)
    if len(rows) > MOST_ROWS or width > MOST_COLUMNS:
        raise DatasetError(
            f"{path}: found {len(rows)} rows and {width} columns; expected a plate map, at most "
            f"{MOST_ROWS} and {MOST_COLUMNS}"
        )
    return [row + [""] * (width - len(row)) for row in rows]
