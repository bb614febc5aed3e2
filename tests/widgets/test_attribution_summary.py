"""What the Attribution dock says about a map, in words that are true of it."""

import numpy as np
import pytest

from napari_why.attribution import METHODS, attribute
from napari_why.widgets.attribution_dock import summary_of


@pytest.fixture
def image(dataset):
    return dataset.image(0)


def test_a_map_with_a_sign_speaks_for_and_against(classifier, image):
    found = attribute(classifier, image, "lrp", "treated")
    assert (found.joint < 0).any()
    assert summary_of(found).startswith("Evidence for treated (salmon) and against it (sky blue)")


def test_a_map_without_a_sign_is_not_called_evidence(classifier, image):
    found = attribute(classifier, image, "saliency", "treated")
    assert (found.joint >= 0).all()
    assert "Evidence" not in summary_of(found)
    assert "reacts to a pixel, upwards or downwards" in summary_of(found)


def test_bits_are_not_called_evidence_nor_a_reaction(classifier, image, dataset):
    found = attribute(classifier, image, "information_bottleneck", "treated", references=dataset)
    said = "How much of each place the network needs to see for treated (salmon), in bit per pixel"
    assert summary_of(found).startswith(said)


@pytest.mark.parametrize("method", sorted(METHODS))
def test_a_joint_map_that_never_goes_below_zero_says_so(classifier, image, dataset, method):
    size = image.sizes["y"], image.sizes["x"]
    tiles = 1 + np.add.outer(
        4 * (4 * np.arange(size[0]) // size[0]), 4 * np.arange(size[1]) // size[1]
    )
    given = {"references": dataset, "regions": tiles}
    context = {name: value for name, value in given.items() if METHODS[method].takes(name)}
    if METHODS[method].unsuitable(classifier.network):
        return
    found = attribute(classifier, image, method, "treated", **context)
    # a map that may be negative need not be so on this image
    assert found.record.details.get("joint_has_sign", True) or not np.any(found.joint < 0)


def test_a_map_that_does_not_add_up_says_by_how_much(classifier, image):
    whole = attribute(classifier, image, "lrp", "treated")
    assert "Map and constants add up" in summary_of(whole)
    cut = attribute(classifier, image, "lrp", "treated", cancelled=lambda: True)
    assert "do not fully add up" in summary_of(cut)
    assert "off by 100.0%" in summary_of(cut)


@pytest.mark.parametrize("method", ["lrp", "cam", "integrated_gradients"])
def test_what_lies_in_no_pixel_is_said_beside_the_gap(classifier, image, method):
    found = attribute(classifier, image, method, "treated")
    words = summary_of(found)
    assert found.completeness in words
    assert "The map sums to" in words
    assert f"lies in constants ({found.constants_meaning})" in words


@pytest.mark.parametrize("method", ["occlusion", "saliency", "grad_cam", "hires_cam"])
def test_of_a_method_without_a_sum_nothing_is_said_of_one(classifier, image, method):
    found = attribute(classifier, image, method, "treated")
    assert (found.gap, found.constants, found.completeness) == (None, None, "")
    assert "add up" not in summary_of(found)


def test_an_image_unlike_the_training_images_is_said_to_be(classifier, image):
    constant = image.copy(data=np.full_like(image.values, 500))
    assert "Channel DAPI is 500 everywhere." in summary_of(attribute(classifier, constant, "lrp"))
    assert "everywhere" not in summary_of(attribute(classifier, image, "lrp"))
