"""Write the planes of an image as OME-TIFF."""

from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import xarray as xr

from napari_why.core.record import Record
from napari_why.images.image import SPATIAL_DIMS, channel_names
from napari_why.images.ome_tiff import RECORD_NAMESPACE
from napari_why.images.planes_to_write import planes_of

TIFF_SUFFIXES = (".ome.tif", ".ome.tiff", ".tif", ".tiff")
TIFF_PIXEL_TYPES = ("uint8", "uint16", "uint32", "int8", "int16", "int32", "float32")
BIGTIFF_BYTES = 2**32 - 2**25


def write_tiff(
    image: xr.DataArray,
    part: Path,
    pixel_type: np.dtype[Any],
    record: Record | None,
) -> None:
    """Write an image into a file that is there and empty; deflate, without loss."""
    needed = image.size * pixel_type.itemsize
    with part.open("wb") as file:
        tifffile.imwrite(
            file,
            planes_of(image, pixel_type),
            shape=image.shape,
            dtype=pixel_type,
            ome=True,
            bigtiff=needed > BIGTIFF_BYTES,
            photometric="minisblack",
            compression="zlib",
            predictor=True,
            metadata=_metadata(image, record),
        )


def _metadata(image: xr.DataArray, record: Record | None) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "axes": "".join(map(str, image.dims)).upper(),
        "Channel": {"Name": list(channel_names(image))},
    }
    if image.attrs.get("unit") == "um":
        for dim in SPATIAL_DIMS:
            if dim in image.attrs.get("pixel_size", {}):
                metadata[f"PhysicalSize{dim.upper()}"] = image.attrs["pixel_size"][dim]
                metadata[f"PhysicalSize{dim.upper()}Unit"] = "µm"
    if record is not None:
        metadata["CommentAnnotation"] = {"Namespace": RECORD_NAMESPACE, "Value": record.to_json()}
    return metadata
