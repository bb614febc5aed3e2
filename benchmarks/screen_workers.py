"""What handing out wells costs: tasks of known length over real processes, or a dask cluster, and real files.

    python benchmarks/screen_workers.py [--workers 2 8 64] [--tasks 20] [--seconds 1.0] [--scheduler local]

A task sleeps, so that many workers fit on few cores, and writes a file as a well does, renamed when whole.
Printed for each number of workers: the efficiency, which is the time slept over the time that the workers
had from the moment at which the last of them began, to the last end of a task before there was nothing more
to hand out; and the share of one core that the process that hands out took meanwhile.
"""

import argparse
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from napari_why.core.executors import Engine, compute_each
from napari_why.core.whole_files import atomic_path

# About what the results of a well of nine fields take.
CONTENT = bytes(100_000)


class Done(NamedTuple):
    """One task: which worker, from when to when."""

    worker: int
    begun: float
    ended: float


def work(folder: str, seconds: float, task: int) -> Done:
    """Sleep, write a file and tell when."""
    import os

    begun = time.time()
    time.sleep(seconds)
    with atomic_path(Path(folder, f"{task}.part")) as part:
        part.write_bytes(CONTENT)
    return Done(os.getpid(), begun, time.time())


def main() -> None:
    """Measure and print."""
    options = arguments()
    for workers in options.workers:
        engine = Engine(workers=workers, scheduler=options.scheduler)
        with tempfile.TemporaryDirectory() as folder:
            function = partial(work, folder, options.seconds)
            own = time.process_time()
            started = time.time()
            tasks = list(range(workers * options.tasks))
            found = [item.result for item in compute_each(function, tasks, engine)]
            own, wall = time.process_time() - own, time.time() - started
            written = len(list(Path(folder).glob("*.part")))
        done = [item for item in found if item is not None]
        assert len(done) == written == len(tasks)
        print(
            f"{workers:3d} workers, {len(tasks)} tasks of {options.seconds:g} s: efficiency "
            f"{efficiency(done, options.seconds):.3f}, of one core to hand out {own / wall:.1%}",
            flush=True,
        )


def efficiency(done: list[Done], seconds: float) -> float:
    """Return the time slept over the time there was, while all workers had something to do."""
    first = {item.worker: item.begun for item in sorted(done, key=lambda item: -item.begun)}
    last = {item.worker: item.ended for item in sorted(done, key=lambda item: item.ended)}
    begin, end = max(first.values()), min(last.values())
    slept = [
        np.clip(min(item.begun + seconds, end) - max(item.begun, begin), 0, None) for item in done
    ]
    return float(np.sum(slept) / (len(first) * (end - begin)))


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, nargs="+", default=[2, 8, 64])
    parser.add_argument("--tasks", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--scheduler")
    return parser.parse_args()


if __name__ == "__main__":
    main()
