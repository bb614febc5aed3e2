"""What shows words of users and files as they stand there: labels, tooltips, small tables.

Qt takes any text that looks like markup for markup: a class called ``<b>x</b>`` would be shown as a
bold x, and a file's name could load a picture. Here is the one place that decides.
"""

from collections.abc import Sequence
from html import escape
from typing import Any

from qtpy.QtCore import Qt
from qtpy.QtGui import QResizeEvent
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QLabel,
    QTableWidget,
    QTableWidgetItem,
    QWidget,
)

# Pixels: a line of the theme's text with a little air.
ROW_HEIGHT = 22
# Then the table scrolls: a dock holds more than a table, and its own scrolling would take over.
MOST_ROWS_SHOWN = 8
# Pixels of the frame, with a little air.
BORDER = 6


class PlainLabel(QLabel):
    """A label whose text is shown as it is, whatever it looks like.

    Parameters
    ----------
    text : str
    bold : bool
        For headings.
    """

    def __init__(
        self, text: str = "", parent: QWidget | None = None, *, bold: bool = False
    ) -> None:
        super().__init__(parent)
        self.setTextFormat(Qt.TextFormat.PlainText)
        if bold:
            font = self.font()
            font.setBold(True)
            self.setFont(font)
        self.setText(text)

    def show_markup(self, markup: str) -> None:
        """Show markup of our own; whoever calls this has escaped every name in it."""
        self.setTextFormat(Qt.TextFormat.RichText)
        self.setText(markup)


def plain_tip(text: str) -> str:
    """Return what a tooltip, which cannot be told that its text is plain, shows as this text.

    Examples
    --------
    >>> plain_tip("DAPI & TMRM"), plain_tip("<b>x</b>")
    ('DAPI & TMRM', '<p style="white-space:pre-wrap">&lt;b&gt;x&lt;/b&gt;</p>')
    """
    if "<" not in text:
        return text
    return f'<p style="white-space:pre-wrap">{escape(text)}</p>'


class Table(QTableWidget):
    """A table to read, as high as its rows up to a point.

    Parameters
    ----------
    editable : sequence of int, optional
        Columns that the user may write in.
    wide_first : bool
        Give the first column what the others, as wide as their text, leave.
    """

    def __init__(
        self,
        editable: Sequence[int] = (),
        *,
        wide_first: bool = False,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._editable = set(editable)
        self._wide_first = wide_first
        self.verticalHeader().hide()
        self.verticalHeader().setDefaultSectionSize(ROW_HEIGHT)
        self.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        if not editable:
            self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.hide()

    def show_rows(
        self,
        header: Sequence[str],
        rows: Sequence[Sequence[Any]],
        tooltips: Sequence[str] = (),
    ) -> None:
        """Show these rows, and tooltips of the columns; without any row it takes no room.

        Parameters
        ----------
        header : sequence of str
            Of the columns.
        rows : sequence of sequence
            One value a column, shown by its ``str``.
        tooltips : sequence of str
            Of the first columns.
        """
        self.clear()
        self.setColumnCount(len(header))
        self.setRowCount(len(rows))
        self.setHorizontalHeaderLabels([str(name) for name in header])
        for column, text in enumerate(tooltips):
            item = self.horizontalHeaderItem(column)
            if item is not None:
                item.setToolTip(plain_tip(text))
        for row, values in enumerate(rows):
            for column, value in enumerate(values):
                item = QTableWidgetItem(str(value))
                # whole, where the column is too narrow for it
                item.setToolTip(plain_tip(str(value)))
                if column not in self._editable:
                    item.setFlags(item.flags() & ~Qt.ItemFlag.ItemIsEditable)
                self.setItem(row, column, item)
        if self._wide_first:
            resize = QHeaderView.ResizeMode
            for column in range(1, len(header)):
                self.horizontalHeader().setSectionResizeMode(column, resize.ResizeToContents)
        self._fit_columns()
        self.setVisible(bool(rows))

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802 (the name is Qt's)
        """Share the width out anew."""
        super().resizeEvent(event)
        self._fit_columns()

    def _fit_columns(self) -> None:
        """Stretch the columns over the width, or scroll sideways where that would cut words off."""
        header = self.horizontalHeader()
        columns = range(self.columnCount())
        wanted = [max(self.sizeHintForColumn(c), header.sectionSizeHint(c)) for c in columns]
        width = self.viewport().width()
        first = header.minimumSectionSize() if self._wide_first else sum(wanted[:1])
        fits = first + sum(wanted[1:]) <= width
        if not self._wide_first:
            modes = QHeaderView.ResizeMode
            for column, needed in zip(columns, wanted, strict=True):
                # one that needs more than its share takes what it needs
                shared = fits and needed * len(wanted) <= width
                header.setSectionResizeMode(
                    column, modes.Stretch if shared else modes.ResizeToContents
                )
        self._fit_height(with_bar=not fits)

    def _fit_height(self, *, with_bar: bool) -> None:
        """Show some rows whole, and below them the bar that is there where columns are too wide."""
        shown = min(self.rowCount(), MOST_ROWS_SHOWN)
        below = self.horizontalScrollBar().sizeHint().height() if with_bar else 0
        head = self.horizontalHeader().sizeHint().height()
        self.setFixedHeight(head + shown * ROW_HEIGHT + below + BORDER)

    def add_row(self, values: Sequence[Any]) -> None:
        """Add a row to read below the others, without showing those anew."""
        row = self.rowCount()
        self.insertRow(row)
        for column, value in enumerate(values):
            item = QTableWidgetItem(str(value))
            item.setFlags(item.flags() & ~Qt.ItemFlag.ItemIsEditable)
            self.setItem(row, column, item)
        self._fit_columns()

    def text(self, row: int, column: int) -> str:
        """Return what a cell says.

        Parameters
        ----------
        row, column : int
            From 0.

        Returns
        -------
        str
            Empty of a cell that is none.
        """
        item = self.item(row, column)
        return "" if item is None else str(item.text())

    def chosen_rows(self) -> list[int]:
        """Return the selected rows, from the top."""
        return sorted(index.row() for index in self.selectionModel().selectedRows())
