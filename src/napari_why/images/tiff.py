"""What the three formats of TIFF share: pages, what their tags tell, and decoding them.

Decoders of deflate, Zstandard and PackBits refuse to decode more than there is room for. Those of
LZW and LZMA stop without a word when the room is full, and so do all for pixels of other than whole
bytes, for which there is room enough: a page that is longer or wider than its tags say would be
cut, or its rows shifted. So the end of such pages is checked when they are decoded.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from tifffile import PHOTOMETRIC, RESUNIT, TiffFile, TiffFrame, TiffPage, TiffPageSeries

from napari_why.core.errors import ImageReadError
from napari_why.images.formats import (
    LAZY_BYTES,
    SAMPLES,
    UNNAMED,
    SourceFile,
    StoredImage,
    check_fits_memory,
    to_micrometres,
)
from napari_why.images.tiff_integrity import (
    COPY_AGAIN,
    WHOLE_FILE,
    Directory,
    check_free,
    check_page_chain,
    is_tiff,
    segment_spans,
)

COLOUR_MODELS = {
    PHOTOMETRIC.RGB: "an RGB colour picture",
    PHOTOMETRIC.YCBCR: "a YCbCr colour picture",
    PHOTOMETRIC.SEPARATED: "a CMYK colour picture",
    PHOTOMETRIC.CIELAB: "a CIELAB colour picture",
    PHOTOMETRIC.ICCLAB: "an ICC Lab colour picture",
    PHOTOMETRIC.ITULAB: "an ITU Lab colour picture",
}

# What the tag ExtraSamples calls transparency (TIFF 6.0, section 18): associated or not.
ALPHA = (1, 2)
# What the tag Orientation asks of a viewer (TIFF 6.0, section 8); 1 is as stored.
ORIENTATIONS = {
    2: "mirrored left to right",
    3: "turned by 180 degrees",
    4: "mirrored top to bottom",
    5: "mirrored at the diagonal from top left",
    6: "turned by 90 degrees clockwise",
    7: "mirrored at the diagonal from top right",
    8: "turned by 90 degrees counter-clockwise",
}

# Micrometres. Resolutions in dots per inch or cm describe paper, screens or bare cameras unless
# they come to a pixel that a microscope could have: pixels of cameras begin at 3.45 um, and a
# camera of 6.5 um behind an objective of 2x sees 3.25 um.
LARGEST_MICROSCOPE_PIXEL = 3.4
# The largest of scientific cameras are 24 um; 300 dots per inch are 85 um, which means nothing.
LARGEST_CAMERA_PIXEL = 25.0
PRINT_UNITS = {RESUNIT.INCH: "inch", RESUNIT.CENTIMETER: "cm"}

# Compressions whose decoder stops without a word when the room is full: LZW and LZMA.
ENDLESS = (5, 34925)
# Those without loss (also deflate by both its numbers, PackBits, Zstandard), for which the bytes
# of a page are known; of JPEG and the like, the decoder tells the size itself.
LOSSLESS = (*ENDLESS, 8, 32946, 32773, 50000)
# Bits of a sample that numpy has a type for: these are decoded without unpacking.
WHOLE_BYTES = (8, 16, 32, 64)


def begins_as_tiff(source: SourceFile) -> bool:
    """Whether the first bytes are those of a TIFF file."""
    return is_tiff(source.head)


def page_directories(source: SourceFile) -> tuple[Directory, ...]:
    """Return the directories of all pages, found whole and without contradiction.

    Raises
    ------
    ImageReadError
        They are not.
    """
    return source.shared(_read_directories)


def tiff_file(source: SourceFile) -> TiffFile:
    """Return the open TIFF file, after its chain of pages has been found whole.

    Raises
    ------
    ImageReadError
        The chain is broken, or its pages contradict each other.
    """
    return source.shared(_open_tiff)


def _read_directories(source: SourceFile) -> tuple[Directory, ...]:
    return check_page_chain(source.path)


def _open_tiff(source: SourceFile) -> TiffFile:
    # tifffile leaves out what it cannot follow, so the chain is followed first.
    if not page_directories(source):
        raise source.error("a TIFF header without any page")
    return TiffFile(source.path)


def holds_intensities(source: SourceFile) -> bool:
    """Whether a file is a TIFF whose first page, as far as it can be read, is no colour picture.

    A damaged TIFF counts, so that reading it says what is wrong with it.
    """
    return begins_as_tiff(source) and source.shared(_first_page_has_intensities)


def _first_page_has_intensities(source: SourceFile) -> bool:
    try:
        with source.understanding(), TiffFile(source.path) as tiff:
            page = tiff.pages.first
            return np.dtype(page.dtype).kind in "buif" and not colour_model(page)
    except ImageReadError:
        return True


def series_axes(series: TiffPageSeries) -> tuple[str, tuple[int, ...]]:
    """Return letters and sizes of a series' axes, without those of one element but c, y, x.

    Letters are ``tczyx``, "s" for samples and "?" where the file does not name the axis.
    """
    pairs = zip(series.get_axes(squeeze=False), series.get_shape(squeeze=False), strict=True)
    # tifffile has letters of its own (Q, I) for axes that it numbers but cannot name.
    named = [(axis.lower() if axis in "TCZYXS" else UNNAMED, size) for axis, size in pairs]
    kept = [(axis, size) for axis, size in named if size != 1 or axis in "cyx"]
    return "".join(axis for axis, _ in kept), tuple(size for _, size in kept)


def resolution_in_micrometres(
    page: TiffPage, units: Mapping[str, str] | None = None
) -> tuple[dict[str, float], tuple[str, ...]]:
    """Return the pixel size along y and x as far as the resolution tags tell it, and doubts.

    Parameters
    ----------
    page : TiffPage
        The page.
    units : mapping of str to str, optional
        Units of length along x and y from elsewhere (ImageJ); where there is none, the page's own,
        inch or centimetre.
    """
    tag_unit = PRINT_UNITS.get(RESUNIT(page.resolutionunit or RESUNIT.NONE), "")
    sizes: dict[str, float] = {}
    doubts: tuple[str, ...] = ()
    for dim, resolution in zip("xy", page.resolution, strict=True):
        unit = (units or {}).get(dim) or tag_unit
        size = to_micrometres(1 / resolution, unit) if resolution > 0 else None
        if size is None:
            continue
        if unit in PRINT_UNITS.values() and size > LARGEST_MICROSCOPE_PIXEL:
            doubts = _doubt_camera(size)
        else:
            sizes[dim] = size
    return sizes, doubts


def _doubt_camera(size: float) -> tuple[str, ...]:
    if size > LARGEST_CAMERA_PIXEL:
        return ()
    return (
        f"The resolution tags come to {size:.4g} um a pixel, as of a camera without a microscope; "
        "the pixel size counts as unknown.",
    )


def colour_model(page: TiffPage) -> str:
    """Return what makes a page a colour picture, in words; empty for intensities.

    Sixteen-bit and floating-point RGB is taken as three channels, since microscopes write it so;
    eight-bit RGB and colour maps that are no ramp of one colour are pictures.
    """
    if page.photometric == PHOTOMETRIC.PALETTE:
        return "" if _is_ramp(page.colormap) else "a picture of indexed colours"
    if page.photometric not in COLOUR_MODELS or page.samplesperpixel < 3:
        return ""
    if page.photometric == PHOTOMETRIC.RGB and np.dtype(page.dtype) != np.uint8:
        return "an RGB colour picture with transparency" if alpha_samples(page) else ""
    return COLOUR_MODELS[PHOTOMETRIC(page.photometric)]


def _is_ramp(colours: NDArray[Any] | None) -> bool:
    """Whether a colour map rises with the value, so that the value is an intensity."""
    if colours is None or colours.size == 0:
        return False
    steps = np.diff(colours.astype(np.int64), axis=1)  # they are uint16, which knows no decrease
    return bool((steps >= 0).all() and steps.any())


def alpha_samples(page: TiffPage) -> frozenset[int]:
    """Return which samples of a pixel are its transparency, counted from 0."""
    extra = tuple(page.extrasamples or ())
    first = page.samplesperpixel - len(extra)
    return frozenset(first + i for i, kind in enumerate(extra) if kind in ALPHA)


def without_alpha(stored: StoredImage, page: TiffPage) -> StoredImage:
    """Return an image without the transparency of its pixels, which is no intensity; noted."""
    alpha, axis = alpha_samples(page), stored.axes.find(SAMPLES)
    if not alpha or axis < 0 or stored.shape[axis] != page.samplesperpixel:
        return stored
    kept = [i for i in range(page.samplesperpixel) if i not in alpha]
    if not kept:
        return stored
    pick: tuple[Any, ...] = (slice(None),) * axis + (kept if len(kept) > 1 else kept[0],)
    shape = [*stored.shape[:axis], len(kept), *stored.shape[axis + 1 :]]
    axes = stored.axes
    if len(kept) == 1:
        axes = axes.replace(SAMPLES, "")
        del shape[axis]
    return replace(
        stored,
        axes=axes,
        shape=tuple(shape),
        load=lambda _: stored.load(None)[pick],
        notes=(
            *stored.notes,
            "The transparency (alpha) of the pixels is no channel, and not read.",
        ),
    )


def page_notes(page: TiffPage) -> tuple[str, ...]:
    """Return what the user should know about how a page stores its values."""
    notes = []
    if page.photometric == PHOTOMETRIC.MINISWHITE:
        notes.append("The file stores white as 0; the values are kept as they are.")
    if page.photometric == PHOTOMETRIC.RGB and not colour_model(page):
        notes.append("Red, green and blue samples are taken as channels.")
    orientation = page.tags.valueof("Orientation")
    if orientation in ORIENTATIONS:
        notes.append(
            f"The file says that its picture is to be shown {ORIENTATIONS[orientation]} (orientation "
            f"{int(orientation)}); the pixels are kept as they are stored, as ImageJ and "
            "napari show them."
        )
    if page.subifds:
        notes.append("Smaller or further images below the pages (SubIFDs) are not read.")
    return tuple(notes)


def check_planes_apart(source: SourceFile, series: Any) -> None:
    """Refuse planes that follow the first one in the file, but not where their pages say.

    Raises
    ------
    ImageReadError
        Names the page.
    """
    if series.dataoffset is None:
        return
    plane = series.keyframe.nbytes
    planes = math.prod(series.shape) * np.dtype(series.dtype).itemsize // plane
    start, pages = series.dataoffset, page_directories(source)
    check_free(pages, start, start + planes * plane, source.path)
    if len(pages) != planes:
        return  # ImageJ writes one page for all planes of a large stack
    for number, page in enumerate(pages, start=1):
        spans = segment_spans(page)
        if not spans or spans[0][0] != start + (number - 1) * plane:
            found = f"page {number} elsewhere than after the pages before it"
            raise source.error(found, COPY_AGAIN)


def check_page_data(
    pages: Sequence[TiffPage | TiffFrame | None], size_of_file: dict[str, int], path: Path
) -> None:
    """Check that all strips and tiles of the pages exist and lie inside their files.

    Parameters
    ----------
    pages : sequence of page or None
        Pages of one image; None stands for a page that the metadata promise and no file holds.
    size_of_file : dict of str to int
        Length in bytes of the files that hold them, by path; filled in as needed.
    path : Path
        The file the user named.

    Raises
    ------
    ImageReadError
        Says how many pages or strips are missing.
    """
    missing = sum(page is None for page in pages)
    if missing:
        raise ImageReadError(
            path,
            f"{missing} of {len(pages)} planes missing",
            "all planes that the metadata name",
            COPY_AGAIN + ", with all files that belong to it",
        )
    for page in pages:
        if page is not None:
            handle = page.parent.filehandle
            size = size_of_file.setdefault(str(handle.path), handle.size)
            _check_segments(page, size, path)


def _check_segments(page: TiffPage | TiffFrame, size: int, path: Path) -> None:
    offsets, counts = page.dataoffsets, page.databytecounts
    keyframe = page.keyframe
    if keyframe is None:
        raise ImageReadError(path, f"page {page.index} without tags", WHOLE_FILE, COPY_AGAIN)
    needed = math.prod(keyframe.chunked)
    stored = sum(1 for offset, count in zip(offsets, counts, strict=False) if offset and count)
    end = max((a + b for a, b in zip(offsets, counts, strict=False)), default=0)
    if keyframe.is_contiguous and offsets:
        stored = needed
        end = offsets[0] + keyframe.nbytes
    if stored < needed:
        found = f"{needed - stored} of {needed} strips or tiles of page {page.index} missing"
        raise ImageReadError(path, found, WHOLE_FILE, COPY_AGAIN)
    if end > size:
        found = f"{size} bytes where page {page.index} needs {end}"
        raise ImageReadError(path, found, WHOLE_FILE, COPY_AGAIN)


def check_end_of_page(page: Any, path: Path) -> None:
    """Decode the last strip or tile of a page once more, with room for one more byte.

    A wrong width, type or number of rows shows in every strip; the last one is enough.

    Parameters
    ----------
    page : TiffPage or TiffFrame
        A page of an open file.
    path : Path
        The file the user named.

    Raises
    ------
    ImageReadError
        It decodes to more or fewer bytes than the page's tags say.
    """
    keyframe = page.keyframe
    checked = ENDLESS if keyframe.bitspersample in WHOLE_BYTES else LOSSLESS
    if keyframe.compression not in checked or keyframe.fillorder != 1:
        return
    wanted = _bytes_of_last_segment(keyframe)
    with Path(page.parent.filehandle.path).open("rb") as file:
        file.seek(page.dataoffsets[-1])
        data = file.read(page.databytecounts[-1])
    found = len(tifffile.TIFF.DECOMPRESSORS[keyframe.compression](data, out=wanted + 1))
    if found != wanted:
        more = "more" if found > wanted else "fewer"
        words = f"{more} bytes in the last strip or tile of page {page.index + 1}"
        raise ImageReadError(path, words, f"{wanted}, as the image's size asks for", COPY_AGAIN)


def _bytes_of_last_segment(keyframe: Any) -> int:
    """Return how many bytes the last strip or tile has once decoded."""
    samples = keyframe.samplesperpixel if keyframe.planarconfig == 1 else 1
    if keyframe.is_tiled:
        rows, width = keyframe.tilelength, keyframe.tilewidth
    else:
        rows = keyframe.imagelength % keyframe.rowsperstrip or keyframe.rowsperstrip
        width = keyframe.imagewidth
    return int(rows * -(-width * samples * keyframe.bitspersample // 8))


def load_series(path: Path, series: TiffPageSeries, out: NDArray[Any] | None = None) -> Any:
    """Decode a series of pages.

    Parameters
    ----------
    path : Path
        The file the user named.
    series : TiffPageSeries
        One image of an open file.
    out : ndarray, optional
        Where to decode to, of the series' shape and type in native byte order; may be left unused.

    Returns
    -------
    ndarray or dask array
        The series' shape, native byte order. Images larger than ``LAZY_BYTES`` once decoded are
        dask arrays, one chunk a plane, that read the file again when they are computed.

    Raises
    ------
    ImageReadError
        Parts of the file are missing or do not decode, or the memory does not hold them.
    """
    shape, dtype = series.shape, np.dtype(series.dtype)
    planes = math.prod(shape) // series.keyframe.size
    size = math.prod(shape) * dtype.itemsize
    _check_complete(path, series, planes, size)
    words = " x ".join(map(str, shape))
    if size <= LAZY_BYTES:
        check_fits_memory(path, f"an image of {words} pixels", size)
        try:
            for page in _pages_there(series.pages):
                check_end_of_page(page, path)
            # Decoding into foreign byte order would need the copy that `out` is to save.
            return _to_native_order(series.asarray(out=out if dtype.isnative else None))
        except ImageReadError:
            raise
        except Exception as error:
            raise _decoding_error(path, error) from error
    check_fits_memory(path, f"a plane of an image of {words} pixels", size // planes)
    return _load_later(path, series)


def _check_complete(path: Path, series: TiffPageSeries, planes: int, size: int) -> None:
    check_page_data(list(series.pages), {}, path)
    if series.dataoffset is None:
        held = len(series.pages)
        if held != planes:
            raise ImageReadError(path, f"{held} planes", f"{planes}", COPY_AGAIN)
    elif series.dataoffset + size > path.stat().st_size:
        found = f"{path.stat().st_size} bytes"
        raise ImageReadError(path, found, f"at least {series.dataoffset + size}", COPY_AGAIN)


def _to_native_order(array: NDArray[Any]) -> NDArray[Any]:
    # torch takes native byte order only
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _load_later(path: Path, series: TiffPageSeries) -> Any:
    da: Any = import_module("dask.array")  # half a second to import, which small images do without
    shape, keyframe = series.shape, series.keyframe
    native = np.dtype(series.dtype).newbyteorder("=")
    if series.dataoffset is not None:
        stored: NDArray[Any] = np.memmap(
            path,
            dtype=native.newbyteorder(series.keyframe.parent.byteorder),
            mode="r",
            offset=series.dataoffset,
            shape=shape,
        )
        chunks = (1,) * (len(shape) - keyframe.ndim) + keyframe.shape
        # Without a name of its own dask would hash the pixels, which reads the whole file.
        return da.from_array(stored, chunks=chunks, name=False).astype(native)
    planes = [
        da.from_delayed(_delay_page(path, page), keyframe.shape, native)
        for page in _pages_there(series.pages)
    ]
    return da.stack(planes).reshape(shape)


def _pages_there(pages: Sequence[Any]) -> list[Any]:
    return [page for page in pages if page is not None]


def _delay_page(path: Path, page: Any) -> Any:
    dask: Any = import_module("dask")
    # The pages of one OME-TIFF may be in several files.
    place = Path(page.parent.filehandle.path)
    return dask.delayed(_read_page, pure=False)(place, page.index, path)


def _read_page(place: Path, index: int, path: Path) -> NDArray[Any]:
    """Decode one page of a file that was whole when it was opened."""
    try:
        with TiffFile(place) as file:
            check_end_of_page(file.pages[index], path)
            return _to_native_order(file.pages[index].asarray())
    except ImageReadError:
        raise
    except Exception as error:
        raise _decoding_error(path, error) from error


def _decoding_error(path: Path, error: Exception) -> ImageReadError:
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return ImageReadError(path, f"pixels that do not decode ({reason})", "intact data", COPY_AGAIN)
