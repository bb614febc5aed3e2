"""PNG of grey values: one channel of 8 or 16 bits, without loss.

Chunks: https://www.w3.org/TR/png-3/. Colours, palettes and transparency are refused: they are made for
looking at, and what the intensities were is not in them.
"""

import struct
from collections.abc import Iterator
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from napari_why.images.formats import Format, SourceFile, StoredImage, check_fits_memory

NAME = "PNG"
SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY = 0
COLOURS = {
    2: "an RGB colour picture",
    3: "a picture of indexed colours",
    4: "grey values with transparency (alpha)",
    6: "an RGB colour picture with transparency (alpha)",
}
PIXEL_TYPES = {8: "uint8", 16: "uint16"}
ADVICE = (
    "export the channels from the microscope's software as grey values in their own bit depth, one "
    "file each, or as OME-TIFF"
)


def _is_png(source: SourceFile) -> bool:
    return source.head.startswith(SIGNATURE)


def _read_header(source: SourceFile) -> tuple[int, int, int, int]:
    """Return width, length, bits of a sample and colour type."""
    header = source.head[len(SIGNATURE) : len(SIGNATURE) + 18]
    if len(header) < 18 or header[4:8] != b"IHDR":
        raise source.error("a PNG picture without its header", "copy or export it again")
    width, length, bits, colour = struct.unpack(">IIBB", header[8:18])
    return width, length, bits, colour


def can_read(source: SourceFile) -> bool:
    """Whether a file is a PNG of grey values; colour pictures are left to others."""
    if not _is_png(source):
        return False
    _, _, bits, colour = _read_header(source)
    return colour == GREY and bits in PIXEL_TYPES


def describe(source: SourceFile) -> StoredImage:
    """Describe a PNG of grey values.

    Raises
    ------
    ImageReadError
        It holds colours, transparency or fewer bits, or is damaged.
    """
    width, length, bits, colour = _read_header(source)
    names = set(_chunk_names(source))
    if colour in COLOURS or "tRNS" in names:
        found = COLOURS.get(colour, COLOURS[4])
        raise source.error(f"{found} (PNG)", ADVICE)
    if bits not in PIXEL_TYPES:
        raise source.error(f"a PNG of {bits} bits, a mask or drawing", ADVICE)
    frames = "acTL" in names
    return StoredImage(
        path=source.path,
        format=NAME,
        axes="yx",
        shape=(length, width),
        dtype=np.dtype(PIXEL_TYPES[bits]),
        load=lambda _: _decode(source, (length, width), PIXEL_TYPES[bits]),
        notes=("The file is an animation; its first picture is read.",) if frames else (),
    )


def _chunk_names(source: SourceFile) -> Iterator[str]:
    """Yield the names of the chunks before the pixels, where all that describes them has to be."""
    with source.path.open("rb") as file:
        file.seek(len(SIGNATURE))
        while len(start := file.read(8)) == 8:
            length, name = struct.unpack(">I4s", start)
            if name == b"IDAT":
                return
            yield name.decode("latin-1")
            file.seek(length + 4, 1)  # its checksum has four bytes


def _decode(source: SourceFile, shape: tuple[int, int], pixel_type: str) -> NDArray[Any]:
    words = " x ".join(map(str, shape))
    check_fits_memory(
        source.path,
        f"an image of {words} pixels",
        shape[0] * shape[1] * np.dtype(pixel_type).itemsize,
    )
    # Damaged data fail their checksums.
    pixels: NDArray[Any] = imagecodecs.png_decode(source.path.read_bytes())
    if pixels.shape != shape or pixels.dtype != pixel_type:
        found = f"{pixels.shape} pixels of type {pixels.dtype}"
        raise source.error(f"{found} in a PNG of {words}", "copy or export it again")
    return pixels


FORMAT = Format(NAME, (".png",), _is_png, describe, can_read=can_read)
