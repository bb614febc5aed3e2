"""Autoencoders: a bottleneck of few numbers, an image decoded from it, a class read off it.

The latent of 98 numbers and the twelve blocks are those of Otto 2022; here they are six residual
blocks down and six up.
"""

import math
from collections import OrderedDict
from collections.abc import Mapping
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_why.errors import MismatchError
from napari_why.networks.generative import LATENT, GenerativeNetwork
from napari_why.networks.heads import linear_head
from napari_why.networks.residual_blocks import decoder_blocks, encoder_blocks, map_shapes
from napari_why.networks.shapes import (
    Size,
    check_batch,
    check_counts,
    check_smallest,
    height_and_width,
    integers,
)
from napari_why.parameters import Help, Range

SMALLEST = 16
WIDTHS = "16,32,64,64,64,64"

Widths = Annotated[
    str, Help("channels of the encoder's blocks, first to last; the decoder has as many blocks")
]
LatentDimensions = Annotated[int, Help("numbers that an image is squeezed into"), Range(1, 4096)]
ReconstructionWeight = Annotated[
    float, Help("weight of the reconstruction error beside the cross-entropy"), Range(0, 1e6)
]


class Autoencoder(GenerativeNetwork):
    """Residual blocks down to a latent vector and up again; see :func:`autoencoder`.

    Parameters
    ----------
    configuration : mapping
        ``name``, ``input_channels``, ``classes``, ``size``, ``latent_dimensions``, ``widths`` and
        ``reconstruction_weight``; further entries are kept for :meth:`configuration`.
    """

    def __init__(self, configuration: Mapping[str, Any]) -> None:
        super().__init__()
        self.name = str(configuration["name"])
        self.input_channels = int(configuration["input_channels"])
        self.classes = int(configuration["classes"])
        self.size = (int(configuration["size"][0]), int(configuration["size"][1]))
        self.latent_dimensions = int(configuration["latent_dimensions"])
        self.reconstruction_weight = float(configuration["reconstruction_weight"])
        self._configuration = dict(configuration)
        widths = integers("widths", configuration["widths"], low=1, high=4096)
        shapes = map_shapes(self.size, len(widths))
        smallest = (widths[-1], *shapes[-1])
        self.map_values = math.prod(smallest)
        self.encoder = encoder_blocks(self.input_channels, widths, shapes)
        self.to_latent = self.dense_layer()
        self.classifier = linear_head(self.latent_dimensions, self.classes)
        self.from_latent = nn.Sequential(
            OrderedDict(
                flatten=nn.Flatten(),
                linear=nn.Linear(self.latent_dimensions, self.map_values),
                unflatten=nn.Unflatten(1, smallest),
                relu=nn.ReLU(),
            )
        )
        self.decoder = decoder_blocks(self.input_channels, widths, shapes)

    def dense_layer(self) -> nn.Sequential:
        """Return a linear layer from the last block's maps to vectors (N, K, 1, 1)."""
        return nn.Sequential(
            OrderedDict(
                flatten=nn.Flatten(),
                linear=nn.Linear(self.map_values, self.latent_dimensions),
                unflatten=nn.Unflatten(1, (self.latent_dimensions, 1, 1)),
            )
        )

    def encode(self, x: Tensor) -> Tensor:
        """Return the latent (N, K, 1, 1)."""
        self._check_size(x)
        latent: Tensor = self.to_latent(self.encoder(x))
        return latent

    def decode(self, latent: Tensor, stage: str | None = None) -> Tensor:
        """Return the images (N, C, H, W) of latents (N, K, 1, 1)."""
        self.check_stage(stage)
        images: Tensor = self.decoder(self.from_latent(latent))
        return images

    def head(self, features: Tensor) -> Tensor:
        """Return the logits of latents."""
        logits: Tensor = self.classifier(features)
        return logits

    def feature_maps(self, x: Tensor) -> dict[str, Tensor]:
        """Return the maps of every block of the encoder, and the latent."""
        self._check_size(x)
        maps = {}
        for name, block in self.encoder.named_children():
            maps[name] = x = block(x)
        return maps | {LATENT: self.to_latent(x)}

    @property
    def layer_names(self) -> tuple[str, ...]:
        """``block1``, ``block2``, ..., ``latent``."""
        return (*(name for name, _ in self.encoder.named_children()), LATENT)

    def training_losses(self, x: Tensor, maps: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return ``reconstruction``: the weighted mean square error in standard deviations."""
        return {"reconstruction": self.reconstruction_loss(x, maps[LATENT])}

    def reconstruction_loss(self, x: Tensor, latent: Tensor) -> Tensor:
        """Return the weighted mean square error of the decoded latents against images."""
        return self.reconstruction_weight * F.mse_loss(self.decode(latent), x)

    def configuration(self) -> Mapping[str, Any]:
        """Return the keyword arguments of ``build_network``; ``frozen`` once frozen."""
        return self._configuration | ({"frozen": True} if self.frozen else {})

    def _check_size(self, x: Tensor) -> None:
        check_batch(self.name, x, self.input_channels)
        if tuple(x.shape[2:]) != self.size:
            height, width = self.size
            raise MismatchError(
                f"{self.name}: found images of {x.shape[2]} x {x.shape[3]}; expected {height} x "
                f"{width}, the size it was built for: its latent is of the image as a whole"
            )


class DenoisingAutoencoder(Autoencoder):
    """An autoencoder that learns to take noise away; see :func:`denoising_autoencoder`."""

    def __init__(self, configuration: Mapping[str, Any]) -> None:
        super().__init__(configuration)
        self.noise = float(configuration["noise"])

    def training_losses(self, x: Tensor, maps: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return ``reconstruction``: of x from x with noise; without noise in evaluation mode."""
        if not self.training:
            return super().training_losses(x, maps)
        noisy = x + self.noise * torch.randn_like(x)
        return {"reconstruction": self.reconstruction_loss(x, self.encode(noisy))}


def autoencoder(
    *,
    input_channels: int,
    classes: int,
    size: Size,
    frozen: bool = False,
    latent_dimensions: LatentDimensions = 98,
    widths: Widths = WIDTHS,
    reconstruction_weight: ReconstructionWeight = 10.0,
) -> Autoencoder:
    """Build an autoencoder whose latent also classifies (98 numbers, twelve blocks: Otto 2022).

    Trained jointly on cross-entropy + ``reconstruction_weight`` * mean square error.

    Parameters
    ----------
    input_channels, classes : int
        Channels of the images and number of classes.
    size : int or (int, int)
        Height and width in pixels, 16 or more; any, but only images of this size fit later.
    frozen : bool
        Build it frozen.
    latent_dimensions : int
        Numbers in the latent.
    widths : str
        Channels of the encoder's blocks, one whole number a block.
    reconstruction_weight : float
        Of the mean square error in units of the channels' standard deviations.

    Raises
    ------
    ParameterError
        Too small a size, no channel, fewer than two classes, or widths that are no numbers.
    """
    configuration = common_configuration("autoencoder", input_channels, classes, size) | {
        "latent_dimensions": latent_dimensions,
        "widths": widths,
        "reconstruction_weight": reconstruction_weight,
    }
    network = Autoencoder(configuration)
    if frozen:
        network.freeze()
    return network


def denoising_autoencoder(
    *,
    input_channels: int,
    classes: int,
    size: Size,
    frozen: bool = False,
    latent_dimensions: LatentDimensions = 98,
    widths: Widths = WIDTHS,
    reconstruction_weight: ReconstructionWeight = 10.0,
    noise: Annotated[
        float,
        Help("deviation of the noise added in training, in those of the channel"),
        Range(0, 10),
    ] = 0.5,
) -> DenoisingAutoencoder:
    """Build an autoencoder that is trained to give images back from noisy ones (Vincent 2008).

    Parameters
    ----------
    noise : float
        Standard deviation of the Gaussian noise added in training, the channel's being 1. The
        classification sees the images without it.
    input_channels, classes, size, frozen, latent_dimensions, widths, reconstruction_weight
        As for :func:`autoencoder`.

    Raises
    ------
    ParameterError
        As for :func:`autoencoder`.
    """
    configuration = common_configuration("denoising_autoencoder", input_channels, classes, size) | {
        "latent_dimensions": latent_dimensions,
        "widths": widths,
        "reconstruction_weight": reconstruction_weight,
        "noise": noise,
    }
    network = DenoisingAutoencoder(configuration)
    if frozen:
        network.freeze()
    return network


def common_configuration(
    name: str, input_channels: int, classes: int, size: Size
) -> dict[str, Any]:
    """Check and return what every network's configuration holds.

    Raises
    ------
    ParameterError
        Too small a size, no channel, or fewer than two classes.
    """
    check_counts(input_channels, classes)
    shape = height_and_width(size)
    check_smallest(name, shape, SMALLEST)
    return {
        "name": name,
        "input_channels": input_channels,
        "classes": classes,
        "size": list(shape),
    }
