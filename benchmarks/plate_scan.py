"""Time to index a plate, to open a field and to leave a foreign file alone; and the memory.

Makes a plate of 384 wells x 9 fields x 2 channels (6,912 tiny files) and a field of 2160 x 2160
pixels in two channels in a temporary folder. Opening is timed beside tifffile alone, which reads and
stacks the same two files: each in processes of its own, in turn, since what a process had allocated
before changes what allocating costs. Once every image is dropped before the next is opened, once only
when the next is there. The foreign files are
text and a picture called .tif, a colour TIFF of 3000 x 3000 pixels, and a folder of 5,000 text files.

    python benchmarks/plate_scan.py
"""

import statistics
import string
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import tifffile

from napari_why.images import read, scan_plate
from napari_why.napari_reader import get_reader

ROWS, COLUMNS, FIELDS, CHANNELS = 16, 24, 9, 2
SIZE, REPEATS, ROUNDS = 2160, 25, 5
WAYS: dict[str, Callable[[Sequence[str]], object]] = {
    "ours": lambda paths: read(paths[0]),
    "tifffile": lambda paths: np.stack([tifffile.imread(path) for path in paths]),
}


def make_plate(folder: Path) -> int:
    """Write one file for each well, field and channel; return their number."""
    tifffile.imwrite(folder / "one.tif", np.zeros((4, 4), "uint16"), metadata=None)
    content = (folder / "one.tif").read_bytes()
    (folder / "one.tif").unlink()
    count = 0
    for row in string.ascii_uppercase[:ROWS]:
        for column in range(1, COLUMNS + 1):
            for field in range(1, FIELDS + 1):
                for channel in range(1, CHANNELS + 1):
                    name = f"plate_{row}{column:02d}_s{field}_w{channel}.TIF"
                    (folder / name).write_bytes(content)
                    count += 1
    return count


def make_field(folder: Path, compression: str | None) -> list[Path]:
    """Write a field of two channels; return its files."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    paths = [folder / f"plate_A01_s1_w{channel}.TIF" for channel in (1, 2)]
    for path in paths:
        pixels = rng.poisson(300, (SIZE, SIZE)).astype("uint16")
        tifffile.imwrite(
            path, pixels, metadata=None, photometric="minisblack", compression=compression
        )
    return paths


def opening(paths: list[Path], *, kept: bool) -> str:
    """Compare opening a field with tifffile alone, in words."""
    pairs = [tuple(own_process(way, paths, kept=kept) for way in WAYS) for _ in range(ROUNDS)]
    ours, alone = (statistics.median(times) for times in zip(*pairs, strict=True))
    ratio = statistics.median(mine / other for mine, other in pairs)
    return f"{ours:.1f} ms, tifffile {alone:.1f} ms: {ratio:.2f} (at most 1.2)"


def own_process(way: str, paths: list[Path], *, kept: bool) -> float:
    """Return the median of REPEATS calls, in a process of their own, in milliseconds."""
    command = [sys.executable, __file__, way, str(kept), *map(str, paths)]
    run = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(run.stdout)


def measured(way: str, kept: str, *paths: str) -> float:
    """Open the files again and again; the last result is dropped first, or once there is a new."""
    function = WAYS[way]
    times, result = [], None
    for _ in range(REPEATS + 1):
        if kept == "False":
            result = None
        start = time.process_time()
        result = function(paths)
        times.append(time.process_time() - start)
    assert result is not None
    return statistics.median(times[1:]) * 1e3


def foreign(folder: Path) -> str:
    """Return how long napari's reader takes to leave foreign files to others, the slowest one."""
    folder.mkdir()
    (folder / "text.tif").write_text("no image\n" * 100_000, encoding="utf-8")
    (folder / "picture.tif").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(1_000_000))
    tifffile.imwrite(folder / "rgb.tif", np.zeros((3000, 3000, 3), "uint8"), photometric="rgb")
    (folder / "texts").mkdir()
    for number in range(5000):
        (folder / "texts" / f"{number}.txt").touch()
    places = ["text.tif", "picture.tif", "rgb.tif", "texts", "missing.tif"]
    if any(get_reader(str(folder / name)) for name in places):
        raise RuntimeError("a foreign file was taken for an image")
    slowest = max(places, key=lambda name: seconds(lambda: get_reader(str(folder / name))))
    taken = seconds(lambda: get_reader(str(folder / slowest)))
    return f"{taken * 1e3:.1f} ms for the slowest of {len(places)}, {slowest} (at most 50)"


def seconds(function: Callable[[], object]) -> float:
    """Return the processor time of one call."""
    start = time.process_time()
    function()
    return time.process_time() - start


def main() -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as place:
        plate = Path(place, "plate")
        plate.mkdir()
        count = make_plate(plate)
        start = time.perf_counter()
        found = scan_plate(plate)
        taken = time.perf_counter() - start
        tracemalloc.start()
        scan_plate(plate)
        peak = tracemalloc.get_traced_memory()[1] / 1e6
        tracemalloc.stop()
        others = foreign(Path(place, "foreign"))
        lines = [
            f"opening, {words}, the last one {'kept' if kept else 'dropped'}: {opening(paths, kept=kept)}"
            for words, paths in (
                ("uncompressed", make_field(Path(place, "plain"), None)),
                ("LZW", make_field(Path(place, "lzw"), "lzw")),
            )
            for kept in (False, True)
        ]
    lines += [
        f"files indexed          {count} in {len(found.fields)} fields",
        f"seconds                {taken:.2f} (at most 5)",
        f"peak memory            {peak:.0f} MB (at most 200)",
        f"foreign files          {others}",
    ]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        sys.stdout.write(str(measured(*sys.argv[1:])))
    else:
        main()
