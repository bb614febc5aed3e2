"""Lengths in whatever unit a file uses, as micrometres."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from napari_why.core.errors import ImageReadError

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


GIBIBYTE = 2**30
# What every machine has; asking for the free memory takes as long as reading a small image.
ALWAYS_FREE = 32 * 2**20
LAZY_BYTES = 256 * 2**20
"""Images of more bytes once decoded are read plane by plane, when they are needed."""


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


UNNAMED = "?"
SAMPLES = "s"


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
