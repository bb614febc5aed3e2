"""Gradient-weighted class activation mapping."""

from typing import Annotated

import torch
from torch import Tensor

from napari_why.attribution.evidence import Evidence
from napari_why.attribution.gradients import LayerGradients
from napari_why.attribution.layer_evidence import evidence_of_layer
from napari_why.attribution.registry import attribution_method
from napari_why.networks.network import Network
from napari_why.parameters import Help


@attribution_method(title="Grad-CAM", source="Selvaraju et al. 2017, arXiv:1610.02391")
def grad_cam(
    network: Network,
    x: Tensor,
    target: int,
    *,
    layer: Annotated[str, Help("name of the layer whose feature maps are weighted")] = "last",
    relu: Annotated[bool, Help("cut off evidence against the class, as in the paper")] = False,
) -> Evidence:
    """Feature maps of a layer, each weighted with its mean gradient.

    Parameters
    ----------
    x : Tensor, shape (1, C, H, W)
        One standardised image.
    target : int
        Index of the class.

    Returns
    -------
    Evidence
        Joint: sum_k mean_ij(ds_c/dA^k_ij) A^k, interpolated to pixels such that the sum stays.
        Without ``relu`` and on the last layer of a network with a linear head on pooled maps
        this is CAM; elsewhere it promises no sum, so no gap is given.
        Maps: see :func:`~napari_why.attribution.layer_evidence.evidence_of_layer`.

    Raises
    ------
    ParameterError
        The network has no such layer.
    """

    def weighted(found: LayerGradients) -> Tensor:
        weights = found.gradients.mean(dim=(2, 3))
        evidence = torch.einsum("nk,nkhw->nhw", weights, found.maps)
        return evidence.relu() if relu else evidence

    return evidence_of_layer(network, x, target, layer, weighted)
