"""The maps of a layer method: its own joint map, and what each channel changes in it."""

from collections.abc import Callable

from torch import Tensor

from napari_why.attribution.evidence import Evidence, relative_gap
from napari_why.attribution.gradients import (
    LayerGradients,
    layer_gradients,
    spread_to_pixels,
    with_channels_at_mean,
)
from napari_why.networks.network import Network

LayerMap = Callable[[LayerGradients], Tensor]
LAYER_UNIT = "logit per pixel"


def evidence_of_layer(
    network: Network,
    x: Tensor,
    target: int,
    layer: str,
    layer_map: LayerMap,
    expected: Callable[[LayerGradients], float] | None = None,
    gap_meaning: str = "",
) -> Evidence:
    """Compute a layer's map, and its change when one channel is set to its training mean.

    A layer mixes the channels, so its map belongs to all of them. The map of a channel is
    ``M(x) - M(x with that channel at its training mean)``: positive where the layer finds more
    evidence for the class because of what this channel shows. These do not sum to the joint map.

    Parameters
    ----------
    x : Tensor, shape (1, C, H, W)
    layer_map : callable
        (N, K, h, w) maps and gradients to (N, h, w) values, logits per position.
    expected : callable, optional
        What the sum of the joint map should be; None where the method promises no sum.
    gap_meaning : str
        What the gap compares.
    """
    found = layer_gradients(network, with_channels_at_mean(x), target, layer)
    on_grid = layer_map(found)
    on_pixels = spread_to_pixels(on_grid, (x.shape[-2], x.shape[-1]))
    joint = on_pixels[0]
    gap = None if expected is None else relative_gap(on_grid[0].sum().item(), expected(found))
    return Evidence(
        maps=joint[None] - on_pixels[1:],
        joint=joint,
        unit=LAYER_UNIT,
        gap=gap,
        gap_meaning="" if expected is None else gap_meaning,
        details={"layer_grid": list(on_grid.shape[-2:])},
    )
