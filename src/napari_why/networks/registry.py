"""The networks by name, and how they are built."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from napari_why.core.errors import ParameterError
from napari_why.core.options import validated
from napari_why.networks.autoencoder import autoencoder, denoising_autoencoder
from napari_why.networks.cam_net import cam_net
from napari_why.networks.iresnet import iresnet
from napari_why.networks.network import Network
from napari_why.networks.resnext50 import resnext50
from napari_why.networks.shapes import Size
from napari_why.networks.small_cnn import small_cnn
from napari_why.networks.vae import vae

Builder = Callable[..., Network]


@dataclass(frozen=True)
class NetworkEntry:
    """A network that can be built by name.

    Parameters
    ----------
    title : str
        For menus.
    source : str
        Where it was published.
    builder : callable
        ``builder(*, input_channels, classes, size, frozen, **parameters)``; the parameters are
        annotated as :mod:`napari_why.core.options` says.
    """

    title: str
    source: str
    builder: Builder


NETWORKS: dict[str, NetworkEntry] = {
    "iresnet": NetworkEntry(
        "Invertible residual network", "Behrmann et al. 2019; thesis settings: Otto 2022", iresnet
    ),
    "resnext50": NetworkEntry("ResNeXt-50 32x4d", "Xie et al. 2017; Otto 2022", resnext50),
    "cam_net": NetworkEntry("CAM network", "Zhou et al. 2016; Mäder 2024", cam_net),
    "small_cnn": NetworkEntry("Small convolutional network", "four strided layers", small_cnn),
    "vae": NetworkEntry(
        "Variational autoencoder", "Kingma & Welling 2014; Higgins et al. 2017", vae
    ),
    "autoencoder": NetworkEntry("Autoencoder", "Otto 2022", autoencoder),
    "denoising_autoencoder": NetworkEntry(
        "Denoising autoencoder", "Vincent et al. 2008; Otto 2022", denoising_autoencoder
    ),
}
"""A user's own network joins with ``NETWORKS["mine"] = NetworkEntry(title, source, builder)``."""


def build_network(
    name: str,
    *,
    input_channels: int,
    classes: int,
    size: Size,
    frozen: bool = False,
    seed: int = 0,
    **parameters: Any,
) -> Network:
    """Build a network by name; ``build_network(**network.configuration())`` builds it again.

    Parameters
    ----------
    name : str
        A key of :data:`NETWORKS`.
    input_channels, classes : int
        Channels of the images and number of classes.
    size : int or (int, int)
        Height and width in pixels.
    frozen : bool
        Build the skeleton of a frozen network, for its weights to be loaded.
    seed : int
        Of the initial weights; torch's own generator stays as it is.
    **parameters
        The builder's annotated parameters, see :func:`napari_why.core.options.parameters_of`.

    Raises
    ------
    ParameterError
        Unknown network or parameter, a value out of range, a size that does not fit.

    Examples
    --------
    >>> network = build_network("cam_net", input_channels=2, classes=3, size=32)
    >>> network(torch.zeros(1, 2, 32, 32)).shape
    torch.Size([1, 3])
    """
    if name not in NETWORKS:
        raise ParameterError(f"network: found {name!r}; expected one of {', '.join(NETWORKS)}")
    builder = NETWORKS[name].builder
    checked = validated(builder, parameters)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return builder(
            input_channels=input_channels, classes=classes, size=size, frozen=frozen, **checked
        )
