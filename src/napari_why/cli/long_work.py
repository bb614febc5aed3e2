"""Progress on a terminal, quiet otherwise; Ctrl-C asks to stop and keeps what there is."""

import signal
import sys
import threading
from types import FrameType, TracebackType

import typer
from rich import progress
from rich.console import Console
from rich.table import Column

from napari_why.core.errors import WhyError
from napari_why.core.events import Advanced, EpochFinished, Event, Finished, Message, Started

# What a shell reports of a command that SIGINT ended: 128 and the number of the signal.
INTERRUPTED = 128 + signal.SIGINT


class LongWork:
    """The two callables that long work takes, for the shell.

    Examples
    --------
    >>> with LongWork() as work:
    ...     work.on_event(Started("counting", 3))
    ...     work.cancelled()
    False
    """

    def __init__(self, console: Console | None = None) -> None:
        # Results go to stdout, so that the bar must not stand there.
        self._console = console or Console(stderr=True)
        self._bar = progress.Progress(
            # 18 and 16 characters leave room for an epoch's figures in a terminal of 80.
            progress.TextColumn(
                "{task.description}", table_column=Column(min_width=18, no_wrap=True)
            ),
            progress.BarColumn(bar_width=16),
            progress.MofNCompleteColumn(),
            progress.TimeElapsedColumn(),
            progress.TextColumn("{task.fields[detail]}", table_column=Column(no_wrap=True)),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        # Work starts work within it; events belong to what was started last.
        self._tasks: list[progress.TaskID] = []
        self._stop_requested = threading.Event()

    def __enter__(self) -> "LongWork":
        # Python delivers signals to the main thread only.
        if threading.current_thread() is threading.main_thread():
            self._handler_before = signal.signal(signal.SIGINT, self._request_stop)
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, self._handler_before)
        if isinstance(error, WhyError):  # stopped before there was anything to keep
            self.end_if_interrupted(str(error))

    def on_event(self, event: Event) -> None:
        """Show an event."""
        if isinstance(event, Started):
            self._tasks.append(self._bar.add_task(event.task, total=event.total, detail=""))
        elif isinstance(event, Message):
            self.say(event.text)
        elif self._tasks:
            self._show(event, self._tasks[-1])

    def say(self, text: str) -> None:
        """Show a sentence to a person; nothing where no person sits at a terminal."""
        if self._console.is_terminal:
            # No markup: a path may have brackets in it.
            self._console.print(text, highlight=False, markup=False)

    def cancelled(self) -> bool:
        """Answer whether the user pressed Ctrl-C."""
        return self._stop_requested.is_set()

    def end_if_interrupted(self, kept: str) -> None:
        """Leave with the exit code of an interruption, saying what was kept.

        Raises
        ------
        typer.Exit
            Ctrl-C was pressed while the work ran.
        """
        if self.cancelled():
            sys.stderr.write(f"napari-why: interrupted; {kept}\n")
            raise typer.Exit(INTERRUPTED)

    def _show(self, event: Event, task: progress.TaskID) -> None:
        if isinstance(event, Advanced):
            self._bar.update(task, completed=event.done)
            if event.message:
                self._bar.update(task, detail=event.message)
        elif isinstance(event, EpochFinished):
            self._bar.update(task, detail=_describe_epoch(event))
        elif isinstance(event, Finished):
            self._bar.stop_task(task)
            self._tasks.pop()

    def _request_stop(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        # Who presses again does not want to wait for a step that may take minutes.
        if self.cancelled():
            raise KeyboardInterrupt
        self._stop_requested.set()
        sys.stderr.write(
            "napari-why: stopping after this step; Ctrl-C again gives up what is there\n"
        )


def _describe_epoch(event: EpochFinished) -> str:
    """Return the epoch with its loss and accuracies, those of the validation images if there are any."""
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
    return ", ".join([f"epoch {event.epoch}", *numbers])
