"""Training what makes images on the Generate page: each kind, its curves, its report and what is said."""

import gc

import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtCore import QPoint
from qtpy.QtWidgets import QApplication, QTableWidget, QWidget

import napari_why as why
from napari_why.core.errors import ParameterError, UnsupportedNetworkError
from napari_why.core.events import EpochFinished, Message
from napari_why.generation.channel_predictor import INVENTED
from napari_why.sessions import state_of
from napari_why.widgets import train_generator_panel
from napari_why.widgets.classifier_dock import ClassifierDock
from napari_why.widgets.counterfactual_dock import CounterfactualDock
from napari_why.widgets.plot import PlayCurves
from napari_why.widgets.why_dock import CloseGuard, WhyDock

TINY = {
    "generator": {"widths": "8,4", "code_dimensions": 6},
    "predictor": {"widths": "4,6", "discriminator_widths": "4,6"},
    "translation": {"widths": "4,6", "discriminator_widths": "4,6"},
    "flow": {"widths": "4,6"},
}


@pytest.fixture
def page(dock, viewer, dataset):
    widget = dock(ClassifierDock, viewer)
    state_of(viewer).dataset = dataset
    widget.generation.load_catalogue()
    return widget.generation


def set_up(page, kind, epochs=2, **further):
    training = page.training
    training.what.setCurrentIndex(training.what.findData(kind))
    chosen = {"epochs": epochs, "threads": 1, "device": "cpu", **TINY[kind], **further}
    for name, value in chosen.items():
        training.form.set_value(name, value)
    return training


def names_of(curves: PlayCurves, panel: int) -> list[str]:
    return [line.get_label() for line in curves.panels[panel].get_lines()]


def test_a_generator_is_trained_with_both_losses_and_its_variety_in_curves(page) -> None:
    training = set_up(page, "generator")
    assert training.form.values()["size"] == 32  # of the images, which are smaller than usual
    said = []
    page.dock.runner.event.connect(lambda _event: said.append(training.status.text()))
    training.train()
    (maker,) = state_of(page.dock.viewer).makers
    assert page.maker.current is maker
    assert page.maker.box.currentText() == "Generator: not saved yet"
    assert page.button.isEnabled()
    (curves,) = training.curves.rows.values()
    assert [event.epoch for event in curves.epochs] == [1, 2]
    assert names_of(curves, 0) == ["generator", "discriminator"]
    assert names_of(curves, 1) == ["spread"]  # of fewer than seven images a class has no coverage
    history = maker.card["training"]["history"]
    drawn = {line.get_label(): list(line.get_ydata()) for line in curves.panels[1].get_lines()}
    assert drawn["spread"] == [epoch["spread"] for epoch in history]
    assert any(text.startswith("Epoch 2 of 2: loss of the generator ") for text in said)
    assert training.status.text().endswith("not saved yet.")
    # a training of a classifier has curves of its own
    assert page.dock.training.curves is None


def test_a_collapse_is_said_while_it_trains_and_taken_back(page, monkeypatch) -> None:
    looks = [
        {"spread": 0.2, "coverage of treated": 0.1},
        {},
        {"spread": 0.9, "coverage of treated": 0.8},
    ]
    heard = []

    def fit(_dataset, *, on_event, cancelled, **_parameters):
        for epoch, look in enumerate(looks, start=1):
            losses = {"generator_loss": 1.0, "discriminator_loss": 1.0}
            on_event(EpochFinished(epoch, len(looks), losses | look))
        on_event(Message("the samples vary little", finding=True))
        raise ParameterError("stopped here")

    training = set_up(page, "generator")
    kinds = dict(training._kinds)
    kinds["generator"] = train_generator_panel.Trained(
        "Generator", "about", kinds["generator"].options, fit
    )
    monkeypatch.setattr(training, "_kinds", kinds)
    page.dock.runner.event.connect(lambda _event: heard.append(training.warnings.text()))
    training.train()
    warned = "The samples vary little (0.20 times as much as real images)"
    assert [text.startswith(warned) for text in heard[:3]] == [True, True, False]
    assert "treated (10%)" in heard[0]
    (curves,) = training.curves.rows.values()
    assert names_of(curves, 1) == ["spread", "treated"]
    assert [list(line.get_xdata()) for line in curves.panels[1].get_lines()] == [[1, 3], [1, 3]]
    assert training.warnings.text() == ""
    assert page.dock.message.text() == "the samples vary little\nstopped here"
    assert state_of(page.dock.viewer).makers == {}


