"""Words and numbers that can name a channel wherever they stand in a file's name, and which one does.

A mark is a word or number that can name a channel ("DAPI", "ch00", "c1"). Words mean other things too
(``DAPI_ER-stress``, well C1), so that marks are judged over all names of a folder: the one that
differs between otherwise equal names is the channel.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import PurePath

# Stains that stand in names, as people and cameras' software write them.
_STAINS = (
    r"DAPI|Hoechst(?:[ -]?(?:33342|33258|34580))?|DRAQ5|DNA|TMR[ME]|JC-?1|"
    r"Mito(?:Tracker)?(?:[ -]?(?:Deep[ -]?)?(?:Red|Green|Orange))?(?:[ -]?CMXRos)?|"
    r"E?GFP|E?YFP|E?CFP|E?BFP|RFP|mCherry|tdTomato|FITC|TRITC|Cy[357](?:\.5)?|Tx?Red|Texas ?Red|"
    r"Alexa(?:Fluor)?\d+|AF\d{3}|AGP|ER|RNA|Actin|Phalloidin|Tubulin|Nucle(?:i|us)|Calcein|"
    r"MitoSOX|SYTO\d*|SYTOX(?:Green|Red)?|WGA|ConA|Cell(?:Mask|ROX)|LysoTracker(?:Red|Green)?|TOMM?20|"
    r"Bright ?field|Phase(?: ?Contrast)?|BF|DIC"
)
# Colours, in the languages of microscopes' menus, and what light is that excites no stain.
_COLOURS = (
    r"(?:far[ -]?|deep[ -]?)?red|green|blue|orange|yellow|cyan|magenta|nir|rot|gr(?:ü|ue)n|blau|gelb|"
    r"vert|rouge|bleu|jaune|verde|rojo|azul|rosso|blu|transmi(?:tted|ssion)|TL"
)
# Of these, what is done to cells is called after too.
_ALSO_WORDS = re.compile(r"ER|RNA|DNA|E?GFP|Actin|Tubulin|Nucle(?:i|us)|BF|Mito", re.IGNORECASE)


@dataclass(frozen=True)
class Mark:
    """A word or number that can name a channel, wherever it stands in a name.

    Parameters
    ----------
    name : str
        Who writes it, or what it is.
    expression : str
        Found anywhere in a name; its group ``channel`` is what differs between the channels.
    channel_name : str
        Template that makes a channel's name of the group ``channel``.
    sure : bool
        It is a channel in a single name too; the others only where they differ between otherwise
        equal names, and alike for most images.
    """

    name: str
    expression: str
    channel_name: str = "{channel}"
    sure: bool = True

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """The expression, compiled when it is first needed: that takes longer than this file."""
        return re.compile(self.expression, re.IGNORECASE)


# What stands around a word in a name, and dimensions that stand without a gap beside a channel's
# number ("t01xy01c1", "s01c1", "F001C001Z001"); no r, since "r01c03" is a row and a column.
_BEGIN, _END = r"(?:^|(?<=[_\-. ()\[\]+,]))", r"(?=[_\-. ()\[\]+,]|$)"
_BESIDE = r"(?:XY|POS|[AFGHLMPSTVXYZ])_?\d+"


# Of several in one name that differ alike, the first is the channel.
MARKS = (
    Mark("stain in the name", rf"{_BEGIN}(?P<channel>{_STAINS}){_END}"),
    Mark("wavelength in the name", rf"{_BEGIN}(?P<channel>\d{{3}} ?nm){_END}"),
    Mark(
        "ch and a number, as LAS X and Keyence write",
        rf"{_BEGIN}ch[_-]?(?P<channel>\d{{1,4}}){_END}",
        "ch{channel}",
    ),
    Mark(
        "channel and a number, as Micro-Manager writes",
        rf"{_BEGIN}chan(?:nel)?[_\- ]?(?P<channel>\d{{1,4}}){_END}",
        "channel{channel}",
    ),
    Mark(
        "c beside other dimensions, as ZEN, NIS and Olympus write",
        rf"(?:{_BEGIN}|(?=XY\d)|(?=T\d+XY\d))(?:B\d+)?(?:{_BESIDE})+C(?P<channel>\d{{1,4}})"
        rf"(?:{_END}|(?=(?:{_BESIDE})))",
        "c{channel}",
    ),
    Mark(
        "C before other dimensions, as Olympus writes",
        rf"{_BEGIN}C(?P<channel>\d{{1,4}})(?=(?:{_BESIDE})+{_END})",
        "c{channel}",
    ),
    # "XY01_C1": a position beside it, of which plates have none.
    Mark(
        "C behind a position, as NIS writes",
        rf"{_BEGIN}XY_?\d+_C(?P<channel>\d{{1,4}}){_END}",
        "c{channel}",
    ),
    Mark("colour in the name", rf"{_BEGIN}(?P<channel>{_COLOURS}){_END}", sure=False),
    Mark(
        "c and a number, as ZEN, Bio-Formats and ImageJ write",
        rf"{_BEGIN}c[_=-]?(?P<channel>\d{{1,4}}){_END}",
        "c{channel}",
        sure=False,
    ),
    Mark(
        "excitation in the name",
        rf"{_BEGIN}(?:ex)?(?P<channel>355|36[05]|38[05]|395|405|4[78]0|488|514|53[02]|54[05]|555|56[018]|"
        rf"59[04]|63[05]|640|647){_END}",
        sure=False,
    ),
)
# What folders of one channel each are called, beside all marks.
_CONTENTS = re.compile(
    r"(?:nucle(?:i|us)|nuc|mito(?:chondri(?:a|en|on)|s)?|kerne?|noyaux?|mitochondries?|n[uú]cleos?|"
    r"mitoc[oô]ndrias?|golgi|cyto(?:plasm)?|membranes?|lysosomes?)",
    re.IGNORECASE,
)
# C1 is a well's folder more often than a channel's, unless it is counted from 0 or in four digits.
_FOLDER_NUMBER = re.compile(r"C0|C\d{3,4}", re.IGNORECASE)
# Of one image; more values in one place of the names are wells, fields or clones.
MOST_CHANNELS = 8
_SINGLE_HOLE = "*"  # stands in no file name


def is_channel_folder(name: str) -> bool:
    """Whether a folder's name may be that of a channel.

    Examples
    --------
    >>> [is_channel_folder(name) for name in ("TMRM", "ch01", "rot", "Kerne", "day1", "C2")]
    [True, True, True, True, False, False]
    """
    if _CONTENTS.fullmatch(name) or _FOLDER_NUMBER.fullmatch(name):
        return True
    doubtful = re.fullmatch(r"c[_-]?\d+", name, re.IGNORECASE)
    return not doubtful and any(mark.pattern.fullmatch(name) for mark in MARKS)


@dataclass(frozen=True)
class FoundMark:
    """A mark in a name: ``whole`` where it is a word, not a part of one ("DAPI" in "f1-DAPI_x").

    ``condition`` where it rather belongs to the word behind it ("ER-stress", "Actin-KO").
    """

    mark: Mark
    rank: int
    span: tuple[int, int]
    text: str
    whole: bool
    condition: bool
    spelled: str


# Folder, and the name with holes where the marks are.
_Template = tuple[PurePath, str]


@dataclass
class MarkedName:
    """A file's name without its suffix (``stem``), and the marks that are found in it."""

    path: PurePath
    stem: str
    found: list[FoundMark] = field(default_factory=list)

    def __post_init__(self) -> None:
        for rank, mark in enumerate(MARKS):
            for match in mark.pattern.finditer(self.stem):
                span = match.span("channel")
                # "Far Red" is one word, not also "Red".
                if not any(a < span[1] and span[0] < b for a, b in (f.span for f in self.found)):
                    whole = self._is_word(match)
                    behind = re.match(r"-[^\W\d_]{2}", self.stem[match.end() :])
                    condition = not whole and bool(behind and _ALSO_WORDS.fullmatch(match[0]))
                    item = FoundMark(mark, rank, span, match["channel"], whole, condition, match[0])
                    self.found.append(item)
        self.found = [item for item in self.found if not self._is_other(item)]

    def _is_other(self, item: FoundMark) -> bool:
        """Whether another mark of the same kind is the channel: c2 in "C01_f1_c2" and "C2-C01_f1"."""
        alike = [other for other in self.found if other.rank == item.rank and other is not item]
        if any(_is_split(self, other) for other in alike):
            return True
        well = _is_capital(item) and not _is_split(self, item)
        return well and not all(_is_capital(other) for other in alike)

    def _is_word(self, match: re.Match[str]) -> bool:
        # In a name whose words are set apart by hyphens only, a hyphen makes no longer word.
        if not re.search(r"[_. ]", self.stem):
            return True
        around = self.stem[match.start() - 1 : match.start()] + self.stem[match.end() :][:1]
        return "-" not in around

    def template(self, *found: FoundMark) -> _Template:
        """Return what is equal for names that differ in these marks alone."""
        text, last = "", 0
        for start, end in sorted(item.span for item in found):
            text, last = text + self.stem[last:start] + _SINGLE_HOLE, end
        return self.path.parent, (text + self.stem[last:]).lower()


