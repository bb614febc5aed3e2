"""The Classifier and Open docks: from data to a classifier that all docks of a viewer share."""

import csv
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from napari.components import ViewerModel
from napari.qt import get_stylesheet

from napari_why.core.errors import InversionError, MismatchError, WhyError
from napari_why.core.events import EpochFinished, Message, Started
from napari_why.datasets import Dataset
from napari_why.fitting import finish_fit, fit
from napari_why.networks import NETWORKS
from napari_why.output.layer_metadata import LayerFacts
from napari_why.sessions import state_of
from napari_why.simulation import simulate
from napari_why.widgets import classifier_bar
from napari_why.widgets.attribution_dock import AttributionDock
from napari_why.widgets.classifier_dock import ClassifierDock
from napari_why.widgets.counterfactual_dock import CounterfactualDock
from napari_why.widgets.dataset_panel import count_images
from napari_why.widgets.dock import NARROWEST, Preferences
from napari_why.widgets.job import JobState, run_in_thread
from napari_why.widgets.open_dock import OpenDock
from napari_why.widgets.train_panel import describe_lock, describe_outcome

TINY = {"blocks": "1", "widths": "4", "downscaling": "2"}


def tiny_training(widget, epochs=2):
    widget.load_catalogue()
    training = widget.training
    training.network.setCurrentIndex(training.network.findData("cam_net"))
    training.main.set_value("size", 32)
    training.main.set_value("epochs", epochs)
    training.then_evaluate.setChecked(False)  # which the tests of it ask for
    return training


@pytest.fixture
def learning(dock, viewer, dataset):
    widget = dock(ClassifierDock, viewer)
    state_of(viewer).dataset = dataset
    return widget


def test_the_titles_of_the_tabs_take_little_more_than_their_words(dock, viewer):
    """Or they do not all fit into a dock of the usual width, and the last are cut."""
    bar = dock(ClassifierDock, viewer).tabs.tabBar()
    words = bar.fontMetrics()
    for index in range(bar.count()):
        beside = bar.tabRect(index).width() - words.horizontalAdvance(bar.tabText(index))
        assert beside <= 10, bar.tabText(index)


@pytest.mark.parametrize("alone", [True, False])
def test_every_title_can_be_read_in_the_narrowest_dock(qtbot, dock, viewer, alone):
    widget = dock(ClassifierDock, viewer)
    if not alone:
        widget.become_page()
    widget.setStyleSheet(get_stylesheet("dark"))  # its tabs are wider than those of Qt
    widget.resize(NARROWEST, 420)
    with qtbot.waitExposed(widget):
        widget.show()
    qtbot.wait(50)
    bar = widget.tabs.tabBar()
    assert bar.count() == (6 if alone else 5)
    for index in range(bar.count()):
        assert bar.rect().contains(bar.tabRect(index)), bar.tabText(index)
        assert bar.tabRect(index).width() >= bar.fontMetrics().horizontalAdvance(bar.tabText(index))


def test_training_shares_the_classifier_with_the_other_docks(learning, dock, viewer):
    other = dock(AttributionDock, viewer)
    training = tiny_training(learning)
    training.train()
    assert [event.epoch for event in training.curves.epochs] == [1, 2]
    assert state_of(viewer).classifier.classes == ("diseased", "treated")
    assert "cam_net" in other.classifier_label.text()
    assert other.layers.channels == ("DAPI", "TMRM")
    kept = training.status.text()
    assert kept.startswith("Kept epoch ")
    assert "of 2: " in kept
    assert kept.endswith(" validation images; not saved yet.")


def tiny_iresnet(training):
    training.network.setCurrentIndex(training.network.findData("iresnet"))
    for name, value in TINY.items():
        training.network_form.set_value(name, value)


