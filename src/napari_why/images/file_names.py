"""What the name of a file tells: channel, well, field and plane, by a table of conventions.

Microscopes name files that hold one plane of one channel each in ways of their own.

A convention is a regular expression for a name without its suffix. Its named groups tell where
the plane belongs: ``plate``, ``well`` (or ``row`` and ``column``), ``field``, ``channel``, ``z``,
``t``; ``thumbnail`` and ``projection`` mark what is no plane; ``order`` sorts channels. Any other
named group must agree between the files of one image; text outside groups may differ (serial
numbers, laser lines).

Names that no convention knows are understood by the marks in them
(:mod:`napari_why.images.channel_marks`).
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePath

from napari_why.core.errors import ParameterError
from napari_why.images.channel_marks import MARKS, JudgedMark, MarkedName, judge_marks
from napari_why.images.formats import file_suffixes
from napari_why.images.wells import row_number, spell_well, well_name

# Named groups that tell where a plane belongs, and those that mark what is no plane.
PLACES = ("plate", "well", "row", "column", "field", "channel", "z", "t")
_KINDS = ("thumbnail", "projection")
_MARKS = (*_KINDS, "order")
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
        rf"(?:_z(?P<z>\d+))?(?:_t(?P<t>\d+))?(?P<thumbnail>_thumb)?(?:{_GUID})?",
        "w{channel}",
    ),
    _convention(
        "MetaXpress without wells",
        rf"(?P<before>.+)_w(?P<channel>\d{{1,2}})(?:_z(?P<z>\d+))?(?:_t(?P<t>\d+))?"
        rf"(?P<thumbnail>_thumb)?(?:{_GUID})?",
        "w{channel}",
    ),
    _convention(
        "MetaMorph series",
        r"(?P<before>.+?)_w(?P<order>\d)(?P<channel>(?:[A-Z]|[3-7]\d\d(?!\d))[^_]*)(?:_s(?P<field>\d+))?"
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
        # What is made of several reads (stitched, projected) has a negative number, of each channel another.
        "Gen5 / Cytation",
        rf"(?P<well>{_WELL})(?P<region>ROI\d+)?_(?:(?P<read>\d+)|-\d+)_(?P<order>\d+)_"
        r"(?P<field>\d+)(?:Z(?P<z>\d+))?_"
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


def conventions_of(pattern: str | None) -> Sequence[Convention]:
    """Return the known conventions, or a user's own pattern alone."""
    return CONVENTIONS if pattern is None else (own_convention(pattern),)


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

    Parameters
    ----------
    name : str
        With its suffix, and folders where a user's pattern looks at them.
    conventions : sequence of Convention
        As of :func:`parse_names`.

    Returns
    -------
    ParsedName or None

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
    paths: Iterable[PurePath],
    conventions: Sequence[Convention] = CONVENTIONS,
    *,
    one_image: bool = False,
) -> dict[PurePath, ParsedName]:
    """Understand the names of files that lie together, each in the light of the others.

    Parameters
    ----------
    paths : iterable of PurePath
        Files of one or several folders; only files of the same folder are of the same image.
    conventions : sequence of Convention
        Words and numbers anywhere in the names (:data:`~napari_why.images.channel_marks.MARKS`)
        count beside the known ones only, not beside a user's own.
    one_image : bool
        Whether it is known that the files are the channels of one image.

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
    rest: list[MarkedName] = []
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
            rest.append(MarkedName(path, stem))
    judged = judge_marks(rest, one_image=one_image)
    return parsed | {path: _name_by_mark(mark) for path, mark in judged.items()}


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


# Where a plane of a stack or series stands in the rest of a name, and the field.
_PLANES = {
    "z": re.compile(r"(?<![A-Za-z])(?:z|slice)[_-]?(\d+)", re.IGNORECASE),
    "t": re.compile(r"(?<![A-Za-z])(?:t|time)[_-]?(\d+)", re.IGNORECASE),
}
_FIELD = re.compile(
    r"(?<![A-Za-z])(?:xy|s|f|p|pos|position|series|field|site)[_-]?(\d+)", re.IGNORECASE
)


def _name_by_mark(mark: JudgedMark) -> ParsedName:
    found, rank, rest = mark.found, mark.rank, mark.rest
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
    return ParsedName(MARKS[rank].name, groups, channel, (number, found.text.lower()), mark.others)