@dataclass(frozen=True)
class JudgedMark:
    """The mark of a name that is its channel.

    ``rank`` is that of the likeliest mark of the image's files, ``rest`` the name with a hole where
    the mark is; ``others`` are channels that the name can as well mean.
    """

    found: FoundMark
    rank: int
    rest: str
    others: tuple[str, ...]


def judge_marks(
    names: Sequence[MarkedName], *, one_image: bool = False
) -> dict[PurePath, JudgedMark]:
    """Choose the mark of each name that is its channel; ``one_image``: it is known that each has one.

    Parameters
    ----------
    names : sequence of MarkedName
        Of one or several folders; only names of the same folder are compared.
    one_image : bool
        Whether the files are those of one image.

    Returns
    -------
    dict of PurePath to JudgedMark
        Without the names in which no mark is a channel.
    """
    values: dict[_Template, dict[str, FoundMark]] = {}
    for name in names:
        for item in name.found:
            values.setdefault(name.template(item), {}).setdefault(item.text.lower(), item)
    trusted = _find_trusted(names, values)
    # What is a channel elsewhere in the folder is the likelier one in a name without siblings.
    usual = Counter(text for texts in values.values() if len(texts) > 1 for text in texts)
    together = _differing_together(names)
    judged = {}
    for name in names:
        able = [
            item
            for item in name.found
            if (item.mark.sure or one_image or (name.path, item.span) in trusted)
            and not all(other.condition for other in values[name.template(item)].values())
        ]
        differing = [item for item in able if 1 < len(values[name.template(item)]) <= MOST_CHANNELS]
        others: tuple[str, ...] = ()
        if differing:
            chosen, others = _choose(differing, usual)
            template = name.template(chosen)
            rank = min(item.rank for item in values[template].values())
        elif name.path in together:
            chosen, template = together[name.path]
            rank = chosen.rank
        else:
            lone = [item for item in able if item.mark.sure]
            if not lone:
                continue
            chosen, others = _choose(lone, usual)
            template, rank = name.template(chosen), chosen.rank
        judged[name.path] = JudgedMark(chosen, rank, template[1], others)
    return judged


