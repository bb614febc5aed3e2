"""OME-Zarr: images and plates of versions 0.4 (Zarr 2) and 0.5 (Zarr 3); 0.5 is written.

Specification: https://ngff.openmicroscopy.org/0.4/ and https://ngff.openmicroscopy.org/0.5/. The
chunks are decoded by the zarr library; the metadata are read here, because an image whose
metadata contradict each other has to be refused instead of being shown.
"""

import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from napari_why.core.errors import ImageReadError
from napari_why.core.record import Record
from napari_why.core.targets import MARK
from napari_why.images.display import HEX_COLOURS, default_colormaps, image_contrast_limits
from napari_why.images.formats import (
    Format,
    PlateImage,
    SourceFile,
    StoredImage,
    Writer,
    to_micrometres,
)
from napari_why.images.image import DIMS, SPATIAL_DIMS, channel_names, first_centre
from napari_why.images.wells import well_name
from napari_why.images.write import planes_of
from napari_why.images.zarr_pixels import chunk_notes, load_array

NAME = "OME-Zarr"
EXPECTED = "an OME-Zarr image or plate of version 0.4 or 0.5"
# In the order that the specification asks for.
AXIS_TYPES = {"t": "time", "c": "channel", "z": "space", "y": "space", "x": "space"}
# Of the attribute that holds a record; folders written by any version have it.
RECORD_KEY = "napari-why"
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
# Names of axes as people write them where the type says what is meant.
AXIS_LETTERS = {("channel", "channel"): "c", ("channels", "channel"): "c", ("time", "time"): "t"}
# Writers round the scales of smaller resolutions, so that their extents differ by a little.
EXTENT_TOLERANCE = 1.001

SUFFIXES = (".ome.zarr", ".zarr")
WRITTEN_TYPES = (
    "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64", "float32", "float64",
)  # fmt: skip
VERSION = "0.5"
# Pixels along each side of a chunk: 2 MiB of 16 bits. Smaller ones make more files, larger ones
# more to decode for a view of a corner.
CHUNK = 1024
# Halving ends where a viewer shows the whole image at once anyway.
SMALLEST = 256


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


def describe(source: SourceFile) -> StoredImage:
    """Describe an OME-Zarr image in full resolution.

    The folder is that of an image, of a well that has one field, or of several images as
    bioformats2raw writes them: then the first one is described, and the notes name the others.

    Raises
    ------
    ImageReadError
        It is a plate or no image, or its metadata are incomplete or contradict each other.
    """
    return _describe_level(source.path, 0)


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
    attributes = _attributes(source.path)
    if isinstance(attributes.get("plate"), Mapping):
        return _read_plate(source.path)
    if isinstance(attributes.get("well"), Mapping):
        fields, _ = _fields(source.path)
    else:
        fields = [PlateImage("", image.name, image) for image in _series(source.path)]
    return _Several(tuple(fields)) if len(fields) > 1 else None


def _series(path: Path) -> list[Path]:
    """Return the images of a folder as bioformats2raw writes it; of any other folder none."""
    attributes = _attributes(path)
    if "multiscales" in attributes or not (SERIES_KEY in attributes or _has_series_metadata(path)):
        return []
    named = _stored_attributes(path / SERIES_GROUP).get("series")
    if isinstance(named, list) and named:
        folders = [_inside(path, name) for name in named]
    else:
        numbered = [child for child in path.iterdir() if child.name.isdecimal()]
        folders = sorted(numbered, key=lambda child: int(child.name))
    there = [folder for folder in folders if is_zarr(folder)]
    if not there:
        raise _error(path, "a folder of bioformats2raw without any image")
    return there


def _describe_level(path: Path, level: int) -> StoredImage:
    try:
        folder, notes = _image_folder(path)
        stored = _describe(folder, level)
        return replace(stored, notes=notes + stored.notes)
    except ImageReadError:
        raise
    except Exception as error:
        raise _error(path, f"metadata that cannot be understood ({_reason(error)})") from error


