"""Verbs that take long try the place for their result first, and lose nothing if it fails at last."""

import errno
import os
from importlib import import_module
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from napari_why.cli.measure import GrowingTables
from napari_why.core.record import Record
from napari_why.core.targets import reserve
from napari_why.model import Classifier, load

SMALL = ("--network=cam_net", "--size=32", "--epochs=1")


def verbs(model: Path, data: Path, image: Path, out: Path) -> dict[str, list[object]]:
    return {
        "train": ["train", data, "--out", out, *SMALL],
        "attribute": ["attribute", model, image, "--out", out.with_suffix(".ome.tif")],
        "counterfactual": ["counterfactual", model, image, "--out", out.with_suffix(".ome.tif")],
        "measure": ["measure", model, data, "--out", out],
        "latent-space": ["latent-space", model, data, "--out", out],
        "benchmark": ["benchmark", "truth", "--out", out],
        "demo": ["demo", "--no-window", "--data", data, "--out", out],
        "sample": ["sample", model, "--out", out.with_suffix(".ome.tif")],
    }


LONG = ("train", "measure", "latent-space", "benchmark", "demo")


@pytest.fixture
def no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let any work fail: it must not begin."""

    def work(*_: Any, **__: Any) -> None:
        raise AssertionError("the work began")

    for name in (
        "fit",
        "attribute",
        "counterfactual",
        "measure_dataset",
        "embed",
        "sample",
        "load",
    ):
        monkeypatch.setattr(f"napari_why.{name}", work)
    monkeypatch.setattr("napari_why.demo._do_and_show", work)
    monkeypatch.setattr("napari_why.benchmark.run_truth_benchmark", work)
    monkeypatch.setattr("napari_why.datasets.Dataset.open", work)


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize("verb", [*LONG, "attribute", "counterfactual", "sample"])
def test_a_place_that_refuses_is_found_before_the_work(
    shell: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    original = Path.open

    def full(self: Path, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        if self.parent == tmp_path and "w" in mode:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self))
        return original(self, mode, *args, **kwargs)

    monkeypatch.setattr(Path, "open", full)
    arguments = verbs(tmp_path / "model", tmp_path / "data", tmp_path / "image", tmp_path / "out")
    outcome = shell(*arguments[verb])
    assert outcome.code == 1
    assert "No space left on device" in outcome.err
    assert str(tmp_path / "out") in outcome.err


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize("verb", ["train", "latent-space", "measure", "demo"])
def test_a_folder_of_something_else_is_found_before_the_work(
    shell: Any, tmp_path: Path, verb: str
) -> None:
    out = tmp_path / "out"
    theirs = (out / "classifier" if verb == "demo" else out) / "thesis.txt"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("years")
    arguments = verbs(tmp_path / "model", tmp_path / "data", tmp_path / "image", out)[verb]
    outcome = shell(*arguments, *([] if verb == "demo" else ["--overwrite"]))
    assert outcome.code == 1
    assert "not overwritten" in outcome.err
    assert theirs.read_text() == "years"


@pytest.mark.parametrize("verb", LONG)
def test_a_second_run_to_the_same_place_is_refused(
    shell: Any, model: Path, data: Path, image: Path, tmp_path: Path, verb: str
) -> None:
    out = tmp_path / "out"
    with reserve(out):
        outcome = shell(*verbs(model, data, image, out)[verb])
    assert outcome.code == 1
    assert f"process {os.getpid()}" in outcome.err
    assert not out.exists()


def test_a_training_that_cannot_be_saved_is_saved_elsewhere(
    shell: Any, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, elsewhere = tmp_path / "out" / "model", tmp_path / "elsewhere"
    out.parent.mkdir()
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    original = Classifier.save

    def save(self: Classifier, path: str | Path, *, overwrite: bool = False) -> Path:
        if Path(path).parent == out.parent:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        return original(self, path, overwrite=overwrite)

    monkeypatch.setattr(Classifier, "save", save)
    outcome = shell("train", data, "--out", out, *SMALL)
    (saved,) = elsewhere.iterdir()
    assert outcome.code == 1
    assert f"it is saved as {saved} instead" in outcome.err
    assert load(saved).network.name == "cam_net"
    assert not out.exists()


@pytest.mark.parametrize("verb", ["attribute", "measure", "latent-space"])
def test_a_result_that_cannot_be_saved_is_saved_elsewhere(
    shell: Any,
    model: Path,
    data: Path,
    image: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    verb: str,
) -> None:
    """Of what is saved, the last to be written is refused: the disk is full by then."""
    folder, elsewhere = tmp_path / "there", tmp_path / "elsewhere"
    folder.mkdir()
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    write = {
        "attribute": (import_module("napari_why"), "write"),
        "measure": (import_module("napari_why.measurement"), "write_table"),
        "latent-space": (import_module("napari_why.latent_space"), "write_latent_space"),
    }[verb]
    original = getattr(*write)

    def full(*arguments: Any, **options: Any) -> Any:
        if any(folder in place.parents for place in arguments if isinstance(place, Path)):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return original(*arguments, **options)

    monkeypatch.setattr(*write, full)
    further = ["--method=mean_shift", "--no-figures"] if verb == "measure" else []
    further += ["--method=cam"] if verb == "attribute" else []
    outcome = shell(*verbs(model, data, image, folder / "out")[verb], *further)
    saved = [path for path in elsewhere.iterdir() if path.suffix != ".json"]
    assert outcome.code == 1
    assert len(saved) == 1
    assert f"it is saved as {saved[0]} instead" in outcome.err
    assert saved[0].is_dir() or saved[0].name.endswith(".ome.tif")


def test_a_crash_of_a_measurement_leaves_what_was_measured(
    shell: Any, model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = import_module("napari_why.measurement.measure_dataset")
    original, calls = module.measure, []

    def measure(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        if len(calls) == 4:
            raise RuntimeError("a fault of the program")
        return original(*args, **kwargs)

    monkeypatch.setattr(module, "measure", measure)
    out = tmp_path / "out"
    with pytest.raises(RuntimeError, match="a fault"):
        shell("measure", model, data, "--out", out, "--method=mean_shift", "--no-figures")
    table = pd.read_csv(out / "images.csv")
    assert (table["error"].isna()).sum() == 3
    assert set(table["path"]) <= {str(path) for path in data.rglob("*.ome.tif")}
    assert f"{len(table)} of 24 images" in (out / "INCOMPLETE.txt").read_text()


def test_as_it_grows_a_table_is_what_it_is_at_the_end(
    shell: Any, model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also with images that fail, which have fewer columns."""
    grown = []
    close = GrowingTables.close

    def look(self: GrowingTables, **how: Any) -> None:
        grown.extend(
            pd.read_csv(tmp_path / "grown" / f"{name}.csv") for name in ("images", "regions")
        )
        close(self, **how)

    monkeypatch.setattr(GrowingTables, "close", look)
    add = GrowingTables.add
    seen: list[Any] = []

    def first_alone(self: GrowingTables, row: dict[str, Any], regions: Any) -> None:
        seen.append((row, regions))
        add(self, row, regions)

    monkeypatch.setattr(GrowingTables, "add", first_alone)
    monkeypatch.setattr("napari_why.cli.measure._write", lambda *_: None)
    arguments = ["measure", model, data, "--method=mean_shift", "--no-figures"]
    outcome = shell(*arguments, "--target=treated", "--out", tmp_path / "grown")
    assert outcome.code == 0, outcome.err
    images, regions = grown
    assert list(images["path"]) == [row["path"] for row, _ in seen]
    assert list(images["error"].fillna("")) == [row["error"] for row, _ in seen]
    assert len(regions) == sum(len(part) for _, part in seen if part is not None)
    assert not (tmp_path / "grown" / "INCOMPLETE.txt").exists()


