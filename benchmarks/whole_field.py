"""Time, memory and truth of counterfactuals of whole fields, by a classifier of small crops.

    python benchmarks/whole_field.py [--sizes 64 128 256 512 1024 2160] [--crop 64]
        [--images 400] [--epochs 12] [--effect depolarisation] [--steps 11] [--seed 0]
        [--out FOLDER]

The classifier is fitted on simulated crops. For every size a field is simulated and written as
uint16; a process of its own loads the classifier, reads the field and makes the series with
``whole_field=True``. Printed are the processor seconds of one prediction and of the series, the peak memory
of that process and what it had taken once classifier and field were loaded, and the change at
alpha1 against the true one: correlation in the channel that changes, relative L2 error over both
channels (standardised, smoothed 3 x 3). The first lines give the same of crops. Fields of up to
1024 pixels are changed twice more, in tiles of about 180 pixels and in one, and the largest
difference is printed, in grey levels before rounding.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

import napari_why as why
from napari_why.counterfactuals import Counterfactual
from napari_why.model import Classifier
from napari_why.model.whole_field import for_whole_field
from napari_why.simulation import EffectScene, simulate_effect

UNSEEN = 1000
CROPS = 12
SMALL_TILES, ONE_TILE = 2**17, 2**40
LARGEST_OF_ONE_TILE = 1024


def main() -> None:
    """Fit the classifier, then measure size by size; or measure one field."""
    options = arguments()
    if options.field:
        print(json.dumps(measured(options)))
        return
    folder = Path(options.out or tempfile.mkdtemp())
    model = folder / "model"
    if not model.is_dir():
        start = time.process_time()
        classifier = fitted(options)
        classifier.save(model)
        print(
            f"fitted on crops of {options.crop} in {time.process_time() - start:.0f} s, accuracy "
            f"{classifier.metrics['test']['images']['accuracy']:.1%}, locked: "
            f"{', '.join(classifier.locked_channels) or 'none'}"
        )
    print_crops(why.load(model), options)
    print(
        f"{'pixels':>7}{'from':>9}{'predict s':>11}{'series s':>10}{'loaded MB':>11}{'peak MB':>9}"
        f"{'flips':>7}{'2nd':>6}{'distance':>10}{'corr':>7}{'error':>7}{'seam':>9}"
    )
    for size in options.sizes:
        for label in ("healthy", "treated"):
            print_field(folder, model, size, label, options)


def arguments() -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128, 256, 512, 1024, 2160])
    parser.add_argument("--crop", type=int, default=64)
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--effect", default="depolarisation")
    parser.add_argument("--steps", type=int, default=11)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", help="folder for classifier and fields; what is there is used")
    parser.add_argument("--field", help="measure this one file, with --model")
    parser.add_argument("--model", help="a saved classifier, for --field")
    return parser.parse_args()


def fitted(options: argparse.Namespace) -> Classifier:
    """Fit a small network that fits crops of 64 pixels."""
    classifier: Classifier = why.fit(
        simulate_effect(options.images, options.effect, size=options.crop, seed=options.seed),
        size=options.crop,
        sizing="crop",
        epochs=options.epochs,
        patience=0,
        seed=options.seed,
        threads=1,
        network_parameters={
            "blocks": "2,2,2",
            "widths": "16,32,64",
            "downscaling": "2,2,2",
            "head": "elu",
            "isometry": "1,0.3",
        },
    )
    return classifier


def scene_of(size: int, options: argparse.Namespace, number: int = 0) -> EffectScene:
    """Return an unseen scene."""
    return EffectScene(number, options.effect, seed=options.seed + UNSEEN, size=size)


def print_crops(classifier: Classifier, options: argparse.Namespace) -> None:
    """Print how well crops of the training images' size are changed."""
    for source, target in (("healthy", "treated"), ("treated", "healthy")):
        scores = []
        for number in range(CROPS):
            scene = scene_of(options.crop, options, number)
            image = scene.image(source)
            if classifier.predict(image).label == source:
                result = why.counterfactual(classifier, image, target, steps=2)
                truth = scene.true_change(source, target).values
                scores.append(against_truth(classifier, changed(result), truth))
        correlation, error = np.mean(scores, axis=0)
        print(
            f"{len(scores)} crops of {options.crop}, {source} to {target}: correlation "
            f"{correlation:.3f}, relative error {error:.2f}"
        )


