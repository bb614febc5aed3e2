"""The dock that shows where a classifier looked: one map, several compared, and what they deserve."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.layers import Labels
from qtpy.QtCore import QTimer, Signal
from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QFormLayout,
    QPushButton,
    QSizePolicy,
    QSpinBox,
    QStackedWidget,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from napari_why.core.errors import ParameterError
from napari_why.core.torch_loading import import_torch
from napari_why.sessions import IMAGES_GIVEN, AttributionSession, Compared, Finding
from napari_why.widgets.class_maps_panel import ClassMapsPanel
from napari_why.widgets.compare_panel import ComparePanel
from napari_why.widgets.compare_window import ResultActions
from napari_why.widgets.dock import as_sentence, read_preferences
from napari_why.widgets.explaining_dock import ClassChooser, ExplainingDock
from napari_why.widgets.image_files import file_filter
from napari_why.widgets.job import Executor, JobState, RunButton, run_in_thread
from napari_why.widgets.measure_panel import RegionValues
from napari_why.widgets.parameter_form import OptionalMethodChooser, narrow
from napari_why.widgets.prototype_panel import PrototypePanel
from napari_why.widgets.session_buttons import method_settings, restore_method
from napari_why.widgets.tables import PlainLabel

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_why.attribution import Attribution
    from napari_why.core.registry import Method
    from napari_why.evaluation import ExplanationScore
    from napari_why.model import Classifier

# What can be explained, in the order of the menu: its name there, and whether classes are asked for.
CLASS, CONTRAST, EMBEDDING, SIMILARITY = range(4)
KINDS = (
    "a class",
    "one class rather than another",
    "a number of the embedding",
    "the similarity to another image",
)
# More feature maps than any network here has; the network refuses a number that it does not have.
MOST_COORDINATES = 99_999


class AttributionDock(ExplainingDock):
    """Where did the classifier look: overlays of evidence for and against a class.

    Parameters
    ----------
    napari_viewer : ViewerModel
    executor : Executor, optional
        Where the work runs; a worker thread by default.
    """

    session: AttributionSession
    verb = "Explain"
    automatic_class = "the predicted class"

    def __init__(self, napari_viewer: "ViewerModel", executor: Executor = run_in_thread) -> None:
        super().__init__(napari_viewer, executor)
        self._asked: tuple[Any, dict[str, Any]] = (None, {})
        self.wrapper = OptionalMethodChooser("the map as it is")
        self.wrapper.box.setToolTip(
            "What is made of the map: averaged, pooled, cut, of a whole field"
        )
        self.given = GivenPanel(self.viewer)
        self.column.addWidget(self.wrapper)
        self.column.addWidget(self.given)
        self.method.changed.connect(self._show_what_is_given)
        self.wrapper.changed.connect(self._show_what_is_given)
        self.state.dataset_changed.connect(self._show_what_is_given)
        self.finish_layout()
        self.score_button = RunButton("Is this map true?", self.runner)
        self.score_button.setToolTip(
            "Measure whether the network needs what the map shows, beside chance, the image's own "
            "intensity and a network with random weights"
        )
        self.score_label = PlainLabel()
        self.score_label.setWordWrap(True)
        self.score_button.started.connect(self.score)
        self.score_button.set_possible(False, "Explain an image first")
        self.result_actions = ResultActions(self)
        self.region_values = RegionValues(self, self.session)
        for widget in (
            self.result_actions,
            self.region_values,
            self.score_button,
            self.score_label,
        ):
            self.column.insertWidget(self.column.count() - 1, widget)
        self.comparing = ComparePanel(self, self.session, self.given_to, self.keep)
        self.column.insertWidget(self.column.count() - 1, self.comparing)
        self.class_maps = ClassMapsPanel(self)
        self.tabs.addTab(self.class_maps, "Classes")
        self.prototypes = PrototypePanel(self)
        self.tabs.addTab(self.prototypes, "Prototypes")
        self._show_what_is_given()

    def lay_out_pages(self) -> None:
        """Make a page for one image; those of classes and prototypes come beside it."""
        self.tabs = QTabWidget()
        self.column.addWidget(self.tabs)
        page = QWidget()
        self.column = QVBoxLayout(page)
        self.tabs.addTab(page, "One image")
        # pages are of different heights: what is below the end of one is nothing
        self.tabs.currentChanged.connect(lambda _index: self.scroll_to_top())

    def make_session(self) -> AttributionSession:
        """Return the session that this dock shows."""
        return AttributionSession(self.viewer, host=self)

    def make_target(self) -> QWidget:
        """Return the chooser of a class, or of another score."""
        return TargetChooser(self.automatic_class)

    def catalogue(self) -> Any:
        """Import the attribution methods, and the options of class maps and prototypes."""
        import_torch()
        from napari_why.attribution import METHODS, WRAPPERS
        from napari_why.evaluation import ClassMapOptions
        from napari_why.generation import PrototypeOptions

        return METHODS.complete(), WRAPPERS.complete(), ClassMapOptions, PrototypeOptions

    def offer_methods(self, classifier: "Classifier", catalogue: Any) -> None:
        """Offer the attribution methods; those unfit for the network are greyed out."""
        methods, wrappers, class_map_options, prototype_options = catalogue
        network = classifier.network  # not the dock's: another may be in use when a menu is opened

        def unsuitable(method: "Method") -> str | None:
            return method.unsuitable(network)

        size = classifier.preprocessing.size or 0
        self.method.set_methods(
            methods, unsuitable, self.session.first_method, lambda method: usual_sizes(method, size)
        )
        self.wrapper.set_methods(wrappers)
        self.comparing.offer_methods(methods, unsuitable)
        self.class_maps.offer_methods(methods, unsuitable, class_map_options)
        self.prototypes.offer(classifier.classes, prototype_options)

    def options(self) -> dict[str, Any]:
        """Return what the forms say, and what the chosen method takes beside the image.

        Raises
        ------
        WhyError
            A value that cannot be, or something that the method needs and is not there.
        """
        options = {**super().options(), **self.given_to(self.method.method, self.wrapper.method)}
        if self.wrapper.method is not None and self.wrapper.form is not None:
            options["wrapper"] = self.wrapper.method.name
            options["wrapper_options"] = self.wrapper.form.values()
        return options

    def settings(self) -> dict[str, Any]:
        """Return what the form says, JSON types, for a saved session."""
        return {**super().settings(), "wrapper": method_settings(self.wrapper)}

    def restore_methods(self, values: Mapping[str, Any]) -> None:
        """Say again what depends on the methods and wrappers that are offered."""
        super().restore_methods(values)
        restore_method(self.wrapper, values.get("wrapper"))

    def given_to(self, *takers: "Method | None") -> dict[str, Any]:
        """Return regions and references as far as a method or a wrapper takes them."""
        given = {"regions": self.given.labels, "references": self.state.dataset}
        return {
            name: value
            for name, value in given.items()
            if any(taker.takes(name) for taker in takers if taker)
        }

    def remember(self, target: Any, options: dict[str, Any]) -> None:
        """Keep what the score of the map has to be asked with: the form may say something else by then."""
        self._asked = (target, {name: options[name] for name in IMAGES_GIVEN if name in options})

    def show_result(self, result: "Attribution") -> None:
        """Say in words what the map shows, and score it where the preferences say so."""
        self.result_label.setText(summary_of(result))
        # an earlier map that is put on show again comes with what was asked and found of it
        kept = {} if self.session.made is None else self.session.made.kept
        kept.setdefault("asked", self._asked)
        self.score_label.setText(words_of_score(kept.get("score")))
        self.score_button.set_possible(True)
        self.result_actions.show_result()
        self.region_values.show_result(self.session.finding)

    def keep(self, one: "Compared", target: Any, given: dict[str, Any]) -> None:
        """Show one of the maps that were compared, and its score.

        Parameters
        ----------
        one : Compared
            Nothing is shown of one that failed.
        target : str
            The class that the maps were asked for.
        given : dict
            What the methods got beside the image: regions, references.
        """
        if one.finding is None:
            return
        self.remember(target, given)
        self.session.show(*one.finding)
        if one.score is not None:
            self._show_score(one.finding, one.score)

    def score(self) -> None:
        """Measure beside the viewer how much the map that is shown deserves to be believed."""
        self._score()

    def _score(self, *, unasked: bool = False) -> None:
        finding, session = self.session.finding, self.session
        if finding is None:
            return
        made = self.session.made
        target, given = self._asked if made is None else made.kept.get("asked", self._asked)

        def work(**listeners: Any) -> "ExplanationScore":
            return session.score(finding, target, **given, **listeners)

        self.run(
            "Is this map true?",
            work,
            lambda score: self._show_score(finding, score),
            keep_message=unasked,
        )

    def _show_score(self, finding: "Finding[Any]", score: "ExplanationScore") -> None:
        self.session.show_score(finding, score)
        shown = self.session.finding
        if shown is not None and shown.result is finding.result:  # another may be shown by now
            self.score_label.setText(words_of_score(score))

    def _show_finding(self, finding: "Finding[Any]") -> None:
        super()._show_finding(finding)
        # who cancelled a map wants no further job
        if read_preferences().score_maps and finding.result.complete:
            # in a turn of its own: this job has not ended yet
            QTimer.singleShot(0, self, self._score_if_free)

    def _score_if_free(self) -> None:
        if not self.is_shut_down and self.runner.state is JobState.IDLE:
            self._score(unasked=True)

    def shut_down(self) -> None:
        """Stop what runs, and follow the viewer no more."""
        super().shut_down()
        self.state.dataset_changed.disconnect(self._show_what_is_given, missing_ok=True)
        self.given.release()
        self.comparing.release()
        self.class_maps.release()
        self.result_actions.release()

    def reopen(self) -> None:
        """Follow the viewer again."""
        super().reopen()
        self.state.dataset_changed.connect(self._show_what_is_given)
        self.given.follow()

    def _show_what_is_given(self, _changed: Any = None) -> None:
        self.class_maps.show_dataset(self.state.dataset)
        self.given.show_for((self.method.method, self.wrapper.method), self.state.dataset)


class TargetChooser(QWidget):
    """What is explained: a class, one rather than another, an embedding's number, a similarity.

    Parameters
    ----------
    automatic : str
        What the box of classes says where the choice is left to the method.
    """

    def __init__(self, automatic: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.kind = QComboBox(self)
        self.kind.addItems(KINDS)
        narrow(self.kind)
        self.classes = ClassChooser(automatic)
        self.target_class, self.against = ClassChooser(automatic), ClassChooser("choose")
        self.coordinate = QSpinBox()
        self.coordinate.setRange(0, MOST_COORDINATES)
        self.coordinate.setToolTip("A feature map of the last layer, averaged, counted from 0")
        self.image = ImageFileButton()
        self._pages = QStackedWidget()
        for page in (self.classes, self._rather_than(), self.coordinate, self.image):
            self._pages.addWidget(page)
        self.kind.currentIndexChanged.connect(self._show_page)
        self._show_page(CLASS)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.kind)
        layout.addWidget(self._pages)

    def _show_page(self, index: int) -> None:
        self._pages.setCurrentIndex(index)
        # only the page in sight takes room: a stack is as high as the highest of its pages
        policy = QSizePolicy.Policy
        for place in range(self._pages.count()):
            height = policy.Preferred if place == index else policy.Ignored
            if (page := self._pages.widget(place)) is not None:
                page.setSizePolicy(policy.Preferred, height)
        self._pages.adjustSize()

    def _rather_than(self) -> QWidget:
        # below each other: side by side, two long names would be wider than the dock
        page = QWidget()
        layout = QFormLayout(page)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addRow("class", self.target_class)
        layout.addRow("rather than", self.against)
        return page

    def set_classes(self, classes: Sequence[str]) -> None:
        """Offer these classes."""
        for chooser in (self.classes, self.target_class, self.against):
            chooser.set_classes(classes)

    def settings(self) -> dict[str, Any]:
        """Return what is chosen, JSON types, for a saved session."""
        image = self.image.path
        return {
            **self.classes.settings(),
            "explained": KINDS[self.kind.currentIndex()],
            "rather_than": [self.target_class.settings(), self.against.settings()],
            "embedding": self.coordinate.value(),
            "similar_to": None if image is None else str(image),
        }

    def restore_settings(self, values: Mapping[str, Any]) -> None:
        """Choose again what :meth:`settings` returned; what is not known stays."""
        if (kind := values.get("explained")) in KINDS:
            self.kind.setCurrentIndex(KINDS.index(kind))
        self.classes.restore_settings(values)
        both = values.get("rather_than")
        boxes = (self.target_class, self.against)
        for box, chosen in zip(boxes, both if isinstance(both, list) else (), strict=False):
            if isinstance(chosen, Mapping):
                box.restore_settings(chosen)
        if isinstance(number := values.get("embedding"), int):
            self.coordinate.setValue(number)
        if isinstance(path := values.get("similar_to"), str):
            self.image.choose(Path(path))

    @property
    def target(self) -> Any:
        """What :meth:`napari_why.sessions.AttributionSession.compute` takes.

        Raises
        ------
        ParameterError
            Classes or an image were not chosen.
        """
        kind = self.kind.currentIndex()
        if kind == CLASS:
            return self.classes.target
        if kind == SIMILARITY:
            return self.image.chosen
        from napari_why.attribution import Contrast, EmbeddingCoordinate

        if kind == EMBEDDING:
            return EmbeddingCoordinate(self.coordinate.value())
        first, second = self.target_class.target, self.against.target
        if first is None or second is None:
            raise ParameterError("Choose both classes: the one that is explained, and the other.")
        return Contrast(first, second)


class ImageFileButton(QPushButton):
    """A button that shows, and asks for, an image file."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__("Choose an image file...", parent)
        self.path: Path | None = None
        self.clicked.connect(self._ask)

    @property
    def chosen(self) -> Path:
        """The file.

        Raises
        ------
        ParameterError
            None was chosen.
        """
        if self.path is None:
            raise ParameterError("Choose the image file that this image is compared with.")
        return self.path

    def choose(self, path: Path) -> None:
        """Take a file."""
        self.path = path
        self.setText(path.name)
        self.setToolTip(str(path))

    def _ask(self) -> None:
        name, _ = QFileDialog.getOpenFileName(self, "Compare with", "", file_filter())
        if name:
            self.choose(Path(name))


