"""Evaluations of confounded data, and of images of wells that were trained on."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from napari_why.datasets import Dataset, Preprocessing, image_digest
from napari_why.evaluation import compare_with_nulls, evaluate
from napari_why.evaluation.comparison import compare_with_factors
from napari_why.evaluation.sentences import null_sentence
from napari_why.images import make_image
from napari_why.model import Classifier
from napari_why.model.familiarity import describe_familiarity, list_seen_groups
from napari_why.model.image_facts import ImageFacts
from napari_why.networks import build_network

WELLS = [f"{row}{column:02d}" for column in range(1, 9) for row in "ABCD"]


def images_of(number: int, seed: int = 0):
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 4000, (number, 2, 16, 16)).astype(np.uint16)
    return [make_image(plane, "cyx", ("DAPI", "TMRM")) for plane in pixels]


def data_of(wells, labels, seed=0, **columns) -> Dataset:
    return Dataset.from_images(images_of(len(wells), seed), labels, well=wells, **columns)


def classifier_of(dataset: Dataset) -> Classifier:
    """Return an untrained network that says it was trained on a data set's training images."""
    seen = dataset.table["split"].isin(["train", "validation"]).to_numpy()
    preprocessing = Preprocessing.from_dataset(dataset, size=16)
    card = {
        "images": ImageFacts.measure(dataset, preprocessing).to_dict(),
        "seen_images": [image_digest(dataset, row) for row in np.flatnonzero(seen)],
        "seen_groups": list_seen_groups(dataset),
    }
    network = build_network("cam_net", input_channels=2, classes=2, size=16, seed=0)
    return Classifier(network, preprocessing, dataset.classes, card=card)


def split_of(wells, trained) -> list[str]:
    return ["train" if well in trained else "test" for well in wells]


