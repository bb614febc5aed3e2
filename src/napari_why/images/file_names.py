"""What the name of a file tells: channel, well, field and plane, by a table of conventions.

Microscopes name files that hold one plane of one channel each in ways of their own.

A convention is a regular expression for a name without its suffix. Its named groups tell where
the plane belongs: ``plate``, ``well`` (or ``row`` and ``column``), ``field``, ``channel``, ``z``,
``t``; ``thumbnail`` and ``projection`` mark what is no plane; ``order`` sorts channels. Any other
named group must agree between the files of one image; text outside groups may differ (serial
numbers, laser lines).

A mark is a word or number that can name a channel wherever it stands in a name ("DAPI", "ch00",
"c1"). Words mean other things too (``DAPI_ER-stress``, well C1), so that marks are judged over all
names of a folder: the one that differs between otherwise equal names is the channel.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import PurePath

from napari_why.core.errors import ParameterError
from napari_why.images.formats import file_suffixes
from napari_why.images.wells import row_number, spell_well, well_name

# Named groups that tell where a plane belongs, and those that mark what is no plane.
PLACES = ("plate", "well", "row", "column", "field", "channel", "z", "t")
_KINDS = ("thumbnail", "projection")
_MARKS = (*_KINDS, "order")
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
# A serial number that instruments add to names, which exported files lack.
_GUID = r"[0-9A-F]{8}(?:-[0-9A-F]{4}){3}-[0-9A-F]{12}"
# Of 384 and of 1536 wells; the latter with two digits, since "AF488" is a stain.
_WELL = r"[A-P]\d{1,2}|A[A-F]\d{2}"


@dataclass(frozen=True)
class Convention:
    """A way of naming files.

    Parameters
    ----------
    name : str
        Microscope or software.
    pattern : re.Pattern
        Matches a whole file name without its suffix; see the module's text for the groups.
    channel_name : str
        Template that makes a channel's name of the group ``channel``.
    """

    name: str
    pattern: re.Pattern[str]
    channel_name: str = "{channel}"

    @property
    def levels(self) -> int:
        """How many folders above the file a user's own pattern matches too."""
        # Not within a set of characters: "[^/]+" is the name of one folder.
        return re.sub(r"\[[^\]]*\]", "", self.pattern.pattern).count("/")


def _convention(name: str, pattern: str, channel_name: str = "{channel}") -> Convention:
    return Convention(name, re.compile(pattern, re.IGNORECASE), channel_name)


