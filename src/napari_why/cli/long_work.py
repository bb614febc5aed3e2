"""Progress on a terminal, quiet otherwise; Ctrl-C and a polite kill keep what there is."""

import json
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, NoReturn

import typer
from rich.console import Console

from napari_why.core.console import ConsoleProgress
from napari_why.core.console import tell as tell
from napari_why.core.errors import WhyError
from napari_why.core.event_lines import EventWriter
from napari_why.core.events import Event, StopRequest
from napari_why.core.folders import show

# What asks a program to stop: Ctrl-C, a cluster's time limit, a terminal that closes. Windows has no
# SIGHUP, and has SIGBREAK in its place.
SIGNALS = tuple(
    signal.Signals[name]
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
    if hasattr(signal, name)
)
# Tells whoever finds a folder that its tables are not whole; gone once they are.
INCOMPLETE = "INCOMPLETE.txt"
# What a shell reports of a command that a signal ended: 128 and the number of the signal.
SIGNALLED = 128


def write_json(value: Any) -> None:
    """Write JSON to stdout, whole whatever encoding a pipe or file has.

    Raises
    ------
    ValueError
        A number is NaN, which is no JSON: other programs would refuse the whole of it.
    """
    text = show(json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False))
    # Where letters would be lost, JSON has a spelling for them.
    if not _is_unicode(sys.stdout):
        text = json.dumps(json.loads(text), indent=2)
    typer.echo(text)


def _is_unicode(stream: Any) -> bool:
    return str(getattr(stream, "encoding", "utf-8")).lower().startswith("utf")


def replace_unwritable() -> None:
    """Let stdout and stderr replace letters that their encoding lacks, instead of failing.

    Windows gives files and pipes cp1252, a server without a locale ASCII; a class may be called by a
    Greek letter all the same.
    """
    for stream in (sys.stdout, sys.stderr):
        # A stream of another kind (a notebook's, or none at all) is left as it is.
        if getattr(stream, "errors", None) == "strict" and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def name_signal(number: int) -> str:
    """Say what a signal did, as a beginning of a sentence.

    Examples
    --------
    >>> name_signal(signal.SIGINT), name_signal(signal.SIGTERM)
    ('interrupted', 'stopped by SIGTERM')
    """
    if number == signal.SIGINT:
        return "interrupted"
    return f"stopped by {signal.Signals(number).name}"


@contextmanager
def handling(handler: Callable[[int, FrameType | None], Any]) -> Iterator[None]:
    """Give the signals that ask to stop to a handler inside the block."""
    # Python delivers signals to the main thread only.
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {
        number: former
        for number in SIGNALS
        # whoever started this with nohup wants it to outlive the terminal
        if (former := signal.getsignal(number)) != signal.SIG_IGN or number == signal.SIGINT
    }
    for number in before:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number, former in before.items():
            # None: by something else than Python, which cannot be put back
            signal.signal(number, signal.SIG_DFL if former is None else former)


def end_at_once(number: int, frame: FrameType | None = None) -> NoReturn:
    """Leave with the exit code of a signal: a handler for what has nothing to keep.

    Parameters
    ----------
    number : int
        Of the signal.
    frame : FrameType, optional
        Not used; Python hands it to every handler.

    Raises
    ------
    SystemExit
        Files that are being written are cleared away on its way.
    """
    del frame
    tell(f"{name_signal(number)}; only what was written by then is kept")
    raise SystemExit(SIGNALLED + number)


class LongWork:
    """The two callables that long work takes, for the shell.

    Ctrl-C, SIGTERM and SIGHUP ask to stop: the first time in good order, the second time in a hurry
    (what only follows a training is left out), both keep what is there; the third ends at once. So
    results are written inside the ``with``.

    Parameters
    ----------
    console : Console, optional
        Where progress is shown; the terminal behind stderr by default.
    lines : bool
        Write now and then a line where there is no terminal.
    followed : bool
        Write every event to stdout as a line of JSON, for a program that follows; once it is gone, the
        work is asked to stop.

    Attributes
    ----------
    cancelled : StopRequest
        Answers whether anybody asked to stop.

    Examples
    --------
    >>> with LongWork() as work:
    ...     work.on_event(Started("counting", 3))
    ...     work.cancelled()
    False
    """

    def __init__(
        self, console: Console | None = None, *, lines: bool = False, followed: bool = False
    ) -> None:
        self._progress = ConsoleProgress(console, lines=lines)
        self.cancelled = StopRequest()
        self._writer = EventWriter(sys.stdout, self.cancelled.ask) if followed else None
        self._signal = signal.SIGINT
        self._handling = handling(self._request_stop)

    def __enter__(self) -> "LongWork":
        self._handling.__enter__()
        self._progress.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.__exit__(kind, error, trace)
        self._handling.__exit__(None, None, None)
        if isinstance(error, WhyError):  # stopped before there was anything to keep
            self.end_if_interrupted(str(error))

    def on_event(self, event: Event) -> None:
        """Show an event."""
        self._progress.on_event(event)
        if self._writer is not None:
            self._writer(event)

    def say(self, text: str) -> None:
        """Show a sentence to a person; nothing where no person sits at a terminal."""
        self._progress.say(text)

    def end_if_interrupted(self, kept: str) -> None:
        """Leave with the exit code of an interruption, saying what was kept.

        Raises
        ------
        typer.Exit
            Somebody asked to stop while the work ran.
        """
        if self.cancelled():
            tell(f"{name_signal(self._signal)}; {kept}")
            raise typer.Exit(SIGNALLED + self._signal)

    def _request_stop(self, number: int, frame: FrameType | None) -> None:
        times = self.cancelled.ask()
        if times == 1:
            self._signal = signal.Signals(number)
            tell("stopping after this step; once more leaves out what only follows the main work")
        elif times == 2:
            tell("hurrying, and keeping what is there; once more gives that up")
        else:
            end_at_once(number, frame)
