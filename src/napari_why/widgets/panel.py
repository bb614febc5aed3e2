"""A page of a dock."""

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QVBoxLayout, QWidget

if TYPE_CHECKING:
    from napari_why.widgets.dock import Dock


class Panel(QWidget):
    """A column of widgets that runs its long work through its dock.

    Parameters
    ----------
    dock : Dock
        Gives viewer, state, runner and message area.
    """

    def __init__(self, dock: "Dock") -> None:
        super().__init__()
        self.dock = dock
        self.column = QVBoxLayout(self)

    def end_column(self) -> None:
        """Keep what is in the column at its top."""
        self.column.addStretch(1)
