"""A classifier explained through a generator, from training to ``rerun``, by the shell alone."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import napari_why as why
from napari_why.cli import main
from napari_why.images import record_path


@pytest.fixture(scope="module")
def explained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cam_net of 16 x 16 pixels that was trained with a tiny i-ResNet."""
    folder = tmp_path_factory.mktemp("models") / "explained"
    options = ["--network=cam_net", "--generator=iresnet", "--size=16", "--epochs=1"]
    options += ["--lock=none", "--no-second-network", "--blocks=1,1", "--downscaling=2,2"]
    with pytest.raises(SystemExit) as left:
        main(["train", str(data), "--out", str(folder), *options, "--widths=4,8"])
    assert left.value.code == 0
    return folder


def test_it_is_trained_shown_and_repeated(
    explained: Path, image: Path, tmp_path: Path, shell
) -> None:
    out = tmp_path / "series.ome.tif"
    outcome = shell("counterfactual", explained, image, "--out", out, "--steps=3")
    assert outcome.code == 0, outcome.err
    details = json.loads(record_path(out).read_text())["details"]
    assert details["through"]["network"] == "iresnet"
    # the file's pixels, classified by the classifier that was asked
    classifier = why.load(explained)
    for shown, expected in zip(why.read(out), details["probabilities"], strict=True):
        found = classifier.predict(shown).probabilities
        np.testing.assert_allclose(list(found.values()), expected, atol=1e-5)
    again = shell("rerun", out, "--model", explained)
    assert again.code == 0, again.err
    assert "the pixels are the same" in again.out


def test_another_classifier_goes_through_it(
    explained: Path, model: Path, image: Path, tmp_path: Path, shell
) -> None:
    alone = replace(why.load(explained), generator=None).save(tmp_path / "alone")
    out = tmp_path / "series.ome.tif"
    refused = shell("counterfactual", alone, image, "--out", out)
    assert refused.code == 1
    assert "explain this one through such a classifier" in refused.err
    outcome = shell("counterfactual", alone, image, "--out", out, "--steps=3", "--through", model)
    assert outcome.code == 0, outcome.err
    record = json.loads(record_path(out).read_text())
    assert record["details"]["through"]["fingerprint"] == why.load(model).fingerprint
    assert record["classifier"] == why.load(alone).fingerprint
    again = shell("rerun", out, "--model", alone, "--through", model)
    assert "the pixels are the same" in again.out
    lost = shell("rerun", out, "--model", alone)
    assert lost.code == 1


def test_many_images_are_measured_through_it(
    explained: Path, image: Path, model: Path, tmp_path: Path, shell
) -> None:
    out = tmp_path / "tables"
    outcome = shell("measure", explained, image, "--out", out, "--no-figures", "--through", model)
    assert outcome.code == 0, outcome.err
    record = json.loads((out / "record.json").read_text())
    assert record["details"]["through"] == why.load(model).fingerprint
    assert record["details"]["measured"] == 1


def test_an_onnx_file_is_refused_with_a_way_on(image: Path, tmp_path: Path, shell) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(b"")
    outcome = shell("counterfactual", file, image, "--out", tmp_path / "series.ome.tif")
    assert outcome.code == 1
    assert "make a torch module of it" in outcome.err
