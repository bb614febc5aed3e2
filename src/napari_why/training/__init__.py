"""The training loop, its options and its metrics."""

from napari_why.training.checkpoint import CheckpointFolder
from napari_why.training.examples import Augmentation, Examples, TensorExamples, examples_of
from napari_why.training.metrics import classification_metrics, group_metrics, metrics_by
from napari_why.training.options import TrainingOptions
from napari_why.training.train import TrainingError, TrainingResult, train_network

__all__ = [
    "Augmentation",
    "CheckpointFolder",
    "Examples",
    "TensorExamples",
    "TrainingError",
    "TrainingOptions",
    "TrainingResult",
    "classification_metrics",
    "examples_of",
    "group_metrics",
    "metrics_by",
    "train_network",
]
