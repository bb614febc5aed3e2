"""A plate of the data set in use: thumbnails by well, coloured by class; a click opens a well."""

from html import escape
from typing import TYPE_CHECKING, Any

from qtpy import QtWidgets
from qtpy.QtCore import QObject, Signal

from napari_why.core.events import ignore_event
from napari_why.core.pictures import PALETTE
from napari_why.sessions import ImageOpener
from napari_why.widgets.dock import Dock, Panel
from napari_why.widgets.plate_grid import EMPTY, DrawnWell, PlateGrid, make_thumbnails
from napari_why.widgets.tables import PlainLabel

if TYPE_CHECKING:
    from napari_why.datasets import Dataset

# What the tooltip of a well says, where the plate map has such columns; its class has a line of
# its own.
TOOLTIP_COLUMNS = ("treatment", "compound", "dose", "dose_unit", "replicate", "control", "split")


class _Pictures(QObject):
    """Brings thumbnails from the thread that makes them to the one that shows them."""

    ready = Signal(object, object)


class PlatePanel(Panel):
    """The plate of the data set in use as a grid; hidden where no wells are known."""

    def __init__(self, dock: Dock) -> None:
        super().__init__(dock)
        self._shown: Dataset | None = None
        self._drawing: Dataset | None = None
        self._of_well: dict[tuple[int, int], list[int]] = {}
        self.plate = QtWidgets.QComboBox()
        self.about = PlainLabel()
        self.about.setWordWrap(True)
        self.legend = PlainLabel()
        self.legend.setWordWrap(True)
        self.grid = PlateGrid()
        self._opener = ImageOpener(dock)
        self._opener.left_out.connect(self._warn)
        self._pictures = _Pictures(self)
        self._lay_out()
        self._connect()
        self.show_dataset(dock.state.dataset)

    def _warn(self, text: str) -> None:
        self.dock.message.tell(text, "warning")

    def _lay_out(self) -> None:
        self.column.setContentsMargins(0, 0, 0, 0)
        self.column.addWidget(self.plate)
        for widget in (self.about, self.legend, self.grid):
            self.column.addWidget(widget)

    def _connect(self) -> None:
        self.grid.chosen.connect(self.open_well)
        self.plate.activated.connect(lambda _index: self._show_plate())
        self._pictures.ready.connect(self._show_picture)
        self.dock.state.dataset_changed.connect(self.show_dataset)

    def show_dataset(self, dataset: "Dataset | None") -> None:
        """Show the first plate of a data set that knows its wells."""
        self._shown = dataset if dataset is not None and "well" in dataset.table.columns else None
        self.plate.clear()
        if self._shown is not None and "plate" in self._shown.table.columns:
            self.plate.addItems(sorted(set(map(str, self._shown.table["plate"]))))
        self.plate.setVisible(self.plate.count() > 1)
        self.setVisible(self._shown is not None)
        self._show_plate()

    def open_well(self, place: tuple[int, int]) -> None:
        """Open the fields of a well side by side, at most nine, in the contrast of the data set."""
        if self._shown is not None:
            self._opener.open(self._shown, self._of_well.get(place, []))

    def release(self) -> None:
        """Follow the shared data set no more."""
        self._opener.release()
        self.dock.state.dataset_changed.disconnect(self.show_dataset, missing_ok=True)

    def showEvent(self, event: Any) -> None:  # noqa: N802 (the name is Qt's)
        """Make the thumbnails when they are first looked at."""
        super().showEvent(event)
        self.draw_thumbnails()

    def draw_thumbnails(self) -> None:
        """Make the thumbnails that are missing, beside the GUI thread, each shown as it is done."""
        dataset = self._shown
        rows = {
            place: numbers[0]
            for place, numbers in self._of_well.items()
            if place not in self.grid.pictures
        }
        if dataset is None or not rows or dataset is self._drawing:
            return
        self._drawing = dataset

        def work() -> int:
            # Beside what else runs: thumbnails are the least of what a dock does.
            return make_thumbnails(
                dataset,
                rows,
                lambda picture: self._pictures.ready.emit(dataset, picture),
                on_event=ignore_event,
                cancelled=lambda: self.dock.is_shut_down or dataset is not self._shown,
            )

        self.dock.load(work, lambda _count: self._end_drawing(dataset))

    def _end_drawing(self, dataset: "Dataset") -> None:
        if self._drawing is dataset:
            self._drawing = None

    def _show_plate(self) -> None:
        dataset = self._shown
        self._of_well = {} if dataset is None else find_wells(dataset, self.plate.currentText())
        self.about.setText("" if dataset is None else describe_plate(dataset))
        self.grid.setVisible(bool(self._of_well))
        self.legend.setVisible(bool(self._of_well))
        if dataset is None:
            return
        colours = assign_colours(dataset)
        self.legend.show_markup(
            " ".join(
                f'<span style="color:{colour}">\u25a0</span> {escape(name)}'
                for name, colour in colours.items()
            )
        )
        self.grid.show_wells(
            describe_wells(dataset, self._of_well, colours, self.plate.currentText())
        )
        # Hidden, the page reads no images: showEvent makes them when it is looked at.
        if self.isVisible():
            self.draw_thumbnails()

    def _show_picture(self, dataset: "Dataset", picture: Any) -> None:
        # Pictures of a data set or plate that was left meanwhile still arrive.
        if dataset is self._shown and picture[0] in self._of_well:
            self.grid.show_picture(*picture)


