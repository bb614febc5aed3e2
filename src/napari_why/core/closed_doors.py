"""Building something from a foreign file without opening another file and without going online."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from napari_why.core.errors import ModelFileError

# What Python itself opens to import a module, which building may do for the first time.
MODULES = (".py", ".pyc", ".pyd", ".so", ".dylib", ".dll")
# What leads out of the process beside opening files, by the names of Python's audit events.
DOORS = (
    "socket.connect",
    "socket.getaddrinfo",
    "subprocess.Popen",
    "os.exec",
    "os.posix_spawn",
    "os.system",
    "urllib.Request",
)

_closed: ContextVar[bool] = ContextVar("closed", default=False)
_installed: list[bool] = []


@contextmanager
def no_doors() -> Iterator[None]:
    """Let nothing in the block open a file or go online, whatever code of whichever package runs.

    In this thread alone; modules can still be imported. The networks of this package need no such
    guard: it is there for those of others, whose parameters a foreign file may fill in.

    Raises
    ------
    ModelFileError
        From within, where something tried.

    Examples
    --------
    >>> with no_doors():  # doctest: +ELLIPSIS
    ...     open("weights.pth")
    Traceback (most recent call last):
    ...
    napari_why.core.errors.ModelFileError: a saved network tried to open weights.pth; ...
    """
    if not _installed:  # a hook cannot be taken away again, so that there must be one alone
        _installed.append(True)
        sys.addaudithook(_watch)
    before = _closed.set(True)
    try:
        yield
    finally:
        _closed.reset(before)


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open":
        # what is opened by number had been opened by name before
        numbered = isinstance(arguments[0], int)
        if _closed.get() and not numbered and not str(arguments[0]).endswith(MODULES):
            raise _refuse(f"open {arguments[0]}")
    elif event in DOORS and _closed.get():
        raise _refuse(f"use {event}")


def _refuse(deed: str) -> ModelFileError:
    return ModelFileError(
        f"a saved network tried to {deed}; expected one that is built from what was saved alone; "
        "take the original file, or ask who wrote the network's package to mark the parameter as "
        "InitialWeights"
    )