def test_a_predictor_is_trained_for_the_channel_that_is_chosen_and_reports(page) -> None:
    training = set_up(page, "predictor", epochs=1, sizing="crop", size=16)
    assert not training.channel.isHidden()
    training.channel.setCurrentIndex(training.channel.findData("DAPI"))
    training.train()
    maker = page.maker.current
    assert maker.made == ("DAPI",)
    assert list(training.curves.rows) == ["conditional GAN", "plain U-Net"]
    own, plain = training.curves.rows.values()
    assert names_of(own, 1) == ["absolute", "passing"]
    assert len(plain.panels) == len(names_of(plain, 0)) == 1
    table = page.maker.report
    methods = [table.text(row, 0) for row in range(table.rowCount())]
    assert methods == ["conditional GAN", "plain U-Net", "linear function", "mean image"]
    # which the message need not say again
    assert page.dock.message.text() == INVENTED
    training.what.setCurrentIndex(training.what.findData("flow"))
    assert training.channel.isHidden()


@pytest.mark.parametrize("kind", ["translation", "flow"])
def test_what_belongs_to_a_classifier_replaces_the_one_in_use(
    page, dock, viewer, classifier, kind
) -> None:
    explaining = dock(CounterfactualDock, viewer)
    training = set_up(page, kind, epochs=1)
    assert training.button.toolTip() == "Train or load a classifier first"
    state_of(viewer).use_classifier(classifier, "model")
    assert training.button.isEnabled()
    box = explaining.method.box
    assert not box.model().item(box.findData(kind)).isEnabled()
    training.train()
    assert page.dock.message.kind != "error", page.dock.message.text()
    state = state_of(viewer)
    assert kind in state.classifier.latent_statistics.parts
    assert state.place is None
    assert "not saved yet" in training.status.text()
    assert box.model().item(box.findData(kind)).isEnabled()
    assert list(page.paths.buttons) == [kind]


def test_nothing_is_wider_than_the_narrowest_dock_after_each_training(
    dock, page, viewer, classifier
) -> None:
    outer = dock(WhyDock, viewer)
    outer.show_page("Classifier")
    inside = outer.page("Classifier")
    inside.tabs.setCurrentWidget(inside.generation)
    inside.generation.load_catalogue()
    inside.generation.training_fold.unfold()
    state_of(viewer).classifier = classifier
    outer.resize(320, 900)
    outer.show()
    for kind in TINY:
        set_up(inside.generation, kind, epochs=1).train()
        inside.generation.maker.box.setCurrentIndex(0)
        QApplication.processEvents()
        for widget in inside.generation.findChildren(QWidget):
            if widget.isVisible():
                right = widget.mapTo(outer, QPoint(widget.width(), 0)).x()
                assert right <= 320 or is_scrolled(widget), (kind, widget)


def is_scrolled(widget) -> bool:
    """Whether it lies within a table, which scrolls."""
    while widget is not None:
        if isinstance(widget, QTableWidget):
            return True
        widget = widget.parentWidget()
    return False


def test_a_network_that_cannot_be_inverted_is_told_beforehand(page, viewer, dataset) -> None:
    state_of(viewer).classifier = why.fit(
        dataset, "small_cnn", size=32, epochs=1, threads=1, on_event=why.quiet
    )
    training = set_up(page, "translation")
    assert not training.button.isEnabled()
    assert "found a small_cnn without a generator" in training.button.toolTip()
    assert "without a generator" in training.about.text()
    with pytest.raises(UnsupportedNetworkError, match="without a generator"):
        why.fit_translation(state_of(viewer).classifier, dataset)


