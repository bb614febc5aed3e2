"""What a row of the benchmark makes of many images: by the product's own engine."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from napari_why.core.devices import limited_threads
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
from napari_why.counterfactuals import METHODS, CounterfactualOptions
from napari_why.counterfactuals.engine import Task, follow_paths
from napari_why.counterfactuals.method import require_statistics, suitable_network
from napari_why.model import Classifier
from napari_why.model.image_facts import at_chance

# A hundred small images are a few MB.
AT_A_TIME = 100


def classify_images(classifier: Classifier, images: NDArray[Any]) -> NDArray[np.float64]:
    """Classify raw images as a file with these pixels would be; (N, C, H, W) to (N, K)."""
    batches = [images[start : start + AT_A_TIME] for start in range(0, len(images), AT_A_TIME)]
    logits = [classifier.logits(classifier.prepare_pixels(batch)) for batch in batches]
    shares: NDArray[np.float64] = torch.cat(logits).double().softmax(1).cpu().numpy()
    return shares


def share_predicted(classifier: Classifier, images: NDArray[Any], label: str) -> float:
    """Return the share of raw images (N, C, H, W) that the classifier predicts as ``label``."""
    called = classify_images(classifier, images).argmax(1)
    return float((called == classifier.classes.index(label)).mean())


@dataclass(frozen=True)
class ChangedImages:
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


def change_by_network(
    classifier: Classifier,
    images: NDArray[Any],
    source: str,
    target: str,
    method: str,
    parameters: Mapping[str, Any],
    *,
    on_event: OnEvent = ignore_event,
    cancelled: Cancelled = never_cancelled,
) -> ChangedImages | None:
    """Return the exported convincing counterfactuals of many images, None when cancelled.

    They are, bit for bit, those at ``alpha1`` of :func:`napari_why.counterfactual` with its
    defaults and this source, and those of the full change (alpha 1) where it finds no alpha1; only
    the series in between is left out. An image that is predicted as the target already is changed
    too: what counts here is its true class.

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
    entry = METHODS.named(method)
    network = suitable_network(classifier, entry)
    require_statistics(classifier)
    task = Task(
        classifier,
        network,
        entry,
        validated(entry.function, parameters),
        classifier.classes.index(source),
        classifier.classes.index(target),
        CounterfactualOptions().probability,
        enlarge=at_chance(classifier.metrics) is None,  # as in napari_why.counterfactual
    )
    changed = []
    on_event(Started(f"counterfactuals by {method}", len(images)))
    with limited_threads(classifier.threads), torch.no_grad():
        prepared = classifier.prepare_pixels(images)
        for done, followed in enumerate(follow_paths(task, prepared, images.dtype), start=1):
            if cancelled():
                return None
            changed.append(followed.convincing_image().image)
            on_event(Advanced(done))
    on_event(Finished())
    found = np.stack(changed)
    return ChangedImages(found, found.astype(float) - images.astype(float))
