"""What makes the images: the classifier in use, or a generator or predictor that is loaded or trained."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QComboBox,
    QDialog,
    QFileDialog,
    QHBoxLayout,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_why.core.errors import MismatchError, WhyError
from napari_why.core.torch_loading import import_torch
from napari_why.widgets.classifier_bar import SaveDialog
from napari_why.widgets.dock import Dock, read_preferences
from napari_why.widgets.image_files import file_filter
from napari_why.widgets.parameter_field import narrow
from napari_why.widgets.tables import PlainLabel, Table, plain_tip

if TYPE_CHECKING:
    from xarray import DataArray

    from napari_why.generation.makers import GenerativeModel, Maker

# By which a folder that may be replaced is known.
MARK = "generative_model.json"
NOTHING = (
    "There is no classifier yet: train or load one, or load what makes images, or train it below."
)
# Columns of the report of a channel predictor: its figure, a short head, and what it is.
REPORT = {
    "absolute_error": ("error", "Mean absolute error in grey levels"),
    "correlation": ("corr.", "Correlation of all pixels with those of the real channel"),
    "ssim": ("SSIM", "Wang et al. 2004, against the range of the real image"),
    "detail": (
        "detail",
        "Detail finer than 1 px relative to the real channel: below 1 it is blurred",
    ),
    "detail_correlation": (
        "true detail",
        "Correlation of that detail with the real one: the rest is made up, or noise",
    ),
}


class MakerChooser(QWidget):
    """A box of what makes images, with Load and Save; below it what the chosen one is, and its report.

    Attributes
    ----------
    changed : Signal()
        Another one was chosen.
    """

    changed = Signal()

    def __init__(self, dock: Dock) -> None:
        super().__init__()
        self._dock = dock
        self._makers: list[GenerativeModel] = []
        # the folder of an opened session's, until it is loaded
        self._wanted = ""
        self._said: WeakKeyDictionary[Any, str] = WeakKeyDictionary()
        self.box = QComboBox()
        narrow(self.box)
        self.box.setToolTip("Whose network makes the images")
        self.load_button, self.save_button = QPushButton("Load..."), QPushButton("Save...")
        self.load_button.setToolTip(
            "Load a saved generator or channel predictor: a folder with generative_model.json"
        )
        self.about = PlainLabel()
        self.about.setWordWrap(True)
        self.report = Table()
        row = QHBoxLayout()
        row.addWidget(self.load_button)
        row.addWidget(self.save_button)
        row.addStretch(1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(PlainLabel("What makes the images", bold=True))
        layout.addWidget(self.box)
        layout.addLayout(row)
        layout.addWidget(self.about)
        layout.addWidget(self.report)
        self.box.currentIndexChanged.connect(self._choose)
        self.load_button.clicked.connect(self._ask_what_to_load)
        self.save_button.clicked.connect(self._ask_where_to_save)
        dock.state.makers_changed.connect(self._list)
        self._list()

    @property
    def current(self) -> "Maker | None":
        """What is chosen: the classifier in use, which there may not be, or another."""
        place = self.box.currentIndex()
        return self._dock.state.classifier if place <= 0 else self._makers[place - 1]

    @property
    def place(self) -> Path | None:
        """Where a generator or predictor that is chosen is saved."""
        place = self.box.currentIndex()
        return None if place <= 0 else self._dock.state.makers.get(self._makers[place - 1])

    @property
    def is_restored(self) -> bool:
        """Whether what a session asks for is there."""
        return not self._wanted

    @property
    def is_classifier(self) -> bool:
        """Whether it is the classifier in use."""
        return bool(self.box.currentIndex() <= 0)

    def describe(self, maker: "Maker", sentence: str) -> None:
        """Say what a maker is, wherever it is chosen.

        Parameters
        ----------
        maker : Maker
            A classifier, generator or channel predictor.
        sentence : str
            Takes the place of what was said of it before.
        """
        self._said[maker] = sentence
        self.describe_choice()

    def load_from(self, path: Path) -> None:
        """Load a saved generator or channel predictor, whichever it is, and choose it."""
        state, device = self._dock.state, read_preferences().device
        self._dock.run(
            f"Loading {path.name}",
            lambda **_listeners: load_maker(path, device),
            lambda maker: state.add_maker(maker, path),
        )

    def save_to(self, path: Path) -> None:
        """Save the chosen generator or predictor; an existing one there is replaced as a whole."""
        state, place = self._dock.state, self.box.currentIndex()
        if place <= 0:
            return
        maker = self._makers[place - 1]

        def tell(saved: Path) -> None:
            state.note_maker_saved(maker, saved)
            self._dock.message.tell(f"Saved as {saved}.")

        self._dock.run("Saving", lambda **_listeners: maker.save(path, overwrite=True), tell)

    def settings(self) -> dict[str, Any]:
        """Return the folder of the chosen one, for a saved session; empty of the classifier in use."""
        place = self.place
        return {"maker": self._wanted or ("" if place is None else str(place))}

    def restore_settings(self, values: Mapping[str, Any]) -> None:
        """Choose again what :meth:`settings` returned; it is loaded beside the viewer."""
        wanted = values.get("maker")
        if not isinstance(wanted, str) or not wanted:
            self.box.setCurrentIndex(0)
            return
        path, state = Path(wanted), self._dock.state
        known = [maker for maker, place in state.makers.items() if place == path]
        if known:
            self.box.setCurrentIndex(self._makers.index(known[0]) + 1)
            return
        self._wanted, device = wanted, read_preferences().device

        def read() -> "GenerativeModel | WhyError":
            try:
                return load_maker(path, device)
            except WhyError as error:
                return error

        def add(found: "GenerativeModel | WhyError") -> None:
            self._wanted = ""
            if isinstance(found, WhyError):
                self._dock.message.tell_error(found)
                self.changed.emit()  # whoever waits for it waits no more
            else:
                state.add_maker(found, path)

        self._dock.load(read, add, f"Loading {path.name}")

    def release(self) -> None:
        """Follow what is shared no more."""
        self._dock.state.makers_changed.disconnect(self._list, missing_ok=True)

    def _list(self) -> None:
        """Offer what is open; what came is chosen, else what was stays so."""
        before = self.current
        open_now = self._dock.state.makers
        new = [maker for maker in open_now if maker not in self._makers]
        self._makers = list(open_now)
        self.box.blockSignals(True)
        self.box.clear()
        self.box.addItem("The classifier in use")
        for maker, place in open_now.items():
            name = "not saved yet" if place is None else place.name
            self.box.addItem(f"{name_kind(maker)}: {name}")
            tip = "Trained here" if place is None else str(place)
            self.box.setItemData(self.box.count() - 1, plain_tip(tip), Qt.ItemDataRole.ToolTipRole)
        chosen = new[-1] if new else before
        found = [place for place, maker in enumerate(self._makers, start=1) if maker is chosen]
        self.box.setCurrentIndex(found[0] if found else 0)
        self.box.blockSignals(False)
        self.describe_choice()
        if self.current is not before:
            self.changed.emit()

    def _choose(self, _place: int) -> None:
        self.describe_choice()
        self.changed.emit()

    def describe_choice(self) -> None:
        """Say what is chosen, as far as that is known yet, and show its report."""
        maker = self.current
        own = self.is_classifier
        self.save_button.setEnabled(not own)
        self.save_button.setToolTip(
            "The classifier is saved above" if own else "Save what makes the images in a folder"
        )
        rows = [] if maker is None or own else list_report(maker.card)
        header = ["by", *(head for head, _ in REPORT.values())]
        tips = ["How it was predicted, for held-out wells", *(tip for _, tip in REPORT.values())]
        self.report.show_rows(header, rows, tips)
        self.about.setText(NOTHING if maker is None else self._said.get(maker, ""))

    def _ask_what_to_load(self) -> None:
        name = QFileDialog.getExistingDirectory(
            self, "Folder of a saved generator or channel predictor", str(read_preferences().models)
        )
        if name:
            self.load_from(Path(name))

    def _ask_where_to_save(self) -> None:
        maker = self.current
        usual = name_kind(maker).lower().replace(" ", "_")
        dialog = SaveDialog(
            self.place or read_preferences().models / usual,
            self,
            what=name_kind(maker).lower(),
            mark=MARK,
        )
        answer = dialog.exec()
        dialog.deleteLater()
        if answer == QDialog.DialogCode.Accepted:
            self.save_to(dialog.path)


class SecondImage(QWidget):
    """The image to go to: one of those that are open, beside the one in use, or a file."""

    def __init__(self, dock: Dock) -> None:
        super().__init__()
        self._dock = dock
        self._files: list[Path] = []
        self._listed: list[str | Path] = []
        self.box = QComboBox()
        narrow(self.box)
        self.box.setToolTip("The image to end at, of whatever class")
        self.file_button = QPushButton("File...")
        self.file_button.setToolTip("Take an image of a file, which need not be open")
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(PlainLabel("to"))
        row.addWidget(self.box, 1)
        row.addWidget(self.file_button)
        self.file_button.clicked.connect(self._ask)
        dock.state.image.changed.connect(self._list)
        self._list()

    def add_file(self, path: Path) -> None:
        """Offer an image of a file, and choose it."""
        self._files = [*(file for file in self._files if file != path), path]
        self._list()
        self.box.setCurrentIndex(self._listed.index(path))

    def choose(self) -> "Callable[[], DataArray]":
        """Return what reads the chosen image, beside the viewer.

        Raises
        ------
        MismatchError
            None is chosen, or it is not open any more.
        """
        choice = self._dock.state.image
        place = self.box.currentIndex()
        chosen = self._listed[place] if 0 <= place < len(self._listed) else None
        if isinstance(chosen, Path):
            return partial(read_file, chosen)
        layers = choice.list_images().get(chosen or "")
        if layers is None:
            raise MismatchError(
                "No second image is chosen; open another image with the same channels, or take a file."
            )
        return choice.choice_of(layers, choice.channels).read

    def release(self) -> None:
        """Follow the viewer's layers no more."""
        self._dock.state.image.changed.disconnect(self._list, missing_ok=True)

    def _list(self) -> None:
        place = self.box.currentIndex()
        before = self._listed[place] if 0 <= place < len(self._listed) else None
        choice = self._dock.state.image
        chosen = list(choice.chosen)
        images = [name for name, layers in choice.list_images().items() if layers != chosen]
        self._listed = [*images, *self._files]
        self.box.clear()
        for item in self._listed:
            self.box.addItem(item.name if isinstance(item, Path) else item)
            self.box.setItemData(
                self.box.count() - 1, plain_tip(str(item)), Qt.ItemDataRole.ToolTipRole
            )
        self.box.setPlaceholderText("open another image")
        self.box.setCurrentIndex(self._listed.index(before) if before in self._listed else 0)

    def _ask(self) -> None:
        name, _ = QFileDialog.getOpenFileName(self, "The image to end at", "", file_filter())
        if name:
            self.add_file(Path(name))


def read_file(path: Path) -> "DataArray":
    """Read an image of a file; called beside the viewer."""
    from napari_why.images import read

    return read(path)


def load_maker(path: Path, device: str) -> "GenerativeModel":
    """Load a saved generator or channel predictor; called beside the viewer.

    Parameters
    ----------
    path : Path
        The folder.
    device : str
        ``auto``, ``cpu``, ``cuda:N`` or ``mps``.

    Returns
    -------
    ImageGenerator or ChannelPredictor
    """
    import_torch()
    from napari_why.generation.makers import load_generative_model

    return load_generative_model(path, device=device)


def name_kind(maker: Any) -> str:
    """Return what a generator or a channel predictor is called, without importing either."""
    return "Channel predictor" if hasattr(maker, "made") else "Generator"


def list_report(card: Mapping[str, Any]) -> list[list[str]]:
    """Return the rows of a channel predictor's report, one for each way to predict; empty without."""
    rows = (card.get("report") or {}).get("rows") or ()
    several = len({row["channel"] for row in rows}) > 1
    return [
        [
            f"{row['channel']}: {row['method']}" if several else str(row["method"]),
            *("-" if row[name] is None else f"{row[name]:.3g}" for name in REPORT),
        ]
        for row in rows
    ]
