"""Mean maps of classes over a data set, as layers, as a figure and in words."""

from typing import TYPE_CHECKING, Any

from matplotlib.backends.backend_qtagg import FigureCanvasQTAgg
from qtpy.QtWidgets import QVBoxLayout
from superqt import QCollapsible

from napari_why.core.errors import WhyError
from napari_why.output.layers import to_layers
from napari_why.widgets.dock import Panel, as_sentence
from napari_why.widgets.job import RunButton
from napari_why.widgets.parameter_form import MethodChooser, ParameterForm
from napari_why.widgets.tables import PlainLabel

if TYPE_CHECKING:
    from napari_why.core.registry import Method
    from napari_why.evaluation import ClassMaps
    from napari_why.widgets.attribution_dock import AttributionDock

# Fast, complete and without a layer to choose, so that maps of thousands of images can be averaged.
FIRST_METHOD = "integrated_gradients"
# Of the figure's own pixels in a dock's width: titles stay readable, and a panel is a thumbnail.
FIGURE_DPI = 60


class ClassMapsPanel(Panel):
    """Average the maps of every class of the data set in use.

    Parameters
    ----------
    dock : AttributionDock
    """

    def __init__(self, dock: "AttributionDock") -> None:
        super().__init__(dock)
        about = PlainLabel(
            "What the classifier sees in a whole class: maps of every image of the data set in use, "
            "made comparable and averaged over wells."
        )
        self.about_data = PlainLabel()
        self.method = MethodChooser()
        self.form: ParameterForm | None = None
        self._form_place = QVBoxLayout()
        self._further = QCollapsible("Method and its parameters")
        self._further.addWidget(self.method)
        self.button = RunButton("Average the maps", dock.runner)
        self.notes = PlainLabel()
        self.canvas: FigureCanvasQTAgg | None = None
        self._canvas_place = QVBoxLayout()
        for label in (about, self.about_data, self.notes):
            label.setWordWrap(True)
        self.column.addWidget(about)
        self.column.addWidget(self.about_data)
        self.column.addLayout(self._form_place)
        self.column.addWidget(self._further)
        self.column.addWidget(self.button)
        self.column.addWidget(self.notes)
        self.column.addLayout(self._canvas_place)
        self.end_column()
        self.button.started.connect(self.average)
        self.show_dataset(dock.state.dataset)

    def offer_methods(self, methods: Any, unsuitable: Any, options: Any) -> None:
        """Offer methods, and the options of class maps (the class that declares them)."""
        # what needs one's own answer for every image, such as its regions, cannot be averaged
        alike: dict[str, Method] = {
            name: method for name, method in methods.items() if not method.takes("regions")
        }
        self.method.set_methods(alike, unsuitable, FIRST_METHOD)
        if self.form is None:
            self.form = ParameterForm(options)
            self._form_place.addWidget(self.form)
        self.show_dataset(self.dock.state.dataset)

    def show_dataset(self, dataset: Any) -> None:
        """Say of how many images the maps will be."""
        ready = dataset is not None and self.form is not None
        self.button.set_possible(
            bool(ready), "" if ready else "Open a data set and a classifier in the Classifier dock"
        )
        self.about_data.setText(
            "No data set yet: open one in the Classifier dock."
            if dataset is None
            else f"{len(dataset)} images of {', '.join(dataset.classes)}."
        )

    def average(self) -> None:
        """Explain every image beside the viewer, then show the means."""
        state = self.dock.state
        classifier, dataset, method = state.classifier, state.dataset, self.method.name
        if classifier is None or dataset is None or self.form is None:
            return
        try:
            options, parameters = self.form.values(), self.method.form.values()
        except WhyError as error:
            self.dock.message.tell_error(error)
            return

        def work(**listeners: Any) -> "ClassMaps":
            from napari_why.evaluation import class_maps

            return class_maps(
                classifier, dataset, method, options=options, **listeners, **parameters
            )

        self.dock.run("Class maps", work, self.show_maps)

    def show_maps(self, result: "ClassMaps") -> None:
        """Put mean maps into the viewer, the figure and what is to be said of them into the dock."""
        from napari_why.output.figures import class_maps_figure

        self.notes.setText("\n".join(map(as_sentence, result.notes)))
        if self.canvas is not None:
            self._canvas_place.removeWidget(self.canvas)
            self.canvas.deleteLater()
            self.canvas = None
        if result.maps or result.similarity is not None:
            figure = class_maps_figure(result)
            figure.set_dpi(FIGURE_DPI)
            self.canvas = FigureCanvasQTAgg(figure)
            width, height = figure.get_size_inches()
            self.canvas.setFixedHeight(int(self.width() * height / width))
            self._canvas_place.addWidget(self.canvas)
        self.dock.add_layers(to_layers(result))
