"""Time ``import napari_why`` in fresh processes, and name what it loads.

    python benchmarks/import_time.py [--repeats 15] [--module napari_why.fitting]

Each process times the statement itself, without the start of the interpreter; the least and the
median of the repeats are printed, in wall and in processor seconds. The wall time means something
on an idle machine only.
"""

import argparse
import json
import statistics
import subprocess
import sys
from typing import Any

HEAVY = (
    "torch",
    "napari",
    "qtpy",
    "PySide6",
    "pandas",
    "numpy",
    "xarray",
    "torchvision",
    "sklearn",
)
MEASURED = """
import json, sys, time
wall, processor = time.perf_counter(), time.process_time()
__import__(sys.argv[1])
print(json.dumps({
    "wall": time.perf_counter() - wall,
    "processor": time.process_time() - processor,
    "loaded": sorted(sys.modules),
}))
"""


def measure(module: str) -> dict[str, Any]:
    """Import the package, or a module of it, in a new process."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, module], capture_output=True, text=True, check=True
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description="time of import napari_why")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--module", default="napari_why")
    options = parser.parse_args()
    repeats, module = options.repeats, options.module
    runs = [measure(module) for _ in range(repeats)]
    for kind in ("wall", "processor"):
        times = [run[kind] for run in runs]
        print(
            f"import {module}, {kind} time, {repeats} processes: "
            f"least {min(times):.3f} s, median {statistics.median(times):.3f} s"
        )
    loaded = [name for name in HEAVY if name in runs[0]["loaded"]]
    print(f"heavy packages loaded by it: {', '.join(loaded) or 'none'}")


if __name__ == "__main__":
    main()
