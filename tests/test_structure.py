"""How the source reads: the limits that it keeps, and the counting of benchmarks/structure.py."""

import ast
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

PROJECT = Path(__file__).parents[1]
SOURCE = PROJECT / "src" / "napari_why"
EXTENDING = PROJECT / "docs" / "extending.md"


@pytest.fixture(scope="module")
def structure() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "structure", PROJECT / "benchmarks" / "structure.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def modules(structure: ModuleType) -> dict[str, object]:
    """The modules of napari-why, parsed once."""
    return structure.read_package(SOURCE)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package of two rooms, whose figures can be counted by hand."""
    files = {
        "__init__.py": '"""A package."""\n',
        "core/__init__.py": "from counted.core.a import first as renamed\n",
        "core/a.py": (
            '"""One line.\n\nTwo more # and no comment.\n"""\n\n'
            "from counted.core import (\n    b,\n)\n\n"
            "# as many as there are fingers\nFINGERS = 5\nTOES = 5\nNAMES = {'a': 1.5}  # by hand\n\n\n"
            "def first(x, /, y=1, *more, z, **rest):\n"
            '    """Do it."""\n'
            '    return "# no comment"  # but this\n'
        ),
        "core/b.py": "def made():\n    from counted.core import a\n\n    return a\n",
        "top/__init__.py": "",
        "top/one.py": (
            "from typing import TYPE_CHECKING\n\n"
            "from counted.core import renamed\n\n"
            "if TYPE_CHECKING:\n    from counted.top.two import Two\n\n\n"
            "class LatentPath:\n    @property\n    def told(self): ...\n    def _drawn(self): ...\n"
        ),
        "top/two.py": (
            "from counted.top.one import renamed\n\n\n"
            "def decode_all(network, path):\n    return path.images(network, [0, 1])\n"
        ),
    }
    for name, text in files.items():
        path = tmp_path / "counted" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path / "counted"
    for name in [name for name in sys.modules if name.partition(".")[0] == "counted"]:
        del sys.modules[name]


def test_files_are_few_and_say_why(structure: ModuleType, modules: dict[str, object]) -> None:
    lines = structure.count_lines(modules)
    # what was there is in 210 files; each kind of change, each family of attribution methods, each kind
    # of measure and each benchmark since is an idea of its own; so are batches, sessions and lines to copy,
    # and each page of the one dock with what the pages share; sessions are written and opened in a file
    # each, and so are the colour bar's title, the page Evaluate and the fold of what was set; and passes by
    # patches, from whole numbers to scores; folded passes and many images by one method; two networks against
    # each other: the loop, the players, their losses, each game, how varied what they make is, and what is
    # fitted, saved and drawn of them; a U-Net that several rooms share; a screen: plan, work, parts, tables,
    # merge, analysis, hits, layout, report, shown hits, exchange, seven kinds of statistics, its verbs,
    # the executors and clusters below it, the simulated one and its wells as numbers;
    # what makes images: what each kind can do, the page, its chooser, its training, what of that can
    # go on, and its lines to copy, how far what is drawn is from real images;
    # the page of screens: events as lines, the process that is followed, what is there by now, the session, the
    # page, its plates, a colour bar, and what it shares with the page Batch; what goes to other programs and
    # comes from them: what a graph is told, what it gives, ONNX and its sessions,
    # packages out and in, their files, state dicts, the Hub, the card, what the
    # user says, the two doors, their verbs, their page and its lines to copy, the networks of ONNX and of
    # libraries, packages that may be missing;
    # metrics of explanations, once two files of a thousand lines: what is taken away, the curves, ROAD,
    # infidelity, single deletion, mask sizes, ROAR, how alike maps are, random weights, sanity, robustness;
    # a fit, once two such files: its options, its steps, finishing it, its card, what is left out, the second
    # network, held-out metrics; where random numbers come from; the search for a change in few numbers;
    # the garbage collector of all threads
    assert lines.files <= 426
    assert lines.imports / lines.code < 0.1
    assert lines.comments / lines.code > 0.045


def test_few_modules_are_the_continuation_of_one_neighbour(
    structure: ModuleType, modules: dict[str, object]
) -> None:
    share = len(structure.continued_modules(modules)) / sum(not m.is_door for m in modules.values())
    assert round(share, 2) <= 0.12


@pytest.mark.parametrize("name", ["fit", "train_network"])
def test_options_are_one_parameter(
    structure: ModuleType, modules: dict[str, object], name: str
) -> None:
    assert structure.count_parameters(modules, name) <= 8


