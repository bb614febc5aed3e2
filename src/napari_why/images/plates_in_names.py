"""Which plate an image is of: what the names of folders and files tell, with a plate map or without."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath

from napari_why.images.file_names import parse_name
from napari_why.images.wells import Candidate, split_path

# Words for a plate in the languages of those who name files, and the letters that may mean one.
_PLATE_WORDS = ("plate", "platte", "plaque", "placa", "piastra", "plaat", "plt", "板", "プレート")
_SHORT_WORDS = ("p", "pl")
_TOKENS = re.compile(r"[^\W_]+")
_ATOM = re.compile(r"\d+|[^\W\d_]+")
# What is a plate also where it stands behind the well: plates and biological replicates.
_EVIDENT = re.compile(rf"(?:{'|'.join(_PLATE_WORDS)}|br)[-_ ]?\d+", re.IGNORECASE)
_SHORT = re.compile(r"(?:p|pl)\d+", re.IGNORECASE)
# A word of a file's name; "Plate 1" is one.
_WORD = re.compile(rf"(?:{'|'.join(_PLATE_WORDS)})[-_ ]?\d+|[^\W_]+", re.IGNORECASE)
# What is counted on one plate: fields, planes, channels and times. Numbers of six digits are dates.
_COUNTED = re.compile(
    r"(?:s|f|fld|fields?|fov|site|pos|position|xy|img|image|tile|m|z|zstep|t|tp|time|timepoint|h|hour|"
    r"day|d|w|week|c|ch|channel|seq|series|scene|stack)?[-_ ]?\d{0,5}|\d{1,5}(?:h|hr|hrs|d|days?|min)",
    re.IGNORECASE,
)
# Words for a field.
_FIELD_WORDS = "s|f|fld|field|fov|site"
# A field, and one that a file's name tells behind its well: then a folder called so is none.
_FIELD = re.compile(rf"(?:{_FIELD_WORDS}|fields|pos|position|xy)[-_ ]?\d{{1,5}}", re.IGNORECASE)
_OWN_FIELD = re.compile(rf"[-_ (]*(?:{_FIELD_WORDS}|pos|xy)[-_ ]?\d", re.IGNORECASE)
# A field that is called one behind a number, which is none then ("1_s1").
_CALLED_FIELD = re.compile(rf"[-_ ](?:{_FIELD_WORDS})[-_ ]?\d", re.IGNORECASE)


@dataclass(frozen=True)
class PlateReading:
    """What a path tells of its plate: ``plate``, or in ``reason`` why there is none.

    ``named`` is False where the only plate of the map was taken though no path names it.
    """

    plate: str | None
    reason: str = ""
    named: bool = True


@dataclass(frozen=True)
class _Named:
    """A plate's name in a path: where, how surely, and whether before the well.

    ``plate`` is None where the map does not list it. ``strength``: 3 with the word "plate" before it, 2 for a
    name with letters, 1 for a folder that is a number, 0 for a number in a name, -1 for one that
    stands behind the well as fields do. ``loose``: another word for plates than the map has (P1 for
    "Plate 1").
    """

    plate: str | None
    text: str
    strength: int
    depth: int
    left: int
    start: int
    end: int
    before: bool
    loose: bool = False

    @property
    def place(self) -> tuple[int, int]:
        """The part of the path, and the words before it there."""
        return self.depth, self.left

    def holds(self, other: "_Named") -> bool:
        """Whether the other is a part of this one: BR1 in BR1_rep2."""
        inside = self.start <= other.start and other.end <= self.end
        shorter = other.end - other.start < self.end - self.start
        return self.depth == other.depth and inside and shorter


def read_plates(
    paths: Sequence[PurePath], wells: Sequence[Candidate | None], plates: Sequence[str]
) -> list[PlateReading]:
    """Return which of the listed plates each image is of, by the names of folders and files.

    Parameters
    ----------
    paths : sequence of PurePath
        From the plates' folder on, its own name included.
    wells : sequence of Candidate or None
        Where each path tells its well: a number behind it is a field more often than a plate.
    plates : sequence of str
        Names of the map.

    Returns
    -------
    list of PlateReading
        One a path; without plate it says why.

    Examples
    --------
    >>> names = [PurePath(f"x/Plate{plate}_B02_{field}.tif") for plate in (2, 10) for field in (1, 2)]
    >>> [found.plate for found in read_plates(names, [None] * 4, ["1", "2", "10"])]
    ['2', '2', '10', '10']
    """
    spell, keys = _plate_keys(plates)
    found = [
        list(_find_named(path, well, spell, keys)) for path, well in zip(paths, wells, strict=True)
    ]
    # Where "plate9" is there under its own name, P9 is another one.
    own = {one.plate for named in found for one in named if one.strength > 1 and not one.loose}
    found = [
        [
            replace(one, plate=None, strength=2) if one.loose and one.plate in own - mine else one
            for one in named
        ]
        for named in found
        for mine in [{one.plate for one in named if not one.loose}]
    ]
    found = _without_constants(found)
    # Where one number is no plate's, numbers count something else: fields, days, images.
    counts = {
        one.place for named in found for one in named if one.plate is None and one.strength < 2
    }
    chosen = [
        _choose_named([one for one in named if one.strength > 1 or one.place not in counts])
        for named in found
    ]
    if len(plates) == 1 and not any(chosen):
        return _take_only_plate(paths, found, plates[0])
    further = _find_further(paths, wells, chosen)
    return [
        PlateReading(None, f"its path names {more}, which the map does not list")
        if more
        else _say_plate(named, plates)
        for named, more in zip(chosen, further, strict=True)
    ]


def _without_constants(found: Sequence[Sequence[_Named]]) -> list[list[_Named]]:
    """Leave out what is called like a plate and is the same in all paths: passage P12 before P1 and P2.

    Where nothing else varies, it is the plate, and what the map lists may be a passage.
    """
    texts: dict[tuple[int, int], set[tuple[str | None, str]]] = {}
    for named in found:
        for one in named:
            texts.setdefault(one.place, set()).add((one.plate, one.text.casefold()))
    return [
        [
            one
            for one in named
            if one.plate is not None
            or len(texts[one.place]) > 1
            or not any(
                other.plate is not None and other.strength > 1 and len(texts[other.place]) > 1
                for other in named
            )
        ]
        for named in found
    ]


def _take_only_plate(
    paths: Sequence[PurePath], found: Sequence[Sequence[_Named]], plate: str
) -> list[PlateReading]:
    """Return the only plate for all, unless its number stands behind the well of some of them."""
    # A last number is the field ("B02_1"); with a further number behind it, it may be the plate.
    having = [
        any(one.plate and re.search(r"\d", split_path(path)[one.depth][one.end :]) for one in named)
        for path, named in zip(paths, found, strict=True)
    ]
    other = PlateReading(None, f"its path has another number where others have {plate}, the plate")
    only = PlateReading(plate, named=any(having))
    return [only if has or not any(having) else other for has in having]


def _plate_keys(
    plates: Sequence[str],
) -> tuple[Callable[[str], str], dict[tuple[str, ...], str]]:
    """Return the plates by the parts of their names, and how loosely these can be compared."""
    keys: dict[tuple[str, ...], str] = {}
    spell: Callable[[str], str] = str
    for spell in (_spell_loosely, str.casefold, str):
        keys = {tuple(map(spell, _ATOM.findall(plate))): plate for plate in plates}
        # A looser spelling must not make two plates of the map one: P1 and P01, a and A.
        if len(keys) == len(plates):
            break
    return spell, keys


def _spell_loosely(atom: str) -> str:
    # Five digits with zeros in front count positions ("P00001" of ScanR), which are no plates.
    counted = len(atom) > 4 and atom.startswith("0")
    return str(int(atom)) if atom.isdecimal() and not counted else atom.casefold()


@dataclass(frozen=True)
class _Part:
    """A part of a path with its words and numbers, and the well of the path."""

    depth: int
    text: str
    atoms: "list[re.Match[str]]"
    spelled: list[str]
    well: Candidate | None

    def name(
        self, plate: str | None, strength: int, first: int, last: int, *, loose: bool = False
    ) -> Iterator[_Named]:
        """Yield the plate that the words from the first to the last name, if they stand alone."""
        start, end = self.atoms[first].start(), self.atoms[last].end()
        inside = self.text[start - 1 : start].isalnum() or self.text[end : end + 1].isalnum()
        well = self.well
        here = well is not None and well.depth == self.depth
        if inside or (here and well and start < well.end and well.start < end):
            return
        before = well is None or self.depth > well.depth or (here and start < well.start)
        # A number behind the well is a field's more often than a plate's.
        sure = strength if before or strength > 1 else -1
        left = len(_TOKENS.findall(self.text[:start]))
        yield _Named(plate, self.text[start:end], sure, self.depth, left, start, end, before, loose)


def _find_named(
    path: PurePath,
    well: Candidate | None,
    spell: Callable[[str], str],
    keys: Mapping[tuple[str, ...], str],
) -> Iterator[_Named]:
    for depth, text in enumerate(split_path(path)):
        atoms = list(_ATOM.finditer(text))
        part = _Part(depth, text, atoms, [spell(atom[0]) for atom in atoms], well)
        for index in range(len(atoms)):
            for key, plate in keys.items():
                last = index + len(key) - 1
                if tuple(part.spelled[index : last + 1]) == key:
                    bare = len(key) == 1 and key[0].isdecimal()
                    folder = depth > 0 and len(atoms) == 1
                    worded = key[0].lower() in _PLATE_WORDS
                    strength = 3 if worded else int(folder) if bare else 2
                    yield from part.name(plate, strength, index, last)
            if part.spelled[index].isdecimal():
                yield from _name_number(part, index, keys)


def _name_number(part: _Part, index: int, keys: Mapping[tuple[str, ...], str]) -> Iterator[_Named]:
    """Yield the plate that a number means: behind a word for plates, or as other plates are called."""
    # "P1" of the map may be "Plate 1" in the names, and the other way round.
    words = (*_PLATE_WORDS, *_SHORT_WORDS)
    cores = {key[1:]: name for key, name in keys.items() if key[:1] and key[0].lower() in words}
    core = (part.spelled[index],)
    listed = keys.get(core, cores.get(core))
    if index:
        before = part.spelled[index - 1]
        gap = part.text[part.atoms[index - 1].end() : part.atoms[index].start()]
        if (before, *core) in keys:
            return
        if before.lower() in _PLATE_WORDS and not gap.strip("-_ .#"):
            yield from part.name(listed, 3, index - 1, index, loose=core not in keys)
            return
        if before.lower() in _SHORT_WORDS and not gap and listed:
            yield from part.name(listed, 1, index - 1, index, loose=core not in keys)
            return
        alike = any(len(key) == 2 and key[0] == before and key[1].isdecimal() for key in keys)
        if alike and not gap:
            yield from part.name(None, 2, index - 1, index)
            return
    if core not in keys:
        yield from part.name(None, 0, index, index)


def _choose_named(named: Sequence[_Named]) -> tuple[_Named, ...]:
    """Return the surest name, several where they differ; none where nothing names a plate."""
    # "C04_exp1_2" may be field 2 of exp1 or a field of exp1_2; before the well the longer name counts.
    doubtful = [
        one
        for one in named
        for other in named
        if other.holds(one)
        and not other.before
        and other.text[len(one.text) :].strip("-_ .").isdecimal()
    ]
    named = [
        one
        for one in named
        if one.strength >= 0 and (one in doubtful or not any(other.holds(one) for other in named))
    ]
    best = max(((one.strength, one.before) for one in named), default=None)
    named = [one for one in named if (one.strength, one.before) == best]
    return tuple(
        {(one.plate, one.text if one.plate is None else ""): one for one in named}.values()
    )


def _say_plate(named: Sequence[_Named], plates: Sequence[str]) -> PlateReading:
    if len(named) == 1 and named[0].plate is not None:
        return PlateReading(named[0].plate)
    if len(named) == 1:
        return PlateReading(None, f"the plate map lists no plate {named[0].text}")
    if named:
        both = " and ".join(one.text for one in named)
        return PlateReading(None, f"its path can mean the plates {both}")
    # As many as are enough to recognise the pattern of their names.
    some = ", ".join(plates[:5]) + (f" and {len(plates) - 5} more" if len(plates) > 5 else "")
    return PlateReading(None, f"its path names none of the plates {some}")


def _find_further(
    paths: Sequence[PurePath],
    wells: Sequence[Candidate | None],
    chosen: Sequence[tuple[_Named, ...]],
) -> list[str]:
    """Return the longer name of a plate that the map lacks: "BR1_rep2" beside "BR1".

    Only where the same wells stand under both names; else the further words are a treatment.
    """
    words: list[tuple[str, ...]] = []
    under: dict[tuple[str | None, str], set[tuple[str, ...]]] = {}
    for path, well, named in zip(paths, wells, chosen, strict=True):
        further: tuple[str, ...] = ()
        if len(named) == 1 and well is not None:
            one, part = named[0], split_path(path)[named[0].depth]
            end = well.start if well.depth == one.depth and well.start > one.start else len(part)
            # Behind the well, or in a name whose folder is the well, are fields and channels.
            tail = part[one.end : end] if end < len(part) or one.depth > well.depth else ""
            found = _TOKENS.findall(tail)
            if well.depth == one.depth and well.start < one.start:
                found = [
                    word
                    for word in _TOKENS.findall(part[one.end :])
                    if not _COUNTED.fullmatch(word)
                ]
            further = tuple(word.casefold() for word in found)
            under.setdefault((one.plate, well.well), set()).add(further)
        words.append(further)
    mixed = {plate for (plate, _), names in under.items() if () in names and len(names) > 1}
    return [
        f"{named[0].text} {' '.join(further)}"
        if further and named and named[0].plate in mixed
        else ""
        for named, further in zip(chosen, words, strict=True)
    ]


@dataclass(frozen=True)
class SeparatePlates:
    """Names under which the same wells stand: several plates, as far as names can tell.

    ``values`` are the names, ``examples`` an image of each of the first two; ``behind``: they stand
    behind the well; ``evident``: they can hardly be anything else than plates.
    """

    values: tuple[str, ...]
    examples: tuple[PurePath, ...]
    behind: bool
    evident: bool

    @property
    def pattern(self) -> str:
        """A pattern that finds plate and well."""
        # The longer first, so that BR1_rep2 is not taken for BR1.
        names = sorted(self.values, key=len, reverse=True)
        plate = rf"(?P<plate>{'|'.join(re.escape(name) for name in names)})"
        well = r"(?P<well>[A-P]\d{1,2})(?!\d)"
        if self.behind:
            return rf"{well}[^A-Za-z0-9](?:.*[^A-Za-z0-9])?{plate}(?![A-Za-z0-9])"
        # The first well behind the plate: what looks like one behind it is a field (F001).
        return rf"(?<![A-Za-z0-9]){plate}[^A-Za-z0-9](?:.*?[^A-Za-z0-9])?{well}"


@dataclass(frozen=True)
class _Word:
    """A word of a path that may name its plate: what the rest of the path is without it."""

    text: str
    well: str
    rest: str
    behind: bool
    worded: bool
    counted: bool


def find_separate_plates(
    paths: Sequence[PurePath], wells: Sequence[Candidate | None]
) -> SeparatePlates | None:
    """Return the plates that the images may be of, None where nothing speaks for several.

    Evident are folders, or words before the well, under which the same wells and fields stand once
    more. Fields, planes, channels and times are no plates.

    Parameters
    ----------
    paths : sequence of PurePath
        Relative to the folder.
    wells : sequence of Candidate or None
        Where each path tells its well; paths without one say nothing.

    Returns
    -------
    SeparatePlates or None

    Examples
    --------
    >>> names = [PurePath(f"{run}/A{n}.tif") for run in ("run_a", "run_b") for n in (1, 2)]
    >>> wells = [Candidate(f"A0{n}", f"A{n}", "A", str(n), 0, 0, 2, 0, 0) for n in (1, 2)] * 2
    >>> find_separate_plates(names, wells).values
    ('run_a', 'run_b')
    """
    places: dict[tuple[int, int], dict[PurePath, _Word]] = {}
    told_twice = _find_told_twice(paths)
    for path, well in zip(paths, wells, strict=True):
        for place, word in _list_words(path, well, told_twice) if well else ():
            places.setdefault(place, {})[path] = word
    found = [one for words in places.values() if (one := _compare_words(words))]
    return max(found, key=lambda one: one.evident, default=None)


def _find_told_twice(paths: Sequence[PurePath]) -> frozenset[int]:
    """Return the depths of folders whose names the names of all files below them hold as well."""
    split = [split_path(path) for path in paths]
    return frozenset(
        depth
        for depth in range(1, min(map(len, split), default=0))
        if all(_without(parts[depth], parts[0], len(parts[0])) != parts[0] for parts in split)
    )


def _list_words(
    path: PurePath, well: Candidate, told_twice: frozenset[int]
) -> Iterator[tuple[tuple[int, int], _Word]]:
    parts = split_path(path)
    for depth, part in enumerate(parts):
        here = depth == well.depth
        spans = [(0, len(part))] if depth else [word.span() for word in _WORD.finditer(part)]
        # All that stands before the well too, for names of one or of several words (BR1, BR1_rep2).
        if here and depth == 0 and len(part[: well.start].strip("-_ .")) > 0:
            spans.append((0, len(part[: well.start].rstrip("-_ ."))))
        for left, (start, end) in enumerate(spans):
            text = part[start:end]
            if here and start < well.end and well.start < end:
                continue
            behind = depth < well.depth or (here and start >= well.end)
            # One number before the well and another one behind it: the latter is the field.
            fields = bool(re.search(r"\d", part[max(end, well.end if here else 0) :]))
            numbered = text.isdecimal() and (depth > well.depth or (here and fields and not behind))
            # "1_s1": the field is called one, so that the number before it is none.
            called = behind and _CALLED_FIELD.search(part[end:]) is not None
            numbered = numbered or (text.isdecimal() and called)
            worded = bool(_EVIDENT.fullmatch(text))
            # The last word is the field, whatever it is called ("T0001F001L01A01Z01C01").
            if behind and not worded and not fields:
                continue
            # "f1/A01f00.tif": the field stands in the name, so that the folder is none.
            other = bool(depth and _FIELD.fullmatch(text)) and _tells_field(path, well)
            others = [*parts[:depth], part[:start], part[end:], *parts[depth + 1 :]]
            if depth > well.depth and text in parts[well.depth]:
                others[well.depth] = _without(text, parts[well.depth], well.start)
            # "2/C03/DAPI_2_f1.tif": the number in the file is the plate's, in all names.
            if depth > well.depth > 0 and depth in told_twice:
                others[0] = _without(text, parts[0], len(parts[0]))
            yield (
                (depth, left if (start, left) != (0, len(spans) - 1) or left == 0 else -1),
                _Word(
                    text,
                    well.well,
                    "|".join(others),
                    behind,
                    worded=worded or (not behind and bool(_SHORT.fullmatch(text))),
                    counted=bool(_COUNTED.fullmatch(text)) and not numbered and not other,
                ),
            )


def _tells_field(path: PurePath, well: Candidate) -> bool:
    """Whether a file's name tells the field, by its convention or behind the well."""
    parsed = parse_name(path.name)
    if parsed is not None and parsed.groups.get("field"):
        return True
    return well.depth == 0 and bool(_OWN_FIELD.match(split_path(path)[0][well.end :]))


