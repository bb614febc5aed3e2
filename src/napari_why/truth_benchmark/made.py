"""Counterfactual images of many sources, whatever made them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_why.classifier import Classifier
from napari_why.counterfactuals import counterfactual
from napari_why.events import (
    Advanced,
    Cancelled,
    Finished,
    OnEvent,
    Started,
    ignore_event,
    never_cancelled,
)
from napari_why.images import make_image
from napari_why.truth_benchmark.classify import probabilities

FULL = 1.0
FEWEST_STEPS = 2


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
    target: str,
    method: str,
    parameters: Mapping[str, Any],
    *,
    on_event: OnEvent = ignore_event,
    cancelled: Cancelled = never_cancelled,
) -> Made | None:
    """Return the exported counterfactuals of raw images (N, C, H, W), None when cancelled.

    The image of the full change (alpha 1) is taken, or the convincing one where that lies beyond
    it; of a method with a formula of its own (mean shift), the convincing one. An image that the
    classifier calls the target already is left as it is, and noted.
    """
    already = probabilities(classifier, images).argmax(1) == classifier.classes.index(target)
    found = images.copy()
    on_event(Started(f"counterfactuals by {method}", len(images)))
    for number, image in enumerate(images):
        if cancelled():
            return None
        if not already[number]:
            found[number] = _one(classifier, image, target, method, parameters)
        on_event(Advanced(number + 1))
    on_event(Finished())
    notes = (f"{already.sum()} of {len(images)} were called {target} already",)
    return Made(
        found, found.astype(float) - images.astype(float), notes=notes if already.any() else ()
    )


def _one(
    classifier: Classifier,
    image: NDArray[Any],
    target: str,
    method: str,
    parameters: Mapping[str, Any],
) -> NDArray[Any]:
    result = counterfactual(
        classifier,
        make_image(image, "cyx", classifier.channels),
        target,
        method,
        steps=FEWEST_STEPS,
        alpha_range=(0.0, FULL),
        **parameters,
    )
    convincing = result.special_alphas["alpha1"]
    beyond = convincing is not None and (convincing > FULL or method == "mean_shift")
    chosen: NDArray[Any] = result.special_images["alpha1"] if beyond else result.images[-1]
    return chosen
