"""The cells of CSV files and Excel workbooks as text, for plate maps and tables of images.

Both come from mail and shared disks, so every size is bounded before it is taken into memory: bytes,
also when unpacked, sheets, rows, columns and the length of a cell. What is no value (errors, formulas
that nobody has computed) is left empty and told.
"""

import csv
import io
import re
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path

from napari_why.core.errors import DatasetError
from napari_why.core.whole_files import plain_cell
from napari_why.datasets.workbook import (
    LONGEST_CELL,
    MOST_CELLS,
    MOST_COLUMNS,
    MOST_ROWS,
    Sheet,
    Workbook,
    cell_name,
    count_of,
    even_out,
    tell_formulas,
    too_large,
)

TEXT_SUFFIXES = (".csv", ".tsv", ".txt")
EXCEL_SUFFIXES = (".xlsx", ".xlsm")
# Tab and semicolon first: of equally many, the comma may be a decimal one.
SEPARATORS = "\t;,"
# Lines that separators are counted in: enough to outweigh a title with commas.
COUNTED_LINES = 50
# 160 bytes for each row of the longest list; pictures in a workbook count too.
MOST_BYTES = 2**25
# Characters: 500 columns of 500 each.
LONGEST_LINE = 2**18
# Bytes that tell UTF-16 without a mark: every other one of Latin text is 0, and next to none of the rest.
LOOKED_AT, MANY, FEW = 4096, 0.4, 0.05
# How text would begin that a spreadsheet could run, in files that hold no formulas: a function or a cell.
_FORMULA = re.compile(r"=\s*[-+]?\s*(?:\$?[A-Z]{1,3}\$?\d+\b|[A-Z][A-Z0-9.]*\()", re.IGNORECASE)
# Written by Excel users to keep zeros: ="007" is the text 007.
_QUOTED = re.compile(r'="([^"]*)"')
# #N/A, #REF!, #NAME?, in other languages #NV, #BEZUG!, #¡VALOR!, #I/T, #SAKNAS!, ##### and Err:502.
_ERROR = re.compile(
    r"#[¡¿]?[^\W\d_a-z][^\sa-z]*[!?]|#[A-Z]/[A-Z]!?|#NV|##+|#GETTING_DATA|Err:\d{3}"
)
_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")


def read_sheets(path: Path, sheet: str | None = None) -> list[Sheet]:
    """Read the sheets of a workbook, or a text file as one sheet.

    Text is UTF-8 or UTF-16, else Windows-1252, as German Excel writes it. A first line ``sep=;`` names
    the separator. Cells that were merged all hold the value of the first, but for titles that have
    their rows to themselves.

    Parameters
    ----------
    path : Path
        A .csv, .tsv, .txt, .xlsx or .xlsm file.
    sheet : str, optional
        Read only this sheet of a workbook.

    Returns
    -------
    list of Sheet
        One of a text file.

    Raises
    ------
    DatasetError
        There is no such file or sheet, it cannot be read, or it is larger than a table of wells or
        images can be.
    """
    suffix = path.suffix.lower()
    if not path.is_file():
        raise DatasetError(f"{path}: found no such file; expected a CSV or Excel file")
    if suffix not in TEXT_SUFFIXES + EXCEL_SUFFIXES:
        raise DatasetError(
            f"{path}: found the ending {path.suffix!r}; expected "
            f"{', '.join((*TEXT_SUFFIXES, *EXCEL_SUFFIXES))}; save it as one of them"
        )
    if sheet is not None and suffix in TEXT_SUFFIXES:
        raise DatasetError(f"{path}: found a text file, which has no sheets, asked for {sheet!r}")
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise too_large(path, f"{size / 2**20:.0f} MB", f"at most {MOST_BYTES / 2**20:.0f} MB")
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror or error})") from error
    sheets = [_read_text(path, raw)] if suffix in TEXT_SUFFIXES else Workbook(path, raw).read(sheet)
    return [_empty_errors(path, one) for one in sheets]


def _empty_errors(path: Path, sheet: Sheet) -> Sheet:
    """Leave cells empty that hold an error, such as a search that found nothing."""
    found: list[tuple[str, str]] = []
    for number, row in enumerate(sheet.rows):
        for column, cell in enumerate(row):
            # Most cells are done with after one letter.
            if cell[:1] in ("#", "E", " ") and _ERROR.fullmatch(cell.strip()):
                found.append((cell_name(number, column), cell.strip()))
                row[column] = ""
    if not found:
        return sheet
    where, error = found[0]
    note = (
        f"{path.name}: {count_of(len(found), 'cell')} of {sheet.name} with an error of the spreadsheet "
        f"counted as empty (the first: {error} in {where}); mend the formula or write the value there."
    )
    return replace(sheet, notes=(*sheet.notes, note))


