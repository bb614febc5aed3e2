"""What the files of Zarr chunks say about themselves, compared with the array they belong to.

Decoders believe the headers of chunks: that of Blosc reads past the end of a chunk that was cut,
those of Zstandard and LZ4 ask for as much memory as a header says. So sizes are compared first.
Headers: https://github.com/Blosc/c-blosc/blob/main/README_CHUNK_FORMAT.rst, RFC 8878 (Zstandard),
https://numcodecs.readthedocs.io/en/stable/compression/lz4.html; shards:
https://zarr-specs.readthedocs.io/en/latest/v3/codecs/sharding-indexed/index.html.
"""

import math
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from napari_why.errors import ImageReadError

INTACT = "the chunks that the metadata describe"
COPY_AGAIN = "the folder is damaged or was copied in part: copy or export it again"
HEAD = 18
BLOSC_HEADER = 16
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
ABSENT = 2**64 - 1
CHECKSUM = 4


def chunk_file(folder: Path, array: Any, place: Sequence[int]) -> Path:
    """Return where a chunk or shard of an array is stored."""
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
    return size + 256 if width == 2 else size


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
