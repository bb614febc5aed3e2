"""OME-TIFF: read by the part of OME-XML that describes pixels, and written.

Schema: OME Data Model 2016-06, https://www.openmicroscopy.org/Schemas/OME/2016-06/.
"""

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.parsers import expat

import numpy as np
import tifffile
import xarray as xr

from napari_why.core.errors import ImageReadError
from napari_why.core.record import Record
from napari_why.core.targets import MARK
from napari_why.images import tiff
from napari_why.images.formats import Format, SourceFile, StoredImage, Writer, to_micrometres
from napari_why.images.image import SPATIAL_DIMS, channel_names
from napari_why.images.tiff_integrity import COPY_AGAIN
from napari_why.images.write import planes_of

NAME = "OME-TIFF"
# Of the annotation that holds a record; files written by any version have it.
RECORD_NAMESPACE = "napari-why/record"
# https://www.openmicroscopy.org/Schemas/OME/2016-06/: PixelType, but complex numbers.
PIXEL_TYPES = {
    "int8": "int8", "int16": "int16", "int32": "int32", "uint8": "uint8", "uint16": "uint16",
    "uint32": "uint32", "float": "float32", "double": "float64", "bit": "bool",
}  # fmt: skip
# The ending tells other programs that there is OME-XML; without it only the bytes do.
SUFFIXES = (".ome.tif", ".ome.tiff", ".tif", ".tiff")
# OME-XML knows "bit" and "double" too; float64 is written as float32 where no value changes by that.
WRITTEN_TYPES = ("uint8", "uint16", "uint32", "int8", "int16", "int32", "float32")
# Offsets of classic TIFF have 32 bits; 32 MiB are left for tags and the tables of strips.
BIGTIFF_BYTES = 2**32 - 2**25


@dataclass
class OmeDescription:
    """What the first image of an OME-XML document says.

    ``pixel_size`` is in micrometres; ``record`` is the JSON text of the record this package
    wrote, empty for files of others; ``images`` counts the images of the document. ``sizes`` holds
    the numbers of pixels and planes along x, y, z, c, t, ``pixel_type`` the name of OME's pixel type,
    ``samples`` the sum of the channels' samples.
    """

    channels: list[str] = field(default_factory=list)
    pixel_size: dict[str, float] = field(default_factory=dict)
    record: str = ""
    images: int = 0
    sizes: dict[str, int] = field(default_factory=dict)
    pixel_type: str = ""
    samples: int = 0


def parse_ome_xml(text: str) -> OmeDescription:
    """Read an OME-XML document; entity declarations are refused, nothing is fetched.

    Raises
    ------
    ValueError
        The text is not well-formed XML or declares entities.

    Examples
    --------
    >>> parse_ome_xml('<OME><Image><Pixels PhysicalSizeX="650" PhysicalSizeXUnit="nm">'
    ...               '<Channel Name="DAPI"/></Pixels></Image></OME>')
    OmeDescription(channels=['DAPI'], pixel_size={'x': 0.65}, record='', images=1, sizes={}, pixel_type='', samples=1)
    """
    reader = _OmeReader()
    parser = expat.ParserCreate()
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.characters
    parser.EntityDeclHandler = reader.refuse_entity
    try:
        parser.Parse(text.encode("utf-8"), True)
    except expat.ExpatError as error:
        raise ValueError(f"OME-XML that is not well-formed ({error})") from error
    return reader.description


class _OmeReader:
    """Collects the description while the parser walks through the document."""

    def __init__(self) -> None:
        self.description = OmeDescription()
        self._in_record = False
        self._value: list[str] | None = None

    def start(self, name: str, attributes: dict[str, str]) -> None:
        element = name.rpartition(":")[2]
        if element == "Image":
            self.description.images += 1
        elif element in ("CommentAnnotation", "XMLAnnotation"):
            self._in_record = attributes.get("Namespace") == RECORD_NAMESPACE
        elif element == "Value" and self._in_record:
            self._value = []
        elif self.description.images == 1 and element == "Pixels":
            self._read_pixels(attributes)
        elif self.description.images == 1 and element == "Channel":
            label = attributes.get("Name") or attributes.get("Fluor") or ""
            self.description.channels.append(label.strip())
            samples = attributes.get("SamplesPerPixel", "1")
            self.description.samples += int(samples) if samples.isdecimal() else 1

    def end(self, name: str) -> None:
        element = name.rpartition(":")[2]
        if element == "Value" and self._value is not None:
            self.description.record = "".join(self._value)
            self._value = None
        elif element in ("CommentAnnotation", "XMLAnnotation"):
            self._in_record = False

    def characters(self, text: str) -> None:
        if self._value is not None:
            self._value.append(text)

    def refuse_entity(self, name: str, *_: object) -> None:
        raise ValueError(f"OME-XML that declares the entity {name!r}")

    def _read_pixels(self, attributes: dict[str, str]) -> None:
        self.description.pixel_type = attributes.get("Type", "")
        for dim in "xyzct":
            size = attributes.get(f"Size{dim.upper()}", "")
            if size.isdecimal():
                self.description.sizes[dim] = int(size)
        for dim in "zyx":
            value = attributes.get(f"PhysicalSize{dim.upper()}")
            unit = attributes.get(f"PhysicalSize{dim.upper()}Unit", "um")
            length = to_micrometres(_number(value), unit)
            if length is not None:
                self.description.pixel_size[dim] = length


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return float("nan")