def print_field(
    folder: Path, model: Path, size: int, label: str, options: argparse.Namespace
) -> None:
    """Measure one field in a process of its own and print its row."""
    path = folder / f"{size}_{label}.ome.tif"
    scene = scene_of(size, options)
    if not path.is_file():
        why.write(scene.image(label), path)
    command = [sys.executable, __file__, "--field", str(path), "--model", str(model)]
    command += ["--steps", str(options.steps)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    row = json.loads(done.stdout.splitlines()[-1])
    classifier = why.load(model)
    target = next(name for name in scene.classes if name != label)
    scores = ["wrong", ""]
    if row["source"] == label:
        truth = scene.true_change(label, target).values
        change = np.load(path.with_suffix(".npy"))
        scores = [f"{score:.3f}" for score in against_truth(classifier, change, truth)]
    print(
        f"{size:>7}{label:>9}{row['predict']:>11.2f}{row['series']:>10.1f}{row['loaded']:>11.0f}"
        f"{row['peak']:>9.0f}{row['valid']:>7}{row['second']:>6}{row['distance']:>10}"
        f"{scores[0]:>7}{scores[1]:>7}{row['seam']:>9}",
        flush=True,
    )


def measured(options: argparse.Namespace) -> dict[str, Any]:
    """Change one field and return what it took; the change at alpha1 goes to a file."""
    import torch

    torch.set_num_threads(1)
    path = Path(options.field)
    classifier, image = why.load(options.model), why.read(path)
    field = for_whole_field(classifier, image)
    loaded = peak_memory()
    start = time.process_time()
    field.predict(image)
    predicted = time.process_time()
    result = why.counterfactual(classifier, image, whole_field=True, steps=options.steps)
    made = time.process_time()
    peak = peak_memory()
    seam = "-"
    if max(image.shape) <= LARGEST_OF_ONE_TILE:
        seam = f"{largest_seam(classifier, image.astype(np.float32)):.2g}"
    np.save(path.with_suffix(".npy"), changed(result).astype(np.float32))
    second = result.second_probabilities
    target = result.classes.index(result.target)
    return {
        "source": result.source_class,
        "predict": predicted - start,
        "series": made - predicted,
        "loaded": loaded,
        "peak": peak,
        "valid": "yes" if result.valid else "no",
        "second": "-" if not second else ("yes", "no")[int(second["alpha1"].argmax() != target)],
        "distance": "-" if result.distance is None else f"{result.distance:.2f}",
        "seam": seam,
    }


def largest_seam(classifier: Classifier, image: xr.DataArray) -> float:
    """Return the largest difference, in grey levels, between many tiles and one.

    The image holds floats, so that what is exported is not rounded.
    """
    tiled, whole = (
        why.counterfactual(
            for_whole_field(classifier, image, values_per_map=values), image, steps=2
        ).special_images["alpha1"]
        for values in (SMALL_TILES, ONE_TILE)
    )
    return float(np.abs(tiled - whole).max())


def changed(result: Counterfactual) -> NDArray[np.float64]:
    """Return the image at alpha1, as exported, minus the reconstruction."""
    change: NDArray[np.float64] = result.special_images["alpha1"] - result.reconstruction
    return change.astype(float)


def against_truth(
    classifier: Classifier, change: NDArray[Any], truth: NDArray[Any]
) -> tuple[float, float]:
    """Return correlation in the channel that changes most, and relative error over all."""
    deviation = np.asarray(classifier.preprocessing.std)[:, None, None]
    found, true = (uniform_filter(item / deviation, (0, 3, 3)) for item in (change, truth))
    channel = int(np.abs(true).sum((1, 2)).argmax())
    correlation = np.corrcoef(found[channel].ravel(), true[channel].ravel())[0, 1]
    error = np.linalg.norm(found - true) / np.linalg.norm(true)
    return float(correlation), float(error)


def peak_memory() -> float:
    """Return the largest resident memory so far, in MB.

    On Linux a process inherits ``ru_maxrss`` of the one that started it, so that it would be that of
    the training; the kernel's VmHWM is of this process alone.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        (line,) = [row for row in status.read_text().splitlines() if row.startswith("VmHWM")]
        return int(line.split()[1]) * 1024 / 1e6
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


if __name__ == "__main__":
    main()