def test_curves_and_status_of_each_network_are_apart(learning):
    """A fit with a second network, whose epochs must not go on where the classifier's ended."""
    training = tiny_training(learning, epochs=2)
    tiny_iresnet(training)
    training.main.set_value("lock", "none")
    training.main.set_value("pixel_maps", False)
    said = []
    learning.runner.event.connect(lambda _event: said.append(training.status.text()))
    training.train()
    rows = training.curves.rows
    assert list(rows) == ["classifier", "second network"]
    for row in rows.values():
        assert [event.epoch for event in row.epochs] == list(range(1, len(row.epochs) + 1))
        (line,) = [line for line in row.panels[0].get_lines() if line.get_label() == "validation"]
        assert list(line.get_xdata()) == [event.epoch for event in row.epochs]
    assert [event.epoch for event in training.curves.epochs] == [1, 2]
    assert any(text.startswith("Second network: epoch 1 of ") for text in said)
    assert training.status.text().startswith("Kept epoch ")
    assert "of 2: " in training.status.text()


def test_the_size_is_proposed_by_the_images_and_epochs_are_those_of_the_network(learning):
    learning.load_catalogue()
    training = learning.training
    assert training.main.values()["size"] == 32
    own = training.main.editor("epochs").field
    for name in ("iresnet", "small_cnn"):
        training.network.setCurrentIndex(training.network.findData(name))
        assert own.text() == f"{NETWORKS[name].training.epochs} (the network's own)"
        assert NETWORKS[name].purpose[1:] in training.about_network.text()
    training.main.set_value("size", 48)
    learning.state.dataset = learning.state.dataset.split(seed=3, redraw=True)
    assert training.main.values()["size"] == 48


def test_the_reason_why_nothing_can_be_trained_is_the_true_one(held, dock, viewer, dataset):
    state_of(viewer).dataset = dataset
    widget = dock(ClassifierDock, viewer, held)
    widget.load_catalogue()
    assert widget.training.button.toolTip() == "The networks are still being loaded"
    held.let_go()
    assert widget.training.button.isEnabled()
    widget.state.dataset = None
    assert widget.training.button.toolTip() == "Choose a data set first (page Data)"


def test_presets_tell_the_time_once_a_training_was_timed(learning):
    training = tiny_training(learning, epochs=3)
    assert training.main.presets.time.text() == ""
    training.train()
    assert training.main.presets.time.text().endswith("on this computer")
    training.main.set_value("size", 48)
    assert training.main.presets.time.text() == ""


@pytest.fixture
def cut_short(dataset):
    """A fit that was cancelled after its first epoch."""
    asked = []

    def listen(event):
        if isinstance(event, EpochFinished):
            asked.append(event)

    return fit(
        dataset, "iresnet", size=32, epochs=5, network_parameters=TINY, threads=1, lock="none",
        pixel_maps=False, on_event=listen, cancelled=lambda: bool(asked),
    )  # fmt: skip


def test_what_a_cancelled_training_left_out_is_greyed_and_can_be_made(
    learning, dock, viewer, cut_short
):
    assert cut_short.latent_statistics.transport is None
    making = dock(CounterfactualDock, viewer)
    learning.load_catalogue()
    learning.state.classifier = cut_short
    box = making.method.box
    transport = box.model().item(box.findData("transport"))
    assert not transport.isEnabled()
    assert "no fitted transport" in transport.toolTip()
    assert making.method.name not in ("", "transport")
    assert not learning.training.finish_button.isHidden()
    learning.training.finish()
    finished = learning.state.classifier
    assert finished.latent_statistics.transport is not None
    assert finished.second_network is not None
    assert finished.left_out == ()
    assert making.method.name == "transport"
    assert learning.training.finish_button.isHidden()
    weights = cut_short.network.state_dict()
    for name, value in finished.network.state_dict().items():
        assert (value == weights[name]).all()


def test_another_data_set_cannot_finish_a_fit(dataset, cut_short):
    with pytest.raises(MismatchError, match="expected the images that the classifier"):
        finish_fit(cut_short, dataset.split(seed=5, redraw=True))


