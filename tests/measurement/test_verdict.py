"""The line on one counterfactual: what speaks against it stands first."""

from dataclasses import replace

import numpy as np
import pytest

from napari_why.counterfactuals.remarks import Circumstances, collect_remarks
from napari_why.measurement import verdict
from napari_why.model.chance import ChanceTest, judge_pair
from napari_why.model.likeness import Unlikeness

TOLD_APART = ChanceTest(("diseased", "treated"), "told apart", "test", "wells", 12, 12)
CONSTANT = Unlikeness("constant", "channel nuclei is 7 everywhere", ("nuclei",))
ORDINARY = Circumstances(
    unlike=(),
    chance=TOLD_APART,
    confounded=(),
    second_of_source="diseased",
    second_had_a_say=False,
)


@pytest.fixture
def result(make_counterfactual):
    """Return a change of which 92 % of the grey levels lie in the mitochondria."""
    random = np.random.default_rng(0)
    before = random.normal(500, 50, (2, 10, 10))
    after = before + np.array([8.0, -92.0])[:, None, None]
    made = make_counterfactual(before, after, channels=["nuclei", "mitochondria"])
    return agreeing(replace(made, circumstances=ORDINARY), 0.8)


def agreeing(result, treated):
    second = {"alpha1": np.array([1 - treated, treated], np.float32)}
    return replace(result, second_probabilities=second)


def known(result, **facts):
    return verdict(replace(result, circumstances=replace(result.circumstances, **facts)))


def reaching(result, p):
    return replace(result, special_probabilities={"alpha1": np.array([1 - p, p])})


def test_the_line_says_flip_second_network_and_where(result):
    found = verdict(result)
    assert found.line == "flips (p 0.90); second network agrees; 92 % of the change in mitochondria"
    assert found.second_agrees is True
    assert (found.reservations, found.trustworthy) == ((), True)
    assert found.shares == pytest.approx({"nuclei": 0.08, "mitochondria": 0.92}, abs=1e-4)


@pytest.mark.parametrize(
    ("facts", "first"),
    [
        ({"unlike": (CONSTANT,)}, "not to be trusted: unlike the training"),
        (
            {
                "unlike": (
                    Unlikeness("hardly any cells", "hardly any cells here: 0.1 %; usual: 8 %"),
                )
            },
            "not to be trusted: hardly any cells here: 0.1 %; the prediction changes all the same",
        ),
        ({"predicted_target": True}, "not to be trusted: predicted as treated before anything is"),
        ({"second_of_source": "treated"}, "the second network calls the source treated already; "),
        (
            {"unlike": (Unlikeness("pixel type", "pixels are float32; trained on uint16"),)},
            "pixels are float32",
        ),
        ({"unlike": None}, "not known whether the image is like the training images; "),
        ({"chance": None}, "not known whether diseased and treated can be told apart; "),
        ({"confounded": ("plates",)}, "diseased and treated have plates of their own; flips"),
        ({"confounded": None}, "not known whether diseased and treated differed by more than"),
        ({"wanted": 0.95}, "barely flips (p 0.90; 0.95 wanted); second network agrees"),
        ({"caution": "Adversarial: do not read it."}, "Adversarial; "),
        ({"statistics_images": 3}, "class statistics of 3 images only; "),
    ],
)
def test_every_reservation_stands_first_and_takes_the_trust_away(result, facts, first):
    found = known(result, **facts)
    assert found.line.startswith(first)
    assert len(found.reservations) == len(found.kinds) == 1
    assert found.kinds[0]
    assert not found.trustworthy
    assert found.facts["reservations"] == list(found.reservations)


@pytest.mark.parametrize(
    "facts",
    [{"unlike": (CONSTANT,)}, {"predicted_target": True}],
)
def test_what_is_not_to_be_trusted_boasts_of_nothing(result, facts):
    found = known(result, **facts)
    assert found.void
    for word in ("flips", "agrees", "of the change"):
        assert word not in found.line
    assert "the prediction changes all the same (p 0.90)" in found.line


def test_a_pair_at_chance_is_not_to_be_trusted(result):
    matrix = [[30, 0, 0], [0, 14, 16], [0, 15, 15]]
    metrics = {"test": {"images": {"confusion_matrix": matrix}}}
    names = ("healthy", "diseased", "treated")
    found = known(result, chance=judge_pair(metrics, names, "diseased", "treated"))
    assert found.line.startswith(
        "not to be trusted: diseased and treated are at chance (29 of 60 test images right, 95 % "
        "interval 35 to 62 %, chance 50 %); the prediction changes"
    )
    apart = known(result, chance=judge_pair(metrics, names, "healthy", "treated"))
    assert apart.reservations == ()
    few = known(
        result,
        chance=judge_pair(
            {"test": {"images": {"confusion_matrix": [[2, 1], [1, 2]]}}}, names[1:], *names[1:]
        ),
    )
    assert few.line.startswith("too few to tell diseased and treated from chance (4 of 6 test")
    assert "flips (p 0.90)" in few.line
    assert not few.trustworthy


