"""Using a classifier: what it predicts, what it refuses, what it remarks."""

import numpy as np
import pytest
import torch

from napari_why.core.errors import MismatchError, WhyError
from napari_why.core.events import Advanced, Finished, Started
from napari_why.images import make_image, write
from napari_why.model import Classifier


def image_like(scene, pixels=None, **changes):
    pixels = scene.values if pixels is None else pixels
    settings = {
        "dims": ("c", "y", "x"),
        "channels": ["DAPI", "TMRM"],
        "pixel_size": scene.attrs["pixel_size"],
        "unit": scene.attrs["unit"],
    }
    return make_image(pixels, **(settings | changes))


@pytest.fixture
def scene(scenes):
    return scenes.image(0)


def test_a_prediction(plain, scene):
    found = plain.predict(scene)
    assert found.label in plain.classes
    assert list(found.probabilities) == list(plain.classes)
    assert sum(found.probabilities.values()) == pytest.approx(1)
    assert found.label == max(found.probabilities, key=found.probabilities.__getitem__)
    odds = np.log(found.probabilities["treated"] / found.probabilities["diseased"])
    assert odds == pytest.approx(found.logits[1] - found.logits[0], abs=1e-5)
    assert found.source == scene.attrs["source"]
    assert found.notes == ()


def test_prepared_batches(plain, scenes):
    batch = torch.cat([plain.prepare(scenes.image(row)) for row in range(3)])
    assert batch.shape == (3, 2, 16, 16)
    logits = plain.logits(batch)
    assert not logits.requires_grad
    assert torch.allclose(logits, plain.network(batch))


def test_channels_are_found_by_name_in_any_order(plain, scene):
    turned = image_like(
        scene,
        np.stack([scene.values[1], scene.values[0] * 0, scene.values[0]]),
        channels=["TMRM", "more", "DAPI"],
    )
    assert np.array_equal(plain.predict(turned).logits, plain.predict(scene).logits)


def test_an_image_from_a_file(plain, scene, tmp_path):
    path = write(scene, tmp_path / "field.ome.tif")
    found = plain.predict(path)
    assert np.array_equal(found.logits, plain.predict(scene).logits)
    assert found.source == str(path)


def test_axes_of_length_one_do_not_matter_and_longer_ones_are_refused(plain, scene):
    pixels = scene.values[None, :, None]
    single = image_like(scene, pixels, dims=("t", "c", "z", "y", "x"))
    assert np.array_equal(plain.predict(single).logits, plain.predict(scene).logits)
    stack = image_like(scene, np.repeat(pixels, 3, axis=2), dims=("t", "c", "z", "y", "x"))
    with pytest.raises(MismatchError, match=r"expected c, y, x \(take one plane.*z=0"):
        plain.predict(stack)


def test_everything_that_does_not_fit_is_said_at_once(plain, scene):
    pixels = scene.values[:1].astype(np.float32)
    pixels[0, 2, 3] = np.nan
    with pytest.raises(MismatchError) as caught:
        plain.check(image_like(scene, pixels, channels=["DAPI"], source="bad.tif"))
    words = str(caught.value)
    assert words.startswith("bad.tif does not fit the classifier")
    assert "found 1 channel named DAPI" in words
    assert "expected 2 named DAPI, TMRM" in words
    assert "TMRM is missing" in words
    assert "found 1 NaN or infinite values in channel DAPI" in words


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda pixels: pixels.astype(complex), "type complex128"),
        (lambda pixels: pixels > 900, "type bool"),
        (lambda pixels: pixels[:, :0], "0 x 32 pixels"),
    ],
)
def test_pixels_that_cannot_be_classified(plain, scene, change, words):
    pixels = change(scene.values)
    image = scene.isel(y=slice(0, pixels.shape[1])).copy(data=pixels)
    with pytest.raises(MismatchError, match=words):
        plain.predict(image)


def test_an_image_that_is_too_small_to_cut_from(plain, scene):
    settings = plain.preprocessing.to_dict() | {"fit": "crop"}
    cropping = Classifier(
        plain.network, type(plain.preprocessing).from_dict(settings), plain.classes
    )
    with pytest.raises(MismatchError, match="found 12 x 32 pixels, expected 16 x 16 or more"):
        cropping.check(scene.isel(y=slice(0, 12)))
    (note,) = cropping.check(scene)
    assert note.startswith("not known")  # without a card


