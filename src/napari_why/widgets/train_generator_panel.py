"""Training what makes images: a generator, a channel predictor, a translation, a flow; with live curves."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_warning
from qtpy.QtWidgets import QComboBox, QFormLayout, QVBoxLayout

from napari_why.core.errors import WhyError
from napari_why.core.events import EpochFinished, Event
from napari_why.core.torch_loading import import_torch
from napari_why.output.generation_snippets import (
    copy_generator_training,
    copy_predictor_training,
    copy_translation_training,
)
from napari_why.output.snippet_lines import Snippet
from napari_why.widgets.copy_buttons import CopyButtons
from napari_why.widgets.dock import Dock, MessageArea, Panel, as_sentence, read_preferences
from napari_why.widgets.job import RunButton
from napari_why.widgets.parameter_field import narrow
from napari_why.widgets.parameter_form import ParameterForm
from napari_why.widgets.session_buttons import form_settings, restore_form
from napari_why.widgets.settings_fold import SettingsFold
from napari_why.widgets.tables import PlainLabel

if TYPE_CHECKING:
    from napari_why.core.options import Options
    from napari_why.datasets import Dataset
    from napari_why.model import Classifier

# Of the job, by which its events are told from those of others.
TITLE = "Training what makes images"


@dataclass(frozen=True)
class Trained:
    """One kind of network that can be trained here.

    Parameters
    ----------
    title, about : str
        For the user.
    options : type
        That declares what can be set.
    fit : callable
        ``(dataset, *, on_event, cancelled, **parameters)``; of what belongs to a classifier
        ``(classifier, dataset, ...)``, of channels ``(dataset, channel, ...)``.
    of : str
        What else it takes: ``classifier``, ``channel`` or nothing.
    """

    title: str
    about: str
    options: "type[Options]"
    fit: Callable[..., Any]
    of: str = ""


class TrainGeneratorPanel(Panel):
    """What to train, its options, a Train button, and curves of both players' losses.

    A generator or channel predictor that was trained is shared, and offered above; a classifier with a
    translation or a flow takes the place of the one in use.
    """

    def __init__(self, dock: Dock) -> None:
        super().__init__(dock)
        self._kinds: Mapping[str, Trained] = {}
        self._lacks: Callable[[Classifier], str | None] | None = None
        # of an opened session, until the kinds are there
        self._wanted: Mapping[str, Any] = {}
        self.form: ParameterForm | None = None
        self.curves: Any = None
        self.column.setContentsMargins(0, 0, 0, 0)
        self.what, self.channel = QComboBox(), QComboBox()
        for box in (self.what, self.channel):
            narrow(box)
        self.what.setToolTip("Which network is trained")
        self.channel.setToolTip("The channel that is predicted; all others are given")
        self.channel_label = PlainLabel("channel")
        self.about = PlainLabel()
        self._form_place, self._curve_place = QVBoxLayout(), QVBoxLayout()
        self.button = RunButton("Train", dock.runner)
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
        self.fold.column.addLayout(rows)
        self.fold.column.addLayout(self._form_place)
        for widget in (self.fold, self.button, self.status, self.warnings, self.copy_buttons):
            self.column.addWidget(widget)
        self.column.addLayout(self._curve_place)
        self.what.currentIndexChanged.connect(self._show_kind)
        self.button.started.connect(self.train)
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
        if self.form is not None:
            restore_form(self.form, values.get("options"))

    def train(self) -> None:
        """Train on the shared data set, and share what came of it."""
        kind, state = self.kind, self.dock.state
        dataset, classifier = state.dataset, state.classifier
        if kind is None or dataset is None or self.form is None or not self.dock.is_free():
            return
        try:
            parameters = self.form.values()
        except WhyError as error:
            self.dock.message.tell_error(error)
            return
        name, channel = str(self.what.currentData()), str(self.channel.currentText())
        given = {"classifier": (classifier, dataset), "channel": (dataset, channel)}
        arguments = given.get(kind.of, (dataset,))

        def work(**listeners: Any) -> Any:
            return kind.fit(*arguments, **listeners, **parameters)

        def keep(result: Any) -> None:
            self._share(result, classifier)
            show_warning(
                "The dock was closed while it trained. Training was stopped; what was trained is kept, "
                "and not saved yet: open napari-why again to save it."
            )

        self._start_curves()
        self.copy_buttons.offer(
            partial(copy_kind, name, dataset, parameters, channel=channel, classifier=classifier)
        )
        self.fold.fold_after_run()
        self.dock.run(
            TITLE,
            work,
            lambda result: self._conclude(result, classifier),
            lambda _error: self.status.clear(),
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
        self._propose_size()
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

    def _conclude(self, result: Any, asked: "Classifier | None") -> None:
        self.warnings.clear()  # what holds at the end stands below the page, and with what was trained
        self.status.setText(self._share(result, asked))
        self.dock.message.drop(list_lines(result.card.get("report")))

    def _share(self, result: Any, asked: "Classifier | None") -> str:
        """Share what was trained; say what became of it."""
        state = self.dock.state
        if not hasattr(result, "latent_statistics"):
            state.add_maker(result)
            return "It is chosen above, where it makes images and can be saved; not saved yet."
        other = state.classifier is not asked
        state.classifier = result
        meanwhile = ", and took the place of one that was loaded meanwhile" if other else ""
        return (
            f"The classifier in use has it now{meanwhile}; not saved yet. The page Counterfactual shows "
            "where it leads."
        )


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


def copy_kind(
    name: str,
    dataset: "Dataset",
    parameters: Mapping[str, Any],
    *,
    channel: str,
    classifier: "Classifier | None",
) -> Snippet:
    """Return a training as lines to copy.

    Parameters
    ----------
    name : {"generator", "predictor", "translation", "flow"}
    dataset : Dataset
    parameters : mapping
        Of the training, by name.
    channel : str
        The one to predict, of a predictor.
    classifier : Classifier or None
        That is to get a translation or flow.

    Returns
    -------
    Snippet

    Raises
    ------
    LookupError
        No classifier for a translation or flow.
    """
    if name == "generator":
        return copy_generator_training(dataset, parameters)
    if name == "predictor":
        return copy_predictor_training(dataset, channel, parameters)
    if classifier is None:
        raise LookupError(f"{name}: found no classifier; expected the one that it was trained for")
    return copy_translation_training(classifier, dataset, parameters, flow=name == "flow")


def import_trainings() -> tuple[dict[str, Trained], Any]:
    """Import what can be trained and its curves, and what tells why a classifier has no use for it."""
    import_torch()
    from napari_why.adversarial import CycleGanOptions, FlowOptions
    from napari_why.fitting.fit_channel_predictor import PredictorOptions, fit_channel_predictor
    from napari_why.fitting.fit_generator import GeneratorOptions, fit_generator
    from napari_why.fitting.fit_translation import fit_flow, fit_translation, needs_invertible
    from napari_why.widgets.plot import draw_once

    draw_once()
    kinds = {
        "generator": Trained(
            "Generator of new images (DCGAN)",
            "Learns to draw images of each class out of random numbers",
            GeneratorOptions,
            fit_generator,
        ),
        "predictor": Trained(
            "Channel predictor (conditional GAN)",
            "Learns what one channel looks like beside the others; what it invents is no evidence",
            PredictorOptions,
            fit_channel_predictor,
            of="channel",
        ),
        "translation": Trained(
            "Translation of the classifier (CycleGAN)",
            "Learns to turn images of one class into the other, for the page Counterfactual",
            CycleGanOptions,
            fit_translation,
            of="classifier",
        ),
        "flow": Trained(
            "Flow of the classifier",
            "Learns the way from noise to images of each class, for the page Counterfactual",
            FlowOptions,
            fit_flow,
            of="classifier",
        ),
    }
    return kinds, needs_invertible
