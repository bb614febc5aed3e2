"""Opening image files, with a look at their channels first."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog, QGridLayout, QLabel, QPushButton

from napari_why.core.errors import AmbiguousAxesError, AxesChoice
from napari_why.widgets.axes_question import AxesQuestion
from napari_why.widgets.dock import Dock
from napari_why.widgets.image_files import (
    channel_rows,
    description,
    file_filter,
    layers_of,
    named,
    notes_of,
    read_images,
)
from napari_why.widgets.panel import Panel
from napari_why.widgets.tables import Table

if TYPE_CHECKING:
    from xarray import DataArray

    Rows = list[tuple[str, str, str]]
    Answers = dict[tuple[str, tuple[int, ...]], AxesChoice]

COLUMNS = ("channel", "darkest", "brightest")
MOST_NOTES = 8


class ImagePanel(Panel):
    """Files, what is in them, names for their channels, and a button that opens them as layers.

    Files that hold one channel each of the same field become one image. Where a file does not
    tell its axes, they are asked for.
    """

    def __init__(self, dock: Dock) -> None:
        super().__init__(dock)
        self._paths: list[Path] = []
        self._answers: Answers = {}
        self._asked: tuple[str, tuple[int, ...]] = ("", ())
        self._images: list[DataArray] = []
        self.choose = QPushButton("Image files...")
        self.choose.setToolTip("OME-TIFF, ImageJ TIFF, plain TIFF, or one TIFF for each channel")
        self.choose_folder = QPushButton("Folder of an image...")
        self.choose_folder.setToolTip("An OME-Zarr image, or the files of one field")
        self.about = QLabel("Nothing chosen yet.")
        self.about.setWordWrap(True)
        self.question = AxesQuestion()
        self.notes = QLabel()
        self.notes.setTextFormat(Qt.TextFormat.PlainText)
        self.notes.setWordWrap(True)
        self.channels = Table(editable=(0,))
        self.hint = QLabel("Double-click a name to change it.")
        self.hint.setWordWrap(True)
        self.open = QPushButton("Open as layers")
        row = QGridLayout()
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
        names = self.channel_names()
        images = [named(image, names) for image in self._images]
        self.dock.load(
            lambda: [layer for image in images for layer in layers_of(image)], self.dock.add_layers
        )

    def _read(self, paths: list[Path], answers: "Answers") -> None:
        """Read files with answers that are not changed afterwards; the dock has to be free."""

        def work(**_listeners: Any) -> "AmbiguousAxesError | tuple[list[DataArray], Rows]":
            try:
                images = read_images(paths, answers)
            except AmbiguousAxesError as question:
                if not question.choices:
                    raise
                return question
            return images, channel_rows(images[0])

        self._paths, self._answers = paths, answers
        self._forget()
        self.dock.run("Reading images", work, self._show_or_ask)

    def _show_or_ask(self, found: "AmbiguousAxesError | tuple[list[DataArray], Rows]") -> None:
        if isinstance(found, AmbiguousAxesError):
            self._asked = (found.stored_axes, found.shape)
            self.question.ask(found)
        else:
            self._show(*found)

    def _answer(self, choice: AxesChoice) -> None:
        if self.dock.is_free():
            self._read(self._paths, {**self._answers, self._asked: choice})

    def _ask(self) -> None:
        names, _ = QFileDialog.getOpenFileNames(self, "Choose image files", "", file_filter())
        if names:
            self.preview([Path(name) for name in names])

    def _ask_folder(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Folder of an image")
        if folder:
            self.preview([Path(folder)])

    def _show(self, images: "list[DataArray]", rows: "Rows") -> None:
        self._images = images
        self.about.setText(description(images))
        said = notes_of(images)
        more = [f"... and {len(said) - MOST_NOTES} notes more"] if len(said) > MOST_NOTES else []
        self.notes.setText("\n".join([*said[:MOST_NOTES], *more]))
        self.notes.setVisible(bool(said))
        self.channels.show_rows(COLUMNS, rows)
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
