"""What a method hands back before it is placed on the source image."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class Evidence:
    """Signed evidence for one class on the pixels of the network's input.

    Parameters
    ----------
    maps : Tensor, shape (C, H, W)
        Evidence in each channel.
    joint : Tensor, shape (H, W)
        Evidence of all channels together.
    unit : str
        What a value means.
    gap : float or None
        Relative failure to add up, see :class:`napari_why.attribution.Attribution`.
    gap_meaning : str
        What is compared; empty where ``gap`` is None.
    details : mapping
        Further JSON facts for the record.
    partial : bool
        The work was cancelled and the maps hold what there was by then.
    """

    maps: Tensor
    joint: Tensor
    unit: str
    gap: float | None = None
    gap_meaning: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)
    partial: bool = False


def relative_gap(found: float, expected: float) -> float:
    """Return ``|found - expected|`` relative to ``|expected|``.

    Examples
    --------
    >>> relative_gap(0.99, 1.0) < 0.011, relative_gap(0.0, 0.0)
    (True, 0.0)
    """
    difference = abs(found - expected)
    return difference / max(abs(expected), 1e-12) if difference else 0.0
