"""alpha1: past the boundary by a stated rule, then checked on exported pixels."""

import math
from types import SimpleNamespace

import pytest
import torch

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
from napari_why.counterfactuals.method import Complete, LatentPath, ScoresOnPath


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
    assert convincing_alpha(scores, 0.5, 0.9) == pytest.approx(ecinn_alpha1(0.5))


def test_a_late_boundary_is_passed_although_the_published_alpha_stops_before_it(
    scores_with,
) -> None:
    scores = scores_with(20.0, 10.0)
    crossing = boundary(scores)
    assert ecinn_alpha1(crossing) < crossing == pytest.approx(2.0, abs=1e-6)
    found = convincing_alpha(scores, crossing, 0.9)
    assert scores.probability(found) == pytest.approx(0.9, abs=1e-5)


def test_where_the_wanted_probability_is_out_of_reach_the_target_still_leads(scores_with) -> None:
    scores = scores_with(0.4, 0.1)  # p(target) is 0.6 at the largest alpha
    crossing = boundary(scores)
    found = convincing_alpha(scores, crossing, 0.9)
    assert found == pytest.approx(1.25 * crossing, abs=1e-5)
    assert scores.margin(found) > 0


class FakeImages:
    """Exported images whose log-odds are those of the head minus what the export takes away."""

    def __init__(self, lost: float, ceiling: float = 100.0, slope: float = 1.0) -> None:
        self.lost, self.ceiling, self.slope, self.asked = lost, ceiling, slope, []

    def frame(self, alpha: float) -> SimpleNamespace:
        self.asked.append(alpha)
        odds = min(self.slope * (alpha - self.lost), self.ceiling)
        return SimpleNamespace(margin=lambda target: odds, log_odds=lambda target: odds)


def checked(found: SpecialAlphas, images: FakeImages, *, enlarge: bool = True, **further):
    return settle_on_exported(found, images, 1, probability=0.9, enlarge=enlarge, **further)


def test_alpha1_is_enlarged_until_the_exported_image_flips() -> None:
    found = SpecialAlphas(boundary=1.0, alpha0=1.0, alpha1=1.3)
    final = checked(found, FakeImages(lost=1.7))
    assert final.alpha1 == pytest.approx(1.3 * 1.25**2)
    assert final.boundary == pytest.approx(1.7, abs=0.03)  # undecided as exported
    assert final.alpha0 == 1.0


def test_nothing_moves_where_the_export_changes_nothing() -> None:
    found = SpecialAlphas(boundary=1.0, alpha0=1.0, alpha1=1.3)
    images = FakeImages(lost=1.0)
    assert checked(found, images) == found
    assert images.asked == [1.3, 1.0]


def test_a_published_alpha1_stays_where_it_is() -> None:
    found = SpecialAlphas(boundary=1.0, alpha0=0.9, alpha1=1.25)
    assert checked(found, FakeImages(lost=1.6), enlarge=False) == found


def test_an_impossible_flip_keeps_the_first_alpha1() -> None:
    found = SpecialAlphas(boundary=1.0, alpha0=1.0, alpha1=1.3)
    images = FakeImages(lost=1.0, ceiling=-0.5)
    assert checked(found, images) == found


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


@pytest.mark.parametrize("full", [1.0, 1.3])
def test_a_complete_change_ends_where_it_is_complete(path_with, full: float) -> None:
    path, scores = path_with(4.0, 5.0, rule=Complete(full))
    found = path.rule.find(scores, 0.9)
    assert found.alpha1 == full
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
    assert images.asked == [1.3, 1.0, found.wanted]  # one image more, which is shown anyway


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


def test_the_export_is_not_blamed_where_the_complete_change_did_not_convince() -> None:
    """Not even the head calls the latent at alpha 1 the target: its boundary lies beyond."""
    found = SpecialAlphas(1.04, 1.04, 1.0)
    said = boundary_notes(found, SpecialAlphas(1.04, 1.04, 1.25), True, "q")
    assert said == [
        "the complete change, alpha 1, is not predicted as q: it was enlarged to alpha 1.25"
    ]
    found = SpecialAlphas(0.9, 0.9, 1.0)
    said = boundary_notes(found, SpecialAlphas(1.1, 0.9, 1.25), True, "q")
    assert [note.split(" of the exported")[0] for note in said] == [
        "rounding, clipping or channels put back moved the boundary",
        "rounding, clipping or channels put back moved alpha1",
    ]
