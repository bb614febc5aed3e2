"""Help without the libraries: what a stand-in can be, and that it never passes for a value."""

import builtins
import importlib
import json
import math
import operator
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest

from napari_why.cli import VERBS, declarations
from napari_why.cli.declarations import StandIn, read_declarations, read_early, stand_ins

ALL_HELPS = """
import contextlib, io, json, sys
from napari_why.cli import VERBS, main
from napari_why.cli.declarations import read_early

read = {}

def read_strictly(declare):
    "Tell what it was where a room cannot be read with stand-ins."
    def declare_and_note():
        described = declare()
        read[verb.name] = sorted(name for name in sys.modules if name.startswith("napari_why."))
        return described

    return read_early(declare_and_note)

sys.modules["napari_why.cli.application"].read_declarations = read_strictly
texts = {}
for verb in VERBS:
    with contextlib.redirect_stdout(io.StringIO()) as text:
        try:
            main([verb.name, "--help"])
        except SystemExit as left:
            assert not left.code
    texts[verb.name] = text.getvalue()
sys.stdout.write(json.dumps([texts, sorted(sys.modules), read]))
"""
# They compute, read and write for every verb, and none asks its user anything of theirs.
NEVER_DECLARE = {
    "napari_why.datasets.dataset",
    "napari_why.datasets.survey",
    "napari_why.fitting.fit",
    "napari_why.images.read",
    "napari_why.model.storage",
    "napari_why.output.images",
    "napari_why.simulation.simulate",
    "napari_why.transport.fit",
}
NOT_OF = {
    "train": ("napari_why.attribution", "napari_why.counterfactuals", "napari_why.model"),
    "attribute": (
        "napari_why.counterfactuals",
        "napari_why.networks.iresnet",
        "napari_why.fitting",
    ),
    "counterfactual": ("napari_why.attribution", "napari_why.networks", "napari_why.model"),
    "screen": ("napari_why.evaluation", "napari_why.fitting", "napari_why.screening.analysis"),
    "export": ("napari_why.model", "napari_why.networks", "napari_why.exchange.export"),
}
# Their files are imported by each other here, and late in the new process.
ROOMS = (
    "napari_why.attribution",
    "napari_why.counterfactuals",
    "napari_why.evaluation",
    "napari_why.model",
    "napari_why.networks",
)
# Nothing of the kind is installed, and what imports it is written into a folder of its own.
LIBRARY = "napari_why_test_library"


