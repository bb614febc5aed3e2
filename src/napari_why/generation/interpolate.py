"""Images between two images: latents on the straight line between theirs, decoded."""

from typing import Annotated

import numpy as np
import torch
import xarray as xr

from napari_why.classifier import Classifier
from napari_why.generation.decoding import generated, generative_network, latent_of
from napari_why.generation.result import GeneratedImages
from napari_why.parameters import Help, Range, validated


def interpolate(
    classifier: Classifier,
    first: xr.DataArray,
    second: xr.DataArray,
    *,
    steps: Annotated[int, Help("number of images, both ends included"), Range(2, 1001)] = 11,
) -> GeneratedImages:
    """Decode the latents on the straight line from one image to another, of whatever classes.

    Parameters
    ----------
    classifier : Classifier
        With a generative network.
    first, second : DataArray, dims (c, y, x)
        Raw intensities with the classifier's channels.
    steps : int
        The first and last image are the reconstructions of the two.

    Returns
    -------
    GeneratedImages
        On the grid of the first image.

    Raises
    ------
    UnsupportedNetworkError
        The network is not a generative one.
    """
    checked = validated(interpolate, {"steps": steps})
    network = generative_network(classifier)
    start, end = (latent_of(classifier, network, image) for image in (first, second))
    shares = np.linspace(0, 1, checked["steps"])
    weights = torch.as_tensor(shares).to(start).reshape(-1, 1, 1, 1)
    return generated(
        classifier,
        network,
        torch.lerp(start, end, weights),
        axis="interpolation",
        values=shares,
        grid=classifier.preprocessing.grid(first),
        source=str(first.attrs.get("source", "")),
        parameters={"steps": checked["steps"], "second": str(second.attrs.get("source", ""))},
    )
