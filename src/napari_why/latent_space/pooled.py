"""Pooled latents of every image of a data set, read and encoded a few at a time."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_why.classifier import Classifier
from napari_why.classifier.prediction import softmax
from napari_why.datasets import Dataset, Unreadable, image_digest
from napari_why.devices import limited_threads
from napari_why.errors import DatasetError, WhyError
from napari_why.events import (
    Advanced,
    Cancelled,
    Finished,
    Message,
    OnEvent,
    Started,
    ignore_event,
    never_cancelled,
)
from napari_why.latent_space.space import LatentSpace
from napari_why.record import Record

# Values (images x channels x pixels) encoded at a time: bounds the memory that feature maps take.
VALUES_AT_A_TIME = 2**19
USES = {"train": "training", "validation": "validation"}
UNUSED = "nothing"


def embed(
    classifier: Classifier,
    dataset: Dataset,
    *,
    on_event: OnEvent = ignore_event,
    cancelled: Cancelled = never_cancelled,
) -> LatentSpace:
    """Find where the classifier's network puts every image of a data set.

    The last feature maps (N, K, h, w) of the network, whichever it is, are averaged over their
    positions: one point with K coordinates an image. Memory does not grow with the number of
    images but for these points.

    Parameters
    ----------
    classifier : Classifier
    dataset : Dataset
        With the classifier's channels; its classes need not be the classifier's.
    on_event, cancelled
        See :mod:`napari_why.events`; when cancelled, with the images done by then.

    Returns
    -------
    LatentSpace
        Without the images that cannot be read or do not fit the classifier: those are listed with
        the reason.

    Raises
    ------
    DatasetError
        Not a single image could be encoded.

    Examples
    --------
    >>> space = why.embed(classifier, why.Dataset.open("plate/"))  # doctest: +SKIP
    >>> space.table[["path", "class", "prediction", "well"]]  # doctest: +SKIP
    """
    on_event(Started("latent space", len(dataset)))
    found = _Found()
    for rows, images in _batches(classifier, dataset, found, cancelled):
        found.add(rows, *encoded(classifier, torch.cat(images)))
        on_event(Advanced(found.looked_at))
    complete = found.looked_at == len(dataset)
    if not found.rows:
        raise _nothing(dataset, found)
    if found.unreadable:
        on_event(
            Message(f"{len(found.unreadable)} images are left out: {found.unreadable[0].reason}")
        )
    on_event(Finished(partial=not complete))
    return LatentSpace(
        _table(classifier, dataset, found),
        np.concatenate(found.latents),
        classifier.classes,
        dataset.group_columns,
        _record(classifier, dataset, found),
        tuple(found.unreadable),
        complete,
    )


def encoded(
    classifier: Classifier, prepared: Tensor
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Encode a preprocessed batch.

    Parameters
    ----------
    classifier : Classifier
    prepared : Tensor, float32, shape (N, C, H, W)

    Returns
    -------
    latents : ndarray, float32, shape (N, K)
        Last feature maps, averaged over positions.
    probabilities : ndarray, float64, shape (N, classes)
    """
    network = classifier.network
    with torch.no_grad(), limited_threads(classifier.threads):
        features = network.encode(prepared.to(classifier.device))
        logits = network.head(features)
    pooled: NDArray[np.float32] = features.mean(dim=(2, 3)).float().cpu().numpy()
    return pooled, softmax(logits.float().cpu().numpy())


@dataclass
class _Found:
    rows: list[int] = field(default_factory=list)
    latents: list[NDArray[np.float32]] = field(default_factory=list)
    probabilities: list[NDArray[np.float64]] = field(default_factory=list)
    unreadable: list[Unreadable] = field(default_factory=list)

    @property
    def looked_at(self) -> int:
        return len(self.rows) + len(self.unreadable)

    def add(
        self, rows: list[int], latents: NDArray[np.float32], probabilities: NDArray[np.float64]
    ) -> None:
        self.rows.extend(rows)
        self.latents.append(latents)
        self.probabilities.append(probabilities)


def _batches(
    classifier: Classifier, dataset: Dataset, found: _Found, cancelled: Cancelled
) -> Iterator[tuple[list[int], list[Tensor]]]:
    """Yield images of one size a few at a time; note those that cannot be prepared."""
    rows: list[int] = []
    images: list[Tensor] = []
    for row in range(len(dataset)):
        if cancelled():
            break
        try:
            image = classifier.prepare(dataset.image(row))
        except (WhyError, OSError) as error:
            found.unreadable.append(Unreadable(str(dataset.table["path"].iloc[row]), str(error)))
            continue
        full = (len(images) + 1) * image.numel() > VALUES_AT_A_TIME
        if images and (full or image.shape != images[0].shape):
            yield rows, images
            rows, images = [], []
        rows.append(row)
        images.append(image)
    if images:
        yield rows, images


def _table(classifier: Classifier, dataset: Dataset, found: _Found) -> pd.DataFrame:
    source = dataset.table.iloc[found.rows].reset_index(drop=True)
    probabilities = np.concatenate(found.probabilities)
    best = probabilities.argmax(axis=1)
    own = pd.DataFrame(
        {
            "image": found.rows,
            "path": source["path"],
            "class": source["label"],
            "prediction": [classifier.classes[index] for index in best],
            "probability": probabilities[np.arange(len(best)), best],
            "used_for": _uses(classifier, dataset, found.rows),
        }
    )
    further = source.drop(columns=["path", "label"])
    clashing = {name: f"{name} (data set)" for name in further.columns if name in own.columns}
    return pd.concat([own, further.rename(columns=clashing)], axis=1)


def _uses(classifier: Classifier, dataset: Dataset, rows: list[int]) -> list[str]:
    """Say what the network has seen of each image: told by its pixels, wherever the file lies."""
    seen = set(classifier.card.get("seen_images", ()))
    splits = {
        path: split for split, paths in classifier.card.get("splits", {}).items() for path in paths
    }
    return [
        USES.get(splits.get(str(dataset.table["path"].iloc[row]), "train"), USES["train"])
        if seen and image_digest(dataset, row) in seen
        else UNUSED
        for row in rows
    ]


def _record(classifier: Classifier, dataset: Dataset, found: _Found) -> Record:
    details: dict[str, Any] = {
        "network": classifier.network.name,
        "layer": classifier.network.layer_names[-1],
        "images": len(found.rows),
        "unreadable": len(found.unreadable),
        "channels": list(dataset.channels),
    }
    return Record(
        kind="latent space",
        method="mean over positions",
        classifier=classifier.fingerprint,
        details=details,
    )


def _nothing(dataset: Dataset, found: _Found) -> DatasetError:
    reason = (
        f"first: {found.unreadable[0].reason}" if found.unreadable else "cancelled before the first"
    )
    return DatasetError(
        f"found none of {len(dataset)} images that could be encoded ({reason}); expected at least one"
    )
