"""Images to learn from, step by step: where they are, which are meant, a look at them, and their use."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy import QtWidgets
from qtpy.QtCore import Qt, QTimer, Signal

from napari_why.core.errors import DatasetError
from napari_why.core.events import Cancelled, Finished, Message, OnEvent, Started
from napari_why.output.snippets import copy_data
from napari_why.sessions import ImageOpener
from napari_why.widgets.class_preview import ClassPreview
from napari_why.widgets.copy_buttons import CopyButtons
from napari_why.widgets.data_choices import DataChoices
from napari_why.widgets.dock import Dock, Panel
from napari_why.widgets.job import RunButton
from napari_why.widgets.remembered import (
    last_folder,
    propose_channels,
    remember_channels,
    remember_folder,
)
from napari_why.widgets.tables import PlainLabel, Table

if TYPE_CHECKING:
    from xarray import DataArray

    from napari_why.datasets import Choices, Dataset, Survey

# To try the docks with: few and small, so that rendering and training take little time, at the
# cost of a classifier that is worth nothing but a look.
SIMULATED_IMAGES = 48
SIMULATED_SIZE = 64  # pixels
# Any number serves as a seed; four digits can be read out and typed again.
LARGEST_SEED = 9999
TABLES = "Tables and plate maps (*.csv *.tsv *.txt *.xlsx *.xlsm);;All files (*)"
NOTHING_YET = (
    "Choose a folder with one sub-folder of images for each class, the folder of a plate, or a table "
    "of images or wells. Only names are read at first."
)

PATTERN_HELP = (
    "How files that hold one channel each are named, where no microscope names them so: a regular "
    "expression for the name without its ending, with the group channel, such as "
    "(?P<field>.+)_(?P<channel>green|red); press Enter to apply"
)
WELL_HELP = (
    "Where names can mean several wells: a regular expression with (?P<well>...), and "
    "(?P<plate>...) where there are several plates; press Enter to apply"
)


@dataclass(frozen=True)
class Look:
    """What is known of images before they are opened."""

    survey: "Survey"
    choices: "Choices"
    counts: dict[str, tuple[int, int]]
    groups: tuple[str, ...]
    columns: tuple[str, ...]
    examples: "dict[str, DataArray]"


def look_at(
    survey: "Survey", choices: "Choices", on_event: OnEvent, cancelled: Cancelled
) -> Look | None:
    """Count the classes of a survey and read an image of each; None when cancelled.

    Parameters
    ----------
    survey : Survey
    choices : Choices
        Column of the classes, wells, conditions.
    on_event, cancelled
        See :mod:`napari_why.core.events`.

    Returns
    -------
    Look or None
    """
    counts = survey.count_classes(choices)
    automatic = replace(choices, group="auto", classes=None)
    groups = survey.group_columns(automatic)
    columns = tuple(map(str, survey.listing(choices.label).columns.drop(["path", "label"])))
    if cancelled():
        return None
    on_event(Started("reading an image of each class"))
    # The files' own names of channels: what the user calls them is only shown.
    examples = survey.read_examples(replace(choices, classes=None, channels=None))
    on_event(Finished())
    return Look(survey, choices, counts, groups, columns, examples)


def _what_is_counted(choices: "Choices") -> "Choices":
    return replace(choices, classes=None, channels=None)


class DatasetPanel(Panel):
    """Where images are, which of them are meant, and once they are used: classes, splits, images.

    The data set is shared with the other docks of the viewer.

    Parameters
    ----------
    dock : Dock
    beside : QWidget, optional
        Shown above the table of images, once there is a data set.

    Attributes
    ----------
    train_wanted : Signal()
        The user is done here and wants to train a classifier.
    """

    train_wanted = Signal()

    def __init__(self, dock: Dock, beside: QtWidgets.QWidget | None = None) -> None:
        super().__init__(dock)
        self._survey: Survey | None = None
        self._examples: dict[str, DataArray] = {}
        self._location: tuple[Path, Path | None] | None = None
        self.folder = QtWidgets.QPushButton("Open folder...")
        self.folder.setToolTip("One sub-folder of images for each class, or the folder of a plate")
        self.table = QtWidgets.QPushButton("Open table...")
        self.table.setToolTip(
            "A CSV or Excel file with a line for each image (path, class), or for each well"
        )
        self.simulated = QtWidgets.QPushButton("Try it on simulated cells")
        self.simulated.setToolTip("Simulated cells of two classes, to try everything without data")
        self.where = PlainLabel(NOTHING_YET)
        self.where.setWordWrap(True)
        self.plate_map = QtWidgets.QPushButton("The classes stand in a plate map...")
        self.plate_map.setToolTip("What is in which well of this folder's images (CSV or Excel)")
        self.choices = DataChoices()
        self.preview = ClassPreview()
        self.contrast = PlainLabel("One image of each class, all in one contrast:")
        self.contrast.setWordWrap(True)
        self.more_button = QtWidgets.QToolButton()
        self.more = QtWidgets.QWidget()
        self.pattern, self.well_pattern = QtWidgets.QLineEdit(), QtWidgets.QLineEdit()
        self.seed = QtWidgets.QSpinBox()
        self.use_button = RunButton("Use these images", dock.runner)
        self.change = QtWidgets.QPushButton("Change...")
        self.change.setToolTip("Other classes, columns or names of channels; nothing is read twice")
        self.train = QtWidgets.QPushButton("Train a classifier")
        self.about = PlainLabel()
        self.about.setWordWrap(True)
        self.summary = Table()
        self.images = Table(wide_first=True)
        self.copy_buttons = CopyButtons(dock.message)
        self.hint = PlainLabel("Click an image to open it; Ctrl and Shift choose up to nine.")
        self.hint.setWordWrap(True)
        self.opener = ImageOpener(dock)
        self.asking, self.using = QtWidgets.QWidget(), QtWidgets.QWidget()
        self._lay_out(beside)
        self._connect()
        self._show_steps()
        self.show_dataset(dock.state.dataset)

    def _lay_out(self, beside: QtWidgets.QWidget | None) -> None:
        buttons = QtWidgets.QGridLayout()
        buttons.addWidget(self.folder, 0, 0)
        buttons.addWidget(self.table, 0, 1)
        buttons.addWidget(self.plate_map, 1, 0, 1, 2)
        buttons.addWidget(self.simulated, 2, 0, 1, 2)
        self.column.addLayout(buttons)
        self.column.addWidget(self.where)
        asking = QtWidgets.QVBoxLayout(self.asking)
        # The button in sight, whatever the size of the pictures below it.
        for widget in (self.choices, self.use_button, self.contrast, self.preview):
            asking.addWidget(widget)
        asking.setContentsMargins(0, 0, 0, 0)
        self.column.addWidget(self.asking)
        using = QtWidgets.QVBoxLayout(self.using)
        using.setContentsMargins(0, 0, 0, 0)
        row = QtWidgets.QHBoxLayout()
        row.addWidget(self.train)
        row.addWidget(self.change)
        parts = (self.about, self.summary, beside, self.hint, self.images, self.copy_buttons)
        for part in parts:
            if part is not None:
                using.addWidget(part)
        self.column.addLayout(row)
        self.column.addWidget(self.using)
        self._lay_out_more()
        self.end_column()
        # Whatever their text, they take the width that the dock has, and never widen it.
        for given in (self.folder, self.table, self.simulated, self.plate_map, self.hint):
            given.setSizePolicy(
                QtWidgets.QSizePolicy.Policy.Ignored, given.sizePolicy().verticalPolicy()
            )

    def _lay_out_more(self) -> None:
        self.more_button.setText("More")
        self.more_button.setToolTip("Patterns of names, and another split")
        self.more_button.setCheckable(True)
        self.more_button.setAutoRaise(True)
        self.more_button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.more_button.setArrowType(Qt.ArrowType.RightArrow)
        self.pattern.setPlaceholderText("as microscopes name files")
        self.pattern.setToolTip(PATTERN_HELP)
        self.well_pattern.setPlaceholderText("by the names")
        self.well_pattern.setToolTip(WELL_HELP)
        self.seed.setRange(0, LARGEST_SEED)
        # Without this, typing 123 would split three times, for 1, 12 and 123.
        self.seed.setKeyboardTracking(False)
        self.seed.setToolTip("Another number draws another split into training and test images")
        form = QtWidgets.QFormLayout(self.more)
        form.setContentsMargins(0, 0, 0, 0)
        form.addRow("file names", self.pattern)
        form.addRow("wells by pattern", self.well_pattern)
        form.addRow("split seed", self.seed)
        self.column.addWidget(self.more_button)
        self.column.addWidget(self.more)
        self.more.hide()

    def _connect(self) -> None:
        self.folder.clicked.connect(self._ask_folder)
        self.table.clicked.connect(self._ask_table)
        self.plate_map.clicked.connect(self._ask_plate_map)
        self.simulated.clicked.connect(self.open_simulated)
        self.pattern.returnPressed.connect(self._survey_again)
        self.well_pattern.returnPressed.connect(self._survey_again)
        self.more_button.toggled.connect(self._unfold)
        self.seed.valueChanged.connect(self._split_again)
        self.choices.asked.connect(self._look_again)
        self.choices.changed.connect(self._show_preview)
        self.use_button.started.connect(self.use)
        self.change.clicked.connect(lambda _checked: self.ask_again())
        self.train.clicked.connect(lambda _checked: self.train_wanted.emit())
        self.images.clicked.connect(lambda _index: self.open_selected())
        self.images.activated.connect(lambda _index: self.open_selected())
        self.opener.left_out.connect(self._warn)
        self.dock.state.dataset_changed.connect(self.show_dataset)

    def open_location(self, location: Path, plate_map: Path | None = None) -> None:
        """Look at the names and tables of a folder, a table or a plate, and ask what is meant.

        Parameters
        ----------
        location : Path
            A folder or a table.
        plate_map : Path, optional
            A table that says what the wells are.
        """
        if not self.dock.is_free():
            return
        self._location = (location, plate_map)
        # Read here, for the work runs beside the GUI thread, where no widget may be asked.
        pattern = self.pattern.text().strip() or None
        well_pattern = self.well_pattern.text().strip() or None

        def work(*, on_event: OnEvent, cancelled: Cancelled) -> "Look | Survey | None":
            on_event(Started("looking at names"))
            from napari_why.datasets import Choices, Survey

            survey = Survey(location, plate_map, pattern=pattern, well_pattern=well_pattern)
            if survey.wants_map:
                return survey
            return look_at(survey, Choices(survey.label or "label"), on_event, cancelled)

        self.dock.run("Looking at names", work, self._show_look, self._explain_names)

    def ask_again(self) -> None:
        """Ask once more which images are meant; of a data set that was opened elsewhere too."""
        dataset = self.dock.state.dataset
        if dataset is None or self._answers_are_of(dataset):
            self._show_steps(asking=True)
            return
        opened_as = dataset.opened_as
        self.pattern.setText(opened_as.get("pattern", ""))
        self.well_pattern.setText(opened_as.get("well_pattern", ""))
        if "split_seed" in opened_as:
            self.seed.blockSignals(True)  # the split in use is this one
            self.seed.setValue(opened_as["split_seed"])
            self.seed.blockSignals(False)

        def work(*, on_event: OnEvent, cancelled: Cancelled) -> Look | None:
            on_event(Started("looking at names"))
            from napari_why.datasets import Survey

            return look_at(*Survey.of_opened(opened_as), on_event, cancelled)

        def show(look: Look) -> None:
            self._location = (look.survey.location, look.survey.plate_map)
            self._show_look(look)

        self.dock.run("Looking at names", work, show, self._explain_names)

    def _answers_are_of(self, dataset: "Dataset") -> bool:
        """Tell whether what is answered here is what a data set was opened with."""
        if self._survey is None:
            return False
        answers = self.choices.choices()
        if answers.channels == self._found_names():
            answers = replace(answers, channels=None)  # as they are opened
        return self._survey.opens(dataset.opened_as, answers)

    def use(self) -> None:
        """Read the images that are meant, and share them as the data set in use."""
        survey = self._survey
        if survey is None:
            return
        choices, seed = self.choices.choices(), self.seed.value()
        names = choices.channels or ()
        found = self._found_names()
        if len(set(names)) != len(names) or not all(names):
            self.dock.message.tell(
                "Every channel needs a name of its own; two have the same, or one has none.",
                "warning",
            )
            return
        if not self.choices.classes.names():
            self._warn("No class is ticked; tick the two or more that are to be told apart.")
            return

        def work(*, on_event: OnEvent, cancelled: Cancelled) -> "Dataset | None":
            chosen = replace(choices, channels=None) if names == found else choices
            dataset = survey.open(chosen, on_event=on_event, cancelled=cancelled)
            # A part of the images would pass for the whole data set: the one before stays.
            return None if cancelled() else split_if_possible(dataset, seed, on_event)

        def share(dataset: "Dataset") -> None:
            if names != found:
                remember_channels(survey.location, found, names)
            self._share(dataset)

        self.dock.run("Reading the images", work, share)

    def open_simulated(self) -> None:
        """Render simulated scenes of two classes, and use them."""
        seed = self.seed.value()

        def work(*, on_event: OnEvent, cancelled: Cancelled) -> "Dataset | None":
            from napari_why.simulation import simulate

            dataset = simulate(
                SIMULATED_IMAGES, size=SIMULATED_SIZE, on_event=on_event, cancelled=cancelled
            )
            return None if cancelled() else split_if_possible(dataset, seed, on_event)

        def share(dataset: "Dataset") -> None:
            self._survey, self._location = None, None
            self.where.setText("Simulated cells: diseased ones have fragmented mitochondria.")
            self._share(dataset)

        self.dock.run("Simulating cells", work, share)

    def show_dataset(self, dataset: "Dataset | None") -> None:
        """Show counts and images of the data set in use."""
        self.copy_buttons.offer(None if dataset is None else lambda: copy_data(dataset))
        if dataset is None:
            self._show_steps()
            return
        if "location" in dataset.opened_as:  # opened elsewhere, perhaps
            plate_map = dataset.opened_as.get("plate_map")
            self.where.setText(
                describe_place(
                    Path(dataset.opened_as["location"]), Path(plate_map) if plate_map else None
                )
            )
        self.about.setText(describe_dataset(dataset))
        self.summary.show_rows(*count_images(dataset))
        # Far right stands what is of least use; values of every further column would crowd it.
        shown = [
            name for name in ("label", "split", "plate", "well") if name in dataset.table.columns
        ]
        rows = zip(
            (Path(path).name for path in dataset.table["path"]),
            *(dataset.table[name] for name in shown),
            strict=True,
        )
        header = ["class" if name == "label" else name for name in shown]
        self.images.show_rows(["image", *header], list(rows))
        self._show_steps()
        self.dock.scroll_to_top()

    def open_selected(self) -> None:
        """Open the selected images side by side, in the contrast of the data set."""
        dataset, rows = self.dock.state.dataset, self.images.chosen_rows()
        if dataset is None or not rows:
            return
        self.dock.message.tell(" ".join(describe_image(dataset, row) for row in rows[:1]))
        self.opener.open(dataset, rows)

    def release(self) -> None:
        """Follow the shared data set no more."""
        self.opener.release()
        self.dock.state.dataset_changed.disconnect(self.show_dataset, missing_ok=True)

    def _show_look(self, look: "Look | Survey") -> None:
        if not isinstance(look, Look):
            self._survey = None
            self.where.setText(
                f"{look.location}: images without folders of classes. Choose the plate map that "
                "tells what is in their wells."
            )
            self._show_steps()
            self.plate_map.setFocus()
            return
        survey, fresh = look.survey, look.survey is not self._survey
        if not fresh and _what_is_counted(look.choices) != _what_is_counted(self.choices.choices()):
            # chosen anew while it was counted: what was found is about other classes
            QTimer.singleShot(0, self, self._look_again)
            return
        self._survey, self._examples = survey, look.examples
        if fresh:
            self.where.setText(describe_place(survey.location, survey.plate_map))
            self.choices.classes.show_names(["class"], [])
            self.choices.show_survey(survey, look.choices.label)
        self.choices.show_counts(look.counts, look.groups, look.columns)
        found = self._found_names()
        if fresh or len(self.choices.channels) != len(found):
            classifier = self.dock.state.classifier
            known = classifier.channels if classifier is not None else ()
            self.choices.show_channels(found, propose_channels(survey.location, found, known))
        if fresh:
            self.choices.show_choices(look.choices)
        self._show_preview()
        self._show_steps(asking=True)

    def _show_preview(self) -> None:
        ticked = self.choices.classes.names()
        examples = {name: self._examples[name] for name in ticked if name in self._examples}
        self.preview.show_examples(examples, self.choices.channel_names())

    def _found_names(self) -> tuple[str, ...]:
        first = next(iter(self._examples.values()), None)
        return () if first is None else tuple(map(str, first.coords["c"].values))

    def _show_steps(self, *, asking: bool = False) -> None:
        """Show the questions, or what is in use, whichever is at hand."""
        used = self.dock.state.dataset is not None
        self.asking.setVisible(asking)
        self.plate_map.setVisible(
            (asking or not used) and self._location is not None and self._location[0].is_dir()
        )
        self.simulated.setVisible(not asking and not used)
        self.using.setVisible(used and not asking)
        self.train.setVisible(used and not asking)
        dataset = self.dock.state.dataset
        on_disk = dataset is not None and "location" in dataset.opened_as
        self.change.setVisible(on_disk and not asking)

    def _look_again(self) -> None:
        survey = self._survey
        if survey is None:
            return
        choices = replace(self.choices.choices(), classes=None)

        def work(*, on_event: OnEvent, cancelled: Cancelled) -> Look | None:
            return look_at(survey, choices, on_event, cancelled)

        self.dock.run("Counting", work, self._show_look)

    def _survey_again(self) -> None:
        if self._location is not None:
            self.open_location(*self._location)

    def _explain_names(self, error: Exception) -> None:
        # What helps is folded away: names of files that have to be told apart.
        if isinstance(error, DatasetError) and "pattern" in str(error):
            self.more_button.setChecked(True)

    def _unfold(self, unfolded: bool) -> None:
        arrow = Qt.ArrowType.DownArrow if unfolded else Qt.ArrowType.RightArrow
        self.more_button.setArrowType(arrow)
        self.more.setVisible(unfolded)

    def _share(self, dataset: "Dataset") -> None:
        self.dock.state.dataset = dataset

    def _split_again(self) -> None:
        dataset = self.dock.state.dataset
        if dataset is not None:
            seed = self.seed.value()
            self.dock.run(
                "Splitting",
                lambda **_: look_through(dataset.split(seed=seed, redraw=True)),
                self._share,
            )

    def _warn(self, text: str) -> None:
        self.dock.message.tell(text, "warning")

    def _ask_folder(self) -> None:
        folder = QtWidgets.QFileDialog.getExistingDirectory(
            self, "Folder of the classes, or of a plate", last_folder()
        )
        if folder:
            remember_folder(Path(folder))
            self.open_location(Path(folder))

    def _ask_table(self) -> None:
        name = self._ask_file("Table of images, or plate map", last_folder())
        if name:
            self.open_location(Path(name))

    def _ask_plate_map(self) -> None:
        if self._location is not None:
            name = self._ask_file("Plate map", str(self._location[0]))
            if name:
                self.open_location(self._location[0], Path(name))

    def _ask_file(self, title: str, folder: str) -> str:
        name, _ = QtWidgets.QFileDialog.getOpenFileName(self, title, folder, TABLES)
        if name:
            remember_folder(Path(name))
        return str(name)


def split_if_possible(dataset: "Dataset", seed: int, on_event: OnEvent) -> "Dataset":
    """Split a data set by well; one of few wells is shown all the same, and said to be whole.

    Parameters
    ----------
    dataset : Dataset
    seed : int
        Of the split.
    on_event : callable
        Told why, where it is not split.

    Returns
    -------
    Dataset
    """
    try:
        return look_through(dataset.split(seed=seed))
    except DatasetError as error:
        on_event(Message(f"The images are not split for training: {error}", finding=True))
        return look_through(dataset)


def look_through(dataset: "Dataset") -> "Dataset":
    """Find what the page will say of a data set, which keeps it: here, beside the window's thread."""
    _ = dataset.confounding
    return dataset


