"""Whole fields are mirrored to what a network can take, and come back on their own grid."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_why.datasets import Preprocessing
from napari_why.images import Grid, make_image
from napari_why.model.whole_field import FieldPreprocessing
from napari_why.simulation import simulate


@pytest.fixture(scope="module")
def of_crops() -> Preprocessing:
    return Preprocessing.from_dataset(simulate(6, size=40), size=32, fit="crop", intensity="asinh")


@settings(max_examples=30, deadline=None)
@given(height=st.integers(1, 50), width=st.integers(1, 50), multiple=st.sampled_from([1, 4, 16]))
def test_every_pixel_of_a_field_comes_back(
    of_crops: Preprocessing, height: int, width: int, multiple: int
) -> None:
    pixels = np.random.default_rng(0).integers(0, 65535, (2, height, width), dtype=np.uint16)
    image = make_image(pixels, ("c", "y", "x"), of_crops.channels)
    field = FieldPreprocessing.of(of_crops, (height, width), multiple)
    x = field(image)
    assert all(size % multiple == 0 for size in x.shape[1:])
    assert 0 <= x.shape[1] - height < multiple and 0 <= x.shape[2] - width < multiple
    np.testing.assert_array_equal(field.inverse(x).round(), pixels)
    assert field.grid(image) == Grid((height, width))


def test_a_field_is_seen_as_crops_of_it_are(of_crops: Preprocessing) -> None:
    image = simulate(2, size=48).image(0)
    field = FieldPreprocessing.of(of_crops, (48, 48), 16)
    np.testing.assert_array_equal(field(image)[:, 8:40, 8:40], of_crops(image))


def test_what_is_added_mirrors_the_field(of_crops: Preprocessing) -> None:
    image = simulate(2, size=44).image(0)
    x = FieldPreprocessing.of(of_crops, (44, 44), 16)(image)
    np.testing.assert_array_equal(x[:, 44:], x[:, 39:43].flip(1))
    np.testing.assert_array_equal(x[:, :44, 44:], x[:, :44, 39:43].flip(2))
