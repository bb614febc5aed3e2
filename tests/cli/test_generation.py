"""``napari-why reconstruct``, ``sample``, ``traverse`` and ``interpolate``."""

import json
from pathlib import Path

import numpy as np
import pytest

import napari_why as why
from napari_why.cli import main

TINY = ["--network=vae", "--widths=4,8", "--latent-dimensions=6", "--size=32", "--epochs=1"]


@pytest.fixture(scope="module")
def generative(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny variational autoencoder, trained by ``napari-why train``."""
    folder = tmp_path_factory.mktemp("generative") / "model"
    with pytest.raises(SystemExit) as left:
        main(["train", str(data), "--out", str(folder), *TINY])
    assert left.value.code == 0
    return folder


def test_the_options_reach_the_network(generative: Path) -> None:
    network = why.load(generative).network
    assert (network.name, network.latent_dimensions) == ("vae", 6)


def test_reconstruct_tells_the_error_and_writes_both(
    shell, generative: Path, image: Path, tmp_path: Path
) -> None:
    out = tmp_path / "r.ome.tif"
    outcome = shell("reconstruct", generative, image, "--out", out)
    assert outcome.code == 0
    assert outcome.out.startswith("Mean absolute error of the reconstruction: DAPI")
    written = why.read(out)
    assert list(written["c"].values) == ["DAPI", "TMRM", "DAPI error", "TMRM error"]
    raw = why.read(image).values.astype(float)
    np.testing.assert_allclose(written.values[2:], written.values[:2] - raw, atol=0.05)


def test_an_image_of_nothing_is_called_unlike(
    shell, generative: Path, image: Path, tmp_path: Path
) -> None:
    raw = why.read(image)
    constant = tmp_path / "constant.ome.tif"
    why.write(raw.copy(data=np.full_like(raw.values, 500)), constant)
    calls = {
        "reconstruct": [constant],
        "traverse": [constant, "--steps=2"],
        "interpolate": [image, constant, "--steps=2"],
    }
    for verb, arguments in calls.items():
        outcome = shell(verb, generative, *arguments, "--out", tmp_path / f"{verb}.ome.tif")
        assert outcome.code == 0
        assert "channel DAPI is 500 everywhere" in outcome.err


def test_sample_writes_as_many_images_as_asked_for(shell, generative: Path, tmp_path: Path) -> None:
    out = tmp_path / "s.ome.tif"
    assert shell("sample", generative, "--out", out, "--count=3", "--seed=5").code == 0
    written = why.read(out)
    assert dict(written.sizes) == {"t": 3, "c": 2, "y": 32, "x": 32}
    assert written.dtype == np.float32
    record = json.loads(next(tmp_path.glob("*.json")).read_text())
    assert (record["method"], record["seed"]) == ("sample", 5)


def test_traverse_and_interpolate_write_series(
    shell, generative: Path, data: Path, tmp_path: Path
) -> None:
    first, second = sorted(data.rglob("*.ome.tif"))[:2]
    out = tmp_path / "t.ome.tif"
    assert (
        shell("traverse", generative, first, "--out", out, "--dimension=2", "--steps=4").code == 0
    )
    assert why.read(out).sizes["t"] == 4
    out = tmp_path / "i.ome.tif"
    assert shell("interpolate", generative, first, second, "--out", out, "--steps=3").code == 0
    assert why.read(out).sizes["t"] == 3


def test_sampling_needs_a_prior(shell, model: Path, tmp_path: Path) -> None:
    outcome = shell("sample", model, "--out", tmp_path / "s.tif")
    assert outcome.code == 1
    assert "train a classifier with the network vae" in outcome.err


def test_a_counterfactual_towards_another_image(
    shell, generative: Path, data: Path, tmp_path: Path
) -> None:
    classifier = why.load(generative)
    files = sorted(data.rglob("*.ome.tif"))
    called = {path: classifier.predict(path).label for path in files}
    source = files[0]
    target = next(c for c in classifier.classes if c != called[source])
    goal = files[1]
    out = tmp_path / "c.ome.tif"
    outcome = shell(
        "counterfactual", generative, source, "--out", out, "--method=latent_interpolation",
        "--goal", goal, "--target", target, "--keep-details", "--steps=2",
    )  # fmt: skip
    assert outcome.code == 0
    assert why.read(out).sizes["t"] == 2
    assert json.loads(next(tmp_path.glob("*.json")).read_text())["details"]["goal"] == str(goal)


def test_the_default_method_names_those_that_suit(
    shell, generative: Path, image: Path, tmp_path: Path
) -> None:
    outcome = shell("counterfactual", generative, image, "--out", tmp_path / "c.tif")
    assert outcome.code == 1
    assert "vae has no inverse" in outcome.err
    assert "latent_mean_shift" in outcome.err


def test_evaluate_tells_the_reconstruction_error(shell, generative: Path, data: Path) -> None:
    outcome = shell("evaluate", generative, data, "--no-nulls")
    assert outcome.code == 0
    assert "Reconstruction of" in outcome.out


def test_a_prototype_is_written_with_what_it_is_worth(
    shell, generative: Path, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "p.ome.tif"
    call = ["prototype", generative, "--out", out, "--target=treated", "--prior=generator"]
    outcome = shell(*call, "--references", data, "--steps=4", "--images=3", "--seed=7")
    assert outcome.code == 0, outcome.err
    assert "prototype of treated (its own network p " in outcome.out
    assert dict(why.read(out).sizes) == {"t": 3, "c": 2, "y": 32, "x": 32}
    record = json.loads((tmp_path / "p.json").read_text())
    assert (record["method"], record["seed"]) == ("activation_maximisation", 7)
    assert record["parameters"]["prior"] == "generator"
    assert record["details"]["verdict"] in outcome.out
    both = shell(*call, "--layer=latent", "--overwrite")
    assert both.code == 1
    assert "expected a class, or a layer and its unit" in both.err
