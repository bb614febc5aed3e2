"""Train networks as their defaults say, over splits by well or by plate, and print what they reach.

    python benchmarks/classifiers.py ../shared/data/leigh-ds-wt --networks iresnet cam_net \
        --seeds 0 1 2 --by well --size 112 --intensity log1p --out FOLDER [--set jitter=0 epochs=40]
        [--parts validation]

Steps as ``why.fit`` has them up to the trained network, the lock test included, without what only
explanations need: the same options and seed give the same network. Prints one row a training and
mean and spread of each network; ``z_prime_kept`` is that of images without those that are flagged for
what they show (``flagged`` of them), by a rule that looks at the image alone. What is in FOLDER already is
not trained again, so that a run that was stopped goes on and ``--parts validation test`` looks at the test images of what was chosen by the others.
"""

import argparse
import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import napari_why as why
from napari_why.core.options import parameters_of
from napari_why.datasets.preprocessing import Preprocessing
from napari_why.fitting.after_training import part_of
from napari_why.fitting.fit_options import FitOptions
from napari_why.fitting.held_out_metrics import flag_images
from napari_why.fitting.lock_test import can_lock, lock_test
from napari_why.model.classifier import Classifier
from napari_why.model.image_facts import ImageFacts
from napari_why.networks import build_network
from napari_why.training import (
    CheckpointFolder,
    classification_metrics,
    examples_of,
    train_network,
)
from napari_why.training.metrics import metrics_of_kept, z_prime

BATCH = 32  # images measured at once
FIGURES = ["accuracy", "wells", "z_prime", "z_prime_kept", "flagged", "z_prime_wells", "loss"]


@dataclass(frozen=True)
class Case:
    """One training: a network, a split and a seed."""

    network: str
    name: str
    seed: int
    dataset: why.Dataset


def main() -> None:
    """Train what is not there yet, measure, print."""
    arguments = parse_arguments()
    dataset = why.Dataset.open(arguments.data, label=arguments.label)
    rows = []
    for case in planned_cases(dataset, arguments):
        options = options_of(case, arguments)
        place = arguments.out / f"{case.network}-{case.name}-{case.seed}"
        facts = trained(case, options, place)
        classifier = why.load(place)
        for part in arguments.parts:
            row = {"network": case.network, "split": case.name, "seed": case.seed, "part": part}
            rows.append(row | measure(classifier, case.dataset, part) | facts)
            print(describe(rows[-1]), flush=True)
    print()
    print("\n".join(summary(pd.DataFrame(rows))))


def planned_cases(dataset: why.Dataset, arguments: argparse.Namespace) -> Iterator[Case]:
    """Go round seeds first, so that an early end leaves every network with some."""
    for seed in arguments.seeds:
        if arguments.by == "well":
            splits = {"well": dataset.split(seed=seed, redraw=True)}
        else:
            folds = dataset.folds(by="plate", seed=seed)
            splits = {f"plate{index}": fold for index, fold in enumerate(folds, start=1)}
        for name, split in splits.items():
            for network in arguments.networks:
                yield Case(network, name, seed, split)


def options_of(case: Case, arguments: argparse.Namespace) -> FitOptions:
    """Return the network's defaults with what the command line says about them."""
    kinds = {parameter.name: parameter.type for parameter in parameters_of(FitOptions)}
    changes: dict[str, Any] = {}
    parameters: dict[str, Any] = {}
    for text in arguments.set:
        name, _, value = text.partition("=")
        if name in kinds:
            changes[name] = value == "true" if kinds[name] is bool else kinds[name](value)
        else:  # a network's own, such as head=linear
            parameters[name] = value
    chosen = FitOptions(
        size=arguments.size,
        intensity=arguments.intensity,
        seed=case.seed,
        network_parameters=parameters,
        **changes,
    )
    return chosen.for_network(case.network)


def trained(case: Case, options: FitOptions, place: Path) -> dict[str, Any]:
    """Train and save, unless that was done with these options; return epochs and seconds."""
    record = place.with_suffix(".json")
    asked = json.loads(json.dumps(options.to_dict()))
    if record.is_file() and (before := json.loads(record.read_text()))["options"] == asked:
        return dict(before["facts"])
    started = time.perf_counter()
    dataset = case.dataset
    train_part = dataset.part("train")
    preprocessing = Preprocessing.from_dataset(
        dataset,
        size=options.size,
        fit=options.sizing,
        intensity=options.intensity,
        channels=dataset.channels,
    )
    train = examples_of(train_part, preprocessing, dataset.classes)
    validation = examples_of(dataset.part("validation"), preprocessing, dataset.classes)
    assert train is not None and validation is not None  # nobody cancels here
    parameters = dict(options.network_parameters or {})
    locked: tuple[str, ...] = ()
    if options.lock == "auto" and can_lock(case.network):
        outcome = lock_test(train_part, train, dataset.channels, seed=options.seed)
        locked = outcome.locked if outcome else ()
        if locked:
            places = (str(dataset.channels.index(name)) for name in locked)
            parameters["locked"] = ",".join(places)
    network = build_network(
        case.network,
        input_channels=len(dataset.channels),
        classes=len(dataset.classes),
        size=options.size,
        seed=options.seed,
        **parameters,
    )
    # an epoch at a time: a run that is stopped goes on where it was
    steps = place.with_suffix(".checkpoints")
    checkpoints = CheckpointFolder.of(steps, resume=True)
    result = train_network(network, train, validation, options, checkpoints=checkpoints)
    result.network.freeze()
    Classifier(result.network, preprocessing, dataset.classes).save(place, overwrite=True)
    shutil.rmtree(steps)
    facts = {
        "best": result.best_epoch,
        "epochs": len(result.history),
        "locked": ",".join(locked),
        "seconds": round(time.perf_counter() - started),
    }
    history = {"history": list(result.history)}
    record.write_text(json.dumps({"options": asked, "facts": facts, **history}, indent=1))
    return facts


