"""What a counterfactual knows against itself: from the classifier to notes, record and verdict."""

import json
from contextlib import contextmanager
from dataclasses import replace

import pandas as pd
import pytest
import torch

import napari_why as why
from napari_why.core.events import Message, Started
from napari_why.counterfactuals import counterfactual, verdict
from napari_why.counterfactuals.remarks import collect_remarks, write_probability
from napari_why.datasets import Confounding, find_confounding
from napari_why.model.familiarity import what_nearly_tells_apart
from napari_why.model.likeness import Unlikeness
from napari_why.model.schema import CARD
from napari_why.output.layer_metadata import LayerFacts


def held_out(*matrices):
    names = ("test", "validation")
    return {
        name: {"images": {"confusion_matrix": matrix}}
        for name, matrix in zip(names, matrices, strict=False)
    }


SURE, AT_CHANCE, FEW = [[30, 1], [0, 29]], [[15, 15], [15, 15]], [[5, 3], [4, 4]]
EXCHANGED = [[1, 29], [28, 2]]


@pytest.fixture
def measured(small_classifier, coupling_network):
    """Return a maker of classifiers with a second network, and metrics as they are given."""

    def make(metrics, classes: int = 2):
        classifier = small_classifier(classes=classes)
        classifier.metrics = metrics
        classifier.card = {"confounding": Confounding().to_dict()}
        classifier.second_network = classifier.network
        return classifier

    return make


def test_nothing_is_held_against_an_ordinary_image(measured, raw_image) -> None:
    result = counterfactual(measured(held_out(SURE)), raw_image(0), probability=0.6, steps=2)
    found = verdict(replace(result, distance=0.5))
    assert found.reservations == ()
    assert found.line.startswith("flips (p ")
    assert result.unlike == ()
    assert result.circumstances.chance.state == "told apart"


@pytest.mark.parametrize("shared", [False, True])
def test_a_pair_with_plates_of_its_own_is_never_trusted(measured, raw_image, shared) -> None:
    """Of three classes only the two that never share a plate have something held against them."""
    labels = ["p"] * 12 + ["q"] * 12 + ["r"] * 24
    plates = ["P1"] * 12 + (["P1"] * 12 if shared else ["P2"] * 12) + ["P1", "P2"] * 12
    wells = [f"{letter}{number:02}" for letter in "ABCD" for number in range(1, 13)]
    table = pd.DataFrame({"label": labels, "plate": plates, "well": wells})
    found = find_confounding(table, labels, ("plate", "well"))
    classifier = measured(held_out([[30, 0, 0], [0, 30, 0], [0, 0, 30]]), classes=3)
    classifier.card = json.loads(json.dumps({"confounding": found.to_dict()}))
    names = {}
    for target in ("p", "r"):
        result = counterfactual(classifier, raw_image(1), target, steps=2)
        assert result.source_class == "q"
        names[target] = [text for text in verdict(result).reservations if "plates" in text]
        assert result.record.details["confounded"] == list(result.circumstances.confounded)
    assert names["r"] == []
    assert names["p"] == ([] if shared else ["q and p have plates of their own"])


@pytest.mark.parametrize(("strays", "doubted"), [(1, True), (4, True), (24, False)])
def test_stray_wells_do_not_take_plates_from_the_verdict(
    measured, raw_image, strays, doubted
) -> None:
    """Two classes share plates by a few wells, and a third one shares both with either."""
    labels = ["p", "q", "r"] * 32
    own = {"p": "P1", "q": "P2"}
    plates = [
        own[label] if label in own and number // 3 >= strays else f"P{1 + number % 2}"
        for number, label in enumerate(labels)
    ]
    plates[:2] = ["P2", "P1"]
    wells = [f"{letter}{number:02}" for letter in "ABCDEFGH" for number in range(1, 13)]
    table = pd.DataFrame({"label": labels, "plate": plates, "well": wells})
    found = find_confounding(table, labels, ("plate", "well"))
    assert found.confounded == ()
    classifier = measured(held_out([[30, 0, 0], [0, 30, 0], [0, 0, 30]]), classes=3)
    classifier.card = json.loads(json.dumps({"confounding": found.to_dict()}))
    CARD.check(classifier.card, "card")
    said = {}
    for target in ("p", "r"):
        result = counterfactual(classifier, raw_image(1), target, steps=2)
        said[target] = [text for text in verdict(result).reservations if "plates" in text]
    assert said["r"] == []
    assert [text.startswith("plates alone tell q and p in 9") for text in said["p"]] == (
        [True] if doubted else []
    )


