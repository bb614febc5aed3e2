"""Thresholds, connected pixels and the way to the source's pixels."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.filters import threshold_otsu

from napari_why.core.errors import ParameterError
from napari_why.counterfactuals.spread import compare_changes
from napari_why.images import Grid
from napari_why.measurement import change_map, find_regions, measure


def test_increase_and_decrease_are_regions_of_their_own(squares):
    found = find_regions(change_map(squares).plane("TMRM"), rule="fixed", level=50)
    assert found.count == 2
    assert (found.labels == 1).sum() == 16
    assert (found.labels == 2).sum() == 6
    touching = np.array([[5.0, 5.0, -5.0, -5.0]])
    assert find_regions(touching, rule="fixed", level=1).labels.tolist() == [[1, 1, 2, 2]]


def test_a_fixed_level_is_inside(squares):
    plane = change_map(squares).plane("TMRM")
    assert find_regions(plane, rule="fixed", level=200).count == 1
    assert find_regions(plane, rule="fixed", level=200.1).count == 0


def test_the_top_share_is_that_share_of_the_pixels():
    values = np.random.default_rng(0).normal(size=(20, 30))
    found = find_regions(values, rule="top", share=0.1)
    assert (found.labels > 0).sum() == 60
    strength = np.abs(values)
    assert strength[found.labels > 0].min() > strength[found.labels == 0].max()


def test_otsu_is_that_of_scikit_image():
    random = np.random.default_rng(1)
    values = np.abs(random.normal(0, 0.1, (32, 32)))
    values[8:16, 8:16] += 40
    found = find_regions(values)
    np.testing.assert_array_equal(found.labels > 0, values > threshold_otsu(values))
    assert found.count == 1


@pytest.mark.parametrize("rule", ["otsu", "fixed", "top"])
def test_where_nothing_changes_there_is_no_region(rule):
    assert find_regions(np.zeros((8, 8)), rule=rule, level=0, share=0.5).count == 0


def test_small_regions_are_left_out_and_the_others_numbered_again(squares):
    values = change_map(squares).plane("TMRM").copy()
    values[0, 0] = 500
    found = find_regions(values, rule="fixed", level=50, minimum_size=2)
    assert found.count == 2
    assert found.labels[0, 0] == 0
    assert found.labels[2, 3] == 1


def test_the_smallest_size_counts_pixels_of_the_source(squares):
    plane, grid = change_map(squares).plane("TMRM"), Grid.reduce((32, 40), (16, 20))
    sized = [
        find_regions(plane, grid, rule="fixed", level=50, minimum_size=size).count
        for size in (24, 25, 64, 65)
    ]
    assert sized == [2, 1, 1, 0], "6 and 16 pixels of the grid are 24 and 64 of the source"


@given(
    factors=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    shape=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    seed=st.integers(0, 99),
)
@settings(max_examples=40, deadline=None)
def test_on_the_source_every_pixel_of_a_reduced_grid_becomes_a_block(factors, shape, seed):
    values = np.random.default_rng(seed).integers(-2, 3, shape).astype(float)
    source = (shape[0] * factors[0], shape[1] * factors[1])
    found = find_regions(values, Grid.reduce(source, shape), rule="fixed", level=1)
    np.testing.assert_array_equal(found.on_source(source), np.kron(found.labels, np.ones(factors)))


def test_on_the_source_a_crop_lies_at_its_corner_and_nothing_beside_it():
    found = find_regions(np.ones((2, 3)), Grid.crop((2, 3), (4, 1)), rule="fixed", level=1)
    mapped = found.on_source((8, 6))
    expected = np.zeros((8, 6), int)
    expected[4:6, 1:4] = 1
    np.testing.assert_array_equal(mapped, expected)


def test_on_the_source_an_enlarged_grid_gives_each_pixel_the_label_at_its_centre():
    values = np.zeros((6, 6))
    values[:3] = 1
    found = find_regions(values, Grid.reduce((2, 2), (6, 6)), rule="fixed", level=1)
    assert found.on_source((2, 2)).tolist() == [[1, 1], [0, 0]]


def test_numbers_out_of_range_are_refused():
    with pytest.raises(ParameterError, match="expected otsu, fixed, top"):
        find_regions(np.zeros((4, 4)), rule="li")
    with pytest.raises(ParameterError, match="more than 0 and at most 1"):
        find_regions(np.zeros((4, 4)), rule="top", share=0)


@pytest.mark.parametrize("channel", ["TMRM", "joint"])
def test_regions_of_uncertain_sign_are_left_out_and_counted(squares, channel):
    change = change_map(squares).values.astype(float)
    versions = np.repeat(change[None], 10, 0)
    versions[:5, :, :, 10:] *= -1  # half of the versions brighten the darker square
    known = replace(squares, spread=compare_changes(change, versions))
    found, plain = (
        measure(result, channel=channel, threshold="fixed", level=50, minimum_size=0)
        for result in (known, squares)
    )
    assert (found.regions.count, found.left_out) == (1, 1)
    assert (plain.regions.count, plain.left_out) == (2, 0)
    assert found.regions.labels.max() == len(found.table) == 1
    assert not found.regions.labels[:, 10:].any()
    assert found.record.details["regions_of_uncertain_sign"] == 1
    assert any("1 region was left out" in note for note in found.notes)
    assert len(plain.notes) == 1
