"""What the functions of this room share: the network, and raw images of latents."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_why.classifier import Classifier
from napari_why.devices import limited_threads
from napari_why.errors import UnsupportedNetworkError
from napari_why.generation.result import GeneratedImages
from napari_why.images import Grid
from napari_why.networks import GenerativeNetwork
from napari_why.record import Record

# Values (images x channels x pixels) decoded at a time, which bounds memory.
VALUES_AT_A_TIME = 2**22


def generative_network(classifier: Classifier) -> GenerativeNetwork:
    """Return the classifier's network.

    Raises
    ------
    UnsupportedNetworkError
        It is not a generative one.
    """
    network = classifier.network
    if not isinstance(network, GenerativeNetwork):
        raise UnsupportedNetworkError(
            f"found the network {network.name}; expected a generative one: train a classifier with "
            "the network vae, autoencoder or denoising_autoencoder"
        )
    return network


def latent_of(classifier: Classifier, network: GenerativeNetwork, image: Any) -> Tensor:
    """Return the latent (1, K, 1, 1) of a raw image."""
    prepared = classifier.prepare(image)
    with torch.no_grad(), limited_threads(classifier.threads):
        return network.encode(prepared)


def generated(
    classifier: Classifier,
    network: GenerativeNetwork,
    latents: Tensor,
    *,
    axis: str,
    values: NDArray[np.float64],
    grid: Grid | None,
    source: str,
    parameters: Mapping[str, Any],
    seed: int | None = None,
) -> GeneratedImages:
    """Decode latents (A, K, 1, 1), classify the images and say how they were made."""
    images, probabilities = [], []
    at_a_time = max(1, VALUES_AT_A_TIME // (len(classifier.channels) * _pixels(network)))
    with torch.no_grad(), limited_threads(classifier.threads):
        for start in range(0, len(latents), at_a_time):
            part = latents[start : start + at_a_time]
            decoded = network.decode(part.to(classifier.device))
            probabilities.append(network(decoded).double().softmax(dim=1).float().cpu().numpy())
            images.append(classifier.preprocessing.inverse(decoded).astype(np.float32))
    made = np.concatenate(images)
    return GeneratedImages(
        images=made,
        axis=axis,
        values=values,
        latents=latents.flatten(1).float().cpu().numpy(),
        probabilities=np.concatenate(probabilities),
        classes=tuple(classifier.classes),
        channels=tuple(classifier.channels),
        grid=grid or Grid((made.shape[-2], made.shape[-1]), (1.0, 1.0), (0.0, 0.0)),
        record=Record(
            kind="generation",
            method=axis.partition(" ")[0],
            parameters=parameters,
            seed=seed,
            classifier=classifier.fingerprint,
            source=source,
            details={"axis": axis, "values": values.tolist()},
        ),
    )


def _pixels(network: GenerativeNetwork) -> int:
    height, width = network.size
    return height * width
