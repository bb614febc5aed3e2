"""Time every verb of the shell in fresh processes: to its first work and to its end.

    python benchmarks/start_up.py [--repeats 5] [--only help,inspect,predict]

A small invertible network and 24 images of 32 pixels are made first, so that what is timed is mostly the
start. The first work is the first event that a verb tells of; help and the description of one image tell
of none. The rows in front are what cannot be gone below: Python alone, the help of a program of one
option made with typer, the import of torch. Medians of the repeats; on a busy machine the processor
seconds say more than the wall's, and the ratio to the row in front that a verb begins with
says most. The package is compiled first, as pip does where it installs one: where Python may not write its bytecode
(PYTHONDONTWRITEBYTECODE), every process would compile anew what it imports.
"""

import argparse
import compileall
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import napari_why

# Runs in a new process: notes wall and processor seconds since its start, at the first event and at the end.
WATCHED = """
import json, sys, time
begun, place = float(sys.argv[1]), sys.argv[2]
times = {}

def note(name):
    times.setdefault(name, (time.time() - begun, time.process_time()))

def run(arguments):
    from napari_why.cli import long_work, main
    plain = long_work.LongWork.on_event

    def on_event(self, event):
        note("first")
        plain(self, event)

    long_work.LongWork.on_event = on_event
    main(arguments)

try:
    BODY
finally:
    note("whole")
    with open(place, "w") as file:
        json.dump(times, file)
"""
SMALLEST_PROGRAM = """
    import typer
    from typing import Annotated
    application = typer.Typer(add_completion=False)
    @application.command()
    def show(times: Annotated[int, typer.Option(help="How often.")] = 1) -> None:
        "Show."
    application(["--help"])
"""
PYTHON, TYPER, TORCH = "python", "typer, --help", "import torch"
FLOORS = {PYTHON: "pass", TYPER: SMALLEST_PROGRAM.strip(), TORCH: "import torch"}
# These read and compute nothing with torch.
LIGHT = ("inspect",)
# Of the simulated images.
TARGET, CHANNEL = "treated", "TMRM"
TINY = {"blocks": "1,1", "widths": "4,8", "downscaling": "2,2"}


@dataclass(frozen=True)
class Run:
    """Wall and processor seconds, to the first event (None where there was none) and to the end."""

    first: tuple[float, float] | None
    whole: tuple[float, float]


def run_once(body: str, arguments: Sequence[str], folder: Path) -> Run:
    """Run a command in a new process."""
    place = folder / "times.json"
    place.unlink(missing_ok=True)
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            WATCHED.replace("BODY", body),
            str(time.time()),
            str(place),
            *arguments,
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
    )
    times = json.loads(place.read_text())
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(arguments) or body}: {done.stderr}")
    return Run(times.get("first"), times["whole"])


def make_data(folder: Path) -> None:
    """Write simulated images and a classifier of them."""
    from napari_why.core.events import ignore_event
    from napari_why.datasets import Dataset
    from napari_why.fitting import fit
    from napari_why.simulation import simulate_to_folder

    simulate_to_folder(folder / "images", 24, size=32, wells=12)
    classifier = fit(
        Dataset.open(folder / "images"),
        size=32,
        epochs=1,
        lock="none",
        pixel_maps=False,
        network_parameters=TINY,
        on_event=ignore_event,
    )
    classifier.save(folder / "model")


