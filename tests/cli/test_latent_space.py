"""``napari-why latent-space``."""

import json
from pathlib import Path

import pandas as pd

from napari_why.latent_space import LatentSpace
from napari_why.model import load


def test_tables_figures_and_outlier_images_are_written(
    shell, model: Path, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    outcome = shell("latent-space", model, data, "--out", out, "--color-by=well", "--rate=0.05")
    assert (outcome.code, outcome.err) == (0, "")
    assert "of 24 images" in outcome.out.splitlines()[0]
    assert LatentSpace.load(out / "latent_space.parquet").fingerprint == load(model).fingerprint
    images = pd.read_csv(out / "images.csv")
    assert {"path", "class", "prediction", "well", "x", "y", "distance"} <= set(images.columns)
    assert len(images) == 24
    assert (out / "latent_space.svg").exists()
    assert json.loads((out / "report.json").read_text())["rate"] == 0.05


def test_what_cannot_be_done_is_refused(shell, model: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    column = shell("latent-space", model, data, "--out", out, "--color-by=dose")
    assert column.code == 1
    assert "dose" in column.err
    option = shell("latent-space", model, data, "--out", out, "--neighbours=5")
    assert option.code == 1
    assert "neighbours, which belongs to another projection" in option.err
    rate = shell("latent-space", model, data, "--out", out, "--cutoff=validation")
    assert rate.code == 1
    assert "validation images" in rate.err
    assert not out.exists()
    out.mkdir()
    assert "found something there" in shell("latent-space", model, data, "--out", out).err
