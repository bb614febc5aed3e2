"""Write an image as OME-TIFF or OME-Zarr with its record, whole or not at all."""

import errno
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_why.core.errors import ImageWriteError, WhyError
from napari_why.core.record import Record
from napari_why.core.targets import check_target, sources_of
from napari_why.core.whole_files import atomic_path
from napari_why.images.formats import FORMATS, Writer
from napari_why.images.image import check_image

if TYPE_CHECKING:
    import xarray as xr

# What systems say where there is no room; the second, of a user's quota, is unknown on Windows.
DISK_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))
# Bytes as disks are sold and file managers count.
MEGABYTE = 10**6


def write(
    image: "xr.DataArray",
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
        Replace files of that name, or an OME-Zarr folder, that napari-why wrote; never the image's
        own source, nor what another program wrote.

    Returns
    -------
    Path
        The image file, or the OME-Zarr folder.

    Raises
    ------
    ImageWriteError
        The file exists (or must not be replaced), the folder does not, the disk is full or has too
        little room (which is looked at before anything is written), the pixel type has no place in
        the format, or a value is no finite number. Nothing half-written is left.
    ParameterError
        The image does not follow the conventions.
    """
    check_image(image)
    target = Path(path)
    beside = record_path(target) if record is not None else None
    writer = _writer_of_name(target)
    sources = [str(image.attrs.get("source", "")), *sources_of(record)]
    records = [str(record_path(source)) for source in sources if source]
    _check_target(target, beside, [*sources, *records], overwrite=overwrite)
    pixel_type = _pixel_type(image, target, writer)
    needed = image.size * pixel_type.itemsize
    _check_room(target, needed)
    try:
        with ExitStack() as parts:
            part = parts.enter_context(atomic_path(target))
            writer.write(image, part, pixel_type, record)
            if beside is not None and record is not None:
                text = parts.enter_context(atomic_path(beside))
                text.write_text(record.to_json() + "\n", encoding="utf-8")
    except OSError as error:
        raise _write_error(target, error, needed) from error
    return target


def record_path(path: str | os.PathLike[str]) -> Path:
    """Return where the record of an image file stands.

    Examples
    --------
    >>> record_path("field.ome.tif").name
    'field.json'
    """
    path = Path(path)
    for suffix in _writers():
        if path.name.lower().endswith(suffix):
            return path.with_name(path.name[: -len(suffix)] + ".json")
    return path.with_name(path.name + ".json")


def planes_of(image: "xr.DataArray", pixel_type: np.dtype[Any]) -> Iterator[NDArray[Any]]:
    """Yield the planes of an image one by one, so that a dask array is never held whole.

    Parameters
    ----------
    image : DataArray
        With y and x last.
    pixel_type : dtype
        What values are stored as.

    Yields
    ------
    ndarray, shape (H, W)
        In the order of the other axes, the last the fastest.

    Raises
    ------
    ImageWriteError
        A value is no finite number, or the pixel type does not hold it exactly.
    """
    for index in np.ndindex(image.shape[:-2]):
        plane = np.asarray(image.data[index])
        if plane.dtype.kind == "f" and not np.isfinite(plane).all():
            raise ImageWriteError(
                f"{image.attrs.get('source', '')}: found values that are no finite numbers in "
                f"plane {index}; expected finite values"
            )
        with np.errstate(over="ignore"):  # an overflow shows in the comparison
            exact = plane.astype(pixel_type)
        if not np.array_equal(exact, plane):
            raise ImageWriteError(
                f"found {plane.dtype} values that {pixel_type} does not hold exactly; expected "
                "float32; round them with image.astype('float32') if that is meant"
            )
        yield np.ascontiguousarray(exact)


def _writers() -> dict[str, Writer]:
    """Return what writes the formats that can be written, by ending; longer endings first."""
    known = [(form.suffixes, form.writer) for form in FORMATS.values()]
    found = {suffix: writer for suffixes, writer in known if writer for suffix in suffixes}
    # ".tif" would else take the name ".ome.tif", and leave its ".ome" to the record's.
    return dict(sorted(found.items(), key=lambda item: -item[0].count(".")))


def _writer_of_name(target: Path) -> Writer:
    writers = _writers()
    for suffix, writer in writers.items():
        if target.name.lower().endswith(suffix):
            return writer
    raise ImageWriteError(
        f"{target}: found the ending {target.suffix!r}; expected one of {', '.join(writers)}"
    )


def _check_target(
    target: Path, beside: Path | None, sources: Sequence[str], *, overwrite: bool
) -> None:
    if not target.parent.is_dir():
        raise ImageWriteError(f"{target}: its folder does not exist; make it first")
    for path in filter(None, (target, beside)):
        try:
            check_target(path, sources, overwrite=overwrite)
        except WhyError as error:
            raise ImageWriteError(str(error)) from error


def _pixel_type(image: "xr.DataArray", target: Path, writer: Writer) -> np.dtype[Any]:
    known = writer.pixel_types
    if image.dtype.name in known:
        return image.dtype
    if image.dtype == np.float64 and "float32" in known:
        return np.dtype(np.float32)  # refused later where a value changes by that
    raise ImageWriteError(
        f"{target}: found pixels of type {image.dtype}; expected one of "
        f"{', '.join(known)}; convert them where no value gets lost"
    )


def _check_room(target: Path, needed: int) -> None:
    # Before compression: how much it saves is not known before it is done.
    free = shutil.disk_usage(target.parent).free
    if needed > free:
        raise ImageWriteError(
            f"{target}: found {free / MEGABYTE:.1f} MB free on the disk; expected "
            f"{needed / MEGABYTE:.1f} MB, the size of the image before it is compressed; nothing "
            "was written; make room or choose another disk"
        )


def _write_error(target: Path, error: OSError, needed: int) -> ImageWriteError:
    if error.errno not in DISK_FULL:
        return ImageWriteError(f"{target}: cannot be written ({error.strerror or error})")
    free = shutil.disk_usage(target.parent).free
    return ImageWriteError(
        f"{target}: the disk is full: up to {needed / MEGABYTE:.1f} MB are needed and "
        f"{free / MEGABYTE:.1f} MB are free; nothing was written; make room or choose another disk"
    )
