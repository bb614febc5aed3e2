"""Which images are meant: the column of the classes, the classes, the wells, names of channels."""

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from qtpy import QtWidgets
from qtpy.QtCore import Qt, Signal

from napari_why.widgets.remembered import Proposal
from napari_why.widgets.tables import ROW_HEIGHT, PlainLabel, plain_tip

if TYPE_CHECKING:
    from napari_why.datasets import Choices, Column, Survey

# Of a column's values beside its name: enough to recognise it by.
EXAMPLES = 3
# Then the table of classes scrolls: the preview and the button below are to be in sight.
MOST_ROWS = 6
AUTOMATIC, NONE = "auto", ""
EVERY = "all images"


class TickTable(QtWidgets.QTableWidget):
    """Names with a tick box each, and what is told of them.

    Attributes
    ----------
    ticked : Signal()
        The user changed what is ticked.
    """

    ticked = Signal()

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self.verticalHeader().hide()
        self.verticalHeader().setDefaultSectionSize(ROW_HEIGHT)
        self.setEditTriggers(QtWidgets.QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setSelectionMode(QtWidgets.QAbstractItemView.SelectionMode.NoSelection)
        self.itemChanged.connect(lambda _item: self.ticked.emit())

    def show_names(
        self, header: Sequence[str], rows: Sequence[Sequence[str]], unticked: Collection[str] = ()
    ) -> None:
        """Show these rows, each beginning with a name; all are ticked but ``unticked``.

        Parameters
        ----------
        header : sequence of str
            Of the columns.
        rows : sequence of sequence of str
            One text a column.
        unticked : sequence of str
            Names that are left out.
        """
        self.blockSignals(True)
        self.clear()
        self.setColumnCount(len(header))
        self.setRowCount(len(rows))
        self.setHorizontalHeaderLabels(list(header))
        for row, cells in enumerate(rows):
            for column, text in enumerate(cells):
                item = QtWidgets.QTableWidgetItem(text)
                if column == 0:
                    left_out = text in unticked
                    item.setFlags(item.flags() | Qt.ItemFlag.ItemIsUserCheckable)
                    item.setCheckState(
                        Qt.CheckState.Unchecked if left_out else Qt.CheckState.Checked
                    )
                self.setItem(row, column, item)
        resize = QtWidgets.QHeaderView.ResizeMode
        for column in range(len(header)):
            mode = resize.Stretch if column == 0 else resize.ResizeToContents
            self.horizontalHeader().setSectionResizeMode(column, mode)
        height = self.horizontalHeader().sizeHint().height()
        self.setFixedHeight(min(len(rows), MOST_ROWS) * ROW_HEIGHT + height + 2)
        self.blockSignals(False)

    def names(self, *, ticked: bool = True) -> tuple[str, ...]:
        """Return the names that are ticked, or those that are not."""
        wanted = Qt.CheckState.Checked if ticked else Qt.CheckState.Unchecked
        items = [self.item(row, 0) for row in range(self.rowCount())]
        return tuple(item.text() for item in items if item and item.checkState() == wanted)

    def tick(self, name: str, ticked: bool) -> None:
        """Tick a name, or leave it out.

        Parameters
        ----------
        name : str
            One that the table has not is passed over.
        ticked : bool
        """
        for row in range(self.rowCount()):
            item = self.item(row, 0)
            if item is not None and item.text() == name:
                item.setCheckState(Qt.CheckState.Checked if ticked else Qt.CheckState.Unchecked)


class DataChoices(QtWidgets.QWidget):
    """A form that a survey of images fills, and whose answers say which images are meant.

    Attributes
    ----------
    asked : Signal()
        The column of the classes, that of the wells, or a condition changed: what is told has to
        be looked up anew.
    changed : Signal()
        Classes or names of channels changed, of which everything is known.
    """

    asked = Signal()
    changed = Signal()

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self.column = QtWidgets.QComboBox()
        self.column.setToolTip("The column of the table or plate map that tells the classes")
        self.classes = TickTable()
        self.classes.setToolTip("Untick a class to leave its images out")
        self.group = QtWidgets.QComboBox()
        self.group.setToolTip(
            "Images of one well are alike: they must not be in training and test at once"
        )
        self.only = QtWidgets.QComboBox()
        self.only.setToolTip("Use only images with some values of another column, such as controls")
        self.values = TickTable()
        for box in (self.column, self.group, self.only):
            # Columns' names and values are foreign text of any length.
            box.setSizeAdjustPolicy(
                QtWidgets.QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
            )
        self.channels: list[QtWidgets.QLineEdit] = []
        self.origin = PlainLabel()
        self.origin.setWordWrap(True)
        self._named = QtWidgets.QHBoxLayout()
        self._form = QtWidgets.QFormLayout(self)
        self._form.setContentsMargins(0, 0, 0, 0)
        self._form.addRow("class", self.column)
        self._form.addRow(self.classes)
        self._form.addRow("only where", self.only)
        self._form.addRow(self.values)
        self._form.addRow("keep together", self.group)
        self._form.addRow("channels", self._named)
        self._form.addRow(self.origin)
        self.column.activated.connect(lambda _index: self._ask_anew())
        self.group.activated.connect(lambda _index: self.asked.emit())
        self.only.activated.connect(lambda _index: self._show_values())
        self.values.ticked.connect(self.asked)
        self.classes.ticked.connect(self.changed)
        self._survey: Survey | None = None

    def show_survey(self, survey: "Survey", label: str) -> None:
        """Offer the columns of a survey, with ``label`` as the class.

        Parameters
        ----------
        survey : Survey
        label : str
            Name of a column; the first one is chosen where there is no such.
        """
        self._survey = survey
        self.column.clear()
        for column in survey.columns:
            self.column.addItem(describe_column(column), column.name)
        self.column.setCurrentIndex(max(0, self.column.findData(label)))
        one = len(survey.columns) < 2
        self._form.setRowVisible(self.column, not one)
        self.only.clear()
        self.only.addItem(EVERY, NONE)
        # Those that tell controls first: that is what most will want to choose by.
        for column in sorted(survey.columns, key=lambda one: not one.tells_controls):
            if not column.is_place:
                self.only.addItem(f"{column.name} is ...", column.name)
        self._form.setRowVisible(self.only, not one)
        self._form.setRowVisible(self.values, False)
        self.group.clear()

    def show_counts(
        self, counts: Mapping[str, tuple[int, int]], groups: Sequence[str], columns: Sequence[str]
    ) -> None:
        """Show the classes with their images and wells, and what keeps images together.

        Parameters
        ----------
        counts : mapping of str to (int, int)
        groups : sequence of str
            The columns that are taken of themselves.
        columns : sequence of str
            All that could be.
        """
        wells = any(count for _, count in counts.values())
        header = ["class", "images", *(["wells"] if wells else [])]
        rows = [
            [name, str(images), *([str(count)] if wells else [])]
            for name, (images, count) in counts.items()
        ]
        self.classes.show_names(header, rows, self.classes.names(ticked=False))
        if self.group.count() == 0:
            told = " and ".join(groups) or "nothing: every image counts as independent"
            self.group.addItem(f"images of one {told}" if groups else told, AUTOMATIC)
            for name in columns:
                if tuple(groups) != (name,):
                    self.group.addItem(f"images of one {name}", name)
            if groups:
                self.group.addItem("nothing: every image counts as independent", NONE)

    def show_channels(self, found: Sequence[str], proposal: Proposal) -> None:
        """Ask what the channels show, which files call ``found``.

        Parameters
        ----------
        found : sequence of str
            As the files call them.
        proposal : Proposal
            A name for each, and where the names are from.
        """
        if len(self.channels) != len(found):
            for field in self.channels:
                self._named.removeWidget(field)
                field.deleteLater()
            self.channels = [QtWidgets.QLineEdit() for _ in found]
            for field in self.channels:
                self._named.addWidget(field)
                field.textChanged.connect(lambda _text: self.changed.emit())
        for field, name, own in zip(self.channels, proposal.names, found, strict=True):
            field.blockSignals(True)
            field.setText(name)
            field.setToolTip(plain_tip(f"What the channel shows that the files call {own}"))
            field.blockSignals(False)
        self.origin.setText(f"Channels: {proposal.origin}.")

    def channel_names(self) -> tuple[str, ...]:
        """Return the channels' names as the user left them."""
        return tuple(field.text().strip() for field in self.channels)

    def choices(self) -> "Choices":
        """Return the answers; without classes left out, all are meant, those found later too."""
        from napari_why.datasets import Choices

        column = self.only.currentData()
        only = (str(column), self.values.names()) if column and self.values.names() else None
        group = self.group.currentData()
        return Choices(
            label=str(self.column.currentData() or "label"),
            classes=self.classes.names() if self.classes.names(ticked=False) else None,
            group=AUTOMATIC if group is None else (group or None),
            channels=self.channel_names() or None,
            only=only,
        )

    def show_choices(self, choices: "Choices") -> None:
        """Say again what was answered, once a survey, its counts and channels are shown."""
        if choices.only is not None and self._survey is not None:
            name, values = choices.only
            self.only.setCurrentIndex(max(0, self.only.findData(name)))
            self._list_values(unticked=set(self._values_of(name)) - set(values))
        if choices.classes is not None:
            for name in set(self.classes.names()) - set(choices.classes):
                self.classes.tick(name, False)
        if choices.group != AUTOMATIC:
            group = choices.group or NONE
            columns = (group,) if isinstance(group, str) else group
            told = f"images of one {' and '.join(columns)}"
            place = self.group.findData(group)
            if place < 0 and self.group.itemText(0) == told:
                place = 0  # those that are taken of themselves
            elif place < 0:
                self.group.addItem(told, group)
                place = self.group.count() - 1
            self.group.setCurrentIndex(place)
        for field, name in zip(self.channels, choices.channels or (), strict=False):
            field.setText(name)

    def _ask_anew(self) -> None:
        self.classes.show_names(["class"], [])
        self.group.clear()
        self.asked.emit()

    def _show_values(self) -> None:
        self._list_values()
        self.asked.emit()

    def _list_values(self, unticked: Collection[str] = ()) -> None:
        name = self.only.currentData()
        values = self._values_of(name)
        self.values.show_names([str(name)], [[value] for value in values], unticked)
        self._form.setRowVisible(self.values, bool(values))

    def _values_of(self, name: str) -> tuple[str, ...]:
        columns = self._survey.columns if self._survey is not None else ()
        return next((column.distinct for column in columns if column.name == name), ())


def describe_column(column: "Column") -> str:
    """Return a column's name with its first values.

    Examples
    --------
    >>> from napari_why.datasets import Column
    >>> describe_column(Column("drug", ("DMSO", "FCCP", "X", "Y")))
    'drug: DMSO, FCCP, X, ...'
    """
    more = ", ..." if len(column.distinct) > EXAMPLES else ""
    return f"{column.name}: {', '.join(column.distinct[:EXAMPLES])}{more}"
