"""Make the counterfactual of every image of a data set's part and judge the exported files.

    python benchmarks/counterfactuals.py --model MODEL --data DATA [--method transport] [--part test]

The image at alpha1 is written to a file, read back and predicted: what is counted is that file.
The parts are those of the classifier's training, so ``test`` holds images it never saw.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from xarray import DataArray

import napari_why as why
from napari_why.core.devices import limited_threads
from napari_why.counterfactuals import Counterfactual
from napari_why.datasets import Dataset
from napari_why.images import make_image
from napari_why.model import Classifier


@dataclass(frozen=True)
class Judged:
    """One counterfactual.

    Parameters
    ----------
    source, target, dtype : str
        Classes, and pixel type of the exported file.
    flips : bool
        The file written at alpha1, read back, is predicted as the target.
    boundary : float
        p(target) of the exported boundary image; NaN where the path has no boundary.
    alpha0, alpha1 : float
        Positions; NaN where there is none.
    round_trip : float
        Largest error of f^-1(f(x)) in grey levels.
    out_of_range : float
        Share of values at alpha1 outside the source's dtype.
    seconds : float
        For the whole series.
    """

    source: str
    target: str
    dtype: str
    flips: bool
    boundary: float
    alpha0: float
    alpha1: float
    round_trip: float
    out_of_range: float
    seconds: float


def main() -> None:
    """Parse the command line, judge every image and print the tables."""
    options = _options()
    with limited_threads(options.threads), TemporaryDirectory() as folder:
        classifier = why.load(options.model)
        dataset = Dataset.open(options.data)
        chosen = _images_of(dataset, classifier, options.part)
        if options.limit and options.limit < len(chosen):
            spread = np.linspace(0, len(chosen) - 1, options.limit).round().astype(int)
            chosen = [chosen[index] for index in spread]
        judged = []
        for done, index in enumerate(chosen, start=1):
            image = dataset.image(index)
            judged.append(_judged(classifier, image, options.method, options.steps, Path(folder)))
            if sys.stderr.isatty():
                print(f"\r{done} of {len(chosen)}", end="", file=sys.stderr, flush=True)
    print(f"{options.method}, {options.part} images of {options.data}, {options.steps} steps")
    for direction in sorted({(item.source, item.target) for item in judged}):
        some = [item for item in judged if (item.source, item.target) == direction]
        _print_table(f"{direction[0]} to {direction[1]}", some)
    _print_table("all", judged)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", required=True, help="saved classifier")
    parser.add_argument("--data", required=True, help="folder or table of the data set")
    parser.add_argument("--method", default="transport")
    parser.add_argument("--part", default="test", choices=("train", "validation", "test", "all"))
    parser.add_argument("--steps", type=int, default=11, help="images of each series")
    parser.add_argument("--limit", type=int, help="so many images only, spread over the part")
    parser.add_argument("--threads", type=int, default=1, help="processor threads")
    return parser.parse_args()


def _images_of(dataset: Dataset, classifier: Classifier, part: str) -> Sequence[int]:
    """Return the rows of the part; splits are known by file name, so that folders may move."""
    if part == "all":
        return range(len(dataset))
    names = {Path(path).name for path in classifier.card["splits"].get(part, ())}
    rows = [
        row
        for row, path in enumerate(dataset.table["path"].astype(str))
        if Path(path).name in names
    ]
    if len(rows) != len(names):
        raise SystemExit(
            f"found {len(rows)} of the {len(names)} images that were the {part} part in training; "
            "give the data set that the classifier was trained on"
        )
    return rows


def _judged(
    classifier: Classifier, image: DataArray, method: str, steps: int, folder: Path
) -> Judged:
    start = time.perf_counter()
    result = why.counterfactual(classifier, image, method=method, steps=steps)
    seconds = time.perf_counter() - start
    place = result.classes.index(result.target)
    at_boundary = result.special_probabilities.get("boundary")
    return Judged(
        source=result.source_class,
        target=result.target,
        dtype=str(result.images.dtype),
        flips=_file_flips(classifier, result, folder),
        boundary=np.nan if at_boundary is None else float(at_boundary[place]),
        alpha0=_number(result.special_alphas["alpha0"]),
        alpha1=_number(result.special_alphas["alpha1"]),
        round_trip=result.round_trip_error,
        out_of_range=result.out_of_range,
        seconds=seconds,
    )


def _file_flips(classifier: Classifier, result: Counterfactual, folder: Path) -> bool:
    image = result.special_images.get("alpha1")
    if image is None:
        return False
    path = folder / "alpha1.ome.tif"
    why.write(make_image(image, "cyx", result.channels), path, overwrite=True)
    return classifier.predict(why.read(path)).label == result.target


def _number(alpha: float | None) -> float:
    return np.nan if alpha is None else alpha


def _print_table(title: str, judged: Sequence[Judged]) -> None:
    print(f"\n{title}: {len(judged)} images, exported as {', '.join({i.dtype for i in judged})}")
    flips = sum(item.flips for item in judged)
    print(f"  files that flip at alpha1  {flips} of {len(judged)} ({flips / len(judged):.1%})")
    for name, values in (
        ("p(target) at the boundary", [item.boundary for item in judged]),
        ("alpha0", [item.alpha0 for item in judged]),
        ("alpha1", [item.alpha1 for item in judged]),
        ("round trip, grey levels", [item.round_trip for item in judged]),
        ("share out of range", [item.out_of_range for item in judged]),
        ("seconds per image", [item.seconds for item in judged]),
    ):
        print(f"  {name:<26} {_spread(values)}")


def _spread(values: Sequence[float]) -> str:
    there = [value for value in values if not np.isnan(value)]
    if not there:
        return "none"
    missing = f", {len(values) - len(there)} without" if len(there) < len(values) else ""
    return f"mean {np.mean(there):.4g}, {min(there):.4g} to {max(there):.4g}{missing}"


if __name__ == "__main__":
    main()
