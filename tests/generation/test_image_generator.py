"""A generator of images: fitted, drawn from, saved, and searched in."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from napari.components import ViewerModel

import napari_why as why
from napari_why.core.errors import (
    CancellationError,
    MismatchError,
    ModelFileError,
    ParameterError,
    WhyError,
)
from napari_why.core.events import EpochFinished
from napari_why.generation import ImageGenerator
from napari_why.generation.saved_models import MODEL_FILE, is_generative_model
from napari_why.images import NO_LENGTH
from napari_why.model.description import checksum_of
from napari_why.output.images import result_image
from napari_why.output.layer_metadata import LayerFacts

QUICK = {
    "size": 32,
    "epochs": 2,
    "batch_size": 16,
    "widths": "8,4",
    "code_dimensions": 6,
    "threads": 1,
    "device": "cpu",
}


@pytest.fixture(scope="module")
def generator(scenes) -> ImageGenerator:
    """A generator of both classes of scenes, trained for two epochs."""
    return why.fit_generator(scenes, on_event=why.quiet, **QUICK)


def test_samples_are_raw_images_of_the_class_that_was_asked_for(generator) -> None:
    drawn = why.sample(generator, count=3, seed=4, label="treated")
    assert drawn.images.shape == (3, 2, 32, 32)
    assert drawn.images.dtype == np.float32
    assert drawn.drawn_as == ("treated",) * 3
    assert np.array_equal(drawn.images, generator.sample(count=3, seed=4, label="treated").images)
    assert not np.array_equal(drawn.images, why.sample(generator, count=3, seed=5).images)
    # standardised by what training images are, back in grey levels
    again = generator.preprocessing.inverse(
        generator.decode(generator.draw_codes(3, seed=4), "treated")
    )
    np.testing.assert_allclose(drawn.images, again, rtol=1e-5)


def test_without_a_label_each_class_comes_in_turn(generator) -> None:
    assert generator.sample(count=3).drawn_as == ("diseased", "treated", "diseased")


def test_a_generator_without_classes_takes_no_label(scenes) -> None:
    plain = why.fit_generator(scenes, conditional=False, on_event=why.quiet, **QUICK)
    assert plain.classes == ()
    assert plain.sample(count=2).drawn_as == ()
    with pytest.raises(ParameterError, match="expected none: it knows no classes"):
        plain.sample(label="treated")
    plain.interpolate(steps=2)


def test_what_is_made_is_marked_as_generated(generator) -> None:
    made = generator.sample(count=2)
    assert made.record.details["generated"] is True
    assert made.record.kind == "generation"
    assert "made up by a network" in made.notes[0]
    for layer in why.to_layers(made):
        assert ": generated, sample" in layer.name
        facts = LayerFacts.of(layer)
        assert facts.further["generated"] is True
        assert "made up by a network" in facts.notes[0]


def test_an_interpolation_runs_along_the_arc_between_two_codes(generator) -> None:
    series = generator.interpolate(first=3, second=4, steps=5, label="diseased")
    ends = torch.cat([generator.draw_codes(1, seed) for seed in (3, 4)])
    codes = torch.from_numpy(series.latents)
    torch.testing.assert_close(codes[[0, -1]], ends)
    unit = torch.nn.functional.normalize(codes, dim=1)
    angles = torch.arccos((unit[1:] * unit[:-1]).sum(dim=1))
    torch.testing.assert_close(angles, angles[:1].expand(4), rtol=1e-4, atol=1e-5)
    lengths = codes.norm(dim=1)
    torch.testing.assert_close(lengths, torch.linspace(lengths[0], lengths[-1], 5))
    with pytest.raises(ParameterError, match="label: found none"):
        generator.interpolate()


def test_a_loaded_generator_makes_the_same_and_bears_the_same_name(generator, tmp_path) -> None:
    place = generator.save(tmp_path / "made")
    assert is_generative_model(place)
    assert sorted(item.name for item in place.iterdir()) == [MODEL_FILE, "weights.safetensors"]
    loaded = why.load_generator(place)
    assert np.array_equal(loaded.sample(count=3).images, generator.sample(count=3).images)
    assert loaded.fingerprint == generator.fingerprint
    assert loaded.card == generator.card
    with pytest.raises(WhyError, match="found a folder; choose another name"):
        generator.save(place)
    generator.save(place, overwrite=True)


def test_nothing_else_is_written_over(generator, tmp_path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    with pytest.raises(WhyError, match="not a saved generative model"):
        generator.save(tmp_path / "other", overwrite=True)


def altered(place: Path, **changes) -> None:
    """Change entries of a description and compute its checksum anew, as whoever forges one would."""
    file = place / MODEL_FILE
    plain = json.loads(file.read_text()) | changes
    plain["checksum"] = checksum_of(plain)
    file.write_text(json.dumps(plain))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 2}, "format version 2"),
        ({"kind": "channels"}, "images of 'channels'"),
        ({"format": "napari-why classifier"}, "another kind of JSON"),
        ({"names": {"classes": ["diseased", "other"]}}, "another model than was saved"),
        ({"further": 1}, "unknown further"),
        ({"files": {"weights.safetensors": "0" * 64}}, "altered or cut off"),
    ],
)
def test_a_folder_that_was_altered_is_refused(generator, tmp_path, changes, message) -> None:
    place = generator.save(tmp_path / "made")
    altered(place, **changes)
    with pytest.raises(ModelFileError, match=message):
        why.load_generator(place)


@pytest.mark.parametrize(
    ("entry", "value", "message"),
    [
        ("widths", "8,8", "do not fit the network"),
        ("widths", "8,4000000", "cannot be built"),
        ("classes", 3, "do not fit the network"),
        ("code_dimensions", 0, "whole number from 1"),
        ("size", [32, 10**9], "whole number"),
    ],
)
def test_a_network_of_another_shape_is_refused_before_it_takes_memory(
    generator, tmp_path, entry, value, message
) -> None:
    saved = generator._to_save()
    forged = type(saved)(**{**vars(saved), "network": {**saved.network, entry: value}})
    place = forged.save(tmp_path / "made")
    with pytest.raises(ModelFileError, match=message):
        why.load_generator(place)


def test_cut_off_weights_are_refused(generator, tmp_path) -> None:
    place = generator.save(tmp_path / "made")
    weights = place / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(ModelFileError, match="altered or cut off"):
        why.load_generator(place)
    weights.unlink()
    with pytest.raises(ModelFileError, match="found no generative_model"):
        why.load_generator(place)


def test_only_training_images_are_seen_and_the_card_tells_how_it_went(generator, scenes) -> None:
    assert generator.card["dataset"]["images"] == len(scenes.part("train"))
    history = generator.card["training"]["history"]
    assert len(history) == 2
    assert {"spread", "coverage of treated", "generator_loss"} <= history[-1].keys()


def test_a_fit_that_was_interrupted_and_resumed_is_the_same(generator, scenes, tmp_path) -> None:
    stop = [False]

    def on_event(event) -> None:
        stop[0] = stop[0] or isinstance(event, EpochFinished)

    settings = {"folder": tmp_path / "kept", **QUICK}
    first = why.fit_generator(scenes, on_event=on_event, cancelled=lambda: stop[0], **settings)
    assert first.card["training"]["status"] == "cancelled"
    again = why.fit_generator(scenes, resume=True, on_event=why.quiet, **settings)
    assert again.fingerprint == generator.fingerprint


def test_cancelled_at_once_there_is_nothing(scenes) -> None:
    with pytest.raises(CancellationError, match="nothing was trained"):
        why.fit_generator(scenes, on_event=why.quiet, cancelled=lambda: True, **QUICK)


def test_activation_is_maximised_in_its_code(generator, vae_classifier, scenes) -> None:
    found = why.activation_maximisation(
        vae_classifier,
        "treated",
        prior="generator",
        generator=generator,
        references=scenes,
        steps=6,
        images=3,
        strength=0.01,
    )
    assert found.images.shape == (3, 2, 32, 32)
    assert np.all(np.diff(found.values) >= 0)
    assert found.values[-1] > found.values[0]
    assert found.record.details["generator"] == generator.fingerprint
    # the images of the series are the generator's own
    own = generator.preprocessing.inverse(generator.decode(torch.zeros(1, 6), "treated"))
    still = why.activation_maximisation(
        vae_classifier, "treated", prior="generator", generator=generator, noise=0.0, steps=1
    )
    np.testing.assert_allclose(still.images[0], own[0], rtol=1e-4, atol=1e-2)
    # it knows nothing of images of another kind
    other = why.fit_generator(scenes, on_event=why.quiet, **{**QUICK, "epochs": 1, "size": 16})
    with pytest.raises(MismatchError, match="preprocessed in another way"):
        why.activation_maximisation(vae_classifier, "treated", prior="generator", generator=other)


def test_classifiers_draw_from_no_class(vae_classifier) -> None:
    with pytest.raises(ParameterError, match="label: found 'treated' for a classifier"):
        why.sample(vae_classifier, label="treated")


def test_samples_are_as_large_as_the_images_that_were_learnt_from(
    generator, scenes, tmp_path
) -> None:
    """Beside layers in micrometres napari doubts the units of all, if one counts in pixels."""
    raw = scenes.image(0)
    pixel = raw.attrs["pixel_size"]["y"]
    assert raw.attrs["unit"] == "um"
    loaded = why.load_generator(generator.save(tmp_path / "made"))
    # seen at half the size, its pixels are twice as large
    half = why.fit_generator(scenes, on_event=why.quiet, **(QUICK | {"size": 16, "epochs": 1}))
    for maker, size in ((generator, pixel), (loaded, pixel), (half, 2 * pixel)):
        viewer = ViewerModel()
        viewer.add_image(raw.values[0], scale=(pixel, pixel), units=("um", "um"))
        made = maker.sample(count=2)
        for layer in why.to_layers(made):
            assert tuple(layer.scale[1:]) == pytest.approx((size, size))
            viewer.add_layer(layer)
        # None where they do not agree
        assert [str(unit) for unit in viewer.layers.units][1:] == ["micrometer", "micrometer"]
        why.write(result_image(made), tmp_path / f"{size}.ome.tif", overwrite=True)
        written = why.read(tmp_path / f"{size}.ome.tif").attrs
        assert (written["unit"], written["pixel_size"]["x"]) == ("um", pytest.approx(size))


def test_of_images_without_a_length_samples_have_none(scenes) -> None:
    size = {"unit": "pixel", "pixel_size": {"y": 1.0, "x": 1.0}}
    images = [scenes.image(row).assign_attrs(size) for row in range(24)]
    plain = why.Dataset.from_images(images, list(scenes.table["label"][:24]))
    found = why.fit_generator(plain, on_event=why.quiet, **(QUICK | {"size": 16, "epochs": 1}))
    assert found.pixel_size == NO_LENGTH
    layer = why.to_layers(found.sample(count=2))[0]
    assert (tuple(layer.scale[1:]), str(layer.units[1])) == ((1.0, 1.0), "pixel")


@pytest.mark.parametrize("size", [{"y": 0, "x": 1, "unit": "um"}, {"y": 1, "x": 1, "unit": "ly"}])
def test_a_pixel_size_that_cannot_be_is_refused(generator, tmp_path, size) -> None:
    place = generator.save(tmp_path / "made")
    altered(place, card={**generator.card, "pixel_size": size})
    with pytest.raises(ModelFileError, match="pixel_size"):
        why.load_generator(place)
