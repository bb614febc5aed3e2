"""``napari-why explain-many``: a folder to a table; gone on with; one that fails does not end it."""

import shutil

import pandas as pd
import pytest


def test_a_folder_becomes_a_table_and_pictures(shell, model, data, tmp_path):
    out = tmp_path / "out"
    done = shell("explain-many", model, data, "--out", out, "--attribution=saliency")
    assert done.code == 0, done.err
    table = pd.read_csv(out / "images.csv")
    assert len(table) == 24
    assert {"well", "predicted", "share of evidence in DAPI"} <= set(table)
    assert len(list(out.glob("pictures/*-attribution.ome.tif"))) == 24
    assert "24 of 24 images were done" in done.out
    again = shell("explain-many", model, data, "--out", out, "--attribution=saliency", "--resume")
    assert "24 of them by an earlier run" in again.out
    refused = shell("explain-many", model, data, "--out", out)
    assert (refused.code, "--overwrite" in refused.err) == (1, True)


def test_options_of_both_kinds_of_methods_are_told_apart(shell, model, image, tmp_path):
    out = tmp_path / "out"
    options = ["--attribution=integrated_gradients", "--attribution-steps=3"]
    options += ["--counterfactual=gaussian_transport", "--change-steps=4", "--change-draws=0"]
    options += ["--measure-threshold=top"]
    done = shell("explain-many", model, image, "--out", out, *options)
    assert done.code == 0, done.err
    record = pd.read_json(out / "record.json", typ="series")["parameters"]
    assert record["attribution_options"] == {"steps": 3}
    assert record["change_options"] == {"steps": 4, "draws": 0}
    assert record["measure_options"] == {"threshold": "top"}


@pytest.mark.parametrize("option", ["--attribution=none_such", "--change-steps=3"])
def test_what_cannot_be_is_refused_before_the_work(shell, model, image, tmp_path, option):
    done = shell("explain-many", model, image, "--out", tmp_path / "out", option)
    assert done.code in (1, 2)
    assert not (tmp_path / "out").exists()


def test_a_broken_file_is_named_and_the_others_are_done(shell, model, image, tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    shutil.copy(image, folder)
    (folder / "broken.tif").write_bytes(b"no image")
    done = shell("explain-many", model, folder, "--out", tmp_path / "out")
    assert done.code == 1
    table = pd.read_csv(tmp_path / "out" / "images.csv", keep_default_na=False)
    assert sorted(error != "" for error in table["error"]) == [False, True]
