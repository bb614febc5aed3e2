"""What the docks that explain one image have in common."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from napari.layers import Image
from qtpy.QtWidgets import QLabel

from napari_why.core.errors import WhyError
from napari_why.output.layers import to_layers
from napari_why.output.raw_layers import image_from_layers
from napari_why.widgets.class_chooser import ClassChooser
from napari_why.widgets.classifier_label import ClassifierLabel
from napari_why.widgets.dock import Dock
from napari_why.widgets.explained import Explained
from napari_why.widgets.job import Executor, RunButton, run_in_thread
from napari_why.widgets.layer_chooser import LayerChooser
from napari_why.widgets.method_chooser import MethodChooser

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from xarray import DataArray

    from napari_why.model import Classifier

Explain = Callable[..., Any]


class ExplainingDock(Dock):
    """Image, class, method and a button; a subclass says what is computed.

    Parameters
    ----------
    viewer : ViewerModel
    verb : str
        On the button.
    automatic_class : str
        What the class box says when the choice is left to the method.
    executor : Executor, optional
    """

    def __init__(
        self,
        viewer: "ViewerModel",
        verb: str,
        automatic_class: str,
        executor: Executor = run_in_thread,
    ) -> None:
        super().__init__(viewer, executor)
        self.classifier_label = ClassifierLabel()
        self.column.addWidget(self.classifier_label)
        self.heading("Image")
        self.layers = LayerChooser(viewer)
        self.column.addWidget(self.layers)
        self.heading("Class")
        self.target = ClassChooser(automatic_class)
        self.column.addWidget(self.target)
        self.heading("Method")
        self.method = MethodChooser()
        self.column.addWidget(self.method)
        self.button = RunButton(verb, self.runner)
        self.explained: Explained | None = None
        self.result_label = QLabel()
        self.result_label.setWordWrap(True)
        self.button.started.connect(self.explain)
        self.state.classifier_changed.connect(self.show_classifier)
        self.show_classifier(self.state.classifier)

    def finish_layout(self) -> None:
        """Put the button and what it tells below everything else."""
        self.column.addWidget(self.button)
        self.column.addWidget(self.result_label)
        self.column.addStretch(1)

    def catalogue(self) -> Any:
        """Import the methods; called beside the viewer."""
        raise NotImplementedError

    def offer_methods(self, classifier: "Classifier", catalogue: Any) -> None:
        """Fill the method chooser for a classifier."""
        raise NotImplementedError

    def show_classifier(self, classifier: "Classifier | None") -> None:
        """Offer what a classifier can explain."""
        self.classifier_label.show_classifier(classifier)
        self.layers.set_channels(classifier.channels if classifier else ())
        self.target.set_classes(classifier.classes if classifier else ())
        self.button.set_possible(False, "Train or load a classifier first")
        if classifier is not None:
            self.load(self.catalogue, lambda methods: self._offer(classifier, methods))

    def _offer(self, classifier: "Classifier", catalogue: Any) -> None:
        if classifier is self.state.classifier:
            self.button.set_possible(True)
            self.offer_methods(classifier, catalogue)

    def explain(self) -> None:
        """Compute and show what the form asks for; overridden to say what."""
        raise NotImplementedError

    def explain_with(
        self, title: str, compute: Explain, on_result: Callable[[Any, list[Image]], None]
    ) -> None:
        """Run ``compute(classifier, image, on_event=, cancelled=)`` on the chosen layers.

        Pixels are read and layers are made beside the viewer too: both take time on large images.
        ``on_result`` gets the result and its layers; what they are about is in ``explained``.
        """
        classifier = self.state.classifier
        if classifier is None:
            return
        try:
            raw, plane = self.layers.layers(), self.layers.plane()
        except WhyError as error:
            self.message.tell_error(error)
            return
        channels = self.layers.channels

        def work(**listeners: Any) -> tuple[Any, list[Image], Explained]:
            image: DataArray = image_from_layers(raw, channels, plane)
            result = compute(classifier, image, **listeners)
            about = Explained(image, raw, plane or None)
            return result, to_layers(result, raw, plane=plane or None), about

        def show(made: tuple[Any, list[Image], Explained]) -> None:
            result, layers, self.explained = made
            on_result(result, layers)

        self.run(title, work, show)

    def shut_down(self) -> None:
        """Stop what runs, and follow the shared classifier no more."""
        super().shut_down()
        self.state.classifier_changed.disconnect(self.show_classifier, missing_ok=True)
        self.layers.release()

    def reopen(self) -> None:
        """Follow the shared classifier and the layers again."""
        super().reopen()
        self.state.classifier_changed.connect(self.show_classifier)
        self.layers.follow()
        self.show_classifier(self.state.classifier)
