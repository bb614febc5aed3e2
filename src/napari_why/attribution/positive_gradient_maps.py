"""Grad-CAM++ and Layer-CAM: feature maps of a layer, weighted by what speaks for the class alone.

Both follow torch-cam's definitions, but for the last step: what is below 0 stays in the map unless
``relu`` is set. Gradients against the class never count, with or without it; for these take grad_cam
or hires_cam.
"""

from typing import Annotated

import torch
from torch import Tensor

from napari_why.attribution.class_activation_maps import LayerGradients, evidence_of_layer
from napari_why.attribution.registry import Evidence, attribution_method
from napari_why.core.options import Help
from napari_why.networks.network import Network

Layer = Annotated[str, Help("name of the layer whose feature maps are weighted")]
CutOff = Annotated[bool, Help("cut off what is below 0 in the end, as in the paper")]


@attribution_method(
    title="Grad-CAM++",
    source="Chattopadhay et al. 2018, arXiv:1710.11063",
    caution="its weights assume feature maps that are not negative, as behind a ReLU; elsewhere (ELU) a "
    "denominator may come close to 0, and few maps then outweigh all others",
)
def grad_cam_plus_plus(
    network: Network, x: Tensor, target: int, *, layer: Layer = "last", relu: CutOff = False
) -> Evidence:
    """Feature maps of a layer, weighted by their positive gradients, each place by its own share.

    w_k = sum_ij a^k_ij ReLU(g^k_ij) with a = g^2 / (2 g^2 + sum_ab A^k_ab g^3) and g = ds_c/dA. The
    paper differentiates exp(s_c), which multiplies all weights by one positive number; that is left
    out, so that maps of images can be compared.

    Parameters
    ----------
    network : Network
        In evaluation mode.
    x : Tensor, shape (1, C, H, W)
        One standardised image.
    target : int
        Index of the class.

    Returns
    -------
    Evidence
        Joint: sum_k w_k A^k, interpolated to pixels such that the sum stays; no sum is promised.
        Maps: see :func:`~napari_why.attribution.class_activation_maps.evidence_of_layer`.

    Raises
    ------
    ParameterError
        The network has no such layer.
    """

    def weigh(found: LayerGradients) -> Tensor:
        square, cube = found.gradients.square(), found.gradients.pow(3)
        whole = 2 * square + found.maps.sum(dim=(2, 3), keepdim=True) * cube
        # a gradient of 0 has no share, and ReLU takes it out of the weight in any case
        share = torch.where(whole == 0, 0.0, square / torch.where(whole == 0, 1.0, whole))
        weights = (share * found.gradients.relu()).sum(dim=(2, 3))
        evidence = torch.einsum("nk,nkhw->nhw", weights, found.maps)
        return evidence.relu() if relu else evidence

    return evidence_of_layer(network, x, target, layer, weigh)


@attribution_method(title="Layer-CAM", source="Jiang et al. 2021, doi:10.1109/TIP.2021.3089943")
def layer_cam(
    network: Network, x: Tensor, target: int, *, layer: Layer = "last", relu: CutOff = False
) -> Evidence:
    """Feature maps of a layer, each place weighted by its own gradient where that is positive.

    HiRes-CAM without the gradients against the class: finer than Grad-CAM at early layers, where it
    was made for.

    Parameters
    ----------
    network : Network
        In evaluation mode.
    x : Tensor, shape (1, C, H, W)
        One standardised image.
    target : int
        Index of the class.

    Returns
    -------
    Evidence
        Joint: sum_k ReLU(ds_c/dA^k) * A^k elementwise, interpolated to pixels such that the sum
        stays; no sum is promised. The paper's scaling of early layers by tanh is for display, and
        left out.
        Maps: see :func:`~napari_why.attribution.class_activation_maps.evidence_of_layer`.

    Raises
    ------
    ParameterError
        The network has no such layer.
    """

    def weigh(found: LayerGradients) -> Tensor:
        evidence = (found.gradients.relu() * found.maps).sum(dim=1)
        return evidence.relu() if relu else evidence

    return evidence_of_layer(network, x, target, layer, weigh)
