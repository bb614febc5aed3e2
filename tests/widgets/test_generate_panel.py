"""The Generate page of the Classifier dock, and the methods of a generative network."""

import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtCore import QPoint
from qtpy.QtWidgets import QApplication, QWidget

import napari_why as why
from napari_why.images import write
from napari_why.output.layer_metadata import LayerFacts
from napari_why.sessions import state_of
from napari_why.widgets.classifier_dock import ClassifierDock
from napari_why.widgets.counterfactual_dock import CounterfactualDock
from napari_why.widgets.image_files import layers_of
from napari_why.widgets.maker_chooser import REPORT
from napari_why.widgets.why_dock import WhyDock

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
        "DAPI: generated, reconstruction",
        "TMRM: generated, reconstruction",
        "DAPI: error of the generated reconstruction",
        "TMRM: error of the generated reconstruction",
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


QUICK = {"size": 32, "epochs": 1, "threads": 1, "device": "cpu", "on_event": why.quiet}


@pytest.fixture(scope="module")
def generator(dataset):
    return why.fit_generator(dataset, widths="8,4", code_dimensions=6, **QUICK)


@pytest.fixture(scope="module")
def predictor(dataset):
    widths = {"widths": "4,6", "discriminator_widths": "4,6"}
    return why.fit_channel_predictor(dataset, "TMRM", plain=False, **widths, **QUICK)


def able(page):
    box = page.task.box
    return [box.itemData(i) for i in range(box.count()) if box.model().item(i).isEnabled()]


def run(page, qtbot, task, layers, **values):
    """Make images by a task, and return its layers."""
    shown = page.dock.viewer.layers
    before = len(shown)
    page.task.box.setCurrentIndex(page.task.box.findData(task))
    for name, value in values.items():
        page.task.form.set_value(name, value)
    page.make()
    assert not page.dock.message.text()
    qtbot.waitUntil(lambda: len(shown) == before + layers, timeout=20_000)
    return list(shown)[before:]


def check_marked(layers):
    for layer in layers:
        facts = LayerFacts.of(layer)
        assert "generated" in layer.name
        assert facts.further["generated"] is True
        assert facts.record.details["generated"] is True
        assert not facts.image_name or layer.name.startswith(facts.image_name)


def test_all_that_is_made_is_marked_as_generated(
    page, qtbot, dataset, generator, predictor
) -> None:
    page.dock.viewer.layers.extend(layers_of(dataset.image(1)))
    for task, count in (("reconstruct", 4), ("traverse", 2), ("sample", 2), ("interpolate", 2)):
        check_marked(run(page, qtbot, task, count))
    page.dock.state.add_maker(generator)
    for task in ("sample", "interpolate_codes"):
        check_marked(run(page, qtbot, task, 2))
    page.dock.state.add_maker(predictor)
    check_marked(run(page, qtbot, "predict_channel", 2))


def test_a_way_leads_from_the_image_in_use_to_another_that_is_open(
    page, qtbot, dataset, vae
) -> None:
    assert page.second.box.count() == 0
    page.task.box.setCurrentIndex(page.task.box.findData("interpolate"))
    assert not page.second.isHidden()
    page.make()
    assert page.dock.message.text().startswith("No second image is chosen; open another image")
    page.dock.message.clear()
    other = layers_of(dataset.image(1))
    page.dock.viewer.layers.extend(other)
    assert page.second.box.count() == 1
    in_use = {id(layer) for layer in page.layers.layers()}
    target = dataset.image(0) if in_use & set(map(id, other)) else dataset.image(1)
    made = run(page, qtbot, "interpolate", 2, steps=3)
    assert made[0].data.shape == (3, 32, 32)
    ends = [why.reconstruct(vae, image).reconstruction for image in (page.layers.image(), target)]
    for place, end in zip((0, -1), ends, strict=True):
        shown = [np.asarray(layer.data[place]) for layer in made]
        np.testing.assert_allclose(shown, end, rtol=1e-4)
    page.task.box.setCurrentIndex(page.task.box.findData("traverse"))
    assert page.second.isHidden()


@pytest.mark.parametrize("network", ["autoencoder", "denoising_autoencoder"])
def test_autoencoders_that_cannot_be_drawn_from_lead_from_image_to_image_too(
    page, viewer, qtbot, dataset, network
) -> None:
    plain = why.fit(dataset, network, network_parameters=TINY_VAE, **QUICK)
    state_of(viewer).classifier = plain
    box = page.task.box
    able = {box.itemData(i) for i in range(box.count()) if box.model().item(i).isEnabled()}
    assert able == {"reconstruct", "traverse", "interpolate"}
    viewer.layers.extend(layers_of(dataset.image(1)))
    made = run(page, qtbot, "interpolate", 2, steps=3)
    start = why.reconstruct(plain, page.layers.image()).reconstruction
    np.testing.assert_allclose([layer.data[0] for layer in made], start, rtol=1e-4)


