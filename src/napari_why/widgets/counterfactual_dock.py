"""The dock that shows what would have to change, with the curve of probabilities along alpha."""

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.backend_bases import MouseEvent
from qtpy.QtCore import Signal

from napari_why.widgets.plot import COLOURS, Plot

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_why.counterfactuals.result import Counterfactual

from collections.abc import Callable, Mapping
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy import QtWidgets

from napari_why.core.errors import ParameterError
from napari_why.core.torch_loading import import_torch
from napari_why.sessions import CounterfactualSession
from napari_why.widgets.compare_window import ResultActions
from napari_why.widgets.dock import Panel, as_sentence, read_preferences
from napari_why.widgets.explaining_dock import ExplainingDock
from napari_why.widgets.job import Executor, run_in_thread
from napari_why.widgets.measure_panel import MeasurePanel
from napari_why.widgets.parameter_form import ParameterForm
from napari_why.widgets.session_buttons import form_settings, restore_form
from napari_why.widgets.tables import PlainLabel

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_why.counterfactuals import Counterfactual
    from napari_why.model import Classifier
    from napari_why.sessions.alpha_slider import AlphaSlider


class ProbabilityCurve(Plot):
    """Curves of probability over alpha with a line at the alpha that the viewer shows.

    Attributes
    ----------
    clicked : Signal(float)
        The alpha that the user clicked at.
    """

    clicked = Signal(float)

    def __init__(self, viewer: "ViewerModel") -> None:
        # Pixels: higher reads more finely, lower leaves more of the panels below in sight.
        super().__init__(viewer, height=210)
        self._line: Any = None
        self.mpl_connect("button_press_event", self._pressed)

    def show_counterfactual(self, counterfactual: "Counterfactual") -> None:
        """Draw the curves of a counterfactual."""
        axes = self.panels[0]
        axes.clear()
        alphas = counterfactual.alphas
        for index, name in enumerate(counterfactual.classes):
            axes.plot(
                alphas,
                counterfactual.probabilities[:, index],
                marker="o",
                ms=3,
                color=COLOURS[index % len(COLOURS)],
                label=name,
                lw=2 if name == counterfactual.target else 1,
            )
        # with two classes the prediction changes where they cross this line
        axes.axhline(0.5, color="grey", lw=0.8, ls=":")
        boundary = counterfactual.special_alphas.get("boundary")
        # a range that was chosen by hand may leave the boundary out
        if boundary is not None and alphas[0] <= boundary <= alphas[-1]:
            axes.axvline(boundary, color="grey", lw=0.8, ls="--")
            axes.annotate(
                "boundary", (boundary, 0.03), fontsize=8, color="grey", rotation=90, ha="right"
            )
        # red: none of the colours of the classes
        self._line = axes.axvline(float(alphas[0]), color="#ff5555", lw=1.5)
        # a little beyond 0 and 1, where most markers lie: at the edge they would be cut in half
        axes.set_ylim(-0.03, 1.03)
        axes.set_xlabel("alpha")
        axes.set_ylabel("probability")
        self.legend_above(axes)
        self.redraw()

    def mark(self, alpha: float) -> None:
        """Move the line to the alpha that the viewer shows."""
        if self._line is not None:
            self._line.set_xdata([alpha, alpha])
            self.draw_idle()  # when Qt has time: the slider may run through many steps a second

    @property
    def marked(self) -> float | None:
        """The alpha that the line stands at."""
        return None if self._line is None else float(np.asarray(self._line.get_xdata())[0])

    def _pressed(self, event: MouseEvent) -> None:
        if event.inaxes is not None and event.xdata is not None:
            self.clicked.emit(float(event.xdata))