def test_a_card_that_kept_no_pairs_does_not_know_what_is_uneven() -> None:
    known = {"apart": [], "factors": [{"level": "none"}]}
    assert what_nearly_tells_apart({"confounding": known}, "p", "q") == ()
    known["factors"].append({"level": "unbalanced"})
    assert what_nearly_tells_apart({"confounding": known}, "p", "q") is None
    assert what_nearly_tells_apart({}, "p", "q") is None


@pytest.mark.parametrize(
    ("metrics", "first"),
    [
        (held_out(AT_CHANCE), "not to be trusted: p and q are at chance (30 of 60 test images"),
        (
            held_out(EXCHANGED),
            "not to be trusted: p and q are below chance: are labels exchanged? (3",
        ),
        (held_out(FEW), "too few to tell p and q from chance (9 of 16 test images"),
        ({}, "not known whether p and q can be told apart"),
    ],
)
def test_what_held_out_images_do_not_show_is_told_before_anything_is_changed(
    measured, raw_image, metrics, first
) -> None:
    events = []
    result = counterfactual(
        measured(metrics), raw_image(0), probability=0.6, steps=2, on_event=events.append
    )
    kinds = [type(event) for event in events]
    assert kinds.index(Message) < kinds.index(Started)
    assert "between p and q" in events[0].text or "p and q" in events[0].text
    assert verdict(replace(result, distance=0.5)).line.startswith(first)
    assert any(events[0].text in note for note in result.notes)
    assert result.record.details["told_apart"]["state"] == result.circumstances.chance.state
    assert result.record.details["trustworthy"] is False


def test_of_three_classes_the_pair_is_judged_and_not_the_classifier(measured, raw_image) -> None:
    matrix = [[30, 0, 0], [0, 15, 15], [0, 15, 15]]
    classifier, image = measured(held_out(matrix), classes=3), raw_image(1)
    source = classifier.classes[int(classifier.logits(classifier.prepare(image)).argmax())]
    assert source == "q"
    states = {
        target: counterfactual(classifier, image, target, steps=2).circumstances.chance.state
        for target in ("p", "r")
    }
    assert states == {"p": "told apart", "r": "chance"}


@pytest.fixture
def short_of(measured):
    """Return a context in which the head asks for more than the complete change of an image."""

    @contextmanager
    def make(image, matrix=SURE):
        classifier = measured(held_out(matrix))
        complete = counterfactual(classifier, image, steps=2).special_images["alpha1"]
        logits = classifier.logits(classifier.prepare(image.copy(data=complete)))[0]
        before = classifier.network.bias.clone()
        try:
            classifier.network.bias[0] += 1.2 * (logits[1] - logits[0])
            yield classifier
        finally:
            classifier.network.bias.copy_(before)  # the network is shared by tests

    return make


@pytest.mark.parametrize("method", ["transport", "gaussian_transport"])
@pytest.mark.parametrize("matrix", [SURE, AT_CHANCE, FEW, EXCHANGED])
def test_a_complete_change_that_does_not_flip_is_told_and_never_enlarged(
    short_of, raw_image, method, matrix
) -> None:
    """Whether the classifier is sure or at chance."""
    image = raw_image(0)
    with short_of(image, matrix) as classifier:
        result = counterfactual(classifier, image, "q", method, steps=3)
    assert result.special_alphas["alpha1"] == result.alphas[-1] == 1.0
    assert result.special_alphas["boundary"] > 1
    assert result.valid is False
    p = write_probability(float(result.special_probabilities["alpha1"][1]))
    said = f"the complete change towards q leaves p(q) at {p}: this classifier does not see it"
    found = verdict(result)
    assert said in result.notes
    assert said in result.record.details["notes"]
    assert said in found.reservations
    where = (
        f"q is reached only at alpha {result.special_alphas['boundary']:.3g}, beyond the complete"
    )
    assert any(note.startswith(where) for note in result.notes)
    assert not any("undid the flip" in note for note in result.notes)
    assert not found.trustworthy
    if not found.void:
        assert found.line.startswith(f"does not flip; {said}; ")
    further = counterfactual(classifier, image, steps=3, method=method, alpha_range=(0, 2))
    assert further.alphas[-1] == 2.0  # who asks for a longer series gets it
    assert further.special_alphas["alpha1"] == 1.0


