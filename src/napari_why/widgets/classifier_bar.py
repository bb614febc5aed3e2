"""The classifier in use: what it is, what it is worth, and buttons that load and save it."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLineEdit,
    QMessageBox,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_why.core.torch_loading import import_torch
from napari_why.widgets.dock import MessageArea, WorkingWidget, as_sentence, read_preferences
from napari_why.widgets.tables import PlainLabel, plain_tip

if TYPE_CHECKING:
    from napari_why.model import Classifier

# Letters of what is to be doubted that stand in the bar; all of it stands in the tooltip.
SHORT = 140


class ClassifierBar(QWidget):
    """Says which classifier is in use and whether it is saved; loads and saves.

    Parameters
    ----------
    dock : WorkingWidget
        Runs the work and says what went wrong.
    """

    def __init__(self, dock: WorkingWidget) -> None:
        super().__init__()
        self._dock = dock
        self.label = ClassifierLabel()
        self.doubts = MessageArea()
        self.load_button, self.save_button = QPushButton("Load..."), QPushButton("Save...")
        self.load_button.setToolTip(
            "Load a saved classifier: a folder with classifier.json; files of other programs are opened "
            "by Classifier > Exchange"
        )
        buttons = QVBoxLayout()
        buttons.setSpacing(2)
        buttons.addWidget(self.load_button)
        buttons.addWidget(self.save_button)
        buttons.addStretch(1)
        line = QHBoxLayout()
        line.addWidget(self.label, 1)
        line.addLayout(buttons)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addLayout(line)
        layout.addWidget(self.doubts)
        self.load_button.clicked.connect(self._ask_what_to_load)
        self.save_button.clicked.connect(self.ask_where_to_save)
        self.follow()

    def follow(self) -> None:
        """Keep up with the shared classifier."""
        self._dock.state.place_changed.connect(self._show, unique=True)
        self._show()

    def release(self) -> None:
        """Follow the shared classifier no more."""
        self._dock.state.place_changed.disconnect(self._show, missing_ok=True)

    def save_to(self, path: Path) -> None:
        """Save the classifier; an existing one there is replaced, whole or not at all."""
        state = self._dock.state
        classifier = state.classifier
        if classifier is None:
            return

        def tell(saved: Path) -> None:
            state.note_saved(classifier, saved)
            self._dock.message.tell(f"Saved as {saved}.")

        self._dock.run(
            "Saving the classifier", lambda **_: classifier.save(path, overwrite=True), tell
        )

    def load_from(self, path: Path) -> None:
        """Load a classifier and share it with all pages and docks of the viewer."""
        device = read_preferences().device

        def work(**_listeners: Any) -> "Classifier":
            import_torch()
            from napari_why.model import load

            return load(path, device=device)

        state = self._dock.state
        self._dock.run(
            f"Loading the classifier {path.name}",
            work,
            lambda found: state.use_classifier(found, path),
        )

    def ask_where_to_save(self) -> bool:
        """Ask for a folder and a name, and save there; tell whether an answer was given."""
        place = self._dock.state.place or read_preferences().models / "classifier"
        dialog = SaveDialog(place, self)
        answer = dialog.exec()
        dialog.deleteLater()
        if answer != QDialog.DialogCode.Accepted:
            return False
        self.save_to(dialog.path)
        return True

    def _show(self, _place: Any = None) -> None:
        state = self._dock.state
        self.label.show_classifier(state.classifier, state.place)
        self.save_button.setEnabled(state.classifier is not None)
        self.save_button.setToolTip(
            "Save the classifier in a folder" if state.classifier else "There is no classifier yet"
        )
        doubts = [] if state.classifier is None else list_doubts(state.classifier)
        text = " ".join(doubts)
        short = text if len(text) <= SHORT else f"{text[:SHORT].rsplit(' ', 1)[0]} ..."
        self.doubts.tell(short, "warning")
        self.doubts.setToolTip(plain_tip("\n".join(doubts)))

    def _ask_what_to_load(self) -> None:
        place = self._dock.state.place
        start = read_preferences().models if place is None else place.parent
        name = QFileDialog.getExistingDirectory(self, "Folder of a saved classifier", str(start))
        if name and self.may_replace():
            self.load_from(Path(name))

    def may_replace(self) -> bool:
        """Ask before a classifier that is not saved gives way to another."""
        state = self._dock.state
        if state.classifier is None or state.place is not None:
            return True
        buttons = QMessageBox.StandardButton
        answer = QMessageBox.question(
            self,
            "napari-why",
            "The classifier in use is not saved yet, and would be lost. Load another in its place?",
            buttons.Yes | buttons.Cancel,
            buttons.Cancel,
        )
        return bool(answer == buttons.Yes)


class ClassifierLabel(PlainLabel):
    """Says which classifier is in use, what it is worth and whether it is saved."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__("", parent)
        self.setWordWrap(True)
        self.setAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignTop)
        self.show_classifier(None)

    def show_classifier(self, classifier: "Classifier | None", place: Path | None = None) -> None:
        """Describe a classifier in a line or two.

        Parameters
        ----------
        classifier : Classifier or None
        place : Path, optional
            Its folder, where it is saved.
        """
        if classifier is None:
            self.setText("No classifier yet. Train or load one.")
            return
        name = "Classifier (not saved yet)" if place is None else place.name
        self.setToolTip(plain_tip("" if place is None else str(place)))
        self.setText(
            f"{name}: {' or '.join(classifier.classes)}, from {', '.join(classifier.channels)} "
            f"({classifier.network.name}). {describe_worth(classifier)}".rstrip()
        )


