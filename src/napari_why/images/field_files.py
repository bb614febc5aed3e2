"""One image from the files of a field: channels, z planes and time points."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from napari_why.errors import ImageReadError
from napari_why.images.channel_files import join_channels
from napari_why.images.image import make_image
from napari_why.images.plate_folder import FieldFiles
from napari_why.images.tiff_pixels import LAZY_BYTES


def read_field(field: FieldFiles, read_file: Callable[[Path], xr.DataArray]) -> xr.DataArray:
    """Read the files of one field as one image.

    Parameters
    ----------
    field : FieldFiles
        As :func:`napari_why.images.plate_folder.scan_plate` finds them.
    read_file : callable
        Reads one file as an image of one channel.

    Returns
    -------
    DataArray
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
        image.attrs["notes"] = (*image.attrs["notes"], note)
    return image


def _stacked(
    field: FieldFiles,
    paths: list[Path],
    shape: tuple[int, int, int],
    read_file: Callable[[Path], xr.DataArray],
) -> xr.DataArray:
    first = read_file(paths[0])
    expected = (1, *first.shape[-2:])

    def plane(path: Path) -> Any:
        image = read_file(path)
        if image.shape != expected or image.dtype != first.dtype:
            found = f"{image.shape} {image.dtype}"
            wanted = f"{expected} {first.dtype} as in {paths[0].name}"
            raise ImageReadError(path, found, wanted, "name files of one and the same field")
        return np.asarray(image.data)[0]

    size = first.dtype.itemsize * first.size * len(paths)
    if size <= LAZY_BYTES:
        pixels: Any = np.stack([plane(path) for path in paths])
    else:
        dask: Any = import_module("dask")
        da: Any = import_module("dask.array")
        later = dask.delayed(plane, pure=False)
        pixels = da.stack([da.from_delayed(later(p), expected[1:], first.dtype) for p in paths])
    pixels = pixels.reshape(*shape, *expected[1:])
    note = f"{len(paths)} files of {field.name}; the distance of z planes is not in them."
    kept = [axis for axis in range(5) if axis in (1, 3, 4) or pixels.shape[axis] > 1]
    return make_image(
        pixels.reshape([pixels.shape[axis] for axis in kept]),
        ["tczyx"[axis] for axis in kept],
        field.channels,
        pixel_size=first.attrs["pixel_size"],
        unit=first.attrs["unit"],
        source="; ".join(map(str, paths)),
        notes=(*first.attrs["notes"], *([note] if shape[2] > 1 else [])),
    )