# The first that fits is taken: special ones come before general ones, those with wells before those
# without, and the stain in any name last. docs/formats.md shows a name for each.
CONVENTIONS = (
    _convention(
        "Opera Phenix / Harmony",
        r"r(?P<row>\d+)c(?P<column>\d+)f(?P<field>\d+)p(?P<z>\d+)(?:rc\d+)?-ch(?P<channel>\d+)"
        r"sk(?P<t>\d+)(?P<rest>(?:f[kl]\d+)*)",
        "ch{channel}",
    ),
    _convention(
        "Operetta",
        r"(?P<row>\d{3})(?P<column>\d{3})-(?P<field>\d+)-(?P<z>\d{3})(?P<t>\d{3})(?P<channel>\d{3})",
        "ch{channel}",
    ),
    _convention(
        "ImageXpress / MetaXpress",
        rf"(?P<plate>.+)_(?P<well>{_WELL})(?:_s(?P<field>\d+))?_w(?P<channel>\d{{1,2}})"
        rf"(?P<thumbnail>_thumb)?(?:{_GUID})?",
        "w{channel}",
    ),
    _convention(
        "MetaXpress without wells",
        rf"(?P<before>.+)_w(?P<channel>\d{{1,2}})(?P<thumbnail>_thumb)?(?:{_GUID})?",
        "w{channel}",
    ),
    _convention(
        "MetaMorph series",
        r"(?P<before>.+?)_w(?P<order>\d)(?P<channel>[A-Z][^_]*)(?:_s(?P<field>\d+))?"
        r"(?:_t(?P<t>\d+))?",
    ),
    _convention(
        "CellVoyager",
        rf"(?:(?P<plate>.+)_)?(?P<well>{_WELL})_T(?P<t>\d+)F(?P<field>\d+)L\d+A\d+Z(?P<z>\d+)"
        r"C(?P<channel>\d+)(?P<projection>_(?:mip|sip))?",
        "C{channel}",
    ),
    _convention(
        "CellVoyager, wells by number",
        r"(?:(?P<plate>.+)_)?(?P<well_number>W\d+)F(?P<field>\d+)T(?P<t>\d+)Z(?P<z>\d+)C(?P<channel>\d+)",
        "C{channel}",
    ),
    _convention(
        "IN Cell Analyzer",
        r"(?:(?P<plate>.+)_)?(?P<row>[A-P]|A[A-F]) - (?P<column>\d{1,2})\((?:fld (?P<field>\d+) ?)?"
        r"wv (?P<channel>.+?)(?: wix \d+)?(?: ?z (?P<z>\d+))?(?:-? ?time (?P<t>\d+)[^)]*)?\)",
    ),
    _convention(
        "ScanR",
        r"(?:(?P<plate>.+)--)?(?P<well_number>W\d+)--P(?P<field>\d+)--Z(?P<z>\d+)--T(?P<t>\d+)--"
        r"(?P<channel>[^-]+)",
    ),
    _convention(
        "ChannelN- prefix with wells",
        r"Channel(?P<channel>\d+)-(?P<number>\d+)-(?P<row>[A-P])-(?P<column>\d{1,2})",
        "Channel{channel}",
    ),
    _convention("ChannelN- prefix", r"Channel(?P<channel>\d+)-(?P<after>.+)", "Channel{channel}"),
    _convention(
        "Gen5 / Cytation",
        rf"(?P<well>{_WELL})_(?P<read>\d+)_(?P<order>\d+)_(?P<field>\d+)(?:Z(?P<z>\d+))?_"
        r"(?P<channel>[^_\d][^_]*)_(?P<t>\d+)",
    ),
    _convention(
        "Cellomics, EVOS",
        rf"(?P<plate>.+)_(?P<well>{_WELL})f(?P<field>\d+)d(?P<channel>\d+)(?:\.C01)?",
        "d{channel}",
    ),
    _convention(
        "Leica matrix screener",
        r"(?P<before>image--L\d+--S\d+)--U(?P<column_from_0>\d+)--V(?P<row_from_0>\d+)"
        r"(?P<after>--.+?)(?:--T(?P<t>\d+))?(?:--Z(?P<z>\d+))?--C(?P<channel>\d+)",
        "C{channel}",
    ),
    _convention(
        "Micro-Manager",
        r"img_(?P<t>\d{9})_(?P<channel>.+)_(?P<z>\d{3})",
    ),
)


@dataclass(frozen=True)
class Mark:
    """A word or number that can name a channel, wherever it stands in a name.

    Parameters
    ----------
    name : str
        Who writes it, or what it is.
    pattern : re.Pattern
        Found anywhere in a name; its group ``channel`` is what differs between the channels.
    channel_name : str
        Template that makes a channel's name of the group ``channel``.
    sure : bool
        It is a channel in a single name too; the others only where they differ between otherwise
        equal names, and alike for most images.
    """

    name: str
    pattern: re.Pattern[str]
    channel_name: str = "{channel}"
    sure: bool = True


# What stands around a word in a name, and dimensions that stand without a gap beside a channel's
# number ("t01xy01c1", "s01c1", "F001C001Z001"); no r, since "r01c03" is a row and a column.
_BEGIN, _END = r"(?:^|(?<=[_\-. ()\[\]+,]))", r"(?=[_\-. ()\[\]+,]|$)"
_BESIDE = r"(?:XY|POS|[AFGHLMPSTVXYZ])_?\d+"


def _mark(name: str, pattern: str, channel_name: str = "{channel}", *, sure: bool = True) -> Mark:
    return Mark(name, re.compile(pattern, re.IGNORECASE), channel_name, sure)


