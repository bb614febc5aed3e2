"""Write an image as OME-TIFF with its record, whole or not at all."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import tifffile
import xarray as xr
from numpy.typing import NDArray

from napari_why.errors import ImageWriteError
from napari_why.images.image import SPATIAL_DIMS, channel_names, check_image
from napari_why.images.ome_xml import RECORD_NAMESPACE
from napari_why.record import Record

SUFFIXES = (".ome.tif", ".ome.tiff", ".tif", ".tiff")
PIXEL_TYPES = ("uint8", "uint16", "uint32", "int8", "int16", "int32", "float32")
DISK_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))
MEGABYTE = 10**6
BIGTIFF_BYTES = 2**32 - 2**25


def write(
    image: xr.DataArray,
    path: str | os.PathLike[str],
    *,
    record: Record | None = None,
    overwrite: bool = False,
) -> Path:
    """Write an image as OME-TIFF.

    Pixel type, channel names, pixel size, unit and axes are kept; a counterfactual series has its
    alpha steps along ``t``. Axes t and z of one element are not told apart from absent ones when
    the file is read. Compression is deflate, without loss.

    Parameters
    ----------
    image : DataArray
        As :func:`napari_why.images.make_image` makes it; uint8 to uint32, int8 to int32 or
        float32. float64 is written as float32 if no value changes by that.
    path : path
        Ends in .ome.tif, .ome.tiff, .tif or .tiff; its folder exists.
    record : Record, optional
        How the image was made: written into the file and beside it as JSON
        (:func:`record_path`).
    overwrite : bool
        Replace files of that name.

    Returns
    -------
    Path
        The image file.

    Raises
    ------
    ImageWriteError
        The file exists, the folder does not, the disk is full, the pixel type has no place in
        OME-TIFF, or a value is no finite number. Nothing half-written is left.
    ParameterError
        The image does not follow the conventions.
    """
    check_image(image)
    target = Path(path)
    beside = record_path(target) if record is not None else None
    _check_target(target, beside, overwrite=overwrite)
    pixel_type = _pixel_type(image, target)
    needed = image.size * pixel_type.itemsize
    parts: dict[Path, Path] = {}
    try:
        parts[target] = _new_part(target)
        _write_tiff(image, parts[target], pixel_type, needed, record)
        if beside is not None and record is not None:
            parts[beside] = _new_part(beside)
            parts[beside].write_text(record.to_json() + "\n", encoding="utf-8")
        for final, part in reversed(parts.items()):
            part.replace(final)
    except OSError as error:
        raise _write_error(target, error, needed) from error
    finally:
        for part in parts.values():
            with suppress(OSError):
                part.unlink(missing_ok=True)
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


def _pixel_type(image: xr.DataArray, target: Path) -> np.dtype[Any]:
    if image.dtype == np.float64:
        return np.dtype(np.float32)
    if image.dtype.name not in PIXEL_TYPES:
        raise ImageWriteError(
            f"{target}: found pixels of type {image.dtype}; expected one of "
            f"{', '.join(PIXEL_TYPES)}; convert them where no value gets lost"
        )
    return image.dtype


def _write_tiff(
    image: xr.DataArray,
    part: Path,
    pixel_type: np.dtype[Any],
    needed: int,
    record: Record | None,
) -> None:
    with part.open("wb") as file:
        tifffile.imwrite(
            file,
            _planes(image, pixel_type),
            shape=image.shape,
            dtype=pixel_type,
            ome=True,
            bigtiff=needed > BIGTIFF_BYTES,
            photometric="minisblack",
            compression="zlib",
            predictor=True,
            metadata=_metadata(image, record),
        )


def _planes(image: xr.DataArray, pixel_type: np.dtype[Any]) -> Iterator[NDArray[Any]]:
    """Yield the planes of an image one by one, so that a dask array is never held whole."""
    for index in np.ndindex(image.shape[:-2]):
        plane = np.asarray(image.data[index])
        if plane.dtype.kind == "f" and not np.isfinite(plane).all():
            raise ImageWriteError(
                f"{image.attrs.get('source', '')}: found values that are no finite numbers in "
                f"plane {index}; expected finite values"
            )
        with np.errstate(over="ignore"):
            exact = plane.astype(pixel_type)
        if not np.array_equal(exact, plane):
            raise ImageWriteError(
                f"found {plane.dtype} values that {pixel_type} does not hold exactly; expected "
                "float32; round them with image.astype('float32') if that is meant"
            )
        yield np.ascontiguousarray(exact)


def _metadata(image: xr.DataArray, record: Record | None) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "axes": "".join(map(str, image.dims)).upper(),
        "Channel": {"Name": list(channel_names(image))},
    }
    if image.attrs.get("unit") == "um":
        for dim in SPATIAL_DIMS:
            if dim in image.attrs.get("pixel_size", {}):
                metadata[f"PhysicalSize{dim.upper()}"] = image.attrs["pixel_size"][dim]
                metadata[f"PhysicalSize{dim.upper()}Unit"] = "µm"
    if record is not None:
        metadata["CommentAnnotation"] = {"Namespace": RECORD_NAMESPACE, "Value": record.to_json()}
    return metadata


def _new_part(target: Path) -> Path:
    """Make an empty file in the target's folder, so that renaming it is atomic.

    Whoever may read the user's other files may read it; those of ``tempfile`` are for the owner
    alone.
    """
    part = target.with_name(f".{target.name}.{uuid4().hex[:8]}.part")
    part.open("xb").close()
    return part


def _write_error(target: Path, error: OSError, needed: int) -> ImageWriteError:
    if error.errno not in DISK_FULL:
        return ImageWriteError(f"{target}: cannot be written ({error.strerror or error})")
    free = shutil.disk_usage(target.parent).free
    return ImageWriteError(
        f"{target}: the disk is full: up to {needed / MEGABYTE:.1f} MB are needed and "
        f"{free / MEGABYTE:.1f} MB are free; nothing was written; make room or choose another disk"
    )
