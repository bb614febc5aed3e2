"""One image from several files, one channel each."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_why.core.errors import AmbiguousAxesError, ImageReadError
from napari_why.images.axes import answered_within
from napari_why.images.decoded_image import DecodedImage
from napari_why.images.file_names import ParsedName, parse_name
from napari_why.images.plate_folder import FieldFiles
from napari_why.images.stored_image import LAZY_BYTES

Room = Callable[[tuple[int, ...], np.dtype[Any]], NDArray[Any] | None]
"""Asked for memory for an image of some shape and type; None where it should have its own."""


class ChannelStack:
    """Memory of one image, in which each file's channel is decoded where it belongs.

    Decoding first and joining later would copy every pixel.

    Parameters
    ----------
    count : int
        Number of channels.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._whole: NDArray[Any] | None = None

    def place(self, index: int) -> Room:
        """Return the room of one channel."""

        def room(shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any] | None:
            whole = self._whole
            if whole is None and self._count * math.prod(shape) * dtype.itemsize <= LAZY_BYTES:
                whole = self._whole = np.empty((self._count, *shape), dtype)
            fits = whole is not None and (whole.shape[1:], whole.dtype) == (shape, dtype)
            return whole[index] if whole is not None and fits else None

        return room

    def joined(self, arrays: Sequence[Any], axis: int) -> Any:
        """Return the channels as one array; copied only where they do not lie here already."""
        whole = self._whole
        if axis == 0 and whole is not None and self._holds(whole, arrays):
            return whole.reshape(self._count, *arrays[0].shape[1:])
        if all(isinstance(array, np.ndarray) for array in arrays):
            return np.concatenate(arrays, axis=axis)
        dask_array: Any = import_module("dask.array")
        return dask_array.concatenate(list(arrays), axis=axis)

    def _holds(self, whole: NDArray[Any], arrays: Sequence[Any]) -> bool:
        return len(arrays) == self._count and all(
            isinstance(array, np.ndarray) and _same_memory(array, place)
            for array, place in zip(arrays, whole, strict=True)
        )


def join_channels(
    paths: Sequence[Path],
    images: Sequence[DecodedImage],
    channels: Sequence[str] | None = None,
    stack: ChannelStack | None = None,
) -> DecodedImage:
    """Stack images of one channel along the channel axis.

    Parameters
    ----------
    paths : sequence of Path
        The files, in the order of the channels.
    images : sequence of DecodedImage
        What was read from them.
    channels : sequence of str, optional
        Channel names; by default from the files' names.
    stack : ChannelStack, optional
        Where the images were decoded into.

    Raises
    ------
    ImageReadError
        A file holds several channels, or two files differ in size, type or pixel size.
    """
    first = images[0]
    for path, image in zip(paths, images, strict=True):
        if len(image.channels) != 1:
            raise ImageReadError(
                path,
                f"{len(image.channels)} channels ({', '.join(image.channels)})",
                "one channel in each of several files",
                "open this file on its own",
            )
        _check_match(paths[0], first, path, image)
    names = tuple(channels) if channels is not None else _names(paths)
    if len(names) != len(paths):
        found = f"{len(names)} channel names for {len(paths)} files"
        raise ImageReadError(paths[0], found, "one name for each file")
    notes = [f"{name} is {path.name}." for name, path in zip(names, paths, strict=True)]
    for image in images:
        notes += [note for note in image.notes if note not in notes]
    pixels = (stack or ChannelStack(len(paths))).joined(
        [image.pixels for image in images], first.axes.index("c")
    )
    return replace(
        first,
        pixels=pixels,
        channels=names,
        source="; ".join(map(str, paths)),
        notes=tuple(notes),
        record={},
    )


def _check_match(path: Path, image: DecodedImage, other_path: Path, other: DecodedImage) -> None:
    """Refuse to lay channels over each other that do not match pixel by pixel."""
    for what, mine, theirs in (
        ("axes and size", image.sizes, other.sizes),
        ("pixel type", image.pixels.dtype, other.pixels.dtype),
        ("unit", image.unit, other.unit),
        ("pixel size", image.pixel_size, other.pixel_size),
    ):
        if mine != theirs:
            raise ImageReadError(
                other_path,
                f"{what} {theirs}",
                f"{mine} as in {path}",
                "name files of one and the same field",
            )


