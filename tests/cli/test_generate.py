"""``napari-why train-generator``, ``train-translation``, ``train-predictor`` and what uses them."""

import json
from pathlib import Path

import numpy as np
import pytest

import napari_why as why
from napari_why.cli import main
from napari_why.model.translation import FLOW_OF_CLASSES, TRANSLATION

COMPUTER = ["--device=cpu", "--threads=1", "--epochs=1"]
SMALL_GENERATOR = [*COMPUTER, "--size=32", "--widths=8,4", "--code-dimensions=6"]
SMALL_PREDICTOR = [*COMPUTER, "--size=32", "--widths=4,6", "--discriminator-widths=4,6"]


def train(verb: str, *arguments: object) -> None:
    with pytest.raises(SystemExit) as left:
        main([verb, *map(str, arguments)])
    assert left.value.code == 0


@pytest.fixture(scope="module")
def generator(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("generator") / "made"
    train("train-generator", data, "--out", folder, "--batch-size=8", *SMALL_GENERATOR)
    return folder


@pytest.fixture(scope="module")
def predictor(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("predictor") / "made"
    train(
        "train-predictor",
        data,
        "--channel=TMRM",
        "--out",
        folder,
        "--split-seed=0",
        *SMALL_PREDICTOR,
    )
    return folder


def test_options_reach_the_generator(generator: Path) -> None:
    loaded = why.load_generator(generator)
    assert loaded.network.code_dimensions == 6
    assert loaded.card["parameters"]["batch_size"] == 8
    assert loaded.card["training"]["status"] == "done"


def test_sample_draws_from_a_generator(shell, generator: Path, tmp_path: Path) -> None:
    out = tmp_path / "s.ome.tif"
    outcome = shell("sample", generator, "--out", out, "--count=3", "--label=treated")
    assert outcome.code == 0
    assert "made up by a network" in outcome.err
    assert dict(why.read(out).sizes) == {"t": 3, "c": 2, "y": 32, "x": 32}
    record = json.loads(next(tmp_path.glob("*.json")).read_text())
    assert record["details"]["drawn_as"] == ["treated"] * 3
    assert record["details"]["generated"] is True
    assert record["classifier"] == why.load_generator(generator).fingerprint


def test_interpolate_codes_writes_the_way(shell, generator: Path, tmp_path: Path) -> None:
    out = tmp_path / "i.ome.tif"
    arguments = ["--first=3", "--second=4", "--steps=5", "--label=treated"]
    assert shell("interpolate-codes", generator, "--out", out, *arguments).code == 0
    written = why.read(out)
    expected = why.load_generator(generator).interpolate(
        first=3, second=4, steps=5, label="treated"
    )
    np.testing.assert_array_equal(written.values, expected.images)
    refused = shell("interpolate-codes", generator, "--out", tmp_path / "j.ome.tif")
    assert refused.code == 1
    assert "label: found none" in refused.err


def test_what_was_trained_is_not_written_over(shell, data: Path, generator: Path) -> None:
    refused = shell("train-generator", data, "--out", generator, *SMALL_GENERATOR)
    assert refused.code == 1
    assert "add --overwrite" in refused.err


def test_predict_channel_writes_raw_units_and_says_that_it_invents(
    shell, predictor: Path, image: Path, tmp_path: Path
) -> None:
    out = tmp_path / "p.ome.tif"
    outcome = shell("predict-channel", predictor, image, "--out", out)
    assert outcome.code == 0
    assert "no evidence of anything in the specimen" in outcome.err
    written, raw = why.read(out), why.read(image)
    assert list(written["c"].to_numpy()) == ["TMRM"]
    assert written.dtype == raw.dtype == np.uint16
    expected = why.predict_channel(why.load_channel_predictor(predictor), raw)
    np.testing.assert_array_equal(written.values[0], expected.images[0])
    record = json.loads(next(tmp_path.glob("*.json")).read_text())
    assert record["method"] == "channel_prediction"
    assert record["details"]["generated"] is True


def test_the_report_of_a_predictor_is_saved_with_it(predictor: Path) -> None:
    report = why.load_channel_predictor(predictor).card["report"]
    assert [row["method"] for row in report["rows"]] == [
        "conditional GAN",
        "plain U-Net",
        "linear function",
        "mean image",
    ]


def test_the_wrong_kind_of_folder_is_named(
    shell, predictor: Path, generator: Path, image: Path, tmp_path: Path
) -> None:
    out = tmp_path / "x.ome.tif"
    refused = shell("predict-channel", generator, image, "--out", out)
    assert refused.code == 1
    assert "makes images of 'codes'; expected one of channels" in refused.err
    refused = shell("sample", predictor, "--out", out)
    assert refused.code == 1
    assert "makes images of 'channels'" in refused.err


def test_train_translation_adds_a_method(shell, data: Path, image: Path, tmp_path: Path) -> None:
    model, more = tmp_path / "model", tmp_path / "more"
    train(
        "train",
        data,
        "--out",
        model,
        "--size=32",
        "--lock=DAPI",
        "--no-pixel-maps",
        "--no-second-network",
        "--blocks=1,1",
        "--widths=4,4",
        "--downscaling=2,2",
        *COMPUTER,
    )
    train(
        "train-translation",
        model,
        data,
        "--out",
        more,
        "--widths=4,6",
        "--discriminator-widths=4,6",
        *COMPUTER,
    )
    assert TRANSLATION in why.load(more).latent_statistics.parts
    both = tmp_path / "both"
    train("train-flow", more, data, "--out", both, "--widths=4,6", *COMPUTER)
    assert {TRANSLATION, FLOW_OF_CLASSES} <= set(why.load(both).latent_statistics.parts)
    label = why.load(more).predict(image).label
    target = next(name for name in why.load(more).classes if name != label)
    out = tmp_path / "t.ome.tif"
    outcome = shell(
        "counterfactual",
        more,
        image,
        "--method=translation",
        f"--target={target}",
        "--steps=2",
        "--out",
        out,
    )
    assert outcome.code == 0
    np.testing.assert_array_equal(why.read(out).values[-1, 0], why.read(image).values[0])