def plate_images(path: Path) -> list[PlateImage]:
    """List the fields of a plate, well by well; wells that are missing are left out.

    Raises
    ------
    ImageReadError
        The plate's metadata are incomplete, or none of its wells is there.
    """
    return list(_read_plate(path).images)


def _read_plate(path: Path) -> _Several:
    plate = _attributes(path)["plate"]
    wells = plate.get("wells")
    if not isinstance(wells, list):
        raise _error(path, "a plate without a list of wells")
    found: list[PlateImage] = []
    lost_wells, lost_fields, contradictions = [], [], []
    for well in wells:
        folder = _inside(path, well.get("path") if isinstance(well, Mapping) else None)
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
        raise _error(path, f"a plate without fields in its {len(wells)} wells{first}")
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


def _describe(path: Path, level: int) -> StoredImage:
    attributes = _attributes(path)
    multiscale = _first(attributes.get("multiscales"))
    datasets = multiscale.get("datasets")
    if not isinstance(datasets, list) or not 0 <= level < len(datasets):
        raise _error(path, "an image that names no array of pixels")
    dataset = _first(datasets[level : level + 1])
    folder = _inside(path, dataset.get("path"))
    array = _open_array(path, folder)
    axes, units = _axes(path, multiscale)
    if len(axes) != array.ndim:
        raise _error(path, f"{len(axes)} axes ({axes}) for an array of {array.ndim}")
    steps = (dataset, multiscale)
    scale, shift, unknown = _transform(path, steps, len(axes))
    if not any(_has_scale(holder) for holder in steps):
        # A unit without a number is no size: one micrometre would be made up.
        lengths = [unit for unit in units if to_micrometres(1.0, unit) is not None]
        words = f"The file gives the unit {lengths[0]!r} and no scale" if lengths else ""
        unknown += (f"{words}, so that the pixel size is not known.",) if lengths else ()
        units = [""] * len(axes)
    grid = _Grid(axes, tuple(array.shape), tuple(units), tuple(scale), tuple(shift))
    record = attributes.get(RECORD_KEY)
    return StoredImage(
        path=path,
        format=NAME,
        axes=axes,
        shape=tuple(array.shape),
        dtype=array.dtype,
        load=lambda _: load_array(path, folder, array),
        channels=_channels(attributes),
        pixel_size=grid.sizes,
        origin=grid.origin,
        notes=(
            *_kind_notes(attributes),
            *chunk_notes(path, folder, array),
            *_level_notes(path, multiscale, len(axes)),
            *unknown,
            *grid.notes,
        ),
        record=record if isinstance(record, Mapping) else {},
        # Named by the finest one alone, so that each is listed once.
        smaller=tuple(
            partial(_describe_level, path, number)
            for number in range(1, len(datasets) if level == 0 else 0)
        ),
    )


@dataclass(frozen=True)
class _Grid:
    """Where the pixels lie: steps and the first pixel along each axis, in the units of the file."""

    axes: str
    shape: tuple[int, ...]
    units: tuple[str, ...]
    scale: tuple[float, ...]
    shift: tuple[float, ...]

    @property
    def sizes(self) -> dict[str, float]:
        """Micrometres along each spatial axis whose unit is one; empty unless y and x are known."""
        sizes = {
            axis: size
            for axis, step, unit in zip(self.axes, self.scale, self.units, strict=True)
            if axis in SPATIAL_DIMS and (size := to_micrometres(step, unit)) is not None
        }
        return sizes if {"y", "x"} <= set(sizes) else {}

    @property
    def origin(self) -> dict[str, float]:
        """Where the first pixel lies along the spatial axes, in the unit of the pixel size."""
        places, sizes = {}, self.sizes
        for axis, step, shift in zip(self.axes, self.scale, self.shift, strict=True):
            if axis not in SPATIAL_DIMS or not self._is_place(step, shift):
                continue
            # A decimal rounding takes away what the division, not the file, added.
            places[axis] = float(f"{shift / step * sizes.get(axis, 1.0):.12g}")
        return places if any(places.values()) else {}

    @staticmethod
    def _is_place(step: float, shift: float) -> bool:
        return math.isfinite(shift) and math.isfinite(step) and step > 0

    @property
    def notes(self) -> tuple[str, ...]:
        """Say what the file tells in units that are no length, and is therefore not used."""
        columns = zip(self.axes, self.shape, self.scale, self.units, strict=True)
        # Of a single plane, a distance of planes is nothing that could be lost.
        spatial = [
            (axis, step, unit)
            for axis, size, step, unit in columns
            if axis in SPATIAL_DIMS and (axis != "z" or size > 1)
        ]
        known = self.sizes
        left_out = [
            f"{step:g} along {axis} {f'in {unit!r}' if unit else 'without a unit'}"
            for axis, step, unit in spatial
            if axis not in known
        ]
        # A scale of 1 without a unit is how writers say that they know no pixel size.
        told = any(
            step != 1.0 or to_micrometres(1.0, unit) is not None
            for axis, step, unit in spatial
            if axis not in known
        )
        notes = []
        if told:
            what = "distance of z planes" if known else "pixel size"
            notes.append(
                f"The file gives a scale of {', '.join(left_out)}, from which the {what} in "
                "micrometres is not known; it is left out."
            )
        lost = any(
            axis in SPATIAL_DIMS and shift and not self._is_place(step, shift)
            for axis, step, shift in zip(self.axes, self.scale, self.shift, strict=True)
        )
        if lost:
            notes.append("The file gives a place of the image that is no number; it is left out.")
        return tuple(notes)


