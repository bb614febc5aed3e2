"""A screen in a process of its own: started, followed by its events, and ended with all it has started.

A night's work must not share a process with a window: the window would lose it when it closes or dies.
What is done is on the disk well by well, so that the process may be ended at any time.
"""

import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from time import monotonic
from typing import IO, Any

import psutil

from napari_why.core.errors import WhyError
from napari_why.core.event_lines import read_event
from napari_why.core.events import Cancelled, Message, OnEvent
from napari_why.output.snippets import ScreenCall

# Seconds between two looks at whether somebody asked to stop: a person takes it for at once.
POLL = 0.2
# Seconds for the fields in work when somebody asked to stop; a field that takes longer costs its well, which
# is done again.
PATIENCE = 30.0
# Seconds for what the pipes of a process that has ended still hold.
DRAIN = 2.0
# Of what a process says when it fails: the last lines have the reason.
LINES_KEPT = 40
# With which the command line begins a line for people.
SAID = "napari-why: "
WINDOWS = os.name == "nt"


def run_screen(
    model: str | Path,
    call: ScreenCall,
    *,
    on_event: OnEvent,
    cancelled: Cancelled,
    patience: float = PATIENCE,
) -> Path:
    """Run ``napari-why screen`` to its end, and return the folder of its results.

    When cancelled, the process is asked to stop as Ctrl-C does, and ended with its workers where that takes
    too long; the wells that are done are there, and the same call goes on.

    Parameters
    ----------
    model : path
        Of a saved classifier.
    call : ScreenCall
        What is asked, as the shell takes it.
    on_event, cancelled
        See :mod:`napari_why.core.events`.
    patience : float
        Seconds that a process which was asked to stop is given.

    Returns
    -------
    Path
        As the call names it.

    Raises
    ------
    WhyError
        What the process said went wrong.
    """
    on_event(Message("starting a process for it"))
    child = _Child([*call.words(model), "--json-events"])
    try:
        code = child.follow(on_event, cancelled, patience)
    finally:
        child.end_all()
    if code and not cancelled():
        raise WhyError(child.reason(code))
    return Path(call.out)


class _Child:
    """The process, with a thread for each of its pipes: reading one waits."""

    def __init__(self, words: Sequence[str]) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - this very package, without a shell
            [sys.executable, "-m", "napari_why.cli", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",
            **_own_group(),
        )
        self._lines: Queue[str] = Queue()
        self._said: deque[str] = deque(maxlen=LINES_KEPT)
        self._readers = [
            Thread(target=_read, args=(stream, take), daemon=True)
            for stream, take in (
                (self._process.stdout, self._lines.put),
                (self._process.stderr, self._said.append),
            )
        ]
        for reader in self._readers:
            reader.start()

    def follow(self, on_event: OnEvent, cancelled: Cancelled, patience: float) -> int:
        """Hand its events on until it has ended; return its exit code."""
        asked: float | None = None
        while True:
            if asked is None and cancelled():
                asked = monotonic()
                self._ask_to_stop()
            if asked is not None and monotonic() - asked > patience:
                self.end_all()
            try:
                line = self._lines.get(timeout=POLL)
            except Empty:
                # workers may hold the pipe open that the process itself has left
                if self._process.poll() is not None:
                    return self._process.returncode
                continue
            event = read_event(line)
            if event is not None:
                on_event(event)

    def end_all(self) -> None:
        """End it and every process that it started, whatever they do."""
        family = _family_of(self._process.pid) if WINDOWS else []
        if self._process.poll() is None:
            self._process.kill()
        for one in family:
            with suppress(psutil.Error):
                one.kill()
        if not WINDOWS:
            # also of one that died by itself, whose workers would wait for ever
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for reader in self._readers:
            reader.join(DRAIN)

    def reason(self, code: int) -> str:
        """Say why it failed, as it said itself."""
        told = [line.removeprefix(SAID) for line in self._said if line.startswith(SAID)]
        if told:
            return told[-1].strip()
        last = " ".join("".join(self._said).split()) or "it said nothing"
        return f"the process of the screen ended with code {code}: {last[-400:]}; run it again to go on"

    def _ask_to_stop(self) -> None:
        with suppress(ProcessLookupError, OSError):
            if WINDOWS:
                self._process.send_signal(getattr(signal, "CTRL_BREAK_EVENT"))  # noqa: B009
            else:
                self._process.terminate()


def _own_group() -> dict[str, Any]:
    """Return what keeps a Ctrl-C in the terminal of napari from it, and holds its processes together."""
    if WINDOWS:
        return {"creationflags": getattr(subprocess, "CREATE_NEW_PROCESS_GROUP")}  # noqa: B009
    return {"start_new_session": True}


def _family_of(pid: int) -> list[psutil.Process]:
    try:
        return list(psutil.Process(pid).children(recursive=True))
    except psutil.Error:
        return []


def _read(stream: IO[str] | None, take: Any) -> None:
    # the pipe may be closed in the midst of a line
    with suppress(OSError, ValueError), stream or nullcontext(()) as lines:
        for line in lines:
            take(line)
