"""Memory of the workers of a screen, and what handing out costs, on a plate of large fields. Linux only.

    python benchmarks/screen_memory.py [--pixels 2160] [--shard 1/1] [--workers 2] [--scheduler local]
        [--attribution METHOD] [--counterfactual METHOD] [--keep FOLDER]

Makes a plate of 384 wells of nine fields of two channels, a file each, 6,912 files of uint16. They are
sparse: of each the disk holds a header and a band of simulated cells, while whoever reads it gets all of
its pixels, zeros beside the band. An i-ResNet as ``why.fit`` makes it, of 224 x 224 pixels, learns for one
epoch from simulated images, since what it says is not asked. napari_why.screen then does all wells, or those
of a shard (``--shard 1/16``: every sixteenth).

Printed are what the files hold and what the disk holds; of each worker the most memory that it ever had,
with libraries, classifier and pages that it shares with others (VmHWM of Linux, read four times a second);
the same of the process that hands out, before and after; how many wells are handed out at a time; and the
share of one core that this process took from the end of the first well to that of the last, with its
scheduler where that is ``local``.
"""

import argparse
import os
import shutil
import string
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event as Signal
from threading import Thread

import numpy as np
import psutil
import tifffile
from screen_workers import fit_briefly

from napari_why.core.events import Advanced, Event, Finished
from napari_why.core.executors import TASKS_A_WORKER
from napari_why.screening import Engine, screen
from napari_why.simulation import simulate

ROWS, COLUMNS, FIELDS = string.ascii_uppercase[:16], range(1, 25), range(1, 10)
CHANNELS = ("DAPI", "TMRM")
# Height and width of what the network sees, and of the cells of a band.
SIZE, BAND = 224, 32
# Seconds between two looks at the workers' memory, of which the system keeps the most.
LOOK = 0.25


def main() -> None:
    """Make, screen and print."""
    options = arguments()
    root = Path(options.keep or tempfile.mkdtemp())
    try:
        plate_map = make_plate(root, options.pixels)
        model = learn(root / "model")
        run(model, plate_map, root, options)
    finally:
        if not options.keep:
            shutil.rmtree(root)


