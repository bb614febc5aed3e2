import dask.array as da
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_why.images import (
    common_contrast,
    contrast_limits,
    image_contrast_limits,
    make_image,
)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_constant_images_get_a_range(dtype) -> None:
    assert contrast_limits(np.zeros((9, 9), dtype)) == (0.0, 1.0)
    assert contrast_limits(np.full((9, 9), 5, dtype)) == (0.0, 5.0)


def test_limits_follow_the_values_not_the_type() -> None:
    random = np.random.default_rng(0)
    crushed = random.poisson(1.5, (64, 64)).astype("uint8")
    low, high = contrast_limits(crushed)
    assert 0 <= low < high <= crushed.max()
    assert contrast_limits(crushed.astype("uint16")) == (low, high)


def test_a_hot_pixel_does_not_turn_the_image_dark() -> None:
    image = np.random.default_rng(0).integers(100, 1000, (100, 100)).astype("uint16")
    image[3, 4] = 65535
    assert contrast_limits(image)[1] < 1000


def test_a_few_bright_pixels_on_a_flat_ground_are_seen() -> None:
    image = np.ones((200, 200), "uint8")
    image[5, 5:10] = 4
    assert contrast_limits(image) == (1.0, 4.0)


def test_a_dim_stain_is_shown_by_its_own_brightness_and_not_by_its_brightest_pixels() -> None:
    """As TMRM of the 8-bit images of Leigh cultures: background 1, cells up to 7, debris up to 23."""
    image = np.ones(100_000, "uint8")
    image[:5_000], image[:1_000], image[:400], image[:100] = 5, 6, 8, 23
    low, high = contrast_limits(image.reshape(1000, 100))
    assert low == 1.0
    assert 6 <= high <= 8
    assert contrast_limits(image.astype("uint16") * 100)[1] <= 800


def test_images_of_a_data_set_have_one_contrast() -> None:
    bright, dim = (np.arange(10_001.0).reshape(1, 1, -1) * factor for factor in (1, 0.1))
    images = [make_image(pixels, "cyx", ["TMRM"]) for pixels in (bright, dim, bright)]
    assert common_contrast(images) == {"TMRM": contrast_limits(bright)}


def test_values_that_are_no_numbers_are_left_out() -> None:
    image = np.linspace(0, 1, 10_000).reshape(100, 100)
    image[0, 0], image[0, 1] = np.nan, np.inf
    low, high = contrast_limits(image)
    assert 0 < low < high < 1
    assert contrast_limits(np.full((3, 3), np.nan)) == (0.0, 1.0)


@given(
    hnp.arrays(
        st.sampled_from(["uint8", "uint16", "int16", "float32", "bool"]),
        hnp.array_shapes(min_dims=2, max_dims=3, max_side=6),
    )
)
def test_the_range_is_never_empty_and_always_finite(pixels) -> None:
    low, high = contrast_limits(pixels)
    assert np.isfinite([low, high]).all()
    assert low < high


def test_each_channel_has_its_own_limits_and_stacks_are_sampled() -> None:
    planes = np.stack([np.full((20, 8, 8), 3), np.full((20, 8, 8), 900)]).astype("uint16")
    planes[:, 10] *= 2
    assert image_contrast_limits(make_image(planes, "czyx", None))[1][1] == 1800
    lazy = make_image(da.from_array(planes, chunks=(1, 1, 8, 8)), "czyx", None)
    assert image_contrast_limits(lazy) == [(3.0, 6.0), (900.0, 1800.0)]