def test_another_size_is_resized_placed_and_remarked_on(plain, scene):
    large = image_like(scene, np.kron(scene.values, np.ones((1, 3, 3), np.uint16)))
    assert plain.prepare(large).shape == (1, 2, 16, 16)
    grid = plain.preprocessing.grid(large)
    assert (grid.shape, grid.step, grid.offset) == ((16, 16), (6.0, 6.0), (2.5, 2.5))
    assert plain.check(large) == ("the image has 96 x 96 pixels; trained on 32 x 32",)


def test_remarks_on_unlike_images(plain, scene):
    crushed = (scene.values / 64).astype(np.uint8)
    notes = " / ".join(plain.check(image_like(scene, crushed)))
    assert "pixels are uint8; trained on uint16" in notes
    assert "channel DAPI has a mean of" in notes
    sizes = {name: value / 2 for name, value in scene.attrs["pixel_size"].items()}
    assert "a pixel is" in plain.check(image_like(scene, pixel_size=sizes))[0]
    assert plain.check(image_like(scene, pixel_size=None, unit="pixel")) == ()


@pytest.mark.parametrize("level", [0, 500, 65535])
def test_constant_images_are_classified_and_remarked_on(plain, invertible, scene, level):
    flat = image_like(scene, np.full_like(scene.values, level))
    for classifier in (plain, invertible):
        found = classifier.predict(flat)
        assert np.isfinite(found.logits).all()
        assert f"channel DAPI is {level} everywhere" in found.notes


def test_many_images_with_a_bad_one_among_them(plain, scenes, scene):
    events = []
    bad = image_like(scene, scene.values[:1], channels=["GFP"])
    table = plain.predict_many([scene, bad, "missing.tif"], on_event=events.append)
    assert table["error"].map(bool).tolist() == [False, True, True]
    assert "GFP" in table["error"][1]
    assert table["predicted"].isna().tolist() == [False, True, True]
    assert table["predicted"][0] == plain.predict(scene).label
    assert np.isnan(table["probability of treated"][1])
    assert events == [
        Started("predicting", 3),
        *[Advanced(n) for n in (1, 2, 3)],
        Finished(partial=False),
    ]


def test_a_data_set_keeps_its_columns(plain, scenes):
    table = plain.predict_many(scenes)
    assert table["well"].tolist() == scenes.table["well"].tolist()
    assert table["predicted"][5] == plain.predict(scenes.image(5)).label


def test_cancelled_predictions_are_those_done_by_then(plain, scenes):
    done = []
    table = plain.predict_many(scenes, on_event=done.append, cancelled=lambda: len(done) > 4)
    assert len(table) == 4
    assert done[-1] == Finished(partial=True)


def test_the_fingerprint_stands_for_weights_and_configuration(plain, invertible):
    assert plain.fingerprint == plain.fingerprint
    assert plain.fingerprint != invertible.fingerprint
    renamed = Classifier(plain.network, plain.preprocessing, ("ill", "treated"))
    assert renamed.fingerprint != plain.fingerprint
    weight = next(plain.network.parameters())
    before, kept = plain.fingerprint, weight.detach().clone()
    weight.data[(0,) * weight.ndim] += 1
    assert plain.fingerprint != before
    weight.data.copy_(kept)
    assert plain.fingerprint == before


def test_classes_have_to_fit_the_network(plain):
    with pytest.raises(WhyError, match="2 classes; expected 2 and 3"):
        Classifier(plain.network, plain.preprocessing, ("a", "b", "c"))


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_raw_pixels_are_prepared_as_images_with_them_are(plain, dtype):
    pixels = np.random.default_rng(0).uniform(100, 900, (3, 2, 40, 30)).astype(dtype)
    alone = [plain.prepare(make_image(image, "cyx", plain.channels)) for image in pixels]
    assert torch.equal(plain.prepare_pixels(pixels), torch.cat(alone))


def test_of_raw_pixels_any_that_are_no_numbers_are_refused(plain):
    pixels = np.ones((3, 2, 40, 30), np.float32)
    pixels[2, 1, 5, 5] = np.nan
    with pytest.raises(MismatchError, match="does not fit the classifier"):
        plain.prepare_pixels(pixels)
