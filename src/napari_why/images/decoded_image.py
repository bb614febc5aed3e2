"""An image decoded from one file or several, and what its values tell about how they were made."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_why.core.errors import ImageReadError
from napari_why.images.display import middle_of
from napari_why.images.file_names import parse_names
from napari_why.images.formats import LAZY_BYTES
from napari_why.images.image import ArrangedPixels, arrange_pixels, make_image

if TYPE_CHECKING:
    import xarray as xr

# What is added to signed values of 16 bits that are stored without a sign.
SIGN_BIT = 2**15
# Eight bits stretched to sixteen: 255 x 257 is 65535.
STRETCH = 257
# Of the 256 that eight bits have: an image of a few levels, a mask for one, may be multiples of 257
# by chance.
FEWEST_LEVELS = 64
# A pixel this many times above all but one in a thousand of its channel is a defect, not a cell.
HOT = 3.0
# More are a structure, such as a small cell.
MOST_HOT_PIXELS = 8
# Full passes over the pixels are for what the sample makes likely, and for the maximum.
SAMPLE = 2**13


def intensity_notes(names: Sequence[str], channels: NDArray[Any]) -> tuple[str, ...]:
    """Return sentences about the values of a 16-bit image.

    Parameters
    ----------
    names : sequence of str
        The channels' names.
    channels : ndarray, shape (C, ...)
        Other types than uint16 have nothing to be said about.

    Returns
    -------
    tuple of str

    Examples
    --------
    >>> intensity_notes(["DAPI"], np.arange(256, dtype="uint16").reshape(1, 16, 16) * 257)
    ('DAPI: all values are multiples of 257: 8-bit data stretched to 16 bit.',)
    >>> intensity_notes(["DAPI"], np.arange(33000, 37000, dtype="uint16")[None])[0][:49]
    'DAPI: all values are 32768 or more: signed data s'
    """
    if channels.dtype != np.uint16 or channels.size == 0:
        return ()
    highest = [int(channel.max()) for channel in channels]
    # A dim channel beside a bright one is dim: one camera writes one number of bits.
    few_bits = max(highest) < 2**12
    return tuple(
        note
        for name, channel, high in zip(names, channels, highest, strict=True)
        for note in _channel_notes(name, channel, high, few_bits=few_bits)
    )


def _channel_notes(
    name: str, pixels: NDArray[Any], high: int, *, few_bits: bool
) -> tuple[str, ...]:
    flat = pixels.reshape(-1)
    # An odd step does not run along the columns of images whose width is a power of two.
    sample = flat[:: -(-flat.size // SAMPLE) | 1].copy()
    least = int(sample.min())
    notes = []
    # The sample can only tell that something is not so; the whole is asked where it may be.
    if SIGN_BIT <= least < high and flat.min() >= SIGN_BIT:
        notes.append("all values are 32768 or more: signed data stored with an offset of 32768")
    elif _is_stretched(sample, flat):
        notes.append("all values are multiples of 257: 8-bit data stretched to 16 bit")
    elif high == least == 2**16 - 1 and int(flat.min()) == high:
        notes.append("all values are 65535, the largest there is: transparency, or overexposed")
    elif few_bits and high >= 2**8:
        notes.append(f"values reach {high}: 12 bits stored in 16")
    usual = float(np.partition(sample, rank := int(0.999 * (sample.size - 1)))[rank])
    if high > HOT * max(usual, 1.0):
        hot = int(np.count_nonzero(pixels > HOT * max(usual, 1.0)))
        if hot <= MOST_HOT_PIXELS:
            words = "1 hot pixel reaches" if hot == 1 else f"{hot} hot pixels reach"
            notes.append(f"{words} {high} where 99.9 % of the values stay below {usual:.0f}")
    return tuple(f"{name}: {note}." for note in notes)


def _is_stretched(sample: NDArray[Any], flat: NDArray[Any]) -> bool:
    """Whether all values are multiples of 257, and of enough levels for that to be no accident."""
    if (sample % STRETCH).any() or np.unique(sample).size < FEWEST_LEVELS:
        return False
    return not (flat % STRETCH).any()


# How a note begins that says what one file's name alone can mean.
NAME_DOUBT = "The file's name can mean channel "


@dataclass(frozen=True)
class DecodedImage:
    """What :func:`napari_why.images.read` returns, before it is made an ``xarray.DataArray``.

    Images are joined from files in this form, since making an array with names takes as long as
    opening a file.

    Parameters
    ----------
    path : Path
        The file.
    pixels : array
        NumPy or dask array.
    axes : str
        Letters of its axes: of t, c, z, y, x in that order; always c, y and x.
    channels : tuple of str
        Names.
    pixel_size : mapping of str to float
        Along the axes z, y, x that there are.
    unit : {"um", "pixel"}
        Unit of ``pixel_size``.
    source : str
        Where the pixels come from.
    notes : tuple of str
        Sentences the user should read.
    record : mapping
        The record in the file; empty when there is none.
    smaller : tuple of callable
        Decode the smaller resolutions of the same image, the next one first.
    origin : mapping of str to float
        Where the first pixel's centre lies along z, y and x, in ``unit``; 0 where left out.
    """

    path: Path
    pixels: Any
    axes: str
    channels: tuple[str, ...]
    pixel_size: Mapping[str, float]
    unit: str
    source: str
    notes: tuple[str, ...] = ()
    record: Mapping[str, Any] = field(default_factory=dict)
    smaller: "tuple[Callable[[], DecodedImage], ...]" = ()
    origin: Mapping[str, float] = field(default_factory=dict)

    @property
    def sizes(self) -> dict[str, int]:
        """Number of elements along each axis."""
        return dict(zip(self.axes, self.pixels.shape, strict=True))

    def with_intensity_notes(self) -> "DecodedImage":
        """Add what the values tell; of all channels at once, whose files may have been several.

        Of a dask array the first plane of each channel is looked at, or the middle of a large one,
        and the notes say so.
        """
        # Looking at all planes of a dask array would read the whole file.
        if isinstance(self.pixels, np.ndarray):
            by_channel = np.moveaxis(self.pixels, self.axes.index("c"), 0)
            said = intensity_notes(self.channels, by_channel)
        else:
            first = self.pixels[tuple(slice(None) if axis in "cyx" else 0 for axis in self.axes)]
            middle = first[middle_of(first.shape)]
            notes = intensity_notes(self.channels, np.asarray(middle))
            where = "First plane" if middle.shape == first.shape else "Middle of the first plane"
            said = tuple(f"{where} of {note}" for note in notes)
        return replace(self, notes=(*self.notes, *said))

    def arrange(self) -> ArrangedPixels:
        """Return the pixels with all that the user's array says of them."""
        return arrange_pixels(
            self.pixels,
            self.axes,
            self.channels,
            pixel_size=self.pixel_size,
            unit=self.unit,
            source=self.source,
            notes=self.notes,
        )

    def to_image(self) -> "xr.DataArray":
        """Return the user's array."""
        image = make_image(
            self.pixels,
            self.axes,
            self.channels,
            pixel_size=self.pixel_size,
            unit=self.unit,
            source=self.source,
            notes=self.notes,
            origin=self.origin,
        )
        if self.record:
            image.attrs["record"] = dict(self.record)
        return image


