"""OME-TIFF: read by the part of OME-XML that describes pixels, of one file or a set of files.

Schema: OME Data Model 2016-06, https://www.openmicroscopy.org/Schemas/OME/2016-06/. Sets of files:
https://docs.openmicroscopy.org/ome-model/6.2.2/ome-tiff/specification.html.

Every file of a set may hold the OME-XML of all, so that the document alone does not tell which image
is meant: it is the one whose pixels lie in the file that the user named. Only files in the same
folder are opened for it, and none before all names have been looked at.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any
from xml.etree.ElementTree import Element, SubElement, tostring

import numpy as np
import tifffile

from napari_why.core.errors import ImageReadError
from napari_why.core.record import Record
from napari_why.core.targets import MARK
from napari_why.images import tiff
from napari_why.images.formats import Format, SourceFile, StoredImage, Writer
from napari_why.images.image import SPATIAL_DIMS, channel_names
from napari_why.images.ome_xml import (
    RECORD_NAMESPACE,
    Block,
    OmeDescription,
    children,
    decode_xml,
    describe_image,
    find_blocks,
    is_ome,
    name_file,
    parse_xml,
    uuid_in,
)
from napari_why.images.tiff_integrity import COPY_AGAIN, check_page_chain
from napari_why.images.write import planes_of

if TYPE_CHECKING:
    import xarray as xr

NAME = "OME-TIFF"
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

# Bytes of a companion file; the documents of whole plates have some 100 MB.
MOST_COMPANION = 2**28
# What the named file is called in the document that tifffile gets to see.
OWN = "urn:uuid:own"


@dataclass(frozen=True)
class _Plan:
    """Which image of a document is read, and from where.

    ``xml`` is the document for tifffile, with that image alone; empty where it can read the
    file's own. ``images`` counts those that have pixels in the file; ``files`` are those of the
    image, where they are several.
    """

    description: OmeDescription
    images: int
    xml: str = ""
    notes: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()


def recognises(source: SourceFile) -> bool:
    """Whether the first page carries OME-XML, or the file is OME-XML itself."""
    if tiff.begins_as_tiff(source):
        return is_ome(source.shared(_own_text)[0])
    return not source.is_folder and is_ome(decode_xml(source.head)[0])


def _own_text(source: SourceFile) -> tuple[str, tuple[str, ...]]:
    return _description(tiff.tiff_file(source))


def _description(file: tifffile.TiffFile) -> tuple[str, tuple[str, ...]]:
    """Return the description of the first page as text, and what had to be guessed for that."""
    tag = file.pages.first.tags.get("ImageDescription")
    if tag is None or not tag.valuebytecount:
        return "", ()
    file.filehandle.seek(tag.valueoffset)
    return decode_xml(file.filehandle.read(tag.valuebytecount))


def describe(source: SourceFile) -> StoredImage:
    """Describe the image of an OME-TIFF that lies in this file, or the first of several.

    Raises
    ------
    ImageReadError
        The OME-XML cannot be read or does not fit the pages of the file, files of its set are
        missing, or it names files outside its folder.
    """
    plan = source.shared(_make_plan)
    file = source.shared(_open_planned) if plan.xml else tiff.tiff_file(source)
    series = file.series[0]
    if series.kind != "ome":
        raise source.error(
            "OME-XML that does not fit the pages of the file",
            "the file is damaged or files that belong to it are missing",
        )
    ome = plan.description
    aside = _check_promises(source, plan, series)
    return tiff.without_alpha(
        StoredImage(
            path=source.path,
            format=NAME,
            axes=(stored := tiff.series_axes(series))[0],
            shape=stored[1],
            dtype=series.dtype,
            load=lambda out: tiff.load_series(source.path, series, out),
            channels=tuple(ome.channels) if any(ome.channels) else (),
            pixel_size=ome.pixel_size,
            colour=tiff.colour_model(series.keyframe),
            notes=tiff.page_notes(source, series.keyframe) + plan.notes + ome.notes + aside,
            record=_record(ome),
            files=plan.files,
        ),
        series.keyframe,
    )


def _open_planned(source: SourceFile) -> tifffile.TiffFile:
    return tifffile.TiffFile(source.path, omexml=source.shared(_make_plan).xml)


def _make_plan(source: SourceFile) -> _Plan:
    """Choose the image whose pixels lie in the named file, and find the files it is made of."""
    if not tiff.begins_as_tiff(source):
        raise source.error(
            "OME-XML, which describes pixels of other files", "name one of the TIFF files instead"
        )
    text, notes = source.shared(_own_text)
    root = _parse_for(source, text)
    binary = children(root, "BinaryOnly")
    if binary:
        uuid = root.get("UUID", "")
        root = _read_companion(source, binary[0].get("MetadataFile", ""))
        root.set("UUID", uuid)
    blocks = find_blocks(root)
    own, said = _own_blocks(source, root, blocks, companion=bool(binary))
    # by identity, as elements have no other
    images = list({id(block.image): block.image for block in own}.values())
    if not images:  # no block of planes at all
        described = describe_image(root, next(iter(children(root, "Image")), None))
        # which of several files a companion means then, nobody knows
        return _Plan(described, 1, "" if binary else _with_block(root), notes)
    image, mine = images[0], set(own)
    description = describe_image(root, image)
    notes += said + _counting_notes(root, images)
    others = [block for block in blocks if block.image is image and block not in mine]
    files, told = _place_others(source, others, blocks)
    notes += told
    as_stored = tiff.tiff_file(source).is_ome and image is children(root, "Image")[0]
    if as_stored and not notes and not any(block.uuid or block.file_name for block in blocks):
        return _Plan(description, len(images))
    for block in own:
        name_file(block, OWN, "")
    root.set("UUID", OWN)
    _keep_only(root, image)
    return _Plan(description, len(images), tostring(root, "unicode"), notes, files)


def _parse_for(source: SourceFile, text: str) -> Element:
    try:
        return parse_xml(text)
    except ValueError as error:
        raise source.error(str(error), "save it again as OME-TIFF") from error


def _counting_notes(root: Element, images: list[Element]) -> tuple[str, ...]:
    """Tell of further images in the file, or which of a set's images the file holds."""
    if len(images) > 1:
        return (f"The file holds {len(images)} images; this is the first.",)
    every = children(root, "Image")
    if len(every) == 1:
        return ()
    return (f"The OME-XML describes {len(every)} images; the one that lies in this file is read.",)


