"""Tasks on a cluster of ``dask.distributed``, which is imported only where one is asked for."""

import logging
import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor, Future
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, TypeVar
from uuid import uuid4

from napari_why.core.errors import CancellationError, WhyError, reason_of
from napari_why.core.optional_packages import require

R = TypeVar("R")

# Address that means a cluster of this computer.
LOCAL = "local"
# A local cluster takes leave for good of a worker that is not there this long after a death, also where
# its nanny has started another since and that one has just died too: then nobody starts the next. How
# often a task may kill workers is bounded by itself (KilledWorker).
NEVER = "365 days"
# How often each process of a local cluster looks whether its own event loop answers and what its computer does:
# every 20 and 500 ms by default, for a dashboard that nobody opens. In the process that hands out that took more
# of a core than all that is asked for.
LOOKS = {
    "distributed.admin.tick.interval": "1s",
    "distributed.admin.system-monitor.interval": "10s",
}
# Seconds for which the number of workers is taken to be what it was: each question goes to the scheduler and back.
COUNTED = 1.0
# What a client says of itself while it has a scheduler.
CONNECTED = "running"
# What it says once it has given the scheduler up: it answers nothing then but errors of its own insides.
CLOSED = "closed"
# Tasks that a worker ended last, and still knows: their results may be on the way, for milliseconds.
KEPT = 1000


@contextmanager
def open_cluster(
    address: str, workers: int, *, environment: Mapping[str, str], patience: float
) -> Iterator["ClusterExecutor"]:
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
    ClusterExecutor

    Raises
    ------
    WhyError
        There is no such scheduler, it has no worker, or dask.distributed is not installed.
    """
    distributed = require("distributed", "cluster", f"scheduler {address!r}", instead="use workers")
    import dask

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
            **LOOKS,
        }
    )
    # whatever is open by then is closed, also where what follows fails: a cluster is processes
    with settings, ExitStack() as opened:
        try:
            place: Any = address
            if address == LOCAL:
                place = opened.enter_context(_closed_in_the_end(distributed.LocalCluster(**local)))
            client = opened.enter_context(closing(distributed.Client(place)))
            client.wait_for_workers(1, timeout=patience)
        except (OSError, ValueError, TimeoutError) as error:
            raise WhyError(
                f"scheduler: found none with a worker at {address!r} ({reason_of(error)}); expected an "
                "address such as tcp://host:8786, or local"
            ) from error
        yield ClusterExecutor(client, patience)


@contextmanager
def _closed_in_the_end(cluster: Any) -> Iterator[Any]:
    """Close a local cluster after a block, whatever its nannies are at."""
    try:
        yield cluster
    finally:
        # dask asserts that a worker which its nanny is just starting anew has begun. Then there is nothing to
        # wait for, and what was done must not be lost of it: the worker ends with this process
        with suppress(AssertionError):
            cluster.close()


class ClusterExecutor(Executor):
    """Tasks of a dask.distributed client as futures of the standard library.

    ``Client.get_executor`` does the same, but its futures never end where a worker dies between the end
    of a task and the moment at which its result is fetched; and they can be cancelled while they are worked
    on, which goes on then, and nobody waits for it.

    Parameters
    ----------
    client : distributed.Client
    patience : float
        Seconds in which a result that is there has to come.
    """

    def __init__(self, client: Any, patience: float) -> None:
        self._client, self._patience = client, patience
        self._counted, self._count = -math.inf, 0

    def count_workers(self) -> int:
        """Return how many tasks the workers do at a time, now or a second ago.

        Raises
        ------
        WhyError
            The scheduler has gone.
        """
        self._check()
        now = time.monotonic()
        if now - self._counted >= COUNTED:
            try:
                self._count = sum(self._client.nthreads().values())
            except OSError as error:
                raise self._scheduler_gone() from error
            self._counted = now
        return self._count

    def submit(self, function: Callable[..., R], /, *given: Any, **named: Any) -> "Future[R]":
        """Hand a task over.

        Parameters
        ----------
        function : callable
            Found in a module by the workers.
        *given, **named
            What it is called with.

        Returns
        -------
        Future
            Its ``cancel`` gives a task up that nobody may have begun; for others see :meth:`cancel`.

        Raises
        ------
        WhyError
            The scheduler has gone.
        """
        self._check()
        name = f"{_name_of(function)}-{uuid4().hex}"
        found: _ClusterFuture[R] = _ClusterFuture(name)
        # not pure: a task is known by what it writes, and is worked on whenever it is handed over
        remote = self._client.submit(_begin, name, function, *given, pure=False, key=name, **named)

        def settle(ended: Any) -> None:
            # in a thread of the client's own
            if not found.set_running_or_notify_cancel():
                return
            try:
                found.set_result(ended.result(timeout=self._patience))
            except BaseException as raised:  # noqa: BLE001 - whoever waits for the result has to get it
                # the client cancels all it had handed over when the scheduler has gone: no worker died of that
                if self._client.status == CONNECTED:
                    found.set_exception(raised)
                    return
                gone = self._scheduler_gone()
                gone.__cause__ = raised  # maybe of the task itself
                found.set_exception(gone)

        found.add_done_callback(lambda one: remote.cancel() if one.cancelled() else None)
        remote.add_done_callback(settle)
        return found

    def _check(self) -> None:
        if self._client.status == CLOSED:
            raise self._scheduler_gone()

    def _scheduler_gone(self) -> WhyError:
        return WhyError(
            "scheduler: found that its connection was lost; expected it to last as long as the work; start one "
            "with workers and go on with resume: what is done is kept"
        )

    def cancel(self, futures: "Iterable[Future[Any]]") -> None:
        """Cancel what no worker has begun; what was begun goes on, and is to be waited for.

        dask cannot tell the two apart: a task that waits at its worker and one that is worked on there are
        both "processing", and a thread that is at work cannot be ended. So workers keep a list.

        Parameters
        ----------
        futures : iterable of Future
            That :meth:`submit` returned.
        """
        several = [one for one in futures if isinstance(one, _ClusterFuture) and not one.done()]
        names = [one.name for one in several]
        try:
            told = self._client.run(_forbid, names, on_error="return")
        except OSError:  # without the scheduler, which ends all futures
            return
        answers = list(told.values())
        if any(isinstance(one, BaseException) for one in answers):
            # a worker that does not answer may be at work: those that are forbidden end of themselves
            return
        begun = set().union(*answers)
        for one in several:
            if one.name not in begun:
                one.cancel()


class _ClusterFuture(Future[R]):
    """A future that knows its task's name."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name


