"""What handing out the wells of a screen costs, as benchmarks/screen_memory.py tells it."""

from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

from napari_why.core.events import Advanced, Finished

PROJECT = Path(__file__).parents[2]


@pytest.fixture
def screen_memory(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(PROJECT / "benchmarks")
    return import_module("screen_memory")


def test_a_shard_without_wells_divides_by_no_time(screen_memory: ModuleType) -> None:
    clock = screen_memory.Clock()
    clock.on_event(Finished())
    assert "no well was left" in clock.describe()


def test_what_handing_out_took_is_a_share_of_the_time_behind_the_first_well(
    screen_memory: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    walls, own = iter((10.0, 20.0, 50.0)), iter((1.0, 2.0, 5.0))
    monkeypatch.setattr(screen_memory.time, "perf_counter", lambda: next(walls))
    monkeypatch.setattr(screen_memory.time, "process_time", lambda: next(own))
    clock = screen_memory.Clock()
    for event in (Advanced(1), Advanced(2), Finished()):
        clock.on_event(event)
    assert clock.describe() == "since the first well was done 40 s, of one core to hand out 10.00%"
