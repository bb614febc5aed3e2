"""The comparison with other programs: equal work, both sides in turns, a peer that is not there said."""

import math
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest
import torch

PROJECT = Path(__file__).parents[2]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    monkeypatch.syspath_prepend(PROJECT / "benchmarks")
    yield import_module


@pytest.fixture
def side_by_side(load) -> ModuleType:
    return load("side_by_side")


def test_both_sides_take_turns(side_by_side) -> None:
    told: list[str] = []
    pair = side_by_side.Pair("adding", "a peer", lambda: told.append("o"), lambda: told.append("p"))
    row = side_by_side.measure(pair, repeats=3)
    assert "".join(told) == "op" * 4  # one to warm up
    assert row.note == ""
    assert row.line().startswith("| adding | a peer | ")
    assert row.line().count("|") == side_by_side.HEADER.partition("\n")[0].count("|")


def test_a_peer_that_is_not_there_is_said_in_its_row(side_by_side) -> None:
    assert side_by_side.installed("no_such_peer_of_ours") is None
    row = side_by_side.measure(side_by_side.missing("adding", "peer", lambda: None), repeats=2)
    assert row.note == "peer is not installed"
    assert all(math.isnan(each) for each in row.theirs)
    assert "nan" not in row.line()


def test_a_peer_that_fails_is_said_and_our_own_failure_raised(side_by_side) -> None:
    def fail() -> None:
        raise ValueError("cannot do this")

    row = side_by_side.measure(side_by_side.Pair("adding", "peer", lambda: None, fail), repeats=1)
    assert row.note == "failed: cannot do this"
    with pytest.raises(ValueError, match="cannot do this"):
        side_by_side.measure(side_by_side.Pair("adding", "peer", fail, lambda: None), repeats=1)


def test_memory_is_that_of_one_run(side_by_side) -> None:
    size = 64 * 2**20
    kept = _free_memory_that_the_allocator_keeps(size)
    peak = side_by_side.in_a_process(lambda: side_by_side.peak_of(lambda: bytearray(size)))
    assert math.isnan(peak) or 0.9 * size < peak < 2 * size
    with pytest.raises(RuntimeError, match="KeyError"):
        side_by_side.in_a_process(lambda: {}["missing"])
    assert kept  # alive until here


def _free_memory_that_the_allocator_keeps(size: int) -> list[bytearray]:
    """Leave a hole in the heap that is larger than a size, and return what stands behind it."""
    largest = 30 * 2**20  # glibc maps blocks of 32 MiB and more by themselves, and never keeps them
    bytearray(
        largest + 2**20
    )  # once such a block was freed, those below its size come from the heap
    hole = [bytearray(largest) for _ in range(size // largest + 1)]
    behind = [bytearray(2**17) for _ in range(4)]
    hole.clear()
    return behind


def test_the_work_is_equal(load) -> None:
    pairs = load("peer_pairs")
    case = pairs.Case.of("small_cnn", 32)
    layouts = [
        all(value.is_contiguous() for value in network.state_dict().values())
        for network in (case.network, case.plain)
    ]
    assert layouts == [False, True]
    with torch.no_grad():
        torch.testing.assert_close(case.network(case.x), case.plain(case.x))
    found = {pair.task: pair for pair in pairs.gradients((32,)) if "small_cnn" in pair.task}
    assert len(found) == 3
    for task, pair in found.items():
        ours, theirs = pair.ours().maps, pair.theirs()[0].detach()
        scale = float(theirs.abs().max())
        torch.testing.assert_close(ours, theirs.to(ours.dtype), rtol=0, atol=1e-4 * scale, msg=task)


def test_exponents(load) -> None:
    exponent = load("growth").exponent
    assert exponent({64: 0.1, 128: 0.4, 256: 1.6}) == pytest.approx(2)
    assert exponent({1: 3.0, 8: 3.0}) == pytest.approx(0)


def test_peers_are_an_extra_that_nothing_imports() -> None:
    imports = ("zennit", "autolrp", "pytorch_grad_cam", "bioio")
    text = "\n".join(path.read_text(encoding="utf-8") for path in (PROJECT / "src").rglob("*.py"))
    assert not any(f"import {name}" in text or f"from {name}" in text for name in imports)
