"""What translations between classes are worth beside the transport, of one network and for one budget.

    python benchmarks/translations.py [DATA] [--effect translocation] [--tile 0] [--size 64] [--epochs 12]
        [--translation-epochs 60] [--flow-epochs 200] [--methods transport,translation,flow] [--scored 50] [--seed 0]
        [--pictures FOLDER] [--model FOLDER]

DATA is a folder with one sub-folder a class, or a table; with ``--tile`` it is BBBC013, cut into tiles, inactive and
active. Without DATA the scenes are those of ``napari-why benchmark truth``, whose true change is known.

``napari-why benchmark truth|real --methods transport,translation,flow`` trains a network for each row, with the epochs of
its recipe. Here one classifier, trained as that of ``transport``, gets a CycleGAN and a flow of as many epochs as are
asked for: all three answer for one network with one lock. Printed for each direction and row, beside doing nothing and
one curve of grey levels: the figures of the benchmark, the mean absolute change of each channel in grey levels, and
processor seconds, of all threads, to train and for an image. ``transport`` is learnt with the classifier, whose seconds are told;
without it among the methods they are those of the network alone.
"""

import argparse
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from localisation import tiles

import napari_why as why
from napari_why.benchmark import (
    EffectData,
    Protocol,
    RealData,
    Shown,
    draw_side_by_side,
)
from napari_why.benchmark.ceilings import ChangedImages, change_by_network, do_nothing, truth
from napari_why.benchmark.data import BenchmarkData, Direction
from napari_why.benchmark.rows import RECIPES, train_reference_classifier
from napari_why.benchmark.scores import Scorer, change_trivially
from napari_why.core.errors import WhyError
from napari_why.datasets import Dataset
from napari_why.model import Classifier

METHODS = ("transport", "translation", "flow")
FIGURES = (
    "validity",
    "agreement",
    "correlation",
    "relative_error",
    "off_target",
    "feature_distance",
    "frechet_distance",
    "frechet_floor",
)
# Images of a direction in its picture: more make the panels too small to be looked at.
SHOWN = 2


@dataclass
class Cost:
    """Processor seconds."""

    seconds: float = 0.0


@contextmanager
def measured() -> Iterator[Cost]:
    """Measure a block; the wall's time would be that of whatever else runs here."""
    cost, start = Cost(), time.process_time()
    yield cost
    cost.seconds = time.process_time() - start


def main() -> None:
    """Train, change and print."""
    options = arguments()
    data = benchmark_data(options)
    classifier, costs = train(data, options)
    if options.model:
        classifier.save(options.model, overwrite=True)
    reference = train_reference_classifier(
        data.dataset,
        classifier.preprocessing,
        size=options.size,
        seed=options.seed,
        epochs=data.reference_epochs,
    )
    for direction in data.directions:
        scorer = Scorer(direction, reference, data.affected)
        made = dict(rows(classifier, data, direction, options.methods.split(",")))
        lines = [
            {"row": name, **figures(scorer, classifier, images), **costs.get(name, {})}
            for name, images in made.items()
        ]
        print(f"\n{direction.name}, {len(direction.images)} images")
        print(
            pd.DataFrame(lines).to_string(index=False, float_format="%.3f", na_rep="-"), flush=True
        )
        if options.pictures:
            draw(data, direction, made, options.pictures)


def benchmark_data(options: argparse.Namespace) -> BenchmarkData:
    """Return the images: real ones split by well, or scenes."""
    if options.data is None:
        protocol = Protocol(size=options.size, epochs=options.epochs, scored=options.scored)
        return EffectData(protocol, options.effect, options.seed)
    if options.tile:
        images = tiles(Dataset.open(options.data, label="class3"), options.tile)
    else:
        images = Dataset.open(options.data)
    return RealData(
        options.data.stem,
        images,
        options.seed,
        size=options.size,
        epochs=options.epochs,
        scored=options.scored,
    )


