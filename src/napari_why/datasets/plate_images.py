"""Which image is of which well: the images of a plate's folder matched with its plate map."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from napari_why.core.errors import DatasetError
from napari_why.datasets.plate_map import read_plate_map
from napari_why.datasets.tables import find_images, notes_of, plate_label, plate_sentences
from napari_why.images import can_read, plates_of
from napari_why.images.file_names import choose_well, parse_name, well_by_pattern, wells_in
from napari_why.images.wells import well_place

# Names in a sentence: enough to recognise a pattern among them, few enough to read.
SHOWN = 5


@dataclass(frozen=True)
class LeftOut:
    """An image that is not in a data set, and why."""

    path: str
    reason: str


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
            first = self.images_without_wells[0]
            sentences.append(
                f"{len(self.images_without_wells)} images belong to no well of the plate map, the "
                f"first: {first.path} ({first.reason})."
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
) -> tuple[pd.DataFrame, PlateMatch]:
    """List the images of a plate with what the plate map says of their wells.

    Parameters
    ----------
    folder : path
        Images of one plate, in folders within it too; of several plates where the map has a column
        ``plate``, whose names stand in folder or file names.
    plate_map, sheet
        See :func:`napari_why.datasets.plate_map.read_plate_map`.
    label : str
        Column that holds the class.
    controls, control_column
        See :func:`name_controls`; by default the column ``label``.
    well_pattern : str, optional
        Regular expression with the group ``well``, or ``row`` and ``column``, searched in the path
        below the folder, where the names do not tell the well as microscopes do.

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
        There is no folder, map or column; or no image belongs to a well of the map.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DatasetError(f"{folder}: found no such folder; expected one with the plate's images")
    wells = read_plate_map(plate_map, sheet=sheet)
    wells = name_controls(wells, controls, control_column or label)
    require_column(str(plate_map), wells, label)
    pattern = None if well_pattern is None else _compile_pattern(well_pattern)
    images, without_wells = _find_wells(folder, Path(plate_map), wells, pattern)
    key = ["plate", "well"] if "plate" in wells.columns else ["well"]
    table = images.merge(_name_class(wells, label), on=key, how="inner")
    # An inner join has dropped what is on one side only; each side is told apart from here on.
    if table.empty:
        raise DatasetError(_nothing_fits(folder, plate_map, wells, without_wells))
    there = set(table[key].itertuples(index=False, name=None))
    absent = [" ".join(row) for row in _list_rows(wells, key) if row not in there]
    classless = table["label"] == ""
    empty = dict.fromkeys(" ".join(row) for row in _list_rows(table[classless], key))
    table = table[~classless]
    # By position on the plate: as text, row AA of a 1536-well plate would stand before row B.
    order = [(*row[:-2], well_place(row[-2]), row[-1]) for row in _list_rows(table, [*key, "path"])]
    table = table.iloc[sorted(range(len(table)), key=order.__getitem__)]
    table = convert_numbers(table.reset_index(drop=True), keep=["path", "label", *key])
    table.attrs["notes"] = [*notes_of(table), *notes_of(images)]
    return table, PlateMatch(tuple(absent), tuple(without_wells), tuple(empty))


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
    """Raise DatasetError where a plate map has no such column."""
    if column not in table.columns:
        raise DatasetError(
            f"{source}: found no column {column!r}; expected one of "
            f"{', '.join(map(str, table.columns))}"
        )


def convert_numbers(table: pd.DataFrame, keep: Sequence[str]) -> pd.DataFrame:
    """Turn columns of numbers into numbers, NaN where they are empty; ``keep`` stay text."""
    changed = {}
    for name in table.columns:
        filled = table[name] != ""
        numbers = pd.to_numeric(table[name].where(filled), errors="coerce")
        # All or none: a column with one word in it holds names, whatever the rest looks like.
        if name not in keep and filled.any() and np.isfinite(numbers[filled]).all():
            changed[name] = numbers
    return table.assign(**changed)


