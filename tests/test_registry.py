"""Registries: an order that hangs on no import, and threads that register at once."""

import importlib
import sys
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from napari_why.core.errors import ParameterError
from napari_why.core.registry import Method, Registry
from napari_why.networks.network import Network
from napari_why.networks.registry import NetworkEntry

ROOM = "napari_why_test_files"
DECLARE = (
    "from napari_why.core.registry import Method\nfrom {room}.entries import ENTRIES\n"
    "def {name}(): ...\nENTRIES.add(Method('{name}', '', '', {name}))\n"
)


def method(name: str, module: str) -> Method:
    def function() -> None: ...

    function.__module__ = module
    return Method(name, "", "", function)


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A package of files that register, and that is imported in full."""
    (tmp_path / ROOM).mkdir()
    files = {name: DECLARE.format(room=ROOM, name=name) for name in ("a", "b", "c", "d")}
    files["entries"] = (
        "from napari_why.core.registry import Registry\nENTRIES = Registry('entry', 'napari_why.none')\n"
    )
    files["__init__"] = (
        f"from napari_why.core.registry import import_files\nfrom {ROOM}.entries import ENTRIES\n"
        "import_files(__name__, __path__, ENTRIES, first=('c',))\n"
    )
    for name, text in files.items():
        (tmp_path / ROOM / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    yield tmp_path / ROOM
    for name in [name for name in sys.modules if name.partition(".")[0] == ROOM]:
        del sys.modules[name]


@pytest.mark.parametrize("early", ["d", "b", "a"])
def test_the_order_hangs_on_no_import(room: Path, early: str) -> None:
    door = room / "__init__.py"
    door.write_text(f"import {ROOM}.{early}\n{door.read_text()}")
    assert list(importlib.import_module(ROOM).ENTRIES) == ["c", "a", "b", "d"]


def test_what_comes_later_gets_its_place_and_others_stand_last() -> None:
    registry = Registry[Method]("entry", "napari_why.none")
    registry.add(method("other", "elsewhere"))
    registry.add(method("third", "room.third"))
    registry.arrange(["room.first", "room.third"])
    registry.add(method("first", "room.first"))
    assert list(registry) == ["first", "third", "other"]
    registry["third"] = registry.pop("third")
    assert list(registry) == ["first", "third", "other"]


def test_what_a_thread_adds_while_others_are_put_in_order_stays() -> None:
    registry = Registry[Any]("entry", "napari_why.none")
    adding = Thread(target=lambda: registry.add(method("late", "room.late")))

    class Slow:
        """An entry that is asked where it is from while the other thread adds."""

        name = "slow"

        @property
        def function(self) -> Any:
            if not adding.ident:
                adding.start()
                adding.join(0.2)  # not until it ends: it has to wait while the order is made
            return len

    registry["slow"] = Slow()
    registry.arrange(["room.late"])
    adding.join()
    assert list(registry) == ["late", "slow"]


def test_a_registry_is_gone_through_as_it_was_while_it_grows() -> None:
    registry = Registry[Method]("entry", "napari_why.none")
    registry.add(method("one", "room"))
    for name in registry:
        registry.add(method(f"{name}_more", "room"))
    assert list(registry) == ["one", "one_more"]


def test_a_second_network_of_a_name_is_refused() -> None:
    def make(module: str) -> NetworkEntry:
        def builder() -> Network: ...

        builder.__module__ = module
        return NetworkEntry("", "", builder)

    registry = Registry[NetworkEntry]("network", "napari_why.none")
    registry.add(make("one.package"))
    registry.add(make("one.package"))  # the same anew, as where a file is run again
    with pytest.raises(ParameterError, match=r"found a second 'builder', of another\.package"):
        registry.add(make("another.package"))
