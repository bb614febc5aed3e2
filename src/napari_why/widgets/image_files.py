"""Image files for the page Data: offered, read, described in words, and made into layers."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from napari.layers import Image, Layer
from npe2 import PluginManager, PluginManifest

from napari_why.core.errors import AmbiguousAxesError, AxesChoice, MismatchError
from napari_why.core.registry import entry_points
from napari_why.output.layer_metadata import LayerFacts

if TYPE_CHECKING:
    from xarray import DataArray

# By stored axes and shape: files of one series are alike in both, and are asked about once.
Answers = Mapping[tuple[str, tuple[int, ...]], AxesChoice]

# Of the images that lack a channel: three show which, and the sentence stays readable.
MOST_NAMED = 3


# Whoever drops a picture into napari should not be asked by whom it is to be read; those of grey
# values open in the page Data.
LEFT_TO_NAPARI = {"*.png"}
# Our manifest's name, and that of what is added to it at run time.
PLUGIN, ADDED = "napari-why", "napari-why-formats"


def file_filter() -> str:
    """Return the choice of files for Qt's dialog: those of every registered format, and all."""
    from napari_why.images import file_patterns

    return f"Microscopy images ({' '.join(file_patterns())});;All files (*)"


def offer_formats() -> None:
    """Tell napari the endings of registered formats that our manifest does not name.

    napari matches a dropped file with the patterns of manifests before any code of a plugin runs.
    The pattern ``*`` would make it ask for a reader whenever a picture or a table is dropped. So
    other endings are added when a dock is opened. A package that ships a manifest of its own, with
    ``napari_why.napari_reader:get_reader`` as the command, has them from the start.
    """
    # Importing the reader takes most of a second, which no dock should wait for without need:
    # where it is not loaded, no format was added but through an entry point.
    loaded = "napari_why.images.formats" in sys.modules
    if not loaded and not entry_points("napari_why.formats"):
        return
    from napari_why.images import file_patterns

    manager = PluginManager.instance()
    if ADDED in manager:
        manager.unregister(ADDED)  # formats may have been added since
    readers = [
        reader
        for manifest in manager.iter_manifests()
        if manifest.name == PLUGIN
        for reader in manifest.contributions.readers or ()
    ]
    known = {pattern.lower() for reader in readers for pattern in reader.filename_patterns}
    known |= LEFT_TO_NAPARI
    patterns = [pattern for pattern in file_patterns() if pattern.lower() not in known]
    if not (readers and patterns):  # without our manifest, napari does not know us at all
        return
    command = {
        "id": f"{ADDED}.read",
        "title": "Read images of registered formats",
        "python_name": "napari_why.napari_reader:get_reader",
    }
    reader = {"command": command["id"], "filename_patterns": patterns}
    contributions = {"commands": [command], "readers": [reader]}
    manager.register(
        PluginManifest.model_validate(
            {"name": ADDED, "display_name": PLUGIN, "contributions": contributions}
        )
    )


def read_images(paths: Sequence[Path], answers: Answers | None = None) -> "list[DataArray]":
    """Read files and folders; files of one channel each of one field are read as one image.

    Parameters
    ----------
    paths : sequence of Path
    answers : mapping, optional
        What the axes of files are that do not say so, by their stored axes and shape.

    Returns
    -------
    list of DataArray

    Raises
    ------
    AmbiguousAxesError
        A file does not say its axes, and there is no answer for its stored axes and shape.
    ImageReadError
        A file cannot be read, or not as the answer says.
    MismatchError
        The images do not have the same number of channels.
    """
    from napari_why.images import group_channel_files

    images = [_read(files, answers or {}) for files in group_channel_files(paths)]
    _check_counts(images)
    return images


def _read(files: tuple[Path, ...], answers: Answers) -> "DataArray":
    from napari_why.images import read

    # A folder (OME-Zarr, a field) is read as such; several files are the channels of one image.
    place = files[0] if len(files) == 1 and files[0].is_dir() else files
    try:
        return read(place)
    except AmbiguousAxesError as error:
        answer = answers.get((error.stored_axes, error.shape))
        if answer is None:
            raise
        return read(place, **answer.arguments)


def _check_counts(images: "list[DataArray]") -> None:
    from napari_why.images import channel_names

    counts = {image.sizes["c"] for image in images}
    if len(counts) < 2:
        return
    # The image with most channels shows what the others ought to have.
    most = channel_names(max(images, key=lambda image: image.sizes["c"]))
    lacking = [
        f"{Path(str(image.attrs['source'])).name} lacks {', '.join(missing)}"
        for image in images
        if (missing := [name for name in most if name not in channel_names(image)])
    ]
    raise MismatchError(
        f"Found images with {' and '.join(map(str, sorted(counts)))} channels; expected the same "
        f"number in all; {'; '.join(lacking[:MOST_NAMED])}; open them one after the other"
    )


def list_channels(image: "DataArray") -> list[tuple[str, str, str]]:
    """Return name, darkest and brightest value of each channel."""
    rows = []
    for name in image.coords["c"].values:
        pixels = image.sel(c=name)
        rows.append((str(name), f"{float(pixels.min()):g}", f"{float(pixels.max()):g}"))
    return rows


def describe_images(images: "list[DataArray]") -> str:
    """Say what was read: how many images, their size, pixel type and pixel size."""
    first = images[0]
    size = " x ".join(f"{first.sizes[dim]} {dim}" for dim in first.dims if dim != "c")
    pixel, unit = first.attrs["pixel_size"]["x"], first.attrs["unit"]
    scale = f"{pixel:g} um a pixel" if unit == "um" else "the file tells no pixel size"
    count = "1 image" if len(images) == 1 else f"{len(images)} images, the first"
    return f"{count}: {size}, {first.dtype}, {scale}."


def collect_notes(images: "list[DataArray]") -> list[str]:
    """Return what the reader has to say about the images, each sentence once."""
    return list(dict.fromkeys(str(note) for image in images for note in image.attrs["notes"]))


def rename_channels(image: "DataArray", names: list[str]) -> "DataArray":
    """Return the image with other channel names, which it can be read with again.

    Parameters
    ----------
    image : DataArray
    names : list of str
        In the order of its channels.

    Returns
    -------
    DataArray
        A copy, or the image itself where nothing changes.
    """
    from napari_why.images import channel_names

    if tuple(names) == channel_names(image):
        return image
    renamed = image.assign_coords(c=names)
    # A result's record is made of read_as: with the names in it, the image is read alike again.
    renamed.attrs["read_as"] = {**image.attrs.get("read_as", {}), "channels": names}
    return renamed


def layers_of(image: "DataArray") -> list[Layer]:
    """Make the raw layers of an image, one a channel, as napari's reader would."""
    from napari_why.napari_reader import image_layers

    return [Layer.create(*layer_data) for layer_data in image_layers(image)]


def layers_of_images(
    images: "Iterable[DataArray]", contrast: "Mapping[str, tuple[float, float]] | None" = None
) -> list[Layer]:
    """Make the raw layers of several images, with one contrast for each channel.

    Parameters
    ----------
    images : iterable of DataArray
    contrast : mapping of str to (float, float), optional
        Limits by channel name; by default those that the images have in common.

    Returns
    -------
    list of Layer
        Not yet in a viewer.
    """
    from napari_why.images import common_contrast

    several = list(images)
    shared = common_contrast(several) if contrast is None else contrast
    layers = [layer for image in several for layer in layers_of(image)]
    for layer in layers:
        limits = shared.get(LayerFacts.of(layer).channel or "")
        if limits is not None and isinstance(layer, Image):
            layer.contrast_limits = limits
    return layers
