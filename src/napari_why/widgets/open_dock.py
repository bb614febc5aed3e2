"""The page that opens images to learn from, and single images as layers."""

from html import escape
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy import QtWidgets
from qtpy.QtCore import Signal

from napari_why.core.errors import AmbiguousAxesError, AxesChoice
from napari_why.sessions.facts_under_mouse import FactsUnderMouse
from napari_why.widgets import image_files
from napari_why.widgets.dataset_panel import DatasetPanel
from napari_why.widgets.dock import Dock, Panel
from napari_why.widgets.job import Executor, run_in_thread
from napari_why.widgets.plate_panel import PlatePanel
from napari_why.widgets.remembered import (
    last_folder,
    propose_channels,
    remember_channels,
    remember_folder,
)
from napari_why.widgets.tables import PlainLabel, Table

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from xarray import DataArray

    Rows = list[tuple[str, str, str]]
    Answers = dict[tuple[str, tuple[int, ...]], AxesChoice]


class AxesQuestion(QtWidgets.QWidget):
    """The question in words, the possible answers, and a button that takes one.

    It stays after the answer, so that another can be given when the image looks wrong.

    Attributes
    ----------
    answered : Signal(AxesChoice)
    """

    answered = Signal(object)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._choices: tuple[AxesChoice, ...] = ()
        self.words = PlainLabel()
        self.words.setWordWrap(True)
        self.choice = QtWidgets.QComboBox()
        # The answers are sentences: at their full length they would widen the dock.
        self.choice.setSizeAdjustPolicy(
            QtWidgets.QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self.choice.setToolTip(
            "The letters are the axes as napari_why.read takes them, slowest first"
        )
        self.button = QtWidgets.QPushButton("Read it so")
        column = QtWidgets.QVBoxLayout(self)
        column.setContentsMargins(0, 6, 0, 6)
        column.addWidget(self.words)
        column.addWidget(self.choice)
        column.addWidget(self.button)
        self.button.clicked.connect(self._answer)
        self.hide()

    def ask(self, question: AmbiguousAxesError) -> None:
        """Show a question and its answers."""
        self._choices = question.choices
        # Escaped: the words are rich text, and a file's name may hold what looks like a tag.
        self.words.show_markup(
            f"<b>How is {escape(question.path.name)} to be read?</b><br>Found "
            f"{escape(question.found)}; expected {escape(question.expected)}. The answer holds for the other files of this shape too."
        )
        self.choice.clear()
        for choice in question.choices:
            self.choice.addItem(f"{choice.axes}: {choice.words}")
        self.show()

    def _answer(self) -> None:
        index = self.choice.currentIndex()
        if 0 <= index < len(self._choices):
            self.answered.emit(self._choices[index])


COLUMNS = ("channel", "darkest", "brightest")
# Notes are made per file and stay below the table: more than these hide the dock.
MOST_NOTES = 8


class ImagePanel(Panel):
    """Files, what is in them, names for their channels, and a button that opens them as layers.

    Files that hold one channel each of the same field become one image. Where a file does not
    say what its axes are, the user is asked.
    """

    def __init__(self, dock: Dock) -> None:
        super().__init__(dock)
        self._paths: list[Path] = []
        self._answers: Answers = {}
        self._open_question: tuple[str, tuple[int, ...]] = ("", ())
        self._images: list[DataArray] = []
        self.choose = QtWidgets.QPushButton("Image files...")
        self.choose.setToolTip("OME-TIFF, ImageJ TIFF, plain TIFF, or one TIFF for each channel")
        self.choose_folder = QtWidgets.QPushButton("Folder of an image...")
        self.choose_folder.setToolTip("An OME-Zarr image, or the files of one field")
        self.about = PlainLabel("Nothing chosen yet.")
        self.about.setWordWrap(True)
        self.question = AxesQuestion()
        self.notes = PlainLabel()
        # Notes quote files, whose names and metadata are nobody's markup.
        self.notes.setWordWrap(True)
        self.channels = Table(editable=(0,))
        self.hint = PlainLabel("Double-click a name to change it.")
        self.hint.setWordWrap(True)
        self.open = QtWidgets.QPushButton("Open as layers")
        row = QtWidgets.QGridLayout()
        row.addWidget(self.choose, 0, 0)
        row.addWidget(self.choose_folder, 0, 1)
        self.column.addLayout(row)
        for widget in (
            self.about,
            self.question,
            self.channels,
            self.hint,
            self.open,
            self.notes,
        ):
            self.column.addWidget(widget)
        self.end_column()
        self._forget()
        self.choose.clicked.connect(self._ask)
        self.choose_folder.clicked.connect(self._ask_folder)
        self.open.clicked.connect(self.open_as_layers)
        self.question.answered.connect(self._answer)

    def preview(self, paths: list[Path]) -> None:
        """Read files and show what is in them, or ask what their axes are."""
        if self.dock.is_free():
            self.question.hide()
            self._read(list(paths), {})

    def channel_names(self) -> list[str]:
        """Return the channels' names as the user left them."""
        return [self.channels.text(row, 0).strip() for row in range(self.channels.rowCount())]

    def open_as_layers(self) -> None:
        """Open the images as layers, one a channel."""
        # Of the first image, and for all: images of one opening have the same channels.
        names = self.channel_names()
        found = [str(name) for name in self._images[0].coords["c"].values]
        if names != found and self._paths:
            remember_channels(self._paths[0].parent, found, names)
        images = [image_files.rename_channels(image, names) for image in self._images]
        self.dock.load(lambda: image_files.layers_of_images(images), self.dock.add_layers)

    def _read(self, paths: list[Path], answers: "Answers") -> None:
        """Read files with answers that are not changed afterwards; the dock has to be free."""

        def work(**_listeners: Any) -> "AmbiguousAxesError | tuple[list[DataArray], Rows]":
            try:
                images = image_files.read_images(paths, answers)
            except AmbiguousAxesError as question:
                if not question.choices:
                    raise
                # Returned, for it is no failure: the message area is for those.
                return question
            return images, image_files.list_channels(images[0])

        # Kept only now: files that are refused must not replace those that are shown.
        self._paths, self._answers = paths, answers
        self._forget()
        self.dock.run("Reading images", work, self._show_or_ask)

    def _show_or_ask(self, found: "AmbiguousAxesError | tuple[list[DataArray], Rows]") -> None:
        if isinstance(found, AmbiguousAxesError):
            self._open_question = (found.stored_axes, found.shape)
            self.question.ask(found)
        else:
            self._show(*found)

    def _answer(self, choice: AxesChoice) -> None:
        if self.dock.is_free():
            self._read(self._paths, {**self._answers, self._open_question: choice})

    def _ask(self) -> None:
        names, _ = QtWidgets.QFileDialog.getOpenFileNames(
            self, "Choose image files", last_folder(), image_files.file_filter()
        )
        if names:
            remember_folder(Path(names[0]))
            self.preview([Path(name) for name in names])

    def _ask_folder(self) -> None:
        folder = QtWidgets.QFileDialog.getExistingDirectory(
            self, "Folder of an image", last_folder()
        )
        if folder:
            remember_folder(Path(folder))
            self.preview([Path(folder)])

    def _show(self, images: "list[DataArray]", rows: "Rows") -> None:
        self._images = images
        self.about.setText(image_files.describe_images(images))
        notes = image_files.collect_notes(images)
        more = [f"... and {len(notes) - MOST_NOTES} notes more"] if len(notes) > MOST_NOTES else []
        self.notes.setText("\n".join([*notes[:MOST_NOTES], *more]))
        self.notes.setVisible(bool(notes))
        classifier = self.dock.state.classifier
        found = [name for name, *_ in rows]
        proposal = propose_channels(
            self._paths[0].parent, found, classifier.channels if classifier else ()
        )
        named = zip(proposal.names, (values for _, *values in rows), strict=True)
        self.channels.show_rows(COLUMNS, [(name, *values) for name, values in named])
        self.hint.setText(f"Names: {proposal.origin}. Double-click one to change it.")
        self.hint.show()
        self.open.setEnabled(True)

    def _forget(self) -> None:
        """Offer the images before no more: they would pass for those that are being read."""
        self._images = []
        self.about.setText("Nothing chosen yet." if not self._paths else "")
        self.channels.show_rows(COLUMNS, [])
        self.hint.hide()
        self.notes.hide()
        self.open.setEnabled(False)


class OpenDock(Dock):
    """Open images to learn from, step by step, or single images as layers.

    Parameters
    ----------
    napari_viewer : ViewerModel
    executor : Executor, optional
        Where the work runs; a worker thread by default.
    """

    def __init__(self, napari_viewer: "ViewerModel", executor: Executor = run_in_thread) -> None:
        super().__init__(napari_viewer, executor)
        self.images = ImagePanel(self)
        self.plate = PlatePanel(self)
        self.dataset = DatasetPanel(self, self.plate)
        self.tabs = QtWidgets.QTabWidget()
        self.tabs.addTab(self.dataset, "Images to learn from")
        self.tabs.addTab(self.images, "Single images")
        self.column.addWidget(self.tabs)
        self.dataset.train_wanted.connect(lambda: self.page_wanted.emit("Classifier"))
        self.facts = FactsUnderMouse(self.viewer)
        self.load(import_what_napari_asks_for, lambda _done: None, "Preparing the samples")

    def shut_down(self) -> None:
        """Stop what runs, and follow the shared data set no more."""
        super().shut_down()
        self.dataset.release()
        self.plate.release()
        self.facts.release()


def import_what_napari_asks_for() -> None:
    """Import what reads a dropped file and makes a sample: napari does both in the thread of the window."""
    for name in ("napari_reader", "sample_data"):
        import_module(f"napari_why.{name}")
