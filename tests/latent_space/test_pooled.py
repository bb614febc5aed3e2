"""Every image of a data set as a point."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray as xr

from napari_why.core.errors import DatasetError
from napari_why.core.events import Advanced, Finished, Started
from napari_why.datasets import Dataset
from napari_why.fitting import fit
from napari_why.latent_space import embed
from napari_why.model import Classifier


def test_a_latent_is_the_mean_over_positions_of_the_last_feature_maps(classifier, dataset, space):
    with torch.no_grad():
        maps = classifier.network.encode(classifier.prepare(dataset.image(7)))
    expected = maps.mean(dim=(2, 3))[0].numpy()
    assert space.latents.shape == (40, len(expected))
    np.testing.assert_allclose(space.latents[7], expected, rtol=1e-4, atol=1e-5)


def test_predictions_are_those_of_the_classifier(classifier, dataset, space):
    for row in (0, 13, 39):
        prediction = classifier.predict(dataset.image(row))
        assert space.table["prediction"][row] == prediction.label
        found = space.table["probability"][row]
        assert found == pytest.approx(prediction.probabilities[prediction.label], abs=1e-5)


def test_the_table_has_every_column_of_the_data_set(dataset, space):
    assert list(space.table["class"]) == list(dataset.table["label"])
    for column in ("plate", "well", "field", "scene", "split"):
        assert list(space.table[column]) == list(dataset.table[column])
    assert space.group_columns == ("plate", "well")


def test_what_the_network_has_seen_is_told_by_the_pixels(dataset, space, classifier):
    expected = {"train": "training", "validation": "validation", "test": "nothing"}
    assert list(space.table["used_for"]) == [expected[name] for name in dataset.table["split"]]
    moved = replace(dataset, table=dataset.table.assign(path="elsewhere").drop(columns="split"))
    elsewhere = embed(classifier, moved).table["used_for"]
    assert list(elsewhere == "nothing") == list(space.table["used_for"] == "nothing")
    groups = dataset.table[["plate", "well"]].agg(tuple, axis=1)
    trained = set(groups[dataset.table["split"] != "test"])
    assert list(space.table["known_group"] == "yes") == [name in trained for name in groups]
    unknown = embed(replace(classifier, card={}), dataset.select([0, 1])).table
    assert set(unknown["used_for"]) == set(unknown["known_group"]) == {"not known"}


def test_images_that_do_not_fit_are_listed_with_the_reason(classifier, dataset):
    images = [dataset.image(row) for row in range(4)]
    broken = images[2].astype(np.float32)
    broken[0, 0, 0] = np.nan
    odd = [image.astype(np.float32) for image in images]
    odd[2] = broken
    mixed = Dataset.from_images(odd, ["diseased", "treated", "diseased", "treated"])
    found = embed(classifier, mixed)
    assert list(found.table["image"]) == [0, 1, 3]
    assert "NaN" in found.unreadable[0].reason
    assert found.complete


def test_without_any_image_that_fits_there_is_an_error(classifier, dataset):
    renamed = [dataset.image(row).assign_coords(c=["A", "B"]) for row in range(2)]
    with pytest.raises(DatasetError, match=r"none of 2 images.*DAPI"):
        embed(classifier, Dataset.from_images(renamed, ["diseased", "treated"]))


def test_progress_is_told_and_cancelled_work_keeps_what_is_done(classifier, dataset, monkeypatch):
    monkeypatch.setattr("napari_why.latent_space.space.VALUES_AT_A_TIME", 2 * 32 * 32 * 4)
    events = []
    done = embed(
        classifier,
        dataset,
        on_event=events.append,
        cancelled=lambda: any(isinstance(event, Advanced) for event in events),
    )
    assert events[0] == Started("latent space", 40)
    assert events[-1] == Finished(partial=True)
    assert 4 <= len(done) < 40
    assert not done.complete


def test_batches_do_not_change_the_latents(classifier, dataset, space, monkeypatch):
    monkeypatch.setattr("napari_why.latent_space.space.VALUES_AT_A_TIME", 1)
    one_by_one = embed(classifier, dataset.select(range(5)))
    np.testing.assert_allclose(one_by_one.latents, space.latents[:5], rtol=1e-3, atol=1e-4)


def test_classes_that_the_classifier_does_not_know_are_placed_too(classifier, dataset):
    images: list[xr.DataArray] = [dataset.image(row) for row in range(3)]
    unknown = Dataset.from_images(images, ["treated", "other drug", "other drug"])
    found = embed(classifier, unknown)
    assert set(found.table["class"]) == {"treated", "other drug"}
    assert set(found.table["prediction"]) <= set(classifier.classes)


def test_any_network_has_a_latent_space(dataset):
    classifier: Classifier = fit(dataset, "cam_net", size=32, epochs=1, threads=1)
    found = embed(classifier, dataset.select(range(6)))
    assert found.latents.shape[0] == 6
    assert np.isfinite(found.latents).all()
    assert found.fingerprint == classifier.fingerprint
