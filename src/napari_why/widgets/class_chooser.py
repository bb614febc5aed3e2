"""Choosing one of a classifier's classes."""

from collections.abc import Sequence

from qtpy.QtWidgets import QComboBox, QWidget


class ClassChooser(QComboBox):
    """A combo box of classes whose first entry leaves the choice to the method.

    Parameters
    ----------
    automatic : str
        What the first entry says ("the predicted class").
    """

    def __init__(self, automatic: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._automatic = automatic
        self.set_classes(())

    def set_classes(self, classes: Sequence[str]) -> None:
        """Offer these classes, and keep the chosen one where it is among them."""
        chosen = self.target
        self.clear()
        self.addItem(self._automatic, None)
        for name in classes:
            self.addItem(name, name)
        self.setCurrentIndex(max(self.findData(chosen), 0) if chosen else 0)

    @property
    def target(self) -> str | None:
        """The chosen class, None where the choice is left to the method."""
        return self.currentData() if self.count() else None
