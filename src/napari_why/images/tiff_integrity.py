"""Do the tags of TIFF pages agree with each other? Checked before anything is decoded.

A damaged number often leaves a file that opens, and shows a wrong picture. But the size of a page
is told twice: by its tags, and by the number and length of its strips or tiles; and no two things
can lie at the same place of a file. The directories are read here without any library, which would
leave out what does not fit. Structure after the TIFF 6.0 specification (Adobe 1992) and the BigTIFF
design (libtiff).
"""

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import BinaryIO

from napari_why.core.errors import ImageReadError

WHOLE_FILE = "a complete TIFF file"
COPY_AGAIN = "the file is damaged or was cut short while copying: copy or export it again"

# Bytes of a value of each field type (TIFF 6.0 section 2; 13, 16 to 18: BigTIFF), and the format
# of those that hold whole numbers.
_TYPE_BYTES = dict(enumerate((1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4), start=1))
_TYPE_BYTES |= {16: 8, 17: 8, 18: 8}
_WHOLE_NUMBERS = {3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}

# Tags above are private (TIFF 6.0, section 8): those of instruments may point anywhere.
LAST_STANDARD_TAG = 32767
# But ImageJ's own, and those of IPTC, Photoshop and ICC profiles: their values lie where they say.
_PLACED_TAGS = (50838, 50839, 33723, 34377, 34675)

# Numbers of the tags that describe pixels (TIFF 6.0, section 8; image depth: SGI).
WIDTH, LENGTH, BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER = 256, 257, 258, 259, 262, 266
SAMPLES, ROWS_PER_STRIP, PLANAR, PREDICTOR, SAMPLE_FORMAT = 277, 278, 284, 317, 339  # likewise
# Where the pixels lie (sections 3 and 15).
STRIP_OFFSETS, STRIP_COUNTS, TILE_OFFSETS, TILE_COUNTS = 273, 279, 324, 325
TILE_WIDTH, TILE_LENGTH, IMAGE_DEPTH = 322, 323, 32997  # section 15; SGI's own
# How a page is to be shown, which makes no pixel wrong.
ORIENTATION = 274
# What says where the pixels lie and how many they are.
_OF_PIXELS = {
    WIDTH, LENGTH, BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER, SAMPLES, ROWS_PER_STRIP, PLANAR,
    PREDICTOR, SAMPLE_FORMAT, STRIP_OFFSETS, STRIP_COUNTS, TILE_OFFSETS, TILE_COUNTS, TILE_WIDTH,
    TILE_LENGTH, IMAGE_DEPTH,
}  # fmt: skip

# The others have one value; a second one is damage.
_LISTS = (BITS, SAMPLE_FORMAT, STRIP_OFFSETS, STRIP_COUNTS, TILE_OFFSETS, TILE_COUNTS)


# Numbers of compressions (TIFF 6.0, section 8).
NONE, PACKBITS = 1, 32773
# What a byte can at most become once decoded: deflate by its longest match in two bits, LZW by
# strings of all 4096 codes, PackBits by 128 for 2, Zstandard by a block of 128 KiB for 4.
MOST_EXPANDED = {1: 1, 5: 4096, 8: 1032, 32946: 1032, PACKBITS: 64, 50000: 32768, 34926: 32768}
# Compressions for which the standard or libtiff know a predictor.
WITH_PREDICTOR = (5, 8, 32946, 34925, 34926, 50000)
# Its samples of colour are stored once for several pixels, so that strips are shorter.
YCBCR = 6
# Fax compressions, which pack black and white.
OF_ONE_BIT = (2, 3, 4)
# Floating-point predictors: 3, and for rows of 2 or 4 samples (Adobe DNG specification).
OF_FLOATS, FLOAT = (3, 34894, 34895), 3
# MetaMorph's tags: the planes of a stack follow the first one, and tables may list them all.
METAMORPH_TAGS = frozenset((33628, 33629, 33630, 33631))
# Zeiss LSM is known to note lengths before compression.
LSM_TAG = 34412
# Bytes of the header: order, version and the offset of the first directory. BigTIFF has 16, but
# the 8 that both have are enough to catch what points to the start of the file.
HEADER = 8


