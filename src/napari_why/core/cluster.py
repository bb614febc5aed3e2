"""Tasks on a cluster of ``dask.distributed``, which is imported only where one is asked for."""

import logging
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, Future
from contextlib import ExitStack, closing, contextmanager
from typing import Any, TypeVar

from napari_why.core.errors import WhyError, reason_of

R = TypeVar("R")

# Address that means a cluster of this computer.
LOCAL = "local"
# A local cluster takes leave for good of a worker that is not there this long after a death, also where
# its nanny has started another since and that one has just died too: then nobody starts the next. How
# often a task may kill workers is bounded by itself (KilledWorker).
NEVER = "365 days"


@contextmanager
def open_cluster(
    address: str, workers: int, *, environment: Mapping[str, str], patience: float
) -> Iterator[tuple[Executor, Callable[[], int]]]:
    """Open a client of a scheduler, or a cluster of this computer with it, for a block.

    Parameters
    ----------
    address : str
        Of the scheduler, or ``local``.
    workers : int
        Of a local one.
    environment : mapping of str to str
        Variables of its processes.
    patience : float
        Seconds in which the scheduler has to show a first worker, and in which a result has to come.

    Yields
    ------
    executor : Executor
    count_workers : callable
        How many tasks its workers do at a time by now.

    Raises
    ------
    WhyError
        There is no such scheduler, it has no worker, or dask.distributed is not installed.
    """
    try:
        import dask
        from distributed import Client, LocalCluster
    except ModuleNotFoundError as error:
        raise WhyError(
            f"scheduler: found {address!r}, but dask.distributed is not installed; install "
            '"napari-why[cluster]", or use workers'
        ) from error
    # memory is bounded by tiles and batches: the nanny's limit would kill a worker in the midst of one
    local: dict[str, Any] = {
        "n_workers": max(1, workers),
        "threads_per_worker": 1,
        "processes": True,
        "memory_limit": 0,
        "dashboard_address": None,
        # of its end: a worker that is slow is ended, and one whose scheduler is gone complains
        "silence_logs": logging.CRITICAL,
    }
    settings = dask.config.set(
        {
            "distributed.nanny.pre-spawn-environ": dict(environment),
            "distributed.deploy.lost-worker-timeout": NEVER,
        }
    )
    # whatever is open by then is closed, also where what follows fails: a cluster is processes
    with settings, ExitStack() as opened:
        try:
            place: Any = address
            if address == LOCAL:
                place = opened.enter_context(closing(LocalCluster(**local)))
            client = opened.enter_context(closing(Client(place)))
            client.wait_for_workers(1, timeout=patience)
        except (OSError, ValueError, TimeoutError) as error:
            raise WhyError(
                f"scheduler: found none with a worker at {address!r} ({reason_of(error)}); expected an "
                "address such as tcp://host:8786, or local"
            ) from error
        yield _DistributedExecutor(client, patience), lambda: sum(client.nthreads().values())


class _DistributedExecutor(Executor):
    """Tasks of a dask.distributed client as futures of the standard library.

    ``Client.get_executor`` does the same, but its futures never end where a worker dies between the end
    of a task and the moment at which its result is fetched.

    Parameters
    ----------
    client : distributed.Client
    patience : float
        Seconds in which a result that is there has to come.
    """

    def __init__(self, client: Any, patience: float) -> None:
        self._client, self._patience = client, patience

    def submit(self, function: Callable[..., R], /, *given: Any, **named: Any) -> "Future[R]":
        """Hand a task over."""
        found: Future[R] = Future()
        # not pure: a task is known by what it writes, and is worked on whenever it is handed over
        remote = self._client.submit(function, *given, pure=False, **named)

        def settle(ended: Any) -> None:
            # in a thread of the client's own
            if not found.set_running_or_notify_cancel():
                return
            try:
                found.set_result(ended.result(timeout=self._patience))
            except BaseException as error:  # noqa: BLE001 - whoever waits for the result has to get it
                found.set_exception(error)

        found.add_done_callback(lambda one: remote.cancel() if one.cancelled() else None)
        remote.add_done_callback(settle)
        return found
