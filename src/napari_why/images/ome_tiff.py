"""OME-TIFF: axes, channel names and pixel size stand in the OME-XML of the first page."""

import json
import math
from typing import Any

import numpy as np
from tifffile import TiffFile

from napari_why.errors import ImageReadError
from napari_why.images.ome_xml import OmeDescription, parse_ome_xml
from napari_why.images.source_file import SourceFile
from napari_why.images.stored_image import StoredImage
from napari_why.images.tiff_directory import COPY_AGAIN
from napari_why.images.tiff_page import colour_model, page_notes, series_axes
from napari_why.images.tiff_pixels import load_series

NAME = "OME-TIFF"
# https://www.openmicroscopy.org/Schemas/OME/2016-06/: PixelType, but complex numbers.
PIXEL_TYPES = {
    "int8": "int8", "int16": "int16", "int32": "int32", "uint8": "uint8", "uint16": "uint16",
    "uint32": "uint32", "float": "float32", "double": "float64", "bit": "bool",
}  # fmt: skip


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
    _check_promises(source, ome, series)
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


def _check_promises(source: SourceFile, ome: OmeDescription, series: Any) -> None:
    """Compare sizes, pixel type, channels and planes of the OME-XML with the pages."""
    page, sizes = series.keyframe, ome.sizes
    if (sizes.get("x"), sizes.get("y")) != (page.imagewidth, page.imagelength):
        found = f"OME-XML of {sizes.get('x')} x {sizes.get('y')} pixels"
        raise _contradiction(source, found, f"{page.imagewidth} x {page.imagelength} of the pages")
    if np.dtype(PIXEL_TYPES.get(ome.pixel_type, page.dtype)) != page.dtype:
        raise _contradiction(source, f"OME-XML of {ome.pixel_type} pixels", str(page.dtype))
    if None in series.pages:
        return  # Loading says how many planes are missing.
    if ome.samples > 1 and ome.samples != sizes.get("c"):
        raise _contradiction(source, f"OME-XML of {ome.samples} channels", f"SizeC, {sizes['c']}")
    pages = [(str(page.parent.filehandle.path), page.index) for page in series.pages]
    if len(set(pages)) != len(pages):
        raise _contradiction(source, "OME-XML that names a page for several planes", "one for each")
    planes = math.prod(sizes.get(dim, 1) for dim in "zct") // page.samplesperpixel
    held = {place for place, _ in pages} == {str(source.path.resolve())}
    if ome.images == 1 and held and len(source.pages) > planes:
        found = f"{len(source.pages)} pages for the {planes} planes of the OME-XML"
        raise _contradiction(source, found, "a page for each")


def _contradiction(source: SourceFile, found: str, expected: str) -> ImageReadError:
    return ImageReadError(source.path, found, expected, COPY_AGAIN)


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
