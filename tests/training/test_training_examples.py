"""The examples in the docstrings of training and classifier run."""

import doctest
import importlib

import pytest

MODULES = (
    "training.augmentation",
    "training.batches",
    "training.examples",
    "training.history",
    "training.metrics",
    "training.seeds",
    "training.z_prime",
    "classifier.fingerprint",
    "classifier.fit",
    "classifier.prediction",
)


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_run(name: str) -> None:
    found = doctest.testmod(importlib.import_module(f"napari_why.{name}"))
    assert found.attempted > 0
    assert found.failed == 0
