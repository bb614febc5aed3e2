"""High-resolution class activation mapping."""

from typing import Annotated

from torch import Tensor

from napari_why.attribution.evidence import Evidence
from napari_why.attribution.gradients import LayerGradients
from napari_why.attribution.layer_evidence import evidence_of_layer
from napari_why.attribution.registry import attribution_method
from napari_why.networks.network import Network
from napari_why.parameters import Help


@attribution_method(title="HiRes-CAM", source="Draelos & Carin 2020, arXiv:2011.08891")
def hires_cam(
    network: Network,
    x: Tensor,
    target: int,
    *,
    layer: Annotated[str, Help("name of the layer whose feature maps are weighted")] = "last",
) -> Evidence:
    """Gradient times activation at one layer, summed over feature maps, not averaged.

    Parameters
    ----------
    x : Tensor, shape (1, C, H, W)
        One standardised image.
    target : int
        Index of the class.

    Returns
    -------
    Evidence
        Joint: sum_k (ds_c/dA^k) * A^k elementwise, interpolated to pixels such that the sum
        stays. On the last layer of a network with a linear head on pooled maps this is CAM;
        for other heads and layers it promises no sum, so no gap is given.
        Maps: see :func:`~napari_why.attribution.layer_evidence.evidence_of_layer`.

    Raises
    ------
    ParameterError
        The network has no such layer.
    """

    def gradient_x_activation(found: LayerGradients) -> Tensor:
        return (found.gradients * found.maps).sum(dim=1)

    return evidence_of_layer(network, x, target, layer, gradient_x_activation)