def list_commands(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield name and arguments of what is timed, with paths in the folder of the data."""
    from napari_why.cli import VERBS

    for verb in VERBS:
        yield f"{verb.name} --help", [verb.name, "--help"]
    image, other = (str(path) for path in sorted(folder.rglob("*.ome.tif"))[:2])
    small = [f"--{name}={value}" for name, value in TINY.items()]
    train = ["--size=32", "--epochs=1", "--lock=none", "--no-pixel-maps", "--out=trained", *small]
    of_image = {
        "attribute": ["--out=map.ome.tif"],
        "counterfactual": ["--out=series.ome.tif", "--steps=2"],
        "reconstruct": [],
        "explain-many": ["--out=many"],
        "measure": ["--out=measured", "--no-figures"],
        "predict": [],
    }
    yield "inspect, an image", ["inspect", image]
    yield "inspect, a folder", ["inspect", "images"]
    yield "train", ["train", "images", "--overwrite", *train]
    yield "evaluate", ["evaluate", "model", "images", "--no-nulls"]
    for name, options in of_image.items():
        again = ["--overwrite"] if options else []
        yield name, [name, "model", image, *again, *options]
    yield "predict, two images", ["predict", "model", image, other]
    yield (
        "class-maps",
        ["class-maps", "model", "images", "--out=maps", "--overwrite", "--no-figure"],
    )
    yield "latent-space", ["latent-space", "model", "images", "--out=space", "--overwrite"]
    yield (
        "prototype",
        ["prototype", "model", f"--target={TARGET}", "--out=made.ome.tif", "--overwrite"],
    )
    yield "rerun", ["rerun", "map.ome.tif", "--model=model"]
    yield from list_makers(image)


def list_makers(image: str) -> Iterator[tuple[str, list[str]]]:
    """Yield name and arguments of the verbs that train makers of images, use them and pass models on."""
    short = ["images", "--size=32", "--epochs=1", "--overwrite"]
    yield "train-generator", ["train-generator", *short, "--widths=8,4", "--out=generator"]
    for verb in ("sample", "interpolate-codes"):
        made = [f"--label={TARGET}", f"--out={verb}.ome.tif", "--overwrite"]
        yield verb, [verb, "generator", *made]
    for verb in ("train-translation", "train-flow"):
        yield verb, [verb, "model", *short[:1], *short[2:], f"--out={verb}"]
    yield (
        "train-predictor",
        ["train-predictor", *short, f"--channel={CHANNEL}", "--out=predictor"],
    )
    written = ["--out=predicted.ome.tif", "--overwrite"]
    yield "predict-channel", ["predict-channel", "predictor", image, *written]
    yield "export", ["export", "model", "--to=huggingface", "--out=exported", "--overwrite"]


def describe(name: str, runs: Sequence[Run], floor: tuple[str, float] | None) -> str:
    """Return one row of the table."""
    firsts = [run.first for run in runs if run.first is not None]
    cells = [name]
    for times in (firsts, [run.whole for run in runs]):
        cells += [
            f"{statistics.median(time[kind] for time in times):.2f}" if times else "–"
            for kind in (0, 1)
        ]
    if floor is None:
        return f"| {' | '.join(cells)} | |"
    about, least = floor
    reached = statistics.median(run.whole[1] for run in runs)
    return f"| {' | '.join(cells)} | {reached / least:.1f} x {about} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="time of every verb of the shell")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", default="", help="parts of names, with commas between")
    options = parser.parse_args()
    wanted = [part.strip() for part in options.only.split(",") if part.strip()]
    compileall.compile_dir(str(Path(napari_why.__file__).parent), quiet=1)
    # a terminal of usual width, whatever this one is
    os.environ["COLUMNS"] = "100"
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        make_data(folder)
        print(
            "| command | first work, wall s | processor s | all, wall s | processor s | processor |"
        )
        print("|---|---|---|---|---|---|")
        floors = {}
        for name, body in FLOORS.items():
            runs = [run_once(body, [], folder) for _ in range(options.repeats)]
            floors[name] = statistics.median(run.whole[1] for run in runs)
            print(describe(name, runs, None), flush=True)
        for name, arguments in list_commands(folder):
            if wanted and not any(part in name for part in wanted):
                continue
            runs = [
                run_once("run(sys.argv[3:])", arguments, folder) for _ in range(options.repeats)
            ]
            floor = TYPER if arguments[-1] == "--help" or arguments[0] in LIGHT else TORCH
            print(describe(name, runs, (floor, floors[floor])), flush=True)


if __name__ == "__main__":
    main()