# Asked for memory for an image of some shape and type; None where it should have its own.
Room = Callable[[tuple[int, ...], np.dtype[Any]], NDArray[Any] | None]


class ChannelStack:
    """Memory of one image, in which each file's channel is decoded where it belongs.

    Decoding first and joining later would copy every pixel.

    Parameters
    ----------
    count : int
        Number of channels.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._whole: NDArray[Any] | None = None

    def place(self, index: int) -> Room:
        """Return the room of one channel."""

        def room(shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any] | None:
            whole = self._whole
            # Made for the first file that comes: its size and type are not known before.
            if whole is None and self._count * math.prod(shape) * dtype.itemsize <= LAZY_BYTES:
                whole = self._whole = np.empty((self._count, *shape), dtype)
            fits = whole is not None and (whole.shape[1:], whole.dtype) == (shape, dtype)
            return whole[index] if whole is not None and fits else None

        return room

    def join(self, arrays: Sequence[Any], axis: int) -> Any:
        """Return the channels as one array; copied only where they do not lie here already.

        Parameters
        ----------
        arrays : sequence of ndarray or dask array
            One a channel, of the same shape, with a channel axis of one element.
        axis : int
            The channel axis.

        Returns
        -------
        ndarray or dask array
            Dask where one of the arrays is.
        """
        whole = self._whole
        if axis == 0 and whole is not None and self._holds(whole, arrays):
            return whole.reshape(self._count, *arrays[0].shape[1:])
        if all(isinstance(array, np.ndarray) for array in arrays):
            return np.concatenate(arrays, axis=axis)
        dask_array: Any = import_module("dask.array")  # slow to import, and seldom needed
        return dask_array.concatenate(list(arrays), axis=axis)

    def _holds(self, whole: NDArray[Any], arrays: Sequence[Any]) -> bool:
        return len(arrays) == self._count and all(
            isinstance(array, np.ndarray) and _same_memory(array, place)
            for array, place in zip(arrays, whole, strict=True)
        )


def join_channels(
    paths: Sequence[Path],
    images: Sequence[DecodedImage],
    channels: Sequence[str] | None = None,
    stack: ChannelStack | None = None,
) -> DecodedImage:
    """Stack images of one channel along the channel axis.

    Parameters
    ----------
    paths : sequence of Path
        The files, in the order of the channels.
    images : sequence of DecodedImage
        What was read from them.
    channels : sequence of str, optional
        Channel names; by default those of OME-TIFF files, or from the files' names.
    stack : ChannelStack, optional
        Where the images were decoded into.

    Returns
    -------
    DecodedImage
        Its source names all files; without record and smaller images.

    Raises
    ------
    ImageReadError
        A file holds several channels, or two files differ in size, type or pixel size.
    """
    first = images[0]
    for path, image in zip(paths, images, strict=True):
        if len(image.channels) != 1:
            raise ImageReadError(
                path,
                f"{len(image.channels)} channels ({', '.join(image.channels)})",
                "one channel in each of several files",
                "open this file on its own",
            )
        _check_match(paths[0], first, path, image)
    names = tuple(channels) if channels is not None else _names_in_files(paths, images)
    if len(names) != len(paths):
        found = f"{len(names)} channel names for {len(paths)} files"
        raise ImageReadError(paths[0], found, "one name for each file")
    notes = [f"{name} is {path.name}." for name, path in zip(names, paths, strict=True)]
    for image in images:
        # What one name alone can mean is settled where all names of the image are known.
        told = [note for note in image.notes if not note.startswith(NAME_DOUBT)]
        notes += [note for note in told if note not in notes]
    pixels = (stack or ChannelStack(len(paths))).join(
        [image.pixels for image in images], first.axes.index("c")
    )
    return replace(
        first,
        pixels=pixels,
        channels=names,
        source="; ".join(map(str, paths)),
        notes=tuple(notes),
        # The record and the smaller images of one file are not those of the whole.
        record={},
        smaller=(),
    )


def _check_match(path: Path, image: DecodedImage, other_path: Path, other: DecodedImage) -> None:
    """Refuse to lay channels over each other that do not match pixel by pixel."""
    for what, mine, theirs in (
        ("axes and size", image.sizes, other.sizes),
        ("pixel type", image.pixels.dtype, other.pixels.dtype),
        ("unit", image.unit, other.unit),
        ("pixel size", image.pixel_size, other.pixel_size),
        ("place", image.origin, other.origin),
    ):
        if mine != theirs:
            raise ImageReadError(
                other_path,
                f"{what} {theirs}",
                f"{mine} as in {path}",
                "name files of one and the same field",
            )


def _names_in_files(paths: Sequence[Path], images: Sequence[DecodedImage]) -> tuple[str, ...]:
    """Take the names that OME-TIFF files give their one channel, or else the files' names."""
    names = tuple(image.channels[0] for image in images)
    own = all(re.search(r"\.ome\.tiff?$", path.name, re.IGNORECASE) for path in paths)
    # Numbers are what a file without a name has, and what programs write for lack of one.
    numbered = any(re.fullmatch(r"channel[ :_-]*[\d:]*", name, re.IGNORECASE) for name in names)
    if own and not numbered and len(set(names)) == len(names):
        return names
    return _names_of_files(paths)


