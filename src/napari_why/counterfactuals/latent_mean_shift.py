"""Shift an image's latent in a generative network by the difference of the class means."""

from torch import Tensor

from napari_why.classifier.latent_statistics import LatentStatistics
from napari_why.counterfactuals.generative_path import (
    KeepDetails,
    class_mean,
    generative_path,
)
from napari_why.counterfactuals.path import LatentPath
from napari_why.counterfactuals.registry import counterfactual_method, needs_decoder
from napari_why.networks.generative import GenerativeNetwork


@counterfactual_method(
    title="Shift between class means (generative)",
    source="latent vector arithmetic: Radford, Metz & Chintala 2016; VAEs: Larsen et al. 2016",
    needs=needs_decoder,
)
def latent_mean_shift(
    network: GenerativeNetwork,
    statistics: LatentStatistics,
    image: Tensor,
    source: int,
    target: int,
    *,
    keep_details: KeepDetails = False,
) -> LatentPath:
    """Shift the latent of an autoencoder or VAE from one class mean to the other.

    The path is ``z + alpha (mu_q - mu_p)`` with the means by true label of the source class p and
    the target class q; its images are decoded.

    Parameters
    ----------
    network : GenerativeNetwork
        Frozen.
    statistics : LatentStatistics
        Of the training images.
    image : Tensor, shape (1, C, H, W)
        Preprocessed.
    source, target : int
        Class indices p and q.
    keep_details : bool
        Images are ``x + decode(z') - decode(z)`` instead of ``decode(z')``.

    Raises
    ------
    ParameterError
        A class without training images.
    """
    shift = class_mean(statistics, target) - class_mean(statistics, source)
    return generative_path(
        network, image, network.encode(image), shift[None], keep_details=keep_details
    )
