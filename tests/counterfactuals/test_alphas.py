"""alpha1: past the boundary by a stated rule, then checked on exported pixels."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_why.counterfactuals.alphas import (
    LARGEST_ALPHA,
    SpecialAlphas,
    boundary,
    boundary_notes,
    convincing_alpha,
    ecinn_alpha1,
    find_exported_probability,
    settle_on_exported,
    wanted_notes,
)
from napari_why.counterfactuals.method import Complete, Convincing, LatentPath, ScoresOnPath


@pytest.fixture
def scores_with(coupling_network):
    """Return a maker of paths along which the target's log-odds are ``slope alpha - start``."""

    def make(start: float, slope: float) -> ScoresOnPath:
        network = coupling_network()
        network.weights.zero_()
        network.weights[1, 0] = 1.0
        latent, displacement = torch.zeros(1, 32, 2, 2), torch.zeros(1, 32, 2, 2)
        latent[:, 0], displacement[:, 0] = -start, slope
        return ScoresOnPath(network, LatentPath("stage2", latent, displacement), target=1)

    return make


def test_scores_are_computed_in_float64(scores_with) -> None:
    scores = scores_with(0.0, 50.0)
    assert scores.logits(1.0).dtype == torch.float64
    assert 0 < 1 - scores.probability(0.6) < 1e-12  # one in float32


def test_a_steep_path_takes_the_published_alpha(scores_with) -> None:
    scores = scores_with(10.0, 20.0)
    found = convincing_alpha(scores, 0.5, 0.9, LARGEST_ALPHA)
    assert found == pytest.approx(ecinn_alpha1(0.5)) == pytest.approx(1.05)
    assert convincing_alpha(scores, 0.5, 0.9) == 1.0  # no further than is complete


def test_a_late_boundary_is_passed_although_the_published_alpha_stops_before_it(
    scores_with,
) -> None:
    scores = scores_with(20.0, 10.0)
    crossing = boundary(scores)
    assert ecinn_alpha1(crossing) < crossing == pytest.approx(2.0, abs=1e-6)
    found = convincing_alpha(scores, crossing, 0.9, LARGEST_ALPHA)
    assert scores.probability(found) == pytest.approx(0.9, abs=1e-5)


def test_where_the_wanted_probability_is_out_of_reach_the_target_still_leads(scores_with) -> None:
    scores = scores_with(0.4, 0.1)  # p(target) is 0.6 at the largest alpha
    crossing = boundary(scores)
    found = convincing_alpha(scores, crossing, 0.9, LARGEST_ALPHA)
    assert found == pytest.approx(1.25 * crossing, abs=1e-5)
    assert scores.margin(found) > 0
    assert convincing_alpha(scores, crossing, 0.9, 4.5) == 4.5  # no further than is complete


class Wavy:
    """Log-odds of any shape along a path: knots in between which they are straight."""

    def __init__(self, knots: list[float]) -> None:
        self.knots = knots

    def margin(self, alpha: float) -> float:
        alphas = np.linspace(0, LARGEST_ALPHA, len(self.knots))
        return float(np.interp(alpha, alphas, self.knots))

    log_odds = margin

    def probability(self, alpha: float) -> float:
        return 1 / (1 + math.exp(-self.margin(alpha)))


@settings(max_examples=100, deadline=None)
@given(
    knots=st.lists(st.floats(-20, 20), min_size=2, max_size=40),
    lost=st.floats(-2, 10),
    complete=st.floats(0.25, 3),
    probability=st.floats(0.5, 0.999),
    convincing=st.booleans(),
)
def test_whatever_the_classifier_says_nothing_beyond_the_complete_change_is_the_answer(
    knots, lost, complete, probability, convincing
) -> None:
    """On any path, for any classifier and any export."""
    rule = Convincing(complete) if convincing else Complete(complete)
    scores = Wavy(knots)
    found = rule.find(scores, probability)
    final = settle_on_exported(found, FakeImages(lost), 1, probability=probability)
    assert final.alpha1 == found.alpha1 == rule.find_alpha1(scores, probability)
    assert 0 <= final.alpha1 <= rule.full_alpha == complete
    assert final.end <= complete or final.alpha1 == 0
    if not convincing:
        assert final.alpha1 == complete


def test_on_the_way_to_a_goal_the_answer_is_where_the_head_is_convinced(scores_with) -> None:
    rule = Convincing()
    early = rule.find(scores_with(2.0, 20.0), 0.9)  # boundary 0.1, p = 0.9 at 0.21
    assert early.alpha1 == pytest.approx(ecinn_alpha1(0.1), abs=1e-6)
    late = rule.find(scores_with(2.0, 2.2), 0.9)  # boundary 0.91, p = 0.9 at 1.9
    assert late.boundary == pytest.approx(2.0 / 2.2, abs=1e-6)
    assert late.alpha1 == 1.0
    beyond = rule.find(scores_with(2.0, 1.0), 0.9)
    assert (beyond.boundary, beyond.alpha1) == (pytest.approx(2.0, abs=1e-6), 1.0)
    assert rule.find(scores_with(2.0, -1.0), 0.9) == SpecialAlphas(None, None, 1.0)


