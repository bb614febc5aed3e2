"""The counterfactual series that the viewer shows, found by what its layers carry."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image

from napari_why.output.layer_metadata import LayerFacts

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class ShownSeries:
    """An alpha series with a layer for each channel.

    Parameters
    ----------
    layers : tuple of Image layers
        In the order of the channels; alpha is their first axis.
    channels : tuple of str
    alphas : tuple of float
    target : str
        The class that it leads to.
    classifier : str
        Fingerprint of the classifier that made it.
    """

    layers: tuple[Image, ...]
    channels: tuple[str, ...]
    alphas: tuple[float, ...]
    target: str
    classifier: str

    def images(self) -> "NDArray[Any]":
        """Return the pixels, shape (A, C, H, W), raw units."""
        count = len(self.alphas)
        planes = [
            np.asarray(layer.data).reshape(count, *layer.data.shape[-2:]) for layer in self.layers
        ]
        return np.stack(planes, axis=1)

    def step(self, viewer: "ViewerModel") -> int:
        """Return the index of the alpha that the viewer shows."""
        layer = self.layers[0]
        alpha = layer.world_to_data(viewer.dims.point[-layer.ndim :])[0]
        return int(np.clip(round(float(alpha)), 0, len(self.alphas) - 1))


def newest_series(viewer: "ViewerModel", channels: Sequence[str]) -> ShownSeries | None:
    """Return the topmost counterfactual that has all the channels, None where there is none.

    The layers of one series carry one ``id``; a series of which a layer is missing, because it
    was removed or is still to be added, is passed over.
    """
    found: dict[str, dict[str, Image]] = {}
    for layer in viewer.layers:
        facts = LayerFacts.of(layer)
        if facts.is_series:
            found.setdefault(str(facts.id), {})[str(facts.channel)] = layer
    for layers in reversed(found.values()):
        if channels and set(channels) <= set(layers):
            first = LayerFacts.of(layers[channels[0]])
            return ShownSeries(
                tuple(layers[name] for name in channels),
                tuple(channels),
                first.alphas,
                first.target,
                first.classifier,
            )
    return None
