"""What is, and is not, loaded at start-up: by the package, and by the core without a viewer."""

import ast
import gc
import importlib
import json
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import napari_why
from napari_why.core.foreign_files import no_doors

GRAPHICAL = ("napari", "qtpy", "PySide6", "PyQt6", "PyQt5", "magicgui", "superqt", "npe2", "vispy")
HEAVY = ("torch", "torchvision", "lightning", "pandas", "sklearn", "skimage", "xarray")
SURFACES = ("output.layers", "sessions", "widgets", "napari_reader", "sample_data", "demo")

BLOCKED_IMPORT = """
import importlib, json, sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ModuleNotFoundError(f"{name} is blocked in this test", name=name)

BLOCKED, modules = json.loads(sys.argv[1])
sys.meta_path.insert(0, Blocker())
for name in modules:
    importlib.import_module(name)
sys.stdout.write(json.dumps(sorted(set(BLOCKED) & set(sys.modules))))
"""


def core_modules() -> list[str]:
    """Return every module of the package that has to run without napari and Qt."""
    root = Path(napari_why.__file__).parent
    found = pkgutil.walk_packages([str(root)], prefix="napari_why.", onerror=lambda name: None)
    surfaces = [f"napari_why.{surface}" for surface in SURFACES]
    names = [item.name for item in found if not item.name.endswith(".__main__")]
    return [
        name
        for name in names
        if not any(f"{name}.".startswith(f"{surface}.") for surface in surfaces)
    ]


def run_python(code: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_core_is_imported_with_napari_and_qt_blocked() -> None:
    modules = core_modules()
    assert {"napari_why.images", "napari_why.model", "napari_why.cli"} <= set(modules)

    assert json.loads(run_python(BLOCKED_IMPORT, json.dumps([GRAPHICAL, modules]))) == []


def test_the_block_of_the_test_above_blocks() -> None:
    with pytest.raises(AssertionError, match="qtpy is blocked in this test"):
        run_python(BLOCKED_IMPORT, json.dumps([GRAPHICAL, ["qtpy"]]))


@pytest.mark.parametrize("module", ["napari_why", "napari_why.cli"])
def test_an_import_loads_neither_torch_nor_qt_nor_napari(module: str) -> None:
    code = f"import json, sys, {module}; sys.stdout.write(json.dumps(sorted(sys.modules)))"

    loaded = set(json.loads(run_python(code)))

    assert module in loaded
    assert loaded.isdisjoint({*GRAPHICAL, *HEAVY})


def test_networks_and_training_are_imported_without_what_few_of_them_need() -> None:
    """torchvision imports torch's compiler, and scikit-learn most of scipy: seconds of every verb."""
    code = "import json, sys, napari_why.fitting; sys.stdout.write(json.dumps(sorted(sys.modules)))"

    loaded = set(json.loads(run_python(code)))

    assert loaded.isdisjoint({"torchvision", "torch._dynamo", "sklearn", "scipy.stats", "captum"})


def test_every_public_name_is_there_and_listed() -> None:
    for name in napari_why.__all__:
        assert getattr(napari_why, name) is not None
    assert set(dir(napari_why)) == set(napari_why.__all__)


@pytest.mark.parametrize("room", ["sessions", "simulation"])
def test_every_name_of_a_late_room_is_there_and_told_to_type_checkers(room: str) -> None:
    module = importlib.import_module(f"napari_why.{room}")
    tree = ast.parse(Path(module.__file__).read_text())
    told = {
        item.asname: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module.startswith("napari_why.")
        for item in node.names
        if item.asname  # what is told to type checkers is imported under its own name
    }
    assert set(told) == set(module.__all__)
    for name, source in told.items():
        assert getattr(module, name) is getattr(importlib.import_module(source), name)
    with pytest.raises(AttributeError, match="no attribute 'explain_everything'"):
        module.explain_everything  # noqa: B018 - the access is the test


@pytest.mark.parametrize("room", ["napari_why", "napari_why.sessions", "napari_why.simulation"])
def test_type_checkers_see_no_function_that_finds_every_name(room: str) -> None:
    tree = ast.parse(Path(importlib.import_module(room).__file__).read_text())
    seen = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    assert "__dir__" in seen
    assert "__getattr__" not in seen


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'explain_everything'"):
        napari_why.explain_everything  # noqa: B018 - the access is the test


def test_the_public_names_come_from_the_rooms() -> None:
    assert napari_why.read is importlib.import_module("napari_why.images").read


def test_closed_doors_let_modules_be_imported_and_nothing_else_be_opened(tmp_path: Path) -> None:
    """Also where the code that closes them is itself imported, as a script's main module is."""
    (tmp_path / "read.txt").write_text("there")
    for name, body in {
        "reads_when_imported": "there = open('read.txt').read()",
        "closes": (
            "from napari_why.core.foreign_files import no_doors\n"
            "def read(path):\n"
            "    with no_doors():\n"
            "        import reads_when_imported\n"
            "        assert reads_when_imported.there == 'there'\n"
            "        open(path)\n"
            "try:\n"
            "    read('read.txt')\n"
            "except Exception as error:\n"
            "    said = str(error)\n"
        ),
    }.items():
        (tmp_path / f"{name}.py").write_text(body)
    code = (
        "import os, sys; folder = sys.argv[1]; sys.path.insert(0, folder); os.chdir(folder); "
        "import closes; sys.stdout.write(closes.said)"
    )
    assert run_python(code, str(tmp_path)).startswith("a saved network tried to open read.txt")


def test_garbage_that_is_collected_while_a_network_is_built_is_no_deed_of_it():
    seen = []
    before = gc.get_threshold()
    gc.callbacks.append(lambda phase, _: seen.append(phase))
    gc.set_threshold(1)
    try:
        with no_doors():
            seen.clear()
            rings = [[] for _ in range(100)]
            during = list(seen)
        assert gc.isenabled()
        rings += [[] for _ in range(100)]
    finally:
        gc.set_threshold(*before)
        gc.callbacks.pop()
    assert during == []
    assert seen
