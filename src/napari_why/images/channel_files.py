"""One image from several files, one channel each."""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from napari_why.errors import ImageReadError
from napari_why.images.file_names import ParsedName, parse_name
from napari_why.images.image import channel_names, make_image


def join_channels(
    paths: Sequence[Path], images: Sequence[xr.DataArray], channels: Sequence[str] | None = None
) -> xr.DataArray:
    """Stack images of one channel along the channel axis.

    Parameters
    ----------
    paths : sequence of Path
        The files, in the order of the channels.
    images : sequence of DataArray
        What was read from them.
    channels : sequence of str, optional
        Channel names; by default from the files' names.

    Raises
    ------
    ImageReadError
        A file holds several channels, or two files differ in size, type or pixel size.
    """
    first = images[0]
    for path, image in zip(paths, images, strict=True):
        if image.sizes["c"] != 1:
            raise ImageReadError(
                path,
                f"{image.sizes['c']} channels ({', '.join(channel_names(image))})",
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
        notes += [note for note in image.attrs["notes"] if note not in notes]
    axis = first.get_axis_num("c")
    return make_image(
        _concatenate([image.data for image in images], int(axis)),
        [str(dim) for dim in first.dims],
        names,
        pixel_size=first.attrs["pixel_size"],
        unit=first.attrs["unit"],
        source="; ".join(map(str, paths)),
        notes=notes,
    )


def _check_match(path: Path, image: xr.DataArray, other_path: Path, other: xr.DataArray) -> None:
    """Refuse to lay channels over each other that do not match pixel by pixel."""
    for what, mine, theirs in (
        ("axes and size", dict(image.sizes), dict(other.sizes)),
        ("pixel type", image.dtype, other.dtype),
        ("unit", image.attrs["unit"], other.attrs["unit"]),
        ("pixel size", image.attrs["pixel_size"], other.attrs["pixel_size"]),
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


def _concatenate(arrays: Sequence[Any], axis: int) -> Any:
    if all(isinstance(array, np.ndarray) for array in arrays):
        return np.concatenate([np.asarray(array) for array in arrays], axis=axis)
    dask_array: Any = import_module("dask.array")
    return dask_array.concatenate(list(arrays), axis=axis)