def _with_block(root: Element) -> str:
    """Return a document that does not say where the planes of its one image lie, saying: in all pages."""
    pixels = [found for image in children(root, "Image") for found in children(image, "Pixels")]
    if len(pixels) != 1 or children(pixels[0], "MetadataOnly") or children(pixels[0], "BinData"):
        return ""
    SubElement(pixels[0], pixels[0].tag.replace("Pixels", "TiffData"))
    return tostring(root, "unicode")


def _keep_only(root: Element, image: Element) -> None:
    for other in children(root, "Image"):
        if other is not image:
            root.remove(other)
    for pixels in children(image, "Pixels"):
        # Notes about single planes, which tifffile does not read, are most of a large document.
        for plane in children(pixels, "Plane"):
            pixels.remove(plane)


def _own_blocks(
    source: SourceFile, root: Element, blocks: list[Block], *, companion: bool
) -> tuple[list[Block], tuple[str, ...]]:
    """Return the planes that lie in the named file, by its name and its UUID.

    Raises
    ------
    ImageReadError
        The document names files outside its folder, or does not tell which planes these are.
    """
    uuid, name = root.get("UUID", "").strip(), source.path.name.casefold()
    for other in {block.file_name for block in blocks if not (uuid and block.uuid == uuid)}:
        _check_inside(source, other)
    unnamed = [block for block in blocks if not block.uuid and not block.file_name]
    by_name = [block for block in blocks if _plain(block.file_name).casefold() == name]
    by_uuid = [block for block in blocks if uuid and block.uuid == uuid]
    notes: tuple[str, ...] = ()
    if by_name:
        if by_uuid and not set(by_name) & set(by_uuid):
            notes = _check_renamed(source, uuid, by_uuid[0].file_name, by_name, blocks)
        uuids = {block.uuid for block in by_name} - {""}
        by_name += [block for block in blocks if block.uuid in uuids and not block.file_name]
        return by_name + unnamed, notes
    called = sorted({block.file_name for block in by_uuid} - {""})
    # One UUID for several files tells nothing.
    if by_uuid and len(called) < 2:
        return by_uuid + unnamed, _note_other_name(called) if called else ()
    if unnamed or not blocks:
        return unnamed, ()
    return _blocks_of_copy(source, root, blocks, companion=companion)


def _note_other_name(called: list[str]) -> tuple[str, ...]:
    return (
        f"The OME-XML is that of a file called {', '.join(called)}: a renamed file or a copy; the "
        "pixels of this file itself are read.",
    )


def _check_renamed(
    source: SourceFile, uuid: str, other: str, by_name: list[Block], blocks: list[Block]
) -> tuple[str, ...]:
    """Decide what a file is whose name is one of its set and whose UUID is that of another."""
    beside = _find_beside(source, other) if other else None
    images = {id(block.image) for block in by_name}
    spread = any(id(block.image) in images for block in set(blocks) - set(by_name))
    # Some programs write one and the same document, its UUID included, into every file of a set.
    if beside is not None and _uuid_of_file(beside) == uuid:
        return ()
    if spread:
        raise source.error(
            f"a file whose name is {source.path.name} and whose UUID in the OME-XML is that of {other}",
            "give the files of the set the names back that they had",
        )
    return _note_other_name([other] if other else [uuid])