def test_stains_that_all_tell_the_classes_apart_are_told_with_their_accuracy():
    lock = {
        "locked": [],
        "sentence": "No channel is locked: ...",
        "channels": [
            {"channel": "DAPI", "accuracy": 0.84, "verdict": "evidence"},
            {"channel": "TMRM", "accuracy": 0.98, "verdict": "evidence"},
        ],
    }
    assert describe_lock(lock).startswith(
        "Both stains tell the classes apart (DAPI alone 84%, TMRM alone 98%)"
    )
    lock["channels"][0]["verdict"] = "weak"
    assert describe_lock(lock) == lock["sentence"]


def test_after_a_training_the_test_images_are_evaluated_unless_told_otherwise(qtbot, learning):
    learning.evaluation.nulls.setChecked(False)
    training = tiny_training(learning, epochs=1)
    training.then_evaluate.setChecked(False)
    training.train()
    qtbot.wait(50)
    assert learning.evaluation.verdict.text() == ""
    training.then_evaluate.setChecked(True)
    training.train()
    qtbot.waitUntil(lambda: learning.evaluation.verdict.text() != "", timeout=60_000)
    assert learning.tabs.currentWidget() is learning.evaluation


def test_an_evaluation_is_saved_as_table_and_figure(learning, classifier, tmp_path):
    learning.state.classifier = classifier
    learning.evaluation.nulls.setChecked(False)
    assert learning.evaluation.save_table_button.parentWidget().isHidden()
    learning.evaluation.evaluate()
    assert not learning.evaluation.save_table_button.parentWidget().isHidden()
    learning.evaluation.save_table(tmp_path / "evaluation.csv")
    with (tmp_path / "evaluation.csv").open(newline="") as file:
        written = list(csv.DictReader(file))
    assert len(written) == len(learning.state.dataset)
    assert {"label", "predicted", "probability of treated", "counted"} <= set(written[0])
    for name in ("evaluation.png", "evaluation.svg"):
        learning.evaluation.save_figure(tmp_path / name)
        assert (tmp_path / name).stat().st_size > 5_000
    assert "probability of treated" in (tmp_path / "evaluation.svg").read_text()
    learning.evaluation.save_figure(tmp_path / "evaluation.txt")
    assert learning.message.kind == "error"


def test_after_training_the_locked_channels_are_told(learning, viewer):
    training = tiny_training(learning, epochs=1)
    tiny_iresnet(training)
    training.main.set_value("lock", "DAPI")
    training.train()
    assert state_of(viewer).classifier.locked_channels == ("DAPI",)
    assert training.outcome.text().startswith("DAPI is locked, as asked for.")
    assert "The second network gets" in training.outcome.text()
    assert "of the validation images right (balanced " in training.outcome.text()
    assert "had a say" not in training.outcome.text()
    training.network.setCurrentIndex(training.network.findData("cam_net"))
    training.main.set_value("lock", "auto")
    training.train()
    assert training.outcome.text() == ""


def test_the_dock_keeps_what_a_failing_fit_trained(learning, viewer, monkeypatch):
    def fail(*_args, **_further):
        raise InversionError("stage1.block1 did not converge")

    monkeypatch.setattr("napari_why.fitting.after_training.held_out_metrics", fail)
    training = tiny_training(learning, epochs=1)
    training.train()
    assert state_of(viewer).classifier.card["training"]["status"] == "done"
    assert "Left out: the metrics on the validation images" in training.outcome.text()
    assert "did not converge" in training.outcome.text()


def test_a_second_network_that_may_have_had_a_say_is_no_independent_one():
    card = {"second_network": {"network": "small_cnn", "validation_accuracy": 0.98}}
    told = describe_outcome(SimpleNamespace(card=card))
    assert "98 % of" in told.replace("98%", "98 %")
    assert "may have had a say in how counterfactuals change images" in told
    card["second_network"]["had_a_say_in_the_transport"] = False
    assert "had a say" not in describe_outcome(SimpleNamespace(card=card))


