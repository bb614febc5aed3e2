"""The plates of a screen as they fill: one as a grid, coloured by a column, beside the compounds found."""

from html import escape
from typing import TYPE_CHECKING

from qtpy import QtWidgets
from qtpy.QtCore import Signal

from napari_why.core.pictures import PALETTE
from napari_why.widgets.colour_scale import ColourScale
from napari_why.widgets.parameter_field import narrow
from napari_why.widgets.plate_grid import ABSENT_COLOUR, EMPTY, DrawnWell, PlateGrid
from napari_why.widgets.tables import PlainLabel, Table

if TYPE_CHECKING:
    from napari_why.sessions.screen_state import ScreenState, ShownWell

# Frames of controls, in the words of the table's roles; samples have the grey of wells without a class.
FRAMES = {"negative control": PALETTE[0], "positive control": PALETTE[1]}
# Of a corner: fields that failed or are of poor quality, and wells at the edge.
FLAGGED, AT_EDGE = PALETTE[5], "#b0b0b0"


class ScreenPlates(QtWidgets.QWidget):
    """A plate of a screen, its colours, and the table of compounds.

    Attributes
    ----------
    well_wanted : Signal(str, str)
        Plate and well that were clicked.
    well_below : Signal(object)
        What there is to say of the well under the mouse, a tuple of facts, the name first; empty of none.
    column_changed : Signal(str)
        The plates are coloured by another column.
    """

    well_wanted = Signal(str, str)
    well_below = Signal(object)
    column_changed = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self._state: ScreenState | None = None
        self._wells: dict[tuple[int, int], ShownWell] = {}
        self._chosen = ""  # a column, also of a saved session, that wells may not have yet
        self.plate, self.colour_by = QtWidgets.QComboBox(), QtWidgets.QComboBox()
        self.plate.setToolTip("Which plate is shown")
        self.colour_by.setToolTip(
            "What the wells are coloured by: means of their fields, or scores"
        )
        for box in (self.plate, self.colour_by):
            narrow(box)
        self.grid, self.scale = PlateGrid(), ColourScale()
        self.legend, self.about = PlainLabel(), PlainLabel()
        for label in (self.legend, self.about):
            label.setWordWrap(True)
        self.hits = Table()
        column = QtWidgets.QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        for widget in (self.plate, self.colour_by, self.grid, self.scale, self.legend, self.about):
            column.addWidget(widget)
        column.addWidget(self.hits)
        self.plate.currentIndexChanged.connect(self._show_other_plate)
        self.colour_by.activated.connect(self._choose_column)
        self.grid.chosen.connect(self._choose_place)
        self.grid.hovered.connect(self._hover)
        self.hits.itemSelectionChanged.connect(self._choose_hit)
        self.hide()

    @property
    def column(self) -> str:
        """The column that the wells are coloured by; empty as long as there is none."""
        return str(self.colour_by.currentData() or self._chosen)

    def want_column(self, name: str) -> None:
        """Colour by a column as soon as there is one of this name."""
        self._chosen = name
        self.show_state(self._state)

    def show_state(self, state: "ScreenState | None") -> None:
        """Show what there is of a screen; None of none."""
        before, self._state = self._state, state
        self.setVisible(state is not None)
        if state is None:
            self._show_hits()
            return
        if before is None or before.plates != state.plates:
            self.plate.blockSignals(True)
            self.plate.clear()
            self.plate.addItems(list(state.plates))
            self.plate.blockSignals(False)
            self.plate.setVisible(len(state.plates) > 1)
        self._show_columns()
        if before is None or before.complete != state.complete or state.complete:
            self._show_hits()
        self._show_plate(keep=before is not None and before.plates == state.plates)

    def choose_well(self, plate: str, well: str) -> None:
        """Show which well is open, and mark the others of its compound.

        Parameters
        ----------
        plate : str
        well : str
            Such as "B03".
        """
        state = self._state
        if state is None:
            return
        number = state.hit_of_well(plate, well)
        self.hits.blockSignals(True)
        self.hits.clearSelection()
        if number is not None:
            self.hits.selectRow(number)
        self.hits.blockSignals(False)
        others = [] if number is None else state.wells_of_hit(number)
        own = self._places([(plate, well)])
        self.grid.mark(self._places(others) - own, next(iter(own), None))
        self.about.setText(" · ".join(state.describe_well(plate, well, self.column)))

    def _choose_place(self, place: tuple[int, int]) -> None:
        shown = self._wells[place]
        self.choose_well(shown.plate, shown.well)
        self.well_wanted.emit(shown.plate, shown.well)

    def _choose_hit(self) -> None:
        rows, state = self.hits.chosen_rows(), self._state
        if not rows or state is None:
            return
        wells = state.wells_of_hit(rows[0])
        plates = list(dict.fromkeys(plate for plate, _ in wells))
        # of a compound on other plates the first of those is shown
        if plates and self.plate.currentText() not in plates:
            self.plate.setCurrentText(plates[0])
        self.grid.mark(self._places(wells))
        self.about.setText(", ".join(f"{plate} {well}" for plate, well in wells))

    def _choose_column(self, _index: int) -> None:
        self._chosen = str(self.colour_by.currentData() or "")
        self._show_plate(keep=True)
        self.column_changed.emit(self.column)

    def _hover(self, place: tuple[int, int] | None) -> None:
        shown = None if place is None else self._wells.get(place)
        self.well_below.emit(() if shown is None else shown.facts)

    def _places(self, wells: list[tuple[str, str]]) -> set[tuple[int, int]]:
        names = {well for plate, well in wells if plate == self.plate.currentText()}
        return {place for place, shown in self._wells.items() if shown.well in names}

    def _show_columns(self) -> None:
        columns = {} if self._state is None else self._state.columns
        there = [self.colour_by.itemData(index) for index in range(self.colour_by.count())]
        if list(columns) != there:
            self.colour_by.blockSignals(True)
            self.colour_by.clear()
            for name, title in columns.items():
                self.colour_by.addItem(title, name)
            self.colour_by.blockSignals(False)
        # nobody chose: what tells most, which stands first, and may come with the end alone
        found = self.colour_by.findData(self._chosen) if self._chosen else -1
        self.colour_by.setCurrentIndex(max(found, 0) if columns else -1)

    def _show_other_plate(self, _index: int) -> None:
        self._show_plate(keep=False)

    def _show_plate(self, *, keep: bool) -> None:
        state = self._state
        if state is None or not self.plate.count():
            return
        shown = state.show_plate(self.plate.currentText(), self.column)
        self._wells = {one.place: one for one in shown}
        drawn = {place: draw_well(one) for place, one in self._wells.items()}
        if keep:
            self.grid.update_wells(drawn)
        else:
            self.grid.show_wells(drawn)
        self.scale.show_scale(state.scale(self.column))
        self.legend.show_markup(write_legend(shown))

    def _show_hits(self) -> None:
        state = self._state
        self.hits.show_rows(*(([], []) if state is None else state.hit_rows()))


