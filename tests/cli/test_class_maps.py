"""``napari-why class-maps``."""

import json
from pathlib import Path

import pandas as pd
import pytest

import napari_why as why
from napari_why.cli import main

FAST = ["--method=saliency", "--device=cpu"]


@pytest.fixture(scope="module")
def out(model: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("class_maps") / "out"
    with pytest.raises(SystemExit) as left:
        main(["class-maps", str(model), str(data), "--out", str(folder), "--explained=all", *FAST])
    assert left.value.code == 0
    return folder


def test_means_tables_figure_and_record_are_written(out: Path, model: Path, data: Path) -> None:
    names = {path.name for path in out.iterdir()}
    assert {"class_maps.ome.tif", "images.csv", "regions.csv", "similarity.csv"} <= names
    assert {"summary.txt", "figures.png", "record.json"} <= names
    written = why.read(out / "class_maps.ome.tif")
    channels = list(written["c"].values)
    assert "TMRM, image of diseased" in channels
    assert "all channels, diseased for treated" in channels
    assert "DAPI, standard error of treated for treated" in channels
    assert len(set(channels)) == len(channels)
    raw = why.read(min(data.rglob("*.ome.tif")))
    assert written.attrs["unit"] == raw.attrs["unit"] == "um"
    record = json.loads((out / "record.json").read_text())
    assert record["kind"] == "class maps"
    assert record["classifier"] == why.load(model).fingerprint
    assert record["parameters"]["explained"] == "all"
    assert {item["label"] for item in record["details"]["counts"]} == {"diseased", "treated"}
    images = pd.read_csv(out / "images.csv", keep_default_na=False)
    assert len(images) == 24
    assert {"well", "seen", "predicted", "cells", "error"} <= set(images)
    similarity = pd.read_csv(out / "similarity.csv")
    assert len(similarity) == len(similarity.columns) - 2 > 2


def test_a_second_run_replaces_the_first_and_leaves_nothing_of_it(
    shell, out: Path, model: Path, data: Path
) -> None:
    again = ["class-maps", model, data, "--out", out, *FAST, "--alignment=regions"]
    assert shell(*again).code == 1
    outcome = shell(*again, "--overwrite")
    assert outcome.code == 0, outcome.err
    assert not (out / "class_maps.ome.tif").exists()
    assert "were trained on" in (out / "summary.txt").read_text()


def test_an_option_of_another_method_and_a_foreign_folder_are_refused(
    shell, model: Path, data: Path, tmp_path: Path
) -> None:
    assert shell("class-maps", model, data, "--out", tmp_path / "o", *FAST, "--window=9").code == 1
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years")
    found = shell("class-maps", model, data, "--out", tmp_path / "mine", *FAST, "--overwrite")
    assert found.code == 1
    assert "something else" in found.err
