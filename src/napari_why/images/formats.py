"""What an image format is: one entry of a registry, and what it is given and gives back.

A format is one file of code: it says whether a file is its own, by the first bytes or the
structure, and describes what the file holds. Everything that opens images asks the registry:
:func:`napari_why.images.read`, napari's reader, data sets, plates and the page Data. Another
package adds a format with ``FORMATS.add(Format(...))`` in a module that it names under the entry
point ``napari_why.formats``; see ``docs/extending.md``.
"""

import math
import os
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import psutil
from numpy.typing import NDArray

from napari_why.core.errors import ImageReadError
from napari_why.core.folders import FolderWalk, is_folder, is_link, show
from napari_why.core.record import Record
from napari_why.core.registry import Registry

if TYPE_CHECKING:
    import xarray as xr

Found = TypeVar("Found")

# Enough for every signature below and for a line of text; one block of most disks.
HEAD_BYTES = 512

# First bytes of files that people try, to call them by their name.
SIGNATURES = (
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture (8 bits, whose compression changes intensities)"),
    (b"GIF8", "a GIF picture"),
    (b"BM", "a BMP picture"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"\x89HDF", "an HDF5 file"),
    (b"%PDF", "a PDF document"),
    (b"ZISRAWFILE", "a Zeiss CZI file"),
    (b"\xda\xce\xbe\x0a", "a Nikon ND2 file"),
    (b"\x70\x00\x00\x00", "a Leica LIF file"),
    (b"\xd0\xcf\x11\xe0", "an OLE file (Zeiss ZVI, Olympus OIB)"),
    (b"\x93NUMPY", "a NumPy array"),
)

# Micrometres of each unit as programs spell it; ASCII only, see SPELLINGS.
MICROMETRES = {
    "um": 1.0,
    "micron": 1.0,
    "microns": 1.0,
    "micrometer": 1.0,
    "micrometers": 1.0,
    "micrometre": 1.0,
    "micrometres": 1.0,
    "mikrometer": 1.0,  # German, Danish, Polish
    "micrometro": 1.0,  # Italian, Spanish and Portuguese without accents
    "pm": 1e-6,
    "picometer": 1e-6,
    "picometre": 1e-6,
    "nm": 1e-3,
    "nanometer": 1e-3,
    "nanometers": 1e-3,
    "nanometre": 1e-3,
    "nanometres": 1e-3,
    "a": 1e-4,
    "angstrom": 1e-4,
    "mm": 1e3,
    "millimeter": 1e3,
    "millimeters": 1e3,
    "millimetre": 1e3,
    "millimetres": 1e3,
    "cm": 1e4,
    "centimeter": 1e4,
    "centimetre": 1e4,
    "dm": 1e5,
    "m": 1e6,
    "meter": 1e6,
    "meters": 1e6,
    "metre": 1e6,
    "metres": 1e6,
    "thou": 25.4,
    "mil": 25.4,
    "in": 25400.0,
    "inch": 25400.0,
    "inches": 25400.0,
}

# The micro sign, the Greek mu (which many programs write instead), the escape that ImageJ writes
# into its descriptions, entities of HTML, and the ring that tells an angstrom from an ampere.
SPELLINGS = {
    "\u00b5": "u", "\u03bc": "u", "\\u00b5": "u", "\\u03bc": "u", "&micro;": "u", "&#181;": "u", "&#xb5;": "u",
    "\u00e5": "a", "\u212b": "a", "\u00e8": "e", "\u00f3": "o",
}  # fmt: skip
# "um/pixel", "um per px", "[um]" and "um." are lengths of a pixel too.
_OF_A_PIXEL = re.compile(r"(?:\s*(?:/|\bper\b)\s*(?:px|pixels?|vox|voxels?))?[\s.\])]*$")

GIBIBYTE = 2**30  # bytes; what operating systems count memory in
# What every machine has; asking for the free memory takes as long as reading a small image.
ALWAYS_FREE = 32 * 2**20
# Images of more bytes once decoded are read plane by plane, when they are needed. A field of two
# channels of 2160 x 2160 pixels has 19 MB, so that only stacks and slides are.
LAZY_BYTES = 256 * 2**20

