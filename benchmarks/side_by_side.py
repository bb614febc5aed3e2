"""Two ways to do the same work, side by side: times in turns, and memory, each in a process of its own."""

import ctypes
import importlib
import multiprocessing
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

Work = Callable[[], Any]


@dataclass(frozen=True)
class Pair:
    """The same work done by us and by a peer; ``theirs`` is None where the peer is not installed."""

    task: str
    peer: str
    ours: Work
    theirs: Work | None
    note: str = ""


@dataclass(frozen=True)
class Measured:
    """Medians in seconds, and bytes; NaN of a side that did not run."""

    task: str
    peer: str
    ours: tuple[float, float]
    theirs: tuple[float, float]
    memory: tuple[float, float]
    note: str = ""

    def line(self) -> str:
        """Return a row of the table."""
        times = [1e3 * self.ours[0], 1e3 * self.theirs[0]]
        ratios = [theirs / ours for ours, theirs in zip(self.ours, self.theirs, strict=True)]
        numbers = [*(f"{each:.1f}" for each in times), *(f"{each:.2f}" for each in ratios)]
        numbers += [f"{each / 1e6:.0f}" for each in self.memory]
        shown = ["–" if number == "nan" else number for number in numbers]
        return f"| {self.task} | {self.peer} | {' | '.join(shown)} | {self.note} |"


HEADER = (
    "| task | peer | ours, ms | peer, ms | ratio, processor | ratio, wall | ours, MB | peer, MB | note |\n"
    + "|---" * 9
    + "|"
)


def measure(pair: Pair, repeats: int) -> Measured:
    """Let both sides take turns, after one run of each to warm up."""
    sides = [pair.ours] if pair.theirs is None else [pair.ours, pair.theirs]
    # before anything ran here: what a side has left behind would be taken up by the other
    memory = [in_a_process(lambda side=side: peak_of(side)) for side in sides]
    note = pair.note
    try:
        for side in sides:
            side()
    except Exception as error:
        if len(sides) == 1:
            raise
        sides, note = [pair.ours], f"{note} failed: {str(error).splitlines()[0][:70]}".strip()
    times: list[list[tuple[float, float]]] = [[] for _ in sides]
    for _ in range(repeats):
        for side, taken in zip(sides, times, strict=True):
            taken.append(timed(side))
    medians = [
        tuple(statistics.median(column) for column in zip(*taken, strict=True)) for taken in times
    ]
    nothing = (float("nan"), float("nan"))
    return Measured(
        pair.task,
        pair.peer,
        medians[0],
        medians[1] if len(medians) > 1 else nothing,
        (memory[0], memory[1] if len(medians) > 1 else float("nan")),
        note,
    )


def timed(work: Work) -> tuple[float, float]:
    """Return the processor and the wall seconds of one run."""
    processor, wall = time.process_time(), time.perf_counter()
    work()
    return time.process_time() - processor, time.perf_counter() - wall


def peak_of(work: Work) -> float:
    """Return by how many bytes this process was larger, at most, while it did some work."""
    try:
        _give_free_memory_back()
        before = psutil.Process().memory_info().rss
        Path("/proc/self/clear_refs").write_text("5")  # the highest mark begins anew
    except (OSError, AttributeError):
        return float("nan")
    try:
        work()
    except Exception:  # noqa: BLE001 - told by the row that is timed
        return float("nan")
    status = Path("/proc/self/status").read_text()
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return float(peak.split()[1]) * 1024 - before


def _give_free_memory_back() -> None:
    """Return what was freed, and kept by the allocator, to the system: work that takes it up again is seen."""
    ctypes.CDLL(None).malloc_trim(0)


def in_a_process(work: Callable[[], Any]) -> Any:
    """Return what a function does in a forked process, in which nothing has run before."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)

    def run() -> None:
        try:
            sender.send((True, work()))
        except Exception as error:  # noqa: BLE001 - raised again where it is waited for
            sender.send((False, f"{type(error).__name__}: {error}"))

    process = context.Process(target=run)
    process.start()
    done, found = receiver.recv()
    process.join()
    if not done:
        raise RuntimeError(found)
    return found


def installed(module: str) -> Any:
    """Return a peer's module, None where it is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError:
        return None


def missing(task: str, peer: str, ours: Work) -> Pair:
    """Return the row of a peer that is not installed."""
    return Pair(task, peer, ours, None, f"{peer} is not installed")