def _image_folder(path: Path) -> tuple[Path, tuple[str, ...]]:
    """Return the folder of the image and what is to be said about the choice.

    It is the path itself, a well's only field, or the first of a series of images.
    """
    attributes = _attributes(path)
    if isinstance(attributes.get("plate"), Mapping):
        plate = _read_plate(path)
        names = ", ".join(str(item.path.relative_to(path)) for item in plate.images[:3])
        found = f"a plate of {len(plate.images)} fields ({names}, ...)"
        advice = "name the folder of one field in it, or open the plate with its plate map"
        raise _error(path, found, advice)
    if isinstance(attributes.get("well"), Mapping):
        fields, missing = _fields(path)
        names = ", ".join(field.field for field in fields)
        if len(fields) > 1:
            found = f"a well of {len(fields)} fields ({names})"
            raise _error(path, found, "name the folder of one field in it")
        lost = f"Fields that the well names are missing: {', '.join(missing)}."
        return fields[0].path, (lost,) if missing else ()
    series = _series(path)
    if series:
        others = ", ".join(str(path / folder.relative_to(path)) for folder in series[1:3])
        more = f" and {len(series) - 3} more" if len(series) > 3 else ""
        note = f"The first of {len(series)} images in {path.name}; the others: {others}{more}."
        return series[0], (note,) if len(series) > 1 else ()
    if not isinstance(attributes.get("multiscales"), list):
        raise _error(path, "a Zarr folder without the metadata of an OME-Zarr image")
    return path, ()


def _attributes(path: Path) -> Mapping[str, Any]:
    """Return the OME metadata of a group, wherever its version keeps them."""
    quick = _stored_attributes(path)
    if any(key in quick for key in OME_KEYS):
        return quick  # opening a group takes milliseconds, and a plate has hundreds of them
    zarr: Any = import_module("zarr")
    if not any((path / name).is_file() for name in METADATA_FILES):
        advice = "copy it again, with hidden files (.zattrs, .zgroup, .zarray), or export it again"
        raise _error(path, "a Zarr folder without the metadata of an OME-Zarr image", advice)
    try:
        attributes: Any = dict(zarr.open_group(path, mode="r").attrs)
    except Exception as error:
        raise _error(path, f"Zarr metadata that cannot be read ({_reason(error)})") from error
    ome = attributes.get("ome")
    return {**attributes, **ome} if isinstance(ome, Mapping) else attributes


def _open_array(path: Path, folder: Path) -> Any:
    zarr: Any = import_module("zarr")
    if not folder.is_dir():
        raise _error(path, f"no array {folder.name!r}, which the metadata name")
    return zarr.open_array(folder, mode="r")