def test_no_circles(structure: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(SOURCE.parent)
    assert structure.find_circles("napari_why", rooms=True, types=True) == []
    assert structure.find_circles("napari_why", rooms=False, types=False) == []


def test_one_module_decodes_paths(structure: ModuleType, modules: dict[str, object]) -> None:
    assert structure.find_engines(modules) == ["napari_why.counterfactuals.engine"]


def test_one_module_casts_to_float64(structure: ModuleType, modules: dict[str, object]) -> None:
    found = {
        name: structure.find_float64_casts(module.tree)
        for name, module in modules.items()
        if name != "napari_why.core.devices"
    }
    assert {name: lines for name, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    "line",
    [
        "x.double()",
        "network.double()",
        "x.to(torch.float64)",
        "x.to('cpu', dtype=torch.double)",
        "x.type(torch.float64)",
        "x.sum(dtype=torch.float64)",
        "torch.zeros(3, dtype=torch.float64, device=x.device)",
        "x.new_zeros(3, dtype=torch.float64)",
        "torch.zeros_like(x, dtype=torch.float64)",
        "wanted = torch.float64",
        "x.type(torch.DoubleTensor)",
    ],
)
def test_casts_to_float64_are_found(structure: ModuleType, line: str) -> None:
    assert structure.find_float64_casts(ast.parse(f"import torch\n{line}")) == [2]


@pytest.mark.parametrize(
    "line",
    [
        "x.astype(np.float64)",
        "np.asarray(x, dtype=np.float64)",
        "torch.zeros(3, dtype=torch.float64)",
        "dtype is torch.float64",
        "to_float64(x)",
    ],
)
def test_numbers_of_the_processor_may_be_float64(structure: ModuleType, line: str) -> None:
    assert structure.find_float64_casts(ast.parse(line)) == []


def test_examples_of_extensions_are_short(structure: ModuleType) -> None:
    lengths = structure.example_lengths(EXTENDING.read_text(encoding="utf-8"))
    assert "A new file format" in lengths
    assert {heading: lines for heading, lines in lengths.items() if lines > 30} == {}


def test_lines_are_counted_by_kind(structure: ModuleType, package: Path) -> None:
    lines = structure.count_lines(structure.read_package(package))
    assert (lines.files, lines.longest_file) == (7, 18)
    assert (lines.code, lines.imports, lines.comments) == (23, 9, 3)


def test_an_import_through_a_door_counts_for_the_module_behind_it(
    structure: ModuleType, package: Path
) -> None:
    modules = structure.read_package(package)
    importers = structure.find_importers(modules)
    assert importers["counted.core.a"] == {"counted.core.b", "counted.top.one"}
    assert structure.continued_modules(modules) == [
        "counted.core.b",
        "counted.top.one",
        "counted.top.two",
    ]


def test_circles_are_found(structure: ModuleType, package: Path) -> None:
    del package  # only has to lie on the path
    inner = ["counted.core.a", "counted.core.b"]
    outer = ["counted.top.one", "counted.top.two"]
    find = structure.find_circles
    assert find("counted", rooms=True, types=True) == []
    assert find("counted", rooms=False, types=False) == [inner]
    assert find("counted", rooms=False, types=True) == [inner, outer]


def test_parameters_engines_constants_and_names(structure: ModuleType, package: Path) -> None:
    modules = structure.read_package(package)
    assert structure.count_parameters(modules, "first") == 5
    with pytest.raises(LookupError, match="found in no module"):
        structure.count_parameters(modules, "second")
    assert structure.find_engines(modules) == ["counted.top.two"]
    assert structure.find_constants(modules) == {
        "counted.core.a.FINGERS": True,
        "counted.core.a.TOES": False,
        "counted.core.a.NAMES": True,
    }
    assert structure.find_participles(modules) == ["counted.core.b.made", "counted.top.one._drawn"]


def test_a_call_is_followed_through_the_files_that_work(
    structure: ModuleType, package: Path
) -> None:
    importlib.invalidate_caches()  # the files were written a moment ago
    made = importlib.import_module("counted.core.b").made
    result, walk = structure.follow(lambda: made().first(0, z=1), package)
    assert result == "# no comment"
    assert (walk.files, walk.rooms, walk.lines) == (2, 1, 22)


def test_the_longest_example_of_a_section_counts(structure: ModuleType) -> None:
    document = "## One\n\n```python\na\n\nb\n```\n```python\nc\n```\n## Two\n\n```toml\nd\n```\n"
    assert structure.example_lengths(document) == {"One": 2}