def make_plate(root: Path, pixels: int) -> Path:
    """Write sparse fields and a plate map, print what they hold, and return the map."""
    folder = root / "plate"
    folder.mkdir(parents=True, exist_ok=True)
    header = make_header(root, pixels)
    cells = np.asarray(simulate(2, size=BAND).image(0))
    bands = [np.tile(plane, -(-pixels // BAND))[:, :pixels].tobytes() for plane in cells]
    lines = ["plate,well,treatment"]
    for row in ROWS:
        for column in COLUMNS:
            well = f"{row}{column:02d}"
            lines.append(f"plate,{well},{treatment(row, column)}")
            for site in FIELDS:
                for number, band in enumerate(bands, start=1):
                    path = folder / f"plate_{well}_s{site}_w{number}.TIF"
                    write_sparse(path, header, band, pixels)
    stored = [path.stat() for path in folder.iterdir()]
    print(
        f"{len(stored)} files of {pixels} x {pixels} pixels: {sum(one.st_size for one in stored) / 1e9:.1f} GB "
        f"in names, {sum(one.st_blocks for one in stored) * 512 / 1e9:.2f} GB on the disk",
        flush=True,
    )
    (root / "map.csv").write_text("\n".join(lines) + "\n")
    return root / "map.csv"


def treatment(row: str, column: int) -> str:
    """Return what is in a well: controls at both sides, then a compound each."""
    sides = {COLUMNS[0]: "DMSO", COLUMNS[-1]: "healthy"}
    return sides.get(column, f"C{row}{column:02d}")


def make_header(root: Path, pixels: int) -> bytes:
    """Return what stands before the pixels in a TIFF file of one plane."""
    path = root / "empty.tif"
    tifffile.imwrite(path, shape=(pixels, pixels), dtype="uint16", metadata=None)
    with tifffile.TiffFile(path) as file:
        (start,) = file.pages[0].dataoffsets
    with path.open("rb") as stream:
        header = stream.read(start)
    path.unlink()
    return header


def write_sparse(path: Path, header: bytes, band: bytes, pixels: int) -> None:
    """Write a header and rows of cells in the middle, and leave holes elsewhere."""
    with path.open("wb") as stream:
        stream.write(header)
        stream.seek(len(header) + 2 * pixels * (pixels // 2))
        stream.write(band[: 2 * pixels * (pixels - pixels // 2)])
        stream.truncate(len(header) + 2 * pixels * pixels)


def learn(folder: Path) -> Path:
    """Fit and save a classifier."""
    learnt = simulate(16, classes=("diseased", "healthy"), size=SIZE, wells=8).split(seed=0)
    return fit_briefly(learnt, SIZE).save(folder, overwrite=True)


def run(model: Path, plate_map: Path, root: Path, options: argparse.Namespace) -> None:
    """Screen the plate and print what it took."""
    clock = Clock()
    asked = {
        name: getattr(options, name)
        for name in ("attribution", "counterfactual")
        if getattr(options, name)
    }
    if options.counterfactual:
        # after one epoch all fields are called healthy, and towards that class nothing would be changed
        asked["healthy"] = "diseased"
    before = most_memory(os.getpid())
    with watch_workers() as clock.watch:
        found = screen(
            model,
            root / "plate",
            root / "results",
            plate_map=plate_map,
            channels=list(CHANNELS),
            negative="DMSO",
            positive="healthy",
            engine=Engine(workers=options.workers, scheduler=options.scheduler),
            shard=options.shard,
            overwrite=True,
            on_event=clock.on_event,
            **asked,
        )
    fields = found.fields
    print(f"{len(fields)} fields, failed: {int((fields['Metadata_error'] != '').sum())}")
    if options.counterfactual:
        unchanged = fields["Metadata_verdict"].str.startswith("not changed").sum()
        print(f"with a counterfactual: {len(fields) - unchanged}")
    for number, most in enumerate(sorted(clock.watch.most.values(), reverse=True), start=1):
        print(f"worker {number}: {most / 1e9:.2f} GB at most")
    print(
        f"handing out: {before / 1e9:.2f} GB at most before, {most_memory(os.getpid()) / 1e9:.2f} GB with "
        f"tables and report; {TASKS_A_WORKER * max(1, options.workers)} wells at a time"
    )
    print(clock.describe())


@dataclass
class Watch:
    """The most memory of each worker by its process, in bytes, and the processor time that looking took."""

    most: dict[int, int] = field(default_factory=dict)
    # goes through all processes, and is no part of handing out
    seconds: float = 0.0


class Clock:
    """Wall time and processor time of this process, in seconds, since the first well was done."""

    wall = own = 0.0

    def __init__(self) -> None:
        self.watch = Watch()

    def describe(self) -> str:
        """Return a sentence: how much of one core this process took."""
        if not self.wall:
            return "no well was left: nothing was handed out"
        return f"since the first well was done {self.wall:.0f} s, of one core to hand out {self.own / self.wall:.2%}"

    def on_event(self, event: Event) -> None:
        """Look at the clocks when a first well is done, by when workers have started, and when all are."""
        now, used = time.perf_counter(), time.process_time() - self.watch.seconds
        if isinstance(event, Advanced) and event.done and self._begun is None:
            self._begun = now, used
        elif isinstance(event, Finished) and self._begun is not None and not self.wall:
            self.wall, self.own = now - self._begun[0], used - self._begun[1]

    _begun: tuple[float, float] | None = None


@contextmanager
def watch_workers() -> Iterator[Watch]:
    """Look at the memory of this process's workers within the block."""
    watch = Watch()
    stop = Signal()

    def look() -> None:
        this = psutil.Process()
        while not stop.wait(LOOK):
            for process in this.children(recursive=True):
                try:
                    # beside them there is a tracker of multiprocessing
                    if any("spawn_main" in part for part in process.cmdline()):
                        watch.most[process.pid] = most_memory(process.pid)
                except (psutil.Error, OSError, ValueError):  # it has ended meanwhile
                    continue
            watch.seconds = time.thread_time()

    thread = Thread(target=look)
    thread.start()
    try:
        yield watch
    finally:
        stop.set()
        thread.join()


def most_memory(process: int) -> int:
    """Return the most memory that a process ever had resident, in bytes."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    (peak,) = (line.split()[1] for line in lines if line.startswith("VmHWM:"))
    return int(peak) * 1024


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pixels", type=int, default=2160)
    parser.add_argument("--shard", default="1/1", help="1/16: every sixteenth well")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--scheduler", help="local: dask instead of plain processes")
    parser.add_argument("--attribution")
    parser.add_argument("--counterfactual")
    parser.add_argument("--keep", help="folder for everything that is made; removed by default")
    return parser.parse_args()


if __name__ == "__main__":
    main()