def _axes(path: Path, multiscale: Mapping[str, Any]) -> tuple[str, list[str]]:
    """Return the letters of the axes, and their units as the file spells them."""
    # Version 0.1 and 0.2 had no axes: always these five.
    axes = multiscale.get("axes", list(DIMS))
    if not isinstance(axes, list):
        raise _error(path, "axes that are no list")
    named = [axis if isinstance(axis, Mapping) else {"name": axis} for axis in axes]
    words = [str(axis.get("name", "")).lower() for axis in named]
    letters = [
        AXIS_LETTERS.get((word, str(axis.get("type"))), word)
        for word, axis in zip(words, named, strict=True)
    ]
    if not set(letters) <= set(DIMS) or len(set(letters)) != len(letters):
        found = f"axes named {', '.join(map(repr, letters))}"
        raise _error(path, found, f"letters of {''.join(DIMS)} are understood, each once")
    kinds = [AXIS_TYPES[letter] for letter in letters]
    told = [axis.get("type", kind) for axis, kind in zip(named, kinds, strict=True)]
    if told != kinds or sorted(kinds, key=list(AXIS_TYPES.values()).index) != kinds:
        found = f"axes {', '.join(letters)} of types {', '.join(map(str, told))}"
        raise _error(path, found, "time comes first, then channels, then z, y and x as space")
    return "".join(letters), [str(axis.get("unit") or "") for axis in named]


def _transform(
    path: Path, holders: Sequence[Mapping[str, Any]], count: int
) -> tuple[list[float], list[float], tuple[str, ...]]:
    """Return the steps between pixels, the place of the first, and what was not understood.

    The transformations of ``holders`` are carried out one after the other.
    """
    scale, shift = [1.0] * count, [0.0] * count
    others = set()
    for holder in holders:
        for step in holder.get("coordinateTransformations") or ():
            kind = step.get("type")
            if kind not in ("scale", "translation"):
                others |= {str(kind)} - {"identity"}
                continue
            values = step.get(kind)
            if not isinstance(values, list) or len(values) != count:
                raise _error(path, f"a {kind} that does not fit {count} axes ({values})")
            numbers = [float(value) for value in values]
            if kind == "translation":
                shift = [a + b for a, b in zip(shift, numbers, strict=True)]
            else:
                scale = [a * b for a, b in zip(scale, numbers, strict=True)]
                shift = [a * b for a, b in zip(shift, numbers, strict=True)]
    if not others:
        return scale, shift, ()
    kinds = ", ".join(map(repr, sorted(others)))
    note = f"The file places the image by {kinds}, which is not followed: it may lie elsewhere."
    return scale, shift, (note,)


def _has_scale(holder: Mapping[str, Any]) -> bool:
    steps = holder.get("coordinateTransformations") or ()
    return any(step.get("type") == "scale" for step in steps)


def _kind_notes(attributes: Mapping[str, Any]) -> tuple[str, ...]:
    """Say so where the folder holds several images, or masks instead of one."""
    notes = []
    count = len(attributes["multiscales"])
    if count > 1:
        notes.append(f"The folder describes {count} images; the first one is read.")
    if "image-label" in attributes:
        notes.append("This is a label image: its values number regions and are no intensities.")
    return tuple(notes)


def _channels(attributes: Mapping[str, Any]) -> tuple[str, ...]:
    omero = attributes.get("omero")
    channels = omero.get("channels") if isinstance(omero, Mapping) else None
    # Exporters write null for what they do not know, for the whole as for a label.
    labels = tuple(
        _label(channel.get("label")) if isinstance(channel, Mapping) else ""
        for channel in (channels if isinstance(channels, list) else ())
    )
    return labels if any(labels) else ()


def _label(label: Any) -> str:
    return "" if label is None else str(label).strip()


