"""Reconstruct, sample, traverse and interpolate through the public doors."""

import numpy as np
import pytest

import napari_why as why
from napari_why.core.errors import ParameterError, UnsupportedNetworkError
from napari_why.counterfactuals import counterfactual
from napari_why.generation import interpolate, reconstruct, sample, traverse
from napari_why.images import PixelSize
from napari_why.latent_space import embed, project
from napari_why.latent_space.projection import path_of
from napari_why.output.layer_metadata import LayerFacts


@pytest.fixture
def image(scenes):
    return scenes.part("test").image(0)


def test_a_trained_vae_reconstructs_unseen_images_better_than_their_mean(vae_classifier) -> None:
    for split in ("validation", "test"):
        errors = vae_classifier.metrics[split]["reconstruction"]
        # over eleven seeds of the training, 0.54 to 0.86 times the error of their mean
        assert errors["mean_square_error"] < 0.95 * errors["mean_square_error_of_the_mean"]
        assert set(errors["mean_absolute_error"]) == set(vae_classifier.channels)


def test_the_history_tells_every_loss_and_the_sum_chooses_the_epoch(vae_classifier) -> None:
    training = vae_classifier.card["training"]
    best = min(training["history"], key=lambda metrics: metrics["validation_loss"])
    assert training["history"][training["best_epoch"] - 1] == best
    parts = best["validation_reconstruction"] + best["validation_kl"]
    assert 0 < parts < best["validation_loss"]
    first, last = training["history"][0], training["history"][-1]
    # 0.44 to 0.50 times the first over ten seeds
    assert last["train_reconstruction"] < 0.9 * first["train_reconstruction"]


def test_a_saved_and_loaded_classifier_reconstructs_the_same(
    vae_classifier, image, tmp_path
) -> None:
    loaded = why.load(vae_classifier.save(tmp_path / "model"))
    one, other = reconstruct(vae_classifier, image), reconstruct(loaded, image)
    assert np.array_equal(one.reconstruction, other.reconstruction)
    assert loaded.metrics == vae_classifier.metrics
    assert np.array_equal(sample(loaded, count=2).images, sample(vae_classifier, count=2).images)


def test_what_a_decoder_makes_is_as_large_as_what_was_learnt_from(vae_classifier, image) -> None:
    pixel = PixelSize(0.65, 0.65, "um")
    assert PixelSize.of(image) == pixel
    for made in (
        sample(vae_classifier, count=2),
        traverse(vae_classifier, image, steps=2),
        interpolate(vae_classifier, image, image, steps=2),
        reconstruct(vae_classifier, image),
    ):
        assert made.pixel_size == pixel
        layer = why.to_layers(made)[0]
        assert tuple(layer.scale[-2:]) == (0.65, 0.65)
        assert [str(unit) for unit in layer.units[-2:]] == ["micrometer", "micrometer"]


def test_the_errors_of_a_reconstruction_are_those_of_its_images(vae_classifier, image) -> None:
    found = reconstruct(vae_classifier, image)
    np.testing.assert_allclose(found.image, image.values, atol=0.01)
    assert found.reconstruction.dtype == np.float32
    assert np.array_equal(found.error, found.reconstruction - found.image)
    std = vae_classifier.preprocessing.std
    for index, channel in enumerate(found.channels):
        error = found.error[index].astype(float)
        assert found.mean_absolute_error[channel] == pytest.approx(np.abs(error).mean(), rel=1e-4)
        expected = ((error / std[index]) ** 2).mean()
        assert found.mean_square_error[channel] == pytest.approx(expected, rel=1e-3)
    assert "Mean absolute error" in found.sentence


def test_samples_are_raw_images_that_depend_on_the_seed_alone(vae_classifier, scenes) -> None:
    drawn = sample(vae_classifier, count=5, seed=3)
    assert drawn.images.shape == (5, 2, 32, 32)
    assert drawn.images.dtype == np.float32
    assert np.array_equal(drawn.images, sample(vae_classifier, count=5, seed=3).images)
    assert not np.array_equal(drawn.images, sample(vae_classifier, count=5, seed=4).images)
    assert drawn.images.std(axis=0).max() > 0  # no two alike
    np.testing.assert_allclose(drawn.probabilities.sum(axis=1), 1, rtol=1e-5)
    means = np.mean([scenes.image(i).values.mean(axis=(1, 2)) for i in range(20)], axis=0)
    assert np.all(drawn.images.mean(axis=(0, 2, 3)) > means / 3)
    assert np.all(drawn.images.mean(axis=(0, 2, 3)) < means * 3)


def test_a_traversal_moves_one_number_of_the_latent(vae_classifier, image) -> None:
    series = traverse(vae_classifier, image, dimension=2, steps=5)
    assert series.axis == "latent 2"
    np.testing.assert_allclose(series.values, [-3, -1.5, 0, 1.5, 3])
    np.testing.assert_allclose(series.latents[:, 2], series.values)
    assert np.ptp(np.delete(series.latents, 2, axis=1), axis=0).max() == 0
    assert not np.array_equal(series.images[0], series.images[-1])


