"""The page for many images: which, what is done with each, and a table that fills."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy import QtWidgets
from qtpy.QtCore import QObject, Signal

from napari_why.core.errors import ParameterError, WhyError
from napari_why.core.events import Advanced, Event, Started
from napari_why.core.torch_loading import import_torch
from napari_why.output.snippets import copy_batch
from napari_why.sessions.batch import layers_of_row, selected_references
from napari_why.widgets.classifier_bar import ClassifierLabel
from napari_why.widgets.copy_buttons import CopyButtons
from napari_why.widgets.dock import Dock
from napari_why.widgets.explaining_dock import ClassChooser
from napari_why.widgets.job import Executor, RunButton, run_in_thread
from napari_why.widgets.parameter_form import MethodChooser
from napari_why.widgets.session_buttons import method_settings, restore_method
from napari_why.widgets.tables import PlainLabel, Table

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_why.batch import BatchOptions, BatchResult, ImageReference
    from napari_why.model import Classifier

# Where the images come from.
DATASET, FOLDER, LAYERS = "dataset", "folder", "layers"
# Methods that are chosen to start with: quick, and for every network that has them.
FIRST_ATTRIBUTION, FIRST_CHANGE = "integrated_gradients", "transport"
# What the table shows, in this order: as much as fits beside the file's name in a dock.
COLUMNS = ("image", "well", "label", "predicted", "p", "verdict")


class BatchPage(Dock):
    """Source, what to do, a folder, Run, and the table of what was found so far.

    A click on a row opens its image with its results.

    Parameters
    ----------
    napari_viewer : ViewerModel
    executor : Executor, optional
        Where the work runs; a worker thread by default.

    Attributes
    ----------
    result : BatchResult or None
        What the last run found.
    """

    def __init__(self, napari_viewer: "ViewerModel", executor: Executor = run_in_thread) -> None:
        super().__init__(napari_viewer, executor)
        self.result: BatchResult | None = None
        self._images: list[ImageReference] = []
        self._rows: list[dict[str, Any]] = []
        self._out: Path | None = None
        self._wanted: dict[str, Any] = {}  # of a session, until there are methods to choose from
        self._relay = _Relay(self)
        self._make_widgets()
        self._lay_out()
        self._connect()
        self.show_classifier(self.state.classifier)
        self._show_source()

    def _make_widgets(self) -> None:
        self.classifier_label = ClassifierLabel()
        self.source = QtWidgets.QComboBox()
        for title, name in (
            ("the data set in use", DATASET),
            ("a folder or table", FOLDER),
            ("the selected layers", LAYERS),
        ):
            self.source.addItem(title, name)
        self.folder, self.out = PathLine("Folder of the images"), PathLine("Folder for the results")
        self.folder.line.setPlaceholderText("folder of images, or a table with their paths")
        self.out.line.setPlaceholderText("a new folder, or one of an earlier run")
        self.attribute = QtWidgets.QCheckBox("Explain: where the network looks")
        self.attribution, self.explained = MethodChooser(), ClassChooser("the predicted class")
        self.change = QtWidgets.QCheckBox("Change towards a class")
        self.counterfactual, self.target = MethodChooser(), ClassChooser("the other class")
        self.measure = QtWidgets.QCheckBox("Measure what is changed")
        self.measure.setChecked(True)
        self.pictures = QtWidgets.QCheckBox("Write maps and series as images")
        self.pictures.setChecked(True)
        self.resume = QtWidgets.QCheckBox("Keep what an earlier run did")
        # on: whoever starts a run anew in the same folder has usually been interrupted
        self.resume.setChecked(True)
        self.resume.setToolTip(
            "Images done with the same classifier, options and file are not done again. Off: "
            "an earlier run in this folder is replaced."
        )
        self.button = RunButton("Run", self.runner)
        self.bar = QtWidgets.QProgressBar()
        self.status = PlainLabel()
        self.table = Table(wide_first=True)
        self.about_row = PlainLabel()
        self.copy_buttons = CopyButtons(self.message)
        for label in (self.status, self.about_row):
            label.setWordWrap(True)
        self.bar.hide()

    def _lay_out(self) -> None:
        self.column.addWidget(self.classifier_label)
        self.heading("Images")
        self.column.addWidget(self.source)
        self.column.addWidget(self.folder)
        self.heading("What is done with each")
        self.column.addWidget(PlainLabel("Its class is predicted."))
        self._explain_part = _group(self.explained, self.attribution)
        self._change_part = _group(self.target, self.counterfactual, self.measure)
        for widget in (self.attribute, self._explain_part, self.change, self._change_part):
            self.column.addWidget(widget)
        self.column.addWidget(self.pictures)
        self.heading("Results")
        for widget in (self.out, self.resume, self.button, self.bar, self.status):
            self.column.addWidget(widget)
        for widget in (self.table, self.about_row, self.copy_buttons):
            self.column.addWidget(widget)
        self.column.addStretch(1)

    def _connect(self) -> None:
        self.source.currentIndexChanged.connect(self._show_source)
        self.attribute.toggled.connect(self._show_parts)
        self.change.toggled.connect(self._show_parts)
        self.button.started.connect(self.start)
        self.table.itemSelectionChanged.connect(self._tell_of_row)
        self.table.cellClicked.connect(lambda row, _column: self.open_row(row))
        self.runner.event.connect(self._show_progress)
        self._relay.row.connect(self._add_row)
        self.state.classifier_changed.connect(self.show_classifier)
        self._show_parts()

    def become_page(self) -> None:
        """Leave out the classifier, which the dock around this page shows."""
        super().become_page()
        self.classifier_label.hide()
        self.show_classifier(self.state.classifier)

    def show_classifier(self, classifier: "Classifier | None") -> None:
        """Offer what a classifier can do."""
        self.classifier_label.show_classifier(classifier)
        for chooser in (self.explained, self.target):
            chooser.set_classes(classifier.classes if classifier else ())
        ready = classifier is not None
        self.button.set_possible(ready, "" if ready else "Train or load a classifier first")
        if classifier is not None:
            self.load(import_methods, lambda found: self._offer(classifier, found))

    def options(self) -> "BatchOptions":
        """Return what the form asks for.

        Raises
        ------
        ParameterError
            A value that cannot be.
        """
        from napari_why.batch import BatchOptions

        values: dict[str, Any] = {"measure": self.measure.isChecked()}
        values["pictures"] = self.pictures.isChecked()
        if self.attribute.isChecked() and self.attribution.name:
            values |= {
                "attribution": self.attribution.name,
                "attribution_target": self.explained.target,
                "attribution_options": self.attribution.form.values(),
            }
        if self.change.isChecked() and self.counterfactual.name:
            values |= {
                "counterfactual": self.counterfactual.name,
                "target": self.target.target,
                "change_options": self.counterfactual.form.values(),
            }
        return BatchOptions(**values)

    def start(self) -> None:
        """Run the batch beside the viewer."""
        classifier = self.state.classifier
        if classifier is None or not self.is_free():
            return
        try:
            options, source = self.options(), self._chosen_source()
            out = self.out.path
            if out is None:
                raise ParameterError("No folder for the results yet: name one below Results.")
        except WhyError as error:
            self.message.tell_error(error)
            return
        resume, references = self.resume.isChecked(), self.state.dataset
        self._start_table(out)

        def work(**listeners: Any) -> "BatchResult":
            import_torch()
            from napari_why.batch import explain_many, find_references, list_references

            found = (
                find_references(source, classifier.classes)[0]
                if isinstance(source, Path)
                else list_references(source)
            )
            self._images = found
            return explain_many(
                classifier,
                source if isinstance(source, Path) else found,
                out,
                options,
                resume=resume,
                overwrite=not resume,
                references=references,
                on_row=self._relay.send,
                **listeners,
            )

        images = (
            source if not isinstance(source, list) else [path for i in source for path in i.files()]
        )
        self.copy_buttons.offer(
            lambda: copy_batch(classifier, images, out, options.to_flat(), references)
        )
        self.run("Many images", work, self._show_result, lambda _error: self.bar.hide())

    def open_row(self, row: int) -> None:
        """Open the image of a row, with its results."""
        if not 0 <= row < len(self._rows) or self._out is None:
            return
        out = self._out
        # by its name: images that are results of this very batch are none of its rows
        reference = next((i for i in self._images if i.name == self._rows[row]["image"]), None)
        if reference is None:
            return
        from napari_why.batch.explain_one import pictures_of

        pictures = pictures_of(reference.name)
        self.load(lambda: layers_of_row(reference, out, pictures), self._show_layers)

    def settings(self) -> dict[str, Any]:
        """Return what the form says, JSON types, for a saved session."""
        ticks = {name: box.isChecked() for name, box in self._ticks().items()}
        return {
            **ticks,
            "source": self.source.currentData(),
            "folder": self.folder.line.text(),
            "out": self.out.line.text(),
            "attribution": method_settings(self.attribution),
            "counterfactual": method_settings(self.counterfactual),
            "explained": self.explained.target,
            "target": self.target.target,
        }

    def restore_settings(self, values: Mapping[str, Any]) -> None:
        """Say again what :meth:`settings` returned; what is not known stays."""
        # methods may still be on their way, beside the viewer
        self._wanted = dict(values)
        for name, box in self._ticks().items():
            if isinstance(values.get(name), bool):
                box.setChecked(values[name])
        for name, line in (("folder", self.folder.line), ("out", self.out.line)):
            if isinstance(values.get(name), str):
                line.setText(values[name])
        boxes = {
            "source": self.source,
            "explained": self.explained,
            "target": self.target,
        }
        for name, choices in boxes.items():
            index = choices.findData(values.get(name))
            if index >= 0:
                choices.setCurrentIndex(index)
        restore_method(self.attribution, values.get("attribution"))
        restore_method(self.counterfactual, values.get("counterfactual"))

    def shut_down(self) -> None:
        """Stop what runs, and follow the shared classifier no more."""
        super().shut_down()
        self.state.classifier_changed.disconnect(self.show_classifier, missing_ok=True)

    def reopen(self) -> None:
        """Follow the shared classifier again."""
        super().reopen()
        self.state.classifier_changed.connect(self.show_classifier)
        self.show_classifier(self.state.classifier)

    def _ticks(self) -> dict[str, QtWidgets.QCheckBox]:
        return {
            "attribute": self.attribute,
            "change": self.change,
            "measure": self.measure,
            "pictures": self.pictures,
            "resume": self.resume,
        }

    def _offer(self, classifier: "Classifier", catalogue: Any) -> None:
        if classifier is not self.state.classifier:
            return
        attributions, counterfactuals = catalogue
        network = classifier.network
        maker = classifier if classifier.generator is None else classifier.generator
        self.attribution.set_methods(
            attributions, lambda method: method.unsuitable(network), FIRST_ATTRIBUTION
        )
        self.counterfactual.set_methods(
            counterfactuals,
            lambda method: method.unsuitable(maker.network) or method.missing(maker),
            FIRST_CHANGE,
        )
        wanted, self._wanted = self._wanted, {}
        restore_method(self.attribution, wanted.get("attribution"))
        restore_method(self.counterfactual, wanted.get("counterfactual"))

    def _chosen_source(self) -> Any:
        kind = self.source.currentData()
        if kind == LAYERS:
            classifier = self.state.classifier
            channels = () if classifier is None else classifier.channels
            return selected_references(self.viewer, channels)
        if kind == FOLDER:
            if self.folder.path is None:
                raise ParameterError("No folder of images yet: name one below Images.")
            return self.folder.path
        if self.state.dataset is None:
            raise ParameterError("There is no data set yet: open one, or choose a folder.")
        return self.state.dataset

    def _start_table(self, out: Path) -> None:
        self._rows, self._out, self.result = [], out, None
        self.table.show_rows([], [])
        self.about_row.clear()
        self.status.clear()

    def _add_row(self, row: dict[str, Any]) -> None:
        self._rows.append(row)
        if len(self._rows) <= 1:
            self.table.show_rows(COLUMNS, [table_row(row)])
            return
        self.table.add_row(table_row(row))

    def _show_result(self, result: "BatchResult") -> None:
        self.bar.hide()
        self.result = result
        self.status.setText("\n".join([*result.sentences, f"All of it is in {result.folder}."]))

    def _show_progress(self, event: Event) -> None:
        if isinstance(event, Started):
            self.bar.setRange(0, event.total or 0)
            self.bar.setValue(0)
            self.bar.show()
        elif isinstance(event, Advanced):
            self.bar.setValue(event.done)

    def _tell_of_row(self) -> None:
        chosen = self.table.chosen_rows()
        if chosen and chosen[0] < len(self._rows):
            self.about_row.setText(describe_row(self._rows[chosen[0]]))

    def _show_layers(self, layers: list[Any]) -> None:
        # those that are there stay, hidden: what was opened is what somebody looks at
        for layer in self.viewer.layers:
            layer.visible = False
        self.add_layers(layers, self.viewer.reset_view)

    def _show_source(self, _index: int = 0) -> None:
        self.folder.setVisible(self.source.currentData() == FOLDER)

    def _show_parts(self, _checked: bool = False) -> None:
        self._explain_part.setVisible(self.attribute.isChecked())
        self._change_part.setVisible(self.change.isChecked())


class _Relay(QObject):
    """Carries rows from the thread that works to the viewer's."""

    row = Signal(object)

    def send(self, _number: int, row: dict[str, Any]) -> None:
        """Send a row; called in any thread."""
        self.row.emit(dict(row))


