"""What a channel's values tell about how they were made: said, never changed."""

from collections.abc import Sequence
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
