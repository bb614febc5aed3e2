"""The rows without an explained network: the truth, nothing, and two ways to come near it."""

import numpy as np
import torch

from napari_why.classifier import Classifier
from napari_why.errors import WhyError
from napari_why.events import Cancelled, OnEvent, ignore_event, never_cancelled
from napari_why.images.exported import export_dtype, exported
from napari_why.truth_benchmark.classify import AT_A_TIME, prepared
from napari_why.truth_benchmark.data import BenchmarkData, Direction
from napari_why.truth_benchmark.made import Made
from napari_why.truth_benchmark.paired_network import train_on_pairs
from napari_why.truth_benchmark.pixel_transport import fit_pixel_transport
from napari_why.truth_benchmark.protocol import EffectData


def truth(direction: Direction) -> Made:
    """Return the scenes as images of the target class; the change is the true one.

    Raises
    ------
    WhyError
        The truth is not known.
    """
    if direction.truth is None or direction.paired is None:
        raise WhyError("the true change of these images is not known")
    return Made(direction.paired, direction.truth)


def do_nothing(direction: Direction) -> Made:
    """Return the sources."""
    return Made(direction.images, np.zeros(direction.images.shape))


def transported_pixels(classifier: Classifier, data: BenchmarkData, direction: Direction) -> Made:
    """Transport blocks of pixels from class to class.

    Parameters
    ----------
    classifier : Classifier
        Lends its preprocessing and its decision which channels carry no class evidence.
    data : BenchmarkData
        With the training images.
    direction : Direction
        What to change.
    """
    train = data.dataset.part("train")
    by_class = [
        torch.stack(
            [
                classifier.preprocessing(train.image(int(index)))
                for index in np.flatnonzero(train.table["label"] == label)
            ]
        )
        for label in (direction.source, direction.target)
    ]
    fixed = tuple(map(classifier.channels.index, classifier.locked_channels))
    move = fit_pixel_transport(by_class[0], by_class[1], fixed, seed=data.seed)
    return _as_raw(classifier, direction, move(prepared(classifier, direction.images)))


def learnt_from_pairs(
    classifier: Classifier,
    data: BenchmarkData,
    direction: Direction,
    *,
    on_event: OnEvent = ignore_event,
    cancelled: Cancelled = never_cancelled,
) -> Made:
    """Predict the change by a network that was trained on the training scenes' true changes."""
    if not isinstance(data, EffectData):
        raise WhyError("true pairs of these images are not known")
    scenes = data.training_scenes
    std = np.asarray(classifier.preprocessing.std)[:, None, None]
    images = np.stack([scene.image(direction.source).values for scene in scenes])
    changes = np.stack(
        [scene.true_change(direction.source, direction.target).values for scene in scenes]
    )
    network = train_on_pairs(
        prepared(classifier, images),
        torch.from_numpy(changes / std).float(),
        epochs=data.protocol.paired_epochs,
        seed=data.seed,
        on_event=on_event,
        cancelled=cancelled,
    )
    x = prepared(classifier, direction.images)
    with torch.no_grad():
        moved = torch.cat([batch + network(batch) for batch in torch.split(x, AT_A_TIME)])
    return _as_raw(classifier, direction, moved)


def _as_raw(classifier: Classifier, direction: Direction, moved: torch.Tensor) -> Made:
    raw = classifier.preprocessing.inverse(moved)
    images = exported(raw, export_dtype(direction.images.dtype))
    return Made(images, images.astype(float) - direction.images.astype(float))
