"""Files that say little beside their pixels: plain TIFF, ImageJ TIFF, and PNG of grey values.

Plain TIFF is whatever the other formats leave, with the pixel sizes of instruments' software.
MetaMorph's tags: tifffile's reading of the UIC tags and of the MetaSeries XML. Harmony writes an
Index.idx.xml (or Index.xml) beside the images of a measurement.

ImageJ writes axes and units into the description, the pixel size into the resolution tags, and
labels for each slice: https://imagej.net/ij/developer/source/ij/io/TiffEncoder.java.html and
https://imagej.net/ij/developer/source/ij/io/FileInfo.java.html.

PNG in colours, with a palette or transparency is refused: it is made for looking at, and what the
intensities were is not in it.
"""

import math
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from tifffile import TiffFile

from napari_why.core.errors import ImageReadError
from napari_why.images import tiff
from napari_why.images.formats import (
    Format,
    SourceFile,
    StoredImage,
    check_fits_memory,
    read_length,
    to_micrometres,
)
from napari_why.images.tiff_integrity import (
    COPY_AGAIN,
    LAST_STANDARD_TAG,
    hold_directory,
    segment_spans,
    unclaimed_spans,
)

NAME = "plain TIFF"
IMAGEJ = "ImageJ TIFF"
PNG = "PNG"
# https://www.w3.org/TR/png-3/, 5.2 and 11.2.1: the first bytes, and the colour types of chunk IHDR.
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_GREY = 0
PNG_COLOURS = {
    2: "an RGB colour picture",
    3: "a picture of indexed colours",
    4: "grey values with transparency (alpha)",
    6: "an RGB colour picture with transparency (alpha)",
}
PNG_TYPES = {8: "uint8", 16: "uint16"}
PNG_ADVICE = (
    "export the channels from the microscope's software as grey values in their own bit depth, one "
    "file each, or as OME-TIFF"
)
# How ImageJ and its users say that an image has no calibration.
NO_UNITS = ("", "pixel", "pixels", "px", "pix", "voxel", "voxels")
# "c:1/2 z:3/17 t:1/1 - DAPI" as Bio-Formats and ImageJ number the slices of a hyperstack.
COUNTER = re.compile(r"^(?:[cztCZT]:\d+/\d+[ ;,]*)+(?:- *)?")
# As versions of Harmony name it; only some file systems tell the last two apart.
HARMONY_INDEX = ("Index.idx.xml", "Index.xml", "index.xml")
# The pixel size stands with the first channel or image; an index of a plate has hundreds of MB.
HARMONY_BYTES = 2**20
# Read by its text, since the part of the index that is read is no complete XML.
_RESOLUTION = re.compile(
    rb"<ImageResolution([XY])(?:\s+Unit=\"([^\"]*)\")?\s*>\s*([0-9.eE+-]+)\s*</ImageResolution"
)
# Of the pages that are not read: four show what they are, and the sentence stays readable.
MOST_NAMED = 4
# The tag of directories below a page, which may hold pages that the chain does not name.
SUB_DIRECTORIES = 330
# Fewer bytes than a page's directory and pixels can take are padding.
LEAST_LOST = 256


def instrument_pixel_size(path: Path, file: TiffFile) -> tuple[dict[str, float], tuple[str, ...]]:
    """Return micrometres along y and x as the instrument's software notes them; empty if not.

    Parameters
    ----------
    path : Path
        Of the file, beside which an index of its folder may lie.
    file : TiffFile
        Open.

    Returns
    -------
    dict of str to float
        Empty where it notes none.
    tuple of str
        What it notes and cannot be used.

    Raises
    ------
    ValueError, KeyError, TypeError
        The metadata are damaged.
    """
    if file.is_metaseries:
        return _metaseries(dict((file.metaseries_metadata or {}).get("PlaneInfo") or {}))
    if file.is_stk:
        return _stk(dict(file.stk_metadata or {}))
    return harmony_pixel_size(path.parent), ()


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


def _metaseries(plane: dict[str, Any]) -> tuple[dict[str, float], tuple[str, ...]]:
    if not plane.get("spatial-calibration-state"):
        return {}, ()
    unit = str(plane.get("spatial-calibration-units", ""))
    return _calibration({axis: plane[f"spatial-calibration-{axis}"] for axis in "yx"}, unit)


def _stk(tags: dict[str, Any]) -> tuple[dict[str, float], tuple[str, ...]]:
    if not tags.get("SpatialCalibration"):
        return {}, ()
    unit = str(tags.get("CalibrationUnits", ""))
    told = {axis: tags[f"{axis.upper()}Calibration"] for axis in "yx"}
    steps = {abs(float(step)) for step in tags.get("ZDistance", ())} - {0.0}
    # the step of every plane, where there is one
    return _calibration(told | ({"z": steps.pop()} if len(steps) == 1 else {}), unit)


