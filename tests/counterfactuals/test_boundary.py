"""The boundary is found on the head: where p(target) = 0.5, or where the prediction changes."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_why.counterfactuals.alphas import (
    LARGEST_ALPHA,
    alpha_for_probability,
    boundary,
    first_crossing,
    outward,
)
from napari_why.counterfactuals.method import LatentPath, ScoresOnPath


@pytest.fixture
def straight(coupling_network):
    """Return a maker of paths along which the first logit falls and the others move as told."""

    def make(start: list[float], slope: list[float], target: int = 1) -> ScoresOnPath:
        network = coupling_network(classes=len(start))
        network.weights.zero_()
        for index in range(len(start)):
            network.weights[index, index] = 1.0
        latent = torch.zeros(1, 32, 2, 2)
        displacement = torch.zeros(1, 32, 2, 2)
        for index, (value, change) in enumerate(zip(start, slope, strict=True)):
            latent[:, index], displacement[:, index] = value, change
        return ScoresOnPath(network, LatentPath("stage2", latent, displacement), target)

    return make


@settings(max_examples=25, deadline=None)
@given(root=st.floats(0.01, LARGEST_ALPHA - 0.01))
def test_a_crossing_is_found_wherever_it_is(root: float) -> None:
    assert first_crossing(lambda alpha: math.tanh(alpha - root), 0.0, LARGEST_ALPHA) == (
        pytest.approx(root, abs=1e-6)
    )


def test_of_two_crossings_the_first_is_taken() -> None:
    assert first_crossing(lambda alpha: math.sin(alpha * math.pi - 0.5), 0.0, 8.0) == (
        pytest.approx(0.5 / math.pi, abs=1e-6)
    )


def test_brackets_go_outward_to_the_maximum() -> None:
    alphas = list(outward(0.0, LARGEST_ALPHA))
    assert alphas[0] == 0.0
    assert alphas[-1] == LARGEST_ALPHA
    assert alphas == sorted(alphas)
    assert list(outward(3.0, 3.0)) == [3.0]


def test_two_classes_meet_at_one_half(straight) -> None:
    scores = straight([1.0, 0.0], [-1.0, 1.5])
    assert boundary(scores) == pytest.approx(0.4, abs=1e-6)
    assert scores.probability(0.4) == pytest.approx(0.5, abs=1e-6)


def test_of_three_classes_the_target_overtakes_the_strongest_other(straight) -> None:
    scores = straight([2.0, 0.0, 1.0], [-3.0, 1.0, 0.0])
    found = boundary(scores)
    assert found == pytest.approx(1.0, abs=1e-6)  # class 0 is overtaken at 0.5, class 2 at 1.0
    assert scores.probability(found) < 0.5
    assert scores.logits(found + 1e-3).argmax() == 1


def test_a_wanted_probability(straight) -> None:
    scores = straight([1.0, 0.0], [-1.0, 1.5])
    alpha = alpha_for_probability(scores, 0.9)
    assert scores.probability(alpha) == pytest.approx(0.9, abs=1e-5)
    assert alpha_for_probability(scores, 0.9, start=2.0) == 2.0  # reached there already


def test_none_where_the_path_leads_elsewhere(straight) -> None:
    scores = straight([1.0, 0.0], [1.0, 0.0])
    assert boundary(scores) is None
    assert alpha_for_probability(scores, 0.9) is None
    assert boundary(straight([1.0, 0.0], [0.0, 0.0])) is None
