"""Colormaps and limits for signed values over raw images."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from napari.utils import Colormap

NEGATIVE = (0.10, 0.55, 1.00)
POSITIVE = (1.00, 0.25, 0.05)


def diverging() -> "Colormap":
    """Return blue for negative and red for positive values, transparent at zero.

    Values near zero leave the raw image as it is; the stronger the value, the more it covers.
    """
    from napari.utils import Colormap

    value = np.linspace(-1, 1, 255)
    colours = np.where(value[:, None] > 0, POSITIVE, NEGATIVE)
    opacity = np.abs(value[:, None]) ** 0.8
    return Colormap(
        np.hstack([colours, opacity]), name="why_diverging", display_name="against (-) / for (+)"
    )


def symmetric_limits(values: NDArray[Any]) -> tuple[float, float]:
    """Return contrast limits around zero that hold every finite value.

    Examples
    --------
    >>> symmetric_limits(np.array([-2.0, 1.0]))
    (-2.0, 2.0)
    >>> symmetric_limits(np.zeros(3))
    (-1.0, 1.0)
    """
    finite = values[np.isfinite(values)]
    largest = float(np.abs(finite).max()) if finite.size else 0.0
    largest = largest or 1.0
    return (-largest, largest)
