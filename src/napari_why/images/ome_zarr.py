"""OME-Zarr: images of versions 0.4 (Zarr 2) and 0.5 (Zarr 3); 0.5 is written.

Specification: https://ngff.openmicroscopy.org/0.4/ and https://ngff.openmicroscopy.org/0.5/. The
chunks are decoded by the zarr library; the metadata are read here, because an image whose
metadata contradict each other has to be refused instead of being shown.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_why.core.errors import ImageReadError
from napari_why.core.record import Record
from napari_why.core.targets import MARK
from napari_why.images.display import HEX_COLOURS, default_colormaps, image_contrast_limits
from napari_why.images.formats import Format, SourceFile, StoredImage, Writer, to_micrometres
from napari_why.images.image import DIMS, SPATIAL_DIMS, channel_names, first_centre
from napari_why.images.ome_zarr_plate import (
    SUFFIXES,
    choose_image,
    first_words,
    folder_inside,
    plate_fields,
    plate_notes,
    plate_of,
    read_attributes,
    recognises,
    zarr_error,
)
from napari_why.images.write import planes_of
from napari_why.images.zarr_pixels import chunk_notes, load_array

if TYPE_CHECKING:
    import xarray as xr

NAME = "OME-Zarr"
# In the order that the specification asks for.
AXIS_TYPES = {"t": "time", "c": "channel", "z": "space", "y": "space", "x": "space"}
# Of the attribute that holds a record; folders written by any version have it.
RECORD_KEY = "napari-why"
# Names of axes as people write them where the type says what is meant.
AXIS_LETTERS = {("channel", "channel"): "c", ("channels", "channel"): "c", ("time", "time"): "t"}
# Writers round the scales of smaller resolutions, so that their extents differ by a little.
EXTENT_TOLERANCE = 1.001
WRITTEN_TYPES = (
    "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64", "float32", "float64",
)  # fmt: skip
VERSION = "0.5"
# Pixels along each side of a chunk: 2 MiB of 16 bits. Smaller ones make more files, larger ones
# more to decode for a view of a corner.
CHUNK = 1024
# Halving ends where a viewer shows the whole image at once anyway.
SMALLEST = 256


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


def _describe_level(path: Path, level: int) -> StoredImage:
    try:
        folder, notes = choose_image(path)
        stored = _describe(folder, level)
        return replace(stored, notes=notes + stored.notes)
    except ImageReadError:
        raise
    except Exception as error:
        raise zarr_error(
            path, f"metadata that cannot be understood ({first_words(error)})"
        ) from error


def _describe(path: Path, level: int) -> StoredImage:
    attributes = read_attributes(path)
    multiscale = _first(attributes.get("multiscales"))
    datasets = multiscale.get("datasets")
    if not isinstance(datasets, list) or not 0 <= level < len(datasets):
        raise zarr_error(path, "an image that names no array of pixels")
    dataset = _first(datasets[level : level + 1])
    folder = folder_inside(path, dataset.get("path"))
    array = _open_array(path, folder)
    axes, units = _axes(path, multiscale)
    if len(axes) != array.ndim:
        raise zarr_error(path, f"{len(axes)} axes ({axes}) for an array of {array.ndim}")
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


def _open_array(path: Path, folder: Path) -> Any:
    zarr: Any = import_module("zarr")
    if not folder.is_dir():
        raise zarr_error(path, f"no array {folder.name!r}, which the metadata name")
    return zarr.open_array(folder, mode="r")


def _axes(path: Path, multiscale: Mapping[str, Any]) -> tuple[str, list[str]]:
    """Return the letters of the axes, and their units as the file spells them."""
    # Version 0.1 and 0.2 had no axes: always these five.
    axes = multiscale.get("axes", list(DIMS))
    if not isinstance(axes, list):
        raise zarr_error(path, "axes that are no list")
    named = [axis if isinstance(axis, Mapping) else {"name": axis} for axis in axes]
    words = [str(axis.get("name", "")).lower() for axis in named]
    letters = [
        AXIS_LETTERS.get((word, str(axis.get("type"))), word)
        for word, axis in zip(words, named, strict=True)
    ]
    if not set(letters) <= set(DIMS) or len(set(letters)) != len(letters):
        found = f"axes named {', '.join(map(repr, letters))}"
        raise zarr_error(path, found, f"letters of {''.join(DIMS)} are understood, each once")
    kinds = [AXIS_TYPES[letter] for letter in letters]
    told = [axis.get("type", kind) for axis, kind in zip(named, kinds, strict=True)]
    if told != kinds or sorted(kinds, key=list(AXIS_TYPES.values()).index) != kinds:
        found = f"axes {', '.join(letters)} of types {', '.join(map(str, told))}"
        raise zarr_error(path, found, "time comes first, then channels, then z, y and x as space")
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
                raise zarr_error(path, f"a {kind} that does not fit {count} axes ({values})")
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
    folders = [folder_inside(path, dataset.get("path")) for dataset in multiscale["datasets"]]
    if len(set(folders)) != len(folders):
        raise zarr_error(path, "resolutions that name the same array twice")
    for dataset, folder in zip(multiscale["datasets"], folders, strict=True):
        if not folder.is_dir():
            return (f"The smaller image {folder.name!r} that the metadata name is missing.",)
        scale = _transform(path, [dataset], count)[0]
        shape = _open_array(path, folder).shape
        if before and any(n > m for n, m in zip(shape, before, strict=True)):
            raise zarr_error(path, f"a smaller resolution that is larger, {shape} after {before}")
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
            raise zarr_error(path, f"a larger array {child.name!r} that the metadata do not name")


def _first(values: Any) -> Mapping[str, Any]:
    if isinstance(values, list) and values and isinstance(values[0], Mapping):
        return values[0]
    raise ValueError("a part of the metadata is missing or of the wrong kind")


def write_zarr(
    image: "xr.DataArray", folder: Path, pixel_type: np.dtype[Any], record: Record | None
) -> None:
    """Write an image into a new folder.

    Each smaller resolution has half the height and width, by the mean of 2 x 2 pixels, until the
    smaller side is at most ``SMALLEST`` pixels.

    Parameters
    ----------
    image : DataArray
    folder : Path
        What is there already is replaced.
    pixel_type : dtype
        What values are stored as.
    record : Record or None
        Written into the attributes.

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


def _ome_attributes(image: "xr.DataArray", levels: int, record: Record | None) -> dict[str, Any]:
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


def _omero_channels(image: "xr.DataArray") -> list[dict[str, Any]]:
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


def _axis_entry(image: "xr.DataArray", dim: str) -> dict[str, str]:
    axis = {"name": dim, "type": AXIS_TYPES[dim]}
    known = image.attrs.get("unit") == "um" and dim in image.attrs.get("pixel_size", {})
    return {**axis, "unit": "micrometer"} if known else axis


def _dataset_entry(image: "xr.DataArray", level: int) -> dict[str, Any]:
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
