"""Which well the name of a file or of its folders tells."""

import re
from collections.abc import Collection
from pathlib import PurePath

from napari_why.images.file_names import parse_name
from napari_why.images.wells import row_number, spell_well, well_name

# The row is one letter in file names: two letters and digits are channels ("ch01") and stains.
_IN_NAME = re.compile(r"(?<![A-Za-z0-9])([A-P])[-_]?(\d{1,2})(?![A-Za-z0-9])", re.IGNORECASE)
# Of 1536 wells: in capitals and with two digits, for the same reason.
_LARGE = re.compile(r"(?<![A-Za-z0-9])(A[A-F])(\d{2})(?![A-Za-z0-9])")
_HARMONY = re.compile(r"(?<![A-Za-z0-9])r(\d{2})c(\d{2})(?=f\d|[^A-Za-z0-9]|$)", re.IGNORECASE)


def wells_in(path: PurePath) -> list[str]:
    """Return the wells that a file's name can mean, and where it tells none, those of its folders.

    The conventions of microscopes come first; see :data:`napari_why.images.file_names.CONVENTIONS`.

    Examples
    --------
    >>> from pathlib import PurePath
    >>> wells_in(PurePath("plate_B02_s1_w2.TIF")), wells_in(PurePath("r03c11f03p01-ch4sk1.tiff"))
    (['B02'], ['C11'])
    >>> wells_in(PurePath("Channel1-01-A-01.tif")), wells_in(PurePath("C5/field 1.tif"))
    (['A01'], ['C05'])
    >>> wells_in(PurePath("D - 11(fld 1 wv DAPI - DAPI).tif"))
    ['D11']
    >>> wells_in(PurePath("B02_f1.tif")), wells_in(PurePath("B02 and C03.tif"))
    (['B02'], ['B02', 'C03'])
    """
    parsed = parse_name(path.name)
    named = well_name(parsed.well) if parsed else None
    if named:
        return [named]
    stem = path.name.removesuffix(path.suffix).removesuffix(".ome")
    # The nearest name that tells a well counts: folders further up may be named after anything.
    for part in (stem, *reversed(path.parts[:-1])):
        found = [spell_well(int(row), int(column)) for row, column in _HARMONY.findall(part)]
        if not found:
            spelled = _most_like_wells([*_IN_NAME.findall(part), *_LARGE.findall(part)])
            found = [spell_well(row_number(row), int(column)) for row, column in spelled]
        wells = list(dict.fromkeys(well for well in found if well))
        if wells:
            return wells
    return []


def _most_like_wells(spelled: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Of several candidates keep those in capitals, then those with two digits, if there are any.

    In ``B02_f1`` or ``B2_c1``, the small letter is a field or a channel.
    """
    # A test that nothing passes tells nothing, and is left out.
    for likely in (lambda row, _: row.isupper(), lambda _, column: len(column) == 2):
        spelled = [pair for pair in spelled if likely(*pair)] or spelled
    return spelled


def well_by_pattern(path: PurePath, pattern: "re.Pattern[str]") -> str | None:
    """Return the well that a user's pattern finds in a path.

    Parameters
    ----------
    path : PurePath
        Relative to the folder of the plate; the pattern is searched in it with ``/`` between the
        folders.
    pattern : re.Pattern
        With the group ``well``, or the groups ``row`` (letters or a number) and ``column``.
    """
    match = pattern.search(path.as_posix())
    if match is None:
        return None
    groups = match.groupdict(default="")
    if "well" in groups:
        return well_name(groups["well"])
    row, column = groups["row"], groups["column"]
    if not column.isdecimal():
        return None
    return spell_well(int(row) if row.isdecimal() else row_number(row), int(column))


def choose_well(found: list[str], known: Collection[str]) -> str | None:
    """Return the one well that is meant: the only one, or the only one that a plate map knows."""
    listed = [well for well in found if well in known] or found
    return listed[0] if len(listed) == 1 else None
