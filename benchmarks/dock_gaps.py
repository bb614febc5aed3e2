"""How long each job of the docks keeps the window from answering: a row a job.

    xvfb-run -a python benchmarks/dock_gaps.py [--size 128] [--images 48]

A timer ticks every few milliseconds in napari's event loop. Between two ticks it takes the time that went
by (the gap) and the processor time that the window's thread spent (the turn): on a busy machine only the
latter says what the program itself did. Meanwhile another thread looks, every few milliseconds too, what that
thread is doing, and so divides every turn: into the drawing of the canvas (anything inside vispy, which takes long
where OpenGL is in software), napari, this plugin, and the rest, which is Qt's. Python's garbage collector, which goes
through all objects of the process in whatever turn it happens to begin, stands apart. The last column is the longest that
the plugin itself took of one turn. The first row is napari alone, adding a picture and a series: nothing that adds
a layer can be quicker. Then the one dock is opened as napari's menu does it, its import with it, a classifier is
loaded, and every page is looked at for the first time; ``--opening`` ends there.
"""

import argparse
import bisect
import gc
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
from qtpy.QtCore import QEventLoop, QTimer

TICK_MS = 5
# Layers are drawn, and thumbnails made, some turns of the loop after a job has ended.
SETTLING_MS = 500
# A job that does not end is a fault of its own; the longest takes a minute on a busy machine.
LONGEST_JOB_MS = 300_000
TINY = {"blocks": "1,1", "widths": "4,4", "downscaling": "2,2"}


# Whose code the window's thread is in, told by the packages of its frames.
DRAWING, NAPARI, OURS, REST = "drawing", "napari", "napari-why", "rest"
GARBAGE = "garbage"
LOOK_SECONDS = 0.002


def whose(frame: FrameType | None) -> str:
    """Tell whose code runs: the canvas's wherever it is on the way, else that of the innermost of both."""
    innermost = REST
    while frame is not None:
        package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if package == "vispy":
            return DRAWING
        if innermost == REST and package in ("napari", "napari_why"):
            innermost = NAPARI if package == "napari" else OURS
        frame = frame.f_back
    return innermost


class Lookout(threading.Thread):
    """Notes, every few milliseconds, what a thread is doing."""

    def __init__(self, watched: int) -> None:
        super().__init__(daemon=True)
        self.times: list[float] = []
        self.kinds: list[str] = []
        self._watched, self._ended = watched, threading.Event()

    def run(self) -> None:
        """Look until told to stop."""
        while not self._ended.wait(LOOK_SECONDS):
            kind = whose(sys._current_frames().get(self._watched))
            self.times.append(time.perf_counter())
            self.kinds.append(kind)

    def stop(self) -> None:
        """Look no more."""
        self._ended.set()
        self.join()

    def share(self, kind: str, begin: float, end: float) -> float:
        """Return in which share of the looks between two times a thread was in this kind of code."""
        first, last = (bisect.bisect(self.times, moment) for moment in (begin, end))
        return self.kinds[first:last].count(kind) / max(1, last - first)


@dataclass(frozen=True)
class Turn:
    """What went by between two ticks, in seconds.

    Parameters
    ----------
    begin, end : float
        On the clock.
    busy : float
        Processor time of the window's thread.
    collecting : float
        Of that, what Python's garbage collector took. Nobody can look meanwhile.
    """

    begin: float
    end: float
    busy: float
    collecting: float


class LoopWatch:
    """Measures the turns of the event loop."""

    def __init__(self) -> None:
        self.turns: list[Turn] = []
        self.lookout = Lookout(threading.get_ident())
        self._wall, self._busy = time.perf_counter(), time.thread_time()
        self._thread, self._collecting, self._collected = threading.get_ident(), 0.0, 0.0
        gc.callbacks.append(self._collect)
        self._timer = QTimer()
        self._timer.timeout.connect(self._tick)
        self._timer.start(TICK_MS)
        self.lookout.start()

    def _tick(self) -> None:
        wall, busy = time.perf_counter(), time.thread_time()
        self.turns.append(Turn(self._wall, wall, busy - self._busy, self._collected))
        self._wall, self._busy, self._collected = wall, busy, 0.0

    def _collect(self, phase: str, _facts: dict[str, int]) -> None:
        if threading.get_ident() != self._thread:
            return
        if phase == "start":
            self._collecting = time.thread_time()
        else:
            self._collected += time.thread_time() - self._collecting

    def stop(self) -> "LoopWatch":
        """Tick no more."""
        self._timer.stop()
        self.lookout.stop()
        gc.callbacks.remove(self._collect)
        return self

    def longest(self, kind: str) -> float:
        """Return the most processor time of one turn that went into this kind of code."""
        if kind == GARBAGE:
            return max((turn.collecting for turn in self.turns), default=0.0)
        parts = (
            (turn.busy - turn.collecting) * self.lookout.share(kind, turn.begin, turn.end)
            for turn in self.turns
        )
        return max(parts, default=0.0)