# Of several in one name that differ alike, the first is the channel.
MARKS = (
    _mark("stain in the name", rf"{_BEGIN}(?P<channel>{_STAINS}){_END}"),
    _mark("wavelength in the name", rf"{_BEGIN}(?P<channel>\d{{3}} ?nm){_END}"),
    _mark(
        "ch and a number, as LAS X and Keyence write",
        rf"{_BEGIN}ch[_-]?(?P<channel>\d{{1,4}}){_END}",
        "ch{channel}",
    ),
    _mark(
        "channel and a number, as Micro-Manager writes",
        rf"{_BEGIN}chan(?:nel)?[_\- ]?(?P<channel>\d{{1,4}}){_END}",
        "channel{channel}",
    ),
    _mark(
        "c beside other dimensions, as ZEN, NIS and Olympus write",
        rf"(?:{_BEGIN}|(?=XY\d)|(?=T\d+XY\d))(?:B\d+)?(?:{_BESIDE})+C(?P<channel>\d{{1,4}})"
        rf"(?:{_END}|(?=(?:{_BESIDE})))",
        "c{channel}",
    ),
    _mark(
        "C before other dimensions, as Olympus writes",
        rf"{_BEGIN}C(?P<channel>\d{{1,4}})(?=(?:{_BESIDE})+{_END})",
        "c{channel}",
    ),
    _mark("colour in the name", rf"{_BEGIN}(?P<channel>{_COLOURS}){_END}", sure=False),
    _mark(
        "c and a number, as ZEN, Bio-Formats and ImageJ write",
        rf"{_BEGIN}c[_-]?(?P<channel>\d{{1,4}}){_END}",
        "c{channel}",
        sure=False,
    ),
    _mark(
        "excitation in the name",
        rf"{_BEGIN}(?:ex)?(?P<channel>355|36[05]|38[05]|395|405|4[78]0|488|514|53[02]|54[05]|555|56[018]|"
        rf"59[04]|63[05]|640|647){_END}",
        sure=False,
    ),
)
# Of one image; more values in one place of the names are wells, fields or clones.
MOST_CHANNELS = 8
_SINGLE_HOLE = "*"  # stands in no file name


def own_convention(pattern: str) -> Convention:
    r"""Make a convention of a user's own regular expression for file names without suffix.

    Parameters
    ----------
    pattern : str
        With the named group ``channel``, and any of ``plate``, ``well`` (or ``row`` and
        ``column``), ``field``, ``z``, ``t``, and ``before`` and ``after`` for what else must agree
        between the files of an image; matches whole names, in either case. With ``/`` it
        matches as many folders above the file too: ``(?P<channel>DAPI|TMRM)/(?P<field>.+)``.

    Raises
    ------
    ParameterError
        It is no regular expression, or its groups are not these.

    Examples
    --------
    >>> own_convention(r"(?P<well>[A-H]\d+)-(?P<channel>red|green)").name
    'your own pattern'
    """
    try:
        compiled = re.compile(pattern, re.IGNORECASE)
    except re.error as error:
        raise ParameterError(
            f"pattern: found {pattern!r}, which is no regular expression ({error})"
        ) from error
    groups = set(compiled.groupindex)
    if "channel" not in groups or not groups <= {*PLACES, *_MARKS, "before", "after"}:
        raise ParameterError(
            f"pattern: found the named groups {', '.join(sorted(groups)) or 'none'}; expected "
            f"channel, and any of {', '.join(PLACES)}, before and after"
        )
    return Convention("your own pattern", compiled)


