"""Change, change without offset, and influence, against arithmetic by hand."""

from dataclasses import replace

import numpy as np
import pytest

from napari_why.core.errors import ParameterError
from napari_why.measurement import change_map, changed_image
from napari_why.measurement.change_maps import influence


def test_the_change_is_taken_against_the_reconstruction_in_grey_levels(squares):
    found = change_map(squares)
    assert not found.plane("DAPI").any()
    assert found.plane("TMRM")[3, 4] == 200
    assert found.plane("TMRM")[10, 13] == -100
    assert found.plane("joint")[10, 13] == 100, "joint adds the absolute changes of the channels"


def test_the_convincing_image_counts_as_after_and_the_last_one_where_there_is_none(squares):
    assert changed_image(squares) is squares.special_images["alpha1"]
    unfinished = replace(squares, special_images={})
    np.testing.assert_array_equal(changed_image(unfinished), squares.images[-1])


@pytest.mark.parametrize("rule", ["mean", "median"])
def test_a_global_offset_is_taken_off_and_told(make_counterfactual, rule):
    before = np.full((2, 8, 8), 100.0)
    after = before + np.array([30.0, -7.0])[:, None, None]
    after[0, 2, 2] += 640
    result = make_counterfactual(before, after)
    found = change_map(result, "offset_free", offset=rule)
    expected = {"mean": 40.0, "median": 30.0}[rule]
    np.testing.assert_allclose(found.offset, [expected, -7.0], atol=1e-4)
    assert found.plane("DAPI")[2, 2] == pytest.approx(670 - expected)
    assert found.plane("DAPI")[0, 0] == pytest.approx(30 - expected)
    assert not found.plane("TMRM").any()


def test_the_influence_weights_every_step_by_what_it_does_to_the_probability(make_counterfactual):
    before = np.zeros((1, 4, 4))
    result = make_counterfactual(
        before, before + 8, channels=["TMRM"], probabilities=(0.1, 0.1, 0.9, 0.7, 0.7)
    )
    # four steps of 2 grey levels; they gain 0, 0.8, -0.2 and 0
    np.testing.assert_allclose(influence(result), 2 * (0.8 - 0.2), rtol=1e-5)
    found = change_map(result, "influence")
    np.testing.assert_array_equal(found.joint, found.values[0])


def test_what_changes_while_the_classifier_does_not_care_has_no_influence(make_counterfactual):
    images = np.zeros((3, 2, 4, 4), np.float32)
    images[1:, 0] = 50  # DAPI changes first, TMRM in the step that flips the class
    images[2:, 1] = 50
    result = make_counterfactual(images[0], images[-1], probabilities=(0.1, 0.1, 0.9))
    found = influence(replace(result, images=images))
    assert not found[0].any()
    np.testing.assert_allclose(found[1], 50 * 0.8, rtol=1e-5)


def test_unknown_words_are_refused_with_the_known_ones(squares):
    with pytest.raises(ParameterError, match="expected change, offset_free, influence"):
        change_map(squares, "difference")
    with pytest.raises(ParameterError, match="expected mean, median"):
        change_map(squares, offset="mode")
    with pytest.raises(ParameterError, match="expected joint or one of DAPI, TMRM"):
        change_map(squares).plane("GFP")