def _level_notes(path: Path, multiscale: Mapping[str, Any], count: int) -> tuple[str, ...]:
    """Say so where the resolutions do not cover one and the same field."""
    extents: list[list[tuple[float, float]]] = []
    before: tuple[int, ...] = ()
    folders = [_inside(path, dataset.get("path")) for dataset in multiscale["datasets"]]
    if len(set(folders)) != len(folders):
        raise _error(path, "resolutions that name the same array twice")
    for dataset, folder in zip(multiscale["datasets"], folders, strict=True):
        if not folder.is_dir():
            return (f"The smaller image {folder.name!r} that the metadata name is missing.",)
        scale = _transform(path, [dataset], count)[0]
        shape = _open_array(path, folder).shape
        if before and any(n > m for n, m in zip(shape, before, strict=True)):
            raise _error(path, f"a smaller resolution that is larger, {shape} after {before}")
        before = shape
        extents.append([(n * s, s) for n, s in zip(shape, scale, strict=False)])
    fits = all(
        abs(size - other) <= max(step, other_step) * EXTENT_TOLERANCE
        for level in extents[1:]
        for (size, step), (other, other_step) in zip(extents[0], level, strict=False)
    )
    _check_nothing_larger(path, folders)
    return () if fits else ("The image's resolutions cover fields of different size.",)


def _check_nothing_larger(path: Path, named: list[Path]) -> None:
    """Refuse an image whose metadata have lost its full resolution, which still lies there."""
    largest = math.prod(_open_array(path, named[0]).shape)
    for child in path.iterdir():
        # An array that is larger than the finest one named is what the metadata have lost.
        if child in named or not any((child / name).is_file() for name in (".zarray", "zarr.json")):
            continue
        zarr: Any = import_module("zarr")
        node = zarr.open(child, mode="r")
        if math.prod(getattr(node, "shape", ())) > largest:
            raise _error(path, f"a larger array {child.name!r} that the metadata do not name")


def _fields(well: Path) -> tuple[list[PlateImage], list[str]]:
    """Return the fields of a well, and the names of those that are not there."""
    if not is_zarr(well):
        raise _error(well, "no well, which the plate's metadata name")
    about = _attributes(well).get("well")
    images = about.get("images") if isinstance(about, Mapping) else None
    if not isinstance(images, list) or not images:
        raise _error(well, "a well without a list of fields")
    there, missing = [], []
    for image in images:
        folder = _inside(well, image.get("path") if isinstance(image, Mapping) else None)
        if folder.is_dir():
            cycle = image.get("acquisition")
            there.append(PlateImage("", folder.name, folder, "" if cycle is None else str(cycle)))
        else:
            missing.append(folder.name)
    if not there:
        raise _error(well, f"a well without any of its fields ({_name_some(missing)})")
    return there, missing


def _inside(path: Path, name: Any) -> Path:
    """Return a folder below ``path``; metadata that point elsewhere are refused."""
    parts = PurePosixPath(name).parts if isinstance(name, str) else ()
    if not parts or ".." in parts or name.startswith("/"):
        raise _error(path, f"metadata that name {name!r} as a folder of the image")
    return path.joinpath(*parts)


def _first(values: Any) -> Mapping[str, Any]:
    if isinstance(values, list) and values and isinstance(values[0], Mapping):
        return values[0]
    raise ValueError("a part of the metadata is missing or of the wrong kind")


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _error(path: Path, found: str, advice: str = "") -> ImageReadError:
    return ImageReadError(path, found, EXPECTED, advice)


def write_zarr(
    image: xr.DataArray, folder: Path, pixel_type: np.dtype[Any], record: Record | None
) -> None:
    """Write an image into a new folder.

    Each smaller resolution has half the height and width, by the mean of 2 x 2 pixels, until the
    smaller side is at most ``SMALLEST`` pixels.

    Raises
    ------
    ImageWriteError
        A value is no finite number.
    OSError
        Whatever the file system refuses.
    """
    zarr: Any = import_module("zarr")
    group = zarr.open_group(folder, mode="w", zarr_format=3)
    dims = [str(dim) for dim in image.dims]
    levels = [
        group.create_array(
            str(level),
            shape=(*image.shape[:-2], *size),
            chunks=(*[1] * (image.ndim - 2), *(min(side, CHUNK) for side in size)),
            dtype=pixel_type,
            dimension_names=dims,
            # An image without light would else have no chunk, as if it had been lost.
            config={"write_empty_chunks": True},
        )
        for level, size in enumerate(_level_sizes(image.shape[-2], image.shape[-1]))
    ]
    indices = np.ndindex(image.shape[:-2])
    for index, plane in zip(indices, planes_of(image, pixel_type), strict=True):
        smaller = plane
        for level, array in enumerate(levels):
            smaller = _halve(smaller) if level else smaller
            array[index] = smaller
    group.attrs.update(_ome_attributes(image, len(levels), record))


