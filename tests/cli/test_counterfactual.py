"""``napari-why counterfactual``."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import napari_why as why
from napari_why.cli import main
from napari_why.counterfactuals.spread import draw_samples, sample_images
from napari_why.images import make_image, record_path
from napari_why.output.images import record_with_grid, result_image
from napari_why.transport.coarse_to_fine import fit_coarse_to_fine
from napari_why.transport.responding_cells import RespondingCells


@pytest.fixture(scope="module")
def series(model: Path, image: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("series") / "series.ome.tif"
    options = ["--out", out, "--steps=3", "--animation", out.with_name("series.gif")]
    options += ["--figure", out.with_name("figure.svg")]
    with pytest.raises(SystemExit) as left:
        main(list(map(str, ["counterfactual", model, image, *options])))
    assert left.value.code == 0
    return out


def test_the_file_holds_raw_units_in_the_dtype_of_the_source(series: Path, image: Path) -> None:
    raw, found = why.read(image), why.read(series)
    assert found.dims == ("t", "c", "y", "x")
    assert found.shape == (3, *raw.shape)
    assert found.dtype == raw.dtype == np.uint16
    assert found.coords["c"].values.tolist() == raw.coords["c"].values.tolist()
    assert found.attrs["pixel_size"] == pytest.approx(raw.attrs["pixel_size"])
    np.testing.assert_allclose(found[0].values.astype(float), raw.values, atol=1)


def test_the_probabilities_in_the_record_are_those_of_the_file(series: Path, model: Path) -> None:
    details = json.loads(record_path(series).read_text())["details"]
    classifier = why.load(model)
    for image, expected in zip(why.read(series), details["probabilities"], strict=True):
        found = classifier.predict(image).probabilities
        np.testing.assert_allclose(list(found.values()), expected, atol=1e-5)


def test_the_last_step_is_the_other_class(tmp_path: Path) -> None:
    """Of classes that any training tells apart: one is brighter by nine standard deviations."""
    pixels = np.random.default_rng(0)
    for number in range(24):
        label = ("dark", "bright")[number % 2]
        (tmp_path / "data" / label).mkdir(parents=True, exist_ok=True)
        image = 1000 + 900 * (label == "bright") + 100 * pixels.standard_normal((2, 16, 16))
        path = tmp_path / "data" / label / f"{number:02d}.ome.tif"
        why.write(make_image(image.astype(np.uint16), "cyx", ("DAPI", "TMRM")), path)
    model, series = tmp_path / "model", tmp_path / "series.ome.tif"
    options = ["--group=none", "--epochs=20", "--lock=none", "--no-second-network", "--size=16"]
    tiny = ["--blocks=1", "--widths=4", "--downscaling=2", "--batch-size=4", "--learning-rate=0.02"]
    for arguments in (
        ["train", tmp_path / "data", "--out", model, *options, *tiny],
        ["counterfactual", model, path, "--out", series, "--steps=3"],
    ):
        with pytest.raises(SystemExit) as left:
            main(list(map(str, arguments)))
        assert left.value.code == 0
    classifier = why.load(model)
    assert classifier.predict(path).label == "bright"
    last = classifier.predict(why.read(series)[-1])
    # 0.97 to 1.00 over ten seeds
    assert last.probabilities["dark"] > 0.6
    assert last.label == "dark"


def test_a_change_that_the_classifier_does_not_see_is_told_and_not_enlarged(
    shell, model: Path, image: Path, tmp_path: Path
) -> None:
    classifier = why.load(model)
    source = classifier.classes.index(classifier.predict(image).label)
    *_, bias = (each for each in classifier.network.parameters() if each.shape == (2,))
    with torch.no_grad():
        bias[source] += 1000  # whatever is shown
    sure = classifier.save(tmp_path / "sure")
    out = tmp_path / "series.ome.tif"
    outcome = shell("counterfactual", sure, image, "--out", out, "--steps=2")
    assert outcome.code == 0
    details = json.loads(record_path(out).read_text())["details"]
    assert details["special_alphas"]["alpha1"] == details["alphas"][-1] == 1.0
    assert details["valid"] is False
    target = classifier.classes[1 - source]
    said = f"the complete change towards {target} leaves p({target}) at less than 0.01: this classifier"
    assert said in details["verdict"]
    assert any(note.startswith(said) for note in details["notes"])


def test_the_animation_has_all_steps_forth_and_back(series: Path) -> None:
    import imageio.v3 as imageio

    assert len(imageio.imread(series.with_name("series.gif"))) == 4


def test_the_figure_shows_before_and_after(series: Path) -> None:
    svg = series.with_name("figure.svg").read_text(encoding="utf-8")
    assert "before" in svg
    assert "change, grey levels" in svg


def test_the_class_it_is_already_cannot_be_reached(
    shell, model: Path, image: Path, tmp_path: Path
) -> None:
    label = why.load(model).predict(image).label
    outcome = shell("counterfactual", model, image, "--out", tmp_path / "a.tif", "--target", label)
    assert outcome.code == 1
    assert f"predicted as {label} already" in outcome.err


def test_a_network_without_an_inverse_is_refused(
    shell, data: Path, image: Path, tmp_path: Path
) -> None:
    arguments = ("--network=cam_net", "--size=32", "--epochs=1")
    assert shell("train", data, "--out", tmp_path / "m", *arguments).code == 0
    outcome = shell("counterfactual", tmp_path / "m", image, "--out", tmp_path / "a.tif")
    assert outcome.code == 1
    assert "cam_net has no inverse" in outcome.err


def test_the_used_part_is_written_and_told(
    model: Path, image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    used = tmp_path / "used.ome.tif"
    options = ["--out", tmp_path / "series.ome.tif", "--steps=2", "--used", used, "--tiles=2"]
    with pytest.raises(SystemExit) as left:
        main(list(map(str, ["counterfactual", model, image, *options])))
    assert left.value.code == 0
    record = json.loads(record_path(used).read_text())
    assert record["kind"] == "used change"
    assert record["parameters"]["tiles"] == 2
    assert record["details"]["counterfactual"]["kind"] == "counterfactual"
    assert capsys.readouterr().out.splitlines() == record["details"]["notes"]
    found = why.load(model).predict(why.read(used)[:2]).probabilities
    expected = record["details"]["probabilities"]["used"]
    np.testing.assert_allclose(list(found.values()), expected, atol=1e-5)


def test_options_of_the_used_part_are_refused_without_its_file(
    model: Path, image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        options = ["--out", tmp_path / "series.ome.tif", "--tiles=2"]
        main(list(map(str, ["counterfactual", model, image, *options])))
    assert left.value.code == 1
    assert "tiles without --used" in capsys.readouterr().err
    assert not (tmp_path / "series.ome.tif").exists()


def test_how_sure_the_change_is_is_written_where_it_is_known(
    model: Path, image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(change: str) -> Path:
        spread = tmp_path / f"{change}.ome.tif"
        options = ["--out", tmp_path / f"{change}-series.ome.tif", "--steps=2", "--spread", spread]
        with pytest.raises(SystemExit) as left:
            main(list(map(str, ["counterfactual", model, image, *options, f"--change={change}"])))
        assert left.value.code == 0
        return spread

    curve = run("curve")
    known = why.read(curve)
    low, high = (known.sel(c=f"TMRM {limit} % limit").values for limit in (5, 95))
    assert (low <= high).all()
    assert (low < high).any()
    # the record says that these are no series, so that they are repeated as what they are
    assert json.loads(record_path(curve).read_text())["details"]["shows"] == "spread"
    with pytest.raises(SystemExit) as left:
        main(list(map(str, ["rerun", curve, "--model", model])))
    assert left.value.code == 0
    assert "the pixels" in capsys.readouterr().out
    agreed = known.sel(c="TMRM share of the same sign").values
    assert ((agreed >= 0) & (agreed <= 1)).all()
    capsys.readouterr()
    assert not run("latent").exists()
    assert "was not measured" in capsys.readouterr().err


@pytest.fixture
def drawing(model: Path, image: Path, tmp_path: Path) -> Path:
    """The classifier with a map that draws which cells respond, and then lose most of their dye."""
    classifier = why.load(model)
    prepared = classifier.prepare(why.read(image))
    forward = fit_coarse_to_fine(prepared, prepared * torch.tensor([1.0, 0.3])[:, None, None], (0,))
    maps = classifier.latent_statistics.pixel_maps
    for direction in ((0, 1), (1, 0)):
        maps = maps.with_map(*direction, RespondingCells(forward, 0, 0.5, 0.02))
    statistics = classifier.latent_statistics.with_part("pixel_maps", maps)
    replace(classifier, latent_statistics=statistics).save(tmp_path / "drawing")
    return tmp_path / "drawing"


def test_draws_are_written_and_repeated_from_their_record(
    drawing: Path, image: Path, tmp_path: Path, shell
) -> None:
    files = ["--out", tmp_path / "series.ome.tif", "--samples", tmp_path / "draws.ome.tif"]
    drawn = ["--change=responding_cells", "--draws=3", "--seed=4", "--steps=2"]
    assert shell("counterfactual", drawing, image, *files, *drawn).code == 0
    found = why.read(tmp_path / "draws.ome.tif")
    assert found.dims == ("t", "c", "y", "x")
    assert (found.sizes["t"], found.dtype) == (3, np.uint16)
    assert (found.sel(c="DAPI").values == found.sel(c="DAPI").values[0]).all()
    details = json.loads(record_path(tmp_path / "draws.ome.tif").read_text())["details"]
    assert details["samples"]["draws"] == len(details["samples"]["responding"]) == 3
    for name in ("draws", "series"):
        again = shell("rerun", tmp_path / f"{name}.ome.tif", "--model", drawing)
        assert again.code == 0, again.err
        assert "the pixels are the same" in again.out
    # the draws of another seed are others
    other = [tmp_path / "other.ome.tif", "--samples", tmp_path / "others.ome.tif", "--seed=5"]
    assert shell("counterfactual", drawing, image, "--out", *other, *drawn[:2]).code == 0
    assert not np.array_equal(why.read(tmp_path / "others.ome.tif").values, found.values)


@pytest.mark.parametrize("made", [2, 1])
def test_draws_that_were_cancelled_are_compared_as_far_as_they_got(
    drawing: Path, image: Path, tmp_path: Path, shell, made: int
) -> None:
    raw, classifier = why.read(image), why.load(drawing)
    draws = iter(range(made))

    def draw_some(images, count, cancelled):
        return draw_samples(images, count, lambda: next(draws, None) is None)

    next(draws)  # the first is not asked about
    options = {"change": "responding_cells", "draws": 5, "seed": 4, "steps": 2}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("napari_why.counterfactuals.generate.draw_samples", draw_some)
        result = why.counterfactual(classifier, raw, **options)
    found = sample_images(result)
    assert len(result.samples) == made
    record = record_with_grid(found.record, found.grid)
    why.write(result_image(found, raw), tmp_path / "draws.ome.tif", record=record)
    again = shell("rerun", tmp_path / "draws.ome.tif", "--model", drawing)
    assert again.code == 0, again.out + again.err
    assert "the pixels are the same" in again.out


def test_draws_of_one_answer_are_refused_before_the_work(
    model: Path, image: Path, tmp_path: Path, shell
) -> None:
    files = ["--out", tmp_path / "series.ome.tif", "--samples", tmp_path / "draws.ome.tif"]
    outcome = shell("counterfactual", model, image, *files)
    assert outcome.code == 1
    assert "expected --change responding_cells" in outcome.err
    assert not (tmp_path / "series.ome.tif").exists()
