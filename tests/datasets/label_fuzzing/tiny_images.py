"""Images of 8 x 8 pixels that take no time to write; each holds a number that tells it apart."""

import io
from functools import cache

import numpy as np
import tifffile

SIZE = 8
# Far from 0 and from 4095, so that no reader thinks of flat images or of 12 bits.
BASE = 20_000


@cache
def _template(channels: tuple[str, ...], kind: str) -> tuple[bytes, tuple[int, ...]]:
    """Return a file and where the first pixel of each channel lies."""
    count = len(channels) if kind == "ome" else 1
    ramp = np.arange(SIZE * SIZE, dtype="<u2").reshape(SIZE, SIZE)
    pixels = np.stack([BASE + 700 * index + ramp for index in range(count)]).astype("<u2")
    stream = io.BytesIO()
    if kind == "plain":
        tifffile.imwrite(stream, pixels[0], metadata=None, photometric="minisblack", byteorder="<")
    else:
        metadata = {"axes": "CYX"}
        if kind == "ome":
            metadata |= {"Channel": {"Name": list(channels)}}
        tifffile.imwrite(
            stream, pixels, ome=True, metadata=metadata, photometric="minisblack", byteorder="<"
        )
    content = stream.getvalue()
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        places = tuple(
            page.dataoffsets[0] + number * SIZE * SIZE * 2
            for page in file.pages
            for number in range(page.databytecounts[0] // (SIZE * SIZE * 2))
        )
    return content, places


def image_file(numbers: tuple[int, ...], channels: tuple[str, ...], kind: str) -> bytes:
    """Return the bytes of a file whose channels begin with these numbers as their first pixel.

    ``kind`` is ``plain`` (a TIFF of one channel), ``single ome`` (the same with OME-XML) or ``ome``.
    """
    content, places = _template(channels if kind == "ome" else (), kind)
    changed = bytearray(content)
    for place, number in zip(places, numbers, strict=True):
        changed[place : place + 2] = number.to_bytes(2, "little")
    return bytes(changed)
