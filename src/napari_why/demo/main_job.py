"""Train on a data set, choose an image, and explain it."""

from dataclasses import dataclass

import numpy as np
import xarray as xr

from napari_why.attribution import METHODS, Attribution, attribute
from napari_why.classifier import Classifier, fit
from napari_why.counterfactuals import Counterfactual, counterfactual
from napari_why.datasets import Dataset
from napari_why.errors import DatasetError, WhyError
from napari_why.evaluation import Evaluation, evaluate
from napari_why.events import Cancelled, OnEvent
from napari_why.training.metrics import probability_columns

IMAGE_PASSES = 3000
LARGEST_SIZE = 224
SIZE_STEP = 16
SHOWN_METHODS = ("occlusion", "cam", "lrp")
PREFERRED_CLASSES = ("treated", "TT")


@dataclass(frozen=True)
class MainJob:
    """A trained classifier and what it says about one image it was not trained on."""

    classifier: Classifier
    evaluation: Evaluation
    image: xr.DataArray
    true_class: str
    attributions: dict[str, Attribution]
    counterfactual: Counterfactual


def do_main_job(dataset: Dataset, seed: int, on_event: OnEvent, cancelled: Cancelled) -> MainJob:
    """Split, train the i-ResNet, evaluate, and explain one held-out image.

    The number of epochs is such that about :data:`IMAGE_PASSES` images are seen.

    Raises
    ------
    WhyError
        Cancelled before the evaluation was done; later on, what there is is returned.
    """
    dataset = dataset.split(seed=seed)
    epochs = epochs_for(len(dataset.part("train")))
    classifier = fit(
        dataset,
        "iresnet",
        size=network_size(dataset),
        epochs=epochs,
        step_size=max(1, round(epochs * 2 / 3)),
        seed=seed,
        on_event=on_event,
        cancelled=cancelled,
    )
    evaluation = evaluate(classifier, dataset, on_event=on_event, cancelled=cancelled)
    if cancelled():
        raise WhyError("the demo was stopped before there was an image to explain")
    image, true_class = typical_image(dataset, evaluation)
    attributions = {
        name: attribute(
            classifier,
            image,
            name,
            on_event=on_event,
            cancelled=cancelled,
            **_coarser_where_slow(name, network_size(dataset)),
        )
        for name in SHOWN_METHODS
    }
    series = counterfactual(classifier, image, on_event=on_event, cancelled=cancelled)
    return MainJob(classifier, evaluation, image, true_class, attributions, series)


def network_size(dataset: Dataset) -> int:
    """Return the side, in pixels, that images get for the network: theirs, rounded down."""
    image = dataset.image(0)
    side = min(image.sizes["y"], image.sizes["x"], LARGEST_SIZE)
    return max(SIZE_STEP, side // SIZE_STEP * SIZE_STEP)


def epochs_for(images: int) -> int:
    """Return the epochs for a number of training images, at least 3."""
    return max(3, round(IMAGE_PASSES / max(images, 1)))


def typical_image(dataset: Dataset, evaluation: Evaluation) -> tuple[xr.DataArray, str]:
    """Return the held-out image, and its class, of median confidence among those called right.

    A treated image is preferred; else one of the last class.

    Raises
    ------
    DatasetError
        No held-out image is classified right.
    """
    predictions = evaluation.predictions
    wanted = [name for name in PREFERRED_CLASSES if name in dataset.classes]
    for name in (*wanted, *reversed(dataset.classes)):
        right = (predictions["label"] == name) & (predictions["predicted"] == name)
        rows = np.flatnonzero(right & ~predictions["seen"])
        if len(rows):
            confidence = predictions[probability_columns([name])[0]].to_numpy()[rows]
            return dataset.image(int(rows[np.argsort(confidence)[len(rows) // 2]])), name
    raise DatasetError(
        "found no held-out image that is classified right; expected at least one; "
        "give more images, or classes that differ more"
    )


def _coarser_where_slow(method: str, size: int) -> dict[str, int]:
    takes_stride = any(parameter.name == "stride" for parameter in METHODS[method].parameters)
    return {"stride": max(6, size // 20)} if takes_stride else {}
