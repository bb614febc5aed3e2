"""Pixels in and out: readers, writers and the conventions of an image."""

from napari_why.images import ome_tiff, ome_zarr, plain_tiff, png
from napari_why.images.display import contrast_limits, default_colormaps, image_contrast_limits
from napari_why.images.file_names import group_channel_files
from napari_why.images.formats import (
    FORMATS,
    Format,
    SourceFile,
    StoredImage,
    Writer,
    file_patterns,
    file_suffixes,
    folder_notes,
    image_places,
    is_image_folder,
    plates_of,
)
from napari_why.images.image import (
    DIMS,
    Grid,
    channel_names,
    check_image,
    first_centre,
    how_read,
    make_image,
    plane,
    spatial_scale,
)
from napari_why.images.plate_folder import FieldFiles, PlateFolder, scan_plate
from napari_why.images.read import can_read, read, read_again, read_levels
from napari_why.images.understanding import Understanding, understand
from napari_why.images.write import record_path, write

# From the general to the special: the last one is asked first, and plain TIFF takes every TIFF.
for _own in (
    png.FORMAT,
    plain_tiff.FORMAT,
    plain_tiff.IMAGEJ_FORMAT,
    ome_tiff.FORMAT,
    ome_zarr.FORMAT,
):
    FORMATS.add(_own)

__all__ = [
    "DIMS",
    "FORMATS",
    "FieldFiles",
    "Format",
    "Grid",
    "PlateFolder",
    "SourceFile",
    "StoredImage",
    "Understanding",
    "Writer",
    "can_read",
    "channel_names",
    "check_image",
    "contrast_limits",
    "default_colormaps",
    "file_patterns",
    "file_suffixes",
    "first_centre",
    "folder_notes",
    "group_channel_files",
    "how_read",
    "image_contrast_limits",
    "image_places",
    "is_image_folder",
    "make_image",
    "plane",
    "plates_of",
    "read",
    "read_again",
    "read_levels",
    "record_path",
    "scan_plate",
    "spatial_scale",
    "understand",
    "write",
]
