"""One image from the files of a field: channels, z planes and time points."""

from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from napari_why.errors import AmbiguousAxesError, ImageReadError
from napari_why.images.axes_choices import answered_within
from napari_why.images.channel_files import join_channels
from napari_why.images.decoded_image import DecodedImage
from napari_why.images.memory import LAZY_BYTES
from napari_why.images.plate_folder import FieldFiles


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