@dataclass(frozen=True)
class Layout:
    """Formats of the fields of classic TIFF or of BigTIFF, as :mod:`struct` spells them.

    ``first`` is where the offset of the first directory stands.
    """

    order: str
    offset: str
    count: str
    entry: str
    first: int


# By the first four bytes: classic TIFF and BigTIFF, each of both byte orders.
_LAYOUTS = {
    b"II*\0": Layout("<", "I", "H", "HHII", 4),
    b"MM\0*": Layout(">", "I", "H", "HHII", 4),
    b"II+\0": Layout("<", "Q", "Q", "HHQQ", 8),
    b"MM\0+": Layout(">", "Q", "Q", "HHQQ", 8),
}


@dataclass(frozen=True)
class Directory:
    """What the tags of a page say about its pixels, and which bytes they take.

    Parameters
    ----------
    span : tuple of int
        First byte of the directory, and the first one after it.
    numbers : mapping of int to tuple of int
        The values of the tags that describe the pixels.
    tags : frozenset of int
        All tags.
    values : tuple of (int, int)
        Spans of the values that do not stand in the directory itself.
    """

    span: tuple[int, int]
    numbers: Mapping[int, tuple[int, ...]]
    tags: frozenset[int]
    values: tuple[tuple[int, int], ...]

    def number(self, tag: int, default: int) -> int:
        """Return the first value of a tag, or what the standard says in its absence.

        Parameters
        ----------
        tag : int
        default : int
            What the standard says.

        Returns
        -------
        int
        """
        values = self.numbers.get(tag)
        return values[0] if values else default


@dataclass(frozen=True)
class _Segments:
    """Where the strips or tiles of a page are, and how many bytes each has once decoded."""

    offsets: Sequence[int]
    counts: Sequence[int]
    decoded: Sequence[int]


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


def _directories(file: BinaryIO, size: int, path: Path) -> Iterator[Directory]:
    layout = _LAYOUTS[file.read(4)]
    form = layout.order + layout.offset
    offset = _read_number(file, form, layout.first, path)
    seen: set[int] = set()
    # The offset of the next directory stands behind the entries of each; 0 ends the chain.
    while offset:
        if offset in seen:
            raise ImageReadError(path, "a chain of pages that runs in a circle", WHOLE_FILE)
        seen.add(offset)
        page = _read_directory(file, offset, layout, size, path, len(seen))
        yield page
        offset = _read_number(file, form, page.span[1] - struct.calcsize(form), path)
    if not seen:
        raise ImageReadError(path, "a TIFF header without any page", WHOLE_FILE, COPY_AGAIN)


def _read_directory(
    file: BinaryIO, offset: int, layout: Layout, size: int, path: Path, number: int
) -> Directory:
    """Read the directory of page ``number`` (counted from 1) at an offset.

    Raises
    ------
    ImageReadError
        It leaves the file, or one of its tags does, or names the same tag twice.
    """
    entry = struct.Struct(layout.order + layout.entry)
    entries = _read_number(file, layout.order + layout.count, offset, path)
    start = offset + struct.calcsize(layout.order + layout.count)
    end = start + entries * entry.size
    if end > size:
        found = f"the directory of page {number} cut off at byte {size}"
        raise ImageReadError(path, found, WHOLE_FILE, COPY_AGAIN)
    file.seek(start)
    inline = struct.calcsize(layout.order + layout.offset)
    numbers: dict[int, tuple[int, ...]] = {}
    tags, values = set(), []
    for index, (tag, kind, count, at) in enumerate(entry.iter_unpack(file.read(end - start))):
        length = _TYPE_BYTES.get(kind, 0) * count
        counts = tag <= LAST_STANDARD_TAG or tag in _PLACED_TAGS
        if counts and length > inline and at + length > size:
            found = f"{size} bytes where tag {tag} needs {at + length}"
            raise ImageReadError(path, found, WHOLE_FILE, COPY_AGAIN)
        if counts and length > inline:
            values.append((at, at + length))
        if tag in _OF_PIXELS:
            listed = tag in _LISTS and count
            if tag in numbers or kind not in _WHOLE_NUMBERS or not (listed or count == 1):
                found = f"tag {tag} of page {number} twice, or {count} values of field type {kind}"
                raise ImageReadError(path, found, "one whole number, or a list", COPY_AGAIN)
            place = at if length > inline else start + (index + 1) * entry.size - inline
            numbers[tag] = _numbers(file, place, layout.order, kind, count)
        elif tag == ORIENTATION and kind in _WHOLE_NUMBERS and count == 1:
            place = start + (index + 1) * entry.size - inline
            numbers[tag] = _numbers(file, place, layout.order, kind, count)
        tags.add(tag)
    # The offset of the next directory is part of what this one takes.
    tail = struct.calcsize(layout.order + layout.offset)
    return Directory((offset, end + tail), numbers, frozenset(tags), tuple(values))


