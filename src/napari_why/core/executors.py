"""Independent tasks over any ``concurrent.futures.Executor``: a few at a time, whatever fails.

The tasks of a night are thousands, and a scheduler that is handed all of them stalls; a process that
dies takes a pool with it. So only as many are handed over as keep the workers busy, and a task is
blamed for a death only once it was alone when a process died that had begun in good order. Which executor it is, :class:`Engine`
says: one thread, processes of this computer, or a cluster of ``dask.distributed``, which is imported
only then.
"""

import importlib
import os
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from typing import Annotated, Any, Generic, TypeVar

from napari_why.core.errors import CancellationError, ParameterError, WhyError, reason_of
from napari_why.core.events import Cancelled, never_cancelled
from napari_why.core.options import Help, Options, Range

T = TypeVar("T")
R = TypeVar("R")

# One in work and one that waits beside it: the worker never idles, and a death costs no more than these.
TASKS_A_WORKER = 2
# Seconds between two looks at whether somebody asked to stop: a person takes it for at once.
POLL = 0.2
# How often a process may die of a task that it works on alone: once may be the system's memory, which
# other programs had filled; twice it is the task.
MOST_DEATHS = 2
# Deaths in a row without a single task done: then no task is to blame, and starting processes is.
MOST_IN_VAIN = 6
# Seconds in which a scheduler has to show a first worker; those of a batch system may start later, but a
# scheduler without any is more often a wrong address.
PATIENCE = 60
# How often processes may die before they have loaded what they are to do: a death of one that was at work
# may have taken the first of the next ones with it, of two nothing was ever to be had.
MOST_FALSE_STARTS = 2
# Errors of dask that are of a worker and not of the task, by their names, for the core does not know dask:
# workers died of it, several times; its result was lost with a worker, or did not come in time.
LOST = ("KilledWorker", "FutureCancelledError", "CancelledError", "TimeoutError")
# The package of dask's own executor.
DASK = "distributed"
# What dask's nanny sets for glibc is bad for torch: it gives memory back after every layer, and asks for
# it again. 256 MiB are kept, and no allocation is mapped on its own.
ENVIRONMENT = {
    "MALLOC_TRIM_THRESHOLD_": str(2**28),
    "MALLOC_MMAP_MAX_": "0",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}


@dataclass(frozen=True)
class Outcome(Generic[T, R]):
    """What became of a task: its result, or in ``lost`` why there is none."""

    task: T
    result: R | None = None
    lost: str = ""


def cancel_each(futures: "Iterable[Future[Any]]") -> None:
    """Cancel futures of the standard library, which refuse that of themselves while they are worked on.

    Parameters
    ----------
    futures : iterable of Future
    """
    for future in futures:
        future.cancel()


@dataclass
class Pool:
    """An executor that is open, and how many tasks it works on at a time.

    Parameters
    ----------
    executor : Executor
    count_workers : callable
    elsewhere : bool
        Whether its workers are installed apart from this process, and may lack what they are to do.
    cancel : callable
        Given futures, cancels those that are not begun, and only those.
    """

    executor: Executor
    count_workers: Callable[[], int]
    elsewhere: bool = False
    cancel: "Callable[[Iterable[Future[Any]]], None]" = cancel_each

    @property
    def window(self) -> int:
        """How many tasks it is handed at a time; it may grow with a cluster."""
        return TASKS_A_WORKER * max(1, self.count_workers())


@dataclass(frozen=True, kw_only=True)
class Engine(Options):
    """Where tasks are worked on: nothing of it decides about a result.

    Examples
    --------
    >>> with Engine().open() as pool:
    ...     pool.executor.submit(abs, -3).result()
    3
    """

    workers: Annotated[
        int, Help("processes of this computer; 0: one task after the other"), Range(0, 1024)
    ] = 0
    scheduler: Annotated[
        str | None,
        Help(
            "address of a dask.distributed scheduler (tcp://host:8786), or local: one of this computer's "
            "own with as many workers as are asked for"
        ),
    ] = None

    @contextmanager
    def open(self) -> Iterator[Pool]:
        """Open the executor for a block; its processes end with it.

        Raises
        ------
        WhyError
            There is no such scheduler, it has no worker, or dask.distributed is not installed.
        """
        if self.scheduler is not None:
            from napari_why.core.cluster import open_cluster

            with open_cluster(
                self.scheduler, self.workers, environment=ENVIRONMENT, patience=PATIENCE
            ) as cluster:
                yield Pool(cluster, cluster.count_workers, elsewhere=True, cancel=cluster.cancel)
            return
        # a thread, so that whoever waits can be asked to stop meanwhile
        executor: Executor = (
            ProcessPoolExecutor(self.workers, mp_context=get_context("spawn"))
            if self.workers
            else ThreadPoolExecutor(1)
        )
        count = max(1, self.workers)
        try:
            with _in_environment(ENVIRONMENT if self.workers else {}):
                yield Pool(executor, lambda: count)
        finally:
            executor.shutdown(cancel_futures=True)


