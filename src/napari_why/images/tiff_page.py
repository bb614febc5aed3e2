"""What the tags of a TIFF page tell about its pixels: axes, size, colour."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tifffile import PHOTOMETRIC, RESUNIT, TiffFile, TiffPage, TiffPageSeries

from napari_why.core.errors import ImageReadError
from napari_why.images.source_file import SourceFile
from napari_why.images.stored_image import UNNAMED, to_micrometres
from napari_why.images.tiff_directory import COPY_AGAIN
from napari_why.images.tiff_integrity import check_free, segment_spans, unclaimed_bytes

COLOUR_MODELS = {
    PHOTOMETRIC.RGB: "an RGB colour picture",
    PHOTOMETRIC.YCBCR: "a YCbCr colour picture",
    PHOTOMETRIC.SEPARATED: "a CMYK colour picture",
    PHOTOMETRIC.CIELAB: "a CIELAB colour picture",
    PHOTOMETRIC.ICCLAB: "an ICC Lab colour picture",
    PHOTOMETRIC.ITULAB: "an ITU Lab colour picture",
}


# Resolutions in dots per inch or cm describe paper, screens or bare cameras unless they come to
# a pixel that a microscope could have.
LARGEST_MICROSCOPE_PIXEL = 10.0
PRINT_UNITS = {RESUNIT.INCH: "inch", RESUNIT.CENTIMETER: "cm"}


def series_axes(series: TiffPageSeries) -> tuple[str, tuple[int, ...]]:
    """Return letters and sizes of a series' axes, without those of one element but c, y, x.

    Letters are ``tczyx``, "s" for samples and "?" where the file does not name the axis.
    """
    pairs = zip(series.get_axes(squeeze=False), series.get_shape(squeeze=False), strict=True)
    named = [(axis.lower() if axis in "TCZYXS" else UNNAMED, size) for axis, size in pairs]
    kept = [(axis, size) for axis, size in named if size != 1 or axis in "cyx"]
    return "".join(axis for axis, _ in kept), tuple(size for _, size in kept)


def resolution_in_micrometres(page: TiffPage, unit: str = "") -> dict[str, float]:
    """Return the pixel size along y and x by the resolution tags; empty if they tell none.

    Parameters
    ----------
    page : TiffPage
        The page.
    unit : str
        Unit of length from elsewhere (ImageJ); by default the page's own, inch or centimetre.
    """
    tag_unit = PRINT_UNITS.get(RESUNIT(page.resolutionunit or RESUNIT.NONE), "")
    sizes = {}
    for dim, resolution in zip("xy", page.resolution, strict=True):
        size = to_micrometres(1 / resolution, unit or tag_unit) if resolution > 0 else None
        printed = (unit or tag_unit) in PRINT_UNITS.values() and (size or 0) > (
            LARGEST_MICROSCOPE_PIXEL
        )
        if size is None or printed:
            return {}
        sizes[dim] = size
    return sizes


def colour_model(page: TiffPage) -> str:
    """Return what makes a page a colour picture, in words; empty for intensities.

    Sixteen-bit and floating-point RGB is taken as three channels, since microscopes write it so;
    eight-bit RGB and colour maps that are no ramp of one colour are pictures.
    """
    if page.photometric == PHOTOMETRIC.PALETTE:
        return "" if _is_ramp(page.colormap) else "a picture of indexed colours"
    if page.photometric not in COLOUR_MODELS or page.samplesperpixel < 3:
        return ""
    if page.photometric == PHOTOMETRIC.RGB and np.dtype(page.dtype) != np.uint8:
        return ""
    return COLOUR_MODELS[PHOTOMETRIC(page.photometric)]


def holds_intensities(source: SourceFile) -> bool:
    """Whether the first page of a TIFF file is no colour picture, as far as it can be read."""
    try:
        with source.understanding(), TiffFile(source.path) as tiff:
            page = tiff.pages.first
            return np.dtype(page.dtype).kind in "buif" and not colour_model(page)
    except ImageReadError:
        return True


def page_notes(page: TiffPage) -> tuple[str, ...]:
    """Return what the user should know about how a page stores its values."""
    if page.photometric == PHOTOMETRIC.MINISWHITE:
        return ("The file stores white as 0; the values are kept as they are.",)
    if page.photometric == PHOTOMETRIC.RGB and not colour_model(page):
        return ("Red, green and blue samples are taken as channels.",)
    return ()


def _is_ramp(colours: NDArray[Any] | None) -> bool:
    """Whether a colour map rises with the value, so that the value is an intensity."""
    if colours is None or colours.size == 0:
        return False
    steps = np.diff(colours.astype(np.int64), axis=1)
    return bool((steps >= 0).all() and steps.any())


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
