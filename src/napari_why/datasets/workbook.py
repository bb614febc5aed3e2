"""Sheets of cells as text, how large they may be, and the Excel workbooks that hold them.

Parts of a workbook are unpacked and parsed piece by piece, and counted before: a small file may hold
gigabytes.
"""

import io
import math
import posixpath
import re
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from xml.parsers import expat

from napari_why.core.errors import DatasetError

# The largest plate has 1536 wells; a list of a whole screen still stays far below this.
MOST_ROWS, MOST_COLUMNS = 200_000, 500
# Ten columns in each of so many rows. Text of a cell takes some 60 bytes of memory.
MOST_CELLS = 2_000_000
# As XML a cell takes some 30 bytes: twice what the most cells would take as text.
MOST_UNPACKED = 2**26
# Elements of a workbook's part, counted before it is parsed, a second for a million. A cell is two or
# three: a longer list is read from CSV.
MOST_ELEMENTS = 3_000_000
# Elements of a part that is no sheet and no list of texts. Excel keeps 65,490 formats of cells, of up to
# three elements each.
MOST_OTHER_ELEMENTS = 200_000
# Bytes of an element's beginning, which the parser reads anew with each piece until it is complete.
LONGEST_TAG = 2**18
# Excel keeps no more in a cell (characters) and no more rows and columns on a sheet.
LONGEST_CELL, LAST_ROW, LAST_COLUMN = 32_767, 1_048_576, 16_384
# A plate a sheet of a whole screen; each takes a part of the archive, and some have drawings beside it.
MOST_SHEETS, MOST_PARTS = 255, 5_000
# Bytes that are unpacked and parsed at a time.
CHUNK = 2**16
_REFERENCE = re.compile(r"([A-Z]{1,3})([0-9]{1,7})")
# How Office Open XML writes a character that XML cannot hold.
_ESCAPED = re.compile("_x([0-9A-Fa-f]{4})_")
# What a broken archive, broken XML or numbers that are none raise while a workbook is read.
BROKEN = (
    zipfile.BadZipFile,
    zlib.error,
    expat.ExpatError,
    LookupError,
    ValueError,
    OverflowError,
    EOFError,
    NotImplementedError,
    RuntimeError,  # a part with a password
    OSError,
)


@dataclass(frozen=True)
class Sheet:
    """A sheet of a workbook, or a text file.

    Parameters
    ----------
    name : str
        The sheet's, or that of the file without its ending.
    rows : list of list of str
        Cells as they stand there, all rows of one length; empty ones are ``""``. The first is line 1.
    notes : tuple of str
        What was left empty, filled or guessed, a sentence each.
    dates : mapping of str to str
        Where dates stand: each one's text and the name of its first cell ("B4").
    decimal_commas : bool
        Whether commas can be decimal, as they do not separate.
    """

    name: str
    rows: list[list[str]]
    notes: tuple[str, ...] = ()
    dates: Mapping[str, str] = field(default_factory=dict)
    decimal_commas: bool = False


def cell_name(row: int, column: int) -> str:
    """Return how a spreadsheet calls a cell; counted from 0.

    Parameters
    ----------
    row, column : int

    Returns
    -------
    str

    Examples
    --------
    >>> cell_name(0, 0), cell_name(6, 27)
    ('A1', 'AB7')
    """
    letters = ""
    column += 1
    while column:
        column, rest = divmod(column - 1, 26)
        letters = chr(ord("A") + rest) + letters
    return f"{letters}{row + 1}"


def too_large(path: Path, found: str, expected: str) -> DatasetError:
    """Return the error of a file that holds more than a table of wells or images can.

    Parameters
    ----------
    path : Path
    found, expected : str
        How much there is, and how much there may be.

    Returns
    -------
    DatasetError
    """
    return DatasetError(
        f"{path}: found {found}; expected {expected}, as a plate map or a table of images has; take out "
        "what is no part of it"
    )


def count_of(number: int, what: str) -> str:
    """Return how many there are, in words: "1 cell", "2 cells".

    Parameters
    ----------
    number : int
    what : str
        One of them; its plural ends in s.

    Returns
    -------
    str
    """
    return f"{number} {what}{'s' * (number != 1)}"


