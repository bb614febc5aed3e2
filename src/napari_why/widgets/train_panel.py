"""Training a classifier, with live curves of each network."""

from collections.abc import Mapping
from time import monotonic
from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_warning
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QCheckBox, QComboBox, QVBoxLayout

from napari_why.core.durations import MeasuredTraining
from napari_why.core.errors import WhyError
from napari_why.core.events import EpochFinished, Event
from napari_why.core.options import parameters_of
from napari_why.output.snippets import copy_training
from napari_why.widgets.classifier_bar import list_doubts
from napari_why.widgets.copy_buttons import CopyButtons
from napari_why.widgets.dock import Dock, Panel, as_sentence, read_preferences
from napari_why.widgets.job import RunButton
from napari_why.widgets.parameter_field import narrow
from napari_why.widgets.parameter_form import Fold, ParameterForm
from napari_why.widgets.session_buttons import form_settings, restore_form
from napari_why.widgets.settings_fold import SettingsFold
from napari_why.widgets.tables import PlainLabel, plain_tip

if TYPE_CHECKING:
    from napari_why.model import Classifier

# Of the job, by which its events are told from those of others.
TITLE = "Training"
# Of a network's own parameters: channels to lock are asked for by name, with the training.
ASKED_BY_NAME = ("locked",)


