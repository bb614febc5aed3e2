"""The dock that trains, evaluates, uses, exchanges, saves and loads a classifier, and most of its pages."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy import QtWidgets
from qtpy.QtCore import QTimer

from napari_why.core.errors import WhyError
from napari_why.core.torch_loading import import_torch
from napari_why.output.layer_metadata import image_name
from napari_why.output.snippets import copy_prediction
from napari_why.widgets.classifier_bar import ClassifierBar, list_doubts
from napari_why.widgets.copy_buttons import CopyButtons
from napari_why.widgets.dataset_panel import DatasetPanel
from napari_why.widgets.dock import Dock, Panel, as_sentence
from napari_why.widgets.evaluate_panel import EvaluatePanel
from napari_why.widgets.exchange_panel import ExchangePanel
from napari_why.widgets.generate_panel import GeneratePanel
from napari_why.widgets.job import Executor, JobState, RunButton, run_in_thread
from napari_why.widgets.layer_chooser import LayerChooser
from napari_why.widgets.tables import PlainLabel
from napari_why.widgets.train_panel import TrainPanel

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_why.model import Classifier, Prediction

# Steps of a bar of probability, for Qt's bars count in whole numbers: as fine as the three digits
# that stand on it.
WHOLE = 1000


class PredictPanel(Panel):
    """Layers, a Predict button and a bar of probability for each class."""

    def __init__(self, dock: Dock) -> None:
        super().__init__(dock)
        self._said_of_classifier: list[str] = []
        self._about_image: dict[str, Any] = {}
        self.copy_buttons = CopyButtons(dock.message)
        self.layers = dock.state.image
        self.chooser = LayerChooser(dock.viewer)
        self.button = RunButton("Predict", dock.runner)
        self.answer = PlainLabel()
        self.answer.setWordWrap(True)
        self.bars = ProbabilityBars()
        for widget in (self.chooser, self.button, self.answer, self.bars, self.copy_buttons):
            self.column.addWidget(widget)
        self.end_column()
        self.button.started.connect(self.predict)

    def show_classifier(self, classifier: "Classifier | None") -> None:
        """Ask for the channels of a classifier."""
        self.button.set_possible(
            classifier is not None, "" if classifier else "Train or load a classifier first"
        )
        self.answer.clear()
        self.copy_buttons.offer(None)
        self.bars.show_probabilities({})

    def predict(self) -> None:
        """Predict the class of the image that the chosen layers make."""
        classifier = self.dock.state.classifier
        if classifier is None:
            return
        # Here and not in the work, which runs beside the GUI thread, where no widget may be asked.
        try:
            choice = self.layers.choice()
        except WhyError as error:
            self.dock.message.tell_error(error)
            return

        def work(**_listeners: Any) -> "Prediction":
            from napari_why.model.familiarity import describe_confounding

            self._said_of_classifier = [
                *(f"Of the classifier: {note}" for note in classifier.notes),
                *(f"Of the training: {note}" for note in describe_confounding(classifier.card)),
            ]
            image = choice.read()
            self._about_image = dict(image.attrs)
            return classifier.predict(image)

        def show(prediction: "Prediction") -> None:
            about = self._about_image
            if classifier is not self.dock.state.classifier:
                return  # another was loaded meanwhile: its name stands above this page
            self._show(prediction)
            self.copy_buttons.offer(lambda: copy_prediction(classifier, about))

        self.dock.run("Predicting", work, show)

    def release(self) -> None:
        """Follow the viewer's layers no more."""
        self.chooser.release()

    def _show(self, prediction: "Prediction") -> None:
        probability = prediction.probabilities[prediction.label]
        # the image is named: another may be chosen above by the time that this is read
        image = image_name(str(self._about_image.get("source") or ""))
        whose = f"{image}: " if image else ""
        lines = [f"{whose}{prediction.label}, with probability {probability:.2f}."]
        lines.extend(map(as_sentence, prediction.notes))
        lines.extend(self._said_of_classifier)
        self.answer.setText("\n".join(lines))
        self.bars.show_probabilities(prediction.probabilities)


class ProbabilityBars(QtWidgets.QWidget):
    """One bar a class, full at probability 1."""

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._layout = QtWidgets.QFormLayout(self)
        self._layout.setContentsMargins(0, 0, 0, 0)

    def show_probabilities(self, probabilities: dict[str, float]) -> None:
        """Show a bar for each class."""
        # Classes differ from one classifier to the next, so that bars are made anew.
        while self._layout.rowCount():
            self._layout.removeRow(0)
        for name, probability in probabilities.items():
            bar = QtWidgets.QProgressBar()
            bar.setRange(0, WHOLE)
            bar.setValue(round(WHOLE * probability))
            bar.setFormat(f"{probability:.3f}")
            self._layout.addRow(PlainLabel(name), bar)


