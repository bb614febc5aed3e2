"""ImageJ TIFF: axes in the description, pixel size in the resolution tags, labels per slice.

Format: https://imagej.net/ij/developer/source/ij/io/TiffEncoder.java.html and
https://imagej.net/ij/developer/source/ij/io/FileInfo.java.html.
"""

import math
import re
from typing import Any

from tifffile import TiffFile

from napari_why.images import tiff
from napari_why.images.formats import Format, SourceFile, StoredImage, to_micrometres
from napari_why.images.tiff_integrity import COPY_AGAIN

NAME = "ImageJ TIFF"

# "c:1/2 z:3/17 t:1/1 - DAPI" as Bio-Formats and ImageJ number the slices of a hyperstack.
COUNTER = re.compile(r"^(?:[cztCZT]:\d+/\d+[ ;,]*)+(?:- *)?")


def recognises(source: SourceFile) -> bool:
    """Whether the description is one that ImageJ writes."""
    return tiff.begins_as_tiff(source) and tiff.tiff_file(source).is_imagej


def describe(source: SourceFile) -> StoredImage:
    """Describe an ImageJ image or hyperstack.

    Raises
    ------
    ImageReadError
        The description names more planes than the file holds.
    """
    file = tiff.tiff_file(source)
    series = file.series[0]
    if series.kind != "imagej":
        raise source.error(
            "an ImageJ description that does not fit the pages of the file",
            COPY_AGAIN,
        )
    _check_planes(source, file, series.keyframe.samplesperpixel)
    tiff.check_planes_apart(source, series)
    axes, shape = tiff.series_axes(series)
    return StoredImage(
        path=source.path,
        format=NAME,
        axes=axes,
        shape=shape,
        dtype=series.dtype,
        load=lambda out: tiff.load_series(source.path, series, out),
        channels=_channels(file, axes, shape),
        pixel_size=_pixel_size(file),
        colour=tiff.colour_model(series.keyframe),
        notes=tiff.page_notes(series.keyframe),
    )


def _channels(file: TiffFile, axes: str, shape: tuple[int, ...]) -> tuple[str, ...]:
    """Take the labels of each channel's first plane, if they tell the channels apart."""
    labels = _metadata(file).get("Labels") or ()
    labels = [labels] if isinstance(labels, str) else list(labels)  # one alone is a string
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


def _pixel_size(file: TiffFile) -> dict[str, float]:
    metadata = _metadata(file)
    unit = str(metadata.get("unit", ""))
    sizes = tiff.resolution_in_micrometres(file.pages.first, unit)
    spacing = metadata.get("spacing")  # its sign tells no distance
    if sizes and isinstance(spacing, int | float):
        depth = to_micrometres(abs(float(spacing)), unit)
        sizes |= {"z": depth} if depth else {}
    return sizes


def _check_planes(source: SourceFile, file: TiffFile, samples: int) -> None:
    """Compare the number of planes with channels x slices x frames and with the pages.

    ImageJ writes one page for all planes of a large stack, or one for each.
    """
    metadata, pages = _metadata(file), len(tiff.page_directories(source))
    product = math.prod(int(metadata.get(key, 1)) for key in ("channels", "slices", "frames"))
    named = int(metadata.get("images", product))
    # A plain stack has "images" alone; its planes are neither channels, slices nor frames.
    unnamed = product == 1 and pages == named
    if product not in (named, named * samples) and not unnamed:
        raise source.error(
            f"an ImageJ description of {named} planes, but channels x slices x frames = {product}",
            COPY_AGAIN,
        )
    # Without any number the description says nothing that pages could contradict.
    silent = product == 1 and "images" not in metadata
    if pages not in (1, named) and not silent:
        raise source.error(f"{pages} pages for the {named} planes of ImageJ", COPY_AGAIN)


def _metadata(file: TiffFile) -> dict[str, Any]:
    return dict(file.imagej_metadata or {})


FORMAT = Format(NAME, (".tif", ".tiff"), recognises, describe, can_read=tiff.holds_intensities)
