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
from napari_why.widgets.each_image import EachImage, import_methods
from napari_why.widgets.job import Executor, RunButton, run_in_thread
from napari_why.widgets.path_line import PathLine
from napari_why.widgets.tables import PlainLabel, Table

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_why.batch import BatchOptions, BatchResult, ImageReference
    from napari_why.model import Classifier

# Where the images come from.
DATASET, FOLDER, LAYERS = "dataset", "folder", "layers"
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
        self.each = EachImage("the other class", pictures=True)
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
        self.column.addWidget(self.each)
        self.heading("Results")
        for widget in (self.out, self.resume, self.button, self.bar, self.status):
            self.column.addWidget(widget)
        for below in (self.table, self.about_row, self.copy_buttons):
            self.column.addWidget(below)
        self.column.addStretch(1)

    def _connect(self) -> None:
        self.source.currentIndexChanged.connect(self._show_source)
        self.button.started.connect(self.start)
        self.table.itemSelectionChanged.connect(self._tell_of_row)
        self.table.cellClicked.connect(lambda row, _column: self.open_row(row))
        self.runner.event.connect(self._show_progress)
        self._relay.row.connect(self._add_row)
        self.state.classifier_changed.connect(self.show_classifier)

    def become_page(self) -> None:
        """Leave out the classifier, which the dock around this page shows."""
        super().become_page()
        self.classifier_label.hide()
        self.show_classifier(self.state.classifier)

    def show_classifier(self, classifier: "Classifier | None") -> None:
        """Offer what a classifier can do."""
        self.classifier_label.show_classifier(classifier)
        self.each.set_classes(classifier.classes if classifier else ())
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

        return BatchOptions(**self.each.values())

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
        return {
            **self.each.settings(),
            "resume": self.resume.isChecked(),
            "source": self.source.currentData(),
            "folder": self.folder.line.text(),
            "out": self.out.line.text(),
        }

    def restore_settings(self, values: Mapping[str, Any]) -> None:
        """Say again what :meth:`settings` returned; what is not known stays."""
        self.each.restore_settings(values)
        if isinstance(values.get("resume"), bool):
            self.resume.setChecked(values["resume"])
        for name, line in (("folder", self.folder.line), ("out", self.out.line)):
            if isinstance(values.get(name), str):
                line.setText(values[name])
        index = self.source.findData(values.get("source"))
        if index >= 0:
            self.source.setCurrentIndex(index)

    def shut_down(self) -> None:
        """Stop what runs, and follow the shared classifier no more."""
        super().shut_down()
        self.state.classifier_changed.disconnect(self.show_classifier, missing_ok=True)

    def reopen(self) -> None:
        """Follow the shared classifier again."""
        super().reopen()
        self.state.classifier_changed.connect(self.show_classifier)
        self.show_classifier(self.state.classifier)

    def _offer(self, classifier: "Classifier", catalogue: Any) -> None:
        if classifier is self.state.classifier:
            self.each.offer(classifier, catalogue)

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


class _Relay(QObject):
    """Carries rows from the thread that works to the viewer's."""

    row = Signal(object)

    def send(self, _number: int, row: dict[str, Any]) -> None:
        """Send a row; called in any thread."""
        self.row.emit(dict(row))


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