def test_by_default_the_number_that_tells_the_classes_apart_is_moved(vae_classifier, image) -> None:
    means = vae_classifier.latent_statistics.true_means[:, :, 0, 0].numpy()
    chosen = int(np.abs(means[0] - means[1]).argmax())
    assert traverse(vae_classifier, image, steps=2).axis == f"latent {chosen}"


def test_without_a_prior_a_traversal_spans_the_class_means(plain_classifier, image) -> None:
    series = traverse(plain_classifier, image, dimension=0, steps=4)
    low, high = np.sort(plain_classifier.latent_statistics.true_means[:, 0, 0, 0].double().numpy())
    np.testing.assert_allclose(
        series.values, np.linspace(2 * low - high, 2 * high - low, 4), rtol=1e-5
    )
    with pytest.raises(UnsupportedNetworkError, match="network vae"):
        sample(plain_classifier)


def test_an_interpolation_runs_from_one_reconstruction_to_the_other(vae_classifier, scenes) -> None:
    first, second = scenes.part("test").image(0), scenes.part("test").image(1)
    series = interpolate(vae_classifier, first, second, steps=3)
    ends = [reconstruct(vae_classifier, image).reconstruction for image in (first, second)]
    np.testing.assert_allclose(series.images[0], ends[0], rtol=1e-4, atol=0.05)
    np.testing.assert_allclose(series.images[-1], ends[1], rtol=1e-4, atol=0.05)
    np.testing.assert_allclose(series.latents[1], series.latents[[0, 2]].mean(axis=0), atol=1e-5)


@pytest.mark.parametrize("verb", ["reconstruct", "traverse", "interpolate"])
def test_what_an_image_is_unlike_is_told_of_what_is_made_of_it(
    vae_classifier, scenes, image, verb
) -> None:
    constant = image.copy(data=np.full_like(image.values, 500))
    said = vae_classifier.check(constant)
    assert "channel DAPI is 500 everywhere" in said
    calls = {
        "reconstruct": lambda raw: reconstruct(vae_classifier, raw),
        "traverse": lambda raw: traverse(vae_classifier, raw, steps=2),
        "interpolate": lambda raw: interpolate(vae_classifier, image, raw, steps=2),
    }
    found, usual = calls[verb](constant), calls[verb](image)
    assert usual.unlike == () == tuple(usual.record.details["notes"])
    expected = tuple(
        f"the second image: {note}" if verb == "interpolate" else note for note in said
    )
    assert found.unlike == expected == tuple(found.record.details["notes"])
    assert found.notes[-len(expected) :] == expected
    for layer in why.to_layers(found):
        assert tuple(LayerFacts.of(layer).notes) == found.notes


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dimension": 24}, "dimension: found 24"),
        ({"values": [0.0, 1.0, 1.5]}, "evenly rising"),
        ({"steps": 1}, "steps"),
    ],
)
def test_bad_traversals_are_refused(vae_classifier, image, arguments, message) -> None:
    with pytest.raises(ParameterError, match=message):
        traverse(vae_classifier, image, **arguments)


def test_evaluating_tells_the_reconstruction_error(vae_classifier, scenes) -> None:
    found = why.evaluate(vae_classifier, scenes, nulls=False)
    assert found.reconstruction["images"] == len(scenes.part("test"))
    expected = vae_classifier.metrics["test"]["reconstruction"]["mean_square_error"]
    assert found.reconstruction["mean_square_error"] == pytest.approx(expected, rel=1e-5)
    assert found.sentences[-1].startswith("Reconstruction of")


def test_layers_lie_on_the_image_and_hold_the_record(vae_classifier, image) -> None:
    found = reconstruct(vae_classifier, image)
    layers = why.to_layers(found)
    assert [layer.visible for layer in layers] == [True, True, False, False]
    assert np.array_equal(layers[3].data, found.error[1])
    assert layers[2].contrast_limits == layers[3].contrast_limits
    assert layers[0].metadata["napari_why"]["method"] == "reconstruction"
    series = why.to_layers(traverse(vae_classifier, image, dimension=1, steps=3))
    assert series[0].data.shape == (3, 32, 32)
    assert tuple(series[0].axis_labels) == ("latent 1", "y", "x")
    assert series[0].translate[0] == -3


def test_latent_plots_work_on_the_latents_of_a_generative_network(vae_classifier, scenes) -> None:
    space = embed(vae_classifier, scenes)
    assert space.latents.shape == (len(scenes), vae_classifier.network.latent_dimensions)
    points = project(space).coordinates
    assert points.shape[0] == len(scenes)
    shown = counterfactual(
        vae_classifier, scenes.part("test").image(0), method="latent_interpolation", steps=3
    )
    path = path_of(shown, vae_classifier)
    assert path.shape == (3, vae_classifier.network.latent_dimensions)
