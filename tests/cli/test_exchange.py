"""``napari-why export`` and ``import``: to ONNX and back, and what is refused."""

import json
from pathlib import Path

import pytest

import napari_why as why
from napari_why.core.foreign_files import LARGEST_JSON, read_regular


def predicted(shell, model: Path, image: Path) -> dict[str, float]:
    outcome = shell("predict", model, image, "--json")
    assert outcome.code == 0, outcome.err
    return json.loads(outcome.out)[0]["probabilities"]


def test_to_onnx_and_back_predicts_the_same(shell, model, image, tmp_path) -> None:
    file, back = tmp_path / "model.onnx", tmp_path / "back"
    written = shell("export", model, "--to", "onnx", "--out", file, "--image", image)
    assert written.code == 0, written.err
    assert "takes raw grey levels of 32 x 32 pixels" in written.out
    read = shell("import", file, "--out", back)
    assert read.code == 0, read.err
    assert "made by another program" in read.err
    wanted, found = (predicted(shell, place, image) for place in (model, back))
    assert found == pytest.approx(wanted, abs=1e-5)
    out = tmp_path / "map.ome.tif"
    explained = shell("attribute", back, image, "--method=occlusion", "--out", out)
    assert explained.code == 0, explained.err
    refused = shell("attribute", back, image, "--method=lrp", "--out", tmp_path / "b.ome.tif")
    assert refused.code == 1
    assert "logits alone" in refused.err
    changed = shell(
        *("counterfactual", back, image, "--through", model),
        *("--out", tmp_path / "series.ome.tif", "--steps=2", "--draws=0"),
    )
    assert changed.code == 0, changed.err


def test_names_and_numbers_are_options(shell, model, image, tmp_path) -> None:
    file = tmp_path / "model.onnx"
    assert shell("export", model, "--out", file).code == 0
    renamed = ("--classes=first,second", "--channels=DAPI,TMRM")
    read = shell("import", file, "--out", tmp_path / "back", *renamed)
    assert read.code == 0, read.err
    assert set(predicted(shell, tmp_path / "back", image)) == {"first", "second"}


def test_a_folder_for_the_hub_is_a_classifier(shell, model, image, tmp_path) -> None:
    written = shell(
        *("export", model, "--to", "huggingface", "--out", tmp_path / "hf"),
        *("--licence=MIT", "--title=My classifier"),
    )
    assert written.code == 0, written.err
    assert predicted(shell, tmp_path / "hf", image) == predicted(shell, model, image)
    assert "license: mit" in (tmp_path / "hf" / "README.md").read_text()


def test_what_is_missing_is_said_before_the_work(shell, model, tmp_path) -> None:
    outcome = shell("export", model, "--to", "bioimageio", "--out", tmp_path / "a.zip")
    assert outcome.code == 1
    assert "found no authors, no licence, no citation" in outcome.err
    unnamed = tmp_path / "theirs.onnx"
    unnamed.write_bytes(b"")
    refused = shell("import", unnamed, "--out", tmp_path / "m")
    assert refused.code == 1
    assert "theirs.onnx" in refused.err
    assert list(tmp_path.iterdir()) == [unnamed]


def test_what_is_there_stays(shell, model, tmp_path) -> None:
    file = tmp_path / "model.onnx"
    assert shell("export", model, "--out", file).code == 0
    content = read_regular(file, LARGEST_JSON)
    assert shell("export", model, "--out", file).code == 1
    assert read_regular(file, LARGEST_JSON) == content
    why.load(model).save(tmp_path / "m")
    before = (tmp_path / "m" / "classifier.json").read_bytes()
    assert shell("import", file, "--out", tmp_path / "m").code == 1
    assert (tmp_path / "m" / "classifier.json").read_bytes() == before
    assert shell("import", file, "--out", tmp_path / "m", "--overwrite").code == 0