def test_what_a_fit_left_out_is_told():
    card = {"left_out": ["the second network", "how to transport 2 of 2 directions"]}
    told = describe_outcome(SimpleNamespace(card=card))
    assert told == "Left out: the second network; how to transport 2 of 2 directions."
    assert describe_outcome(SimpleNamespace(card={"left_out": []})) == ""
    assert describe_outcome(SimpleNamespace(card={})) == ""  # of version 0.1.0


def test_what_cannot_be_told_from_the_class_is_on_every_page(learning, classifier, dataset):
    plates = {"plate": list(dataset.table["label"]), "well": list(dataset.table["well"])}
    images = [dataset.image(row) for row in range(len(dataset))]
    split = list(dataset.table["split"])
    apart = Dataset.from_images(images, list(dataset.table["label"]), split=split, **plates)
    learning.state.dataset, learning.state.classifier = apart, classifier
    learning.evaluation.evaluate()
    pages = (learning.data.about, learning.training.about_data, learning.evaluation.verdict)
    for page in pages:
        assert page.text().startswith("Warning: each class has plates of its own")
    learning.state.classifier = replace(
        classifier, card={**classifier.card, "confounding": apart.confounding.to_dict()}
    )
    learning.prediction.predict()
    assert "each class has plates of its own" in learning.prediction.answer.text()


def test_what_a_training_said_of_the_images_stands_with_its_classifier(learning, classifier):
    learning.message.add("Plates alone tell the classes.")
    learning.message.add("Two wells hold the same pixels.")
    confounding = {"sentences": ["Plates alone tell the classes."]}
    learning.state.classifier = replace(
        classifier, card={**classifier.card, "confounding": confounding}
    )
    assert learning.message.text() == "Two wells hold the same pixels."


def test_what_a_training_finds_stands_below_its_curves_and_the_page_stays_as_high(
    qtbot, viewer, dataset, dock, monkeypatch
):
    """A message below the page would make it lower while one looks at the curves."""
    found = "In every image the first row is empty"
    find, go_on = threading.Event(), threading.Event()

    def fit(_dataset, *_names, on_event, cancelled, **_options):
        on_event(Started("training", 3))
        for word in ("first", "second"):
            on_event(EpochFinished(1, 3, {"train_loss": 1.0}, word))
        assert find.wait(60)
        on_event(Message(found, finding=True))
        assert go_on.wait(60)
        raise WhyError("the end of the test")

    learning = dock(ClassifierDock, viewer, run_in_thread)
    learning.state.dataset = dataset
    learning.become_page()
    training = learning.training
    qtbot.waitUntil(lambda: training.main is not None, timeout=60_000)
    monkeypatch.setattr("napari_why.fitting.fit", fit)
    learning.resize(NARROWEST, 600)
    learning.tabs.setCurrentWidget(training)
    with qtbot.waitExposed(learning):
        learning.show()
    training.train()
    qtbot.waitUntil(lambda: "Second: epoch" in training.status.text(), timeout=20_000)
    qtbot.wait(50)  # for the layout
    height = learning._area.height()
    find.set()
    qtbot.waitUntil(lambda: found in training.outcome.text(), timeout=20_000)
    qtbot.wait(50)
    assert learning._area.height() == height > 0
    column = training.column
    curves, outcome = column.indexOf(training._curve_place), column.indexOf(training.outcome)
    assert 0 <= curves < outcome
    assert (
        training.curves.mapTo(training, training.curves.rect().bottomLeft()).y()
        < training.outcome.y()
    )
    assert learning.message.text() == ""
    go_on.set()
    qtbot.waitUntil(lambda: learning.runner.state is JobState.IDLE, timeout=20_000)
    assert "the end of the test" in learning.message.text()
    assert found in training.outcome.text()


