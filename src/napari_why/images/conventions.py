"""How microscopes name files that hold one plane of one channel each: the table of conventions.

A convention is a regular expression for a name without its suffix. Its named groups tell where
the plane belongs: ``plate``, ``well`` (or ``row`` and ``column``), ``field``, ``channel``, ``z``,
``t``; ``thumbnail`` and ``projection`` mark what is no plane; ``order`` sorts channels. Any other
named group must agree between the files of one image; text outside groups may differ (serial
numbers, laser lines).
"""

import re
from dataclasses import dataclass

from napari_why.errors import ParameterError

PLACES = ("plate", "well", "row", "column", "field", "channel", "z", "t")
_MARKS = ("thumbnail", "projection", "order")
_STAINS = (
    r"DAPI|Hoechst(?:\d+)?|DRAQ5|DNA|TMR[ME]|JC-?1|Mito(?:Tracker)?(?:Red|Green|DeepRed|Orange)?|"
    r"E?GFP|E?YFP|E?CFP|E?BFP|RFP|mCherry|tdTomato|FITC|TRITC|Cy[357](?:\.5)?|Tx?Red|Texas ?Red|"
    r"Alexa(?:Fluor)?\d+|AF\d{3}|AGP|ER|RNA|Actin|Phalloidin|Tubulin|Nucle(?:i|us)|Calcein|"
    r"Bright ?field|Phase(?: ?Contrast)?|BF|DIC"
)
_GUID = r"[0-9A-F]{8}(?:-[0-9A-F]{4}){3}-[0-9A-F]{12}"
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
        r"(?:(?P<plate>.+)_)?(?P<well>W\d+)F(?P<field>\d+)T(?P<t>\d+)Z(?P<z>\d+)C(?P<channel>\d+)",
        "C{channel}",
    ),
    _convention(
        "IN Cell Analyzer",
        r"(?:(?P<plate>.+)_)?(?P<row>[A-P]|A[A-F]) - (?P<column>\d{1,2})\((?:fld (?P<field>\d+) ?)?"
        r"wv (?P<channel>.+?)(?: wix \d+)?(?: ?z (?P<z>\d+))?(?:-? ?time (?P<t>\d+)[^)]*)?\)",
    ),
    _convention(
        "ScanR",
        r"(?:(?P<plate>.+)--)?(?P<well>W\d+)--P(?P<field>\d+)--Z(?P<z>\d+)--T(?P<t>\d+)--"
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
