"""The line on one counterfactual."""

from dataclasses import replace

import numpy as np
import pytest

from napari_why.measurement import verdict


@pytest.fixture
def result(make_counterfactual):
    """Return a change of which 92 % of the grey levels lie in the mitochondria."""
    random = np.random.default_rng(0)
    before = random.normal(500, 50, (2, 10, 10))
    after = before + np.array([8.0, -92.0])[:, None, None]
    return make_counterfactual(before, after, channels=["nuclei", "mitochondria"])


def agreeing(result, treated):
    second = {"alpha1": np.array([1 - treated, treated], np.float32)}
    return replace(result, second_probabilities=second)


def test_the_line_says_flip_second_network_and_where(result):
    found = verdict(agreeing(result, 0.8))
    assert found.line == "flips; second network agrees; 92 % of the change in mitochondria"
    assert found.second_agrees is True
    assert found.shares == pytest.approx({"nuclei": 0.08, "mitochondria": 0.92}, abs=1e-4)


def test_a_second_network_that_disagrees_says_what_it_sees(result):
    line = verdict(agreeing(result, 0.3)).line
    assert "second network disagrees (predicts diseased)" in line


def test_without_a_second_network_the_line_says_that(result):
    found = verdict(result)
    assert found.second_agrees is None
    assert found.line.startswith("flips; no second network; ")


def test_what_does_not_flip_and_what_was_stopped_is_said(result):
    assert verdict(replace(result, valid=False)).line.startswith("does not flip; ")
    stopped = replace(result, valid=False, complete=False, special_images={})
    assert verdict(stopped).line.startswith("stopped before the convincing image was made")


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
    assert (said in line) if said else ("further" not in line)
