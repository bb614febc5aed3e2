"""Plate maps: what is in which well, from CSV files and Excel workbooks.

A map is long, a line for each well, or drawn like the plate, as grids with column numbers above and
row letters at the left. Cells are read as text first, because only the whole map tells what is a
number.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from napari_why.core.errors import DatasetError
from napari_why.datasets.sheets import read_sheets
from napari_why.datasets.spellings import clean_text, fold_text, spell_numbers, unite_spellings
from napari_why.datasets.workbook import Sheet, cell_name
from napari_why.images.wells import COLUMNS, row_number, well_name, well_place

# Names of columns as the software of readers, liquid handlers and microscopes writes them, in lower
# case and without what is no letter or digit.
WELL_COLUMNS = (
    *("well", "wells", "wellname", "wellid", "wellposition", "metadatawell", "imagemetadatawell"),
    *("destinationwell", "destwell", "targetwell", "vertiefung", "kavität", "kavitaet", "napf"),
    *("puits", "pocillo", "pozzetto", "poço", "position"),
)
PLATE_COLUMNS = (
    *("plate", "platename", "plateid", "platenumber", "platenr", "metadataplate"),
    *("imagemetadataplate", "platte", "plattenname", "plattennummer", "plaque", "placa", "piastra"),
    *("barcode", "platebarcode", "assayplatebarcode", "metadataplatebarcode"),
    *("destinationplate", "destinationplatename", "destinationplatebarcode", "destplate"),
)
ROW_COLUMNS = ("row", "wellrow", "metadatarow", "zeile", "reihe", "ligne", "fila", "riga", "linha")
COLUMN_COLUMNS = (
    *("column", "col", "wellcolumn", "wellcol", "metadatacolumn", "metadatacol", "spalte"),
    *("colonne", "columna", "colonna", "coluna"),
)
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
class WellGrid:
    """A grid drawn like the plate.

    Parameters
    ----------
    title : str
        Empty where it has none.
    wells : dict of str to str
        Each well's value.
    twice : str
        Letter of a row that stands there twice (merged cells) with different values.
    """

    title: str
    wells: dict[str, str]
    twice: str = ""


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
        else, empty where the cell is, or holds an error or a formula without a value. Numbers are
        written with a point. Each well of a plate stands there once. ``attrs["notes"]``: what was
        filled, left empty or taken for the same, in sentences; ``attrs["dates"]``: the texts of cells
        that hold dates, with their names ("B4").

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
    notes = [note for one in sheets for note in one.notes] + list(table.attrs.get("notes", ()))
    decimal_commas = all(one.decimal_commas for one in sheets)
    for name in [name for name in table.columns if name != "well"]:
        numbers, told = spell_numbers(list(table[name]), decimal_commas=decimal_commas)
        # Case may be meant (chemical formulas); it is looked at in the column of the classes alone.
        spelled = unite_spellings(numbers, case=False)
        table[name] = [spelled.names[value] for value in numbers]
        notes += [
            f"{path.name}: column {name}: {said}" for said in (told, spelled.sentence) if said
        ]
    table = _keep_each_well_once(path, table)
    dates = {date: cell for one in sheets for date, cell in one.dates.items()}
    table.attrs.update(notes=notes, dates=dates)
    return table


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
    [WellGrid(title='drug', wells={'A01': 'DMSO', 'B02': 'FCCP'}, twice='')]
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
            if grid.twice:
                raise DatasetError(
                    f"{path}: found the row {grid.twice} twice in a grid of {sheet.name}; expected "
                    "one row for each letter, or the same values in both"
                )
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
        raise DatasetError(
            f"{path}: found grids without values; expected one for each well used"
            + "".join(f". {note}" for sheet in sheets for note in sheet.notes).rstrip(".")
        )
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
    values: dict[str, str] = {}
    twice = ""
    for below, letters in enumerate(_row_letters(rows, top, left), start=top + 1):
        for across in range(left + 1, left + 1 + columns):
            value = rows[below][across]
            well = well_name(f"{letters}{_column_number(rows[top][across])}")
            if not well or not value.strip():
                continue
            if values.setdefault(well, value) != value:
                twice = letters
    return WellGrid(_title(rows, top, left, columns), values, twice)


def _row_letters(rows: Rows, top: int, left: int) -> list[str]:
    """Return the letters below the corner; one that is merged over several rows stands there for each."""
    letters: list[str] = []
    for row in rows[top + 1 :]:
        letter = fold_text(row[left], case=False)
        number = row_number(letter)
        if not number or (letters and number - row_number(letters[-1]) not in (0, 1)):
            break
        letters.append(letter)
    return letters


def _title(rows: Rows, top: int, left: int, columns: int) -> str:
    """Return what stands in the corner, else the only text of the row above, or above the grid."""
    corner = clean_text(rows[top][left])
    if corner or top == 0:
        return corner
    for part in (rows[top - 1], rows[top - 1][left : left + 1 + columns]):
        # Once each: cells that were merged all have the text.
        above = dict.fromkeys(filter(None, map(clean_text, part)))
        if len(above) == 1:
            return next(iter(above))
    return ""


def _column_number(cell: str) -> int:
    text = fold_text(cell, case=False)
    # No plate has a thousand columns: longer numbers are values.
    number = int(text) if text.isdecimal() and len(text) <= 3 else 0
    return number if number <= COLUMNS else 0


def _read_list(path: Path, sheet: Sheet) -> pd.DataFrame | None:
    """Return the table of a list of wells, None where the sheet holds none."""
    # Whatever stands above the header (titles, dates) is passed over.
    for number, row in enumerate(sheet.rows):
        plain = ["".join(letter for letter in fold_text(cell) if letter.isalnum()) for cell in row]
        well, plate, row_at, column_at = (
            next((plain.index(name) for name in names if name in plain), None)
            for names in (WELL_COLUMNS, PLATE_COLUMNS, ROW_COLUMNS, COLUMN_COLUMNS)
        )
        if well is None and (row_at is None or column_at is None):
            continue
        # Of a header over two rows, the lower one names the columns; the well is merged over both.
        if well is not None and sheet.rows[number + 1 : number + 2]:
            below = sheet.rows[number + 1]
            if below[well] == row[well] and below != row:
                continue
        header = [clean_text(cell) for cell in row]
        lines = [
            # Counted from 1, as spreadsheets and editors number them for whoever gets an error.
            (number + 2 + below, cells)
            for below, cells in enumerate(sheet.rows[number + 1 :])
            if any(cell.strip() for cell in cells) and cells != row
        ]
        if not lines:
            raise DatasetError(f"{path}: found no well below the header; expected one in each line")
        header = _keep_each_column_once(header, [cells for _, cells in lines])
        _check_header(path, header)
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
                table["plate" if index == plate else name] = [
                    cells[index] if cells[index].strip() else "" for _, cells in lines
                ]
        table.attrs["notes"] = _tell_unnamed(path, header, lines)
        return table
    return None


def _keep_each_column_once(header: list[str], lines: Sequence[Sequence[str]]) -> list[str]:
    """Take the name from a column that is empty or says the same as that of its name (merged cells)."""
    kept = list(header)
    for index, name in enumerate(header):
        first = header.index(name)
        if index > first and all(
            not cells[index].strip() or cells[index] == cells[first] for cells in lines
        ):
            kept[index] = ""
    return kept


def _tell_unnamed(
    path: Path, header: Sequence[str], lines: Sequence[tuple[int, Sequence[str]]]
) -> list[str]:
    """Say that there are values in columns without a name, such as a comma too many."""
    unnamed = [index for index, name in enumerate(header) if not name]
    found = [
        f"{cells[index]!r} in {cell_name(line - 1, index)}"
        for line, cells in lines
        for index in unnamed
        if cells[index].strip() and cells[index] not in cells[:index]
    ]
    if not found:
        return []
    return [
        f"{path.name}: {len(found)} values in columns without a name were not read (the first: "
        f"{found[0]})."
    ]


def _spell_well(
    cells: Sequence[str], well: int | None, row_at: int | None, column_at: int | None
) -> str:
    if well is not None:
        return fold_text(cells[well], case=False)
    row, column = (fold_text(cells[place or 0], case=False) for place in (row_at, column_at))
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
