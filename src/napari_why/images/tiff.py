"""What the three formats of TIFF share: pages, what their tags tell, and decoding them.

Decoders of deflate, Zstandard and PackBits refuse to decode more than there is room for. Those of
LZW and LZMA stop without a word when the room is full, and so do all for pixels of other than whole
bytes, for which there is room enough: a page that is longer or wider than its tags say would be
cut, or its rows shifted. So the end of such pages is checked when they are decoded.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any
from uuid import uuid4

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
    ORIENTATION,
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
# Below are pixels of cameras of many megapixels (1.85 and 2.4 um), and also those that an objective
# of 2x or 4x makes of larger ones: nobody knows which.
SMALLEST_CAMERA_PIXEL = 1.8
# The largest of scientific cameras are 24 um; 300 dots per inch are 85 um, which means nothing.
LARGEST_CAMERA_PIXEL = 25.0
PRINT_UNITS = {RESUNIT.INCH: "inch", RESUNIT.CENTIMETER: "cm"}

# Compressions whose decoder stops without a word when the room is full: LZW and LZMA.
ENDLESS = (5, 34925)
# Those without loss (also deflate by both its numbers, PackBits, Zstandard), for which the bytes
# of a page are known; of JPEG and the like, the decoder tells the size itself.
LOSSLESS = (*ENDLESS, 8, 32946, 32773, 50000)
# Larger pages are read in parts: some 5800 x 5800 pixels of 16 bits, more than a camera has, so
# that only slides are. A part has about 2048 x 2048, for what a viewer shows at once.
WHOLE_PAGE_BYTES = 64 * 2**20
BLOCK_BYTES = 8 * 2**20
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

    Returns
    -------
    sizes : dict of str to float
        µm by ``y`` and ``x``; without what no microscope has.
    doubts : tuple of str
        Sentences.
    """
    tag_unit = PRINT_UNITS.get(RESUNIT(page.resolutionunit or RESUNIT.NONE), "")
    sizes: dict[str, float] = {}
    doubts: tuple[str, ...] = ()
    for dim, resolution in zip("xy", page.resolution, strict=True):
        unit = (units or {}).get(dim) or tag_unit
        size = to_micrometres(1 / resolution, unit) if resolution > 0 else None
        if size is None:
            continue
        if unit in PRINT_UNITS.values() and size >= SMALLEST_CAMERA_PIXEL:
            doubts = _doubt_camera(size)
        if unit not in PRINT_UNITS.values() or size <= LARGEST_MICROSCOPE_PIXEL:
            sizes[dim] = size
    return sizes, doubts


def _doubt_camera(size: float) -> tuple[str, ...]:
    if size > LARGEST_CAMERA_PIXEL:
        return ()
    if size <= LARGEST_MICROSCOPE_PIXEL:
        return (
            f"The pixel size of {size:.4g} um stands in the resolution tags alone; it may be that of "
            "a camera, and not of the specimen.",
        )
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


def is_aside(page: Any, image: Any) -> bool:
    """Whether a page is no part of an image, as a preview, a mask or a picture in colours is not.

    Parameters
    ----------
    page : TiffPage
    image : TiffPage
        One that is known to belong to the image.

    Returns
    -------
    bool
    """
    differs = (page.imagewidth, page.imagelength) != (image.imagewidth, image.imagelength)
    coloured = bool(colour_model(page)) != bool(colour_model(image))
    own = not differs and page.dtype == image.dtype and not coloured
    return bool(page.is_reduced or page.is_mask) or not own


def without_alpha(stored: StoredImage, page: TiffPage) -> StoredImage:
    """Return an image without the transparency of its pixels, which is no intensity; noted.

    Parameters
    ----------
    stored : StoredImage
    page : TiffPage
        One of its pages, which says what its samples are.

    Returns
    -------
    StoredImage
        As it is where no sample is transparency, or all are.
    """
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
        load=lambda _: stored.load(None).reshape(stored.shape)[pick],
        notes=(
            *stored.notes,
            "The transparency (alpha) of the pixels is no channel, and not read.",
        ),
    )


def page_notes(source: SourceFile, page: TiffPage) -> tuple[str, ...]:
    """Return what the user should know about how a page stores its values, and others theirs.

    Parameters
    ----------
    source : SourceFile
        All its pages are asked for their orientation.
    page : TiffPage

    Returns
    -------
    tuple of str
        Sentences.
    """
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
    turned = {directory.number(ORIENTATION, 1) for directory in page_directories(source)}
    turned &= {1, *ORIENTATIONS}
    if len(turned) > 1:
        notes.append(
            f"Pages of the file are to be shown in different orientations ({', '.join(map(str, sorted(turned)))}); "
            "they are laid over each other as they are stored."
        )
    if page.subifds:
        notes.append("Smaller or further images below the pages (SubIFDs) are not read.")
    return tuple(notes)


