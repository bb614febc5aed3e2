"""What each part of a training gains: the default, and one thing at a time done otherwise.

    python benchmarks/training_steps.py ../shared/data/leigh-ds-tt --seeds 11 12 --out FOLDER
        [--network iresnet] [--epochs 4] [--set label_smoothing=0] [--only bfloat16 "2 epochs"]

Every training is that of ``why.fit``, in a process of its own, with the same split by well for all trainings of a
seed; the lock test is run once for each seed and not timed. Timed is all from opening the data set to the trained
network, in seconds of processors (compilers' too) and of the wall, and the training alone, images at hand, in
seconds of processors. Ratios are to the default with the same seed, below 1 where it took less; "default once
more" tells what chance and other work on the machine make of a ratio.

What is in FOLDER already is not trained again, so that a run that was stopped goes on.
"""

import argparse
import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from classifiers import measure
from torch import Tensor, nn

import napari_why as why
from napari_why.datasets.image_store import ImageStore
from napari_why.datasets.preprocessing import Preprocessing
from napari_why.fitting.fit_options import FitOptions
from napari_why.fitting.lock_test import can_lock, lock_test
from napari_why.model.classifier import Classifier
from napari_why.networks import Network, build_network
from napari_why.networks.iresnet import IResNet
from napari_why.networks.modules import ActNorm
from napari_why.networks.network import TrainingPass
from napari_why.training import Examples, examples_of, train_network
from napari_why.training.examples import MEMORY_SHARE

# the rate of the epochs that follow a training on smaller images, as a part of the usual one: a choice
FINISHING = 0.25
# power iterations after kernels came from another size of maps: as many as a new network does
NEW_NORMS = 10
FIGURES = ["accuracy", "z_prime", "z_prime_wells"]
TIMES = ["processor", "wall", "training"]
REFERENCE = "default"


@dataclass(frozen=True)
class Job:
    """A training to be done in a process of its own."""

    data: Path
    label: str
    network: str
    seed: int
    options: Mapping[str, Any]
    locked: str


