"""The images that were chosen in the plot, and a button that opens them."""

from pathlib import Path

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QCheckBox, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_why.widgets.image_opener import MOST_OPENED
from napari_why.widgets.latent_view import LatentView
from napari_why.widgets.tables import Table

COLUMNS = ("class", "prediction", "plate", "well")


class SelectedImages(QWidget):
    """A table of points; those of its rows, or the selected ones, are opened.

    Attributes
    ----------
    asked : Signal(list of int)
        Points whose images are to be opened.
    keep : QCheckBox
        Whether images that are open stay.
    """

    asked = Signal(list)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._points: list[int] = []
        self.about = QLabel()
        self.about.setWordWrap(True)
        self.table = Table(wide_first=True)
        self.open = QPushButton("Open images")
        self.keep = QCheckBox("keep what is open")
        self.keep.setToolTip("Leave the images that were opened here before in the viewer")
        self.open.setToolTip("Those of the selected rows, or all")
        layout = QVBoxLayout(self)
        for widget in (self.about, self.table, self.open, self.keep):
            layout.addWidget(widget)
        layout.addStretch(1)
        self.open.clicked.connect(self._ask)
        self.table.doubleClicked.connect(lambda _index: self._ask())
        self.clear()

    def clear(self) -> None:
        """Show no image."""
        self._points = []
        self.about.setText("Click a point to open its image, or draw a line around several.")
        self.table.hide()
        self.open.setEnabled(False)

    def show_points(self, view: LatentView, points: list[int]) -> None:
        """List images; as many as can be seen at a time are opened at once."""
        self._points = list(points)
        shown = [name for name in COLUMNS if name in view.table.columns]
        chosen = view.table.iloc[points]
        names = [Path(str(path)).name for path in chosen["path"]]
        rows = [[name, *row] for name, row in zip(names, chosen[shown].to_numpy(), strict=True)]
        self.table.show_rows(["image", *shown], rows)
        self.open.setEnabled(True)
        count = len(points)
        if count <= MOST_OPENED:
            self.about.setText("1 image is selected." if count == 1 else f"{count} images.")
            self.asked.emit(self._points)
        else:
            self.about.setText(
                f"{count} images are within the line. Select up to {MOST_OPENED} rows and open them."
            )

    @property
    def points(self) -> list[int]:
        """The points that are listed."""
        return list(self._points)

    def _ask(self) -> None:
        rows = self.table.chosen_rows()
        chosen = [self._points[row] for row in rows] if rows else self._points
        if chosen:
            self.asked.emit(chosen)
