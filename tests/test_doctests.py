"""The examples in the docstrings of what every room uses."""

import doctest
import importlib

import pytest

MODULES = ("errors", "events", "parameters", "record", "devices", "images.grid")


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_in_the_docstrings_run(name: str) -> None:
    module = importlib.import_module(f"napari_why.{name}")
    assert doctest.testmod(module).failed == 0


def test_there_are_examples_to_run() -> None:
    modules = [importlib.import_module(f"napari_why.{name}") for name in MODULES]
    assert (
        sum(
            len(test.examples)
            for module in modules
            for test in doctest.DocTestFinder().find(module)
        )
        > 0
    )
