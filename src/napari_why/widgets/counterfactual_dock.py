"""The dock that shows what would have to change."""

from html import escape
from typing import TYPE_CHECKING, Any

from napari.layers import Image
from qtpy.QtWidgets import (
    QCheckBox,
    QDoubleSpinBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QVBoxLayout,
    QWidget,
)

from napari_why.core.errors import ParameterError, WhyError
from napari_why.core.torch_loading import load_torch_libraries
from napari_why.output.layer_metadata import LayerFacts
from napari_why.widgets.dock import as_sentence
from napari_why.widgets.explained import Explained
from napari_why.widgets.explaining_dock import ExplainingDock
from napari_why.widgets.export_panel import ExportPanel
from napari_why.widgets.job import Executor, run_in_thread
from napari_why.widgets.measure_panel import MeasurePanel
from napari_why.widgets.parameter_form import ParameterForm
from napari_why.widgets.series_link import SeriesLink

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_why.counterfactuals import Counterfactual
    from napari_why.model import Classifier

FIRST_METHOD = "transport"


class CounterfactualDock(ExplainingDock):
    """What would have to change for the image to be called another class.

    Parameters
    ----------
    napari_viewer : ViewerModel
    executor : Executor, optional
        Where the work runs; a worker thread by default.
    """

    def __init__(self, napari_viewer: "ViewerModel", executor: Executor = run_in_thread) -> None:
        self._path_form: ParameterForm | None = None
        self.alphas = AlphaRange()
        self._path_place = QVBoxLayout()
        self._curve_place = QVBoxLayout()
        self.curve: Any = None
        self.link: SeriesLink | None = None
        super().__init__(napari_viewer, "Make the series", "the other class", executor)
        self.heading("Path")
        self.column.addLayout(self._path_place)
        self.column.addWidget(self.alphas)
        self.finish_layout()
        self.measuring, self.saving = MeasurePanel(self), ExportPanel(self)
        end = self.column.count() - 1
        self.column.insertLayout(end, self._curve_place)
        self.column.insertWidget(end + 1, self.measuring)
        self.column.insertWidget(end + 2, self.saving)

    def catalogue(self) -> Any:
        """Import the counterfactual methods."""
        load_torch_libraries()
        from napari_why.counterfactuals import METHODS, CounterfactualOptions

        return METHODS, CounterfactualOptions

    def offer_methods(self, classifier: "Classifier", catalogue: Any) -> None:
        """Offer the counterfactual methods; each says which networks it needs."""
        methods, options = catalogue
        network = classifier.network
        reason = ""
        if all(method.unsuitable(network) for method in methods.values()):
            reason = f"A {network.name} makes no images; train an iresnet, or a vae as a baseline."
            self.message.tell(reason, "warning")
        self.method.set_methods(methods, lambda method: method.unsuitable(network), FIRST_METHOD)
        self.button.set_possible(not reason, reason)
        if self._path_form is None:
            self._path_form = ParameterForm(options)
            self._path_place.addWidget(self._path_form)

    @property
    def path_form(self) -> ParameterForm:
        """The form of steps and what else every method takes; there once a classifier is."""
        if self._path_form is None:
            raise LookupError("there is no classifier yet")
        return self._path_form

    def explain(self) -> None:
        """Make the series of images and show it along a slider."""
        method, target = self.method.name, self.target.target
        try:
            parameters = {**self.path_form.values(), **self.method.form.values()}
            alpha_range = self.alphas.value()
        except WhyError as error:
            self.message.tell_error(error)
            return

        def compute(classifier: "Classifier", image: Any, **listeners: Any) -> "Counterfactual":
            from napari_why.counterfactuals import counterfactual

            return counterfactual(
                classifier,
                image,
                target,
                method,
                alpha_range=alpha_range,
                **listeners,
                **parameters,
            )

        self.explain_with(
            self.method.title,
            compute,
            lambda result, layers: self.show_result(result, layers, self.explained),
        )

    def show_result(
        self, result: "Counterfactual", layers: list[Image], about: Explained | None = None
    ) -> None:
        """Add the layers of a counterfactual and tie them to slider, text and curve.

        For the console too: ``dock.show_result(result, why.to_layers(result, raw))``; it can be
        measured and saved here if ``about`` says what it is about.
        """
        verdict = LayerFacts.of(layers[0]).verdict
        self.result_label.setText(f"<b>{escape(verdict)}</b><br>{escape(summary_of(result))}")
        self.measuring.show_result(result, about)
        self.saving.show_result(result, about)
        self._release_link()
        curve = self._curve()
        curve.show_counterfactual(result)
        self.add_layers([*layers], lambda: self._tie(result, layers))

    def _tie(self, result: "Counterfactual", layers: list[Image]) -> None:
        series = [layer for layer in layers if LayerFacts.of(layer).is_series]
        self.link = SeriesLink(self.viewer, series, result, self.curve.mark)
        self.link.go_to(float(result.alphas[0]))

    def _curve(self) -> Any:
        if self.curve is None:
            from napari_why.widgets.probability_curve import ProbabilityCurve

            self.curve = ProbabilityCurve(self.viewer)
            self.curve.clicked.connect(self._clicked)
            self._curve_place.addWidget(self.curve)
        return self.curve

    def _clicked(self, alpha: float) -> None:
        if self.link is not None:
            self.link.go_to(alpha)

    def _release_link(self) -> None:
        if self.link is not None:
            self.link.release()
            self.link = None

    def shut_down(self) -> None:
        """Stop what runs and follow the viewer no more."""
        super().shut_down()
        self._release_link()
        self.measuring.release()
        if self.curve is not None:
            self.curve.release()


class AlphaRange(QWidget):
    """First and last alpha; by default from the image to where the change convinces."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.automatic = QCheckBox("from 0 until the change convinces", self)
        self.first, self.last = _alpha_box(0.0), _alpha_box(1.0)
        row = QHBoxLayout()
        row.addWidget(self.first)
        row.addWidget(QLabel("to"))
        row.addWidget(self.last)
        layout = QFormLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addRow(self.automatic)
        layout.addRow("alpha", row)
        self.automatic.toggled.connect(self.first.setDisabled)
        self.automatic.toggled.connect(self.last.setDisabled)
        self.automatic.setChecked(True)

    def value(self) -> tuple[float, float] | None:
        """Return first and last alpha, None where they are left to the method.

        Raises
        ------
        ParameterError
            The range is empty.
        """
        if self.automatic.isChecked():
            return None
        first, last = float(self.first.value()), float(self.last.value())
        if first >= last:
            raise ParameterError(
                f"alpha: found {first:g} to {last:g}; expected the first to be the smaller"
            )
        return (first, last)


def _alpha_box(value: float) -> QDoubleSpinBox:
    box = QDoubleSpinBox()
    box.setRange(-100, 100)
    box.setSingleStep(0.1)
    box.setValue(value)
    return box


def summary_of(result: "Counterfactual") -> str:
    """Say in words where the class changes and how far the series is to be trusted."""
    target = result.classes.index(result.target)
    first, last = result.probabilities[0, target], result.probabilities[-1, target]
    lines = [
        f"From {result.source_class} to {result.target}: its probability goes from {first:.2f} to "
        f"{last:.2f}."
    ]
    boundary = result.special_alphas.get("boundary")
    lines.append(
        "The class does not change on this path."
        if boundary is None
        else f"The class changes at alpha {boundary:.2f}."
    )
    lines.extend(map(as_sentence, result.notes))
    return " ".join(lines)