class TrainPanel(Panel):
    """Network, parameters, a Train button and curves of loss and accuracy.

    Cancelled training keeps the best network so far; failed training keeps the classifier there
    was before.

    Attributes
    ----------
    trained : Signal()
        A training ended by itself, its classifier is shared, and the user wants it evaluated.
    """

    trained = Signal()

    def __init__(self, dock: Dock) -> None:
        super().__init__(dock)
        self._networks: Mapping[str, Any] = {}
        self._measured: MeasuredTraining | None = None
        self._clock = EpochClock()
        self._proposed: int | None = None
        self.main: ParameterForm | None = None
        self.network_form: ParameterForm | None = None
        self.curves: Any = None
        self.about_data = PlainLabel()
        self.network = QComboBox()
        narrow(self.network)
        self.about_network = PlainLabel()
        self._main_place = QVBoxLayout()
        self._curve_place = QVBoxLayout()
        self._inside = Fold("inside the network")
        self._inside.hide()
        # of an opened session, until the networks are there
        self._wanted: Mapping[str, Any] = {}
        self.then_evaluate = QCheckBox("then evaluate on the test images")
        self.then_evaluate.setChecked(True)
        self.status = PlainLabel("Loading the networks...")
        self.outcome = PlainLabel()
        # what the training said of the images so far
        self._found: list[str] = []
        self.button = RunButton("Train", dock.runner)
        self.finish_button = RunButton("Fit the transport now", dock.runner)
        self.finish_button.setVisible(False)
        for label in (self.about_data, self.about_network, self.status, self.outcome):
            label.setWordWrap(True)
        self.copy_buttons = CopyButtons(dock.message)
        self.column.addWidget(self.about_data)
        self.fold = SettingsFold()
        for widget in (self.network, self.about_network):
            self.fold.column.addWidget(widget)
        self.fold.column.addLayout(self._main_place)
        self.fold.column.addWidget(self._inside)
        self.fold.column.addWidget(self.then_evaluate)
        self.column.addWidget(self.fold)
        self.column.addWidget(self.button)
        self.column.addWidget(self.status)
        self.column.addWidget(self.finish_button)
        self.column.addWidget(self.copy_buttons)
        self.column.addLayout(self._curve_place)
        # below what one looks at meanwhile: it grows while the training runs
        self.column.addWidget(self.outcome)
        self.end_column()
        self.network.currentIndexChanged.connect(self._show_network)
        self.button.started.connect(self.train)
        self.finish_button.started.connect(self.finish)
        dock.runner.event.connect(self._follow)
        dock.state.dataset_changed.connect(self.show_dataset)
        self.show_dataset(dock.state.dataset)

    def show_catalogue(self, networks: Mapping[str, Any], options: Any) -> None:
        """Offer the networks, and the options of a fit (the class that declares them).

        Parameters
        ----------
        networks : mapping
            By name, in the order that they are offered in.
        options : type
            Subclass of :class:`napari_why.core.options.Options`.
        """
        self._networks = networks
        wanted = read_preferences()
        defaults = {"device": wanted.device, "threads": wanted.threads or 0}
        first = next(iter(networks.values()))
        self.main = ParameterForm(options, defaults=defaults, own=_own_values(first))
        self._main_place.addWidget(self.main)
        self._inside.show()
        for place, (name, entry) in enumerate(networks.items()):
            self.network.addItem(entry.title, name)
            tip = "\n".join(map(as_sentence, filter(None, [entry.purpose, entry.source])))
            self.network.setItemData(place, plain_tip(tip), Qt.ItemDataRole.ToolTipRole)
        self.status.clear()
        self.main.changed.connect(self._show_time)
        self.show_dataset(self.dock.state.dataset)
        self.restore_settings(self._wanted)

    def settings(self) -> dict[str, Any]:
        """Return what the form says, JSON types, for a saved session."""
        if self.main is None or self.network_form is None:
            return dict(self._wanted)
        return {
            "network": self.network.currentData(),
            "inside the network": form_settings(self.network_form),
            "options": form_settings(self.main),
            "then evaluate": self.then_evaluate.isChecked(),
        }

    def restore_settings(self, values: Mapping[str, Any]) -> None:
        """Say again what :meth:`settings` returned; what is not known stays."""
        self._wanted = values
        if self.main is None:
            return  # the networks are still on their way, beside the viewer
        if (index := self.network.findData(values.get("network"))) >= 0:
            self.network.setCurrentIndex(index)
            if self.network_form is not None:
                restore_form(self.network_form, values.get("inside the network"))
        restore_form(self.main, values.get("options"))
        if isinstance(ticked := values.get("then evaluate"), bool):
            self.then_evaluate.setChecked(ticked)

    def show_dataset(self, dataset: Any) -> None:
        """Say what there is to learn from, and propose a size that its images have."""
        images = 0 if dataset is None else count_training_images(dataset)
        if dataset is None:
            self.about_data.setText("Choose a data set first (page Data).")
        else:
            learns = f"Learns {' and '.join(dataset.classes)} from {images} images."
            if not images:
                learns = (
                    "These images are not split into training and test images; see the page Data."
                )
            uneven = [dataset.imbalance] if dataset.imbalance else []
            self.about_data.setText("\n\n".join([*dataset.confounding.warnings, learns, *uneven]))
        self.show_classifier(self.dock.state.classifier)
        # Data may come before the networks are imported, and the other way round.
        if self.main is None:
            self.button.set_possible(False, "The networks are still being loaded")
        else:
            reason = "" if dataset is not None else "Choose a data set first (page Data)"
            if dataset is not None and not images:
                reason = "No image is for training: too few wells to split, or a split of its own"
            self.button.set_possible(not reason, reason)
            if dataset is not None:
                self._propose_size(self.main, dataset)
            self._show_time()

    def train(self) -> None:
        """Train on the shared data set; the classifier is shared in turn."""
        dataset, network = self.dock.state.dataset, self.network.currentData()
        if dataset is None or self.main is None or self.network_form is None:
            return
        try:
            parameters = self.main.values()
            network_parameters = self.network_form.values()
        except WhyError as error:
            self.dock.message.tell_error(error)
            return

        def work(**listeners: Any) -> "Classifier":
            from napari_why.fitting import fit

            return fit(
                dataset, network, network_parameters=network_parameters, **listeners, **parameters
            )

        if not self.dock.is_free():
            return
        images = count_training_images(dataset)
        self._start_curves()
        self.copy_buttons.offer(
            lambda: copy_training(dataset, network, parameters, network_parameters)
        )
        state = self.dock.state

        def keep(classifier: "Classifier") -> None:
            state.classifier = classifier
            show_warning(
                "The dock was closed while it trained. Training was stopped; the best network so far is "
                "the classifier in use, and not saved yet: open napari-why again to save it."
            )

        self._clock = EpochClock(network, parameters, images)
        # now and not at the end: the curves are drawn below it meanwhile
        self.fold.fold_after_run()
        self.dock.run(TITLE, work, self._conclude, self._keep_best, keep, on_finding=self._note)

    def finish(self) -> None:
        """Make what the fit of the shared classifier left out for counterfactuals."""
        classifier, dataset = self.dock.state.classifier, self.dock.state.dataset
        if classifier is None or dataset is None:
            return

        def work(**listeners: Any) -> "Classifier":
            from napari_why.fitting import finish_fit

            return finish_fit(classifier, dataset, **listeners)

        self._found = []
        self.dock.run("Fitting the transport", work, self._share)

    def show_classifier(self, classifier: "Classifier | None") -> None:
        """Offer to make what a classifier lacks for counterfactuals, where it could be made."""
        self.finish_button.setVisible(classifier is not None and can_finish(classifier))
        missing = self.dock.state.dataset is None
        self.finish_button.set_possible(
            not missing, "Open the images it was trained on (page Data)" if missing else ""
        )

    def release(self) -> None:
        """Follow neither data set nor theme any more."""
        self.dock.state.dataset_changed.disconnect(self.show_dataset, missing_ok=True)
        if self.curves is not None:
            self.curves.release()

    def _propose_size(self, form: ParameterForm, dataset: Any) -> None:
        usual = form.editor("size").parameter.default

        def read() -> int:
            from napari_why.fitting import propose_size

            return propose_size(dataset)

        def show(size: int) -> None:
            if dataset is not self.dock.state.dataset:
                return  # another came meanwhile, and proposes its own
            # what the user has set is the user's
            if form.values()["size"] in (usual, self._proposed):
                self._proposed = size
                form.set_value("size", size)

        self.dock.load(read, show)

    def _show_time(self) -> None:
        """Say how long the training will take, as far as one that was done here tells."""
        form, dataset = self.main, self.dock.state.dataset
        if form is None or form.presets is None or dataset is None:
            return
        words = ""
        if self._measured is not None:
            options = {name: form.editor(name).value() for name in form.names}
            network = self.network.currentData()
            epochs = options["epochs"] or self._networks[network].training.epochs
            images = count_training_images(dataset)
            words = self._measured.foresee(network, options, epochs, images)
        form.presets.show_time(words)

    def _conclude(self, classifier: "Classifier") -> None:
        self._share(classifier)
        done = classifier.card["training"]["status"] != "cancelled"
        if done and not classifier.left_out:
            self._measured = self._clock.measured() or self._measured
            self._show_time()
        if done and self.then_evaluate.isChecked():
            self.trained.emit()

    def _note(self, finding: str) -> None:
        """Say what was found of the images while the training runs."""
        if finding not in self._found:
            self._found.append(finding)
        self.outcome.setText("\n".join(map(as_sentence, self._found)))

    def _share(self, classifier: "Classifier") -> None:
        self.dock.state.classifier = classifier
        self.status.setText(describe_kept(classifier))
        told = describe_outcome(classifier)
        # what the classifier's card says stands on top of all pages, or in the outcome itself
        known = (told, *list_doubts(classifier))
        others = [
            found for found in self._found if not any(found.rstrip(".") in text for text in known)
        ]
        self.outcome.setText("\n".join(filter(None, [told, *map(as_sentence, others)])))

    def _keep_best(self, error: Exception) -> None:
        from napari_why.fitting import FittingError

        # What failed came after the training, whose best network is worth having.
        if isinstance(error, FittingError):
            self._share(error.classifier)
        else:
            self.status.clear()

    def _start_curves(self) -> None:
        if self.curves is None:
            # Not at the top: matplotlib takes long, and a dock has to open at once.
            from napari_why.widgets.plot import TrainingCurves

            self.curves = TrainingCurves(self.dock.viewer)
            self._curve_place.addWidget(self.curves)
        self.curves.start()
        self.status.setText("Preparing...")
        self._found = []
        self.outcome.clear()

    def _follow(self, event: Event) -> None:
        if self.dock.runner.title != TITLE:
            return  # the page Generate trains too, in this dock's runner
        if isinstance(event, EpochFinished) and self.curves is not None:
            self.curves.add(event)
            self._clock.add(event)
            accuracy = event.metrics.get("validation_accuracy")
            score = "" if accuracy is None else f", {accuracy:.0%} of the validation images right"
            balanced = event.metrics.get("validation_balanced_accuracy")
            score += "" if balanced is None else f" (balanced {balanced:.0%})"
            whose = f"{event.network[:1].upper()}{event.network[1:]}: epoch"
            self.status.setText(
                f"{whose if event.network else 'Epoch'} {event.epoch} of {event.epochs}{score}"
            )

    def _show_network(self) -> None:
        if self.network_form is not None:
            self._inside.removeWidget(self.network_form)
            # Later, for one of its own signals may have led here.
            self.network_form.deleteLater()
        entry = self._networks[self.network.currentData()]
        self.about_network.setText(as_sentence(entry.purpose) if entry.purpose else "")
        self.about_network.setVisible(bool(entry.purpose))
        self.network_form = ParameterForm(entry.builder, without=ASKED_BY_NAME)
        self._inside.addWidget(self.network_form)
        if self.main is not None:
            self.main.set_own(_own_values(entry))


