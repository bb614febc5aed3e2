"""A plate of the data set in use: thumbnails by well, coloured by class; a click opens a well."""

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy import QtWidgets
from qtpy.QtCore import QObject, Signal

from napari_why.core.errors import DatasetError
from napari_why.core.events import Cancelled, Message, OnEvent
from napari_why.core.torch_loading import load_torch_libraries
from napari_why.sessions import ImageOpener
from napari_why.widgets.dataset_panel import PATTERN_HELP
from napari_why.widgets.dock import Dock, Panel
from napari_why.widgets.job import JobState
from napari_why.widgets.plate_grid import EMPTY, DrawnWell, PlateGrid, make_thumbnails
from napari_why.widgets.tables import PlainLabel

if TYPE_CHECKING:
    from napari_why.datasets import Dataset

# What the tooltip of a well says, where the plate map has such columns; its class has a line of
# its own.
TOOLTIP_COLUMNS = ("treatment", "compound", "dose", "dose_unit", "replicate", "control", "split")
NO_PLATE = "No data set with wells yet. Choose the folder of a plate and its plate map."


class _Pictures(QObject):
    """Brings thumbnails from the thread that makes them to the one that shows them."""

    ready = Signal(object, object)


class PlatePanel(Panel):
    """Folder and plate map, the plate as a grid, and what did not fit.

    The data set is shared with the other docks of the viewer; any data set with wells is shown.
    """

    def __init__(self, dock: Dock) -> None:
        super().__init__(dock)
        self._shown: Dataset | None = None
        # Opened again when the pattern of the names is given.
        self._opened: tuple[Path, Path] | None = None
        self._of_well: dict[tuple[int, int], list[int]] = {}
        self.open_plate = QtWidgets.QPushButton("Open a plate...")
        self.open_plate.setToolTip("The folder with its images, then its plate map (CSV or Excel)")
        self.label = QtWidgets.QLineEdit("treatment")
        self.label.setToolTip("Column of the plate map that is the class")
        self.pattern = QtWidgets.QLineEdit()
        self.pattern.setPlaceholderText("by the names")
        self.pattern.setToolTip(
            "Where names can mean several wells: a regular expression with (?P<well>...), and "
            "(?P<plate>...) where there are several plates"
        )
        self.names = QtWidgets.QLineEdit()
        self.names.setPlaceholderText("as microscopes name files")
        self.names.setToolTip(PATTERN_HELP)
        self.plate = QtWidgets.QComboBox()
        self.about = PlainLabel(NO_PLATE)
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
        row = QtWidgets.QGridLayout()
        row.addWidget(self.open_plate, 0, 0)
        form = QtWidgets.QFormLayout()
        form.addRow("class from column", self.label)
        form.addRow("wells by pattern", self.pattern)
        form.addRow("file names", self.names)
        form.addRow("plate", self.plate)
        self.column.addLayout(row)
        self.column.addLayout(form)
        for widget in (self.about, self.legend, self.grid):
            self.column.addWidget(widget)
        self.end_column()

    def _connect(self) -> None:
        self.open_plate.clicked.connect(self._ask)
        self.names.returnPressed.connect(self._reopen)
        self.grid.chosen.connect(self.open_well)
        self.plate.activated.connect(lambda _index: self._show_plate())
        self._pictures.ready.connect(self._show_picture)
        self.dock.state.dataset_changed.connect(self.show_dataset)

    def open_location(self, folder: Path, plate_map: Path) -> None:
        """Open the images of a plate with the classes of its plate map."""
        self._opened = (folder, plate_map)
        label = self.label.text().strip()
        pattern = self.pattern.text().strip() or None
        names = self.names.text().strip() or None

        def work(*, on_event: OnEvent, cancelled: Cancelled) -> "Dataset | None":
            load_torch_libraries()
            from napari_why.datasets import Dataset

            dataset = Dataset.from_plate(
                folder,
                plate_map,
                label=label,
                well_pattern=pattern,
                pattern=names,
                on_event=on_event,
                cancelled=cancelled,
            )
            return None if cancelled() else split_if_possible(dataset, on_event)

        self.dock.run("Reading the plate", work, self._share)

    def _reopen(self) -> None:
        if self._opened is not None:
            self.open_location(*self._opened)

    def show_dataset(self, dataset: "Dataset | None") -> None:
        """Show the first plate of a data set that knows its wells."""
        self._shown = dataset if dataset is not None and "well" in dataset.table.columns else None
        self.plate.clear()
        if self._shown is not None and "plate" in self._shown.table.columns:
            self.plate.addItems(sorted(set(map(str, self._shown.table["plate"]))))
        self.plate.setEnabled(self.plate.count() > 1)
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
        # Thumbnails are the least of what a dock does: they wait for the next look at the page.
        if dataset is None or not rows or self.dock.runner.state is not JobState.IDLE:
            return

        def work(**listeners: Any) -> int:
            load_torch_libraries()
            return make_thumbnails(
                dataset,
                rows,
                lambda picture: self._pictures.ready.emit(dataset, picture),
                **listeners,
            )

        self.dock.run("Drawing the plate", work, lambda _count: None)

    def _show_plate(self) -> None:
        dataset = self._shown
        self._of_well = {} if dataset is None else find_wells(dataset, self.plate.currentText())
        self.about.setText(NO_PLATE if dataset is None else describe_plate(dataset))
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

    def _share(self, dataset: "Dataset") -> None:
        self.dock.state.dataset = dataset

    def _ask(self) -> None:
        folder = QtWidgets.QFileDialog.getExistingDirectory(
            self, "Folder with the images of a plate"
        )
        if not folder:
            return
        name, _ = QtWidgets.QFileDialog.getOpenFileName(
            self, "Plate map", folder, "Plate maps (*.csv *.tsv *.txt *.xlsx *.xlsm);;All files (*)"
        )
        if name:
            self.open_location(Path(folder), Path(name))


def split_if_possible(dataset: "Dataset", on_event: OnEvent) -> "Dataset":
    """Split a data set by well; a plate of few wells is shown all the same, and said to be whole."""
    try:
        # Any seed: the page Data set draws another split for who wants one.
        return dataset.split(seed=0)
    except DatasetError as error:
        on_event(Message(f"The plate is not split for training: {error}"))
        return dataset


def find_wells(dataset: "Dataset", plate: str) -> dict[tuple[int, int], list[int]]:
    """Return the rows of each well of a plate, by the well's row and column from 0.

    Wells whose names are none are left out; ``plate`` is empty where there is but one.
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
    from napari_why.latent_space.files import PALETTE

    return {name: PALETTE[index % len(PALETTE)] for index, name in enumerate(dataset.classes)}


def describe_wells(
    dataset: "Dataset",
    of_well: dict[tuple[int, int], list[int]],
    colours: dict[str, str],
    plate: str,
) -> dict[tuple[int, int], DrawnWell]:
    """Return what is drawn of the wells with images, and of those of the map without."""
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
    """Say how many wells and images there are, and what did not fit the plate map, and what tells the class."""
    wells = len(dataset.table.groupby([*dataset.group_columns] or ["well"]))
    # Apart from each other, as on the page of the data set: there may be many.
    return "\n\n".join(
        [
            f"{len(dataset)} images in {wells} wells. Click a well to open it.",
            *dataset.notes,
            *dataset.confounding.sentences,
        ]
    )
