"""Progress of long work in a console: a bar in a terminal, now and then a line in a log or notebook."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from functools import wraps
from time import monotonic
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

from rich import progress
from rich.console import Console
from rich.table import Column

from napari_why.core.events import (
    Advanced,
    EpochFinished,
    Event,
    Finished,
    Message,
    Started,
)
from napari_why.core.folders import show

P = ParamSpec("P")
T = TypeVar("T")
# Between two lines of a log: a training of an hour leaves a few hundred, which can still be read.
LINE_SECONDS = 10.0
# What is done sooner needs no bar, and a loop over many images no line for each.
PATIENCE_SECONDS = 2.0
# The bindings that a window may have been made with.
QT_BINDINGS = ("PySide6", "PyQt6", "PySide2", "PyQt5")
BLOCKED = (
    "this runs in the thread of the window, which answers again when it is done; the napari-why dock does "
    "the same beside the window, with a bar and Cancel"
)


def tell(sentence: str) -> None:
    """Write a line to stderr, also from within a signal handler and where the terminal is gone."""
    # a handler may come in the midst of a write (RuntimeError); a closed terminal refuses (OSError);
    # a program without a console has no stderr (AttributeError)
    with suppress(OSError, RuntimeError, ValueError, AttributeError):
        sys.stderr.write(f"napari-why: {' '.join(show(sentence).split())}\n")
        sys.stderr.flush()


@dataclass
class _Task:
    name: str
    total: int | None
    bar: progress.TaskID
    done: int = 0
    detail: str = ""

    def __str__(self) -> str:
        of = "" if self.total is None else f" of {self.total}"
        counted = f": {self.done}{of}" if self.done or self.total else ""
        return f"{self.name}{counted}{f', {self.detail}' if self.detail else ''}"


class ConsoleProgress:
    """A listener of long work that shows it in the console.

    In a terminal a bar is drawn anew; elsewhere (a pipe, a log, a notebook, napari's console) a line is
    written now and then, if ``lines`` are wanted.

    Parameters
    ----------
    console : Console, optional
        The terminal behind stderr by default: results go to stdout.
    lines : bool
        Write lines where there is no terminal; else only what was found is told there.
    patience : float
        Seconds for which nothing is shown.
    """

    def __init__(
        self, console: Console | None = None, *, lines: bool = False, patience: float = 0.0
    ) -> None:
        self.console = console or Console(stderr=True)
        self._lines, self._patience = lines, patience
        self._bar = progress.Progress(
            # 18 and 16 characters leave room for an epoch's figures in a terminal of 80.
            progress.TextColumn(
                "{task.description}", table_column=Column(min_width=18, no_wrap=True)
            ),
            progress.BarColumn(bar_width=16),
            progress.MofNCompleteColumn(),
            progress.TimeElapsedColumn(),
            progress.TextColumn("{task.fields[detail]}", table_column=Column(no_wrap=True)),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        # Work starts work within it; events belong to what was started last.
        self._tasks: list[_Task] = []
        self._held: list[Message] = []
        self._said: set[str] = set()
        self._begun = self._last_line = monotonic()
        self._shown = patience <= 0
        self._draw_window: Callable[[], None] | None = None

    def __enter__(self) -> "ConsoleProgress":
        self._begun = self._last_line = monotonic()
        if self._shown:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with suppress(OSError):  # a terminal that is gone
            self._bar.stop()

    def on_event(self, event: Event) -> None:
        """Show an event."""
        with suppress(OSError):  # a terminal that is gone must not end the work
            if not self._shown and monotonic() - self._begun >= self._patience:
                self._begin_to_show()
            if isinstance(event, Started):
                bar = self._bar.add_task(event.task, total=event.total, detail="")
                self._tasks.append(_Task(event.task, event.total, bar))
            elif isinstance(event, Message):
                self._tell_message(event)
            elif self._tasks:
                self._follow(event, self._tasks[-1])
            # what is said, or has ended, tells nothing of how far work is: no line stands below an answer
            self._keep_up(tells_how_far=isinstance(event, Started | Advanced | EpochFinished))

    def say(self, text: str) -> None:
        """Show a sentence to a person; nothing where no person sits at a terminal."""
        if self.console.is_terminal:
            # No markup: a path may have brackets in it.
            with suppress(OSError):
                self.console.print(show(text), highlight=False, markup=False)

    def _begin_to_show(self) -> None:
        self._shown = True
        self._bar.start()
        self._draw_window = find_blocked_window()
        held, self._held = self._held, []
        for message in held if self._draw_window is None else [*held, Message(BLOCKED)]:
            self._tell_message(message)
        self._last_line = -LINE_SECONDS  # the first line comes at once

    def _tell_message(self, message: Message) -> None:
        """Show a message; what was found goes to a file or pipe too: logs are read later."""
        if not self._shown:
            self._held.append(message)
            return
        # of a thousand images each would say on which device it is explained
        if not message.finding and message.text in self._said:
            return
        self._said.add(message.text)
        if self.console.is_terminal:
            self.say(message.text)
        elif message.finding or self._lines:
            tell(message.text)

    def _follow(self, event: Event, task: _Task) -> None:
        if isinstance(event, Advanced):
            task.done = event.done
            self._bar.update(task.bar, completed=event.done)
            if event.message:
                self._bar.update(task.bar, detail=event.message)
        elif isinstance(event, EpochFinished):
            task.detail = describe_epoch(event)
            self._bar.update(task.bar, detail=task.detail)
        elif isinstance(event, Finished):
            self._bar.stop_task(task.bar)
            self._tasks.pop()

    def _keep_up(self, *, tells_how_far: bool) -> None:
        """Write a line where it is time for one, and let a window draw itself that waits."""
        now = monotonic()
        if not self._shown or now - self._last_line < LINE_SECONDS:
            return
        if tells_how_far and self._tasks and self._lines and not self.console.is_terminal:
            tell(f"{self._tasks[-1]} ({now - self._begun:.0f} s)")
            self._last_line = now
        if self._draw_window is not None:
            self._draw_window()


def find_blocked_window() -> Callable[[], None] | None:
    """Return what lets windows draw themselves that wait for this thread; None where none does.

    Nothing is loaded for it: where no window was made, no Qt is there to be asked.
    """
    for binding in QT_BINDINGS:
        core, widgets = (sys.modules.get(f"{binding}.{part}") for part in ("QtCore", "QtWidgets"))
        application: Any = None if widgets is None else widgets.QApplication.instance()
        if core is None or application is None:
            continue
        ours = core.QThread.currentThread() == application.thread()
        if ours and any(widget.isVisible() for widget in application.topLevelWidgets()):
            # no clicks and keys: they would start further work within this
            kind = core.QEventLoop.ProcessEventsFlag.ExcludeUserInputEvents
            return lambda: application.processEvents(kind)
    return None


def describe_epoch(event: EpochFinished) -> str:
    """Return the epoch with its loss and accuracies, those of the validation images if there are any."""
    if "generator_loss" in event.metrics:
        if "discriminator_loss" not in event.metrics:  # of a game of one player
            return f"epoch {event.epoch}, loss {event.metrics['generator_loss']:.2f}"
        players = [
            f"{player} loss {event.metrics[f'{player}_loss']:.2f}"
            for player in ("generator", "discriminator")
        ]
        return ", ".join([f"epoch {event.epoch}", *players])
    part = "validation" if "validation_loss" in event.metrics else "train"
    numbers = [
        f"{words} {event.metrics[f'{part}_{name}']:.2f}"
        # short: more, and on 80 columns the bar would give way
        for name, words in (
            ("loss", "loss"),
            ("accuracy", "accuracy"),
            ("balanced_accuracy", "balanced"),
        )
        if f"{part}_{name}" in event.metrics
    ]
    # the classifier's need no name: theirs are what everybody waits for
    whose = "" if event.network in ("", "classifier") else f"{event.network}: "
    return ", ".join([f"{whose}epoch {event.epoch}", *numbers])


# Work within work is not shown a second time.
_LISTENED = ContextVar("listened", default=False)


@contextmanager
def _listened() -> Iterator[None]:
    token = _LISTENED.set(True)
    try:
        yield
    finally:
        _LISTENED.reset(token)


def shows_progress(work: Callable[P, T]) -> Callable[P, T]:
    """Let long work show in the console how far it is, where its caller gives no ``on_event``.

    What is done in two seconds stays quiet; with ``on_event=napari_why.quiet`` all of it does.

    Parameters
    ----------
    work : callable
        With the keyword ``on_event``.
    """

    @wraps(work)
    def run(*arguments: P.args, **options: P.kwargs) -> T:
        if "on_event" in options or _LISTENED.get():
            with _listened():
                return work(*arguments, **options)
        with _listened(), ConsoleProgress(lines=True, patience=PATIENCE_SECONDS) as console:
            options["on_event"] = console.on_event
            return work(*arguments, **options)

    return run
