"""Help without the libraries: what a stand-in can be, and that it never passes for a value."""

import importlib
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from napari_why.cli import VERBS, declarations
from napari_why.cli.declarations import StandIn, read_declarations, stand_ins

ALL_HELPS = """
import contextlib, io, json, sys
from napari_why.cli import VERBS, main
from napari_why.cli.declarations import LIBRARIES, stand_ins

def read_strictly(declare):
    "Tell what it was where a room cannot be read with stand-ins."
    with stand_ins(LIBRARIES):
        return declare()

sys.modules["napari_why.cli.application"].read_declarations = read_strictly
texts = {}
for verb in VERBS:
    with contextlib.redirect_stdout(io.StringIO()) as text:
        try:
            main([verb.name, "--help"])
        except SystemExit as left:
            assert not left.code
    texts[verb.name] = text.getvalue()
sys.stdout.write(json.dumps([texts, sorted(sys.modules)]))
"""
# Nothing of the kind is installed, and what imports it is written into a folder of its own.
LIBRARY = "napari_why_test_library"


def test_the_help_of_every_verb_loads_no_library_and_is_that_of_the_rooms(
    shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a new process with stand-ins, and in this one, which has the libraries, from the rooms."""
    monkeypatch.setenv("COLUMNS", "120")
    for name in declarations.LIBRARIES:
        importlib.import_module(name)

    done = subprocess.run(
        [sys.executable, "-c", ALL_HELPS], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    texts, modules = json.loads(done.stdout)

    # psutil is imported by what every verb begins with
    assert set(modules) & set(declarations.LIBRARIES) <= {"psutil"}
    assert {"sympy", "pydantic", "napari_why.attribution"}.isdisjoint(modules)
    for verb in VERBS:
        assert texts[verb.name] == shell(verb.name, "--help").out, verb.name


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Return a function that writes a module beside a library of one number, and names it."""
    (tmp_path / f"{LIBRARY}.py").write_text("SIZE = 3\n\ndef mark(found): return found\n")
    monkeypatch.syspath_prepend(tmp_path)

    def write(body: str, name: str = "napari_why_test_room") -> str:
        (tmp_path / f"{name}.py").write_text(body)
        importlib.invalidate_caches()
        return name

    yield write
    for name in [name for name in sys.modules if name.startswith("napari_why_test")]:
        del sys.modules[name]


def test_what_declares_alone_is_read_without_the_library(room) -> None:
    name = room(
        f"import {LIBRARY}.deep.down as deep\nfrom {LIBRARY} import Base, mark, Size\n"
        "@mark\ndef first(size: Size | None = deep.SIZE * 2): ...\n"
        "@mark(3, title='x')\nclass Second(Base, deep.Other[int]): WIDTH = 5\n"
    )
    before = set(sys.modules)
    with stand_ins([LIBRARY]):
        found = importlib.import_module(name)
        assert isinstance(sys.modules[LIBRARY].anything, StandIn)
    assert set(sys.modules) == before
    assert found.first.__name__ == "first"
    assert found.Second.WIDTH == 5


def test_a_library_that_is_there_stays_as_it_is(room) -> None:
    room("SIZE = 4", f"{LIBRARY}_there")
    there = importlib.import_module(f"{LIBRARY}_there")
    name = room(f"import {LIBRARY}_there as library\nSIZE = float(library.SIZE)\n")
    with stand_ins([f"{LIBRARY}_there"]):
        assert importlib.import_module(name).SIZE == 4.0
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module(f"{LIBRARY}_there.deeper")
    assert sys.modules[f"{LIBRARY}_there"] is there
    assert name not in sys.modules
    assert not hasattr(there, "deeper")


def test_what_needs_a_value_of_the_library_is_read_with_it(
    room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(declarations, "LIBRARIES", (LIBRARY,))
    name = room(f"import {LIBRARY}\nSIZE = float({LIBRARY}.SIZE)\n")
    assert read_declarations(lambda: importlib.import_module(name).SIZE) == 3.0
    assert sys.modules[LIBRARY].SIZE == 3


def test_a_failure_of_the_rooms_own_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        read_declarations(lambda: 1 // 0)


@pytest.mark.parametrize("use", [bool, int, float, str, len, iter, list, math.floor, "{}".format])
def test_a_stand_in_has_no_value(use) -> None:
    with pytest.raises(TypeError):
        use(StandIn().number * 2)


def test_public_names_that_were_asked_for_meanwhile_are_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import napari_why

    monkeypatch.delitem(vars(napari_why), "Contrast", raising=False)
    with stand_ins([LIBRARY]):
        assert napari_why.Contrast
        assert "Contrast" in vars(napari_why)
    assert "Contrast" not in vars(napari_why)
