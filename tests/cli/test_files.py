"""``napari-why rerun``."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

import napari_why as why
from napari_why.cli.files import compare_pixels
from napari_why.core.record import Record
from napari_why.images import record_path

RESULTS = {"attribute": "map.ome.tif", "counterfactual": "series.ome.zarr"}


@pytest.fixture(scope="module")
def made(model: Path, image: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """An attribution and a counterfactual, written by the shell."""
    from napari_why.cli import main

    folder = tmp_path_factory.mktemp("results")
    target = next(
        name for name in ("diseased", "treated")
        if name != why.load(model).predict(why.read(image)).label
    )  # fmt: skip
    results = {
        "attribute": ["--method=occlusion", "--window=9", "--stride=8"],
        "counterfactual": ["--method=mean_shift", "--steps=3", "--target", target],
    }
    for verb, options in results.items():
        out = folder / RESULTS[verb]
        with pytest.raises(SystemExit) as left:
            main([verb, str(model), str(image), "--out", str(out), *options])
        assert left.value.code == 0
    return {verb: folder / RESULTS[verb] for verb in results}


@pytest.mark.parametrize("verb", ["attribute", "counterfactual"])
def test_the_same_pixels_come_out(shell, made, model: Path, verb: str) -> None:
    for place in (model, model.parent):
        outcome = shell("rerun", made[verb], "--model", place)
        assert (outcome.code, outcome.err) == (0, "")
        assert "the pixels are the same" in outcome.out or "within rounding" in outcome.out


def test_changed_pixels_and_another_image_are_told(
    shell, made, model: Path, data: Path, image: Path, tmp_path: Path
) -> None:
    stored = why.read(made["attribute"])
    record = Record.from_dict(stored.attrs["record"])
    changed = stored.copy(data=stored.values * 1.5)
    path = why.write(changed, tmp_path / "changed.ome.tif", record=record)
    outcome = shell("rerun", path, "--model", model)
    assert outcome.code == 1
    assert "the pixels differ" in outcome.out
    other = max(data.rglob("*.ome.tif"))
    assert shell("rerun", made["attribute"], "--model", model, "--image", other).code == 1


def test_what_is_missing_is_named(shell, made, image: Path, tmp_path: Path) -> None:
    outcome = shell("rerun", made["attribute"], "--model", tmp_path)
    assert outcome.code == 1
    assert "found 0 other classifiers" in outcome.err
    outcome = shell("rerun", image)
    assert outcome.code == 1
    assert "found no record" in outcome.err
    stored = why.read(made["attribute"])
    lost = Record.from_dict({**stored.attrs["record"], "source": str(tmp_path / "gone.tif")})
    path = why.write(stored, tmp_path / "lost.ome.tif", record=lost)
    assert record_path(path).is_file()
    outcome = shell("rerun", path)
    assert "--image" in outcome.err


def test_a_series_that_an_earlier_version_enlarged_comes_out_as_it_was(
    shell, model: Path, image: Path, tmp_path: Path
) -> None:
    """Its record asks for the default range, which ended at an alpha1 that was moved until it flipped."""
    path = tmp_path / "series.ome.tif"
    assert (
        shell("counterfactual", model, image, "--out", path, "--steps=3", "--overshoot=1.4").code
        == 0
    )
    stored = why.read(path)
    record = stored.attrs["record"]
    record = {**record, "parameters": {**record["parameters"], "alpha_range": None, "overshoot": 0}}
    earlier = why.write(stored, tmp_path / "earlier.ome.tif", record=Record.from_dict(record))
    outcome = shell("rerun", earlier, "--model", model)
    assert outcome.code == 0
    assert "agree within rounding" in outcome.out or "the pixels are the same" in outcome.out


def test_a_grey_level_is_rounding_and_two_are_not() -> None:
    one = np.array([[5, 6]], "uint8")
    assert compare_pixels(one, one)[1] == "the pixels are the same."
    assert compare_pixels(one, one + np.uint8(1))[0]
    assert not compare_pixels(one, one + np.uint8(2))[0]
    assert not compare_pixels(one, one.astype("uint16"))[0]
    assert not compare_pixels(one.astype("float32"), one.astype("float32") + np.float32(0.01))[0]


def test_axes_that_were_told_are_told_again(shell, model, image, tmp_path) -> None:
    planes = np.concatenate([np.asarray(why.read(image))[:, ::step] for step in (1, -1)])
    pages = tmp_path / "pages.tif"
    tifffile.imwrite(pages, planes, metadata=None, photometric="minisblack")
    out = tmp_path / "map.ome.tif"
    options = ["--out", out, "--window=9", "--stride=8", "--depth=1"]
    refused = shell("attribute", model, pages, *options)
    assert refused.code == 1
    assert "4 pages without a word" in refused.err
    said = ["--axes=zcyx", "--channels=DAPI,TMRM"]
    assert shell("attribute", model, pages, *options, *said).code == 0
    again = shell("rerun", out, "--model", model)  # which remembers the answer and the plane
    assert again.code == 0
    assert "agree within rounding" in again.out or "the pixels are the same" in again.out