class EpochClock:
    """Takes the time of a training from its epochs."""

    def __init__(
        self, network: str = "", options: Mapping[str, Any] | None = None, images: int = 0
    ) -> None:
        self._network, self._options, self._images = network, dict(options or {}), images
        self._whose = ""
        self._times: list[float] = []

    def add(self, event: EpochFinished) -> None:
        """Note when an epoch ended; those of the network that is trained first count."""
        if not self._times:
            self._whose = event.network
        if event.network == self._whose:
            self._times.append(monotonic())

    def measured(self) -> MeasuredTraining | None:
        """Return what the training took that ends now; None where it had one epoch alone."""
        if len(self._times) < 2 or not self._images:
            return None
        epoch = (self._times[-1] - self._times[0]) / (len(self._times) - 1)
        after = monotonic() - self._times[-1]
        return MeasuredTraining(self._network, self._options, epoch / self._images, after)


def count_training_images(dataset: Any) -> int:
    """Return how many images a data set has to learn from; 0 where it could not be split."""
    table = dataset.table
    return int((table["split"] == "train").sum()) if "split" in table.columns else 0


def _own_values(entry: Any) -> dict[str, Any]:
    """Return what a network's own values are for the options that its schedule has."""
    schedule = entry.training
    return {item.name: getattr(schedule, item.name) for item in parameters_of(type(schedule))}


