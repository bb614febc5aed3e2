"""What a fit must have, and how it says that it has nothing."""

import numpy as np

from napari_why.classifier.classifier import Classifier
from napari_why.datasets.dataset import Dataset
from napari_why.errors import DatasetError
from napari_why.training import TrainingError, TrainingResult


class FittingError(TrainingError):
    """A fit whose training broke off; ``classifier`` is the best model so far."""

    def __init__(self, message: str, result: TrainingResult | None, classifier: Classifier) -> None:
        super().__init__(message, result)
        self.classifier = classifier


def part_of(dataset: Dataset, split: str) -> Dataset | None:
    """Return one part of a split data set, None where it has no image."""
    there = bool((dataset.table["split"] == split).any())
    return dataset.part(split) if there else None


def check_training_classes(dataset: Dataset) -> None:
    """Raise DatasetError where a class has no training image."""
    train = dataset.part("train")
    counts = np.bincount(train.labels, minlength=len(dataset.classes))
    missing = [name for name, count in zip(dataset.classes, counts, strict=True) if not count]
    if missing:
        raise DatasetError(
            f"split 'train': found no image of {', '.join(missing)}; "
            "expected images of every class; split anew or add images"
        )


def nothing_trained(result: TrainingResult | None) -> TrainingError:
    """Return the error of a fit that was cancelled before there was anything."""
    return TrainingError(
        "training was cancelled before its first epoch was finished; there is no classifier", result
    )
