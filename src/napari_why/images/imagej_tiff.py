"""ImageJ TIFF: axes in the description, pixel size in the resolution tags, labels per slice.

Format: https://imagej.net/ij/developer/source/ij/io/TiffEncoder.java.html and
https://imagej.net/ij/developer/source/ij/io/FileInfo.java.html.
"""

import math
import re
from typing import Any

from tifffile import TiffFile

from napari_why.images.source_file import SourceFile
from napari_why.images.stored_image import StoredImage
from napari_why.images.tiff_page import (
    colour_model,
    page_notes,
    resolution_in_micrometres,
    series_axes,
)
from napari_why.images.tiff_pixels import load_series
from napari_why.images.units import to_micrometres

NAME = "ImageJ TIFF"

# "c:1/2 z:3/17 t:1/1 - DAPI" as Bio-Formats and ImageJ number the slices of a hyperstack.
COUNTER = re.compile(r"^(?:[cztCZT]:\d+/\d+[ ;,]*)+(?:- *)?")


def recognises(source: SourceFile) -> bool:
    """Whether the description is one that ImageJ writes."""
    return source.is_tiff and source.tiff.is_imagej


def describe(source: SourceFile) -> StoredImage:
    """Describe an ImageJ image or hyperstack.

    Raises
    ------
    ImageReadError
        The description names more planes than the file holds.
    """
    tiff = source.tiff
    series = tiff.series[0]
    if series.kind != "imagej":
        raise source.error(
            "an ImageJ description that does not fit the pages of the file",
            "the file is damaged or was cut short while copying: copy or export it again",
        )
    axes, shape = series_axes(series)
    return StoredImage(
        path=source.path,
        format=NAME,
        axes=axes,
        shape=shape,
        dtype=series.dtype,
        load=lambda out: load_series(source.path, series, out),
        channels=_channels(tiff, axes, shape),
        pixel_size=_pixel_size(tiff),
        colour=colour_model(series.keyframe),
        notes=page_notes(series.keyframe) + _notes(tiff, axes, shape),
    )


def _channels(tiff: TiffFile, axes: str, shape: tuple[int, ...]) -> tuple[str, ...]:
    """Take the labels of each channel's first plane, if they tell the channels apart."""
    labels = _metadata(tiff).get("Labels") or ()
    labels = [labels] if isinstance(labels, str) else list(labels)
    position = axes.find("c")
    count = shape[position] if position >= 0 else 1
    planes_between = math.prod(
        size
        for axis, size in zip(axes[position + 1 :], shape[position + 1 :], strict=True)
        if position >= 0 and axis in "tz"
    )
    firsts = labels[: count * planes_between : planes_between]
    names = tuple(COUNTER.sub("", str(label)).strip() for label in firsts)
    return names if len(names) == len(set(names)) == count and all(names) else ()


def _pixel_size(tiff: TiffFile) -> dict[str, float]:
    metadata = _metadata(tiff)
    unit = str(metadata.get("unit", ""))
    sizes = resolution_in_micrometres(tiff.pages.first, unit)
    spacing = metadata.get("spacing")
    if sizes and isinstance(spacing, int | float):
        depth = to_micrometres(abs(float(spacing)), unit)
        sizes |= {"z": depth} if depth else {}
    return sizes


def _notes(tiff: TiffFile, axes: str, shape: tuple[int, ...]) -> tuple[str, ...]:
    planes = math.prod(size for axis, size in zip(axes, shape, strict=True) if axis not in "yxs")
    named = _metadata(tiff).get("images", planes)
    if named in (planes, 1):
        return ()
    return (f"ImageJ's description names {named} planes; {planes} were understood.",)


def _metadata(tiff: TiffFile) -> dict[str, Any]:
    return dict(tiff.imagej_metadata or {})
