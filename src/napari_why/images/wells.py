"""Names of wells: the one place that reads them, whatever their spelling, or by a pattern of the user."""

import re
from dataclasses import dataclass
from pathlib import PurePath

# 32 rows (A to AF) and 48 columns are a plate of 1536 wells, the largest there is.
ROWS, COLUMNS = 32, 48
# "B3", "b-03", "Well B:003"; any separator that spreadsheets and people put between the two.
_LETTERS = re.compile(r"\s*(?:well)?[\s_-]*([A-Z]{1,2})[\s_:-]*(\d{1,3})\s*", re.IGNORECASE)
# As Harmony numbers rows and columns.
_NUMBERS = re.compile(r"\s*r(\d{1,2})c(\d{1,2})\s*", re.IGNORECASE)


def well_name(text: str) -> str | None:
    """Return a well's name as row letters and a column of two digits, None where it is none.

    Examples
    --------
    >>> [well_name(text) for text in ("A1", "a01", "B-003", "r02c11", "Well AF48", "A0", "Z")]
    ['A01', 'A01', 'B03', 'B11', 'AF48', None, None]
    """
    match = _LETTERS.fullmatch(text)
    if match:
        return spell_well(row_number(match[1]), int(match[2]))
    match = _NUMBERS.fullmatch(text)
    return spell_well(int(match[1]), int(match[2])) if match else None


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


def spell_well(row: int, column: int) -> str | None:
    """Return the name of a well by its row and column, counted from 1; None where there is none.

    Parameters
    ----------
    row : int
        1 to 32.
    column : int
        1 to 48.

    Returns
    -------
    str or None

    Examples
    --------
    >>> spell_well(2, 3), spell_well(27, 12), spell_well(33, 1)
    ('B03', 'AA12', None)
    """
    if not (1 <= row <= ROWS and 1 <= column <= COLUMNS):
        return None
    high, low = divmod(row - 1, 26)
    letters = (chr(ord("A") + high - 1) if high else "") + chr(ord("A") + low)
    return f"{letters}{column:02d}"


def well_at(row: str, column: str) -> str | None:
    """Return the well of a row, by letters or number, and a column; None where there is none.

    Parameters
    ----------
    row : str
        Letters, or a number from 1.
    column : str
        A number from 1.

    Returns
    -------
    str or None

    Examples
    --------
    >>> well_at("B", "3"), well_at("02", "03"), well_at("Q", "no")
    ('B03', 'B03', None)
    """
    if not column.isdecimal():
        return None
    return spell_well(int(row) if row.isdecimal() else row_number(row), int(column))


@dataclass(frozen=True)
class Candidate:
    """Something in a path that looks like a well.

    Parameters
    ----------
    well : str
        The well ("B02").
    spelled, row, column : str
        As the path has it, and its row (a letter or a number) and column.
    depth : int
        Part of the path: 0 is the file's name, 1 its folder, and so on.
    start, end : int
        Where in that part it stands.
    left, right : int
        Words before and behind it in that part.
    said : int
        2 where the name says in so many words that it is a well, 1 where the convention of a
        microscope does (which a name may follow by chance: "exp_D3_w1"), else 0.
    """

    well: str
    spelled: str
    row: str
    column: str
    depth: int
    start: int
    end: int
    left: int
    right: int
    said: int = 0


@dataclass(frozen=True)
class PatternReading:
    """What a user's pattern finds in a path: well and plate, or in ``reason`` why there is no well."""

    candidate: Candidate | None = None
    plate: str | None = None
    reason: str = ""

    @property
    def well(self) -> str | None:
        """The well, None where the pattern finds none or several."""
        return None if self.candidate is None else self.candidate.well


def read_by_pattern(path: PurePath, pattern: "re.Pattern[str]") -> PatternReading:
    r"""Return the well, and the plate, that a user's pattern finds in a path.

    Parameters
    ----------
    path : PurePath
        Relative to the folder of the plate; the pattern is searched in it with ``/`` between the
        folders.
    pattern : re.Pattern
        With the group ``well``, or the groups ``row`` (letters or a number) and ``column``; and
        ``plate`` where the names tell plates.

    Returns
    -------
    PatternReading
        Its ``reason`` says why there is no well.

    Examples
    --------
    >>> pattern = re.compile(r"(?P<well>[A-H]\d)")
    >>> read_by_pattern(PurePath("run_B2.tif"), pattern).well
    'B02'
    >>> read_by_pattern(PurePath("run_B12.tif"), pattern).reason
    'well_pattern stops within the number of B12'
    """
    matches = list(pattern.finditer(path.as_posix()))
    if not matches:
        return PatternReading(reason="well_pattern matches nothing in its path")
    found: dict[tuple[str, str | None], Candidate] = {}
    strange = ""
    for match in matches:
        groups = match.groupdict(default="")
        last = "well" if "well" in groups else "column"
        text = groups["well"] if last == "well" else groups["row"] + groups["column"]
        behind = match.string[match.end(last) :]
        digits = re.match(r"\d*", behind)
        if text[-1:].isdecimal() and digits and digits[0]:
            return PatternReading(
                reason=f"well_pattern stops within the number of {text}{digits[0]}"
            )
        by_name = last == "well"
        well = well_name(text) if by_name else well_at(groups["row"], groups["column"])
        if well is None:
            strange = strange or text
        else:
            found[well, groups.get("plate") or None] = _place_match(match, well, text)
    if not found:
        return PatternReading(reason=f"well_pattern finds {strange!r}, which is no well")
    if len(found) > 1:
        several = " and ".join(" ".join(filter(None, (plate, well))) for well, plate in found)
        return PatternReading(reason=f"well_pattern finds {several}; make it longer")
    (_, plate), candidate = next(iter(found.items()))
    return PatternReading(candidate, plate)


def _place_match(match: "re.Match[str]", well: str, text: str) -> Candidate:
    """Return where in the path a pattern has found the well; of row and column, the column."""
    start, end = match.span("well" if "well" in match.re.groupindex else "column")
    part = match.string.rfind("/", 0, start) + 1
    return Candidate(
        well, text, "", "", match.string.count("/", start), start - part, end - part, 0, 0
    )


def split_path(path: PurePath) -> list[str]:
    """Return a file's name without suffix, its folder, the folder of that, and so on."""
    stem = path.name.removesuffix(path.suffix).removesuffix(".ome")
    return [stem, *reversed(path.parts[:-1])]
