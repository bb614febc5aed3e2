"""Images that networks make: by the classifier, a generator or a channel predictor, as layers."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QHBoxLayout, QPushButton, QWidget

from napari_why.core.errors import WhyError
from napari_why.core.torch_loading import import_torch
from napari_why.output.generation_snippets import copy_generation
from napari_why.output.layers import to_layers
from napari_why.widgets.copy_buttons import CopyButtons
from napari_why.widgets.dock import Dock, Panel, as_sentence
from napari_why.widgets.job import RunButton
from napari_why.widgets.layer_chooser import LayerChooser
from napari_why.widgets.maker_chooser import MakerChooser, SecondImage
from napari_why.widgets.parameter_form import MethodChooser
from napari_why.widgets.session_buttons import method_settings, restore_method
from napari_why.widgets.settings_fold import SettingsFold
from napari_why.widgets.tables import PlainLabel
from napari_why.widgets.train_generator_panel import TrainGeneratorPanel

if TYPE_CHECKING:
    from xarray import DataArray

    from napari_why.generation.makers import Maker
    from napari_why.model import Classifier
    from napari_why.output.raw_layers import LayerChoice

# Of what a network can make: what it does to the user's own image, and every decoder can do it.
FIRST_TASK = "reconstruct"
NO_CLASSIFIER = "Train or load a classifier first, or load or train what makes images"

# What reads an image later, beside the viewer.
Read = Callable[[], "DataArray"]


class GeneratePanel(Panel):
    """What makes the images, what to make, and a button; the result becomes layers.

    Below, folded, :class:`~napari_why.widgets.train_generator_panel.TrainGeneratorPanel`.
    """

    def __init__(self, dock: Dock) -> None:
        super().__init__(dock)
        self._asked_for = False
        # of an opened session, until the tasks are there
        self._wanted: Mapping[str, Any] = {}
        self.layers = dock.state.image
        self.maker = MakerChooser(dock)
        self.paths = CounterfactualLinks(dock)
        self.chooser = LayerChooser(dock.viewer)
        self.task = MethodChooser()
        self.second = SecondImage(dock)
        self.button = RunButton("Make", dock.runner)
        self.answer = PlainLabel()
        self.answer.setWordWrap(True)
        self.copy_buttons = CopyButtons(dock.message)
        self.training = TrainGeneratorPanel(dock)
        self.training_fold = SettingsFold(
            "Train what makes images",
            tip="Train a generator, a channel predictor, a translation or a flow on the data set in use",
        )
        self.training_fold.button.setChecked(False)
        self.training_fold.column.addWidget(self.training)
        for widget in (
            self.maker, self.paths, self.chooser, self.task, self.second, self.button, self.answer,
            self.copy_buttons, self.training_fold,
        ):  # fmt: skip
            self.column.addWidget(widget)
        self.end_column()
        self.button.started.connect(self.make)
        self.button.set_possible(False, NO_CLASSIFIER)
        self.maker.changed.connect(self._show_maker)
        self.task.changed.connect(self._show_task)
        # asked for once, however many times the fold is opened
        self.training_fold.button.clicked.connect(lambda _open: self.load_catalogue())
        self._show_task()

    def load_catalogue(self) -> None:
        """Import what can be trained, beside the viewer, the first time it is asked for."""
        if not self._asked_for:
            self._asked_for = True
            self.training.load_catalogue()

    def show_classifier(self, classifier: "Classifier | None") -> None:
        """Offer what a classifier's network can make, where it is the classifier that is asked."""
        self.training.show_classifier(classifier)
        if self.maker.is_classifier:
            self.maker.describe_choice()
            self._show_maker()

    def settings(self) -> dict[str, Any]:
        """Return what is chosen, JSON types, for a saved session."""
        said = {
            **self.maker.settings(),
            "task": self._wanted.get("task") or method_settings(self.task),
            "training": self.training.settings(),
        }
        return {name: value for name, value in said.items() if value}

    def restore_settings(self, values: Mapping[str, Any]) -> None:
        """Say again what :meth:`settings` returned; what is not known stays."""
        self._wanted = values
        if isinstance(training := values.get("training"), Mapping):
            self.training.restore_settings(training)
        self.maker.restore_settings(values)
        self._restore_task()

    def make(self) -> None:
        """Make the images and show them as layers."""
        maker, task = self.maker.current, self.task.method
        if maker is None or task is None:
            return
        place = self.maker.place
        try:
            parameters = self.task.form.values()
            choice, reads = self._choose_images(maker, task)
        except WhyError as error:
            self.dock.message.tell_error(error)
            return

        def work(**_listeners: Any) -> tuple[Any, list[Any]]:
            result = task.function(maker, *(read() for read in reads), **parameters)
            raw, plane = ([], ()) if choice is None else (list(choice.layers), choice.plane)
            return result, to_layers(result, raw, plane=plane or None)

        def show(made: tuple[Any, list[Any]]) -> None:
            result, layers = made
            self.dock.add_layers(layers)
            if maker is not self.maker.current:
                return  # another was chosen meanwhile: its name stands above
            self.answer.setText("\n".join(map(as_sentence, result.notes)))
            self.copy_buttons.offer(lambda: copy_generation(maker, result.record, place))

        self.dock.run(task.title, work, show)

    def release(self) -> None:
        """Follow the viewer's layers and what it shares no more."""
        self.chooser.release()
        self.maker.release()
        self.second.release()
        self.training.release()

    def _choose_images(self, maker: "Maker", task: Any) -> "tuple[LayerChoice | None, list[Read]]":
        """Return the layers that the result lies on, and what reads each image that is needed."""
        from napari_why.generation import ChannelPredictor
        from napari_why.generation.makers import count_images

        count = count_images(task)
        if count == 0:
            return None, []
        if isinstance(maker, ChannelPredictor):
            choice = self.layers.choice_for(maker.given, maker.made)
        else:
            choice = self.layers.choice()
        return choice, [choice.read, *([self.second.choose()] if count > 1 else [])]

    def _show_maker(self) -> None:
        """Offer what the chosen maker can make, once that is imported."""
        maker = self.maker.current
        self.answer.clear()
        self.copy_buttons.offer(None)
        self.paths.show_paths({})
        self.button.set_possible(False, NO_CLASSIFIER)
        self.task.setVisible(maker is not None)
        self.second.hide()
        if maker is not None:
            self.dock.load(lambda: import_tasks(maker), lambda found: self._offer(maker, *found))

    def _offer(
        self, maker: "Maker", tasks: Mapping[str, Any], paths: Mapping[str, str], sentence: str
    ) -> None:
        # While the tasks were imported, the user may have chosen another.
        if maker is not self.maker.current:
            return
        from napari_why.generation.makers import list_classes

        def offered(task: Any) -> dict[str, dict[str, str]]:
            classes = list_classes(maker, task)
            return {"label": {name: name or "each class in turn" for name in classes}}

        self.maker.describe(maker, sentence)
        network = maker.network
        first = FIRST_TASK if FIRST_TASK in tasks else next(iter(tasks))
        self.task.set_methods(tasks, lambda task: task.unsuitable(network), first, offered=offered)
        reason = None if self.task.name else tasks[first].unsuitable(network)
        self.button.set_possible(reason is None, reason or "")
        self.paths.show_paths(paths)
        self._show_task()
        self._restore_task()

    def _show_task(self) -> None:
        """Ask for a second image where the task goes to one."""
        self.second.setVisible(self.task.name == "interpolate")

    def _restore_task(self) -> None:
        if self._wanted and self.task.box.count() and self.maker.is_restored:
            restore_method(self.task, self._wanted.get("task"))
            self._wanted = {}


