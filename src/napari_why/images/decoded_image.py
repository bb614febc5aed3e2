"""What a channel's values tell about how they were made: said, never changed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from napari_why.core.errors import ImageReadError
from napari_why.images.file_names import parse_name
from napari_why.images.image import DIMS, SPATIAL_DIMS, default_names, make_image
from napari_why.images.stored_image import UNNAMED, StoredImage

SIGN_BIT = 2**15
STRETCH = 257
FEWEST_LEVELS = 64
# A pixel this many times above all but one in a thousand of its channel is a defect, not a cell.
HOT = 3.0
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
    sample = flat[:: -(-flat.size // SAMPLE) | 1].copy()
    least = int(sample.min())
    notes = []
    if SIGN_BIT <= least < high and flat.min() >= SIGN_BIT:
        notes.append("all values are 32768 or more: signed data stored with an offset of 32768")
    elif _is_stretched(sample, flat):
        notes.append("all values are multiples of 257: 8-bit data stretched to 16 bit")
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

    @property
    def sizes(self) -> dict[str, int]:
        """Number of elements along each axis."""
        return dict(zip(self.axes, self.pixels.shape, strict=True))

    def noted(self) -> "DecodedImage":
        """Add what the values tell; of all channels at once, whose files may have been several.

        Of a dask array the first plane of each channel is looked at, and the notes say so.
        """
        if isinstance(self.pixels, np.ndarray):
            by_channel = np.moveaxis(self.pixels, self.axes.index("c"), 0)
            said = intensity_notes(self.channels, by_channel)
        else:
            first = tuple(slice(None) if letter in "cyx" else 0 for letter in self.axes)
            notes = intensity_notes(self.channels, np.asarray(self.pixels[first]))
            said = tuple(f"First plane of {note}" for note in notes)
        return replace(self, notes=(*self.notes, *said))

    def to_image(self) -> xr.DataArray:
        """Return the user's array."""
        image = make_image(
            self.pixels,
            self.axes,
            self.channels,
            pixel_size=self.pixel_size,
            unit=self.unit,
            source=self.source,
            notes=self.notes,
        )
        if self.record:
            image.attrs["record"] = dict(self.record)
        return image


def named(
    stored: StoredImage, letters: str, pixels: Any, channels: Sequence[str] | None
) -> DecodedImage:
    """Name the axes and channels of decoded pixels.

    Parameters
    ----------
    stored : StoredImage
        What the file holds.
    letters : str
        Axes of ``pixels``, out of t, c, z, y, x in any order.
    pixels : array
        Decoded.
    channels : sequence of str or None
        Names instead of the file's.

    Raises
    ------
    ImageReadError
        The names are not as many as the channels, or values are no numbers.
    """
    _check_finite(stored.path, pixels)
    kept = [i for i, letter in enumerate(letters) if letter in "cyx" or pixels.shape[i] > 1]
    pixels = pixels.reshape([pixels.shape[i] for i in kept])
    axes = "".join(letters[i] for i in kept)
    if "c" not in axes:
        pixels, axes = pixels[None], "c" + axes
    ordered = "".join(letter for letter in DIMS if letter in axes)
    if ordered != axes:
        pixels = pixels.transpose([axes.index(letter) for letter in ordered])
    names, notes = _channel_names(stored, pixels.shape[ordered.index("c")], channels)
    known = bool(stored.pixel_size)
    if known and "z" in ordered and "z" not in stored.pixel_size:
        notes += ("The file does not tell the distance of z planes; 1 um is assumed.",)
    if isinstance(pixels, np.ndarray):
        pixels = np.ascontiguousarray(pixels)
    return DecodedImage(
        path=stored.path,
        pixels=pixels,
        axes=ordered,
        channels=names,
        pixel_size={dim: stored.pixel_size.get(dim, 1.0) for dim in SPATIAL_DIMS if dim in ordered},
        unit="um" if known else "pixel",
        source=str(stored.path),
        notes=stored.notes + notes,
        record=stored.record,
    )


def _channel_names(
    stored: StoredImage, count: int, channels: Sequence[str] | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names to use, and what there is to say about them."""
    if channels is not None:
        if len(channels) != count:
            raise ImageReadError(
                stored.path,
                f"{count} channels",
                f"{len(channels)}, the number of the names given ({', '.join(channels)})",
                "give one name for each channel of the file",
            )
        return tuple(str(name).strip() for name in channels), ()
    given = stored.channels
    parsed = parse_name(stored.path.name)
    if not given and count == 1 and parsed:
        return (parsed.channel,), ()
    if not given and UNNAMED in stored.axes and count == 2:
        return default_names(count), ("Two unnamed pages are taken as channels.",)
    if not given:
        return default_names(count), ()
    if len(given) != count:
        note = f"The file names {len(given)} channels but holds {count}; they are numbered."
        return default_names(count), (note,)
    names = []
    for index, name in enumerate(given):
        plain = "".join(letter for letter in name if letter.isprintable()).strip()
        plain = plain or f"channel {index + 1}"
        names.append(plain if plain not in names else f"{plain} ({index + 1})")
    changed = tuple(names) != tuple(given)
    note = f"Channel names of the file ({', '.join(map(repr, given))}) were completed."
    return tuple(names), (note,) if changed else ()


def _check_finite(path: Path, pixels: Any) -> None:
    """Refuse NaN and infinity; large images are checked plane by plane."""
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
