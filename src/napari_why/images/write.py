"""Write an image as OME-TIFF or OME-Zarr with its record, whole or not at all."""

import errno
import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import xarray as xr

from napari_why.core.errors import ImageWriteError
from napari_why.core.record import Record
from napari_why.images.image import check_image
from napari_why.images.write_tiff import TIFF_PIXEL_TYPES, TIFF_SUFFIXES, write_tiff
from napari_why.images.write_zarr import ZARR_PIXEL_TYPES, ZARR_SUFFIXES, write_zarr

SUFFIXES = (*TIFF_SUFFIXES, *ZARR_SUFFIXES)
DISK_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))
MEGABYTE = 10**6


def write(
    image: xr.DataArray,
    path: str | os.PathLike[str],
    *,
    record: Record | None = None,
    overwrite: bool = False,
) -> Path:
    """Write an image as OME-TIFF, or as OME-Zarr 0.5 with its smaller resolutions.

    Pixel type, channel names, pixel size, unit and axes are kept; a counterfactual series has its
    alpha steps along ``t``, and the alphas and probabilities in its record. Axes t and z of one
    element are not told apart from absent ones when the file is read. Compression (deflate,
    Zstandard) is without loss.

    Parameters
    ----------
    image : DataArray
        As :func:`napari_why.images.make_image` makes it; uint8 to uint32, int8 to int32 or
        float32, in OME-Zarr uint64, int64 and float64 too. Into OME-TIFF, float64 is written as
        float32 if no value changes by that.
    path : path
        Ends in .ome.tif, .ome.tiff, .tif, .tiff, .ome.zarr or .zarr; its folder exists.
    record : Record, optional
        How the image was made: written into the file and beside it as JSON
        (:func:`record_path`).
    overwrite : bool
        Replace files of that name, or an OME-Zarr folder.

    Returns
    -------
    Path
        The image file, or the OME-Zarr folder.

    Raises
    ------
    ImageWriteError
        The file exists, the folder does not, the disk is full or has too little room (which is
        looked at before anything is written), the pixel type has no place in the format, or a
        value is no finite number. Nothing half-written is left.
    ParameterError
        The image does not follow the conventions.
    """
    check_image(image)
    target = Path(path)
    beside = record_path(target) if record is not None else None
    _check_target(target, beside, overwrite=overwrite)
    as_zarr = target.name.lower().endswith(ZARR_SUFFIXES)
    pixel_type = _pixel_type(image, target, as_zarr=as_zarr)
    needed = image.size * pixel_type.itemsize
    _check_room(target, needed)
    parts: dict[Path, Path] = {}
    try:
        parts[target] = _part_name(target)
        if as_zarr:
            write_zarr(image, parts[target], pixel_type, record)
        else:
            _make_empty(parts[target])
            write_tiff(image, parts[target], pixel_type, record)
        if beside is not None and record is not None:
            parts[beside] = _part_name(beside)
            _make_empty(parts[beside])
            parts[beside].write_text(record.to_json() + "\n", encoding="utf-8")
        for final, part in reversed(parts.items()):
            _put_in_place(part, final)
    except OSError as error:
        raise _write_error(target, error, needed) from error
    finally:
        for part in parts.values():
            _remove(part)
    return target


def record_path(path: str | os.PathLike[str]) -> Path:
    """Return where the record of an image file stands.

    Examples
    --------
    >>> record_path("field.ome.tif").name
    'field.json'
    """
    path = Path(path)
    for suffix in SUFFIXES:
        if path.name.lower().endswith(suffix):
            return path.with_name(path.name[: -len(suffix)] + ".json")
    return path.with_name(path.name + ".json")


def _check_target(target: Path, beside: Path | None, *, overwrite: bool) -> None:
    if not target.name.lower().endswith(SUFFIXES):
        raise ImageWriteError(
            f"{target}: found the ending {target.suffix!r}; expected one of {', '.join(SUFFIXES)}"
        )
    if not target.parent.is_dir():
        raise ImageWriteError(f"{target}: its folder does not exist; make it first")
    for path in filter(None, (target, beside)):
        if path.exists() and not overwrite:
            raise ImageWriteError(
                f"{path}: the file exists; choose another name, or ask for overwriting"
            )


def _pixel_type(image: xr.DataArray, target: Path, *, as_zarr: bool) -> np.dtype[Any]:
    if image.dtype == np.float64 and not as_zarr:
        return np.dtype(np.float32)
    known = ZARR_PIXEL_TYPES if as_zarr else TIFF_PIXEL_TYPES
    if image.dtype.name not in known:
        raise ImageWriteError(
            f"{target}: found pixels of type {image.dtype}; expected one of "
            f"{', '.join(known)}; convert them where no value gets lost"
        )
    return image.dtype


def _check_room(target: Path, needed: int) -> None:
    free = shutil.disk_usage(target.parent).free
    if needed > free:
        raise ImageWriteError(
            f"{target}: found {free / MEGABYTE:.1f} MB free on the disk; expected "
            f"{needed / MEGABYTE:.1f} MB, the size of the image before it is compressed; nothing "
            "was written; make room or choose another disk"
        )


def _part_name(target: Path) -> Path:
    """Return a name in the target's folder, so that renaming it is atomic."""
    return target.with_name(f".{target.name}.{uuid4().hex[:8]}.part")


def _make_empty(part: Path) -> None:
    """Make a file that whoever may read the user's other files may read.

    Those of ``tempfile`` are for the owner alone.
    """
    part.open("xb").close()


def _put_in_place(part: Path, final: Path) -> None:
    """Rename a part to its name; what was there gives way only when the part is whole."""
    if not final.is_dir():
        if part.is_dir() and final.exists():
            final.unlink()
        part.replace(final)
        return
    old = _part_name(final)
    final.rename(old)
    try:
        part.replace(final)
    except OSError:
        old.rename(final)
        raise
    _remove(old)


def _remove(part: Path) -> None:
    with suppress(OSError):
        if part.is_dir():
            shutil.rmtree(part)
        else:
            part.unlink(missing_ok=True)


def _write_error(target: Path, error: OSError, needed: int) -> ImageWriteError:
    if error.errno not in DISK_FULL:
        return ImageWriteError(f"{target}: cannot be written ({error.strerror or error})")
    free = shutil.disk_usage(target.parent).free
    return ImageWriteError(
        f"{target}: the disk is full: up to {needed / MEGABYTE:.1f} MB are needed and "
        f"{free / MEGABYTE:.1f} MB are free; nothing was written; make room or choose another disk"
    )
