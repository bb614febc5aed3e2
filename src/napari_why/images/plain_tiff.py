"""Plain TIFF: pages, samples and tags, without a word about channels."""

from tifffile import TiffFile

from napari_why.images.instrument_metadata import instrument_pixel_size
from napari_why.images.source_file import SourceFile
from napari_why.images.stored_image import StoredImage
from napari_why.images.tiff_page import (
    colour_model,
    page_notes,
    resolution_in_micrometres,
    series_axes,
)
from napari_why.images.tiff_pixels import load_series
from napari_why.images.tiff_series import check_pages_of_series

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