@dataclass(frozen=True)
class ParsedName:
    """A file name understood by a convention.

    ``groups`` are the convention's named groups but the channel, as the file spells them;
    ``channel`` is the channel's name; ``order`` sorts the channels. ``others`` are channels that
    the name can as well mean, of which the folder does not tell which is meant.
    """

    convention: str
    groups: Mapping[str, str]
    channel: str
    order: tuple[int, str]
    others: tuple[str, ...] = ()

    @cached_property
    def image(self) -> tuple[tuple[str, str], ...]:
        """What is equal for the files of one image."""
        return tuple((key, text.lower()) for key, text in sorted(self.groups.items()) if text)

    @property
    def well(self) -> str:
        """Row letters and a column of two digits ("B03"); as spelled where it is a number."""
        row, column = self.groups.get("row", ""), self.groups.get("column", "")
        if row and column:
            number = int(row) if row.isdecimal() else row_number(row)
            return spell_well(number, int(column)) or f"{row}{column}".upper()
        if "row_from_0" in self.groups:
            down, across = int(self.groups["row_from_0"]), int(self.groups["column_from_0"])
            return spell_well(down + 1, across + 1) or ""
        spelled = self.groups.get("well", "").upper()
        return well_name(spelled) or spelled or self.groups.get("well_number", "").upper()

    @property
    def plate(self) -> str:
        """The plate's name, in small letters; empty where the file's name tells none."""
        return self.groups.get("plate", "").lower()

    @property
    def kind(self) -> str:
        """What the file is: "plane", "thumbnail" or "projection"."""
        return next((kind for kind in _KINDS if self.groups.get(kind)), "plane")

    def number(self, group: str) -> int | None:
        """Return the number of a field, z plane or time point; None where the name has none."""
        text = self.groups.get(group, "")
        return int(text) if text.isdecimal() else None


def parse_name(name: str, conventions: Sequence[Convention] = CONVENTIONS) -> ParsedName | None:
    """Understand a file name by the first convention that fits, or return None.

    Examples
    --------
    >>> parsed = parse_name("r03c03f03p01-ch4sk1fk1fl1.tiff")
    >>> parsed.channel, parsed.well, parsed.number("field"), parsed.number("z")
    ('ch4', 'C03', 3, 1)
    >>> parsed = parse_name("plate1_B02_s1_w2.TIF")
    >>> parsed.groups["plate"], parsed.well, parsed.channel
    ('plate1', 'B02', 'w2')
    >>> parse_name("field.tif") is None
    True
    """
    path = PurePath(name)
    return parse_names([path], conventions).get(path)


def parse_names(
    paths: Iterable[PurePath], conventions: Sequence[Convention] = CONVENTIONS
) -> dict[PurePath, ParsedName]:
    """Understand the names of files that lie together, each in the light of the others.

    Parameters
    ----------
    paths : iterable of PurePath
        Files of one or several folders; only files of the same folder are of the same image.
    conventions : sequence of Convention
        Words and numbers anywhere in the names (:data:`MARKS`) count beside the known ones only,
        not beside a user's own.

    Returns
    -------
    dict of PurePath to ParsedName
        Without the files whose names tell no channel.

    Examples
    --------
    >>> names = [PurePath(f"{stain}_ER-stress_f0.tif") for stain in ("DAPI", "TMRM")]
    >>> [parsed.channel for parsed in parse_names(names).values()]
    ['DAPI', 'TMRM']
    >>> parse_names([PurePath("f0_c1.tif"), PurePath("f1_c1.tif")])
    {}
    """
    parsed: dict[PurePath, ParsedName] = {}
    rest: list[_MarkedName] = []
    for path in paths:
        stem = _stem_of_image(path.name)
        if stem is None:
            continue
        # A user's pattern with "/" tells the channel by the folders above the file too.
        above = path.parts[-1 - _levels(conventions) : -1]
        known = _match_convention("/".join((*above, stem)), conventions)
        if known:
            parsed[path] = known
        elif conventions is CONVENTIONS:
            rest.append(_MarkedName(path, stem))
    return parsed | _judge_marks(rest)


def _levels(conventions: Sequence[Convention]) -> int:
    return 0 if conventions is CONVENTIONS else conventions[0].levels


def may_tell_channel(name: str) -> bool:
    """Whether a name could tell a channel beside others; quick, for one name of a large folder."""
    stem = _stem_of_image(name)
    if stem is None:
        return False
    known = _match_convention(stem, CONVENTIONS) is not None
    return known or any(mark.pattern.search(stem) for mark in MARKS)


