"""Is a TIFF file whole? Checked on its bytes, before anything is decoded.

A TIFF file cut short often still opens: the pages that are left are shown, or missing parts are
filled with zeros. Both would be a wrong picture, so the chain of pages and the place of every
strip and tile are checked against the length of the file. Structure after the TIFF 6.0
specification (Adobe 1992) and the BigTIFF design (libtiff).
"""

import math
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from tifffile import TiffFrame, TiffPage

from napari_why.errors import ImageReadError
from napari_why.images.tiff_consistency import check_consistency
from napari_why.images.tiff_directory import (
    COPY_AGAIN,
    WHOLE_FILE,
    Directory,
    Layout,
    read_directory,
    read_number,
)

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
