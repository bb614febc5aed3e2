"""A screen: each field once whatever fails, the same by any engine, gone on with after a kill."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib import import_module

import numpy as np
import pandas as pd
import pytest

import napari_why as why
from napari_why.core.errors import DatasetError, ModelFileError, ParameterError, WhyError
from napari_why.core.events import Message
from napari_why.screening import Engine, ScreenOptions, Shard, merge, plan_screen, screen
from napari_why.screening import work as working
from napari_why.screening.merge import TABLES, collect
from napari_why.screening.parts import part_path, read_facts, read_part, read_plan, write_part
from napari_why.screening.plan import WellTask, read_dose, work_key
from napari_why.screening.tables import gather_wells, is_feature, latents_of
from napari_why.screening.work import log_odds

# the module: its verb has the same name
merging = import_module("napari_why.screening.merge")
CONTROLS = {"negative": "DMSO", "positive": "healthy", "draws": 100}


@pytest.fixture
def counted(monkeypatch):
    """The wells that are worked on."""
    worked, original = [], working.screen_field

    def count(classifier, setting, task, field):
        worked.append((task.plate, task.well, field.site))
        return original(classifier, setting, task, field)

    monkeypatch.setattr(working, "screen_field", count)
    return worked


def test_every_field_is_there_once_with_metadata_first(whole, design):
    fields = whole.fields
    places = fields[["Metadata_Plate", "Metadata_Well", "Metadata_Site"]]
    assert list(fields.columns[:3]) == list(places.columns)
    assert not places.duplicated().any()
    expected = {(plate, well, str(field)) for plate, well, field, _, _ in design.scenes()}
    assert set(places.itertuples(index=False, name=None)) == expected
    assert (fields["Metadata_error"] == "").all()
    features = [name for name in fields if is_feature(name)]
    assert list(fields.columns[-len(features) :]) == features  # nothing stands between them
    assert all(np.issubdtype(fields[name].dtype, np.number) for name in features)


def test_a_row_says_what_the_classifier_says_of_the_image(whole, model):
    classifier, row = why.load(model), whole.fields.iloc[5]
    found = classifier.predict(row["Metadata_image"])
    assert row["Metadata_predicted"] == found.label
    for name, probability in found.probabilities.items():
        assert row[f"probability of {name}"] == pytest.approx(probability)
    p = found.probabilities["healthy"]
    assert row["log-odds of healthy"] == pytest.approx(np.log(p / (1 - p)), abs=1e-5)
    space = why.embed(
        classifier, why.Dataset.from_images([why.read(row["Metadata_image"])] * 2, ["a", "b"])
    )
    np.testing.assert_allclose(latents_of(whole.fields.iloc[[5]])[0], space.latents[0], rtol=1e-5)


def test_textures_are_those_of_the_image_at_the_networks_size(whole, model):
    from napari_why.datasets.features import TEXTURES, texture_features

    classifier, row = why.load(model), whole.fields.iloc[5]
    image = why.read(row["Metadata_image"]).sel(c="TMRM")  # as large as the network's
    found = [row[f"texture of TMRM: {name}"] for name in TEXTURES]
    np.testing.assert_allclose(found, texture_features(np.asarray(image)), rtol=0.01, atol=0.01)
    without = working.describe_field(
        classifier, why.read(row["Metadata_image"]), "healthy", texture=False
    )
    assert not [name for name in without if name.startswith("texture")]


def test_log_odds_have_no_ceiling():
    assert log_odds(np.array([-400.0, 400.0]), 1) == 800
    three = np.array([1.0, 2.0, 3.0])
    p = np.exp(three) / np.exp(three).sum()
    assert log_odds(three, 2) == pytest.approx(np.log(p[2] / (1 - p[2])))


def test_wells_are_means_of_their_fields(whole):
    wells, fields = whole.analysis.wells, whole.fields
    one = wells.iloc[3]
    own = fields[
        (fields["Metadata_Plate"] == one["Metadata_Plate"])
        & (fields["Metadata_Well"] == one["Metadata_Well"])
    ]
    assert one["Metadata_fields"] == len(own) == 2
    assert one["log-odds of healthy"] == pytest.approx(own["log-odds of healthy"].mean())
    assert one["Metadata_spread of log-odds of healthy"] == pytest.approx(
        own["log-odds of healthy"].std()
    )


def test_tables_on_the_disk_are_those_of_the_result(whole):
    stored = pd.read_parquet(whole.folder / "fields.parquet")
    pd.testing.assert_frame_equal(stored, whole.fields)
    hits = pd.read_csv(whole.folder / "hits.csv")
    assert list(hits["compound"]) == list(whole.analysis.hits["compound"])
    assert "latent 0" not in pd.read_csv(whole.folder / "fields.csv")
    record = json.loads((whole.folder / "record.json").read_text())
    assert (record["kind"], record["details"]["complete"]) == ("screen", True)
    assert json.loads((whole.folder / "fields.json").read_text()) == record
    assert set(TABLES) - {"regions.csv", "doses.csv"} <= {
        path.name for path in whole.folder.iterdir()
    }


@pytest.mark.parametrize("engine", [Engine(workers=2), Engine(workers=1, scheduler="local")])
def test_other_engines_find_the_same(engine, whole, model, plates, plate_map, tmp_path):
    if engine.scheduler:
        pytest.importorskip("distributed")
    found = screen(model, plates, tmp_path / "out", plate_map=plate_map, engine=engine, **CONTROLS)
    pd.testing.assert_frame_equal(found.fields, whole.fields)
    pd.testing.assert_frame_equal(found.analysis.hits, whole.analysis.hits)


def test_an_executor_of_ones_own(whole, model, plates, plate_map, tmp_path):
    with ThreadPoolExecutor(1) as executor:
        found = screen(
            model, plates, tmp_path / "out", plate_map=plate_map, executor=executor, **CONTROLS
        )
    pd.testing.assert_frame_equal(found.fields, whole.fields)


def test_after_a_kill_only_what_is_missing_is_done(
    whole, model, plates, plate_map, tmp_path, counted
):
    out = tmp_path / "out"
    options = ["--negative=DMSO", "--positive=healthy", "--draws=100"]
    command = [sys.executable, "-m", "napari_why.cli", "screen", model, plates, "--out", out]
    command += ["--plate-map", plate_map, *options]
    running = subprocess.Popen([str(part) for part in command], stderr=subprocess.DEVNULL)
    try:
        while len(list(out.rglob("*.parquet"))) < 3:
            assert running.poll() is None
            time.sleep(0.01)
    finally:
        running.send_signal(signal.SIGKILL)
        running.wait()
    done = {
        (plate, well)
        for plate, well, *_ in json.loads((out / "plan.json").read_text())["wells"]
        if read_facts(part_path(out, plate, well)) is not None
    }
    assert 3 <= len(done) < len(whole.analysis.wells)
    with pytest.raises(WhyError, match="found an earlier screen there"):
        screen(model, plates, out, plate_map=plate_map, **CONTROLS)
    found = screen(model, plates, out, plate_map=plate_map, resume=True, **CONTROLS)
    assert not done & {(plate, well) for plate, well, _ in counted}
    assert len(counted) == len(set(counted)) == 2 * (len(whole.analysis.wells) - len(done))
    pd.testing.assert_frame_equal(found.fields, whole.fields)


def test_it_is_cancelled_and_gone_on_with(whole, model, plates, plate_map, tmp_path, counted):
    told = []
    part = screen(
        model,
        plates,
        tmp_path / "out",
        plate_map=plate_map,
        on_event=told.append,
        cancelled=lambda: len(counted) >= 5,
        **CONTROLS,
    )
    assert (part.complete, part.analysis) == (False, None)
    assert part.sentences[0].startswith("incomplete")
    assert not list((tmp_path / "out").glob(".stop-*"))
    assert not (tmp_path / "out" / "hits.csv").exists()
    counted.clear()
    found = screen(model, plates, tmp_path / "out", plate_map=plate_map, resume=True, **CONTROLS)
    assert len(counted) == len(whole.fields) - len(part.fields)
    pd.testing.assert_frame_equal(found.fields, whole.fields)


def test_another_question_of_all_wells_costs_no_well_again(
    whole, model, plates, plate_map, tmp_path, counted
):
    out = shutil.copytree(whole.folder, tmp_path / "out")
    again = screen(
        model, plates, out, plate_map=plate_map, resume=True, **{**CONTROLS, "draws": 200}
    )
    assert counted == []
    assert again.record.parameters["draws"] == 200
    screen(model, plates, out, plate_map=plate_map, resume=True, **{**CONTROLS, "positive": None})
    assert len(counted) == 64  # what a control is stands in the rows


def test_a_file_that_is_another_one_by_now_is_looked_at_again(
    whole, model, plates, plate_map, tmp_path, counted
):
    out = shutil.copytree(whole.folder, tmp_path / "out")
    path = plates / "P1" / "P1_A01_s1.ome.tif"
    before = path.stat()
    os.utime(path, ns=(0, 0))
    try:
        screen(model, plates, out, plate_map=plate_map, resume=True, **CONTROLS)
    finally:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert [(plate, well) for plate, well, _ in counted] == [("P1", "A01")] * 2


def test_a_field_that_cannot_be_read_is_named_and_costs_no_other(
    whole, model, plates, plate_map, tmp_path
):
    shutil.copytree(plates, tmp_path / "plates")
    broken = [tmp_path / "plates" / "P1" / f"P1_A01_s{site}.ome.tif" for site in (1, 2)]
    broken.append(tmp_path / "plates" / "P2" / "P2_B02_s2.ome.tif")
    for path in broken:
        path.write_bytes(path.read_bytes()[:200])
    told = []
    found = screen(
        model,
        tmp_path / "plates",
        tmp_path / "out",
        plate_map=plate_map,
        on_event=told.append,
        **CONTROLS,
    )
    failed = found.fields[found.fields["Metadata_error"] != ""]
    assert list(failed["Metadata_image"]) == [str(path) for path in broken]
    assert failed["log-odds of healthy"].isna().all()
    assert len(found.fields) == len(whole.fields)
    assert any("3 failed" in sentence for sentence in found.sentences)
    assert any(
        isinstance(event, Message) and "P1 A01: 2 of 2 fields failed" in event.text
        for event in told
    )
    well = found.analysis.wells.set_index(["Metadata_Plate", "Metadata_Well"]).loc[("P2", "B02")]
    assert (well["Metadata_fields"], well["Metadata_fields failed"]) == (1, 1)
    same = found.fields.drop(columns="Metadata_image")[found.fields["Metadata_error"] == ""]
    before = whole.fields.drop(columns="Metadata_image").loc[same.index]
    # whether an unread field was trained on is not known
    pd.testing.assert_frame_equal(same, before, check_dtype=False)


def test_shards_of_other_computers_are_merged(whole, model, plates, plate_map, tmp_path):
    folders = []
    for index in (1, 2, 3):
        shutil.copytree(plates, tmp_path / f"copy {index}")
        folders.append(tmp_path / f"part {index}")
        part = screen(
            model,
            tmp_path / f"copy {index}",
            folders[-1],
            plate_map=plate_map,
            shard=f"{index}/3",
            **CONTROLS,
        )
        assert not part.complete
    with pytest.raises(WhyError, match="no results of 10 of 32 wells"):
        merge(folders[:2], tmp_path / "gap")
    found = merge(folders, tmp_path / "merged")
    drop = ["Metadata_image"]
    pd.testing.assert_frame_equal(found.fields.drop(columns=drop), whole.fields.drop(columns=drop))
    pd.testing.assert_frame_equal(found.analysis.hits, whole.analysis.hits)
    again = merge([tmp_path / "part 1", *folders[1:]], tmp_path / "merged")
    assert again.complete


def test_shards_may_share_a_folder(whole, model, plates, plate_map, tmp_path):
    for index in (1, 2):
        shard = Shard(index, 2)
        screen(model, plates, tmp_path / "out", plate_map=plate_map, shard=shard, **CONTROLS)
    pd.testing.assert_frame_equal(merge([tmp_path / "out"]).fields, whole.fields)


def test_a_merge_refuses_two_screens_and_parts_of_another(
    model, plates, plate_map, tmp_path, whole
):
    for index, draws in ((1, 100), (2, 200)):
        options = {**CONTROLS, "draws": draws}
        screen(
            model, plates, tmp_path / str(index), plate_map=plate_map, shard=f"{index}/2", **options
        )
    with pytest.raises(WhyError, match="expected shards of one screen"):
        merge([tmp_path / "1", tmp_path / "2"], tmp_path / "merged")
    shutil.copytree(whole.folder, tmp_path / "altered")
    plan = json.loads((tmp_path / "altered" / "plan.json").read_text())
    plan["wells"][0][3] = "another"
    (tmp_path / "altered" / "plan.json").write_text(json.dumps(plan))
    with pytest.raises(WhyError, match="made with another classifier, other options"):
        merge([tmp_path / "altered"])
    with pytest.raises(WhyError, match="no plan of a screen"):
        merge([tmp_path])


@pytest.mark.parametrize("first", ["lost", "done"])
def test_a_merge_takes_a_well_that_was_done_before_one_that_was_lost(whole, tmp_path, first):
    plan = read_plan(whole.folder)
    plate, well, _, key = plan["wells"][0]
    fields, _ = read_part(part_path(whole.folder, plate, well))
    task = WellTask(plate, well, (), {})
    lost = fields.assign(Metadata_error="died").drop(columns=list(filter(is_feature, fields)))
    write_part(tmp_path, key, task, [], lost, None, lost=True)
    folders = [tmp_path, whole.folder] if first == "lost" else [whole.folder, tmp_path]
    pd.testing.assert_frame_equal(collect(folders, plan)[0], whole.fields)


def test_another_classifier_at_the_same_place_is_refused(model, whole):
    with pytest.raises(ModelFileError, match="with which the screen was begun"):
        working.load_once(str(model), "0" * 64, "cpu")


def test_explaining_every_field(model, plates, plate_map, tmp_path):
    found = screen(
        model,
        plates,
        tmp_path / "out",
        plate_map=plate_map,
        shard="1/8",
        attribution="saliency",
        counterfactual="gaussian_transport",
        change_draws=0,
        **CONTROLS,
    )
    fields = found.fields
    assert (fields["Metadata_error"] == "").all()
    shares = fields[["share of evidence in DAPI", "share of evidence in TMRM"]]
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    changed = fields[fields["Metadata_predicted"] != "healthy"]
    assert changed["share of change in TMRM"].notna().all()
    assert set(changed["Metadata_direction"]) <= {"diseased to healthy"}
    parts = [read_part(path)[1] for path in sorted(found.folder.rglob("*[0-9].parquet"))]
    regions = pd.concat([part for part in parts if part is not None])
    assert len(regions) == fields["regions"].sum()
    assert {"Metadata_Plate", "Metadata_Well", "Metadata_Site"} <= set(regions)


@pytest.mark.parametrize("raised", [False, True])
def test_a_field_that_is_not_explained_counts_for_all_else(
    whole, model, plates, plate_map, tmp_path, monkeypatch, raised
):
    original, refused = working.explain_one, "P1_A01_s2"

    def explain(classifier, reference, options, folder):
        if refused not in reference.name:
            return original(classifier, reference, options, folder)
        if raised:
            raise WhyError("no room")
        told = original(classifier, reference, replace(options, attribution=None), folder)
        return replace(told, row={**told.row, "error": "explaining: no room"})

    monkeypatch.setattr(working, "explain_one", explain)
    told = []
    found = screen(
        model,
        plates,
        tmp_path / "out",
        plate_map=plate_map,
        shard="1/16",
        attribution="saliency",
        on_event=told.append,
        **CONTROLS,
    )
    fields = found.fields.set_index(["Metadata_Well", "Metadata_Site"])
    reason = "no room" if raised else "explaining: no room"
    assert list(fields["Metadata_explanation error"]) == ["", reason, "", ""]
    assert (fields["Metadata_error"] == "").all()
    assert list(fields["share of evidence in DAPI"].isna()) == [False, True, False, False]
    wells = gather_wells(found.fields).set_index(["Metadata_Plate", "Metadata_Well"])
    well = wells.loc[("P1", "A01")]
    assert (well["Metadata_fields"], well["Metadata_fields failed"]) == (2, 0)
    before = whole.analysis.wells.set_index(["Metadata_Plate", "Metadata_Well"])
    name = "log-odds of healthy"
    assert well[name] == pytest.approx(before.loc[("P1", "A01"), name])
    share = "share of evidence in DAPI"
    assert well[share] == fields[share].iloc[0]  # of the other field alone
    texts = [event.text for event in told if isinstance(event, Message)]
    assert f"P1 A01: 1 of 2 fields were not explained: {reason}" in texts
    assert not any("failed" in one for one in (*texts, *found.sentences))
    assert "1 fields were not explained; the reasons stand in their rows" in found.sentences


def test_what_is_asked_for_is_refused_before_the_work(model, plates, plate_map, tmp_path):
    for changes, reason in (
        ({"healthy": "well"}, "healthy: found 'well'"),
        ({"negative": "water"}, "negative: found no well with treatment 'water'"),
        ({"negative": "DMSO", "positive": "DMSO"}, "found DMSO in both"),
        ({"dose": "mg"}, "dose: found no column 'mg'"),
        ({"shard": "3/2"}, "shard: found 3/2"),
        ({"attribution": "none_such"}, "none_such"),
    ):
        with pytest.raises((ParameterError, WhyError), match=reason):
            screen(model, plates, tmp_path / "out", plate_map=plate_map, **changes)
    with pytest.raises(DatasetError, match="'compound'"):
        screen(model, plates, tmp_path / "out", plate_map=plate_map, compound="compound")
    unsaved = replace(why.load(model), folder=None)
    with pytest.raises(WhyError, match="save it first"):
        screen(unsaved, plates, tmp_path / "out", plate_map=plate_map)
    with pytest.raises(WhyError, match="source"):
        screen(model, plates, plates, plate_map=plate_map)
    assert not (tmp_path / "out").exists()


def test_an_executor_of_dask_is_refused_before_the_work(model, plates, plate_map, tmp_path):
    distributed = pytest.importorskip("distributed")
    local = {"processes": False, "n_workers": 1, "dashboard_address": ":0"}
    with (
        distributed.Client(**local) as client,
        pytest.raises(ParameterError, match="tasks go on in the cluster"),
    ):
        given = {"plate_map": plate_map, "executor": client.get_executor()}
        screen(model, plates, tmp_path / "out", **given, **CONTROLS)
    assert not (tmp_path / "out").exists()


def test_a_plan_is_the_same_wherever_the_plates_lie(plates, plate_map, tmp_path):
    options = ScreenOptions(negative="DMSO")
    shutil.copytree(plates, tmp_path / "plates")
    here, there = (
        plan_screen([place], plate_map, options, "x") for place in (plates, tmp_path / "plates")
    )
    assert here.fingerprint == there.fingerprint
    each = plan_screen([plates / "P1", plates / "P2"], plate_map, options, "x")
    assert [task.name for task in each.wells] == [task.name for task in here.wells]
    assert here.fingerprint != plan_screen([plates], plate_map, options, "y").fingerprint
    parts = [here.part(Shard(index, 3)) for index in (1, 2, 3)]
    assert sorted(task.name for part in parts for task in part) == sorted(
        t.name for t in here.wells
    )
    keys = {work_key("x", options, task) for task in here.wells}
    assert len(keys) == len(here.wells)


def test_a_control_may_have_a_comma_in_its_name():
    options = ScreenOptions(negative='"1,10-phenanthroline", DMSO', positive='2"-deoxy')
    assert options.negatives == ("1,10-phenanthroline", "DMSO")
    assert options.positives == ('2"-deoxy',)
    assert ScreenOptions().negatives == ScreenOptions(negative=" , ").negatives == ()
    with pytest.raises(ParameterError, match=r'expected values between commas, such as "1,10-'):
        ScreenOptions(negative='"1,10-phenanthroline').negatives  # noqa: B018


def test_the_format_of_a_plate_is_by_map_and_images_and_told_where_it_is_a_guess(plates, tmp_path):
    assert plan_screen([plates], plates.parent / "plate_map.csv", ScreenOptions()).shape == (4, 6)
    text = (plates.parent / "plate_map.csv").read_text()
    larger = tmp_path / "map.csv"
    larger.write_text(text + "P1,H12,C999\n")
    plan = plan_screen([plates], larger, ScreenOptions())
    assert (plan.shape, plan.to_dict()["shape"]) == ((8, 12), [8, 12])
    assert not any("plate_wells" in note for note in plan.notes)
    larger.write_text(text + "P1,G11,C999\n")
    guessed = plan_screen([plates], larger, ScreenOptions())
    assert guessed.shape == (8, 12)
    assert any("taken for those of 96 wells" in note for note in guessed.notes)
    asked = plan_screen([plates], larger, ScreenOptions(plate_wells=384))
    assert (asked.shape, any("plate_wells" in note for note in asked.notes)) == ((16, 24), False)
    with pytest.raises(ParameterError, match="plate_wells: found 24, but well G11; expected 96 or"):
        plan_screen([plates], larger, ScreenOptions(plate_wells=24))


def test_wells_at_the_edge_are_those_of_the_format(model, plates, plate_map, tmp_path):
    found = screen(model, plates, tmp_path / "out", plate_map=plate_map, plate_wells=96, **CONTROLS)
    assert found.analysis.shape == (8, 12)
    edge = found.analysis.wells.set_index("Metadata_Well")["Metadata_at the edge"]
    assert edge["A05"].all()
    assert not edge["D06"].any()  # at the edge of a plate of 24


def test_wells_without_images_and_columns_of_the_map_are_kept(model, plates, tmp_path):
    lines = (plates.parent / "plate_map.csv").read_text().splitlines()
    dosed = [lines[0] + ",dose,notes"] + [
        f"{line},{number},as it is" for number, line in enumerate(lines[1:])
    ]
    (tmp_path / "map.csv").write_text("\n".join([*dosed, "P1,H12,C999,1,"]) + "\n")
    plan = plan_screen([plates], tmp_path / "map.csv", ScreenOptions())
    assert any("1 wells of the map" in note or "P1 H12" in note for note in plan.notes)
    found = screen(
        model, plates, tmp_path / "out", plate_map=tmp_path / "map.csv", shard="1/16", **CONTROLS
    )
    assert found.fields["Metadata_Dose"].dtype == float
    assert set(found.fields["Metadata_original_notes"]) == {"as it is"}
    gathered = gather_wells(found.fields)
    assert set(gathered["Metadata_Dose"]) == set(found.fields["Metadata_Dose"])


@pytest.mark.parametrize(
    ("dose", "reason"),
    [
        ("-6", "found -6.* of well P1 A01 in the column 'dose'.*logarithms"),
        ("1 uM", "found '1 uM' of well P1 A01 in the column 'dose'"),
        ("high", "found 'high' of well P1 A01"),
    ],
)
def test_doses_that_are_none_are_refused_before_the_work(plates, plate_map, tmp_path, dose, reason):
    header, *lines = sorted(plate_map.read_text().splitlines(), key=lambda line: "well" not in line)
    given = [f"{line},{dose if 'P1,A01' in line else ''}" for line in lines]
    (tmp_path / "map.csv").write_text("\n".join([f"{header},dose", *given]) + "\n")
    with pytest.raises(ParameterError, match=reason):
        plan_screen([plates], tmp_path / "map.csv", ScreenOptions())
    # a decimal comma is read as one, and an empty cell is no dose
    comma = '"10,5"'
    empty = [f"{line},{comma if 'P1,A01' in line else ''}" for line in lines]
    (tmp_path / "map.csv").write_text("\n".join([f"{header},dose", *empty]) + "\n")
    first, *others = plan_screen([plates], tmp_path / "map.csv", ScreenOptions()).wells
    assert (first.name, read_dose(first.about["dose"])) == ("P1 A01", 10.5)
    assert all(np.isnan(read_dose(task.about["dose"])) for task in others)


@pytest.mark.parametrize("name", ["fields", "fields failed", "at the edge", "spread of flagged"])
def test_what_a_screen_adds_is_not_mixed_up_with_columns_of_the_map(name):
    assert working._map_column(name) == f"Metadata_original_{name}"
    assert working._map_column("batch") == "Metadata_batch"


def test_nothing_is_left_to_change_of_a_healthy_field_but_of_a_failed_one_it_is_not_known():
    options = ScreenOptions.of_flat({"counterfactual": "transport"})
    healthy = {"predicted": "healthy", "verdict": "not changed"}
    assert working._needs_no_change(options, healthy)
    assert not working._needs_no_change(options, {"predicted": "healthy"})  # failed before
    assert not working._needs_no_change(options, {**healthy, "predicted": "diseased"})
    assert not working._needs_no_change(ScreenOptions(), healthy)


def test_a_shard_that_begins_anew_leaves_the_others_theirs(
    model, plates, plate_map, tmp_path, counted
):
    out = tmp_path / "out"
    asked = {"plate_map": plate_map, **CONTROLS}
    for index in (1, 2):
        screen(model, plates, out, shard=f"{index}/2", **asked)
    counted.clear()
    screen(model, plates, out, shard="1/2", overwrite=True, **asked)
    assert len(counted) == 32
    assert merge([out]).complete
    screen(model, plates, out, shard="1/2", overwrite=True, **{**asked, "positive": None})
    assert len([path for path in out.rglob("*.parquet") if read_facts(path) is not None]) == 16


def test_a_record_is_complete_once_all_tables_are_there(whole, tmp_path, monkeypatch):
    def fail(*_args):
        raise OSError("no room")

    monkeypatch.setattr(merging, "make_report", fail)
    with pytest.raises(OSError, match="no room"):
        merge([whole.folder], tmp_path / "merged")
    record = json.loads((tmp_path / "merged" / "record.json").read_text())
    assert record["details"]["complete"] is False
    monkeypatch.undo()
    assert merge([whole.folder], tmp_path / "merged").complete
    record = json.loads((tmp_path / "merged" / "record.json").read_text())
    assert record["details"]["complete"] is True