def train(
    data: BenchmarkData, options: argparse.Namespace
) -> tuple[Classifier, dict[str, dict[str, float]]]:
    """Return a classifier with a transport, a translation and a flow, and what each took to train."""
    methods = options.methods.split(",")
    recipe = RECIPES["locked" if "transport" in methods else "translating"]
    with measured() as of_classifier:
        classifier = why.fit(
            data.dataset,
            recipe.network,
            seed=options.seed,
            network_parameters=recipe.network_parameters,
            **{**data.fit_settings, **recipe.settings},
        )
    print(f"{len(data.dataset.part('train'))} training images")
    print(f"the classifier, with what explains it: {of_classifier.seconds:.0f} s")
    print(classifier.card["lock_test"]["sentence"], flush=True)
    costs = {}
    for method, fit, epochs in (
        ("translation", why.fit_translation, options.translation_epochs),
        ("flow", why.fit_flow, options.flow_epochs),
    ):
        if method in methods:
            with measured() as cost:
                classifier = fit(classifier, data.dataset, epochs=epochs, seed=options.seed)
            costs[method] = {"epochs": epochs, "training_s": cost.seconds}
    return classifier, costs


def rows(
    classifier: Classifier, data: BenchmarkData, direction: Direction, methods: Sequence[str]
) -> Iterator[tuple[str, ChangedImages]]:
    """Make the images of each row; say why one declines."""
    if direction.truth is not None:
        yield "TRUTH", truth(direction)
    yield "do-nothing", do_nothing(direction)
    yield (
        "grey-level-curve",
        change_trivially(classifier, data, direction, "grey_level_curve"),
    )
    for method in methods:
        try:
            with measured() as cost:
                made = change_by_network(
                    classifier, direction.images, direction.source, direction.target, method, {}
                )
        except WhyError as reason:
            print(f"{method}, {direction.name}: declined: {reason}")
            continue
        assert made is not None
        yield method, ChangedImages(made.images, made.change, seconds=cost.seconds)


def figures(scorer: Scorer, classifier: Classifier, made: ChangedImages) -> dict[str, Any]:
    """Return the figures of one row; those that need a truth are missing where there is none."""
    found = scorer.scores(made, classifier)
    changes = np.abs(made.change).mean(axis=(0, 2, 3))
    named = zip(classifier.channels, changes, strict=True)
    return {
        **{name: found[name] for name in FIGURES if not np.isnan(found[name])},
        **{f"change_{channel}": change for channel, change in named},
        "s_an_image": made.seconds / len(made.images) if made.seconds else float("nan"),
    }


def draw(
    data: BenchmarkData, direction: Direction, made: dict[str, ChangedImages], folder: Path
) -> None:
    """Draw the first images: source, counterfactual, change, and true change where it is known."""
    shown = [
        Shown(
            method,
            direction.images[index],
            made[method].images[index],
            None if direction.truth is None else direction.truth[index],
        )
        for index in range(min(SHOWN, len(direction.images)))
        for method in METHODS
        if method in made
    ]
    picture = draw_side_by_side(shown, data.dataset.channels, f"{data.name}: {direction.name}")
    folder.mkdir(parents=True, exist_ok=True)
    name = f"translations-{data.name}-{direction.name}.png".replace(" ", "-")
    picture.savefig(folder / name, dpi=80)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--effect", default="translocation", help="of simulated scenes")
    parser.add_argument("--tile", type=int, default=0, help="pixels of a tile of BBBC013")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=12, help="of the classifier")
    parser.add_argument("--translation-epochs", type=int, default=60)
    parser.add_argument("--flow-epochs", type=int, default=200)
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--scored", type=int, default=50, help="images a direction, at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pictures", type=Path, help="folder for a picture a direction")
    parser.add_argument("--model", type=Path, help="folder to save the classifier in")
    return parser.parse_args()


if __name__ == "__main__":
    main()