def even_out(path: Path, rows: list[list[str]]) -> list[list[str]]:
    """Give all rows one length, without the empty rows at the end.

    Parameters
    ----------
    path : Path
        Named in the error.
    rows : list of list of str
        Empty ones are taken off this list.

    Returns
    -------
    list of list of str
        New rows, filled up with empty text.

    Raises
    ------
    DatasetError
        There are more rows, columns or cells than a table can have.
    """
    while rows and not any(rows[-1]):
        rows.pop()
    width = max((len(row) for row in rows), default=0)
    if len(rows) > MOST_ROWS or width > MOST_COLUMNS or len(rows) * width > MOST_CELLS:
        raise too_large(
            path,
            f"{len(rows)} rows and {width} columns",
            f"at most {MOST_ROWS} and {MOST_COLUMNS}, and {MOST_CELLS} cells",
        )
    return [row + [""] * (width - len(row)) for row in rows]


def tell_formulas(path: Path, name: str, count: int, first: str) -> tuple[str, ...]:
    """Say that formulas whose value nobody has computed are left empty, if there are any.

    Parameters
    ----------
    path : Path
    name : str
        Of the sheet.
    count : int
        Cells; 0: nothing is said.
    first : str
        Name of the first one.

    Returns
    -------
    tuple of str
        One sentence, or none.
    """
    if not count:
        return ()
    return (
        f"{path.name}: {count_of(count, 'cell')} of {name} with a formula but no value counted as empty "
        f"(the first: {first}); open the file in a spreadsheet program and save it there, or write the "
        "values.",
    )


