"""Probabilities of many raw images at once."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from napari_why.classifier import Classifier
from napari_why.images import make_image

AT_A_TIME = 100


def prepared(classifier: Classifier, images: NDArray[Any]) -> torch.Tensor:
    """Preprocess raw images.

    Parameters
    ----------
    classifier : Classifier
        With the channels of the images, in their order.
    images : ndarray, shape (N, C, H, W)
        Raw intensities.

    Returns
    -------
    Tensor, float32, shape (N, C, size, size)
    """
    named = (make_image(image, "cyx", classifier.channels) for image in images)
    return torch.stack([classifier.preprocessing(image) for image in named])


def probabilities(classifier: Classifier, images: NDArray[Any]) -> NDArray[np.float64]:
    """Classify raw images as a file with these pixels would be; (N, C, H, W) to (N, K)."""
    batches = [images[start : start + AT_A_TIME] for start in range(0, len(images), AT_A_TIME)]
    logits = [classifier.logits(prepared(classifier, batch)) for batch in batches]
    shares: NDArray[np.float64] = torch.cat(logits).double().softmax(1).cpu().numpy()
    return shares


def share_called(classifier: Classifier, images: NDArray[Any], label: str) -> float:
    """Return the share of raw images (N, C, H, W) that the classifier calls ``label``."""
    called = probabilities(classifier, images).argmax(1)
    return float((called == classifier.classes.index(label)).mean())
