"""The directory of a TIFF page as it stands in the file, read without any library.

Structure after the TIFF 6.0 specification (Adobe 1992) and the BigTIFF design (libtiff).
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
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

# Tags of the standard, ImageJ's own, and those of IPTC, Photoshop and ICC profiles: their values lie
# where they say. Private tags of instruments may point anywhere.
_LAST_STANDARD_TAG = 32767
_PLACED_TAGS = (50838, 50839, 33723, 34377, 34675)

WIDTH, LENGTH, BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER = 256, 257, 258, 259, 262, 266
SAMPLES, ROWS_PER_STRIP, PLANAR, PREDICTOR, SAMPLE_FORMAT = 277, 278, 284, 317, 339
STRIP_OFFSETS, STRIP_COUNTS, TILE_OFFSETS, TILE_COUNTS = 273, 279, 324, 325
TILE_WIDTH, TILE_LENGTH, IMAGE_DEPTH = 322, 323, 32997
# What says where the pixels lie and how many they are.
_OF_PIXELS = {
    WIDTH, LENGTH, BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER, SAMPLES, ROWS_PER_STRIP, PLANAR,
    PREDICTOR, SAMPLE_FORMAT, STRIP_OFFSETS, STRIP_COUNTS, TILE_OFFSETS, TILE_COUNTS, TILE_WIDTH,
    TILE_LENGTH, IMAGE_DEPTH,
}  # fmt: skip

_LISTS = (BITS, SAMPLE_FORMAT, STRIP_OFFSETS, STRIP_COUNTS, TILE_OFFSETS, TILE_COUNTS)


@dataclass(frozen=True)
class Layout:
    """Formats of the fields of classic TIFF or of BigTIFF."""

    order: str
    offset: str
    count: str
    entry: str
    first: int


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
        """Return the first value of a tag, or what the standard says in its absence."""
        values = self.numbers.get(tag)
        return values[0] if values else default


def read_directory(
    file: BinaryIO, offset: int, layout: Layout, size: int, path: Path, number: int
) -> Directory:
    """Read the directory of page ``number`` (counted from 1) at an offset.

    Raises
    ------
    ImageReadError
        It leaves the file, or one of its tags does, or names the same tag twice.
    """
    entry = struct.Struct(layout.order + layout.entry)
    entries = read_number(file, layout.order + layout.count, offset, path)
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
        counts = tag <= _LAST_STANDARD_TAG or tag in _PLACED_TAGS
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
        tags.add(tag)
    tail = struct.calcsize(layout.order + layout.offset)
    return Directory((offset, end + tail), numbers, frozenset(tags), tuple(values))


def read_number(file: BinaryIO, form: str, offset: int, path: Path) -> int:
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
