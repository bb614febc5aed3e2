"""The variational autoencoder: latents drawn to a normal distribution, so that they can be drawn.

Kingma & Welling 2014 (arXiv:1312.6114); the weight beta: Higgins et al. 2017.
"""

import math
from collections.abc import Mapping
from typing import Annotated, Any

import torch
from torch import Tensor

from napari_why.core.options import Help, Range
from napari_why.networks.autoencoder import (
    WIDTHS,
    Autoencoder,
    LatentDimensions,
    ReconstructionWeight,
    Widths,
    common_configuration,
)
from napari_why.networks.network import LATENT
from napari_why.networks.shapes import Size

LARGEST_LOG_VARIANCE = 10.0


class VariationalAutoencoder(Autoencoder):
    """An autoencoder with a mean and a variance per latent number; see :func:`vae`.

    ``encode`` gives the mean; in training the decoder gets a sample.
    """

    has_prior = True

    def __init__(self, configuration: Mapping[str, Any]) -> None:
        super().__init__(configuration)
        self.beta = float(configuration["beta"])
        self.to_log_variance = self.dense_layer()

    def training_losses(self, x: Tensor, maps: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return ``reconstruction`` and ``kl``, the negative evidence lower bound but for constants.

        Both stand per value of the image: mean square error, and beta times the Kullback-Leibler
        divergence in nats divided by C * H * W. In evaluation mode the decoder gets the mean.
        """
        mean, log_variance = maps[LATENT], self.log_variance(maps[self.located_layer])
        latent = sampled(mean, log_variance) if self.training else mean
        divergence = kl_divergence(mean, log_variance).mean() / math.prod(x.shape[1:])
        return {
            "reconstruction": self.reconstruction_loss(x, latent),
            "kl": self.reconstruction_weight * self.beta * divergence,
        }

    def log_variance(self, last_maps: Tensor) -> Tensor:
        """Return the log-variances (N, K, 1, 1) of the latents, from the last block's maps."""
        found: Tensor = self.to_log_variance(last_maps)
        return found.clamp(-LARGEST_LOG_VARIANCE, LARGEST_LOG_VARIANCE)


def kl_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Return the Kullback-Leibler divergence of N(mean, variance) from N(0, 1), in nats.

    Summed over the independent latent numbers: ``1/2 sum(mean^2 + variance - log variance - 1)``
    (Kingma & Welling 2014, appendix B).

    Parameters
    ----------
    mean, log_variance : Tensor, shape (N, K, 1, 1)

    Returns
    -------
    Tensor, shape (N,)

    Examples
    --------
    >>> kl_divergence(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 0.0]]))
    tensor([0.5000])
    """
    return 0.5 * (mean**2 + log_variance.exp() - log_variance - 1).flatten(1).sum(dim=1)


def sampled(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Draw a sample of N(mean, variance) such that its gradient reaches mean and variance."""
    return mean + (log_variance / 2).exp() * torch.randn_like(mean)


def vae(
    *,
    input_channels: int,
    classes: int,
    size: Size,
    frozen: bool = False,
    latent_dimensions: LatentDimensions = 98,
    widths: Widths = WIDTHS,
    reconstruction_weight: ReconstructionWeight = 10.0,
    beta: Annotated[
        float, Help("weight of the divergence from the normal distribution"), Range(0, 1e4)
    ] = 1.0,
) -> VariationalAutoencoder:
    """Build a variational autoencoder whose latent also classifies.

    Trained jointly on cross-entropy + ``reconstruction_weight`` * (mean square error + ``beta`` *
    KL / (C * H * W)). With ``beta`` 1 the bracket is the negative evidence lower bound per value,
    up to a constant, of a decoder with a noise variance of 1/2 of the channel's.

    Parameters
    ----------
    beta : float
        Larger: latents closer to the normal distribution and more independent, images blurrier.
    input_channels, classes, size, frozen, latent_dimensions, widths, reconstruction_weight
        As for :func:`~napari_why.networks.autoencoder.autoencoder`.

    Raises
    ------
    ParameterError
        As for :func:`~napari_why.networks.autoencoder.autoencoder`.
    """
    configuration = common_configuration("vae", input_channels, classes, size) | {
        "latent_dimensions": latent_dimensions,
        "widths": widths,
        "reconstruction_weight": reconstruction_weight,
        "beta": beta,
    }
    network = VariationalAutoencoder(configuration)
    if frozen:
        network.freeze()
    return network
