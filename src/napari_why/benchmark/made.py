"""Probabilities of many raw images at once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from napari_why.core.devices import limited_threads
from napari_why.core.errors import UnsupportedNetworkError
from napari_why.core.events import (
    Advanced,
    Cancelled,
    Finished,
    OnEvent,
    Started,
    ignore_event,
    never_cancelled,
)
from napari_why.core.options import validated
from napari_why.counterfactuals import METHODS, LatentPath
from napari_why.counterfactuals.boundary import LARGEST_ALPHA, ScoresOnPath
from napari_why.counterfactuals.convincing import ENLARGEMENT, special_alphas
from napari_why.images import make_image
from napari_why.images.image import export_dtype, export_pixels
from napari_why.model import Classifier
from napari_why.model.chance import at_chance
from napari_why.networks import DecodingNetwork

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


FULL = 1.0
PROBABILITY = 0.9  # the default of napari_why.counterfactual


@dataclass(frozen=True)
class Made:
    """What a row of the benchmark makes of the images of one direction.

    Parameters
    ----------
    images : ndarray, shape (N, C, H, W)
        As exported, dtype of the sources.
    change : ndarray, float64, shape (N, C, H, W)
        In raw units.
    training_seconds, seconds : float
        To learn from the training images, and to change all images.
    notes : tuple of str
        What is to be said beside them.
    """

    images: NDArray[Any]
    change: NDArray[np.float64]
    training_seconds: float = 0.0
    seconds: float = 0.0
    notes: tuple[str, ...] = ()


def made_by_network(
    classifier: Classifier,
    images: NDArray[Any],
    source: str,
    target: str,
    method: str,
    parameters: Mapping[str, Any],
    *,
    on_event: OnEvent = ignore_event,
    cancelled: Cancelled = never_cancelled,
) -> Made | None:
    """Return the exported convincing counterfactuals of many images, None when cancelled.

    They are those at ``alpha1`` of :func:`napari_why.counterfactual` with its defaults, and
    those of the full change (alpha 1) where it finds no alpha1; but inverted together, without
    the series in between. Unlike there, an image that the classifier calls the target already is
    changed too: what counts here is its true class.

    Parameters
    ----------
    classifier : Classifier
        Whose network is inverted.
    images : ndarray, shape (N, C, H, W)
        Raw units.
    source, target : str
        True class of the images, and the class to reach.
    method : str
        A key of :data:`napari_why.counterfactuals.METHODS`.
    parameters : mapping
        The method's own.
    on_event, cancelled
        See :mod:`napari_why.core.events`.

    Raises
    ------
    WhyError
        What the method raises where it is not defined for the classifier.
    """
    entry = METHODS[method]
    entry.check(classifier.network)
    if not isinstance(classifier.network, DecodingNetwork) or not classifier.latent_statistics:
        raise UnsupportedNetworkError(f"{method}: the classifier has no latent statistics")
    batch = _Batch(classifier, classifier.network, images, classifier.classes.index(target))
    values = validated(entry.function, parameters)
    on_event(Started(f"counterfactuals by {method}", len(images)))
    with limited_threads(classifier.threads), torch.no_grad():
        for done, x in enumerate(prepared(classifier, images).to(classifier.device), start=1):
            if cancelled():
                return None
            batch.add(
                entry.function(
                    batch.network,
                    classifier.latent_statistics,
                    x[None],
                    classifier.classes.index(source),
                    batch.target,
                    **values,
                )
            )
            on_event(Advanced(done))
        found = batch.convincing()
    on_event(Finished())
    return Made(found, found.astype(float) - images.astype(float))


class _Batch:
    """Images of one class with their paths, decoded together."""

    def __init__(
        self, classifier: Classifier, network: DecodingNetwork, images: NDArray[Any], target: int
    ) -> None:
        self.network, self.target = network, target
        self._classifier, self._sources = classifier, images
        self._paths: list[LatentPath] = []
        self._alphas: list[float] = []

    def add(self, path: LatentPath) -> None:
        """Take the path of the next image and find its convincing alpha on the head."""
        self._paths.append(path)
        self._alphas.append(_alpha_on_head(path, ScoresOnPath(self.network, path, self.target)))

    def convincing(self) -> NDArray[Any]:
        """Return the exported images, each enlarged until it is valid as exported.

        Where no enlargement makes it valid, it is left as it was; a published alpha is never
        enlarged.
        """
        found = self._exported(self._alphas, range(len(self._paths)))
        alphas, first = list(self._alphas), found.copy()
        if at_chance(self._classifier.metrics):  # as in napari_why.counterfactual
            return found
        waiting = self._not_valid(found, range(len(found)))
        while waiting:
            for index in waiting:
                alphas[index] *= ENLARGEMENT
            waiting = [index for index in waiting if alphas[index] <= LARGEST_ALPHA]
            if waiting:
                found[waiting] = self._exported([alphas[index] for index in waiting], waiting)
                waiting = self._not_valid(found, waiting)
        lost = self._not_valid(found, range(len(found)))
        found[lost] = first[lost]
        return found

    def _not_valid(self, found: NDArray[Any], indices: Sequence[int]) -> list[int]:
        open_to_change = [index for index in indices if not self._paths[index].closed_form]
        if not open_to_change:
            return []
        called = probabilities(self._classifier, found[open_to_change]).argmax(1)
        return [
            index
            for index, label in zip(open_to_change, called, strict=True)
            if label != self.target
        ]

    def _exported(self, alphas: Sequence[float], indices: Sequence[int]) -> NDArray[Any]:
        parts = [
            self._raw(alphas[start : start + AT_A_TIME], indices[start : start + AT_A_TIME])
            for start in range(0, len(indices), AT_A_TIME)
        ]
        return export_pixels(np.concatenate(parts), export_dtype(self._sources.dtype))

    def _raw(self, alphas: Sequence[float], indices: Sequence[int]) -> NDArray[np.float64]:
        paths = [self._paths[index] for index in indices]
        latents = [path.at([alpha]) for path, alpha in zip(paths, alphas, strict=True)]
        images = self.network.decode(torch.cat(latents), paths[0].stage)
        for place, path in enumerate(paths):
            if path.details is not None:
                images[place] += path.details[0]
        raw = self._classifier.preprocessing.inverse(images)
        for place, (index, path) in enumerate(zip(indices, paths, strict=True)):
            raw[place, list(path.reset_channels)] = self._sources[index, list(path.reset_channels)]
        return raw


def _alpha_on_head(path: LatentPath, scores: ScoresOnPath) -> float:
    if path.full_alpha is not None:  # which needs no search for the boundary
        return path.full_alpha
    found = special_alphas(path, scores, PROBABILITY).alpha1
    return FULL if found is None else found
