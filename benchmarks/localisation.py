"""Where does a real translocation's counterfactual add signal? Inside the nuclei, if it is true.

    python benchmarks/localisation.py [--data FOLDER] [--tile 128] [--size 64] [--epochs 20]
        [--images 60] [--seed 0] [--pictures FOLDER] [--compare FOLDER]

Data: BBBC013 (Ljosa et al. 2012), where an active compound brings the protein of the first channel
into the nuclei, which the second channel shows. The fields are cut into tiles and split by well; a
classifier learns inactive from active; tiles of test wells that it calls inactive are changed to
active. Printed, for each method: validity, agreement of the second network, and the share of the
positive change of the protein that lies inside the nuclei (Otsu's threshold of the second channel
over all test tiles), beside the share of the area that nuclei take up. With ``--compare`` the rows
of ``napari-why benchmark real`` are measured on the same tiles, too, and kept in that folder.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from skimage.filters import gaussian, threshold_otsu

import napari_why as why
from napari_why.benchmark import as_text, run_real_benchmark
from napari_why.datasets import Dataset
from napari_why.images import make_image

NETWORK = {
    "blocks": "3,3,3",
    "widths": "32,32,32",
    "downscaling": "2,2,2",
    "head": "elu",
    "isometry": "1,0.3",
}
SOURCE, TARGET = "inactive", "active"
METHODS = ("transport", "mean_shift")
COMPARED = ("do-nothing", "mean-shift", "transport", "vae")


def main() -> None:
    """Train, change and print."""
    options = arguments()
    dataset = tiles(Dataset.open(options.data, label="class3"), options.tile)
    if options.compare:
        compare(dataset, options)
    dataset = dataset.split(seed=options.seed)
    start = time.perf_counter()
    classifier = why.fit(
        dataset,
        "iresnet",
        size=options.size,
        epochs=options.epochs,
        seed=options.seed,
        network_parameters=NETWORK,
    )
    test = classifier.metrics["test"]
    print(
        f"{len(dataset)} tiles; trained in {time.perf_counter() - start:.0f} s; accuracy on tiles "
        f"of test wells {test['images']['accuracy']:.1%}, on wells {test['groups']['accuracy']:.1%}"
    )
    print(classifier.card["lock_test"]["sentence"])
    images = sources(classifier, dataset.part("test"), options.images, options.seed)
    nuclei = nuclear_masks(classifier, images)
    print(f"{len(images)} tiles; nuclei take up {nuclei.mean():.1%} of the area")
    for method in METHODS:
        results = [
            why.counterfactual(classifier, image, TARGET, method, steps=2) for image in images
        ]
        report(method, results, nuclei)
        if options.pictures:
            draw(options.pictures / f"localisation-{method}.png", results, nuclei)


def compare(dataset: Dataset, options: argparse.Namespace) -> None:
    """Print validity, agreement and feature distance of several methods, in both directions."""
    table = run_real_benchmark(
        options.compare,
        "bbbc013",
        dataset,
        methods=COMPARED,
        seeds=(options.seed,),
        size=options.size,
        epochs=options.epochs,
    )
    sys.stdout.write(as_text(table) + "\n")


def tiles(dataset: Dataset, tile: int) -> Dataset:
    """Cut every field into tiles; a tile belongs to its field's well."""
    images, labels, wells = [], [], []
    for row, (label, well) in enumerate(
        zip(dataset.table["label"], dataset.table["well"], strict=True)
    ):
        if label not in (SOURCE, TARGET):
            continue
        field = dataset.image(row)
        for y in range(0, field.sizes["y"] - tile + 1, tile):
            for x in range(0, field.sizes["x"] - tile + 1, tile):
                images.append(
                    make_image(
                        field.values[:, y : y + tile, x : x + tile],
                        "cyx",
                        dataset.channels,
                        source=f"well {well}, y {y}, x {x}",
                    )
                )
                labels.append(label)
                wells.append(well)
    return Dataset.from_images(images, labels, plate=["1"] * len(wells), well=wells)


def sources(classifier: why.Classifier, test: Dataset, count: int, seed: int) -> list:
    """Return test tiles that are inactive and are called so."""
    order = np.random.default_rng(seed).permutation(len(test))
    found = []
    for row in order:
        if test.table["label"].iloc[row] == SOURCE:
            image = test.image(int(row))
            if classifier.predict(image).label == SOURCE:
                found.append(image)
        if len(found) == count:
            break
    return found


def nuclear_masks(classifier: why.Classifier, images: list) -> NDArray[np.bool_]:
    """Return where nuclei are, on the network's grid."""
    seen = np.stack(
        [classifier.preprocessing.inverse(classifier.prepare(image))[0, 1] for image in images]
    )
    smooth = np.stack([gaussian(plane, 1) for plane in seen])
    return smooth > threshold_otsu(smooth)


def report(method: str, results: list, nuclei: NDArray[np.bool_]) -> None:
    """Print one line."""
    valid = np.mean([result.valid for result in results])
    target = results[0].classes.index(TARGET)
    agreed = np.mean(
        [result.second_probabilities["alpha1"].argmax() == target for result in results]
    )
    gains = np.maximum(changes(results)[:, 0], 0)
    where = (
        f"{gains[nuclei].sum() / gains.sum():.1%} of the positive change lies inside the nuclei"
        if gains.any()
        else "the protein becomes brighter nowhere"
    )
    print(f"{method}: validity {valid:.2f}, second network agrees {agreed:.2f}, {where}")


def changes(results: list) -> NDArray[np.float64]:
    """Return the changes at alpha1, shape (images, C, H, W), raw units."""
    return np.stack(
        [
            result.special_images["alpha1"].astype(float) - result.reconstruction
            for result in results
        ]
    )


def draw(path: Path, results: list, nuclei: NDArray[np.bool_], shown: int = 4) -> None:
    """Draw source, counterfactual and change of some tiles, nuclei outlined."""
    figure = Figure(figsize=(7.5, 2.5 * shown), layout="constrained")
    axes = figure.subplots(shown, 3)
    made = changes(results)
    for row, result in enumerate(results[:shown]):
        before, after = result.reconstruction[0], result.special_images["alpha1"][0]
        limits = {"vmin": 0, "vmax": float(max(before.max(), after.max())), "cmap": "gray"}
        bound = float(np.abs(made[:shown, 0]).max())
        axes[row, 0].imshow(before, **limits)
        axes[row, 1].imshow(after, **limits)
        drawn = axes[row, 2].imshow(made[row, 0], vmin=-bound, vmax=bound, cmap="RdBu_r")
        figure.colorbar(drawn, ax=axes[row, 2], label="grey levels")
        for axis in axes[row]:
            axis.contour(nuclei[row], [0.5], colors="tab:cyan", linewidths=0.6)
            axis.set_axis_off()
    for axis, title in zip(axes[0], ("inactive", "as active", "change"), strict=True):
        axis.set_title(title)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    root = Path(__file__).parents[2] / "shared" / "data" / "bbbc013-translocation"
    parser.add_argument("--data", type=Path, default=root)
    parser.add_argument("--tile", type=int, default=128)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--images", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pictures", type=Path, default=None)
    parser.add_argument("--compare", type=Path, default=None)
    return parser.parse_args()


if __name__ == "__main__":
    main()
