"""What a file holds, in the file's own terms: the step between a format and an image."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