class CounterfactualDock(ExplainingDock):
    """What would have to change for the image to be predicted as another class.

    Parameters
    ----------
    napari_viewer : ViewerModel
    executor : Executor, optional
        Where the work runs; a worker thread by default.
    """

    session: CounterfactualSession
    verb = "Make the series"
    automatic_class = "the other class"

    def __init__(self, napari_viewer: "ViewerModel", executor: Executor = run_in_thread) -> None:
        # before the base makes the session and asks for methods, which fill these places
        self._path_form: ParameterForm | None = None
        self.alphas = AlphaRange()
        self._path_place = QtWidgets.QVBoxLayout()
        self._curve_place = QtWidgets.QVBoxLayout()
        self.curve: Any = None
        self.remarks = PlainLabel()
        self.remarks.setWordWrap(True)
        self._catalogue: Any = None
        self.generators = GeneratorChooser(self)
        super().__init__(napari_viewer, executor)
        # first, as the classifier is whose images it makes
        self.column.insertWidget(0, self.generators)
        self.heading("Path")
        self.column.addLayout(self._path_place)
        self.column.addWidget(self.alphas)
        self.finish_layout()
        self.measuring, self.saving = MeasurePanel(self, self.session), ExportPanel(self)
        # above the stretch that ends the column
        end = self.column.count() - 1
        self.result_actions = ResultActions(self)
        self.column.insertWidget(end, self.result_actions)
        self.column.insertLayout(end + 1, self._curve_place)
        # what is to be known before believing it may be long: above the curve it would push that out of sight
        self.column.insertWidget(end + 2, self.remarks)
        self.column.insertWidget(end + 3, self.measuring)
        self.column.insertWidget(end + 4, self.saving)

    def make_session(self) -> CounterfactualSession:
        """Return the session that this dock shows."""
        return CounterfactualSession(self.viewer, host=self)

    def catalogue(self) -> Any:
        """Import the counterfactual methods."""
        import_torch()
        from napari_why.counterfactuals import METHODS, CounterfactualOptions

        return METHODS.complete(), CounterfactualOptions

    def offer_methods(self, classifier: "Classifier", catalogue: Any) -> None:
        """Offer the counterfactual methods; each says which networks it needs."""
        methods, options = self._catalogue = catalogue
        maker = self.session.maker_for(classifier)
        network = maker.network
        self.generators.show_generator(classifier, network.name)
        reason = ""
        if all(method.unsuitable(network) for method in methods.values()):
            reason = (
                f"A {network.name} makes no images; train an iresnet, or a vae as a baseline; or choose "
                "such a classifier as the generator."
            )
            self.message.tell(reason, "warning")
        self.method.set_methods(
            methods,
            lambda method: method.unsuitable(network) or method.missing(maker),
            self.session.first_method,
        )
        self.button.set_possible(not reason, reason)
        # made once: what the user has set there outlives a change of classifier
        if self._path_form is None:
            self._path_form = ParameterForm(options)
            self._path_place.addWidget(self._path_form)

    def choose_generator(self, path: str | Path | None) -> None:
        """Let the network of a saved classifier make the images; None: the classifier's own."""

        def use(generator: "Classifier | None") -> None:
            self.session.generator = generator
            if self.state.classifier is not None and self._catalogue is not None:
                self._offer(self.state.classifier, self._catalogue)

        def work(**_listeners: Any) -> "Classifier":
            from napari_why.model import load

            return load(str(path))

        if path is None:
            use(None)
        else:
            self.run("Loading the generator", work, use)

    @property
    def path_form(self) -> ParameterForm:
        """The form of steps and what else every method takes; there once a classifier is."""
        if self._path_form is None:
            raise LookupError("there is no classifier yet")
        return self._path_form

    @property
    def link(self) -> "AlphaSlider | None":
        """What ties the series to the viewer's slider; None as long as no series is there."""
        return self.session.slider

    def options(self) -> dict[str, Any]:
        """Return steps and range of alpha, and what the method takes."""
        return {
            **self.path_form.values(),
            **super().options(),
            "alpha_range": self.alphas.value(),
        }

    def settings(self) -> dict[str, Any]:
        """Return what the forms say, JSON types, for a saved session."""
        path = {} if self._path_form is None else form_settings(self._path_form)
        return {**super().settings(), "path": path}

    def restore_methods(self, values: Mapping[str, Any]) -> None:
        """Say again what depends on the methods that are offered, and the path."""
        super().restore_methods(values)
        if self._path_form is not None:
            restore_form(self._path_form, values.get("path"))

    def show_result(self, result: "Counterfactual") -> None:
        """Say in words what the series shows, draw its probabilities, offer to measure and save."""
        verdict = escape(self.session.verdict)
        self.result_label.show_markup(f"<b>{verdict}</b><br>{escape(summary_of(result))}")
        self.remarks.setText("\n".join(map(as_sentence, result.notes)))
        if self.curve is None:
            # matplotlib takes its time to import; a dock is opened without it

            self.curve = ProbabilityCurve(self.viewer)
            self.curve.clicked.connect(self.session.step)
            self.session.alpha_changed.connect(self.curve.mark)
            self._curve_place.addWidget(self.curve)
        self.curve.show_counterfactual(result)
        self.measuring.show_result(result)
        self.saving.show_result(result)
        self.result_actions.show_result()

    def shut_down(self) -> None:
        """Stop what runs and follow the viewer no more."""
        super().shut_down()
        self.result_actions.release()
        if self.curve is not None:
            self.curve.release()


