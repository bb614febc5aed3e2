"""Where the images of a counterfactual series lie in the latent space."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from napari_why.classifier import Classifier
from napari_why.counterfactuals import Counterfactual
from napari_why.errors import MismatchError
from napari_why.images import make_image
from napari_why.latent_space.pooled import VALUES_AT_A_TIME, encoded


def path_of(counterfactual: Counterfactual, classifier: Classifier) -> NDArray[np.float32]:
    """Return the pooled latent of every step of a counterfactual.

    The exported images are encoded again, as a saved and reopened file would be: the path is
    that of what is seen, not of what was asked for.

    Parameters
    ----------
    counterfactual : Counterfactual
    classifier : Classifier
        The one that made it, or any other with its channels.

    Returns
    -------
    ndarray, float32, shape (A, K)
        One row per alpha; see :func:`napari_why.embed`.
    """
    return pooled_latents(counterfactual.images, counterfactual.channels, classifier)


def pooled_latents(
    images: NDArray[Any], channels: Sequence[str], classifier: Classifier
) -> NDArray[np.float32]:
    """Return the pooled latents of a series of images.

    Parameters
    ----------
    images : ndarray, shape (A, C, H, W)
        Raw intensity units.
    channels : sequence of str
        Names along C; the classifier's are found among them.
    classifier : Classifier

    Returns
    -------
    ndarray, float32, shape (A, K)

    Raises
    ------
    MismatchError
        There is no image, or a channel is missing.
    """
    if not len(images):
        raise MismatchError("path: found no image; expected one or more for each channel")
    size = max(1, VALUES_AT_A_TIME // images[0].size)
    latents = []
    for start in range(0, len(images), size):
        prepared = [
            classifier.prepare(make_image(image, ("c", "y", "x"), tuple(channels)))
            for image in images[start : start + size]
        ]
        latents.append(encoded(classifier, torch.cat(prepared))[0])
    return np.concatenate(latents)