def _stem_of_image(name: str) -> str | None:
    stem, _, suffix = name.rpartition(".")
    if f".{suffix.lower()}" not in file_suffixes():
        return None
    return stem[: -len(".ome")] if stem.lower().endswith(".ome") else stem


def _match_convention(stem: str, conventions: Sequence[Convention]) -> ParsedName | None:
    for convention in conventions:
        match = convention.pattern.fullmatch(stem)
        if match:
            groups = match.groupdict(default="")
            channel = groups.pop("channel")
            # By number, so that w10 comes after w2; channels by name have no order but their own.
            number = groups.pop("order", None) or (channel if channel.isdecimal() else "0")
            return ParsedName(
                convention=convention.name,
                groups=groups,
                channel=convention.channel_name.format(channel=channel),
                order=(int(number), channel.lower()),
            )
    return None


@dataclass(frozen=True)
class _Found:
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
class _MarkedName:
    path: PurePath
    stem: str
    found: list[_Found] = field(default_factory=list)

    def __post_init__(self) -> None:
        for rank, mark in enumerate(MARKS):
            for match in mark.pattern.finditer(self.stem):
                span = match.span("channel")
                # "Far Red" is one word, not also "Red".
                if not any(a < span[1] and span[0] < b for a, b in (f.span for f in self.found)):
                    whole = self._is_word(match)
                    behind = re.match(r"-[^\W\d_]{2}", self.stem[match.end() :])
                    condition = not whole and bool(behind and _ALSO_WORDS.fullmatch(match[0]))
                    item = _Found(mark, rank, span, match["channel"], whole, condition, match[0])
                    self.found.append(item)
        self.found = [item for item in self.found if not self._is_other(item)]

    def _is_other(self, item: _Found) -> bool:
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

    def template(self, *found: _Found) -> _Template:
        text, last = "", 0
        for start, end in sorted(item.span for item in found):
            text, last = text + self.stem[last:start] + _SINGLE_HOLE, end
        return self.path.parent, (text + self.stem[last:]).lower()