def _read_number(file: BinaryIO, form: str, offset: int, path: Path) -> int:
    """Read one number.

    Raises
    ------
    ImageReadError
        The file ends before.
    """
    file.seek(offset)
    data = file.read(struct.calcsize(form))
    if len(data) < struct.calcsize(form):
        found = f"the chain of pages cut off at byte {offset}"
        raise ImageReadError(path, found, WHOLE_FILE, COPY_AGAIN)
    return int(struct.unpack(form, data)[0])


def _numbers(file: BinaryIO, place: int, order: str, kind: int, count: int) -> tuple[int, ...]:
    file.seek(place)
    form = struct.Struct(f"{order}{count}{_WHOLE_NUMBERS[kind]}")
    return form.unpack(file.read(form.size))


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
    # Start, end, and whether it is hard: nothing else may lie where it is.
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

    Parameters
    ----------
    pages : sequence of Directory
    start, stop : int
        First byte of the planes, and the first one after them.
    path : Path
        Named in the error.

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


def unclaimed_spans(pages: Sequence[Directory], size: int) -> list[tuple[int, int]]:
    """Return first and last bytes of the parts of a file that no tag refers to, in their order.

    Parameters
    ----------
    pages : sequence of Directory
        All of the file.
    size : int
        Of the file, bytes.

    Returns
    -------
    list of (int, int)
        First byte, and the first one after it.
    """
    spans = [(0, HEADER), (size, size)]
    for page in pages:
        spans += [page.span, *page.values, *segment_spans(page)]
    gaps, end = [], 0
    for start, stop in sorted(spans):
        if start > end:
            gaps.append((end, start))
        end = max(end, stop)
    return gaps


def hold_directory(path: Path, spans: Sequence[tuple[int, int]]) -> bool:
    """Whether parts of a file hold the directory of a page, known by its entry for the width.

    Parameters
    ----------
    path : Path
        The file; not empty.
    spans : sequence of (int, int)
        First bytes, and the first ones after them.

    Returns
    -------
    bool
    """
    # A directory of any layout has the tag, a field type (2 or 4 bytes a number) and the count 1.
    entries = [
        struct.pack(layout.order + layout.entry[:3], WIDTH, kind, 1)
        for layout in _LAYOUTS.values()
        for kind in (3, 4)
    ]
    with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
        return any(data.find(entry, *span) >= 0 for span in spans for entry in entries)


def _segments(page: Directory, number: int, path: Path) -> _Segments:
    """Compare the tables of strips or tiles with what the page's size asks for."""
    decoded = _decoded_bytes(page, number, path)
    offsets, counts = _tables(page)
    # The length of an only strip that is not compressed is known, and some writers leave it out.
    if not counts and len(decoded) == 1 and page.number(COMPRESSION, NONE) == NONE:
        counts = tuple(decoded)
    if METAMORPH_TAGS & page.tags:
        offsets, counts = offsets[: len(decoded)], counts[: len(decoded)]
    if not len(offsets) == len(counts) == len(decoded):
        found = f"{len(offsets)} offsets and {len(counts)} lengths of strips or tiles"
        raise _error(path, number, found, f"{len(decoded)} of each, as the image's size asks for")
    return _Segments(offsets, counts, decoded)