# Letters of stored axes beside t, c, z, y, x.
UNNAMED = "?"  # the file does not say what this axis is
SAMPLES = "s"  # the samples of a pixel, such as red, green and blue


def to_micrometres(value: float, unit: str) -> float | None:
    r"""Convert a length, or return None where it is none (unit "pixel", not a positive number).

    Parameters
    ----------
    value : float
    unit : str
        In any spelling that is known (:data:`MICROMETRES`).

    Returns
    -------
    float or None
        µm.

    Examples
    --------
    >>> to_micrometres(650, "nm"), to_micrometres(0.5, "\u00b5m"), to_micrometres(1, "pixel")
    (0.65, 0.5, None)
    """
    # Squared letters (U+339B) become plain ones; a megametre differs from a millimetre by its case.
    plain = unicodedata.normalize("NFKC", _mend_text(unit).strip(" [(\0\t\r\n"))
    plain = plain.lower() if plain != "Mm" else ""
    for spelling, letter in SPELLINGS.items():
        plain = plain.replace(spelling, letter)
    plain = _OF_A_PIXEL.sub("", plain)
    factor = MICROMETRES.get(plain)
    if factor is None or not (math.isfinite(value) and value > 0):
        return None
    if factor == 1.0:
        return value
    # A decimal rounding takes away what the conversion, not the file, added (0.6500000000000001).
    return float(f"{value * factor:.12g}")


def _mend_text(text: str) -> str:
    """Undo the reading of UTF-8 as Latin-1, which makes two letters of a micro sign."""
    try:
        return text.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return text


def read_length(name: str, text: str | None, unit: str) -> tuple[float | None, tuple[str, ...]]:
    """Read a length of metadata in micrometres; None, and a sentence, where it is none.

    Parameters
    ----------
    name : str
        What the file calls it.
    text : str or None
        As it stands in the file; None where it does not, of which nothing is said.
    unit : str
        Its unit in the file.

    Returns
    -------
    length : float or None
        µm, more than 0.
    notes : tuple of str
        The sentence, or none.

    Examples
    --------
    >>> read_length("PhysicalSizeX", "650", "nm")
    (0.65, ())
    >>> read_length("PhysicalSizeX", "0", "um")
    (None, ("The file tells PhysicalSizeX as '0' um, which is no length; it counts as unknown.",))
    """
    if text is None or not text.strip():
        return None, ()
    try:
        # Python takes "1_0" for 10, which no file means
        length = to_micrometres(float(text), unit) if "_" not in text else None
    except ValueError:
        length = None
    if length is not None:
        return length, ()
    words = f"The file tells {name} as {text.strip()!r} {unit}, which is no length"
    return None, (f"{words}; it counts as unknown.",)


def check_fits_memory(path: Path, what: str, needed: int) -> None:
    """Refuse to decode what the memory that is free now cannot hold.

    Parameters
    ----------
    path : Path
        The file.
    what : str
        What is to be decoded ("an image of 2 x 100000 x 100000 pixels").
    needed : int
        Bytes once decoded.

    Raises
    ------
    ImageReadError
        Tells both numbers.
    """
    if needed <= ALWAYS_FREE:
        return
    free = psutil.virtual_memory().available
    if needed > free:
        raise ImageReadError(
            path,
            f"{what} that takes {needed / GIBIBYTE:.3g} GiB once decoded",
            f"at most the {free / GIBIBYTE:.3g} GiB of memory that are free",
            "if the size is right, crop or downscale the image; if not, the file is damaged",
        )