def describe_worth(classifier: "Classifier") -> str:
    """Say how many held-out images a classifier gets right, beside what the largest class alone would.

    Of images of the test split, where there are any: those of the validation chose the network. Empty
    where nobody counted.
    """
    from napari_why.training.metrics import describe_accuracy

    for split in ("test", "validation"):
        found = (classifier.metrics.get(split) or {}).get("images") or {}
        if found.get("accuracy") is not None:
            return f"On {found['images']} {split} images: {describe_accuracy(found)}."
    return ""


def list_doubts(classifier: "Classifier") -> list[str]:
    """Return why answers of a classifier have to be doubted, whatever image it is asked about."""
    from napari_why.model.familiarity import describe_confounding

    return [*map(as_sentence, classifier.notes), *describe_confounding(classifier.card)]


class SaveDialog(QDialog):
    """Asks for a parent folder and a name, so that a classifier can be saved over itself.

    Parameters
    ----------
    place : Path
        What is proposed.
    what, mark : str
        What is saved, and the file by which a folder of one is known.
    """

    def __init__(
        self,
        place: Path,
        parent: QWidget | None = None,
        *,
        what: str = "classifier",
        mark: str = "classifier.json",
    ) -> None:
        super().__init__(parent)
        self._what, self._mark = what, mark
        self.setWindowTitle(f"Save the {what}")
        self.folder, self.name = QLineEdit(str(place.parent)), QLineEdit(place.name)
        self.about = MessageArea()
        browse = QPushButton("Browse...")
        browse.setAutoDefault(False)
        row = QHBoxLayout()
        row.addWidget(self.folder, 1)
        row.addWidget(browse)
        form = QFormLayout()
        form.addRow("in the folder", row)
        form.addRow("under the name", self.name)
        buttons = QDialogButtonBox(
            QDialogButtonBox.StandardButton.Save | QDialogButtonBox.StandardButton.Cancel
        )
        layout = QVBoxLayout(self)
        layout.addLayout(form)
        layout.addWidget(self.about)
        layout.addWidget(buttons)
        browse.clicked.connect(self._browse)
        for line in (self.folder, self.name):
            line.textChanged.connect(lambda _text: self._tell())
        buttons.accepted.connect(self._accept)
        buttons.rejected.connect(self.reject)
        self.setMinimumWidth(420)  # as long as most paths, in pixels
        self.name.setFocus()
        self._tell()

    @property
    def path(self) -> Path:
        """The folder that the classifier is saved as."""
        return Path(self.folder.text().strip()).expanduser() / self.name.text().strip()

    def _tell(self) -> None:
        if (self.path / self._mark).exists():
            self.about.tell(f"Takes the place of the {self._what} that is saved there.", "warning")
        elif not self.folder.text().strip() or not self.name.text().strip():
            self.about.tell("Give a folder and a name.")
        elif self.path.exists():
            self.about.tell(
                "There is something else of this name, which is not replaced: give another name.",
                "warning",
            )
        else:
            self.about.tell("Makes a new folder of this name.")

    def _accept(self) -> None:
        there = self.path
        if (
            not self.folder.text().strip()
            or not self.name.text().strip()
            or (there.exists() and not (there / self._mark).exists())
        ):
            self._tell()
        else:
            self.accept()

    def _browse(self) -> None:
        name = QFileDialog.getExistingDirectory(self, "Save in the folder", self.folder.text())
        if name:
            self.folder.setText(name)