def describe_place(location: Path, plate_map: Path | None) -> str:
    """Say where images are looked for, and what tells their classes.

    Parameters
    ----------
    location : Path
        A folder or a table of images.
    plate_map : Path or None
        What is in which well; None where folders or the table tell the classes.

    Returns
    -------
    str
        A sentence with their names, without the folders above.

    Examples
    --------
    >>> describe_place(Path("screen/images"), Path("screen/map.csv"))
    'images, with the plate map map.csv.'
    """
    where = f"{location.name or location}"
    return f"{where}, with the plate map {plate_map.name}." if plate_map else f"{where}."


def describe_image(dataset: "Dataset", row: int) -> str:
    """Say of an image its name, class, split and well.

    Parameters
    ----------
    dataset : Dataset
    row : int
        Of its table.

    Returns
    -------
    str
    """
    known = dataset.table.iloc[row]
    facts = [f"class {known['label']}"]
    facts += [f"{name} {known[name]}" for name in ("split", "plate", "well") if name in known.index]
    return f"{Path(str(known['path'])).name}: {', '.join(facts)}."


def count_images(dataset: "Dataset") -> tuple[list[str], list[list[str]]]:
    """Return header and rows of a table of images, and wells, by class and split."""
    summary = dataset.summary()
    # in brackets: in words, a row would be wider than a dock
    group = dataset.group_columns[-1] if dataset.group_columns else ""
    # In the order in which the summary has them.
    splits = list(dict.fromkeys(summary["split"]))
    rows = []
    for name in dataset.classes:
        of_class = summary[summary["label"] == name].set_index("split")
        cells = [
            f"{images} ({groups})" if group else str(images)
            for images, groups in zip(of_class["images"], of_class["groups"], strict=True)
        ]
        rows.append([name, *cells])
    return [f"images ({group}s)" if group else "images", *splits], rows


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