def _blocks_of_copy(
    source: SourceFile, root: Element, blocks: list[Block], *, companion: bool
) -> tuple[list[Block], tuple[str, ...]]:
    """Return the planes of a copy whose OME-XML names only the file that it was made from.

    The document of a set describes several images: which of them the copy shows does not matter
    where all are described alike.
    """
    pages = len(tiff.page_directories(source))
    named = sorted({block.file_name or block.uuid for block in blocks})
    fitting = []
    for image in children(root, "Image"):
        mine = [block for block in blocks if block.image is image]
        ome = describe_image(root, image)
        planes = math.prod(ome.sizes.get(dim, 1) for dim in "zct")
        channels = max(len(ome.channels), 1)
        planes //= max(ome.samples // channels, 1)
        if len({block.file_name or block.uuid for block in mine}) == 1 and planes == pages:
            fitting.append((mine, (ome.channels, ome.sizes, ome.pixel_size, ome.pixel_type)))
    if companion or not fitting or any(said != fitting[0][1] for _, said in fitting):
        raise source.error(
            f"OME-XML of other files ({_some(named)}), which does not name this one",
            "give it back the name that the OME-XML has for it, or save it again as OME-TIFF",
        )
    mine = fitting[0][0]
    return mine, _note_other_name([mine[0].file_name or mine[0].uuid])


def _some(names: list[str]) -> str:
    """Name at most four, and count the rest; a plate has thousands of files."""
    rest = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return ", ".join(names[:4]) + rest


def _plain(name: str) -> str:
    """Return the path of a file inside the folder as this system writes it."""
    return str(PurePosixPath(*PureWindowsPath(name).parts)) if name else ""


def _check_inside(source: SourceFile, name: str) -> None:
    """Refuse names of files that lie outside the folder, before any of them is opened."""
    windows = PureWindowsPath(name)  # knows both slashes
    outside = windows.drive or windows.root or ".." in windows.parts
    if outside or "\0" in name or PurePosixPath(name).is_absolute():
        raise source.error(
            f"OME-XML that names a file outside its folder ({name!r})",
            "put all files of the image into one folder, and save them again as OME-TIFF",
        )


def _find_beside(source: SourceFile, name: str) -> Path | None:
    """Return a file of the same folder, None where there is none.

    Raises
    ------
    ImageReadError
        It is a link that leaves the folder.
    """
    _check_inside(source, name)
    folder = source.path.parent
    place = folder / _plain(name)
    _check_link(source, name, place.parent)
    if not place.is_file() and place.parent.is_dir():
        # copied by way of Windows or macOS, for which capitals make no other name
        alike = [p for p in place.parent.iterdir() if p.name.casefold() == place.name.casefold()]
        place = alike[0] if len(alike) == 1 else place
    _check_link(source, name, place)
    return place if place.is_file() else None


def _check_link(source: SourceFile, name: str, place: Path) -> None:
    if not place.resolve().is_relative_to(source.path.parent.resolve()):
        raise source.error(
            f"OME-XML that names {name!r}, a link that leaves its folder",
            "put all files of the image into one folder",
        )


def _place_others(
    source: SourceFile, others: list[Block], blocks: list[Block]
) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """Tell tifffile where the other files of the image lie, all of which have to be there.

    Returns
    -------
    tuple of Path
        All files of the image in the order of their names; empty where it has no other.
    tuple of str
        What the user should know.
    """
    called = {block.uuid: block.file_name for block in blocks if block.uuid and block.file_name}
    places: dict[str, Path | None] = {}
    folder = source.path.parent
    for block in others:
        name = block.file_name or called.get(block.uuid, "")
        if not name:
            found = f"OME-XML that names a file by its UUID alone ({block.uuid})"
            raise source.error(found, "save it again as OME-TIFF")
        if name not in places:
            places[name] = _find_beside(source, name)
        name_file(block, f"urn:uuid:{name}", str((places[name] or folder / name).absolute()))
    missing = sorted(name for name, place in places.items() if place is None)
    if missing:
        raise source.error(
            f"an image of {len(places) + 1} files, of which {_some(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} missing",
            "put all files of the image into one folder",
        )
    if not places:
        return (), ()
    files = sorted([*(place for place in places.values() if place), source.path])
    notes: tuple[str, ...] = (f"The image is made of {len(files)} files that its OME-XML names.",)
    uuids = {block.file_name: block.uuid for block in others if block.uuid}
    for name, place in places.items():
        if place is not None:
            check_page_chain(place)
            notes += _note_replaced(place, uuids.get(name, ""))
    return tuple(files), notes


