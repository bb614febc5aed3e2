"""A screen beside a viewer: followed and ended as a process, shown well by well, its fields opened."""

import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import psutil
import pytest
from napari.components import ViewerModel

from napari_why.core.errors import WhyError
from napari_why.core.event_lines import read_event
from napari_why.core.events import Advanced, Finished, Started
from napari_why.output.layer_metadata import LayerFacts
from napari_why.output.snippets import ScreenCall
from napari_why.screening import screen
from napari_why.sessions.facts_under_mouse import FactsUnderMouse
from napari_why.sessions.screen import ScreenSession
from napari_why.sessions.screen_process import run_screen
from napari_why.sessions.screen_state import (
    NO_VALUE,
    UNREADABLE,
    WAITING,
    Scale,
    read_screen,
)
from napari_why.simulation.compounds import ScreenDesign, simulate_screen

SIZE = 32
ASKED = {"healthy": "treated", "negative": "DMSO", "positive": "healthy", "draws": 100}
# Enough to be asked to stop in the midst of a plate: seconds a well.
LONG = {"attribution": "integrated_gradients", "attribution_steps": 300}


@pytest.fixture(scope="module")
def model(classifier, tmp_path_factory):
    return classifier.save(tmp_path_factory.mktemp("screen") / "model")


@pytest.fixture(scope="module")
def plate_map(tmp_path_factory):
    """Six wells: two compounds between two columns of controls; two fields each."""
    design = ScreenDesign(compounds=2, actives=0, plates=1, fields=2, shape=(2, 3), size=SIZE)
    return simulate_screen(tmp_path_factory.mktemp("screen") / "data", design)


@pytest.fixture(scope="module")
def finished(model, plate_map, tmp_path_factory):
    """The folder of a screen with maps as pictures."""
    out = tmp_path_factory.mktemp("screen") / "out"
    options = {"attribution": "saliency", "pictures": True}
    screen(model, plate_map.parent / "plates", out, plate_map=plate_map, **ASKED, **options)
    return out


def make_call(plate_map, out, **changes):
    options = {**ASKED, **changes.pop("options", {})}
    return ScreenCall(
        plates=[plate_map.parent / "plates"],
        plate_map=plate_map,
        out=out,
        options=options,
        **changes,
    )


def never():
    return False


def test_the_process_is_followed_to_its_end(model, plate_map, tmp_path):
    heard = []
    out = run_screen(
        model, make_call(plate_map, tmp_path / "out"), on_event=heard.append, cancelled=never
    )
    assert Started("screening wells", 6) in heard
    done = [event.done for event in heard if isinstance(event, Advanced)]
    assert done == list(range(7))
    assert heard[-1] == Finished()
    state = read_screen(out)
    assert state.complete
    assert state.done == 6


class CancelAtFirst:
    """Asks to stop once a well is done, and notes which processes there are then."""

    def __init__(self):
        self.before = psutil.Process().children(recursive=True)
        self.family = []
        self.done = 0

    def on_event(self, event):
        if isinstance(event, Advanced) and event.done:
            self.done = event.done
            there = psutil.Process().children(recursive=True)
            self.family = self.family or [one for one in there if one not in self.before]

    def cancelled(self):
        return self.done > 0


@pytest.mark.parametrize(("patience", "workers"), [(300, 0), (0, 1)], ids=["asked", "ended"])
def test_cancelling_leaves_no_process_and_the_rest_is_done_later(
    model, plate_map, tmp_path, patience, workers
):
    call = make_call(plate_map, tmp_path / "out", options=LONG, workers=workers)
    stop = CancelAtFirst()
    run_screen(model, call, on_event=stop.on_event, cancelled=stop.cancelled, patience=patience)
    assert len(stop.family) > workers
    assert psutil.wait_procs(stop.family, timeout=60)[1] == []
    partial = read_screen(call.out)
    assert not partial.complete
    assert 1 <= partial.done < 6
    assert f"{partial.done} of 6 wells are done" in partial.sentences
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.parquet")}
    # by the engine that was stopped or by another one
    rest = make_call(plate_map, tmp_path / "out", options=LONG, workers=workers)
    run_screen(model, rest, on_event=lambda _event: None, cancelled=never)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    whole = read_screen(call.out, partial)
    assert whole.complete
    fields = pd.read_parquet(tmp_path / "out" / "fields.parquet")
    assert len(fields) == 12
    assert (fields["Metadata_error"] == "").all()


def test_what_the_process_says_went_wrong_is_told(model, plate_map, tmp_path):
    call = make_call(plate_map, tmp_path / "out", options={"negative": "water"})
    with pytest.raises(WhyError, match=r"^negative: found no well with treatment 'water'"):
        run_screen(model, call, on_event=lambda _event: None, cancelled=never)


