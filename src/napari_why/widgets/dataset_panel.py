"""Opening a labelled data set, with a look at its classes and splits."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from qtpy import QtWidgets

from napari_why.core.events import Cancelled, OnEvent
from napari_why.core.torch_loading import load_torch_libraries
from napari_why.output.snippets import copy_data
from napari_why.widgets.copy_buttons import CopyButtons
from napari_why.widgets.dock import Dock, Panel
from napari_why.widgets.image_files import layers_of
from napari_why.widgets.tables import PlainLabel, Table

if TYPE_CHECKING:
    from napari_why.datasets import Dataset

# To try the docks with: few and small, so that rendering and training take little time, at the
# cost of a classifier that is worth nothing but a look.
SIMULATED_IMAGES = 48
SIMULATED_SIZE = 64  # pixels
# Any number serves as a seed; four digits can be read out and typed again.
LARGEST_SEED = 9999

# What stands as help at both fields for it, of folders and of plates.
PATTERN_HELP = (
    "How files that hold one channel each are named, where no microscope names them so: a regular "
    "expression for the name without its ending, with the group channel, such as "
    "(?P<field>.+)_(?P<channel>green|red); press Enter to apply"
)
Source: TypeAlias = Callable[..., "Dataset"]


class DatasetPanel(Panel):
    """Folder, table or simulated scenes; classes, groups and images of each split; the images.

    The data set is shared with the other docks of the viewer.
    """

    def __init__(self, dock: Dock) -> None:
        super().__init__(dock)
        self._source: Source | None = None
        self.folder = QtWidgets.QPushButton("Folder...")
        self.folder.setToolTip("A folder with one sub-folder of images for each class")
        self.table = QtWidgets.QPushButton("Table...")
        self.table.setToolTip("A CSV file with the columns path, label and, if known, well, plate")
        self.simulated = QtWidgets.QPushButton("Simulated")
        self.simulated.setToolTip("Simulated cells of two classes, to try everything without data")
        self.channels = QtWidgets.QLineEdit()
        self.channels.setPlaceholderText("as the files say")
        self.channels.setToolTip(
            "Names of the channels in the order of the files, with commas between, where the "
            "files say none; press Enter to apply"
        )
        self.pattern = QtWidgets.QLineEdit()
        self.pattern.setPlaceholderText("as microscopes name files")
        self.pattern.setToolTip(PATTERN_HELP)
        self.seed = QtWidgets.QSpinBox()
        self.seed.setRange(0, LARGEST_SEED)
        # Without this, typing 123 would split three times, for 1, 12 and 123.
        self.seed.setKeyboardTracking(False)
        self.seed.setToolTip("Another number draws another split into training and test images")
        self.about = PlainLabel("No data set yet.")
        self.about.setWordWrap(True)
        self.summary = Table()
        self.images = Table(wide_first=True)
        self.open = QtWidgets.QPushButton("Open the selected images as layers")
        self.copy_buttons = CopyButtons(dock.message)
        self._lay_out()
        self._connect()
        self.show_dataset(dock.state.dataset)

    def _lay_out(self) -> None:
        row = QtWidgets.QGridLayout()
        for column, button in enumerate((self.folder, self.table, self.simulated)):
            row.addWidget(button, 0, column)
        form = QtWidgets.QFormLayout()
        form.addRow("channel names", self.channels)
        form.addRow("file names", self.pattern)
        form.addRow("split seed", self.seed)
        self.column.addLayout(row)
        self.column.addLayout(form)
        for widget in (self.about, self.summary, self.images, self.open, self.copy_buttons):
            self.column.addWidget(widget)
        self.end_column()

    def _connect(self) -> None:
        self.folder.clicked.connect(self._ask_folder)
        self.table.clicked.connect(self._ask_table)
        self.simulated.clicked.connect(self.open_simulated)
        self.channels.returnPressed.connect(self._reopen)
        self.pattern.returnPressed.connect(self._reopen)
        self.seed.valueChanged.connect(self._split_again)
        self.images.itemSelectionChanged.connect(self._offer_opening)
        self.images.doubleClicked.connect(lambda _index: self.open_selected())
        self.open.clicked.connect(self.open_selected)
        self.dock.state.dataset_changed.connect(self.show_dataset)

    def open_location(self, location: Path) -> None:
        """Open a folder with one sub-folder a class, or a table."""

        def source(channels: list[str] | None, pattern: str | None, **listeners: Any) -> "Dataset":
            load_torch_libraries()
            from napari_why.datasets import Dataset

            return Dataset.open(location, channels=channels, pattern=pattern, **listeners)

        self._open(source)

    def open_simulated(self) -> None:
        """Render simulated scenes of two classes."""

        def source(
            _channels: list[str] | None, _pattern: str | None, **listeners: Any
        ) -> "Dataset":
            load_torch_libraries()
            from napari_why.simulation import simulate

            return simulate(SIMULATED_IMAGES, size=SIMULATED_SIZE, **listeners)

        self._open(source)

    def show_dataset(self, dataset: "Dataset | None") -> None:
        """Show counts and images of the data set in use."""
        self.open.setVisible(dataset is not None)
        self.copy_buttons.offer(None if dataset is None else lambda: copy_data(dataset))
        if dataset is None:
            return
        self.about.setText(describe_dataset(dataset))
        self.summary.show_rows(*count_images(dataset))
        shown = [name for name in ("label", "well", "split") if name in dataset.table.columns]
        rows = zip(
            (Path(path).name for path in dataset.table["path"]),
            *(dataset.table[name] for name in shown),
            strict=True,
        )
        self.images.show_rows(["image", *shown], list(rows))
        self._offer_opening()

    def open_selected(self) -> None:
        """Open the selected images as layers."""
        dataset, rows = self.dock.state.dataset, self.images.chosen_rows()
        if dataset is None or not rows:
            return
        self.dock.load(
            lambda: [layer for row in rows for layer in layers_of(dataset.image(row))],
            self.dock.add_layers,
        )

    def release(self) -> None:
        """Follow the shared data set no more."""
        self.dock.state.dataset_changed.disconnect(self.show_dataset, missing_ok=True)

    def _open(self, source: Source) -> None:
        # Kept for other names of channels and files, with which the files have to be read again.
        self._source = source
        # Read here, for the work runs beside the GUI thread, where no widget may be asked.
        channels, seed = self._channel_names(), self.seed.value()
        pattern = self.pattern.text().strip() or None

        def work(*, on_event: OnEvent, cancelled: Cancelled) -> "Dataset | None":
            dataset = source(channels, pattern, on_event=on_event, cancelled=cancelled)
            # A part of the images would pass for the whole data set: the one before stays.
            return None if cancelled() else dataset.split(seed=seed)

        self.dock.run("Reading the data set", work, self._share)

    def _share(self, dataset: "Dataset") -> None:
        self.dock.state.dataset = dataset

    def _split_again(self) -> None:
        dataset = self.dock.state.dataset
        if dataset is not None:
            seed = self.seed.value()
            self.dock.run(
                "Splitting", lambda **_: dataset.split(seed=seed, redraw=True), self._share
            )

    def _reopen(self) -> None:
        if self._source is not None:
            self._open(self._source)

    def _channel_names(self) -> list[str] | None:
        names = [name.strip() for name in self.channels.text().split(",")]
        return names if any(names) else None

    def _ask_folder(self) -> None:
        folder = QtWidgets.QFileDialog.getExistingDirectory(
            self, "Folder with one sub-folder a class"
        )
        if folder:
            self.open_location(Path(folder))

    def _ask_table(self) -> None:
        name, _ = QtWidgets.QFileDialog.getOpenFileName(
            self, "Table of images", "", "Tables (*.csv *.tsv *.txt *.xlsx *.xlsm);;All files (*)"
        )
        if name:
            self.open_location(Path(name))

    def _offer_opening(self) -> None:
        self.open.setEnabled(bool(self.images.chosen_rows()))


def count_images(dataset: "Dataset") -> tuple[list[str], list[list[str]]]:
    """Return header and rows of a table of images, and wells, by class and split."""
    summary = dataset.summary()
    group = f" {dataset.group_columns[-1]}" if dataset.group_columns else ""
    # In the order in which the summary has them.
    splits = list(dict.fromkeys(summary["split"]))
    rows = []
    for name in dataset.classes:
        of_class = summary[summary["label"] == name].set_index("split")
        cells = [
            f"{images} in {groups}{group}{'s' * (groups != 1)}" if group else str(images)
            for images, groups in zip(of_class["images"], of_class["groups"], strict=True)
        ]
        rows.append([name, *cells])
    return ["images", *splits], rows


def describe_dataset(dataset: "Dataset") -> str:
    """Say how many images of which channels there are, what groups them, and what is unreadable."""
    groups = (
        f"Images of one {' and '.join(dataset.group_columns)} stay in one split."
        if dataset.group_columns
        else "No column tells the wells: every image counts as independent, which they may not be."
    )
    lines = [f"{len(dataset)} images with {', '.join(dataset.channels)}.", groups]
    # What cannot be told from the class stands first: it decides what any figure is worth.
    uneven = [dataset.imbalance] if dataset.imbalance else []
    return "\n\n".join([*dataset.confounding.warnings, " ".join(lines), *dataset.notes, *uneven])
