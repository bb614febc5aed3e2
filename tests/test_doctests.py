"""The examples in the docstrings run; training, classifier and attribution have tests of their own."""

import doctest
from collections.abc import Callable
from pathlib import Path

import pytest

import napari_why

SOURCE = Path(napari_why.__file__).parent
CORE = (*SOURCE.glob("*.py"), *(SOURCE / "images").glob("*.py"))
ROOMS = (
    "batch",
    "core",
    "counterfactuals",
    "datasets",
    "evaluation",
    "latent_space",
    "measurement",
    "sessions",
    "networks",
    "output",
    "screening",
    "screening/statistics",
    "simulation",
)
FILES = [*CORE, *(file for room in ROOMS for file in (SOURCE / room).glob("*.py"))]
MODULES = sorted(
    ".".join(file.relative_to(SOURCE.parent).with_suffix("").parts)
    for file in FILES
    if file.name != "__init__.py" and ">>> " in file.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_in_the_docstrings_run(
    name: str, run_examples: Callable[[str], doctest.TestResults]
) -> None:
    assert run_examples(name).failed == 0


def test_there_are_examples_in_every_room() -> None:
    assert {"images", "datasets", "networks", "evaluation"} <= {
        name.split(".")[1] for name in MODULES
    }
