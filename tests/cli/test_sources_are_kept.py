"""No verb writes onto what it reads, whatever name its user gives it and whatever is asked for."""

import os
import shutil
from hashlib import sha256
from inspect import signature
from pathlib import Path

import pytest

from napari_why.cli import VERBS

# What each verb that writes is called with, and the sources among it that its targets are tried on:
# M a model, I and J images, D a folder of images, T a table of it.
CALLS = {
    "train": (["{D}"], ["out"], "D"),
    "attribute": (["{M}", "{I}"], ["out"], "IM"),
    "counterfactual": (
        ["{M}", "{I}", "--goal", "{J}", "--method", "latent_interpolation"],
        ["out", "animation", "figure", "used"],
        "IJM",
    ),
    "measure": (["{M}", "{D}"], ["out"], "DM"),
    "explain-many": (["{M}", "{D}"], ["out"], "DM"),
    "class-maps": (["{M}", "{D}"], ["out"], "DM"),
    "latent-space": (["{M}", "{D}"], ["out"], "DM"),
    "reconstruct": (["{M}", "{I}"], ["out"], "IM"),
    "sample": (["{M}"], ["out"], "M"),
    "traverse": (["{M}", "{I}"], ["out"], "IM"),
    "interpolate": (["{M}", "{I}", "{J}"], ["out"], "IJM"),
    "prototype": (["{M}", "--target=treated", "--references={D}"], ["out"], "DM"),
    "train-generator": (["{D}"], ["out"], "D"),
    "interpolate-codes": (["{M}"], ["out"], "M"),
    "train-translation": (["{M}", "{D}"], ["out"], "DM"),
    "train-flow": (["{M}", "{D}"], ["out"], "DM"),
    "train-predictor": (["{D}", "--channel=TMRM"], ["out"], "D"),
    "predict-channel": (["{M}", "{I}"], ["out"], "IM"),
    # the map is looked at when the places are known to be good
    "screen": (["{M}", "{D}", "--plate-map={I}"], ["out"], "IDM"),
    "benchmark": (["real", "{D}"], ["out"], "D"),
    "export": (["{M}", "--image={I}"], ["out"], "IM"),
    "import": (["{I}"], ["out"], "I"),
    "demo": (["--no-window", "--data", "{D}"], ["out"], "D"),
}
WITHOUT_OVERWRITE = ("benchmark", "demo")
CASES = [
    (verb, option, source)
    for verb, (_, options, sources) in CALLS.items()
    for option in options
    for source in sources
]


@pytest.fixture
def places(model: Path, data: Path, tmp_path: Path) -> dict[str, Path]:
    images = shutil.copytree(data, tmp_path / "data")
    first, second, *_ = sorted(images.rglob("*.ome.tif"))
    return {"M": shutil.copytree(model, tmp_path / "model"), "D": images, "I": first, "J": second}


def contents(folder: Path) -> dict[str, str]:
    return {
        str(path): sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_every_verb_that_writes_is_tried() -> None:
    writing = {verb.name for verb in VERBS if "out" in signature(verb.function).parameters}
    # which writes beside the parts that it reads, and refuses a folder of anything else: tests/screening
    assert writing - {"merge"} == set(CALLS)


@pytest.mark.parametrize(("verb", "option", "source"), CASES)
def test_a_source_is_kept(shell, places, tmp_path: Path, verb, option, source) -> None:
    given, _, _ = CALLS[verb]
    place = places[source]
    link, further_name = tmp_path / f"link_{place.name}", tmp_path / f"hard_{place.name}"
    link.symlink_to(place)
    if place.is_file():
        os.link(place, further_name)
    # of a folder, what holds it too
    names = [place, link, further_name if place.is_file() else tmp_path]
    before = contents(tmp_path)
    for name in names:
        target = {"out": tmp_path / "new.ome.tif"} | {option: name}
        further = [f"--{key}={value}" for key, value in target.items()]
        overwrite = [] if verb in WITHOUT_OVERWRITE else ["--overwrite"]
        found = shell(verb, *(part.format(**places) for part in given), *further, *overwrite)
        assert found.code == 1, found.err
        assert "source" in found.err or "expected a name that ends" in found.err, found.err
        assert contents(tmp_path) == before
        assert link.is_symlink()


def test_a_model_is_not_lost_to_a_record(shell, places) -> None:
    """The record of an image or a table would be called as its description is."""
    before = contents(places["M"])
    target = places["M"] / "classifier.ome.tif"
    found = shell("attribute", places["M"], places["I"], f"--out={target}", "--overwrite")
    assert found.code == 1
    assert "classifier.json" in found.err
    assert contents(places["M"]) == before


def test_the_record_of_a_source_is_kept(shell, places, tmp_path: Path) -> None:
    source = tmp_path / "map.ome.tif"
    arguments = ("--method=saliency", "--device=cpu")
    assert shell("attribute", places["M"], places["I"], f"--out={source}", *arguments).code == 0
    record = (tmp_path / "map.json").read_bytes()
    target = tmp_path / "map.tif"
    found = shell("attribute", places["M"], source, f"--out={target}", "--overwrite", *arguments)
    assert found.code == 1
    assert "map.json: found the source" in found.err
    assert (tmp_path / "map.json").read_bytes() == record
    assert not target.exists()


def test_a_table_in_the_folder_of_results_is_kept(shell, places, tmp_path: Path) -> None:
    out = tmp_path / "benchmark"
    out.mkdir()
    (out / "benchmark.json").write_text('{"format": "napari-why benchmark"}')
    table = shutil.copy(places["D"] / "labels.csv", out / "results.csv")
    before = table.read_bytes()
    found = shell("benchmark", "real", table, f"--out={out}")
    assert found.code == 1
    assert "source" in found.err
    assert table.read_bytes() == before


def test_a_users_files_in_a_model_are_kept(shell, places) -> None:
    mine = places["M"] / "thesis.docx"
    mine.write_text("years of work")
    options = ["--network=small_cnn", "--size=16", "--epochs=1", "--device=cpu", "--overwrite"]
    assert shell("train", places["D"], f"--out={places['M']}", *options).code == 0
    assert mine.read_text() == "years of work"
    assert shell("predict", places["M"], places["I"]).code == 0
