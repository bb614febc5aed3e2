"""How far an exported image lies from the class that it is to show."""

from typing import TYPE_CHECKING, Any

import torch
from numpy.typing import NDArray

from napari_why.images import make_image

if TYPE_CHECKING:
    from napari_why.classifier import Classifier


@torch.no_grad()
def distance_from_class(classifier: "Classifier", image: NDArray[Any], target: int) -> float | None:
    """Return the share of a class's training images that lie closer to it than an image.

    Parameters
    ----------
    classifier : Classifier
    image : ndarray, shape (C, H, W)
        Raw units, on the network's grid.
    target : int
        Class index.

    Returns
    -------
    float or None
        0 to 1, by Mahalanobis distance of pooled latents; None where too few images of the class
        were seen in training.
    """
    statistics = classifier.latent_statistics
    if statistics is None or statistics.distances is None:
        return None
    prepared = classifier.prepare(make_image(image, ("c", "y", "x"), classifier.channels))
    device = next(classifier.network.parameters()).device
    latent = classifier.network.encode(prepared.to(device))
    return statistics.distances.share_closer(latent[0].mean((1, 2)), target)
