"""An image decoded from a file: named axes and channels, not yet the array that users get."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from napari_why.errors import ImageReadError
from napari_why.images.file_names import parse_name
from napari_why.images.image import DIMS, SPATIAL_DIMS, default_names, make_image
from napari_why.images.intensity_notes import intensity_notes
from napari_why.images.stored_image import UNNAMED, StoredImage


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
