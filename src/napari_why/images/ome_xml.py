"""OME-XML: its text out of bytes of any encoding, and what it says about an image.

Schema: OME Data Model 2016-06, https://www.openmicroscopy.org/Schemas/OME/2016-06/.
"""

import codecs
import re
from dataclasses import dataclass, field
from xml.etree.ElementTree import Element, SubElement, TreeBuilder
from xml.parsers import expat

from napari_why.images.formats import read_length

# Of the annotation that holds a record; files written by any version have it.
RECORD_NAMESPACE = "napari-why/record"
# The root element stands behind the declaration and comments, which may be long.
_BEFORE_ROOT = re.compile(r"(?:[\s\ufeff\0]+|<\?.*?\?>|<!--.*?-->)*", re.DOTALL)
# Of what is no comment; the root element of Bio-Formats has 400 letters.
ROOT_WITHIN = 4096
_ROOT = re.compile(r"<(?:\w+:)?OME[\s>]")
_ROOT_UUID = re.compile(r"<(?:\w+:)?OME\s[^>]*\bUUID\s*=\s*[\"']([^\"']*)")
_DECLARED = re.compile(rb"<\?xml[^>]*\bencoding\s*=\s*[\"']([A-Za-z0-9._-]+)")


@dataclass
class OmeDescription:
    """What an OME-XML document says about one of its images.

    ``pixel_size`` is in micrometres; ``record`` is the JSON text of the record this package
    wrote, empty for files of others; ``images`` counts the images of the document. ``sizes`` holds
    the numbers of pixels and planes along x, y, z, c, t, ``pixel_type`` the name of OME's pixel type,
    ``samples`` the sum of the channels' samples, ``notes`` what it tells and cannot be used.
    """

    channels: list[str] = field(default_factory=list)
    pixel_size: dict[str, float] = field(default_factory=dict)
    record: str = ""
    images: int = 0
    sizes: dict[str, int] = field(default_factory=dict)
    pixel_type: str = ""
    samples: int = 0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Block:
    """A ``TiffData`` element: planes of an image that lie in one file."""

    image: Element
    data: Element
    uuid: str
    file_name: str


def parse_ome_xml(text: str) -> OmeDescription:
    """Read what an OME-XML document says about its first image.

    Entity declarations are refused, nothing is fetched.

    Raises
    ------
    ValueError
        The text is not well-formed XML or declares entities.

    Examples
    --------
    >>> ome = parse_ome_xml('<OME><Image><Pixels PhysicalSizeX="650" PhysicalSizeXUnit="nm">'
    ...                     '<Channel Name="DAPI"/></Pixels></Image></OME>')
    >>> ome.channels, ome.pixel_size, ome.images
    (['DAPI'], {'x': 0.65}, 1)
    """
    root = parse_xml(text)
    return describe_image(root, next(iter(children(root, "Image")), None))


def parse_xml(text: str) -> Element:
    """Return the root of a document; its names keep their prefixes.

    Raises
    ------
    ValueError
        The text is not well-formed XML or declares entities.
    """
    builder = TreeBuilder()
    # What the document declares is of its bytes, which are decoded already.
    parser = expat.ParserCreate("utf-8")
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    parser.EntityDeclHandler = _refuse_entity
    try:
        parser.Parse(text.strip("\ufeff\0 \t\r\n").encode("utf-8"), True)
    except expat.ExpatError as error:
        raise ValueError(f"OME-XML that is not well-formed ({error})") from error
    return builder.close()


def _refuse_entity(name: str, *_: object) -> None:
    raise ValueError(f"OME-XML that declares the entity {name!r}")


def _is(element: Element, name: str) -> bool:
    return element.tag.rpartition(":")[2] == name


def children(element: Element, name: str) -> list[Element]:
    """Return the children of a name, whatever prefix that has.

    Parameters
    ----------
    element : Element
    name : str
        Without namespace.

    Returns
    -------
    list of Element
        Those directly below, in their order.
    """
    return [child for child in element if _is(child, name)]