class PathLine(QtWidgets.QWidget):
    """A line for a folder or file, with a button that asks for a folder.

    Parameters
    ----------
    title : str
        Of the dialog.
    """

    def __init__(self, title: str) -> None:
        super().__init__()
        self._title = title
        self.line = QtWidgets.QLineEdit()
        self.button = QtWidgets.QPushButton("Browse...")
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.line, 1)
        row.addWidget(self.button)
        self.button.clicked.connect(self._ask)

    @property
    def path(self) -> Path | None:
        """What stands there; None of nothing."""
        text = self.line.text().strip()
        return Path(text).expanduser() if text else None

    def _ask(self) -> None:
        name = QtWidgets.QFileDialog.getExistingDirectory(self, self._title, self.line.text())
        if name:
            self.line.setText(name)


def _group(*widgets: QtWidgets.QWidget) -> QtWidgets.QWidget:
    part = QtWidgets.QWidget()
    column = QtWidgets.QVBoxLayout(part)
    # indented, as what belongs to the tick box above
    column.setContentsMargins(18, 0, 0, 0)
    for widget in widgets:
        column.addWidget(widget)
    return part


def import_methods() -> tuple[Any, Any]:
    """Import the methods; seconds, the first time."""
    import_torch()
    from napari_why.attribution import METHODS as ATTRIBUTIONS
    from napari_why.counterfactuals import METHODS as COUNTERFACTUALS

    return ATTRIBUTIONS.complete(), COUNTERFACTUALS.complete()


def table_row(row: dict[str, Any]) -> list[str]:
    """Return what the table shows of a row."""
    predicted = row.get("predicted")
    p = row.get(f"probability of {predicted}")
    said = row.get("error") or row.get("verdict") or row.get("notes") or ""
    seen = " (trained on)" if row.get("trained on") else ""
    name = Path(str(row.get("image", "")).split("; ")[0]).name
    return [
        f"{name}{seen}",
        str(row.get("well", "")),
        str(row.get("label", "")),
        str(predicted or ""),
        "" if p is None else f"{p:.2f}",
        str(said),
    ]


def describe_row(row: dict[str, Any]) -> str:
    """Say all that is known of an image: where it is from, what was found, what went wrong."""
    lines = [str(row.get("image", ""))]
    if row.get("trained on"):
        lines.append("The classifier was trained on this image: its answer says little.")
    told = ("error", "verdict", "quality", "notes")
    lines += [f"{name.capitalize()}: {row[name]}" for name in told if row.get(name)]
    return "\n".join(lines)