@dataclass(frozen=True)
class Change:
    """What one training does otherwise than the default.

    Parameters
    ----------
    name : str
        For the table.
    options : mapping
        Of the fit.
    parameters : mapping
        Of the network.
    memory_share : float
        Of the free memory, for images that are ready for the network; 0 makes them anew in every epoch.
    keeps_pixels : bool
        Whether the pixels of files are kept once they were decoded.
    prepare : callable, optional
        Told the network before it is trained.
    small_first : bool
        Whether all epochs but the last one see images of half the size.
    networks : tuple of str
        For which alone it has a meaning; all when empty.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    memory_share: float = MEMORY_SHARE
    keeps_pixels: bool = True
    prepare: Callable[[Network], None] | None = None
    small_first: bool = False
    networks: tuple[str, ...] = ()


def keep_layout(network: Network) -> None:
    """Leave weights as torch lays them out, in this process: it trains no other network."""
    type(network).channels_last = False


def compile_passes(network: Network) -> None:
    """Compile what a training step runs of the network, once a first batch has set what batches set."""
    plain = network.training_pass

    def run_first(x: Tensor) -> TrainingPass:
        found = plain(x)
        for norm in [module for module in network.modules() if isinstance(module, ActNorm)]:
            # set by now, and not to be asked about in each pass, which would break the graph
            norm.train(mode=False)
            norm.__dict__["train"] = partial(_stay, norm)
        # in place of the method, since nn.Module.compile compiles forward alone, which no training calls
        network.__dict__["training_pass"] = torch.compile(plain)
        return found

    network.__dict__["training_pass"] = run_first


def _stay(module: nn.Module, mode: bool = True) -> nn.Module:
    del mode
    return module


def changes(epochs: int, size: int) -> list[Change]:
    """Return the trainings of the table; the default first."""
    steady = {"schedule": "step", "step_size": 3 * epochs, "step_decay": 1.0}
    halfway = {"schedule": "step", "step_size": max(1, epochs // 2), "step_decay": 0.2}
    halved, tripled = {"epochs": max(1, epochs // 2)}, {"epochs": 3 * epochs}
    return [
        Change(REFERENCE),
        Change("default once more"),
        Change("constant learning rate", steady),
        Change("learning rate cut to a fifth halfway", halfway),
        Change(f"{halved['epochs']} epochs", halved),
        Change(f"{3 * epochs} epochs", tripled),
        Change(f"{3 * epochs} epochs, constant learning rate", steady | tripled),
        Change("weights not averaged", {"averaging": 0.0}),
        Change("images resized anew in every epoch", memory_share=0.0),
        Change(
            "images decoded and resized anew in every epoch", memory_share=0.0, keeps_pixels=False
        ),
        Change(
            "5 power iterations a step", parameters={"power_iterations": 5}, networks=("iresnet",)
        ),
        Change("torch's own layout of weights", prepare=keep_layout),
        Change("torch.compile", prepare=compile_passes),
        Change("bfloat16", {"precision": "bfloat16"}),
        Change("bfloat16, torch's own layout", {"precision": "bfloat16"}, prepare=keep_layout),
        Change(f"centres of {size} px at full resolution", {"sizing": "crop"}),
        Change(f"half the size ({size // 2} px)", {"size": size // 2}),
        Change(f"half the size, the last epoch at {size} px", small_first=True),
    ]


def main() -> None:
    """Train what is not there yet, each in its turn, and print the table."""
    arguments = parse_arguments()
    arguments.out.mkdir(parents=True, exist_ok=True)
    known = changes(arguments.epochs, arguments.size)
    unknown = set(arguments.only) - {change.name for change in known}
    if unknown:
        names = ", ".join(change.name for change in known)
        raise SystemExit(f"--only: found {', '.join(sorted(unknown))}; expected some of {names}")
    chosen = [
        change
        for change in known
        if not change.networks or arguments.network in change.networks
        if not arguments.only or change.name in (REFERENCE, *arguments.only)
    ]
    rows = []
    for seed in arguments.seeds:
        job = plan_job(arguments, seed)
        for change in chosen:
            place = arguments.out / f"{arguments.network}-{seed}-{change.name.replace(' ', '_')}"
            found = done_in_a_process(job, change, place.with_suffix(".json"))
            rows.append({"change": change.name, "seed": seed} | found)
            print(describe(rows[-1]), flush=True)
    print()
    print("\n".join(table(pd.DataFrame(rows))))


def plan_job(arguments: argparse.Namespace, seed: int) -> Job:
    """Return what all trainings of a seed share: options, and the channels that are locked."""
    options: dict[str, Any] = {"size": arguments.size, "epochs": arguments.epochs, "seed": seed}
    for text in arguments.set:
        name, _, value = text.partition("=")
        options[name] = json.loads(value)
    job = Job(arguments.data, arguments.label, arguments.network, seed, options, locked="")
    record = arguments.out / f"{arguments.network}-{seed}-locked.json"
    if not record.is_file():
        record.write_text(json.dumps(in_a_process(partial(find_locked, job))))
    return Job(**{**vars(job), "locked": json.loads(record.read_text())})


def in_a_process(work: Callable[[], Any]) -> Any:
    """Return what a function does in a new process, in which nothing has run before."""
    # started anew and not forked: torch's threads do not survive a fork
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(work).result()


def done_in_a_process(job: Job, change: Change, record: Path) -> dict[str, Any]:
    """Return what a training reached and took; from its record if it was done before."""
    asked = {**job.options, **change.options, "locked": job.locked, "data": str(job.data.resolve())}
    asked |= {"parameters": dict(change.parameters), "version": why.__version__}
    asked = json.loads(json.dumps(asked))
    if record.is_file() and (before := json.loads(record.read_text()))["asked"] == asked:
        return dict(before["found"])
    try:
        found = in_a_process(partial(train, job, change))
    except Exception as error:  # noqa: BLE001 - of any part of torch; the other rows are wanted too
        lines = [line for line in str(error).splitlines() if line.strip()]
        return {"note": f"failed: {type(error).__name__}: {' '.join(lines)[:160]}"}
    record.write_text(json.dumps({"asked": asked, "found": found}, indent=1))
    return dict(found)


def find_locked(job: Job) -> str:
    """Return the indices of the channels that the lock test locks, as the network takes them."""
    if not can_lock(job.network):
        return ""
    dataset = split(job)
    images, _ = examples(dataset, preprocessing_of(dataset, options_of(job)), Change(REFERENCE))
    outcome = lock_test(dataset.part("train"), images, dataset.channels, seed=job.seed)
    locked = outcome.locked if outcome else ()
    return ",".join(str(dataset.channels.index(name)) for name in locked)


def train(job: Job, change: Change) -> dict[str, Any]:
    """Train once; return seconds and what the test images and wells say."""
    # compiled in this process, whose seconds are counted, and kept for nobody
    os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as cache:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = cache
        before = seconds()
        dataset = split(job)
        if not change.keeps_pixels:
            dataset = without_kept_pixels(dataset)
        runs = plan_runs(job, change)
        network, training = new_network(dataset, job, change, runs[0]), 0.0
        for options in runs:
            if options is not runs[0]:
                network = enlarged(network, new_network(dataset, job, change, options))
            preprocessing = preprocessing_of(dataset, options)
            images, watched = examples(dataset, preprocessing, change)
            if change.prepare is not None:
                change.prepare(network)
            begun = seconds()[0]
            result = train_network(network, images, watched, options)
            training += seconds()[0] - begun
        after = seconds()
    network.__dict__.pop("training_pass", None)  # nothing compiled is asked from here on
    network.freeze()
    classifier = Classifier(network, preprocessing, dataset.classes)
    found = measure(classifier, dataset, "test")
    return {name: found[name] for name in FIGURES} | {
        "processor": after[0] - before[0],
        "wall": after[1] - before[1],
        "training": training,
        "epoch": result.best_epoch,
        "locked": job.locked,
    }


def plan_runs(job: Job, change: Change) -> list[FitOptions]:
    """Return the options of the training, or of the two that follow each other."""
    options = options_of(job, change)
    if not change.small_first:
        return [options]
    small = options_of(job, change, size=options.size // 2, epochs=max(1, options.epochs - 1))
    rate = FINISHING * options.learning_rate
    return [small, options_of(job, change, epochs=1, learning_rate=rate)]


def enlarged(trained: Network, network: Network) -> Network:
    """Return a network for images of another size with the weights of one that was trained."""
    own = network.state_dict()
    # all but the directions of the norms, which belong to a size of maps
    fitting = {n: v for n, v in trained.state_dict().items() if v.shape == own[n].shape}
    network.load_state_dict(own | fitting)
    if isinstance(network, IResNet):
        network.iterate_norms(NEW_NORMS)
    return network


def examples(
    dataset: why.Dataset, preprocessing: Preprocessing, change: Change
) -> tuple[Examples, Examples]:
    """Return the images to train on, and those to validate with."""
    images, watched = (
        examples_of(
            dataset.part(name), preprocessing, dataset.classes, memory_share=change.memory_share
        )
        for name in ("train", "validation")
    )
    assert images is not None and watched is not None  # nobody cancels here
    return images, watched


def without_kept_pixels(dataset: why.Dataset) -> why.Dataset:
    """Return the same data set, whose files are read whenever an image is asked for."""
    sources = []
    for position in dataset.positions:
        source, _ = dataset.store.source(position)
        sources.append((source,) if isinstance(source, Path) else source)
    store = ImageStore(sources, channels=dataset.channels, kept_bytes=0)
    return replace(dataset, store=store, positions=tuple(range(len(sources))))


def new_network(dataset: why.Dataset, job: Job, change: Change, options: FitOptions) -> Network:
    """Return the network as its seed makes it."""
    parameters = dict(change.parameters) | ({"locked": job.locked} if job.locked else {})
    return build_network(
        job.network,
        input_channels=len(dataset.channels),
        classes=len(dataset.classes),
        size=options.size,
        seed=options.seed,
        **parameters,
    )


def options_of(job: Job, change: Change | None = None, **further: Any) -> FitOptions:
    """Return the options of the fit, the network's own where they are open."""
    given = {**job.options, **(change.options if change else {}), **further}
    return FitOptions(**given).for_network(job.network)


