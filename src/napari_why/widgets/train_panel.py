"""Training a classifier, with live curves."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QComboBox, QVBoxLayout
from superqt import QCollapsible

from napari_why.core.errors import WhyError
from napari_why.core.events import EpochFinished, Event
from napari_why.core.options import parameters_of
from napari_why.output.snippets import copy_training
from napari_why.widgets.copy_buttons import CopyButtons
from napari_why.widgets.dock import Dock, Panel, read_preferences
from napari_why.widgets.job import RunButton
from napari_why.widgets.parameter_form import ParameterForm
from napari_why.widgets.tables import PlainLabel

if TYPE_CHECKING:
    from napari_why.model import Classifier

# Above the fold: what depends on the images and on the time there is, and what repeats a training.
MAIN_PARAMETERS = ("size", "epochs", "seed")


class TrainPanel(Panel):
    """Network, parameters, a Train button and curves of loss and accuracy.

    Cancelled training keeps the best network so far; failed training keeps the classifier there
    was before.
    """

    def __init__(self, dock: Dock) -> None:
        super().__init__(dock)
        self._networks: Mapping[str, Any] = {}
        self.main: ParameterForm | None = None
        self.more: ParameterForm | None = None
        self.network_form: ParameterForm | None = None
        self.curves: Any = None
        self.about_data = PlainLabel()
        self.about_data.setWordWrap(True)
        self.network = QComboBox()
        self._main_place = QVBoxLayout()
        self._curve_place = QVBoxLayout()
        self._further = QCollapsible("More parameters")
        self.status = PlainLabel("Loading the networks...")
        self.status.setWordWrap(True)
        self.outcome = PlainLabel()
        self.outcome.setWordWrap(True)
        self.button = RunButton("Train", dock.runner)
        self.copy_buttons = CopyButtons(dock.message)
        self.column.addWidget(self.about_data)
        self.column.addWidget(self.network)
        self.column.addLayout(self._main_place)
        self.column.addWidget(self._further)
        self.column.addWidget(self.button)
        self.column.addWidget(self.status)
        self.column.addWidget(self.outcome)
        self.column.addWidget(self.copy_buttons)
        self.column.addLayout(self._curve_place)
        self.end_column()
        self.network.currentIndexChanged.connect(self._show_network)
        self.button.started.connect(self.train)
        dock.runner.event.connect(self._follow)
        dock.state.dataset_changed.connect(self.show_dataset)
        self.show_dataset(dock.state.dataset)

    def show_catalogue(self, networks: Mapping[str, Any], options: Any) -> None:
        """Offer the networks, and the options of a fit (the class that declares them)."""
        self._networks = networks
        wanted = read_preferences()
        defaults = {"device": wanted.device, "threads": wanted.threads or 0}
        names = [parameter.name for parameter in parameters_of(options)]
        main = tuple(name for name in MAIN_PARAMETERS if name in names)
        self.main = ParameterForm(options, only=main)
        self.more = ParameterForm(options, without=main, defaults=defaults)
        self._main_place.addWidget(self.main)
        self._further.addWidget(self.more)
        for name, entry in networks.items():
            self.network.addItem(entry.title, name)
        self.status.clear()
        self.show_dataset(self.dock.state.dataset)

    def show_dataset(self, dataset: Any) -> None:
        """Say what there is to learn from."""
        if dataset is None:
            self.about_data.setText("Choose a data set first (page Data).")
        else:
            learns = (
                f"Learns {' and '.join(dataset.classes)} from {len(dataset.part('train'))} images."
            )
            uneven = [dataset.imbalance] if dataset.imbalance else []
            self.about_data.setText("\n\n".join([*dataset.confounding.warnings, learns, *uneven]))
        # Data may come before the networks are imported, and the other way round.
        ready = dataset is not None and self.main is not None
        self.button.set_possible(ready, "" if ready else "Choose a data set first")

    def train(self) -> None:
        """Train on the shared data set; the classifier is shared in turn."""
        dataset, network = self.dock.state.dataset, self.network.currentData()
        if dataset is None or self.main is None or self.more is None or self.network_form is None:
            return
        try:
            parameters = {**self.main.values(), **self.more.values()}
            network_parameters = self.network_form.values()
        except WhyError as error:
            self.dock.message.tell_error(error)
            return

        def work(**listeners: Any) -> "Classifier":
            from napari_why.fitting import fit

            return fit(
                dataset, network, network_parameters=network_parameters, **listeners, **parameters
            )

        self._start_curves()
        self.copy_buttons.offer(
            lambda: copy_training(dataset, network, parameters, network_parameters)
        )
        self.dock.run("Training", work, self._share, self._keep_best)

    def release(self) -> None:
        """Follow neither data set nor theme any more."""
        self.dock.state.dataset_changed.disconnect(self.show_dataset, missing_ok=True)
        if self.curves is not None:
            self.curves.release()

    def _share(self, classifier: "Classifier") -> None:
        self.dock.state.classifier = classifier
        self.outcome.setText(describe_outcome(classifier))

    def _keep_best(self, error: Exception) -> None:
        from napari_why.fitting import FittingError

        # What failed came after the training, whose best network is worth having.
        if isinstance(error, FittingError):
            self._share(error.classifier)

    def _start_curves(self) -> None:
        if self.curves is None:
            # Not at the top: matplotlib takes long, and a dock has to open at once.
            from napari_why.widgets.plot import TrainingCurves

            self.curves = TrainingCurves(self.dock.viewer)
            self._curve_place.addWidget(self.curves)
        self.curves.start()
        self.status.setText("Preparing...")
        self.outcome.clear()

    def _follow(self, event: Event) -> None:
        if isinstance(event, EpochFinished) and self.curves is not None:
            self.curves.add(event)
            accuracy = event.metrics.get("validation_accuracy")
            score = "" if accuracy is None else f", {accuracy:.0%} of the validation images right"
            balanced = event.metrics.get("validation_balanced_accuracy")
            score += "" if balanced is None else f" (balanced {balanced:.0%})"
            self.status.setText(f"Epoch {event.epoch} of {event.epochs}{score}")

    def _show_network(self) -> None:
        if self.network_form is not None:
            self._further.removeWidget(self.network_form)
            # Later, for one of its own signals may have led here.
            self.network_form.deleteLater()
        builder = self._networks[self.network.currentData()].builder
        self.network_form = ParameterForm(builder)
        self._further.addWidget(self.network_form)


def describe_outcome(classifier: "Classifier") -> str:
    """Say what was noted of the data, which channels are left alone, what the second network is worth."""
    lock, second = (classifier.card.get(name) for name in ("lock_test", "second_network"))
    sentences = [*classifier.card.get("notes", ()), *([lock["sentence"]] if lock else [])]
    if second and second["validation_accuracy"] is not None:
        right = f"{second['validation_accuracy']:.0%} of the validation images right"
        balanced = second.get("validation_balanced_accuracy")
        beside = "" if balanced is None else f" (balanced {balanced:.0%})"
        sentences.append(f"The second network gets {right}{beside}.")
        # a card that does not tell is of a version in which it was asked, or of a classifier that was
        # made otherwise: the good case is not assumed
        if second.get("had_a_say_in_the_transport") is not False:
            sentences.append(
                "It may have had a say in how counterfactuals change images: train again for an "
                "independent opinion."
            )
    made_by = classifier.card.get("generator")
    if made_by:
        sentences.append(f"The generator ({made_by['network']}) makes its counterfactuals' images.")
    left_out = classifier.card.get("left_out")
    if left_out:
        sentences.append(f"Left out: {'; '.join(left_out)}.")
    return " ".join(sentences)
