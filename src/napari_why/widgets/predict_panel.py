"""What the classifier says about the chosen layers."""

from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QFormLayout, QLabel, QProgressBar, QWidget

from napari_why.core.errors import WhyError
from napari_why.output.raw_layers import image_from_layers
from napari_why.widgets.dock import Dock
from napari_why.widgets.layer_chooser import LayerChooser
from napari_why.widgets.messages import as_sentence
from napari_why.widgets.panel import Panel
from napari_why.widgets.run_button import RunButton

if TYPE_CHECKING:
    from napari_why.model import Classifier, Prediction

WHOLE = 1000


class PredictPanel(Panel):
    """Layers, a Predict button and a bar of probability for each class."""

    def __init__(self, dock: Dock) -> None:
        super().__init__(dock)
        self.layers = LayerChooser(dock.viewer)
        self.button = RunButton("Predict", dock.runner)
        self.answer = QLabel()
        self.answer.setWordWrap(True)
        self.bars = ProbabilityBars()
        for widget in (self.layers, self.button, self.answer, self.bars):
            self.column.addWidget(widget)
        self.end_column()
        self.button.asked.connect(self.predict)

    def show_classifier(self, classifier: "Classifier | None") -> None:
        """Ask for the channels of a classifier."""
        self.layers.set_channels(classifier.channels if classifier else ())
        self.button.set_possible(
            classifier is not None, "" if classifier else "Train or load a classifier first"
        )
        self.answer.clear()
        self.bars.show_probabilities({})

    def predict(self) -> None:
        """Predict the class of the image that the chosen layers make."""
        classifier = self.dock.state.classifier
        if classifier is None:
            return
        try:
            layers, plane = self.layers.layers(), self.layers.plane()
        except WhyError as error:
            self.dock.message.tell_error(error)
            return
        channels = self.layers.channels

        def work(**_listeners: Any) -> "Prediction":
            return classifier.predict(image_from_layers(layers, channels, plane))

        self.dock.run("Predicting", work, self._show)

    def release(self) -> None:
        """Follow the viewer's layers no more."""
        self.layers.release()

    def _show(self, prediction: "Prediction") -> None:
        probability = prediction.probabilities[prediction.label]
        lines = [f"{prediction.label}, with probability {probability:.2f}."]
        lines.extend(map(as_sentence, prediction.notes))
        self.answer.setText("\n".join(lines))
        self.bars.show_probabilities(prediction.probabilities)


class ProbabilityBars(QWidget):
    """One bar a class, full at probability 1."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._layout = QFormLayout(self)
        self._layout.setContentsMargins(0, 0, 0, 0)

    def show_probabilities(self, probabilities: dict[str, float]) -> None:
        """Show a bar for each class."""
        while self._layout.rowCount():
            self._layout.removeRow(0)
        for name, probability in probabilities.items():
            bar = QProgressBar()
            bar.setRange(0, WHOLE)
            bar.setValue(round(WHOLE * probability))
            bar.setFormat(f"{probability:.3f}")
            self._layout.addRow(QLabel(name), bar)
