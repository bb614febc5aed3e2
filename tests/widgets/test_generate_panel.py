"""The Generate page of the Classifier dock, and the methods of a generative network."""

import numpy as np
import pytest

from napari_why.sessions import state_of
from napari_why.widgets.classifier_dock import ClassifierDock
from napari_why.widgets.counterfactual_dock import CounterfactualDock

TINY_VAE = {"widths": "4,8", "latent_dimensions": 6}


@pytest.fixture(scope="module")
def vae(dataset):
    from napari_why.fitting import fit

    return fit(dataset, "vae", size=32, epochs=1, network_parameters=TINY_VAE, threads=1)


@pytest.fixture
def page(dock, viewer, vae):
    widget = dock(ClassifierDock, viewer)
    state_of(viewer).classifier = vae
    return widget.generation


def make(page, qtbot, task, **values):
    layers = page.dock.viewer.layers
    before = len(layers)
    page.task.box.setCurrentIndex(page.task.box.findData(task))
    for name, value in values.items():
        page.task.form.set_value(name, value)
    page.make()
    assert not page.dock.message.text()
    expected = before + (4 if task == "reconstruct" else 2)
    qtbot.waitUntil(lambda: len(layers) == expected, timeout=20_000)
    return list(layers)[before:]


def test_a_reconstruction_becomes_layers_with_its_error(page, qtbot) -> None:
    made = make(page, qtbot, "reconstruct")
    assert [layer.name for layer in made] == [
        "DAPI: reconstruction",
        "TMRM: reconstruction",
        "DAPI: reconstruction error",
        "TMRM: reconstruction error",
    ]
    raw = page.layers.layers()[0].data
    np.testing.assert_allclose(made[0].data - raw, made[2].data, atol=0.05)
    assert page.answer.text().startswith("Mean absolute error of the reconstruction: DAPI")


def test_an_image_of_nothing_is_called_unlike(page, qtbot) -> None:
    for layer in page.layers.layers():
        layer.data = np.full_like(layer.data, 500)
    for task, values in (("reconstruct", {}), ("traverse", {"steps": 2})):
        make(page, qtbot, task, **values)
        assert "hannel DAPI is 500 everywhere" in page.answer.text()


def test_samples_become_a_series(page, qtbot) -> None:
    made = make(page, qtbot, "sample", count=3)
    assert made[0].data.shape == (3, 32, 32)
    assert tuple(made[0].axis_labels) == ("sample", "y", "x")


def test_a_traversal_becomes_a_series_on_the_image(page, qtbot) -> None:
    made = make(page, qtbot, "traverse", dimension=1, steps=4)
    assert made[1].data.shape == (4, 32, 32)
    assert np.allclose(made[1].scale[1:], page.layers.layers()[1].scale[-2:])


def test_an_invertible_network_reconstructs_only(dock, viewer, classifier, qtbot) -> None:
    widget = dock(ClassifierDock, viewer)
    state_of(viewer).classifier = classifier
    box = widget.generation.task.box
    able = [box.itemData(i) for i in range(box.count()) if box.model().item(i).isEnabled()]
    assert able == ["reconstruct"]


def test_the_counterfactual_dock_offers_what_the_network_has(dock, viewer, vae) -> None:
    widget = dock(CounterfactualDock, viewer)
    state_of(viewer).classifier = vae
    box = widget.method.box
    able = {box.itemData(i) for i in range(box.count()) if box.model().item(i).isEnabled()}
    assert able == {"latent_mean_shift", "latent_interpolation"}
    assert widget.button.isEnabled()
