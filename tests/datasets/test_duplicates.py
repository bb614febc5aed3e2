import numpy as np
import pytest
import xarray as xr

from napari_why.core.errors import LeakError
from napari_why.datasets import Dataset, identical_images, require_no_identical_images
from napari_why.images import make_image

from .conftest import image_of


def with_shared_dapi() -> list[xr.DataArray]:
    first, second = image_of(1), image_of(2).copy()
    second[0] = first[0]
    return [image_of(0), first, second, image_of(3)]


def test_whole_images_and_single_channels_are_found() -> None:
    images = [*with_shared_dapi(), image_of(3)]
    found = identical_images(Dataset.from_images(images, list("ababa")))
    assert [(item.rows, item.channels) for item in found] == [
        ((1, 2), ("DAPI",)),
        ((3, 4), ("DAPI", "TMRM")),
    ]
    assert not any(item.leaks for item in found)


def test_constant_planes_do_not_count() -> None:
    empty = [np.stack([image_of(n).values[0], np.ones((12, 12), "uint16")]) for n in range(2)]
    images = [make_image(pixels, "cyx", ("DAPI", "TMRM")) for pixels in empty]
    assert identical_images(Dataset.from_images(images, ["a", "b"])) == ()


def test_identical_pixels_in_two_splits_are_a_leak() -> None:
    images = with_shared_dapi()
    apart = ["train", "train", "test", "test"]
    leaky = Dataset.from_images(images, list("abab"), split=apart)
    assert identical_images(leaky)[0].splits == ("train", "test")
    with pytest.raises(LeakError, match="identical DAPI in image 1 and image 2"):
        require_no_identical_images(leaky)
    together = ["test", "train", "train", "test"]
    require_no_identical_images(Dataset.from_images(images, list("abab"), split=together))