class GeneratorChooser(QtWidgets.QWidget):
    """Says whose network makes the images, with buttons to take another's or the classifier's own."""

    def __init__(self, dock: CounterfactualDock) -> None:
        super().__init__()  # the dock, which is not yet made, takes it into its column
        self.label = PlainLabel()
        self.label.setWordWrap(True)
        self.choose = QtWidgets.QPushButton("Generator...")
        self.choose.setToolTip(
            "A saved classifier, such as an iresnet, whose network makes the images; the classifier in "
            "use is asked about them."
        )
        self.own = QtWidgets.QPushButton("Own")
        self.own.setToolTip(
            "The generator that was trained with the classifier, or its own network."
        )
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.label, 1)
        row.addWidget(self.choose)
        row.addWidget(self.own)
        self._dock = dock
        self.choose.clicked.connect(self._ask)
        self.own.clicked.connect(lambda: dock.choose_generator(None))
        self.own.hide()

    def show_generator(self, classifier: "Classifier", maker: str) -> None:
        """Say in words which network makes the images.

        Parameters
        ----------
        classifier : Classifier
            That is explained.
        maker : str
            Name of the network that makes the images.
        """
        chosen = self._dock.session.generator is not None
        by = f"the chosen generator ({maker})" if chosen else f"its generator ({maker})"
        itself = not chosen and classifier.generator is None
        self.label.setText(f"Images are made by {'its own network' if itself else by}.")
        self.own.setVisible(chosen)

    def _ask(self) -> None:
        name = QtWidgets.QFileDialog.getExistingDirectory(
            self, "Folder of a saved classifier", str(read_preferences().models)
        )
        if name:
            self._dock.choose_generator(name)


class AlphaRange(QtWidgets.QWidget):
    """First and last alpha; by default from the image to the counterfactual at alpha1."""

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self.automatic = QtWidgets.QCheckBox("from 0 to the complete change", self)
        self.first, self.last = _alpha_box(0.0), _alpha_box(1.0)
        row = QtWidgets.QHBoxLayout()
        row.addWidget(self.first)
        row.addWidget(PlainLabel("to"))
        row.addWidget(self.last)
        layout = QtWidgets.QFormLayout(self)
        # two boxes beside their label would be wider than a dock
        layout.setRowWrapPolicy(QtWidgets.QFormLayout.RowWrapPolicy.WrapAllRows)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addRow(self.automatic)
        layout.addRow("strength of the change", row)
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


