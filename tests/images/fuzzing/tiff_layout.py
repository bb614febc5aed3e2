"""Where the structures of a TIFF file lie, read from its bytes without any library.

After the TIFF 6.0 specification (Adobe 1992) and the BigTIFF design (libtiff).
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

TYPE_CHARACTERS = {
    1: "B", 2: "s", 3: "H", 4: "I", 5: "II", 6: "b", 7: "B", 8: "h", 9: "i", 10: "ii", 11: "f",
    12: "d", 13: "I", 16: "Q", 17: "q", 18: "Q",
}  # fmt: skip
TAGS = {
    254: "NewSubfileType", 256: "ImageWidth", 257: "ImageLength", 258: "BitsPerSample",
    259: "Compression", 262: "PhotometricInterpretation", 266: "FillOrder",
    270: "ImageDescription", 273: "StripOffsets", 277: "SamplesPerPixel", 278: "RowsPerStrip",
    279: "StripByteCounts", 284: "PlanarConfiguration", 317: "Predictor", 322: "TileWidth",
    323: "TileLength", 324: "TileOffsets", 325: "TileByteCounts", 330: "SubIFDs",
    338: "ExtraSamples", 339: "SampleFormat",
}  # fmt: skip
SHAPE_TAGS = (256, 257, 258, 277, 278, 322, 323)
TABLE_TAGS = (273, 279, 324, 325)
SEGMENT_OFFSETS, SEGMENT_COUNTS = (273, 324), (279, 325)


@dataclass(frozen=True)
class Field:
    """A number in the file: what it says, where it is, and its format for ``struct``."""

    kind: str
    target: str
    offset: int
    form: str
    tag: int = 0

    @property
    def size(self) -> int:
        """Bytes it takes."""
        return struct.calcsize(self.form)

    def read(self, data: bytes) -> int:
        """Return the number."""
        return int(struct.unpack_from(self.form, data, self.offset)[0])

    def replaced(self, data: bytes, value: int) -> bytes:
        """Return the file with another number there."""
        changed = bytearray(data)
        struct.pack_into(self.form, changed, self.offset, value)
        return bytes(changed)


@dataclass
class TiffLayout:
    """The structures of a file: its numbers, texts, pages and segments of pixels."""

    fields: list[Field] = field(default_factory=list)
    texts: list[tuple[int, int]] = field(default_factory=list)
    pages: list[int] = field(default_factory=list)
    structures: list[tuple[int, int]] = field(default_factory=list)
    segments: list[tuple[int, int]] = field(default_factory=list)

    def boundaries(self, size: int) -> list[int]:
        """Return every place where a structure begins or ends, inside the file."""
        places = {0, 1, 2, 4, 8, size - 1, size - 2}
        for start, stop in (*self.structures, *self.segments):
            places |= {start, start + 1, (start + stop) // 2, stop - 1, stop}
        for item in self.fields:
            places |= {item.offset, item.offset + item.size}
        return sorted(place for place in places if 0 <= place < size)


def tiff_layout(data: bytes) -> TiffLayout:
    """Find the structures of an intact file."""
    order = "<" if data[:2] == b"II" else ">"
    big = struct.unpack_from(order + "H", data, 2)[0] == 43
    layout = TiffLayout(structures=[(0, 16 if big else 8)])
    first = 8 if big else 4
    layout.fields += [
        Field("header", "byte order", 0, ">H"),
        Field("header", "version", 2, order + "H"),
        Field("page offset", "first page", first, order + ("Q" if big else "I")),
    ]
    if big:
        layout.fields += [
            Field("header", "offset size", 4, order + "H"),
            Field("header", "reserved", 6, order + "H"),
        ]
    offset = layout.fields[2].read(data)
    while offset:
        layout.pages.append(offset)
        offset = _add_page(layout, data, offset, order, big)
    return layout


def _add_page(layout: TiffLayout, data: bytes, offset: int, order: str, big: bool) -> int:
    """Add a page's structures; return the offset of the next page."""
    page = f"page {len(layout.pages) - 1}"
    number, entry = ("Q", 20) if big else ("H", 12)
    wide = order + ("Q" if big else "I")
    count = Field("number of tags", f"{page} number of tags", offset, order + number)
    start = offset + count.size
    tables: dict[int, list[int]] = {}
    for place in range(start, start + entry * count.read(data), entry):
        tag = Field("tag code", page, place, order + "H")
        kind = Field("tag type", page, place + 2, order + "H")
        number_of = Field("tag count", page, place + 4, wide)
        code = tag.read(data)
        name = f"{page} {TAGS.get(code, f'tag {code}')}"
        for item in (tag, kind, number_of):
            layout.fields.append(Field(item.kind, name, item.offset, item.form, code))
        values = list(_add_values(layout, data, place, code, name, order, wide))
        tables[code] = [value.read(data) for value in values]
    end = start + entry * count.read(data)
    layout.fields += [count, Field("page offset", f"{page} next page", end, wide)]
    layout.structures.append((offset, end + struct.calcsize(wide)))
    for offsets, counts in zip(SEGMENT_OFFSETS, SEGMENT_COUNTS, strict=True):
        pairs = zip(tables.get(offsets, ()), tables.get(counts, ()), strict=True)
        layout.segments += [(at, at + length) for at, length in pairs]
    return layout.fields[-1].read(data)


def _add_values(
    layout: TiffLayout, data: bytes, place: int, code: int, name: str, order: str, wide: str
) -> Iterator[Field]:
    """Add the values of a tag; yield those that are integers."""
    kind: Any
    kind, count = struct.unpack_from(order + "H" + wide[-1], data, place + 2)
    characters = TYPE_CHARACTERS.get(kind, "B")
    inline = struct.calcsize(wide)
    at = place + 4 + inline
    length = struct.calcsize(order + characters) * count
    if length > inline:
        pointer = Field("tag address", f"{name} address", at, wide, code)
        layout.fields.append(pointer)
        at = pointer.read(data)
        layout.structures.append((at, at + length))
    if code == 270:
        layout.texts.append((at, at + length))
    elif len(characters) == 1 and characters in "BHIQ" and (count < 5 or code in TABLE_TAGS):
        for index in range(count):
            size = struct.calcsize(order + characters)
            which = "table entry" if code in TABLE_TAGS else "tag value"
            value = Field(which, f"{name}[{index}]", at + index * size, order + characters, code)
            layout.fields.append(value)
            yield value