def test_each_viewer_has_its_own_classifier(learning, dock, classifier):
    elsewhere = ViewerModel()
    other = dock(AttributionDock, elsewhere)
    learning.state.classifier = classifier
    assert state_of(elsewhere).classifier is None
    assert "No classifier yet" in other.classifier_label.text()


def test_cancelled_training_keeps_the_best_network_so_far(qtbot, dock, viewer, dataset):
    widget = dock(ClassifierDock, viewer, run_in_thread)
    state_of(viewer).dataset = dataset
    widget.load_catalogue()
    qtbot.waitUntil(lambda: widget.training.main is not None, timeout=60_000)
    training = tiny_training(widget, epochs=10_000)
    training.button.click()
    assert training.button.text() == "Cancel"
    qtbot.waitUntil(lambda: bool(training.curves.epochs), timeout=60_000)
    with qtbot.waitSignal(widget.runner.ended, timeout=60_000):
        training.button.click()
        assert training.button.text() == "Cancelling..."
    assert widget.message.text() == "Cancelled; what was done is kept."
    assert state_of(viewer).classifier.card["training"]["status"] == "cancelled"


def test_failed_training_is_told_in_words_and_the_classifier_before_stays(learning, classifier):
    learning.state.classifier = classifier
    training = tiny_training(learning)
    training.network.setCurrentIndex(training.network.findData("iresnet"))
    training.network_form.set_value("blocks", "two")
    training.train()
    assert learning.message.kind == "error"
    assert "blocks" in learning.message.text()
    assert learning.state.classifier is classifier
    assert learning.runner.state is JobState.IDLE


def test_one_well_is_counted_in_the_singular():
    labels = ["a", "b", "b", "b"]
    scenes = simulate(4, size=24)
    images = [scenes.image(row) for row in range(4)]
    made = Dataset.from_images(images, labels, well=["A01", "A02", "A02", "A03"])
    assert count_images(made)[1] == [["a", "1 (1)"], ["b", "3 (2)"]]


def test_evaluation_shows_verdict_plots_and_wells(learning, classifier):
    learning.state.classifier = classifier
    learning.evaluation.evaluate()
    assert "that the network has not seen" in learning.evaluation.verdict.text()
    assert "labels without meaning" in learning.evaluation.verdict.text()
    assert learning.evaluation.by_group.rowCount() == 2
    distribution, confusion = learning.evaluation.plots.panels
    assert distribution.get_xlabel() == "probability of treated"
    shown = sum(patch.get_height() for patch in distribution.patches)
    assert shown == sum(int(text.get_text()) for text in confusion.texts) == 2


def test_predictions_and_images_are_linked_both_ways(qtbot, learning, classifier, dataset, viewer):
    page = learning.evaluation
    learning.state.classifier = classifier
    page.nulls.setChecked(False)
    page.evaluate()
    names = [page.images.text(row, 3) for row in range(page.images.rowCount())]
    assert sorted(names) == sorted(Path(path).name for path in dataset.table["path"])
    # the image that the viewer shows is the first of the data set
    (marked,) = page.images.chosen_rows()
    assert names[marked] == Path(dataset.table["path"].iloc[0]).name
    held_out = page.images.rowCount() - int((dataset.table["split"] == "train").sum())
    splits = [page.images.text(row, 4) for row in range(page.images.rowCount())]
    assert "train" not in splits[: splits.count("test")]
    assert held_out >= splits.count("test") > 0
    other = 0 if marked else 1
    page.images.clicked.emit(page.images.model().index(other, 0))
    assert page.opener.busy
    qtbot.waitUntil(lambda: not page.opener.busy)
    shown = LayerFacts.of(learning.state.image.layers()[0]).origin
    assert Path(shown).name == names[other]
    assert page.images.chosen_rows() == [other]
    viewer.layers.selection.active = viewer.layers[0]
    assert page.images.chosen_rows() == [marked]
    learning.state.dataset = dataset.split(seed=2, redraw=True)
    assert page.images.isHidden()


