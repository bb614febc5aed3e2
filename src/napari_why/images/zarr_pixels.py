"""What the files of Zarr chunks say about themselves, compared with the array they belong to.

Decoders believe the headers of chunks: that of Blosc reads past the end of a chunk that was cut,
those of Zstandard and LZ4 ask for as much memory as a header says. So sizes are compared first.
Headers: https://github.com/Blosc/c-blosc/blob/main/README_CHUNK_FORMAT.rst, RFC 8878 (Zstandard),
https://numcodecs.readthedocs.io/en/stable/compression/lz4.html; shards:
https://zarr-specs.readthedocs.io/en/latest/v3/codecs/sharding-indexed/index.html.
"""

import math
import os
import struct
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from napari_why.core.errors import ImageReadError
from napari_why.images.formats import LAZY_BYTES, check_fits_memory

INTACT = "the chunks that the metadata describe"
COPY_AGAIN = "the folder is damaged or was copied in part: copy or export it again"
# Bytes of the longest header: Zstandard's magic number, flags, window, dictionary and size.
HEAD = 18
BLOSC_HEADER = 16  # bytes before a chunk's content (Blosc 1 format)
# RFC 8878, section 3.1.1.
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
# Offset and length of a chunk that a shard lacks (Zarr 3, sharding).
ABSENT = 2**64 - 1
# Bytes of a CRC-32C.
CHECKSUM = 4
# More would take longer to list than opening an image may; of 1 MB each they make 200 GB.
MOST_LISTED = 200_000
# Files in the folder of an array that are no chunks of it.
METADATA = ("zarr.json", ".zarray", ".zattrs")
# What operating systems and network storage leave beside any file; their other files are hidden
# ones (".DS_Store", "._0"), which no chunk is.
LITTER, LITTER_FOLDERS = ("Thumbs.db", "desktop.ini"), ("@eaDir", "__MACOSX")


def chunk_file(folder: Path, array: Any, place: Sequence[int]) -> Path:
    """Return where a chunk or shard of an array is stored.

    Parameters
    ----------
    folder : Path
        Of the array.
    array : zarr.Array
    place : sequence of int
        Indices of the chunk along each axis.

    Returns
    -------
    Path
        It need not exist.
    """
    return folder.joinpath(*str(array.metadata.encode_chunk_key(tuple(place))).split("/"))


def check_chunk(path: Path, array: Any, file: Path) -> None:
    """Refuse a chunk, or a shard of chunks, whose size contradicts the array's metadata.

    Parameters
    ----------
    path : Path
        The image the user named.
    array : zarr.Array
        What the chunk belongs to.
    file : Path
        The chunk; one that is absent is no contradiction.

    Raises
    ------
    ImageReadError
        Names the chunk and both sizes.
    """
    if not file.is_file():
        return
    needed = math.prod(array.chunks) * array.dtype.itemsize
    codecs = [type(codec).__name__.lower() for codec in array.compressors]
    sums = CHECKSUM * (bool(codecs) and codecs[-1].startswith("crc32c"))
    codecs = codecs[:-1] if sums else codecs
    if len(codecs) > 1:
        return  # Then a header tells the size of what another codec made.
    codec = codecs[0] if codecs else ""
    size = file.stat().st_size
    with file.open("rb") as chunk:
        for start, stop in _pieces(path, array, chunk, size):
            chunk.seek(start)
            head = chunk.read(min(HEAD, stop - start))
            told = _told_size(codec, head, stop - start - sums)
            if told is not None and told != needed and not array.filters:
                found = f"{told} bytes where the chunk {file.name} needs {needed}"
                raise ImageReadError(path, found, INTACT, COPY_AGAIN)
            length = int.from_bytes(head[12:16], "little") if codec.startswith("blosc") else 0
            if length > stop - start:
                found = f"{stop - start} bytes where the chunk {file.name} needs {length}"
                raise ImageReadError(path, found, INTACT, COPY_AGAIN)


def _told_size(codec: str, head: bytes, size: int) -> int | None:
    """Return the bytes of a chunk once decoded as far as the chunk tells, else None."""
    if not codec:
        return size
    if codec.startswith("blosc"):
        return int.from_bytes(head[4:8], "little") if len(head) >= BLOSC_HEADER else 0
    if codec.startswith("lz4"):
        return int.from_bytes(head[:4], "little")
    if codec.startswith("zstd") and head.startswith(ZSTD_MAGIC) and len(head) == HEAD:
        return _zstd_size(head)
    return None


def _zstd_size(head: bytes) -> int | None:
    """Return the content size in the header of a Zstandard frame; None where it has none."""
    flags = head[4]
    one_segment = flags >> 5 & 1
    start = 5 + (1 - one_segment) + (0, 1, 2, 4)[flags & 3]
    width = (one_segment, 2, 4, 8)[flags >> 6]
    if not width:
        return None
    size = int.from_bytes(head[start : start + width], "little")
    return size + 256 if width == 2 else size  # smaller sizes are told in one byte


def _pieces(path: Path, array: Any, chunk: BinaryIO, size: int) -> Iterator[tuple[int, int]]:
    """Yield where the encoded chunks of a file begin and end: one, or those of a shard's index."""
    if not array.shards:
        yield 0, size
        return
    sharding = array.metadata.codecs[0]
    names = [type(codec).__name__ for codec in sharding.index_codecs]
    if names != ["BytesCodec", "Crc32cCodec"] or sharding.index_location.value != "end":
        return
    count = math.prod(array.shards) // math.prod(array.chunks)
    end = size - 16 * count - CHECKSUM
    if end < 0:
        found = f"a shard of {size} bytes, too few for its index"
        raise ImageReadError(path, found, INTACT, COPY_AGAIN)
    chunk.seek(end)
    index = struct.unpack(f"<{2 * count}Q", chunk.read(16 * count))
    for start, length in zip(index[::2], index[1::2], strict=True):
        if start == ABSENT and length == ABSENT:
            continue
        if start + length > end:
            found = f"a shard of {size} bytes where its index needs {start + length}"
            raise ImageReadError(path, found, INTACT, COPY_AGAIN)
        yield start, start + length


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
    # Chunks are padded to their full size, so that those of a small image may be larger than it.
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

    Parameters
    ----------
    path : Path
        Named in the error.
    folder : Path
        Of the array.
    array : zarr.Array

    Returns
    -------
    tuple of str
        One sentence where chunks are absent, else empty.

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
        if name not in (*METADATA, *LITTER)
        and not name.startswith(".")
        and not any(litter in Path(place).parts for litter in LITTER_FOLDERS)
    ]
    files = len(chunks)
    present = _count_present(array)
    if files > present:
        found = f"{files - present} files that are no chunk of the image"
        raise ImageReadError(path, found, INTACT, COPY_AGAIN)
    if not present:
        raise ImageReadError(path, "none of the image's chunks", INTACT, COPY_AGAIN)
    # Pixels that nobody stored cost no disk, but memory: a wrong shape asks for any amount of it.
    if present < count / 2:
        words = f"an image of {' x '.join(map(str, array.shape))} pixels, most of them absent,"
        check_fits_memory(path, words, math.prod(array.shape) * array.dtype.itemsize)
    if present < count:
        absent, fill = count - present, array.fill_value
        return (f"{absent} of {count} chunks are absent; their pixels are read as {fill}.",)
    return ()


def _count_present(array: Any) -> int:
    """Return how many files of chunks (or shards, which hold several) are there."""
    inside = math.prod(array.shards) // math.prod(array.chunks) if array.shards else 1
    return int(array.nchunks_initialized) // inside  # zarr counts chunks, not shards


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
