"""How a network does on the images of one split, per image and per well."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from napari_why.core.events import (
    Advanced,
    Cancelled,
    OnEvent,
    Started,
    ignore_event,
    never_cancelled,
)
from napari_why.datasets.dataset import Dataset
from napari_why.model.classifier import softmax
from napari_why.networks.network import Network
from napari_why.training.examples import Batches
from napari_why.training.metrics import classification_metrics, group_metrics, metrics_by


def held_out_metrics(
    network: Network,
    batches: Batches,
    dataset: Dataset,
    classes: Sequence[str],
    *,
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

    Returns
    -------
    dict
        ``images``: see :func:`~napari_why.training.metrics.classification_metrics`; ``groups``:
        the same over groups with averaged probabilities, and ``by_group``: one record per group
        (both None for a data set without groups). Empty when cancelled.
    """
    on_event(Started("evaluating", len(batches)))
    device = next(network.parameters()).device
    logits: list[Tensor] = []
    with torch.no_grad():
        for done, (images, _) in enumerate(batches, start=1):
            if cancelled():
                return {}
            logits.append(network(images.to(device)).cpu())
            on_event(Advanced(done))
    probabilities = softmax(torch.cat(logits).numpy())
    labels = batches.examples.labels.numpy()
    found: dict[str, Any] = {
        "images": classification_metrics(labels, probabilities, classes),
        "groups": None,
        "by_group": None,
    }
    if dataset.group_columns:
        groups = dataset.table[list(dataset.group_columns)].astype(str)
        table = metrics_by(labels, probabilities, classes, groups)
        found["groups"] = group_metrics(table, classes)
        found["by_group"] = table.to_dict("records")
    return found
