"""A data set measured image by image, with a real, small classifier."""

import importlib
from dataclasses import replace
from importlib import import_module

import numpy as np
import pandas as pd
import pytest

import napari_why as why
from napari_why.core.errors import MismatchError, ParameterError, UnsupportedNetworkError
from napari_why.core.events import Advanced, Finished, Started
from napari_why.datasets import Dataset
from napari_why.datasets.dataset import image_digest
from napari_why.images import write
from napari_why.measurement import measure, measure_dataset
from napari_why.simulation import simulate

# a linear head: after two epochs a convolutional one calls every image the same, and there would be
# no image of the other class to measure
TINY = {"blocks": "1,1", "widths": "4,4", "downscaling": "2,2", "head": "linear"}
OPTIONS = {"minimum_size": 4.0, "threshold": "top", "top_share": 0.1}


@pytest.fixture(scope="module")
def dataset():
    return simulate(16, size=16, wells=8)


@pytest.fixture(scope="module")
def classifier(dataset):
    split = dataset.split(seed=1)
    # what the test for locks finds in these scenes; to look for it takes longer than all the rest
    options = {"size": 16, "epochs": 2, "threads": 1, "lock": "DAPI", "pixel_maps": False}
    return why.fit(split, "iresnet", network_parameters=TINY, **options)


@pytest.fixture(scope="module")
def found(classifier, dataset):
    return measure_dataset(classifier, dataset, options=OPTIONS)


def test_every_image_has_a_row_with_what_the_data_set_knows_of_it(found, dataset):
    assert found.complete
    assert found.images["path"].tolist() == dataset.table["path"].tolist()
    assert found.images["well"].tolist() == dataset.table["well"].tolist()
    assert (found.images["error"] == "").all()
    shares = found.images[["share of change in DAPI", "share of change in TMRM"]].sum(axis=1)
    np.testing.assert_allclose(shares, 1.0)


def test_the_rows_are_those_of_each_image_measured_alone(found, classifier, dataset):
    result = why.counterfactual(classifier, dataset.image(3), steps=2)
    alone = measure(result, dataset.image(3), **OPTIONS)
    rows = found.regions[found.regions["path"] == dataset.table["path"][3]]
    pd.testing.assert_frame_equal(
        rows[list(alone.table)].reset_index(drop=True), alone.table, check_dtype=False
    )
    assert found.images["verdict"][3] == alone.verdict.line
    assert found.images["regions"][3] == len(alone.table)


def test_the_statistics_count_wells(found):
    statistics = found.statistics
    assert set(statistics["unit"]) == {"plate and well"}
    assert (statistics["units tested"] <= 16).all()
    whole = statistics[statistics["measure"].str.startswith("mean of the image")]
    direction = whole["direction"].iloc[0]
    images = found.images[found.images["counted"] & (found.images["direction"] == direction)]
    change = images.groupby(["plate", "well"])["TMRM global change (grey levels)"].mean()
    row = whole[(whole["channel"] == "TMRM") & (whole["direction"] == direction)].iloc[0]
    assert row["units tested"] == len(change)
    assert row["change"] == pytest.approx(change.mean(), rel=1e-4, abs=1e-2)


def test_the_sentences_say_what_the_numbers_are_worth(found):
    text = "\n".join(found.sentences)
    assert f"of {found.images['counted'].sum()} images flip" in text
    assert "second network" in text
    assert "had a say" not in text  # it chose nothing of what this classifier does
    assert not found.images["second had a say"].any()
    assert "wells (plate and well)" in text


def test_the_table_says_what_is_held_against_each_image_and_the_sentences_how_often(found):
    images = found.images
    for column in ("trustworthy", "reservations", "kinds of reservations", "p of the target"):
        assert column in images
    # the table is of the verdicts: without a reservation is what is valid and has none
    assert (images["trustworthy"] == (images["valid"] & (images["reservations"] == ""))).all()
    counted = images[images["counted"]]
    flip, firm = int(counted["valid"].sum()), int(counted["trustworthy"].sum())
    said = f"{flip} of {len(counted)} images flip, {firm} of them without reservation"
    assert said in "\n".join(found.sentences)


