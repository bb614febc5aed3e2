"""Input times gradient."""

from torch import Tensor

from napari_why.attribution.evidence import Evidence
from napari_why.attribution.gradients import input_gradient
from napari_why.attribution.registry import attribution_method
from napari_why.networks.network import Network


@attribution_method(
    title="Input x gradient", source="Shrikumar, Greenside & Kundaje 2016, arXiv:1605.01713"
)
def input_x_gradient(network: Network, x: Tensor, target: int) -> Evidence:
    """Gradient times the distance of a pixel from the training mean of its channel.

    Parameters
    ----------
    x : Tensor, shape (1, C, H, W)
        One standardised image; 0 is the training mean.
    target : int
        Index of the class.

    Returns
    -------
    Evidence
        Maps: x * ds_c/dx in logits per pixel; joint: their sum over channels. The sum over pixels
        is the logit only for networks without biases and with piecewise linear activations, so no
        gap is given.
    """
    _, gradients = input_gradient(network, x, target)
    maps = (x * gradients)[0]
    return Evidence(maps, maps.sum(dim=0), "logit per pixel")
