"""Names of wells: the one place that reads them, whatever their spelling."""

import re

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