def _names_of_files(paths: Sequence[Path]) -> tuple[str, ...]:
    """Take channel names from the files' names; the whole stems where no convention fits."""
    # In the light of each other, since they may lie in folders of their own.
    bare = dict.fromkeys(PurePath(path.name) for path in paths)
    known = list(parse_names(bare, one_image=True).values())
    names = tuple(name.channel for name in known)
    images = {(name.convention, name.image) for name in known}
    if len(known) == len(paths) and len(images) == 1 and len(set(names)) == len(names):
        return names
    stems = tuple(path.name.removesuffix(path.suffix).removesuffix(".ome") for path in paths)
    return stems if len(set(stems)) == len(stems) else tuple(map(str, paths))


def _same_memory(array: NDArray[Any], place: NDArray[Any]) -> bool:
    return (
        array.dtype == place.dtype
        and array.size == place.size
        and array.flags.c_contiguous
        and np.shares_memory(array, place)
    )


def check_finite(path: Path, pixels: Any) -> None:
    """Refuse NaN and infinity; large images are checked plane by plane.

    Parameters
    ----------
    path : Path
        Named in the error.
    pixels : ndarray or dask array, shape (..., H, W)
        Integers have nothing to be checked.

    Raises
    ------
    ImageReadError
        Tells how many there are, and the place of the first.
    """
    if pixels.dtype.kind != "f":
        return
    bad, first = 0, ()
    for index in np.ndindex(pixels.shape[:-2]):
        wrong = ~np.isfinite(np.asarray(pixels[index]))
        count = int(wrong.sum())
        if count and not bad:
            y, x = np.argwhere(wrong)[0]
            first = (*index, int(y), int(x))
        bad += count
    if bad:
        raise ImageReadError(
            path,
            f"{bad} values that are no finite numbers (NaN or infinity), the first at {first}",
            "finite intensities",
            "replace them, by the background for example, where you know what they stand for",
        )
