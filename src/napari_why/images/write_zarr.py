"""Write an image as OME-Zarr 0.5 (Zarr 3), with smaller resolutions for viewers.

Specification: https://ngff.openmicroscopy.org/0.5/.
"""

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from napari_why.core.record import Record
from napari_why.images.display import HEX_COLOURS, default_colormaps, image_contrast_limits
from napari_why.images.image import channel_names
from napari_why.images.ome_zarr import AXIS_TYPES, RECORD_KEY
from napari_why.images.planes_to_write import planes_of

ZARR_SUFFIXES = (".ome.zarr", ".zarr")
ZARR_PIXEL_TYPES = (
    "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64", "float32", "float64",
)  # fmt: skip
VERSION = "0.5"
CHUNK = 1024
SMALLEST = 256


def write_zarr(
    image: xr.DataArray, folder: Path, pixel_type: np.dtype[Any], record: Record | None
) -> None:
    """Write an image into a new folder.

    Each smaller resolution has half the height and width, by the mean of 2 x 2 pixels, until the
    smaller side is at most 256 pixels.
    """
    zarr: Any = import_module("zarr")
    group = zarr.open_group(folder, mode="w", zarr_format=3)
    dims = [str(dim) for dim in image.dims]
    levels = [
        group.create_array(
            str(level),
            shape=(*image.shape[:-2], *size),
            chunks=(*[1] * (image.ndim - 2), *(min(side, CHUNK) for side in size)),
            dtype=pixel_type,
            dimension_names=dims,
            # An image without light would else have no chunk, as if it had been lost.
            config={"write_empty_chunks": True},
        )
        for level, size in enumerate(_sizes(image.shape[-2], image.shape[-1]))
    ]
    indices = np.ndindex(image.shape[:-2])
    for index, plane in zip(indices, planes_of(image, pixel_type), strict=True):
        smaller = plane
        for level, array in enumerate(levels):
            smaller = _halved(smaller) if level else smaller
            array[index] = smaller
    group.attrs.update(_attributes(image, len(levels), record))


def _sizes(height: int, width: int) -> list[tuple[int, int]]:
    sizes = [(height, width)]
    while min(sizes[-1]) > SMALLEST:
        sizes.append((sizes[-1][0] // 2, sizes[-1][1] // 2))
    return sizes


def _halved(plane: NDArray[Any]) -> NDArray[Any]:
    height, width = plane.shape[0] // 2, plane.shape[1] // 2
    blocks = plane[: 2 * height, : 2 * width].reshape(height, 2, width, 2)
    mean = blocks.mean(axis=(1, 3), dtype=np.float64)
    halved: NDArray[Any] = mean if plane.dtype.kind == "f" else np.rint(mean)
    return halved.astype(plane.dtype)


def _attributes(image: xr.DataArray, levels: int, record: Record | None) -> dict[str, Any]:
    attributes: dict[str, Any] = {
        "ome": {
            "version": VERSION,
            "multiscales": [
                {
                    "name": "image",
                    "axes": [_axis(image, str(dim)) for dim in image.dims],
                    "datasets": [_dataset(image, level) for level in range(levels)],
                }
            ],
            "omero": {"channels": _channels(image)},
        }
    }
    return attributes if record is None else {**attributes, RECORD_KEY: record.to_dict()}


def _channels(image: xr.DataArray) -> list[dict[str, Any]]:
    """Return how each channel is shown; colour and window are obligatory in the specification."""
    names = channel_names(image)
    limits = image_contrast_limits(image)
    return [
        {
            "label": name,
            "active": True,
            "color": HEX_COLOURS[colormap],
            "window": _window(image.dtype, low, high),
        }
        for name, colormap, (low, high) in zip(names, default_colormaps(names), limits, strict=True)
    ]


def _window(dtype: np.dtype[Any], low: float, high: float) -> dict[str, float]:
    """Return the values shown as black and as full colour, and the range to choose them from."""
    whole = np.iinfo(dtype) if dtype.kind in "iu" else None
    least, most = (float(whole.min), float(whole.max)) if whole else (low, high)
    return {"start": low, "end": high, "min": least, "max": most}


def _axis(image: xr.DataArray, dim: str) -> dict[str, str]:
    axis = {"name": dim, "type": AXIS_TYPES[dim]}
    known = image.attrs.get("unit") == "um" and AXIS_TYPES[dim] == "space"
    return {**axis, "unit": "micrometer"} if known else axis


def _dataset(image: xr.DataArray, level: int) -> dict[str, Any]:
    """Return where the pixels of a resolution lie: the first one between those it is the mean of."""
    factor = 2**level
    sizes = image.attrs.get("pixel_size", {})
    steps = [float(sizes.get(dim, 1.0)) for dim in image.dims]
    halved = [factor if dim in ("y", "x") else 1 for dim in image.dims]
    scale = [step * times for step, times in zip(steps, halved, strict=True)]
    shift = [step * (times - 1) / 2 for step, times in zip(steps, halved, strict=True)]
    steps_to_place: list[dict[str, Any]] = [{"type": "scale", "scale": scale}]
    if any(shift):
        steps_to_place.append({"type": "translation", "translation": shift})
    return {"path": str(level), "coordinateTransformations": steps_to_place}
