"""A classifier of crops takes whole fields."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray as xr

from napari_why.core.errors import MismatchError, UnsupportedNetworkError
from napari_why.datasets import Dataset
from napari_why.fitting import fit
from napari_why.images import make_image
from napari_why.model import Classifier
from napari_why.model.whole_field import for_whole_field
from napari_why.simulation.scenes import SimulatedScene

SMALL = {"blocks": "1,1", "widths": "4,4", "downscaling": "2,2"}


@pytest.fixture(scope="module")
def of_crops(scenes: Dataset) -> Classifier:
    return fit(
        scenes,
        size=16,
        sizing="crop",
        epochs=1,
        device="cpu",
        network_parameters=SMALL,
        lock="none",
        pixel_maps=False,
    )


def field(height: int = 90, width: int = 71) -> xr.DataArray:
    return SimulatedScene(1, size=96).image("treated").isel(y=slice(height), x=slice(width))


def test_probabilities_are_those_of_features_averaged_over_the_field(of_crops: Classifier) -> None:
    image = field()
    whole = for_whole_field(of_crops, image, values_per_map=500)
    prepared = whole.prepare(image)
    assert prepared.shape == (1, 2, 92, 72)
    with torch.no_grad():
        features = of_crops.network.encode(prepared)
        expected = of_crops.network.head(features.mean((2, 3), keepdim=True)).softmax(1)[0]
    found = torch.tensor(list(whole.predict(image).probabilities.values()))
    torch.testing.assert_close(found.float(), expected, rtol=0, atol=1e-5)


def test_the_field_has_the_classifiers_fingerprint_and_statistics(of_crops: Classifier) -> None:
    whole = for_whole_field(of_crops, field())
    assert whole.fingerprint == of_crops.fingerprint
    assert whole.latent_statistics is of_crops.latent_statistics
    assert whole.trained is of_crops


def test_crops_of_a_field_are_prepared_as_training_images(of_crops: Classifier) -> None:
    image = field(40, 71)
    rows = list(for_whole_field(of_crops, image).crops(image))
    assert [row.shape for row in rows] == [(4, 2, 16, 16)] * 2
    corner = image.isel(y=slice(16, 32), x=slice(48, 64))
    torch.testing.assert_close(rows[1][3], of_crops.prepare(corner)[0], rtol=0, atol=0)


def test_a_field_smaller_than_a_crop_has_no_crops(of_crops: Classifier) -> None:
    small = field(12, 40)
    assert not list(for_whole_field(of_crops, small).crops(small))


def test_a_classifier_of_reduced_images_is_refused(invertible: Classifier) -> None:
    with pytest.raises(MismatchError, match=r"from 32 x 32 to 16 x 16.*sizing='crop'"):
        for_whole_field(invertible, field())


def test_images_that_were_resized_to_their_own_size_were_not_resized(of_crops: Classifier) -> None:
    resizing = replace(of_crops.preprocessing, fit="resize")
    images = {**of_crops.card["images"], "shapes": [[16, 16]]}
    classifier = replace(of_crops, preprocessing=resizing, card={"images": images})
    assert for_whole_field(classifier, field()).preprocessing.size is None


def test_a_network_whose_inverse_depends_on_the_size_is_refused(plain: Classifier) -> None:
    with pytest.raises(UnsupportedNetworkError, match=r"cam_net.*iresnet"):
        for_whole_field(plain, field())


def test_a_field_without_the_channels_is_refused(of_crops: Classifier) -> None:
    image = make_image(np.zeros((1, 40, 40), np.uint16), ("c", "y", "x"), ("other",))
    with pytest.raises(MismatchError, match="other"):
        for_whole_field(of_crops, image)


def test_raw_pixels_of_a_field_are_mirrored_as_its_image_is(of_crops: Classifier) -> None:
    image = field()
    whole = for_whole_field(of_crops, image)
    assert torch.equal(whole.prepare_pixels(image.to_numpy()[None]), whole.prepare(image))