@contextmanager
def _in_environment(values: dict[str, str]) -> Iterator[None]:
    """Set variables that processes started meanwhile inherit, where the user set none."""
    added = [name for name in values if name not in os.environ]
    os.environ.update({name: values[name] for name in added})
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


@dataclass
class _Queue(Generic[T]):
    """Tasks that wait, and those to watch alone since a process died while they were in work."""

    waiting: deque[T]
    suspects: deque[T] = field(default_factory=deque)
    deaths: "Counter[int]" = field(default_factory=Counter)
    in_vain: int = 0
    false_starts: int = 0

    def __bool__(self) -> bool:
        return bool(self.waiting or self.suspects)

    def blame(self, lost: list[T], *, alone: bool) -> T | None:
        """Take note of a death; return the task that is to blame where it is known."""
        self.in_vain += 1
        if not alone:
            self.suspects.extend(lost)
            return None
        (task,) = lost
        self.deaths[id(task)] += 1
        if self.deaths[id(task)] >= MOST_DEATHS:
            return task
        self.suspects.appendleft(task)
        return None


def check_executor(executor: Executor | None) -> None:
    """Refuse an executor that says of tasks in work that they were cancelled.

    Futures of the standard library refuse to be cancelled while they are worked on; so what is in work is
    waited for when somebody asks to stop. Those of dask's ``Client.get_executor`` give in, and the task goes
    on in the cluster: whoever had asked to stop would find files appear after that.

    Parameters
    ----------
    executor : Executor or None
        That somebody gave.

    Raises
    ------
    ParameterError
        It is one of dask's.
    """
    kinds = [] if executor is None else type(executor).__mro__
    if any(kind.__module__.partition(".")[0] == DASK for kind in kinds):
        raise ParameterError(
            f"executor: found dask's {type(executor).__name__}, whose tasks go on in the cluster when they are "
            "cancelled; expected another concurrent.futures.Executor, or the address of that cluster: "
            "Engine(scheduler=client.scheduler_info()['address'])"
        )


def compute_each(
    function: Callable[[T], R],
    tasks: list[T],
    engine: Engine,
    *,
    executor: Executor | None = None,
    cancelled: Cancelled = never_cancelled,
    on_cancel: Callable[[], None] = lambda: None,
) -> Iterator[Outcome[T, R]]:
    """Do independent tasks, and yield what became of each in the order in which they end.

    Parameters
    ----------
    function : callable
        Of a module, so that another process finds it; safe to be called twice for a task. It returns
        something, and raises CancellationError where it was stopped; any other error ends everything.
    tasks : list
        What is handed over, one at a time.
    engine : Engine
    executor : Executor, optional
        One of your own in place of the engine's; ``engine.workers`` says how many tasks it works on. See
        :func:`check_executor`.
    cancelled : callable
        When it says so, nothing further is begun; what is in work is waited for.
    on_cancel : callable
        Called once then: tells those in work.

    Yields
    ------
    Outcome
        One for every task that was done or lost; none for those that were stopped.

    Raises
    ------
    ParameterError
        The executor is one of dask's.
    WhyError
        Processes die before they do anything, or cannot load the function; no task is blamed for that.

    Examples
    --------
    >>> sorted(done.result for done in compute_each(abs, [-1, -2, -3], Engine()))
    [1, 2, 3]
    """
    check_executor(executor)
    queue = _Queue(deque(tasks))

    def drain(pool: Pool) -> Iterator[Outcome[T, R]]:
        return _Drain(function, queue, pool, cancelled, on_cancel).run()

    while queue and not cancelled():
        if executor is not None:
            yield from drain(Pool(executor, lambda: max(1, engine.workers)))
            if queue and not cancelled():
                raise WhyError("the executor that was given is broken; expected one that goes on")
            return
        with engine.open() as pool:
            yield from drain(pool)
        if queue.in_vain >= MOST_IN_VAIN:
            raise WhyError(
                f"workers: {queue.in_vain} processes died in a row and nothing was done; try with one "
                "task after the other (workers=0), and look at the memory"
            )


