"""What runs, below the pages: in words, with a bar, the time that is left and a Cancel button.

A bar in napari's activity dock is not used: it is far from what one looks at, and in a small window its
Cancel lies beyond the edge.
"""

import time
from collections.abc import Callable

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QHBoxLayout, QProgressBar, QPushButton, QVBoxLayout, QWidget

from napari_why.core.durations import describe_duration
from napari_why.core.events import Advanced, EpochFinished, Event, Finished, Message, Started
from napari_why.core.torch_loading import is_torch_loading
from napari_why.widgets.job import JobRunner, JobState
from napari_why.widgets.tables import PlainLabel

# Twice a second: a number that changes more often cannot be read.
REFRESH_MS = 500
# What ends sooner is not shown: the page above would jump.
APPEAR_MS = 250
# Pixels: a bar to look at, with its numbers beside it.
BAR_HEIGHT = 10
# Seconds of steps that an estimate needs: in the first ones caches are filled and memory is taken.
SHORTEST_MEASURE = 3.0
# Seconds: what ends sooner is not worth a number.
SHORTEST_TOLD = 5.0
# Seconds before it is told how long something takes that announces no steps.
TOLD_AFTER = 2.0


class TimeLeft:
    """Estimates how long the announced steps still take, from the steps that were made.

    Parameters
    ----------
    clock : callable
        Returns seconds.

    Examples
    --------
    >>> now = [0.0]
    >>> left = TimeLeft(lambda: now[0])
    >>> left.start(100)
    >>> for now[0], done in ((1.0, 5), (6.0, 15)):
    ...     left.advance(done)
    >>> left.seconds()
    42.5
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.start(None)

    def start(self, total: int | None) -> None:
        """Begin with as many steps, None where they are not known."""
        self.total = total
        self.done = 0
        self._first: tuple[float, int] | None = None
        self._last: tuple[float, int] | None = None

    def advance(self, done: int) -> None:
        """Note that this many steps are made."""
        self.done = done
        self._last = (self._clock(), done)
        # from the first step made on: what came before it is preparation
        self._first = self._first or self._last

    def seconds(self) -> float | None:
        """Return the seconds that are left; None where that cannot be said yet, or is not worth it."""
        if not self.total or self._first is None or self._last is None:
            return None
        passed, made = (last - first for last, first in zip(self._last, self._first, strict=True))
        if passed < SHORTEST_MEASURE or made <= 0:
            return None
        left = (self.total - self.done) * passed / made - (self._clock() - self._last[0])
        return left if left >= SHORTEST_TOLD else None


class JobRow(QWidget):
    """The job of one runner; takes no room while nothing runs.

    Parameters
    ----------
    runner : JobRunner
    """

    def __init__(self, runner: JobRunner, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._runner = runner
        self._left = TimeLeft()
        self._begun = 0.0
        self._said = ""
        self.words = PlainLabel("", self)
        self.words.setWordWrap(True)
        self.bar = QProgressBar(self)
        self.bar.setTextVisible(False)
        self.bar.setFixedHeight(BAR_HEIGHT)
        self.time = PlainLabel("", self)
        self.cancel = QPushButton("Cancel", self)
        self.cancel.setToolTip("Stop this work; what was done so far is kept where it can be used")
        self.cancel.clicked.connect(runner.cancel)
        line = QHBoxLayout()
        line.addWidget(self.bar, 1)
        line.addWidget(self.cancel)
        layout = QVBoxLayout(self)
        # As far from the sides as Qt's style puts the widgets above.
        layout.setContentsMargins(9, 2, 9, 4)
        layout.setSpacing(2)
        layout.addWidget(self.words)
        # a line of its own: beside the bar, a narrow dock would cut it off
        layout.addWidget(self.time)
        layout.addLayout(line)
        self._timer = QTimer(self)
        self._timer.setInterval(REFRESH_MS)
        self._timer.timeout.connect(self.refresh)
        self._appear = QTimer(self)
        self._appear.setSingleShot(True)
        self._appear.setInterval(APPEAR_MS)
        self._appear.timeout.connect(self._come)
        runner.state_changed.connect(self._show_state)
        runner.event.connect(self.take)
        runner.aside_changed.connect(self._show_or_hide)
        self.hide()

    def take(self, event: Event) -> None:
        """Note what the work reports; shown at the next refresh."""
        if isinstance(event, Started):
            self._said = event.task
            self._left.start(event.total)
        elif isinstance(event, Advanced):
            self._said = event.message or self._said
            self._left.advance(event.done)
        elif isinstance(event, EpochFinished):
            self._said = f"epoch {event.epoch} of {event.epochs}"
        elif isinstance(event, Message):
            # a finding stays to be read elsewhere, and would make the page lower for a moment
            self._said = self._said if event.finding else event.text
            # what is said after the last step is about work that announces none
            if self._left.total and self._left.done >= self._left.total:
                self._left.start(None)
        elif isinstance(event, Finished):
            self._left.start(None)

    def refresh(self) -> None:
        """Show what is known now."""
        running = self._runner.state is not JobState.IDLE
        self.words.setText(self._describe(running=running))
        total = self._left.total if running else None
        self.bar.setVisible(bool(total))
        if total:
            self.bar.setRange(0, total)
            self.bar.setValue(min(self._left.done, total))
        self.time.setText(self._describe_time())
        self.time.setVisible(bool(self.time.text()))
        self.cancel.setVisible(running)

    def _describe(self, *, running: bool) -> str:
        if self._runner.state is JobState.CANCELLING:
            return f"Cancelling: {self._runner.title}..."
        title = self._runner.title if running else ", ".join(dict.fromkeys(self._runner.aside))
        if is_torch_loading():
            said = "loading torch (first time only)"
        else:
            said = self._said if running else ""
        # the first task is often called as the job is
        if not said or said.lower() == title.lower():
            return f"{title}..."
        return f"{title}: {said}"

    def _describe_time(self) -> str:
        left = self._left.seconds()
        if left is not None:
            return f"{describe_duration(left)} left for this step"
        passed = time.monotonic() - self._begun
        return f"for {passed:.0f} s" if passed >= TOLD_AFTER and not self._left.total else ""

    def _show_state(self, state: JobState) -> None:
        if state is JobState.RUNNING:
            self._said = ""
            self._left.start(None)
            self.cancel.setText("Cancel")
        if state is JobState.CANCELLING:
            self.cancel.setText("Cancelling...")
        self.cancel.setEnabled(state is JobState.RUNNING)
        self._show_or_hide()

    def _show_or_hide(self) -> None:
        busy = self._runner.state is not JobState.IDLE or bool(self._runner.aside)
        if not busy:
            self._timer.stop()
            self._appear.stop()
            self.hide()
        elif self._timer.isActive():
            self.refresh()
        elif not self._appear.isActive():
            self._begun = time.monotonic()
            self._appear.start()

    def _come(self) -> None:
        self.refresh()
        self._timer.start()
        self.show()


class JobStrip(QWidget):
    """A row for each runner that works: all that runs, and nothing else, is seen from every page."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._layout = QVBoxLayout(self)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._layout.setSpacing(0)
        self.rows: list[JobRow] = []

    def follow(self, runner: JobRunner) -> JobRow:
        """Show the jobs of a runner too."""
        row = JobRow(runner, self)
        self.rows.append(row)
        self._layout.addWidget(row)
        return row

    def leave(self, row: JobRow) -> None:
        """Show the jobs of a runner no more."""
        self.rows.remove(row)
        row.hide()
        row.deleteLater()
