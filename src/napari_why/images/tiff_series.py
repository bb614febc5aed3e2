"""Whether what tifffile takes as an image agrees with the pages of the file."""

import math
from typing import Any

import numpy as np

from napari_why.images.source_file import SourceFile
from napari_why.images.tiff_consistency import check_free, segment_spans, unclaimed_bytes
from napari_why.images.tiff_directory import COPY_AGAIN

LAST_STANDARD_TAG = 32767
SUB_DIRECTORIES = 330
# Fewer bytes than a page's directory and pixels can take are padding.
LEAST_LOST = 256


def check_pages_of_series(source: SourceFile) -> None:
    """Refuse a file whose description or bytes tell of pages that its chain of pages lacks.

    Raises
    ------
    ImageReadError
        Says what does not fit.
    """
    series = source.tiff.series[0]
    _check_description(source, series)
    _check_alike(source, series)
    check_planes_apart(source, series)
    if series.kind in ("uniform", "generic"):
        _check_nothing_lost(source)


def check_planes_apart(source: SourceFile, series: Any) -> None:
    """Refuse planes that follow the first one in the file, but not where their pages say."""
    if series.dataoffset is None:
        return
    plane = series.keyframe.nbytes
    planes = math.prod(series.shape) * np.dtype(series.dtype).itemsize // plane
    start = series.dataoffset
    check_free(source.pages, start, start + planes * plane, source.path)
    if len(source.pages) != planes:
        return
    for number, page in enumerate(source.pages, start=1):
        spans = segment_spans(page)
        if not spans or spans[0][0] != start + (number - 1) * plane:
            found = f"page {number} elsewhere than after the pages before it"
            raise source.error(found, COPY_AGAIN)


def _check_description(source: SourceFile, series: Any) -> None:
    """Compare the shape that tifffile writes into its descriptions with the pages."""
    told = source.tiff.shaped_metadata if source.tiff.is_shaped else None
    if not source.tiff.is_shaped:
        return
    shape = told[0].get("shape", ()) if told else ()
    if series.kind != "shaped" or math.prod(shape) != math.prod(series.shape):
        found = f"pages of {' x '.join(map(str, series.shape))} pixels"
        raise source.error(f"{found}, where the description tells {list(shape)}", COPY_AGAIN)


def _check_alike(source: SourceFile, series: Any) -> None:
    """Refuse to leave out pages that differ from the first one in nothing but their storage."""
    first = _size_and_type(series.keyframe)
    for other in source.tiff.series[1:]:
        if _size_and_type(other.keyframe) == first and series.kind != "shaped":
            found = "pages of one size and type that are stored in different ways"
            raise source.error(found, "save them again, all in the same way")


def _size_and_type(page: Any) -> tuple[int, int, int, str]:
    return page.imagewidth, page.imagelength, page.samplesperpixel, str(page.dtype)


def _check_nothing_lost(source: SourceFile) -> None:
    """Refuse a file that holds as much as another page in bytes that no tag refers to.

    Private tags and directories below the pages may refer to anything; then nothing is known.
    """
    pages = source.pages
    tags = frozenset[int]().union(*(page.tags for page in pages))
    if SUB_DIRECTORIES in tags or max(tags) > LAST_STANDARD_TAG:
        return
    least = min(sum(stop - start for start, stop in segment_spans(page)) for page in pages)
    unclaimed = unclaimed_bytes(pages, source.path.stat().st_size)
    if unclaimed >= max(least, LEAST_LOST):
        found = f"{unclaimed} bytes that belong to none of its {len(pages)} pages"
        raise source.error(found, COPY_AGAIN)