@dataclass
class _Drain(Generic[T, R]):
    """Hands tasks over to a pool until there are none, or the pool breaks."""

    function: Callable[[T], R]
    queue: _Queue[T]
    pool: Pool
    cancelled: Cancelled
    on_cancel: Callable[[], None]
    flight: "dict[Future[R], T]" = field(default_factory=dict)
    stopped: bool = False
    alone: bool = False
    seen: float = field(default_factory=time.monotonic)  # when there was a worker last

    def run(self) -> Iterator[Outcome[T, R]]:
        """Yield what became of each task."""
        # where a process has died, the next may die of its start, for which no task is to be blamed
        if (self.pool.elsewhere or self.queue.in_vain) and not self._has_begun():
            return
        while True:
            self._heed_stop()
            lost = self._submit()
            if not self.flight and not lost:
                return
            self._look_for_workers()
            for future in wait(self.flight, timeout=POLL, return_when=FIRST_COMPLETED).done:
                yield from self._settle(future, lost)
            if lost:
                yield from self._break_up(lost)
                return

    def _has_begun(self) -> bool:
        """Let a worker load what it is to do; tell whether the pool is whole after that.

        Raises
        ------
        WhyError
            It cannot, or processes died of it again and again.
        """
        module = _module_of(self.function)
        try:
            begun = self.pool.executor.submit(_load, module)
            while not begun.done() and not self.cancelled():
                self._look_for_workers()
                wait([begun], timeout=POLL)
            if not begun.done():
                begun.cancel()
                return True  # what follows heeds that
            reason = begun.result()
        except BrokenExecutor:
            self.queue.false_starts += 1
            if self.queue.false_starts < MOST_FALSE_STARTS:
                return False
            reason = f"{MOST_FALSE_STARTS} of them died while they started; their last words are on stderr"
        except ImportError as error:  # a worker that does not know this module either
            reason = reason_of(error)
        if reason:
            raise WhyError(
                f"workers: found that they cannot start ({reason}); expected the installation of this "
                f"process, which loads {module}, and memory for it; look at both, or try one task after the "
                "other (workers=0); what is done is kept"
            )
        self.queue.false_starts = 0
        return True

    def _heed_stop(self) -> None:
        if not self.stopped and self.cancelled():
            self.stopped = True
            self.on_cancel()
            self.pool.cancel(self.flight)

    def _look_for_workers(self) -> None:
        """Refuse to wait for ever for a cluster whose workers have all gone."""
        if self.pool.count_workers():
            self.seen = time.monotonic()
        elif time.monotonic() - self.seen > PATIENCE:
            raise WhyError(
                f"scheduler: found no worker for {PATIENCE} seconds, and tasks that wait; expected some; start "
                "workers and go on with resume: what is done is kept"
            )

    def _submit(self) -> list[T]:
        """Fill the window; return the task that the pool would not take since it is broken."""
        if not self.flight:
            self.alone = bool(self.queue.suspects)
        source = self.queue.suspects if self.alone else self.queue.waiting
        window = 1 if self.alone else self.pool.window
        while source and len(self.flight) < window and not self.stopped:
            task = source.popleft()
            try:
                self.flight[self.pool.executor.submit(self.function, task)] = task
            except BrokenExecutor:
                return [task]
        return []

    def _settle(self, future: "Future[R]", lost: list[T]) -> Iterator[Outcome[T, R]]:
        task = self.flight.pop(future)
        outcome = _outcome(task, future)
        if outcome is None:
            lost.append(task)
        elif outcome.lost and not self.alone:
            # a cluster blames all that waited at the worker with the one that killed it
            self.queue.suspects.append(task)
        elif outcome.result is not None or outcome.lost:
            self.queue.in_vain = 0
            yield outcome

    def _break_up(self, lost: list[T]) -> Iterator[Outcome[T, R]]:
        """Take leave of a pool of which a process died: what was done is kept, the rest is suspected."""
        for future in list(self.flight):  # all of a broken pool have ended
            yield from self._settle(future, lost)
        guilty = self.queue.blame(lost, alone=self.alone)
        if guilty is not None:
            yield Outcome(
                guilty,
                lost=f"the process that worked on it died, {MOST_DEATHS} times and alone: its memory did "
                "not suffice, or a library failed",
            )


def _outcome(task: T, future: "Future[R]") -> Outcome[T, R] | None:
    """Return what became of a task that ended, an empty outcome where it was stopped, None of a death."""
    if future.cancelled():
        return Outcome(task)
    with suppress(CancellationError):
        try:
            return Outcome(task, future.result())
        except BrokenExecutor:
            return None
        except Exception as error:
            if type(error).__name__ not in LOST:
                raise
            return Outcome(task, lost=f"the workers that worked on it died: {reason_of(error)}")
    return Outcome(task)


def _load(module: str) -> str:
    """Import a module where this is called; return why that fails, or nothing."""
    try:
        importlib.import_module(module)
    except Exception as error:  # noqa: BLE001 - of a worker that dies nobody learns the reason
        return reason_of(error)
    return ""


def _module_of(function: Callable[..., Any]) -> str:
    while isinstance(function, partial):
        function = function.func
    return getattr(function, "__module__", None) or __name__
