"""Buttons that copy what a page did: as Python, as a line for the shell."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from qtpy.QtGui import QGuiApplication
from qtpy.QtWidgets import QHBoxLayout, QPushButton, QWidget

from napari_why.widgets.dock import MessageArea

if TYPE_CHECKING:
    from napari_why.output.snippet_lines import Snippet


class CopyButtons(QWidget):
    """Two buttons, hidden until there is something to copy.

    Parameters
    ----------
    message : MessageArea
        Says what was copied, or why nothing was.
    """

    def __init__(self, message: MessageArea) -> None:
        super().__init__()
        self._message = message
        self._make: Callable[[], Snippet] | None = None
        self.python = QPushButton("Copy as Python")
        self.python.setToolTip("Copy lines that do the same in a script or in napari's console")
        self.shell = QPushButton("Copy as shell line")
        self.shell.setToolTip("Copy a line that does the same in a terminal")
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        for button in (self.python, self.shell):
            row.addWidget(button)
        row.addStretch(1)
        self.python.clicked.connect(lambda: self.copy("python"))
        self.shell.clicked.connect(lambda: self.copy("shell"))
        self.hide()

    def offer(self, make: "Callable[[], Snippet] | None") -> None:
        """Show the buttons; what they copy is made when it is asked for. None hides them."""
        self._make = make
        self.setVisible(make is not None)

    def copy(self, language: str) -> None:
        """Copy the snippet in ``python`` or for the ``shell``."""
        if self._make is None:
            return
        try:
            text = getattr(self._make(), language)
        except Exception as error:  # noqa: BLE001 - a slot has nobody to catch it
            self._message.tell_error(error)
            return
        clipboard = QGuiApplication.clipboard()
        if clipboard is None:  # an application without a desktop
            self._message.tell("There is no clipboard to copy to.", "warning")
            return
        clipboard.setText(text)
        self._message.tell("Copied; paste it where you need it.")