class Workbook:
    """An Excel workbook whose parts are unpacked and parsed piece by piece.

    Parameters
    ----------
    path : Path
    raw : bytes
        The whole file.
    """

    def __init__(self, path: Path, raw: bytes) -> None:
        self._path, self._raw = path, raw
        self._unpacked = 0

    def read(self, wanted: str | None) -> list[Sheet]:
        """Read all sheets, or one."""
        if self._raw.startswith(b"\xd0\xcf\x11\xe0"):
            raise DatasetError(
                f"{self._path}: found an Excel file of before 2007, or one with a password; expected "
                "a workbook as Excel saves it since; save it again as .xlsx, without a password"
            )
        # Each entry of the archive's directory has this mark, and takes half a kB of memory.
        if (parts := self._raw.count(b"PK\x01\x02")) > MOST_PARTS:
            raise too_large(self._path, f"{parts} parts", f"at most {MOST_PARTS} in a workbook")
        try:
            with zipfile.ZipFile(io.BytesIO(self._raw)) as archive:
                return self._read_parts(archive, wanted)
        except DatasetError:
            raise
        except BROKEN as error:
            # A number or a name of what is not in the list that it refers to.
            absent = isinstance(error, LookupError)
            why = "it refers to what it does not hold" if absent else error or type(error).__name__
            raise DatasetError(
                f"{self._path}: found no readable workbook ({why}); expected "
                "an Excel file; save it again as .xlsx, or as CSV"
            ) from error

    def _read_parts(self, archive: zipfile.ZipFile, wanted: str | None) -> list[Sheet]:
        office = [
            target
            for kind, target in self._relations(archive, "").values()
            if kind == "officeDocument"
        ]
        if not office:
            raise ValueError("it names no workbook within")
        book = _Book()
        self._parse(archive, office[0], book.start)
        if len(book.sheets) > MOST_SHEETS:
            raise too_large(
                self._path, f"{len(book.sheets)} sheets", f"at most {MOST_SHEETS} sheets"
            )
        related = self._relations(archive, office[0])
        # Charts are sheets too, without cells.
        places = {
            name: related[key][1] for name, key in book.sheets if related[key][0] == "worksheet"
        }
        if wanted is not None and wanted not in places:
            raise DatasetError(
                f"{self._path}: found no sheet {wanted!r}; expected one of {', '.join(places)}"
            )
        strings, styles = _Strings(self._path), _Styles()
        for kind, target in related.values():
            if kind == "sharedStrings":
                self._parse(archive, target, strings.start, strings.end, strings.text)
            elif kind == "styles":
                self._parse(archive, target, styles.start, styles.end)
        sheets = []
        for name, place in places.items():
            if wanted in (None, name):
                cells = _Cells(self._path, strings.found, styles.dates, book.since_1904)
                self._parse(archive, place, cells.start, cells.end, cells.text)
                sheets.append(cells.as_sheet(name))
        return sheets

    def _relations(self, archive: zipfile.ZipFile, part: str) -> dict[str, tuple[str, str]]:
        """Return kind and place of the parts that one refers to, by their keys."""
        folder, name = posixpath.split(part)
        found: dict[str, tuple[str, str]] = {}

        def start(tag: str, attributes: dict[str, str]) -> None:
            if tag == "Relationship" and attributes.get("TargetMode") != "External":
                place = posixpath.normpath(posixpath.join("/", folder, attributes["Target"]))
                found[attributes["Id"]] = (attributes["Type"].rpartition("/")[2], place.lstrip("/"))

        self._parse(archive, posixpath.join(folder, "_rels", f"{name}.rels"), start)
        return found

    def _parse(
        self,
        archive: zipfile.ZipFile,
        part: str,
        start: Callable[[str, dict[str, str]], None],
        end: Callable[[str], None] | None = None,
        text: Callable[[str], None] | None = None,
    ) -> None:
        # Only what holds cells or their texts is told of texts, and may be long.
        most = MOST_OTHER_ELEMENTS if text is None else MOST_ELEMENTS
        info = archive.getinfo(part)
        # No more than the directory says is ever unpacked; other packings could give it at once.
        self._unpacked += info.file_size
        if self._unpacked > MOST_UNPACKED:
            raise too_large(
                self._path,
                f"{self._unpacked / 2**20:.0f} MB when unpacked",
                f"at most {MOST_UNPACKED / 2**20:.0f} MB",
            )
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError("it is packed in a way that Excel does not know")
        with archive.open(info) as stream:
            elements = sum(
                # A beginning and an end each, or one that is both.
                piece.count(b"<") + piece.count(b"/>")
                for piece in iter(lambda: stream.read(CHUNK), b"")
            )
        if elements > 2 * most:
            where = "on a sheet" if text else f"in {part}"
            raise too_large(
                self._path,
                f"{elements // 2} elements {where}",
                f"at most {most} (or CSV, where a list is that long)",
            )
        parser = expat.ParserCreate(namespace_separator=" ")
        # In one call for a text, and not one for each line of it.
        parser.buffer_text = True
        parser.StartElementHandler = lambda name, attributes: start(_local(name), attributes)
        if end is not None:
            parser.EndElementHandler = lambda name: end(_local(name))
        if text is not None:
            parser.CharacterDataHandler = text
        parser.StartDoctypeDeclHandler = _refuse_entities
        with archive.open(info) as stream:
            given = 0
            while piece := stream.read(CHUNK):
                parser.Parse(piece, False)
                given += len(piece)
                if given - parser.CurrentByteIndex > LONGEST_TAG:
                    raise ValueError(f"it has an element of more than {LONGEST_TAG} bytes")
        parser.Parse(b"", True)


@cache
def _local(name: str) -> str:
    return name.rpartition(" ")[2]


def _refuse_entities(*_: Any) -> None:
    # A few lines of them stand for gigabytes of text, and no Office program writes any.
    raise ValueError("its XML defines entities")


class _Book:
    """Names and keys of the sheets, and from when days are counted."""

    def __init__(self) -> None:
        self.sheets: list[tuple[str, str]] = []
        self.since_1904 = False

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if tag == "sheet":
            key = next(value for name, value in attributes.items() if name.endswith(" id"))
            self.sheets.append((attributes["name"], key))
        elif tag == "workbookPr":
            self.since_1904 = attributes.get("date1904") in ("1", "true")


