"""``napari-why screen`` and ``merge``: plates to tables, in shards, and what is wrong in a line."""

import json

import pandas as pd
import pytest

from napari_why.core.event_lines import read_event
from napari_why.core.events import Advanced, Finished, Started
from napari_why.simulation.compounds import ScreenDesign, simulate_screen


@pytest.fixture(scope="module")
def plates(tmp_path_factory):
    """Two wells of each control and six of compounds, of one field each."""
    design = ScreenDesign(compounds=6, actives=1, plates=1, shape=(3, 4), size=32)
    return simulate_screen(tmp_path_factory.mktemp("screen") / "data", design).parent / "plates"


def options(plates, out):
    asked = ["--healthy=treated", "--negative=DMSO", "--positive=healthy", "--draws=100"]
    return [plates, "--plate-map", plates.parent / "plate_map.csv", "--out", out, *asked]


def test_plates_become_tables(shell, model, plates, tmp_path):
    done = shell("screen", model, *options(plates, tmp_path / "out"))
    assert done.code == 0, done.err
    assert "12 of 12 fields of 12 wells on 1 plates were done" in done.out
    hits = pd.read_csv(tmp_path / "out" / "hits.csv")
    assert sorted(hits["compound"]) == [f"C00{number}" for number in range(1, 7)]
    again = shell("screen", model, *options(plates, tmp_path / "out"))
    assert (again.code, "found something there" in again.err) == (1, True)
    kept = shell(
        "screen",
        model,
        *options(plates, tmp_path / "out"),
        "--resume",
        "--false-discovery-rate=0.1",
    )
    assert kept.code == 0, kept.err


def test_a_program_follows_by_lines_of_json(shell, model, plates, tmp_path):
    done = shell("screen", model, *options(plates, tmp_path / "out"), "--json-events")
    assert done.code == 0, done.err
    events = [read_event(line) for line in done.out.splitlines()]
    assert None not in events
    assert events[0] == Started("screening wells", 12)
    assert [event.done for event in events if isinstance(event, Advanced)] == list(range(13))
    assert events[-1] == Finished()


def test_shards_are_merged_and_gaps_refused(shell, model, plates, tmp_path):
    for index in (1, 2):
        done = shell("screen", model, *options(plates, tmp_path / str(index)), f"--shard={index}/2")
        assert done.code == 0, done.err
        assert f"shard {index}/2: 6 wells were done" in done.out
    gap = shell("merge", tmp_path / "1")
    assert (gap.code, "no results of 6 of 12 wells" in gap.err) == (1, True)
    merged = shell("merge", tmp_path / "1", tmp_path / "2", "--out", tmp_path / "all")
    assert merged.code == 0, merged.err
    assert len(pd.read_parquet(tmp_path / "all" / "wells.parquet")) == 12
    plans = [json.loads((tmp_path / name / "plan.json").read_text()) for name in ("1", "all")]
    assert plans[0] == plans[1], "by it a merged screen is opened as any other"


@pytest.mark.parametrize(
    ("option", "reason"),
    [
        ("--shard=2", "expected i/n"),
        ("--healthy=well", "found 'well'"),
        ("--negative=water", "found no well"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(shell, model, plates, tmp_path, option, reason):
    done = shell("screen", model, *options(plates, tmp_path / "out"), option)
    assert done.code == 1
    assert reason in done.err
    assert not (tmp_path / "out").exists()
