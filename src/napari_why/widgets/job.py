"""One job at a time for a dock: progress, cancelling, failures as data.

Events come from the thread that works to the GUI thread through a mailbox.
"""

import gc
import logging
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from threading import Event as Token
from threading import Lock
from typing import Any, Protocol, TypeVar

from qtpy.QtCore import QObject, Qt, QTimer, Signal
from qtpy.QtWidgets import QPushButton, QWidget

from napari_why.core.events import Advanced, Cancelled, Event, OnEvent
from napari_why.widgets.tables import plain_tip

# 25 times a second: what moves looks smooth, and the GUI thread has the rest for itself.
DELIVERY_INTERVAL_MS = 40


class EventMailbox(QObject):
    """Collects events from any thread and delivers them in the GUI thread, a bundle at a time.

    Thousands of events a second become at most 25 deliveries a second. Of a run of
    :class:`~napari_why.core.events.Advanced` events only the last is kept, for it tells all that the
    others told; every other event arrives, in order. The order holds although a listener may run
    the event loop, which may deliver further events while one is being delivered.

    Parameters
    ----------
    deliver : callable
        Called in the GUI thread with each event.
    """

    _arrived = Signal()

    def __init__(self, deliver: Callable[[Event], None]) -> None:
        super().__init__()
        self._deliver = deliver
        self._lock = Lock()
        self._waiting: deque[Event] = deque()
        # A count and no flag: a delivery may run the event loop, which delivers within it.
        self._depth = 0
        self._announced = False
        self._closed = False
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(DELIVERY_INTERVAL_MS)
        self._timer.timeout.connect(self.empty)
        self._arrived.connect(self._timer.start, Qt.ConnectionType.QueuedConnection)

    def post(self, event: Event) -> None:
        """Take an event, in whatever thread it happens."""
        with self._lock:
            if self._closed:
                return
            superseded = self._waiting and isinstance(self._waiting[-1], Advanced)
            if superseded and isinstance(event, Advanced):
                self._waiting[-1] = event
            else:
                self._waiting.append(event)
            announce, self._announced = not self._announced, True
        # Outside the lock, and once a bundle: each emission is an event of its own for Qt.
        if announce:
            self._arrived.emit()

    def empty(self) -> None:
        """Deliver everything that waits; only in the GUI thread."""
        self._depth += 1
        try:
            while (event := self._next()) is not None:
                self._deliver(event)
        finally:
            self._depth -= 1

    @property
    def delivering(self) -> bool:
        """Whether a delivery is under way, further up in the GUI thread's calls."""
        return self._depth > 0

    def close(self) -> None:
        """Deliver nothing more; what is posted from now on is dropped."""
        with self._lock:
            self._closed = True
            self._waiting.clear()
        self._timer.stop()

    def _next(self) -> Event | None:
        with self._lock:
            if self._waiting:
                return self._waiting.popleft()
            self._announced = False
            return None


logger = logging.getLogger(__name__)

T = TypeVar("T")


class Executor(Protocol):
    """Runs ``work`` somewhere and hands what it returns to ``deliver`` in the GUI thread."""

    def __call__(self, work: Callable[[], T], deliver: Callable[[T], None]) -> None:
        """Start ``work``; it must not raise."""


def run_in_thread(work: Callable[[], T], deliver: Callable[[T], None]) -> None:
    """Run ``work`` in a napari worker thread, so that the viewer stays responsive.

    A worker of a plain function is used: a generator worker would swallow a ``RuntimeError``
    (which torch's out-of-memory error is), and the dock would wait for ever.

    Parameters
    ----------
    work : callable
        Touches no widget.
    deliver : callable
        Given its result, in the viewer's thread.
    """
    from napari.qt.threading import create_worker

    worker = create_worker(work)
    worker.returned.connect(deliver)
    worker.start()


def run_at_once(work: Callable[[], T], deliver: Callable[[T], None]) -> None:
    """Run ``work`` here and now; for scripts and tests that want no thread.

    Parameters
    ----------
    work : callable
    deliver : callable
        Given its result.
    """
    deliver(work())


