"""Mutations of TIFF files: each changes what a structure says, never the pixels themselves."""

import re
from collections.abc import Callable
from functools import lru_cache
from random import Random

from fuzzing.mutant import Mutant
from fuzzing.numbers import flipped, wrong_number
from fuzzing.specimen import Specimen
from fuzzing.tiff_layout import SHAPE_TAGS, Field, TiffLayout, tiff_layout

Change = tuple[str, str, bytes]

# Sizes and places that the texts of OME, ImageJ and tifffile promise.
PROMISES = re.compile(
    rb"\b(?:Size[XYZCT]|PlaneCount|IFD|First[ZCT]|SamplesPerPixel|images|channels|slices|frames)"
    rb"=\"?(\d+)|\"shape\": \[([\d, ]+)\]"
)
TYPES = (b'"uint8"', b'"uint16"', b'"uint32"', b'"int16"', b'"float"', b'"double"')
ATTRIBUTE = re.compile(rb"\b\w+=\"[^\"]*\"|\b\w+=\d+\n|<\w+|\"\w+\"")


def tiff_mutant(specimen: Specimen, random: Random) -> Mutant:
    """Make a mutant of a TIFF file; the kind of mutation is chosen first, then its place."""
    data = specimen.files[""]
    layout = _layout(data)
    while True:
        kind = random.choice(list(MUTATIONS))
        made = MUTATIONS[kind](random, data, layout)
        if made and made[2] != data:
            target, change, content = made
            return Mutant(specimen, kind, target, change, {"": content})


@lru_cache(maxsize=256)
def _layout(data: bytes) -> TiffLayout:
    return tiff_layout(data)


def _of_kind(kind: str) -> Callable[[Random, bytes, TiffLayout], Change | None]:
    def change_number(random: Random, data: bytes, layout: TiffLayout) -> Change | None:
        fields = [field for field in layout.fields if field.kind == kind]
        if not fields:
            return None
        field = random.choice(fields)
        return _changed(random, data, layout, field)

    return change_number


def _changed(random: Random, data: bytes, layout: TiffLayout, field: Field) -> Change:
    value = field.read(data)
    places = (random.choice(layout.structures)[0], random.choice(layout.structures)[1])
    alike = [other.read(data) for other in layout.fields if other.kind == field.kind]
    others = tuple(number for number in (*places, random.choice(alike), len(data)) if number)
    wrong = wrong_number(random, value, 8 * field.size, others)
    return f"{field.target} ({field.kind})", f"{value} to {wrong}", field.replaced(data, wrong)


def truncate(random: Random, data: bytes, layout: TiffLayout) -> Change:
    """Cut the file where a structure begins, ends or has its middle."""
    length = random.choice(layout.boundaries(len(data)))
    return "file", f"{len(data)} bytes cut to {length}", data[:length]


def loop(random: Random, data: bytes, layout: TiffLayout) -> Change:
    """Let a page be followed by a page that came before, or by itself."""
    page = random.randrange(len(layout.pages))
    nexts = [field for field in layout.fields if field.target.endswith("next page")]
    earlier = random.choice(layout.pages[: page + 1])
    return f"page {page} next page", f"back to {earlier}", nexts[page].replaced(data, earlier)


def absurd_shape(random: Random, data: bytes, layout: TiffLayout) -> Change:
    """Claim up to 10^12 pixels and more, in all tags of a page's shape or in some of them."""
    page = random.randrange(len(layout.pages))
    fields = [
        field
        for field in layout.fields
        if field.target.startswith(f"page {page} ")
        and field.tag in SHAPE_TAGS
        and field.kind == "tag value"
    ]
    chosen = random.sample(fields, random.randint(2, len(fields)))
    for field in chosen:
        largest = 2 ** (8 * field.size) - 1
        data = field.replaced(data, min(largest, random.choice((10**4, 10**5, 10**6, 65535))))
    return f"page {page} " + ", ".join(field.target for field in chosen), "huge", data


def flip_structure(random: Random, data: bytes, layout: TiffLayout) -> Change:
    """Flip bits in the header or in a page's tags."""
    pages = [(start, stop) for start, stop in layout.structures if start in (0, *layout.pages)]
    start, stop = random.choice(pages)
    return f"structure at {start}", "bits flipped", flipped(random, data, start, stop)


def flip_text(random: Random, data: bytes, layout: TiffLayout) -> Change | None:
    """Flip bits in an image description."""
    if not layout.texts:
        return None
    start, stop = random.choice(layout.texts)
    return f"description at {start}", "bits flipped", flipped(random, data, start, stop)


def promise_otherwise(random: Random, data: bytes, layout: TiffLayout) -> Change | None:
    """Change a digit of a size or place that a description promises, or the pixel type."""
    if not layout.texts:
        return None
    start, stop = random.choice(layout.texts)
    text = data[start:stop]
    if b'Type="' in text and random.random() < 0.1:
        return _retype(random, data, start, stop)
    spans = [match.span(match.lastindex or 0) for match in PROMISES.finditer(text)]
    digits = [i for a, b in spans for i in range(a, b) if text[i : i + 1].isdigit()]
    if not digits:
        return None
    at = start + random.choice(digits)
    digit = random.choice([d for d in b"0123456789" if d != data[at]])
    words = data[max(start, at - 20) : at + 1].decode("latin-1")
    return f"description {words!r}", f"to {digit - 48}", data[:at] + bytes([digit]) + data[at + 1 :]


def _retype(random: Random, data: bytes, start: int, stop: int) -> Change | None:
    found = re.compile(rb' Type="(?:u?int\d+|float|double)"').search(data, start, stop)
    if not found:
        return None
    kinds = [kind for kind in TYPES if len(kind) + 6 <= len(found[0])]
    text = (b" Type=" + random.choice(kinds)).ljust(len(found[0]))
    return "description Type", text.decode(), data[: found.start()] + text + data[found.end() :]


def lose_text(random: Random, data: bytes, layout: TiffLayout) -> Change | None:
    """Put blanks in the place of a word or attribute of a description."""
    if not layout.texts:
        return None
    start, stop = random.choice(layout.texts)
    found = list(ATTRIBUTE.finditer(data, start, stop))
    if not found:
        return None
    lost = random.choice(found)
    words = lost[0][:40].decode("latin-1")
    content = data[: lost.start()] + b" " * len(lost[0]) + data[lost.end() :]
    return f"description {words!r}", "lost", content


MUTATIONS: dict[str, Callable[[Random, bytes, TiffLayout], Change | None]] = {
    "truncation": truncate,
    "header": _of_kind("header"),
    "page offset": _of_kind("page offset"),
    "number of tags": _of_kind("number of tags"),
    "tag code": _of_kind("tag code"),
    "tag type": _of_kind("tag type"),
    "tag count": _of_kind("tag count"),
    "tag address": _of_kind("tag address"),
    "tag value": _of_kind("tag value"),
    "table entry": _of_kind("table entry"),
    "loop of pages": loop,
    "absurd shape": absurd_shape,
    "flipped bits": flip_structure,
    "flipped bits in a text": flip_text,
    "other promise": promise_otherwise,
    "lost words": lose_text,
}
