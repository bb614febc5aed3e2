"""What networks and their maps of a class do when the class has fewer training images: on real data.

    python benchmarks/imbalance.py ../shared/data/leigh-ds-tt --out FOLDER [--label label]
        [--ratios 1 0.25 0.05] [--seeds 0 1 2] [--network cam_net] [--size 64] [--epochs 4] [--wells 0]
        [--nuclei "channel 1"]

Prints the table of ``why.study_imbalance`` (a row a ratio, mean and standard deviation over seeds) and its
sentences; draws accuracy, recall and likeness of maps against the images that are left. `--wells` takes that
many wells of each class, all by default. Split by well, once for all networks; maps are of the test images.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

import napari_why as why
from napari_why.datasets import Dataset
from napari_why.evaluation.imbalance import LIKENESS, RATIO, SEED

SHORT = {LIKENESS: "likeness of maps"}


def main() -> None:
    """Train, tabulate, draw."""
    options = arguments()
    dataset = take_wells(Dataset.open(options.data, label=options.label), options.wells)
    study = why.study_imbalance(
        dataset.split(seed=min(options.seeds)),
        options.ratios,
        options.seeds,
        network=options.network,
        options={"nuclei": options.nuclei},
        fit_options={"size": options.size, "epochs": options.epochs},
    )
    options.out.mkdir(parents=True, exist_ok=True)
    study.table.to_csv(options.out / "imbalance.csv", index=False)
    table = study.table.rename(columns=SHORT)
    sys.stdout.write("\n".join([*rows(table), "", *study.sentences]) + "\n")
    draw(table, study.reduced, options.out / "imbalance.png")


def take_wells(dataset: Dataset, count: int) -> Dataset:
    """Keep the images of so many wells of each class; all of them for 0."""
    if not count:
        return dataset
    kept: set[int] = set()
    random = np.random.default_rng(0)
    for name in dataset.classes:
        own = np.unique(dataset.groups[dataset.table["label"].to_numpy() == name])
        kept |= set(random.permutation(own)[:count].tolist())
    return dataset.select([row for row, group in enumerate(dataset.groups) if group in kept])


def rows(table: pd.DataFrame) -> list[str]:
    """Return mean and standard deviation over seeds, a row a ratio."""
    figures = [name for name in table.columns if name not in (RATIO, SEED)]
    lines = [f"| {' | '.join([RATIO, 'seeds', *figures])} |", "|---" * (len(figures) + 2) + "|"]
    for ratio, part in table.groupby(RATIO, sort=False):
        cells = [
            f"{part[name].mean():.0f}"
            if name.startswith("training images")
            else f"{part[name].mean():.3f} ± {part[name].std():.3f}"
            for name in figures
        ]
        lines.append(f"| {' | '.join([f'{ratio:g}', str(len(part)), *cells])} |")
    return lines


def draw(table: pd.DataFrame, reduced: str, path: Path) -> None:
    """Draw what is left against how many images are left; every network is a point."""
    figure = Figure(figsize=(9, 3), layout="constrained")
    shown = ("balanced accuracy", f"recall of {reduced}", *SHORT.values())
    for place, name in zip(figure.subplots(1, len(shown)), shown, strict=True):
        count = table[f"training images of {reduced}"]
        place.plot(count, table[name], "o", alpha=0.6)
        mean = table.groupby(count)[name].mean()
        place.plot(mean.index, mean, "-")
        place.set(xscale="log", xlabel=f"training images of {reduced}", title=name)
        place.set_ylim(min(0, table[name].min()), 1.05)
    figure.savefig(path, dpi=90)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--label", default="label", help="column of the table that holds classes")
    parser.add_argument("--ratios", nargs="+", type=float, default=[1, 0.25, 0.05])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--network", default="cam_net")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--nuclei", default="auto", help="channel of nuclei; auto: by its name")
    parser.add_argument("--wells", type=int, default=0, help="of each class; 0: all")
    return parser.parse_args()


if __name__ == "__main__":
    main()