@pytest.fixture(scope="module")
def trained():
    """Return two fields of each of 32 wells of which the first half were trained on."""
    wells = [well for well in WELLS for _ in range(2)]
    labels = ["ab"[number // 2 % 2] for number in range(len(wells))]
    columns = {"plate": ["P1"] * len(wells), "split": split_of(wells, set(WELLS[:16]))}
    dataset = data_of(wells, labels, **columns)
    return dataset, classifier_of(dataset)


@pytest.mark.parametrize(
    ("plates", "wells", "factor"),
    [
        (["P1"] * 16 + ["P2"] * 16, WELLS[:16] * 2, "plate"),
        (["P1"] * 32, WELLS, "column"),
    ],
)
def test_confounded_classes_are_never_cleared(plates, wells, factor) -> None:
    labels = np.repeat([0, 1], 16)
    table = pd.DataFrame({"plate": plates, "well": wells, "label": np.array(["a", "b"])[labels]})
    features = np.random.default_rng(0).normal(size=(32, 3)) + 4 * labels[:, None]
    comparison = compare_with_nulls({"intensity": features}, table, labels, ("plate", "well"))
    assert comparison.matched_by.empty
    said = null_sentence(comparison)
    assert "no evidence that the classes differ" in said
    assert factor in said
    assert "better than" not in said


def test_the_same_features_are_cleared_where_plates_and_blocks_are_shared() -> None:
    labels = np.array([(number + number // 4) % 2 for number in range(32)])
    table = pd.DataFrame(
        {"plate": ["P1"] * 32, "well": WELLS, "label": np.array(["a", "b"])[labels]}
    )
    features = np.random.default_rng(0).normal(size=(32, 3)) + 4 * labels[:, None]
    comparison = compare_with_nulls({"intensity": features}, table, labels, ("plate", "well"))
    assert "better than any labels without meaning" in null_sentence(comparison)


@pytest.mark.parametrize("strays", [1, 2, 4])
@pytest.mark.parametrize("factor", ["plate", "operator"])
@pytest.mark.parametrize("shift", [1.0, 8.0])
def test_a_few_stray_wells_do_not_clear_the_data(strays: int, factor: str, shift: float) -> None:
    """Whether cheap features tell the classes poorly or all but always, the plate may be what they see."""
    labels = np.array([(number + number // 4) % 2 for number in range(32)])
    values = np.where(np.arange(32) < strays, 1 - labels, labels)
    columns = {"plate": ["P1"] * 32, "well": WELLS, "label": np.array(["a", "b"])[labels]}
    table = pd.DataFrame({**columns, factor: [f"P{value}" for value in values]})
    features = np.random.default_rng(0).normal(size=(32, 3)) + shift * labels[:, None]
    comparison = compare_with_nulls({"intensity": features}, table, labels, ("well",))
    for reached in (None, 0.7, 1.0):
        said = null_sentence(comparison, reached)
        assert "no evidence that the classes differ" in said
        # with plates held out, labels without meaning may be told apart as well, which is said first
        if shift > 1 or factor == "operator":
            assert f"the {factor} alone tells the class of" in said


@pytest.mark.parametrize(
    ("wells", "classes", "told"),
    [(4, 2, True), (6, 2, True), (8, 2, False), (6, 3, True), (9, 3, False)],
)
def test_few_wells_are_too_few_to_clear_anything(wells: int, classes: int, told: bool) -> None:
    labels = np.repeat(np.arange(wells) % classes, 6)
    # Along a row, in turn: no place on the plate goes with the class.
    names = [f"A{number + 1:02}" for number in range(wells)]
    table = pd.DataFrame({"well": np.repeat(names, 6), "label": np.array(["a", "b", "c"])[labels]})
    features = np.random.default_rng(0).normal(size=(len(labels), 3)) + 9 * np.eye(3)[labels]
    comparison = compare_with_nulls({"intensity": features}, table, labels, ("well",))
    said = null_sentence(comparison)
    assert said.startswith("Too few wells to tell") == told
    assert ("better than any" in said) != told


@pytest.mark.parametrize("kind", ["plate", "slide", "day"])
@pytest.mark.parametrize("wells", [8, 14])
def test_batches_of_one_well_each_are_said_and_never_cleared(kind: str, wells: int) -> None:
    labels = np.repeat(np.arange(wells) % 2, 3)
    batches = [f"{label}-{number // 6}" for number, label in enumerate(labels)]
    names = np.array(["a", "b"])[labels]
    table = pd.DataFrame({kind: batches, "well": ["A01"] * len(labels), "label": names})
    features = np.random.default_rng(0).normal(size=(len(labels), 3)) + 9 * labels[:, None]
    comparison = compare_with_nulls({"intensity": features}, table, labels, (kind, "well"))
    said = null_sentence(comparison)
    assert f"hardly more than one well has the same {kind}" in said
    assert "no evidence that the classes differ" in said
    assert comparison.confounding.sentences


@pytest.mark.parametrize("column", ["treatment", "dose class"])
def test_what_goes_with_the_class_by_its_name_is_named_where_data_are_cleared(column: str) -> None:
    labels = np.array([(number + number // 4) % 2 for number in range(32)])
    names = np.array(["a", "b"])[labels]
    features = np.random.default_rng(0).normal(size=(32, 3)) + 4 * labels[:, None]
    for values, told in ((labels, True), (np.arange(32) % 2, False)):
        table = pd.DataFrame({"well": WELLS, "label": names, column: [f"v{one}" for one in values]})
        comparison = compare_with_nulls({"intensity": features}, table, labels, ("well",))
        said = null_sentence(comparison)
        assert (
            f"; {column} goes with the class in every well, so that this holds only" in said
        ) == told


def test_an_evaluation_says_first_what_cannot_be_told_from_the_class(trained) -> None:
    _, classifier = trained
    labels = ["a"] * 16 + ["b"] * 16
    apart = data_of(WELLS[:16] * 2, labels, 5, plate=["P8"] * 16 + ["P9"] * 16)
    evaluation = evaluate(classifier, apart, nulls=False)
    assert evaluation.sentences[0] == apart.confounding.warnings[0]
    assert "plates of its own" in evaluation.sentences[0]
    assert any("accuracy within one is not known" in said for said in evaluation.sentences)
    plain = json.loads(json.dumps(evaluation.to_dict(), allow_nan=False))
    assert plain["confounding"]["factors"][0]["level"] == "confounded"
    assert plain["sentences"][0] == evaluation.sentences[0]


def test_a_classifier_of_plates_is_at_chance_within_them() -> None:
    wells, plates = WELLS[:20] * 2, ["P1"] * 20 + ["P2"] * 20
    labels = ["a" if (number % 5 > 0) == (number < 20) else "b" for number in range(40)]
    dataset = data_of(wells, labels, plate=plates)
    by_plate = pd.DataFrame(
        {"label": labels, "predicted": ["a" if plate == "P1" else "b" for plate in plates]}
    )
    rows = compare_with_factors(by_plate, dataset).set_index("factor")
    assert rows.loc["plate", "guess"] == rows.loc["plate", "classifier"] == pytest.approx(0.8)
    assert rows.loc["plate", "within"] == 0.5
    right = by_plate.assign(predicted=labels)
    assert compare_with_factors(right, dataset).set_index("factor").loc["plate", "within"] == 1.0


def kinds(classifier, dataset) -> list[str]:
    return list(describe_familiarity(classifier.card, dataset)["known_group"])


def test_wells_are_recognised_by_plate_and_well_in_any_spelling(trained) -> None:
    dataset, classifier = trained
    found = describe_familiarity(classifier.card, dataset)
    assert list(found["seen"]) == [name == "train" for name in dataset.table["split"]]
    assert list(found["known_group"]) == ["yes" if seen else "no" for seen in found["seen"]]
    new = data_of(["A1", "a01", "A08", "A01"], list("abab"), 9, plate=["P1", "P1", "P1", "P2"])
    assert kinds(classifier, new) == ["yes", "yes", "no", "no"]


def test_without_plates_a_well_of_the_same_name_may_be_another(trained) -> None:
    dataset, classifier = trained
    new = data_of(["A01", "A08"], list("ab"), 9)
    assert kinds(classifier, new) == ["not known", "no"]
    # A neighbour that was trained on proves it.
    images = [dataset.image(0), *images_of(2, 9)]
    beside = Dataset.from_images(images, list("aba"), well=["A01", "A01", "B01"])
    assert kinds(classifier, beside) == ["yes", "yes", "not known"]


def test_an_older_classifier_does_not_know(trained) -> None:
    _, classifier = trained
    card = {key: value for key, value in classifier.card.items() if key != "seen_groups"}
    new = data_of(WELLS, ["a", "b"] * 16, 9, plate=["P1"] * 32)
    older = replace(classifier, card=card)
    assert set(kinds(older, new)) == {"not known"}
    said = evaluate(older, new, nulls=False).sentences
    assert any("is not known" in sentence for sentence in said)


def test_other_fields_of_trained_wells_are_told_and_make_no_headline(trained) -> None:
    _, classifier = trained
    known, unknown = WELLS[:16], WELLS[16:]
    again = data_of(known, ["a", "b"] * 8, 9, plate=["P1"] * 16)
    evaluation = evaluate(classifier, again, nulls=False)
    assert evaluation.metrics["images"] == 16
    assert "all of 16 wells it was trained on" in evaluation.sentences[0]
    assert "say nothing about wells that the network has not seen" in evaluation.sentences[1]
    mixed = data_of(known + unknown, ["a", "b"] * 16, 9, plate=["P1"] * 32)
    evaluation = evaluate(classifier, mixed, nulls=False)
    assert evaluation.metrics["images"] == 16
    assert "16 images of 16 wells that the network has not seen" in evaluation.sentences[0]
    assert any("it was trained on are left out as well" in said for said in evaluation.sentences)
    apart = evaluation.by_familiarity
    assert apart is not None
    assert dict(zip(apart["known_group"], apart["images"], strict=True)) == {"no": 16, "yes": 16}
    assert list(apart["counted"]) == [True, False]


def test_images_unlike_the_training_images_are_counted_by_kind(trained) -> None:
    dataset, classifier = trained
    rng = np.random.default_rng(9)
    pixels = rng.integers(0, 4000, (8, 2, 16, 16)).astype(np.uint16)
    pixels[:3] = 500  # in both channels: one image, counted once
    images = [make_image(plane, "cyx", ("DAPI", "TMRM")) for plane in pixels]
    spoilt = Dataset.from_images(images, ["a", "b"] * 4, well=WELLS[16:24])
    found = evaluate(classifier, spoilt, nulls=False)
    (said,) = [text for text in found.sentences if "unlike the training images" in text]
    assert said.startswith("3 of 8 images are unlike the training images (constant 3")
    assert (found.predictions["unlike"].str.contains("constant")).sum() == 3
    ordinary = evaluate(classifier, dataset, nulls=False)
    assert not any("unlike the training" in text for text in ordinary.sentences)
    without = replace(classifier, card={})
    said = evaluate(without, spoilt, nulls=False).sentences
    assert any(text.startswith("Of 8 images it is not known whether") for text in said)