def check_planes_apart(source: SourceFile, series: Any) -> None:
    """Refuse planes that follow the first one in the file, but not where their pages say.

    Parameters
    ----------
    source : SourceFile
    series : TiffPageSeries
        One without an offset of its own is not stored in one piece, and passes.

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
        dask arrays that read the file again when they are computed; a chunk is a plane, or whole
        strips or tiles of one that is larger than ``WHOLE_PAGE_BYTES``.

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
    block = _block_of_page(series.keyframe)
    needed = math.prod(block) * dtype.itemsize
    check_fits_memory(path, f"a part of an image of {words} pixels", needed)
    return _load_later(path, series, block)


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


def _load_later(path: Path, series: TiffPageSeries, block: tuple[int, ...]) -> Any:
    """Return a dask array that reads a part of the file for each of its chunks."""
    da: Any = import_module("dask.array")  # half a second to import, which small images do without
    shape, keyframe = series.shape, series.keyframe
    native = np.dtype(series.dtype).newbyteorder("=")
    leading = len(shape) - keyframe.ndim
    if series.dataoffset is not None:
        stored = native.newbyteorder(keyframe.parent.byteorder)
        # Given as an array, dask would copy the mapped file into its graph.
        read_block = partial(_read_raw, path, series.dataoffset, stored, shape)
    else:
        # The pages of one OME-TIFF may be in several files.
        pages = [
            (Path(page.parent.filehandle.path), page.index) for page in _pages_there(series.pages)
        ]
        read_block = partial(_read_block, path, pages, shape[:leading])
    return da.map_blocks(
        read_block,
        chunks=da.core.normalize_chunks((1,) * leading + block, shape),
        dtype=native,
        meta=np.empty((0,) * len(shape), native),
        # A name made of the arguments would be that of the file before it was written anew.
        name=f"tiff-{uuid4().hex}",
    )


def _block_of_page(keyframe: Any) -> tuple[int, ...]:
    """Return the shape of the part of a page that is read at once: whole strips or tiles."""
    shape: tuple[int, ...] = keyframe.shape
    if keyframe.nbytes <= WHOLE_PAGE_BYTES or keyframe.axes not in ("YX", "YXS"):
        return shape
    height, width = (1, 1) if keyframe.is_contiguous else _segment_size(keyframe)
    room = BLOCK_BYTES * shape[0] * shape[1] // (keyframe.nbytes * height * width)
    times = max(1, room if width >= shape[1] else math.isqrt(room))
    across = width if width >= shape[1] else times * width
    return (min(height * times, shape[0]), min(across, shape[1]), *shape[2:])


def _segment_size(keyframe: Any) -> tuple[int, int]:
    """Return height and width of the strips or tiles of a page."""
    if keyframe.is_tiled:
        return keyframe.tilelength, keyframe.tilewidth
    return keyframe.rowsperstrip, keyframe.imagewidth


def _pages_there(pages: Sequence[Any]) -> list[Any]:
    return [page for page in pages if page is not None]


def _read_raw(
    path: Path,
    offset: int,
    stored: np.dtype[Any],
    shape: tuple[int, ...],
    block_info: dict[Any, Any] | None = None,
) -> NDArray[Any]:
    """Read a part of pixels that stand in the file as they are."""
    where = tuple(slice(*ends) for ends in (block_info or {})[None]["array-location"])
    try:
        pixels: NDArray[Any] = np.memmap(path, dtype=stored, mode="r", offset=offset, shape=shape)
        return np.array(pixels[where], stored.newbyteorder("="))
    except (OSError, ValueError) as error:
        raise _decoding_error(path, error) from error


def _read_block(
    path: Path,
    pages: Sequence[tuple[Path, int]],
    leading: tuple[int, ...],
    block_info: dict[Any, Any] | None = None,
) -> NDArray[Any]:
    """Decode one page, or a part of it, of a file that was whole when it was opened."""
    where = (block_info or {})[None]["array-location"]
    count = len(leading)
    number = int(np.ravel_multi_index([a for a, _ in where[:count]], leading)) if count else 0
    place, index = pages[number]
    try:
        with TiffFile(place) as file:
            page = file.pages[index]
            keyframe: Any = page.keyframe
            inside = where[count:]
            if all(b - a == size for (a, b), size in zip(inside, keyframe.shape, strict=True)):
                check_end_of_page(page, path)
                pixels = page.asarray()
            else:
                pixels = _decode_part(path, page, inside)
            return _to_native_order(pixels.reshape([b - a for a, b in where]))
    except ImageReadError:
        raise
    except Exception as error:
        raise _decoding_error(path, error) from error


def _decode_part(path: Path, page: Any, where: Sequence[tuple[int, int]]) -> NDArray[Any]:
    """Decode the strips or tiles of a page that lie in a part of it."""
    (top, bottom), (left, right) = where[0], where[1]
    keyframe = page.keyframe
    if keyframe.is_contiguous:
        pixels: NDArray[Any] = page.asarray(out="memmap")
        return np.array(pixels[top:bottom, left:right])
    height, width = _segment_size(keyframe)
    across = -(-keyframe.imagewidth // width)
    down = -(-keyframe.imagelength // height)
    if bottom == keyframe.imagelength and right == keyframe.imagewidth:
        check_end_of_page(page, path)
    out = np.full([b - a for a, b in where], keyframe.nodata, keyframe.dtype)
    jpeg = {"jpegtables": page.jpegtables, "jpegheader": keyframe.jpegheader}
    for row in range(top // height, min(-(-bottom // height), down)):
        for column in range(left // width, min(-(-right // width), across)):
            number = row * across + column
            handle = page.parent.filehandle
            handle.seek(page.dataoffsets[number])
            data = handle.read(page.databytecounts[number])
            segment, _, _ = keyframe.decode(data, number, **jpeg)
            if segment is None:
                continue
            y, x = row * height - top, column * width - left
            part = segment[0].reshape(*segment.shape[1:3], *out.shape[2:])
            into = out[y : y + part.shape[0], x : x + part.shape[1]]
            into[...] = part[: into.shape[0], : into.shape[1]]
    return out


def _decoding_error(path: Path, error: Exception) -> ImageReadError:
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return ImageReadError(path, f"pixels that do not decode ({reason})", "intact data", COPY_AGAIN)
