"""The training loop and its metrics."""

from napari_why.training.examples import Augmentation, Examples, TensorExamples, examples_of
from napari_why.training.metrics import classification_metrics, group_metrics, metrics_by
from napari_why.training.settings import TrainingError, TrainingResult
from napari_why.training.train import train_network

__all__ = [
    "Augmentation",
    "Examples",
    "TensorExamples",
    "TrainingError",
    "TrainingResult",
    "classification_metrics",
    "examples_of",
    "group_metrics",
    "metrics_by",
    "train_network",
]
