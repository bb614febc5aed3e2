"""The cells of CSV files and Excel workbooks as text."""

import csv
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_why.core.errors import DatasetError

TEXT_SUFFIXES = (".csv", ".tsv", ".txt")
EXCEL_SUFFIXES = (".xlsx", ".xlsm")
SEPARATORS = "\t;,"
# The largest plate has 1536 wells; a list of a whole screen still stays far below this.
MOST_ROWS, MOST_COLUMNS = 200_000, 500
_DECIMAL_COMMA = re.compile(r"\s*[+-]?\d+,\d+(?:[eE][+-]?\d+)?\s*")


@dataclass(frozen=True)
class Sheet:
    """A sheet's name and its cells as text, all rows of one length; empty cells are ``""``."""

    name: str
    rows: list[list[str]]


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
        return _workbook(path, sheet)
    if suffix not in TEXT_SUFFIXES:
        raise DatasetError(
            f"{path}: found the ending {path.suffix!r}; expected "
            f"{', '.join((*TEXT_SUFFIXES, *EXCEL_SUFFIXES))}; save it as one of them"
        )
    if sheet is not None:
        raise DatasetError(f"{path}: found a text file, which has no sheets, asked for {sheet!r}")
    return [Sheet(path.stem, _text_rows(path))]


def _text_rows(path: Path) -> list[list[str]]:
    text = _decoded(path.read_bytes())
    lines = text.splitlines()
    separator = max(SEPARATORS, key=lambda mark: sum(line.count(mark) for line in lines[:50]))
    try:
        rows = list(csv.reader(lines, delimiter=separator, strict=False))
    except csv.Error as error:
        raise DatasetError(f"{path}: found no readable table ({error})") from error
    if separator != ",":
        rows = [
            [cell.replace(",", ".") if _DECIMAL_COMMA.fullmatch(cell) else cell for cell in row]
            for row in rows
        ]
    return _even(path, rows)


def _decoded(raw: bytes) -> str:
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        return raw.decode("utf-16", errors="replace")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return raw.decode("cp1252", errors="replace")


def _workbook(path: Path, sheet: str | None) -> list[Sheet]:
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
            Sheet(one.title, _even(path, [[_text(cell) for cell in row] for row in _cells(one)]))
            for one in book.worksheets
            if sheet in (None, one.title)
        ]
    finally:
        book.close()


def _cells(worksheet: Any) -> Any:
    # A formatted but empty column stretches a sheet to its end; no plate map is that large.
    return worksheet.iter_rows(values_only=True, max_row=MOST_ROWS + 1, max_col=MOST_COLUMNS)


def _text(cell: Any) -> str:
    """Return a cell as it is read: 1.0 is "1", an empty cell is ""."""
    if cell is None:
        return ""
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return str(cell)


def _even(path: Path, rows: list[list[str]]) -> list[list[str]]:
    width = max((len(row) for row in rows), default=0)
    if len(rows) > MOST_ROWS or width > MOST_COLUMNS:
        raise DatasetError(
            f"{path}: found {len(rows)} rows and {width} columns; expected a plate map, at most "
            f"{MOST_ROWS} and {MOST_COLUMNS}"
        )
    return [row + [""] * (width - len(row)) for row in rows]
