"""Read images: any supported file, or one file for each channel."""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from napari_why.errors import ImageReadError, ParameterError
from napari_why.images import ome_zarr
from napari_why.images.axes import name_axes
from napari_why.images.channel_files import join_channels
from napari_why.images.field_files import read_field
from napari_why.images.file_names import parse_name, sibling_files
from napari_why.images.formats import describe
from napari_why.images.image import SPATIAL_DIMS, channel_names, make_image
from napari_why.images.intensity_notes import intensity_notes
from napari_why.images.plate_folder import PlateFolder, holds_channel_files, scan_plate
from napari_why.images.source_file import SourceFile
from napari_why.images.stored_image import UNNAMED, StoredImage
from napari_why.images.tiff_page import holds_intensities

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
        :func:`napari_why.images.make_image` sets them, and ``record`` where the file carries one.

    Raises
    ------
    ImageReadError
        There is no such file, it is damaged or of no supported format, its axes cannot be known,
        it is a colour picture, or it holds values that are no numbers.
    """
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
    return [_read_file(place, None, None, level) for level in levels]


def _read_folder(
    folder: Path, channels: Sequence[str] | None, axes: str | None, pattern: str | None
) -> xr.DataArray:
    plate = scan_plate(folder, pattern=pattern)
    if len(plate.fields) != 1:
        raise _no_single_field(plate)
    image = read_field(plate.fields[0], lambda path: _read_file(path, None, axes))
    image.attrs["notes"] = (*image.attrs["notes"], *plate.notes)
    if channels is None:
        return image
    if len(channels) != image.sizes["c"]:
        found = f"{image.sizes['c']} channels ({', '.join(channel_names(image))})"
        raise ImageReadError(folder, found, f"{len(channels)}, the number of the names given")
    return image.assign_coords(c=np.array(channels, dtype=np.str_))


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
) -> xr.DataArray:
    if parse_name(path.name) is None or (channels is not None and len(channels) == 1):
        return _read_file(path, channels, axes)
    with SourceFile(path):
        files = sibling_files(path)
    if len(files) == 1:
        return _read_file(path, channels, axes)
    image = _read_file(path, None, axes)
    if image.sizes["c"] > 1:  # The file holds channels on its own: its name means nothing.
        return image if channels is None else _read_file(path, channels, axes)
    names = [parsed.channel for parsed in map(parse_name, [file.name for file in files]) if parsed]
    if len(set(names)) != len(names):
        raise ImageReadError(
            path,
            f"several files for one channel of the same image ({', '.join(f.name for f in files)})",
            "one file for each channel",
            "name the files to be read, one for each channel",
        )
    others = {file: _read_file(file, None, axes) for file in files if file != path}
    return join_channels(files, [{**others, path: image}[file] for file in files], channels)


def _read_channel_files(
    paths: Sequence[Path], channels: Sequence[str] | None, axes: str | None
) -> xr.DataArray:
    return join_channels(paths, [_read_file(path, None, axes) for path in paths], channels)


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
    path: Path, channels: Sequence[str] | None, axes: str | None, level: int = 0
) -> xr.DataArray:
    with opened(path, level) as stored:
        letters, shape = name_axes(stored, axes, channels)
        pixels = stored.load().reshape(shape)
    _check_finite(path, pixels)
    return _image(stored, letters, pixels, channels)


def _image(
    stored: StoredImage, letters: str, pixels: Any, channels: Sequence[str] | None
) -> xr.DataArray:
    kept = [i for i, letter in enumerate(letters) if letter in "cyx" or pixels.shape[i] > 1]
    pixels = pixels.reshape([pixels.shape[i] for i in kept])
    dims = [letters[i] for i in kept]
    count = pixels.shape[dims.index("c")] if "c" in dims else 1
    names, notes = _channel_names(stored, count, channels)
    known = bool(stored.pixel_size)
    if known and "z" in dims and "z" not in stored.pixel_size:
        notes += ("The file does not tell the distance of z planes; 1 um is assumed.",)
    image = make_image(
        pixels,
        dims,
        names,
        pixel_size={dim: stored.pixel_size.get(dim, 1.0) for dim in SPATIAL_DIMS},
        unit="um" if known else "pixel",
        source=str(stored.path),
        notes=stored.notes + notes,
    )
    if isinstance(image.data, np.ndarray):
        image.data = np.ascontiguousarray(image.data)
        said = (
            [
                note
                for name, channel in zip(channel_names(image), image.data, strict=False)
                for note in intensity_notes(name, channel)
            ]
            if image.dims[0] == "c"
            else []
        )
        image.attrs["notes"] = (*image.attrs["notes"], *said)
    if stored.record:
        image.attrs["record"] = dict(stored.record)
    return image


def _channel_names(
    stored: StoredImage, count: int, channels: Sequence[str] | None
) -> tuple[tuple[str, ...] | None, tuple[str, ...]]:
    """Return the names to use, None for numbers, and what there is to say about them."""
    if channels is not None:
        if len(channels) != count:
            raise ImageReadError(
                stored.path,
                f"{count} channels",
                f"{len(channels)}, the number of the names given ({', '.join(channels)})",
                "give one name for each channel of the file",
            )
        return tuple(channels), ()
    given = stored.channels
    parsed = parse_name(stored.path.name)
    if not given and count == 1 and parsed:
        return (parsed.channel,), ()
    if not given and UNNAMED in stored.axes and count == 2:
        return None, ("Two unnamed pages are taken as channels.",)
    if not given:
        return None, ()
    if len(given) != count:
        note = f"The file names {len(given)} channels but holds {count}; they are numbered."
        return None, (note,)
    names = []
    for index, name in enumerate(given):
        plain = "".join(letter for letter in name if letter.isprintable()).strip()
        plain = plain or f"channel {index + 1}"
        names.append(plain if plain not in names else f"{plain} ({index + 1})")
    changed = tuple(names) != tuple(given)
    note = f"Channel names of the file ({', '.join(map(repr, given))}) were completed."
    return tuple(names), (note,) if changed else ()


def _check_finite(path: Path, pixels: Any) -> None:
    """Refuse NaN and infinity; large images are checked plane by plane."""
    if pixels.dtype.kind != "f":
        return
    bad, first = 0, ()
    for index in np.ndindex(pixels.shape[:-2]):
        wrong = ~np.isfinite(np.asarray(pixels[index]))
        count = int(wrong.sum())
        if count and not bad:
            y, x = np.argwhere(wrong)[0]
            first = (*index, int(y), int(x))
        bad += count
    if bad:
        raise ImageReadError(
            path,
            f"{bad} values that are no finite numbers (NaN or infinity), the first at {first}",
            "finite intensities",
            "replace them, by the background for example, where you know what they stand for",
        )
