"""Image files for the Open dock: read, described in words, and made into layers."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from napari.layers import Layer

from napari_why.core.errors import AmbiguousAxesError, AxesChoice, MismatchError

if TYPE_CHECKING:
    from xarray import DataArray

# By stored axes and shape: files of one series are alike in both, and are asked about once.
Answers = Mapping[tuple[str, tuple[int, ...]], AxesChoice]

# Of the images that lack a channel: three show which, and the sentence stays readable.
MOST_NAMED = 3


def read_images(paths: Sequence[Path], answers: Answers | None = None) -> "list[DataArray]":
    """Read files and folders; files of one channel each of one field are read as one image.

    Parameters
    ----------
    paths : sequence of Path
    answers : mapping, optional
        What the axes of files are that do not say so, by their stored axes and shape.

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
    """Return the image with other channel names, which it can be read with again."""
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
