"""Images that the classifier's network makes itself: reconstructions, traversals, samples."""

from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QLabel

from napari_why.core.errors import WhyError
from napari_why.output.layers import to_layers
from napari_why.output.raw_layers import image_from_layers
from napari_why.widgets.dock import Dock
from napari_why.widgets.layer_chooser import LayerChooser
from napari_why.widgets.method_chooser import MethodChooser
from napari_why.widgets.panel import Panel
from napari_why.widgets.run_button import RunButton

if TYPE_CHECKING:
    from napari.layers import Image

    from napari_why.model import Classifier

FIRST_TASK = "reconstruct"


class GeneratePanel(Panel):
    """Layers, what to make of them, and a button; the result becomes layers."""

    def __init__(self, dock: Dock) -> None:
        super().__init__(dock)
        self._tasks: dict[str, Any] = {}
        self.layers = LayerChooser(dock.viewer)
        self.task = MethodChooser()
        self.button = RunButton("Make", dock.runner)
        self.answer = QLabel()
        self.answer.setWordWrap(True)
        for widget in (self.layers, self.task, self.button, self.answer):
            self.column.addWidget(widget)
        self.end_column()
        self.button.asked.connect(self.make)
        self.button.set_possible(False, "Train or load a classifier first")

    def show_classifier(self, classifier: "Classifier | None") -> None:
        """Offer what a classifier's network can make."""
        self.layers.set_channels(classifier.channels if classifier else ())
        self.answer.clear()
        self.button.set_possible(False, "Train or load a classifier first")
        if classifier is not None:
            self.dock.load(import_tasks, lambda tasks: self._offer(classifier, tasks))

    def make(self) -> None:
        """Make the images and show them as layers."""
        classifier, task = self.dock.state.classifier, self._tasks.get(self.task.name)
        if classifier is None or task is None:
            return
        try:
            parameters = self.task.form.values()
            raw, plane = self._chosen() if task.takes("image") else ([], ())
        except WhyError as error:
            self.dock.message.tell_error(error)
            return
        channels = self.layers.channels

        def work(**_listeners: Any) -> tuple[Any, list[Any]]:
            images = [image_from_layers(raw, channels, plane)] if task.takes("image") else []
            result = task.function(classifier, *images, **parameters)
            return result, to_layers(result, raw, plane=plane or None)

        self.dock.run(task.title, work, lambda made: self._show(*made))

    def release(self) -> None:
        """Follow the viewer's layers no more."""
        self.layers.release()

    def _chosen(self) -> "tuple[list[Image], tuple[int, ...]]":
        return self.layers.layers(), self.layers.plane()

    def _offer(self, classifier: "Classifier", tasks: dict[str, Any]) -> None:
        if classifier is not self.dock.state.classifier:
            return
        self._tasks = tasks
        network = classifier.network
        self.task.set_methods(tasks, lambda task: task.unsuitable(network), FIRST_TASK)
        reason = None if self.task.name else tasks[FIRST_TASK].unsuitable(network)
        self.button.set_possible(reason is None, reason or "")

    def _show(self, result: Any, layers: list[Any]) -> None:
        self.answer.setText(getattr(result, "sentence", ""))
        self.dock.add_layers(layers)


def import_tasks() -> dict[str, Any]:
    """Import what can be made."""
    from napari_why.generation.tasks import TASKS

    return dict(TASKS)