class SourceFile:
    """A regular file or a folder, with what the formats have found out about it so far.

    Parameters
    ----------
    path : Path
        Where it is.

    Raises
    ------
    ImageReadError
        There is no such file, it is neither a regular file nor a folder, is empty or cannot be
        opened.

    Attributes
    ----------
    path : Path
        Where it is.
    is_folder : bool
        Whether it is a folder.
    head : bytes
        Its first bytes; of a folder none.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.is_folder = self._check_kind()
        self.head = b"" if self.is_folder else self._read_head()
        self._shared: dict[Any, Any] = {}
        self._opened = ExitStack()

    def __enter__(self) -> "SourceFile":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._opened.close()

    def shared(self, find: "Callable[[SourceFile], Found]") -> Found:
        """Return what ``find`` finds out about this file; asked once, whoever asks again.

        Three formats look into every TIFF; parsing its pages is most of the time that opening it
        takes. What can be closed is closed together with this file.
        """
        if find not in self._shared:
            found = find(self)
            if isinstance(found, AbstractContextManager):
                self._opened.enter_context(found)
            self._shared[find] = found
        answer: Found = self._shared[find]
        return answer

    def kind(self) -> str:
        """Return what the file is, judged by its first bytes, in words."""
        if self.is_folder:
            return "a folder"
        for signature, name in SIGNATURES:
            if self.head.startswith(signature):
                return name
        text = self.head.removeprefix(b"\xef\xbb\xbf")
        # Bytes of 32 and more are text in every 8-bit encoding; below, only white space is.
        if all(byte >= 32 or byte in b"\t\r\n\f" for byte in text):
            return f"a text file that begins with {text[:40].decode('utf-8', 'replace')!r}"
        return f"a file of unknown format (first bytes {self.head[:8].hex(' ')})"

    def error(self, found: str, advice: str = "") -> ImageReadError:
        """Return the error for this file, naming what was found and what is supported.

        Parameters
        ----------
        found : str
            What the file is instead of an image.
        advice : str
            What to do about it; empty where there is nothing to say.

        Returns
        -------
        ImageReadError
        """
        # The latest registered is named first, as it is asked first.
        known = ", ".join(reversed(tuple(FORMATS)))
        return ImageReadError(
            self.path, found, f"an image ({known}), or one file for each channel", advice
        )

    @contextmanager
    def understanding(self) -> Iterator[None]:
        """Turn whatever a damaged file makes a library raise into the error for this file."""
        try:
            yield
        except ImageReadError:
            raise
        except Exception as error:
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise self.error(f"a file that cannot be understood ({reason})") from error

    def _check_kind(self) -> bool:
        """Whether it is a folder; anything else has to be a regular file."""
        try:
            if self.path.is_file():
                return False
            exists, folder = self.path.exists(), self.path.is_dir()
        except (OSError, ValueError) as error:
            raise self.error(f"a path that cannot be used ({error})") from error
        if exists and not folder:
            # Opening a pipe would wait for a writer for ever.
            raise self.error("something that is not a regular file (a pipe or device)")
        if not exists and self.path.is_symlink():
            target = show(self.path.readlink())
            raise self.error(f"a link to {target}, which is not there", "connect the drive")
        if not exists:
            raise self.error(
                "no such file", "check the spelling and whether the drive is connected"
            )
        try:
            os.scandir(self.path).close()
        except OSError as error:
            raise self.error(f"a folder that cannot be opened ({error.strerror})") from error
        return True

    def _read_head(self) -> bytes:
        try:
            with self.path.open("rb") as file:
                head = file.read(HEAD_BYTES)
        except OSError as error:
            raise self.error(f"a file that cannot be opened ({error.strerror})") from error
        if not head:
            raise self.error("an empty file (0 bytes)", "copy or export it again")
        return head


@dataclass(frozen=True)
class StoredImage:
    """An image in a file, described but not yet decoded.

    Parameters
    ----------
    path : Path
        The file.
    format : str
        Its format, as the user calls it ("OME-TIFF").
    axes : str
        A letter for each stored axis, slowest first: ``tczyx`` where the file names them, "s" for
        the samples of a pixel, "?" where the file does not say.
    shape : tuple of int
        Sizes of the stored axes.
    dtype : dtype
        Type of the pixels.
    load : callable
        Decode: returns a NumPy or dask array of that shape in native byte order. Takes an array
        to decode into, or None; a format may leave it unused.
    channels : tuple of str
        Channel names of the file; empty when it has none.
    pixel_size : mapping of str to float
        Micrometres along z, y, x, as far as the file tells.
    colour : str
        What makes the image a colour picture, for which intensities have no meaning; empty for
        images that are none.
    notes : tuple of str
        Sentences the user should read.
    record : mapping
        The record that stands in the file; empty when there is none.
    smaller : tuple of callable
        Describe the smaller resolutions of the same image, the next one first.
    origin : mapping of str to float
        Where the centre of the first pixel lies along z, y, x, as far as the file tells: in
        micrometres where ``pixel_size`` is known, else in pixels.
    files : tuple of Path
        All files that hold its pixels, where there are more than the named one.
    """

    path: Path
    format: str
    axes: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    load: Callable[[NDArray[Any] | None], Any]
    channels: tuple[str, ...] = ()
    pixel_size: Mapping[str, float] = field(default_factory=dict)
    colour: str = ""
    notes: tuple[str, ...] = ()
    record: Mapping[str, Any] = field(default_factory=dict)
    smaller: "tuple[Callable[[], StoredImage], ...]" = ()
    origin: Mapping[str, float] = field(default_factory=dict)
    files: tuple[Path, ...] = ()


@dataclass(frozen=True)
class PlateImage:
    """One of several images in a folder: a field of a plate, or one of a series.

    Parameters
    ----------
    well : str
        As metadata tell it ("B03"); empty for an image of no plate.
    field : str
        Its name in the well or series.
    path : Path
        Its own folder.
    acquisition : str
        Which of a plate's acquisitions it belongs to; empty where the plate tells none.
    """

    well: str
    field: str
    path: Path
    acquisition: str = ""


@dataclass(frozen=True)
class Writer:
    """How images of a format are written.

    Parameters
    ----------
    write : callable
        ``(image, part, pixel_type, record)``: write an image to the path ``part``, where nothing
        is yet; whoever calls it puts the part in place.
    pixel_types : tuple of str
        The pixel types that the format has.
    """

    write: "Callable[[xr.DataArray, Path, np.dtype[Any], Record | None], None]"
    pixel_types: tuple[str, ...]


@dataclass(frozen=True)
class Format:
    """One image format.

    Parameters
    ----------
    name : str
        As the user calls it.
    suffixes : tuple of str
        How names of its files usually end, in small letters (``(".tif", ".tiff")``), the best one
        to write first. Dialogs offer them and plates are searched for them; what a file is, its
        bytes tell, never its name.
    recognises : callable
        Whether a file or folder is of this format, judged by its first bytes or its structure.
        May raise ImageReadError for a damaged one.
    describe : callable
        What it holds; decodes no pixel.
    folder : bool
        Its images are folders; only folders are shown to it, else only files.
    can_read : callable, optional
        A quicker look than ``recognises``, for whether to offer the file to the user; asked of
        every file that is dropped into napari.
    fields : callable, optional
        The images of a folder that is a plate or a series of images, None where it is one image.
    writer : Writer, optional
        How an image is written in this format.
    field_notes : callable, optional
        What the user should read about a folder of several images, such as wells that are missing.
    plate_of : callable, optional
        The plate that the folder of an image belongs to, None where it belongs to none.
    """

    name: str
    suffixes: tuple[str, ...]
    recognises: Callable[[SourceFile], bool]
    describe: Callable[[SourceFile], StoredImage]
    folder: bool = False
    can_read: Callable[[SourceFile], bool] | None = None
    fields: Callable[[SourceFile], Sequence[PlateImage] | None] | None = None
    writer: Writer | None = None
    field_notes: Callable[[SourceFile], Sequence[str]] | None = None
    plate_of: Callable[[Path], Path | None] | None = None


FORMATS: Registry[Format] = Registry("format", "napari_why.formats")


def find_format(source: SourceFile) -> Format | None:
    """Return the format that recognises a file or folder, None where none does.

    Raises
    ------
    ImageReadError
        The file begins like one of a format and is damaged.
    """
    return next((form for form in _formats_for(source) if form.recognises(source)), None)


def offers_to_read(source: SourceFile) -> bool:
    """Whether a format can read a file or folder, by the quickest look that it has."""
    return any((form.can_read or form.recognises)(source) for form in _formats_for(source))


def _formats_for(source: SourceFile) -> Iterator[Format]:
    # The last one registered is asked first: a general format (plain TIFF takes any TIFF) comes
    # before the special ones, and those of other packages, more special still, after all of ours.
    for form in reversed(tuple(FORMATS.values())):
        if form.folder == source.is_folder:
            yield form


def is_image_folder(folder: Path) -> bool:
    """Whether a folder is an image, or a plate of images, of a format; its files are no images."""
    with SourceFile(folder) as source:
        return find_format(source) is not None


def image_places(folder: Path, walk: FolderWalk | None = None) -> list[Path]:
    """Return all files below a folder, and in place of their files the folders that are images.

    In the order of names; for a plate or a series of images the folder of each. Whether a file is
    an image shows when it is read; so does why a folder
    cannot be opened or a link leads nowhere, which stand among the files. Litter of servers and
    microscopes is passed over, and what lies there twice by links is returned once.

    Parameters
    ----------
    folder : Path
    walk : FolderWalk, optional
        Told what was passed over.

    Returns
    -------
    list of Path
    """
    walk = FolderWalk(folder, file_suffixes()) if walk is None else walk
    if not _is_gone_into(folder) and folder.is_dir():
        return _folders_of(folder)
    found: list[Path] = []
    folders, links = [folder], list[Path]()
    # Links come last: what lies here under a name of its own is found under that one.
    while folders or links:
        place = folders.pop() if folders else links.pop(0)
        if place != folder and not _is_gone_into(place):
            if not is_link(place) or walk.take_link(place):
                found += _folders_of(place)
            continue
        try:
            entries = walk.enter(place)
        except OSError:  # no permission, or gone meanwhile: reading it says so
            found.append(place)
            continue
        for entry in entries:
            if is_link(entry):
                links.append(Path(entry.path))
            else:
                (folders if is_folder(entry) else found).append(Path(entry.path))
    return sorted(found)


def _is_gone_into(place: Path) -> bool:
    """Whether a place is a folder of files; images, and what cannot be opened, are to be read."""
    try:
        return place.is_dir() and not is_image_folder(place)
    except (ImageReadError, OSError):
        return False


def _folders_of(folder: Path) -> list[Path]:
    """Return the folder of each image in an image folder: of one image, or a file, itself."""
    try:
        held = folder_images(folder)
    except (ImageReadError, OSError):
        return [folder]  # whoever reads it is told what is wrong with it
    return [folder] if held is None else [image.path for image in held]


def folder_images(folder: Path) -> Sequence[PlateImage] | None:
    """Return the images of a folder that is a plate or a series; None for any other folder.

    Raises
    ------
    ImageReadError
        Its metadata are incomplete.
    """
    with SourceFile(folder) as source:
        form = find_format(source) if source.is_folder else None
        return form.fields(source) if form is not None and form.fields is not None else None


def folder_notes(folder: Path) -> Sequence[str]:
    """Return what the user should read about a folder of several images; of others nothing."""
    with SourceFile(folder) as source:
        form = find_format(source) if source.is_folder else None
        return form.field_notes(source) if form is not None and form.field_notes else ()


def plates_of(paths: Iterable[Path]) -> dict[Path, tuple[Path, PlateImage]]:
    """Return, for each path that is a field of a plate, that plate and what it says of the field.

    Files and folders of no plate are left out.
    """
    known: dict[Path, dict[Path, PlateImage]] = {}
    found = {}
    for path in paths:
        if path.is_file():
            continue
        asked = (form.plate_of(path) for form in FORMATS.values() if form.plate_of)
        plate = next(filter(None, asked), None)
        if plate is None:
            continue
        if plate not in known:
            try:
                known[plate] = {image.path: image for image in folder_images(plate) or ()}
            except ImageReadError:
                known[plate] = {}
        if path in known[plate]:
            found[path] = (plate, known[plate][path])
    return found


def file_suffixes() -> tuple[str, ...]:
    """Return the endings of image files of all formats, in small letters, each once.

    Of an ending of two parts (".ome.tif") the last one is returned.
    """
    known = (form.suffixes for form in FORMATS.values() if not form.folder)
    ends = ("." + suffix.rpartition(".")[2] for suffixes in known for suffix in suffixes)
    return tuple(dict.fromkeys(ends))


def file_patterns() -> tuple[str, ...]:
    """Return the patterns of image files for a dialog, in small letters and in capitals."""
    # Qt's dialog tells capitals from small letters on Linux; instruments write both.
    suffixes = file_suffixes()
    return tuple(f"*{end}" for end in (*suffixes, *(suffix.upper() for suffix in suffixes)))