def recognises(source: SourceFile) -> bool:
    """Whether the first page carries OME-XML."""
    return tiff.begins_as_tiff(source) and tiff.tiff_file(source).is_ome


def describe(source: SourceFile) -> StoredImage:
    """Describe the first image of an OME-TIFF.

    Raises
    ------
    ImageReadError
        The OME-XML cannot be read or does not fit the pages of the file.
    """
    file = tiff.tiff_file(source)
    try:
        ome = parse_ome_xml(file.ome_metadata or "")
    except ValueError as error:
        raise source.error(str(error), "save it again as OME-TIFF") from error
    series = file.series[0]
    if series.kind != "ome":
        raise source.error(
            "OME-XML that does not fit the pages of the file",
            "the file is damaged or files that belong to it are missing",
        )
    _check_promises(source, ome, series)
    axes, shape = tiff.series_axes(series)
    return StoredImage(
        path=source.path,
        format=NAME,
        axes=axes,
        shape=shape,
        dtype=series.dtype,
        load=lambda out: tiff.load_series(source.path, series, out),
        channels=_channels(ome),
        pixel_size=ome.pixel_size,
        colour=tiff.colour_model(series.keyframe),
        notes=tiff.page_notes(series.keyframe) + _notes(file),
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
    pages_held = len(tiff.page_directories(source))
    # A file of several images, or one of several files, may hold pages of others.
    if ome.images == 1 and held and pages_held > planes:
        found = f"{pages_held} pages for the {planes} planes of the OME-XML"
        raise _contradiction(source, found, "a page for each")


def _contradiction(source: SourceFile, found: str, expected: str) -> ImageReadError:
    return ImageReadError(source.path, found, expected, COPY_AGAIN)


def _channels(ome: OmeDescription) -> tuple[str, ...]:
    return tuple(ome.channels) if any(ome.channels) else ()


def _notes(file: tifffile.TiffFile) -> tuple[str, ...]:
    count = len(file.series)
    return (f"The file holds {count} images; this is the first.",) if count > 1 else ()


def _record(ome: OmeDescription) -> dict[str, Any]:
    try:
        record = json.loads(ome.record or "{}")
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}


def write_tiff(
    image: xr.DataArray,
    part: Path,
    pixel_type: np.dtype[Any],
    record: Record | None,
) -> None:
    """Write an image as a file; deflate with a predictor, without loss.

    Raises
    ------
    ImageWriteError
        A value is no finite number, or the pixel type does not hold it exactly.
    OSError
        Whatever the file system refuses.
    """
    needed = image.size * pixel_type.itemsize
    with part.open("wb") as file:
        tifffile.imwrite(
            file,
            planes_of(image, pixel_type),
            shape=image.shape,
            dtype=pixel_type,
            ome=True,
            bigtiff=needed > BIGTIFF_BYTES,
            # Else two or three channels would be taken for samples of a colour.
            photometric="minisblack",
            compression="zlib",
            predictor=True,  # neighbouring pixels are alike, so that their differences pack better
            metadata=_ome_metadata(image, record),
        )


def _ome_metadata(image: xr.DataArray, record: Record | None) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "axes": "".join(map(str, image.dims)).upper(),
        "Channel": {"Name": list(channel_names(image))},
        # by which it is known again where it may be overwritten
        "Creator": MARK,
    }
    if image.attrs.get("unit") == "um":
        for dim in SPATIAL_DIMS:
            if dim in image.attrs.get("pixel_size", {}):
                metadata[f"PhysicalSize{dim.upper()}"] = image.attrs["pixel_size"][dim]
                metadata[f"PhysicalSize{dim.upper()}Unit"] = "µm"
    if record is not None:
        metadata["CommentAnnotation"] = {"Namespace": RECORD_NAMESPACE, "Value": record.to_json()}
    return metadata


FORMAT = Format(
    NAME,
    SUFFIXES,
    recognises,
    describe,
    can_read=tiff.holds_intensities,
    writer=Writer(write_tiff, WRITTEN_TYPES),
)
