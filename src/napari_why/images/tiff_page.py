"""What the tags of a TIFF page tell about its pixels: axes, size, colour."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from tifffile import PHOTOMETRIC, RESUNIT, TiffFile, TiffPage, TiffPageSeries

from napari_why.errors import ImageReadError
from napari_why.images.source_file import SourceFile
from napari_why.images.stored_image import UNNAMED
from napari_why.images.units import to_micrometres

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
