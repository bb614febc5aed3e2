"""Where a job's work runs: in a thread beside the viewer, or at once."""

from collections.abc import Callable
from typing import Protocol, TypeVar

T = TypeVar("T")


class Executor(Protocol):
    """Runs ``work`` somewhere and hands what it returns to ``deliver`` in the GUI thread."""

    def __call__(self, work: Callable[[], T], deliver: Callable[[T], None]) -> None:
        """Start ``work``; it must not raise."""


def run_in_thread(work: Callable[[], T], deliver: Callable[[T], None]) -> None:
    """Run ``work`` in a napari worker thread, so that the viewer stays responsive.

    A worker of a plain function is used: a generator worker would swallow a ``RuntimeError``
    (which torch's out-of-memory error is), and the dock would wait for ever.
    """
    from napari.qt.threading import create_worker

    worker = create_worker(work)
    worker.returned.connect(deliver)
    worker.start()


def run_at_once(work: Callable[[], T], deliver: Callable[[T], None]) -> None:
    """Run ``work`` here and now; for scripts and tests that want no thread."""
    deliver(work())
