import numpy as np
import pytest
import xarray as xr

from napari_why.core.errors import ParameterError
from napari_why.images import (
    channel_names,
    check_image,
    make_image,
    plane,
    spatial_scale,
)

PIXELS = np.arange(2 * 3 * 4, dtype="uint16").reshape(2, 3, 4)


def test_axes_come_in_one_order_whatever_the_array_has() -> None:
    image = make_image(PIXELS.transpose(1, 2, 0), "yxc", ["DAPI", "TMRM"])
    assert image.dims == ("c", "y", "x")
    np.testing.assert_array_equal(image, PIXELS)
    assert channel_names(image) == ("DAPI", "TMRM")
    assert image.dtype == np.uint16


def test_an_array_without_channels_is_one_channel() -> None:
    image = make_image(PIXELS, ("z", "y", "x"), None)
    assert image.dims == ("c", "z", "y", "x")
    assert channel_names(image) == ("channel 1",)


def test_pixel_size_is_kept_for_spatial_axes_only() -> None:
    image = make_image(PIXELS, "cyx", None, pixel_size={"z": 2, "y": 0.5, "x": 0.25}, unit="um")
    assert image.attrs["pixel_size"] == {"y": 0.5, "x": 0.25}
    assert spatial_scale(image) == (0.5, 0.25)


def test_plane_takes_one_time_point_and_depth() -> None:
    stack = make_image(np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5), "tzyx", None)
    flat = plane(stack, t=1, z=2)
    assert flat.dims == ("c", "y", "x")
    np.testing.assert_array_equal(flat[0], stack.values[1, 0, 2])
    assert set(flat.attrs["pixel_size"]) == {"y", "x"}
    with pytest.raises(ParameterError, match="z: found 3; expected 0 to 2"):
        plane(stack, z=3)


@pytest.mark.parametrize(
    ("dims", "channels", "options", "message"),
    [
        ("yx", None, {}, "one letter for each axis"),
        ("yyx", None, {}, "each once"),
        ("cqx", None, {}, "expected c, y, x"),
        ("cyx", ["one"], {}, "1 names .* for 2 channels"),
        ("cyx", ["a", "a"], {}, "each once"),
        ("cyx", ["a", " "], {}, "printable name"),
        ("cyx", ["a", "b\n"], {"unit": "nm"}, "expected one of um, pixel"),
        ("cyx", None, {"pixel_size": {"y": 0.0}}, "positive number"),
        ("cyx", None, {"pixel_size": {"y": float("nan")}}, "positive number"),
    ],
)
def test_what_does_not_fit_is_refused_in_words(dims, channels, options, message) -> None:
    with pytest.raises(ParameterError, match=message):
        make_image(PIXELS, dims, channels, **options)


def test_foreign_arrays_are_checked() -> None:
    with pytest.raises(ParameterError, match=r"found ndarray; expected an xarray\.DataArray"):
        check_image(PIXELS)
    with pytest.raises(ParameterError, match="no channel names"):
        check_image(xr.DataArray(PIXELS, dims=("c", "y", "x")))
    with pytest.raises(ParameterError, match="at least one pixel"):
        make_image(np.zeros((0, 4)), "yx", None)
    with pytest.raises(ParameterError, match="complex128"):
        make_image(np.zeros((4, 4), complex), "yx", None)
