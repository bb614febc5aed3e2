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
from napari_why.images.zarr_chunks import COPY_AGAIN, INTACT, check_chunk, chunk_file

# More would take longer to list than opening an image may; of 1 MB each they make 200 GB.
MOST_LISTED = 200_000
METADATA = ("zarr.json", ".zarray", ".zattrs")


def load_array(path: Path, folder: Path, array: Any) -> Any:
    """Decode a Zarr array.

    Parameters
    ----------
    path : Path
        The image the user named.
    folder : Path
        The folder of the array.
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
        blocks = array.shards or array.chunks
        grid = [-(-side // step) for side, step in zip(array.shape, blocks, strict=True)]
        for place in np.ndindex(*grid):
            check_chunk(path, array, chunk_file(folder, array, place))
        return _decode(path, array, ...)
    da: Any = import_module("dask.array")
    blocks = da.core.normalize_chunks(array.shards or array.chunks, array.shape)
    return da.map_blocks(
        _decode_block,
        chunks=blocks,
        dtype=array.dtype.newbyteorder("="),
        path=path,
        folder=folder,
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


def _decode_block(
    path: Path, folder: Path, array: Any, block_info: dict[Any, Any] | None = None
) -> NDArray[Any]:
    place = (block_info or {})[None]
    check_chunk(path, array, chunk_file(folder, array, place["chunk-location"]))
    return _decode(path, array, tuple(slice(*ends) for ends in place["array-location"]))
