"""The card of a classifier: how it was made, of what images, and what its generator is."""

import json
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from napari_why.core.events import Advanced, OnEvent, Started
from napari_why.core.record import package_versions
from napari_why.datasets.dataset import Dataset, image_digest
from napari_why.model.classifier import Classifier
from napari_why.model.familiarity import list_seen_groups
from napari_why.model.image_facts import ImageFacts
from napari_why.training import TrainingResult


def make_card(
    dataset: Dataset,
    facts: ImageFacts,
    result: TrainingResult,
    parameters: Mapping[str, Any],
    notes: tuple[str, ...],
    seen_images: Sequence[str] | None,
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
    seen_images : sequence of str or None
        From :func:`find_seen_images`; None where they are not known.

    Returns
    -------
    dict
        ``network``, ``dataset``, ``splits`` (paths by split), ``seen_images`` (identity of the
        pixels of every image of the training and validation splits; missing where they are not
        known), ``seen_groups`` (columns and names of their groups), ``images`` (facts), ``parameters``,
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
        **({} if seen_images is None else {"seen_images": list(seen_images)}),
        "seen_groups": list_seen_groups(dataset),
        "images": facts.to_dict(),
        "parameters": dict(parameters),
        "training": _describe_training(result),
        "notes": list(notes),
        "versions": package_versions(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    # through JSON here, where what it does not know becomes text or null: a parameter of another
    # package's network that JSON cannot hold must not cost the training when that is saved
    plain: dict[str, Any] = json.loads(json.dumps(card, default=str), parse_constant=_null)
    return plain


def make_bare_card(
    facts: ImageFacts, result: TrainingResult, seen_images: Sequence[str] | None
) -> dict[str, Any]:
    """Return the least that a classifier is used by, where :func:`make_card` failed.

    Parameters
    ----------
    facts : ImageFacts
        Of the training images.
    result : TrainingResult
    seen_images : sequence of str, or None
        See :func:`find_seen_images`; None where they could not be noted.

    Returns
    -------
    dict
        JSON types.
    """
    return {
        "network": result.network.name,
        **({} if seen_images is None else {"seen_images": list(seen_images)}),
        "images": facts.to_dict(),
        "training": _describe_training(result),
    }


def _describe_training(result: TrainingResult) -> dict[str, Any]:
    return {
        "history": [_finite(metrics) for metrics in result.history],
        "best_epoch": result.best_epoch,
        "status": result.status,
        "device": result.device,
        "batch_size": result.batch_size,
        "seed": result.seed,
    }


def _null(_constant: str) -> None:
    """Stand for a number that is not finite, which JSON cannot hold."""


def find_seen_images(dataset: Dataset, on_event: OnEvent) -> list[str]:
    """Return the identity of the pixels of every image of the training and validation splits.

    Parameters
    ----------
    dataset : Dataset
        Split.
    on_event : callable
        See :mod:`napari_why.core.events`; one step an image.

    Returns
    -------
    list of str
        Sorted, each once.
    """
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


def describe_generator(generator: Classifier) -> dict[str, Any]:
    """Return what a classifier's card tells of its generator, whose own card has all of it."""
    return {
        "network": generator.network.name,
        "fingerprint": generator.fingerprint,
        "locked": list(generator.locked_channels),
        **{
            f"{split}_balanced_accuracy": (found or {}).get("images", {}).get("balanced_accuracy")
            for split, found in generator.metrics.items()
        },
    }
