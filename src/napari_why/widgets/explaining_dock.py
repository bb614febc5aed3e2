"""What the docks that explain one image have in common."""

from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any, ClassVar

from napari.layers import Layer
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QComboBox, QWidget

from napari_why.core.durations import MeasuredRun
from napari_why.core.errors import WhyError
from napari_why.output.snippets import copy_result
from napari_why.sessions import ExplanationSession, Finding
from napari_why.widgets.classifier_bar import ClassifierLabel
from napari_why.widgets.copy_buttons import CopyButtons
from napari_why.widgets.dock import RUN_KEYS, Dock
from napari_why.widgets.job import Executor, RunButton, run_in_thread
from napari_why.widgets.layer_chooser import LayerChooser
from napari_why.widgets.parameter_form import MethodChooser
from napari_why.widgets.session_buttons import method_settings, restore_method
from napari_why.widgets.settings_fold import SettingsFold
from napari_why.widgets.tables import PlainLabel

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_why.model import Classifier


class ExplainingDock(Dock):
    """Image, class, method and a button; a subclass names its session and its methods.

    What is shown is in :attr:`session`: the dock fills in a form, runs the work beside the viewer
    and listens.

    Parameters
    ----------
    viewer : ViewerModel
    executor : Executor, optional

    Attributes
    ----------
    layers : ImageChoice
        The image that the docks of the viewer share.
    session : ExplanationSession
        The same object in the console shows the same in the viewer.
    """

    session: ExplanationSession[Any]
    # On the button, what it does, and what the class box says when the choice is left to the method.
    verb: ClassVar[str]
    about: ClassVar[str] = "Compute what the form asks for, and show it over the image"
    automatic_class: ClassVar[str]

    def __init__(self, viewer: "ViewerModel", executor: Executor = run_in_thread) -> None:
        super().__init__(viewer, executor)
        self._begun = False
        self.lay_out_pages()
        self.session = self.make_session()
        self.classifier_label = ClassifierLabel()
        self.column.addWidget(self.classifier_label)
        self.image_label = self.heading("Image")
        self.layers = self.state.image
        self.chooser = LayerChooser(viewer)
        self.column.addWidget(self.chooser)
        # until finish_layout, all that is added goes into it
        self.fold, self._page_column = SettingsFold(), self.column
        self.column.addWidget(self.fold)
        self.column = self.fold.column
        self.heading("Class")
        self.target: Any = self.make_target()
        self.column.addWidget(self.target)
        self.heading("Method")
        self.method = MethodChooser()
        self.column.addWidget(self.method)
        self.method.box.setToolTip("How it is computed; what the method does stands below")
        self._measured: MeasuredRun | None = None
        self.method.changed.connect(self._show_time)
        self.method.edited.connect(self._show_time)
        self.layers.changed.connect(self._describe_sizes)
        self.button = RunButton(self.verb, self.runner)
        self.button.set_possible(False, "Train or load a classifier first")
        self.button.setToolTip(f"{self.about} ({RUN_KEYS})")
        self.result_label = PlainLabel()
        self.result_label.setWordWrap(True)
        self.copy_buttons = CopyButtons(self.message)
        self._wanted: dict[str, Any] = {}  # of a session, until there are methods to choose from
        self.button.started.connect(self.explain)
        self.state.classifier_changed.connect(self.show_classifier)
        self.session.result_changed.connect(self.show_result)
        self.session.result_changed.connect(self._offer_copy)
        # in a turn of its own: what is filled in is made by subclasses, after this
        QTimer.singleShot(0, self, self._begin)

    def finish_layout(self) -> None:
        """Put the button and what it tells below everything else."""
        self.column = self._page_column
        self.column.addWidget(self.button)
        self.column.addWidget(self.result_label)
        self.column.addWidget(self.copy_buttons)
        self.column.addStretch(1)

    def become_page(self) -> None:
        """Leave out classifier and image, which the dock around this page shows."""
        super().become_page()
        self.chooser.release()
        for widget in (self.classifier_label, self.image_label, self.chooser):
            widget.hide()
        self._begin()

    def _begin(self) -> None:
        """Show the classifier that there was before this dock."""
        if not self._begun and not self.is_shut_down:
            self._begun = True
            self.show_classifier(self.state.classifier)

    def lay_out_pages(self) -> None:
        """Make the page that holds image, class and method; by default the dock's only one."""

    def start_of_result(self, pressed: QWidget) -> QWidget:
        """Return the fold of the settings, one click away, or the button where they are unfolded."""
        folded = pressed is self.button and not self.fold.is_unfolded
        return self.fold if folded else super().start_of_result(pressed)

    def make_session(self) -> ExplanationSession[Any]:
        """Return the session that this dock shows."""
        raise NotImplementedError

    def make_target(self) -> QWidget:
        """Return the chooser of what is explained, with what :class:`ClassChooser` has."""
        return ClassChooser(self.automatic_class)

    def catalogue(self) -> Any:
        """Import the methods; called beside the viewer."""
        raise NotImplementedError

    def offer_methods(self, classifier: "Classifier", catalogue: Any) -> None:
        """Fill the method chooser for a classifier.

        Parameters
        ----------
        classifier : Classifier
        catalogue : object
            What the dock's import beside the viewer returned.
        """
        raise NotImplementedError

    def options(self) -> dict[str, Any]:
        """Return what the forms say.

        Raises
        ------
        WhyError
            A value that cannot be.
        """
        return self.method.form.values()

    def show_result(self, result: Any) -> None:
        """Say in words what the session shows now."""
        raise NotImplementedError

    def show_classifier(self, classifier: "Classifier | None") -> None:
        """Offer what a classifier can explain."""
        self._begun = True
        self.classifier_label.show_classifier(classifier, self.state.place)
        self.target.set_classes(classifier.classes if classifier else ())
        reason = (
            "The methods are being loaded" if classifier else "Train or load a classifier first"
        )
        self.button.set_possible(False, reason)
        if classifier is not None:
            self.load(self.catalogue, lambda methods: self._offer(classifier, methods))

    def _offer(self, classifier: "Classifier", catalogue: Any) -> None:
        # methods are imported beside the viewer: meanwhile another classifier may have come
        if classifier is self.state.classifier:
            self.button.set_possible(True)
            self.offer_methods(classifier, catalogue)
            self._describe_sizes()
            self.restore_methods(self._wanted)
            self._wanted = {}

    def settings(self) -> dict[str, Any]:
        """Return what the form says, JSON types, for a saved session."""
        return {"method": method_settings(self.method), **self.target.settings()}

    def restore_settings(self, values: Mapping[str, Any]) -> None:
        """Say again what :meth:`settings` returned; what is not known stays."""
        # methods may still be on their way, beside the viewer
        self._wanted = dict(values)
        self.target.restore_settings(values)
        self.restore_methods(values)

    def choose_method(self, name: str) -> None:
        """Choose a method, also where the methods are still on their way; an unknown one changes nothing."""
        self._wanted = {**self._wanted, "method": {"method": name}}
        self.restore_methods(self._wanted)

    def restore_methods(self, values: Mapping[str, Any]) -> None:
        """Say again what depends on the methods that are offered, as far as they are."""
        restore_method(self.method, values.get("method"))

    def explain(self) -> None:
        """Compute what the form asks for beside the viewer, then show it."""
        session, method = self.session, self.method.name
        if self.state.classifier is None:
            return
        try:
            target, options = self.target.target, self.options()
            session.choose_layers(self.layers.layers(), several_files=self.layers.several_files)
            subject = session.subject()
        except WhyError as error:
            self.message.tell_error(error)
            return

        classifier, chosen, values = self.state.classifier, self.method.method, self._timed_values()

        # reading pixels and making layers take their time on large images too
        def work(**listeners: Any) -> tuple[Finding[Any], float]:
            began = monotonic()
            finding = session.compute(subject, target, method, **listeners, **options)
            return finding, monotonic() - began

        def show(timed: tuple[Finding[Any], float]) -> None:
            finding, seconds = timed
            if chosen is not None and getattr(finding.result, "complete", False):
                self._measured = MeasuredRun(classifier, chosen.function, values, seconds)
                self._show_time()
            self.remember(target, options)
            self._show_finding(finding)
            self.fold.fold_after_run()

        self.run(self.method.title, work, show)

    def _describe_sizes(self) -> None:
        """Say beside sizes of the network's pixels what they are in the image that is chosen."""
        if self.is_shut_down:
            return
        classifier = self.state.classifier
        try:
            layers = self.layers.layers() if classifier is not None else []
        except WhyError:  # not all of them are chosen yet
            layers = []
        self.method.describe_sizes(sizes_in(classifier, layers[0]) if layers else None)

    def _timed_values(self) -> dict[str, Any]:
        """Return what the time of a run depends on, by name."""
        wrapper = getattr(getattr(self, "wrapper", None), "method", None)
        return {**self.method.form.values(), "wrapper": getattr(wrapper, "name", "")}

    def _show_time(self) -> None:
        """Say how long the chosen preset will take, as far as a run that was made here tells."""
        method = self.method.method
        if method is None or self.method.form.presets is None:
            return
        words = ""
        if self._measured is not None:
            try:
                values = self._timed_values()
            except WhyError:  # half typed
                return
            words = self._measured.foresee(self.state.classifier, method.function, values)
        self.method.form.presets.show_time(words)

    def remember(self, target: Any, options: dict[str, Any]) -> None:
        """Keep what a finding that is about to be shown was asked with, where it may be asked again.

        Parameters
        ----------
        target : str or None
            The class that was asked about.
        options : dict
            What the session was called with, by name.
        """

    def _offer_copy(self, result: Any) -> None:
        finding = self.session.finding
        if finding is not None:
            classifier = finding.subject.classifier
            self.copy_buttons.offer(lambda: copy_result(classifier, result.record))

    def _show_finding(self, finding: Finding[Any]) -> None:
        self.session.show(*finding)
        if changed := finding.subject.choice.changed():
            self.message.tell(f"{changed}; the result is about what it showed before.", "warning")

    def shut_down(self) -> None:
        """Stop what runs, and follow the shared classifier and the viewer no more."""
        super().shut_down()
        # napari may take a dock away that was shut down already when it was closed
        self.state.classifier_changed.disconnect(self.show_classifier, missing_ok=True)
        self.chooser.release()
        self.session.close()

    def reopen(self) -> None:
        """Follow the shared classifier and the layers again."""
        super().reopen()
        self.state.classifier_changed.connect(self.show_classifier)
        if not self.is_page:
            self.chooser.follow()
        self.show_classifier(self.state.classifier)


