"""Evaluating a classifier: figures on unseen images only, and what they are worth in words."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from napari_why.core.errors import MismatchError
from napari_why.core.events import Started
from napari_why.datasets import Dataset
from napari_why.datasets.image_store import ImageStore
from napari_why.evaluation import evaluate, intensity_features
from napari_why.evaluation.sentences import flagged_sentences
from napari_why.fitting import fit
from napari_why.images import make_image
from napari_why.model.quality import EMPTY, count_flagged
from napari_why.simulation import simulate, simulate_to_folder


@pytest.fixture(scope="module")
def data_set():
    return simulate(48, size=32, seed=4).split(seed=0)


@pytest.fixture(scope="module")
def classifier(data_set):
    return fit(data_set, "cam_net", size=32, epochs=4, seed=0)


def test_training_images_are_left_out_of_the_figures(classifier, data_set):
    evaluation = evaluate(classifier, data_set, nulls=False)
    unseen = len(data_set.part("test"))
    assert evaluation.metrics["images"] == unseen
    assert evaluation.predictions["seen"].sum() == len(data_set) - unseen
    assert f"the {unseen} images" in evaluation.sentences[0]
    assert "that the network has not seen" in evaluation.sentences[0]
    assert evaluation.metrics["accuracy"] == pytest.approx(
        classifier.metrics["test"]["images"]["accuracy"]
    )


def empty(image):
    """Return the background of an image, with its noise."""
    dark = np.quantile(image.values, 0.02, axis=(1, 2), keepdims=True)
    noise = np.random.default_rng(0).normal(0, 2, image.shape)
    return image.copy(data=np.clip(dark + noise, 0, None).astype(image.dtype))


def test_figures_are_given_with_and_without_images_of_hardly_any_cells(classifier, data_set):
    test = data_set.part("test")
    images = [test.image(row) for row in range(len(test))]
    spoilt = list(test.table["label"]).index("treated")
    images[spoilt] = empty(images[spoilt])
    well = list(test.table["well"])
    found = evaluate(
        classifier,
        Dataset.from_images(images, list(test.table["label"]), well=well),
        nulls=False,
    )
    assert list(np.flatnonzero(found.predictions["quality"])) == [spoilt]
    assert found.predictions["quality"][spoilt] == EMPTY
    without, total = found.without_flagged, len(images)
    assert found.metrics["images"] == total
    assert without["images"]["images"] == total - 1
    assert without["flagged"]["treated"][EMPTY] == 1
    assert without["flagged"]["diseased"]["flagged"] == 0
    kept = found.predictions.drop(index=spoilt)
    right = kept["label"] == kept["predicted"]
    assert without["images"]["accuracy"] == pytest.approx(right.mean())
    assert without["groups"]["groups"] in (len(set(well)) - 1, len(set(well)))
    text = "\n".join(found.sentences)
    # both stand beside each other, and the first sentence is that of all
    assert f"On the {total} images" in text
    assert (
        f"1 of {total} images is flagged by a look at the image alone (hardly any cells 1" in text
    )
    assert f"Without them, {total - 1} of {total} images: accuracy" in text
    assert f"(all: {found.metrics['accuracy']:.1%})" in text
    assert found.to_dict()["without_flagged"] == without


def test_a_fit_keeps_both_figures(classifier, data_set):
    kept = classifier.metrics["test"]["without_flagged"]
    counts = kept["flagged"].values()
    assert sum(item["images"] for item in counts) == len(data_set.part("test"))
    assert kept["images"]["images"] == sum(item["images"] - item["flagged"] for item in counts)
    assert kept["groups"]["groups"] <= classifier.metrics["test"]["groups"]["groups"]


def test_a_classifier_that_was_saved_before_gives_one_figure(classifier, data_set):
    known = {name: x for name, x in classifier.card["images"].items() if name != "quality"}
    before = replace(classifier, card={**classifier.card, "images": known})
    test = data_set.part("test")
    found = evaluate(before, test, nulls=False)
    assert found.without_flagged is None
    assert "flagged" not in "\n".join(found.sentences)
    assert set(found.predictions["quality"]) == {""}


def counts(flagged: int, images: int) -> dict[str, int]:
    return count_flagged(["x"] * images, [[EMPTY]] * flagged + [[]] * (images - flagged))["x"]


@pytest.mark.parametrize(
    ("healthy", "treated", "warned"),
    [(1, 1, False), (0, 2, False), (0, 30, True), (25, 30, False), (30, 2, True)],
)
def test_it_warns_where_flags_are_of_one_class(healthy, treated, warned):
    flagged = {"healthy": counts(healthy, 100), "treated": counts(treated, 100)}
    without = {"flagged": flagged, "images": None, "groups": None}
    said = flagged_sentences(without, {"metrics": {}, "group_metrics": None})
    assert (len(said) == 2 and said[1].startswith("Warning: ")) == warned
    assert f"(hardly any cells {healthy + treated}; healthy {healthy} of 100" in said[0]


def test_accuracy_never_stands_alone(classifier, data_set):
    """Beside it the balanced one and the largest class's; of Z' that of the log-odds."""
    rows = [row for row, label in enumerate(data_set.table["label"]) if label == "treated"]
    rows += [row for row, label in enumerate(data_set.table["label"]) if label == "diseased"][:4]
    forgotten = {"seen_images": [], "seen_groups": None}
    uneven = replace(classifier, card={**classifier.card, **forgotten})
    evaluation = evaluate(uneven, data_set.select(sorted(rows)), nulls=False)
    metrics, text = evaluation.metrics, "\n".join(evaluation.sentences)
    treated = len(rows) - 4
    assert metrics["majority_accuracy"] == pytest.approx(treated / len(rows))
    assert (
        f"accuracy {metrics['accuracy']:.1%} (balanced {metrics['balanced_accuracy']:.1%}; always "
        f"naming treated {treated / len(rows):.1%})"
    ) in text
    assert f"{metrics['z_prime']:.2f} of the probability, " in text
    assert f"{metrics['z_prime_log_odds']:.2f} of the log-odds" in text
    assert f"The classes are uneven: {treated} images of treated and 4 of diseased" in text


def test_where_the_classifier_does_not_say_what_it_was_trained_on_nothing_is_called_unseen(
    classifier, data_set
):
    silent = {name: value for name, value in classifier.card.items() if not name.startswith("seen")}
    evaluation = evaluate(replace(classifier, card=silent), data_set.select(range(6)), nulls=False)
    assert "that the network may have been trained on" in evaluation.sentences[0]
    assert "has not seen" not in evaluation.sentences[0]


def test_training_images_are_recognised_by_their_pixels_not_their_names(classifier, data_set):
    train = data_set.part("train")
    images = [train.image(row).assign_attrs(source=f"copy {row}") for row in range(len(train))]
    renamed = Dataset.from_images(images, list(train.table["label"]))
    evaluation = evaluate(classifier, renamed, nulls=False)
    assert evaluation.predictions["seen"].all()
    assert "trained on" in evaluation.sentences[0]


def test_identical_pixels_in_two_splits_are_named(classifier, data_set):
    images = [data_set.image(row) for row in (0, 0, *range(1, 8))]
    names = ["train", "test", *["train"] * 7]
    labels = [data_set.table["label"][row] for row in (0, 0, *range(1, 8))]
    leaking = Dataset.from_images(images, labels, split=names, allow_leak=True)
    evaluation = evaluate(classifier, leaking, nulls=False)
    assert len(evaluation.duplicates) == 1
    assert any("same pixels stand in more than one split" in s for s in evaluation.sentences)


def test_one_channel_shared_with_a_training_image_is_named_without_any_splits(classifier, data_set):
    train, test = data_set.part("train").image(0), data_set.part("test").image(0)
    pixels = np.stack([train.values[0], test.values[1]])
    mixed = make_image(pixels, "cyx", ("DAPI", "TMRM"), source="mixed.tif")
    evaluation = evaluate(
        classifier, Dataset.from_images([train, mixed], list(data_set.classes)), nulls=False
    )
    assert evaluation.predictions["seen"].tolist() == [True, False]
    (found,) = evaluation.duplicates
    assert "identical DAPI in" in found
    assert "mixed.tif (splits train and unseen)" in found


def test_plates_are_told_apart_where_there_are_several(classifier, data_set):
    test = data_set.part("test")
    images = [test.image(row) for row in range(len(test))]
    plates = ["one" if row < len(test) // 2 else "two" for row in range(len(test))]
    columns = {"plate": plates, "well": list(test.table["well"])}
    plated = Dataset.from_images(images, list(test.table["label"]), **columns)
    evaluation = evaluate(classifier, plated, nulls=False)
    assert evaluation.by_plate is not None
    assert set(evaluation.by_plate["plate"]) == {"one", "two"}
    for plate, rows in evaluation.predictions.groupby("plate"):
        mine = evaluation.by_plate[evaluation.by_plate["plate"] == plate]
        right = (rows["predicted"] == rows["label"]).sum()
        assert (mine["accuracy"] * mine["images"]).sum() == pytest.approx(right)
    assert evaluate(classifier, test, nulls=False).by_plate is None


def test_a_real_difference_is_said_to_be_better_than_labels_without_meaning(classifier, data_set):
    evaluation = evaluate(classifier, data_set)
    assert evaluation.nulls is not None
    assert set(evaluation.nulls.table["features"]) == {"intensity", "network"}
    assert "better than any labels without meaning" in evaluation.sentences[-1]


def test_features_that_tell_nothing_are_not_taken_for_evidence(classifier, data_set):
    shuffled = np.random.default_rng(0).permutation(data_set.table["well"].unique())
    half = set(shuffled[: len(shuffled) // 2])
    labels = np.where(data_set.table["well"].isin(half), *data_set.classes)
    images = [data_set.image(row) for row in range(len(data_set))]
    columns = {name: data_set.table[name].to_numpy() for name in ("plate", "well")}
    meaningless = Dataset.from_images(images, list(labels), **columns)
    evaluation = evaluate(classifier, meaningless)
    assert evaluation.nulls is not None
    assert evaluation.nulls.matched_by.empty
    assert "do not tell the true classes apart" in evaluation.sentences[-1]
    assert "cannot say" in evaluation.sentences[-1]


def test_the_result_can_be_written_as_json(classifier, data_set):
    import json

    text = json.dumps(evaluate(classifier, data_set).to_dict(), allow_nan=False)
    assert json.loads(text)["record"]["kind"] == "evaluation"


def test_unknown_classes_are_refused_by_name(classifier, data_set):
    images = [data_set.image(row) for row in range(2)]
    with pytest.raises(MismatchError, match="zebra"):
        evaluate(classifier, Dataset.from_images(images, ["diseased", "zebra"]))


def test_cancelled_before_the_first_image_says_so(classifier, data_set):
    evaluation = evaluate(classifier, data_set, cancelled=lambda: True)
    assert evaluation.metrics == {}
    assert "Cancelled" in evaluation.sentences[0]


@pytest.fixture
def on_disk(tmp_path, monkeypatch):
    """Images that are read anew each time, as those of a large data set are."""
    simulate_to_folder(tmp_path, 16, size=32, wells=8, seed=5)
    monkeypatch.setattr(ImageStore, "_keep", lambda *_: None)
    return Dataset.open(tmp_path)


def test_an_image_that_is_gone_costs_its_row_alone(classifier, on_disk):
    gone = Path(on_disk.table["path"].iloc[3])
    gone.unlink()
    found = evaluate(classifier, on_disk)
    assert gone.name in found.predictions["error"][3]
    assert found.metrics["images"] == len(on_disk) - 1
    assert found.nulls is not None


def test_images_that_vanish_on_the_way_cost_what_was_still_to_come(classifier, on_disk):
    def unplug(event):
        if isinstance(event, Started) and event.task.startswith("cheap features"):
            for path in on_disk.table["path"]:
                Path(path).unlink()

    found = evaluate(classifier, on_disk, on_event=unplug)
    assert found.metrics["images"] == len(on_disk)
    assert found.nulls is None
    assert found.sentences[0].startswith("Left out: the comparison with labels without meaning (")


def test_intensity_features_of_constant_images_are_finite():
    image = make_image(np.full((2, 16, 16), 7, np.uint16), ("c", "y", "x"), ("DAPI", "TMRM"))
    features = intensity_features(image)
    assert features.shape == (2 * 14 + 1,)
    assert np.isfinite(features).all()
    assert features[0] == 7


@pytest.mark.real_data
def test_leigh_ds_wt_is_called_no_evidence(real_data):
    """Its wells' positions are told apart as well as its classes, with intensities alone."""
    from napari_why.evaluation import compare_with_nulls
    from napari_why.evaluation.sentences import null_sentence

    data_set = Dataset.open(real_data / "leigh-ds-wt")
    features = np.array([intensity_features(data_set.image(row)) for row in range(len(data_set))])
    comparison = compare_with_nulls(
        {"intensity": features}, data_set.table, data_set.labels, data_set.group_columns, draws=3
    )
    by_wells = comparison.matched_by[comparison.matched_by["by"] == "plate and well"]
    assert any("block of plate" in labels for labels in by_wells["labels"])
    assert "no evidence that the classes differ" in null_sentence(comparison)
