import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from napari_why.core.errors import MismatchError, ParameterError, WhyError
from napari_why.datasets import Dataset, Preprocessing
from napari_why.datasets.preprocessing import Intensity
from napari_why.images import Grid, make_image

from .conftest import image_of

INTENSITIES: tuple[Intensity, ...] = ("linear", "log1p", "asinh")
SHAPE = (2, 4, 5)


def preprocessing_of(pixels: NDArray[np.generic], intensity: Intensity) -> Preprocessing:
    """Take the statistics from one image and its negative, so that no channel is constant."""
    images = [make_image(pixels, "cyx", None), make_image(pixels[:, ::-1] // 2, "cyx", None)]
    dataset = Dataset.from_images(images, ["a", "b"])
    return Preprocessing.from_dataset(dataset, size=None, intensity=intensity)


@pytest.mark.parametrize("intensity", INTENSITIES)
@given(pixels=hnp.arrays(np.uint16, SHAPE))
@settings(max_examples=60, deadline=None)
def test_inverse_gives_uint16_back_exactly(
    pixels: NDArray[np.uint16], intensity: Intensity
) -> None:
    preprocessing = preprocessing_of(pixels, intensity)
    x = preprocessing(make_image(pixels, "cyx", None))
    assert x.dtype == torch.float32
    np.testing.assert_array_equal(np.rint(preprocessing.inverse(x)), pixels)


@given(
    pixels=hnp.arrays(np.uint16, SHAPE),
    std=st.floats(1e-6, 1e6),
    mean=st.floats(0, 65535),
)
@settings(max_examples=100, deadline=None)
def test_linear_is_exact_whatever_the_standard_deviation(
    pixels: NDArray[np.uint16], std: float, mean: float
) -> None:
    preprocessing = Preprocessing(("a",), None, "none", "linear", (mean,), (std,), (1.0,))
    x = preprocessing(make_image(pixels[:1], "cyx", ("a",)))
    error = np.abs(preprocessing.inverse(x) - pixels[:1])
    assert error.max() <= 0.004


@pytest.mark.parametrize("intensity", INTENSITIES)
@given(pixels=hnp.arrays(np.float32, SHAPE, elements=st.floats(-1e6, 1e6, width=32)))
@settings(max_examples=60, deadline=None)
def test_inverse_gives_floats_back_within_the_rounding_of_float32(
    pixels: NDArray[np.float32], intensity: Intensity
) -> None:
    preprocessing = preprocessing_of(pixels, intensity)
    x = preprocessing(make_image(pixels, "cyx", None))
    scale = np.abs(pixels).max() + 1
    np.testing.assert_allclose(preprocessing.inverse(x), pixels, rtol=0, atol=4e-6 * scale)


def test_float32_ends_where_the_docstring_says() -> None:
    preprocessing = Preprocessing(("a",), None, "none", "linear", (0.0,), (3.0,), (1.0,))
    pixels = np.array([[[2**23 - 1, 2**32 - 101]]], dtype=np.uint32)
    back = np.rint(preprocessing.inverse(preprocessing(make_image(pixels, "cyx", ("a",)))))
    assert back[0, 0, 0] == pixels[0, 0, 0]
    assert back[0, 0, 1] != pixels[0, 0, 1]


def test_statistics_are_those_of_all_training_pixels() -> None:
    images = [image_of(n, size=8 + n) for n in range(6)]
    split = ["train"] * 4 + ["test"] * 2
    dataset = Dataset.from_images(images, ["a", "b"] * 3, split=split)
    fitted = Preprocessing.from_dataset(dataset, size=None)
    for channel in (0, 1):
        pixels = np.concatenate([image.values[channel].ravel() for image in images[:4]])
        assert fitted.mean[channel] == pytest.approx(pixels.mean(), rel=1e-12)
        assert fitted.std[channel] == pytest.approx(pixels.std(), rel=1e-12)


@pytest.mark.parametrize("intensity", INTENSITIES)
def test_training_pixels_become_standardised(intensity: Intensity) -> None:
    dataset = Dataset.from_images([image_of(n) for n in range(4)], ["a", "b"] * 2)
    fitted = Preprocessing.from_dataset(dataset, size=6, intensity=intensity)
    x = torch.stack([fitted(dataset.image(n)) for n in range(4)])
    assert x.shape == (4, 2, 6, 6)
    torch.testing.assert_close(x.mean(dim=(0, 2, 3)), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(x.std(dim=(0, 2, 3), correction=0), torch.ones(2))


def test_channels_are_chosen_by_name() -> None:
    dataset = Dataset.from_images([image_of(n) for n in range(2)], ["a", "b"])
    fitted = Preprocessing.from_dataset(dataset, size=None, channels=["TMRM"])
    image = dataset.image(0)
    turned = image.isel(c=[1, 0])
    torch.testing.assert_close(fitted(turned), fitted(image), rtol=0, atol=0)
    with pytest.raises(MismatchError, match="channels DAPI, GFP; expected TMRM"):
        fitted(image_of(0, channels=("DAPI", "GFP")))


def test_a_fitting_size_is_left_bit_exact_and_a_resize_averages() -> None:
    image = make_image(np.arange(16, dtype="uint16").reshape(1, 4, 4), "cyx", ("a",))
    one = (1.0,)
    same = Preprocessing(("a",), 4, "resize", "linear", (0.0,), one, one)
    np.testing.assert_array_equal(same(image), image.values)
    assert same.grid(image) == Grid((4, 4))
    half = Preprocessing(("a",), 2, "resize", "linear", (0.0,), one, one)
    assert half(image).mean() == pytest.approx(image.values.mean())
    assert half.grid(image) == Grid((2, 2), (2.0, 2.0), (0.5, 0.5))


def test_crop_cuts_out_the_centre() -> None:
    image = make_image(np.arange(30, dtype="uint16").reshape(1, 5, 6), "cyx", ("a",))
    crop = Preprocessing(("a",), 2, "crop", "linear", (0.0,), (1.0,), (1.0,))
    np.testing.assert_array_equal(crop(image), image.values[:, 1:3, 2:4])
    assert crop.grid(image) == Grid((2, 2), (1.0, 1.0), (1.0, 2.0))
    with pytest.raises(MismatchError, match="at least 9 x 9"):
        Preprocessing(("a",), 9, "crop", "linear", (0.0,), (1.0,), (1.0,))(image)


@pytest.mark.parametrize("intensity", INTENSITIES)
@pytest.mark.parametrize("value", [0, 37])
def test_a_constant_channel_is_noted_and_divides_by_one(intensity: Intensity, value: int) -> None:
    pixels = np.stack([image_of(0).values[0], np.full((12, 12), value, "uint16")])
    dataset = Dataset.from_images([make_image(pixels, "cyx", ("a", "b"))] * 2, ["x", "y"])
    heard: list[object] = []
    fitted = Preprocessing.from_dataset(dataset, size=7, intensity=intensity, on_event=heard.append)
    assert fitted.std[1] == 1
    assert fitted.notes == ("channel b is constant in the training images; it tells nothing",)
    assert any(getattr(event, "text", "") == fitted.notes[0] for event in heard)
    x = fitted(dataset.image(0))
    assert torch.isfinite(x).all()
    assert np.rint(fitted.inverse(x))[1].tolist() == [[value] * 7] * 7


def test_nan_is_an_error() -> None:
    pixels = np.zeros((2, 3, 3), "float32")
    pixels[1, 0, 0] = np.nan
    preprocessing = Preprocessing(("a", "b"), None, "none", "linear", (0, 0), (1, 1), (1, 1))
    with pytest.raises(WhyError, match="NaN or infinite values in channel b"):
        preprocessing(make_image(pixels, "cyx", ("a", "b")))


def test_a_stack_is_an_error() -> None:
    stack = make_image(np.zeros((1, 2, 3, 3), "uint16"), "czyx", ("a",))
    with pytest.raises(MismatchError, match="take one plane"):
        Preprocessing(("a",), None, "none", "linear", (0,), (1,), (1,))(stack)


def test_inverse_takes_batches_and_refuses_other_channel_counts() -> None:
    preprocessing = Preprocessing(("a", "b"), None, "none", "linear", (1, 2), (1, 10), (1, 1))
    back = preprocessing.inverse(torch.ones(3, 5, 2, 4, 4, requires_grad=True))
    assert back.shape == (3, 5, 2, 4, 4)
    assert back[0, 0, :, 0, 0].tolist() == [2, 12]
    with pytest.raises(MismatchError, match="for the channels a, b"):
        preprocessing.inverse(torch.ones(1, 3, 4, 4))


def test_json_round_trip() -> None:
    dataset = Dataset.from_images([image_of(n) for n in range(2)], ["a", "b"])
    fitted = Preprocessing.from_dataset(dataset, size=10, intensity="asinh")
    assert Preprocessing.from_dict(json.loads(json.dumps(fitted.to_dict()))) == fitted


@pytest.mark.parametrize(
    "wrong",
    [{"fit": "squeeze"}, {"intensity": "sqrt"}, {"size": 0}, {"std": [0.0]}, {"mean": [1, 2]}],
)
def test_values_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    plain = Preprocessing(("a",), 4, "crop", "linear", (0.0,), (1.0,), (1.0,)).to_dict()
    with pytest.raises(ParameterError, match=next(iter(wrong))):
        Preprocessing.from_dict(plain | wrong)


def test_cancelling_keeps_the_statistics_so_far() -> None:
    dataset = Dataset.from_images([image_of(n) for n in range(4)], ["a", "b"] * 2)
    fitted = Preprocessing.from_dataset(dataset, size=None, cancelled=lambda: True)
    assert fitted.mean[0] == pytest.approx(dataset.image(0).values[0].mean())
