"""Names of wells: one spelling for all of them, and how file names tell the well."""

import re
from collections.abc import Collection
from pathlib import PurePath

from napari_why.images.file_names import parse_name

# 32 rows (A to AF) and 48 columns are a plate of 1536 wells, the largest there is.
ROWS, COLUMNS = 32, 48
_LETTERS = re.compile(r"\s*(?:well)?[\s_-]*([A-Z]{1,2})[\s_:-]*(\d{1,3})\s*", re.IGNORECASE)
_NUMBERS = re.compile(r"\s*r(\d{1,2})c(\d{1,2})\s*", re.IGNORECASE)
# The row is one letter in file names: two letters and digits are channels ("ch01") and stains.
_IN_NAME = re.compile(r"(?<![A-Za-z0-9])([A-P])[-_]?(\d{1,2})(?![A-Za-z0-9])", re.IGNORECASE)
_LARGE = re.compile(r"(?<![A-Za-z0-9])(A[A-F])(\d{2})(?![A-Za-z0-9])")
_HARMONY = re.compile(r"(?<![A-Za-z0-9])r(\d{2})c(\d{2})(?=f\d|[^A-Za-z0-9]|$)", re.IGNORECASE)


def well_name(text: str) -> str | None:
    """Return a well's name as row letters and a column of two digits, None where it is none.

    Examples
    --------
    >>> [well_name(text) for text in ("A1", "a01", "B-003", "r02c11", "Well AF48", "A0", "Z")]
    ['A01', 'A01', 'B03', 'B11', 'AF48', None, None]
    """
    match = _LETTERS.fullmatch(text)
    if match:
        return _named(row_number(match[1]), int(match[2]))
    match = _NUMBERS.fullmatch(text)
    return _named(int(match[1]), int(match[2])) if match else None


def row_number(letters: str) -> int:
    """Return the number of a row, counted from 1; 0 where the text is no row.

    Examples
    --------
    >>> row_number("A"), row_number("h"), row_number("AB"), row_number("7")
    (1, 8, 28, 0)
    """
    letters = letters.strip().upper()
    if not re.fullmatch("[A-Z]{1,2}", letters):
        return 0
    number = 0
    for letter in letters:
        number = 26 * number + ord(letter) - ord("A") + 1
    return number if number <= ROWS else 0


def well_place(well: str) -> tuple[int, int]:
    """Return row and column of a well named as :func:`well_name` does, counted from 0.

    Examples
    --------
    >>> well_place("B03"), well_place("AA12")
    ((1, 2), (26, 11))
    """
    letters = well.rstrip("0123456789")
    return row_number(letters) - 1, int(well[len(letters) :]) - 1


def wells_in(path: PurePath) -> list[str]:
    """Return the wells that a file's name can mean, and where it tells none, those of its folders.

    The conventions of microscopes come first; see :mod:`napari_why.images.file_names`.

    Examples
    --------
    >>> from pathlib import PurePath
    >>> wells_in(PurePath("plate_B02_s1_w2.TIF")), wells_in(PurePath("r03c11f03p01-ch4sk1.tiff"))
    (['B02'], ['C11'])
    >>> wells_in(PurePath("Channel1-01-A-01.tif")), wells_in(PurePath("C5/field 1.tif"))
    (['A01'], ['C05'])
    >>> wells_in(PurePath("D - 11(fld 1 wv DAPI - DAPI).tif"))
    ['D11']
    >>> wells_in(PurePath("B02_f1.tif")), wells_in(PurePath("B02 and C03.tif"))
    (['B02'], ['B02', 'C03'])
    """
    parsed = parse_name(path.name)
    named = well_name(parsed.well) if parsed else None
    if named:
        return [named]
    stem = path.name.removesuffix(path.suffix).removesuffix(".ome")
    for part in (stem, *reversed(path.parts[:-1])):
        found = [_named(int(row), int(column)) for row, column in _HARMONY.findall(part)]
        if not found:
            spelled = _most_like_wells([*_IN_NAME.findall(part), *_LARGE.findall(part)])
            found = [_named(row_number(row), int(column)) for row, column in spelled]
        wells = list(dict.fromkeys(well for well in found if well))
        if wells:
            return wells
    return []


def _most_like_wells(spelled: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Of several candidates keep those in capitals, then those with two digits, if there are any.

    In ``B02_f1`` or ``B2_c1``, the small letter is a field or a channel.
    """
    for likely in (lambda row, _: row.isupper(), lambda _, column: len(column) == 2):
        spelled = [pair for pair in spelled if likely(*pair)] or spelled
    return spelled


def well_by_pattern(path: PurePath, pattern: "re.Pattern[str]") -> str | None:
    """Return the well that a user's pattern finds in a path.

    Parameters
    ----------
    path : PurePath
        Relative to the folder of the plate; the pattern is searched in it with ``/`` between the
        folders.
    pattern : re.Pattern
        With the group ``well``, or the groups ``row`` (letters or a number) and ``column``.
    """
    match = pattern.search(path.as_posix())
    if match is None:
        return None
    groups = match.groupdict(default="")
    if "well" in groups:
        return well_name(groups["well"])
    row, column = groups["row"], groups["column"]
    if not column.isdecimal():
        return None
    return _named(int(row) if row.isdecimal() else row_number(row), int(column))


def the_well(found: list[str], known: Collection[str]) -> str | None:
    """Return the one well that is meant: the only one, or the only one that a plate map knows."""
    listed = [well for well in found if well in known] or found
    return listed[0] if len(listed) == 1 else None


def _named(row: int, column: int) -> str | None:
    if not (1 <= row <= ROWS and 1 <= column <= COLUMNS):
        return None
    high, low = divmod(row - 1, 26)
    letters = (chr(ord("A") + high - 1) if high else "") + chr(ord("A") + low)
    return f"{letters}{column:02d}"
