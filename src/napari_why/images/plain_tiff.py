"""Pixel sizes in the metadata of MetaMorph, MetaXpress and Harmony.

MetaMorph's tags: tifffile's reading of the UIC tags and of the MetaSeries XML. Harmony writes an
Index.idx.xml (or Index.xml) beside the images of a measurement.
"""

import re
from pathlib import Path
from typing import Any

from tifffile import TiffFile

from napari_why.images.source_file import SourceFile
from napari_why.images.stored_image import StoredImage, to_micrometres
from napari_why.images.tiff_page import (
    check_pages_of_series,
    colour_model,
    page_notes,
    resolution_in_micrometres,
    series_axes,
)
from napari_why.images.tiff_pixels import load_series

HARMONY_INDEX = ("Index.idx.xml", "Index.xml", "index.xml")
# The pixel size stands with the first channel or image; an index of a plate has hundreds of MB.
HARMONY_BYTES = 2**20
_RESOLUTION = re.compile(
    rb"<ImageResolution([XY])(?:\s+Unit=\"([^\"]*)\")?\s*>\s*([0-9.eE+-]+)\s*</ImageResolution"
)


def instrument_pixel_size(path: Path, tiff: TiffFile) -> dict[str, float]:
    """Return micrometres along y and x as the instrument's software notes them; empty if not.

    Raises
    ------
    ValueError, KeyError, TypeError
        The metadata are damaged.
    """
    if tiff.is_metaseries:
        return _metaseries(dict((tiff.metaseries_metadata or {}).get("PlaneInfo") or {}))
    if tiff.is_stk:
        return _stk(dict(tiff.stk_metadata or {}))
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


NAME = "plain TIFF"


def recognises(source: SourceFile) -> bool:
    """Whether it is a TIFF at all: this format takes what the others leave."""
    return source.is_tiff


def describe(source: SourceFile) -> StoredImage:
    """Describe the pages of a TIFF that have one size and type.

    Raises
    ------
    ImageReadError
        The file cannot be opened as TIFF.
    """
    tiff = source.tiff
    series = tiff.series[0]
    check_pages_of_series(source)
    axes, shape = series_axes(series)
    sizes, doubts = _pixel_size(source, tiff)
    others = len(tiff.series) - 1
    notes = (f"Pages of another size or type are left out ({others} more images).",)
    return StoredImage(
        path=source.path,
        format=NAME,
        axes=axes,
        shape=shape,
        dtype=series.dtype,
        load=lambda out: load_series(source.path, series, out),
        pixel_size=sizes or resolution_in_micrometres(series.keyframe),
        colour=colour_model(series.keyframe),
        notes=page_notes(series.keyframe) + doubts + (notes if others else ()),
    )


def _pixel_size(source: SourceFile, tiff: TiffFile) -> tuple[dict[str, float], tuple[str, ...]]:
    """Return what the instrument's software notes; damaged notes do not make pixels wrong."""
    try:
        return instrument_pixel_size(source.path, tiff), ()
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        return {}, (f"The instrument's metadata cannot be understood ({error}).",)
