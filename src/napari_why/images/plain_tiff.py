"""Plain TIFF: whatever the other formats leave, with the pixel sizes of instruments' software.

MetaMorph's tags: tifffile's reading of the UIC tags and of the MetaSeries XML. Harmony writes an
Index.idx.xml (or Index.xml) beside the images of a measurement.
"""

import math
import re
from pathlib import Path
from typing import Any

from tifffile import TiffFile

from napari_why.images import tiff
from napari_why.images.formats import Format, SourceFile, StoredImage, to_micrometres
from napari_why.images.tiff_integrity import (
    COPY_AGAIN,
    LAST_STANDARD_TAG,
    segment_spans,
    unclaimed_bytes,
)

NAME = "plain TIFF"
# As versions of Harmony name it; only some file systems tell the last two apart.
HARMONY_INDEX = ("Index.idx.xml", "Index.xml", "index.xml")
# The pixel size stands with the first channel or image; an index of a plate has hundreds of MB.
HARMONY_BYTES = 2**20
# Read by its text, since the part of the index that is read is no complete XML.
_RESOLUTION = re.compile(
    rb"<ImageResolution([XY])(?:\s+Unit=\"([^\"]*)\")?\s*>\s*([0-9.eE+-]+)\s*</ImageResolution"
)


# The tag of directories below a page, which may hold pages that the chain does not name.
SUB_DIRECTORIES = 330
# Fewer bytes than a page's directory and pixels can take are padding.
LEAST_LOST = 256


def instrument_pixel_size(path: Path, file: TiffFile) -> dict[str, float]:
    """Return micrometres along y and x as the instrument's software notes them; empty if not.

    Raises
    ------
    ValueError, KeyError, TypeError
        The metadata are damaged.
    """
    if file.is_metaseries:
        return _metaseries(dict((file.metaseries_metadata or {}).get("PlaneInfo") or {}))
    if file.is_stk:
        return _stk(dict(file.stk_metadata or {}))
    return harmony_pixel_size(path.parent)


def harmony_pixel_size(folder: Path) -> dict[str, float]:
    """Return the pixel size of a Harmony measurement, from the index beside its images.

    Examples
    --------
    >>> harmony_pixel_size(Path("no measurement"))
    {}
    """
    for name in HARMONY_INDEX:
        index = folder / name
        if index.is_file():
            with index.open("rb") as file:
                text = file.read(HARMONY_BYTES)
            sizes = {
                axis.decode().lower(): _positive(value, (unit or b"m").decode())
                for axis, unit, value in _RESOLUTION.findall(text)
            }
            return _both(sizes.get("y"), sizes.get("x"))
    return {}


def _metaseries(plane: dict[str, Any]) -> dict[str, float]:
    if not plane.get("spatial-calibration-state"):
        return {}
    unit = str(plane.get("spatial-calibration-units", ""))
    sizes = [to_micrometres(float(plane[f"spatial-calibration-{axis}"]), unit) for axis in "yx"]
    return _both(*sizes)


def _stk(tags: dict[str, Any]) -> dict[str, float]:
    if not tags.get("SpatialCalibration"):
        return {}
    unit = str(tags.get("CalibrationUnits", ""))
    return _both(*[to_micrometres(float(tags[f"{axis}Calibration"]), unit) for axis in "YX"])


def _positive(value: bytes, unit: str) -> float | None:
    return to_micrometres(float(value), unit)


def _both(y: float | None, x: float | None) -> dict[str, float]:
    return {"y": y, "x": x} if y is not None and x is not None else {}


def recognises(source: SourceFile) -> bool:
    """Whether it is a TIFF at all: this format takes what the others leave."""
    return tiff.begins_as_tiff(source)


def describe(source: SourceFile) -> StoredImage:
    """Describe the pages of a TIFF that have one size and type.

    Raises
    ------
    ImageReadError
        The file cannot be opened as TIFF.
    """
    file = tiff.tiff_file(source)
    series = file.series[0]
    check_pages_of_series(source, file)
    axes, shape = tiff.series_axes(series)
    sizes, doubts = _pixel_size(source, file)
    others = len(file.series) - 1
    notes = (f"Pages of another size or type are left out ({others} more images).",)
    return StoredImage(
        path=source.path,
        format=NAME,
        axes=axes,
        shape=shape,
        dtype=series.dtype,
        load=lambda out: tiff.load_series(source.path, series, out),
        pixel_size=sizes or tiff.resolution_in_micrometres(series.keyframe),
        colour=tiff.colour_model(series.keyframe),
        notes=tiff.page_notes(series.keyframe) + doubts + (notes if others else ()),
    )


def _pixel_size(source: SourceFile, file: TiffFile) -> tuple[dict[str, float], tuple[str, ...]]:
    """Return what the instrument's software notes; damaged notes do not make pixels wrong."""
    try:
        return instrument_pixel_size(source.path, file), ()
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        return {}, (f"The instrument's metadata cannot be understood ({error}).",)


def check_pages_of_series(source: SourceFile, file: TiffFile) -> None:
    """Refuse a file whose description or bytes tell of pages that its chain of pages lacks.

    Raises
    ------
    ImageReadError
        Says what does not fit.
    """
    series = file.series[0]
    _check_description(source, file, series)
    _check_alike(source, file, series)
    tiff.check_planes_apart(source, series)
    if series.kind in ("uniform", "generic"):
        _check_nothing_lost(source)


def _check_description(source: SourceFile, file: TiffFile, series: Any) -> None:
    """Compare the shape that tifffile writes into its descriptions with the pages."""
    if not file.is_shaped:
        return
    told = file.shaped_metadata
    shape = told[0].get("shape", ()) if told else ()
    if series.kind != "shaped" or math.prod(shape) != math.prod(series.shape):
        found = f"pages of {' x '.join(map(str, series.shape))} pixels"
        raise source.error(f"{found}, where the description tells {list(shape)}", COPY_AGAIN)


def _check_alike(source: SourceFile, file: TiffFile, series: Any) -> None:
    """Refuse to leave out pages that differ from the first one in nothing but their storage."""
    first = _size_and_type(series.keyframe)
    for other in file.series[1:]:
        if _size_and_type(other.keyframe) == first and series.kind != "shaped":
            found = "pages of one size and type that are stored in different ways"
            raise source.error(found, "save them again, all in the same way")


def _size_and_type(page: Any) -> tuple[int, int, int, str]:
    return page.imagewidth, page.imagelength, page.samplesperpixel, str(page.dtype)


def _check_nothing_lost(source: SourceFile) -> None:
    """Refuse a file that holds as much as another page in bytes that no tag refers to.

    Private tags and directories below the pages may refer to anything; then nothing is known.
    """
    pages = tiff.page_directories(source)
    tags = frozenset[int]().union(*(page.tags for page in pages))
    if SUB_DIRECTORIES in tags or max(tags) > LAST_STANDARD_TAG:
        return
    least = min(sum(stop - start for start, stop in segment_spans(page)) for page in pages)
    unclaimed = unclaimed_bytes(pages, source.path.stat().st_size)
    if unclaimed >= max(least, LEAST_LOST):
        found = f"{unclaimed} bytes that belong to none of its {len(pages)} pages"
        raise source.error(found, COPY_AGAIN)


FORMAT = Format(NAME, (".tif", ".tiff"), recognises, describe, can_read=tiff.holds_intensities)