@dataclass(frozen=True)
class Job:
    """Something that a user starts.

    Parameters
    ----------
    name : str
    start : callable
    dock : Dock or None
        The one whose work it is; None where it is done when ``start`` is.
    done : callable or None
        Tells whether it is done, where that is not when the work of a dock has ended.
    """

    name: str
    start: Callable[[], Any]
    dock: Any = None
    done: Callable[[], bool] | None = None


@dataclass(frozen=True)
class Measured:
    """What a job did to the event loop: the longest gap and turn, and whose code that was, in seconds."""

    name: str
    gap: float
    turn: float
    parts: dict[str, float]


def wait(milliseconds: int) -> None:
    """Let the event loop run for a while."""
    loop = QEventLoop()
    QTimer.singleShot(milliseconds, loop.quit)
    loop.exec()


def measure(job: Job) -> Measured:
    """Start a job, wait for its end, and return the longest gap and turn."""
    wait(SETTLING_MS)
    loop, limit = QEventLoop(), QTimer()
    limit.setSingleShot(True)
    limit.timeout.connect(loop.quit)
    if job.dock is not None:
        job.dock.runner.ended.connect(loop.quit)

    def begin() -> None:
        job.start()
        look()

    def look() -> None:
        if job.done is not None and not job.done():
            QTimer.singleShot(TICK_MS, look)
        elif job.dock is None:
            loop.quit()

    watch = LoopWatch()
    QTimer.singleShot(0, begin)
    limit.start(LONGEST_JOB_MS)
    loop.exec()
    ended = limit.isActive()
    limit.stop()
    wait(SETTLING_MS)
    watch.stop()
    if job.dock is not None:
        job.dock.runner.ended.disconnect(loop.quit)
    if not ended:
        raise TimeoutError(f"{job.name} did not end within {LONGEST_JOB_MS // 1000} s")
    if job.dock is not None and job.dock.message.kind == "error":
        raise RuntimeError(f"{job.name}: {job.dock.message.text()}")
    return Measured(
        job.name,
        max(turn.end - turn.begin for turn in watch.turns),
        max(turn.busy for turn in watch.turns),
        {kind: watch.longest(kind) for kind in (DRAWING, NAPARI, REST, GARBAGE, OURS)},
    )


def add_by_napari_alone(viewer: Any) -> None:
    """Add a picture and a series without this plugin."""
    from napari.layers import Image

    for shape in ((32, 32), (5, 32, 32)):
        layer = Image(np.zeros(shape), units=("um",) * len(shape), name="napari alone")
        viewer.add_layer(layer)
        layer.visible = False
    # nothing is taken away again: what goes before it was drawn ends napari where OpenGL is in software


def first_openings(viewer: Any, saved: Path) -> Iterator[Job]:
    """Yield the dock, as napari's menu opens it, a classifier, and each page looked at first."""
    docks: list[Any] = []

    def open_dock() -> None:
        _, widget = viewer.window.add_plugin_dock_widget("napari-why")
        docks.append(widget)

    yield Job("the dock, opened first", open_dock)
    (dock,) = docks
    first, *others = dock_pages()
    yield Job(f"page {first}, its widgets", lambda: None, done=lambda: first in dock.pages)
    yield Job(
        "a classifier, loaded first",
        lambda: dock.classifier_bar.load_from(saved),
        done=lambda: dock.state.classifier is not None,
    )
    for name in others:
        yield Job(
            f"page {name}, opened first",
            lambda name=name: dock.show_page(name),
            done=lambda name=name: name in dock.pages and offers_methods(dock.pages[name]),
        )
    dock.shut_down()


def dock_pages() -> Sequence[str]:
    """Return the names of the pages; by then the dock's module is imported."""
    from napari_why.widgets.why_dock import PAGES

    return tuple(PAGES)


def offers_methods(page: Any) -> bool:
    """Tell whether a page is whole: one that explains fills in its methods when they are imported."""
    method = getattr(page, "method", None)
    return method is None or bool(method.name)