def test_a_disk_that_is_full_for_a_while_costs_no_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> Any:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    tables = GrowingTables(tmp_path, 5)
    regions = pd.DataFrame({"region": ["nuclei", "cells"], "area": [1.0, 2.0]})
    tables.add({"path": "0", "error": "", "p": 0.5}, regions)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", full)
        patch.setattr(Path, "write_bytes", full)
        tables.add({"path": "1", "error": ""}, regions)
        tables.add({"path": "2", "error": "unreadable"}, None)
    tables.add({"path": "3", "error": ""}, regions)
    images = pd.read_csv(tmp_path / "images.csv")
    assert list(images["path"]) == [0, 1, 2, 3]
    assert list(images.columns) == ["path", "error", "p"]
    assert len(pd.read_csv(tmp_path / "regions.csv")) == 3 * len(regions)
    assert "4 of 5" in (tmp_path / "INCOMPLETE.txt").read_text()


def test_no_file_of_an_earlier_measurement_passes_for_one_of_this(
    shell: Any, model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: Any, **__: Any) -> Any:
        raise RuntimeError("a fault of the program")

    out = tmp_path / "out"
    (out / "figures").mkdir(parents=True)
    (out / "record.json").write_text(Record(kind="measurement", method="m").to_json())
    mine = [out / "notes.txt", out / "figures" / "slide.png"]
    stale = [out / name for name in ("summary.txt", "statistics.csv", "regions.parquet")]
    stale.append(out / "figures" / "00071_b.png")
    for path in (*mine, *stale):
        path.write_text("of an earlier run")
    monkeypatch.setattr(import_module("napari_why.measurement.measure_dataset"), "measure", crash)
    with pytest.raises(RuntimeError, match="a fault"):
        shell("measure", model, data, "--out", out, "--method=mean_shift", "--overwrite")
    assert not any(path.exists() for path in stale)
    assert all(path.exists() for path in mine)
    assert "0 of 24 images" in (out / "INCOMPLETE.txt").read_text()


def test_a_figure_that_fails_is_a_note(
    shell: Any, model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def draw(*_: Any) -> None:
        raise ValueError("no font")

    monkeypatch.setattr("napari_why.output.figures.draw_counterfactual", draw)
    out = tmp_path / "out"
    outcome = shell("measure", model, data, "--out", out, "--method=mean_shift")
    assert outcome.code == 0
    assert "figures could not be drawn; first: " in (out / "summary.txt").read_text()
    assert "ValueError: no font" in outcome.out
    assert (out / "images.csv").is_file()