def draw_well(shown: "ShownWell") -> DrawnWell:
    """Return how a well is drawn."""
    return DrawnWell(
        FRAMES.get(shown.role, EMPTY),
        "\n".join(shown.facts),
        fill=shown.colour,
        crossed=shown.is_unreadable,
        corners=(FLAGGED if shown.flagged else "", AT_EDGE if shown.edge else ""),
    )


def write_legend(wells: "list[ShownWell]") -> str:
    """Return what frames, corners and crosses mean, as far as there are any, as markup."""
    frames = [
        (colour, role) for role, colour in FRAMES.items() if any(w.role == role for w in wells)
    ]
    corners = []
    if any(well.flagged for well in wells):
        corners.append((FLAGGED, "\u25e5", "poor or failed fields"))
    if any(well.edge for well in wells):
        corners.append((AT_EDGE, "\u25e3", "edge"))
    unreadable = {well.state for well in wells if well.is_unreadable}
    corners += [(ABSENT_COLOUR, "\u00d7", state) for state in unreadable]
    waiting = [well.state for well in wells if well.is_waiting]
    said = [
        *(_key(colour, "\u25a1", role) for colour, role in frames),
        *(_key(*corner) for corner in corners),
        *([f"{len(waiting)} wells: {waiting[0]}"] if waiting else []),
    ]
    return " &nbsp; ".join(said)


def _key(colour: str, sign: str, words: str) -> str:
    # without a break between a sign and what it means
    return f'<span style="color:{colour}">{sign}</span>&nbsp;{escape(words).replace(" ", "&nbsp;")}'
