"""``napari-why measure``."""

import json
from pathlib import Path

import pandas as pd
import pytest

import napari_why as why
from napari_why.cli import main

OPTIONS = ["--threshold=top", "--top-share=0.1", "--minimum-size=4"]


@pytest.fixture(scope="module")
def out(model: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("measured") / "out"
    with pytest.raises(SystemExit) as left:
        main(["measure", str(model), str(data), "--out", str(folder), "--no-figures", *OPTIONS])
    assert left.value.code == 0
    return folder


def test_the_tables_of_a_data_set_know_its_wells(out: Path, data: Path) -> None:
    images = pd.read_csv(out / "images.csv", keep_default_na=False)
    assert len(images) == len(pd.read_csv(data / "labels.csv")) == 24
    assert (images["error"] == "").all()
    regions = pd.read_csv(out / "regions.csv")
    assert {"well", "area (um^2)", "TMRM mean after (grey levels)"} <= set(regions)
    statistics = pd.read_csv(out / "statistics.csv")
    assert set(statistics["unit"]) == {"plate and well"}
    assert (statistics["units tested"] <= statistics["images"]).all()


def test_summary_and_record_say_how_it_was_made(out: Path, model: Path) -> None:
    images = pd.read_csv(out / "images.csv")
    counted, seen = int(images["counted"].sum()), int(images["seen"].sum())
    assert 0 < counted <= 24 - seen < 24
    summary = (out / "summary.txt").read_text()
    assert summary.startswith(f"{counted} of 24 images count, ")
    assert f"of {counted} images flip" in summary
    record = json.loads((out / "record.json").read_text())
    assert record["classifier"] == why.load(model).fingerprint
    assert record["parameters"]["top_share"] == 0.1
    assert record["details"]["counted"] == counted
    assert record["details"]["trained_on"] == seen
    assert not (out / "figures").exists()


def test_images_are_measured_and_drawn(shell, model: Path, image: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    outcome = shell("measure", model, image, "--out", out, "--tables=parquet", *OPTIONS)
    assert outcome.code == 0
    assert "images count as independent" in outcome.out
    regions = pd.read_parquet(out / "regions.parquet")
    assert regions.attrs["units"]["area (um^2)"] == "um^2"
    assert [path.name for path in (out / "figures").iterdir()] == [
        f"00001_{image.name.partition('.')[0]}.png"
    ]


def test_nothing_to_measure_is_a_failure_with_the_reasons(
    shell, model: Path, image: Path, tmp_path: Path
) -> None:
    label = why.load(model).predict(image).label
    out = tmp_path / "out"
    outcome = shell("measure", model, image, "--out", out, f"--target={label}")
    assert outcome.code == 1
    assert "no image could be measured" in outcome.err
    assert f"predicted as {label} already" in pd.read_csv(out / "images.csv")["error"][0]


def test_a_folder_among_files_and_a_place_that_is_taken_are_refused(
    shell, model: Path, image: Path, data: Path, tmp_path: Path
) -> None:
    both = shell("measure", model, image, data, "--out", tmp_path / "out")
    assert both.code == 1
    assert "expected one folder or table alone" in both.err
    taken = shell("measure", model, image, "--out", tmp_path)
    assert taken.code == 1
    assert "--overwrite" in taken.err
    named = shell("measure", model, image, "--out", tmp_path / "out", "--channels=a,b")
    assert "expected a folder or table" in named.err