def _calibration(told: dict[str, Any], unit: str) -> tuple[dict[str, float], tuple[str, ...]]:
    sizes: dict[str, float] = {}
    notes: tuple[str, ...] = ()
    for axis, value in told.items():
        length, note = read_length(f"the calibration of {axis}", str(value), unit)
        sizes |= {axis: length} if length is not None else {}
        notes += note
    return sizes, notes


def _positive(value: bytes, unit: str) -> float | None:
    return to_micrometres(float(value), unit)


def _both(y: float | None, x: float | None) -> dict[str, float]:
    return {"y": y, "x": x} if y is not None and x is not None else {}


def recognises(source: SourceFile) -> bool:
    """Whether it is a TIFF at all: this format takes what the others leave."""
    return tiff.begins_as_tiff(source)


def can_read(source: SourceFile) -> bool:
    """Whether the file holds intensities: on its first page, or after a preview in colours."""
    if not tiff.begins_as_tiff(source) or tiff.holds_intensities(source):
        return tiff.begins_as_tiff(source)
    try:
        with source.understanding():
            page = _choose_series(tiff.tiff_file(source)).keyframe
            return np.dtype(page.dtype).kind in "buif" and not tiff.colour_model(page)
    except ImageReadError:
        return True  # reading it says what is wrong with it


def describe(source: SourceFile) -> StoredImage:
    """Describe the pages of a TIFF that have one size and type.

    Raises
    ------
    ImageReadError
        The file cannot be opened as TIFF, or holds no more than a preview.
    """
    file = tiff.tiff_file(source)
    series = _choose_series(file)
    _check_no_preview(source, series)
    lost = check_pages_of_series(source, file, series)
    axes, shape = tiff.series_axes(series)
    sizes, doubts = _pixel_size(source, file, series)
    stored = StoredImage(
        path=source.path,
        format=NAME,
        axes=axes,
        shape=shape,
        dtype=series.dtype,
        load=lambda out: tiff.load_series(source.path, series, out),
        pixel_size=sizes,
        colour=tiff.colour_model(series.keyframe),
        notes=tiff.page_notes(source, series.keyframe)
        + doubts
        + lost
        + _note_others(source, file, series),
    )
    return tiff.without_alpha(stored, series.keyframe)


def _choose_series(file: TiffFile) -> Any:
    """Return the pages that are the image, where others are previews, masks or labels.

    Cameras and slide scanners put a small copy before or behind the image, with or without saying
    so. What says so is no image; else pages may be copies of larger ones, of as many or more, or of
    more bits behind them.
    """
    every = list(file.series)
    if every[0].kind not in ("uniform", "generic", "shaped"):
        return every[0]
    whole = [series for series in every if not _is_aside(series.keyframe)] or every
    grey = [series for series in whole if not tiff.colour_model(series.keyframe)] or whole
    pages = len(grey[0].pages)
    # A larger page alone behind a stack is an overview of it, though; of several alike the first.
    return max((s for s in grey if len(s.pages) >= pages), key=_importance)


def _is_aside(page: Any) -> bool:
    """Whether a page says that it is a preview or a mask; one bit shows no intensities."""
    return bool(page.is_reduced or page.is_mask) or np.dtype(page.dtype).kind == "b"


def _importance(series: Any) -> tuple[bool, int]:
    """Return whether pixels are of more than eight bits, as overviews are not, and their number."""
    page = series.keyframe
    return np.dtype(series.dtype).itemsize > 1, page.imagewidth * page.imagelength


def _check_no_preview(source: SourceFile, series: Any) -> None:
    """Refuse a page whose full resolution lies below it, where digital cameras put it."""
    page = series.keyframe
    below = page.pages if page.subifds else ()
    if len(page.treeindex) > 1 or any(other.imagewidth > page.imagewidth for other in below or ()):
        raise source.error(
            "a preview, whose full image lies in a directory below the page (SubIFD)",
            "export the image with its full resolution as the first page",
        )


def _note_others(source: SourceFile, file: TiffFile, series: Any) -> tuple[str, ...]:
    """Tell of pages that are not read, and of a page that says that it is a copy itself."""
    notes = []
    others = [other for other in file.series if other is not series]
    if others:
        sizes = [f"{s.keyframe.imagelength} x {s.keyframe.imagewidth} {s.dtype}" for s in others]
        words = "; ".join(sizes[:MOST_NAMED]) + ("; ..." if len(sizes) > MOST_NAMED else "")
        notes.append(
            f"Pages of another size or type are left out ({len(others)} more images): {words}."
        )
    held = sum(len(one.pages) for one in file.series)
    copies = len(tiff.page_directories(source)) - held
    if series.kind in ("uniform", "generic") and copies > 0:
        notes.append(
            f"{copies} pages of smaller sizes are taken for copies of others, and not read."
        )
    if series.keyframe.is_reduced:
        notes.append("The page says that it is a smaller copy of an image, which the file lacks.")
    return tuple(notes)