class JobState(Enum):
    """What a :class:`JobRunner` is doing."""

    IDLE = "idle"
    RUNNING = "running"
    CANCELLING = "cancelling"


class Work(Protocol):
    """Long work of the core with everything but its two callables filled in."""

    def __call__(self, *, on_event: OnEvent, cancelled: Cancelled) -> Any:
        """Work, and return the result, a partial one when cancelled."""


@dataclass(frozen=True)
class Outcome:
    """How a job ended.

    Parameters
    ----------
    result : object
        What the work returned; partial when ``cancelled``; None when it failed.
    error : Exception or None
        What went wrong.
    cancelled : bool
        The user asked to stop.
    """

    result: Any = None
    error: Exception | None = None
    cancelled: bool = False


class JobRunner(QObject):
    """Runs one job at a time beside the viewer and reports in the GUI thread.

    Parameters
    ----------
    executor : Executor, optional
        Where the work runs; a worker thread by default.
    parent : QObject, optional
        The dock that it belongs to.

    Attributes
    ----------
    state_changed : Signal(JobState)
    event : Signal(Event)
        Emitted in the GUI thread for each event of the work.
    ended : Signal(Outcome)
    aside_changed : Signal()
        Something began or ended that runs beside the job.
    """

    state_changed = Signal(object)
    event = Signal(object)
    ended = Signal(object)
    aside_changed = Signal()

    def __init__(self, executor: Executor = run_in_thread, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._executor = executor
        self._state = JobState.IDLE
        self._current = _Current()
        self._aside: list[str] = []
        # The button that started the last job, None where no button did.
        self.pressed: QPushButton | None = None
        # A method of the runner would not be called: Qt's part of it is gone by then.
        self.destroyed.connect(self._current.leave)

    @property
    def state(self) -> JobState:
        """What the runner is doing."""
        return self._state

    @property
    def title(self) -> str:
        """What the running job is called, empty without one."""
        return "" if self._current.run is None else self._current.run.title

    @property
    def aside(self) -> tuple[str, ...]:
        """What runs beside the job, and cannot be cancelled: imports, layers that are made."""
        return tuple(self._aside)

    def run_aside(self, title: str, work: Callable[[], T], deliver: Callable[[T], None]) -> None:
        """Run something that takes seconds at most, whether or not a job runs.

        Parameters
        ----------
        title : str
            What is being done, for the user.
        work : callable
            Called outside the GUI thread; it must not raise.
        deliver : callable
            Called in the GUI thread with what the work returned.
        """
        current = self._current
        self._aside.append(title)
        self.aside_changed.emit()

        def finish(found: T) -> None:
            if current.gone:
                return
            self._aside.remove(title)
            self.aside_changed.emit()
            deliver(found)

        self._executor(work, finish)

    def start(
        self,
        title: str,
        work: Work,
        on_outcome: Callable[[Outcome], None],
        on_left: Callable[[Any], None] | None = None,
    ) -> None:
        """Start a job; nothing happens while another one runs.

        Parameters
        ----------
        title : str
            Shown beside the bar.
        work : callable
            Called as ``work(on_event=..., cancelled=...)`` outside the GUI thread.
        on_outcome : callable
            Called in the GUI thread when the work has ended, however it did.
        on_left : callable, optional
            Called in the GUI thread in its place with the result, a partial one as a rule, where the
            dock went away meanwhile; it must not touch the dock.
        """
        if self._state is not JobState.IDLE:
            return
        run = self._current.run = _Run(title, work, self)
        self._change(JobState.RUNNING)

        def deliver(outcome: Outcome) -> None:
            # The event loop within a delivery brought this: the events before come first.
            if run.delivering:
                QTimer.singleShot(0, lambda: deliver(outcome))
                return
            run.finish()
            if run.abandoned:
                if on_left is not None and outcome.result is not None:
                    on_left(outcome.result)
                return
            self._current.run = None
            self._change(JobState.IDLE)
            on_outcome(outcome)
            self.ended.emit(outcome)

        self._executor(run.work, deliver)

    def cancel(self) -> None:
        """Ask the running job to stop; it ends as soon as its work looks."""
        if self._current.run is not None and self._state is JobState.RUNNING:
            self._current.run.token.set()
            self._change(JobState.CANCELLING)

    def shut_down(self) -> None:
        """Stop the running job and forget it: for a dock that goes away."""
        self._current.abandon()
        if self._state is not JobState.IDLE:
            self._change(JobState.IDLE)

    def _change(self, state: JobState) -> None:
        self._state = state
        self.state_changed.emit(state)


class _Run:
    """What belongs to one run of a job, and outlives a dock that is closed meanwhile."""

    def __init__(self, title: str, work: Work, runner: JobRunner) -> None:
        self.title = title
        self.token = Token()
        self.abandoned = False
        self._work = work
        self._mailbox = EventMailbox(runner.event.emit)

    def work(self) -> Outcome:
        """Do the work; a failure is an outcome too."""
        try:
            result = self._work(on_event=self._mailbox.post, cancelled=self.token.is_set)
        except Exception as error:
            logger.exception("A job of napari-why failed")
            return Outcome(error=_without_frames(error), cancelled=self.token.is_set())
        return Outcome(result, cancelled=self.token.is_set())

    @property
    def delivering(self) -> bool:
        """Whether an event of this run is being delivered, further up in the calls."""
        return self._mailbox.delivering

    def finish(self) -> None:
        """Deliver what waits."""
        self._mailbox.empty()
        self._mailbox.close()
        release_gpu_memory()

    def abandon(self) -> None:
        """Ask the work to stop, and let nobody hear of it again."""
        self.abandoned = True
        self.token.set()
        self._mailbox.close()


class _Current:
    """The run of a runner, in an object that is still there when Qt has deleted the runner."""

    run: _Run | None = None
    gone = False

    def leave(self) -> None:
        """Forget everything: Qt has deleted the runner."""
        self.gone = True
        self.abandon()

    def abandon(self) -> None:
        """Stop the run, if there is one, and forget it."""
        if self.run is not None:
            self.run.abandon()
            self.run = None


def _without_frames(error: Exception) -> Exception:
    # A traceback keeps every local of the failed call alive, tensors that filled the GPU included.
    return error.with_traceback(None)


def release_gpu_memory() -> None:
    """Give back what the work no longer needs on the GPU, where there is one.

    For the GUI thread alone: collecting garbage in another one deletes Qt's objects there, which
    waits for ever for a lock that the GUI thread holds.
    """
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        gc.collect()
        torch.cuda.empty_cache()


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
    started : Signal()
        A press that means "start".
    """

    started = Signal()

    def __init__(self, verb: str, runner: JobRunner, parent: QWidget | None = None) -> None:
        super().__init__(verb, parent)
        self._verb, self._runner = verb, runner
        # Whether this button started what runs: another one's job is not its to cancel.
        self._mine = False
        self._possible = True
        self._reason = ""
        # What stands in the tooltip as long as the button can be pressed.
        self._about = ""
        self.clicked.connect(self._press)
        runner.state_changed.connect(self._show)

    def set_possible(self, possible: bool, reason: str = "") -> None:
        """Enable the button, or disable it with the reason as its tooltip.

        Parameters
        ----------
        possible : bool
        reason : str
            Why not.
        """
        self._possible = possible
        self._reason = reason
        self._show(self._runner.state)

    def setToolTip(self, text: str) -> None:  # noqa: N802 (the name is Qt's)
        """Say what a press does, wherever nothing keeps it from being pressed."""
        self._about = text
        self._show(self._runner.state)

    def _press(self) -> None:
        if self._runner.state is JobState.IDLE:
            self._mine, self._runner.pressed = True, self
            self.started.emit()
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
        self._show_tip(state)

    def _show_tip(self, state: JobState) -> None:
        tip = self._about
        if state is not JobState.IDLE and not self._mine:
            tip = f"{self._runner.title} runs; wait for it, or cancel it below"
        elif state is JobState.IDLE and not self._possible:
            tip = self._reason
        super().setToolTip(plain_tip(tip))