def _judge_marks(names: Sequence[_MarkedName]) -> dict[PurePath, ParsedName]:
    """Choose the mark of each name that is its channel."""
    values: dict[_Template, dict[str, _Found]] = {}
    for name in names:
        for item in name.found:
            values.setdefault(name.template(item), {}).setdefault(item.text.lower(), item)
    doubted = {mark.name for mark in MARKS if not mark.sure}
    trusted = {mark for mark in doubted if _is_alike_for_most(mark, names, values)}
    # What is a channel elsewhere in the folder is the likelier one in a name without siblings.
    usual = Counter(text for texts in values.values() if len(texts) > 1 for text in texts)
    together = _differing_together(names)
    parsed = {}
    for name in names:
        able = [
            item
            for item in name.found
            if (item.mark.sure or item.mark.name in trusted)
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
        parsed[name.path] = _parsed_by_mark(chosen, rank, template[1], others)
    return parsed


def _choose(found: Sequence[_Found], usual: Mapping[str, int]) -> tuple[_Found, tuple[str, ...]]:
    """Return the likeliest channel of several, and those that are as likely."""

    def likelihood(item: _Found) -> tuple[bool, int, bool]:
        return item.whole, -item.rank, usual.get(item.text.lower(), 0) > 0

    best = max(likelihood(item) for item in found)
    alike = [item for item in found if likelihood(item) == best]
    # The longest, and of these the first: conditions stand behind stains more often than before.
    chosen = max(alike, key=lambda item: len(item.text))
    others = (item.text for item in alike if item.text.lower() != chosen.text.lower())
    return chosen, tuple(dict.fromkeys(others))


def _is_alike_for_most(
    mark: str, names: Sequence[_MarkedName], values: Mapping[_Template, Mapping[str, _Found]]
) -> bool:
    """Whether a doubtful mark takes the same few values for most images, as channels do."""
    marked = [(name, item) for name in names for item in name.found if item.mark.name == mark]
    templates = {name.template(item) for name, item in marked}
    every = {text for template in templates for text in values[template]}
    if not 1 < len(every) <= MOST_CHANNELS:
        return False
    complete = sum(len(values[template]) == len(every) for template in templates)
    if 2 * complete < len(templates):
        return False
    wells = [item for name, item in marked if _may_be_well(name, item)]
    if not wells or "0" in {text.lstrip("0") or "0" for text in every}:
        return True
    # C1 and C2 are wells where there are wells of other rows, and where columns have two digits.
    unmarked = {id(name) for name in names} - {id(name) for name, _ in marked}
    others = any(id(name) in unmarked and _has_well(name.stem) for name in names)
    counted = {str(number + 1) for number in range(len(every))}
    return every == counted and not others and len(templates) > 1


_LONE_WELL = re.compile(r"(?<![A-Za-z0-9])[ABD-P]\d{1,2}(?![A-Za-z0-9])")


def _has_well(stem: str) -> bool:
    return _LONE_WELL.search(stem) is not None


def _may_be_well(name: _MarkedName, item: _Found) -> bool:
    return _is_capital(item) and not _is_split(name, item) and not _has_well(name.stem)


def _is_capital(item: _Found) -> bool:
    return re.fullmatch(r"C\d{1,2}", item.spelled) is not None


def _is_split(name: _MarkedName, item: _Found) -> bool:
    # "C1-name" is how ImageJ splits channels.
    return re.match(r"C\d-", name.stem, re.IGNORECASE) is not None and item.span == (1, 2)


def _differing_together(
    names: Sequence[_MarkedName],
) -> dict[PurePath, tuple[_Found, _Template]]:
    """Find stains that differ together with a number of the channel ("DAPI_ch00", "TMRM_ch01")."""
    groups: dict[_Template, list[tuple[PurePath, tuple[_Found, ...]]]] = {}
    for name in names:
        words = [item for item in name.found if item.rank == 0 and item.whole]
        numbers = [item for item in name.found if item.rank > 0]
        if len(words) == 1 and numbers:
            found = (*words, *numbers)
            groups.setdefault(name.template(*found), []).append((name.path, found))
    chosen: dict[PurePath, tuple[_Found, _Template]] = {}
    for template, members in groups.items():
        stains = {found[0].text.lower() for _, found in members}
        marks = {tuple(item.text.lower() for item in found) for _, found in members}
        if len(members) == len(stains) == len(marks) > 1:
            chosen |= {path: (found[0], template) for path, found in members}
    return chosen


# Where a plane of a stack or series stands in the rest of a name, and the field.
_PLANES = {
    "z": re.compile(r"(?<![A-Za-z])(?:z|slice)[_-]?(\d+)", re.IGNORECASE),
    "t": re.compile(r"(?<![A-Za-z])(?:t|time)[_-]?(\d+)", re.IGNORECASE),
}
_FIELD = re.compile(
    r"(?<![A-Za-z])(?:xy|s|f|p|pos|position|series|field|site)[_-]?(\d+)", re.IGNORECASE
)


def _parsed_by_mark(found: _Found, rank: int, rest: str, others: tuple[str, ...]) -> ParsedName:
    """Make a name of its mark; ``rank`` is that of the likeliest mark of the image's files."""
    groups = {"rest": rest}
    # A stain stands in names that people write, whose letters and numbers mean anything.
    if rank > 0:
        for key, form in _PLANES.items():
            match = form.search(rest)
            if match:
                groups[key] = match[1]
                rest = rest[: match.start(1)] + rest[match.end(1) :]
        of_field = _FIELD.search(rest)
        groups |= {"rest": rest, "field": of_field[1] if of_field else ""}
    number = int(found.text) if found.text.isdecimal() else 0
    channel = found.mark.channel_name.format(channel=found.text)
    return ParsedName(MARKS[rank].name, groups, channel, (number, found.text.lower()), others)