def _alpha_box(value: float) -> QtWidgets.QDoubleSpinBox:
    box = QtWidgets.QDoubleSpinBox()
    # Alpha 1 is a method's full displacement or near it; the range only keeps slips of the hand out.
    box.setRange(-100, 100)
    # a step of the default series of eleven from 0 to 1
    box.setSingleStep(0.1)
    box.setValue(value)
    return box


def summary_of(result: "Counterfactual") -> str:
    """Say in words where the class changes."""
    target = result.classes.index(result.target)
    first, last = result.probabilities[0, target], result.probabilities[-1, target]
    lines = [
        f"From {result.source_class} to {result.target}: its probability goes from {first:.2f} to "
        f"{last:.2f}."
    ]
    boundary, complete = result.special_alphas.get("boundary"), result.circumstances.full_alpha
    if boundary is None:
        lines.append("The class does not change on this path.")
    else:
        beyond = complete is not None and boundary > complete
        where = ", beyond the complete change" if beyond else ""
        lines.append(f"The class changes at alpha {boundary:.2f}{where}.")
    if result.samples is not None:
        lines.append(f"At alpha1 the slider draw shows all {len(result.samples)} draws.")
    return " ".join(lines)


class ExportPanel(Panel):
    """Buttons that write the counterfactual; hidden until there is one."""

    dock: CounterfactualDock

    def __init__(self, dock: CounterfactualDock) -> None:
        super().__init__(dock)
        self.column.setContentsMargins(0, 0, 0, 0)
        self.column.addWidget(PlainLabel("Save", bold=True))
        row = QtWidgets.QHBoxLayout()
        self.samples = QtWidgets.QPushButton("Draws...")
        self.samples.clicked.connect(
            self._ask_for_path("draws.ome.tif", "OME-TIFF (*.ome.tif)", self.save_samples)
        )
        for text, name, kinds, save in (
            ("Series...", "series.ome.tif", "OME-TIFF (*.ome.tif)", self.save_series),
            ("Animation...", "series.mp4", "MP4 (*.mp4);;GIF (*.gif)", self.save_animation),
            ("Figure...", "figure.png", "PNG (*.png);;SVG (*.svg)", self.save_figure),
        ):
            button = QtWidgets.QPushButton(text)
            button.clicked.connect(self._ask_for_path(name, kinds, save))
            row.addWidget(button)
        row.addWidget(self.samples)
        self.column.addLayout(row)
        self.hide()

    def show_result(self, result: "Counterfactual") -> None:
        """Offer to save; draws where there are some."""
        self.samples.setVisible(result.samples is not None)
        self.show()

    def save_series(self, path: str | Path) -> None:
        """Write the series as OME-TIFF."""
        self._save("Writing the series", path, self.dock.session.save_series)

    def save_samples(self, path: str | Path) -> None:
        """Write the draws as OME-TIFF."""
        self._save("Writing the draws", path, self.dock.session.save_samples)

    def save_animation(self, path: str | Path) -> None:
        """Write the series as MP4 or GIF."""
        self._save("Drawing the animation", path, self.dock.session.save_animation)

    def save_figure(self, path: str | Path) -> None:
        """Write before, after, change and probability as PNG or SVG."""
        self._save("Drawing the figure", path, self.dock.session.save_figure)

    def _save(self, title: str, path: str | Path, save: Callable[[str | Path], Path]) -> None:
        def tell(written: Path) -> None:
            self.dock.message.tell(f"Written: {written}")

        if self.dock.session.result is not None:
            self.dock.run(title, lambda **_listeners: save(path), tell)

    def _ask_for_path(
        self, name: str, kinds: str, save: Callable[[str], None]
    ) -> Callable[[], None]:
        def ask() -> None:
            path, _ = QtWidgets.QFileDialog.getSaveFileName(self, "Save", name, kinds)
            if path:
                save(path)

        return ask
