"""Exported pixels: rounded and clipped for 16-bit sources, untouched floats for all others."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from napari_why.images.image import export_dtype, export_pixels, share_out_of_range

RAW = arrays.arrays(
    np.float32, (2, 3, 3), elements=st.floats(-70_000, 140_000, width=32, allow_nan=False)
)


@pytest.mark.parametrize("dtype", ["uint16", "int16"])
def test_sixteen_bits_stay(dtype: str) -> None:
    assert export_dtype(dtype) == np.dtype(dtype)


@pytest.mark.parametrize(
    "dtype", ["uint8", "int8", "uint32", "float16", "float32", "float64", "bool"]
)
def test_everything_else_becomes_float(dtype: str) -> None:
    assert export_dtype(dtype) == np.float32


@given(RAW)
def test_integers_are_the_nearest_value_in_range(raw: np.ndarray) -> None:
    pixels = export_pixels(raw, np.dtype("uint16"))
    assert pixels.dtype == np.uint16
    inside = (raw >= 0) & (raw <= 65535)
    assert (np.abs(pixels[inside] - raw[inside].astype(float)) <= 0.5).all()
    assert (pixels[raw < 0] == 0).all()
    assert (pixels[raw > 65535] == 65535).all()


@given(RAW)
def test_floats_are_neither_rounded_nor_clipped(raw: np.ndarray) -> None:
    assert np.array_equal(export_pixels(raw, np.dtype("float32")), raw)


def test_the_share_out_of_range_is_that_of_the_source() -> None:
    raw = np.array([-1.0, -0.4, 10.0, 300.0])
    assert share_out_of_range(raw, "uint8") == 0.5
    assert share_out_of_range(raw, "uint16") == 0.25
    assert share_out_of_range(raw, "float32") == 0.0
