"""The card of a classifier: how it came about, in JSON types, for whoever finds it years later."""

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np

from napari_why.core.events import Advanced, OnEvent, Started, ignore_event
from napari_why.core.record import package_versions
from napari_why.datasets.dataset import Dataset
from napari_why.datasets.duplicates import image_digest
from napari_why.model.image_facts import ImageFacts
from napari_why.training import TrainingResult


def make_card(
    dataset: Dataset,
    facts: ImageFacts,
    result: TrainingResult,
    parameters: Mapping[str, Any],
    notes: tuple[str, ...],
    *,
    on_event: OnEvent = ignore_event,
) -> dict[str, Any]:
    """Return the card of a classifier that was trained on a split data set.

    Parameters
    ----------
    dataset : Dataset
        Split; its fingerprint, groups and the images of each split are noted.
    facts : ImageFacts
        Of the training images.
    result : TrainingResult
    parameters : mapping
        Every parameter of the fit, the network's defaults filled in.
    notes : tuple of str
        What the user should know.
    on_event : callable
        See :mod:`napari_why.core.events`; every image of the training and validation splits is read.

    Returns
    -------
    dict
        ``network``, ``dataset``, ``splits`` (paths by split), ``seen_images`` (identity of the
        pixels of every image of the training and validation splits), ``images`` (facts), ``parameters``,
        ``training`` (history, best epoch, status, device, seed), ``notes``, ``versions`` and
        ``created`` (ISO 8601, UTC).
    """
    table = dataset.table
    splits = {
        str(name): [str(path) for path in rows["path"]] for name, rows in table.groupby("split")
    }
    card = {
        "network": result.network.name,
        "dataset": {
            "fingerprint": dataset.fingerprint,
            "images": len(dataset),
            "classes": list(dataset.classes),
            "group_columns": list(dataset.group_columns),
        },
        "splits": splits,
        "seen_images": _seen_images(dataset, on_event),
        "images": facts.to_dict(),
        "parameters": dict(parameters),
        "training": {
            "history": [_finite(metrics) for metrics in result.history],
            "best_epoch": result.best_epoch,
            "status": result.status,
            "device": result.device,
            "seed": result.seed,
        },
        "notes": list(notes),
        "versions": package_versions(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    # through JSON here: what cannot be written is found now, not when the classifier is saved
    plain: dict[str, Any] = json.loads(json.dumps(card, allow_nan=False))
    return plain


def _seen_images(dataset: Dataset, on_event: OnEvent) -> list[str]:
    rows = np.flatnonzero(dataset.table["split"].isin(["train", "validation"]))
    on_event(Started("noting which images were seen", len(rows)))
    # of pixels, not of names: the same image under another name has still been seen
    digests = set()
    for done, row in enumerate(rows, start=1):
        digests.add(image_digest(dataset, int(row)))
        on_event(Advanced(done))
    return sorted(digests)


def _finite(metrics: Mapping[str, float]) -> dict[str, float | None]:
    # JSON has no infinity
    return {name: value if math.isfinite(value) else None for name, value in metrics.items()}
