"""How far does a trained network tell the controls of a plate apart? Z' of wells it never saw.

    python benchmarks/plate_z_prime.py [--data FOLDER] [--schemes doses compound controls]
        [--tile 160] [--size 40] [--epochs 15] [--seeds 3]

Data: BBBC013 (Ljosa et al. 2012), rows A, B, E and F: 8 wells of negative and 4 of positive controls,
32 with low or high doses of two compounds, opened by their plate map. A cam_net learns inactive from active on
tiles of the fields, and is asked about the control wells; p(active) of a well is the mean over its
tiles. No control is ever judged by a network that has seen its well:

- doses: trained on the wells with doses of both compounds, no control among them;
- compound: trained on doses of one compound, asked about the controls of the other's rows, whose
  layout is another one too; both ways round;
- controls: trained on the controls alone, cross-validated in four folds of whole wells.

Printed for every seed: Z' of p(active) between negative and positive controls over wells and over
tiles, and Z' of its log-odds over wells, which has no ceiling at which values crowd together.
Beside them the Z' of a measured number, the ratio of the protein inside the nuclei to around them.
"""

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

import napari_why as why
from napari_why.core.events import ignore_event
from napari_why.datasets import Dataset
from napari_why.images import make_image
from napari_why.training.metrics import z_prime

CONTROLS = {"negative": "negative_control", "positive": "positive_control"}
CLASSES = ("active", "inactive")
SCORE, OTHER = "probability of active", "probability of inactive"
VALIDATION = 0.2
FOLDS = 4


def main() -> None:
    """Train, ask and print."""
    options = arguments()
    plate = open_plate(options.data)
    tiles = cut(plate, options.tile)
    print(
        f"{len(plate)} wells, {len(tiles)} tiles of {options.tile} pixels, seen at {options.size}"
    )
    print(f"nuclear ratio, measured: Z' over wells {ratio_z_prime(plate):.3f}")
    rows = []
    for scheme in options.schemes:
        for seed in range(options.seeds):
            rows.append({"scheme": scheme, **run(tiles, scheme, seed, options)})
            print(words(rows[-1]), flush=True)
    table = pd.DataFrame(rows).drop(columns=["seed", "seconds"])
    print(
        table.groupby("scheme", sort=False)
        .agg(["mean", "std"])
        .T.to_string(float_format="{:.3f}".format)
    )


def open_plate(folder: Path) -> Dataset:
    """Open inactive and active wells through the plate map, with a column that names controls."""
    return Dataset.from_plate(
        folder / "images",
        folder / "labels.csv",
        label="class3",
        controls=CONTROLS,
        control_column="label",
        classes=CLASSES,
        on_event=ignore_event,
    )


def cut(plate: Dataset, tile: int) -> Dataset:
    """Cut every field into tiles, which belong to the field's well."""
    images, rows = [], []
    for row in range(len(plate)):
        field = plate.image(row)
        for y in range(0, field.sizes["y"] - tile + 1, tile):
            for x in range(0, field.sizes["x"] - tile + 1, tile):
                pixels = np.asarray(field)[:, y : y + tile, x : x + tile]
                images.append(make_image(pixels, "cyx", plate.channels))
                rows.append(row)
    of_tile = plate.table.iloc[rows]
    columns = {name: list(of_tile[name]) for name in ("plate", "well", "control", "block")}
    return Dataset.from_images(images, list(of_tile["label"]), **columns)


def run(
    tiles: Dataset, scheme: str, seed: int, options: argparse.Namespace
) -> dict[str, str | float]:
    """Train what the scheme asks for and return the figures of the controls."""
    started = time.process_time()
    answers = []
    for learning, asked in parts(tiles, scheme, seed):
        classifier = why.fit(
            learning,
            "cam_net",
            size=options.size,
            epochs=options.epochs,
            seed=seed,
            lock="none",
            second_network=False,
            threads=1,
        )
        evaluation = why.evaluate(classifier, asked, nulls=False)
        if evaluation.predictions["seen"].any():
            raise RuntimeError("a control that the network was trained on would be judged by it")
        answers.append(evaluation.predictions)
    found = pd.concat(answers)
    wells = found.groupby(["control", "well"])[SCORE].mean().reset_index()
    # The probability of the other class is kept apart: 1 - p would be 0 where p is nearly 1.
    found["odds"] = np.log(found[SCORE]) - np.log(found[OTHER])
    odds = found.groupby(["control", "well"])["odds"].mean().reset_index()
    negative, positive = (wells[wells["control"] == name][SCORE] for name in CONTROLS)
    return {
        "seed": seed,
        "wells": between(wells, SCORE),
        "tiles": between(found, SCORE),
        "log-odds of wells": between(odds, "odds"),
        "highest negative": float(negative.max()),
        "lowest positive": float(positive.min()),
        "accuracy of tiles": float((found["label"] == found["predicted"]).mean()),
        "seconds": time.process_time() - started,
    }


def parts(tiles: Dataset, scheme: str, seed: int) -> Iterator[tuple[Dataset, Dataset]]:
    """Yield what to train on, split by well, and the controls to ask about."""
    table = tiles.table
    control = np.asarray(table["control"].isin(list(CONTROLS)))
    if scheme == "doses":
        yield divided(tiles.select(~control), seed), tiles.select(control)
    elif scheme == "compound":
        for name in sorted(set(table["block"])):
            other = np.asarray(table["block"] != name)
            yield divided(tiles.select(~control & other), seed), tiles.select(control & ~other)
    else:
        for fold in tiles.select(control).folds(FOLDS, seed=seed):
            yield fold, fold.part("test")


def divided(tiles: Dataset, seed: int) -> Dataset:
    """Part training from validation wells; the test wells are others."""
    return tiles.split(fractions=(1 - VALIDATION, VALIDATION, 0.0), seed=seed)


def between(table: pd.DataFrame, column: str) -> float:
    """Return Z' between negative and positive controls."""
    samples = [table[table["control"] == name][column].to_numpy(float) for name in CONTROLS]
    value = z_prime(*samples)
    return float("nan") if value is None else value


def ratio_z_prime(plate: Dataset) -> float:
    """Return Z' of the ratio that came with the labels, over the control wells."""
    return between(plate.table, "nuc_ring_ratio")


def words(row: dict[str, str | float]) -> str:
    """Return one line of figures."""
    return "  ".join(
        f"{name} {value:.3f}" if isinstance(value, float) else f"{name} {value}"
        for name, value in row.items()
    )


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    root = Path(__file__).parents[2] / "shared" / "data" / "bbbc013-translocation"
    schemes = ["doses", "compound", "controls"]
    parser.add_argument("--data", type=Path, default=root)
    parser.add_argument("--schemes", nargs="+", choices=schemes, default=schemes[:2])
    parser.add_argument("--tile", type=int, default=160)
    parser.add_argument("--size", type=int, default=40)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--seeds", type=int, default=3)
    return parser.parse_args()


if __name__ == "__main__":
    main()