class FakeImages:
    """Exported images whose log-odds are those of the head minus what the export takes away."""

    def __init__(self, lost: float, ceiling: float = 100.0, slope: float = 1.0) -> None:
        self.lost, self.ceiling, self.slope, self.asked = lost, ceiling, slope, []

    def frame(self, alpha: float) -> SimpleNamespace:
        self.asked.append(alpha)
        odds = min(self.slope * (alpha - self.lost), self.ceiling)
        return SimpleNamespace(margin=lambda target: odds, log_odds=lambda target: odds)


def checked(found: SpecialAlphas, images: FakeImages, **further):
    return settle_on_exported(found, images, 1, probability=0.9, **further)


@pytest.mark.parametrize("lost", [1.7, 3.0])
def test_where_the_export_undoes_the_flip_alpha1_stays_and_the_boundary_is_told(lost) -> None:
    found = SpecialAlphas(boundary=1.0, alpha0=1.0, alpha1=1.3)
    final = checked(found, FakeImages(lost=lost))
    assert final.alpha1 == 1.3
    assert final.boundary == pytest.approx(lost, abs=0.03)  # undecided as exported
    assert final.alpha0 == 1.0


def test_nothing_moves_where_the_export_changes_nothing() -> None:
    found = SpecialAlphas(boundary=1.0, alpha0=1.0, alpha1=1.3)
    images = FakeImages(lost=1.0)
    assert checked(found, images) == found
    assert images.asked == [1.0]


def test_a_flip_that_no_exported_image_has_leaves_no_boundary() -> None:
    found = SpecialAlphas(boundary=1.0, alpha0=1.0, alpha1=1.3, wanted=1.2)
    images = FakeImages(lost=1.0, ceiling=-0.5)
    assert checked(found, images) == SpecialAlphas(None, 1.0, 1.3)
    assert max(images.asked) == LARGEST_ALPHA
    assert len(images.asked) < 10


def test_where_the_export_flips_before_the_head_does_there_is_a_boundary_before_alpha1() -> None:
    """And where it turns back behind: an image that is valid is never said to be none."""

    class Turning(FakeImages):
        def frame(self, alpha: float) -> SimpleNamespace:
            odds = 0.25 - abs(alpha - 0.9)
            return SimpleNamespace(margin=lambda target: odds, log_odds=lambda target: odds)

    found = checked(SpecialAlphas(1.5, 1.5, 1.0), Turning(lost=0.0))
    assert found.boundary == pytest.approx(0.65, abs=0.03)


def test_cancelled_it_inverts_nothing_more() -> None:
    found = SpecialAlphas(boundary=1.0, alpha0=1.0, alpha1=1.3)
    images = FakeImages(lost=1.7)
    assert checked(found, images, cancelled=lambda: True) == found
    assert images.asked == []


def test_without_a_boundary_the_series_ends_after_one_full_displacement() -> None:
    assert SpecialAlphas(None, None, None).end == 1.0
    assert SpecialAlphas(None, -3.0, ecinn_alpha1(-3.0)).end == 1.0


@pytest.fixture
def path_with(coupling_network):
    """Return a maker of paths like those of ``scores_with`` whose change is complete somewhere."""

    def make(start: float, slope: float, **further: object) -> tuple[LatentPath, ScoresOnPath]:
        network = coupling_network()
        network.weights.zero_()
        network.weights[1, 0] = 1.0
        latent, displacement = torch.zeros(1, 32, 2, 2), torch.zeros(1, 32, 2, 2)
        latent[:, 0], displacement[:, 0] = -start, slope
        path = LatentPath("stage2", latent, displacement, **further)
        return path, ScoresOnPath(network, path, target=1)

    return make


@pytest.mark.parametrize(("full", "asked"), [(1.0, 1.0), (1.3, 1.0), (1.0, 2.0), (0.5, 2.0)])
def test_a_complete_change_ends_where_it_is_complete(path_with, full: float, asked: float) -> None:
    path, scores = path_with(4.0, 5.0, rule=Complete(full, asked))
    found = path.rule.find(scores, 0.9)
    assert (found.alpha1, path.rule.full_alpha) == (asked * full, full)
    assert found.boundary == found.alpha0 == pytest.approx(0.8, abs=1e-6)
    # where the network is convinced is told apart, before or behind
    assert scores.probability(found.wanted) == pytest.approx(0.9, abs=1e-5)
    assert found.by_name()["wanted"] == found.wanted > found.boundary


def test_a_complete_change_may_not_convince(path_with) -> None:
    path, scores = path_with(4.0, 0.3, rule=Complete(1.0))
    found = path.rule.find(scores, 0.9)
    assert found == SpecialAlphas(None, None, 1.0)
    assert "wanted" not in found.by_name()
    assert found.end == 1.0


def test_an_image_that_is_called_the_target_has_no_boundary_ahead(path_with) -> None:
    path, scores = path_with(-1.0, 5.0, rule=Complete(1.0))
    assert path.rule.find(scores, 0.9) == SpecialAlphas(None, None, 1.0)