def _choose(
    found: Sequence[FoundMark], usual: Mapping[str, int]
) -> tuple[FoundMark, tuple[str, ...]]:
    """Return the likeliest channel of several, and those that are as likely."""

    def likelihood(item: FoundMark) -> tuple[bool, int, bool]:
        return item.whole, -item.rank, usual.get(item.text.lower(), 0) > 0

    best = max(likelihood(item) for item in found)
    alike = [item for item in found if likelihood(item) == best]
    # The longest, and of these the first: conditions stand behind stains more often than before.
    chosen = max(alike, key=lambda item: len(item.text))
    others = (item.text for item in alike if item.text.lower() != chosen.text.lower())
    return chosen, tuple(dict.fromkeys(others))


# A doubtful mark's name, how many of them a name holds, and which of these it is: the dose and the
# channel in "C10_exp_C1" are two things.
_Slot = tuple[str, int, int]


def _slots(name: MarkedName) -> dict[_Slot, FoundMark]:
    by_mark: dict[str, list[FoundMark]] = {}
    for item in sorted(name.found, key=lambda one: one.span):
        if not item.mark.sure:
            by_mark.setdefault(item.mark.name, []).append(item)
    return {
        (mark, len(items), place): item
        for mark, items in by_mark.items()
        for place, item in enumerate(items)
    }