def test_a_way_leads_to_an_image_of_a_file(page, qtbot, dataset, vae, tmp_path) -> None:
    write(dataset.image(2), tmp_path / "goal.ome.tif")
    page.second.add_file(tmp_path / "goal.ome.tif")
    assert page.second.box.currentText() == "goal.ome.tif"
    made = run(page, qtbot, "interpolate", 2, steps=2)
    end = why.reconstruct(vae, dataset.image(2)).reconstruction
    np.testing.assert_allclose([layer.data[-1] for layer in made], end, rtol=1e-4)
    assert LayerFacts.of(made[0]).record.details["goal"].endswith("goal.ome.tif")


@pytest.fixture
def alone(dock, dataset):
    """The page of a viewer that shows one image, without a classifier."""
    viewer = ViewerModel()
    viewer.layers.extend(layers_of(dataset.image(0)))
    return dock(ClassifierDock, viewer).generation


def test_without_a_classifier_it_says_what_is_needed(alone) -> None:
    assert not alone.button.isEnabled()
    assert "There is no classifier yet" in alone.maker.about.text()
    assert alone.task.isHidden()


def test_a_saved_generator_is_loaded_and_draws_the_class_that_is_chosen(
    alone, qtbot, generator, tmp_path
) -> None:
    alone.maker.load_from(generator.save(tmp_path / "my generator"))
    assert alone.maker.box.currentText() == "Generator: my generator"
    assert alone.maker.about.text().startswith(
        "Draws images of diseased and treated (DAPI, TMRM; 32 x 32 px); trained for 1 epoch."
    )
    assert alone.task.form.label("label").text() == "class"
    assert able(alone) == ["sample", "interpolate_codes"]
    label = alone.task.form.editor("label").field
    assert [label.itemText(i) for i in range(label.count())] == [
        "each class in turn", "diseased", "treated",
    ]  # fmt: skip
    made = run(alone, qtbot, "sample", 2, count=3, label="treated")
    wanted = generator.sample(count=3, label="treated")
    np.testing.assert_array_equal(np.stack([layer.data for layer in made], axis=1), wanted.images)
    assert "Made up by a network" in alone.answer.text()
    # between codes there is no class in turn, and the first one is chosen
    made = run(alone, qtbot, "interpolate_codes", 2, steps=4)
    assert LayerFacts.of(made[0]).record.details["drawn_as"] == ["diseased"] * 4
    assert alone.second.isHidden()


def test_a_channel_is_predicted_with_its_error_where_the_real_one_is_there(
    alone, qtbot, predictor, dataset
) -> None:
    alone.dock.state.add_maker(predictor)
    assert alone.maker.about.text().startswith("Predicts TMRM from DAPI; trained for 1 epoch.")
    assert "not saved yet" in alone.maker.box.currentText()
    table = alone.maker.report
    methods = [table.text(row, 0) for row in range(table.rowCount())]
    assert methods == ["conditional GAN", "linear function", "mean image"]
    assert table.columnCount() == 1 + len(REPORT)
    assert table.text(2, 1) == f"{predictor.card['report']['rows'][2]['absolute_error']:.3g}"
    made = run(alone, qtbot, "predict_channel", 2)
    wanted = why.predict_channel(predictor, dataset.image(0))
    np.testing.assert_array_equal(made[0].data, wanted.images[0])
    np.testing.assert_allclose(made[1].data, wanted.error[0], rtol=1e-6)
    assert not made[1].visible
    invented, error = alone.answer.text().splitlines()
    assert "structure that it invents is no evidence" in invented
    mean = float(np.abs(wanted.error).mean())
    assert error == f"Mean absolute error of the prediction: TMRM {mean:.3g} grey levels."
    real = next(layer for layer in alone.dock.viewer.layers if "TMRM" in layer.name)
    alone.dock.viewer.layers.remove(real)
    (only,) = run(alone, qtbot, "predict_channel", 1)
    np.testing.assert_array_equal(only.data, wanted.images[0])
    assert alone.answer.text() == invented


