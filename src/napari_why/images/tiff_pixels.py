"""Whether a compressed page ends where its size says.

Decoders of deflate, Zstandard and PackBits refuse to decode more than there is room for. Those of
LZW and LZMA stop without a word when the room is full, and so do all for pixels of other than whole
bytes, for which there is room enough: a page that is longer or wider than its tags say would be
cut, or its rows shifted.
"""

import math
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from tifffile import TiffPageSeries

from napari_why.core.errors import ImageReadError
from napari_why.images.stored_image import LAZY_BYTES, check_fits_memory
from napari_why.images.tiff_directory import COPY_AGAIN
from napari_why.images.tiff_integrity import check_page_data

ENDLESS = (5, 34925)
LOSSLESS = (*ENDLESS, 8, 32946, 32773, 50000)
WHOLE_BYTES = (8, 16, 32, 64)


def check_end_of_page(page: Any, path: Path) -> None:
    """Decode the last strip or tile of a page once more, with room for one more byte.

    A wrong width, type or number of rows shows in every strip; the last one is enough.

    Parameters
    ----------
    page : TiffPage or TiffFrame
        A page of an open file.
    path : Path
        The file the user named.

    Raises
    ------
    ImageReadError
        It decodes to more or fewer bytes than the page's tags say.
    """
    keyframe = page.keyframe
    checked = ENDLESS if keyframe.bitspersample in WHOLE_BYTES else LOSSLESS
    if keyframe.compression not in checked or keyframe.fillorder != 1:
        return
    wanted = _bytes_of_last(keyframe)
    with Path(page.parent.filehandle.path).open("rb") as file:
        file.seek(page.dataoffsets[-1])
        data = file.read(page.databytecounts[-1])
    found = len(tifffile.TIFF.DECOMPRESSORS[keyframe.compression](data, out=wanted + 1))
    if found != wanted:
        more = "more" if found > wanted else "fewer"
        words = f"{more} bytes in the last strip or tile of page {page.index + 1}"
        raise ImageReadError(path, words, f"{wanted}, as the image's size asks for", COPY_AGAIN)


def _bytes_of_last(keyframe: Any) -> int:
    """Return how many bytes the last strip or tile has once decoded."""
    samples = keyframe.samplesperpixel if keyframe.planarconfig == 1 else 1
    if keyframe.is_tiled:
        rows, width = keyframe.tilelength, keyframe.tilewidth
    else:
        rows = keyframe.imagelength % keyframe.rowsperstrip or keyframe.rowsperstrip
        width = keyframe.imagewidth
    return int(rows * -(-width * samples * keyframe.bitspersample // 8))


def load_series(path: Path, series: TiffPageSeries, out: NDArray[Any] | None = None) -> Any:
    """Decode a series of pages.

    Parameters
    ----------
    path : Path
        The file the user named.
    series : TiffPageSeries
        One image of an open file.
    out : ndarray, optional
        Where to decode to, of the series' shape and type in native byte order; may be left unused.

    Returns
    -------
    ndarray or dask array
        The series' shape, native byte order. Images larger than ``LAZY_BYTES`` once decoded are
        dask arrays, one chunk a plane, that read the file again when they are computed.

    Raises
    ------
    ImageReadError
        Parts of the file are missing or do not decode, or the memory does not hold them.
    """
    shape, dtype = series.shape, np.dtype(series.dtype)
    planes = math.prod(shape) // series.keyframe.size
    size = math.prod(shape) * dtype.itemsize
    _check_complete(path, series, planes, size)
    words = " x ".join(map(str, shape))
    if size <= LAZY_BYTES:
        check_fits_memory(path, f"an image of {words} pixels", size)
        try:
            for page in _found(series.pages):
                check_end_of_page(page, path)
            return _native(series.asarray(out=out if dtype.isnative else None))
        except ImageReadError:
            raise
        except Exception as error:
            raise _undecodable(path, error) from error
    check_fits_memory(path, f"a plane of an image of {words} pixels", size // planes)
    return _lazy(path, series)


def _check_complete(path: Path, series: TiffPageSeries, planes: int, size: int) -> None:
    check_page_data(list(series.pages), {}, path)
    if series.dataoffset is None:
        held = len(series.pages)
        if held != planes:
            raise ImageReadError(path, f"{held} planes", f"{planes}", COPY_AGAIN)
    elif series.dataoffset + size > path.stat().st_size:
        found = f"{path.stat().st_size} bytes"
        raise ImageReadError(path, found, f"at least {series.dataoffset + size}", COPY_AGAIN)


def _native(array: NDArray[Any]) -> NDArray[Any]:
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _lazy(path: Path, series: TiffPageSeries) -> Any:
    da: Any = import_module("dask.array")
    shape, keyframe = series.shape, series.keyframe
    native = np.dtype(series.dtype).newbyteorder("=")
    if series.dataoffset is not None:
        stored: NDArray[Any] = np.memmap(
            path,
            dtype=native.newbyteorder(series.keyframe.parent.byteorder),
            mode="r",
            offset=series.dataoffset,
            shape=shape,
        )
        chunks = (1,) * (len(shape) - keyframe.ndim) + keyframe.shape
        return da.from_array(stored, chunks=chunks, name=False).astype(native)
    planes = [
        da.from_delayed(_delayed_page(path, page), keyframe.shape, native)
        for page in _found(series.pages)
    ]
    return da.stack(planes).reshape(shape)


def _found(pages: Sequence[Any]) -> list[Any]:
    return [page for page in pages if page is not None]


def _delayed_page(path: Path, page: Any) -> Any:
    dask: Any = import_module("dask")
    place = Path(page.parent.filehandle.path)
    return dask.delayed(_read_page, pure=False)(place, page.index, path)


def _read_page(place: Path, index: int, path: Path) -> NDArray[Any]:
    """Decode one page of a file that was whole when it was opened."""
    try:
        with tifffile.TiffFile(place) as file:
            check_end_of_page(file.pages[index], path)
            return _native(file.pages[index].asarray())
    except ImageReadError:
        raise
    except Exception as error:
        raise _undecodable(path, error) from error


def _undecodable(path: Path, error: Exception) -> ImageReadError:
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return ImageReadError(path, f"pixels that do not decode ({reason})", "intact data", COPY_AGAIN)
