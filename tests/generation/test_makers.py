"""What makes images, whichever kind it is: loaded, described, and what each can be asked for."""

import json
from dataclasses import replace

import pytest

import napari_why as why
from napari_why.core.errors import ModelFileError
from napari_why.generation import ChannelPredictor, ImageGenerator
from napari_why.generation.makers import (
    count_images,
    describe_maker,
    list_classes,
    load_generative_model,
    tasks_of,
)
from napari_why.generation.saved_models import MODEL_FILE

QUICK = {"size": 32, "epochs": 1, "threads": 1, "device": "cpu", "on_event": why.quiet}


@pytest.fixture(scope="module")
def generator(scenes) -> ImageGenerator:
    return why.fit_generator(scenes, widths="8,4", code_dimensions=6, **QUICK)


@pytest.fixture(scope="module")
def predictor(scenes) -> ChannelPredictor:
    widths = {"widths": "4,6", "discriminator_widths": "4,6"}
    return why.fit_channel_predictor(scenes, "TMRM", plain=False, **widths, **QUICK)


def test_a_folder_is_loaded_as_the_kind_that_it_holds(generator, predictor, tmp_path) -> None:
    for name, made in (("one", generator), ("other", predictor)):
        path = made.save(tmp_path / name)
        for place in (path, path / MODEL_FILE):
            again = load_generative_model(place)
            assert type(again) is type(made)
            assert again.fingerprint == made.fingerprint


def test_a_kind_of_a_newer_version_and_a_damaged_file_are_refused(generator, tmp_path) -> None:
    file = generator.save(tmp_path / "model") / MODEL_FILE
    plain = json.loads(file.read_text())
    file.write_text(json.dumps(plain | {"kind": "holograms"}))
    with pytest.raises(ModelFileError, match=r"makes images of 'holograms'.*update napari-why"):
        load_generative_model(tmp_path / "model")
    file.write_text(json.dumps(plain | {"format": "something"}))
    with pytest.raises(ModelFileError, match="another kind of JSON"):
        load_generative_model(tmp_path / "model")
    file.write_text("{")
    with pytest.raises(ModelFileError):
        load_generative_model(tmp_path / "model")


def test_a_folder_of_something_else_says_what_is_there(vae_classifier, tmp_path) -> None:
    vae_classifier.save(tmp_path / "classifier")
    (tmp_path / "file.txt").touch()
    for name, words in (
        ("classifier", "found a classifier"),
        ("file.txt", "found a file"),
        ("nowhere", "found no such folder"),
        ("", "found classifier, file.txt"),
    ):
        with pytest.raises(ModelFileError, match=words):
            load_generative_model(tmp_path / name)


def test_each_maker_says_what_it_can_do(vae_classifier, generator, predictor) -> None:
    found = {
        type(maker).__name__: [(name, count_images(task)) for name, task in tasks_of(maker).items()]
        for maker in (vae_classifier, generator, predictor)
    }
    assert found == {
        "Classifier": [("reconstruct", 1), ("traverse", 1), ("sample", 0), ("interpolate", 2)],
        "ImageGenerator": [("sample", 0), ("interpolate_codes", 0)],
        "ChannelPredictor": [("predict_channel", 1)],
    }
    tasks = tasks_of(generator)
    assert list_classes(generator, tasks["sample"]) == ("", "diseased", "treated")
    assert list_classes(generator, tasks["interpolate_codes"]) == ("diseased", "treated")
    assert list_classes(vae_classifier, tasks_of(vae_classifier)["sample"]) == ()
    assert describe_maker(predictor) == "Predicts TMRM from DAPI; trained for 1 epoch."
    collapsed = {"history": [{"spread": 1.0}, {}, {"spread": 0.1}, {}]}
    told = describe_maker(replace(generator, card={"training": collapsed}))
    assert "trained for 4 epochs. The samples vary little (0.10 times as much" in told
    assert describe_maker(vae_classifier) == "The network of the classifier in use (vae)."