ODDS = math.log(0.9 / 0.1)


def test_the_wanted_alpha_stays_where_the_export_changes_nothing() -> None:
    images = FakeImages(lost=1.0, slope=10.0)
    found = SpecialAlphas(1.0, 1.0, 1.3, wanted=1.0 + ODDS / 10)
    assert checked(found, images) == found
    assert images.asked == [1.0, found.wanted]  # one image more, which is shown anyway


@pytest.mark.parametrize("lost", [0.7, 0.95, 1.05, 1.6, 3.0])
def test_the_wanted_alpha_is_that_of_exported_images(lost: float) -> None:
    images = FakeImages(lost, slope=10.0)
    final = checked(SpecialAlphas(1.0, 1.0, 1.3, wanted=1.0 + ODDS / 10), images)
    assert final.wanted == pytest.approx(lost + ODDS / 10, abs=0.005)
    assert len(images.asked) < 30


def test_a_boundary_that_could_not_be_moved_does_not_hide_an_earlier_wanted_alpha() -> None:
    images = FakeImages(lost=0.2, slope=10.0)
    found = find_exported_probability(images, 1.2, 1, 0.9, start=0.9)
    assert found == pytest.approx(0.2 + ODDS / 10, abs=0.005)
    assert find_exported_probability(FakeImages(lost=-3.0), 1.2, 1, 0.9) == 0.0


def test_where_no_exported_image_reaches_it_there_is_no_wanted_alpha() -> None:
    images = FakeImages(lost=1.0, ceiling=1.0, slope=10.0)
    found = SpecialAlphas(1.0, 1.0, 1.3, wanted=1.2)
    final = checked(found, images)
    assert final.wanted is None
    assert "wanted" not in final.by_name()
    assert max(images.asked) == LARGEST_ALPHA
    assert len(images.asked) < 12


@pytest.mark.parametrize("lost", [0.7, 1.7])
@pytest.mark.parametrize("inverted", [0, 1, 2, 3])
def test_cancelled_the_wanted_alpha_is_that_of_the_head(lost: float, inverted: int) -> None:
    images = FakeImages(lost=lost, slope=10.0)
    found = find_exported_probability(
        images, 1.2, 1, 0.9, 1.0, cancelled=lambda: len(images.asked) >= inverted
    )
    assert (found, len(images.asked)) == (1.2, inverted)


@pytest.mark.parametrize(
    ("found", "final", "words"),
    [
        (None, None, "p(q) reaches 0.9 nowhere on this path"),
        (1.2, None, "no exported image up to alpha 8 reaches p(q) = 0.9"),
        (1.2, 1.4, None),
    ],
)
def test_a_wanted_probability_that_is_never_reached_is_told(found, final, words) -> None:
    alphas = [SpecialAlphas(1.0, 1.0, 1.3, wanted) for wanted in (found, final)]
    said = wanted_notes(*alphas, 0.9, "q")
    assert [words in note for note in said] == ([True] if words else [])
    nowhere = SpecialAlphas(None, None, 1.0)  # which is told without it
    assert wanted_notes(nowhere, nowhere, 0.9, "q") == []


BEYOND = "q is reached only at alpha 1.7, beyond the complete change (alpha 1)"
MOVED = "rounding, clipping or channels put back moved the boundary of the exported images"
NOWHERE = "no exported image that was tried up to alpha 8 is predicted as q"


@pytest.mark.parametrize(
    ("found", "final", "complete", "said"),
    [
        (0.9, 0.9, 1.0, []),
        (1.7, 1.7, 1.0, [BEYOND]),
        (1.7, 1.7, None, []),  # where nobody knows what is complete
        (0.9, 1.7, 1.0, [BEYOND, f"{MOVED} from alpha 0.9 to 1.7"]),
        (0.9, 0.8, 1.0, [f"{MOVED} from alpha 0.9 to 0.8"]),
        (0.9, None, 1.0, [NOWHERE]),
        (None, None, 1.0, ["no image on this path up to alpha 8 is predicted as q"]),
    ],
)
def test_a_boundary_beyond_the_complete_change_is_told_as_such(
    found, final, complete, said
) -> None:
    alphas = [SpecialAlphas(boundary, found, 1.0) for boundary in (found, final)]
    notes = boundary_notes(*alphas, "q", complete)
    assert len(notes) == len(said)
    for note, begin in zip(notes, said, strict=True):
        assert note.startswith(begin)


def test_a_wanted_probability_beyond_the_complete_change_is_told_as_such() -> None:
    alphas = SpecialAlphas(0.9, 0.9, 1.0, wanted=1.4)
    assert wanted_notes(alphas, alphas, 0.9, "q", 1.0) == [
        "p(q) reaches 0.9 only at alpha 1.4, beyond the complete change (alpha 1)"
    ]
    beyond = SpecialAlphas(1.2, 1.2, 1.0, wanted=1.4)  # which is told of the boundary
    assert wanted_notes(beyond, beyond, 0.9, "q", 1.0) == []
