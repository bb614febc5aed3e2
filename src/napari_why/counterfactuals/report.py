"""What is known beside the images of a counterfactual, and the sentences that say so."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_why.counterfactuals.path import LatentPath
from napari_why.counterfactuals.question import Question
from napari_why.images import make_image
from napari_why.model.classifier import pooled_latents
from napari_why.model.latent_statistics import LatentStatistics
from napari_why.model.whole_field import WholeFieldClassifier
from napari_why.networks.network import DecodingNetwork, InvertibleNetwork

if TYPE_CHECKING:
    from napari_why.model import Classifier

# Fewer values than this outside the range of the file's dtype are no news: real fields have as many
# saturated or black pixels before anything is changed.
NOTEWORTHY_SHARE = 0.01
# Of a hundred training images of a class one lies as far off by definition.
FAR_SHARE = 0.99


@dataclass(frozen=True)
class DecoderError:
    """What lies between an image and what the decoder makes of its latent.

    Parameters
    ----------
    by_channel : dict of str to float
        Mean |decode(encode(x)) - x| in grey levels of the source, by channel.
    reconstructed_class : str
        What the network calls decode(encode(x)).
    kept : bool
        What the decoder leaves out was added back to every image on the path.
    """

    by_channel: dict[str, float]
    reconstructed_class: str
    kept: bool

    def notes(self, source_class: str) -> list[str]:
        """Return what the user should know.

        Parameters
        ----------
        source_class : str
            What the network calls the image itself.
        """
        missed = ", ".join(f"{name} {value:.3g}" for name, value in self.by_channel.items())
        error = f"the decoder misses the unchanged image by (mean grey levels) {missed}"
        if self.kept:
            return [f"{error}; what it leaves out was added back to every image"]
        sentences = [f"{error}; changes are taken against the decoder's image, not the source"]
        if self.reconstructed_class != source_class:
            sentences.append(
                f"the decoder's image of the unchanged source is called {self.reconstructed_class} "
                f"already, not {source_class}: a flip on this path says little"
            )
        return sentences


@torch.no_grad()
def measure_decoder(
    classifier: "Classifier", network: DecodingNetwork, path: LatentPath, question: Question
) -> DecoderError | None:
    """Measure the decoder on the unchanged image; None for an exact inverse."""
    if isinstance(network, InvertibleNetwork):
        return None
    decoded = network.decode(path.start, path.stage)
    raw, wanted = (
        classifier.preprocessing.inverse(images)[0] for images in (decoded, question.prepared)
    )
    missed: Sequence[float] = np.abs(raw - wanted).mean(axis=(1, 2)).tolist()
    called = int(network(decoded)[0].argmax())
    return DecoderError(
        dict(zip(classifier.channels, missed, strict=True)),
        classifier.classes[called],
        kept=path.keeps_details,
    )


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
    shares = [
        statistics.distances.share_closer(latent, target)
        for batch in batches
        for latent in pooled_latents(network, batch)[0]
    ]
    known = [share for share in shares if share is not None]
    return sum(known) / len(known) if known else None


def put_back_notes(channels: Sequence[str]) -> list[str]:
    """Return a sentence about channels that were put back to the source's.

    Without it their stillness would be taken for something that the network found.
    """
    if not channels:
        return []
    verb = "was" if len(channels) == 1 else "were"
    return [
        f"{' and '.join(channels)} {verb} put back to the source: "
        "held-out images kept their class without that change"
    ]


def range_notes(share: float, dtype: str) -> list[str]:
    """Return a sentence when many values of alpha1 lie outside the source's dtype."""
    if share < NOTEWORTHY_SHARE:
        return []
    return [f"{share:.0%} of the values at alpha1 lie outside the range of {dtype}"]


def chance_notes(chance: str | None) -> list[str]:
    """Return a sentence when the classifier is no better than chance."""
    return (
        [] if chance is None else [f"{chance}; this counterfactual says nothing about the classes"]
    )


def second_network_notes(opinion: int | None, classes: tuple[str, ...], target: str) -> list[str]:
    """Return a sentence when the second network calls the unchanged image the target already."""
    if opinion is None or classes[opinion] != target:
        return []
    return [
        f"the second network calls the image {target} before anything is changed, "
        "so that its agreement says nothing"
    ]


def source_notes(predicted_target: bool, source: str, target: str) -> list[str]:
    """Return a sentence when the image is called the target before anything is changed."""
    if not predicted_target:
        return []
    return [f"the classifier calls this {source} image {target} before anything is changed"]


def distance_notes(distance: float | None, target: str) -> list[str]:
    """Return a sentence when the image lies further from its class than the training images."""
    if distance is None or distance < FAR_SHARE:
        return []
    return [
        f"the image lies further from the class {target} than {distance:.0%} of its training images"
    ]


def statistics_notes(statistics: LatentStatistics) -> list[str]:
    """Return a sentence when the class statistics saw only some of the training images."""
    if statistics.complete:
        return []
    count = sum(statistics.true_counts)
    return [f"the class statistics were cancelled after {count} images"]
