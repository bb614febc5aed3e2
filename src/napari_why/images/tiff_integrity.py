"""Do the tags of TIFF pages agree with each other? Checked before anything is decoded.

A damaged number often leaves a file that opens, and shows a wrong picture. But the size of a page
is told twice: by its tags, and by the number and length of its strips or tiles; and no two things
can lie at the same place of a file.
"""

import math
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from tifffile import TiffFrame, TiffPage

from napari_why.core.errors import ImageReadError
from napari_why.images import tiff_directory as tag
from napari_why.images.tiff_directory import (
    COPY_AGAIN,
    WHOLE_FILE,
    Directory,
    Layout,
    read_directory,
    read_number,
)

NONE, PACKBITS = 1, 32773
# What a byte can at most become once decoded: deflate by its longest match in two bits, LZW by
# strings of all 4096 codes, PackBits by 128 for 2, Zstandard by a block of 128 KiB for 4.
MOST_EXPANDED = {1: 1, 5: 4096, 8: 1032, 32946: 1032, PACKBITS: 64, 50000: 32768, 34926: 32768}
# Compressions for which the standard or libtiff know a predictor.
WITH_PREDICTOR = (5, 8, 32946, 34925, 34926, 50000)
YCBCR = 6
OF_ONE_BIT = (2, 3, 4)
# Floating-point predictors: 3, and for rows of 2 or 4 samples (Adobe DNG specification).
OF_FLOATS, FLOAT = (3, 34894, 34895), 3
# MetaMorph's tags: the planes of a stack follow the first one, and tables may list them all.
METAMORPH_TAGS = frozenset((33628, 33629, 33630, 33631))
# Zeiss LSM is known to note lengths before compression.
LSM_TAG = 34412
HEADER = 8


@dataclass(frozen=True)
class _Segments:
    """Where the strips or tiles of a page are, and how many bytes each has once decoded."""

    offsets: Sequence[int]
    counts: Sequence[int]
    decoded: Sequence[int]


def check_consistency(pages: Sequence[Directory], path: Path) -> None:
    """Refuse pages whose tags contradict each other, or that take the same bytes of the file.

    Parameters
    ----------
    pages : sequence of Directory
        All pages of a file.
    path : Path
        The file.

    Raises
    ------
    ImageReadError
        Names the page and what does not fit.
    """
    if any(LSM_TAG in page.tags for page in pages):
        return
    spans = [(0, HEADER, True)]
    for number, page in enumerate(pages, start=1):
        segments = _segments(page, number, path)
        _check_storage(page, number, path)
        _check_lengths(page, segments, number, path)
        spans.append((*page.span, True))
        spans += [(start, stop, False) for start, stop in page.values]
        spans += [(start, stop, True) for start, stop in segment_spans(page)]
    _check_apart(spans, path)


def segment_spans(page: Directory) -> list[tuple[int, int]]:
    """Return the bytes that the strips or tiles of a page take in the file."""
    offsets, counts = _tables(page)
    return [(at, at + length) for at, length in zip(offsets, counts, strict=False) if length]


def check_free(pages: Sequence[Directory], start: int, stop: int, path: Path) -> None:
    """Refuse planes that would lie where directories or values of tags are.

    Raises
    ------
    ImageReadError
        Names the first byte that they share.
    """
    for page in pages:
        for first, last in (page.span, *page.values):
            if first < stop and start < last:
                found = f"planes that take byte {max(start, first)}, where tags are"
                raise ImageReadError(path, found, "one place for each", COPY_AGAIN)


def unclaimed_bytes(pages: Sequence[Directory], size: int) -> int:
    """Return the largest number of bytes in a row that no tag of a file refers to."""
    spans = [(0, HEADER), (size, size)]
    for page in pages:
        spans += [page.span, *page.values, *segment_spans(page)]
    most, end = 0, 0
    for start, stop in sorted(spans):
        most, end = max(most, start - end), max(end, stop)
    return most


def _segments(page: Directory, number: int, path: Path) -> _Segments:
    """Compare the tables of strips or tiles with what the page's size asks for."""
    decoded = _decoded_bytes(page, number, path)
    offsets, counts = _tables(page)
    if not counts and len(decoded) == 1 and page.number(tag.COMPRESSION, NONE) == NONE:
        counts = tuple(decoded)
    if METAMORPH_TAGS & page.tags:
        offsets, counts = offsets[: len(decoded)], counts[: len(decoded)]
    if not len(offsets) == len(counts) == len(decoded):
        found = f"{len(offsets)} offsets and {len(counts)} lengths of strips or tiles"
        raise _error(path, number, found, f"{len(decoded)} of each, as the image's size asks for")
    return _Segments(offsets, counts, decoded)


