"""Augmentation moves pixels about and invents none."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from napari_why.training.examples import Augmentation, rotate


def noise(count: int = 3, height: int = 9, width: int = 9) -> torch.Tensor:
    return torch.randn(count, 2, height, width, generator=torch.Generator().manual_seed(5))


@given(seed=st.integers(0, 999), square=st.booleans())
def test_flips_and_right_angles_only_move_pixels(seed, square):
    images = noise(width=9 if square else 6)
    changed = Augmentation(rotation=0)(images, torch.Generator().manual_seed(seed))
    assert changed.shape == images.shape
    assert torch.equal(changed.flatten(2).sort().values, images.flatten(2).sort().values)
    # channels stay together: what lay on a pixel still lies on one
    before = (images[:, 0] * images[:, 1]).flatten(1).sort().values
    after = (changed[:, 0] * changed[:, 1]).flatten(1).sort().values
    assert torch.equal(before, after)


@given(level=st.floats(-3, 3, width=32), degrees=st.floats(-10, 10))
def test_no_black_corners(level, degrees):
    images = torch.full((1, 2, 12, 7), level)
    turned = rotate(images, torch.tensor([degrees]))
    assert torch.allclose(turned, images, atol=1e-5)


def test_an_angle_is_one_of_pixels_whatever_the_shape():
    images = noise()
    quarter = rotate(images, torch.full((3,), 90.0))
    assert torch.allclose(quarter, torch.rot90(images, 1, (-2, -1)), atol=1e-5)
    long = noise(height=4, width=10)
    turned = rotate(long, torch.full((3,), 180.0))
    assert torch.allclose(turned, long.flip(-1, -2), atol=1e-5)
    # a bar along x that turns by 90 degrees stands along y and keeps its width
    bar = torch.zeros(1, 1, 9, 21)
    bar[:, :, 4, 6:15] = 1.0
    upright = rotate(bar, torch.tensor([90.0]))
    assert upright[0, 0, :, 10] == pytest.approx([1.0] * 9, abs=1e-4)
    assert upright[0, 0, :, [8, 9, 11, 12]].abs().max() < 1e-4


def test_each_image_gets_its_own_numbers_and_the_seed_decides_them():
    images = noise(1).expand(8, -1, -1, -1)
    augment = Augmentation()
    first = augment(images, torch.Generator().manual_seed(1))
    again = augment(images, torch.Generator().manual_seed(1))
    other = augment(images, torch.Generator().manual_seed(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert len({image.numpy().tobytes() for image in first}) > 1
