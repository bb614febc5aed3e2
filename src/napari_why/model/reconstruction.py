"""How well a generative network gives images back."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_why.core.devices import to_float64
from napari_why.core.errors import MismatchError
from napari_why.core.events import Advanced, OnEvent, Started, ignore_event
from napari_why.datasets.preprocessing import Preprocessing
from napari_why.networks.network import GenerativeNetwork


def reconstruction_metrics(
    network: GenerativeNetwork,
    batches: Iterable[Tensor],
    preprocessing: Preprocessing,
    *,
    total: int | None = None,
    on_event: OnEvent = ignore_event,
) -> dict[str, Any]:
    """Compare images with what the decoder makes of their latents.

    Parameters
    ----------
    network : GenerativeNetwork
        Frozen.
    batches : iterable of Tensor, shape (N, C, H, W)
        Preprocessed images.
    preprocessing : Preprocessing
        Gives raw intensities back.
    total : int, optional
        Number of batches, where it is known.
    on_event : callable
        See :mod:`napari_why.core.events`.

    Returns
    -------
    dict
        ``images``: how many; ``mean_square_error``: in units of the channels' training variance,
        and ``mean_square_error_by_channel``; ``mean_square_error_of_the_mean``: that of images
        which are the training mean everywhere, the yardstick; ``mean_absolute_error``: by
        channel, in grey levels of the source. JSON types.

    Raises
    ------
    MismatchError
        There is no image.
    """
    device = next(network.parameters()).device
    sums, count = np.zeros((3, len(preprocessing.channels))), 0
    on_event(Started("reconstructing", total))
    with torch.no_grad():
        for done, batch in enumerate(batches, start=1):
            images = batch.to(device)
            with network.use.passing():
                decoded = network.decode(network.encode(images))
            grey = np.abs(preprocessing.inverse(decoded) - preprocessing.inverse(images))
            squares = [((decoded - images) ** 2), images**2]
            means = [to_float64(item).mean(dim=(2, 3)).sum(dim=0).cpu().numpy() for item in squares]
            sums += np.stack([*means, grey.mean(axis=(2, 3)).sum(axis=0)])
            count += len(images)
            on_event(Advanced(done))
    if not count:
        raise MismatchError("reconstruction: found no image; expected at least one")
    square, of_the_mean, absolute = sums / count
    return {
        "images": count,
        "mean_square_error": float(square.mean()),
        "mean_square_error_of_the_mean": float(of_the_mean.mean()),
        "mean_square_error_by_channel": _by_channel(preprocessing, square),
        "mean_absolute_error": _by_channel(preprocessing, absolute),
    }


def reconstruction_sentence(metrics: dict[str, Any]) -> str:
    """Say what :func:`reconstruction_metrics` found.

    Examples
    --------
    >>> reconstruction_sentence({
    ...     "images": 3, "mean_square_error": 0.25, "mean_square_error_of_the_mean": 0.5,
    ...     "mean_absolute_error": {"DAPI": 12.34},
    ... })
    'Reconstruction of 3 images: mean square error 0.250 (the training mean: 0.500); mean absolute error in grey levels: DAPI 12.3.'
    """
    missed = ", ".join(f"{name} {v:.3g}" for name, v in metrics["mean_absolute_error"].items())
    return (
        f"Reconstruction of {metrics['images']} images: mean square error "
        f"{metrics['mean_square_error']:.3f} (the training mean: "
        f"{metrics['mean_square_error_of_the_mean']:.3f}); mean absolute error in grey levels: "
        f"{missed}."
    )


def _by_channel(preprocessing: Preprocessing, values: NDArray[np.float64]) -> dict[str, float]:
    return dict(zip(preprocessing.channels, values.tolist(), strict=True))