def _names(paths: Sequence[Path]) -> tuple[str, ...]:
    """Take channel names from the files' names; the whole stems where no convention fits."""
    parsed = [parse_name(path.name) for path in paths]
    known: list[ParsedName] = [name for name in parsed if name is not None]
    names = tuple(name.channel for name in known)
    images = {(name.convention, name.image) for name in known}
    if len(known) == len(paths) and len(images) == 1 and len(set(names)) == len(names):
        return names
    stems = tuple(path.name.removesuffix(path.suffix).removesuffix(".ome") for path in paths)
    return stems if len(set(stems)) == len(stems) else tuple(map(str, paths))


def _same_memory(array: NDArray[Any], place: NDArray[Any]) -> bool:
    return (
        array.dtype == place.dtype
        and array.size == place.size
        and array.flags.c_contiguous
        and np.shares_memory(array, place)
    )


def read_field(field: FieldFiles, read_file: Callable[[Path], DecodedImage]) -> DecodedImage:
    """Read the files of one field as one image.

    Parameters
    ----------
    field : FieldFiles
        As :func:`napari_why.images.plate_folder.scan_plate` finds them.
    read_file : callable
        Reads one file as an image of one channel.

    Returns
    -------
    DecodedImage
        Axes c, y, x, with t and z where there are several. A stack that is larger than
        ``LAZY_BYTES`` is a dask array that reads its files when it is computed.

    Raises
    ------
    ImageReadError
        Planes are missing, or files do not fit each other.
    """
    lost = field.missing_planes
    first_path = next(iter(field.files.values()))
    if lost:
        found = f"{len(lost)} files missing in {field.name} ({'; '.join(lost[:5])})"
        expected = "every channel at every time point and z plane"
        raise ImageReadError(first_path.parent, found, expected, "name the files to be read")
    times = sorted({t for t, _, _ in field.files})
    depths = sorted({z for _, z, _ in field.files})
    paths = [field.files[t, z, name] for t in times for name in field.channels for z in depths]
    if len(times) == len(depths) == 1:
        image = join_channels(paths, [read_file(path) for path in paths], field.channels)
    else:
        image = _stacked(field, paths, (len(times), len(field.channels), len(depths)), read_file)
    if field.missing:
        note = f"Channels that other fields have are missing: {', '.join(field.missing)}."
        image = replace(image, notes=(*image.notes, note))
    return image


def _stacked(
    field: FieldFiles,
    paths: list[Path],
    shape: tuple[int, int, int],
    read_file: Callable[[Path], DecodedImage],
) -> DecodedImage:
    try:
        first = read_file(paths[0])
    except AmbiguousAxesError as error:
        raise answered_within(error, field.axes_of_a_file) from error
    expected, dtype = (1, *first.pixels.shape[-2:]), first.pixels.dtype

    def plane(path: Path) -> Any:
        image = read_file(path)
        if image.pixels.shape != expected or image.pixels.dtype != dtype:
            found = f"{image.pixels.shape} {image.pixels.dtype}"
            wanted = f"{expected} {dtype} as in {paths[0].name}"
            raise ImageReadError(path, found, wanted, "name files of one and the same field")
        return np.asarray(image.pixels)[0]

    size = dtype.itemsize * first.pixels.size * len(paths)
    if size <= LAZY_BYTES:
        pixels: Any = np.stack([plane(path) for path in paths])
    else:
        dask: Any = import_module("dask")
        da: Any = import_module("dask.array")
        later = dask.delayed(plane, pure=False)
        pixels = da.stack([da.from_delayed(later(p), expected[1:], dtype) for p in paths])
    pixels = pixels.reshape(*shape, *expected[1:])
    note = f"{len(paths)} files of {field.name}; the distance of z planes is not in them."
    kept = [axis for axis in range(5) if axis in (1, 3, 4) or pixels.shape[axis] > 1]
    return replace(
        first,
        pixels=pixels.reshape([pixels.shape[axis] for axis in kept]),
        axes="".join("tczyx"[axis] for axis in kept),
        channels=field.channels,
        pixel_size={"z": 1.0, **first.pixel_size} if shape[2] > 1 else first.pixel_size,
        source="; ".join(map(str, paths)),
        notes=(*first.notes, *([note] if shape[2] > 1 else [])),
    )
