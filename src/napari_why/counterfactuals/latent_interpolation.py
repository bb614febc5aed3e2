"""Go straight from an image's latent in a generative network to a class mean or another image."""

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
    title="Interpolation (generative)",
    source="Otto 2022: interpolation between latents of images and towards class means",
    needs=needs_decoder,
    caution="Interpolation trades everything in the image for what is at its goal, also what the "
    "class has nothing to do with: at alpha = 1 nothing of the source is left.",
)
def latent_interpolation(
    network: GenerativeNetwork,
    statistics: LatentStatistics,
    image: Tensor,
    source: int,
    target: int,
    *,
    goal: Tensor | None = None,
    keep_details: KeepDetails = False,
) -> LatentPath:
    """Interpolate between the latent of the image and the target class's mean, or a given image.

    The path is ``z + alpha (g - z)`` with g the mean latent of the target class's training images
    or the latent of the goal; its images are decoded.

    Parameters
    ----------
    network : GenerativeNetwork
        Frozen.
    statistics : LatentStatistics
        Of the training images.
    image : Tensor, shape (1, C, H, W)
        Preprocessed.
    source, target : int
        Class indices.
    goal : Tensor, shape (1, C, H, W), optional
        A preprocessed image to go towards.
    keep_details : bool
        Images are ``x + decode(z') - decode(z)`` instead of ``decode(z')``.

    Raises
    ------
    ParameterError
        A class without training images.
    """
    del source
    start = network.encode(image)
    mean = class_mean(statistics, target)[None].to(start)
    end = mean if goal is None else network.encode(goal)
    return generative_path(network, image, start, end - start, keep_details=keep_details)
