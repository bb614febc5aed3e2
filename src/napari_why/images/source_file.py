"""A file that may be an image: opened once, asked by every format whether it is theirs."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from types import TracebackType

from tifffile import TiffFile

from napari_why.core.errors import ImageReadError
from napari_why.images.tiff_directory import Directory
from napari_why.images.tiff_integrity import check_page_chain, is_tiff

SUPPORTED = "an OME-TIFF, ImageJ TIFF, plain TIFF, or one TIFF for each channel"
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


class SourceFile:
    """A regular file, with what has been read of it so far.

    Parameters
    ----------
    path : Path
        Where it is.

    Raises
    ------
    ImageReadError
        There is no such file, it is not a regular file, is empty or cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._check_regular()
        try:
            with path.open("rb") as file:
                self.head = file.read(HEAD_BYTES)
        except OSError as error:
            raise self.error(f"a file that cannot be opened ({error.strerror})") from error
        if not self.head:
            raise self.error("an empty file (0 bytes)", "copy or export it again")

    def __enter__(self) -> "SourceFile":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.is_tiff and "tiff" in self.__dict__:
            self.tiff.close()

    @property
    def is_tiff(self) -> bool:
        """Whether the first bytes are those of a TIFF file."""
        return is_tiff(self.head)

    @cached_property
    def pages(self) -> tuple[Directory, ...]:
        """The directories of all pages, found whole and without contradiction."""
        return check_page_chain(self.path)

    @cached_property
    def tiff(self) -> TiffFile:
        """The TIFF file, after its chain of pages has been found whole."""
        if not self.pages:
            raise self.error("a TIFF header without any page")
        return TiffFile(self.path)

    def kind(self) -> str:
        """Return what the file is, judged by its first bytes, in words."""
        for signature, name in SIGNATURES:
            if self.head.startswith(signature):
                return name
        text = self.head.removeprefix(b"\xef\xbb\xbf")
        if all(byte >= 32 or byte in b"\t\r\n\f" for byte in text):
            return f"a text file that begins with {text[:40].decode('utf-8', 'replace')!r}"
        return f"a file of unknown format (first bytes {self.head[:8].hex(' ')})"

    def error(self, found: str, advice: str = "") -> ImageReadError:
        """Return the error for this file, naming what was found and what is supported."""
        return ImageReadError(self.path, found, SUPPORTED, advice)

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

    def _check_regular(self) -> None:
        try:
            if self.path.is_file():
                return
            exists, folder = self.path.exists(), self.path.is_dir()
        except (OSError, ValueError) as error:
            raise self.error(f"a path that cannot be used ({error})") from error
        if folder:
            raise self.error("a folder", "name a file in it, or open the folder as a data set")
        if exists:
            raise self.error("something that is not a regular file (a pipe or device)")
        raise self.error("no such file", "check the spelling and whether the drive is connected")
