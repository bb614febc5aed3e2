"""A screen on a dask scheduler and workers that are programs of their own, which end in the midst of it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest

from napari_why.screening import screen
from napari_why.screening.parts import read_facts

distributed = pytest.importorskip("distributed")
OPTIONS = ("--negative=DMSO", "--positive=healthy", "--draws=100")
# Enough to be in the midst of 32.
SOME = 3


class Cluster:
    """A scheduler and workers, as a user starts them on a command line.

    Parameters
    ----------
    folder : Path
        For what they write.
    workers : int
        How many there are.
    """

    def __init__(self, folder: Path, workers: int) -> None:
        self._folder, found = folder, folder / "scheduler.json"
        self.scheduler = self._start(
            "scheduler",
            "--host=127.0.0.1",
            "--port=0",
            "--no-dashboard",
            f"--scheduler-file={found}",
        )
        while not (found.exists() and found.read_text().endswith("}")):
            assert self.scheduler.poll() is None
            time.sleep(0.05)
        self.address = json.loads(found.read_text())["address"]
        assert self.address.startswith("tcp://127.0.0.1:")
        # without a nanny, which would start another one: who is killed is gone
        alone = ("--no-nanny", "--nthreads=1", "--memory-limit=0", "--no-dashboard")
        self.workers = [self._start("worker", self.address, *alone) for _ in range(workers)]
        with distributed.Client(self.address) as client:
            client.wait_for_workers(workers, timeout=300)

    def _start(self, *arguments: str) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", "dask", *arguments]
        with (self._folder / "dask.log").open("ab") as log:
            return subprocess.Popen(command, cwd=self._folder, stdout=log, stderr=log)

    def end(self) -> None:
        """Kill whoever is left."""
        for process in (*self.workers, self.scheduler):
            process.kill()
            process.wait()

    def has_alive(self, workers: int) -> bool:
        """Tell whether the scheduler and just so many workers are left."""
        alive = [process for process in self.workers if process.poll() is None]
        return self.scheduler.poll() is None and len(alive) == workers


@pytest.fixture(scope="module")
def clusters() -> Iterator[list[Cluster]]:
    """Those that were started, of which all end after these tests."""
    started: list[Cluster] = []
    yield started
    for one in started:
        one.end()


@pytest.fixture
def cluster(request, clusters: list[Cluster], tmp_path) -> Cluster:
    """Return what the test before left, where so many workers live: to start one takes longest."""
    if not (clusters and clusters[-1].has_alive(request.param)):
        clusters.append(Cluster(tmp_path, request.param))
    return clusters[-1]


def count_parts(out: Path) -> int:
    return sum(read_facts(path) is not None for path in out.rglob("parts/**/*.parquet"))


@contextmanager
def screening(cluster: Cluster, out: Path, *given: object) -> "Iterator[subprocess.Popen[str]]":
    """Run the shell command on a cluster, and yield its process once some wells are done."""
    command = [sys.executable, "-m", "napari_why.cli", "screen", *given, "--out", out, *OPTIONS]
    command += ["--scheduler", cluster.address]
    running = subprocess.Popen(
        [str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        while count_parts(out) < SOME:
            assert running.poll() is None, running.communicate()
            time.sleep(0.01)
        yield running
    finally:
        running.kill()
        running.communicate()


@pytest.mark.parametrize("cluster", [2], indirect=True)
def test_each_field_is_there_once_though_a_worker_dies(
    cluster, whole, model, plates, plate_map, tmp_path
):
    out = tmp_path / "out"
    with screening(cluster, out, model, plates, "--plate-map", plate_map) as running:
        cluster.workers[0].kill()
        done = count_parts(out)
        _, notes = running.communicate(timeout=300)
    assert done < len(whole.analysis.wells)
    assert running.returncode == 0, notes
    pd.testing.assert_frame_equal(pd.read_parquet(out / "fields.parquet"), whole.fields)
    assert cluster.workers[1].poll() is None  # who did the rest


@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C is sent to a process, which Windows cannot")
@pytest.mark.parametrize("cluster", [1], indirect=True)
def test_cancel_reaches_the_workers_of_a_cluster(
    cluster, whole, model, plates, plate_map, tmp_path
):
    out = tmp_path / "out"
    with screening(cluster, out, model, plates, "--plate-map", plate_map) as running:
        running.send_signal(signal.SIGINT)
        told, notes = running.communicate(timeout=300)
        with distributed.Client(cluster.address) as client:
            at_work = [name for several in client.processing().values() for name in several]
    assert running.returncode == 128 + signal.SIGINT, notes
    assert told.startswith("incomplete: the work was stopped after")
    assert at_work == []
    assert SOME <= count_parts(out) < len(whole.analysis.wells)
    assert not list(out.glob(".stop-*"))


@pytest.mark.parametrize("cluster", [1], indirect=True)
def test_a_scheduler_that_dies_ends_the_work_and_what_is_done_is_kept(
    cluster, whole, model, plates, plate_map, tmp_path
):
    out = tmp_path / "out"
    with screening(cluster, out, model, plates, "--plate-map", plate_map) as running:
        cluster.scheduler.kill()
        _, notes = running.communicate(timeout=300)
    assert running.returncode == 1, notes
    assert "napari-why: scheduler: found that its connection was lost" in notes
    assert SOME <= count_parts(out) < len(whole.analysis.wells)
    controls = {"negative": "DMSO", "positive": "healthy", "draws": 100}
    found = screen(model, plates, out, plate_map=plate_map, resume=True, **controls)
    pd.testing.assert_frame_equal(found.fields, whole.fields)
