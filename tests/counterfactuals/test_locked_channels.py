"""Locked means locked: for every method that there is, of this package or another."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_why.counterfactuals import METHODS, LatentPath, counterfactual, counterfactual_method
from napari_why.datasets import Preprocessing
from napari_why.images import make_image
from napari_why.model import Classifier
from napari_why.model.latent_statistics import LatentStatistics
from napari_why.networks import build_network

CHANNELS, SIZE = ("DAPI", "TMRM"), 16
IRESNET = {"blocks": "1,1", "widths": "6,6", "downscaling": "2,2"}


@pytest.fixture(scope="module")
def scenes():
    """Return images of two classes that differ in both channels, and in how these go together."""
    random = np.random.default_rng(0)
    labels = np.arange(40) % 2
    dapi = random.normal(900, 150, (40, SIZE, SIZE)) + 60 * labels[:, None, None]
    tmrm = 0.5 * dapi + random.normal(300, 60, dapi.shape) * (1 + labels[:, None, None])
    return np.stack([dapi, tmrm], axis=1), labels


def classifier_of(scenes, name: str, locked: int) -> Classifier:
    """Return a classifier of an untrained network that locks a channel, with its statistics."""
    pixels, labels = scenes
    preprocessing = Preprocessing(
        CHANNELS, SIZE, "none", "linear", (900.0, 800.0), (150.0, 180.0), (1.0, 1.0)
    )
    invertible = name == "iresnet"
    further = {**IRESNET, "locked": str(locked)} if invertible else {}
    network = build_network(name, input_channels=2, classes=2, size=(SIZE, SIZE), seed=0, **further)
    if not invertible:
        network.locked = (locked,)
    network.freeze()
    batch = torch.stack([preprocessing(make_image(image, "cyx", CHANNELS)) for image in pixels])
    statistics = LatentStatistics.collect(
        network,
        [(batch, torch.from_numpy(labels))],
        ("p", "q"),
        transport=invertible,
        left_out=("pixel_maps",),
    )
    return Classifier(network, preprocessing, ("p", "q"), statistics)


def pushes_everything(network, statistics, image, source, target) -> LatentPath:
    """Move every number of the last latent, locked ones too."""
    start = network.last_latent(image)
    return LatentPath(network.stage_names[-1], start, torch.ones_like(start))


@pytest.fixture(autouse=True, scope="module")
def _another_package() -> Iterator[None]:
    # here and not when the file is read: tests of other files ask what is registered too
    counterfactual_method(title="Pushes everything", source="a package of somebody else")(
        pushes_everything
    )
    yield
    del METHODS["pushes_everything"]


@pytest.mark.parametrize("locked", [0, 1])
@pytest.mark.parametrize("name", ["iresnet", "vae"])
@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_a_locked_channel_is_that_of_the_source_bit_for_bit(
    scenes, name, locked, dtype, trained_apart
) -> None:
    classifier = classifier_of(scenes, name, locked)
    statistics = trained_apart(classifier.latent_statistics, (locked,))
    classifier = replace(classifier, latent_statistics=statistics)
    pixels = scenes[0][0].astype(dtype)
    image = make_image(pixels, "cyx", CHANNELS)
    suitable = [key for key, item in METHODS.items() if not item.unsuitable(classifier.network)]
    assert len(suitable) >= (4 if name == "iresnet" else 2)
    source = classifier.predict(image).label
    target = "pq".replace(source, "")
    moved = {}
    for method in suitable:
        found = counterfactual(classifier, image, target, method, alpha_range=(-0.5, 2.0), steps=4)
        exported = classifier.preprocessing.inverse(classifier.prepare(image))[0][locked]
        exported = exported.astype("float32")
        if dtype == "uint16":
            assert np.array_equal(np.rint(exported), pixels[locked])
            exported = pixels[locked]
        for what, made in (*enumerate(found.images), *found.special_images.items()):
            assert np.array_equal(made[locked], exported), (method, what)
        assert not (found.images[:, locked].astype(float) - found.images[0, locked]).any()
        moved[method] = float(np.abs(found.differences[-1, 1 - locked]).max())
        sentence = f"{CHANNELS[locked]} is locked: it stays that of the source whatever the method"
        assert any(note.startswith(sentence) for note in found.notes), method
        assert found.circumstances.locked == (CHANNELS[locked],)
    # else there was nothing that could have been changed; an untrained decoder moves parts of a grey
    # level, which whole ones do not show
    if dtype == "float32":
        assert min(moved.values()) > 0


def test_the_head_is_asked_about_the_image_that_is_exported(scenes) -> None:
    """Were the latent moved in locked channels too, its score would be that of no exported image."""
    classifier = classifier_of(scenes, "iresnet", 0)
    image = make_image(scenes[0][0], "cyx", CHANNELS)
    method = METHODS["gaussian_transport"].function
    for stage in classifier.network.stage_names:
        path = method(
            classifier.network,
            classifier.latent_statistics,
            classifier.prepare(image),
            0,
            1,
            stage=stage,
        )
        count = classifier.network.locked_latent_channels(stage)
        assert count > 0
        assert not path.displacement[:, :count].any()
        assert path.displacement[:, count:].any()
