"""How much of an image an approximate decoder leaves out, in the source's grey levels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_why.counterfactuals.path import LatentPath
from napari_why.counterfactuals.question import Question
from napari_why.networks.network import DecodingNetwork, InvertibleNetwork

if TYPE_CHECKING:
    from napari_why.model import Classifier


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
def decoder_error(
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
        kept=path.details is not None,
    )