class _Styles:
    """Which styles of cells show dates."""

    def __init__(self) -> None:
        self.dates: list[bool] = []
        self._formats: dict[str, str] = {}
        self._inside = False

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        from openpyxl.styles.numbers import BUILTIN_FORMATS, is_date_format

        if tag == "numFmt":
            self._formats[attributes["numFmtId"]] = attributes["formatCode"]
        elif tag == "cellXfs":
            self._inside = True
        elif tag == "xf" and self._inside:
            number = attributes.get("numFmtId", "0")
            shown = self._formats.get(number, BUILTIN_FORMATS.get(int(number), "General"))
            self.dates.append(bool(is_date_format(shown)))

    def end(self, tag: str) -> None:
        if tag == "cellXfs":
            self._inside = False


class _Texts:
    """Gathers the text of an element, but for readings of Chinese characters beside it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._pieces: list[str] = []
        self._length = 0
        self._open = self._beside = False

    def text(self, piece: str) -> None:
        if not self._open or self._beside:
            return
        self._length += len(piece)
        if self._length > LONGEST_CELL:
            raise too_large(
                self._path,
                f"a cell of more than {LONGEST_CELL} characters",
                f"at most {LONGEST_CELL}",
            )
        self._pieces.append(piece)

    def _take(self) -> str:
        found = "".join(self._pieces)
        self._pieces, self._length = [], 0
        return _ESCAPED.sub(_unescape, found) if "_x" in found else found


def _unescape(code: "re.Match[str]") -> str:
    letter = chr(int(code[1], 16))
    # Half a letter (a surrogate) could not be written again; a zero ends names on disks.
    return letter if letter.isprintable() or letter.isspace() else ""


class _Strings(_Texts):
    """The texts that cells refer to by number."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.found: list[str] = []

    def start(self, tag: str, _: dict[str, str]) -> None:
        self._open = self._open or tag == "t"
        self._beside = self._beside or tag == "rPh"

    def end(self, tag: str) -> None:
        if tag == "t":
            self._open = False
        elif tag == "rPh":
            self._beside = False
        elif tag == "si":
            self.found.append(self._take())
            if len(self.found) > MOST_CELLS:
                raise too_large(self._path, f"more than {MOST_CELLS} texts", "one a cell")


