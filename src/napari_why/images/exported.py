"""From raw intensities as computed to the pixels that are shown, saved and judged."""

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray


def export_dtype(source: DTypeLike) -> np.dtype[Any]:
    """Return the dtype in which counterfactuals of a source image are exported.

    A 16-bit integer source keeps its dtype: rounding costs half a grey level of thousands. An
    8-bit source does not, since rounding there can wipe out the whole change; nor does any
    other dtype.

    Examples
    --------
    >>> export_dtype("uint16").name, export_dtype("uint8").name, export_dtype("float64").name
    ('uint16', 'float32', 'float32')
    """
    dtype = np.dtype(source)
    return dtype if dtype.kind in "iu" and dtype.itemsize == 2 else np.dtype(np.float32)


def exported(raw: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return raw intensities as ``dtype``: rounded and clipped for integers, unclipped for floats.

    Parameters
    ----------
    raw : ndarray
        Raw intensity units, any shape.
    dtype : dtype
        What :func:`export_dtype` returned.
    """
    if dtype.kind == "f":
        return raw.astype(dtype)
    limits = np.iinfo(dtype)
    whole: NDArray[Any] = np.clip(np.rint(raw), limits.min, limits.max).astype(dtype)
    return whole


def share_out_of_range(raw: NDArray[Any], source: DTypeLike) -> float:
    """Return the share of values that the source's dtype cannot hold; 0 for float sources.

    Half a grey level beyond the limits rounds back to them and is not counted.
    """
    dtype = np.dtype(source)
    if dtype.kind not in "iu":
        return 0.0
    limits = np.iinfo(dtype)
    return float(np.mean((raw < limits.min - 0.5) | (raw > limits.max + 0.5)))
