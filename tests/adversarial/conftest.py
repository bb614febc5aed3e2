"""Small images and games that take seconds."""

import pytest
import torch

from napari_why.adversarial import DcganGame, DcganOptions
from napari_why.training.examples import TensorExamples

SIDE, CLASSES = 16, ("healthy", "treated")


def tiny_options(**changes) -> DcganOptions:
    settings = {
        "epochs": 4,
        "batch_size": 6,
        "widths": "8,4",
        "code_dimensions": 5,
        "averaging": 3,
        "threads": 1,
        "device": "cpu",
    }
    return DcganOptions(**(settings | changes))


def tiny_game(**changes) -> DcganGame:
    return DcganGame(tiny_options(**changes), 2, CLASSES, (SIDE, SIDE))


@pytest.fixture
def examples() -> TensorExamples:
    """Twenty images of two channels and two classes."""
    random = torch.Generator().manual_seed(0)
    labels = torch.arange(20) % 2
    return TensorExamples(torch.randn(20, 2, SIDE, SIDE, generator=random), labels)