def test_the_export_is_told_apart_from_a_classifier_that_does_not_see_the_change(
    small_classifier, raw_image
) -> None:
    """The head calls the complete change p; as exported, half of it lies below black."""
    dark = small_classifier(std=9.0, mean=0.0)
    dark.metrics = held_out(SURE)
    result = counterfactual(dark, raw_image(1, "uint16", std=9.0, mean=0.0), "p", steps=2)
    assert result.valid is False
    assert result.special_alphas["alpha1"] == 1.0 < result.special_alphas["boundary"]
    known = result.circumstances
    assert known.head_flips is True
    p, of_head = (
        write_probability(value)
        for value in (float(result.special_probabilities["alpha1"][0]), known.head_probability)
    )
    said = (
        "rounding, clipping or channels put back undid the flip: with the complete change the head has "
        f"p(p) at {of_head}, the exported image p(p) at {p}"
    )
    assert said in result.notes
    assert said in verdict(result).reservations
    assert not any("does not see it" in note for note in result.notes)
    as_float = counterfactual(dark, raw_image(1, "float32", std=9.0, mean=0.0), "p", steps=2)
    assert as_float.valid  # which is not clipped


def test_what_the_check_finds_goes_everywhere(measured, raw_image, monkeypatch) -> None:
    classifier = measured(held_out(SURE))
    unlike = (
        Unlikeness("constant", "channel nuclei is 7 everywhere"),
        Unlikeness("pixel type", "pixels are uint16; trained on float32"),
    )
    notes = tuple(found.sentence for found in unlike)
    monkeypatch.setattr(classifier, "unlike", lambda _image: unlike, raising=False)
    result = counterfactual(classifier, raw_image(0), steps=2)
    assert result.unlike == notes
    assert result.record.details["unlike"] == list(notes)
    for note in notes:
        assert any(note in said for said in result.notes)
    found = verdict(result)
    assert found.line.startswith("not to be trusted: unlike the training images (channel nuclei")
    assert notes[1] in found.reservations


def test_the_second_networks_word_on_the_source_is_in_the_verdict(
    measured, raw_image, coupling_network
) -> None:
    classifier, image = measured(held_out(SURE)), raw_image(0)
    other = coupling_network(seed=3)
    with torch.no_grad():
        other.weights.zero_()
        other.bias.copy_(torch.tensor([0.0, 5.0]))  # q, whatever it sees
    classifier.second_network = other
    found = verdict(counterfactual(classifier, image, steps=2))
    assert found.second_agrees is True
    assert found.second_called_source is True
    assert "the second network calls the source q already" in found.reservations
    assert "agrees" not in found.line


def test_a_source_that_is_predicted_as_the_target_proves_nothing(measured, raw_image) -> None:
    image = raw_image(1)
    found = verdict(counterfactual(measured(held_out(SURE)), image, "q", source="p", steps=2))
    assert found.line.startswith("not to be trusted: predicted as q before anything is changed")


def test_every_reservation_of_a_result_is_in_its_notes(measured, raw_image) -> None:
    result = counterfactual(measured({}), raw_image(0), method="mean_shift", steps=2)
    remarks = collect_remarks(result)
    assert sum(bool(remark.short) for remark in remarks) >= 2
    for remark in remarks:
        assert (remark.sentence or remark.short) in result.notes
    assert any(note.startswith("Mean shift is an adversarial") for note in result.notes)
    assert "Mean shift is an adversarial direction of this one network" in verdict(result).line


def test_layers_carry_the_reservations_and_old_ones_are_not_called_good(
    measured, raw_image
) -> None:
    result = counterfactual(measured(held_out(AT_CHANCE)), raw_image(0), steps=2)
    facts = LayerFacts.of(why.to_layers(result)[0])
    assert facts.verdict == verdict(result).line
    assert facts.reservations == verdict(result).reservations
    assert facts.further["trustworthy"] is False
    assert LayerFacts.from_metadata({"napari_why": {"verdict": "flips"}}).reservations is None