@dataclass
class _Ledger:
    """Which tasks the process of a worker has begun, and which it must not begin."""

    lock: Lock = field(default_factory=Lock)
    running: set[str] = field(default_factory=set)
    ended: deque[str] = field(default_factory=lambda: deque(maxlen=KEPT))
    forbidden: set[str] = field(default_factory=set)


# Of this process, for what a worker begins and what it is told come in different threads.
_LEDGER = _Ledger()


def _begin(name: str, function: Callable[..., R], *given: Any, **named: Any) -> R:
    """Do a task, in a worker, unless that was forbidden by then."""
    ledger = _LEDGER
    with ledger.lock:
        if name in ledger.forbidden:
            raise CancellationError(f"{name}: the work was stopped before it was begun")
        ledger.running.add(name)
    try:
        return function(*given, **named)
    finally:
        with ledger.lock:
            ledger.running.discard(name)
            ledger.ended.append(name)


def _forbid(names: Iterable[str]) -> set[str]:
    """Let a worker begin none of these tasks from now on; return those that it has begun or ended.

    Those are forbidden too: where the worker dies of one, no other begins it anew.
    """
    ledger = _LEDGER
    with ledger.lock:
        ledger.forbidden.update(names)
        return set(names) & (ledger.running | set(ledger.ended))


def _name_of(function: Callable[..., Any]) -> str:
    from dask.utils import funcname

    return str(funcname(function))
