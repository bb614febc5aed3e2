"""A network and images small enough to train in a blink."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from napari_why.networks import Network, wrap
from napari_why.training import (
    CheckpointFolder,
    Examples,
    TensorExamples,
    TrainingOptions,
    TrainingResult,
    train_network,
)

STEADY: dict[str, Any] = {
    "batch_size": 20,
    "learning_rate": 1e-3,
    "optimiser": "adam",
    "step_decay": 1.0,
    "patience": 0,
    "augment": False,
    "auxiliary_weight": 0.0,
    "label_smoothing": 0.0,
    "averaging": 0.0,
}


@pytest.fixture
def train_steadily() -> Callable[..., TrainingResult]:
    """Train with one learning rate, without augmentation and to the end, unless told otherwise."""

    def train(
        network: Network,
        images: Examples,
        validation: Examples | None,
        *,
        checkpoint_folder: Path | None = None,
        resume: bool = False,
        on_event: Any = lambda event: None,
        cancelled: Any = lambda: False,
        **options: Any,
    ) -> TrainingResult:
        return train_network(
            network,
            images,
            validation,
            TrainingOptions(**(STEADY | options)),
            checkpoints=CheckpointFolder.of(checkpoint_folder, resume=resume),
            on_event=on_event,
            cancelled=cancelled,
        )

    return train


@pytest.fixture
def tiny_network() -> Callable[[], Network]:
    """Build a network with batch norm and dropout: what a resumption has to restore."""

    def build(seed: int = 0) -> Network:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            encoder = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ELU())
            head = nn.Sequential(
                nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(4, 2)
            )
        return wrap(encoder, head, input_channels=2, classes=2)

    return build


@pytest.fixture
def bright_and_dark() -> Callable[..., TensorExamples]:
    """Make noise images whose second channel is brighter in class 1."""

    def make(count: int, seed: int = 0, size: int = 8) -> TensorExamples:
        generator = torch.Generator().manual_seed(seed)
        labels = torch.arange(count) % 2
        images = torch.randn(count, 2, size, size, generator=generator)
        images[:, 1] += 2.0 * labels[:, None, None]
        return TensorExamples(images, labels)

    return make


@pytest.fixture
def train(bright_and_dark: Callable[..., TensorExamples]) -> TensorExamples:
    return bright_and_dark(22)


@pytest.fixture
def validation(bright_and_dark: Callable[..., TensorExamples]) -> TensorExamples:
    return bright_and_dark(9, seed=1)
