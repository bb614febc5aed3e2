"""Groups of OME-Zarr: their metadata, and the images of plates, of wells and of bioformats2raw's series.

What is copied or converted in part is read in part, and what is missing is told.
"""

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path, PurePosixPath
from typing import Any

from napari_why.core.errors import ImageReadError
from napari_why.images.formats import PlateImage, SourceFile
from napari_why.images.wells import well_name

EXPECTED = "an OME-Zarr image or plate of version 0.4 or 0.5"
# Of a group with metadata: Zarr 3 and Zarr 2.
METADATA_FILES = ("zarr.json", ".zattrs")
ZARR_FILES = (*METADATA_FILES, ".zgroup", ".zarray")
# Of the folder in which bioformats2raw puts the images of one file, numbered from 0; their order
# stands in the group OME (https://ngff.openmicroscopy.org/0.4/#bf2raw).
SERIES_KEY, SERIES_GROUP, SERIES_METADATA = "bioformats2raw.layout", "OME", "METADATA.ome.xml"
# Any of them makes a group one of OME-Zarr.
OME_KEYS = ("multiscales", "plate", "well", SERIES_KEY)
# Where masks of an image lie; no images to be classified.
LABELS_GROUP = "labels"
CHUNK_NAME = re.compile(r"\d+(\.\d+)*")
# A plate names its wells "B/3", or "B3", and fields in them: so many folders above an image it lies.
ABOVE_A_FIELD = slice(1, 3)
SUFFIXES = (".ome.zarr", ".zarr")


def is_zarr(path: Path) -> bool:
    """Whether a folder is a Zarr group or array; looks for its metadata files alone."""
    return path.is_dir() and any((path / name).is_file() for name in ZARR_FILES)


def recognises(source: SourceFile) -> bool:
    """Whether a folder is a Zarr group or array, and not a group that only sorts others.

    A folder named as one counts, whose metadata were lost: copying often leaves out hidden files.
    """
    path = source.path
    return not _only_sorts(path) if is_zarr(path) else _has_lost_metadata(path)


def _only_sorts(path: Path) -> bool:
    """Whether a group tells nothing itself and holds groups alone, as an ordinary folder might."""
    if any(key in _stored_attributes(path) for key in OME_KEYS) or _has_series_metadata(path):
        return False
    inside = [child for child in path.iterdir() if child.name != LABELS_GROUP and is_zarr(child)]
    return bool(inside) and all(map(_is_group, inside))


def _has_lost_metadata(path: Path) -> bool:
    if path.suffix.lower() != SUFFIXES[-1]:
        return False
    found = (names for _, _, names in os.walk(path) if names)
    return any(CHUNK_NAME.fullmatch(name) for name in next(found, ()))


def _is_group(path: Path) -> bool:
    described = path / "zarr.json"
    if not described.is_file():
        return (path / ".zgroup").is_file()
    return _read_json(described).get("node_type") == "group"


def _has_series_metadata(path: Path) -> bool:
    return (path / SERIES_GROUP / SERIES_METADATA).is_file()


def _stored_attributes(path: Path) -> Mapping[str, Any]:
    """Return the OME metadata of a group by a look into its file; empty where there are none."""
    described = path / "zarr.json"
    found = _read_json(described).get("attributes") if described.is_file() else None
    attributes = found if isinstance(found, Mapping) else _read_json(path / ".zattrs")
    ome = attributes.get("ome")
    return {**attributes, **ome} if isinstance(ome, Mapping) else attributes