def test_an_image_without_the_channel_that_is_given_is_told(alone, predictor) -> None:
    alone.dock.state.add_maker(predictor)
    dapi = next(layer for layer in alone.dock.viewer.layers if "DAPI" in layer.name)
    alone.dock.viewer.layers.remove(dapi)
    alone.make()
    assert "No image that is open has a layer of each of DAPI" in alone.dock.message.text()


def test_folders_of_something_else_say_what_was_found(alone, classifier, tmp_path) -> None:
    classifier.save(tmp_path / "model")
    (tmp_path / "images").mkdir()
    for name in "abcde":
        (tmp_path / "images" / f"{name}.tif").touch()
    (tmp_path / "empty").mkdir()
    found = {
        "model": "found a classifier (load it as the classifier in use)",
        "images": "found a.tif, b.tif, c.tif and 2 more",
        "empty": "found an empty folder",
        "nowhere": "found no such folder",
    }
    for name, words in found.items():
        alone.maker.load_from(tmp_path / name)
        assert words in alone.dock.message.text()
        assert alone.dock.message.kind == "error"
    assert alone.maker.box.count() == 1


def test_what_is_not_saved_is_saved_and_asked_about(
    alone, monkeypatch, generator, tmp_path
) -> None:
    alone.dock.state.add_maker(generator)
    assert alone.maker.box.currentText() == "Generator: not saved yet"
    assert alone.maker.save_button.isEnabled()
    alone.maker.save_to(tmp_path / "kept")
    assert alone.dock.message.text() == f"Saved as {tmp_path / 'kept'}."
    assert alone.maker.box.currentText() == "Generator: kept"
    assert alone.maker.current is generator
    assert why.load_generator(tmp_path / "kept").fingerprint == generator.fingerprint


def test_a_session_brings_back_what_was_chosen(dock, alone, generator, tmp_path) -> None:
    alone.maker.load_from(generator.save(tmp_path / "kept"))
    alone.task.box.setCurrentIndex(alone.task.box.findData("interpolate_codes"))
    for name, value in {"steps": 5, "label": "treated"}.items():
        alone.task.form.set_value(name, value)
    said = alone.dock.settings()["generation"]
    assert said["maker"] == str(tmp_path / "kept")
    again = dock(ClassifierDock, ViewerModel()).generation
    again.dock.restore_settings({"generation": said})
    assert again.maker.current.fingerprint == generator.fingerprint
    assert again.task.name == "interpolate_codes"
    assert again.task.form.values() | {"steps": 5, "label": "treated"} == again.task.form.values()
    assert again.settings() == said
    gone = dock(ClassifierDock, ViewerModel()).generation
    gone.restore_settings({**said, "maker": str(tmp_path / "gone")})
    assert "found no such folder" in gone.dock.message.text()
    assert gone.maker.box.count() == 1
    assert "maker" not in gone.settings()


def test_a_classifier_with_a_translation_leads_to_that_method(
    dock, viewer, classifier, dataset
) -> None:
    options = {"widths": "4,6", "discriminator_widths": "4,6", "epochs": 1, "threads": 1}
    translating = why.fit_translation(
        classifier, dataset, device="cpu", on_event=why.quiet, **options
    )
    outer = dock(WhyDock, viewer)
    state_of(viewer).classifier = classifier
    outer.show_page("Classifier")
    page = outer.page("Classifier").generation
    assert page.paths.isHidden()
    state_of(viewer).classifier = translating
    assert not page.paths.isHidden()
    assert list(page.paths.buttons) == ["translation"]
    page.paths.buttons["translation"].click()
    explaining = outer.page("Counterfactual")
    assert outer.stack.currentWidget() is explaining
    assert explaining.method.name == "translation"


def test_nothing_of_the_page_is_wider_than_the_narrowest_dock(
    dock, viewer, predictor, dataset
) -> None:
    outer = dock(WhyDock, viewer)
    outer.show_page("Classifier")
    page = outer.page("Classifier")
    state_of(viewer).dataset = dataset
    state_of(viewer).add_maker(predictor)
    page.tabs.setCurrentWidget(page.generation)
    page.generation.training_fold.unfold()
    outer.resize(320, 900)
    outer.show()
    assert page.generation.training.what.count() == 4
    for place in range(4):
        page.generation.training.what.setCurrentIndex(place)
        QApplication.processEvents()
        for widget in page.generation.findChildren(QWidget):
            if widget.isVisible():
                assert widget.mapTo(outer, QPoint(widget.width(), 0)).x() <= 320, widget


def test_a_classifier_draws_from_all_classes_alike(page) -> None:
    page.task.box.setCurrentIndex(page.task.box.findData("sample"))
    assert "label" not in page.task.form.names
