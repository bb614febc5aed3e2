"""A data set measured image by image, with a real, small classifier."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import napari_why as why
from napari_why.core.errors import MismatchError, ParameterError, UnsupportedNetworkError
from napari_why.core.events import Advanced, Finished, Started
from napari_why.datasets import Dataset
from napari_why.images import write
from napari_why.measurement import measure, measure_dataset
from napari_why.simulation import simulate

TINY = {"blocks": "1,1", "widths": "4,4", "downscaling": "2,2"}
OPTIONS = {"minimum_size": 4.0, "threshold": "top", "top_share": 0.1}


@pytest.fixture(scope="module")
def dataset():
    return simulate(16, size=16, wells=8)


@pytest.fixture(scope="module")
def classifier(dataset):
    split = dataset.split(seed=1)
    return why.fit(split, "iresnet", size=16, epochs=2, network_parameters=TINY, threads=1)


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
    images = found.images[found.images["direction"] == direction]
    change = images.groupby(["plate", "well"])["TMRM global change (grey levels)"].mean()
    row = whole[(whole["channel"] == "TMRM") & (whole["direction"] == direction)].iloc[0]
    assert row["units tested"] == len(change)
    assert row["change"] == pytest.approx(change.mean(), rel=1e-4, abs=1e-2)


def test_the_sentences_say_what_the_numbers_are_worth(found):
    text = "\n".join(found.sentences)
    assert "of 16 images flip" in text
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
    flip, firm = int(images["valid"].sum()), int(images["trustworthy"].sum())
    assert f"{flip} of 16 images flip, {firm} of them without reservation" in found.sentences[0]


def test_a_classifier_that_nobody_measured_is_a_reservation_of_every_image(classifier, dataset):
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
    assert ", 0 of them without reservation" in found.sentences[0]


def test_images_called_the_target_already_are_listed_with_the_reason(classifier, dataset):
    target = classifier.predict(dataset.image(0)).label
    found = measure_dataset(classifier, dataset, target, options=OPTIONS)
    reasons = found.images["error"]
    assert f"predicted as {target} already" in reasons[0]
    measured = found.images[reasons == ""]
    assert set(measured["direction"].str.rpartition(" ")[2]) <= {target}
    if len(measured):
        assert "could not be measured; first: target" in found.sentences[0]


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