def test_work_that_follows_by_itself_leaves_what_was_said(learning, classifier):
    learning.state.classifier = classifier
    page = learning.evaluation
    page.nulls.setChecked(False)
    learning.message.tell("Two wells hold the same pixels.", "warning")
    page.evaluate_after_training()
    assert page.verdict.text()
    assert learning.message.text().startswith("Two wells hold the same pixels.")
    assert learning.message.kind == "warning"
    page.evaluate()
    assert "Two wells" not in learning.message.text()


def test_all_findings_of_a_job_are_said(learning):
    def work(*, on_event, cancelled):
        for text in ("one", "two", "one"):
            on_event(Message(text, finding=True))
        raise MismatchError("three")

    learning.run("Looking", work, lambda _result: None)
    assert learning.message.text() == "one\ntwo\nthree"
    assert learning.message.kind == "error"


def test_prediction_of_the_chosen_layers(learning, classifier, dataset):
    learning.state.classifier = classifier
    learning.prediction.predict()
    expected = classifier.predict(dataset.image(0))
    assert learning.prediction.answer.text().startswith(expected.label)


def test_what_a_classifier_is_to_be_doubted_for_stands_below_its_answer(learning, classifier):
    learning.state.classifier = replace(classifier, notes=("saved by an earlier version",))
    learning.prediction.predict()
    assert "Of the classifier: saved by an earlier version" in learning.prediction.answer.text()


def test_saving_and_loading(learning, classifier, tmp_path):
    learning.state.classifier = classifier
    learning.save_to(tmp_path / "model")
    assert "Saved as" in learning.message.text()
    learning.state.classifier = None
    learning.load_from(tmp_path / "model")
    assert learning.state.classifier.fingerprint == classifier.fingerprint


def test_loading_takes_the_device_of_the_preferences(learning, classifier, tmp_path, monkeypatch):
    saved = classifier.save(tmp_path / "model")
    monkeypatch.setattr(classifier_bar, "read_preferences", lambda: Preferences(device="cuda:99"))
    learning.load_from(saved)
    assert "device: found 'cuda:99'" in learning.message.text()


def test_figures_of_another_data_set_are_not_left_standing(learning, classifier, dataset):
    learning.state.classifier = classifier
    learning.evaluation.nulls.setChecked(False)
    learning.evaluation.evaluate()
    assert learning.evaluation.verdict.text()
    learning.state.dataset = dataset.split(seed=2, redraw=True)
    assert learning.evaluation.verdict.text() == ""
    assert learning.evaluation.plots.isHidden()


def test_a_dock_that_is_busy_says_so(qtbot, dock, viewer, classifier, tmp_path):
    widget = dock(ClassifierDock, viewer, run_in_thread)
    stop = threading.Event()
    widget.run("Waiting", lambda **_: stop.wait(20), lambda _: None)
    widget.state.classifier = classifier
    widget.save_to(tmp_path / "model")
    assert "wait for it or cancel it" in widget.message.text()
    with qtbot.waitSignal(widget.runner.ended, timeout=20_000):
        stop.set()
    assert not (tmp_path / "model").exists()


def test_what_is_no_classifier_is_refused_in_words(learning, tmp_path):
    learning.load_from(tmp_path)
    assert learning.message.kind == "error"
    assert str(tmp_path) in learning.message.text()


@pytest.fixture
def opening(dock):
    return dock(OpenDock, ViewerModel())


def test_opening_a_folder_shows_classes_and_splits(opening, tmp_path):
    from napari_why.simulation import simulate_to_folder

    simulate_to_folder(tmp_path, 16, size=24, wells=8)
    panel = opening.dataset
    panel.open_location(tmp_path)
    assert opening.state.dataset is None
    panel.use()
    header = [panel.summary.horizontalHeaderItem(c).text() for c in range(4)]
    assert header == ["images (wells)", "train", "validation", "test"]
    rows = [[panel.summary.text(row, c) for c in range(4)] for row in range(2)]
    assert [row[0] for row in rows] == ["diseased", "treated"]
    assert sum(int(cell.split(" (")[0]) for row in rows for cell in row[1:]) == 16
    assert "well stay in one split" in panel.about.text()
    assert opening.state.dataset.channels == ("DAPI", "TMRM")


