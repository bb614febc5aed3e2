"""Class activation mapping."""

import torch
from torch import Tensor

from napari_why.attribution.evidence import Evidence
from napari_why.attribution.gradients import LayerGradients
from napari_why.attribution.layer_evidence import evidence_of_layer
from napari_why.attribution.registry import attribution_method
from napari_why.networks.network import Network


def needs_linear_head(network: Network) -> str | None:
    """Return why CAM is not defined where the head is not linear on pooled feature maps."""
    if network.linear_head_weights is None:
        return (
            "CAM is defined for a linear head on globally averaged feature maps, and this head is "
            "another; take hires_cam or grad_cam, or train with a linear head"
        )
    return None


@attribution_method(
    title="CAM",
    source="Zhou, Khosla, Lapedriza, Oliva & Torralba 2016, arXiv:1512.04150",
    needs=needs_linear_head,
)
def cam(network: Network, x: Tensor, target: int) -> Evidence:
    """Feature maps of the last layer, weighted with the head's weights for the class.

    Parameters
    ----------
    x : Tensor, shape (1, C, H, W)
        One standardised image.
    target : int
        Index of the class, the wrong one too.

    Returns
    -------
    Evidence
        Joint: sum_k w_k^c A^k, divided by the number of positions that the head averages over,
        interpolated to pixels such that the sum stays: the map's sum plus the head's bias is the
        logit. Maps: see :func:`~napari_why.attribution.layer_evidence.evidence_of_layer`.
    """
    weights = network.linear_head_weights
    if weights is None:
        raise ValueError("cam was called without Method.check")
    row = weights[target].detach()

    def class_activation(found: LayerGradients) -> Tensor:
        positions = found.maps.shape[-2] * found.maps.shape[-1]
        return torch.einsum("k,nkhw->nhw", row, found.maps) / positions

    def logit_without_bias(found: LayerGradients) -> float:
        no_features = torch.zeros_like(found.maps[:1])
        return (found.logits[0, target] - network.head(no_features)[0, target]).item()

    return evidence_of_layer(
        network,
        x,
        target,
        "last",
        class_activation,
        logit_without_bias,
        "sum of the joint map against the logit without the head's bias",
    )