def test_a_process_that_nobody_follows_stops(model, plate_map, tmp_path):
    call = make_call(plate_map, tmp_path / "out", options=LONG)
    words = [*call.words(model), "--json-events"]
    running = subprocess.Popen(
        [sys.executable, "-m", "napari_why.cli", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        for line in running.stdout:
            event = read_event(line)
            if isinstance(event, Advanced) and event.done:
                break
        running.stdout.close()
        running.wait(timeout=300)
    finally:
        running.kill()
    assert running.returncode != 0
    assert not read_screen(tmp_path / "out").complete


def test_a_finished_screen_tells_values_roles_and_findings(finished):
    state = read_screen(finished)
    column = "log-odds of treated"
    assert list(state.columns)[:2] == ["way to healthy", column]
    assert not any("latent" in name for name in state.columns)
    stored = pd.read_parquet(finished / "wells.parquet")
    shown = {one.well: one for one in state.show_plate("P1", column)}
    assert [shown[name].value for name in stored["Metadata_Well"]] == list(stored[column])
    assert {one.state for one in shown.values()} == {""}
    roles = dict(zip(stored["Metadata_Well"], stored["Metadata_Role"], strict=True))
    assert {name: one.role for name, one in shown.items()} == roles
    header, rows = state.hit_rows()
    assert header == ["compound", "on-target", "off-target", "finding"]
    for number, row in enumerate(rows):
        ((plate, well),) = state.wells_of_hit(number)
        assert state.hit_of_well(plate, well) == number
        assert row[0] in shown[well].facts
        assert row[-1] in shown[well].facts
    controls = [name for name, role in roles.items() if role != "sample"]
    assert all(state.hit_of_well("P1", name) is None for name in controls)


def test_compounds_of_any_name_lead_to_their_wells(model, plate_map, tmp_path):
    names = {"C001": "=1+1", "C002": "NA"}
    text = plate_map.read_text()
    for old, new in names.items():
        text = text.replace(old, new)
    (tmp_path / "map.csv").write_text(text)
    out = tmp_path / "out"
    screen(model, plate_map.parent / "plates", out, plate_map=tmp_path / "map.csv", **ASKED)
    assert "'=1+1" in (out / "hits.csv").read_text()  # no formula for a spreadsheet
    state = read_screen(out)
    assert set(state.hits["compound"]) == set(names.values())
    for number in range(2):
        ((plate, well),) = state.wells_of_hit(number)
        assert state.hit_of_well(plate, well) == number


def test_tables_that_cannot_be_read_are_named(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "out")
    (tmp_path / "out" / "wells.parquet").write_bytes(b"no table")
    with pytest.raises(WhyError, match=r"tables cannot be read .* merge"):
        read_screen(tmp_path / "out")


def test_wells_come_one_by_one(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "out")
    (tmp_path / "out" / "record.json").unlink()
    parts = sorted((tmp_path / "out" / "parts").rglob("*.parquet"))
    aside = tmp_path / "aside"
    aside.mkdir()
    for path in parts[1:]:
        path.rename(aside / path.name)
    first = read_screen(tmp_path / "out")
    assert (first.done, first.complete, len(first.hits)) == (1, False, 0)
    states = [one.state for one in first.show_plate("P1", "log-odds of treated")]
    assert states == ["", *[WAITING] * 5]
    assert {one.state for one in first.show_plate("P1", "way to healthy")} == {NO_VALUE, WAITING}
    for path in parts[1:]:
        (aside / path.name).rename(path)
    parts[0].write_bytes(b"is not read a second time")
    second = read_screen(tmp_path / "out", first)
    assert second.done == 6
    assert second.parts["P1", "A01"] is first.parts["P1", "A01"]


def test_a_well_without_a_readable_field_stands_apart(model, plate_map, tmp_path):
    shutil.copytree(plate_map.parent, tmp_path / "data")
    for path in (tmp_path / "data").rglob("*A02*.ome.tif"):
        path.write_bytes(b"no image")
    out = tmp_path / "out"
    again = tmp_path / "data" / plate_map.name
    screen(model, tmp_path / "data" / "plates", out, plate_map=again, **ASKED)
    state = read_screen(out)
    shown = {one.well: one for one in state.show_plate("P1", "log-odds of treated")}
    assert shown["A02"].is_unreadable
    assert shown["A02"].flagged
    assert shown["A02"].colour == ""
    assert UNREADABLE in shown["A02"].facts
    assert not any(one.is_unreadable for name, one in shown.items() if name != "A02")
    told = []
    session = ScreenSession(ViewerModel())
    session.look_at(out)
    session.told.connect(told.append)
    with pytest.raises(WhyError, match="P1 A02: not one field can be read"):
        session.open_well("P1", "A02")
    session.open_well("P1", "A01")
    assert not session.opener.busy


def test_a_well_is_opened_with_its_maps_and_in_one_contrast(finished):
    viewer = ViewerModel()
    session = ScreenSession(viewer)
    session.look_at(finished)
    limits = {}
    for well in ("A01", "B03", "A02"):
        session.open_well("P1", well)
        raw = [layer for layer in viewer.layers if not LayerFacts.of(layer).is_result]
        results = [layer for layer in viewer.layers if LayerFacts.of(layer).is_result]
        assert [layer.name for layer in raw] == [
            f"P1 {well} field {number} {channel}"
            for number in (1, 2)
            for channel in ("DAPI", "TMRM")
        ]
        assert len(results) == 6  # of each field a map of each channel, and of both
        assert all(f"P1_{well}_" in LayerFacts.of(layer).origin for layer in viewer.layers)
        for first, second in ((results[0], raw[0]), (results[3], raw[2])):
            np.testing.assert_allclose(first.extent.world, second.extent.world)
        assert raw[2].extent.world[0][-1] > raw[0].extent.world[1][-1]
        seen = [layer for layer in results if layer.visible]
        assert [LayerFacts.of(layer).image_name for layer in seen] == [
            f"P1_{well}_s1",
            f"P1_{well}_s2",
        ]
        assert [layer.colorbar.visible for layer in seen] == [True, False]
        high = seen[0].contrast_limits[1]
        assert [tuple(layer.contrast_limits) for layer in seen] == [(-high, high)] * 2
        beyond = np.mean([np.abs(layer.data) > high for layer in seen])
        assert LayerFacts.of(seen[0]).further["clipped"] == pytest.approx(beyond)
        limits[well] = [tuple(layer.contrast_limits) for layer in raw]
    assert limits["A01"] == limits["B03"] == limits["A02"]


def test_the_status_bar_names_the_well_under_the_mouse(finished):
    viewer = ViewerModel()
    session = ScreenSession(viewer)
    session.column = "log-odds of treated"
    facts = FactsUnderMouse(viewer, session.describe_layer)
    session.look_at(finished)
    session.open_well("P1", "B02")
    inside = viewer.layers[0].extent.world.mean(axis=0)
    viewer.cursor.position = tuple(inside)
    viewer.status = "P1 B02 field 1 DAPI"
    wells = pd.read_parquet(finished / "wells.parquet").set_index("Metadata_Well")
    value = wells.loc["B02", "log-odds of treated"]
    assert f"P1 B02, field 1, {wells.loc['B02', 'Metadata_Compound']}" in viewer.status
    assert f"log-odds of treated: {value:.3g}" in viewer.status
    viewer.cursor.position = tuple(inside + 1e6)
    viewer.status = "elsewhere"
    assert viewer.status == "elsewhere"
    facts.release()


def test_plates_that_were_moved_are_found_where_the_form_says(finished, plate_map, tmp_path):
    shutil.copytree(finished, tmp_path / "out")
    plan = tmp_path / "out" / "plan.json"
    plan.write_text(plan.read_text().replace(str(plate_map.parent), str(tmp_path / "gone")))
    viewer = ViewerModel()
    session = ScreenSession(viewer)
    session.look_at(tmp_path / "out")
    with pytest.raises(WhyError, match="gone"):
        session.open_well("P1", "A01")
    sources = {"plates": [str(plate_map.parent / "plates")], "plate_map": str(plate_map)}
    session.open_well("P1", "A01", sources)
    assert len(viewer.layers) == 10


def test_a_folder_of_something_else_is_refused(tmp_path):
    session = ScreenSession(ViewerModel())
    with pytest.raises(WhyError, match="found no plan of a screen"):
        session.look_at(tmp_path)
    assert session.state is None


def test_looks_do_not_pile_up(held, finished):
    session = ScreenSession(held.viewer, held)
    seen = []
    session.state_changed.connect(seen.append)
    session.look_at(finished)
    for _ in range(5):
        session.refresh()
    assert len(held.held) == 1
    held.let_go()
    assert [state is not None for state in seen] == [False, True, True]


def test_colours_are_ordered_in_lightness():
    scale = Scale.of(np.linspace(0, 10, 101))
    colours = scale.colours(np.linspace(-5, 15, 21))
    light = [
        sum(w * int(c[i : i + 2], 16) for w, i in ((0.3, 1), (0.6, 3), (0.1, 5))) for c in colours
    ]
    assert light == sorted(light)
    assert colours[0] == scale.colours(np.array([scale.low]))[0]
    assert (scale.below, scale.above) == (True, True)
