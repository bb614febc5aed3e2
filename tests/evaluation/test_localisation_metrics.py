"""Localisation against a known truth: values counted by hand, chance values by simulation."""

import numpy as np
import pytest
import torch
from torch import Tensor

from napari_why.attribution import Evidence
from napari_why.core.errors import ParameterError
from napari_why.evaluation import METRICS, ExplanationCase
from napari_why.networks import build_network

NETWORK = build_network("cam_net", input_channels=1, classes=2, size=32)
METRICS_OF_TRUTH = [name for name, metric in METRICS.items() if metric.needs == ("truth",)]


def case(joint: Tensor, truth: Tensor, maps: Tensor | None = None) -> ExplanationCase:
    """A map (H, W) of an image with one channel, or with those of ``maps``."""
    maps = joint[None] if maps is None else maps
    evidence = Evidence(maps, joint, "logit per pixel")
    return ExplanationCase(NETWORK, torch.zeros(1, *maps.shape), 1, evidence, truth=truth)


def value(name: str, *args: Tensor, **parameters: object) -> float:
    return METRICS[name].measure(case(*args), **parameters).value


JOINT = torch.tensor([[4.0, -2.0, 0.0], [1.0, 3.0, -6.0]])
TRUTH = torch.tensor([[[1.0, 1.0, 0.0], [0.0, 0.0, -0.5]]])


def test_relevance_mass_counts_positive_evidence_or_magnitude() -> None:
    assert value("relevance_mass", JOINT, TRUTH) == 4 / 8
    assert value("relevance_mass", JOINT, TRUTH, part="absolute") == 12 / 16


def test_relevance_mass_by_channel_takes_the_wrong_channel_for_wrong() -> None:
    maps = torch.stack([torch.zeros(2, 3), JOINT])
    truth = torch.cat([torch.zeros(1, 2, 3), TRUTH])
    assert value("relevance_mass_by_channel", JOINT, truth, maps) == 4 / 8
    assert value("relevance_mass_by_channel", JOINT, truth, maps.flip(0)) == 0
    assert value("relevance_mass", JOINT, truth, maps.flip(0)) == 4 / 8


def test_relevance_rank_shares_places_of_equal_pixels() -> None:
    # the highest three are 4, 3, 1, of which the first is in the region
    assert value("relevance_rank", JOINT, TRUTH) == pytest.approx(1 / 3)
    # 6, 4, 3 in magnitude
    assert value("relevance_rank", JOINT, TRUTH, part="absolute") == pytest.approx(2 / 3)
    # one pixel of the region is above all; two places are left for five equal ones, two of them in it
    peak = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    assert value("relevance_rank", peak, TRUTH) == pytest.approx((1 + 2 * 2 / 5) / 3)


