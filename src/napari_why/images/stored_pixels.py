"""What a file held, as an image: axes, channel names, notes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from napari_why.errors import ImageReadError
from napari_why.images.file_names import parse_name
from napari_why.images.image import SPATIAL_DIMS, make_image
from napari_why.images.stored_image import UNNAMED, StoredImage


def image_of(
    stored: StoredImage, letters: str, pixels: Any, channels: Sequence[str] | None
) -> xr.DataArray:
    """Make an image of the pixels that a file held.

    Parameters
    ----------
    stored : StoredImage
        What is known of the file.
    letters : str
        A letter of ``tczyx`` for each axis of ``pixels``; axes of one element may have none.
    pixels : array
        Decoded, NumPy or dask.
    channels : sequence of str or None
        Names that the user gives instead of the file's.

    Raises
    ------
    ImageReadError
        There are not as many channels as names.
    """
    kept = [i for i, letter in enumerate(letters) if letter in "cyx" or pixels.shape[i] > 1]
    pixels = pixels.reshape([pixels.shape[i] for i in kept])
    dims = [letters[i] for i in kept]
    count = pixels.shape[dims.index("c")] if "c" in dims else 1
    names, notes = _channel_names(stored, count, channels)
    known = bool(stored.pixel_size)
    if known and "z" in dims and "z" not in stored.pixel_size:
        notes += ("The file does not tell the distance of z planes; 1 um is assumed.",)
    image = make_image(
        pixels,
        dims,
        names,
        pixel_size={dim: stored.pixel_size.get(dim, 1.0) for dim in SPATIAL_DIMS},
        unit="um" if known else "pixel",
        source=str(stored.path),
        notes=stored.notes + notes,
    )
    if isinstance(image.data, np.ndarray):
        image.data = np.ascontiguousarray(image.data)
    if stored.record:
        image.attrs["record"] = dict(stored.record)
    return image


def check_finite(path: Path, pixels: Any) -> None:
    """Refuse NaN and infinity; large images are checked plane by plane.

    Raises
    ------
    ImageReadError
        Counts them and tells where the first one is.
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


def _channel_names(
    stored: StoredImage, count: int, channels: Sequence[str] | None
) -> tuple[tuple[str, ...] | None, tuple[str, ...]]:
    """Return the names to use, None for numbers, and what there is to say about them."""
    if channels is not None:
        if len(channels) != count:
            raise ImageReadError(
                stored.path,
                f"{count} channels",
                f"{len(channels)}, the number of the names given ({', '.join(channels)})",
                "give one name for each channel of the file",
            )
        return tuple(channels), ()
    given = stored.channels
    parsed = parse_name(stored.path.name)
    if not given and count == 1 and parsed:
        return (parsed.channel,), ()
    if not given and UNNAMED in stored.axes and count == 2:
        return None, ("Two unnamed pages are taken as channels.",)
    if not given:
        return None, ()
    if len(given) != count:
        note = f"The file names {len(given)} channels but holds {count}; they are numbered."
        return None, (note,)
    names = []
    for index, name in enumerate(given):
        plain = "".join(letter for letter in name if letter.isprintable()).strip()
        plain = plain or f"channel {index + 1}"
        names.append(plain if plain not in names else f"{plain} ({index + 1})")
    changed = tuple(names) != tuple(given)
    note = f"Channel names of the file ({', '.join(map(repr, given))}) were completed."
    return tuple(names), (note,) if changed else ()
