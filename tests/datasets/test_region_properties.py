"""Regions measured at once are those that scikit-image measures one after the other."""

import numpy as np
import pytest
from scipy import ndimage
from skimage import filters, measure

from napari_why.datasets import features
from napari_why.datasets.features import (
    EIGHT_NEIGHBOURS,
    REGION_PROPERTIES,
    image_features,
    region_properties,
    texture_features,
)


def draw_mask(seed: int, share: float) -> np.ndarray:
    """Draw blobs and specks, some of them at the border, in a plane that is no square."""
    values = np.random.default_rng(seed).normal(size=(61, 83))
    values = ndimage.gaussian_filter(values, seed % 3)
    return values > np.quantile(values, 1 - share)


def draw_shapes() -> np.ndarray:
    """Draw what has few pixels: one alone, lines, squares, a ring, a cross, a diagonal, a corner."""
    mask = np.zeros((40, 40), bool)
    for rows, columns in (
        (1, 1),
        (3, slice(3, 9)),
        (slice(6, 8), 3),
        (slice(6, 8), slice(6, 8)),
        (slice(12, 19), slice(2, 9)),
        (slice(22, 25), slice(24, 25)),
        (23, slice(23, 26)),
        (39, slice(30, 40)),
    ):
        mask[rows, columns] = True
    mask[14:17, 4:7] = False
    mask[range(10, 16), range(20, 26)] = True
    return mask


@pytest.mark.parametrize(
    "mask",
    [draw_shapes(), np.ones((5, 7), bool)]
    + [draw_mask(seed, share) for seed in range(4) for share in (0.02, 0.2, 0.6)],
)
def test_each_region_is_measured_as_by_scikit_image(mask: np.ndarray) -> None:
    plane = np.random.default_rng(1).gamma(2.0, 300.0, mask.shape)
    labels, count = ndimage.label(mask, EIGHT_NEIGHBOURS)
    np.testing.assert_array_equal(labels, measure.label(mask))

    found = region_properties(labels, count, plane)
    wanted = measure.regionprops_table(labels, plane, properties=REGION_PROPERTIES)

    assert tuple(found) == REGION_PROPERTIES
    for name in ("area", "extent"):
        np.testing.assert_array_equal(found[name], wanted[name])
    for name in ("perimeter", "intensity_mean"):
        np.testing.assert_allclose(found[name], wanted[name], rtol=1e-13)
    # of a region as wide as it is high the last bit of two variances, whose root is 1e-8
    np.testing.assert_allclose(found["eccentricity"], wanted["eccentricity"], atol=1e-7)
    clear = wanted["eccentricity"] > 0.01
    np.testing.assert_allclose(
        found["eccentricity"][clear], wanted["eccentricity"][clear], rtol=1e-11
    )


def test_the_features_of_a_channel_hold_the_means_over_regions() -> None:
    plane = ndimage.gaussian_filter(np.random.default_rng(2).gamma(2.0, 300.0, (64, 64)), 2)
    labels = measure.label(plane > filters.threshold_otsu(plane))
    table = measure.regionprops_table(labels, plane, properties=REGION_PROPERTIES)
    wanted = [
        labels.max(),
        (labels > 0).mean(),
        *(table[name].mean() for name in REGION_PROPERTIES),
    ]
    np.testing.assert_allclose(texture_features(plane)[-7:], wanted, rtol=1e-11)


def test_a_plane_of_one_value_has_no_regions() -> None:
    assert texture_features(np.full((32, 32), 7.0))[-7:].tolist() == [0.0] * 7


@pytest.mark.parametrize("at_once", [1, 4 * 31 * 47, 2**20])
def test_planes_described_together_are_those_described_one_by_one(
    monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(features, "PIXELS_AT_ONCE", at_once)
    images = np.random.default_rng(3).gamma(2.0, 300.0, (5, 3, 31, 47)).astype(np.float32)
    wanted = [[texture_features(image[channel]) for channel in (2, 0)] for image in images]
    found = image_features(images, (2, 0))
    np.testing.assert_array_equal(found, np.reshape(wanted, (5, -1)))
    assert image_features(images, ()).shape == (5, 0)
    assert image_features(images[:0], (0,)).shape == (0, found.shape[1] // 2)