def can_finish(classifier: "Classifier") -> bool:
    """Tell whether a classifier could have a transport, and was left without."""
    from napari_why.networks import InvertibleNetwork

    statistics = classifier.latent_statistics
    lacks = statistics is None or statistics.transport is None
    return lacks and isinstance(classifier.network, InvertibleNetwork) and bool(classifier.left_out)


def describe_kept(classifier: "Classifier") -> str:
    """Say which epoch was kept, how good it is, and what can be done next."""
    from napari_why.training.metrics import describe_accuracy

    training = classifier.card["training"]
    epochs, best = len(training["history"]), training["best_epoch"]
    images = ((classifier.metrics.get("validation") or {}).get("images")) or {}
    right = ""
    if images:
        right = f": {describe_accuracy(images)} on {images['images']} validation images"
    stopped = " (cancelled)" if training["status"] == "cancelled" else ""
    return f"Kept epoch {best} of {epochs}{stopped}{right}; not saved yet."


def describe_lock(lock: Mapping[str, Any]) -> str:
    """Say which channels counterfactuals leave alone, and how well each channel tells the classes."""
    tested = lock.get("channels", ())
    if lock["locked"] or not tested or any(item["verdict"] != "evidence" for item in tested):
        return str(lock["sentence"])
    each = ", ".join(f"{item['channel']} alone {item['accuracy']:.0%}" for item in tested)
    # what labels without meaning get as well stands beside it
    chances = [item["chance"] for item in tested if "chance" in item]
    chance = f" where {max(chances):.0%} is chance" if chances else ""
    all_of_them = {1: "The stain tells", 2: "Both stains tell"}
    start = all_of_them.get(len(tested), f"All {len(tested)} stains tell")
    return f"{start} the classes apart ({each}){chance}; counterfactuals may change each of them."


def describe_outcome(classifier: "Classifier") -> str:
    """Say what was noted of the data, which channels are left alone, what the second network is worth."""
    lock, second = (classifier.card.get(name) for name in ("lock_test", "second_network"))
    sentences = [*classifier.card.get("notes", ()), *([describe_lock(lock)] if lock else [])]
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
