"""One line that says which classifier is in use."""

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QLabel, QWidget

if TYPE_CHECKING:
    from napari_why.model import Classifier


class ClassifierLabel(QLabel):
    """Says which classifier is in use, or where to get one."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWordWrap(True)
        self.show_classifier(None)

    def show_classifier(self, classifier: "Classifier | None") -> None:
        """Describe a classifier in a line."""
        if classifier is None:
            self.setText("No classifier yet. Train or load one in the Classifier dock.")
            return
        self.setText(
            f"{classifier.network.name}: {' or '.join(classifier.classes)}, "
            f"from {', '.join(classifier.channels)}"
        )
