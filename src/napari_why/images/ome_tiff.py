"""OME-TIFF: axes, channel names and pixel size stand in the OME-XML of the first page."""

import json
from typing import Any

from tifffile import TiffFile

from napari_why.images.ome_xml import OmeDescription, parse_ome_xml
from napari_why.images.source_file import SourceFile
from napari_why.images.stored_image import StoredImage
from napari_why.images.tiff_page import colour_model, page_notes, series_axes
from napari_why.images.tiff_pixels import load_series

NAME = "OME-TIFF"


def recognises(source: SourceFile) -> bool:
    """Whether the first page carries OME-XML."""
    return source.is_tiff and source.tiff.is_ome


def describe(source: SourceFile) -> StoredImage:
    """Describe the first image of an OME-TIFF.

    Raises
    ------
    ImageReadError
        The OME-XML cannot be read or does not fit the pages of the file.
    """
    tiff = source.tiff
    try:
        ome = parse_ome_xml(tiff.ome_metadata or "")
    except ValueError as error:
        raise source.error(str(error), "save it again as OME-TIFF") from error
    series = tiff.series[0]
    if series.kind != "ome":
        raise source.error(
            "OME-XML that does not fit the pages of the file",
            "the file is damaged or files that belong to it are missing",
        )
    axes, shape = series_axes(series)
    return StoredImage(
        path=source.path,
        format=NAME,
        axes=axes,
        shape=shape,
        dtype=series.dtype,
        load=lambda out: load_series(source.path, series, out),
        channels=_channels(ome),
        pixel_size=ome.pixel_size,
        colour=colour_model(series.keyframe),
        notes=page_notes(series.keyframe) + _notes(tiff),
        record=_record(ome),
    )


def _channels(ome: OmeDescription) -> tuple[str, ...]:
    return tuple(ome.channels) if any(ome.channels) else ()


def _notes(tiff: TiffFile) -> tuple[str, ...]:
    count = len(tiff.series)
    return (f"The file holds {count} images; this is the first.",) if count > 1 else ()


def _record(ome: OmeDescription) -> dict[str, Any]:
    try:
        record = json.loads(ome.record or "{}")
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}