def _without(text: str, part: str, end: int) -> str:
    """Return the part that holds the well without what its folder is called too, before the well.

    Files of a plate's folder often begin with its name; behind the well a number is the field.
    """
    again = rf"(?<![A-Za-z0-9]){re.escape(text)}(?![A-Za-z0-9])"
    return re.sub(again, "", part[:end]) + part[end:]


def _compare_words(words: Mapping[PurePath, _Word]) -> SeparatePlates | None:
    values = sorted({word.text for word in words.values()})
    worded = all(word.worded for word in words.values())
    if len(values) < 2 or (not worded and all(word.counted for word in words.values())):
        return None
    of_well: dict[str, set[str]] = {}
    of_rest: dict[str, set[str]] = {}
    for word in words.values():
        of_well.setdefault(word.well, set()).add(word.text)
        of_rest.setdefault(word.rest, set()).add(word.text)
    shared = sum(len(names) > 1 for names in of_well.values())
    again = sum(len(names) > 1 for names in of_rest.values())
    # Half of the wells: plates are seldom whole, and a few images may be named like others.
    if 2 * shared < len(of_well) or (not worded and 2 * again < len(of_rest)):
        return None
    examples = tuple(next(p for p, word in words.items() if word.text == v) for v in values[:2])
    behind = any(word.behind for word in words.values())
    return SeparatePlates(tuple(values), examples, behind, evident=worded or not behind)
