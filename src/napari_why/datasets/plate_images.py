"""Which image is of which well: the images of a plate's folder matched with its plate map."""

import os
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import pandas as pd

from napari_why.core.errors import DatasetError
from napari_why.core.folders import FolderWalk, show_each
from napari_why.datasets.image_folders import find_images, plate_label, plate_sentences
from napari_why.datasets.plate_map import read_plate_map
from napari_why.datasets.spellings import SPLIT_SYNONYMS, SPLITS, unite_classes
from napari_why.datasets.tables import notes_of
from napari_why.images import can_read, file_suffixes, plates_of
from napari_why.images.file_names import own_convention, parse_name
from napari_why.images.plates_in_names import PlateReading, find_separate_plates, read_plates
from napari_why.images.wells import Candidate, read_by_pattern, well_place
from napari_why.images.wells_in_names import (
    WellReading,
    may_be_wells,
    read_wells,
    sentences_on_wells,
    suggest_pattern,
)

# Names in a sentence: enough to recognise a pattern among them, few enough to read.
SHOWN = 5


@dataclass(frozen=True)
class LeftOut:
    """An image that is not in a data set, and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class Place:
    """Plate and well of an image, None where its path tells none; ``reason`` why it is left out."""

    plate: str | None
    well: str | None
    reason: str = ""


@dataclass(frozen=True)
class PlateMatch:
    """What did not fit when the images of a plate were matched with its plate map.

    Parameters
    ----------
    wells_without_images : tuple of str
        Wells of the map of which there is no image ("A01", or "plate A01" of several plates).
    images_without_wells : tuple of LeftOut
        Images whose name tells no well, or one that the map does not list.
    wells_without_class : tuple of str
        Wells whose class is empty in the map; their images are left out.
    """

    wells_without_images: tuple[str, ...] = ()
    images_without_wells: tuple[LeftOut, ...] = ()
    wells_without_class: tuple[str, ...] = ()

    @property
    def sentences(self) -> tuple[str, ...]:
        """What did not fit, in words; empty where everything did."""
        sentences = []
        if self.wells_without_images:
            sentences.append(f"No image was found of {_name_some(self.wells_without_images)}.")
        if self.images_without_wells:
            # One reason may hold for nearly all images and hide another: each is counted.
            reasons = Counter(item.reason for item in self.images_without_wells)
            firsts = {item.reason: item.path for item in reversed(self.images_without_wells)}
            why = [
                f"{count} since {reason} (the first: {firsts[reason]})"
                for reason, count in reasons.most_common(SHOWN)
            ]
            more = f"; and {len(reasons) - SHOWN} further reasons" if len(reasons) > SHOWN else ""
            sentences.append(
                f"{len(self.images_without_wells)} images belong to no well of the plate map: "
                f"{'; '.join(why)}{more}."
            )
        if self.wells_without_class:
            sentences.append(f"The map names no class for {_name_some(self.wells_without_class)}.")
        return tuple(sentences)


def match_plate(
    folder: str | Path,
    plate_map: str | Path,
    *,
    label: str = "treatment",
    controls: Mapping[str, str | Sequence[str]] | None = None,
    control_column: str | None = None,
    well_pattern: str | None = None,
    sheet: str | None = None,
    pattern: str | None = None,
) -> tuple[pd.DataFrame, PlateMatch]:
    """List the images of a plate with what the plate map says of their wells.

    Parameters
    ----------
    folder : path
        Images of one plate, in folders within it too; of several plates where the map has a column
        ``plate``, whose names stand in folder or file names.
    plate_map : path
        See :func:`napari_why.datasets.plate_map.read_plate_map`.
    label : str
        Column that holds the class.
    controls, control_column
        See :func:`name_controls`; by default the column ``label``.
    well_pattern : str, optional
        Regular expression with the group ``well``, or ``row`` and ``column``, searched in the path
        below the folder, where the names do not tell the well as microscopes do; with the group
        ``plate`` where it is to tell the plates too. Of a map without plates it says that each plate
        found so has the layout of the map.
    sheet : str, optional
        See :func:`napari_why.datasets.plate_map.read_plate_map`.
    pattern : str, optional
        How files of one channel each are named; see
        :func:`napari_why.images.file_names.own_convention`. The well is
        taken from it where ``well_pattern`` is None and it has that group.

    Returns
    -------
    table : DataFrame
        ``path`` (the first file of an image), ``label``, ``well``, and every other column of the
        map; ``control`` where controls are named. By plate, well and path.
    match : PlateMatch
        What did not fit.

    Raises
    ------
    DatasetError
        There is no folder, map or column; no image belongs to a well of the map; or the images are
        evidently of several plates and the map of one.
    """
    require_folder(folder)
    wells = read_plate_map(plate_map, sheet=sheet)
    # Before the folder is searched, which takes longer than looking into the map.
    united = unite_classes(str(plate_map), wells, label)
    require_column(str(plate_map), name_controls(united, controls, control_column or label), label)
    located = locate_images(folder, plate_map, wells, well_pattern, pattern)
    return label_images(located, label, controls=controls, control_column=control_column)


@dataclass(frozen=True, eq=False)
class LocatedImages:
    """Which image is of which well, whatever the class may be.

    Parameters
    ----------
    folder, plate_map : Path
        Where the images are, and what tells of their wells.
    wells : DataFrame
        The plate map.
    images : DataFrame
        ``path``, ``well`` and, where there are several, ``plate`` of every image of a listed well.
    without_wells : tuple of LeftOut
        The other images.
    notes : tuple of str
        What was noticed, in sentences.
    """

    folder: Path
    plate_map: Path
    wells: pd.DataFrame
    images: pd.DataFrame
    without_wells: tuple[LeftOut, ...]
    notes: tuple[str, ...]


def require_folder(folder: str | Path) -> None:
    """Raise DatasetError where there is no folder of images."""
    if not Path(folder).is_dir():
        raise DatasetError(f"{folder}: found no such folder; expected one with the plate's images")


def locate_images(
    folder: str | Path,
    plate_map: str | Path,
    wells: pd.DataFrame,
    well_pattern: str | None = None,
    pattern: str | None = None,
) -> LocatedImages:
    """Find the images of a plate by the names of their wells; parameters as for :func:`match_plate`.

    Parameters
    ----------
    folder, plate_map : path
        As of :func:`match_plate`.
    wells : DataFrame
        The plate map, read.
    well_pattern, pattern : str, optional
        As of :func:`match_plate`.

    Returns
    -------
    LocatedImages

    Raises
    ------
    DatasetError
        There is no folder, a pattern cannot be used, no image belongs to a well of the map, or the images
        are evidently of several plates and the map of one.
    """
    folder = Path(folder)
    require_folder(folder)
    of_well = None if well_pattern is None else _compile_pattern(well_pattern)
    if of_well is None and pattern is not None:
        of_well = _well_in_names(pattern)
    walk = FolderWalk(folder, file_suffixes())
    images, without_wells, notes = _find_wells(
        walk, wells, of_well, find_images(folder, walk, pattern)
    )
    told = (*notes, *walk.notes)
    return LocatedImages(folder, Path(plate_map), wells, images, tuple(without_wells), told)


def label_images(
    located: LocatedImages,
    label: str,
    *,
    controls: Mapping[str, str | Sequence[str]] | None = None,
    control_column: str | None = None,
) -> tuple[pd.DataFrame, PlateMatch]:
    """Take a column of the plate map for the class; parameters and result as of :func:`match_plate`.

    Parameters
    ----------
    located : LocatedImages
    label : str
        Column of the plate map that holds the class.
    controls, control_column
        As of :func:`match_plate`.

    Returns
    -------
    table : DataFrame
        As of :func:`match_plate`.
    match : PlateMatch
        What did not fit.

    Raises
    ------
    DatasetError
        There is no such column, a control is not in the map, or no image is of a well in it.
    """
    plate_map, images, without_wells = located.plate_map, located.images, located.without_wells
    wells = unite_classes(str(plate_map), located.wells, label)
    notes = notes_of(wells)
    wells = name_controls(wells, controls, control_column or label)
    require_column(str(plate_map), wells, label)
    key = ["plate", "well"] if "plate" in wells.columns else ["well"]
    columns = ["plate", "well"] if "plate" in images.columns else ["well"]
    table = images.merge(_name_class(wells, label), on=key, how="inner")
    # An inner join has dropped what is on one side only; each side is told apart from here on.
    if table.empty:
        raise DatasetError(_nothing_fits(located.folder, plate_map, wells, without_wells))
    there = set(_list_rows(table, key))
    absent = [" ".join(row) for row in _list_rows(wells, key) if row not in there]
    classless = table["label"] == ""
    empty = dict.fromkeys(" ".join(row) for row in _list_rows(table[classless], key))
    table = table[~classless]
    # By position on the plate: as text, row AA of a 1536-well plate would stand before row B.
    rows = _list_rows(table, [*columns, "path"])
    order = [(*row[:-2], well_place(row[-2]), row[-1]) for row in rows]
    table = table.iloc[sorted(range(len(table)), key=order.__getitem__)]
    table = convert_numbers(table.reset_index(drop=True), keep=["path", "label", *columns])
    table.attrs["notes"] = [*notes, *located.notes]
    return table, PlateMatch(tuple(absent), without_wells, tuple(empty))


def name_controls(
    table: pd.DataFrame, controls: Mapping[str, str | Sequence[str]] | None, column: str
) -> pd.DataFrame:
    """Add the column ``control``: the name of the control that a well is, empty for the others.

    Parameters
    ----------
    table : DataFrame
        A plate map.
    controls : mapping of str to str or sequence of str, or None
        For each control, the values of ``column`` that mean it
        (``{"negative": "DMSO", "positive": ["FCCP", "oligomycin"]}``); None leaves the table.
    column : str
        Where these values stand.

    Returns
    -------
    DataFrame
        A copy; the table itself without controls.

    Raises
    ------
    DatasetError
        There is no such column, a value is not in it, or one means two controls.
    """
    if controls is None:
        return table
    require_column("controls", table, column)
    # As text, because a control may be a dose: 0 in the map is "0" in the question.
    texts = table[column].astype(str)
    named = pd.Series("", index=table.index)
    for name, values in controls.items():
        for value in [values] if isinstance(values, str) else values:
            mine = texts == value
            if not mine.any():
                there = ", ".join(sorted(set(texts) - {""}))
                raise DatasetError(
                    f"{name} control: found no well with {column} {value!r}; expected one of {there}"
                )
            if (named[mine] != "").any():
                raise DatasetError(
                    f"{name} control: found that {column} {value!r} is the "
                    f"{named[mine].iloc[0]} control already; expected every value once"
                )
            named[mine] = name
    return table.assign(control=named)


def require_column(source: str, table: pd.DataFrame, column: str) -> None:
    """Raise DatasetError where a plate map has no such column.

    Parameters
    ----------
    source : str
        Begins the sentence of the error.
    table : DataFrame
        The plate map.
    column : str

    Raises
    ------
    DatasetError
        It is not there.
    """
    if column not in table.columns:
        raise DatasetError(
            f"{source}: found no column {column!r}; expected one of "
            f"{', '.join(map(str, table.columns))}"
        )


def convert_numbers(table: pd.DataFrame, keep: Sequence[str]) -> pd.DataFrame:
    """Turn columns of numbers into numbers, NaN where they are empty; ``keep`` stay text.

    Parameters
    ----------
    table : DataFrame
        Of text; empty cells are empty text.
    keep : sequence of str
        Columns that stay text.

    Returns
    -------
    DataFrame
        A copy; a column of which one cell is no finite number stays text.
    """
    changed = {}
    for name in table.columns:
        filled = table[name] != ""
        first = next((value for value in table[name] if value != ""), "")
        # Most columns hold names; of these one is enough to see it.
        if name in keep or not _is_number(first):
            continue
        numbers = pd.to_numeric(table[name].where(filled), errors="coerce")
        # All or none: a column with one word in it holds names, whatever the rest looks like.
        if np.isfinite(numbers[filled]).all():
            changed[name] = numbers
    return table.assign(**changed)


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


def _find_wells(
    walk: FolderWalk,
    wells: pd.DataFrame,
    pattern: "re.Pattern[str] | None",
    images: list[tuple[Path, ...]],
) -> tuple[pd.DataFrame, list[LeftOut], list[str]]:
    """Return path, plate and well of the images of listed wells, the other images, and notes."""
    plates = sorted(set(wells["plate"])) if "plate" in wells.columns else []
    key = ["plate", "well"] if plates else ["well"]
    listed = set(_list_rows(wells, key))
    folder = walk.root
    planes = _select_planes(images)
    paths = [files[0] for files in planes]
    stored = plates_of(paths)
    if pattern is None:
        unknown = [path for path in paths if path not in stored]
        last = {files[0]: files[-1] for files in planes}
        named, notes = _place_by_names(folder, unknown, set(wells["well"]), plates, last)
        of_path = {
            **dict(zip(unknown, named, strict=True)),
            **_place_stored(folder, stored, plates),
        }
        places = [of_path[path] for path in paths]
    else:
        places, notes = _place_by_pattern(folder, paths, plates, pattern)
    notes = [*plate_sentences(stored), *notes]
    with_plate = bool(plates) or "plate" in (pattern.groupindex if pattern else ())
    found, others = [], []
    for path, shown, place in zip(paths, show_each(paths), places, strict=True):
        reason = place.reason
        if not reason and ((place.plate, place.well) if plates else (place.well,)) not in listed:
            reason = f"the plate map lists no well {place.well}"
        if not reason:
            found.append((shown, place.plate, place.well))
        # What is no image was never meant to be one, and is not worth a message.
        elif can_read(path) or _may_be_image(path):
            others.append(LeftOut(shown, reason))
    table = pd.DataFrame(found, columns=["path", "plate", "well"])
    return (table if with_plate else table.drop(columns="plate")), others, notes


def _place_stored(
    folder: Path, stored: Mapping[Path, tuple[Path, Any]], plates: Sequence[str]
) -> dict[Path, Place]:
    """Return the places of fields of plates whose own metadata tell the well, which is no guess.

    Raises
    ------
    DatasetError
        There are several plates, and the map names none.
    """
    labels = {plate: plate_label(plate) for plate, _ in stored.values()}
    if len(labels) > 1 and not plates:
        names = sorted(labels.values())
        raise DatasetError(
            f"{folder}: found {len(names)} plates ({_name_some(names)}), but a plate map of one; "
            "expected a column 'plate' that tells them apart; where each of them has the layout of this "
            "map, say so by naming them with well_pattern, for example "
            r"'(?P<plate>[^/]+?)(?:\.ome)?\.zarr/(?P<row>[A-Z]+)/(?P<column>\d+)/'"
        )
    named = {plate: PlateReading("") for plate in labels}
    if plates:
        # Names of fields are left out: they are numbers, as plates may be.
        paths = [Path(label, "image") for label in labels.values()]
        named = dict(zip(labels, read_plates(paths, [None] * len(paths), plates), strict=True))
    return {
        path: Place(named[plate].plate, about.well, named[plate].reason)
        for path, (plate, about) in stored.items()
    }


def _place_by_names(
    folder: Path,
    paths: Sequence[Path],
    listed: Collection[str],
    plates: Sequence[str],
    last: Mapping[Path, Path],
) -> tuple[list[Place], list[str]]:
    """Return the places of images by their first files; ``last`` has the last file of each."""
    below = [path.relative_to(folder) for path in paths]
    wells = read_wells(below, listed, plates)
    named, notes = _read_plates(folder, paths, [well.candidate for well in wells], plates)
    places = [
        Place(
            plate.plate,
            well.well,
            _say_why(path, well) or _say_contradiction(first, last[first], well) or plate.reason,
        )
        for first, path, well, plate in zip(paths, below, wells, named, strict=True)
    ]
    return places, [*sentences_on_wells(below, wells, listed), *notes]


def _read_plates(
    folder: Path, paths: Sequence[Path], wells: Sequence[Candidate | None], plates: Sequence[str]
) -> tuple[list[PlateReading], list[str]]:
    """Return the plate of each image; raise DatasetError where the map names too few of them."""
    below = [path.relative_to(folder) for path in paths]
    if not plates:
        named = [PlateReading("", named=False)] * len(paths)
    else:
        named = read_plates([Path(folder.name) / path for path in below], wells, plates)
    # Where all paths name the one plate, what else they differ in are its days or its runs.
    if any(one.named for one in named):
        return named, _tell_repeated(below, wells, named)
    separate = find_separate_plates(below, wells)
    if separate is None:
        return named, []
    if separate.evident:
        raise DatasetError(
            f"{folder}: found the same wells under {_name_some(separate.values)} (as "
            f"{separate.examples[0]} and {separate.examples[1]}), but a plate map of one plate; expected a column 'plate' that tells them "
            "apart; where each of them has the layout of this map, say so by naming them with "
            f"well_pattern, for example {_quote(separate.pattern)}"
        )
    return named, [
        f"The same wells stand under {_name_some(separate.values)} (as {separate.examples[0]} and "
        f"{separate.examples[1]}): all were taken for one plate. Where they are plates, name them with "
        f"well_pattern, for example {_quote(separate.pattern)}."
    ]


def _tell_repeated(
    below: Sequence[PurePath], wells: Sequence[Candidate | None], named: Sequence[PlateReading]
) -> list[str]:
    """Say that the wells of one plate stand under several names: its days, or plates called alike."""
    of_plate: dict[str, list[int]] = {}
    for index, reading in enumerate(named):
        if reading.plate:
            of_plate.setdefault(reading.plate, []).append(index)
    for plate, indices in of_plate.items():
        separate = find_separate_plates([below[i] for i in indices], [wells[i] for i in indices])
        if separate is not None and separate.evident:
            return [
                f"Wells of plate {plate} stand under {_name_some(separate.values)} (as "
                f"{separate.examples[0]} and {separate.examples[1]}): all were taken for that plate. "
                "Where they are plates of their own, name each in the column 'plate' of the map."
            ]
    return []


def _place_by_pattern(
    folder: Path, paths: Sequence[Path], plates: Sequence[str], pattern: "re.Pattern[str]"
) -> tuple[list[Place], list[str]]:
    found = [read_by_pattern(path.relative_to(folder), pattern) for path in paths]
    if "plate" not in pattern.groupindex:
        named, notes = _read_plates(folder, paths, [reading.candidate for reading in found], plates)
        return [
            Place(plate.plate, reading.well, reading.reason or plate.reason)
            for plate, reading in zip(named, found, strict=True)
        ], notes
    spelled = {plate.casefold(): plate for plate in plates}
    places, told = [], sorted({reading.plate for reading in found if reading.plate})
    for reading in found:
        text = reading.plate or ""
        plate = spelled.get(text.casefold(), "") if plates else text
        reason = reading.reason
        if not plate and not reason:
            reason = f"the plate map lists no plate {text}" if text else "it names no plate"
        places.append(Place(plate, reading.well, reason))
    # Whoever names the plates of a map without plates says that all have the layout of this map.
    taken = (
        f"The plate map names no plate: its layout was taken for each of {_name_some(told)}, the "
        "plates that well_pattern finds."
    )
    return places, [] if plates or len(told) < 2 else [taken]


def _say_why(path: Path, well: WellReading) -> str:
    if well.candidate is not None:
        return ""
    if len(well.wells) > 1:
        return (
            f"its name can mean the wells {' and '.join(well.wells)}; say which with well_pattern, "
            f"for example {_quote(suggest_pattern(path))}"
        )
    if well.odd:
        return f"its name tells no well: in other names {well.instead[0].spelled} is none"
    return "its name tells no well"


def _say_contradiction(first: Path, last: Path, well: WellReading) -> str:
    """Say that what was taken for the well differs between the files of one image: C1 and C2."""
    one = well.candidate
    if one is None or one.depth > 0 or one.spelled not in first.name or one.spelled in last.name:
        return ""
    return (
        f"{first.name} and {last.name} can be two channels of one image or images of two wells; say "
        "where the well stands with well_pattern, and the channel with pattern"
    )


def _quote(pattern: str) -> str:
    """Put a pattern into quotation marks such that it can be pasted into a shell, a dock or Python."""
    # A full stop stands for any letter, a quotation mark within the name too.
    return "'" + pattern.replace("'", ".") + "'"


def _may_be_image(path: Path) -> bool:
    """Whether it is called like an image, or nobody can say what it is: no permission, a link to nothing."""
    return path.name.lower().endswith(file_suffixes()) or not os.access(path, os.R_OK)


def _select_planes(images: list[tuple[Path, ...]]) -> list[tuple[Path, ...]]:
    """Leave out thumbnails, and projections where there are the planes themselves."""
    kinds = [parsed.kind if (parsed := parse_name(files[0].name)) else "plane" for files in images]
    # A projection beside its planes is the same field once more, and would be counted twice.
    wanted = "plane" if "plane" in kinds else "projection"
    return [files for files, kind in zip(images, kinds, strict=True) if kind == wanted]


def _name_class(wells: pd.DataFrame, label: str) -> pd.DataFrame:
    """Return the map with its class in ``label``; columns that the images have give way."""
    # The data set's own column is called label, so that of the map has to make room.
    if label != "label" and "label" in wells.columns:
        wells = wells.rename(columns={"label": "original_label"})
    wells = wells.drop(columns="path", errors="ignore")
    return wells.assign(label=wells[label])


def _nothing_fits(
    folder: Path, plate_map: str | Path, wells: pd.DataFrame, others: Collection[LeftOut]
) -> str:
    listed = _name_some(list(dict.fromkeys(wells["well"])))
    if not others:
        return (
            f"{folder}: found no image file; expected images of the wells {listed} of {plate_map}"
        )
    first = next(iter(others))
    return (
        f"{folder}: found {len(others)} images, none of a well of {plate_map} (first: {first.path}: "
        f"{first.reason}); expected images of {listed}; say where the well stands in the names, and "
        r"the plate where there are several, with well_pattern, for example "
        r"'(?P<plate>[^/_]+)_(?P<well>[A-H]\d+)_' or '_(?P<well>[A-H]\d+)_'"
    )


def _well_in_names(pattern: str) -> "re.Pattern[str] | None":
    """Return the expression that finds the well in a path, of a pattern for whole names."""
    groups = own_convention(pattern).pattern.groupindex.keys()
    if "well" not in groups and not {"row", "column"} <= groups:
        return None
    return re.compile(rf"^(?:.*/)?(?:{pattern})(?:\.ome)?\.[^./]+$", re.IGNORECASE)


def take_groups_from_names(table: pd.DataFrame) -> pd.DataFrame:
    """Add the columns ``well``, and ``plate``, where the names of all images tell them.

    Images of a well are not independent, be they sorted into folders of classes or not. Where names
    tell only some wells, or what may be days or fields, the table stays as it is and a note says so.

    Parameters
    ----------
    table : DataFrame
        ``path`` and ``label``, without a column ``well``.
    """
    if "well" in table.columns or table.empty:
        return table
    below = _without_class(table)
    readings = read_wells(below)
    ones = [reading.candidate for reading in readings if reading.candidate is not None]
    example = next(
        (
            f"{path.name} is of {one.well}"
            for path, one in zip(below, readings, strict=True)
            if one.well
        ),
        "",
    )
    wells = sorted({one.well for one in ones})
    notes = notes_of(table)
    found: dict[str, list[str]] = {}
    if not may_be_wells(ones):
        # Small letters are fields and channels everywhere, and not worth a sentence.
        if len(wells) > 1 and all(one.spelled[:2].isalnum() and one.row.isupper() for one in ones):
            notes.append(
                f"Names hold {_name_some(wells)}, which may be wells, or days or fields: no groups were "
                "taken from them. Where they are wells, name them in a table with a column 'well'."
            )
    elif len(ones) < len(table):
        odd = next(path for path, one in zip(below, readings, strict=True) if one.well is None)
        notes.append(
            f"The names of {len(ones)} of {len(table)} images tell a well ({example}), those of the "
            f"others do not (the first: {odd.name}): no groups were taken from them, and images of "
            "one well may be in several splits. Name the wells in a table with a column 'well'."
        )
    else:
        found = {"plate": _take_plates(below, ones), "well": [one.well for one in ones]}
        plates = len(set(found["plate"]))
        groups = len(set(zip(found["plate"], found["well"], strict=True)))
        if not any(found["plate"]):
            del found["plate"]
        notes.append(
            f"Groups were taken from the names: {len(table)} images of {groups} wells"
            f"{f' on {plates} plates' if plates > 1 else ''} ({example}); a well is never in two "
            "splits. group=None (--group none) takes every image for itself."
        )
    named = table.assign(**{name: values for name, values in found.items() if name not in table})
    named.attrs["notes"] = notes
    return named


def _without_class(table: pd.DataFrame) -> list[PurePath]:
    """Return the paths below the folder of all images, less the folders of classes and splits."""
    paths = [Path(path) for path in table["path"]]
    root = Path(os.path.commonpath([path.parent for path in paths]))
    # A well in train and in test is a leak, and not a well of two plates called so.
    splits = {*SPLITS, *SPLIT_SYNONYMS}
    return [
        PurePath(
            *(one for one in folder.parts if one != label and one.lower() not in splits), path.name
        )
        for path, label in zip(paths, table["label"], strict=True)
        for folder in [path.parent.relative_to(root)]
    ]


def _take_plates(paths: Sequence[PurePath], wells: Sequence[Candidate]) -> list[str]:
    """Return the plate of each image, empty where names do not tell several."""
    separate = find_separate_plates(paths, wells)
    if separate is None or not separate.evident:
        return [""] * len(paths)
    found = [read_by_pattern(path, re.compile(separate.pattern)).plate or "" for path in paths]
    # All or none: images without a plate would make one of their own.
    return found if all(found) else [""] * len(paths)


def _compile_pattern(text: str) -> "re.Pattern[str]":
    try:
        pattern = re.compile(text)
    # Now, and not at the first image: an error in the pattern is none of a file.
    except re.error as error:
        raise DatasetError(
            f"well_pattern: found {text!r} ({error}); expected a regular expression"
        ) from error
    groups = set(pattern.groupindex)
    if "well" not in groups and not {"row", "column"} <= groups:
        raise DatasetError(
            f"well_pattern: found the groups {', '.join(sorted(groups)) or 'none'} in {text!r}; "
            "expected (?P<well>...), or (?P<row>...) and (?P<column>...)"
        )
    return pattern


def _list_rows(table: pd.DataFrame, columns: Sequence[str]) -> list[tuple[str, ...]]:
    return list(zip(*(table[name] for name in columns), strict=True))


def _name_some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:SHOWN])
    return f"{shown} and {len(names) - SHOWN} more" if len(names) > SHOWN else shown
