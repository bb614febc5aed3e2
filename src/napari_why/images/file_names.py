"""How microscopes name files that hold one channel each: the conventions, in one table.

A convention is a regular expression. Its group ``channel`` tells the channels of one image apart;
all other named groups must agree between files of one image; ``order``, where there is one, only
sorts the channels. Text outside named groups may differ (serial numbers).
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

SUFFIXES = (".tif", ".tiff")
_STAINS = (
    r"DAPI|Hoechst(?:\d+)?|DRAQ5|DNA|TMR[ME]|Mito(?:Tracker)?(?:Red|Green|DeepRed|Orange)?|"
    r"E?GFP|E?YFP|E?CFP|RFP|mCherry|tdTomato|FITC|TRITC|Cy[357](?:\.5)?|Tx?Red|Texas ?Red|"
    r"Alexa(?:Fluor)?\d+|AF\d{3}|AGP|ER|RNA|Actin|Phalloidin|Tubulin|Nuclei|Brightfield|BF"
)
_GUID = r"[0-9A-F]{8}(?:-[0-9A-F]{4}){3}-[0-9A-F]{12}"


@dataclass(frozen=True)
class Convention:
    """A way of naming the files of one image, one channel a file.

    Parameters
    ----------
    name : str
        Microscope or software.
    pattern : re.Pattern
        Matches a file name without its suffix; see the module's text for the groups.
    channel_name : str
        Template that makes a channel's name of the group ``channel``.
    """

    name: str
    pattern: re.Pattern[str]
    channel_name: str = "{channel}"


CONVENTIONS = (
    Convention(
        "ImageXpress / MetaXpress",
        re.compile(rf"(?P<before>.+)_w(?P<channel>\d)(?:{_GUID})?", re.IGNORECASE),
        "w{channel}",
    ),
    Convention(
        "Opera Phenix / Harmony",
        re.compile(
            r"(?P<well>r\d+c\d+)(?P<field>f\d+)(?P<z>p\d+)-ch(?P<channel>\d+)"
            r"(?P<t>sk\d+)(?P<rest>(?:f[kl]\d+)*)",
            re.IGNORECASE,
        ),
        "ch{channel}",
    ),
    Convention(
        "ChannelN- prefix",
        re.compile(r"Channel(?P<channel>\d+)-(?P<after>.+)", re.IGNORECASE),
        "Channel{channel}",
    ),
    Convention(
        "Gen5 / Cytation",
        re.compile(
            rf"(?P<well>[A-P]\d{{1,2}})_(?P<read>\d+)_(?P<order>\d+)_(?P<field>\d+)_"
            rf"(?P<channel>{_STAINS})_(?P<t>\d+)",
            re.IGNORECASE,
        ),
    ),
    Convention(
        "stain in the name",
        re.compile(
            rf"(?:(?P<before>.+)[_\-. ])?(?P<channel>{_STAINS})(?:[_\-. ](?P<after>.+))?",
            re.IGNORECASE,
        ),
    ),
)


@dataclass(frozen=True)
class ParsedName:
    """A file name understood by a convention.

    ``image`` is equal for the files of one image; ``channel`` is the channel's name; ``order``
    sorts the channels.
    """

    convention: str
    image: tuple[tuple[str, str], ...]
    channel: str
    order: tuple[int, str]


def parse_name(name: str) -> ParsedName | None:
    """Understand a file name by the first convention that fits, or return None.

    Examples
    --------
    >>> parse_name("r03c03f03p01-ch4sk1fk1fl1.tiff").channel
    'ch4'
    >>> parse_name("plate1_B02_s1_w2.TIF").image
    (('before', 'plate1_b02_s1'),)
    >>> parse_name("field.tif") is None
    True
    """
    stem, _, suffix = name.rpartition(".")
    if f".{suffix.lower()}" not in SUFFIXES or stem.lower().endswith(".ome"):
        return None
    for convention in CONVENTIONS:
        match = convention.pattern.fullmatch(stem)
        if match:
            groups = match.groupdict(default="")
            channel = groups.pop("channel")
            number = groups.pop("order", None) or (channel if channel.isdecimal() else "0")
            return ParsedName(
                convention=convention.name,
                image=tuple((key, text.lower()) for key, text in sorted(groups.items())),
                channel=convention.channel_name.format(channel=channel),
                order=(int(number), channel.lower()),
            )
    return None


def sibling_files(path: Path) -> tuple[Path, ...]:
    """Return the files of one image that ``path`` belongs to, by channel; ``path`` among them.

    Only files in the same folder count. One file alone is returned where the name follows no
    convention or no other file of the image is there.
    """
    parsed = parse_name(path.name)
    if parsed is None:
        return (path,)
    names = [entry.name for entry in path.parent.iterdir() if entry.is_file()]
    for group in group_channel_files(path.with_name(name) for name in names):
        if path in group:
            return group
    return (path,)


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
    return [_sorted_by(group, orders) for group in groups.values()]


def _sorted_by(group: list[Path], orders: Mapping[Path, tuple[int, str]]) -> tuple[Path, ...]:
    return tuple(sorted(group, key=lambda path: (orders[path], path.name)))
