"""What one number of the latent stands for: the image with other values of it."""

from collections.abc import Sequence
from typing import Annotated

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

from napari_why.classifier import Classifier
from napari_why.errors import ParameterError
from napari_why.generation.decoding import generated, generative_network, latent_of
from napari_why.generation.result import GeneratedImages
from napari_why.parameters import Help, Range, validated

PRIOR_RANGE = 3.0


def traverse(
    classifier: Classifier,
    image: xr.DataArray,
    *,
    dimension: Annotated[
        int,
        Help("which number of the latent; -1: that in which class means differ most"),
        Range(-1, 4095),
    ] = -1,
    steps: Annotated[int, Help("number of images"), Range(2, 1001)] = 11,
    values: Sequence[float] | None = None,
) -> GeneratedImages:
    """Decode an image's latent with one of its numbers set to a series of values.

    Parameters
    ----------
    classifier : Classifier
        With a generative network.
    image : DataArray, dims (c, y, x)
        Raw intensities with the classifier's channels.
    dimension : int
        From 0; -1 takes the one in which the class means lie farthest apart.
    steps : int
        Number of values where these are not given.
    values : sequence of float, optional
        Evenly spaced, rising. By default from -3 to 3 where the latents are drawn to a standard
        normal distribution (``vae``), else the range of the class means three times as wide.

    Returns
    -------
    GeneratedImages

    Raises
    ------
    UnsupportedNetworkError
        The network is not a generative one.
    ParameterError
        There is no such dimension, or values are not evenly spaced.
    """
    checked = validated(traverse, {"dimension": dimension, "steps": steps})
    network = generative_network(classifier)
    means = _class_means(classifier)
    chosen = int(np.ptp(means, axis=0).argmax()) if dimension == -1 else checked["dimension"]
    if chosen >= network.latent_dimensions:
        raise ParameterError(
            f"dimension: found {chosen}; expected 0 to {network.latent_dimensions - 1}, or -1"
        )
    if values is None:
        low, high = _range(means[:, chosen], network.has_prior)
        positions = np.linspace(low, high, checked["steps"])
    else:
        positions = _even(values)
    latents = latent_of(classifier, network, image).repeat(len(positions), 1, 1, 1)
    latents[:, chosen] = torch.as_tensor(positions).to(latents).reshape(-1, 1, 1)
    return generated(
        classifier,
        network,
        latents,
        axis=f"latent {chosen}",
        values=positions,
        grid=classifier.preprocessing.grid(image),
        source=str(image.attrs.get("source", "")),
        parameters={"dimension": chosen},
    )


def _class_means(classifier: Classifier) -> NDArray[np.float64]:
    if classifier.latent_statistics is None:
        raise ParameterError(
            "this classifier was made without latent statistics; train it with napari_why.fit"
        )
    means: NDArray[np.float64] = classifier.latent_statistics.true_means.double().cpu().numpy()
    return np.asarray(means.mean(axis=(2, 3)))


def _range(means: NDArray[np.float64], has_prior: bool) -> tuple[float, float]:
    if has_prior:
        return -PRIOR_RANGE, PRIOR_RANGE
    low, high = float(means.min()), float(means.max())
    width = (high - low) or 1.0
    return low - width, high + width


def _even(values: Sequence[float]) -> NDArray[np.float64]:
    positions = np.asarray(values, dtype=np.float64)
    gaps = np.diff(positions)
    if (
        positions.ndim != 1
        or not len(gaps)
        or not (gaps > 0).all()
        or not np.allclose(gaps, gaps[0])
    ):
        raise ParameterError(f"values: found {list(values)}; expected two or more, evenly rising")
    return positions
