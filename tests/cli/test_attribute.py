"""``napari-why attribute``."""

import json
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import napari_why as why
from napari_why.cli.long_work import LongWork
from napari_why.core.events import Advanced, Event
from napari_why.images import make_image, record_path


def test_the_file_holds_the_same_maps_as_the_console(
    shell, model: Path, image: Path, tmp_path: Path
) -> None:
    out = tmp_path / "map.ome.tif"
    outcome = shell(
        "attribute", "--method=occlusion", "--window", "9", "--stride=4", "--target=treated",
        model, image, "--out", out,
    )  # fmt: skip
    assert (outcome.code, outcome.out, outcome.err) == (0, "", "")

    raw, found = why.read(image), why.read(out)
    expected = why.attribute(why.load(model), raw, "occlusion", "treated", window=9, stride=4)
    assert found.coords["c"].values.tolist() == [*expected.channels, "all channels"]
    np.testing.assert_array_equal(found.values, [*expected.maps, expected.joint])
    assert found.attrs["unit"] == raw.attrs["unit"] == "um"
    assert found.attrs["pixel_size"] == pytest.approx(raw.attrs["pixel_size"])


def test_a_preset_sets_what_costs_time(shell, model: Path, image: Path, tmp_path: Path) -> None:
    out = tmp_path / "map.ome.tif"
    outcome = shell(
        "attribute", model, image, "--out", out, "--method=integrated_gradients",
        "--preset=quick_look",
    )  # fmt: skip
    assert (outcome.code, outcome.err) == (0, "")
    assert json.loads(record_path(out).read_text())["parameters"]["steps"] == 16


def test_the_record_lies_beside_it(shell, model: Path, image: Path, tmp_path: Path) -> None:
    out = tmp_path / "map.ome.tif"
    assert shell("attribute", model, image, "--out", out, "--method=saliency").code == 0
    record = json.loads(record_path(out).read_text())
    assert (record["kind"], record["method"]) == ("attribution", "saliency")
    assert record["source"] == str(image)
    assert record["classifier"] == why.load(model).fingerprint
    assert record["details"]["grid"]["shape"] == [32, 32]


def test_an_option_of_another_method_is_refused(
    shell, model: Path, image: Path, tmp_path: Path
) -> None:
    out = tmp_path / "map.ome.tif"
    outcome = shell("attribute", model, image, "--out", out, "--method=saliency", "--window=9")
    assert outcome.code == 1
    assert "window" in outcome.err
    assert not out.exists()


def test_an_unknown_class_is_named_with_those_there_are(
    shell, model: Path, image: Path, tmp_path: Path
) -> None:
    outcome = shell("attribute", model, image, "--out", tmp_path / "a.tif", "--target=healthy")
    assert outcome.code == 1
    assert "diseased, treated" in outcome.err


def test_of_a_series_a_time_point_has_to_be_chosen(
    shell, model: Path, image: Path, tmp_path: Path
) -> None:
    series, out = tmp_path / "series.ome.tif", tmp_path / "map.ome.tif"
    raw = why.read(image)
    why.write(raw.expand_dims(t=3), series)
    arguments = ("attribute", model, series, "--out", out, "--method=saliency")

    refused = shell(*arguments)
    assert refused.code == 1
    assert "choose one with --time 0 to 2" in refused.err
    assert shell(*arguments, "--time=3").code == 1
    assert shell(*arguments, "--time=2").code == 0
    assert out.exists()


