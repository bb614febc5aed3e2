"""napari-why beside other programs on equal work: ratios of processor and wall time, and memory.

    python benchmarks/peers.py [--only gradients,lrp] [--sizes 64,224,512] [--repeats 7] [--large]

Peers are those of the extra ``bench`` (``pip install "napari-why[bench]"``); a row says where one is not
installed. Every row runs in a process of its own (forked, so on Linux and macOS alone). There both sides
take turns in one process, so that whatever else the computer does meanwhile falls on both, and the
medians of their times are divided: above 1, ours is quicker. The memory is what a first run takes beside
what was there before it, each side in a process of its own. Times of the processor count what this
process did; what other programs do to caches and memory counts too, on a busy machine.

Both sides get the same weights. Ours gets the network as it is frozen, peers the same in torch's own
layout, since that is how they would be given one.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import growth
import import_time
import occlusion as occlusion_benchmark
import peer_pairs
import series
import torch
from side_by_side import HEADER, Pair, in_a_process, installed, measure

from napari_why.cli import VERBS

OTHERS = ("occlusion", "series", "growth", "start")


def write_occlusions(large: bool) -> None:
    """Print the table of ``occlusion.py``: both sides are sampled there."""
    cases = ["cam_net:224", "cam_net:512", "iresnet:224", "iresnet:512"]
    cases += ["resnext50:224", "cam_net:1080", "cam_net:2160"] if large else []
    print(f"\n## Occlusion beside captum's (processor time)\n\n{occlusion_benchmark.HEADER}")
    for case in cases:
        name, _, size = case.partition(":")
        row = occlusion_benchmark.measure(name, int(size), 2, 96, time.process_time)
        print(occlusion_benchmark.line_of(row), flush=True)


def write_starts(repeats: int) -> None:
    """Print what it takes to start each verb of the shell and to import the dock, beside torch alone."""
    print("\n## Start-up, seconds of the processor and of the wall (median)\n")
    print("| what | processor | wall |\n|---|---|---|")
    commands = {"python -c 'import torch'": ["-c", "import torch"]}
    for verb in VERBS:
        commands[f"napari-why {verb.name} --help"] = ["-m", "napari_why.cli", verb.name, "--help"]
    for title, command in commands.items():
        runs = [time_process([sys.executable, *command]) for _ in range(repeats)]
        _write_start(title, runs)
    if installed("napari") is not None:
        module = "napari_why.widgets.why_dock"
        runs = [import_time.measure(module) for _ in range(repeats)]
        _write_start(f"import {module}", [(run["processor"], run["wall"]) for run in runs])


def _write_start(title: str, runs: list[tuple[float, float]]) -> None:
    processor, wall = (statistics.median(column) for column in zip(*runs, strict=True))
    print(f"| `{title}` | {processor:.2f} | {wall:.2f} |", flush=True)


def time_process(command: list[str]) -> tuple[float, float]:
    """Return the processor and wall seconds of a program."""
    before, wall = os.times(), time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    after = os.times()
    processor = after.children_user + after.children_system
    processor -= before.children_user + before.children_system
    return processor, time.perf_counter() - wall


def write_series(size: int) -> None:
    """Print what a counterfactual series costs, in forward passes, as ``series.py`` does."""
    print("\n## Counterfactual series\n", flush=True)
    options = argparse.Namespace(size=size, steps=11, images=24, repeats=3, seed=0)
    series.cost(series.fitted(size, options.images, options.seed, "none"), options)


def main() -> None:
    """Print the tables that are asked for."""
    options = arguments()
    torch.set_num_threads(options.threads)
    warnings.simplefilter("ignore")  # of peers, about hooks that they set
    sizes = tuple(map(int, options.sizes.split(",")))
    print(f"torch {torch.__version__}, {options.threads} thread(s), {options.repeats} runs a side")
    with tempfile.TemporaryDirectory() as folder:
        tables: dict[str, Callable[[], Iterator[Pair]]] = {
            "gradients": lambda: peer_pairs.gradients(sizes),
            "cam": lambda: peer_pairs.class_activation(sizes),
            "lrp": lambda: peer_pairs.relevance(sizes),
            "inverse": lambda: peer_pairs.inverses(sizes),
            "training": lambda: peer_pairs.trainings(sizes),
            "opening": lambda: peer_pairs.openings(Path(folder), options.field),
        }
        wanted = options.only.split(",") if options.only else [*tables, *OTHERS]
        if any(name in tables for name in wanted):
            print(f"\n{HEADER}", flush=True)
        for name in [name for name in tables if name in wanted]:
            for pair in tables[name]():
                row = in_a_process(lambda pair=pair: measure(pair, options.repeats))
                print(row.line(), flush=True)
    if "occlusion" in wanted:
        write_occlusions(options.large)
    if "series" in wanted:
        in_a_process(lambda: write_series(min(sizes)))
    if "growth" in wanted:
        growth.write_tables(options.repeats)
    if "start" in wanted:
        write_starts(options.starts)


def arguments() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--only",
        default="",
        help=f"of gradients, cam, lrp, inverse, training, opening, {', '.join(OTHERS)}",
    )
    parser.add_argument("--sizes", default="64", help="pixels a side, separated by commas")
    parser.add_argument("--field", type=int, default=2160, help="pixels a side of an opened field")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--starts", type=int, default=1, help="starts of each verb of the shell")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--large", action="store_true", help="occlusion of 1080 and 2160 px too")
    return parser.parse_args()


if __name__ == "__main__":
    main()
