"""Pixels of a Zarr array: decoded at once when small, chunk by chunk when large."""

import math
import os
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_why.errors import ImageReadError
from napari_why.images.memory import LAZY_BYTES, check_fits_memory

INTACT = "the chunks that the metadata describe"
COPY_AGAIN = "the folder is damaged or was copied in part: copy or export it again"
# More would take longer to list than opening an image may; of 1 MB each they make 200 GB.
MOST_LISTED = 200_000
BLOSC_HEADER = 16
METADATA = ("zarr.json", ".zarray", ".zattrs")


def load_array(path: Path, array: Any) -> Any:
    """Decode a Zarr array.

    Parameters
    ----------
    path : Path
        The image the user named.
    array : zarr.Array
        One resolution of it.

    Returns
    -------
    ndarray or dask array
        Native byte order; a dask array with the file's chunks where the image is larger than
        ``LAZY_BYTES`` once decoded.

    Raises
    ------
    ImageReadError
        A chunk does not decode, or the memory does not hold it.
    """
    words = " x ".join(map(str, array.shape))
    size = math.prod(array.shape) * array.dtype.itemsize
    chunk = math.prod(array.shards or array.chunks) * array.dtype.itemsize
    if chunk > max(4 * size, LAZY_BYTES):
        found = f"chunks of {chunk} bytes in an image of {size}"
        raise ImageReadError(path, found, INTACT, COPY_AGAIN)
    check_fits_memory(path, f"a chunk of an image of {words} pixels", chunk)
    if size <= LAZY_BYTES:
        check_fits_memory(path, f"an image of {words} pixels", size)
        return _decode(path, array, ...)
    da: Any = import_module("dask.array")
    blocks = da.core.normalize_chunks(array.shards or array.chunks, array.shape)
    return da.map_blocks(
        _decode_block,
        chunks=blocks,
        dtype=array.dtype.newbyteorder("="),
        path=path,
        array=array,
        meta=np.empty((0,) * array.ndim, array.dtype.newbyteorder("=")),
    )


def chunk_notes(path: Path, folder: Path, array: Any) -> tuple[str, ...]:
    """Compare the chunks in the folder with those of the array.

    Writers leave out chunks of the fill value alone, so that some may be absent; none at all, or
    files that are no chunk of the array, mean that metadata and pixels do not belong together.

    Raises
    ------
    ImageReadError
        They do not.
    """
    blocks = array.shards or array.chunks
    count = math.prod(-(-size // step) for size, step in zip(array.shape, blocks, strict=True))
    if count > MOST_LISTED:
        words = " x ".join(map(str, array.shape))
        found = f"an image of {words} pixels in {count} chunks"
        raise ImageReadError(path, found, f"at most {MOST_LISTED} chunks", COPY_AGAIN)
    chunks = [
        Path(place, name)
        for place, _, names in os.walk(folder)
        for name in names
        if name not in METADATA
    ]
    files = len(chunks)
    if not array.shards and any(map(_is_blosc, array.compressors)):
        _check_blosc(path, chunks)
    present = _present(array)
    if files > present:
        found = f"{files - present} files that are no chunk of the image"
        raise ImageReadError(path, found, INTACT, COPY_AGAIN)
    if not present:
        raise ImageReadError(path, "none of the image's chunks", INTACT, COPY_AGAIN)
    if present < count / 2:
        words = f"an image of {' x '.join(map(str, array.shape))} pixels, most of them absent,"
        check_fits_memory(path, words, math.prod(array.shape) * array.dtype.itemsize)
    if present < count:
        absent, fill = count - present, array.fill_value
        return (f"{absent} of {count} chunks are absent; their pixels are read as {fill}.",)
    return ()


def _is_blosc(compressor: Any) -> bool:
    return type(compressor).__name__.lower().startswith("blosc")


def _check_blosc(path: Path, chunks: list[Path]) -> None:
    """Refuse chunks that are shorter than their Blosc header says.

    The decoder reads past the end of such a chunk, whatever stands there, without an error.
    Header: https://github.com/Blosc/c-blosc/blob/main/README_CHUNK_FORMAT.rst.
    """
    for chunk in chunks:
        size = chunk.stat().st_size
        with chunk.open("rb") as file:
            head = file.read(BLOSC_HEADER)
        needed = int.from_bytes(head[-4:], "little") if len(head) == BLOSC_HEADER else BLOSC_HEADER
        if size < needed:
            found = f"{size} bytes where the chunk {chunk.name} needs {needed}"
            raise ImageReadError(path, found, INTACT, COPY_AGAIN)


def _present(array: Any) -> int:
    """Return how many files of chunks (or shards, which hold several) are there."""
    inside = math.prod(array.shards) // math.prod(array.chunks) if array.shards else 1
    return int(array.nchunks_initialized) // inside


def _decode(path: Path, array: Any, where: Any) -> NDArray[Any]:
    try:
        pixels: NDArray[Any] = np.asarray(array[where])
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        found = f"pixels that do not decode ({reason})"
        raise ImageReadError(path, found, "intact data", COPY_AGAIN) from error
    return pixels.astype(pixels.dtype.newbyteorder("="), copy=False)


def _decode_block(path: Path, array: Any, block_info: dict[Any, Any] | None = None) -> NDArray[Any]:
    place = (block_info or {})[None]["array-location"]
    return _decode(path, array, tuple(slice(start, stop) for start, stop in place))