def opening_jobs(viewer: Any, opening: Any, folder: Path) -> Iterator[Job]:
    """Yield what reads and opens: samples, images, data sets, a plate."""
    for sample in ("treated", "labelled-set"):
        yield Job(f"sample {sample}", lambda name=sample: viewer.open_sample("napari-why", name))
    yield Job("data set, simulated", opening.dataset.open_simulated, opening)
    yield Job("data set, a folder", lambda: opening.dataset.open_location(folder), opening)
    files = sorted(folder.rglob("*.ome.tif"))[:1]
    yield Job("an image, looked at", lambda: opening.images.preview(files), opening)
    yield Job("an image, opened", opening.images.open.click)


def explaining_jobs(docks: Any, saved: Path) -> Iterator[Job]:
    """Yield what loads, trains, judges and explains."""
    learning, attribution, counterfactual = docks
    yield Job("loading a classifier", lambda: learning.load_from(saved), learning)
    yield Job("the first overlay", attribution.explain, attribution)
    yield Job("another overlay", attribution.explain, attribution)
    yield Job("counterfactual", counterfactual.explain, counterfactual)
    yield Job("evaluating", learning.evaluation.evaluate, learning)
    learning.training.main.set_value("size", 32)
    learning.training.main.set_value("epochs", 3)
    for name, value in TINY.items():
        learning.training.network_form.set_value(name, value)
    yield Job("training, three epochs", learning.training.train, learning)


def prepare(folder: Path, images: int, size: int) -> None:
    """Write a simulated data set and a classifier of it."""
    from napari_why.core.events import ignore_event
    from napari_why.datasets import Dataset
    from napari_why.fitting import fit
    from napari_why.simulation import simulate_to_folder

    simulate_to_folder(folder / "scenes", images, size=size)
    classifier = fit(
        Dataset.open(folder / "scenes"),
        size=32,
        epochs=2,
        lock="none",
        pixel_maps=False,
        network_parameters=TINY,
        on_event=ignore_event,
    )
    classifier.save(folder / "classifier")


def measure_all(viewer: Any, folder: Path, *, opening_alone: bool) -> Iterator[Measured]:
    """Make docks in a viewer with a window, and measure every job."""
    yield measure(Job("napari alone", lambda: add_by_napari_alone(viewer)))
    for job in first_openings(viewer, folder / "classifier"):
        yield measure(job)
    if opening_alone:
        return
    from napari_why.widgets.attribution_dock import AttributionDock
    from napari_why.widgets.classifier_dock import ClassifierDock
    from napari_why.widgets.counterfactual_dock import CounterfactualDock
    from napari_why.widgets.job import run_in_thread
    from napari_why.widgets.open_dock import OpenDock

    kinds = (OpenDock, ClassifierDock, AttributionDock, CounterfactualDock)
    opening, *docks = (kind(viewer, run_in_thread) for kind in kinds)
    try:
        docks[0].load_catalogue()
        for job in opening_jobs(viewer, opening, folder / "scenes"):
            yield measure(job)
        for job in explaining_jobs(docks, folder / "classifier"):
            yield measure(job)
    finally:
        for dock in (opening, *docks):
            dock.shut_down()


def main() -> None:
    """Print a row a job."""
    parser = argparse.ArgumentParser(description="longest gap of the event loop, by job")
    parser.add_argument("--images", type=int, default=48)
    parser.add_argument("--size", type=int, default=128, help="pixels of the simulated images")
    parser.add_argument("--prepare", type=Path, help="only write what is opened, into this folder")
    parser.add_argument("--opening", action="store_true", help="the dock and its pages alone")
    chosen = parser.parse_args()
    if chosen.prepare:
        prepare(chosen.prepare, chosen.images, chosen.size)
        return
    with tempfile.TemporaryDirectory() as place:
        # in a process of its own: else what a first job loads would be there before it
        own = [sys.executable, __file__, "--prepare", place]
        own += [f"--images={chosen.images}", f"--size={chosen.size}"]
        subprocess.run(own, check=True)
        import napari

        viewer = napari.Viewer()
        titles = [
            "job",
            "longest gap (ms)",
            "longest turn (ms)",
            "drawing",
            "napari",
            "Qt",
            "garbage",
            "napari-why",
        ]
        print(f"| {' | '.join(titles)} |")
        print("|---" * len(titles) + "|")
        for found in measure_all(viewer, Path(place), opening_alone=chosen.opening):
            times = (found.gap, found.turn, *found.parts.values())
            figures = " | ".join(f"{1000 * seconds:.0f}" for seconds in times)
            print(f"| {found.name} | {figures} |", flush=True)
        viewer.close()


if __name__ == "__main__":
    main()
