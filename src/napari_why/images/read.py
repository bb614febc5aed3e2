"""The registry of image formats: a line for each, asked in this order."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from napari_why.core.errors import AmbiguousAxesError, ImageReadError, ParameterError
from napari_why.images import imagej_tiff, ome_tiff, ome_zarr, plain_tiff
from napari_why.images.axes import answered_within, name_axes
from napari_why.images.decoded_image import DecodedImage, named
from napari_why.images.field_files import ChannelStack, Room, join_channels, read_field
from napari_why.images.file_names import parse_name, sibling_files
from napari_why.images.plate_folder import PlateFolder, holds_channel_files, scan_plate
from napari_why.images.source_file import SourceFile
from napari_why.images.stored_image import StoredImage
from napari_why.images.tiff_page import holds_intensities


@dataclass(frozen=True)
class Format:
    """One image format.

    Parameters
    ----------
    name : str
        As the user calls it.
    recognises : callable
        Whether a file is of this format, judged by its first bytes or its structure.
    describe : callable
        What the file holds; decodes no pixel.
    """

    name: str
    recognises: Callable[[SourceFile], bool]
    describe: Callable[[SourceFile], StoredImage]


FORMATS = (
    Format(ome_tiff.NAME, ome_tiff.recognises, ome_tiff.describe),
    Format(imagej_tiff.NAME, imagej_tiff.recognises, imagej_tiff.describe),
    Format(plain_tiff.NAME, plain_tiff.recognises, plain_tiff.describe),
)


def describe(source: SourceFile) -> StoredImage:
    """Describe what a file holds, by the first format that recognises it.

    Raises
    ------
    ImageReadError
        No format does, or the file is damaged.
    """
    with source.understanding():
        for form in FORMATS:
            if form.recognises(source):
                return form.describe(source)
    raise source.error(source.kind(), "export it from the microscope's software as OME-TIFF")


FilePath = str | os.PathLike[str]


def read(
    path: FilePath | Iterable[FilePath],
    *,
    channels: Sequence[str] | None = None,
    axes: str | None = None,
    pattern: str | None = None,
) -> xr.DataArray:
    r"""Read an image.

    Parameters
    ----------
    path : path, or sequence of paths
        A file; or several files that hold one channel each, in the order of the channels. A
        single file whose name follows a convention for one file per channel (see
        :mod:`napari_why.images.file_names`) is read together with its siblings in the same
        folder; a sequence of one path reads that file alone. An OME-Zarr image; or a folder with
        the files of one field.
    channels : sequence of str, optional
        Channel names instead of those of the file.
    axes : str, optional
        What the stored axes are, slowest first ("zyx", "yxc"), where the file does not tell or
        tells it wrong.
    pattern : str, optional
        For a folder whose file names follow no known convention: a regular expression with named
        groups, such as ``(?P<well>\w+)_(?P<channel>red|green)``.

    Returns
    -------
    DataArray
        Axes t, c, z, y, x as far as there are any, always c, y, x; the file's pixel type in
        native byte order; a dask array from 256 MiB on. ``attrs`` as
        :func:`napari_why.images.make_image` sets them, ``record`` where the file carries one, and
        ``read_as`` where arguments were given: :func:`read_again` takes both and reads it alike.

    Raises
    ------
    AmbiguousAxesError
        Its axes have to be told, or it is a colour picture; lists the possible answers.
    ImageReadError
        There is no such file, it is damaged or of no supported format, what was told does not
        fit, or it holds values that are no numbers.
    """
    if not isinstance(path, str | os.PathLike):
        path = list(path)
    image = _decoded(path, channels, axes, pattern).noted().to_image()
    several = [str(item) for item in path] if isinstance(path, list) else str(path)
    given = {
        # the source alone tells neither that one file was meant, nor a folder or several files
        "path": None if several == image.attrs["source"] else several,
        "channels": None if channels is None else list(channels),
        "axes": axes,
        "pattern": pattern,
    }
    told = {name: value for name, value in given.items() if value is not None}
    if told:
        image.attrs["read_as"] = told
    return image


def read_again(source: FilePath, read_as: Mapping[str, Any] | None = None) -> xr.DataArray:
    """Read an image as it was read before.

    Parameters
    ----------
    source : path
        ``attrs["source"]`` of the image.
    read_as : mapping, optional
        Its ``attrs["read_as"]``, where it has them.

    Raises
    ------
    ImageReadError
        As :func:`read` does.
    """
    return read(**{"path": source, **(read_as or {})})


def _decoded(
    path: FilePath | Iterable[FilePath],
    channels: Sequence[str] | None,
    axes: str | None,
    pattern: str | None,
) -> DecodedImage:
    if isinstance(path, str | os.PathLike):
        place = Path(path)
        if place.is_dir() and not ome_zarr.is_zarr(place):
            return _read_folder(place, channels, axes, pattern)
        return _read_with_siblings(place, channels, axes)
    paths = [Path(item) for item in path]
    if not paths:
        raise ParameterError("path: found no file; expected one, or one for each channel")
    if len(set(paths)) != len(paths):
        raise ParameterError("path: found the same file twice; expected each channel once")
    if len(paths) == 1:
        return _read_file(paths[0], channels, axes)
    return _read_channel_files(paths, channels, axes)


def can_read(path: FilePath) -> bool:
    """Whether a file is of a format that :func:`read` understands; quick, never raises.

    Only the first bytes and the first page's tags are looked at. A damaged file of such a format
    counts, so that reading it says what is wrong with it; a colour picture does not.
    """
    try:
        if Path(path).is_dir():
            return ome_zarr.is_zarr(Path(path)) or holds_channel_files(Path(path))
        with SourceFile(Path(path)) as source:
            return source.is_tiff and holds_intensities(source)
    except ImageReadError:
        return False


def read_levels(path: FilePath) -> list[xr.DataArray]:
    """Read all resolutions of an OME-Zarr image, the finest first; of other files the only one.

    Raises
    ------
    ImageReadError
        As :func:`read` does.
    """
    place = Path(path)
    if not ome_zarr.is_zarr(place):
        return [read(place)]
    levels = range(ome_zarr.count_levels(place))
    finest, *smaller = [_read_file(place, None, None, level) for level in levels]
    return [finest.noted().to_image(), *(image.to_image() for image in smaller)]


def _read_folder(
    folder: Path, channels: Sequence[str] | None, axes: str | None, pattern: str | None
) -> DecodedImage:
    plate = scan_plate(folder, pattern=pattern)
    if len(plate.fields) != 1:
        raise _no_single_field(plate)
    image = read_field(plate.fields[0], lambda path: _read_channel(path, axes))
    names = image.channels if channels is None else tuple(channels)
    if len(names) != len(image.channels):
        found = f"{len(image.channels)} channels ({', '.join(image.channels)})"
        raise ImageReadError(folder, found, f"{len(names)}, the number of the names given")
    return replace(image, channels=names, notes=image.notes + plate.notes)


def _no_single_field(plate: PlateFolder) -> ImageReadError:
    if plate.fields:
        names = "; ".join(field.name for field in plate.fields[:4])
        found = f"a folder of {len(plate.fields)} fields ({names}, ...)"
        advice = "name a file of the field, or open the folder as a data set"
    else:
        found = f"a folder without files of a known convention ({len(plate.others)} TIFF files)"
        advice = "name a file in it, or say how the files are named: pattern=..."
    return ImageReadError(plate.folder, found, "a file, or the files of one field", advice)


def _read_with_siblings(
    path: Path, channels: Sequence[str] | None, axes: str | None
) -> DecodedImage:
    if parse_name(path.name) is None or (channels is not None and len(channels) == 1):
        return _read_file(path, channels, axes)
    with SourceFile(path):
        siblings = sibling_files(path)
    image = _read_siblings(path, siblings.files, channels, axes)
    if siblings.missing and len(image.channels) == len(siblings.files):
        note = f"Channels that other fields have are missing: {', '.join(siblings.missing)}."
        image = replace(image, notes=(*image.notes, note))
    return image


def _read_siblings(
    path: Path, files: tuple[Path, ...], channels: Sequence[str] | None, axes: str | None
) -> DecodedImage:
    if len(files) == 1:
        return _read_file(path, channels, axes)
    stack = ChannelStack(len(files))
    image = _read_channel(path, axes, stack.place(files.index(path)))
    if len(image.channels) > 1:  # The file holds channels on its own: its name means nothing.
        return image if channels is None else _read_file(path, channels, axes)
    names = [parsed.channel for parsed in map(parse_name, [file.name for file in files]) if parsed]
    if len(set(names)) != len(names):
        raise ImageReadError(
            path,
            f"several files for one channel of the same image ({', '.join(f.name for f in files)})",
            "one file for each channel",
            "name the files to be read, one for each channel",
        )
    images = [
        image if file == path else _read_channel(file, axes, stack.place(index))
        for index, file in enumerate(files)
    ]
    return join_channels(files, images, channels, stack)


def _read_channel_files(
    paths: Sequence[Path], channels: Sequence[str] | None, axes: str | None
) -> DecodedImage:
    stack = ChannelStack(len(paths))
    images = [_read_channel(path, axes, stack.place(index)) for index, path in enumerate(paths)]
    return join_channels(paths, images, channels, stack)


def _read_channel(path: Path, axes: str | None, room: Room | None = None) -> DecodedImage:
    """Read one of several files, whose channels, if it had any, could not be joined."""
    try:
        return _read_file(path, None, axes, room=room)
    except AmbiguousAxesError as error:
        raise answered_within(error, "tzyx") from error


@contextmanager
def opened(path: Path, level: int = 0) -> Iterator[StoredImage]:
    """Describe what a file or OME-Zarr folder holds; pixels load as long as it is open.

    Raises
    ------
    ImageReadError
        It is damaged or of no supported format, or its pixels are no numbers.
    """
    if ome_zarr.is_zarr(path):
        yield _of_numbers(ome_zarr.describe(path, level))
        return
    with SourceFile(path) as source:
        stored = _of_numbers(describe(source))
        with source.understanding():
            yield stored


def _of_numbers(stored: StoredImage) -> StoredImage:
    if np.dtype(stored.dtype).kind not in "buif":
        found = f"pixels of type {stored.dtype}"
        raise ImageReadError(stored.path, found, "real numbers", "save real numbers")
    return stored


def _read_file(
    path: Path,
    channels: Sequence[str] | None,
    axes: str | None,
    level: int = 0,
    room: Room | None = None,
) -> DecodedImage:
    with opened(path, level) as stored:
        letters, shape = name_axes(stored, axes, channels)
        one_channel = "c" not in letters or shape[letters.index("c")] == 1
        place = room(stored.shape, np.dtype(stored.dtype)) if room and one_channel else None
        pixels = stored.load(place).reshape(shape)
    return named(stored, letters, pixels, channels)