def stub_sources(classifier, monkeypatch, predicted):
    """Let the counterfactuals of a data set start from given classes; from None there is none."""
    answers = iter(predicted)

    def change(*arguments, **parameters):
        result = why.counterfactual(*arguments, **parameters)
        source = next(answers)
        if source is None:
            raise MismatchError("found none, expected a change")
        target = next(name for name in classifier.classes if name != source)
        return replace(result, source_class=source, target=target)

    # the package has a function of the module's name
    module = import_module("napari_why.measurement.measure_dataset")
    monkeypatch.setattr(module, "make_counterfactual", change)


def forget(classifier, seen=(), groups=None):
    """The classifier, as if it had been trained on other images."""
    known = {"seen_images": list(seen), "seen_groups": groups}
    return replace(classifier, card={**classifier.card, **known})


def test_images_that_were_trained_on_are_left_out_as_evaluate_does(found, classifier, dataset):
    evaluation = why.evaluate(classifier, dataset, nulls=False)
    of_label = found.images["source differs from label"] == False  # noqa: E712 - a column of objects
    kind = evaluation.predictions["counted"]
    assert (found.images["counted"] == (kind & of_label)).all()
    assert not (found.images["counted"] & found.images["seen"]).any()
    left = int(found.images["seen"].sum())
    assert 0 < left < 16
    assert f"left out: {left} that it was trained on" in found.sentences[0]
    assert found.record.details["trained_on"] == left
    assert found.record.details["counted"] == found.images["counted"].sum()
    tested = found.statistics[found.statistics["measure"].str.startswith("mean of the image")]
    assert tested.groupby("channel")["images"].sum().unique() == [found.images["counted"].sum()]
    assert (
        found.regions["counted"]
        == ~found.regions["seen"] & ~found.regions["source differs from label"].astype(bool)
    ).all()


def test_where_all_were_trained_on_all_count_and_the_first_sentence_says_so(
    classifier, dataset, monkeypatch
):
    few = dataset.select(range(4))
    stub_sources(classifier, monkeypatch, few.table["label"])
    known = forget(classifier, [image_digest(few, row) for row in range(4)])
    found = measure_dataset(known, few, options=OPTIONS)
    assert found.images["counted"].all()
    assert found.sentences[0].startswith("the network was trained on all 4 images")


def test_files_of_training_images_are_known_by_their_pixels(classifier, dataset, tmp_path):
    digest = image_digest(dataset, 0)
    paths = [write(dataset.image(row), tmp_path / f"{row}.ome.tif") for row in range(2)]
    found = measure_dataset(forget(classifier, [digest]), paths, options=OPTIONS)
    assert found.images["seen"].tolist() == [True, False]
    assert found.images["counted"].tolist() == [False, True]
    assert "1 that it was trained on" in found.sentences[0]


def test_a_classifier_that_does_not_say_what_it_was_trained_on_is_not_trusted(classifier, dataset):
    silent = {name: value for name, value in classifier.card.items() if not name.startswith("seen")}
    found = measure_dataset(replace(classifier, card=silent), dataset.select([0]), options=OPTIONS)
    assert found.sentences[0].startswith("the classifier does not say which images")


def test_known_wells_are_left_out_as_far_as_there_are_others(classifier, dataset, monkeypatch):
    six = dataset.select(range(6))
    wells = [[str(row["plate"]), str(row["well"])] for row in six.table.to_dict("records")]
    met = {"columns": ["plate", "well"], "names": wells[:2]}
    known = [well in wells[:2] for well in wells]
    stub_sources(classifier, monkeypatch, six.table["label"])
    found = measure_dataset(forget(classifier, (), met), six, options=OPTIONS)
    assert found.images["counted"].tolist() == [not item for item in known]
    assert f"left out: {sum(known)} of wells that it was trained on" in found.sentences[0]
    all_known = {"columns": ["plate", "well"], "names": wells}
    stub_sources(classifier, monkeypatch, six.table["label"])
    found = measure_dataset(forget(classifier, (), all_known), six, options=OPTIONS)
    assert found.images["counted"].all()
    assert "but on others of their wells" in found.sentences[0]


