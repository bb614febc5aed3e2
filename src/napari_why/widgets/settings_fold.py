"""What is set before a run, which folds after it so that the result is in view."""

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QToolButton, QVBoxLayout, QWidget


class SettingsFold(QWidget):
    """A column of widgets below a title that folds and unfolds it with one click.

    After a run it folds by itself, unless the user unfolded it: who wants to see the settings keeps
    them, until folding them.

    Parameters
    ----------
    title : str
    tip : str
        Of the title.

    Attributes
    ----------
    column : QVBoxLayout
        Where what can be folded goes.
    """

    def __init__(
        self,
        title: str = "Settings",
        parent: QWidget | None = None,
        *,
        tip: str = "Fold or unfold what is set here; it folds by itself after a run",
    ) -> None:
        super().__init__(parent)
        self._title, self._wanted = title, False
        self.button = QToolButton()
        self.button.setCheckable(True)
        self.button.setChecked(True)
        self.button.setAutoRaise(True)
        self.button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.button.setToolTip(tip)
        self._inside = QWidget()
        self.column = QVBoxLayout(self._inside)
        self.column.setContentsMargins(0, 0, 0, 0)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.button)
        layout.addWidget(self._inside)
        self.button.toggled.connect(self._show)
        # clicked and not toggled: by the user alone
        self.button.clicked.connect(self._note_wish)
        self._show(unfolded=True)

    @property
    def is_unfolded(self) -> bool:
        """Whether the settings are seen."""
        return bool(self.button.isChecked())

    def fold_after_run(self) -> None:
        """Fold, unless the user wants to see the settings."""
        if not self._wanted:
            self.button.setChecked(False)

    def unfold(self) -> None:
        """Show the settings: something is to be chosen there."""
        self.button.setChecked(True)

    def _show(self, unfolded: bool) -> None:
        focus = self.window().focusWidget()
        if not unfolded and focus is not None and self._inside.isAncestorOf(focus):
            # else Qt would move it to whatever was made next
            self.button.setFocus()
        self.button.setArrowType(Qt.ArrowType.DownArrow if unfolded else Qt.ArrowType.RightArrow)
        self.button.setText(self._title)
        self._inside.setVisible(unfolded)

    def _note_wish(self, unfolded: bool) -> None:
        self._wanted = unfolded
