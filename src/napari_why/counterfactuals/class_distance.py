"""How far an exported image lies from the class that it is to show."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_why.images import make_image
from napari_why.model.whole_field import WholeFieldClassifier

if TYPE_CHECKING:
    from napari_why.model import Classifier


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
        0 to 1, by Mahalanobis distance of pooled latents; of a whole field the mean over crops of
        the training images' size. None where too few images of the class were seen in training,
        or the field is smaller than they are.
    """
    statistics = classifier.latent_statistics
    if statistics is None or statistics.distances is None:
        return None
    as_image = make_image(image, ("c", "y", "x"), classifier.channels)
    network = classifier.network
    batches: Iterable[Tensor] = [classifier.prepare(as_image)]
    if isinstance(classifier, WholeFieldClassifier):
        network, batches = classifier.trained.network, classifier.crops(as_image)
    device = next(network.parameters()).device
    shares = [
        statistics.distances.share_closer(latent.mean((1, 2)), target)
        for batch in batches
        for latent in network.encode(batch.to(device))
    ]
    known = [share for share in shares if share is not None]
    return sum(known) / len(known) if known else None