def test_changes_that_start_from_another_class_than_the_label_are_told_and_not_tested(
    classifier, dataset, monkeypatch
):
    labels = dataset.table["label"].tolist()[:8]
    wrong = {1, 4, 5}
    other = {"diseased": "treated", "treated": "diseased"}
    sources = [other[name] if row in wrong else name for row, name in enumerate(labels)]
    stub_sources(classifier, monkeypatch, sources)
    found = measure_dataset(forget(classifier), dataset.select(range(8)), options=OPTIONS)
    assert found.images["source differs from label"].tolist() == [row in wrong for row in range(8)]
    assert found.images["counted"].tolist() == [row not in wrong for row in range(8)]
    assert any(
        text.startswith("of 3 of 8 images the prediction is not") for text in found.sentences
    )
    assert found.record.details["source_differs_from_label"] == 3
    whole = found.statistics[found.statistics["measure"].str.startswith("mean of the image")]
    assert whole[whole["channel"] == "TMRM"]["images"].sum() == 5
    assert found.sentences[0].startswith("5 of 8 images count, that the network was not")
    assert found.sentences[0].endswith("left out: 3 whose prediction is not the label")
    # where no image is left, nothing is said of any
    stub_sources(classifier, monkeypatch, [other[name] for name in labels])
    none = measure_dataset(forget(classifier), dataset.select(range(8)), options=OPTIONS)
    assert "so none is left" in none.sentences[1]
    assert (len(none.sentences), len(none.statistics)) == (2, 0)


@pytest.mark.parametrize("training", ["known", "all seen", "not known"])
def test_the_first_sentence_and_the_record_count_what_the_tables_do(
    classifier, dataset, monkeypatch, training
):
    """Two of eight cannot be measured, two of the rest start from another class than the label."""
    labels = dataset.table["label"].tolist()[:8]
    other = {"diseased": "treated", "treated": "diseased"}
    sources = [None] * 2 + [other[name] for name in labels[2:4]] + labels[4:]
    stub_sources(classifier, monkeypatch, sources)
    images = dataset.select(range(8))
    seen = [image_digest(images, row) for row in range(8)] if training == "all seen" else ()
    known = forget(classifier, seen)
    if training == "not known":
        known = replace(known, card={k: v for k, v in known.card.items() if k[:4] != "seen"})
    found = measure_dataset(known, images, options=OPTIONS)
    assert (found.images["error"] != "").tolist() == [True] * 2 + [False] * 6
    assert not found.images["counted"][:4].any()
    details = found.record.details
    assert (details["images"], details["measured"], details["counted"]) == (8, 6, 4)
    assert f"{found.images['counted'].sum()} of 8 images count" in found.sentences[0]
    out = "left out: 2 whose prediction is not the label and 2 that could not be measured"
    assert found.sentences[0].endswith(out)


def test_a_label_that_the_classifier_does_not_know_is_no_mistake_of_it(classifier, dataset):
    compound = replace(dataset, table=dataset.table.assign(label="compound"), classes=("compound",))
    found = measure_dataset(forget(classifier), compound.select([0, 1]), options=OPTIONS)
    assert found.images["counted"].all()


def test_a_classifier_that_nobody_measured_is_a_reservation_of_every_image(
    classifier, dataset, monkeypatch
):
    # of a network that hardly learnt there are more kinds than the sentence has room for
    # by its module: the package has a function of the same name
    module = importlib.import_module("napari_why.measurement.measure_dataset")
    monkeypatch.setattr(module, "MOST_NAMED", 9)
    unmeasured = replace(classifier, metrics={})
    found = measure_dataset(unmeasured, dataset.select([0, 1]), options=OPTIONS)
    kind = "not shown that the classes can be told apart"
    assert found.images["kinds of reservations"].str.contains(kind).all()
    assert any(f"{kind} (2)" in sentence for sentence in found.sentences)


def test_a_constant_image_does_not_count_as_a_flip_without_reservation(classifier, dataset):
    image = dataset.image(0)
    constant = image.copy(data=np.full_like(image.values, 900))
    found = measure_dataset(classifier, [constant], options=OPTIONS)
    assert found.images["verdict"][0].startswith("not to be trusted: unlike the training images")
    assert not found.images["trustworthy"][0]
    assert ", 0 of them without reservation" in "\n".join(found.sentences)


