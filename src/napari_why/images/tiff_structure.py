"""Is a TIFF file whole? Checked on its bytes, before anything is decoded.

A TIFF file cut short often still opens: the pages that are left are shown, or missing parts are
filled with zeros. Both would be a wrong picture, so the chain of pages and the place of every
strip and tile are checked against the length of the file. Structure after the TIFF 6.0
specification (Adobe 1992) and the BigTIFF design (libtiff).
"""

import math
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from tifffile import TiffFrame, TiffPage

from napari_why.errors import ImageReadError

WHOLE_FILE = "a complete TIFF file"
COPY_AGAIN = "the file is damaged or was cut short while copying: copy or export it again"


@dataclass(frozen=True)
class _Layout:
    """Field sizes of classic TIFF and of BigTIFF."""

    offset: str
    count: str
    entry: str
    first: int


_CLASSIC = _Layout(offset="I", count="H", entry="HHII", first=4)
_BIG = _Layout(offset="Q", count="Q", entry="HHQQ", first=8)
_LAYOUTS = {
    b"II*\0": ("<", _CLASSIC),
    b"MM\0*": (">", _CLASSIC),
    b"II+\0": ("<", _BIG),
    b"MM\0+": (">", _BIG),
}

# Bytes of a value of each field type (TIFF 6.0 section 2; 13, 16 to 18: BigTIFF).
_TYPE_BYTES = dict(enumerate((1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4), start=1))
_TYPE_BYTES |= {16: 8, 17: 8, 18: 8}

# Tags of the standard, and ImageJ's own: what they say must not get lost. Private tags of
# instruments may point anywhere.
_LAST_STANDARD_TAG = 32767
_IMAGEJ_TAGS = (50838, 50839)


def is_tiff(head: bytes) -> bool:
    """Whether a file that begins with ``head`` (at least 4 bytes) says that it is a TIFF."""
    return head[:4] in _LAYOUTS


def check_page_chain(path: Path) -> int:
    """Follow the directories of all pages from first to last and return their number.

    Raises
    ------
    ImageReadError
        The chain or a tag leaves the file, the chain runs in a circle, or there is no page.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        return sum(1 for _ in _page_offsets(file, size, path))


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


def _page_offsets(file: BinaryIO, size: int, path: Path) -> Iterator[int]:
    order, layout = _LAYOUTS[file.read(4)]
    offset = _read_number(file, order + layout.offset, layout.first, path)
    seen: set[int] = set()
    while offset:
        if offset in seen:
            raise ImageReadError(path, "a chain of pages that runs in a circle", WHOLE_FILE)
        seen.add(offset)
        entries = _read_number(file, order + layout.count, offset, path)
        start = offset + struct.calcsize(order + layout.count)
        end = start + entries * struct.calcsize(order + layout.entry)
        if end > size:
            found = f"the directory of page {len(seen)} cut off at byte {size}"
            raise ImageReadError(path, found, WHOLE_FILE, COPY_AGAIN)
        file.seek(start)
        _check_tags(file.read(end - start), order, layout, size, path)
        yield offset
        offset = _read_number(file, order + layout.offset, end, path)
    if not seen:
        raise ImageReadError(path, "a TIFF header without any page", WHOLE_FILE, COPY_AGAIN)


def _check_tags(entries: bytes, order: str, layout: _Layout, size: int, path: Path) -> None:
    """Check that the values of all tags lie inside the file."""
    inline = struct.calcsize(order + layout.offset)
    for tag, kind, count, offset in struct.iter_unpack(order + layout.entry, entries):
        length = _TYPE_BYTES.get(kind, 0) * count
        counts = tag <= _LAST_STANDARD_TAG or tag in _IMAGEJ_TAGS
        if counts and length > inline and offset + length > size:
            found = f"{size} bytes where tag {tag} needs {offset + length}"
            raise ImageReadError(path, found, WHOLE_FILE, COPY_AGAIN)


def _read_number(file: BinaryIO, form: str, offset: int, path: Path) -> int:
    file.seek(offset)
    data = file.read(struct.calcsize(form))
    if len(data) < struct.calcsize(form):
        found = f"the chain of pages cut off at byte {offset}"
        raise ImageReadError(path, found, WHOLE_FILE, COPY_AGAIN)
    return int(struct.unpack(form, data)[0])
