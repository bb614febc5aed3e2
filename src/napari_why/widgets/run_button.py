"""The button that starts a job, and shows what is going on."""

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QPushButton, QWidget

from napari_why.widgets.job import JobRunner, JobState


class RunButton(QPushButton):
    """Reads its own verb, then "Cancel", then "Cancelling...", and its verb again.

    Parameters
    ----------
    verb : str
        What a press does ("Train").
    runner : JobRunner
        The runner of the dock. While it runs a job that another button started, this one rests.

    Attributes
    ----------
    asked : Signal()
        A press that means "start".
    """

    asked = Signal()

    def __init__(self, verb: str, runner: JobRunner, parent: QWidget | None = None) -> None:
        super().__init__(verb, parent)
        self._verb, self._runner = verb, runner
        self._mine = False
        self._possible = True
        self.clicked.connect(self._pressed)
        runner.state_changed.connect(self._show)

    def set_possible(self, possible: bool, reason: str = "") -> None:
        """Enable the button, or disable it with the reason as its tooltip."""
        self._possible = possible
        self.setToolTip(reason)
        self._show(self._runner.state)

    def _pressed(self) -> None:
        if self._runner.state is JobState.IDLE:
            self._mine = True
            self.asked.emit()
            self._show(self._runner.state)
        elif self._mine:
            self._runner.cancel()

    def _show(self, state: JobState) -> None:
        if state is JobState.IDLE:
            self._mine = False
            self.setText(self._verb)
            self.setEnabled(self._possible)
        elif self._mine:
            self.setText("Cancel" if state is JobState.RUNNING else "Cancelling...")
            self.setEnabled(state is JobState.RUNNING)
        else:
            self.setEnabled(False)