def test_pointing_game_takes_the_highest_and_not_the_largest_pixel() -> None:
    assert value("pointing_game", JOINT, TRUTH) == 1
    assert value("pointing_game", -JOINT, TRUTH) == 1  # at -6, now 6
    only_first = torch.tensor([[[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]])
    assert value("pointing_game", -JOINT, only_first) == 0
    near = torch.tensor([[0.0, 0.0, 0.0], [0.0, 5.0, 0.0]])
    assert value("pointing_game", near, only_first) == 0
    wide = torch.zeros(1, 5, 5)
    wide[0, 0, 0] = 1
    beside = torch.zeros(5, 5)
    beside[1, 1] = 3
    assert value("pointing_game", beside, wide) == 0
    assert value("pointing_game", beside, wide, tolerance=1) == 1
    shared = torch.tensor([[2.0, 2.0, 0.0], [2.0, 0.0, 0.0]])
    assert value("pointing_game", shared, only_first) == pytest.approx(1 / 3)


def test_intersection_over_union_of_what_stands_out() -> None:
    joint = torch.zeros(4, 5)
    joint[0, :4] = 10.0
    truth = torch.zeros(1, 4, 5)
    truth[0, 0, 2:] = 1  # two of three are found, by four pixels
    measured = METRICS["intersection_over_union"].measure(case(joint, truth))
    assert measured.value == pytest.approx(2 / 5)
    assert measured.details == {"pixels_above_threshold": 4}
    same = METRICS["intersection_over_union"].measure(case(torch.ones(4, 5), truth))
    assert same.value == same.chance == pytest.approx(3 / 20)


def test_sign_agreement_weighs_by_magnitude() -> None:
    # in the region: 4 right, -2 wrong, -6 right
    measured = METRICS["sign_agreement"].measure(case(JOINT, TRUTH))
    assert measured.value == pytest.approx(10 / 12)
    # half of the magnitude is positive
    assert measured.chance == pytest.approx(0.5)


def test_a_map_without_signs_agrees_with_a_positive_truth_by_chance_alone() -> None:
    measured = METRICS["sign_agreement"].measure(case(JOINT.abs(), TRUTH.abs()))
    assert (measured.value, measured.chance) == (1, 1)


@pytest.mark.parametrize("name", METRICS_OF_TRUTH)
def test_chance_is_what_the_values_get_at_random_places(name: str) -> None:
    generator = torch.Generator().manual_seed(5)
    values = torch.randn(2, 24, 24, generator=generator) ** 3 + 0.5
    truth = torch.zeros(2, 24, 24)
    truth[1, 4:11, 6:18] = 1
    truth[1, 15:20, 6:18] = -1
    found, promised = [], []
    for _ in range(300):
        order = torch.randperm(values.numel(), generator=generator)
        maps = values.flatten()[order].reshape(values.shape)
        measured = METRICS[name].measure(case(maps.sum(dim=0), truth, maps))
        found.append(measured.value)
        promised.append(measured.chance)
    error = np.std(found) / np.sqrt(len(found))
    # four standard errors: passes by chance of one in 10 000, and the seed is fixed
    assert abs(np.mean(found) - np.mean(promised)) < 4 * error + 1e-9
    assert 0 < np.mean(promised) < 1


@pytest.mark.parametrize("name", METRICS_OF_TRUTH)
def test_the_truth_itself_is_the_best_map(name: str) -> None:
    truth = torch.zeros(1, 16, 16)
    truth[0, 3:8, 4:10] = 2
    perfect = METRICS[name].measure(case(truth[0] - 0.01 * (truth[0] == 0), truth))
    assert perfect.value == METRICS[name].high
    assert perfect.value > perfect.chance


@pytest.mark.parametrize("name", METRICS_OF_TRUTH)
def test_where_nothing_changes_there_is_no_value(name: str) -> None:
    measured = METRICS[name].measure(case(JOINT, torch.zeros(1, 2, 3)))
    assert np.isnan(measured.value)
    assert "changes nothing" in measured.note


@pytest.mark.parametrize("name", METRICS_OF_TRUTH)
def test_an_empty_map_is_no_better_than_chance(name: str) -> None:
    measured = METRICS[name].measure(case(torch.zeros(2, 3), TRUTH))
    assert measured.value <= 0.5
    assert measured.note


def test_a_case_without_the_truth_is_refused() -> None:
    evidence = Evidence(JOINT[None], JOINT, "logit")
    bare = ExplanationCase(NETWORK, torch.zeros(1, 1, 2, 3), 1, evidence)
    assert METRICS["relevance_mass"].lacks(bare) == ("truth",)
    with pytest.raises(ParameterError, match="a case without truth"):
        METRICS["relevance_mass"].measure(bare)
    with pytest.raises(ParameterError, match="part: found 'negative'"):
        METRICS["relevance_mass"].measure(case(JOINT, TRUTH), part="negative")
    other_size = ExplanationCase(NETWORK, torch.zeros(1, 1, 4, 4), 1, evidence, truth=TRUTH)
    with pytest.raises(ParameterError, match="a map of"):
        METRICS["relevance_mass"].measure(other_size)