class _Cells(_Texts):
    """The cells of a sheet as their elements come."""

    def __init__(
        self, path: Path, strings: list[str], date_styles: list[bool], since_1904: bool
    ) -> None:
        super().__init__(path)
        self._strings, self._date_styles, self._since_1904 = strings, date_styles, since_1904
        self._rows: list[list[str]] = []
        self._merged: list[str] = []
        self._dates: dict[str, str] = {}
        self._row = self._column = -1
        self._kind, self._style = "n", 0
        self._in_cell = self._has_formula = self._has_value = False
        self._formulas, self._first_formula = 0, ""
        self._cells = self._characters = 0

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if tag == "row":
            self._row = int(attributes.get("r", self._row + 2)) - 1
            self._column = -1
        elif tag == "c":
            self._begin_cell(attributes)
        elif tag in ("v", "t"):
            self._open, self._has_value = self._in_cell, True
        elif tag == "f":
            self._has_formula = self._in_cell
        elif tag == "rPh":
            self._beside = True
        elif tag == "mergeCell":
            self._merged.append(attributes["ref"])

    def end(self, tag: str) -> None:
        if tag in ("v", "t"):
            self._open = False
        elif tag == "rPh":
            self._beside = False
        elif tag == "c":
            self._in_cell = False
            self._end_cell(self._take())

    def _begin_cell(self, attributes: dict[str, str]) -> None:
        # Where a cell does not say its place, it is the next.
        self._column += 1
        if "r" in attributes:
            self._row, self._column = _read_reference(attributes["r"])
        if self._row < 0 or self._row >= LAST_ROW or self._column >= LAST_COLUMN:
            raise ValueError("it has cells outside the sheet")
        self._kind, self._style = attributes.get("t", "n"), int(attributes.get("s", 0))
        self._in_cell, self._has_formula, self._has_value = True, False, False

    def _end_cell(self, found: str) -> None:
        if self._has_formula and not (self._has_value and found):
            self._formulas += 1
            self._first_formula = self._first_formula or cell_name(self._row, self._column)
        if found:
            self._put(self._read_value(found))

    def _put(self, value: str) -> None:
        # Formats of whole rows and columns have cells to the sheet's end; only values count.
        if self._row >= MOST_ROWS or self._column >= MOST_COLUMNS:
            raise too_large(
                self._path,
                f"a value in {cell_name(self._row, self._column)}",
                f"at most {MOST_ROWS} rows and {MOST_COLUMNS} columns",
            )
        while len(self._rows) <= self._row:
            self._rows.append([])
        row = self._rows[self._row]
        added = max(0, self._column + 1 - len(row))
        row += [""] * added
        self._cells += added
        self._characters += len(value)
        if self._cells > MOST_CELLS or self._characters > MOST_UNPACKED:
            raise too_large(
                self._path, f"more than {self._cells} cells", f"at most {MOST_CELLS}, of short text"
            )
        row[self._column] = value

    def _read_value(self, found: str) -> str:
        """Return a cell as it is read: 1.0 is "1", a date "2024-09-02 00:00:00"."""
        if self._kind == "s":
            number = int(found)
            if number < 0:
                raise ValueError(f"it has a text of number {number}")
            return self._strings[number]
        if self._kind == "b":
            return str(found in ("1", "true"))
        if self._kind != "n":
            if self._kind == "d":
                self._dates.setdefault(found, cell_name(self._row, self._column))
            return found
        if self._style < len(self._date_styles) and self._date_styles[self._style]:
            return self._read_date(float(found))
        # Excel keeps every number as a float, column numbers and doses alike.
        try:
            return str(int(found))
        except ValueError:
            value = float(found)
            if not math.isfinite(value):
                raise ValueError(f"it has the number {value}") from None
            return str(int(value)) if value.is_integer() else str(value)

    def _read_date(self, days: float) -> str:
        from openpyxl.utils.datetime import MAC_EPOCH, WINDOWS_EPOCH, from_excel

        text = str(from_excel(days, MAC_EPOCH if self._since_1904 else WINDOWS_EPOCH))
        self._dates.setdefault(text, cell_name(self._row, self._column))
        return text

    def as_sheet(self, name: str) -> Sheet:
        rows = even_out(self._path, self._rows)
        notes = tell_formulas(self._path, name, self._formulas, self._first_formula)
        return Sheet(name, rows, (*notes, *self._fill_merged(name, rows)), self._dates)

    def _fill_merged(self, name: str, rows: list[list[str]]) -> tuple[str, ...]:
        """Write the value of merged cells into all of them."""
        width = len(rows[0]) if rows else 0
        filled, budget = [], MOST_CELLS
        for reference in sorted(self._merged, key=lambda one: _read_reference(one.split(":")[0])):
            corners = [_read_reference(part) for part in reference.split(":")]
            (top, left), (bottom, right) = corners[0], corners[-1]
            inside = [(y, x) for y in (top, bottom) for x in (left, right)]
            if any(y >= LAST_ROW or x >= LAST_COLUMN for y, x in inside) or bottom < top:
                raise ValueError(f"it has merged cells outside the sheet: {reference}")
            area = [rows[row] for row in range(top, min(bottom + 1, len(rows)))]
            value = area[0][left] if area and left < width else ""
            # With its rows to itself it is a title, which names what is below and is no value.
            alone = all(sum(bool(cell) for cell in row) == (row is area[0]) for row in area)
            budget -= len(area) * max(0, min(right + 1, width) - left)
            if budget < 0:
                raise too_large(self._path, "merged cells over each other", "a sheet's cells once")
            if not value or alone:
                continue
            for row in area:
                row[left : right + 1] = [value] * len(row[left : right + 1])
            filled.append(f"{value!r} in {reference}")
        if not filled:
            return ()
        return (
            f"{self._path.name}: the value of merged cells counted for all of them in "
            f"{count_of(len(filled), 'place')} of {name} (the first: {filled[0]}).",
        )


@cache
def _column_index(letters: str) -> int:
    number = 0
    for letter in letters:
        number = 26 * number + ord(letter) - ord("A") + 1
    return number - 1


def _read_reference(text: str) -> tuple[int, int]:
    """Return row and column of a cell's name, counted from 0."""
    match = _REFERENCE.fullmatch(text)
    if match is None or match[2].startswith("0"):
        raise ValueError(f"it has a cell called {text[:20]!r}")
    return int(match[2]) - 1, _column_index(match[1])
