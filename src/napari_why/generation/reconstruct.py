"""What of an image passes through the network's latent and back."""

import numpy as np
import torch
import xarray as xr

from napari_why.classifier import Classifier
from napari_why.devices import limited_threads
from napari_why.errors import UnsupportedNetworkError
from napari_why.generation.result import Reconstruction
from napari_why.networks import DecodingNetwork
from napari_why.record import Record


def reconstruct(classifier: Classifier, image: xr.DataArray) -> Reconstruction:
    """Decode an image's latent and compare.

    Parameters
    ----------
    classifier : Classifier
        With a network that decodes: ``vae``, ``autoencoder``, ``denoising_autoencoder``, or
        ``iresnet``, whose error is that of its inverse.
    image : DataArray, dims (c, y, x)
        Raw intensities with the classifier's channels.

    Returns
    -------
    Reconstruction

    Raises
    ------
    UnsupportedNetworkError
        The network makes no images.
    """
    network = classifier.network
    if not isinstance(network, DecodingNetwork):
        raise UnsupportedNetworkError(
            f"found the network {network.name}, which makes no images; expected one that decodes: "
            "train a classifier with vae, autoencoder, denoising_autoencoder or iresnet"
        )
    prepared = classifier.prepare(image)
    with torch.no_grad(), limited_threads(classifier.threads):
        decoded = network.decode(network.encode(prepared))
    both = torch.cat([prepared, decoded])
    raw = classifier.preprocessing.inverse(both)
    probabilities = classifier.logits(both).double().softmax(dim=1).float().cpu().numpy()
    squares = ((decoded - prepared) ** 2).double().mean(dim=(2, 3))[0].tolist()
    absolute = np.abs(raw[1] - raw[0]).mean(axis=(1, 2)).tolist()
    channels = tuple(classifier.channels)
    square_by_channel = dict(zip(channels, squares, strict=True))
    absolute_by_channel = dict(zip(channels, absolute, strict=True))
    return Reconstruction(
        image=raw[0].astype(np.float32),
        reconstruction=raw[1].astype(np.float32),
        mean_square_error=square_by_channel,
        mean_absolute_error=absolute_by_channel,
        probabilities=probabilities[0],
        reconstructed_probabilities=probabilities[1],
        classes=tuple(classifier.classes),
        channels=channels,
        grid=classifier.preprocessing.grid(image),
        record=Record(
            kind="generation",
            method="reconstruction",
            classifier=classifier.fingerprint,
            source=str(image.attrs.get("source", "")),
            details={
                "mean_square_error": square_by_channel,
                "mean_absolute_error": absolute_by_channel,
            },
        ),
    )