def interrupt(training, monkeypatch, kind, happen) -> None:
    """Let something happen after each epoch of a training."""
    known = training._kinds[kind]

    # in the work itself: with no thread, events come to the page once it is done
    def fit(*given, on_event, **further):
        def listen(event):
            on_event(event)
            if isinstance(event, EpochFinished):
                happen()

        return known.fit(*given, on_event=listen, **further)

    changed = train_generator_panel.Trained("Interrupted", "about", known.options, fit, known.of)
    monkeypatch.setattr(training, "_kinds", {**training._kinds, kind: changed})


def test_a_cancelled_training_keeps_the_last_epoch(page, monkeypatch) -> None:
    training = set_up(page, "generator", epochs=50)
    interrupt(training, monkeypatch, "generator", page.dock.runner.cancel)
    training.train()
    assert page.maker.current.card["training"]["status"] == "cancelled"
    assert len(page.maker.current.card["training"]["history"]) == 1
    assert page.maker.about.text().endswith("trained for 1 epoch, when it was stopped.")


@pytest.mark.parametrize("kind", ["generator", "predictor"])
def test_a_stopped_training_goes_on_to_what_it_would_have_been(
    page, monkeypatch, dataset, kind
) -> None:
    training = set_up(page, kind, epochs=3)
    if kind == "generator":
        whole = why.fit_generator(dataset, on_event=why.quiet, **training.form.values())
    else:
        training.channel.setCurrentIndex(training.channel.findData("DAPI"))
        whole = why.fit_channel_predictor(
            dataset, "DAPI", on_event=why.quiet, **training.form.values()
        )
    interrupt(training, monkeypatch, kind, page.dock.runner.cancel)
    assert training.resume_button.isHidden()
    training.train()
    (partial,) = state_of(page.dock.viewer).makers
    assert training.resume_button.isEnabled()
    assert partial.fingerprint != whole.fingerprint
    # whatever is chosen meanwhile, it is that training which goes on
    training.form.set_value("epochs", 9)
    if kind == "predictor":
        training.channel.setCurrentIndex(training.channel.findData("TMRM"))
    while not training.resume_button.isHidden():  # cancelled after each epoch that is left
        training.resume()
        assert page.dock.message.kind != "error", page.dock.message.text()
    (maker,) = state_of(page.dock.viewer).makers
    assert maker is not partial
    assert maker.fingerprint == whole.fingerprint
    assert len(maker.card["training"]["history"]) == 3
    if kind == "predictor":
        assert maker.made == ("DAPI",)
        # the plain U-Net beside it was stopped after each of its epochs, too
        assert maker.card["report"] == whole.card["report"]


@pytest.mark.parametrize("kind", ["translation", "flow"])
def test_a_stopped_translation_goes_on_with_the_classifier_that_it_was_begun_for(
    page, viewer, classifier, monkeypatch, dataset, kind
) -> None:
    state_of(viewer).classifier = classifier
    training = set_up(page, kind, epochs=2)
    fit = {"translation": why.fit_translation, "flow": why.fit_flow}[kind]
    whole = fit(classifier, dataset, on_event=why.quiet, **training.form.values())
    interrupt(training, monkeypatch, kind, page.dock.runner.cancel)
    training.train()
    assert state_of(viewer).classifier.fingerprint != whole.fingerprint
    while not training.resume_button.isHidden():
        training.resume()
        assert page.dock.message.kind != "error", page.dock.message.text()
    assert state_of(viewer).classifier.fingerprint == whole.fingerprint
    assert "loaded meanwhile" not in training.status.text()


def test_a_training_that_broke_off_goes_on_after_a_restart(
    dock, page, monkeypatch, dataset, tmp_path
) -> None:
    def break_off():
        raise MemoryError

    training = set_up(page, "generator", epochs=2)
    whole = why.fit_generator(dataset, on_event=why.quiet, **training.form.values())
    training.checkpoints.line.setText(str(tmp_path / "kept"))
    interrupt(training, monkeypatch, "generator", break_off)
    training.train()
    assert page.dock.message.kind == "error"
    assert not training.resume_button.isHidden()
    said = page.dock.settings()

    again = dock(ClassifierDock, ViewerModel())
    state_of(again.viewer).dataset = dataset
    again.generation.load_catalogue()
    again.restore_settings(said)
    training = again.generation.training
    assert training.resume_button.isEnabled()
    training.form.set_value("batch_size", 5)
    training.resume()
    assert "batch_size was" in again.message.text()
    training.form.set_value("batch_size", 16)
    training.resume()
    (maker,) = state_of(again.viewer).makers
    assert maker.fingerprint == whole.fingerprint
    # which none that begins anew writes over
    training.train()
    assert "earlier training's checkpoints" in again.message.text()


