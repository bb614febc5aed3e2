"""Time to index a plate and to open a field, and the memory they take.

Makes a plate of 384 wells x 9 fields x 2 channels (6,912 tiny files) and a field of 2160 x 2160
pixels in two channels in a temporary folder. Opening is timed in turn with tifffile alone, which
reads and stacks the same two files; the ratio is the median of the pairs.

    python benchmarks/plate_scan.py
"""

import statistics
import string
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tifffile

from napari_why.images import read, scan_plate

ROWS, COLUMNS, FIELDS, CHANNELS = 16, 24, 9, 2
SIZE, REPEATS = 2160, 25


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


def opening(folder: Path, compression: str | None) -> str:
    """Compare opening a field with tifffile alone, in words."""
    paths = make_field(folder, compression)
    pairs = [
        (
            seconds(lambda: read(paths[0])),
            seconds(lambda: np.stack(list(map(tifffile.imread, paths)))),
        )
        for _ in range(REPEATS + 1)
    ][1:]
    ours, alone = (statistics.median(times) * 1e3 for times in zip(*pairs, strict=True))
    ratio = statistics.median(mine / other for mine, other in pairs)
    return f"{ours:.1f} ms, tifffile {alone:.1f} ms: {ratio:.2f} (at most 1.2)"


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
        plain, packed = (opening(Path(place, str(c)), c) for c in (None, "lzw"))
    lines = (
        f"files indexed          {count} in {len(found.fields)} fields",
        f"seconds                {taken:.2f} (at most 5)",
        f"peak memory            {peak:.0f} MB (at most 200)",
        f"opening, uncompressed  {plain}",
        f"opening, LZW           {packed}",
    )
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
