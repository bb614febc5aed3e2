"""Pixels in and out: readers, writers and the conventions of an image."""

from napari_why.images.colormaps import default_colormaps
from napari_why.images.contrast import contrast_limits, image_contrast_limits
from napari_why.images.file_names import group_channel_files
from napari_why.images.grid import Grid
from napari_why.images.image import (
    DIMS,
    channel_names,
    check_image,
    make_image,
    plane,
    spatial_scale,
)
from napari_why.images.read import can_read, read
from napari_why.images.write import record_path, write

__all__ = [
    "DIMS",
    "Grid",
    "can_read",
    "channel_names",
    "check_image",
    "contrast_limits",
    "default_colormaps",
    "group_channel_files",
    "image_contrast_limits",
    "make_image",
    "plane",
    "read",
    "record_path",
    "spatial_scale",
    "write",
]