def _pixel_size(
    source: SourceFile, file: TiffFile, series: Any
) -> tuple[dict[str, float], tuple[str, ...]]:
    """Return what the instrument's software notes; damaged notes do not make pixels wrong."""
    try:
        told, doubts = instrument_pixel_size(source.path, file)
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        told = {}
        doubts = (f"The instrument's metadata cannot be understood ({error}).",)
    if told:
        return told, doubts
    sizes, notes = tiff.resolution_in_micrometres(series.keyframe)
    return sizes, doubts + notes


def check_pages_of_series(source: SourceFile, file: TiffFile, series: Any) -> tuple[str, ...]:
    """Refuse a file whose description or bytes tell of pages that its chain of pages lacks.

    Parameters
    ----------
    source : SourceFile
    file : TiffFile
        The same, open.
    series : TiffPageSeries
        The one that is read.

    Returns
    -------
    tuple of str
        What is in the file and belongs to none of its pages.

    Raises
    ------
    ImageReadError
        Says what does not fit.
    """
    _check_description(source, file, series)
    _check_alike(source, file, series)
    tiff.check_planes_apart(source, series)
    return _check_nothing_lost(source) if series.kind in ("uniform", "generic") else ()


def _check_description(source: SourceFile, file: TiffFile, series: Any) -> None:
    """Compare the shape that tifffile writes into its descriptions with the pages."""
    if not file.is_shaped:
        return
    told = file.shaped_metadata
    index = next(i for i, other in enumerate(file.series) if other is series)
    shape = told[index].get("shape", ()) if told and index < len(told) else ()
    if series.kind != "shaped" or math.prod(shape) != math.prod(series.shape):
        found = f"pages of {' x '.join(map(str, series.shape))} pixels"
        raise source.error(f"{found}, where the description tells {list(shape)}", COPY_AGAIN)


def _check_alike(source: SourceFile, file: TiffFile, series: Any) -> None:
    """Refuse to leave out pages that differ from the first one in nothing but their storage."""
    first = _size_and_type(series.keyframe)
    for other in file.series:
        alike = other is not series and _size_and_type(other.keyframe) == first
        if alike and series.kind != "shaped" and not _is_aside(other.keyframe):
            found = "pages of one size and type that are stored in different ways"
            raise source.error(found, "save them again, all in the same way")


def _size_and_type(page: Any) -> tuple[int, int, int, str]:
    return page.imagewidth, page.imagelength, page.samplesperpixel, str(page.dtype)


def _check_nothing_lost(source: SourceFile) -> tuple[str, ...]:
    """Refuse a file that holds as much as another page in bytes that no tag refers to.

    Private tags and directories below the pages may refer to anything; then nothing is known. What
    some programs append behind the last page (JSON, text, zeros) is told apart from lost pages by
    these having a directory.
    """
    pages = tiff.page_directories(source)
    tags = frozenset[int]().union(*(page.tags for page in pages))
    if SUB_DIRECTORIES in tags or max(tags) > LAST_STANDARD_TAG:
        return ()
    least = min(sum(stop - start for start, stop in segment_spans(page)) for page in pages)
    gaps = unclaimed_spans(pages, source.path.stat().st_size)
    most = max((stop - start for start, stop in gaps), default=0)
    if most < max(least, LEAST_LOST):
        return ()
    *between, (start, stop) = gaps
    behind = stop == source.path.stat().st_size
    inside = max((last - first for first, last in between), default=0)
    if not behind or inside >= max(least, LEAST_LOST) or hold_directory(source.path, gaps):
        found = f"{most} bytes that belong to none of its {len(pages)} pages"
        raise source.error(found, COPY_AGAIN)
    return (f"{stop - start} bytes behind the last page belong to none, and are not read.",)


def recognises_imagej(source: SourceFile) -> bool:
    """Whether the description is one that ImageJ writes."""
    return tiff.begins_as_tiff(source) and tiff.tiff_file(source).is_imagej


def describe_imagej(source: SourceFile) -> StoredImage:
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
    sizes, doubts = _imagej_pixel_size(file)
    stored = StoredImage(
        path=source.path,
        format=IMAGEJ,
        axes=axes,
        shape=shape,
        dtype=series.dtype,
        load=lambda out: tiff.load_series(source.path, series, out),
        channels=_channels(file, axes, shape),
        pixel_size=sizes,
        colour=tiff.colour_model(series.keyframe),
        notes=tiff.page_notes(source, series.keyframe) + doubts,
    )
    return tiff.without_alpha(stored, series.keyframe)


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


