"""Training what makes images: a generator, a channel predictor, a translation, a flow; with live curves."""

from collections.abc import Callable, Mapping
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_warning
from qtpy.QtWidgets import QComboBox, QFormLayout, QVBoxLayout

from napari_why.core.durations import MeasuredTraining
from napari_why.core.errors import WhyError
from napari_why.core.events import EpochFinished, Event
from napari_why.widgets.copy_buttons import CopyButtons
from napari_why.widgets.dock import Dock, MessageArea, Panel, as_sentence, read_preferences
from napari_why.widgets.job import RunButton
from napari_why.widgets.parameter_field import narrow
from napari_why.widgets.parameter_form import ParameterForm
from napari_why.widgets.path_line import PathLine
from napari_why.widgets.session_buttons import form_settings, restore_form
from napari_why.widgets.settings_fold import SettingsFold
from napari_why.widgets.started_training import (
    Attempt,
    Trained,
    has_checkpoints,
    import_trainings,
)
from napari_why.widgets.tables import PlainLabel
from napari_why.widgets.train_panel import count_training_images

if TYPE_CHECKING:
    from napari_why.datasets import Dataset
    from napari_why.model import Classifier

# Of the job, by which its events are told from those of others.
TITLE = "Training what makes images"
# What does not decide how long a training image takes.
NO_TIME = ("epochs", "seed")


