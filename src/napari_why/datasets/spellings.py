"""What cells and names mean: spellings of a name or a split, numbers in any notation, names made dates."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import pandas as pd

from napari_why.core.errors import DatasetError

SPLITS = ("train", "validation", "test")
# What other tools call the same splits.
SPLIT_SYNONYMS = {
    **dict.fromkeys(("training", "trainset", "training set", "training_set", "train_set"), "train"),
    **dict.fromkeys(
        ("val", "valid", "validate", "dev", "validation set", "validation_set", "val_set"),
        "validation",
    ),
    **dict.fromkeys(("testing", "tests", "testset", "test set", "test_set"), "test"),
}

# Names in a sentence: enough to recognise a pattern among them, few enough to read.
SHOWN = 5
# Words of columns in which dates are meant, in the languages of many spreadsheets.
DAY_WORDS = ("date", "day", "time", "datum", "tag", "jour", "fecha", "data")
# What compatibility characters are that differ from the usual ones in looks only; digits above and below
# the line ("super", "sub") and fractions mean something else.
_SAME_KINDS = ("<wide>", "<narrow>", "<noBreak>", "<compat>", "<small>")
# Dashes, the minus sign and quotation marks that word processors put in place of the plain ones.
_SAME = dict.fromkeys("‐‑‒–—−", "-") | dict.fromkeys("‘’ʼ", "'") | dict.fromkeys("“”", '"')
# A number without zeros in front, which belong to names (plate 007).
_NUMBER = re.compile(r"[+-]?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d{1,3})?", re.ASCII)
_DECIMAL_COMMA = re.compile(r"\s*[+-]?\d+,\d+(?:[eE][+-]?\d+)?\s*")
# Marks in a number that are no decimal point: it has to be looked at how they are meant.
_MARK = re.compile(r"[.,'’\s]")
_MARKED = re.compile(r"\d[,'’\s]\d|\.\d{3}\.|^\s*[+-]?,\d|\u2212")
_MONTHS = "jan|feb|fév|mar|mär|mrz|apr|avr|may|mai|jun|jul|aug|aoû|sep|oct|okt|nov|dec|dez|déc|ene|abr|ago|dic"
# As Excel shows a date that was a name: 2-Sep, 02. Sep, Sep-02.
_SHORT_DATE = re.compile(
    rf"\d{{1,4}}[-. /]{{1,2}}({_MONTHS})[a-zé]{{0,2}}\.?|({_MONTHS})[a-zé]{{0,2}}[-. /]{{1,2}}\d{{1,4}}",
    re.IGNORECASE,
)
# A whole date, with or without the time.
_DATE = re.compile(
    r"(\d{4}-\d{2}-\d{2}|\d{1,2}[./-]\d{1,2}[./-]\d{4})([T ]\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?)?"
)


@dataclass(frozen=True)
class Spellings:
    """Which name stands for each spelling of it.

    Parameters
    ----------
    names : dict of str to str
        By spelling, as it was found.
    sentence : str
        What was taken for the same; empty where nothing was.
    """

    names: dict[str, str]
    sentence: str = ""


def clean_text(text: str) -> str:
    r"""Return text without what nobody sees: spaces around it, characters of no width, loose accents.

    Examples
    --------
    >>> clean_text(" treated\u00a0"), clean_text("Ka\u0308lte\u200b")
    ('treated', 'Kälte')
    """
    if text.isascii():
        return text.strip()
    seen = "".join(
        " " if letter.isspace() else letter
        for letter in text
        if unicodedata.category(letter) != "Cf"
    )
    return unicodedata.normalize("NFC", seen).strip()


def fold_text(text: str, *, case: bool = True) -> str:
    r"""Return what spellings of one name have in common: for comparing, not for showing.

    Wide and narrow letters, the two signs for micro, dashes, runs of spaces and, with ``case``,
    capitals make no difference; nor does the way a number is written. Digits above and below the line
    do: 10² is not 102.

    Parameters
    ----------
    text : str
    case : bool
        Whether capitals make no difference.

    Returns
    -------
    str

    Examples
    --------
    >>> fold_text("Ｔreated  A"), fold_text("1.0"), fold_text("10\u00b5M") == fold_text("10\u03bcM")
    ('treated a', '1', True)
    >>> fold_text("007"), fold_text("10²")
    ('007', '10²')
    """
    plain = clean_text(text)
    if not plain.isascii():
        plain = "".join(_SAME.get(letter) or _narrow(letter) for letter in plain)
    plain = " ".join(plain.split())
    if _NUMBER.fullmatch(plain):
        # Decimal: barcodes have more digits than a float.
        number = Decimal(plain).normalize()
        return (
            format(number if number else Decimal(0), "f") if abs(number.adjusted()) < 50 else plain
        )
    return plain.casefold() if case else plain


def _narrow(letter: str) -> str:
    kind = unicodedata.decomposition(letter).partition(" ")[0]
    return unicodedata.normalize("NFKC", letter) if kind in _SAME_KINDS else letter


def unite_spellings(values: Iterable[str], *, case: bool = True) -> Spellings:
    """Find the spellings of one name; the most frequent one, the first of equals, stands for all.

    Parameters
    ----------
    values : iterable of str
    case : bool
        Whether names are the same that differ in capitals only.

    Returns
    -------
    Spellings
        The name of every spelling, and a sentence on those that were taken for another.

    Examples
    --------
    >>> unite_spellings(["treated", "treated ", "healthy"]).sentence
    "'treated ' (1) was taken for 'treated' (1)."
    """
    counts = Counter(values)
    same: dict[str, list[str]] = {}
    for spelling in counts:
        same.setdefault(fold_text(spelling, case=case), []).append(spelling)
    names, told = {}, []
    for spellings in same.values():
        best = max(spellings, key=counts.__getitem__)
        names.update(dict.fromkeys(spellings, clean_text(best)))
        others = [one for one in spellings if one != best]
        if others:
            shown = " and ".join(f"{one!r} ({counts[one]})" for one in others[:SHOWN])
            more = f" and {len(others) - SHOWN} more" if len(others) > SHOWN else ""
            verb = "was" if len(others) == 1 else "were"
            told.append(f"{shown}{more} {verb} taken for {best!r} ({counts[best]})")
    rest = f"; {len(told) - SHOWN} further names likewise" if len(told) > SHOWN else ""
    return Spellings(names, f"{'; '.join(told[:SHOWN])}{rest}." if told else "")


def unite_classes(source: str, table: pd.DataFrame, column: str) -> pd.DataFrame:
    """Make one class of the spellings of its name, and refuse dates that were names once.

    Parameters
    ----------
    source : str
        What the table was read from; begins the sentences.
    table : DataFrame
        ``attrs["dates"]``, where it has them, are the texts of cells that hold dates.
    column : str
        Holds the class; without such a column the table is returned as it is.

    Returns
    -------
    DataFrame
        What was united is in its ``attrs["notes"]``.

    Raises
    ------
    DatasetError
        Some of the names are dates: Excel makes such of SEPT2 or MARCH1.
    """
    if column not in table.columns:
        return table
    values = list(table[column])
    _refuse_dates(source, column, values, table.attrs.get("dates", {}))
    spelled = unite_spellings(values)
    united = table.assign(**{column: [spelled.names[value] for value in values]})
    notes = list(table.attrs.get("notes", ()))
    if spelled.sentence:
        notes.append(f"{Path(source).name}: classes by {column}: {spelled.sentence}")
    united.attrs = {**table.attrs, "notes": notes}
    return united


def _refuse_dates(
    source: str, column: str, values: Sequence[str], dates: Mapping[str, str]
) -> None:
    names = {value for value in values if value.strip()}
    found = [value for value in dict.fromkeys(values) if value in dates]
    short = [value for value in dict.fromkeys(values) if _SHORT_DATE.fullmatch(value.strip())]
    long = [value for value in dict.fromkeys(values) if _DATE.fullmatch(value.strip())]
    # A column of days may be asked for; a gene among the names of others was no day.
    if found and not (_is_of_days(column) and names == set(found)):
        raise DatasetError(
            f"{source}: found the date {found[0]} in {dates[found[0]]} for a class (column {column}); "
            "expected a name; Excel makes dates of names such as SEPT2 or MARCH1: write it as text, "
            "with an apostrophe in front"
        )
    if short or (long and set(long) != names):
        raise DatasetError(
            f"{source}: found {(short or long)[0]!r} for a class (column {column}), which looks like a "
            "date; expected a name; Excel makes dates of names such as SEPT2 or MARCH1: write the "
            "name again, as text"
        )


def _is_of_days(column: str) -> bool:
    return any(word in fold_text(column) for word in DAY_WORDS)


def spell_numbers(values: Sequence[str], *, decimal_commas: bool) -> tuple[list[str], str]:
    """Write a column's numbers with a decimal point and without marks between thousands.

    Parameters
    ----------
    values : sequence of str
        A column; empty cells are ``""``.
    decimal_commas : bool
        Whether the file separates cells by another mark than the comma: a comma alone is then a
        decimal one.

    Returns
    -------
    values : list of str
        Unchanged where some are no numbers, but for decimal commas where they may be such, and where
        numbers can be read in two ways.
    sentence : str
        What was decided; empty where nothing was to decide.

    Examples
    --------
    >>> spell_numbers(["1.234,5", "0,5"], decimal_commas=False)[0]
    ['1234.5', '0.5']
    >>> spell_numbers(["1,234", "5,678"], decimal_commas=False)[0]
    ['1,234', '5,678']
    """
    filled = [value for value in dict.fromkeys(values) if value.strip()]
    if not any(_MARKED.search(value) for value in filled):
        return list(values), ""
    ways = {
        value: (_read_number(value, ".", ","), _read_number(value, ",", ".")) for value in filled
    }
    alone = [value for value, (point, comma) in ways.items() if point is None and comma is None]
    if alone:  # names, some of which are numbers
        commas = decimal_commas
        return [
            value.replace(",", ".") if commas and _DECIMAL_COMMA.fullmatch(value) else value
            for value in values
        ], ""
    by_point = all(point is not None for point, _ in ways.values())
    by_comma = all(comma is not None for _, comma in ways.values())
    unclear = [
        v for v, (point, comma) in ways.items() if None not in (point, comma) and point != comma
    ]
    first = next((value for value in filled if _MARKED.search(value)), "")
    if by_point and by_comma and unclear:
        # A point is Python's own, and a comma that separates no cells is a decimal one.
        if not any("," in value for value in unclear):
            by_comma = False
        elif decimal_commas and not any("." in value for value in unclear):
            by_point = False
            first = unclear[0]
    if (by_point and by_comma and unclear) or (not by_point and not by_comma and unclear):
        return list(values), (
            f"{unclear[0]!r} can be a whole number with a mark between thousands or one with decimals; "
            "the column was left as text; write its numbers with a decimal point and nothing else."
        )
    chosen = {
        value: (point if by_point or comma is None else comma) or ""
        for value, (point, comma) in ways.items()
    }
    decided = (
        unclear
        or any(len(_MARK.findall(value)) > 1 for value in filled)
        or not (by_point or by_comma)
    )
    sentence = (
        f"{first!r} was read as the number {chosen[first]}."
        if decided or not decimal_commas
        else ""
    )
    changed = any(chosen[value] != value.strip() for value in filled)
    return [chosen.get(value, "") for value in values], sentence if changed else ""


def _read_number(text: str, decimal: str, thousands: str) -> str | None:
    """Return a number as Python writes it, None where it is none by these marks."""
    plain = clean_text(text).replace("\u2212", "-").replace("’", "'")
    match = re.fullmatch(
        rf"([+-]?)(\d+|[1-9]\d{{0,2}}(?:([{thousands}' ])\d{{3}})(?:\3\d{{3}})*|(?=[{decimal}]))"
        rf"(?:[{decimal}](\d+))?([eE][+-]?\d+)?",
        plain,
        re.ASCII,
    )
    if match is None:
        return None
    whole = re.sub(r"\D", "", match[2]) or "0"
    return f"{match[1]}{whole}{f'.{match[4]}' if match[4] else ''}{match[5] or ''}"


def read_split_name(name: str) -> str:
    """Return the split that a name means, else the name in small letters."""
    lower = name.strip().lower()
    return SPLIT_SYNONYMS.get(lower, lower)
