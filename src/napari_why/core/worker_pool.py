"""An open executor with its workers, and what their processes are started with."""

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass

# One in work and one that waits beside it: the worker never idles, and a death costs no more than these.
TASKS_A_WORKER = 2
# Seconds in which a scheduler has to show a first worker; those of a batch system may start later, but a
# scheduler without any is more often a wrong address.
PATIENCE = 60
# What dask's nanny sets for glibc is bad for torch: it gives memory back after every layer, and asks for
# it again. 256 MiB are kept, and no allocation is mapped on its own.
ENVIRONMENT = {
    "MALLOC_TRIM_THRESHOLD_": str(2**28),
    "MALLOC_MMAP_MAX_": "0",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}


@dataclass
class Pool:
    """An executor that is open, and how many tasks it works on at a time.

    Parameters
    ----------
    executor : Executor
    count_workers : callable
    elsewhere : bool
        Whether its workers are installed apart from this process, and may lack what they are to do.
    """

    executor: Executor
    count_workers: Callable[[], int]
    elsewhere: bool = False

    @property
    def window(self) -> int:
        """How many tasks it is handed at a time; it may grow with a cluster."""
        return TASKS_A_WORKER * max(1, self.count_workers())
