"""Events as lines of JSON: how a program follows long work that runs in another process."""

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import TextIO

from napari_why.core.events import Advanced, EpochFinished, Event, Finished, Message, Started

# Beside the fields of the event, which kind it is.
KIND = "event"
KINDS = {kind.__name__: kind for kind in (Started, Advanced, EpochFinished, Message, Finished)}


def write_event(event: Event) -> str:
    r"""Return an event as one line, ASCII whatever it says.

    Examples
    --------
    >>> write_event(Advanced(3, "P1 µ\n"))
    '{"event": "Advanced", "done": 3, "message": "P1 \\u00b5\\n"}'
    """
    return json.dumps({KIND: type(event).__name__, **asdict(event)})


def read_event(line: str) -> Event | None:
    """Return the event that a line tells; None of any other line, which libraries may print.

    Examples
    --------
    >>> read_event(write_event(Started("screening wells", 96)))
    Started(task='screening wells', total=96)
    >>> read_event("Downloading ...") is None
    True
    """
    try:
        plain = json.loads(line)
        event: Event = KINDS[plain.pop(KIND)](**plain)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return event


class EventWriter:
    """A listener that writes every event to a stream, until nobody reads it any more.

    Parameters
    ----------
    stream : text stream
        A pipe to the program that follows.
    on_left : callable
        Called once, when that program is gone: work that nobody will hear of should stop.

    Examples
    --------
    >>> from io import StringIO
    >>> heard = StringIO()
    >>> EventWriter(heard, lambda: None)(Finished())
    >>> read_event(heard.getvalue())
    Finished(partial=False)
    """

    def __init__(self, stream: TextIO, on_left: Callable[[], object]) -> None:
        self._stream = stream
        self._on_left = on_left
        self._there = True

    def __call__(self, event: Event) -> None:
        """Write an event at once: whoever follows waits for it."""
        if not self._there:
            return
        try:
            self._stream.write(write_event(event) + "\n")
            self._stream.flush()
        except (OSError, ValueError):  # a pipe without a reader, a stream that is closed
            self._there = False
            self._on_left()
