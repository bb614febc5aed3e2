"""Tasks of a client whose scheduler has gone: always one error, in words, with its cause."""

from types import SimpleNamespace
from typing import Any

import pytest

from napari_why.core.cluster import ClusterExecutor
from napari_why.core.errors import WhyError


class Client:
    """What is asked of a client of dask; closed, it fails by its own insides as that does."""

    def __init__(self, status: str) -> None:
        self.status = status
        self.settle: Any = None

    def nthreads(self) -> dict[str, int]:
        raise AttributeError("'NoneType' object has no attribute 'ncores'")

    def submit(self, *_: Any, **__: Any) -> SimpleNamespace:
        if self.status == "closed":
            raise RuntimeError("Client is closed")
        return SimpleNamespace(add_done_callback=lambda settle: setattr(self, "settle", settle))


def fail(**_: Any) -> None:
    raise ZeroDivisionError("of the task")


def test_a_closed_client_says_that_the_scheduler_has_gone() -> None:
    executor = ClusterExecutor(Client("closed"), patience=1)
    with pytest.raises(WhyError, match="connection was lost"):
        executor.count_workers()
    with pytest.raises(WhyError, match="connection was lost"):
        executor.submit(abs, -1)


def test_what_a_task_raised_as_the_scheduler_went_is_the_cause() -> None:
    client = Client("running")
    found = ClusterExecutor(client, patience=1).submit(abs, -1)
    client.status = "connecting"
    client.settle(SimpleNamespace(result=fail))
    error = found.exception(timeout=1)
    assert isinstance(error, WhyError)
    assert isinstance(error.__cause__, ZeroDivisionError)


def test_what_a_task_raises_otherwise_is_raised_as_it_is() -> None:
    client = Client("running")
    found = ClusterExecutor(client, patience=1).submit(abs, -1)
    client.settle(SimpleNamespace(result=fail))
    assert isinstance(found.exception(timeout=1), ZeroDivisionError)