def test_an_interrupted_occlusion_keeps_what_was_done(
    shell, model: Path, image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = LongWork.on_event

    def on_event(self: LongWork, event: Event) -> None:
        original(self, event)
        if isinstance(event, Advanced) and not self.cancelled():
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(LongWork, "on_event", on_event)
    out = tmp_path / "map.ome.tif"
    outcome = shell(
        "attribute", model, image, "--out", out, "--window=5", "--stride=1", "--batch=1"
    )
    assert outcome.code == 130
    assert str(out) in outcome.err
    assert json.loads(record_path(out).read_text())["details"]["partial"] is True


def test_the_shell_says_what_of_the_score_lies_in_no_pixel(
    shell, model: Path, image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, said = tmp_path / "map.ome.tif", []
    monkeypatch.setattr(LongWork, "say", lambda _, text: said.append(text))  # no terminal here
    assert shell("attribute", model, image, "--out", out, "--method=lrp").code == 0
    found = why.attribute(why.load(model), why.read(image), "lrp")
    assert found.completeness in said
    assert "lies in constants (biases and shifts)" in found.completeness
    told = json.loads(record_path(out).read_text())["details"]
    assert told["constants"] == pytest.approx(found.constants)
    assert told["map_sum"] + told["constants"] == pytest.approx(told["explained"], rel=0.01)


def test_an_image_unlike_the_training_images_is_told_to_scripts_too(
    shell, model: Path, image: Path, tmp_path: Path
) -> None:
    raw = why.read(image)
    noise = np.random.default_rng(0).integers(0, 65536, raw.shape).astype(np.uint16)
    spoilt, out = tmp_path / "noise.ome.tif", tmp_path / "map.ome.tif"
    why.write(raw.copy(data=noise), spoilt)
    outcome = shell("attribute", model, spoilt, "--out", out, "--method=saliency")
    assert outcome.code == 0
    assert f"napari-why: {spoilt}: no structure in" in outcome.err
    notes = json.loads(record_path(out).read_text())["details"]["notes"]
    assert any("as in noise" in note for note in notes)
    assert any(note.startswith("hardly any cells here") for note in notes)


@pytest.mark.parametrize(
    ("matrix", "words"),
    [([[15, 15], [14, 16]], "are at chance (31 of 60"), ([[30, 0], [1, 29]], None)],
)
def test_classes_at_chance_are_told_to_scripts_of_map_and_prediction(
    shell, model: Path, image: Path, tmp_path: Path, matrix, words
) -> None:
    metrics = {"test": {"images": {"confusion_matrix": matrix}}}
    judged = replace(why.load(model), metrics=metrics).save(tmp_path / "judged")
    out = tmp_path / "map.ome.tif"
    mapped = shell("attribute", judged, image, "--out", out, "--method=saliency")
    predicted = shell("predict", judged, image, "--json")
    in_record = "; ".join(json.loads(record_path(out).read_text())["details"]["notes"])
    (row,) = json.loads(predicted.out)
    assert (mapped.code, predicted.code) == (0, 0)
    for told in (mapped.err, shell("predict", judged, image).err, row.get("notes", ""), in_record):
        assert (words in told) if words else ("chance" not in told)


def record_of(out: Path) -> dict:
    return json.loads(record_path(out).read_text())


@pytest.mark.parametrize("kind", ["contrast", "embedding", "similarity"])
def test_other_scores_than_a_class_are_explained(
    shell, model: Path, image: Path, data: Path, tmp_path: Path, kind: str
) -> None:
    out, other = tmp_path / "map.ome.tif", max(data.rglob("*.ome.tif"))
    options, target = {
        "contrast": (
            ["--target=treated", "--against=diseased"],
            why.Contrast("treated", "diseased"),
        ),
        "embedding": (["--embedding=3"], why.EmbeddingCoordinate(3)),
        "similarity": (["--similar-to", other], why.Similarity(why.read(other))),
    }[kind]
    outcome = shell("attribute", model, image, "--out", out, "--method=saliency", *options)
    assert outcome.code == 0
    expected = why.attribute(why.load(model), why.read(image), "saliency", target)
    np.testing.assert_array_equal(why.read(out).values, [*expected.maps, expected.joint])
    assert record_of(out)["details"]["target"] == expected.target


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--against=diseased"], "without --target"),
        (["--target=treated", "--embedding=0"], "expected one of them"),
        (["--regions=missing.tif"], "missing.tif"),
    ],
)
def test_contradictory_questions_are_refused(
    shell, model: Path, image: Path, tmp_path: Path, options: list[str], message: str
) -> None:
    outcome = shell("attribute", model, image, "--out", tmp_path / "a.tif", *options)
    assert outcome.code == 1
    assert message in outcome.err


def test_a_wrapper_is_chosen_with_its_options(
    shell, model: Path, image: Path, tmp_path: Path
) -> None:
    out, labels = tmp_path / "map.ome.tif", tmp_path / "regions.ome.tif"
    outcome = shell(
        "attribute", model, image, "--out", out, "--method=saliency", "--wrapper=pooled",
        "--by=grid", "--side=8", "--labels-out", labels,
    )  # fmt: skip
    assert (outcome.code, outcome.err) == (0, "")
    expected = why.attribute(
        why.load(model), why.read(image), "saliency",
        wrapper="pooled", wrapper_options={"by": "grid", "side": 8},
    )  # fmt: skip
    np.testing.assert_array_equal(why.read(out).values, [*expected.maps, expected.joint])
    np.testing.assert_array_equal(why.read(labels).values[0], expected.labels)
    details = json.loads(record_path(out).read_text())["details"]
    assert details["wrapper"] == "pooled"
    assert details["wrapper_options"]["side"] == 8
    assert len(details["regions"]) == 16
    again = shell("rerun", out, "--model", model)
    assert again.code == 0
    assert "the pixels are the same" in again.out


def test_an_option_of_another_wrapper_is_refused(
    shell, model: Path, image: Path, tmp_path: Path
) -> None:
    out = tmp_path / "map.ome.tif"
    outcome = shell(
        "attribute",
        model,
        image,
        "--out",
        out,
        "--method=saliency",
        "--wrapper=pooled",
        "--reach=2",
    )
    assert outcome.code == 1
    assert "reach" in outcome.err
    assert not out.exists()