def test_checkpoints_without_a_folder_go_with_the_training(page) -> None:
    attempt = set_up(page, "generator", epochs=1).prepare()
    assert not attempt.can_go_on
    attempt.run(resume=False, on_event=why.quiet, cancelled=lambda: False)
    folder = attempt.folder
    assert list(folder.glob("epoch-*"))
    assert not attempt.can_go_on, "it is done"
    del attempt
    gc.collect()
    assert not folder.parent.exists()


def test_the_time_of_a_training_is_told_once_one_like_it_was_done(page, monkeypatch) -> None:
    now = [0.0]
    monkeypatch.setattr(train_generator_panel, "monotonic", lambda: now[0])
    training = set_up(page, "generator", epochs=2)

    def pass_time():
        now[0] += 30

    interrupt(training, monkeypatch, "generator", pass_time)
    time = training.form.presets.time
    assert time.text() == ""
    training.train()
    assert time.text() == "about 60 seconds on this computer"
    training.form.set_value("epochs", 20)
    assert time.text() == "about 10 minutes on this computer"
    training.form.set_value("batch_size", 3)
    assert time.text() == ""
    training.form.set_value("batch_size", 16)
    assert time.text() == "about 10 minutes on this computer"
    training.what.setCurrentIndex(training.what.findData("predictor"))
    assert training.form.presets.time.text() == ""


def test_the_form_comes_back_with_a_session(dock, page, dataset) -> None:
    set_up(page, "predictor", epochs=7)
    page.training.channel.setCurrentIndex(page.training.channel.findData("DAPI"))
    said = page.dock.settings()
    # before anything is imported, and before there is a data set
    again = dock(ClassifierDock, ViewerModel())
    again.restore_settings(said)
    assert again.settings()["generation"]["training"] == said["generation"]["training"]
    state_of(again.viewer).dataset = dataset
    again.generation.load_catalogue()
    training = again.generation.training
    assert training.what.currentData() == "predictor"
    assert training.channel.currentText() == "DAPI"
    assert training.form.values()["epochs"] == 7


def test_a_window_is_not_closed_over_a_generator_that_is_not_saved(
    dock, viewer, monkeypatch, tmp_path, page
) -> None:
    from qtpy.QtWidgets import QMainWindow, QMessageBox

    window, outer = QMainWindow(), dock(WhyDock, viewer)
    guard = CloseGuard(outer, window)
    assert guard.may_close()
    set_up(page, "generator", epochs=1).train()
    shown = []
    monkeypatch.setattr(QMessageBox, "exec", lambda box: shown.append(box.text()))
    assert not guard.may_close()
    assert "make images are not saved yet" in shown[0]
    page.maker.save_to(tmp_path / "kept")
    assert guard.may_close()
    guard.release()


def test_what_is_copied_names_the_training_and_what_was_made(page, tmp_path) -> None:
    training = set_up(page, "generator", epochs=1)
    training.train()
    copied = training.copy_buttons._make()
    assert "why.fit_generator(dataset, " in copied.python
    assert "train-generator" in copied.shell
    page.maker.save_to(tmp_path / "kept")
    page.make()
    copied = page.copy_buttons._make()
    assert copied.python.splitlines()[2:] == [
        f"generator = why.load_generator('{tmp_path / 'kept'}')",
        "result = why.sample(generator)",
    ]
    known = {}
    exec(copied.python, known)  # noqa: S102 - that it runs is what is tested
    np.testing.assert_array_equal(known["result"].images, page.maker.current.sample().images)