def _tables(page: Directory) -> tuple[Sequence[int], Sequence[int]]:
    offsets = page.numbers.get(tag.TILE_OFFSETS) or page.numbers.get(tag.STRIP_OFFSETS, ())
    counts = page.numbers.get(tag.TILE_COUNTS) or page.numbers.get(tag.STRIP_COUNTS, ())
    return offsets, counts


def _decoded_bytes(page: Directory, number: int, path: Path) -> list[int]:
    """Return the bytes of every strip or tile once decoded."""
    width, length = page.number(tag.WIDTH, 0), page.number(tag.LENGTH, 0)
    samples = page.number(tag.SAMPLES, 1)
    bits = page.numbers.get(tag.BITS, (1,))
    tiled = tag.TILE_WIDTH in page.numbers or tag.TILE_LENGTH in page.numbers
    across = page.number(tag.TILE_WIDTH, 0) if tiled else width
    rows = page.number(tag.TILE_LENGTH, 0) if tiled else page.number(tag.ROWS_PER_STRIP, 2**32 - 1)
    if not all((width, length, samples, across, rows, *bits)):
        found = "an image, a strip or a tile without pixels"
        raise _error(path, number, found, "at least one of each")
    apart = page.number(tag.PLANAR, 1) == 2
    if len(set(bits)) > 1 and (apart or len(bits) != samples):
        found = f"{len(bits)} different bits per sample for {samples} samples"
        raise _error(path, number, found, "one number, or one for each sample")
    depth = page.number(tag.IMAGE_DEPTH, 1) * (samples if apart else 1)
    whole = sum(bits) if len(set(bits)) > 1 else bits[0] * (1 if apart else samples)
    row = -(-across * whole // 8)
    count = -(-length // rows) * -(-width // across)
    if count * depth > len(_tables(page)[0]):
        found = f"an image of {width} x {length} pixels in {count * depth} strips or tiles"
        raise _error(path, number, found, "no more than its tables list")
    last = rows if tiled else length - (count - 1) * rows
    return ([row * min(rows, 2**32)] * (count - 1) + [row * last]) * depth


def _check_storage(page: Directory, number: int, path: Path) -> None:
    """Refuse what the standard does not define for a page's compression or depth."""
    compression = page.number(tag.COMPRESSION, NONE)
    predictor, kind = page.number(tag.PREDICTOR, 1), page.number(tag.SAMPLE_FORMAT, 1)
    if predictor != 1 and compression not in WITH_PREDICTOR:
        found = f"predictor {predictor} with compression {compression}"
        raise _error(path, number, found, "a predictor with LZW, deflate or Zstandard only")
    if predictor in OF_FLOATS and kind != FLOAT:
        found = f"predictor {predictor} with sample format {kind}"
        raise _error(path, number, found, "it for floating point only")
    if compression in OF_ONE_BIT and set(page.numbers.get(tag.BITS, (1,))) != {1}:
        found = f"fax compression {compression} of {page.numbers[tag.BITS][0]} bits"
        raise _error(path, number, found, "it for images of one bit only")
    if page.number(tag.PLANAR, 1) not in (1, 2):
        found = f"planar configuration {page.number(tag.PLANAR, 1)}"
        raise _error(path, number, found, "1 or 2")
    if page.number(tag.FILL_ORDER, 1) != 1 and page.numbers.get(tag.BITS, (1,)) != (1,):
        found = f"fill order {page.number(tag.FILL_ORDER, 1)}"
        raise _error(path, number, found, "1, but for images of one bit")


def _check_lengths(page: Directory, segments: _Segments, number: int, path: Path) -> None:
    """Compare the stored bytes with those that decoding has to give."""
    compression = page.number(tag.COMPRESSION, NONE)
    stored, needed = sum(segments.counts), sum(segments.decoded)
    most = MOST_EXPANDED.get(compression)
    if most is not None and stored * most < needed:
        found = f"{stored} bytes for an image that takes {needed} once decoded"
        raise _error(path, number, found, "pixels that are there")
    if compression != NONE or page.number(tag.PHOTOMETRIC, 1) == YCBCR:
        return
    for length, wanted in zip(segments.counts, segments.decoded, strict=True):
        # Some writers count the byte that brings the next strip to an even place.
        if length not in (wanted, wanted + wanted % 2):
            found = f"a strip or tile of {length} bytes"
            raise _error(path, number, found, f"{wanted}, as the image's size asks for")


def _check_apart(spans: list[tuple[int, int, bool]], path: Path) -> None:
    """Refuse directories, strips or tiles that overlap; values of tags may be shared by tags."""
    hard_end = soft_end = 0
    for start, stop, hard in sorted(spans):
        if start < (max(hard_end, soft_end) if hard else hard_end):
            found = f"two structures that both take byte {start}"
            raise ImageReadError(path, found, "one place for each", COPY_AGAIN)
        if hard:
            hard_end = max(hard_end, stop)
        else:
            soft_end = max(soft_end, stop)


def _error(path: Path, number: int, found: str, expected: str) -> ImageReadError:
    return ImageReadError(path, f"{found} in page {number}", expected, COPY_AGAIN)


_LAYOUTS = {
    b"II*\0": Layout("<", "I", "H", "HHII", 4),
    b"MM\0*": Layout(">", "I", "H", "HHII", 4),
    b"II+\0": Layout("<", "Q", "Q", "HHQQ", 8),
    b"MM\0+": Layout(">", "Q", "Q", "HHQQ", 8),
}


def is_tiff(head: bytes) -> bool:
    """Whether a file that begins with ``head`` (at least 4 bytes) says that it is a TIFF."""
    return head[:4] in _LAYOUTS


def check_page_chain(path: Path) -> tuple[Directory, ...]:
    """Follow the directories of all pages from first to last and return them.

    Raises
    ------
    ImageReadError
        The chain or a tag leaves the file, the chain runs in a circle, there is no page, or the
        tags of the pages contradict each other.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        pages = tuple(_directories(file, size, path))
    check_consistency(pages, path)
    return pages


def check_page_data(
    pages: Sequence[TiffPage | TiffFrame | None], size_of_file: dict[str, int], path: Path
) -> None:
    """Check that all strips and tiles of the pages exist and lie inside their files.

    Parameters
    ----------
    pages : sequence of page or None
        Pages of one image; None stands for a page that the metadata promise and no file holds.
    size_of_file : dict of str to int
        Length in bytes of the files that hold them, by path; filled in as needed.
    path : Path
        The file the user named.

    Raises
    ------
    ImageReadError
        Says how many pages or strips are missing.
    """
    missing = sum(page is None for page in pages)
    if missing:
        raise ImageReadError(
            path,
            f"{missing} of {len(pages)} planes missing",
            "all planes that the metadata name",
            COPY_AGAIN + ", with all files that belong to it",
        )
    for page in pages:
        if page is not None:
            handle = page.parent.filehandle
            size = size_of_file.setdefault(str(handle.path), handle.size)
            _check_segments(page, size, path)


def _check_segments(page: TiffPage | TiffFrame, size: int, path: Path) -> None:
    offsets, counts = page.dataoffsets, page.databytecounts
    keyframe = page.keyframe
    if keyframe is None:
        raise ImageReadError(path, f"page {page.index} without tags", WHOLE_FILE, COPY_AGAIN)
    needed = math.prod(keyframe.chunked)
    stored = sum(1 for offset, count in zip(offsets, counts, strict=False) if offset and count)
    end = max((a + b for a, b in zip(offsets, counts, strict=False)), default=0)
    if keyframe.is_contiguous and offsets:
        stored = needed
        end = offsets[0] + keyframe.nbytes
    if stored < needed:
        found = f"{needed - stored} of {needed} strips or tiles of page {page.index} missing"
        raise ImageReadError(path, found, WHOLE_FILE, COPY_AGAIN)
    if end > size:
        found = f"{size} bytes where page {page.index} needs {end}"
        raise ImageReadError(path, found, WHOLE_FILE, COPY_AGAIN)


def _directories(file: BinaryIO, size: int, path: Path) -> Iterator[Directory]:
    layout = _LAYOUTS[file.read(4)]
    form = layout.order + layout.offset
    offset = read_number(file, form, layout.first, path)
    seen: set[int] = set()
    while offset:
        if offset in seen:
            raise ImageReadError(path, "a chain of pages that runs in a circle", WHOLE_FILE)
        seen.add(offset)
        page = read_directory(file, offset, layout, size, path, len(seen))
        yield page
        offset = read_number(file, form, page.span[1] - struct.calcsize(form), path)
    if not seen:
        raise ImageReadError(path, "a TIFF header without any page", WHOLE_FILE, COPY_AGAIN)