def test_labels_that_nothing_finds_are_not_written(
    shell, model: Path, image: Path, tmp_path: Path
) -> None:
    out, labels = tmp_path / "map.ome.tif", tmp_path / "regions.ome.tif"
    outcome = shell(
        "attribute", model, image, "--out", out, "--method=saliency", "--labels-out", labels
    )
    assert outcome.code == 0
    assert "nothing was asked for that finds regions" in outcome.err
    assert not labels.exists()


# Few samples and steps, by the option that has that name in any method.
QUICK = {
    "window": 16,
    "stride": 16,
    "steps": 2,
    "samples": 8,
    "maps": 4,
    "points": 4,
    "pairs": 2,
}


def test_every_method_runs_from_the_shell_or_says_why_not(
    shell, model: Path, image: Path, data: Path, tmp_path: Path
) -> None:
    from napari_why.attribution import METHODS

    labels = np.zeros((32, 32), dtype=np.uint16)
    labels[:16], labels[16:, 8:] = 1, 2
    why.write(make_image(labels, "yx", ["cells"]), tmp_path / "cells.ome.tif")
    network = why.load(model).network
    for name, method in METHODS.items():
        known = {item.name for item in method.parameters}
        options = [f"--{key}={value}" for key, value in QUICK.items() if key in known]
        if method.takes("references"):
            options += ["--references", data]
        if method.takes("regions"):
            options += ["--regions", tmp_path / "cells.ome.tif"]
        out = tmp_path / f"{name}.ome.tif"
        done = shell("attribute", model, image, "--out", out, "--method", name, *options)
        if (reason := method.unsuitable(network)) is not None:
            assert done.code == 1, name
            assert reason[:40] in done.err
        else:
            assert done.code == 0, f"{name}: {done.err}"
            assert record_of(out)["method"] == name


@pytest.mark.parametrize(
    "asked", [("--target=treated", "--against=diseased"), ("--embedding=1",), ("--similar-to",)]
)
def test_a_target_that_is_no_class_is_found_again(
    shell, model: Path, image: Path, tmp_path: Path, asked: tuple[str, ...]
) -> None:
    other, out = tmp_path / "other.ome.tif", tmp_path / "map.ome.tif"
    raw = why.read(image)
    why.write(raw.copy(data=raw.values[..., ::-1]), other)
    if asked == ("--similar-to",):
        asked = ("--similar-to", str(other))
    made = shell("attribute", model, image, "--out", out, "--method=saliency", *asked)
    assert made.code == 0, made.err
    again = shell("rerun", out, "--model", model)
    assert again.code == 0, again.err
    assert "the pixels are the same" in again.out


def test_regions_are_given_to_a_rerun_again(
    shell, model: Path, image: Path, tmp_path: Path
) -> None:
    cells, out = tmp_path / "cells.ome.tif", tmp_path / "map.ome.tif"
    labels = np.zeros(why.read(image).shape[-2:], dtype=np.uint16)
    labels[2:10, 2:10], labels[12:20, 4:20] = 1, 2
    why.write(make_image(labels[None], ("c", "y", "x"), ("cells",)), cells)
    given = ("--regions", cells)
    made = shell("attribute", model, image, "--out", out, "--method=region_occlusion", *given)
    assert made.code == 0, made.err
    refused = shell("rerun", out, "--model", model)
    assert refused.code == 1
    assert "--regions FILE" in refused.err
    assert shell("rerun", out, "--model", model, *given).code == 0


def test_a_saved_layer_of_the_error_is_computed_again(
    shell, model: Path, image: Path, tmp_path: Path
) -> None:
    raw = why.read(image)
    result = why.attribute(why.load(model), raw, "smoothgrad", "treated", samples=3)
    error = why.to_layers(result)[0]
    # as the viewer's writer does: the pixels, and what layers they are of
    record = replace(
        result.record, details={**result.record.details, "layers": [dict(error.metadata)]}
    )
    path = tmp_path / "error.ome.tif"
    why.write(make_image(error.data[None], ("c", "y", "x"), ("error",)), path, record=record)
    again = shell("rerun", path, "--model", model, "--image", image)
    assert again.code == 0, again.err
    assert "the pixels are the same" in again.out or "within rounding" in again.out


def test_a_map_is_scored_on_request(shell, model: Path, image: Path, tmp_path: Path) -> None:
    out = tmp_path / "map.ome.tif"
    done = shell("attribute", model, image, "--out", out, "--method=saliency", "--score")
    assert done.code == 0
    raw, classifier = why.read(image), why.load(model)
    found = why.attribute(classifier, raw, "saliency")
    expected = why.score_explanation(classifier, raw, found)
    assert done.out == "\n".join(expected.sentences) + "\n"
