"""Train and test networks over folds that keep wells, or whole plates, together.

python benchmarks/cross_validation.py --data ../shared/data/leigh-ds-wt --network iresnet cam_net \
    --by well plate --folds 3 --minutes 60

prints one line per fold and a summary with the spread, and stops starting folds when the minutes
are used up.
"""

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

import napari_why as why


def main() -> None:
    """Run every fold that fits into the minutes and print the summary."""
    arguments = parse_arguments()
    dataset = why.Dataset.open(arguments.data, label=arguments.label)
    print(f"{arguments.data.name}: {len(dataset)} images, classes {', '.join(dataset.classes)}")
    rows = []
    started = time.perf_counter()
    for network, by, number, fold in planned_folds(arguments, dataset):
        if time.perf_counter() - started > 60 * arguments.minutes:
            print(f"stopped after {arguments.minutes} minutes")
            break
        rows.append(run_fold(fold, network, by, number, arguments))
        print(format_row(rows[-1]), flush=True)
    print()
    print(summary(pd.DataFrame(rows)).to_string(float_format=lambda value: f"{value:.3f}"))
    print(f"all folds: {(time.perf_counter() - started) / 60:.1f} minutes")


def planned_folds(
    arguments: argparse.Namespace, dataset: why.Dataset
) -> Iterator[tuple[str, str, int, why.Dataset]]:
    """Go round the networks and schemes, so that an early end leaves all of them with folds."""
    schemes = {
        by: dataset.folds(seed=arguments.seed, by="plate")
        if by == "plate"
        else dataset.folds(arguments.folds, seed=arguments.seed)
        for by in arguments.by
    }
    for number in range(max(len(folds) for folds in schemes.values())):
        for by, folds in schemes.items():
            for network in arguments.network:
                if number < len(folds):
                    yield network, by, number + 1, folds[number]


def run_fold(
    fold: why.Dataset, network: str, by: str, number: int, arguments: argparse.Namespace
) -> dict[str, object]:
    """Train on one fold and return the figures of its test part."""
    started = time.perf_counter()
    classifier = why.fit(
        fold,
        network,
        size=arguments.size,
        epochs=arguments.epochs,
        intensity=arguments.intensity,
        seed=arguments.seed,
    )
    evaluation = why.evaluate(classifier, fold.part("test"), nulls=False)
    return {
        "network": network,
        "by": by,
        "fold": number,
        "images": len(fold.part("test")),
        "accuracy": evaluation.metrics["accuracy"],
        "well_accuracy": evaluation.group_metrics["accuracy"],
        "z_prime": evaluation.metrics["z_prime"],
        "roc_auc": evaluation.metrics["roc_auc"],
        "seconds": time.perf_counter() - started,
    }


def format_row(row: dict[str, object]) -> str:
    """Return one line of a fold's figures."""
    return "  ".join(
        f"{name} {value:.3f}" if isinstance(value, float) else f"{name} {value}"
        for name, value in row.items()
    )


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Return mean, spread and number of folds for each network and scheme."""
    columns = ["accuracy", "well_accuracy", "z_prime", "roc_auc", "seconds"]
    return rows.groupby(["network", "by"])[columns].agg(["mean", "std", "min", "max", "count"])


def parse_arguments() -> argparse.Namespace:
    """Return the options of the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--label", default="label", help="column of the table that holds classes")
    parser.add_argument("--network", nargs="+", default=["iresnet", "cam_net"])
    parser.add_argument("--by", nargs="+", choices=["well", "plate"], default=["well"])
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--epochs", type=int, default=0, help="0: the network's own default")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--intensity", choices=["linear", "log1p", "asinh"], default="linear")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
