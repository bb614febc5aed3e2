"""Whether an image fits a classifier: everything that does not, in one error."""

from collections.abc import Sequence

import numpy as np
import xarray as xr

from napari_why.datasets.preprocessing import Preprocessing
from napari_why.errors import MismatchError
from napari_why.images import channel_names


def single_plane(image: xr.DataArray) -> xr.DataArray:
    """Return the image (c, y, x) without time and depth axes of length 1."""
    alone = [dim for dim in ("t", "z") if image.sizes.get(dim) == 1]
    return image.isel(dict.fromkeys(alone, 0), drop=True)


def check_image(
    image: xr.DataArray, channels: Sequence[str], preprocessing: Preprocessing
) -> xr.DataArray:
    """Return the image as one plane per channel (c, y, x).

    Raises
    ------
    MismatchError
        Lists all that does not fit: axes, channels, pixel type, values that are not finite, size.
    """
    plane = single_plane(image)
    problems = _axis_problems(plane) or [
        *_channel_problems(plane, channels),
        *_pixel_problems(plane, channels),
        *_size_problems(plane, preprocessing),
    ]
    if problems:
        source = image.attrs.get("source") or "image"
        raise MismatchError(f"{source} does not fit the classifier: {'; '.join(problems)}")
    return plane


def _axis_problems(image: xr.DataArray) -> list[str]:
    if image.dims == ("c", "y", "x"):
        return []
    more = [str(dim) for dim in image.dims if dim not in ("c", "y", "x")]
    advice = (
        "take one plane, such as image.isel(" + ", ".join(f"{dim}=0" for dim in more) + ")"
        if more
        else "give it a channel axis"
    )
    return [f"found axes {', '.join(map(str, image.dims))}, expected c, y, x ({advice})"]


def _channel_problems(image: xr.DataArray, channels: Sequence[str]) -> list[str]:
    there = channel_names(image)
    missing = [name for name in channels if name not in there]
    if not missing:
        return []
    return [
        f"found {len(there)} channel{'s' if len(there) != 1 else ''} named {', '.join(there)}, "
        f"expected {len(channels)} named {', '.join(channels)}; {', '.join(missing)} "
        f"{'is' if len(missing) == 1 else 'are'} missing (name the channels when opening the image)"
    ]


def _pixel_problems(image: xr.DataArray, channels: Sequence[str]) -> list[str]:
    if image.dtype.kind not in "uif":
        return [f"found pixels of type {image.dtype}, expected integers or floating point numbers"]
    if image.dtype.kind != "f":
        return []
    pixels = np.asarray(image)
    problems = []
    for index, name in enumerate(channel_names(image)):
        bad = int((~np.isfinite(pixels[index])).sum())
        if bad and name in channels:
            problems.append(f"found {bad} NaN or infinite values in channel {name}, expected none")
    return problems


def _size_problems(image: xr.DataArray, preprocessing: Preprocessing) -> list[str]:
    height, width = image.sizes["y"], image.sizes["x"]
    if min(height, width) == 0:
        return [f"found {height} x {width} pixels, expected some"]
    size = preprocessing.size
    if preprocessing.fit == "crop" and size is not None and min(height, width) < size:
        return [f"found {height} x {width} pixels, expected {size} x {size} or more to cut from"]
    return []