def find_wells(dataset: "Dataset", plate: str) -> dict[tuple[int, int], list[int]]:
    """Return the rows of each well of a plate, by the well's row and column from 0.

    Wells whose names are none are left out; ``plate`` is empty where there is but one.

    Parameters
    ----------
    dataset : Dataset
        Its table has a column ``well``, and ``plate`` where there are several.
    plate : str

    Returns
    -------
    dict of (int, int) to list of int
    """
    from napari_why.images.wells import well_name, well_place

    table = dataset.table
    found: dict[tuple[int, int], list[int]] = {}
    for number, name in enumerate(table["well"]):
        well = well_name(str(name))
        if well and (not plate or str(table["plate"].iloc[number]) == plate):
            found.setdefault(well_place(well), []).append(number)
    return found


def assign_colours(dataset: "Dataset") -> dict[str, str]:
    """Return a colour for each class, told apart by colour-blind eyes too."""
    return {name: PALETTE[index % len(PALETTE)] for index, name in enumerate(dataset.classes)}


def describe_wells(
    dataset: "Dataset",
    of_well: dict[tuple[int, int], list[int]],
    colours: dict[str, str],
    plate: str,
) -> dict[tuple[int, int], DrawnWell]:
    """Return what is drawn of the wells with images, and of those of the map without.

    Parameters
    ----------
    dataset : Dataset
    of_well : dict of (int, int) to list of int
        Rows of the table, by :func:`find_wells`.
    colours : dict of str to str
        By class.
    plate : str
        Empty where there is but one.

    Returns
    -------
    dict of (int, int) to DrawnWell
    """
    from napari_why.images.wells import well_place

    table, wells = dataset.table, {}
    columns = [name for name in table.columns if name in TOOLTIP_COLUMNS]
    for place, rows in of_well.items():
        # The plate map speaks of wells, so that all images of a well have the same facts.
        first = table.iloc[rows[0]]
        facts = [
            f"{name}: {first[name]}" for name in columns if str(first[name]) not in ("", "nan")
        ]
        count = "1 image" if len(rows) == 1 else f"{len(rows)} images"
        words = "\n".join([f"{first['well']}, {count}", f"class: {first['label']}", *facts])
        wells[place] = DrawnWell(colours[str(first["label"])], words)
    match = dataset.plate_match
    for name in match.wells_without_images if match else ():
        # "plate well" where there are several plates, else the well alone.
        of_plate, _, well = name.rpartition(" ")
        if not plate or not of_plate or of_plate == plate:
            wells.setdefault(well_place(well), DrawnWell(EMPTY, f"{well}: no image", there=False))
    return wells


def describe_plate(dataset: "Dataset") -> str:
    """Say how many wells and images there are, and what can be done with them."""
    wells = len(dataset.table.groupby([*dataset.group_columns] or ["well"]))
    return f"{len(dataset)} images in {wells} wells. Click a well to open it."
