"""The examples in the docstrings of training, fitting and model run."""

import doctest
from collections.abc import Callable
from pathlib import Path

import pytest

import napari_why

SOURCE = Path(napari_why.__file__).parent
ROOMS = ("training", "fitting", "model")
MODULES = sorted(
    f"{room}.{file.stem}"
    for room in ROOMS
    for file in (SOURCE / room).glob("*.py")
    if ">>> " in file.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_run(name: str, run_examples: Callable[[str], doctest.TestResults]) -> None:
    found = run_examples(f"napari_why.{name}")
    assert found.attempted > 0
    assert found.failed == 0


def test_there_are_examples_in_every_room() -> None:
    assert {name.partition(".")[0] for name in MODULES} == set(ROOMS)
    assert len(MODULES) >= 10