@pytest.mark.parametrize("p", [0.505, 0.6, 0.88])
def test_below_the_wanted_probability_it_barely_flips(result, p):
    found = verdict(reaching(result, p))
    assert found.line.startswith(f"barely flips (p {p:.2f}; 0.9 wanted); second network agrees")
    assert found.probability == p
    assert not found.trustworthy


@pytest.mark.parametrize(("p", "said"), [(0.9996, "(p > 0.99)"), (0.991, "(p 0.99)")])
def test_the_probability_is_never_rounded_to_certainty(result, p, said):
    assert verdict(reaching(result, p)).line.startswith(f"flips {said}")


def test_a_change_beyond_the_difference_between_the_classes_is_called_so(result):
    far = replace(result, special_alphas={"boundary": 1.9, "alpha0": 1.9, "alpha1": 2.5})
    line = verdict(far).line
    assert line.startswith("2.5 times the difference between the classes; flips")
    assert known(far, full_alpha=2.0).line.startswith("1.25 times the difference")
    little = replace(result, special_alphas={"boundary": 1.1, "alpha0": 1.1, "alpha1": 1.25})
    assert verdict(little).trustworthy  # of a published formula, which knows no complete change
    assert known(little, full_alpha=1.0).line.startswith("1.25 times")
    assert known(little, full_alpha=1.25).trustworthy


@pytest.mark.parametrize(
    ("facts", "alpha1", "first"),
    [
        (
            {"full_alpha": 1.0, "head_flips": False, "head_probability": 0.3},
            1.0,
            "does not flip; the complete change towards treated leaves p(treated) at 0.31: this "
            "classifier does not see it; ",
        ),
        (
            {"full_alpha": 1.0, "head_flips": False, "head_probability": 0.3},
            2.0,
            "does not flip; 2 times the complete change towards treated leaves p(treated) at 0.31: this "
            "classifier does not see it; 2 times the difference between the classes; ",
        ),
        (
            {"full_alpha": 1.0, "head_flips": True, "head_probability": 0.95},
            0.8,
            "does not flip; rounding, clipping or channels put back undid the flip: with 0.8 times the "
            "complete change the head has p(treated) at 0.95, the exported image p(treated) at 0.31; ",
        ),
        # half of it was asked for: whether the classifier would see the whole is not known
        ({"full_alpha": 1.0, "head_flips": False}, 0.5, "does not flip (p 0.31); "),
        # nor where nobody asked the head, or knows what is complete
        ({"full_alpha": 1.0}, 1.0, "does not flip (p 0.31); "),
        ({"head_flips": False}, 0.9, "does not flip (p 0.31); "),
    ],
)
def test_the_line_says_why_it_does_not_flip_where_that_was_measured(result, facts, alpha1, first):
    stays = replace(reaching(result, 0.31), valid=False, special_alphas={"alpha1": alpha1})
    found = known(stays, **facts)
    assert found.line.startswith(first)
    assert not found.trustworthy
    assert any(
        "p(treated) at 0.31" in remark.sentence
        for remark in collect_remarks(
            replace(stays, circumstances=replace(stays.circumstances, **facts))
        )
    )


def test_where_channels_cannot_change_the_share_is_no_finding(make_counterfactual):
    before = np.full((2, 8, 8), 100.0)
    after = before + np.array([0.0, 50.0])[:, None, None]
    result = agreeing(make_counterfactual(before, after), 0.9)
    assert verdict(result).line.endswith("100 % of the change in TMRM")
    locked = known(result, locked=("DAPI",))
    assert locked.line.endswith("DAPI is locked: all change is in TMRM by construction")
    back = known(result, put_back=("DAPI",))
    assert back.line.endswith("DAPI was put back: all change is in TMRM by construction")
    assert "100 %" not in locked.line + back.line


def test_of_several_free_channels_the_share_is_one_among_them(make_counterfactual):
    before = np.full((3, 8, 8), 100.0)
    after = before + np.array([0.0, 25.0, 75.0])[:, None, None]
    result = agreeing(make_counterfactual(before, after, channels=("D", "T", "A")), 0.9)
    line = known(result, locked=("D",)).line
    assert line.endswith("D is locked; of the others, 75 % of the change in A")
    both = known(result, locked=("D",), put_back=("T",)).line
    assert "by construction" not in both  # T changes: then nobody kept it


def test_a_locked_channel_is_not_changed_by_rounding(make_counterfactual):
    before = np.full((2, 8, 8), 100.3)
    after = np.round(before + np.array([0.0, 50.0])[:, None, None]).astype(np.uint16)
    result = make_counterfactual(before, after)
    result = replace(result, special_images={"alpha1": after})
    assert verdict(result).shares == {"DAPI": 0.0, "TMRM": 1.0}