def _imagej_pixel_size(file: TiffFile) -> tuple[dict[str, float], tuple[str, ...]]:
    """Return micrometres by axis: ImageJ names the units of y and z where they are others than x's."""
    metadata = _metadata(file)
    unit = str(metadata.get("unit") or "")
    units = {axis: str(metadata.get(f"{axis}unit") or unit) for axis in "xyz"}
    sizes, notes = tiff.resolution_in_micrometres(file.pages.first, units)
    odd = sorted({unit for unit in units.values() if not _is_length(unit)})
    if odd:
        words = " and ".join(map(repr, odd))
        notes += (f"The file tells pixel sizes in {words}, which is no length known here.",)
    spacing = metadata.get("spacing")  # its sign tells no distance
    if isinstance(spacing, int | float):
        depth, lost = read_length("spacing", str(abs(spacing)), units["z"])
        sizes |= {"z": depth} if depth else {}
        notes += lost if to_micrometres(1.0, units["z"]) else ()
    return sizes, notes


def _is_length(unit: str) -> bool:
    """Whether a unit is a length, or says that there is none, as ImageJ's own "pixel" does."""
    return unit.strip().lower() in NO_UNITS or to_micrometres(1.0, unit) is not None


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


def _is_png(source: SourceFile) -> bool:
    return source.head.startswith(PNG_SIGNATURE)


def _read_png_header(source: SourceFile) -> tuple[int, int, int, int]:
    """Return width, length, bits of a sample and colour type."""
    header = source.head[len(PNG_SIGNATURE) : len(PNG_SIGNATURE) + 18]
    if len(header) < 18 or header[4:8] != b"IHDR":
        raise source.error("a PNG picture without its header", "copy or export it again")
    width, length, bits, colour = struct.unpack(">IIBB", header[8:18])
    return width, length, bits, colour


def can_read_png(source: SourceFile) -> bool:
    """Whether a file is a PNG of grey values; colour pictures are left to others."""
    if not _is_png(source):
        return False
    _, _, bits, colour = _read_png_header(source)
    return colour == PNG_GREY and bits in PNG_TYPES


def describe_png(source: SourceFile) -> StoredImage:
    """Describe a PNG of grey values.

    Raises
    ------
    ImageReadError
        It holds colours, transparency or fewer bits, or is damaged.
    """
    width, length, bits, colour = _read_png_header(source)
    names = set(_chunk_names(source))
    if colour in PNG_COLOURS or "tRNS" in names:
        found = PNG_COLOURS.get(colour, PNG_COLOURS[4])
        raise source.error(f"{found} (PNG)", PNG_ADVICE)
    if bits not in PNG_TYPES:
        raise source.error(f"a PNG of {bits} bits, a mask or drawing", PNG_ADVICE)
    animated = "acTL" in names
    return StoredImage(
        path=source.path,
        format=PNG,
        axes="yx",
        shape=(length, width),
        dtype=np.dtype(PNG_TYPES[bits]),
        load=lambda _: _decode_png(source, (length, width), PNG_TYPES[bits]),
        notes=("The file is an animation; its first picture is read.",) if animated else (),
    )


def _chunk_names(source: SourceFile) -> Iterator[str]:
    """Yield the names of the chunks before the pixels, where all that describes them has to be."""
    with source.path.open("rb") as file:
        file.seek(len(PNG_SIGNATURE))
        while len(start := file.read(8)) == 8:
            length, name = struct.unpack(">I4s", start)
            if name == b"IDAT":
                return
            yield name.decode("latin-1")
            file.seek(length + 4, 1)  # its checksum has four bytes


def _decode_png(source: SourceFile, shape: tuple[int, int], pixel_type: str) -> NDArray[Any]:
    words = " x ".join(map(str, shape))
    check_fits_memory(
        source.path,
        f"an image of {words} pixels",
        shape[0] * shape[1] * np.dtype(pixel_type).itemsize,
    )
    # Damaged data fail their checksums.
    pixels: NDArray[Any] = imagecodecs.png_decode(source.path.read_bytes())
    if pixels.shape != shape or pixels.dtype != pixel_type:
        found = f"{pixels.shape} pixels of type {pixels.dtype}"
        raise source.error(f"{found} in a PNG of {words}", "copy or export it again")
    return pixels


FORMAT = Format(NAME, (".tif", ".tiff", ".stk"), recognises, describe, can_read=can_read)
IMAGEJ_FORMAT = Format(
    IMAGEJ, (".tif", ".tiff"), recognises_imagej, describe_imagej, can_read=tiff.holds_intensities
)
PNG_FORMAT = Format(PNG, (".png",), _is_png, describe_png, can_read=can_read_png)
