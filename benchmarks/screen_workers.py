"""What handing out wells costs: tasks over real processes, or a dask cluster, and real files.

    python benchmarks/screen_workers.py [--workers 2 8 64] [--tasks 20] [--seconds 1.0] [--scheduler local]
    python benchmarks/screen_workers.py --real [--workers 2] [--tasks 20] [--fields 1] [--scheduler local] [--data FOLDER]

A task sleeps, so that many workers fit on few cores, and writes a file as a well does, renamed when whole.
Printed for each number of workers: the efficiency, which is the time slept over the time that the workers
had from the moment at which the last of them began, to the last end of a task before there was nothing more
to hand out; and the share of one core that the process that hands out took meanwhile.

With ``--real`` a task is a well as a screen does it: a field of BBBC013 (Ljosa et al. 2012) of two
channels of 640 x 640 pixels read and predicted by an i-ResNet as ``why.fit`` makes it, of 224 x 224 pixels and
learnt for one epoch, textures and latents too, and its file written; with ``--fields 9`` nine of them, the
same one each time, since BBBC013 has one a well. One worker is measured first, and the
efficiency is the number of wells that several do in a second, over that of one and their number, from the
moment at which the last of them has done its first well, for which it loads the classifier. Printed beside it
is what a well takes a processor: where cores share caches and memory, or are busy with other work, that is
more with several workers, and what is lost by it is not lost by handing out.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import napari_why as why
from napari_why.core.executors import Engine, compute_each
from napari_why.core.whole_files import atomic_path
from napari_why.model import Classifier
from napari_why.screening import ScreenOptions, plan_screen
from napari_why.screening.plan import WellTask
from napari_why.screening.work import WorkSetting, screen_well

# About what the results of a well of nine fields take.
CONTENT = bytes(100_000)
# Height and width of what the network sees of real fields.
SIZE = 224


class Done(NamedTuple):
    """One task: which worker, from when to when, and what it took of a processor in seconds."""

    worker: int
    begun: float
    ended: float
    used: float


def work(folder: str, seconds: float, task: int) -> Done:
    """Sleep, write a file and tell when."""
    begun, used = time.time(), time.process_time()
    time.sleep(seconds)
    with atomic_path(Path(folder, f"{task}.part")) as part:
        part.write_bytes(CONTENT)
    return Done(os.getpid(), begun, time.time(), time.process_time() - used)


def work_real(setting: WorkSetting, task: WellTask) -> Done:
    """Screen a well and tell when."""
    begun, used = time.time(), time.process_time()
    told = screen_well(setting, task)
    assert not told.failed, told.error
    return Done(os.getpid(), begun, time.time(), time.process_time() - used)


def main() -> None:
    """Measure and print."""
    options = arguments()
    (measure_real if options.real else measure)(options)


def measure(options: argparse.Namespace) -> None:
    """Let workers sleep, and print what handing out cost."""
    for workers in options.workers:
        with tempfile.TemporaryDirectory() as folder:
            tasks = list(range(workers * options.tasks))
            done, share = run(partial(work, folder, options.seconds), tasks, workers, options)
            assert len(list(Path(folder).glob("*.part"))) == len(done)
        print(
            f"{workers:3d} workers, {len(done)} tasks of {options.seconds:g} s: efficiency "
            f"{efficiency(done, options.seconds):.3f}, of one core to hand out {share:.1%}",
            flush=True,
        )


def measure_real(options: argparse.Namespace) -> None:
    """Let workers screen wells, and print how many they do beside one worker."""
    with tempfile.TemporaryDirectory() as folder:
        setting, wells = prepare(Path(folder), options.data)
        function = partial(work_real, setting)
        one = 0.0
        for workers in sorted({1, *options.workers}):
            tasks = draw_wells(wells, workers * options.tasks, options.fields)
            done, share = run(function, tasks, workers, options)
            rate = wells_a_second(done)
            one = one or rate  # the first is one worker
            print(
                f"{workers:3d} workers, {len(done)} wells: {rate:.3f} wells a second, efficiency "
                f"{rate / one / workers:.3f}; a well takes a processor "
                f"{np.median([item.used for item in done]):.3f} s; of one core to hand out {share:.1%}",
                flush=True,
            )


def draw_wells(wells: Sequence[WellTask], count: int, fields: int) -> list[WellTask]:
    """Return so many wells, in turn, of so many fields each: the first one again and again."""
    tasks = []
    for one, _ in zip(cycle(wells), range(count), strict=False):
        field = one.fields[0]
        several = tuple(replace(field, site=str(site)) for site in range(1, fields + 1))
        tasks.append(replace(one, fields=several))
    return tasks


def fit_briefly(dataset: why.Dataset, size: int) -> Classifier:
    """Fit an i-ResNet as `why.fit` makes it, for an epoch: what it says is not asked, and what it costs is."""
    return why.fit(
        dataset,
        "iresnet",
        size=size,
        epochs=1,
        threads=1,
        pixel_maps=False,
        lock="none",
        second_network=False,
        on_event=why.quiet,
    )


def prepare(folder: Path, data: Path) -> tuple[WorkSetting, Sequence[WellTask]]:
    """Fit a classifier to real fields, and return what workers need to screen their wells."""
    images, plate_map = data / "images", data / "labels.csv"
    classes = ("active", "inactive")
    learnt = why.Dataset.from_plate(images, plate_map, label="class3", classes=classes)
    classifier = fit_briefly(learnt.split(seed=0), SIZE)
    model = classifier.save(folder / "model")
    options = ScreenOptions(healthy="active", compound="label", negative="negative_control")
    plan = plan_screen([images], plate_map, options, classifier.fingerprint)
    stop = str(folder / "stop")
    place = str(folder / "results")
    return WorkSetting(str(model), plan.classifier, "cpu", options, place, stop), plan.wells


def run(
    function: Callable[[Any], Done],
    tasks: Sequence[Any],
    workers: int,
    options: argparse.Namespace,
) -> tuple[list[Done], float]:
    """Do tasks; return what was told of each, and this process's share of one core."""
    engine = Engine(workers=workers, scheduler=options.scheduler)
    own, started = time.process_time(), time.time()
    found = [item.result for item in compute_each(function, list(tasks), engine)]
    share = (time.process_time() - own) / (time.time() - started)
    done = [item for item in found if item is not None]
    assert len(done) == len(tasks)
    return done, share