def _read_text(path: Path, raw: bytes) -> Sheet:
    text, notes = _decode(path, raw)
    lines = (found[0] for found in _LINE.finditer(text))
    first = list(islice(lines, COUNTED_LINES))
    named = re.fullmatch(r'\s*"?sep=(.)"?\s*', first[0], re.IGNORECASE) if first else None
    if named:
        first[0] = "\n"
    # First in how many lines it is, since it is in all of them, and only then how often: one cell of
    # text may hold more semicolons than a short map has commas.
    separator = (
        named[1]
        if named
        else max(
            SEPARATORS,
            key=lambda mark: (
                sum(mark in line for line in first),
                sum(line.count(mark) for line in first),
            ),
        )
    )
    rows: list[list[str]] = []
    cells = formulas = 0
    formula = ""
    reader = csv.reader(chain(first, lines), delimiter=separator, strict=False)
    try:
        for row in reader:
            # A cell over several lines leaves empty rows, so that rows keep their numbers.
            rows += [[] for _ in range(reader.line_num - len(rows) - 1)]
            cells += len(row)
            if len(rows) >= MOST_ROWS or len(row) > MOST_COLUMNS or cells > MOST_CELLS:
                break
            for number, cell in enumerate(row):
                if len(cell) > LONGEST_CELL:
                    raise csv.Error(f"a cell of {len(cell)} characters")
                if cell[:1] not in ("=", "'"):
                    continue
                row[number] = plain_cell(cell)
                if quoted := _QUOTED.fullmatch(cell):
                    row[number] = quoted[1]
                elif _FORMULA.match(cell):
                    row[number], formulas = "", formulas + 1
                    formula = formula or f"{cell} in {cell_name(len(rows), number)}"
            rows.append(row)
        else:
            return Sheet(
                path.stem,
                even_out(path, _require_closed(path, rows, text, separator)),
                (*notes, *tell_formulas(path, path.stem, formulas, formula)),
                decimal_commas=separator != ",",
            )
    except csv.Error as error:
        raise DatasetError(
            f"{path}: found no readable table ({error} in line {reader.line_num}); expected at most "
            f"{LONGEST_CELL} characters in a cell; is a quotation mark not closed?"
        ) from error
    many = f"{len(row)} columns" if len(row) > MOST_COLUMNS else f"more than {MOST_CELLS} cells"
    raise too_large(
        path,
        f"more than {MOST_ROWS} rows" if len(rows) >= MOST_ROWS else many,
        f"at most {MOST_ROWS} rows and {MOST_COLUMNS} columns, and {MOST_CELLS} cells",
    )


def _require_closed(
    path: Path, rows: list[list[str]], text: str, separator: str
) -> list[list[str]]:
    """Refuse a quotation mark without its second: whole lines would be in one cell."""
    # Without a cell of several lines nothing was swallowed, whatever the marks are like.
    swallowed = next((cell for row in rows for cell in row if "\n" in cell or "\r" in cell), "")
    if not swallowed:
        return rows
    lines = (found[0] for found in _LINE.finditer(text))
    try:
        for _ in csv.reader(lines, delimiter=separator, strict=True):
            pass
    except csv.Error as error:
        raise DatasetError(
            f"{path}: found a quotation mark that is not closed ({error}), in or before "
            f"{swallowed[:20]!r}; expected a second one at the end of the cell"
        ) from error
    return rows


def _decode(path: Path, raw: bytes) -> tuple[str, tuple[str, ...]]:
    """Return the text of a file, and what was guessed of its encoding."""
    # A letter takes up to four bytes.
    longest = max(map(len, io.BytesIO(raw)), default=0)
    if longest > 4 * LONGEST_LINE and b"\r" not in raw[: 4 * LONGEST_LINE]:
        raise too_large(
            path, f"a line of {longest} bytes", f"at most {LONGEST_LINE} characters in a line"
        )
    if raw.startswith(b"PK\x03\x04"):
        raise DatasetError(f"{path}: found a workbook; expected text; call it .xlsx")
    encoding = _utf16(raw)
    try:
        text = raw.decode(encoding or "utf-8-sig")
    except UnicodeDecodeError as error:
        if encoding:
            raise DatasetError(
                f"{path}: found text that is broken as UTF-16 ({error.reason}); save it as UTF-8"
            ) from error
        return _decode_windows(path, raw)
    _refuse_zeros(path, text)
    return text.removeprefix("\ufeff"), ()


def _utf16(raw: bytes) -> str:
    # Excel's "Unicode text" is UTF-16 with a mark; other programs leave the mark out.
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    looked_at = raw[:LOOKED_AT]
    half = max(1, len(looked_at) // 2)
    even, odd = (looked_at[start::2].count(0) / half for start in (0, 1))
    if odd > MANY and even < FEW:
        return "utf-16-le"
    return "utf-16-be" if even > MANY and odd < FEW else ""


def _decode_windows(path: Path, raw: bytes) -> tuple[str, tuple[str, ...]]:
    try:
        text = raw.decode("cp1252")
    except UnicodeDecodeError as error:
        raise DatasetError(
            f"{path}: found text that is neither UTF-8, UTF-16 nor Windows-1252; save it as UTF-8"
        ) from error
    _refuse_zeros(path, text)
    odd = next((word for word in re.findall(r"\w*[^\x00-\x7f]\w*", text)), "")
    return text, (
        f"{path.name}: its text is no UTF-8 and was read as Windows-1252; is {odd!r} right? If not, "
        "save it as UTF-8.",
    )


def _refuse_zeros(path: Path, text: str) -> None:
    if "\0" in text:
        raise DatasetError(
            f"{path}: found zero bytes, which no text holds; expected a CSV file; save it again"
        )