class ClassifierDock(Dock):
    """Data, training, evaluation, prediction, generated images and exchange, a page each.

    Parameters
    ----------
    napari_viewer : ViewerModel
    executor : Executor, optional
        Where the work runs; a worker thread by default.
    """

    def __init__(self, napari_viewer: "ViewerModel", executor: Executor = run_in_thread) -> None:
        super().__init__(napari_viewer, executor)
        self._loaded = False
        self.bar = ClassifierBar(self)
        self.data, self.training = DatasetPanel(self), TrainPanel(self)
        self.evaluation, self.prediction = EvaluatePanel(self), PredictPanel(self)
        self.generation = GeneratePanel(self)
        self.exchange = ExchangePanel(self, self.bar.may_replace)
        self.tabs = QtWidgets.QTabWidget()
        pages = {
            "Data": self.data,
            "Train": self.training,
            "Evaluate": self.evaluation,
            "Predict": self.prediction,
            "Generate": self.generation,
            "Exchange": self.exchange,
        }
        for title, page in pages.items():
            self.tabs.addTab(page, title)
        self._leave_room_beside_titles(0)
        self.column.addWidget(self.bar)
        self.column.addWidget(self.tabs)
        self.tabs.currentChanged.connect(lambda _index: self.load_catalogue())
        self.state.classifier_changed.connect(self.show_classifier)
        # in a turn of its own: the training's job has not ended yet
        self.training.trained.connect(lambda: QTimer.singleShot(0, self, self._evaluate))
        self.show_classifier(self.state.classifier)

    def _evaluate(self) -> None:
        if not self.is_shut_down and self.runner.state is JobState.IDLE:
            self.tabs.setCurrentWidget(self.evaluation)
            self.evaluation.evaluate_after_training()

    def become_page(self) -> None:
        """Leave out the classifier and the data, which the dock around this page shows."""
        super().become_page()
        for part in (self.bar, self.data, self.prediction.chooser, self.generation.chooser):
            part.release()
        for widget in (self.bar, self.prediction.chooser, self.generation.chooser):
            widget.hide()
        self.tabs.removeTab(self.tabs.indexOf(self.data))
        self._leave_room_beside_titles(2)
        self.load_catalogue()

    def _leave_room_beside_titles(self, pixels: int) -> None:
        """Set the room on both sides: with that of napari's theme the last title would be cut off."""
        bar = self.tabs.tabBar()
        if bar is not None:
            bar.setStyleSheet(f"QTabBar::tab {{ padding: 3px {pixels}px; }}")

    def load_catalogue(self) -> None:
        """Import what a page needs, beside the viewer, the first time that it asks for it."""
        if self.tabs.currentWidget() is self.exchange:
            self.exchange.load_catalogue()
        if not self._loaded:
            # Before it is loaded: a second page that is opened meanwhile must not ask again.
            self._loaded = True
            self.load(import_training, lambda found: self.training.show_catalogue(*found))
            self.generation.load_catalogue()

    def start_of_result(self, pressed: QtWidgets.QWidget) -> QtWidgets.QWidget:
        """Return what says what was trained to make images, which stands above its training."""
        trains = pressed is self.generation.training.button
        return self.generation.maker if trains else super().start_of_result(pressed)

    def show_classifier(self, classifier: "Classifier | None") -> None:
        """Show which classifier is in use."""
        self.training.show_classifier(classifier)
        self.evaluation.show_classifier(classifier)
        self.prediction.show_classifier(classifier)
        self.generation.show_classifier(classifier)
        self.exchange.show_classifier(classifier)
        if classifier is not None:
            # what its training said below the page stands with the classifier now, on top of every page
            self.message.drop(list_doubts(classifier))

    def settings(self) -> dict[str, Any]:
        """Return what the forms say, JSON types, for a saved session."""
        further = {
            "generation": self.generation.settings(),
            "exchange": self.exchange.settings(),
        }
        return {
            "training": self.training.settings(),
            **{name: said for name, said in further.items() if said},
        }

    def restore_settings(self, values: Mapping[str, Any]) -> None:
        """Say again what :meth:`settings` returned."""
        if isinstance(training := values.get("training"), Mapping):
            self.training.restore_settings(training)
        if isinstance(generation := values.get("generation"), Mapping):
            self.generation.restore_settings(generation)
        if isinstance(exchange := values.get("exchange"), Mapping):
            self.exchange.restore_settings(exchange)

    def save_to(self, path: Path) -> None:
        """Save the classifier; an existing one there is replaced, whole or not at all."""
        self.bar.save_to(path)

    def load_from(self, path: Path) -> None:
        """Load a classifier and share it with the other docks."""
        self.bar.load_from(path)

    def shut_down(self) -> None:
        """Stop what runs, and follow the shared state no more."""
        super().shut_down()
        # A dock may be closed and then deleted, each of which shuts it down.
        self.state.classifier_changed.disconnect(self.show_classifier, missing_ok=True)
        self.bar.release()
        pages = (self.data, self.training, self.evaluation, self.prediction)
        for page in (*pages, self.generation, self.exchange):
            page.release()


def import_training() -> tuple[Any, Any]:
    """Import what training and its curves need; seconds, the first time."""
    import_torch()
    from napari_why.fitting import FitOptions
    from napari_why.networks import NETWORKS
    from napari_why.widgets.plot import draw_once

    draw_once()
    return NETWORKS.complete(), FitOptions
