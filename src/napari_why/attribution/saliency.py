"""Saliency: the gradient of the logit."""

from torch import Tensor

from napari_why.attribution.evidence import Evidence
from napari_why.attribution.gradients import input_gradient
from napari_why.attribution.registry import attribution_method
from napari_why.networks.network import Network


@attribution_method(title="Saliency", source="Simonyan, Vedaldi & Zisserman 2014, arXiv:1312.6034")
def saliency(network: Network, x: Tensor, target: int) -> Evidence:
    """How much the logit rises when a pixel gets brighter: its gradient.

    Parameters
    ----------
    x : Tensor, shape (1, C, H, W)
        One standardised image.
    target : int
        Index of the class.

    Returns
    -------
    Evidence
        Maps: the signed gradient ds_c/dx, logit per training standard deviation. Joint: the
        largest absolute gradient over the channels, as in Simonyan et al. section 3.1, which has
        no sign. A gradient explains a change of the logit, not its value, and promises no sum.
    """
    _, gradients = input_gradient(network, x, target)
    maps = gradients[0]
    return Evidence(
        maps,
        maps.abs().amax(dim=0),
        "logit per standard deviation",
        details={"joint_has_sign": False},
    )
