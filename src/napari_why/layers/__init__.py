"""A result as napari layers that lie exactly on the raw layer they explain."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from napari_why.core.errors import ParameterError
from napari_why.layers.generated import generated_layers, reconstruction_layers
from napari_why.layers.overlays import overlay_layers
from napari_why.layers.placement import Source, raw_layers
from napari_why.layers.raw import channel_of, image_from_layers
from napari_why.layers.regions import region_centre, region_layers
from napari_why.layers.series import series_layers

if TYPE_CHECKING:
    from napari.layers import Layer

__all__ = ["channel_of", "image_from_layers", "region_centre", "to_layers"]


def to_layers(
    result: Any, source: Source = None, *, plane: tuple[int, ...] | None = None
) -> "list[Layer]":
    """Turn a result into layers, ready for ``viewer.add_layer``.

    Parameters
    ----------
    result : Attribution, Counterfactual, Measurement, Reconstruction or GeneratedImages
        What :func:`napari_why.attribute`, :func:`napari_why.counterfactual`,
        :func:`napari_why.measure`, :func:`napari_why.reconstruct`, or
        :func:`napari_why.sample`, ``traverse`` and ``interpolate`` returned.
    source : Image layer or list of Image layers, optional
        The raw layer, or the raw layers of the channels, that the result is about. The new layers
        take their place in space, units and axis labels from the first, and those of the alpha
        series colormap and contrast limits from the layer of their channel. Without a source,
        coordinates are pixels of the source image.
    plane : tuple of int, optional
        Where the source has more axes than y and x (z, t): the index on each of them that the
        result is about. Without it the result shows at every index.

    Returns
    -------
    list of napari.layers.Layer
        For an attribution the joint map and, hidden, one map a channel; for a counterfactual one
        series a channel along an axis ``alpha`` and, hidden, its differences to the
        reconstruction; for a measurement its map, hidden, and the regions as Labels with the
        region table as ``features``; for a reconstruction each channel and, hidden, its error; for
        generated images one series a channel. ``metadata["napari_why"]`` of each holds the record.

    Raises
    ------
    ParameterError
        The result has no picture, or the plane does not fit the source.

    Examples
    --------
    >>> for layer in why.to_layers(attribution, raw):  # doctest: +SKIP
    ...     viewer.add_layer(layer)
    """
    from napari_why.attribution.explain import Attribution
    from napari_why.counterfactuals.result import Counterfactual
    from napari_why.generation.generate import GeneratedImages, Reconstruction
    from napari_why.measurement import Measurement

    makers: dict[type, Callable[..., Sequence[Layer]]] = {
        Attribution: overlay_layers,
        Counterfactual: series_layers,
        Measurement: region_layers,
        Reconstruction: reconstruction_layers,
        GeneratedImages: generated_layers,
    }
    make = makers.get(type(result))
    if make is None:
        names = ", ".join(kind.__name__ for kind in makers)
        raise ParameterError(
            f"to_layers: found {type(result).__name__}; expected a result that has a picture: "
            f"{names}"
        )
    return [*make(result, raw_layers(source), plane)]
