"""Which well the names of images and of their folders tell, all images of a folder together.

One name alone often holds several things that look like wells: in ``B02/culture_D3_f1.tif`` a well,
a day and a field. What is a well shows when the names of the folder are compared: a well stands in the
same place of every name, has several rows, and is in the plate map; a day or a passage is one letter
with a few numbers. A place is taken for the well only where nothing speaks for another one.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import PurePath

from napari_why.images.file_names import parse_name
from napari_why.images.wells import Candidate, read_by_pattern, split_path, well_at, well_name

# The row is one letter in file names: two letters and digits are channels ("ch01") and stains.
_IN_NAME = re.compile(r"(?<![A-Za-z0-9])([A-P])([-_]?)(\d{1,2})(?![A-Za-z0-9])", re.IGNORECASE)
# Of 1536 wells: in capitals and with two digits, for the same reason.
_LARGE = re.compile(r"(?<![A-Za-z0-9])(A[A-F])()(\d{2})(?![A-Za-z0-9])")
# What says in so many words that it is a well: Harmony's rows and columns, and the words themselves.
_SAID = (
    re.compile(r"(?<![A-Za-z0-9])r(\d{2})c(\d{2})(?=f\d|[^A-Za-z0-9]|$)", re.IGNORECASE),
    re.compile(
        r"(?<![A-Za-z])(?:well|puits|napf|kavit(?:ä|ae)t|pocillo|pozzetto)[-_ ]*"
        r"([A-P]|A[A-F])[-_ ]?(\d{1,2})(?![A-Za-z0-9])",
        re.IGNORECASE,
    ),
    re.compile(
        r"(?<![A-Za-z])(?:row|zeile|reihe|ligne|rang|fila|riga)[-_ =]*([A-P]|A[A-F]|\d{1,2})[-_ ,.]*"
        r"(?:col(?:umn)?|spalte|colonne|columna|colonna)[-_ =]*(\d{1,2})(?!\d)",
        re.IGNORECASE,
    ),
)
# A folder for each row, and in it one for each column.
_ROW, _COLUMN = re.compile(r"[A-P]"), re.compile(r"\d{1,2}")
_TOKEN = re.compile(r"[A-Za-z0-9]+")
# One letter and a number mean many things: channel or clone, day or donor, embryonic day, field, hour,
# mouse, n-th repeat, passage, plate or position.
MARKS = frozenset("CDEFHMNP")
# Times as many wells in one place as in another: three doses of two wells are not mistaken for wells.
CLEARLY_MORE = 2


@dataclass(frozen=True)
class WellReading:
    """What the path of one image tells.

    ``candidate`` is None where it tells no well, or ``wells`` are several that it can mean.
    ``instead`` is what looks like a well too and was not taken; ``odd``: only such a thing is there.
    """

    candidate: Candidate | None
    wells: tuple[str, ...] = ()
    instead: tuple[Candidate, ...] = ()
    odd: bool = False

    @property
    def well(self) -> str | None:
        """The well, None where the path tells none or several."""
        return None if self.candidate is None else self.candidate.well


@dataclass(frozen=True)
class Place:
    """What stands in one place of all names: how much it looks like the place of the wells.

    ``values`` are the different wells, ``listed`` those of them that the map has, ``letters`` the
    different rows as they are spelled, ``two_digits`` and ``capital`` whether all are spelled so,
    ``said`` as in :class:`napari_why.images.wells.Candidate`.
    """

    values: frozenset[str]
    listed: frozenset[str]
    letters: frozenset[str]
    two_digits: bool
    capital: bool
    said: int

    @property
    def is_mark(self) -> bool:
        """One letter that often means something else."""
        return len(self.letters) == 1 and next(iter(self.letters)).upper() in MARKS

    @property
    def varies(self) -> bool:
        """Whether it tells images apart."""
        return len(self.values) > 1

    def beats(self, other: "Place") -> bool:
        """Whether this is the place of the wells and the other surely is not."""
        if max(self.said, other.said) > 1 and self.said != other.said:
            return self.said > other.said
        # "f1" beside "B02": so are fields, channels and planes abbreviated everywhere.
        if other.is_mark and not other.capital and self._is_well_beside(other):
            return True
        # What is the same in all names tells no image from another.
        if not other.varies and self._is_well_beside_constant(other):
            return True
        # Fields are called F01 as often as f1.
        rows = len(self.letters) > 1 and self.listed == self.values
        if other.is_mark and other.letters <= {"F", "f"} and rows:
            return True
        if not self._may_be_compared(other):
            return False
        ours, theirs = self._evidence(), other._evidence()
        return ours != theirs and all(a >= b for a, b in zip(ours, theirs, strict=True))

    def _is_well_beside(self, other: "Place") -> bool:
        """Whether this is more like a well than an abbreviation in small letters is."""
        field = other.letters == {"f"}
        if self.is_mark:
            varies = self.varies or not other.varies
            return self.capital and self.letters != {"F"} and field and varies
        return self.capital and (field or len(self.values) >= len(other.values))

    def _is_well_beside_constant(self, other: "Place") -> bool:
        """Whether these are wells, and not the doses or batches of the one well there is."""
        doses = len(self.letters) == 1 and self._spelling <= other._spelling and other.listed
        return self.varies and not self.is_mark and bool(self.listed) and not doses

    @property
    def _spelling(self) -> int:
        return self.two_digits + self.capital

    def _may_be_compared(self, other: "Place") -> bool:
        if not self.varies and other.listed:
            return False
        if not other.listed and self.two_digits and self.capital and not other.two_digits:
            return True
        if self.is_mark:
            # A day or a field varies as a row of wells does; of a passage that never changes it is told.
            return self.letters.isdisjoint("Ff") and (
                not other.varies and self.two_digits and not other.two_digits
            )
        # Two places that both hold nothing but wells of the map: replicates or doses, and wells.
        alike = not other.is_mark or len(self.letters) == 1
        rivals = other.varies and alike and other.listed == other.values
        return not rivals or len(self.listed) >= CLEARLY_MORE * len(other.listed)

    def _evidence(self) -> tuple[int, ...]:
        return (
            len(self.listed),
            len(self.letters),
            self._spelling,
            not self.is_mark,
            self.said,
            self.listed == self.values,
        )


def find_candidates(path: PurePath) -> list[Candidate]:
    """Return what looks like a well in a file's name and in its folders, the file's name first.

    Examples
    --------
    >>> [found.well for found in find_candidates(PurePath("B02/culture_D3_f1.tif"))]
    ['D03', 'F01', 'B02']
    >>> [found.well for found in find_candidates(PurePath("r03c11f03p01-ch4sk1.tiff"))]
    ['C11']
    >>> [found.well for found in find_candidates(PurePath("C/05/wellB2.tif"))]
    ['B02', 'C05']
    """
    stem, *folders = parts = split_path(path)
    found: list[Candidate] = []
    parsed = parse_name(path.name)
    named = well_name(parsed.well) if parsed else None
    for depth, part in enumerate(parts):
        free = list(_in_part(part, depth))
        if depth == 0 and named and parsed:
            free = [
                replace(one, said=max(one.said, 1)) if one.well == named else one for one in free
            ]
            if all(one.well != named for one in free):
                free.append(_convention_well(named, stem))
        found += free
    for depth, (column, row) in enumerate(pairwise(folders), start=1):
        well = well_at(row, column) if _ROW.fullmatch(row) and _COLUMN.fullmatch(column) else None
        if well:
            found.append(Candidate(well, row + column, row, column, depth, 0, len(column), 0, 0))
    return found


def read_wells(
    paths: Sequence[PurePath],
    listed: Collection[str] | None = None,
    plates: Collection[str] = (),
) -> list[WellReading]:
    """Return which well each image is of, by comparing all names of a folder.

    Parameters
    ----------
    paths : sequence of PurePath
        Relative to the folder.
    listed : collection of str, optional
        The wells of the plate map; None where there is none.
    plates : collection of str, optional
        Names of its plates, which may look like wells ("P1").

    Returns
    -------
    list of WellReading
        One a path.

    Examples
    --------
    >>> names = [f"{well}/culture_D{day}.tif" for well in ("B02", "C02", "D07") for day in (3, 7)]
    >>> [reading.well for reading in read_wells([PurePath(name) for name in names])]
    ['B02', 'B02', 'C02', 'C02', 'D07', 'D07']
    >>> read_wells([PurePath("A02 and A03.tif")])[0].wells
    ('A02', 'A03')
    """
    names = {plate.casefold() for plate in plates}
    found = [
        [one for one in find_candidates(path) if one.spelled.casefold() not in names]
        for path in paths
    ]
    comparison = _Comparison(found, listed)
    readings = [_choose(candidates, comparison) for candidates in found]
    # What stands for a day in other names is no well where it stands alone.
    beaten = {_meaning(one) for reading in readings for one in reading.instead}
    taken = {_meaning(one.candidate) for one in readings if one.candidate and one.instead}
    return [
        WellReading(None, instead=tuple(candidates), odd=True)
        if reading.candidate is not None
        and all(_meaning(one) in beaten - taken for one in candidates)
        else reading
        for candidates, reading in zip(found, readings, strict=True)
    ]


def _choose(candidates: Sequence[Candidate], comparison: "_Comparison") -> WellReading:
    if not candidates:
        return WellReading(None)
    # The others are not only worse than something: each is worse than the well itself.
    left = [
        one
        for one in candidates
        if all(other.well == one.well or comparison(one, other) > 0 for other in candidates)
    ]
    wells = tuple(dict.fromkeys(one.well for one in left or candidates))
    if not left:
        return WellReading(None, wells)
    chosen = max(left, key=lambda one: one.said)
    return WellReading(chosen, wells, tuple(one for one in candidates if one.well != chosen.well))


class _Comparison:
    """Which of two things that look like wells is one, by all names that have both of them."""

    def __init__(
        self, found: Sequence[Sequence[Candidate]], listed: Collection[str] | None
    ) -> None:
        # Counted from the left and from the right: names may have a word more at either end.
        self._rows = [
            [{side(one): one for one in candidates} for candidates in found] for side in _SIDES
        ]
        self._listed = listed
        self._known: dict[object, int] = {}

    def __call__(self, one: Candidate, other: Candidate) -> int:
        """Return 1 where the first stands in the place of the wells, -1 for the second, else 0."""
        verdicts = set()
        for number, side in enumerate(_SIDES):
            key = number, side(one), side(other)
            if key not in self._known:
                self._known[key] = self._compare(*key)
            verdicts.add(self._known[key])
        verdicts -= {0}
        return verdicts.pop() if len(verdicts) == 1 else 0

    def _compare(self, number: int, mine: tuple[int, int], its: tuple[int, int]) -> int:
        pairs = [(row[mine], row[its]) for row in self._rows[number] if mine in row and its in row]
        first, second = ([pair[index] for pair in pairs] for index in (0, 1))
        one, other = self._describe(first), self._describe(second)
        return one.beats(other) - other.beats(one)

    def _describe(self, ones: Sequence[Candidate]) -> Place:
        values = frozenset(one.well for one in ones)
        return Place(
            values,
            values if self._listed is None else values.intersection(self._listed),
            frozenset(_letters(one) for one in ones),
            two_digits=all(len(one.column) > 1 for one in ones),
            capital=all(_letters(one).isupper() for one in ones),
            said=min(one.said for one in ones),
        )


def _meaning(one: Candidate) -> tuple[tuple[int, int], str]:
    """Return what a thing that is no well is known by: D3 and D7 in one place are days."""
    return _left(one), one.row if one.row.upper() in MARKS else one.spelled


def may_be_wells(ones: Sequence[Candidate]) -> bool:
    """Whether things that look like wells can hardly be days, passages or fields.

    Examples
    --------
    >>> [
    ...     may_be_wells([one for name in names for one in find_candidates(PurePath(name))])
    ...     for names in (["A01.tif", "A02.tif"], ["x_D3.tif", "x_D7.tif"], ["D3.tif", "D3.tif"])
    ... ]
    [True, False, False]
    """
    letters = {_letters(one) for one in ones}
    said = all(one.said for one in ones)
    many = len({one.well for one in ones}) > 1
    # In small letters with one digit they are fields and channels (f1, c2) more often than wells.
    spelled = (
        said
        or all(letter.isupper() for letter in letters)
        or all(len(one.column) > 1 for one in ones)
    )
    marks = len(letters) == 1 and next(iter(letters)).upper() in MARKS
    # "a_01" is image 1 of class a as often as a well.
    joined = all(one.said or one.spelled == one.row + one.column for one in ones)
    return many and spelled and joined and (said or not marks)


def _letters(one: Candidate) -> str:
    """Return the row as it is spelled, or where it is a number, the letters that it means."""
    return one.row if one.row.isalpha() else one.well.rstrip("0123456789")


def _left(one: Candidate) -> tuple[int, int]:
    return one.depth, one.left


def _right(one: Candidate) -> tuple[int, int]:
    return one.depth, one.right


# Where a candidate stands: its part of the path, and the words counted from one end of it.
_SIDES = (_left, _right)


def _in_part(part: str, depth: int) -> Iterator[Candidate]:
    said = [match for pattern in _SAID for match in pattern.finditer(part)]
    for match in said:
        well = well_at(match[1], match[2])
        if well:
            yield _candidate(part, depth, well, match, (match[1], match[2]), said=2)
    for match in (*_IN_NAME.finditer(part), *_LARGE.finditer(part)):
        inside = any(match.start() < one.end() and one.start() < match.end() for one in said)
        well = well_at(match[1], match[3])
        if well and not inside:
            yield _candidate(part, depth, well, match, (match[1], match[3]), said=0)


def _candidate(
    part: str, depth: int, well: str, match: "re.Match[str]", spelled: tuple[str, str], said: int
) -> Candidate:
    before, behind = part[: match.start()], part[match.end() :]
    return Candidate(
        well,
        match[0],
        *spelled,
        depth,
        match.start(),
        match.end(),
        left=len(_TOKEN.findall(before)),
        right=len(_TOKEN.findall(behind)),
        said=said,
    )


def _convention_well(well: str, stem: str) -> Candidate:
    """Return a well that is spelled as only its convention knows ("D - 11(fld 1 wv DAPI - DAPI)")."""
    letters = well.rstrip("0123456789")
    return Candidate(well, well, letters, well[len(letters) :], 0, 0, len(stem), 0, 0, said=1)


def suggest_pattern(path: PurePath) -> str:
    r"""Return a pattern that finds one of the things that look like wells in a path.

    Examples
    --------
    >>> suggest_pattern(PurePath("A01/x_B01.tif")), suggest_pattern(PurePath("A01/x.tif"))
    ('x_(?P<well>[A-P]\\d+)[^/]*$', '(?:^|/)(?P<well>[A-P]\\d+)[^/]*/[^/]*$')
    """
    for one in find_candidates(path):
        part = path.parts[-1 - one.depth]
        word = re.search(r"[A-Za-z]*[^A-Za-z0-9]*$", part[: one.start])
        before = re.escape(word[0]) if word and one.start else "(?:^|/)"
        behind = "[^/]*/" * one.depth + "[^/]*$"
        pattern = rf"{before}(?P<well>[A-P]\d+){behind}"
        if read_by_pattern(path, re.compile(pattern)).well == one.well:
            return pattern
    return r"_(?P<well>[A-H]\d+)_"


def sentences_on_wells(
    paths: Sequence[PurePath], readings: Sequence[WellReading], listed: Collection[str] | None
) -> list[str]:
    """Say which things that look like wells were not taken for them.

    Parameters
    ----------
    paths : sequence of PurePath
        Relative to the folder.
    readings : sequence of WellReading
        Of :func:`read_wells`, one a path.
    listed : collection of str or None
        The wells of the plate map; None where there is none.

    Returns
    -------
    list of str
        One for names of files and one for each depth of folders, as far as there is something to say.
    """
    counted: Counter[int] = Counter()
    examples: dict[int, str] = {}
    for path, reading in zip(paths, readings, strict=True):
        # What no map lists cannot be mistaken for a well of it, and small letters never were.
        others = [
            one
            for one in reading.instead
            if (listed is None or one.well in listed) and one.row.upper() == one.row
        ]
        if reading.candidate is None or not others:
            continue
        depth = reading.candidate.depth
        counted[depth] += 1
        examples.setdefault(
            depth,
            f"{path.as_posix()} as {reading.well}, not {' or '.join(one.well for one in others)}",
        )
    return [
        f"{count} names hold more than one thing that looks like a well; the one in "
        f"{'the file name' if depth == 0 else 'the folder'} was taken, by what varies over all names "
        f"(for example {examples[depth]}). Say well_pattern where that is wrong."
        for depth, count in sorted(counted.items())
    ]
