"""Classifiers whose rule is known, explained through an invertible network that follows another."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from napari_why.core.errors import MismatchError, ParameterError, UnsupportedNetworkError
from napari_why.counterfactuals import counterfactual, verdict
from napari_why.datasets import Preprocessing
from napari_why.fitting import fit
from napari_why.images import make_image, write
from napari_why.measurement import find_used_change
from napari_why.model import Classifier
from napari_why.networks import wrap
from napari_why.simulation import simulate

CHANNELS = ("nuclei", "mitochondria")
# Between the mean grey levels of the two classes, about 1000 and 1140 (see class_images), and how many
# grey levels make a unit of the logit.
THRESHOLD, SCALE = 1070.0, 10.0


class Channel(nn.Module):
    """Feature maps that are one channel of the image."""

    def __init__(self, index: int) -> None:
        super().__init__()
        self.index = index

    def forward(self, x):
        return x[:, self.index : self.index + 1]


class MeanAbove(nn.Module):
    """The second class where the mean of the map is above the threshold."""

    def __init__(self, classes: int = 2, threshold: float = THRESHOLD) -> None:
        super().__init__()
        # a weight, so that the module has a device
        self.factor = nn.Parameter(torch.full((1, classes), -1000.0))
        self.threshold = threshold
        with torch.no_grad():
            self.factor[0, 0], self.factor[0, 1] = 0.0, 1 / SCALE

    def forward(self, maps):
        excess = maps.mean(dim=(1, 2, 3))[:, None] - self.threshold
        # classes beyond the second are never predicted
        return torch.where(self.factor < -1, self.factor, excess * self.factor)


def threshold_classifier(
    classes=("p", "q"), channels=CHANNELS, looks_at="mitochondria", size=None, sizing="none", **rule
) -> Classifier:
    """Return a classifier of raw grey levels whose rule is one threshold, wrapped as users do."""
    module = wrap(
        Channel(channels.index(looks_at)),
        MeanAbove(len(classes), **rule),
        input_channels=len(channels),
        classes=len(classes),
    )
    ones = (1.0,) * len(channels)
    plain = Preprocessing(channels, size, sizing, "linear", (0.0,) * len(channels), ones, ones)
    return Classifier(module, plain, tuple(classes))


@pytest.fixture
def generator(fitted_network):
    """Return an invertible network of 16 x 16 pixels with statistics, as a classifier."""

    def make(size: int | None = 16, sizing: str = "resize", **further) -> Classifier:
        network, statistics = fitted_network(2)
        preprocessing = Preprocessing(
            CHANNELS, size, sizing, "linear", (1000.0,) * 2, (200.0,) * 2, (1.0, 1.0)
        )
        return Classifier(network, preprocessing, ("p", "q"), statistics, **further)

    return make


def enlarged(image):
    """Return the image with each pixel four times."""
    return make_image(np.kron(image.values, np.ones((1, 2, 2), image.dtype)), "cyx", CHANNELS)


@pytest.mark.parametrize(("label", "wanted"), [(0, "q"), (1, "p")])
def test_the_classifier_that_is_asked_decides(generator, raw_image, label, wanted) -> None:
    asked, image = threshold_classifier(), raw_image(label)
    result = counterfactual(asked, image, through=generator(), steps=5)
    means = result.images[:, 1].astype(float).mean(axis=(1, 2))
    np.testing.assert_allclose(
        result.probabilities[:, 1], 1 / (1 + np.exp((THRESHOLD - means) / SCALE)), atol=1e-5
    )
    assert result.source_class == "pq"[label]
    assert result.target == wanted
    after = result.special_images["alpha1"][1].mean()
    assert result.valid == ((after > THRESHOLD) == (wanted == "q"))
    assert result.valid
    # undecided to within a grey level, though the generator's own head is not there
    assert abs(result.special_images["boundary"][1].mean() - THRESHOLD) < 1
    assert result.probabilities.dtype == np.float32
    assert result.images.dtype == image.dtype


def test_pixels_are_those_of_the_generators_own_counterfactual(generator, raw_image) -> None:
    made = generator()
    own = counterfactual(made, raw_image(0), "q", alpha_range=(0, 1), steps=3)
    asked = counterfactual(
        threshold_classifier(), raw_image(0), "q", through=made, alpha_range=(0, 1), steps=3
    )
    np.testing.assert_array_equal(own.images, asked.images)
    assert not np.allclose(own.probabilities, asked.probabilities)
    assert own.distance == pytest.approx(
        counterfactual(made, raw_image(0), "q", through=made, steps=2).distance
    )


def test_the_source_is_what_the_asked_classifier_predicts(generator, raw_image) -> None:
    made, image = generator(), raw_image(0)
    assert made.predict(image).label == "p"
    # everything is above this threshold: to the classifier that is asked, the image is a q
    result = counterfactual(threshold_classifier(threshold=500.0), image, through=made, steps=2)
    assert (result.source_class, result.target) == ("q", "p")
    assert result.valid == bool(result.special_images["alpha1"][1].mean() < 500)
    with pytest.raises(ParameterError, match="predicted as q already"):
        counterfactual(threshold_classifier(threshold=500.0), image, "q", through=made)
    told = counterfactual(
        threshold_classifier(threshold=500.0), image, "q", through=made, source="p", steps=2
    )
    assert "predicted as q before anything is changed" in verdict(told).line


def test_it_takes_its_channels_by_name(generator, raw_image) -> None:
    turned = threshold_classifier(channels=CHANNELS[::-1])
    alone = threshold_classifier(channels=("mitochondria",))
    first, second = (
        counterfactual(asked, raw_image(0), through=generator(), steps=3)
        for asked in (turned, alone)
    )
    np.testing.assert_array_equal(first.probabilities, second.probabilities)
    assert first.channels == second.channels == CHANNELS
    assert not any("does not look at" in note for note in first.notes)
    assert any("does not look at nuclei" in note for note in second.notes)


def test_intensities_are_prepared_by_each_itself(generator, raw_image) -> None:
    asked = threshold_classifier(threshold=np.log1p(THRESHOLD))
    mapped = replace(asked.preprocessing, intensity="log1p")
    asked = replace(asked, preprocessing=mapped)
    result = counterfactual(asked, raw_image(0), through=generator(), steps=3)
    means = np.log1p(result.images[:, 1].astype(float)).mean(axis=(1, 2))
    logits = (means - np.log1p(THRESHOLD)) / SCALE
    np.testing.assert_allclose(result.probabilities[:, 1], 1 / (1 + np.exp(-logits)), atol=1e-5)


@pytest.mark.parametrize(
    ("made", "seen"),
    [
        ({}, {"size": 16, "sizing": "resize"}),
        ({}, {"size": 8, "sizing": "resize"}),  # reduced further: it sees what it saw of the source
        ({"sizing": "crop"}, {"size": 16, "sizing": "crop"}),
        ({"sizing": "crop"}, {"size": 8, "sizing": "crop"}),
    ],
)
def test_grids_that_fit(generator, raw_image, made, seen) -> None:
    image = enlarged(raw_image(0))
    asked = threshold_classifier(**seen)
    result = counterfactual(asked, image, through=generator(**made), steps=2)
    assert result.images.shape == (2, 2, 16, 16)
    assert result.grid == generator(**made).preprocessing.grid(image)
    # the unchanged image on the generator's grid shows the classifier what the source shows it
    shown = make_image(result.images[0], "cyx", CHANNELS)
    np.testing.assert_allclose(
        asked.prepare(shown).numpy(),
        asked.prepare(image).numpy(),
        atol=60 if "resize" in seen.values() else 1,
    )


@pytest.mark.parametrize(
    ("made", "seen", "reason"),
    [
        ({}, {"size": 32, "sizing": "resize"}, "blurred"),
        ({}, {}, "another scale"),
        ({}, {"size": 16, "sizing": "crop"}, "another scale"),
        ({"sizing": "crop"}, {"size": 16, "sizing": "resize"}, "another scale"),
        ({"sizing": "crop"}, {"size": 24, "sizing": "crop"}, "too small"),
        ({"sizing": "crop"}, {}, "another part"),
    ],
)
def test_grids_that_do_not_fit_are_refused(generator, raw_image, made, seen, reason) -> None:
    with pytest.raises(MismatchError, match=reason):
        counterfactual(
            threshold_classifier(**seen), enlarged(raw_image(0)), through=generator(**made)
        )


def test_channels_that_the_generator_lacks_are_refused(generator, raw_image) -> None:
    asked = threshold_classifier(channels=(*CHANNELS, "actin"))
    with pytest.raises(MismatchError, match="expected actin too, which the classifier looks at"):
        counterfactual(asked, raw_image(0), through=generator())


def test_classes_are_matched_by_name(generator, raw_image) -> None:
    # another order, and one class more
    asked = threshold_classifier(("q", "p", "dead"))
    result = counterfactual(asked, raw_image(0), through=generator(), steps=2)
    assert result.classes == ("q", "p", "dead")
    assert (result.source_class, result.target) == ("q", "p")
    with pytest.raises(ParameterError, match="target: found dead"):
        counterfactual(asked, raw_image(0), "dead", through=generator())
    with pytest.raises(ParameterError, match=r"source: found a, which .* they share none"):
        counterfactual(threshold_classifier(("a", "b")), raw_image(0), through=generator())


def test_a_classifier_that_nobody_measured_is_said_to_be_one(generator, raw_image) -> None:
    result = counterfactual(threshold_classifier(), raw_image(0), through=generator(), steps=2)
    said = verdict(result)
    assert "not known whether p and q can be told apart" in said.reservations
    assert any("holds no metrics of held-out images" in note for note in result.notes)


def test_whose_second_opinion_it_is(generator, fitted_network, raw_image) -> None:
    asked, image = threshold_classifier(), raw_image(0)
    own = verdict(counterfactual(asked, image, through=generator(), steps=2))
    assert "generator's own network agrees, but its latents made the images" in own.reservations
    further = replace(generator(), second_network=fitted_network(2)[0])
    second = counterfactual(asked, image, through=further, steps=2)
    # the tiny transport was never chosen on held-out images, so that nobody had a say
    assert verdict(second).second_name == "generator's second network"
    assert second.record.details["second_opinion"] == "generator's second network"
    judged = replace(asked, second_network=threshold_classifier(looks_at="nuclei").network)
    first = counterfactual(judged, image, through=further, steps=2)
    assert "; second network agrees;" in verdict(first).line
    nuclei = first.special_images["alpha1"][0].mean()
    assert (first.second_probabilities["alpha1"][1] > 0.5) == (nuclei > THRESHOLD)


def test_both_stand_in_the_record(generator, raw_image) -> None:
    made, asked = generator(), threshold_classifier()
    details = counterfactual(asked, raw_image(0), through=made, steps=2).record
    assert details.classifier == asked.fingerprint
    assert details.details["through"]["fingerprint"] == made.fingerprint
    assert counterfactual(made, raw_image(0), steps=2).record.details["through"] is None


def test_through_itself_is_no_other_way(generator, raw_image) -> None:
    made = generator()
    twice = counterfactual(made, raw_image(0), through=replace(made), steps=2)
    assert twice.record.details["through"] is None


def test_its_own_generator_is_the_default(generator, raw_image) -> None:
    asked = threshold_classifier()
    with pytest.raises(UnsupportedNetworkError, match="explain this one through"):
        counterfactual(asked, raw_image(0))
    given = counterfactual(asked, raw_image(0), through=generator(), steps=2)
    own = counterfactual(replace(asked, generator=generator()), raw_image(0), steps=2)
    np.testing.assert_array_equal(given.probabilities, own.probabilities)


def test_a_locked_channel_that_it_may_need_is_named(generator, raw_image) -> None:
    made = generator()
    network = type(made.network)(classes=2)
    network.load_state_dict(made.network.state_dict())
    network.locked = (1,)
    made = replace(made, network=network)
    result = counterfactual(threshold_classifier(), raw_image(0), "q", through=made, steps=2)
    np.testing.assert_array_equal(result.images[-1, 1], raw_image(0).values[1])
    assert not result.valid
    assert "mitochondria is locked by the generator, where the classifier may look" in (
        verdict(result).reservations
    )
    flips = counterfactual(
        threshold_classifier(looks_at="nuclei"), raw_image(0), "q", through=made, steps=2
    )
    assert flips.valid
    assert not any("where the classifier may look" in text for text in verdict(flips).reservations)


def test_what_it_uses_of_the_change_is_asked_of_the_classifier(generator, raw_image) -> None:
    asked, made = threshold_classifier(channels=("mitochondria",)), generator()
    result = counterfactual(asked, raw_image(0), through=made, steps=2)
    used = find_used_change(asked, result)
    # the rule looks at one channel, though the generator changes both
    assert used.flips
    assert used.mask[1].any()
    assert not used.mask[0].any()
    after = used.image[1].astype(float).mean()
    assert used.probability("used") == pytest.approx(
        1 / (1 + np.exp((THRESHOLD - after) / SCALE)), abs=1e-5
    )
    with pytest.raises(MismatchError, match="the one that the counterfactual was made with"):
        find_used_change(made, result)


@pytest.fixture(scope="module")
def crops() -> Classifier:
    """Return a tiny untrained i-ResNet of crops of 16 x 16 pixels with statistics of scenes."""
    return fit(
        simulate(16, size=24),
        size=16,
        sizing="crop",
        epochs=1,
        lock="none",
        pixel_maps=False,
        second_network=False,
        device="cpu",
        network_parameters={"blocks": "1,1", "widths": "4,4", "downscaling": "2,2"},
    )


def field_of(classifier: Classifier):
    """Return a field of 40 x 48 pixels with the channels of a classifier."""
    pixels = np.random.default_rng(0).integers(500, 1500, (2, 40, 48)).astype(np.uint16)
    return make_image(pixels, "cyx", classifier.channels)


def test_whole_fields_are_made_in_tiles_and_judged_whole(crops: Classifier) -> None:
    field = field_of(crops)
    asked = threshold_classifier(crops.classes, crops.channels, looks_at=crops.channels[1])
    result = counterfactual(asked, field, through=crops, whole_field=True, steps=2)
    assert result.images.shape == (2, 2, 40, 48)
    means = result.images[:, 1].astype(float).mean(axis=(1, 2))
    np.testing.assert_allclose(
        result.probabilities[:, 1], 1 / (1 + np.exp((THRESHOLD - means) / SCALE)), atol=1e-5
    )
    # one that sees a part of the field alone has no say about all of it
    small = threshold_classifier(
        crops.classes, crops.channels, looks_at=crops.channels[1], size=16, sizing="crop"
    )
    with pytest.raises(MismatchError, match=r"looks at the central 16 x 16 pixels of 40 x 48"):
        counterfactual(small, field, through=crops, whole_field=True)
    # and one that reduces a field sees all of it
    reduced = threshold_classifier(
        crops.classes, crops.channels, looks_at=crops.channels[1], size=16, sizing="resize"
    )
    assert counterfactual(reduced, field, through=crops, whole_field=True, steps=2).classes


def test_the_example_of_the_docs_runs(
    crops: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    text = (Path(__file__).parents[2] / "docs" / "counterfactuals.md").read_text(encoding="utf-8")
    marked = text.partition("<!-- executed by tests/counterfactuals/test_through.py -->")[2]
    code = marked.partition("```python\n")[2].partition("```")[0]
    crops.save(tmp_path / "generator")
    pixels = np.random.default_rng(1).integers(500, 1500, (2, 16, 16)).astype(np.uint16)
    write(make_image(pixels, "cyx", crops.channels), tmp_path / "field.ome.tif")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(compile(code, "counterfactuals.md", "exec"), names)  # noqa: S102 - our own page
    assert names["result"].record.details["through"]["network"] == "iresnet"
    assert capsys.readouterr().out


def test_cancelled_while_the_boundary_is_looked_for(generator, raw_image) -> None:
    asked: list[bool] = []

    def cancelled() -> bool:
        asked.append(True)
        return len(asked) > 3

    result = counterfactual(
        threshold_classifier(), raw_image(0), through=generator(), cancelled=cancelled
    )
    assert not result.complete
    assert not result.valid
    assert result.images.shape[0] >= 1
    # nobody has looked that far
    assert not any("no image on this path" in note for note in result.notes)
    assert verdict(result).line.startswith("stopped before the convincing image was made")
