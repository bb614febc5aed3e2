"""A classifier that version 0.1.0 saved loads, predicts and explains as it did."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import napari_why as why
from napari_why.core.errors import ModelFileError
from napari_why.counterfactuals import verdict
from napari_why.images import make_image
from napari_why.model.storage import find_saved

SAVED = Path(__file__).parent / "saved_by_0.1.0"


def test_a_classifier_of_the_first_version_is_what_it_was() -> None:
    classifier, expected = why.load(SAVED), np.load(SAVED / "expected.npz")
    image = make_image(expected["image"], "cyx", classifier.channels)
    assert classifier.predict(image).logits == pytest.approx(expected["logits"], abs=1e-4)
    result = why.counterfactual(classifier, image, steps=3)
    np.testing.assert_allclose(result.alphas, expected["alphas"])
    # rounding to whole grey levels may fall the other way on another processor
    assert np.abs(result.images.astype(int) - expected["images"].astype(int)).max() <= 1


def test_what_stands_under_no_checksum_is_told_and_stays_told(tmp_path: Path) -> None:
    with pytest.warns(
        UserWarning, match="second network, metrics and card stand under no checksum"
    ):
        classifier = why.load(SAVED)
    assert len(classifier.notes) == 1
    again = why.load(classifier.save(tmp_path / "again"))
    assert again.notes == classifier.notes  # a new checksum makes nothing true that was not known


def test_a_record_of_the_first_version_finds_its_classifier(tmp_path: Path) -> None:
    called_then = json.loads((SAVED / "classifier.json").read_text())["fingerprint"]
    classifier = why.load(SAVED)
    assert classifier.is_called(called_then)
    assert classifier.is_called(classifier.fingerprint)
    assert classifier.fingerprint != called_then == classifier.former_fingerprint
    again = classifier.save(tmp_path / "again")
    for name in (called_then, classifier.fingerprint):
        assert find_saved([tmp_path, SAVED], name) == SAVED
        assert find_saved([tmp_path, again], name) == again
    assert find_saved([SAVED], "0" * 64) is None


def test_a_result_of_today_finds_a_classifier_that_tells_less(tmp_path: Path) -> None:
    """Of its choices version 0.1.0 did not say who made them."""
    folder = shutil.copytree(SAVED, tmp_path / "model")
    file = folder / "classifier.json"
    plain = json.loads(file.read_text())
    choice = {"source": 0, "target": 1, "mass": "full", "overshoot": 1.0, "reset_channels": []}
    plain["latent_statistics"]["transport"]["choices"] = [{**choice, "scores": None}]
    file.write_text(json.dumps(plain))
    assert find_saved([folder], why.load(folder).fingerprint) == folder


def test_saved_again_it_is_the_same_classifier(tmp_path: Path) -> None:
    classifier = why.load(SAVED)
    classifier.save(tmp_path / "again")
    again = why.load(tmp_path / "again")
    assert again.fingerprint == classifier.fingerprint
    assert again.latent_statistics is not None
    assert classifier.latent_statistics is not None
    assert set(again.latent_statistics.parts) == set(classifier.latent_statistics.parts)


LATER = [
    ("card", "seen_groups", None),
    ("card", "confounding", None),
    ("card", "duplicates_left_out", []),
    ("card.images", "likeness", None),
    ("card.images", "measured", 3),
    ("metrics.validation.images", "balanced_accuracy", 1.0),
    ("metrics.test.groups", "majority_accuracy", 0.5),
]


@pytest.mark.parametrize(("part", "name", "value"), LATER)
def test_what_the_first_version_never_wrote_is_not_taken_from_it(
    tmp_path: Path, part: str, name: str, value: object
) -> None:
    """Else a folder is freed of its checksum by calling it old."""
    file = shutil.copytree(SAVED, tmp_path / "model") / "classifier.json"
    plain = json.loads(file.read_text())
    inner = plain
    for key in part.split("."):
        inner = inner[key]
    inner[name] = value
    file.write_text(json.dumps(plain))
    with pytest.raises(ModelFileError, match=f"found {part}.{name} in format version 1"):
        why.load(file)


def test_metrics_under_no_checksum_are_told_in_every_verdict(tmp_path: Path) -> None:
    """Made perfect by hand, they say that the classes are told apart; nobody has measured that."""
    file = shutil.copytree(SAVED, tmp_path / "model") / "classifier.json"
    plain = json.loads(file.read_text())
    for found in plain["metrics"].values():
        found["images"] |= {"images": 80, "accuracy": 1.0, "confusion_matrix": [[40, 0], [0, 40]]}
        del found["groups"], found["by_group"]
    file.write_text(json.dumps(plain))
    classifier = why.load(file)
    again = why.load(classifier.save(tmp_path / "again"))
    image = make_image(np.load(SAVED / "expected.npz")["image"], "cyx", classifier.channels)
    for one in (classifier, again):
        result = why.counterfactual(one, image, steps=2)
        assert result.circumstances.chance.state == "told apart"
        found = verdict(result)
        assert any("metrics stand under no checksum" in said for said in found.reservations)
        assert any("metrics stand under no checksum" in note for note in result.notes)
        assert found.trustworthy is False


def test_a_saved_overshoot_loads_and_stays_and_is_not_applied(tmp_path: Path) -> None:
    """A change is as large as the classes differ; who wants what it gave asks for it."""
    folder = shutil.copytree(SAVED, tmp_path / "model")
    file = folder / "classifier.json"
    plain = json.loads(file.read_text())
    choice = {"mass": "excess", "overshoot": 1.3, "reset_channels": [], "scores": None}
    plain["latent_statistics"]["transport"]["choices"] = [
        {**choice, "source": source, "target": target} for source, target in ((0, 1), (1, 0))
    ]
    file.write_text(json.dumps(plain))
    classifier = why.load(why.load(folder).save(tmp_path / "again"))
    transport = classifier.latent_statistics.transport
    assert {one.overshoot for one in transport.choices.values()} == {1.3}
    image = make_image(np.load(SAVED / "expected.npz")["image"], "cyx", classifier.channels)
    result = why.counterfactual(classifier, image, steps=2)
    assert result.alphas.tolist() == [0.0, 1.0]
    assert any("saved an overshoot of 1.3" in note for note in result.notes)
    assert why.counterfactual(classifier, image, steps=2, overshoot=1.3).alphas[-1] == 1.3
