"""``attribute`` runs a method on a raw image and records how."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from napari_why.attribution import (
    METHODS,
    EmbeddingCoordinate,
    Evidence,
    attribute,
    attribution_method,
)
from napari_why.core.errors import MismatchError, ParameterError, UnsupportedNetworkError
from napari_why.core.events import Advanced, Finished, Message, Started
from napari_why.model import Classifier
from napari_why.networks import build_network
from napari_why.output.images import result_image
from napari_why.output.layer_metadata import LayerFacts
from napari_why.output.layers import to_layers


def test_the_probability_is_that_of_the_class_explained(classifier, image) -> None:
    probabilities = classifier.predict(image).probabilities
    for name in classifier.classes:
        found = attribute(classifier, image, "saliency", name)
        assert found.probability == pytest.approx(probabilities[name])
    other = attribute(classifier, image, "saliency", EmbeddingCoordinate(0))
    assert other.probability is None


@pytest.mark.parametrize("method", sorted(METHODS))
def test_every_method_gives_signed_float_maps_with_a_record(
    classifier, image, given, method: str
) -> None:
    events: list[object] = []
    context = given(method, classifier.prepare(image), classifier, image)
    if METHODS[method].unsuitable(classifier.network):
        with pytest.raises(UnsupportedNetworkError, match=method):
            attribute(classifier, image, method, "treated", **context)
        return
    result = attribute(classifier, image, method, "treated", on_event=events.append, **context)
    assert result.maps.shape == (2, 16, 16)
    assert result.joint.shape == (16, 16)
    assert result.maps.dtype == result.joint.dtype == np.float32
    assert (result.maps < 0).any() or method == "sensitivity"  # a square has no sign
    assert (result.maps > 0).any()
    assert result.target == "treated"
    assert result.channels == ("nuclei", "mitochondria")
    assert result.unit.startswith(("logit", "bit per pixel", "squared logit", "modified gradient"))
    assert (result.gap is None) == (result.gap_meaning == "")
    assert result.grid.shape == (16, 16)
    record = json.loads(result.record.to_json())
    assert record["source"] == "field.tif"
    assert record["classifier"] == classifier.fingerprint
    assert record["parameters"] == {p.name: p.default for p in METHODS[method].parameters}
    assert record["details"]["target"] == "treated"
    assert record["details"]["partial"] is False
    assert events[0] == Message("explaining on cpu")
    assert record["details"]["device"] == "cpu"
    started, *steps, finished = events[1:]
    assert isinstance(started, Started)
    assert all(isinstance(step, Advanced) for step in steps)
    assert steps[-1].done == started.total
    assert finished == Finished(partial=False)


def test_predicted_class_is_explained_unless_another_is_asked_for(classifier, image) -> None:
    logits = classifier.network(classifier.prepare(image))[0]
    best = int(logits.argmax())
    assert attribute(classifier, image, "saliency").target == classifier.classes[best]
    for index, name in enumerate(classifier.classes):
        by_index = attribute(classifier, image, "input_x_gradient", index)
        by_name = attribute(classifier, image, "input_x_gradient", name)
        assert by_index.target == by_name.target == name
        assert by_index.score == pytest.approx(logits[index].item())
        assert np.array_equal(by_index.maps, by_name.maps)


@pytest.mark.parametrize("target", ["dead", 3, -1, True, 1.0])
def test_unknown_class_is_refused(classifier, image, target) -> None:
    with pytest.raises(ParameterError, match="diseased, treated, healthy"):
        attribute(classifier, image, "saliency", target)


def test_unknown_method_and_parameters_are_refused(classifier, image) -> None:
    with pytest.raises(ParameterError, match=r"expected one of .*occlusion"):
        attribute(classifier, image, "guess")
    with pytest.raises(ParameterError, match="window: found 0; expected 1 to 1024 px"):
        attribute(classifier, image, "occlusion", window=0)
    with pytest.raises(ParameterError, match="found parameter size; expected one of window"):
        attribute(classifier, image, "occlusion", size=4)
    with pytest.raises(ParameterError, match="layer: found 'first'; expected 'last' or"):
        attribute(classifier, image, "grad_cam", layer="first")


def test_baseline_zero_is_no_light_in_raw_units(classifier, image) -> None:
    black = image.copy(data=np.zeros_like(image.values))
    assert not attribute(classifier, black, "occlusion", baseline="zero").maps.any()
    assert attribute(classifier, black, "occlusion", baseline="mean").maps.any()
    assert attribute(classifier, black, "integrated_gradients", baseline="zero").gap == 0


def test_an_empty_map_is_not_taken_for_one_that_found_nothing(
    classifier, image, small_network
) -> None:
    class Threshold(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (x > 0).to(x.dtype) + 0 * x

    parts = nn.Sequential(Threshold(), nn.Conv2d(2, 4, 3))
    blind = Classifier(small_network(parts, 4), classifier.preprocessing, classifier.classes)
    for method in ("saliency", "input_x_gradient"):
        found = attribute(blind, image, method)
        assert not found.maps.any()
        assert found.notes[0].startswith("the map is 0 everywhere")
        assert json.loads(found.record.to_json())["details"]["notes"] == list(found.notes)
    # what needs no gradient finds what the network looks at
    assert not any(
        "0 everywhere" in note for note in attribute(blind, image, window=4, stride=4).notes
    )


def test_not_finite_logits_are_refused(classifier, image, small_network) -> None:
    network = small_network(nn.Conv2d(2, 4, 3), 4)
    network.linear.bias.fill_(torch.nan)
    broken = Classifier(network, classifier.preprocessing, classifier.classes)
    with pytest.raises(MismatchError, match="not finite"):
        attribute(broken, image, "saliency")


def test_images_that_do_not_fit_are_refused(classifier, image) -> None:
    with pytest.raises(MismatchError, match="mitochondria is missing"):
        attribute(classifier, image[:1])
    with_nan = image.astype(np.float32)
    with_nan[0, 3, 3] = np.nan
    with pytest.raises(MismatchError, match="1 NaN"):
        attribute(classifier, with_nan)


def test_other_size_and_order_of_channels(classifier, image) -> None:
    large = image.pad(y=(4, 4), x=(8, 8), mode="edge")
    result = attribute(classifier, large, "cam")
    assert result.maps.shape == (2, 16, 16)
    assert result.grid.shape == (16, 16)
    assert result.grid.step == (24 / 16, 32 / 16)
    swapped = attribute(classifier, image[::-1], "input_x_gradient")
    assert swapped.channels == ("nuclei", "mitochondria")
    straight = attribute(classifier, image, "input_x_gradient")
    assert np.array_equal(swapped.maps, straight.maps)


def test_cancelled_work_returns_what_there_is(classifier, image) -> None:
    events: list[object] = []
    result = attribute(
        classifier, image, "occlusion", stride=4, window=4, batch=3, on_event=events.append,
        cancelled=lambda: len(events) > 2,
    )  # fmt: skip
    assert result.record.details["partial"] is True
    assert events[-1] == Finished(partial=True)
    assert result.maps[:, 0, 0].any()
    assert not result.maps[:, -1, -1].any()


class Shifted(nn.Module):
    """Adds so much to every map that next to nothing of a logit comes from the pixels."""

    def __init__(self, shift: float) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3)
        with torch.no_grad():
            self.conv.bias.fill_(shift)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x).relu()


@pytest.mark.parametrize("method", ["lrp", "integrated_gradients", "cam"])
@pytest.mark.parametrize("shift", [0.0, 3.0, 100.0])
def test_what_no_pixel_holds_is_told_beside_the_gap(
    classifier, image, small_network, method: str, shift: float
) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = small_network(Shifted(shift), 4)
    shifted = Classifier(network, classifier.preprocessing, classifier.classes)
    found = attribute(shifted, image, method, 1)
    held = found.joint.sum(dtype=np.float64)
    assert found.gap < 0.01
    assert found.explained == pytest.approx(found.score, rel=1e-5)
    assert held + found.constants == pytest.approx(found.score, rel=0.01)
    assert found.constants_meaning
    told = found.record.details
    assert told["constants"] == found.constants == found.facts["constants"]
    assert told["map_sum"] == pytest.approx(held)
    if (
        shift == 100 and method != "cam"
    ):  # the gap is as small as ever, and the map is next to empty
        assert abs(held) < 0.1 * abs(found.score)
        assert "in constants" in found.completeness


@pytest.mark.parametrize(
    ("held", "explained", "words"),
    [
        (1.42, 1.0, "The map sums to 142% of the score; -42% lies in constants (biases)."),
        (-0.5, -1.0, "The map sums to 50% of the score; 50% lies in constants (biases)."),
        (5.0, 0.001, "5 and -5 lies in constants (biases), of which little is left"),
    ],
)
def test_shares_are_of_the_score_unless_it_is_next_to_nothing(
    classifier, image, held: float, explained: float, words: str
) -> None:
    found = attribute(classifier, image, "lrp")
    joint = np.full((16, 16), held / 256, dtype=np.float32)
    made = replace(
        found, joint=joint, explained=explained, constants=explained - held,
        constants_meaning="biases",
    )  # fmt: skip
    assert words in made.completeness


@pytest.mark.parametrize("layer", ["block1", "block2", "block3"])
def test_cam_of_a_block_says_whose_logit_it_explains(classifier, image, layer: str) -> None:
    network = build_network(
        "cam_net", input_channels=2, classes=3, size=16, seed=0, joint_loss=True
    )
    deep = Classifier(network, classifier.preprocessing, classifier.classes)
    found = attribute(deep, image, "cam", "treated", layer=layer)
    maps = deep.network.feature_maps(deep.prepare(image))
    assert found.score == pytest.approx(deep.network(deep.prepare(image))[0, 1].item())
    assert found.explained == pytest.approx(network.block_logits(maps)[layer][0, 1].item())
    assert found.explained != pytest.approx(found.score)
    assert f"of the score that the classifier of {layer} gives" in found.completeness
    assert found.record.parameters == {"layer": layer}


def test_what_is_unlike_the_training_images_stays_with_the_map(classifier, image) -> None:
    known = {
        "dtypes": ["uint16"],
        "shapes": [[image.sizes["y"], image.sizes["x"]]],
        "pixel_size": None,
        "unit": "pixel",
        "means": {name: [1.0, 2.0] for name in classifier.channels},
    }
    doubted = replace(classifier, card={"images": known})
    constant = image.copy(data=np.full_like(image.values, 500))
    result = attribute(doubted, constant, "saliency")
    assert result.notes == doubted.check(constant) == doubted.predict(constant).notes
    assert "channel nuclei is 500 everywhere" in result.notes
    assert json.loads(result.record.to_json())["details"]["notes"] == list(result.notes)
    for layer in to_layers(result):
        facts = LayerFacts.of(layer)
        assert tuple(facts.notes) == result.notes
        assert tuple(LayerFacts.from_metadata(facts.to_look(), facts.record).notes) == result.notes
    (note,) = attribute(classifier, image, "saliency").notes
    assert note.startswith("not known whether the image is like the training images")


def test_a_logit_of_zero_has_no_shares(classifier, image) -> None:
    found = attribute(classifier, image, "lrp")
    nothing = np.zeros_like(found.joint)
    made = replace(found, joint=nothing, explained=0.0, constants=0.0, constants_meaning="biases")
    assert "of which little is left: the score is 0." in made.completeness


@pytest.mark.parametrize(
    ("matrix", "words"),
    [
        ([[15, 15], [15, 15]], "are at chance (30 of 60 test images right"),
        ([[1, 29], [28, 2]], "are below chance: are labels exchanged? (3 of 60"),
        ([[30, 0], [0, 30]], None),
        ([[5, 3], [4, 4]], None),
    ],
)
def test_a_pair_at_chance_is_told_of_prediction_and_map(classifier, image, matrix, words) -> None:
    """Of three classes or more: the pair is of the class and its strongest rival on the image."""
    count = len(classifier.classes)
    logits = classifier.logits(classifier.prepare(image))[0].numpy()
    best, second = (int(index) for index in np.argsort(logits)[::-1][:2])
    whole = 30 * np.eye(count, dtype=int)
    whole[np.ix_([best, second], [best, second])] = matrix
    judged = replace(classifier, metrics={"test": {"images": {"confusion_matrix": whole.tolist()}}})
    known, plain = classifier.predict(image).notes, judged.predict(image)
    pair = {classifier.classes[best], classifier.classes[second]}
    for target in (None, classifier.classes[best], classifier.classes[second]):
        result = attribute(judged, image, "saliency", target)
        told = result.notes[len(known) :]
        assert result.notes[: len(known)] == known
        assert json.loads(result.record.to_json())["details"]["notes"] == list(result.notes)
        for layer in to_layers(result):
            assert tuple(LayerFacts.of(layer).notes) == result.notes
        if target is None:
            assert plain.notes == result.notes
            assert len(plain.unlike) == len(known)
            assert judged.predict_many([image])["notes"][0] == "; ".join(plain.notes)
        if words is None:
            assert told == ()
        else:
            (note,) = told
            assert words in note
            assert set(note.split(" are ")[0].split(" and ")) == pair
    # between others than these two it says nothing against a map
    third = next((k for k in range(count) if k not in (best, second)), None)
    if third is not None:
        assert attribute(judged, image, "saliency", third).notes == known


def test_a_map_that_is_not_finite_is_refused(classifier, image) -> None:
    @attribution_method(title="Divided by nothing", source="")
    def divided(network, x, target):
        """One value is infinite."""
        maps = torch.zeros_like(x[0])
        maps[0, 3, 3] = torch.inf
        return Evidence(maps, maps.sum(dim=0), "logit per pixel")

    try:
        with pytest.raises(MismatchError, match="divided: found 2 values of the map"):
            attribute(classifier, image, "divided")
    finally:
        METHODS.pop("divided")


@pytest.mark.parametrize(
    ("method", "parts"),
    [
        ("saliency", []),
        ("full_grad", ["layer input x gradient", "layer biases", "layer activations"]),
        ("smoothgrad", ["standard error"]),
    ],
)
def test_what_a_map_is_made_of_and_its_error_can_be_seen(classifier, image, method, parts) -> None:
    result = attribute(classifier, image, method, "treated")
    shown = to_layers(result)
    assert [LayerFacts.of(layer).channel for layer in shown] == [*parts, *result.channels, None]
    assert [layer.visible for layer in shown] == [False] * (len(shown) - 1) + [True]
    for part, layer in zip(parts, shown, strict=False):
        expected = result.layers.get(part.removeprefix("layer "), result.standard_error)
        np.testing.assert_array_equal(layer.data, expected)
    # files are what they were, the joint map last
    assert result_image(result).coords["c"].values.tolist() == [*result.channels, "all channels"]