def _find_trusted(
    names: Sequence[MarkedName], values: Mapping[_Template, Mapping[str, FoundMark]]
) -> set[tuple[PurePath, tuple[int, int]]]:
    """Return the doubtful marks that are channels, by the file and where they stand in its name."""
    slots: dict[_Slot, list[tuple[MarkedName, FoundMark]]] = {}
    for name in names:
        for slot, item in _slots(name).items():
            slots.setdefault(slot, []).append((name, item))
    return {
        (name.path, item.span)
        for marked in slots.values()
        if _is_alike_for_most(marked, names, values)
        for name, item in marked
    }


def _is_alike_for_most(
    marked: Sequence[tuple[MarkedName, FoundMark]],
    names: Sequence[MarkedName],
    values: Mapping[_Template, Mapping[str, FoundMark]],
) -> bool:
    """Whether a doubtful mark takes the same few values for most images, as channels do."""
    templates = {name.template(item) for name, item in marked}
    every = {text for template in templates for text in values[template]}
    if not 1 < len(every) <= MOST_CHANNELS:
        return False
    complete = sum(len(values[template]) == len(every) for template in templates)
    if 2 * complete < len(templates):
        return False
    wells = any(_is_capital(item) and not _is_split(name, item) for name, item in marked)
    if not wells or "0" in {text.lstrip("0") or "0" for text in every}:
        return True
    # Beside wells of several rows it is none; one row alone may be a plate's name (P1) or a day (D3).
    rows = {row.upper() for name, _ in marked for row in _LONE_WELL.findall(name.stem)}
    if len(rows) > 1:
        return True
    # C1 and C2 are wells where there are wells of other rows, and where columns have two digits.
    unmarked = {id(name) for name in names} - {id(name) for name, _ in marked}
    others = any(id(name) in unmarked and _LONE_WELL.search(name.stem) for name in names)
    alone = not rows or rows <= _OTHER_THINGS
    counted = {str(number + 1) for number in range(len(every))}
    numbers = every if alone else {text.lstrip("0") for text in every}
    return numbers == counted and not others and len(templates) > 1


# Days, embryonic days, fields, hours, mice, repeats and plates are called so too.
_OTHER_THINGS = frozenset("DEFHMNP")
# Its row.
_LONE_WELL = re.compile(r"(?<![A-Za-z0-9])([ABD-P])\d{1,2}(?![A-Za-z0-9])")


def _is_capital(item: FoundMark) -> bool:
    return re.fullmatch(r"C\d{1,2}", item.spelled) is not None


def _is_split(name: MarkedName, item: FoundMark) -> bool:
    # "C1-name" is how ImageJ splits channels.
    return re.match(r"C\d-", name.stem, re.IGNORECASE) is not None and item.span == (1, 2)


def _differing_together(
    names: Sequence[MarkedName],
) -> dict[PurePath, tuple[FoundMark, _Template]]:
    """Find stains that differ together with a number of the channel ("DAPI_ch00", "TMRM_ch01")."""
    groups: dict[_Template, list[tuple[PurePath, tuple[FoundMark, ...]]]] = {}
    for name in names:
        words = [item for item in name.found if item.rank == 0 and item.whole]
        numbers = [item for item in name.found if item.rank > 0]
        if len(words) == 1 and numbers:
            found = (*words, *numbers)
            groups.setdefault(name.template(*found), []).append((name.path, found))
    chosen: dict[PurePath, tuple[FoundMark, _Template]] = {}
    for template, members in groups.items():
        stains = {found[0].text.lower() for _, found in members}
        marks = {tuple(item.text.lower() for item in found) for _, found in members}
        if len(members) == len(stains) == len(marks) > 1:
            chosen |= {path: (found[0], template) for path, found in members}
    return chosen
