"""What an attribution method returns."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_why.images.grid import Grid
from napari_why.record import Record


@dataclass(frozen=True)
class Attribution:
    """Signed evidence for one class, per pixel and channel.

    Parameters
    ----------
    maps : ndarray, float32, shape (C, H, W)
        Evidence for (+) and against (-) the class in each channel, at the resolution of the
        network's input.
    joint : ndarray, float32, shape (H, W)
        Evidence of all channels together: the sum of ``maps`` where the method is additive over
        channels, the method's own map where it is not (occlusion of all channels, CAM).
    channels : tuple of str
        Channel names of ``maps``.
    target : str
        The class that is explained.
    score : float
        The class's logit.
    unit : str
        What a value of the map means ("logit per window", "logit", "logit per pixel", ...).
    gap : float or None
        By how much the map fails to add up to what it should explain, relative to it
        (completeness, conservation); None where the method promises no such sum.
    gap_meaning : str
        What is compared ("sum of the map against the logit"); empty with ``gap`` None.
    grid : Grid
        Where the map's pixels lie on the source image.
    record : Record
        How the map was made.
    """

    maps: NDArray[np.float32]
    joint: NDArray[np.float32]
    channels: tuple[str, ...]
    target: str
    score: float
    unit: str
    gap: float | None
    gap_meaning: str
    grid: Grid
    record: Record