def test_the_help_of_every_verb_loads_no_library_and_is_that_of_the_rooms(
    shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a new process with stand-ins, and in this one, which has the libraries, from the rooms."""
    monkeypatch.setenv("COLUMNS", "120")
    for name in (*declarations.LIBRARIES, *ROOMS):
        importlib.import_module(name)

    done = subprocess.run(
        [sys.executable, "-c", ALL_HELPS], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    texts, modules, read = json.loads(done.stdout)

    assert set(declarations.LIBRARIES).isdisjoint(modules)
    assert {"sympy", "pydantic", "napari_why.attribution"}.isdisjoint(modules)
    for verb in VERBS:
        assert texts[verb.name] == shell(verb.name, "--help").out, verb.name
        assert NEVER_DECLARE.isdisjoint(read[verb.name]), verb.name
    assert "napari_why.attribution.occlusion" in read["attribute"]
    for name, rooms in NOT_OF.items():
        assert not [module for module in read[name] if module.startswith(rooms)], name


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


@pytest.mark.parametrize(
    "use", [bool, int, float, str, len, iter, list, math.floor, "{}".format, repr]
)
def test_a_stand_in_has_no_value(use) -> None:
    with pytest.raises(TypeError):
        use(StandIn().number * 2)


@pytest.mark.parametrize("compare", [operator.eq, operator.ne, lambda one, other: one in (other,)])
def test_a_stand_in_is_compared_with_nothing(compare) -> None:
    with pytest.raises(TypeError):
        compare(StandIn(), 3)
    with pytest.raises(TypeError):
        compare(3, StandIn())


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Return a function that writes files of a package of rooms, which stands for this one."""
    name = "napari_why_test_house"
    monkeypatch.setattr(declarations, "PACKAGE", name)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").touch()

    def write(rooms: dict[str, str]) -> None:
        for room, body in rooms.items():
            place = tmp_path / name / f"{room}.py"
            place.parent.mkdir(exist_ok=True)
            place.write_text(body.replace("HOUSE", name))
        importlib.invalidate_caches()

    yield write
    for module in [module for module in sys.modules if module.startswith(name)]:
        del sys.modules[module]


def ask_house(module: str, *names: str):
    """Return a function that imports names of a module of the house, and what was imported with them."""
    of_house = f"napari_why_test_house.{module}"

    def declare():
        found = {}
        exec(f"def ask():\n from {of_house} import {', '.join(names)}\n return locals()", found)  # noqa: S102
        given = found["ask"]()
        loaded = [name.partition(".")[2] for name in sys.modules if "test_house." in name]
        return [*given.values()], loaded

    return declare


def test_what_stands_in_an_annotation_is_not_imported(house) -> None:
    house(
        {
            "deep": "raise AssertionError('imported')",
            "method": (
                "from HOUSE.deep import Image, Other\n"
                "def turn(image: Image | None, by: int | Other): return 'turned'\n"
            ),
        }
    )
    (turn,), loaded = read_early(ask_house("method", "turn"))
    assert turn(None, 1) == "turned"
    assert loaded == ["method"]


def test_bases_decorators_and_values_are_what_they_name(house) -> None:
    house(
        {
            "deep": "from HOUSE.deepest import Base, mark\nSIZES = {'a', 'b'}\nSIZE = 3",
            "deepest": (
                "class Base: width = 5\n"
                "def mark(function): function.marked = True; return function\n"
            ),
            "method": "from HOUSE.deep import Base, SIZE, SIZES, mark\nfrom HOUSE import deep\n"
            "ALL = SIZES | {'c'} | SIZES\nSAME = {'c'} | SIZES\n"
            "class Method(Base): ...\n@mark\ndef turn(): ...\n"
            "def list_all(): return sorted(ALL)\n"
            "CHOSEN = [SIZE, (deep.SIZE, {'by': SIZE})]\n",
        }
    )
    found, loaded = read_early(ask_house("method", "Method", "turn", "ALL", "SAME", "CHOSEN"))
    method, turn, *values = found
    assert method.width == 5
    assert turn.marked
    assert values == [{"a", "b", "c"}, {"a", "b", "c"}, [3, (3, {"by": 3})]]
    assert set(loaded) == {"method", "deep", "deepest"}


@pytest.mark.parametrize(
    "told",
    [
        "SIZE == 3", "3 != SIZE", "SIZE in (1, 2, 3)", "SIZE == SAME", "SIZE < 4", "SIZE >= KIND_OF[0]",
        "repr(KIND)", "'%r' % (KIND,)", "f'{SIZE:03}'", "str(KIND)", "bool(EMPTY)", "len(KIND)",
        "[*KIND_OF]", "3 in KIND_OF", "(SIZE * 2, 2 ** SIZE, -SIZE, 7 % SIZE, SIZE - SAME)", "range(SIZE)[-1]",
        "KIND + 'b'", "float(SIZE) + int(SIZE)", "(SIZE, [KIND], POINT(SIZE, 2), HELD(SIZE))",
        "{'a': 'yes'}.get(KIND)", "match(KIND)",
        "{SIZE, SAME, 3}", "frozenset([SIZE])", "{SIZE: KIND}", "3 in {SIZE}",
    ],
)  # fmt: skip
def test_what_is_done_with_a_late_name_is_done_with_what_it_names(house, told: str) -> None:
    house(
        {
            "deep": "SIZE = SAME = 3\nKIND = 'a'\nKIND_OF = [3, 4]\nEMPTY = ''",
            "method": (
                "from collections import namedtuple\nfrom dataclasses import dataclass, field\n"
                "from HOUSE.deep import SIZE, SAME, KIND, KIND_OF, EMPTY\n"
                "POINT = namedtuple('POINT', 'x y')\n"
                "@dataclass\nclass HELD:\n size: int\n twice: int = field(init=False, default=2)\n"
                " def __eq__(self, other): return self.size == other.size\n"
                "def match(kind):\n match kind:\n  case 'a': return 'known'\n  case _: return 'unknown'\n"
                f"TOLD = {told}\n"
            ),
        }
    )
    ask = ask_house("method", "TOLD")
    (early,), _ = read_early(ask)
    (told_later,), _ = ask()
    assert early == told_later
    assert repr(early) == repr(told_later)


def test_a_name_of_none_that_is_there_is_none(house) -> None:
    house(
        {
            "deep": "NONE = None",
            "method": "import HOUSE.deep\nfrom HOUSE.deep import NONE\nA = NONE is None",
        }
    )
    (is_none,), _ = read_early(ask_house("method", "A"))
    assert is_none


@pytest.mark.parametrize("told", [{StandIn()}, frozenset([StandIn()]), {StandIn(): 1}])
def test_a_stand_in_in_a_set_or_as_a_key_is_refused(told) -> None:
    with pytest.raises(TypeError, match="found a stand-in"):
        read_early(lambda: told)


def test_all_names_of_a_module_and_the_module_itself_are_imported_at_once(house) -> None:
    house(
        {
            "deep": "SIZE = 3",
            "method": (
                "from HOUSE.deep import *\nmodule = __import__('HOUSE.deep', fromlist=['SIZE'])\n"
                "TOLD = [SIZE, type(module).__name__]\n"
            ),
        }
    )
    (told,), _ = read_early(ask_house("method", "TOLD"))
    assert told == [3, "module"]


def test_threads_that_read_leave_imports_as_they_were() -> None:
    """The second one waits; without that it would leave the first one's import for good."""
    before = builtins.__import__
    first_reads, second_reads = Event(), Event()

    def read_first() -> bool:
        first_reads.set()
        return second_reads.wait(0.2)  # in vain: it must not begin

    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(read_early, read_first)
        assert first_reads.wait(30)
        second = threads.submit(read_early, lambda: second_reads.set() or first.result())
        assert not first.result()
        assert not second.result()
    assert builtins.__import__ is before


def test_a_file_is_imported_without_its_room_and_the_room_with_its_files(house) -> None:
    files = {
        "room/__init__": (
            "from importlib import import_module\nfrom HOUSE.room.registry import ENTRIES\n"
            "import_module('HOUSE.room.entry')\n"
        ),
        "room/registry": "ENTRIES = []\nLABEL = 'entries'",
        "room/entry": "from HOUSE.room.registry import ENTRIES\nENTRIES.append('first')",
    }
    one = "from HOUSE.room.registry import LABEL\nTEXT = LABEL[:]\n"
    house({**files, "one": one})
    (text,), loaded = read_early(ask_house("one", "TEXT"))
    assert text == "entries"
    assert "room.entry" not in loaded

    house({"two": f"{one}from HOUSE.room import ENTRIES\n"})
    (text, entries), loaded = read_early(ask_house("two", "TEXT", "ENTRIES"))
    assert (text, entries) == ("entries", ["first"])
    assert "room.entry" in loaded


def test_a_stand_in_within_what_is_told_is_refused_and_imports_are_as_before(house) -> None:
    before = builtins.__import__
    with pytest.raises(TypeError, match="found a stand-in"):
        read_early(lambda: {"size": [StandIn()]})
    house({"broken": "raise ZeroDivisionError"})
    with pytest.raises(ZeroDivisionError):
        read_early(ask_house("broken", "anything"))
    assert builtins.__import__ is before


def test_public_names_that_were_asked_for_meanwhile_are_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import napari_why

    monkeypatch.delitem(vars(napari_why), "Contrast", raising=False)
    with stand_ins([LIBRARY]):
        assert napari_why.Contrast
        assert "Contrast" in vars(napari_why)
    assert "Contrast" not in vars(napari_why)
