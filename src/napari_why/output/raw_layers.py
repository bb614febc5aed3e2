"""Raw layers as the image a classifier takes."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_why.core.errors import MismatchError
from napari_why.images import make_image
from napari_why.images.formats import check_fits_memory
from napari_why.output.layer_metadata import LayerFacts

if TYPE_CHECKING:
    from napari.layers import Image
    from xarray import DataArray


def channel_of(layer: "Image") -> str | None:
    """Return the channel name that the reader wrote into a layer's metadata, None without."""
    return LayerFacts.of(layer).channel


def layer_of_channel(layers: "Sequence[Image]", channel: str, index: int) -> "Image | None":
    """Find a channel's layer by its metadata, else by its place in the order of channels."""
    for layer in layers:
        if channel_of(layer) == channel:
            return layer
    # The order counts only for a layer without a name: one that says it shows another channel would
    # lend the result the wrong colour and contrast.
    unnamed = len(layers) > index and channel_of(layers[index]) is None
    return layers[index] if unnamed else None


def image_from_layers(
    layers: "Sequence[Image]",
    channels: Sequence[str] | None = None,
    plane: Sequence[int] = (),
) -> "DataArray":
    """Put raw layers, one a channel, together to one image (c, y, x).

    Parameters
    ----------
    layers : sequence of Image layers
        One layer a channel, in the order of ``channels``; values are taken as they are.
    channels : sequence of str, optional
        Names of the channels; those in the layers' metadata, else the layers' names, when None.
    plane : sequence of int, optional
        Index on each axis before y and x, for stacks and time series.

    Returns
    -------
    DataArray, dims (c, y, x)
        With pixel size, unit and source of the first layer, how its source was read, and the plane
        as ``attrs["plane"]`` where the layers' axes are labelled t or z.

    Raises
    ------
    MismatchError
        The layers do not have one shape, scale or kind.
    """
    layers = list(layers)
    _check_one_image(layers, channels)
    names = list(channels) if channels else [channel_of(layer) or layer.name for layer in layers]
    planes = [pixels_of(layer, plane) for layer in layers]
    if planes[0].ndim != 2:
        raise MismatchError(
            f"Layer {layers[0].name!r}: found {layers[0].data.ndim} axes; expected y and x after "
            f"choosing {len(plane)} indices"
        )
    size, unit = _pixel_size(layers[0])
    image = make_image(
        np.stack(planes),
        ("c", "y", "x"),
        tuple(names),
        pixel_size=size,
        unit=unit,
        source=_source(layers[0]),
    )
    read_as = LayerFacts.of(layers[0]).read_as
    if read_as:
        image.attrs["read_as"] = dict(read_as)
    # Kept so that the result can be made again from the file; an axis without a name (-3) cannot be
    # asked for there.
    labels = layers[0].axis_labels[: len(plane)]
    chosen = {
        str(label): int(index)
        for label, index in zip(labels, plane, strict=True)
        if label in ("t", "z")
    }
    if chosen:
        image.attrs["plane"] = chosen
    return image


def _check_one_image(layers: "Sequence[Image]", channels: Sequence[str] | None) -> None:
    if not layers:
        raise MismatchError("No image layer is chosen; choose one for each channel.")
    if channels is not None and len(channels) != len(layers):
        raise MismatchError(
            f"Found {len(layers)} image layers; expected {len(channels)}, one for each channel: "
            f"{', '.join(channels)}."
        )
    first = layers[0]
    for layer in layers:
        if layer.rgb:
            # colours of a screenshot are no intensities: what they mean is lost
            raise MismatchError(
                f"Layer {layer.name!r}: found an RGB picture; expected one layer a channel with "
                "raw intensities; open the microscope's own file"
            )
        same = layer.data.shape == first.data.shape and np.allclose(layer.scale, first.scale)
        if not same:
            raise MismatchError(
                f"Layer {layer.name!r}: found shape {layer.data.shape}; expected "
                f"{first.data.shape} and the pixel size of layer {first.name!r}, for the channels "
                "of one image show the same field"
            )
        if layer.data.dtype != first.data.dtype:
            raise MismatchError(
                f"Layer {layer.name!r}: found {layer.data.dtype}; expected {first.data.dtype} as "
                f"in layer {first.name!r}"
            )


def _pixel_size(layer: "Image") -> tuple[dict[str, float], str]:
    """Return pixel size and unit: micrometres of any unit of length, else pixels."""
    size = {}
    for dim, scale, unit in zip("yx", layer.scale[-2:], layer.units[-2:], strict=True):
        quantity: Any = float(scale) * unit
        # Micrometres or pixels only, never both: regions and scale bars need one unit for y and x.
        if not quantity.check("[length]"):
            return {"y": 1.0, "x": 1.0}, "pixel"
        size[dim] = float(quantity.to("micrometer").magnitude)
    return size, "um"


def _source(layer: "Image") -> str:
    return str(LayerFacts.of(layer).origin or layer.source.path or layer.name)


def pixels_of(layer: "Image", plane: Sequence[int] = ()) -> NDArray[Any]:
    """Return the pixels of a layer at an index on its first axes, in full resolution.

    Of several resolutions, which napari shows as they are needed, the finest is taken: a classifier
    sees what the microscope saw. What is not in memory is read part by part.

    Raises
    ------
    ImageReadError
        The memory does not hold them.
    """
    finest = layer.data[0] if layer.multiscale else layer.data
    wanted = finest[tuple(plane)]
    if not isinstance(wanted, np.ndarray):
        size = math.prod(wanted.shape) * wanted.dtype.itemsize
        check_fits_memory(Path(_source(layer)), f"layer {layer.name!r}", size)
    return np.asarray(wanted)