def measure(classifier: why.Classifier, dataset: why.Dataset, part: str) -> dict[str, float]:
    """Return accuracy, Z' and loss of a part; of wells by the median of their images.

    Z' also without the images that are flagged: hardly any cells, out of focus, saturated.
    """
    images = part_of(dataset, part)
    assert images is not None  # splits by well and by plate leave none empty
    examples = examples_of(images, classifier.preprocessing, classifier.classes)
    assert examples is not None
    labels = examples.labels.numpy()
    chunks = np.array_split(np.arange(len(labels)), -(-len(labels) // BATCH))
    logits = [classifier.network(examples.images(chunk.tolist())).numpy() for chunk in chunks]
    scores = np.concatenate(logits).astype(np.float64)
    odds = scores - scores.max(axis=1, keepdims=True)
    probabilities = np.exp(odds) / np.exp(odds).sum(axis=1, keepdims=True)
    found = classification_metrics(labels, probabilities, classifier.classes)
    frame = images.table[list(images.group_columns)].astype(str).assign(label=labels)
    frame = frame.reset_index(drop=True).assign(score=probabilities[:, -1])
    # the median: one nearly empty field among the images of a well does not move it
    wells = frame.groupby([*images.group_columns, "label"])["score"].median().reset_index()
    first, last = (wells["label"] == label for label in (0, len(classifier.classes) - 1))
    facts = ImageFacts.measure(dataset.part("train"), classifier.preprocessing)
    flags = flag_images(facts, images, classifier.preprocessing)
    kept = np.array([not kinds for kinds in flags])
    of_kept = metrics_of_kept(labels, probabilities, classifier.classes, kept)["images"]
    right = (wells["score"] > 0.5) == (wells["label"] == len(classifier.classes) - 1)
    return {
        "accuracy": found["accuracy"],
        "wells": float(right.mean()),
        "z_prime": known(found["z_prime"]),
        "z_prime_kept": known(None if of_kept is None else of_kept["z_prime"]),
        "flagged": float((~kept).sum()),
        "z_prime_wells": known(
            z_prime(wells["score"][first].to_numpy(), wells["score"][last].to_numpy())
        ),
        "loss": float(-np.log(probabilities[np.arange(len(labels)), labels].clip(1e-12)).mean()),
    }


def known(figure: float | None) -> float:
    """Return NaN for a figure that too few images leave unknown."""
    return float("nan") if figure is None else figure


def describe(row: dict[str, Any]) -> str:
    """Return one line of the table."""
    figures = " | ".join(f"{row[name]:.3f}" for name in FIGURES)
    trained_as = f"{row['best']} of {row['epochs']} | {row['locked'] or '-'} | {row['seconds']}"
    names = f"{row['network']} | {row['split']} | {row['seed']} | {row['part']}"
    return f"| {names} | {figures} | {trained_as} |"


def summary(rows: pd.DataFrame) -> list[str]:
    """Return mean and standard deviation over the trainings of each network, a row each."""
    lines = ["| network | part | trainings | " + " | ".join([*FIGURES, "seconds"]) + " |"]
    lines.append("|---" * (len(FIGURES) + 4) + "|")
    for (network, part), own in rows.groupby(["network", "part"], sort=False):
        cells = [f"{own[name].mean():.3f} ± {own[name].std():.3f}" for name in FIGURES]
        seconds = f"{own['seconds'].mean():.0f}"
        lines.append(f"| {network} | {part} | {len(own)} | " + " | ".join([*cells, seconds]) + " |")
    return lines


def parse_arguments() -> argparse.Namespace:
    """Return the options of the command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--label", default="label", help="column of the table that holds classes")
    parser.add_argument("--networks", nargs="+", default=["iresnet", "cam_net", "small_cnn"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--by", choices=["well", "plate"], default="well")
    parser.add_argument("--size", type=int, default=112)
    parser.add_argument("--intensity", choices=["linear", "log1p", "asinh"], default="linear")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE")
    parser.add_argument("--parts", nargs="+", default=["validation", "test"])
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    main()
