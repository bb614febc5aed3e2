"""Classifiers that go to other programs, and those of other programs, opened to be explained."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QCheckBox, QComboBox, QDialog, QFileDialog, QFrame, QVBoxLayout

from napari_why.core.errors import MismatchError, WhyError
from napari_why.core.torch_loading import import_torch
from napari_why.output.exchange_snippets import copy_export, copy_import
from napari_why.widgets.classifier_bar import SaveDialog
from napari_why.widgets.copy_buttons import CopyButtons
from napari_why.widgets.dock import Dock, Panel, as_sentence, read_preferences
from napari_why.widgets.job import RunButton
from napari_why.widgets.parameter_field import narrow
from napari_why.widgets.parameter_form import ParameterForm
from napari_why.widgets.path_line import PathLine, may_write
from napari_why.widgets.session_buttons import form_settings, restore_form
from napari_why.widgets.settings_fold import SettingsFold
from napari_why.widgets.tables import PlainLabel

if TYPE_CHECKING:
    from napari_why.exchange.options import Format
    from napari_why.model import Classifier
    from napari_why.output.raw_layers import LayerChoice

# What is written, by the name of its format: what a box calls it, what it is, and the filter of its dialog.
FORMATS: Mapping["Format", tuple[str, str, str]] = {
    "onnx": (
        "ONNX file",
        "The prediction as one graph: raw grey levels in, probabilities out.",
        "ONNX (*.onnx)",
    ),
    "bioimageio": (
        "BioImage.IO package",
        "The graph with names, a test, a cover and a card, tested by bioimageio.core. Authors, licence, "
        "citation and where that is found (DOI or address) are needed.",
        "BioImage.IO package (*.zip)",
    ),
    "huggingface": (
        "Hugging Face folder",
        "The classifier itself with a card; its classifier.json names the images that it was trained on. "
        "Nothing is uploaded.",
        "",
    ),
}
# Why a button waits, as its tooltip says.
LOADING = "Its options are still being loaded"
FILES = "Classifiers (*.onnx *.zip *.yaml *.safetensors *.pt *.pth);;All files (*)"


class ExchangePanel(Panel):
    """What to write for other programs, and a file of another program to open.

    Parameters
    ----------
    dock : Dock
    may_replace : callable
        Asks before a classifier that is not saved gives way to another.
    """

    def __init__(self, dock: Dock, may_replace: Callable[[], bool]) -> None:
        super().__init__(dock)
        self._asked_for = False
        # of an opened session, until the forms are there
        self._wanted: Mapping[str, Any] = {}
        self.sending, self.opening = ExportPart(dock), ImportPart(dock, may_replace)
        line = QFrame()
        line.setFrameShape(QFrame.Shape.HLine)
        for widget in (self.sending, line, self.opening):
            self.column.addWidget(widget)
        self.end_column()

    def load_catalogue(self) -> None:
        """Import the options, beside the viewer, the first time the page is looked at."""
        if not self._asked_for:
            self._asked_for = True
            self.dock.load(import_options, lambda _found: self.show_catalogue())

    def show_catalogue(self) -> None:
        """Show the forms, once what they are made of is imported."""
        self.sending.show_format()
        self.opening.show_form()
        self.restore_settings(self._wanted)

    def show_classifier(self, classifier: "Classifier | None") -> None:
        """Offer to write a classifier, where there is one; what was said of the one before is over."""
        self.sending.show_classifier(classifier)
        self.opening.forget_answer()

    def settings(self) -> dict[str, Any]:
        """Return what the forms say, JSON types, for a saved session; nothing where nobody looked."""
        if self.sending.form is None or self.opening.form is None:
            return dict(self._wanted)
        return {"to": self.sending.to, "export": self.sending.said(), "import": self.opening.said()}

    def restore_settings(self, values: Mapping[str, Any]) -> None:
        """Say again what :meth:`settings` returned; what is not known stays."""
        self._wanted = values
        if self.sending.form is not None and self.opening.form is not None:
            self.sending.restore(values.get("to"), values.get("export"))
            restore_form(self.opening.form, values.get("import"))

    def release(self) -> None:
        """Follow what is shared no more."""
        self.sending.release()


class ExportPart(Panel):
    """Format, what only the user can say of a model, and a button that asks where to write it."""

    def __init__(self, dock: Dock) -> None:
        super().__init__(dock)
        self.column.setContentsMargins(0, 0, 0, 0)
        self.form: ParameterForm | None = None
        self._said: dict[str, Any] = {}
        self._possible = False
        self.format = QComboBox()
        narrow(self.format)
        # what a format asks for is made of what is imported beside the viewer
        self.format.setEnabled(False)
        for name, (title, *_) in FORMATS.items():
            self.format.addItem(title, name)
        self.about, self.answer = PlainLabel(), PlainLabel()
        for label in (self.about, self.answer):
            label.setWordWrap(True)
        self._form_place = QVBoxLayout()
        self.with_image = QCheckBox("test it with the image on show")
        self.with_image.setChecked(True)
        self.with_image.setToolTip(
            "What is written has to give the classifier's probabilities for it; it becomes the test and "
            "the cover of a package. Else noise as bright as the training images is taken."
        )
        self.button = RunButton("Export...", dock.runner)
        self.copy_buttons = CopyButtons(dock.message)
        self.column.addWidget(PlainLabel("For other programs", bold=True))
        self.column.addWidget(self.format)
        self.column.addWidget(self.about)
        self.column.addLayout(self._form_place)
        for widget in (self.with_image, self.button, self.answer, self.copy_buttons):
            self.column.addWidget(widget)
        self.format.currentIndexChanged.connect(lambda _index: self._change_format())
        self.button.started.connect(self._ask_where)
        dock.state.image.changed.connect(self._offer)
        self._offer()

    @property
    def to(self) -> "Format":
        """The chosen format."""
        name: Format = self.format.currentData()
        return name

    def show_classifier(self, classifier: "Classifier | None") -> None:
        """Forget what was said of the classifier before."""
        self._possible = classifier is not None
        self.answer.clear()
        self.copy_buttons.offer(None)
        self._offer()

    def show_format(self) -> None:
        """Ask for what a format needs; what was said for another one is said already."""
        from napari_why.exchange import ExportOptions
        from napari_why.exchange.options import options_of

        if self.form is not None:
            self._said.update(form_settings(self.form))
            self._form_place.removeWidget(self.form)
            # Later, for one of its own signals may have led here.
            self.form.deleteLater()
        self.form = ParameterForm(ExportOptions, only=options_of(self.to))
        restore_form(self.form, self._said_of(self.form))
        self._form_place.addWidget(self.form)
        self.format.setEnabled(True)
        self._offer()

    def said(self) -> dict[str, Any]:
        """Return what was said for any of the formats, by name."""
        return {**self._said, **({} if self.form is None else form_settings(self.form))}

    def restore(self, to: Any, said: Any) -> None:
        """Choose a format again, and say again what :meth:`said` returned; what is not known stays.

        Parameters
        ----------
        to : object
            The name of a format; of a file, which may hold anything.
        said : object
            What was said for all of the formats, by name; passed over where it is no mapping.
        """
        if isinstance(said, Mapping):
            self._said = dict(said)
            if self.form is not None:
                restore_form(self.form, self._said_of(self.form))
        index = self.format.findData(to)
        if index >= 0:
            self.format.setCurrentIndex(index)

    def export_to(self, path: Path) -> None:
        """Write the classifier in the chosen format; what was exported there before is replaced."""
        classifier, to = self.dock.state.classifier, self.to
        if classifier is None or self.form is None:
            return
        try:
            said = self.form.values()
            choice = self._choose_image()
        except WhyError as error:
            self.dock.message.tell_error(error)
            return

        def work(**listeners: Any) -> tuple[Any, dict[str, Any] | None]:
            from napari_why.exchange import export_model

            image = None if choice is None else choice.read()
            on_event = listeners["on_event"]
            written = export_model(
                classifier, path, to, said, image=image, overwrite=True, on_event=on_event
            )
            return written, None if image is None else dict(image.attrs)

        def show(found: tuple[Any, dict[str, Any] | None]) -> None:
            written, about = found
            if classifier is not self.dock.state.classifier:
                self.dock.message.tell(as_sentence(written.sentence))
                return  # another is in use by now: its name stands above
            self.answer.setText(as_sentence(written.sentence))
            self.copy_buttons.offer(lambda: copy_export(classifier, path, to, said, about))

        self.answer.clear()
        self.copy_buttons.offer(None)
        self.dock.run(f"Exporting: {FORMATS[to][0]}", work, show)

    def release(self) -> None:
        """Follow the image no more."""
        self.dock.state.image.changed.disconnect(self._offer, missing_ok=True)

    def _change_format(self) -> None:
        if self.form is None:
            self._offer()  # the first form comes with what it is made of
        else:
            self.show_format()

    def _said_of(self, form: ParameterForm) -> dict[str, Any]:
        return {name: value for name, value in self._said.items() if name in form.names}

    def _choose_image(self) -> "LayerChoice | None":
        wanted = self.with_image.isVisibleTo(self) and self.with_image.isChecked()
        if not wanted or not self.dock.state.image.list_layers():
            return None
        try:
            return self.dock.state.image.choice()
        except MismatchError as error:
            raise MismatchError(f"{error} Or untick {self.with_image.text()!r}.") from error

    def _offer(self, _changed: Any = None) -> None:
        ready = self._possible and self.form is not None
        reason = LOADING if self._possible else "Train or load a classifier first"
        self.button.set_possible(ready, "" if ready else reason)
        self.about.setText(FORMATS[self.to][1])
        # a folder holds the classifier itself: nothing is there to be compared
        self.with_image.setVisible(self.to != "huggingface")

    def _ask_where(self) -> None:
        title, _, kinds = FORMATS[self.to]
        place = self.dock.state.place or read_preferences().models / "classifier"
        if not kinds:
            dialog = SaveDialog(place.with_name(f"{place.name}-card"), self, what=title)
            answer = dialog.exec()
            dialog.deleteLater()
            if answer == QDialog.DialogCode.Accepted:
                self.export_to(dialog.path)
            return
        ending = kinds.partition("*")[2].rstrip(")")
        usual = str(place.with_name(place.name + ending))
        name, _ = QFileDialog.getSaveFileName(self, f"Export: {title}", usual, kinds)
        if name:
            path = Path(name if name.lower().endswith(ending) else name + ending)
            if may_write(self, name, path, title):
                self.export_to(path)


class ImportPart(Panel):
    """A file, what it leaves open, and a button that opens it as the classifier in use."""

    def __init__(self, dock: Dock, may_replace: Callable[[], bool]) -> None:
        super().__init__(dock)
        self._may_replace = may_replace
        self.column.setContentsMargins(0, 0, 0, 0)
        self.form: ParameterForm | None = None
        self.about = PlainLabel(
            "An ONNX file, a BioImage.IO package (its zip file, or the rdf.yaml in its folder) or a state "
            "dict becomes the classifier in use. It is data: no code of it runs."
        )
        self.file = PathLine("A classifier of another program", FILES)
        self.file.setToolTip("Kept as it is; save the classifier that comes of it with Save...")
        self.fold = SettingsFold(
            "What the file leaves open",
            tip="Names of classes and channels, unless the file has them; how grey levels go in",
        )
        self._form_place = self.fold.column
        self.button = RunButton("Open", dock.runner)
        self.answer = PlainLabel()
        for label in (self.about, self.answer):
            label.setWordWrap(True)
        self.copy_buttons = CopyButtons(dock.message)
        self.column.addWidget(PlainLabel("From other programs", bold=True))
        for widget in (
            self.about, self.file, self.fold, self.button, self.answer, self.copy_buttons,
        ):  # fmt: skip
            self.column.addWidget(widget)
        self.file.line.textChanged.connect(lambda _text: self._offer())
        self.button.started.connect(self.open)
        self._offer()

    def show_form(self) -> None:
        """Ask for what a file may leave open."""
        from napari_why.exchange import ImportOptions

        self.form = ParameterForm(ImportOptions)
        self._form_place.addWidget(self.form)
        self._offer()

    def forget_answer(self) -> None:
        """Say no more what was opened, and how: it is in use no longer."""
        self.answer.clear()
        self.copy_buttons.offer(None)

    def said(self) -> dict[str, Any]:
        """Return what the form says."""
        return {} if self.form is None else form_settings(self.form)

    def open(self) -> None:
        """Open the file, and use its classifier in all docks of the viewer."""
        path = self.file.path
        if path is None or self.form is None:
            return
        try:
            said = self.form.values()
        except WhyError as error:
            self.dock.message.tell_error(error)
            return
        state, device = self.dock.state, read_preferences().device
        asked_about = state.classifier
        if not self._may_replace():
            return

        def work(**_listeners: Any) -> "tuple[Classifier, str]":
            from napari_why.exchange import import_model

            found = import_model(path, said, device=device)
            return found, describe_explaining(found)

        def show(found: "tuple[Classifier, str]") -> None:
            classifier, explained = found
            # a training of another dock may have ended meanwhile, whose classifier nobody was asked about
            if state.classifier is not asked_about and not self._may_replace():
                self.dock.message.tell(f"{path.name} is not used: another classifier came before.")
                return
            state.use_classifier(classifier)
            notes = map(as_sentence, classifier.notes)
            # whether it is saved stands above the pages, where it is kept up with
            self.answer.setText("\n".join(["In use now.", explained, *notes]))
            self.copy_buttons.offer(lambda: copy_import(path, said, device))
            self.fold.fold_after_run()

        self.forget_answer()
        # what is missing is said there
        self.dock.run(f"Opening {path.name}", work, show, lambda _error: self.fold.unfold())

    def _offer(self) -> None:
        ready = self.file.path is not None and self.form is not None
        reason = "Choose a file first" if self.file.path is None else LOADING
        self.button.set_possible(ready, "" if ready else reason)


def import_options() -> None:
    """Import what the forms are made of; seconds, the first time."""
    import_torch()
    import napari_why.exchange  # noqa: F401 - that it is there is all


def describe_explaining(classifier: "Classifier") -> str:
    """Say what explains a classifier: all methods, or those that need logits alone.

    Parameters
    ----------
    classifier : Classifier

    Returns
    -------
    str
        Sentences.
    """
    from napari_why.attribution import METHODS

    if not classifier.network.black_box:
        return "It has gradients and layers, so all methods that fit its network explain it."
    able = [method.title for method in METHODS.complete().values() if method.black_box]
    return (
        f"It gives its answer and nothing else, so what explains it is {', '.join(able)}; the other "
        "methods need gradients or layers. Counterfactuals are made through a generator of the same classes, "
        "in Python or the shell (through=)."
    )
