"""Decoded images as series along an axis of their own, and a reconstruction with its error."""

from typing import TYPE_CHECKING, Any
from uuid import uuid4

from napari_why.layers.colormaps import diverging, symmetric_limits
from napari_why.layers.placement import Axis, place
from napari_why.layers.raw import layer_of_channel

if TYPE_CHECKING:
    from napari.layers import Image
    from numpy.typing import NDArray

    from napari_why.generation import GeneratedImages, Reconstruction


def generated_layers(
    result: "GeneratedImages", sources: "list[Image]", plane: tuple[int, ...] | None = None
) -> "list[Image]":
    """Return one image series a channel along the axis of the result, raw intensity units.

    Parameters
    ----------
    result : GeneratedImages
    sources : list of Image layers
        The raw layers of the image they were made from; the series of a channel looks as its raw
        layer does.
    plane : tuple of int, optional
        See :func:`napari_why.to_layers`.
    """
    values = result.values
    step = float(values[1] - values[0]) if len(values) > 1 else 1.0
    placement = place(
        result.grid,
        sources[0] if sources else None,
        plane,
        leading=(Axis(result.axis, float(values[0]), step),),
    )
    return _image_layers(result, result.images, f"{result.axis}", sources, placement)


def reconstruction_layers(
    result: "Reconstruction", sources: "list[Image]", plane: tuple[int, ...] | None = None
) -> "list[Image]":
    """Return the reconstruction of each channel and, hidden, its error (reconstruction - image).

    The errors share one pair of contrast limits, in raw intensity units, symmetric around zero.
    """
    from napari.layers import Image

    placement = place(result.grid, sources[0] if sources else None, plane)
    layers = _image_layers(result, result.reconstruction, "reconstruction", sources, placement)
    limits = symmetric_limits(result.error)
    for index, channel in enumerate(result.channels):
        layer = Image(
            placement.shaped(result.error[index]),
            name=f"{channel}: reconstruction error",
            colormap=diverging(),
            contrast_limits=limits,
            blending="translucent_no_depth",
            visible=False,
            metadata={"napari_why": _metadata(result, layers[0], "reconstruction error", channel)},
            **placement.options,
        )
        layer.colorbar.visible = True
        layers.append(layer)
    return layers


def _image_layers(
    result: "GeneratedImages | Reconstruction",
    images: "NDArray[Any]",
    title: str,
    sources: "list[Image]",
    placement: Any,
) -> "list[Image]":
    from napari.layers import Image

    from napari_why.images import contrast_limits, default_colormaps

    colormaps = default_colormaps(result.channels)
    layers: list[Image] = []
    for index, channel in enumerate(result.channels):
        values = images[..., index, :, :]
        raw = layer_of_channel(sources, channel, index)
        layer = Image(
            placement.shaped(values),
            name=f"{channel}: {title}",
            colormap=colormaps[index] if raw is None else raw.colormap,
            contrast_limits=contrast_limits(values) if raw is None else tuple(raw.contrast_limits),
            blending="additive" if index else "translucent_no_depth",
            **placement.options,
        )
        first = layers[0] if layers else None
        layer.metadata["napari_why"] = _metadata(result, first, title, channel)
        layers.append(layer)
    return layers


def _metadata(
    result: "GeneratedImages | Reconstruction", first: "Image | None", role: str, channel: str
) -> dict[str, Any]:
    identity = uuid4().hex if first is None else first.metadata["napari_why"]["id"]
    return {**result.record.to_dict(), "id": identity, "role": role, "channel": channel}