def _find_wells(
    folder: Path, plate_map: Path, wells: pd.DataFrame, pattern: "re.Pattern[str] | None"
) -> tuple[pd.DataFrame, list[LeftOut]]:
    """Return path, plate and well of the images of listed wells, and the other images."""
    plates = sorted(set(wells["plate"])) if "plate" in wells.columns else [""]
    listed = {
        (str(row[0]) if len(row) > 1 else "", str(row[-1]))
        for row in _list_rows(wells, [name for name in ("plate", "well") if name in wells.columns])
    }
    found, others = [], []
    there = _select_planes(find_images(folder))
    stored = plates_of(files[0] for files in there)
    for files in there:
        path = files[0]
        # A workbook may lie among the images; maps in CSV are passed over as companions of images.
        if path.samefile(plate_map):
            continue
        below = path.relative_to(folder)
        where = Path(folder.name) / below
        candidates = wells_in(below)
        if path in stored:  # what a plate's own metadata say is no guess
            where = Path(plate_label(stored[path][0])) / path.name
            candidates = [stored[path][1].well]
        plate = plates[0] if len(plates) == 1 else _find_plate(where, plates)
        on_plate = {well for name, well in listed if name == plate}
        well = well_by_pattern(below, pattern) if pattern else choose_well(candidates, on_plate)
        if plate is not None and well in on_plate:
            found.append((str(path), plate, well))
        # What is no image was never meant to be one, and is not worth a message.
        elif can_read(path):
            others.append(LeftOut(str(path), _say_why(plate, well, candidates, plates)))
    table = pd.DataFrame(found, columns=["path", "plate", "well"])
    table = table if "plate" in wells.columns else table.drop(columns="plate")
    table.attrs["notes"] = [*plate_sentences(stored), *_say_shared(stored, wells)]
    return table, others


def _say_shared(stored: Mapping[Path, tuple[Path, Any]], wells: pd.DataFrame) -> list[str]:
    """Say so where a map that names no plate is taken for several plates."""
    names = sorted({plate_label(plate) for plate, _ in stored.values()})
    if len(names) < 2 or "plate" in wells.columns:
        return []
    return [
        f"The plate map names no plate and is taken for each of the {len(names)} plates "
        f"({_name_some(names)}); give it a column plate where they differ."
    ]


def _select_planes(images: list[tuple[Path, ...]]) -> list[tuple[Path, ...]]:
    """Leave out thumbnails, and projections where there are the planes themselves."""
    kinds = [parsed.kind if (parsed := parse_name(files[0].name)) else "plane" for files in images]
    # A projection beside its planes is the same field once more, and would be counted twice.
    wanted = "plane" if "plane" in kinds else "projection"
    return [files for files, kind in zip(images, kinds, strict=True) if kind == wanted]


def _find_plate(path: Path, plates: Sequence[str]) -> str | None:
    """Return the plate whose name stands in a path: a folder's name, or a part of a name."""
    # The innermost folder says it best; a plate's name within longer names is the second choice.
    for part in (*reversed(path.parts[:-1]), path.name):
        if part in plates:
            return part
    inside = [
        plate
        for plate in plates
        # Not within a longer word or number: plate 1 is not in "P10".
        if re.search(rf"(?<![A-Za-z0-9]){re.escape(plate)}(?![A-Za-z0-9])", path.as_posix())
    ]
    return inside[0] if len(inside) == 1 else None


def _say_why(
    plate: str | None, well: str | None, candidates: Sequence[str], plates: Sequence[str]
) -> str:
    if plate is None:
        return f"its path names none of the plates {_name_some(plates)}"
    if well is not None:
        return f"the plate map lists no well {well}"
    if candidates:
        return f"its name can mean the wells {' and '.join(candidates)}"
    return "its name tells no well"


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
        f"{first.reason}); expected images of {listed}; say where the well stands in the names "
        r"with well_pattern, for example '_(?P<well>[A-H]\d+)_'"
    )


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
    return list(table[list(columns)].itertuples(index=False, name=None))


def _name_some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:SHOWN])
    return f"{shown} and {len(names) - SHOWN} more" if len(names) > SHOWN else shown