class GivenPanel(QWidget):
    """What a method takes beside the image: a Labels layer, images to compare with.

    Parameters
    ----------
    viewer : ViewerModel

    Attributes
    ----------
    changed : Signal()
        Labels layers came or went.
    """

    changed = Signal()

    def __init__(self, viewer: "ViewerModel", parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self.regions = QComboBox(self)
        self.regions.setToolTip("The Labels layer whose regions (cells) are explained")
        self.references = PlainLabel("", self)
        self.references.setWordWrap(True)
        self._form = QFormLayout(self)
        self._form.setContentsMargins(0, 0, 0, 0)
        self._form.addRow("regions", self.regions)
        self._form.addRow("compared with", self.references)
        self.follow()

    @property
    def labels(self) -> Labels | None:
        """The chosen Labels layer, None without one."""
        layer = self.regions.currentData()
        return layer if isinstance(layer, Labels) and layer in self._viewer.layers else None

    def show_for(self, takers: "Sequence[Method | None]", dataset: Any) -> None:
        """Show what a method and a wrapper take, and nothing else.

        Parameters
        ----------
        takers : sequence of Method or None
            Method and wrapper that are chosen.
        dataset : Dataset or None
            In use, whose training images are the references.
        """
        takes = {
            name: any(taker.takes(name) for taker in takers if taker)
            for name in ("regions", "references")
        }
        self._form.setRowVisible(self.regions, takes["regions"])
        self._form.setRowVisible(self.references, takes["references"])
        self.setVisible(any(takes.values()))
        self.references.setText(
            "No data set yet: open the training images on the page Data."
            if dataset is None
            else f"training images of the data set in use ({len(dataset)} images)"
        )

    def follow(self) -> None:
        """Keep up with the viewer's Labels layers."""
        events = self._viewer.layers.events
        for signal in (events.inserted, events.removed, events.renamed):
            signal.connect(self._refresh)
        self._refresh()

    def release(self) -> None:
        """Follow the viewer no more."""
        events = self._viewer.layers.events
        for signal in (events.inserted, events.removed, events.renamed):
            signal.disconnect(self._refresh)

    def _refresh(self, event: Any = None) -> None:  # noqa: ARG002 (napari sends one)
        chosen = self.labels
        self.regions.clear()
        for layer in reversed(self._viewer.layers):  # the newest first
            if isinstance(layer, Labels):
                self.regions.addItem(layer.name, layer)
                if layer is chosen:
                    self.regions.setCurrentIndex(self.regions.count() - 1)
        self.changed.emit()


def words_of_score(score: "ExplanationScore | None") -> str:
    """Say how much a map deserves to be believed; nothing where that was not measured."""
    return "" if score is None else "\n".join([as_sentence(score.line), *score.sentences])


def summary_of(attribution: "Attribution") -> str:
    """Say in words what an attribution shows, how far it adds up, what lies in no map, what to doubt."""
    shown = (
        f"{_what_colours_mean(attribution)}, in {attribution.unit}; {described_score(attribution)}."
    )
    doubts = map(as_sentence, attribution.notes)
    return " ".join(filter(None, [shown, attribution.completeness, *doubts]))


def described_score(attribution: "Attribution") -> str:
    """Say how probable the class is, and then the logit that is explained, which is no probability."""
    probability = attribution.probability
    if probability is None:
        return f"the score that is explained is {attribution.score:.3g}"
    return f"{attribution.target}, {probability:.2f} (logit {attribution.score:.3g})"


def usual_sizes(method: "Method", size: int) -> dict[str, int]:
    """Return what a window that is left to the method comes to, on an input of that size.

    0 is a size that differs from image to image.

    Parameters
    ----------
    method : Method
    size : int
        Height and width of the input, in pixels.

    Returns
    -------
    dict of str to int
        By parameter, in pixels; empty where nothing is left to the method, or nothing is known.
    """
    from napari_why.attribution.occlusion import choose_grid, occlusion

    return {"window": choose_grid((size, size))[0]} if size and method.function is occlusion else {}


def _what_colours_mean(attribution: "Attribution") -> str:
    details = attribution.record.details
    if "joint_meaning" in details:
        return f"{details['joint_meaning']} {attribution.target} (salmon)"
    if details.get("joint_has_sign", True):
        return f"Evidence for {attribution.target} (salmon) and against it (sky blue)"
    return (
        f"How much the score of {attribution.target} reacts to a pixel, upwards or downwards "
        "(salmon; the maps of the channels show which way)"
    )
