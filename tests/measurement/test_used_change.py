"""What a network uses of a change, asked of networks whose logit reads one thing and nothing else."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import napari_why as why
from napari_why.core.errors import MismatchError, ParameterError
from napari_why.core.pictures import Picture
from napari_why.counterfactuals import verdict
from napari_why.counterfactuals.remarks import Circumstances
from napari_why.datasets import Preprocessing
from napari_why.measurement.change_units import mix_images, split_change
from napari_why.model import Classifier
from napari_why.model.chance import ChanceTest
from napari_why.model.likeness import Unlikeness
from napari_why.networks import wrap
from napari_why.output.images import result_image

SIZE = 24
# Where the two planted effects are: a square in the middle, and a tag in the corner.
MIDDLE, CORNER = (slice(8, 16), slice(8, 16)), (slice(0, 4), slice(20, 24))
DAPI, TMRM = 0, 1


class Reads(nn.Module):
    """Logits (0, score) of prepared images, the score a function of means over some pixels."""

    def __init__(self, score: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.score = score
        # a network is where its parameters are, so it needs one
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, maps: Tensor) -> Tensor:
        found = self.scale * self.score(maps)
        return torch.stack([torch.zeros_like(found), found], dim=1)


def classifier_that(score: Callable[[Tensor], Tensor], channels=("DAPI", "TMRM")) -> Classifier:
    """Return a classifier whose logit is that score of the image in hundreds of grey levels."""
    network = wrap(
        nn.Identity(), Reads(score), input_channels=len(channels), classes=2, name="analytic"
    )
    preprocessing = Preprocessing(
        channels=channels,
        size=SIZE,
        mean=(500.0,) * len(channels),
        std=(100.0,) * len(channels),
        fit="resize",
        intensity="linear",
        cofactor=(1.0,) * len(channels),
    )
    return Classifier(network, preprocessing, ("diseased", "treated"))


def mean_of(channel: int, place: tuple[slice, slice]) -> Callable[[Tensor], Tensor]:
    return lambda x: x[:, channel, place[0], place[1]].mean((1, 2))


@pytest.fixture
def both(make_counterfactual):
    """A change of the middle in TMRM and of the corner in DAPI, 200 grey levels each, 16 bits."""
    before = np.full((2, SIZE, SIZE), 500, np.uint16)
    after = before.copy()
    after[TMRM][MIDDLE] += 200
    after[DAPI][CORNER] += 200
    return counterfactual_between(make_counterfactual, before, after)


def counterfactual_between(make_counterfactual, before, after, **facts):
    from napari_why.core.record import Record

    record = facts.pop("record", Record("counterfactual", "transport", source="field.tif"))
    images = np.stack([before, after])
    return make_counterfactual(
        before, after, images=images, special_images={"alpha1": after}, record=record, **facts
    )


def inside(mask, channel, place) -> float:
    """Return the share of the planted place that the mask holds."""
    return float(mask[channel][place].mean())


@pytest.mark.parametrize(
    ("channel", "place", "other"),
    [(TMRM, MIDDLE, (DAPI, CORNER)), (DAPI, CORNER, (TMRM, MIDDLE))],
)
def test_what_the_network_reads_is_in_and_what_it_does_not_is_out(both, channel, place, other):
    read = mean_of(channel, place)
    used = why.find_used_change(classifier_that(lambda x: 6 * read(x) - 6), both)
    assert used.flips
    assert not used.rest_flips
    assert inside(used.mask, channel, place) > 0.8
    assert not used.mask[other[0]].any()
    name, silent = ("TMRM", "DAPI") if channel == TMRM else ("DAPI", "TMRM")
    assert f"{name} alone" in used.sentences[1]
    assert "Needed" in used.sentences[2]
    text = " ".join(used.sentences)
    assert f"{silent} plays no part that was seen" in text
    assert "What differs between the classes, as transport has it" in used.sentences[0]
    assert "DAPI" in used.sentences[0]
    assert "TMRM" in used.sentences[0]


@pytest.mark.parametrize(("place", "other"), [(MIDDLE, CORNER), (CORNER, MIDDLE)])
def test_a_shortcut_in_the_same_channel_is_told_from_the_rest(make_counterfactual, place, other):
    before = np.full((2, SIZE, SIZE), 500, np.uint16)
    after = before.copy()
    after[TMRM][MIDDLE] += 200
    after[TMRM][CORNER] += 200
    result = counterfactual_between(make_counterfactual, before, after)
    read = mean_of(TMRM, place)
    used = why.find_used_change(classifier_that(lambda x: 6 * read(x) - 6), result)
    assert used.flips
    assert inside(used.mask, TMRM, place) > 0.8
    assert inside(used.mask, TMRM, other) == 0


def test_pixels_and_probabilities_are_those_of_the_exported_images(both):
    read = mean_of(TMRM, MIDDLE)
    classifier = classifier_that(lambda x: 6 * read(x) - 6)
    used = why.find_used_change(classifier, both)
    assert used.image.dtype == used.rest.dtype == np.uint16
    np.testing.assert_array_equal(np.where(used.mask == 1, used.after, used.before), used.image)
    np.testing.assert_array_equal(np.where(used.mask == 1, used.before, used.after), used.rest)
    written = result_image(used)
    assert list(written.c.values) == ["DAPI", "TMRM", "DAPI rest", "TMRM rest"]
    predicted = classifier.predict(written.sel(c=["DAPI", "TMRM"]))
    assert predicted.probabilities["treated"] == pytest.approx(used.probability("used"), abs=1e-6)


def test_either_of_two_is_called_not_needed(both):
    middle, corner = mean_of(TMRM, MIDDLE), mean_of(DAPI, CORNER)
    used = why.find_used_change(
        classifier_that(lambda x: 6 * torch.maximum(middle(x), corner(x)) - 6), both
    )
    assert used.flips
    assert used.rest_flips
    assert "Not needed" in used.sentences[2]
    assert "either" in used.sentences[2]
    assert not any(use.plays_no_part for use in used.by_channel)


def test_both_are_kept_where_neither_is_enough(both):
    middle, corner = mean_of(TMRM, MIDDLE), mean_of(DAPI, CORNER)
    used = why.find_used_change(
        classifier_that(lambda x: 8 * torch.minimum(middle(x), corner(x)) - 8), both
    )
    assert used.flips
    assert inside(used.mask, TMRM, MIDDLE) > 0.8
    assert inside(used.mask, DAPI, CORNER) > 0.8
    assert "alone" not in used.sentences[1]


def test_a_change_that_does_not_flip_is_not_explained(both):
    used = why.find_used_change(classifier_that(lambda x: 0 * x[:, 0, 0, 0] - 3), both)
    assert not used.flips
    assert not used.mask.any()
    assert "does not flip the network" in used.sentences[1]
    np.testing.assert_array_equal(used.image, used.before)


def test_a_part_that_flips_is_found_where_the_rest_speaks_against_it(both):
    middle, corner = mean_of(TMRM, MIDDLE), mean_of(DAPI, CORNER)
    used = why.find_used_change(
        classifier_that(lambda x: 6 * middle(x) - 6 * corner(x) - 6), both, share=0.0
    )
    assert used.flips
    assert not used.whole_flips
    assert not used.mask[DAPI].any()


def test_an_image_that_is_the_target_already_tells_nothing(both):
    used = why.find_used_change(classifier_that(lambda x: 0 * x[:, 0, 0, 0] + 3), both)
    assert not used.flips
    assert "before anything is changed" in used.sentences[1]


def test_no_unit_of_the_part_can_be_missed(both):
    read = mean_of(TMRM, MIDDLE)
    classifier = classifier_that(lambda x: 6 * read(x) - 6)
    used = why.find_used_change(classifier, both, share=0.0)
    assert used.minimal
    units = split_change(used.after.astype(float) - used.before, 6)
    for unit in np.unique(units.labels[used.mask > 0]):
        smaller = np.where(units.labels == unit, 0, used.mask)
        image = mix_images(used.before, used.after, smaller)
        assert classifier.logits(classifier.prepare_pixels(image[None]))[0].argmax() == 0
    # the flip alone needs less than nine tenths of the evidence
    assert used.size < why.find_used_change(classifier, both).size


def test_the_images_that_may_be_classified_are_bounded_and_told(both):
    read = mean_of(TMRM, MIDDLE)
    used = why.find_used_change(classifier_that(lambda x: 6 * read(x) - 6), both, passes=10)
    assert used.passes <= 10
    assert not used.complete
    assert not used.minimal
    assert f"stopped after {used.passes} images" in used.sentences[-1]
    assert used.flips


def test_cancelled_at_once_the_whole_change_is_what_there_is(both):
    read = mean_of(TMRM, MIDDLE)
    used = why.find_used_change(
        classifier_that(lambda x: 6 * read(x) - 6), both, cancelled=lambda: True
    )
    assert not used.complete
    assert used.size == 1
    assert not any(use.plays_no_part for use in used.by_channel)


def test_what_is_not_changed_is_not_said_to_be_unused(make_counterfactual):
    before = np.full((2, SIZE, SIZE), 500, np.uint16)
    after = before.copy()
    after[TMRM][MIDDLE] += 200
    result = counterfactual_between(make_counterfactual, before, after)
    read = mean_of(TMRM, MIDDLE)
    used = why.find_used_change(classifier_that(lambda x: 6 * read(x) - 6), result)
    text = " ".join(used.sentences)
    assert "DAPI is not changed, so whether the network uses it is not told" in text
    assert "no part" not in text


@pytest.mark.parametrize(
    "known",
    [
        Circumstances(unlike=(Unlikeness("constant", "channel DAPI is 500 everywhere"),)),
        Circumstances(chance=ChanceTest(("diseased", "treated"), "chance", reason="5 of 10")),
        Circumstances(predicted_target=True),
    ],
)
def test_a_counterfactual_that_says_nothing_is_not_explained_without_a_word(both, known):
    read = mean_of(TMRM, MIDDLE)
    classifier = classifier_that(lambda x: 6 * read(x) - 6)
    void = replace(both, circumstances=known)
    assert verdict(void).void
    sentences = why.find_used_change(classifier, void).sentences
    assert sentences[0] == (
        f"Not to be trusted: {verdict(void).reservations[0]}. What follows tells nothing of the classes."
    )
    assert not any("trusted" in said for said in why.find_used_change(classifier, both).sentences)


@pytest.mark.parametrize(
    ("known", "said"),
    [
        (Circumstances(confounded=("plates",)), "have plates of their own"),
        (Circumstances(uneven=(("plates", 0.97),)), "plates alone tell"),
        (
            Circumstances(chance=ChanceTest(("a", "b"), "too few", reason="5 of 6")),
            "too few to tell",
        ),
        (Circumstances(), ""),  # what is not known is no reason for doubt of the pair
    ],
)
def test_what_speaks_against_a_difference_between_the_classes_is_said_first(both, known, said):
    read = mean_of(TMRM, MIDDLE)
    classifier = classifier_that(lambda x: 6 * read(x) - 6)
    sentences = why.find_used_change(classifier, replace(both, circumstances=known)).sentences
    assert sentences[0].startswith("To be doubted: ") == bool(said)
    assert said in sentences[0]
    assert sentences[bool(said)].startswith(("What differs", "The whole change"))


def test_a_channel_that_was_put_back_was_not_tried(make_counterfactual):
    before = np.full((2, SIZE, SIZE), 500, np.float32)
    after = before.copy()
    after[TMRM][MIDDLE] += 200
    after[DAPI] += 1e-3  # the source's own pixels, which the inverse misses by a little
    put_back = Circumstances(put_back=("DAPI",))
    result = counterfactual_between(make_counterfactual, before, after, circumstances=put_back)
    read = mean_of(TMRM, MIDDLE)
    used = why.find_used_change(classifier_that(lambda x: 6 * read(x) - 6), result)
    assert used.by_channel[DAPI].state == "put back"
    text = " ".join(used.sentences)
    assert "DAPI was put back" in text
    assert "no part" not in text
    np.testing.assert_array_equal(used.rest[DAPI], before[DAPI])


def test_a_part_of_a_change_that_does_not_flip_is_not_called_needed(both):
    read = mean_of(TMRM, MIDDLE)
    used = why.find_used_change(classifier_that(lambda x: read(x) - 6), both)
    assert not used.flips
    assert not used.mask[DAPI].any()
    assert used.mask[TMRM].any()
    text = " ".join(used.sentences)
    assert "do not flip the network" in text
    assert "eeded" not in text


def test_a_change_by_a_path_is_not_called_a_difference_between_classes(make_counterfactual):
    from napari_why.core.record import Record

    before = np.full((2, SIZE, SIZE), 500, np.uint16)
    after = before.copy()
    after[TMRM][MIDDLE] += 200
    record = Record("counterfactual", "mean_shift")
    result = counterfactual_between(make_counterfactual, before, after, record=record)
    read = mean_of(TMRM, MIDDLE)
    used = why.find_used_change(classifier_that(lambda x: 6 * read(x) - 6), result)
    assert "no estimate of what differs between the classes" in used.sentences[0]


def test_another_classifiers_counterfactual_and_unknown_options_are_refused(
    both, make_counterfactual
):
    from napari_why.core.record import Record

    classifier = classifier_that(lambda x: x[:, 0, 0, 0])
    other = counterfactual_between(
        make_counterfactual,
        both.images[0],
        both.images[1],
        record=Record("counterfactual", "transport", classifier="0" * 64),
    )
    with pytest.raises(MismatchError, match="made with"):
        why.find_used_change(classifier, other)
    field = Record("counterfactual", "transport", parameters={"whole_field": True})
    of_field = counterfactual_between(make_counterfactual, *both.images, record=field)
    with pytest.raises(ParameterError, match="expected the field"):
        why.find_used_change(classifier, of_field)
    with pytest.raises(ParameterError, match="tilez"):
        why.find_used_change(classifier, both, tilez=3)


def test_units_are_all_of_the_change_and_weights_add_up():
    change = np.random.default_rng(0).normal(size=(3, 20, 30)) * (np.arange(3) > 0)[:, None, None]
    units = split_change(change, 4)
    assert units.changed_channels == (1, 2)
    assert units.sizes.sum() == np.count_nonzero(change)
    some = frozenset(range(0, units.count, 2))
    for blur in (0.0, 1.5):
        total = units.mask(some, blur) + units.mask(units.whole - some, blur)
        np.testing.assert_allclose(total[1:], 1, atol=1e-5)
        assert not total[0].any()


def test_the_pictures_are_a_change_and_two_images(both):
    read = mean_of(TMRM, MIDDLE)
    used = why.find_used_change(classifier_that(lambda x: 6 * read(x) - 6), both)
    pictures = used.pictures()
    assert all(isinstance(picture, Picture) for picture in pictures.values())
    np.testing.assert_array_equal(pictures["change"].compute()[DAPI], 0)
    assert used.record.to_dict()["details"]["notes"] == list(used.sentences)
    assert used.best_trade_off is not None
