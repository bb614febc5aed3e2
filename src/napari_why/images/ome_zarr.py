"""OME-Zarr: images and plates of versions 0.4 (Zarr 2) and 0.5 (Zarr 3); 0.5 is written.

Specification: https://ngff.openmicroscopy.org/0.4/ and https://ngff.openmicroscopy.org/0.5/. The
chunks are decoded by the zarr library; the metadata are read here, because an image whose
metadata contradict each other has to be refused instead of being shown.
"""

import math
from collections.abc import Mapping
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
from napari_why.images.image import DIMS, SPATIAL_DIMS, channel_names
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
    """Whether a folder is a Zarr group or array."""
    return is_zarr(source.path)


def describe(source: SourceFile) -> StoredImage:
    """Describe an OME-Zarr image in full resolution.

    The folder is that of an image, or of a well that has one field.

    Raises
    ------
    ImageReadError
        It is a plate or no image, or its metadata are incomplete or contradict each other.
    """
    return _describe_level(source.path, 0)


def plate_fields(source: SourceFile) -> list[PlateImage] | None:
    """Return the fields of a plate, None for a folder that is no plate.

    Raises
    ------
    ImageReadError
        The plate has no fields, or its metadata are incomplete.
    """
    if not isinstance(_attributes(source.path).get("plate"), Mapping):
        return None
    found = plate_images(source.path)
    if not found:
        raise ImageReadError(source.path, "a plate without fields", "at least one field")
    return found


def _describe_level(path: Path, level: int) -> StoredImage:
    try:
        return _describe(_image_folder(path), level)
    except ImageReadError:
        raise
    except Exception as error:
        raise _error(path, f"metadata that cannot be understood ({_reason(error)})") from error


def plate_images(path: Path) -> list[PlateImage]:
    """List the fields of a plate, well by well.

    Raises
    ------
    ImageReadError
        The plate's metadata are incomplete, or a well that they name is missing.
    """
    wells = _attributes(path)["plate"].get("wells")
    if not isinstance(wells, list):
        raise _error(path, "a plate without a list of wells")
    found = []
    for well in wells:
        folder = _inside(path, well.get("path") if isinstance(well, Mapping) else None)
        # The specification names wells "B/3", with a folder for each row.
        name = folder.relative_to(path).as_posix().replace("/", "")
        found += [
            PlateImage(well_name(name) or name, field.name, field) for field in _fields(folder)
        ]
    return found


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
    scale = _scale(path, dataset, len(axes), _scale(path, multiscale, len(axes)))
    sizes = {
        axis: size
        for axis, step, unit in zip(axes, scale, units, strict=True)
        if axis in SPATIAL_DIMS and (size := to_micrometres(step, unit)) is not None
    }
    record = attributes.get(RECORD_KEY)
    return StoredImage(
        path=path,
        format=NAME,
        axes=axes,
        shape=tuple(array.shape),
        dtype=array.dtype,
        load=lambda _: load_array(path, folder, array),
        channels=_channels(attributes),
        pixel_size=sizes if {"y", "x"} <= set(sizes) else {},
        notes=chunk_notes(path, folder, array) + _level_notes(path, multiscale, len(axes)),
        record=record if isinstance(record, Mapping) else {},
        # Named by the finest one alone, so that each is listed once.
        smaller=tuple(
            partial(_describe_level, path, number)
            for number in range(1, len(datasets) if level == 0 else 0)
        ),
    )


def _image_folder(path: Path) -> Path:
    """Return the folder of the image: the path itself, or a well's only field."""
    attributes = _attributes(path)
    if isinstance(attributes.get("plate"), Mapping):
        fields = plate_images(path)
        names = ", ".join(str(item.path.relative_to(path)) for item in fields[:3])
        found = f"a plate of {len(fields)} fields ({names}, ...)"
        raise _error(path, found, "name the folder of one field in it")
    if isinstance(attributes.get("well"), Mapping):
        fields_of_well = _fields(path)
        if len(fields_of_well) == 1:
            return fields_of_well[0]
        names = ", ".join(field.name for field in fields_of_well)
        found = f"a well of {len(fields_of_well)} fields ({names})"
        raise _error(path, found, "name the folder of one field in it")
    if not isinstance(attributes.get("multiscales"), list):
        raise _error(path, "a Zarr folder without the metadata of an OME-Zarr image")
    return path


def _attributes(path: Path) -> Mapping[str, Any]:
    """Return the OME metadata of a group, wherever its version keeps them."""
    zarr: Any = import_module("zarr")
    if not any((path / name).is_file() for name in METADATA_FILES):
        raise _error(path, "a Zarr folder without the metadata of an OME-Zarr image")
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
    letters = [str(axis.get("name", "")).lower() for axis in named]
    if not set(letters) <= set(DIMS) or len(set(letters)) != len(letters):
        found = f"axes named {', '.join(map(repr, letters))}"
        raise _error(path, found, f"letters of {''.join(DIMS)} are understood, each once")
    kinds = [AXIS_TYPES[letter] for letter in letters]
    told = [axis.get("type", kind) for axis, kind in zip(named, kinds, strict=True)]
    if told != kinds or sorted(kinds, key=list(AXIS_TYPES.values()).index) != kinds:
        found = f"axes {', '.join(letters)} of types {', '.join(map(str, told))}"
        raise _error(path, found, "time comes first, then channels, then z, y and x as space")
    return "".join(letters), [str(axis.get("unit", "")) for axis in named]


def _scale(
    path: Path, holder: Mapping[str, Any], count: int, outer: list[float] | None = None
) -> list[float]:
    scale = outer or [1.0] * count
    for step in holder.get("coordinateTransformations") or ():
        if step.get("type") == "scale":
            factors = step.get("scale")
            if not isinstance(factors, list) or len(factors) != count:
                raise _error(path, f"a scale that does not fit {count} axes ({factors})")
            scale = [a * float(b) for a, b in zip(scale, factors, strict=True)]
    return scale


def _channels(attributes: Mapping[str, Any]) -> tuple[str, ...]:
    channels = attributes.get("omero", {}).get("channels") or ()
    labels = tuple(str(channel.get("label") or "").strip() for channel in channels)
    return labels if any(labels) else ()


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
        scale = _scale(path, dataset, count)
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


def _fields(well: Path) -> list[Path]:
    if not is_zarr(well):
        raise _error(well, "no well, which the plate's metadata name")
    images = _first([_attributes(well).get("well")]).get("images")
    if not isinstance(images, list) or not images:
        raise _error(well, "a well without a list of fields")
    return [_inside(well, _first([image]).get("path")) for image in images]


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
    known = image.attrs.get("unit") == "um" and AXIS_TYPES[dim] == "space"
    return {**axis, "unit": "micrometer"} if known else axis


def _dataset_entry(image: xr.DataArray, level: int) -> dict[str, Any]:
    """Return where the pixels of a resolution lie: the first one between those it is the mean of."""
    factor = 2**level
    sizes = image.attrs.get("pixel_size", {})
    steps = [float(sizes.get(dim, 1.0)) for dim in image.dims]
    halved = [factor if dim in ("y", "x") else 1 for dim in image.dims]
    scale = [step * times for step, times in zip(steps, halved, strict=True)]
    shift = [step * (times - 1) / 2 for step, times in zip(steps, halved, strict=True)]
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
    writer=Writer(write_zarr, WRITTEN_TYPES),
)
