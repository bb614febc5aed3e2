"""How good a network is on held-out images: by image, by group, and without those that are flagged."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from napari_why import training
from napari_why.core import events
from napari_why.core.events import (
    Advanced,
    Cancelled,
    OnEvent,
    Started,
    ignore_event,
    never_cancelled,
)
from napari_why.datasets.dataset import Dataset
from napari_why.datasets.preprocessing import Preprocessing
from napari_why.model.classifier import softmax
from napari_why.model.image_facts import ImageFacts
from napari_why.model.quality import count_flagged
from napari_why.networks import Network
from napari_why.training.examples import Batches
from napari_why.training.metrics import metrics_of_kept


def held_out_metrics(
    network: Network,
    batches: Batches,
    dataset: Dataset,
    classes: Sequence[str],
    *,
    flags: Sequence[Sequence[str]] | None = None,
    on_event: OnEvent = ignore_event,
    cancelled: Cancelled = never_cancelled,
) -> dict[str, Any]:
    """Return the metrics of a frozen network on one part of a data set.

    Parameters
    ----------
    network : Network
    batches : Batches
        The part's images, in its order.
    dataset : Dataset
        The part; its groups make the metrics per well.
    classes : sequence of str
    flags : sequence of sequence of str, optional
        For what each image is flagged by a look at it alone (:func:`flag_images`).
    on_event, cancelled
        See :mod:`napari_why.core.events`.

    Returns
    -------
    dict
        ``images``: see :func:`~napari_why.training.metrics.classification_metrics`; ``groups``:
        the same over groups with averaged probabilities, and ``by_group``: one record per group
        (both None for a data set without groups). ``without_flagged``, where flags were given: the
        same two without the images that are flagged, and ``flagged``, how many these are by class
        (:func:`~napari_why.model.quality.count_flagged`). Empty when cancelled.
    """
    on_event(events.Started("evaluating", len(batches)))
    device = next(network.parameters()).device
    logits: list[Tensor] = []
    with torch.no_grad():
        for done, (images, _) in enumerate(batches, start=1):
            if cancelled():
                return {}
            logits.append(network(images.to(device)).cpu())
            on_event(events.Advanced(done))
    # all logits together: metrics such as ROC AUC are no means over batches
    probabilities = softmax(torch.cat(logits).numpy())
    labels = batches.examples.labels.numpy()
    found: dict[str, Any] = {
        "images": training.classification_metrics(labels, probabilities, classes),
        "groups": None,
        "by_group": None,
    }
    if dataset.group_columns:
        groups = dataset.table[list(dataset.group_columns)].astype(str)
        table = training.metrics_by(labels, probabilities, classes, groups)
        found["groups"] = training.group_metrics(table, classes)
        found["by_group"] = table.to_dict("records")
    if flags is not None:
        kept = np.array([not reasons for reasons in flags])
        groups = dataset.table[list(dataset.group_columns)].astype(str)
        found["without_flagged"] = {
            "flagged": count_flagged([classes[index] for index in labels], flags),
            **metrics_of_kept(
                labels, probabilities, classes, kept, groups if len(groups.columns) else None
            ),
        }
    return found


def flag_images(
    facts: ImageFacts,
    dataset: Dataset,
    preprocessing: Preprocessing,
    *,
    on_event: OnEvent = ignore_event,
) -> list[tuple[str, ...]]:
    """Return for what each image is flagged: hardly any cells, out of focus, saturated.

    Parameters
    ----------
    facts : ImageFacts
        Of the training images, which say what is usual.
    dataset : Dataset
    preprocessing : Preprocessing
        Of the classifier.
    on_event : callable
        See :mod:`napari_why.core.events`; one step an image.

    Returns
    -------
    list of tuple of str
        One an image; empty where nothing is wrong with it.
    """
    on_event(Started("looking at content and focus", len(dataset)))
    flags = []
    for row in range(len(dataset)):
        unlike = facts.unlike(dataset.image(row), preprocessing)
        flags.append(facts.quality_flags(unlike))
        on_event(Advanced(row + 1))
    return flags