def sizes_in(classifier: Any, layer: Layer) -> Callable[[float], str]:
    """Return what says of a size in the network's pixels how large it is in a layer's image.

    Parameters
    ----------
    classifier : Classifier
        Its preprocessing tells the size of a pixel.
    layer : Layer
        The raw layer.

    Returns
    -------
    callable
        From a size in pixels of the network to words: "= 3.2 µm" where the layer has that unit, else
        "= 12 px of the image"; empty where a pixel is one of the image.
    """
    from napari_why.datasets.preprocessing import find_grid

    preprocessing = classifier.preprocessing
    height, width = layer.level_shapes[0][-2:] if layer.multiscale else layer.data.shape[-2:]
    try:
        step = find_grid((int(height), int(width)), preprocessing.size, preprocessing.fit).step[0]
    except WhyError:  # an image smaller than the crop, which is refused when it is explained
        step = 1.0
    # a layer's unit is a pint unit, or "pixel" where the file tells none
    unit = str(layer.units[-1])
    length = float(layer.scale[-1]) if unit == "micrometer" else None

    def describe(size: float) -> str:
        raw = size * step
        if length is not None:
            return f"= {raw * length:.2g} µm"
        return f"= {raw:.0f} px of the image" if step != 1 else ""

    return describe


class ClassChooser(QComboBox):
    """A combo box of classes whose first entry leaves the choice to the method.

    Parameters
    ----------
    automatic : str
        What the first entry says ("the predicted class").
    """

    def __init__(self, automatic: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._automatic = automatic
        self.setToolTip("The class that is explained, or towards which the image is changed")
        self.set_classes(())

    def set_classes(self, classes: Sequence[str]) -> None:
        """Offer these classes, and keep the chosen one where it is among them."""
        # a new classifier of the same classes must not undo the choice
        chosen = self.target
        self.clear()
        self.addItem(self._automatic, None)
        for name in classes:
            self.addItem(name, name)
        self.setCurrentIndex(max(self.findData(chosen), 0) if chosen else 0)

    @property
    def target(self) -> str | None:
        """The chosen class, None where the choice is left to the method."""
        return self.currentData() if self.count() else None

    def settings(self) -> dict[str, Any]:
        """Return what is chosen, JSON types, for a saved session."""
        return {"target": self.target} if self.target else {}

    def restore_settings(self, values: Mapping[str, Any]) -> None:
        """Choose again what :meth:`settings` returned; an unknown class leaves it to the method."""
        self.setCurrentIndex(max(self.findData(values.get("target")), 0))