def split(job: Job) -> why.Dataset:
    """Return the data set, split by well as the seed says."""
    return why.Dataset.open(job.data, label=job.label).split(seed=job.seed, redraw=True)


def preprocessing_of(dataset: why.Dataset, options: FitOptions) -> Preprocessing:
    """Return what makes images ready, fitted on the training images."""
    return Preprocessing.from_dataset(
        dataset,
        size=options.size,
        fit=options.sizing,
        intensity=options.intensity,
        channels=dataset.channels,
    )


def seconds() -> tuple[float, float]:
    """Return the seconds of all processors so far, those of ended children too, and of the wall."""
    return sum(os.times()[:4]), time.perf_counter()


def describe(row: dict[str, Any]) -> str:
    """Return one line about one training."""
    if "note" in row:
        return f"{row['change']}, seed {row['seed']}: {row['note']}"
    figures = ", ".join(f"{name} {row[name]:.3f}" for name in FIGURES)
    times = ", ".join(f"{row[name]:.1f} s {name}" for name in TIMES)
    return f"{row['change']}, seed {row['seed']}: {figures}, {times}"


def table(rows: pd.DataFrame) -> list[str]:
    """Return a row for each change: figures by seed, seconds and ratios as means over the seeds."""
    heads = ["change", "accuracy of images", "Z' of images", "Z' of wells"]
    heads += ["processor, s", "wall, s", "training alone, processor, s"]
    heads += ["ratio, processor", "ratio, wall", "ratio, training alone", "note"]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    default = rows[rows["change"] == REFERENCE].set_index("seed")
    for name, every in rows.groupby("change", sort=False):
        own = every.set_index("seed")
        note = next((text for text in own.get("note", pd.Series()) if isinstance(text, str)), "")
        cells = [", ".join(f"{value:.3f}" for value in own[figure]) for figure in FIGURES]
        cells += [f"{own[time].mean():.1f}" for time in TIMES]
        # ratios first and their mean then: every seed has images of its own to train on
        cells += [f"{(own[time] / default[time]).mean():.2f}" for time in TIMES]
        lines.append(f"| {name} | {' | '.join(cells)} | {note} |".replace("nan", "–"))
    return lines


def parse_arguments() -> argparse.Namespace:
    """Return the options of the command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--label", default="label", help="column of the table that holds classes")
    parser.add_argument("--network", default="iresnet")
    parser.add_argument("--seeds", nargs="+", type=int, default=[11, 12])
    parser.add_argument("--size", type=int, default=112)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument(
        "--set",
        nargs="*",
        default=["label_smoothing=0"],
        metavar="NAME=VALUE",
        help="further options of the fit, values as JSON",
    )
    parser.add_argument("--only", nargs="*", default=[], metavar="CHANGE")
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    main()