def test_images_called_the_target_already_are_listed_with_the_reason(classifier, dataset):
    target = classifier.predict(dataset.image(0)).label
    found = measure_dataset(classifier, dataset, target, options=OPTIONS)
    reasons = found.images["error"]
    assert f"predicted as {target} already" in reasons[0]
    measured = found.images[reasons == ""]
    assert set(measured["direction"].str.rpartition(" ")[2]) <= {target}
    if len(measured):
        assert "could not be measured; first: target" in found.sentences[1]


def test_images_from_files_count_as_independent(classifier, dataset, tmp_path):
    paths = [tmp_path / f"{row}.ome.tif" for row in range(3)]
    for row, path in enumerate(paths):
        write(dataset.image(row), path)
    found = measure_dataset(classifier, [*paths, tmp_path / "none.tif"], options=OPTIONS)
    assert found.images["source"].tolist() == [*map(str, paths), str(tmp_path / "none.tif")]
    assert found.images["error"].tolist()[:3] == [""] * 3
    assert "none.tif" in found.images["error"][3]
    assert "no wells are known: images count as independent" in "\n".join(found.sentences)


def test_a_stack_is_refused_in_the_words_of_predict(classifier, dataset, tmp_path):
    """No z plane is chosen unasked: the numbers would be those of an arbitrary plane."""
    stack = dataset.image(0).expand_dims(z=2, axis=1)
    path = write(stack, tmp_path / "stack.ome.tif")
    single = dataset.image(0).expand_dims("z", axis=1)
    found = measure_dataset(classifier, [path, single], options=OPTIONS)
    with pytest.raises(MismatchError, match="found axes c, z, y, x, expected c, y, x") as refused:
        classifier.predict(path)
    assert found.images["error"].tolist() == [str(refused.value), ""]


def test_progress_is_told_and_cancelling_keeps_what_was_done(classifier, dataset):
    events, measured = [], []
    found = measure_dataset(
        classifier,
        dataset,
        options=OPTIONS,
        on_measured=measured.append,
        on_event=events.append,
        cancelled=lambda: len(measured) == 2,
    )
    assert events == [Started("measuring", 16), Advanced(1), Advanced(2), Finished(partial=True)]
    assert not found.complete
    assert len(found.images) == 2
    assert [item.row for item in measured] == [0, 1]
    assert measured[1].measurement.verdict.line == found.images["verdict"][1]


def test_cancelled_before_the_first_image_there_are_empty_tables(classifier, dataset):
    found = measure_dataset(classifier, dataset, cancelled=lambda: True)
    assert (len(found.images), len(found.regions), len(found.statistics)) == (0, 0, 0)
    assert found.sentences == ("cancelled before any image was measured",)


def test_what_fits_no_image_is_refused_at_once(classifier, dataset):
    with pytest.raises(ParameterError, match="expected one of diseased, treated"):
        measure_dataset(classifier, dataset, "healthy")
    with pytest.raises(ParameterError, match="view: found 'halo'"):
        measure_dataset(classifier, dataset, options={"view": "halo"})
    with pytest.raises(ParameterError, match="transport: found parameter speed"):
        measure_dataset(classifier, dataset, speed=3)
    other = why.fit(dataset.split(seed=1), "cam_net", size=16, epochs=1, threads=1)
    with pytest.raises(UnsupportedNetworkError):
        measure_dataset(other, dataset)


def test_an_image_without_region_has_no_pair_to_test(classifier, dataset):
    few = dataset.select([0, 1])
    found = measure_dataset(classifier, few, options={"threshold": "fixed", "level": 1e8})
    assert found.images["regions"].tolist() == [0, 0]
    assert set(found.statistics["measure"]) == {"mean of the image (grey levels)"}


def test_the_influence_looks_at_the_whole_series(classifier, dataset):
    steps = []
    measure_dataset(
        classifier,
        dataset.select([0]),
        options={**OPTIONS, "view": "influence"},
        on_measured=lambda item: steps.append(len(item.counterfactual.alphas)),
    )
    assert steps == [11]


def test_a_data_set_without_wells_can_be_measured_too(classifier, dataset):
    alone = replace(dataset.select([0, 1, 2]), group_columns=())
    assert isinstance(alone, Dataset)
    found = measure_dataset(classifier, alone, options=OPTIONS)
    assert set(found.statistics["unit"]) == {"image"}
