"""Read an image from a file, from several files of one channel each, or from a folder."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_why.core.errors import AmbiguousAxesError, ImageReadError, ParameterError
from napari_why.core.folders import find_shown, show
from napari_why.images.axes import name_axes, name_image, restrict_answers
from napari_why.images.channel_files import ambiguous_names, sibling_files
from napari_why.images.decoded_image import ChannelStack, DecodedImage, Room, join_channels
from napari_why.images.file_names import conventions_of, parse_names
from napari_why.images.formats import (
    LAZY_BYTES,
    SourceFile,
    StoredImage,
    find_format,
    is_image_folder,
    offers_to_read,
)
from napari_why.images.plate_folder import FieldFiles, PlateFolder, holds_channel_files, scan_plate

if TYPE_CHECKING:
    import xarray as xr

FilePath = str | os.PathLike[str]


def read(
    path: FilePath | Iterable[FilePath],
    *,
    channels: Sequence[str] | None = None,
    axes: str | None = None,
    pattern: str | None = None,
) -> "xr.DataArray":
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
        Where file names follow no known convention: a regular expression with named groups, such
        as ``(?P<well>\w+)_(?P<channel>red|green)``, that a whole name without its suffix matches.

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
        path = [os.fspath(item) for item in path]  # an iterator would be empty when it is recorded
    decoded = decode(path, channels, axes, pattern)
    given = list(map(show, path)) if isinstance(path, list) else show(path)
    return _to_image(decoded, given, channels=channels, axes=axes, pattern=pattern)


def _to_image(
    decoded: DecodedImage,
    path: str | list[str],
    *,
    channels: Sequence[str] | None = None,
    axes: str | None = None,
    pattern: str | None = None,
) -> "xr.DataArray":
    image = decoded.with_intensity_notes().to_image()
    given = {
        # the source alone tells neither that one file was meant, nor a folder or several files
        "path": None if path == image.attrs["source"] else path,
        "channels": None if channels is None else list(channels),
        "axes": axes,
        "pattern": pattern,
    }
    read_as = {name: value for name, value in given.items() if value is not None}
    if read_as:
        image.attrs["read_as"] = read_as
    return image


def read_again(source: FilePath, read_as: Mapping[str, Any] | None = None) -> "xr.DataArray":
    """Read an image as it was read before.

    Parameters
    ----------
    source : path
        ``attrs["source"]`` of the image.
    read_as : mapping, optional
        Its ``attrs["read_as"]``, where it has them.

    Returns
    -------
    DataArray
        As of :func:`read`.

    Raises
    ------
    ImageReadError
        As :func:`read` does.
    """
    return read(**{"path": source, **(read_as or {})})


def decode(
    path: FilePath | Iterable[FilePath],
    channels: Sequence[str] | None = None,
    axes: str | None = None,
    pattern: str | None = None,
) -> DecodedImage:
    """Return what :func:`read` makes an image of; arguments and errors are the same.

    Parameters
    ----------
    path, channels, axes, pattern
        As of :func:`read`.

    Returns
    -------
    DecodedImage

    Raises
    ------
    ParameterError
        No path is given, or one twice.
    """
    if isinstance(path, str | os.PathLike):
        place = find_shown(path)
        if place.is_dir() and not is_image_folder(place):
            return _read_folder(place, channels, axes, pattern)
        return _read_with_siblings(place, channels, axes, pattern)
    paths = [find_shown(item) for item in path]
    if not paths:
        raise ParameterError("path: found no file; expected one, or one for each channel")
    if len(set(paths)) != len(paths):
        raise ParameterError("path: found the same file twice; expected each channel once")
    names = _names_by_pattern(paths, pattern) if channels is None else None
    if len(paths) > 1:
        return _read_channel_files(paths, channels or names, axes)
    image = _read_file(paths[0], channels, axes)
    return image if names is None or len(image.channels) > 1 else replace(image, channels=names)


def _names_by_pattern(paths: Sequence[Path], pattern: str | None) -> tuple[str, ...] | None:
    """Return the channels that a user's pattern finds in the names; None where one does not fit."""
    if pattern is None:
        return None
    parsed = parse_names(paths, conventions_of(pattern))
    return tuple(parsed[path].channel for path in paths) if len(parsed) == len(paths) else None


def can_read(path: FilePath) -> bool:
    """Whether a path is of a format that :func:`read` understands; quick, never raises.

    Only the first bytes and the first page's tags are looked at, or names in a folder. A damaged
    file of such a format counts, so that reading it says what is wrong with it; a colour picture
    does not.
    """
    place = find_shown(path)
    try:
        with SourceFile(place) as source, source.understanding():
            return offers_to_read(source) or (source.is_folder and holds_channel_files(place))
    except ImageReadError:
        return False


def read_levels(path: FilePath) -> "list[xr.DataArray]":
    """Read all resolutions of an image, the finest first; of most formats there is one only.

    Raises
    ------
    ImageReadError
        As :func:`read` does.
    """
    decoded = decode(path)
    finest = _to_image(decoded, show(path))
    # The values of smaller ones are means, from which nothing about the file can be told.
    return [finest, *(level().to_image() for level in decoded.smaller)]


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
        found = f"a folder without files of a known convention ({len(plate.others)} image files)"
        advice = "name a file in it, or say how the files are named: pattern=..."
    return ImageReadError(plate.folder, found, "a file, or the files of one field", advice)


