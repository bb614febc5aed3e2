"""The examples in the docstrings of training, fitting and model run."""

import doctest
import importlib

import pytest

MODULES = (
    "fitting.fit",
    "fitting.lock_test",
    "model.chance",
    "model.classifier",
    "model.reconstruction",
    "model.whole_field",
    "training.checkpoint",
    "training.examples",
    "training.losses",
    "training.metrics",
    "training.options",
)


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_run(name: str) -> None:
    found = doctest.testmod(importlib.import_module(f"napari_why.{name}"))
    assert found.attempted > 0
    assert found.failed == 0
