"""The planes of an image one by one, in the pixel type of the file that they go into."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from napari_why.core.errors import ImageWriteError


def planes_of(image: xr.DataArray, pixel_type: np.dtype[Any]) -> Iterator[NDArray[Any]]:
    """Yield the planes of an image one by one, so that a dask array is never held whole.

    Raises
    ------
    ImageWriteError
        A value is no finite number, or the pixel type does not hold it exactly.
    """
    for index in np.ndindex(image.shape[:-2]):
        plane = np.asarray(image.data[index])
        if plane.dtype.kind == "f" and not np.isfinite(plane).all():
            raise ImageWriteError(
                f"{image.attrs.get('source', '')}: found values that are no finite numbers in "
                f"plane {index}; expected finite values"
            )
        with np.errstate(over="ignore"):
            exact = plane.astype(pixel_type)
        if not np.array_equal(exact, plane):
            raise ImageWriteError(
                f"found {plane.dtype} values that {pixel_type} does not hold exactly; expected "
                "float32; round them with image.astype('float32') if that is meant"
            )
        yield np.ascontiguousarray(exact)