def _read_with_siblings(
    path: Path, channels: Sequence[str] | None, axes: str | None, pattern: str | None
) -> DecodedImage:
    # Whoever names one channel means one file.
    if channels is not None and len(channels) == 1:
        return _read_file(path, channels, axes)
    with SourceFile(path):  # that the file is not there is said before its folder is searched
        siblings = sibling_files(path, pattern)
    parsed = parse_names(siblings.files, conventions_of(pattern))
    names = tuple(parsed[file].channel for file in siblings.files if file in parsed)
    if len(siblings.files) == 1:
        image = _read_file(path, channels, axes)
        # What the folder tells of a name is more than the name alone, which the file's reader sees.
        if pattern is not None and names and channels is None and len(image.channels) == 1:
            image = replace(image, channels=names)
    else:
        # By the files themselves where no pattern tells, for an OME-TIFF names its channel too.
        given = names if pattern is not None and channels is None else channels
        image = _read_siblings(path, siblings.files, names, given, axes)
        if siblings.others and len(image.channels) == len(siblings.files):
            raise ambiguous_names((path,), parsed[path])
    if siblings.missing and len(image.channels) == len(siblings.files):
        note = f"Channels that other fields have are missing: {', '.join(siblings.missing)}."
        image = replace(image, notes=(*image.notes, note))
    return image


def _read_siblings(
    path: Path,
    files: tuple[Path, ...],
    names: tuple[str, ...],
    channels: Sequence[str] | None,
    axes: str | None,
) -> DecodedImage:
    stack = ChannelStack(len(files))
    image = _read_channel(path, axes, stack.place(files.index(path)))
    if len(image.channels) > 1:  # The file holds channels on its own: its name means nothing.
        return image if channels is None else _read_file(path, channels, axes)
    if len(set(names)) != len(names):
        raise ImageReadError(
            path,
            f"several files for one channel of the same image ({', '.join(f.name for f in files)})",
            "one file for each channel",
            "name the files to be read, one for each channel",
        )
    # Every channel is decoded where it belongs in one array, the first one a moment ago.
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
    # Files of one set each give the whole of it: then there is nothing left to be joined.
    whole = "; ".join(map(str, sorted(paths)))
    if len(images[0].channels) == len(paths) and all(image.source == whole for image in images):
        return images[0] if channels is None else replace(images[0], channels=tuple(channels))
    return join_channels(paths, images, channels, stack)


def _read_channel(path: Path, axes: str | None, room: Room | None = None) -> DecodedImage:
    """Read one of several files, whose channels, if it had any, could not be joined."""
    try:
        return _read_file(path, None, axes, room=room)
    except AmbiguousAxesError as error:
        # An answer with channels of its own could not be joined with the other files.
        raise restrict_answers(error, "tzyx") from error


@contextmanager
def open_image(path: Path) -> Iterator[StoredImage]:
    """Describe what a file or folder holds, by the first format that recognises it.

    Pixels load as long as it is open.

    Raises
    ------
    ImageReadError
        No format does, it is damaged, or its pixels are no numbers.
    """
    with SourceFile(path) as source, source.understanding():
        form = find_format(source)
        if form is None:
            if source.is_folder:
                advice = "name a file in it, or open the folder as a data set"
            else:
                advice = "export it from the microscope's software as OME-TIFF"
            raise source.error(source.kind(), advice)
        yield _check_numbers(form.describe(source))


def _check_numbers(stored: StoredImage) -> StoredImage:
    if np.dtype(stored.dtype).kind not in "buif":
        found = f"pixels of type {stored.dtype}"
        raise ImageReadError(stored.path, found, "real numbers", "save real numbers")
    return stored


def _read_file(
    path: Path, channels: Sequence[str] | None, axes: str | None, room: Room | None = None
) -> DecodedImage:
    with open_image(path) as stored:
        return _name_and_decode(stored, channels, axes, room)


def _name_and_decode(
    stored: StoredImage, channels: Sequence[str] | None, axes: str | None, room: Room | None = None
) -> DecodedImage:
    letters, shape = name_axes(stored, axes, channels)
    one_channel = "c" not in letters or shape[letters.index("c")] == 1
    place = room(stored.shape, np.dtype(stored.dtype)) if room and one_channel else None
    pixels = stored.load(place).reshape(shape)
    image = name_image(stored, letters, pixels, channels)
    smaller = (partial(_decode_smaller, level, channels, axes) for level in stored.smaller)
    return replace(image, smaller=tuple(smaller))


def _decode_smaller(
    describe: Callable[[], StoredImage], channels: Sequence[str] | None, axes: str | None
) -> DecodedImage:
    return _name_and_decode(_check_numbers(describe()), channels, axes)


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
        image = _stack_planes(
            field, paths, (len(times), len(field.channels), len(depths)), read_file
        )
    if field.missing:
        note = f"Channels that other fields have are missing: {', '.join(field.missing)}."
        image = replace(image, notes=(*image.notes, note))
    return image


def _stack_planes(
    field: FieldFiles,
    paths: list[Path],
    shape: tuple[int, int, int],
    read_file: Callable[[Path], DecodedImage],
) -> DecodedImage:
    try:
        first = read_file(paths[0])
    except AmbiguousAxesError as error:
        raise restrict_answers(error, field.axes_of_a_file) from error
    expected, dtype = (1, *first.pixels.shape[-2:]), first.pixels.dtype

    def plane(path: Path) -> Any:
        image = read_file(path)
        if image.pixels.shape != expected or image.pixels.dtype != dtype:
            found = f"{image.pixels.shape} {image.pixels.dtype}"
            wanted = f"{expected} {dtype} as in {paths[0].name}"
            raise ImageReadError(path, found, wanted, "name files of one and the same field")
        return np.asarray(image.pixels)[0]

    # The first file is read twice where all are decoded: its size has to be known beforehand.
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
        pixel_size={dim: size for dim, size in first.pixel_size.items() if dim != "z"},
        source="; ".join(map(str, paths)),
        notes=(*first.notes, *([note] if shape[2] > 1 else [])),
        smaller=(),
    )
