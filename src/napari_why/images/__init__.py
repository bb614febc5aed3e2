"""Pixels in and out: readers, writers and the conventions of an image."""

from napari_why.images import ome_tiff, ome_zarr, plain_files
from napari_why.images.channel_files import (
    Source,
    describe_grouping,
    find_likely_channels,
    group_channel_files,
    group_sources,
    holds_channels,
    name_source,
    suggest_pattern,
)
from napari_why.images.display import (
    common_contrast,
    contrast_limits,
    default_colormaps,
    image_contrast_limits,
)
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
    NO_LENGTH,
    Grid,
    PixelSize,
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
    plain_files.PNG_FORMAT,
    plain_files.FORMAT,
    plain_files.IMAGEJ_FORMAT,
    ome_tiff.FORMAT,
    ome_zarr.FORMAT,
):
    FORMATS.add(_own)

__all__ = [
    "DIMS",
    "FORMATS",
    "NO_LENGTH",
    "FieldFiles",
    "Format",
    "Grid",
    "PixelSize",
    "PlateFolder",
    "Source",
    "SourceFile",
    "StoredImage",
    "Understanding",
    "Writer",
    "can_read",
    "channel_names",
    "check_image",
    "common_contrast",
    "contrast_limits",
    "default_colormaps",
    "describe_grouping",
    "file_patterns",
    "file_suffixes",
    "find_likely_channels",
    "first_centre",
    "folder_notes",
    "group_channel_files",
    "group_sources",
    "holds_channels",
    "how_read",
    "image_contrast_limits",
    "image_places",
    "is_image_folder",
    "make_image",
    "name_source",
    "plane",
    "plates_of",
    "read",
    "read_again",
    "read_levels",
    "record_path",
    "scan_plate",
    "spatial_scale",
    "suggest_pattern",
    "understand",
    "write",
]