def _read_json(file: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # whoever opens the group is told what is wrong with it
        return {}
    return found if isinstance(found, Mapping) else {}


@dataclass(frozen=True)
class _Several:
    """The images of a folder that holds several, and what is to be said about it."""

    images: tuple[PlateImage, ...]
    notes: tuple[str, ...] = ()


def plate_fields(source: SourceFile) -> list[PlateImage] | None:
    """Return the fields of a plate or well, or a series of images; None for one image.

    Raises
    ------
    ImageReadError
        The plate has no fields, or its metadata are incomplete.
    """
    several = source.shared(_several)
    return None if several is None else list(several.images)


def plate_notes(source: SourceFile) -> tuple[str, ...]:
    """Return what the user should read about a plate: what it lacks, and its acquisitions.

    Raises
    ------
    ImageReadError
        As :func:`plate_fields` does.
    """
    several = source.shared(_several)
    return () if several is None else several.notes


def plate_of(path: Path) -> Path | None:
    """Return the folder of the plate that the folder of a field lies in, None where in none."""
    for outer in list(path.parents)[ABOVE_A_FIELD]:
        if isinstance(_stored_attributes(outer).get("plate"), Mapping):
            return outer
    return None


def _several(source: SourceFile) -> _Several | None:
    attributes = read_attributes(source.path)
    if isinstance(attributes.get("plate"), Mapping):
        return _read_plate(source.path)
    if isinstance(attributes.get("well"), Mapping):
        fields, missing = _fields(source.path)
    else:
        series, missing = _series(source.path)
        fields = [PlateImage("", image.name, image) for image in series]
    notes = _missing_notes(source.path, fields, missing)
    return _Several(tuple(fields), notes) if len(fields) > 1 else None


def _missing_notes(path: Path, there: Sequence[Any], missing: Sequence[str]) -> tuple[str, ...]:
    if not missing:
        return ()
    count = len(there) + len(missing)
    return (
        f"Of the {count} images that {path.name} names, {len(missing)} are missing and left out: "
        f"{_name_some(missing)}.",
    )


def _series(path: Path) -> tuple[list[Path], list[str]]:
    """Return the images of a folder as bioformats2raw writes it, and the names of missing ones.

    Of any other folder none.
    """
    attributes = read_attributes(path)
    if "multiscales" in attributes or not (SERIES_KEY in attributes or _has_series_metadata(path)):
        return [], []
    named = _stored_attributes(path / SERIES_GROUP).get("series")
    if isinstance(named, list) and named:
        folders = [folder_inside(path, name) for name in named]
    else:
        numbered = [child for child in path.iterdir() if child.name.isdecimal()]
        folders = sorted(numbered, key=lambda child: int(child.name))
    there = [folder for folder in folders if is_zarr(folder)]
    if not there:
        raise zarr_error(path, "a folder of bioformats2raw without any image")
    return there, [folder.name for folder in folders if folder not in there]


def plate_images(path: Path) -> list[PlateImage]:
    """List the fields of a plate, well by well; wells that are missing are left out.

    Raises
    ------
    ImageReadError
        The plate's metadata are incomplete, or none of its wells is there.
    """
    return list(_read_plate(path).images)


def _read_plate(path: Path) -> _Several:
    plate = read_attributes(path)["plate"]
    wells = plate.get("wells")
    if not isinstance(wells, list):
        raise zarr_error(path, "a plate without a list of wells")
    found: list[PlateImage] = []
    lost_wells, lost_fields, contradictions = [], [], []
    for well in wells:
        folder = folder_inside(path, well.get("path") if isinstance(well, Mapping) else None)
        place = folder.relative_to(path).as_posix()
        name, indexed = _well_names(place, well, plate)
        if indexed not in (name, None):
            contradictions.append(f"{place} is {indexed}")
        # Plates are copied and converted in part, and the other wells are whole.
        try:
            fields, missing = _fields(folder)
        except ImageReadError as error:
            lost_wells.append(f"{name} ({error.found})")
            continue
        found += [replace(field, well=name) for field in fields]
        lost_fields += [f"{name} field {field}" for field in missing]
    if not found:
        first = f", the first: {lost_wells[0]}" if lost_wells else ""
        raise zarr_error(path, f"a plate without fields in its {len(wells)} wells{first}")
    notes = [
        f"Of the {count} {things} that the plate {path.name} names, {len(lost)} are missing and left "
        f"out: {_name_some(lost)}."
        for things, count, lost in (
            ("wells", len(wells), lost_wells),
            ("fields", len(found) + len(lost_fields), lost_fields),
        )
        if lost
    ]
    if contradictions:
        notes.append(
            f"{len(contradictions)} wells of the plate {path.name} are others by their rows and columns "
            f"than by their folders ({_name_some(contradictions)}); the folders are believed."
        )
    return _Several(tuple(found), (*notes, *_acquisition_notes(path, plate, found)))


def _well_names(
    place: str, well: Mapping[str, Any], plate: Mapping[str, Any]
) -> tuple[str, str | None]:
    """Return a well's name by its folder, and by the names of row and column if they are told.

    The specification names folders "B/3"; of other names, row and column tell the well.
    """
    parts = []
    for axis, key in (("rows", "rowIndex"), ("columns", "columnIndex")):
        names, index = plate.get(axis), well.get(key)
        if isinstance(names, list) and isinstance(index, int) and 0 <= index < len(names):
            named = names[index]
            parts.append(str(named.get("name", "")) if isinstance(named, Mapping) else "")
    indexed = well_name("".join(parts)) if len(parts) == 2 else None
    joined = place.replace("/", "")
    return well_name(joined) or indexed or joined, indexed


def _acquisition_notes(
    path: Path, plate: Mapping[str, Any], images: Sequence[PlateImage]
) -> tuple[str, ...]:
    """Say so where a plate was imaged several times: a field may then be there several times."""
    counts: dict[str, int] = {}
    for image in images:
        counts[image.acquisition] = counts.get(image.acquisition, 0) + 1
    if len(counts) < 2:
        return ()
    told = plate.get("acquisitions")
    names = {
        str(item.get("id")): str(item.get("name") or item.get("id"))
        for item in (told if isinstance(told, list) else ())
        if isinstance(item, Mapping)
    }
    words = ", ".join(
        f"{names.get(key, key) or 'none'}: {count} images" for key, count in counts.items()
    )
    return (
        f"The plate {path.name} has {len(counts)} acquisitions ({words}); all are taken, each as an "
        "image of its own, so that the same field may be there several times.",
    )


def _name_some(names: Sequence[str]) -> str:
    shown = 5  # enough to see a pattern: a row, a column, the last ones
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more


def choose_image(path: Path) -> tuple[Path, tuple[str, ...]]:
    """Return the folder of the image and what is to be said about the choice.

    It is the path itself, a well's only field, or the first of a series of images.
    """
    attributes = read_attributes(path)
    if isinstance(attributes.get("plate"), Mapping):
        plate = _read_plate(path)
        names = ", ".join(str(item.path.relative_to(path)) for item in plate.images[:3])
        found = f"a plate of {len(plate.images)} fields ({names}, ...)"
        advice = "name the folder of one field in it, or open the plate with its plate map"
        raise zarr_error(path, found, advice)
    if isinstance(attributes.get("well"), Mapping):
        fields, missing = _fields(path)
        names = ", ".join(field.field for field in fields)
        if len(fields) > 1:
            found = f"a well of {len(fields)} fields ({names})"
            raise zarr_error(path, found, "name the folder of one field in it")
        return fields[0].path, _missing_notes(path, fields, missing)
    series, missing = _series(path)
    if series:
        others = ", ".join(str(path / folder.relative_to(path)) for folder in series[1:3])
        more = f" and {len(series) - 3} more" if len(series) > 3 else ""
        note = f"The first of {len(series)} images in {path.name}; the others: {others}{more}."
        lost = _missing_notes(path, series, missing)
        return series[0], (*((note,) if len(series) > 1 else ()), *lost)
    if not isinstance(attributes.get("multiscales"), list):
        raise zarr_error(path, "a Zarr folder without the metadata of an OME-Zarr image")
    return path, ()


def read_attributes(path: Path) -> Mapping[str, Any]:
    """Return the OME metadata of a group, wherever its version keeps them."""
    quick = _stored_attributes(path)
    if any(key in quick for key in OME_KEYS):
        return quick  # opening a group takes milliseconds, and a plate has hundreds of them
    if (path / ".zarray").is_file() or _read_json(path / "zarr.json").get("node_type") == "array":
        found = "an array of Zarr, without the metadata of the OME-Zarr image that it may belong to"
        raise zarr_error(path, found, "name the folder of the image, which holds its arrays")
    zarr: Any = import_module("zarr")
    if not any((path / name).is_file() for name in METADATA_FILES):
        advice = "copy it again, with hidden files (.zattrs, .zgroup, .zarray), or export it again"
        raise zarr_error(path, "a Zarr folder without the metadata of an OME-Zarr image", advice)
    try:
        attributes: Any = dict(zarr.open_group(path, mode="r").attrs)
    except Exception as error:
        raise zarr_error(
            path, f"Zarr metadata that cannot be read ({first_words(error)})"
        ) from error
    ome = attributes.get("ome")
    return {**attributes, **ome} if isinstance(ome, Mapping) else attributes


def _fields(well: Path) -> tuple[list[PlateImage], list[str]]:
    """Return the fields of a well, and the names of those that are not there."""
    if not is_zarr(well):
        raise zarr_error(well, "no well, which the plate's metadata name")
    about = read_attributes(well).get("well")
    images = about.get("images") if isinstance(about, Mapping) else None
    if not isinstance(images, list) or not images:
        raise zarr_error(well, "a well without a list of fields")
    there, missing = [], []
    for image in images:
        folder = folder_inside(well, image.get("path") if isinstance(image, Mapping) else None)
        if folder.is_dir():
            cycle = image.get("acquisition")
            there.append(PlateImage("", folder.name, folder, "" if cycle is None else str(cycle)))
        else:
            missing.append(folder.name)
    if not there:
        raise zarr_error(well, f"a well without any of its fields ({_name_some(missing)})")
    return there, missing


def folder_inside(path: Path, name: Any) -> Path:
    """Return a folder below ``path``; metadata that point elsewhere are refused.

    Parameters
    ----------
    path : Path
        The folder that the metadata are of.
    name : object
        What they hold in place of a name: with ``/`` between folders.

    Returns
    -------
    Path

    Raises
    ------
    ImageReadError
        It is no text, is empty, begins with ``/`` or holds ``..``.
    """
    parts = PurePosixPath(name).parts if isinstance(name, str) else ()
    if not parts or ".." in parts or name.startswith("/"):
        raise zarr_error(path, f"metadata that name {name!r} as a folder of the image")
    return path.joinpath(*parts)


def first_words(error: Exception) -> str:
    """Return what an error says, in one short line; its kind where it says nothing."""
    return " ".join(str(error).split())[:200] or type(error).__name__


def zarr_error(path: Path, found: str, advice: str = "") -> ImageReadError:
    """Return the error of a folder in which something else was found than an image.

    Parameters
    ----------
    path : Path
    found : str
        What is there instead.
    advice : str
        What to do about it; empty where there is nothing to say.

    Returns
    -------
    ImageReadError
    """
    return ImageReadError(path, found, EXPECTED, advice)