def _note_replaced(place: Path, told: str) -> tuple[str, ...]:
    found = _uuid_of_file(place)
    if not told or not found or told == found:
        return ()
    return (f"{place.name} has another UUID than the OME-XML tells: it may have been replaced.",)


def _uuid_of_file(path: Path) -> str:
    """Return the UUID that a TIFF file gives itself, empty where it gives none."""
    with tifffile.TiffFile(path) as file:
        return uuid_in(_description(file)[0])


def _read_companion(source: SourceFile, name: str) -> Element:
    """Return the document that describes a file whose own OME-XML only points to it."""
    place = _find_beside(source, name) if name else None
    if place is None:
        raise source.error(
            f"pixels without their description: {name!r}, the file of OME-XML, is missing",
            "put it into the same folder",
        )
    with SourceFile(place) as companion:
        if tiff.begins_as_tiff(companion):
            text, _ = companion.shared(_own_text)
        elif place.stat().st_size > MOST_COMPANION:
            found = f"{place.name}, a file of OME-XML of {place.stat().st_size} bytes"
            raise source.error(found, f"at most {MOST_COMPANION} are read: save it as OME-TIFF")
        else:
            text, _ = decode_xml(place.read_bytes())
        root = _parse_for(companion, text)
    if children(root, "BinaryOnly") or not children(root, "Image"):
        raise source.error(f"{name!r} as its description, which describes no image")
    return root


def _check_promises(source: SourceFile, plan: _Plan, series: Any) -> tuple[str, ...]:
    """Compare sizes, pixel type, channels and planes of the OME-XML with the pages.

    Returns
    -------
    tuple of str
        What the file holds beside the planes that the OME-XML names.

    Raises
    ------
    ImageReadError
        They contradict each other.
    """
    ome = plan.description
    page, sizes = series.keyframe, ome.sizes
    if (sizes.get("x"), sizes.get("y")) != (page.imagewidth, page.imagelength):
        found = f"OME-XML of {sizes.get('x')} x {sizes.get('y')} pixels"
        raise _contradiction(source, found, f"{page.imagewidth} x {page.imagelength} of the pages")
    if np.dtype(PIXEL_TYPES.get(ome.pixel_type, page.dtype)) != page.dtype:
        raise _contradiction(source, f"OME-XML of {ome.pixel_type} pixels", str(page.dtype))
    if None in series.pages:
        return ()  # Loading says how many planes are missing.
    if ome.samples > 1 and ome.samples != sizes.get("c"):
        raise _contradiction(source, f"OME-XML of {ome.samples} channels", f"SizeC, {sizes['c']}")
    pages = [(str(page.parent.filehandle.path), page.index) for page in series.pages]
    if len(set(pages)) != len(pages):
        raise _contradiction(source, "OME-XML that names a page for several planes", "one for each")
    planes = math.prod(sizes.get(dim, 1) for dim in "zct") // page.samplesperpixel
    held = {place for place, _ in pages} == {str(source.path.resolve())}
    pages_held = len(tiff.page_directories(source))
    # A file of several images, or one of several files, may hold pages of others.
    if plan.images > 1 or not held or pages_held <= planes:
        return ()
    named = {page.index for page in series.pages}
    every = tiff.tiff_file(source).pages
    others = [other.aspage() for other in every if other.index not in named]
    # Programs add a preview or a picture of the slide's label, of which the OME-XML says nothing.
    if not others or not all(tiff.is_aside(other, page) for other in others):
        found = f"{pages_held} pages for the {planes} planes of the OME-XML"
        raise _contradiction(source, found, "a page for each")
    return (
        f"{len(others)} pages of another size or kind, such as previews, which the OME-XML does not "
        "name, are not read.",
    )


def _contradiction(source: SourceFile, found: str, expected: str) -> ImageReadError:
    return ImageReadError(source.path, found, expected, COPY_AGAIN)


def _record(ome: OmeDescription) -> dict[str, Any]:
    try:
        record = json.loads(ome.record or "{}")
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}


def write_tiff(
    image: "xr.DataArray",
    part: Path,
    pixel_type: np.dtype[Any],
    record: Record | None,
) -> None:
    """Write an image as a file; deflate with a predictor, without loss.

    Parameters
    ----------
    image : DataArray
    part : Path
        The file to write; replaced where it exists.
    pixel_type : dtype
        What values are stored as.
    record : Record or None
        Written into the OME-XML.

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


def _ome_metadata(image: "xr.DataArray", record: Record | None) -> dict[str, Any]:
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
