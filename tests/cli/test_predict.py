"""``napari-why predict``."""

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_why.images import channel_names, read
from napari_why.model import load


def test_one_line_an_image(shell, model: Path, image: Path) -> None:
    outcome = shell("predict", model, image, image)
    assert outcome.code == 0
    header, *lines = outcome.out.splitlines()
    assert header.split("\t") == ["image", "class", "p(diseased)", "p(treated)"]
    assert len(lines) == 2
    path, label, *probabilities = lines[0].split("\t")
    assert (path, label) == (str(image), load(model).predict(image).label)
    assert sum(map(float, probabilities)) == pytest.approx(1, abs=2e-4)


def test_json_holds_the_same(shell, model: Path, image: Path) -> None:
    (row,) = json.loads(shell("predict", model, image, "--json").out)
    expected = load(model).predict(image)
    assert row["class"] == expected.label
    assert row["probabilities"] == pytest.approx(expected.probabilities)


def test_an_image_of_hardly_any_cells_is_flagged(
    shell, model: Path, image: Path, tmp_path: Path
) -> None:
    stored, out = read(image), tmp_path / "empty.tif"
    dark = np.quantile(stored.values, 0.02, axis=(1, 2), keepdims=True)
    noise = np.random.default_rng(0).normal(0, 2, stored.shape)
    pixels = np.clip(dark + noise, 0, None).astype(stored.dtype)
    tifffile.imwrite(out, pixels, metadata=None, photometric="minisblack")
    names = ",".join(channel_names(stored))
    options = ("--axes", "cyx", "--channels", names)
    (row,) = json.loads(shell("predict", model, out, *options, "--json").out)
    assert row["quality"] == ["hardly any cells"]
    assert "hardly any cells here" in shell("predict", model, out, *options).err
    assert "quality" not in json.loads(shell("predict", model, image, "--json").out)[0]


def test_an_image_that_cannot_be_read_does_not_keep_the_others_back(
    shell, model: Path, image: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.tif"
    broken.write_text("no image")
    outcome = shell("predict", model, broken, image)
    assert outcome.code == 1
    assert str(image) in outcome.out
    assert str(broken) in outcome.err
    assert outcome.err.count("\n") == 1

    rows = json.loads(shell("predict", model, broken, image, "--json").out)
    assert "error" in rows[0]
    assert "class" in rows[1]


def test_axes_and_channels_are_told(shell, model: Path, image: Path, tmp_path: Path) -> None:
    stored = read(image)
    sideways = tmp_path / "sideways.tif"
    pixels = np.asarray(stored.transpose("c", "x", "y"))
    tifffile.imwrite(sideways, pixels, metadata=None, photometric="minisblack")
    names = ",".join(channel_names(stored))
    options = ("--axes", "cxy", "--channels", names, "--json")
    rows = json.loads(shell("predict", model, sideways, sideways, *options).out)
    expected = load(model).predict(stored)
    for row in rows:
        assert row["image"] == str(sideways)
        assert row["probabilities"] == pytest.approx(expected.probabilities)
    refused = shell("predict", model, sideways, "--axes", "cyxz")
    assert refused.code == 1
    assert "which the axes 'cyxz' do not fit" in refused.err


def test_a_field_in_two_files_is_one_row(shell, model: Path, image: Path, tmp_path: Path) -> None:
    stored = read(image)
    first, second = channel_names(stored)
    paths = []
    for field in range(3):
        for channel, name in zip(np.asarray(stored), (first, second), strict=True):
            paths.append(tmp_path / f"f{field}_{name}.tif")
            tifffile.imwrite(paths[-1], channel + field, metadata=None)
    outcome = shell("predict", model, *paths, "--json")
    rows = json.loads(outcome.out)
    named = [f"{paths[i]}; {paths[i + 1]}" for i in (0, 2, 4)]
    assert [row["image"] for row in rows] == named
    assert rows[0]["probabilities"] == pytest.approx(load(model).predict(stored).probabilities)
    assert f"6 files were taken as 3 images of {first} and {second}" in outcome.err

    table = load(model).predict_many([str(path) for path in paths])
    assert list(table["source"]) == named
    assert table.attrs["images"] == 3
    assert table.attrs["notes"][0].startswith("6 files were taken as 3 images of ")
    # A field of which one file is named is read with the other, and is one row too.
    assert len(shell("predict", model, paths[1]).out.splitlines()) == 2


def test_a_pattern_tells_the_channels(shell, model: Path, image: Path, tmp_path: Path) -> None:
    stored = read(image)
    paths = [tmp_path / f"x-{number}.tif" for number in (1, 2)]
    for path, channel in zip(paths, np.asarray(stored), strict=True):
        tifffile.imwrite(path, channel, metadata=None)
    options = ("--pattern", r"(?P<field>.+)-(?P<channel>\d)", "--json")
    names = ",".join(channel_names(stored))
    (row,) = json.loads(shell("predict", model, *paths, "--channels", names, *options).out)
    assert row["probabilities"] == pytest.approx(load(model).predict(stored).probabilities)
    wrong = shell("predict", model, *paths, "--pattern", "(?P<colour>x)")
    assert wrong.code == 1
    assert "expected channel" in wrong.err


def test_what_is_noted_is_told_once_a_kind(shell, model: Path, image: Path, tmp_path: Path) -> None:
    stored = read(image)
    for number in (1, 2, 3):
        for channel, pixels in zip(channel_names(stored), np.asarray(stored), strict=True):
            # Values of 12 bits, which the reader notes with the largest.
            few = np.clip(pixels, 300, 1000).astype(np.uint16)
            few[0, 0] = 1000 + number
            tifffile.imwrite(tmp_path / f"well_A{number}_{channel}.tif", few)
    files = sorted(tmp_path.glob("*.tif"))
    for options in ((), ("--json",)):
        outcome = shell("predict", model, *files, *options)
        lines = outcome.err.splitlines()
        assert sum("12 bits stored in 16" in line for line in lines) == len(channel_names(stored))
        assert any("3 of 3 images" in line for line in lines)
        assert not any(" is well_A1" in line for line in lines)
    assert len(json.loads(outcome.out)) == 3
