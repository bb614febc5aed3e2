"""A colour for each channel, by the stain its name tells."""

import re
from collections.abc import Sequence

ONE_CHANNEL = "gray"

# Mitochondria are orange: seen through the blue of nuclei they stay apart, as magenta would not.
STAINS = (
    (r"dapi|hoechst|draq|dna|nucle|h2b|bfp", "blue"),
    (r"tmr[me]|mito|jc-?1", "bop orange"),
    (r"gfp|fitc|488|alexa ?488|calcein|green|er\b", "green"),
    (r"rfp|mcherry|tdtomato|tritc|tx ?red|texas|cy3|555|561|568|594|red", "red"),
    (r"cy5|far|633|640|647|agp", "magenta"),
    (r"yfp|venus|yellow", "yellow"),
    (r"cfp|cyan", "cyan"),
    (r"bright ?field|phase|dic|trans|\bbf\b", "gray"),
)
FALLBACK = ("green", "magenta", "blue", "yellow", "red", "cyan", "bop orange", "bop purple")

HEX_COLOURS = {
    "blue": "0000FF",
    "green": "00FF00",
    "red": "FF0000",
    "magenta": "FF00FF",
    "yellow": "FFFF00",
    "cyan": "00FFFF",
    "gray": "FFFFFF",
    "bop orange": "F8AD20",
    "bop purple": "942094",
}
"""The brightest colour of each colormap, red, green and blue in hexadecimal digits."""


def default_colormaps(names: Sequence[str]) -> list[str]:
    """Return the name of a napari colormap for each channel name, no colour twice while they last.

    Examples
    --------
    >>> default_colormaps(["DAPI", "TMRM"]), default_colormaps(["channel 1", "channel 2"])
    (['blue', 'bop orange'], ['green', 'magenta'])
    >>> default_colormaps(["something"])
    ['gray']
    """
    chosen: list[str | None] = []
    for name in names:
        colour = _by_stain(name)
        chosen.append(None if colour in chosen else colour)
    if len(names) == 1:
        return [chosen[0] or ONE_CHANNEL]
    free = [colour for colour in FALLBACK if colour not in chosen]
    missing = iter(free + [FALLBACK[i % len(FALLBACK)] for i in range(len(names))])
    return [colour or next(missing) for colour in chosen]


def _by_stain(name: str) -> str | None:
    for pattern, colour in STAINS:
        if re.search(pattern, name, re.IGNORECASE):
            return colour
    return None