def efficiency(done: list[Done], seconds: float) -> float:
    """Return the time slept over the time there was, while all workers had something to do."""
    first = {item.worker: item.begun for item in sorted(done, key=lambda item: -item.begun)}
    last = {item.worker: item.ended for item in sorted(done, key=lambda item: item.ended)}
    begin, end = max(first.values()), min(last.values())
    slept = [
        np.clip(min(item.begun + seconds, end) - max(item.begun, begin), 0, None) for item in done
    ]
    return float(np.sum(slept) / (len(first) * (end - begin)))


def wells_a_second(done: list[Done]) -> float:
    """Return how many were done in a second while all workers had loaded what they need, and had work."""
    workers = {item.worker for item in done}
    own = [[item for item in done if item.worker == worker] for worker in workers]
    begin = max(min(item.ended for item in items) for items in own)
    end = min(max(item.ended for item in items) for items in own)
    parts = [
        np.clip(min(item.ended, end) - max(item.begun, begin), 0, None) / (item.ended - item.begun)
        for item in done
    ]
    return float(np.sum(parts) / (end - begin))


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, nargs="+", help="2, 8 and 64; of real wells 2")
    parser.add_argument("--tasks", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--fields", type=int, default=1, help="of a real well")
    parser.add_argument("--scheduler")
    parser.add_argument(
        "--real", action="store_true", help="screen real fields instead of sleeping"
    )
    shared = os.environ.get("NAPARI_WHY_DATA", Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--data", type=Path, default=Path(shared, "bbbc013-translocation"))
    options = parser.parse_args()
    options.workers = options.workers or ([2] if options.real else [2, 8, 64])
    return options


if __name__ == "__main__":
    main()