class CounterfactualLinks(QWidget):
    """Says that a classifier leads to other classes by what was trained here, and leads to that page."""

    def __init__(self, dock: Dock) -> None:
        super().__init__()
        self._dock = dock
        self.label = PlainLabel()
        self.label.setWordWrap(True)
        self.buttons: dict[str, QPushButton] = {}
        self._row = QHBoxLayout(self)
        self._row.setContentsMargins(0, 0, 0, 0)
        self._row.addWidget(self.label, 1)
        self.hide()

    def show_paths(self, paths: Mapping[str, str]) -> None:
        """Offer these counterfactual methods, each with its title; nothing where there are none."""
        for button in self.buttons.values():
            self._row.removeWidget(button)
            button.deleteLater()
        self.buttons = {}
        self.label.setText("An image in another class is made on the page Counterfactual:")
        for name, title in paths.items():
            button = QPushButton(name.capitalize())
            button.setToolTip(f"Open the page Counterfactual with the method {title}")
            button.clicked.connect(
                lambda _checked, name=name: self._dock.method_wanted.emit("Counterfactual", name)
            )
            self._row.addWidget(button)
            self.buttons[name] = button
        self.setVisible(bool(paths))


def import_tasks(maker: "Maker") -> tuple[dict[str, Any], dict[str, str], str]:
    """Import what a maker can make, which ways to other classes another page shows, and what it is."""
    import_torch()
    from napari_why.counterfactuals import METHODS
    from napari_why.counterfactuals.through import Roles
    from napari_why.generation.makers import describe_maker, tasks_of
    from napari_why.model import Classifier
    from napari_why.model.translation import FLOW_OF_CLASSES, TRANSLATION

    paths = {}
    if isinstance(maker, Classifier):
        generator = Roles.of(maker, None).generator
        for name in (TRANSLATION, FLOW_OF_CLASSES):
            method = METHODS.named(name)
            if not (method.unsuitable(generator.network) or method.missing(generator)):
                paths[name] = method.title
    return dict(tasks_of(maker)), paths, describe_maker(maker)