def test_a_second_network_that_disagrees_says_what_it_sees(result):
    line = verdict(agreeing(result, 0.3)).line
    assert line.startswith("second network disagrees (predicts diseased); flips")


def test_a_second_network_that_turns_away_from_the_target_is_not_hidden(result):
    turned = replace(result, circumstances=replace(ORDINARY, second_of_source="treated"))
    line = verdict(agreeing(turned, 0.3)).line
    assert "calls the source treated already; second network disagrees (predicts diseased)" in line


@pytest.mark.parametrize(
    ("had_a_say", "said"),
    [
        (True, "second network agrees, but had a say in the change; flips"),
        (None, "second network agrees (not known whether it had a say in the change); flips"),
    ],
)
def test_a_second_network_that_had_a_say_is_no_independent_judge(result, had_a_say, said):
    found = known(result, second_had_a_say=had_a_say)
    assert found.line.startswith(said)
    assert found.line.count("second network") == 1
    assert not found.trustworthy
    assert found.second_had_a_say is had_a_say
    doubted = replace(result, circumstances=replace(ORDINARY, second_had_a_say=had_a_say))
    assert any(said.split("; flips")[0] in (r.sentence, r.short) for r in collect_remarks(doubted))
    # that it disagrees all the same counts as much as it ever did
    assert verdict(agreeing(doubted, 0.3)).line.startswith("second network disagrees")
    assert known(result, second_had_a_say=False).trustworthy


def test_without_a_second_network_the_line_says_that(result):
    found = verdict(replace(result, second_probabilities=None))
    assert found.second_agrees is None
    assert found.line.startswith("no second network; flips (p 0.90); ")
    assert not found.trustworthy


def test_what_does_not_flip_and_what_was_stopped_is_said(result):
    assert verdict(replace(result, valid=False)).line.startswith("does not flip ")
    stopped = replace(result, valid=False, complete=False, special_images={})
    assert verdict(stopped).line.startswith("stopped before the convincing image was made")


def test_of_a_result_of_which_nothing_else_is_known_the_good_case_is_not_assumed(result):
    found = verdict(replace(result, circumstances=Circumstances()))
    assert len(found.reservations) == 4
    assert all("not known whether" in text for text in found.reservations)
    assert not found.trustworthy


def test_many_reservations_are_counted_in_the_line_and_kept_in_the_data(result):
    found = known(
        replace(result, distance=1.0, out_of_range=0.2, second_probabilities=None),
        unlike=(CONSTANT, replace(CONSTANT, sentence="channel mitochondria is 7 everywhere")),
        wanted=0.99,
    )
    assert found.line.startswith(
        "not to be trusted: unlike the training images (channel nuclei is 7"
    )
    assert f"; {len(found.reservations) - 1} more in the notes; " in found.line
    doubted = verdict(
        replace(result, distance=1.0, out_of_range=0.2, circumstances=Circumstances())
    )
    assert f"; {len(doubted.reservations) - 3} more in the notes; flips" in doubted.line
    assert len(found.line) < 400


def test_what_is_held_against_a_result_is_in_its_notes_too(result):
    doubtful = replace(
        result,
        distance=1.0,
        out_of_range=0.2,
        circumstances=replace(ORDINARY, unlike=(CONSTANT,), wanted=0.99),
    )
    remarks = collect_remarks(doubtful)
    assert verdict(doubtful).reservations == tuple(r.short for r in remarks if r.short)
    assert all(remark.sentence for remark in remarks)


def test_no_change_is_no_share_of_change(make_counterfactual):
    same = np.full((2, 8, 8), 7.0)
    assert verdict(make_counterfactual(same, same)).line.endswith("nothing changes")


def test_a_bright_channel_does_not_hide_a_dim_one_that_changes_more(make_counterfactual):
    random = np.random.default_rng(1)
    bright, dim = random.normal(20_000, 5_000, (8, 8)), random.normal(300, 20, (8, 8))
    result = make_counterfactual(np.stack([bright, dim]), np.stack([bright + 200, dim + 60]))
    line = verdict(result).line
    assert "77 % of the change in DAPI" in line
    assert "(relative to each channel's own spread, 99 % in TMRM)" in line


@pytest.mark.parametrize(
    ("distance", "said"),
    [
        (None, False),
        (0.5, False),
        (0.97, "further from the data than 97 % of the training images of treated"),
        (1.0, "further from the data than every training image of treated"),
    ],
)
def test_an_image_far_from_the_data_is_called_so(result, distance, said):
    line = verdict(replace(result, distance=distance)).line
    assert line.startswith(said) if said else ("further" not in line)