def _tables(page: Directory) -> tuple[Sequence[int], Sequence[int]]:
    offsets = page.numbers.get(TILE_OFFSETS) or page.numbers.get(STRIP_OFFSETS, ())
    counts = page.numbers.get(TILE_COUNTS) or page.numbers.get(STRIP_COUNTS, ())
    return offsets, counts


def _decoded_bytes(page: Directory, number: int, path: Path) -> list[int]:
    """Return the bytes of every strip or tile once decoded."""
    width, length = page.number(WIDTH, 0), page.number(LENGTH, 0)
    samples = page.number(SAMPLES, 1)
    bits = page.numbers.get(BITS, (1,))
    tiled = TILE_WIDTH in page.numbers or TILE_LENGTH in page.numbers
    across = page.number(TILE_WIDTH, 0) if tiled else width
    # Without the tag, all rows are one strip (TIFF 6.0: the default is 2^32 - 1).
    rows = page.number(TILE_LENGTH, 0) if tiled else page.number(ROWS_PER_STRIP, 2**32 - 1)
    if not all((width, length, samples, across, rows, *bits)):
        found = "an image, a strip or a tile without pixels"
        raise _error(path, number, found, "at least one of each")
    apart = page.number(PLANAR, 1) == 2
    if len(set(bits)) > 1 and (apart or len(bits) != samples):
        found = f"{len(bits)} different bits per sample for {samples} samples"
        raise _error(path, number, found, "one number, or one for each sample")
    depth = page.number(IMAGE_DEPTH, 1) * (samples if apart else 1)
    whole = sum(bits) if len(set(bits)) > 1 else bits[0] * (1 if apart else samples)
    row = -(-across * whole // 8)  # each row begins at a whole byte
    count = -(-length // rows) * -(-width // across)
    if count * depth > len(_tables(page)[0]):
        found = f"an image of {width} x {length} pixels in {count * depth} strips or tiles"
        raise _error(path, number, found, "no more than its tables list")
    # Tiles are padded to their full height, the last strip is not.
    last = rows if tiled else length - (count - 1) * rows
    return ([row * min(rows, 2**32)] * (count - 1) + [row * last]) * depth


def _check_storage(page: Directory, number: int, path: Path) -> None:
    """Refuse what the standard does not define for a page's compression or depth."""
    compression = page.number(COMPRESSION, NONE)
    predictor, kind = page.number(PREDICTOR, 1), page.number(SAMPLE_FORMAT, 1)
    if predictor != 1 and compression not in WITH_PREDICTOR:
        found = f"predictor {predictor} with compression {compression}"
        raise _error(path, number, found, "a predictor with LZW, deflate or Zstandard only")
    if predictor in OF_FLOATS and kind != FLOAT:
        found = f"predictor {predictor} with sample format {kind}"
        raise _error(path, number, found, "it for floating point only")
    if compression in OF_ONE_BIT and set(page.numbers.get(BITS, (1,))) != {1}:
        found = f"fax compression {compression} of {page.numbers[BITS][0]} bits"
        raise _error(path, number, found, "it for images of one bit only")
    if page.number(PLANAR, 1) not in (1, 2):
        found = f"planar configuration {page.number(PLANAR, 1)}"
        raise _error(path, number, found, "1 or 2")
    if page.number(FILL_ORDER, 1) != 1 and page.numbers.get(BITS, (1,)) != (1,):
        found = f"fill order {page.number(FILL_ORDER, 1)}"
        raise _error(path, number, found, "1, but for images of one bit")


def _check_lengths(page: Directory, segments: _Segments, number: int, path: Path) -> None:
    """Compare the stored bytes with those that decoding has to give."""
    compression = page.number(COMPRESSION, NONE)
    stored, needed = sum(segments.counts), sum(segments.decoded)
    most = MOST_EXPANDED.get(compression)
    if most is not None and stored * most < needed:
        found = f"{stored} bytes for an image that takes {needed} once decoded"
        raise _error(path, number, found, "pixels that are there")
    if compression != NONE or page.number(PHOTOMETRIC, 1) == YCBCR:
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
