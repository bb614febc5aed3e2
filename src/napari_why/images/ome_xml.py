"""The part of OME-XML that describes pixels: channel names, pixel sizes, annotations.

Schema: OME Data Model 2016-06, https://www.openmicroscopy.org/Schemas/OME/2016-06/.
"""

from dataclasses import dataclass, field
from xml.parsers import expat

from napari_why.images.units import to_micrometres

RECORD_NAMESPACE = "napari-why/record"


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
