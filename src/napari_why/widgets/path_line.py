"""Lines for places on the disk, with a button that asks for one."""

from pathlib import Path

from qtpy import QtWidgets
from qtpy.QtCore import Qt

# Lines of text: a screen of more plates scrolls.
SHOWN_FOLDERS = 3


class PathLine(QtWidgets.QWidget):
    """A line for a folder or file, with a button that asks for it.

    Parameters
    ----------
    title : str
        Of the dialog.
    files : str
        Which files the dialog offers; empty for a folder.
    """

    def __init__(self, title: str, files: str = "") -> None:
        super().__init__()
        self._title, self._files = title, files
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
        dialog = QtWidgets.QFileDialog
        if self._files:
            name, _ = dialog.getOpenFileName(self, self._title, self.line.text(), self._files)
        else:
            name = dialog.getExistingDirectory(self, self._title, self.line.text())
        if name:
            self.line.setText(name)


def may_write(asker: QtWidgets.QWidget, typed: str, path: Path, what: str) -> bool:
    """Ask before a file gives way that the dialog for files has not asked about.

    Parameters
    ----------
    asker : QWidget
        What the question belongs to.
    typed : str
        The name that the dialog gave back, and has asked about where there was such a file.
    path : Path
        What is to be written: that name, or that name with an ending.
    what : str
        What the file is, for the user.

    Returns
    -------
    bool
        Whether it may be written.
    """
    if str(path) == typed or not path.exists():
        return True
    box = QtWidgets.QMessageBox(asker)
    box.setWindowTitle("napari-why")
    box.setTextFormat(Qt.TextFormat.PlainText)
    box.setText(f"{path.name} exists. Replace that {what}?")
    buttons = QtWidgets.QMessageBox.StandardButton
    box.setStandardButtons(buttons.Yes | buttons.Cancel)
    box.setDefaultButton(buttons.Cancel)
    answer = box.exec()
    box.deleteLater()
    return bool(answer == buttons.Yes)


class FolderLines(QtWidgets.QWidget):
    """Several folders, one a line, with a button that asks for a further one.

    Parameters
    ----------
    title : str
        Of the dialog.
    """

    def __init__(self, title: str) -> None:
        super().__init__()
        self._title = title
        self.lines = QtWidgets.QPlainTextEdit()
        self.lines.setLineWrapMode(QtWidgets.QPlainTextEdit.LineWrapMode.NoWrap)
        # napari's theme gives it the colour of the dock: it would not be seen where to write
        self.lines.setStyleSheet("border: 1px solid rgba(128, 128, 128, 150);")
        # else Tab would write one, and nobody could leave with it
        self.lines.setTabChangesFocus(True)
        height = self.lines.fontMetrics().lineSpacing()
        self.lines.setFixedHeight(SHOWN_FOLDERS * height + 2 * height)
        self.button = QtWidgets.QPushButton("Add...")
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.lines, 1)
        row.addWidget(self.button)
        self.button.clicked.connect(self._ask)

    @property
    def paths(self) -> list[Path]:
        """What stands there."""
        lines = self.lines.toPlainText().splitlines()
        return [Path(line.strip()).expanduser() for line in lines if line.strip()]

    def show_paths(self, paths: list[str]) -> None:
        """Show other folders."""
        self.lines.setPlainText("\n".join(paths))

    def _ask(self) -> None:
        there = self.paths
        start = str(there[-1].parent) if there else ""
        name = QtWidgets.QFileDialog.getExistingDirectory(self, self._title, start)
        if name:
            self.show_paths([*map(str, there), name])
