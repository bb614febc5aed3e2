"""What a class, or a single feature map, looks like to the network: a prototype, and who believes it."""

from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QVBoxLayout

from napari_why.core.errors import WhyError
from napari_why.output.layers import to_layers
from napari_why.widgets.dock import Dock, Panel, as_sentence
from napari_why.widgets.explaining_dock import ClassChooser
from napari_why.widgets.job import RunButton
from napari_why.widgets.parameter_form import ParameterForm
from napari_why.widgets.tables import PlainLabel

if TYPE_CHECKING:
    from napari_why.generation import Prototype


class PrototypePanel(Panel):
    """Climb to the image that a class answers to most, and judge it.

    Parameters
    ----------
    dock : Dock
    """

    def __init__(self, dock: Dock) -> None:
        super().__init__(dock)
        about = PlainLabel(
            "The image that the network answers to most, found from the mean image. It shows what the "
            "network looks for, and no cell; others are asked whether they believe it."
        )
        self.target = ClassChooser("the class, or a layer below")
        self.form: ParameterForm | None = None
        self._form_place = QVBoxLayout()
        self.button = RunButton("Make a prototype", dock.runner)
        self.verdict = PlainLabel()
        for label in (about, self.verdict):
            label.setWordWrap(True)
        self.column.addWidget(about)
        self.column.addWidget(self.target)
        self.column.addLayout(self._form_place)
        self.column.addWidget(self.button)
        self.column.addWidget(self.verdict)
        self.end_column()
        self.button.started.connect(self.make)
        self.button.set_possible(False, "Train or load a classifier first")

    def offer(self, classes: tuple[str, ...], options: Any) -> None:
        """Offer the classes, and the options of a search (the class that declares them).

        Parameters
        ----------
        classes : tuple of str
            The classifier's.
        options : type
            Subclass of :class:`napari_why.core.options.Options`.
        """
        self.target.set_classes(classes)
        if self.form is None:
            self.form = ParameterForm(options)
            self._form_place.addWidget(self.form)
        self.button.set_possible(True)

    def make(self) -> None:
        """Search beside the viewer, then show the steps."""
        state, target = self.dock.state, self.target.target
        classifier, dataset = state.classifier, state.dataset
        if classifier is None or self.form is None:
            return
        try:
            options = self.form.values()
        except WhyError as error:
            self.dock.message.tell_error(error)
            return

        def work(**listeners: Any) -> "Prototype":
            from napari_why.generation import activation_maximisation

            return activation_maximisation(
                classifier, target, options=options, references=dataset, **listeners
            )

        self.dock.run("Prototype", work, self.show_prototype)

    def show_prototype(self, result: "Prototype") -> None:
        """Put the steps into the viewer, and what others say of the last into the dock."""
        self.verdict.setText("\n".join(map(as_sentence, result.notes)))
        last = len(result.steps) - 1
        dims = self.dock.viewer.dims
        # where it ends is the prototype; the first step is the mean image
        self.dock.add_layers(
            to_layers(result), lambda: dims.set_current_step(0, last), hides_images=True
        )