class TrainGeneratorPanel(Panel):
    """What to train, its options, a Train button, and curves of both players' losses.

    A generator or channel predictor that was trained is shared, and offered above; a classifier with a
    translation or a flow takes the place of the one in use. Each epoch leaves a checkpoint, so that a
    training that was cancelled, or broke off, can go on where it stopped.
    """

    def __init__(self, dock: Dock) -> None:
        super().__init__(dock)
        self._kinds: Mapping[str, Trained] = {}
        self._lacks: Callable[[Classifier], str | None] | None = None
        # of an opened session, until the kinds are there
        self._wanted: Mapping[str, Any] = {}
        self.form: ParameterForm | None = None
        self.curves: Any = None
        self._unfinished: Attempt | None = None
        self._measured: dict[str, MeasuredTraining] = {}
        self.column.setContentsMargins(0, 0, 0, 0)
        self.what, self.channel = QComboBox(), QComboBox()
        for box in (self.what, self.channel):
            narrow(box)
        self.what.setToolTip("Which network is trained")
        self.channel.setToolTip("The channel that is predicted; all others are given")
        self.channel_label = PlainLabel("channel")
        self.about = PlainLabel()
        self._form_place, self._curve_place = QVBoxLayout(), QVBoxLayout()
        self.checkpoints = PathLine("Folder for checkpoints")
        self.checkpoints.line.setPlaceholderText("kept until napari is closed")
        self.checkpoints.setToolTip(
            "Folder that keeps the last epoch, so that a training that was stopped goes on where it "
            "stopped, after a restart too; without one, as long as the dock is open"
        )
        self.button = RunButton("Train", dock.runner)
        self.resume_button = RunButton("Go on where it stopped", dock.runner)
        self.resume_button.hide()
        self.status = PlainLabel("Loading what can be trained...")
        self.warnings = MessageArea()
        for label in (self.about, self.status):
            label.setWordWrap(True)
        self.copy_buttons = CopyButtons(dock.message)
        self.fold = SettingsFold()
        rows = QFormLayout()
        rows.setContentsMargins(0, 0, 0, 0)
        rows.addRow(self.what)
        rows.addRow(self.about)
        rows.addRow(self.channel_label, self.channel)
        rows.addRow(PlainLabel("checkpoints"), self.checkpoints)
        self.fold.column.addLayout(rows)
        self.fold.column.addLayout(self._form_place)
        for widget in (
            self.fold, self.button, self.resume_button, self.status, self.warnings, self.copy_buttons,
        ):  # fmt: skip
            self.column.addWidget(widget)
        self.column.addLayout(self._curve_place)
        self.what.currentIndexChanged.connect(self._show_kind)
        self.button.started.connect(self.train)
        self.resume_button.started.connect(self.resume)
        self.checkpoints.line.textChanged.connect(lambda _text: self._offer())
        dock.runner.event.connect(self._follow)
        dock.state.dataset_changed.connect(self.show_dataset)
        self._offer()

    @property
    def kind(self) -> Trained | None:
        """What is chosen."""
        return self._kinds.get(self.what.currentData() or "")

    def load_catalogue(self) -> None:
        """Import what can be trained, beside the viewer."""
        self.dock.load(import_trainings, lambda found: self.show_catalogue(*found))

    def show_catalogue(
        self, kinds: Mapping[str, Trained], lacks: "Callable[[Classifier], str | None]"
    ) -> None:
        """Offer what can be trained; ``lacks`` tells why a classifier can have no translation.

        Parameters
        ----------
        kinds : mapping of str to Trained
            By name.
        lacks : callable
            From a classifier to the reason, None where it can have one.
        """
        self._kinds, self._lacks = kinds, lacks
        self.status.clear()
        for name, kind in kinds.items():
            self.what.addItem(kind.title, name)
        self.show_dataset(self.dock.state.dataset)
        self.restore_settings(self._wanted)

    def show_dataset(self, dataset: "Dataset | None") -> None:
        """Offer the channels of the data set, and propose a size that its images have."""
        before = self.channel.currentText()
        self.channel.clear()
        for name in dataset.channels if dataset is not None else ():
            self.channel.addItem(name, name)
        # the last: stains that mark all cells, from which others are predicted, come first by custom
        found = self.channel.findData(before)
        self.channel.setCurrentIndex(self.channel.count() - 1 if found < 0 else found)
        self._propose_size()
        self._show_time()
        self._offer()

    def show_classifier(self, classifier: "Classifier | None") -> None:  # noqa: ARG002
        """Offer what can be trained for the classifier in use."""
        self._offer()

    def settings(self) -> dict[str, Any]:
        """Return what the form says, JSON types, for a saved session."""
        if self.form is None:
            return dict(self._wanted)
        return {
            "what": self.what.currentData(),
            "channel": self.channel.currentText(),
            "checkpoints": self.checkpoints.line.text(),
            "options": form_settings(self.form),
        }

    def restore_settings(self, values: Mapping[str, Any]) -> None:
        """Say again what :meth:`settings` returned; what is not known stays."""
        self._wanted = values
        if not self._kinds:
            return  # still on their way, beside the viewer
        self.what.setCurrentIndex(max(self.what.findData(values.get("what")), 0))
        if (channel := self.channel.findData(values.get("channel"))) >= 0:
            self.channel.setCurrentIndex(channel)
        self.checkpoints.line.setText(str(values.get("checkpoints") or ""))
        if self.form is not None:
            restore_form(self.form, values.get("options"))

    def train(self) -> None:
        """Train on the shared data set, and share what came of it."""
        attempt = self.prepare()
        if attempt is not None:
            self._start(attempt, resume=False)

    def resume(self) -> None:
        """Go on with the training that was stopped, or with the one whose checkpoints are chosen."""
        attempt = self._unfinished or self.prepare()
        if attempt is not None:
            self._start(attempt, resume=True)

    def prepare(self) -> Attempt | None:
        """Return a training of what is chosen; None where there is none, or something runs."""
        kind, state = self.kind, self.dock.state
        if kind is None or state.dataset is None or self.form is None or not self.dock.is_free():
            return None
        try:
            parameters = self.form.values()
        except WhyError as error:
            self.dock.message.tell_error(error)
            return None
        return Attempt(
            kind,
            str(self.what.currentData()),
            state.dataset,
            str(self.channel.currentText()),
            state.classifier,
            parameters,
            self.checkpoints.path,
        )

    def _start(self, attempt: Attempt, *, resume: bool) -> None:
        if not self.dock.is_free():
            return

        def keep(result: Any) -> None:
            self._share(result, attempt)
            show_warning(
                "The dock was closed while it trained. Training was stopped; what was trained is kept, "
                "and not saved yet: open napari-why again to save it."
            )

        self._start_curves()
        self.copy_buttons.offer(attempt.copy)
        self.fold.fold_after_run()
        self.resume_button.hide()
        begun, subject = monotonic(), self._subject()

        def conclude(result: Any) -> None:
            # one that went on tells only what the rest took
            if not resume:
                self._measure(attempt, subject, monotonic() - begun)
            self._conclude(result, attempt)

        self.dock.run(
            TITLE,
            partial(attempt.run, resume=resume),
            conclude,
            lambda error: self._break_off(error, attempt),
            keep,
        )

    def release(self) -> None:
        """Follow neither data set nor theme any more."""
        self.dock.state.dataset_changed.disconnect(self.show_dataset, missing_ok=True)
        if self.curves is not None:
            self.curves.release()

    def _offer(self) -> None:
        """Let the chosen kind be trained, or say why it cannot be."""
        reason = self._find_reason()
        self.button.set_possible(not reason, reason)
        self._offer_to_resume()
        if self._kinds and self.kind is not None:
            said = [self.kind.about, *([reason] if reason else [])]
            self.about.setText("\n".join(map(as_sentence, said)))

    def _find_reason(self) -> str:
        kind, state = self.kind, self.dock.state
        if kind is None:
            return "What can be trained is still being loaded"
        if state.dataset is None:
            return "Choose a data set first (page Data)"
        if kind.of == "channel" and len(state.dataset.channels) < 2:
            return "The images have one channel: there is no other to predict it from"
        if kind.of == "classifier":
            if state.classifier is None:
                return "Train or load a classifier first"
            return (self._lacks(state.classifier) if self._lacks is not None else None) or ""
        return ""

    def _show_kind(self) -> None:
        kind = self.kind
        if self.form is not None:
            self._form_place.removeWidget(self.form)
            # Later, for one of its own signals may have led here.
            self.form.deleteLater()
            self.form = None
        if kind is None:
            return
        for widget in (self.channel, self.channel_label):
            widget.setVisible(kind.of == "channel")
        wanted = read_preferences()
        defaults = {"device": wanted.device, "threads": wanted.threads or 0}
        self.form = ParameterForm(kind.options, defaults=defaults)
        self._form_place.addWidget(self.form)
        self.form.changed.connect(self._show_time)
        self._propose_size()
        self._show_time()
        self._offer()

    def _propose_size(self) -> None:
        """Propose the usual size, or the smaller one that the images have."""
        form, dataset = self.form, self.dock.state.dataset
        if form is None or dataset is None or "size" not in form.names:
            return
        usual = form.editor("size").parameter.default

        def read() -> int:
            from napari_why.fitting import propose_size

            return min(int(propose_size(dataset)), int(usual))

        def show(size: int) -> None:
            if form is not self.form or dataset is not self.dock.state.dataset:
                return  # another came meanwhile, and proposes its own
            # what the user has set is the user's
            if form.editor("size").value() == usual:
                form.set_value("size", size)

        self.dock.load(read, show)

    def _start_curves(self) -> None:
        if self.curves is None:
            # Not at the top: matplotlib takes long, and a dock has to open at once.
            from napari_why.widgets.plot import TrainingCurves

            self.curves = TrainingCurves(self.dock.viewer)
            self._curve_place.addWidget(self.curves)
        self.curves.start()
        self.warnings.clear()
        self.status.setText("Preparing...")

    def _follow(self, event: Event) -> None:
        if self.dock.runner.title != TITLE or self.curves is None:
            return
        if isinstance(event, EpochFinished):
            self.curves.add(event)
            self.status.setText(describe_epoch(event))
            self._warn(event.metrics)

    def _warn(self, metrics: Mapping[str, float]) -> None:
        """Say whether samples have collapsed by now; an epoch that nobody looked at changes nothing."""
        from napari_why.adversarial import Variety

        variety = Variety.from_metrics(metrics)
        if variety is not None:
            self.warnings.tell("\n".join(map(as_sentence, variety.sentences)), "warning")

    def _conclude(self, result: Any, attempt: Attempt) -> None:
        self.warnings.clear()  # what holds at the end stands below the page, and with what was trained
        self.status.setText(self._share(result, attempt))
        self._unfinished = attempt if attempt.can_go_on else None
        self._offer_to_resume()
        self.dock.message.drop(list_lines(result.card.get("report")))

    def _break_off(self, error: Exception, attempt: Attempt) -> None:
        from napari_why.training.train import TrainingError

        self.status.clear()
        # what was refused has not begun, and would be refused again
        if isinstance(error, TrainingError) and attempt.can_go_on:
            self._unfinished = attempt
        self._offer_to_resume()

    def _offer_to_resume(self) -> None:
        """Offer to go on with what was stopped here, else with the chosen folder's checkpoints."""
        attempt, folder = self._unfinished, self.checkpoints.path
        if attempt is not None:
            tip = f"Train what was stopped to its end ({attempt.kind.title}), as if it had never been stopped"
            self.resume_button.set_possible(True, tip)
        elif folder is not None and self._kinds and has_checkpoints(folder):
            reason = self._find_reason()
            tip = (
                reason
                or f"Go on after the last epoch in {folder}, with the same settings and images"
            )
            self.resume_button.set_possible(not reason, tip)
        else:
            self.resume_button.hide()
            return
        self.resume_button.show()

    def _subject(self) -> str:
        """Return what, beside the options, decides how long a training takes."""
        dataset, classifier = self.dock.state.dataset, self.dock.state.classifier
        shape = "" if dataset is None else f"{len(dataset.channels)} x {len(dataset.classes)}"
        kind = self.kind
        of_classifier = kind is not None and kind.of == "classifier" and classifier is not None
        size = classifier.preprocessing.size if of_classifier and classifier is not None else ""
        return f"{self.what.currentData()} {shape} {size}"

    def _measure(self, attempt: Attempt, subject: str, seconds: float) -> None:
        """Note how long a training took that came to its end."""
        if attempt.stopped:
            return
        options = dict(attempt.parameters)
        per_image = tuple(name for name in options if name not in NO_TIME)
        seen = options["epochs"] * count_images(attempt.dataset)
        # all networks of it together, which are trained for as many epochs
        self._measured[subject] = MeasuredTraining(
            subject, options, seconds / seen, 0.0, per_image, afterwards=()
        )
        self._show_time()

    def _show_time(self) -> None:
        """Say how long the training will take, as far as one that was done here tells."""
        form, dataset, subject = self.form, self.dock.state.dataset, self._subject()
        if form is None or form.presets is None:
            return
        words = ""
        if dataset is not None and subject in self._measured:
            options = {name: form.editor(name).value() for name in form.names}
            images = count_images(dataset)
            words = self._measured[subject].foresee(subject, options, options["epochs"], images)
        form.presets.show_time(words)

    def _share(self, result: Any, attempt: Attempt) -> str:
        """Share what was trained, in place of what was there when it was stopped; say what became of it."""
        state, before = self.dock.state, attempt.reached
        attempt.reached = result
        if not hasattr(result, "latent_statistics"):
            state.add_maker(result, instead_of=before)
            return "It is chosen above, where it makes images and can be saved; not saved yet."
        other = all(state.classifier is not known for known in (attempt.classifier, before))
        state.classifier = result
        meanwhile = ", and took the place of one that was loaded meanwhile" if other else ""
        return (
            f"The classifier in use has it now{meanwhile}; not saved yet. The page Counterfactual shows "
            "where it leads."
        )


