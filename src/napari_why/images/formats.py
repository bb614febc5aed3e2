"""What an image format is: one entry of a registry, and what it is given and gives back.

A format is one file of code: it says whether a file is its own, by the first bytes or the
structure, and describes what the file holds. Everything that opens images asks the registry:
:func:`napari_why.images.read`, napari's reader, data sets, plates and the Open dock. Another
package adds a format with ``FORMATS.add(Format(...))`` in a module that it names under the entry
point ``napari_why.formats``; see ``docs/extending.md``.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
import psutil
import xarray as xr
from numpy.typing import NDArray

from napari_why.core.errors import ImageReadError
from napari_why.core.record import Record
from napari_why.core.registry import Registry

Found = TypeVar("Found")

# Enough for every signature below and for a line of text; one block of most disks.
HEAD_BYTES = 512

# First bytes of files that people try, to call them by their name.
SIGNATURES = (
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
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
    "nm": 1e-3,
    "nanometer": 1e-3,
    "nanometre": 1e-3,
    "a": 1e-4,
    "angstrom": 1e-4,
    "mm": 1e3,
    "millimeter": 1e3,
    "millimetre": 1e3,
    "cm": 1e4,
    "centimeter": 1e4,
    "centimetre": 1e4,
    "m": 1e6,
    "meter": 1e6,
    "metre": 1e6,
    "in": 25400.0,
    "inch": 25400.0,
    "inches": 25400.0,
}

# The micro sign, the Greek mu (which many programs write instead), the escape that ImageJ writes
# into its descriptions, and the ring that tells an angstrom from an ampere.
SPELLINGS = {"\u00b5": "u", "\u03bc": "u", "\\u00b5": "u", "\u00e5": "a", "\u212b": "a"}

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

    Examples
    --------
    >>> to_micrometres(650, "nm"), to_micrometres(0.5, "\u00b5m"), to_micrometres(1, "pixel")
    (0.65, 0.5, None)
    """
    plain = unit.strip().lower()
    for spelling, letter in SPELLINGS.items():
        plain = plain.replace(spelling, letter)
    factor = MICROMETRES.get(plain)
    if factor is None or not (math.isfinite(value) and value > 0):
        return None
    if factor == 1.0:
        return value
    # A decimal rounding takes away what the conversion, not the file, added (0.6500000000000001).
    return float(f"{value * factor:.12g}")


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
        """Return the error for this file, naming what was found and what is supported."""
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
        if not exists:
            raise self.error(
                "no such file", "check the spelling and whether the drive is connected"
            )
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

    write: Callable[[xr.DataArray, Path, np.dtype[Any], Record | None], None]
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


def image_places(folder: Path) -> Iterator[Path]:
    """Yield all files below a folder, and in place of their files the folders that are images.

    In the order of names; for a plate or a series of images the folder of each. Whether a file is
    an image shows when it is read.
    """
    if is_image_folder(folder):
        yield from _folders_of(folder)
        return
    for path in sorted(folder.iterdir()):
        if path.is_file():
            yield path
        elif path.is_dir() and is_image_folder(path):
            yield from _folders_of(path)
        elif path.is_dir() and not path.is_symlink():  # a link may lead back to where we are
            yield from image_places(path)


def _folders_of(folder: Path) -> list[Path]:
    """Return the folder of each image in an image folder: of one image, itself."""
    try:
        held = folder_images(folder)
    except ImageReadError:
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