def describe_image(root: Element, image: Element | None) -> OmeDescription:
    """Return what a document says about one of its images, or about none.

    Parameters
    ----------
    root : Element
        The document.
    image : Element or None
        One of its ``Image`` elements.

    Returns
    -------
    OmeDescription
    """
    ome = OmeDescription(images=len(children(root, "Image")), record=_record_text(root))
    for pixels in children(image, "Pixels") if image is not None else ():
        _describe_pixels(ome, pixels)
        for channel in children(pixels, "Channel"):
            label = channel.get("Name") or channel.get("Fluor") or ""
            ome.channels.append(label.strip())
            samples = channel.get("SamplesPerPixel", "1")
            ome.samples += int(samples) if samples.isdecimal() else 1
    return ome


def _record_text(root: Element) -> str:
    for element in root.iter():
        if _is(element, "CommentAnnotation") or _is(element, "XMLAnnotation"):
            values = children(element, "Value")
            if values and element.get("Namespace") == RECORD_NAMESPACE:
                return "".join(values[0].itertext())
    return ""


def _describe_pixels(ome: OmeDescription, pixels: Element) -> None:
    ome.pixel_type = pixels.get("Type", "")
    for dim in "xyzct":
        size = pixels.get(f"Size{dim.upper()}", "")
        if size.isdecimal():
            ome.sizes[dim] = int(size)
    for dim in "zyx":
        name = f"PhysicalSize{dim.upper()}"
        length, note = read_length(name, pixels.get(name), pixels.get(f"{name}Unit", "um"))
        if length is not None:
            ome.pixel_size[dim] = length
        ome.notes += note


def decode_xml(data: bytes) -> tuple[str, tuple[str, ...]]:
    """Decode XML by what its bytes are; what it declares is asked only where they leave it open."""
    for mark, encoding in (
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF32_LE, "utf-32-le"),  # begins as UTF-16 does
        (codecs.BOM_UTF32_BE, "utf-32-be"),
        (b"<\0\0\0", "utf-32-le"),
        (b"\0\0\0<", "utf-32-be"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
        (b"<\0", "utf-16-le"),
        (b"\0<", "utf-16-be"),
    ):
        if data.startswith(mark):
            # Writers end text with one zero byte, or take zeros away, a half of a letter too.
            whole = data + b"\0" if encoding == "utf-16-le" and len(data) % 2 else data
            return whole.decode(encoding, "ignore").strip("\ufeff\0"), ()
    plain = data.rstrip(b"\0")
    try:
        return plain.decode("utf-8"), ()
    except UnicodeDecodeError:
        declared = _DECLARED.search(plain[:ROOT_WITHIN])
    try:
        name = codecs.lookup(declared[1].decode()).name if declared else ""
        if name and not name.startswith("utf"):
            return plain.decode(name), ()
    except (LookupError, UnicodeDecodeError):
        name = ""
    words = (
        "The text of the OME-XML is not in the encoding that it declares; it is read as Latin-1."
    )
    # Windows' variant of Latin-1 has letters where the standard has control characters.
    return plain.decode("cp1252", "replace"), (words,)


def name_file(block: Block, uuid: str, file_name: str) -> None:
    """Write into a document where the planes of a block lie.

    Parameters
    ----------
    block : Block
        Its element is changed.
    uuid, file_name : str
        Of the file, as ``UUID`` and its ``FileName``.
    """
    place = next(iter(children(block.data, "UUID")), None)
    place = SubElement(block.data, "UUID") if place is None else place
    place.text = uuid
    place.set("FileName", file_name)


def find_blocks(root: Element) -> list[Block]:
    """Return all blocks of planes of a document, in its order."""
    return [
        Block(image, data, (place.text or "").strip(), place.get("FileName", "").strip())
        for image in children(root, "Image")
        for pixels in children(image, "Pixels")
        for data in children(pixels, "TiffData")
        for place in (*children(data, "UUID"), Element("UUID"))[:1]
    ]


def is_ome(text: str) -> bool:
    """Whether a text begins as OME-XML does."""
    return bool(_ROOT.search(_from_root(text)[:ROOT_WITHIN]))


def uuid_in(text: str) -> str:
    """Return the UUID that a document gives the file that holds it, empty where it gives none."""
    found = _ROOT_UUID.search(_from_root(text)[: 2 * ROOT_WITHIN])
    return found[1].strip() if found else ""


def _from_root(text: str) -> str:
    before = _BEFORE_ROOT.match(text)
    return text[before.end() :] if before else text
