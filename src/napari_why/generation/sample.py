"""New images: latents drawn from the prior of a variational autoencoder, decoded."""

from typing import Annotated

import numpy as np
import torch

from napari_why.classifier import Classifier
from napari_why.generation.decoding import generated, generative_network
from napari_why.generation.result import GeneratedImages
from napari_why.parameters import Help, Range, validated


def sample(
    classifier: Classifier,
    *,
    count: Annotated[int, Help("number of images"), Range(1, 10_000)] = 16,
    seed: Annotated[int, Help("of the latents drawn"), Range(0, 2**31 - 1)] = 0,
) -> GeneratedImages:
    """Draw new images from a variational autoencoder.

    Parameters
    ----------
    classifier : Classifier
        With the network ``vae``.
    count, seed : int
        How many, and of which random numbers; the same seed gives the same images.

    Returns
    -------
    GeneratedImages

    Raises
    ------
    UnsupportedNetworkError
        The network's latents have no distribution to draw from.
    """
    checked = validated(sample, {"count": count, "seed": seed})
    network = generative_network(classifier)
    generator = torch.Generator().manual_seed(checked["seed"])
    return generated(
        classifier,
        network,
        network.prior_latents(checked["count"], generator),
        axis="sample",
        values=np.arange(checked["count"], dtype=np.float64),
        grid=None,
        source="",
        parameters={"count": checked["count"]},
        seed=checked["seed"],
    )
