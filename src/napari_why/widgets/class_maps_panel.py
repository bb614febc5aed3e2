"""Mean maps of classes over a data set, as layers, as a figure and in words."""

from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QPushButton, QVBoxLayout
from superqt import QCollapsible

from napari_why.core.errors import WhyError
from napari_why.output.layers import to_layers
from napari_why.widgets.dock import Dock, Panel, as_sentence
from napari_why.widgets.job import RunButton
from napari_why.widgets.parameter_form import MethodChooser, ParameterForm
from napari_why.widgets.tables import PlainLabel

if TYPE_CHECKING:
    from matplotlib.backends.backend_qtagg import FigureCanvasQTAgg

    from napari_why.core.registry import Method
    from napari_why.evaluation import ClassMaps

# Fast, complete and without a layer to choose, so that maps of thousands of images can be averaged.
FIRST_METHOD = "integrated_gradients"
# A figure of some classes then fills a screen, and its titles are readable.
FIGURE_DPI = 80


class ClassMapsPanel(Panel):
    """Average the maps of every class of the data set in use.

    Parameters
    ----------
    dock : Dock
    """

    def __init__(self, dock: Dock) -> None:
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
        self.open_button = QPushButton("Open the figure")
        self.open_button.setToolTip(
            "Means of every class, and how alike maps are, in a window of its own"
        )
        self.open_button.setEnabled(False)
        self.open_button.clicked.connect(self.open_figure)
        for label in (about, self.about_data, self.notes):
            label.setWordWrap(True)
        self.column.addWidget(about)
        self.column.addWidget(self.about_data)
        self.column.addLayout(self._form_place)
        self.column.addWidget(self._further)
        self.column.addWidget(self.button)
        self.column.addWidget(self.notes)
        self.column.addWidget(self.open_button)
        self.end_column()
        self.button.started.connect(self.average)
        self.show_dataset(dock.state.dataset)

    def offer_methods(self, methods: Any, unsuitable: Any, options: Any) -> None:
        """Offer methods, and the options of class maps (the class that declares them).

        Parameters
        ----------
        methods : mapping of str to Method
            By name; those that take regions are left out.
        unsuitable : callable
            From a method to the reason why it suits not, None where it does.
        options : type
            Subclass of :class:`napari_why.core.options.Options`.
        """
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
            bool(ready), "" if ready else "Open a data set (page Data) and a classifier"
        )
        self.about_data.setText(
            "No data set yet: open one on the page Data."
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
        # matplotlib takes most of a second; a dock is opened without it
        from matplotlib.backends.backend_qtagg import FigureCanvasQTAgg

        from napari_why.output.figures import class_maps_figure

        self.notes.setText("\n".join(map(as_sentence, result.notes)))
        self.release()
        if result.maps or result.similarity is not None:
            figure = class_maps_figure(result)
            figure.set_dpi(FIGURE_DPI)
            # without a parent, so that it is a window: as wide as a dock nothing in it could be read
            self.canvas = FigureCanvasQTAgg(figure)
            self.canvas.setWindowTitle(f"Class maps: {result.record.method}")
            self.open_button.setEnabled(True)
        self.dock.add_layers(to_layers(result), hides_images=True)

    def open_figure(self) -> None:
        """Show the figure in a window of its own."""
        if self.canvas is not None:
            self.canvas.show()
            self.canvas.raise_()

    def release(self) -> None:
        """Close the window of the figure."""
        self.open_button.setEnabled(False)
        if self.canvas is not None:
            self.canvas.close()
            self.canvas.deleteLater()
            self.canvas = None
