"""What the name of a file tells: channel, well, field and plane, by a table of conventions.

Microscopes name files that hold one plane of one channel each in ways of their own.

A convention is a regular expression for a name without its suffix. Its named groups tell where
the plane belongs: ``plate``, ``well`` (or ``row`` and ``column``), ``field``, ``channel``, ``z``,
``t``; ``thumbnail`` and ``projection`` mark what is no plane; ``order`` sorts channels. Any other
named group must agree between the files of one image; text outside groups may differ (serial
numbers, laser lines).
"""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from napari_why.core.errors import ImageReadError, ParameterError
from napari_why.core.folders import is_folder
from napari_why.images.formats import file_suffixes
from napari_why.images.wells import row_number, spell_well, well_name

# Named groups that tell where a plane belongs, and those that mark what is no plane.
PLACES = ("plate", "well", "row", "column", "field", "channel", "z", "t")
_KINDS = ("thumbnail", "projection")
_MARKS = (*_KINDS, "order")
# Stains that stand in names, as people and cameras' software write them.
_STAINS = (
    r"DAPI|Hoechst(?:\d+)?|DRAQ5|DNA|TMR[ME]|JC-?1|Mito(?:Tracker)?(?:Red|Green|DeepRed|Orange)?|"
    r"E?GFP|E?YFP|E?CFP|E?BFP|RFP|mCherry|tdTomato|FITC|TRITC|Cy[357](?:\.5)?|Tx?Red|Texas ?Red|"
    r"Alexa(?:Fluor)?\d+|AF\d{3}|AGP|ER|RNA|Actin|Phalloidin|Tubulin|Nucle(?:i|us)|Calcein|"
    r"Bright ?field|Phase(?: ?Contrast)?|BF|DIC"
)
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
        "stain in the name",
        rf"(?:(?P<before>.+)[_\-. ])?(?P<channel>{_STAINS})(?:[_\-. ](?P<after>.+))?",
    ),
)


def own_convention(pattern: str) -> Convention:
    r"""Make a convention of a user's own regular expression for file names without suffix.

    Parameters
    ----------
    pattern : str
        With the named group ``channel``, and any of ``plate``, ``well`` (or ``row`` and
        ``column``), ``field``, ``z``, ``t``; matches whole names, in either case.

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
    if "channel" not in groups or not groups <= {*PLACES, *_MARKS}:
        raise ParameterError(
            f"pattern: found the named groups {', '.join(sorted(groups)) or 'none'}; expected "
            f"channel, and any of {', '.join(PLACES)}"
        )
    return Convention("your own pattern", compiled)


@dataclass(frozen=True)
class ParsedName:
    """A file name understood by a convention.

    ``groups`` are the convention's named groups but the channel, as the file spells them;
    ``channel`` is the channel's name; ``order`` sorts the channels.
    """

    convention: str
    groups: Mapping[str, str]
    channel: str
    order: tuple[int, str]

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
    stem, _, suffix = name.rpartition(".")
    # OME-TIFF names its channels itself; several of one name's pattern are several images.
    if f".{suffix.lower()}" not in file_suffixes() or stem.lower().endswith(".ome"):
        return None
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
class Siblings:
    """The files of one image, by channel, and the channels that it lacks.

    ``missing`` names the channels that other images of the plate in the same folder have.
    """

    files: tuple[Path, ...]
    missing: tuple[str, ...] = ()


def sibling_files(path: Path) -> Siblings:
    """Return the files of one image that ``path`` belongs to, ``path`` among them.

    Only files in the same folder count. One file alone is returned where the name follows no
    convention or no other file of the image is there.
    """
    own = parse_name(path.name)
    if own is None:
        return Siblings((path,))
    # A folder may hold a plate: scandir tells files from folders without asking for each.
    try:
        with os.scandir(path.parent) as entries:
            # Links to nothing too: the channel is missing, which reading it says.
            names = [entry.name for entry in entries if not is_folder(entry)]
    except OSError as error:
        closed = f"a folder that cannot be listed ({error.strerror})"
        expected = "one whose files tell which other channels the image has"
        raise ImageReadError(path.parent, closed, expected, "ask for permission") from error
    found: list[tuple[ParsedName, Path]] = [(own, path)]
    known: dict[str, tuple[int, str]] = {}
    for name in names:
        parsed = parse_name(name)
        if parsed is None or (parsed.convention, parsed.plate) != (own.convention, own.plate):
            continue
        # Only of a plate can be said that other images have more channels.
        if parsed.kind == own.kind and (parsed.well or parsed.number("field") is not None):
            known[parsed.channel] = parsed.order
        if parsed.image == own.image and name != path.name:
            found.append((parsed, path.with_name(name)))
    found.sort(key=lambda item: (item[0].order, item[1].name))
    there = {parsed.channel for parsed, _ in found}
    missing = [name for name in sorted(known, key=lambda name: known[name]) if name not in there]
    return Siblings(tuple(file for _, file in found), tuple(missing))


def group_channel_files(paths: Iterable[Path]) -> list[tuple[Path, ...]]:
    """Put files of one image together, channels in order; other files stand alone.

    Parameters
    ----------
    paths : iterable of Path
        Files of any folders.

    Returns
    -------
    list of tuple of Path
        In the order in which each image's first file comes.

    Examples
    --------
    >>> names = ["a_w1.tif", "b.tif", "a_w2.tif"]
    >>> [[path.name for path in group] for group in group_channel_files(map(Path, names))]
    [['a_w1.tif', 'a_w2.tif'], ['b.tif']]
    """
    groups: dict[object, list[Path]] = {}
    orders: dict[Path, tuple[int, str]] = {}
    for path in paths:
        parsed = parse_name(path.name)
        key = (path.parent, parsed.convention, parsed.image) if parsed else path
        orders[path] = parsed.order if parsed else (0, "")
        groups.setdefault(key, []).append(path)
    return [_sort_channels(group, orders) for group in groups.values()]


def _sort_channels(group: list[Path], orders: Mapping[Path, tuple[int, str]]) -> tuple[Path, ...]:
    return tuple(sorted(group, key=lambda path: (orders[path], path.name)))