def test_an_image_of_a_data_set_opens_as_layers_with_its_class_and_split_said(
    qtbot, opening, dataset
):
    opening.state.dataset = dataset
    opening.dataset.images.selectRow(3)
    opening.dataset.open_selected()
    qtbot.waitUntil(lambda: len(opening.viewer.layers) == 2, timeout=10_000)
    layer = opening.viewer.layers[1]
    channel = layer.metadata["napari_why"]["channel"]
    assert (layer.data == dataset.image(3).sel(c=channel).values).all()
    known = dataset.table.iloc[3]
    assert f"class {known['label']}, split {known['split']}" in opening.message.text()


def test_a_cancelled_data_set_does_not_take_the_place_of_the_one_before(opening, dataset):
    opening.state.dataset = dataset
    opening.runner.state_changed.connect(lambda _state: opening.runner.cancel())
    opening.dataset.open_simulated()
    assert opening.message.kind == "warning"
    assert opening.state.dataset is dataset


def test_widgets_are_read_before_the_work_begins(qtbot, dock, tmp_path):
    from napari_why.simulation import simulate_to_folder

    simulate_to_folder(tmp_path, 16, size=24, wells=8)
    widget = dock(OpenDock, ViewerModel(), run_in_thread)
    with qtbot.waitSignal(widget.runner.ended, timeout=60_000):
        widget.dataset.open_location(tmp_path)
    fields = widget.dataset.choices.channels
    for field, name in zip(fields, ("Nuclei", "Mito"), strict=True):
        field.setText(name)
    with qtbot.waitSignal(widget.runner.ended, timeout=60_000):
        widget.dataset.use()
        fields[0].setText("changed, meanwhile")
    assert widget.state.dataset.channels == ("Nuclei", "Mito")


def test_an_empty_folder_is_told_in_words(opening, tmp_path):
    opening.dataset.open_location(tmp_path)
    assert opening.message.kind == "error"
    assert str(tmp_path) in opening.message.text()


def test_files_show_their_channels_first_and_open_under_the_users_names(
    qtbot, opening, dataset, tmp_path
):
    from napari_why.images import write

    path = write(dataset.image(0), tmp_path / "field.ome.tif")
    opening.images.preview([path])
    assert opening.images.channel_names() == ["DAPI", "TMRM"]
    assert "32 y x 32 x, uint16" in opening.images.about.text()
    opening.images.channels.item(1, 0).setText("Mito")
    opening.images.open.click()
    qtbot.waitUntil(lambda: len(opening.viewer.layers) == 2, timeout=10_000)
    assert [layer.name.split()[-1] for layer in opening.viewer.layers] == ["DAPI", "Mito"]
    assert opening.viewer.layers[1].metadata["napari_why"]["channel"] == "Mito"


def test_a_truncated_file_is_told_in_words(opening, dataset, tmp_path):
    from napari_why.images import write

    path = write(dataset.image(0), tmp_path / "field.ome.tif")
    path.write_bytes(path.read_bytes()[:600])
    opening.images.preview([path])
    assert opening.message.kind == "error"
    assert "field.ome.tif" in opening.message.text()
    assert not opening.images.open.isEnabled()


def test_images_with_different_numbers_of_channels_are_not_mixed(dataset, tmp_path):
    from napari_why.images import write
    from napari_why.widgets.image_files import read_images

    both = write(dataset.image(0), tmp_path / "both.ome.tif")
    one = write(dataset.image(1).isel(c=[0]), tmp_path / "one.ome.tif")
    with pytest.raises(MismatchError, match="Found images with 1 and 2 channels"):
        read_images([both, one])
