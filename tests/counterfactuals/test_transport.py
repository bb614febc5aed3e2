"""Transport as a counterfactual: what is chosen, what is put back, what others say about it."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_why.core.errors import ParameterError, UnsupportedNetworkError
from napari_why.counterfactuals import counterfactual, verdict
from napari_why.counterfactuals.engine import exported_probabilities
from napari_why.counterfactuals.remarks import Circumstances, collect_remarks
from napari_why.counterfactuals.transport import transport
from napari_why.images import make_image
from napari_why.transport import Choice, ClassMaps
from napari_why.transport.back_translation import RestoringNetwork, UNet
from napari_why.transport.maps import (
    BY_DRAWS_FOR,
    LEFT_BY_WAY_BACK,
    NEARER,
    NEAREST_IMAGES,
    PART_RESPONDED,
    SHOWN_BY_CELLS,
)
from napari_why.transport.pixel_maps import GreyLevelCurve


@pytest.fixture
def choosing(small_classifier):
    """Return a maker of classifiers for which something was chosen from p to q."""

    def make(choice: Choice):
        classifier = small_classifier()
        statistics = classifier.latent_statistics
        fitted = statistics.transport.with_choices({(0, 1): choice})
        classifier.latent_statistics = statistics.with_part("transport", fitted)
        return classifier

    return make


def path_of(classifier, image, **parameters):
    prepared = classifier.prepare(image)
    return transport(classifier.network, classifier.latent_statistics, prepared, 0, 1, **parameters)


def test_the_path_is_the_displacement_of_the_fitted_transport(small_classifier, raw_image) -> None:
    classifier, image = small_classifier(), raw_image(0)
    path = path_of(classifier, image)
    fitted = classifier.latent_statistics.transport
    start = classifier.network.encode_to(classifier.prepare(image), "stage1")
    assert path.stage == fitted.stage == "stage1"
    assert torch.equal(path.start, start)
    assert torch.equal(path.displacement, fitted.displacement(start, 0, 1, "full"))
    assert (path.rule.full_alpha, path.put_back, path.notes) == (1.0, (), ())


def test_what_was_chosen_is_done_unless_somebody_knows_better(choosing, raw_image) -> None:
    classifier, image = choosing(Choice("excess")), raw_image(0)
    by_choice, everything = path_of(classifier, image), path_of(classifier, image, responders="all")
    some = path_of(classifier, image, responders="some")
    assert torch.equal(by_choice.displacement, some.displacement)
    assert not torch.equal(by_choice.displacement, everything.displacement)
    assert "only places that q images do not explain were changed" in by_choice.notes[0]
    assert everything.notes == ()


@pytest.mark.parametrize(
    ("shown", "says", "says_not"),
    [
        (True, "brightness alone tells p and q apart", "do not show"),
        (False, "held-out images do not show that this change brings p images nearer", "alone"),
        (None, "", "brightness alone"),  # of a choice that does not tell, nothing is claimed
    ],
)
def test_a_curve_is_the_answer_only_where_it_was_shown_to_help(
    choosing, raw_image, shown: bool | None, says: str, says_not: str
) -> None:
    scores = {} if shown is None else {NEARER: shown}
    classifier, image = choosing(Choice(kind="curve", scores=scores)), raw_image(0)
    prepared = classifier.prepare(image)
    curve = GreyLevelCurve.fit(prepared, prepared + 0.5, range(prepared.shape[1]))
    maps = ClassMaps(2, {(0, 1, "curve"): curve})
    classifier.latent_statistics = classifier.latent_statistics.with_part("pixel_maps", maps)
    notes = " ".join(path_of(classifier, image).notes)
    assert says in notes
    assert says_not not in notes
    # who asks for a curve knows that it is one
    assert path_of(classifier, image, change="curve").notes == ()


def test_a_change_learnt_by_undoing_the_way_back_says_how_good_that_is(choosing, raw_image) -> None:
    scores = {NEARER: True, LEFT_BY_WAY_BACK: 0.125}
    classifier, image = choosing(Choice(kind="back_translated", scores=scores)), raw_image(0)
    channels = classifier.prepare(image).shape[1]
    network = RestoringNetwork(
        channels, (), [UNet(channels, (2, 4)).eval()], undoes=("latent", "full")
    )
    maps = ClassMaps(2, {(0, 1, "back_translated"): network})
    classifier.latent_statistics = classifier.latent_statistics.with_part("pixel_maps", maps)
    (note,) = path_of(classifier, image).notes
    assert "undoing the one from q to p" in note
    assert "leaves 12%" in note


@pytest.mark.parametrize(
    ("why", "reason"),
    [
        # as earlier versions noted it
        (
            {PART_RESPONDED: True},
            "only a part of the p cells seems to differ from q ones: from q to",
        ),
        ({BY_DRAWS_FOR: PART_RESPONDED}, "from q to p drawn cells come nearer"),
        (
            {BY_DRAWS_FOR: SHOWN_BY_CELLS},
            "only a part of the p cells seems to differ from q ones: he",
        ),
        (
            {BY_DRAWS_FOR: SHOWN_BY_CELLS},
            "than after any other that was tried and changes all cells",
        ),
        (
            {BY_DRAWS_FOR: NEAREST_IMAGES},
            "held-out images came nearest to real ones by this change",
        ),
    ],
)
def test_a_change_learnt_by_undoing_draws_says_why_and_that_nobody_knows_how_sure_it_is(
    choosing, raw_image, why: dict[str, bool | str], reason: str
) -> None:
    scores = {NEARER: True, **why}
    classifier, image = choosing(Choice(kind="back_translated", scores=scores)), raw_image(0)
    channels = classifier.prepare(image).shape[1]
    network = RestoringNetwork(channels, (), [UNet(channels, (2, 4)).eval()])
    maps = ClassMaps(2, {(0, 1, "back_translated"): network})
    classifier.latent_statistics = classifier.latent_statistics.with_part("pixel_maps", maps)
    (note,) = path_of(classifier, image).notes
    assert reason in note
    # that its images came nearest says nothing of a part
    assert ("only a part" in note) is (NEAREST_IMAGES not in why.values())
    assert "how sure it is, is not known" in note


def test_a_doubtful_change_of_latents_is_called_so_as_well(choosing, raw_image) -> None:
    classifier = choosing(Choice("full", scores={NEARER: False}))
    assert "held-out images do not show" in path_of(classifier, raw_image(0)).notes[0]
    assert path_of(classifier, raw_image(0), responders="all").notes == ()


@pytest.mark.parametrize("had_a_say", [True, False, None])
def test_it_is_told_whether_the_second_network_had_a_say(choosing, raw_image, had_a_say) -> None:
    classifier, image = choosing(Choice("excess", 1.3, second_had_a_say=had_a_say)), raw_image(0)
    assert path_of(classifier, image).second_had_a_say is had_a_say
    # of another change it chose nothing
    assert path_of(classifier, image, responders="all").second_had_a_say is False
    result = counterfactual(classifier, image, steps=2)
    assert result.circumstances.second_had_a_say is had_a_say
    assert result.record.details["second_network_had_a_say"] is had_a_say
    # no choice stands behind other methods
    shifted = counterfactual(classifier, image, method="mean_shift", steps=2)
    assert shifted.circumstances.second_had_a_say is False


def test_alpha1_is_the_complete_change_whatever_probability_is_wanted(choosing, raw_image) -> None:
    classifier, image = choosing(Choice()), raw_image(0)
    results = [counterfactual(classifier, image, probability=p, steps=2) for p in (0.6, 0.99)]
    assert [result.special_alphas["alpha1"] for result in results] == [1.0, 1.0]
    wanted = [result.special_alphas["wanted"] for result in results]
    assert 0 < wanted[0] < wanted[1]
    for result, probability in zip(results, (0.6, 0.99), strict=True):
        found = result.special_probabilities["wanted"][1]
        assert found == pytest.approx(probability, abs=0.02)


def test_who_asks_for_more_than_the_complete_change_gets_it_and_is_told(
    choosing, raw_image
) -> None:
    classifier, image = choosing(Choice()), raw_image(0)
    larger = counterfactual(classifier, image, overshoot=2.0, steps=2)
    assert larger.special_alphas["alpha1"] == larger.alphas[-1] == 2.0
    assert larger.record.details["full_alpha"] == 1.0  # what is complete stays so
    assert "2 times the difference between the classes" in verdict(larger).reservations
    # 0 stood for the choice in older records
    usual = counterfactual(classifier, image, overshoot=0.0, steps=2)
    assert usual.special_alphas["alpha1"] == 1.0
    assert not any("times the difference" in said for said in verdict(usual).reservations)


def test_a_saved_overshoot_is_not_applied_and_the_note_says_how_to_ask_for_it(
    choosing, raw_image
) -> None:
    classifier, image = choosing(Choice("excess", 1.3, (1,))), raw_image(0)
    result = counterfactual(classifier, image, steps=2)
    assert result.special_alphas["alpha1"] == result.record.details["full_alpha"] == 1.0
    assert result.record.details["reset_channels"] == ["mitochondria"]  # the rest is as chosen
    (note,) = [said for said in result.record.details["notes"] if "overshoot" in said]
    assert note.startswith("an older version saved an overshoot of 1.3")
    assert "overshoot=1.3 gives what it gave" in note
    then = counterfactual(classifier, image, steps=2, overshoot=1.3)
    assert then.special_alphas["alpha1"] == 1.3
    assert not any("overshoot" in note for note in then.notes)


def test_a_channel_that_is_put_back_is_that_of_the_source_at_every_alpha(
    choosing, raw_image
) -> None:
    image = raw_image(0, "float32")
    result = counterfactual(
        choosing(Choice(reset_channels=(0,))), image, alpha_range=(-0.5, 1.5), steps=5
    )
    assert (result.images[:, 0] == result.reconstruction[0]).all()
    assert (result.differences[:, 0] == 0).all()
    for name, pixels in result.special_images.items():
        assert np.array_equal(pixels[0], result.reconstruction[0]), name
    assert np.abs(result.differences[-1, 1]).mean() > 50  # of about 200 a standard deviation
    assert any(note.startswith("nuclei was put back to the source") for note in result.notes)
    assert result.record.details["reset_channels"] == ["nuclei"]
    free = counterfactual(choosing(Choice()), image, alpha_range=(-0.5, 1.5), steps=5)
    assert np.abs(free.differences[-1, 0]).mean() > 50
    assert not any("put back" in note for note in free.notes)


@pytest.mark.parametrize("probability", [0.6, 0.9])
def test_the_wanted_probability_is_that_of_images_with_their_channel_put_back(
    choosing, raw_image, probability
) -> None:
    """The head knows nothing of the channel that is put back: its alpha is not that of the file."""
    image = raw_image(0)
    whole, put_back = (
        counterfactual(choosing(choice), image, probability=probability, steps=2)
        for choice in (Choice(), Choice(reset_channels=(0,)))
    )
    assert whole.special_probabilities["wanted"][1] == pytest.approx(probability, abs=0.015)
    assert put_back.special_probabilities["wanted"][1] == pytest.approx(probability, abs=0.015)
    moved = put_back.special_alphas["wanted"] - whole.special_alphas["wanted"]
    assert abs(moved) > 0.02
    assert any("moved the wanted probability" in note for note in put_back.notes)


def test_probabilities_are_those_of_images_with_their_channel_put_back(choosing, raw_image) -> None:
    classifier = choosing(Choice(reset_channels=(0,)))
    result = counterfactual(classifier, raw_image(0), steps=3)
    assert np.array_equal(result.images[:, 0], np.repeat(result.images[:1, 0], 3, axis=0))
    for pixels, stated in zip(result.images, result.probabilities, strict=True):
        assert np.array_equal(exported_probabilities(classifier, pixels), stated)


def test_the_second_network_is_asked_about_exactly_the_exported_images(
    small_classifier, coupling_network, raw_image
) -> None:
    classifier = small_classifier()
    classifier.second_network = coupling_network(seed=5)
    result = counterfactual(classifier, raw_image(0), steps=3)
    assert set(result.second_probabilities) == set(result.special_probabilities)
    assert {"boundary", "alpha0", "alpha1"} <= set(result.second_probabilities)
    for name, found in result.second_probabilities.items():
        image = make_image(result.special_images[name], "cyx", classifier.channels)
        assert found == pytest.approx(classifier.second_opinion(image), abs=1e-6)
        assert result.record.details["second_probabilities"][name] == found.astype(float).tolist()


def test_without_a_second_network_nothing_is_said(small_classifier, raw_image) -> None:
    result = counterfactual(small_classifier(), raw_image(0), steps=2)
    assert result.second_probabilities is None
    assert result.record.details["second_probabilities"] is None


def test_the_distance_is_that_of_the_exported_image_to_the_target(
    small_classifier, raw_image
) -> None:
    classifier = small_classifier()
    result = counterfactual(classifier, raw_image(0), steps=2)
    exported = make_image(result.special_images["alpha1"], "cyx", classifier.channels)
    pooled = classifier.network.encode(classifier.prepare(exported)).mean((2, 3))[0]
    distances = classifier.latent_statistics.distances
    assert result.distance == distances.share_closer(pooled, 1)
    assert result.distance < 0.99  # a transported image lies among the class
    far = counterfactual(classifier, raw_image(0), overshoot=3.0, steps=2)
    assert far.distance == 1
    assert any("further from the class q than 100 %" in note for note in far.notes)
    assert far.record.details["distance"] == 1


def test_where_distances_are_not_known_nothing_is_said(small_classifier, raw_image) -> None:
    classifier = small_classifier()
    classifier.latent_statistics = classifier.latent_statistics.with_part("distances", None)
    assert counterfactual(classifier, raw_image(0), steps=2).distance is None


@pytest.mark.parametrize(("distance", "said"), [(0.5, 0), (0.94, 0), (0.95, 1), (1.0, 1)])
def test_only_images_further_off_than_nearly_all_are_spoken_of(
    small_classifier, raw_image, distance, said
) -> None:
    result = replace(counterfactual(small_classifier(), raw_image(0), steps=2), distance=distance)
    assert (
        sum("further from the class q" in remark.sentence for remark in collect_remarks(result))
        == said
    )


def test_channels_put_back_are_named(small_classifier, raw_image) -> None:
    result = counterfactual(small_classifier(), raw_image(0), steps=2)
    assert not any("put back" in note for note in result.notes)
    result = replace(result, circumstances=Circumstances(put_back=("nuclei", "mitochondria")))
    sentences = [remark.sentence for remark in collect_remarks(result)]
    assert any(note.startswith("nuclei and mitochondria were put back") for note in sentences)


def test_a_classifier_without_a_fitted_transport_is_refused(small_classifier, raw_image) -> None:
    classifier = small_classifier()
    classifier.latent_statistics = classifier.latent_statistics.with_part("transport", None)
    with pytest.raises(UnsupportedNetworkError, match="take the method gaussian_transport"):
        counterfactual(classifier, raw_image(0))
    assert counterfactual(classifier, raw_image(0), method="gaussian_transport", steps=2).valid


def test_wishes_out_of_range_are_refused(small_classifier, raw_image) -> None:
    for wish in ({"overshoot": 3.5}, {"responders": "few"}):
        with pytest.raises(ParameterError, match=next(iter(wish))):
            counterfactual(small_classifier(), raw_image(0), **wish)
