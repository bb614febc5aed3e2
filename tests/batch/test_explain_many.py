"""A batch: rows and pictures are those of single images, and none of them costs another."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import napari_why as why
from napari_why.attribution import ReadyMethod
from napari_why.batch import BatchOptions, ImageReference, find_references, list_references
from napari_why.batch.journal import JOURNAL, Journal
from napari_why.batch.references import is_result
from napari_why.core.errors import DatasetError, ParameterError, WhyError
from napari_why.core.events import Message
from napari_why.core.whole_files import write_table

ALL = {
    "attribution": "integrated_gradients",
    "attribution_steps": 4,
    "counterfactual": "gaussian_transport",
    "change_draws": 0,
}


class StopAfter:
    """A ``cancelled`` that asks to stop once so many rows were seen."""

    def __init__(self, rows: int) -> None:
        self.left = rows

    def see(self, _number: int, _row: dict[str, object]) -> None:
        self.left -= 1

    def __call__(self) -> bool:
        return self.left <= 0


@pytest.fixture(scope="module")
def whole(classifier, scenes, tmp_path_factory):
    """All scenes, with all that can be done."""
    return why.explain_many(classifier, scenes, tmp_path_factory.mktemp("out") / "whole", **ALL)


@pytest.fixture
def failing_reads(monkeypatch):
    """Count how often images are read."""
    from napari_why.batch.references import ImageReference

    read = ImageReference.open
    opened = []

    def open_counted(self):
        opened.append(self.name)
        return read(self)

    monkeypatch.setattr(ImageReference, "open", open_counted)
    return opened


def test_rows_are_those_of_single_images(whole, classifier):
    row = whole.images.iloc[1]
    image = why.read(row["image"])
    predicted = classifier.predict(image)
    assert row["predicted"] == predicted.label
    assert row["probability of treated"] == predicted.probabilities["treated"]
    changed = why.counterfactual(classifier, image, method="gaussian_transport", steps=2, draws=0)
    found = why.measure(changed, image)
    assert row["verdict"] == found.verdict.line
    assert row["share of change in TMRM"] == found.verdict.shares["TMRM"]
    assert (whole.images["error"] == "").all()
    assert list(whole.images["well"].str.len()) == [3] * 6


def test_pictures_are_those_of_single_images_with_their_records(whole, classifier):
    name = next(iter(whole.folder.glob("pictures/*-attribution.ome.tif")))
    stored = why.read(name)
    source = stored.attrs["record"]["source"]
    found = why.attribute(classifier, why.read(source), "integrated_gradients", steps=4)
    np.testing.assert_array_equal(stored[:-1], found.maps)
    assert stored.attrs["record"]["parameters"]["steps"] == 4
    assert len(list(whole.folder.glob("pictures/*.ome.tif"))) == 18


def test_shares_of_evidence(whole):
    shares = whole.images[["share of evidence in DAPI", "share of evidence in TMRM"]]
    np.testing.assert_allclose(shares.sum(axis=1), 1)


def test_tables_on_the_disk_are_those_of_the_result(whole):
    stored = pd.read_csv(whole.folder / "images.csv", keep_default_na=False)
    assert list(stored["image"]) == list(whole.images["image"])
    assert list(stored["verdict"]) == list(whole.images["verdict"])
    assert json.loads((whole.folder / "record.json").read_text())["details"]["complete"]


def test_a_batch_is_gone_on_with(classifier, scenes, whole, tmp_path, failing_reads):
    stop = StopAfter(2)
    part = why.explain_many(
        classifier, scenes, tmp_path / "out", on_row=stop.see, cancelled=stop, **ALL
    )
    assert (part.complete, len(part.images)) == (False, 2)
    assert part.sentences[0].startswith("incomplete")
    rest = why.explain_many(classifier, scenes, tmp_path / "out", resume=True, **ALL)
    assert len(failing_reads) == 6  # each image once
    pd.testing.assert_frame_equal(rest.images, whole.images)
    pd.testing.assert_frame_equal(rest.regions, whole.regions)


def test_a_line_that_was_cut_short_costs_its_own_image(classifier, scenes, tmp_path, failing_reads):
    out = tmp_path / "out"
    why.explain_many(classifier, scenes, out)
    journal = out / JOURNAL
    text = journal.read_text()
    journal.write_text(text[:-40])  # a kill in the midst of writing
    failing_reads.clear()
    again = why.explain_many(classifier, scenes, out, resume=True)
    assert (len(failing_reads), again.complete) == (1, True)
    assert len(journal.read_text().splitlines()) == 6


@pytest.mark.parametrize("change", ["file", "options", "picture"])
def test_what_changed_is_done_again(classifier, scenes, tmp_path, failing_reads, change):
    folder = tmp_path / "scenes"
    shutil.copytree(scenes, folder)
    out = tmp_path / "out"
    options = {"attribution": "saliency"}
    first = why.explain_many(classifier, folder, out, **options)
    failing_reads.clear()
    expected = 1
    if change == "file":
        path = Path(first.images["image"][0])
        image = why.read(path)
        path.unlink()
        why.write(image + 1, path)
    elif change == "options":
        options["attribution_target"] = "treated"
        expected = 6
    else:
        next(iter(out.glob("pictures/*.ome.tif"))).unlink()
    why.explain_many(classifier, folder, out, resume=True, **options)
    assert len(failing_reads) == expected
    failing_reads.clear()
    if change == "options":  # its pictures have been written over: the journal must not claim them
        why.explain_many(classifier, folder, out, resume=True, attribution="saliency")
        assert len(failing_reads) == 6


def test_one_bad_image_costs_its_own_row(classifier, scenes, tmp_path):
    bad = tmp_path / "broken.tif"
    bad.write_bytes(b"no image")
    images = [bad, *sorted(scenes.rglob("*.ome.tif"))[:2]]
    found = why.explain_many(classifier, images, tmp_path / "out", attribution="saliency")
    assert "reading" in found.images["error"][0]
    assert list(found.images["error"][1:]) == ["", ""]
    assert found.complete


def test_an_image_of_the_target_is_not_changed_and_is_no_error(classifier, scenes, tmp_path):
    target = classifier.predict(min(scenes.rglob("*.ome.tif"))).label
    found = why.explain_many(
        classifier,
        [min(scenes.rglob("*.ome.tif"))],
        tmp_path / "out",
        counterfactual="gaussian_transport",
        target=target,
    )
    assert found.images["error"][0] == ""
    assert "already" in found.images["verdict"][0]


def test_images_that_were_trained_on_are_told(classifier, scenes, tmp_path):
    from napari_why.simulation import simulate

    known = simulate(16, size=32, wells=8).split(seed=1).part("train").image(0)
    found = why.explain_many(classifier, [known, min(scenes.rglob("*.ome.tif"))], tmp_path / "out")
    assert bool(found.images["trained on"][0])
    assert any("trained on" in sentence for sentence in found.sentences)


def test_nothing_else_is_written_over(classifier, scenes, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    with pytest.raises(WhyError, match="something else"):
        why.explain_many(classifier, scenes, out)
    with pytest.raises(WhyError, match="source"):
        why.explain_many(classifier, scenes, scenes, overwrite=True)
    why.explain_many(classifier, scenes, tmp_path / "new")
    with pytest.raises(WhyError, match="resume"):
        why.explain_many(classifier, scenes, tmp_path / "new")


def test_results_within_the_folder_are_no_images(classifier, scenes, tmp_path):
    folder = tmp_path / "flat"
    folder.mkdir()
    for path in sorted(scenes.rglob("*.ome.tif"))[:2]:
        shutil.copy(path, folder)
    first = why.explain_many(classifier, folder, folder / "out", attribution="saliency")
    again = why.explain_many(
        classifier, folder, folder / "out", attribution="saliency", resume=True
    )
    assert len(first.images) == len(again.images) == 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"attribution": "none such"}, "expected one of"),
        ({"attribution": "saliency", "attribution_window": 3}, "window"),
        ({"target": "treated"}, "counterfactual"),
        ({"counterfactual": "gaussian_transport", "target": "healthy"}, "healthy"),
        ({"counterfactual": "gaussian_transport", "change_steps": 1}, "steps"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_wrong_options_are_refused_before_any_work(classifier, scenes, tmp_path, options, words):
    with pytest.raises(ParameterError, match=words):
        why.explain_many(classifier, scenes, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_options_come_back_from_their_flat_list():
    options = BatchOptions.of_flat({**ALL, "measure": False})
    assert BatchOptions.of_flat(options.to_flat()) == options
    assert options.to_flat() == {**ALL, "measure": False}


def test_references_of_folder_table_and_data_set_are_alike(scenes):
    classes = ("diseased", "treated")
    of_folder, _ = find_references(scenes, classes)
    of_table, _ = find_references(scenes / "labels.csv", classes)
    of_set = list_references(why.Dataset.open(scenes))
    assert [item.name for item in of_folder] == [item.name for item in of_table]
    assert [item.name for item in of_set] == [item.name for item in of_table]
    assert of_set[0].about["label"] == of_folder[0].about["label"]
    assert of_set[0].open().equals(of_folder[0].open())


def test_images_in_memory_have_names_and_pictures_of_their_own(classifier, tmp_path):
    dataset = why.simulate(4, size=32)
    images = [dataset.image(0), dataset.image(1)]
    for image in images:
        image.attrs["source"] = ""
    found = why.explain_many(classifier, images, tmp_path / "out", attribution="saliency")
    assert found.images["image"].is_unique
    assert len(list((tmp_path / "out" / "pictures").glob("*.ome.tif"))) == 2
    of_set = why.explain_many(classifier, dataset, tmp_path / "set", attribution="saliency")
    assert of_set.images["image"].is_unique
    assert len(list((tmp_path / "set" / "pictures").glob("*.ome.tif"))) == 4


def test_results_of_another_kind_are_not_gone_on_with(classifier, scenes, tmp_path):
    found = why.explain_many(classifier, [min(scenes.rglob("*.ome.tif"))], tmp_path / "out")
    record = found.folder / "record.json"  # as a folder of measure has one too
    record.write_text(record.read_text().replace('"batch"', '"measurement"'))
    with pytest.raises(WhyError, match="another kind"):
        why.explain_many(classifier, scenes, tmp_path / "out", resume=True)


def test_a_row_is_not_kept_beside_pictures_of_other_options(
    classifier, scenes, tmp_path, monkeypatch, failing_reads
):
    images, out = [min(scenes.rglob("*.ome.tif"))], tmp_path / "out"
    why.explain_many(classifier, images, out, attribution="saliency")
    add = Journal.add

    def kill(_journal, _key, _outcome):
        raise KeyboardInterrupt  # after the pictures, before the journal has them

    monkeypatch.setattr(Journal, "add", kill)
    other = {"attribution": "saliency", "attribution_target": "treated"}
    with pytest.raises(KeyboardInterrupt):
        why.explain_many(classifier, images, out, resume=True, **other)
    monkeypatch.setattr(Journal, "add", add)
    failing_reads.clear()
    found = why.explain_many(classifier, images, out, resume=True, attribution="saliency")
    assert len(failing_reads) == 1
    assert found.images["explained"][0] == found.images["predicted"][0]


def test_pictures_and_tables_of_other_options_do_not_stay(classifier, scenes, tmp_path):
    images, out = sorted(scenes.rglob("*.ome.tif"))[:2], tmp_path / "out"
    why.explain_many(classifier, images, out, **ALL)
    write_table(pd.DataFrame({"region": [1]}), out / "regions.csv")  # the tiny network finds none
    why.explain_many(classifier, images, out, resume=True, attribution="saliency")
    assert {path.name.split("-")[-1] for path in (out / "pictures").iterdir()} == {
        "attribution.ome.tif",
        "attribution.json",
    }
    assert not (out / "regions.csv").exists()


def test_a_failed_step_leaves_no_picture_of_an_earlier_run(
    classifier, scenes, tmp_path, monkeypatch
):
    images, out = [min(scenes.rglob("*.ome.tif"))], tmp_path / "out"
    why.explain_many(classifier, images, out, attribution="saliency")

    def fail(*_arguments, **_options):
        raise RuntimeError("no memory")

    monkeypatch.setattr(ReadyMethod, "explain", fail)
    found = why.explain_many(
        classifier, images, out, resume=True, attribution="integrated_gradients"
    )
    assert "no memory" in found.images["error"][0]
    assert list((out / "pictures").iterdir()) == []


def test_another_generator_is_another_batch(classifier, scenes, tmp_path, failing_reads):
    images, out = [min(scenes.rglob("*.ome.tif"))], tmp_path / "out"
    why.explain_many(classifier, images, out)
    failing_reads.clear()
    with_generator = replace(classifier, generator=classifier)
    assert with_generator.fingerprint == classifier.fingerprint
    found = why.explain_many(with_generator, images, out, resume=True)
    assert len(failing_reads) == 1
    assert found.record.details["generator"] == classifier.fingerprint


def test_columns_of_a_data_set_do_not_stand_in_for_results(classifier, scenes, tmp_path):
    about = {"image": "a", "notes": "mine", "score": 3.0, "original_score": 4.0}
    images = [ImageReference(min(scenes.rglob("*.ome.tif")), about)]
    first = why.explain_many(classifier, images, tmp_path / "out", attribution="saliency")
    again = why.explain_many(
        classifier, images, tmp_path / "out", attribution="saliency", resume=True
    )
    pd.testing.assert_frame_equal(again.images, first.images)
    row = first.images.iloc[0]
    assert row["original_notes"] == "mine" != row["notes"]
    assert row["original_original_score"] == 3.0 != row["score"]
    assert row["original_score"] == 4.0


def test_every_column_of_results_is_known_as_one(whole, classifier, scenes):
    own = set(find_references(scenes, classifier.classes)[0][0].about)
    assert [name for name in whole.images if name not in own and not is_result(name)] == []


def _write_channels(folder, scenes, count):
    """Write images as one file a channel, and return all files."""
    folder.mkdir()
    for number, path in enumerate(sorted(scenes.rglob("*.ome.tif"))[:count]):
        image = why.read(path)
        for channel in range(2):
            why.write(image[[channel]], folder / f"s{number}_w{channel + 1}.tif")
    return sorted(folder.glob("*.tif"))


def test_files_of_one_channel_each_are_one_image(classifier, scenes, tmp_path):
    files = _write_channels(tmp_path / "channels", scenes, 2)
    found = list_references(files)
    assert [item.files() for item in found] == [tuple(files[:2]), tuple(files[2:])]
    alone = list_references([(files[0],)])[0]
    assert alone.open().sizes["c"] == 1  # a tuple of one is that file alone


def test_a_changed_sibling_is_another_state(scenes, tmp_path):
    files = _write_channels(tmp_path / "channels", scenes, 1)
    reference = list_references(files[:1])[0]
    assert reference.open().sizes["c"] == 2
    before = reference.state()
    image = why.read((files[1],))
    files[1].unlink()
    why.write(image + 1, files[1])
    assert reference.state() != before


def test_planes_of_one_file_have_names_and_pictures_of_their_own(classifier, scenes, tmp_path):
    path = min(scenes.rglob("*.ome.tif"))
    images = [ImageReference(path, {}, {"plane": {"z": index}}) for index in (0, 2)]
    names = [item.name for item in list_references(images)]
    assert names == [str(path), f"{path} (z 2)"]
    with pytest.raises(DatasetError, match="twice"):
        list_references([path, path])


def test_results_of_another_batch_are_no_images(classifier, scenes, tmp_path):
    folder = tmp_path / "flat"
    folder.mkdir()
    shutil.copy(min(scenes.rglob("*.ome.tif")), folder)
    why.explain_many(classifier, folder, folder / "first", attribution="saliency")
    found = why.explain_many(classifier, folder, folder / "second")
    assert len(found.images) == 1
    assert any("left out" in line and "first" in line for line in found.sentences)
    with pytest.raises(WhyError, match="only results"):
        why.explain_many(classifier, folder / "first" / "pictures", tmp_path / "third")


def test_what_a_step_finds_is_in_the_notes_of_its_row(classifier, scenes, tmp_path, monkeypatch):
    explain = ReadyMethod.explain

    def tell(*arguments, on_event, **options):
        on_event(Message("half as many at a time", finding=True))
        on_event(Message("explaining on cpu"))
        return explain(*arguments, on_event=on_event, **options)

    monkeypatch.setattr(ReadyMethod, "explain", tell)
    heard = []
    found = why.explain_many(
        classifier,
        [min(scenes.rglob("*.ome.tif"))],
        tmp_path / "out",
        attribution="saliency",
        on_event=heard.append,
    )
    assert found.images["notes"][0].endswith("half as many at a time")
    assert "explaining on cpu" not in found.images["notes"][0]
    assert Message("half as many at a time", finding=True) in heard
    # one step of the bar an image, and none of the work within
    assert [type(event).__name__ for event in heard].count("Started") == 1