def count_images(dataset: "Dataset") -> int:
    """Return how many images are learnt from; of those that are split only then, all."""
    return count_training_images(dataset) or len(dataset)


def describe_epoch(event: EpochFinished) -> str:
    """Say how far a training is, and the losses of its players.

    Examples
    --------
    >>> describe_epoch(EpochFinished(2, 9, {"generator_loss": 0.5, "discriminator_loss": 1.25}))
    'Epoch 2 of 9: loss of the generator 0.5, of the discriminator 1.25'
    """
    metrics = event.metrics
    whose = f"{event.network[:1].upper()}{event.network[1:]}: epoch" if event.network else "Epoch"
    losses = f"loss {metrics['generator_loss']:.3g}"
    if "discriminator_loss" in metrics:
        losses = (
            f"loss of the generator {metrics['generator_loss']:.3g}, of the discriminator "
            f"{metrics['discriminator_loss']:.3g}"
        )
    return f"{whose} {event.epoch} of {event.epochs}: {losses}"


def list_lines(report: Mapping[str, Any] | None) -> list[str]:
    """Return the lines of a channel predictor's report, which stand in a table; none without a report."""
    if report is None:
        return []
    from napari_why.generation.prediction_report import describe_row

    return [describe_row(row, report["split"]) for row in report["rows"]]