def _level_sizes(height: int, width: int) -> list[tuple[int, int]]:
    sizes = [(height, width)]
    while min(sizes[-1]) > SMALLEST:
        sizes.append((sizes[-1][0] // 2, sizes[-1][1] // 2))
    return sizes


def _halve(plane: NDArray[Any]) -> NDArray[Any]:
    height, width = plane.shape[0] // 2, plane.shape[1] // 2
    blocks = plane[: 2 * height, : 2 * width].reshape(height, 2, width, 2)
    mean = blocks.mean(axis=(1, 3), dtype=np.float64)  # sums of four would overflow the type
    small: NDArray[Any] = mean if plane.dtype.kind == "f" else np.rint(mean)
    return small.astype(plane.dtype)


def _ome_attributes(image: xr.DataArray, levels: int, record: Record | None) -> dict[str, Any]:
    attributes: dict[str, Any] = {
        "ome": {
            "version": VERSION,
            "_creator": {"name": MARK},
            "multiscales": [
                {
                    "name": "image",
                    "axes": [_axis_entry(image, str(dim)) for dim in image.dims],
                    "datasets": [_dataset_entry(image, level) for level in range(levels)],
                }
            ],
            "omero": {"channels": _omero_channels(image)},
        }
    }
    return attributes if record is None else {**attributes, RECORD_KEY: record.to_dict()}


def _omero_channels(image: xr.DataArray) -> list[dict[str, Any]]:
    """Return how each channel is shown; colour and window are obligatory in the specification."""
    names = channel_names(image)
    limits = image_contrast_limits(image)
    return [
        {
            "label": name,
            "active": True,
            "color": HEX_COLOURS[colormap],
            "window": _window(image.dtype, low, high),
        }
        for name, colormap, (low, high) in zip(names, default_colormaps(names), limits, strict=True)
    ]


def _window(dtype: np.dtype[Any], low: float, high: float) -> dict[str, float]:
    """Return the values shown as black and as full colour, and the range to choose them from."""
    whole = np.iinfo(dtype) if dtype.kind in "iu" else None
    least, most = (float(whole.min), float(whole.max)) if whole else (low, high)
    return {"start": low, "end": high, "min": least, "max": most}


def _axis_entry(image: xr.DataArray, dim: str) -> dict[str, str]:
    axis = {"name": dim, "type": AXIS_TYPES[dim]}
    known = image.attrs.get("unit") == "um" and dim in image.attrs.get("pixel_size", {})
    return {**axis, "unit": "micrometer"} if known else axis


def _dataset_entry(image: xr.DataArray, level: int) -> dict[str, Any]:
    """Return where the pixels of a resolution lie: the first one between those it is the mean of."""
    factor = 2**level
    sizes = image.attrs.get("pixel_size", {})
    steps = [float(sizes.get(dim, 1.0)) for dim in image.dims]
    halved = [factor if dim in ("y", "x") else 1 for dim in image.dims]
    scale = [step * times for step, times in zip(steps, halved, strict=True)]
    shift = [
        (first_centre(image, str(dim)) if dim in SPATIAL_DIMS else 0.0) + step * (times - 1) / 2
        for dim, step, times in zip(image.dims, steps, halved, strict=True)
    ]
    steps_to_place: list[dict[str, Any]] = [{"type": "scale", "scale": scale}]
    if any(shift):
        steps_to_place.append({"type": "translation", "translation": shift})
    return {"path": str(level), "coordinateTransformations": steps_to_place}


FORMAT = Format(
    NAME,
    SUFFIXES,
    recognises,
    describe,
    folder=True,
    fields=plate_fields,
    field_notes=plate_notes,
    plate_of=plate_of,
    writer=Writer(write_zarr, WRITTEN_TYPES),
)
