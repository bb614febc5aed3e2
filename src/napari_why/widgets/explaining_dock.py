"""What the docks that explain one image have in common."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from qtpy.QtWidgets import QComboBox, QWidget

from napari_why.core.errors import WhyError
from napari_why.output.snippets import copy_result
from napari_why.sessions import ExplanationSession, Finding
from napari_why.widgets.copy_buttons import CopyButtons
from napari_why.widgets.dock import Dock
from napari_why.widgets.job import Executor, RunButton, run_in_thread
from napari_why.widgets.layer_chooser import LayerChooser
from napari_why.widgets.parameter_form import MethodChooser
from napari_why.widgets.session_buttons import method_settings, restore_method
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
    session : ExplanationSession
        The same object in the console shows the same in the viewer.
    """

    session: ExplanationSession[Any]
    # On the button, and what the class box says when the choice is left to the method.
    verb: ClassVar[str]
    automatic_class: ClassVar[str]

    def __init__(self, viewer: "ViewerModel", executor: Executor = run_in_thread) -> None:
        super().__init__(viewer, executor)
        self.lay_out_pages()
        self.session = self.make_session()
        self.classifier_label = ClassifierLabel()
        self.column.addWidget(self.classifier_label)
        self.heading("Image")
        self.layers = LayerChooser(viewer)
        self.column.addWidget(self.layers)
        self.heading("Class")
        self.target: Any = self.make_target()
        self.column.addWidget(self.target)
        self.heading("Method")
        self.method = MethodChooser()
        self.column.addWidget(self.method)
        self.button = RunButton(self.verb, self.runner)
        self.result_label = PlainLabel()
        self.result_label.setWordWrap(True)
        self.copy_buttons = CopyButtons(self.message)
        self._wanted: dict[str, Any] = {}  # of a session, until there are methods to choose from
        self.button.started.connect(self.explain)
        self.state.classifier_changed.connect(self.show_classifier)
        self.session.result_changed.connect(self.show_result)
        self.session.result_changed.connect(self._offer_copy)
        self.show_classifier(self.state.classifier)

    def finish_layout(self) -> None:
        """Put the button and what it tells below everything else."""
        self.column.addWidget(self.button)
        self.column.addWidget(self.result_label)
        self.column.addWidget(self.copy_buttons)
        self.column.addStretch(1)

    def lay_out_pages(self) -> None:
        """Make the page that holds image, class and method; by default the dock's only one."""

    def make_session(self) -> ExplanationSession[Any]:
        """Return the session that this dock shows."""
        raise NotImplementedError

    def make_target(self) -> QWidget:
        """Return the chooser of what is explained, which has ``target`` and ``set_classes``."""
        return ClassChooser(self.automatic_class)

    def catalogue(self) -> Any:
        """Import the methods; called beside the viewer."""
        raise NotImplementedError

    def offer_methods(self, classifier: "Classifier", catalogue: Any) -> None:
        """Fill the method chooser for a classifier."""
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
        self.classifier_label.show_classifier(classifier)
        self.layers.set_channels(classifier.channels if classifier else ())
        self.target.set_classes(classifier.classes if classifier else ())
        self.button.set_possible(False, "Train or load a classifier first")
        if classifier is not None:
            self.load(self.catalogue, lambda methods: self._offer(classifier, methods))

    def _offer(self, classifier: "Classifier", catalogue: Any) -> None:
        # methods are imported beside the viewer: meanwhile another classifier may have come
        if classifier is self.state.classifier:
            self.button.set_possible(True)
            self.offer_methods(classifier, catalogue)
            restore_method(self.method, self._wanted.get("method"))
            self._wanted = {}

    def settings(self) -> dict[str, Any]:
        """Return what the form says, JSON types, for a saved session."""
        target = self.target.target
        named = {"target": target} if isinstance(target, str) else {}
        return {"method": method_settings(self.method), **named}

    def restore_settings(self, values: Mapping[str, Any]) -> None:
        """Say again what :meth:`settings` returned; what is not known stays."""
        # methods may still be on their way, beside the viewer
        self._wanted = dict(values)
        if isinstance(self.target, QComboBox):
            index = self.target.findData(values.get("target"))
            self.target.setCurrentIndex(max(index, 0))
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

        # reading pixels and making layers take their time on large images too
        def work(**listeners: Any) -> Finding[Any]:
            return session.compute(subject, target, method, **listeners, **options)

        def show(finding: Finding[Any]) -> None:
            self.remember(target, options)
            self._show_finding(finding)

        self.run(self.method.title, work, show)

    def remember(self, target: Any, options: dict[str, Any]) -> None:
        """Keep what a finding that is about to be shown was asked with, where it may be asked again."""

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
        self.layers.release()
        self.session.close()

    def reopen(self) -> None:
        """Follow the shared classifier and the layers again."""
        super().reopen()
        self.state.classifier_changed.connect(self.show_classifier)
        self.layers.follow()
        self.show_classifier(self.state.classifier)


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


class ClassifierLabel(PlainLabel):
    """Says which classifier is in use, or where to get one."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__("", parent)
        self.setWordWrap(True)
        self.show_classifier(None)

    def show_classifier(self, classifier: "Classifier | None") -> None:
        """Describe a classifier in a line."""
        if classifier is None:
            self.setText("No classifier yet. Train or load one in the Classifier dock.")
            return
        self.setText(
            f"{classifier.network.name}: {' or '.join(classifier.classes)}, "
            f"from {', '.join(classifier.channels)}"
        )
