"""What a channel's values tell about how they were made: said, never changed."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

SIGN_BIT = 2**15
STRETCH = 257
FEWEST_LEVELS = 64
# A pixel this many times above all but one in a thousand of its channel is a defect, not a cell.
HOT = 3.0
MOST_HOT_PIXELS = 8
# Full passes over the pixels are for what the sample makes likely, and for the maximum.
SAMPLE = 2**13


def intensity_notes(name: str, pixels: NDArray[Any]) -> tuple[str, ...]:
    """Return sentences about the values of one channel of a 16-bit image.

    Parameters
    ----------
    name : str
        The channel's name.
    pixels : ndarray
        Any shape; other types than uint16 have nothing to be said about.

    Examples
    --------
    >>> intensity_notes("DAPI", np.arange(256, dtype="uint16").reshape(16, 16) * 257)
    ('DAPI: all values are multiples of 257: 8-bit data stretched to 16 bit.',)
    >>> intensity_notes("DAPI", np.arange(33000, 37000, dtype="uint16"))[0][:49]
    'DAPI: all values are 32768 or more: signed data s'
    """
    if pixels.dtype != np.uint16 or pixels.size == 0:
        return ()
    flat = pixels.reshape(-1)
    sample = flat[:: -(-flat.size // SAMPLE) | 1]
    least, high = int(sample.min()), int(flat.max())
    notes = []
    if SIGN_BIT <= least < high and flat.min() >= SIGN_BIT:
        notes.append("all values are 32768 or more: signed data stored with an offset of 32768")
    elif _is_stretched(sample, flat):
        notes.append("all values are multiples of 257: 8-bit data stretched to 16 bit")
    elif 2**8 <= high < 2**12:
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
