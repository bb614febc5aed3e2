"""Train the generative networks on scenes of known truth; print what they give back and change.

    python benchmarks/generators.py [--networks vae,autoencoder,denoising_autoencoder]
        [--effect depolarisation] [--images 400] [--epochs 60] [--scenes 16] [--seed 0]
        [--pictures FOLDER] [--data FOLDER]

Reconstruction errors are those on the test wells. Counterfactuals start from scenes of another
seed; their change is compared with the true one at alpha1, standardised by channel and smoothed
3 x 3: correlation in the channel that changes, relative L2 error over both channels.
With ``--data``, a folder with one sub-folder a class, only the reconstruction is measured, of those images, beside that of as
many principal components of the training images as the latent has numbers, and the mean training image.
"""

import argparse
import time
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter
from sklearn.decomposition import PCA

import napari_why as why
from napari_why.datasets import Dataset
from napari_why.model import Classifier
from napari_why.simulation import EffectScene, effect_scenes, simulate_effect
from napari_why.training.metrics import reconstruction_sentence

SIZE = 64
UNSEEN = 1000
METHODS = ("latent_mean_shift", "latent_interpolation")
DIRECTIONS = (("healthy", "treated"), ("treated", "healthy"))


@dataclass(frozen=True)
class Judged:
    """One counterfactual against the truth."""

    valid: bool
    correlation: float
    error: float


def main() -> None:
    """Train, measure and print."""
    options = arguments()
    if options.data:
        dataset = Dataset.open(options.data).split(seed=options.seed)
    else:
        dataset = simulate_effect(options.images, options.effect, seed=options.seed).split(seed=0)
    scenes = effect_scenes(options.scenes, options.effect, seed=options.seed + UNSEEN)
    for network in options.networks.split(","):
        start = time.perf_counter()
        classifier = why.fit(
            dataset, network, size=SIZE, epochs=options.epochs, patience=0, seed=options.seed
        )
        seconds = time.perf_counter() - start
        test = classifier.metrics["test"]
        print(f"{network}: trained in {seconds:.0f} s, accuracy {test['images']['accuracy']:.1%}")
        print(f"  {reconstruction_sentence(test['reconstruction'])}", flush=True)
        if options.data:
            for words in without_network(classifier, dataset):
                print(f"  {words}", flush=True)
            continue
        for method, keep, direction in product(METHODS, (False, True), DIRECTIONS):
            judged = [
                item
                for scene in scenes
                if (item := judge(classifier, scene, method, keep, direction))
            ]
            print(f"  {line(method, keep, direction, judged)}", flush=True)
        if options.pictures:
            draw(classifier, scenes[0], options.pictures / f"{network}.png")


def without_network(classifier: Classifier, dataset: Dataset) -> list[str]:
    """Return lines on the reconstruction of test images by what needs no network.

    As many numbers as the latent has, found to lose least of the training images: the best that a linear map can do.
    """
    train, test = (vectors(classifier, dataset.part(name)) for name in ("train", "test"))
    count = classifier.network.configuration()["latent_dimensions"]
    components = PCA(count, svd_solver="full").fit(train)
    errors = {
        "mean training image": np.mean((test - train.mean(axis=0)) ** 2),
        f"{count} principal components": squared_error(components, test),
        f"{count} principal components, of the training images": squared_error(components, train),
    }
    return [f"{name}: mean square error {error:.3f}" for name, error in errors.items()]


def vectors(classifier: Classifier, dataset: Dataset) -> NDArray[np.float64]:
    """Return prepared images as rows, in standard deviations."""
    rows = [np.asarray(classifier.preprocessing(dataset.image(i))) for i in range(len(dataset))]
    return np.stack(rows).reshape(len(rows), -1).astype(np.float64)


def squared_error(components: PCA, images: NDArray[np.float64]) -> float:
    """Return the mean square error of images made of their components alone."""
    return float(
        np.mean((components.inverse_transform(components.transform(images)) - images) ** 2)
    )


def judge(
    classifier: Classifier, scene: EffectScene, method: str, keep: bool, direction: tuple[str, str]
) -> Judged | None:
    """Make one counterfactual; None where the image is not called its own class."""
    source, target = direction
    image = scene.image(source)
    if classifier.predict(image).label != source:
        return None
    made = why.counterfactual(classifier, image, target, method, keep_details=keep, steps=2)
    last = made.special_images.get("alpha1", made.images[-1])
    std = np.array(classifier.preprocessing.std)[:, None, None]
    change = smooth((last.astype(float) - made.reconstruction) / std)
    truth = smooth(np.asarray(scene.true_change(source, target)) / std)
    return Judged(
        made.valid,
        float(np.corrcoef(change[1].ravel(), truth[1].ravel())[0, 1]),
        float(np.linalg.norm(change - truth) / np.linalg.norm(truth)),
    )


def smooth(channels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return each channel averaged over 3 x 3 pixels."""
    return np.stack([uniform_filter(channel, 3) for channel in channels])


def line(method: str, keep: bool, direction: tuple[str, str], judged: list[Judged]) -> str:
    """Return one row of the table."""
    name = f"{method}{' + details' if keep else ''}, {direction[0]} to {direction[1]}"
    if not judged:
        return f"{name}: no image was called its own class"
    valid, correlation, error = (
        np.mean([getattr(item, field) for item in judged])
        for field in ("valid", "correlation", "error")
    )
    return (
        f"{name}: {len(judged)} images, valid {valid:.2f}, correlation {correlation:.2f}, "
        f"relative error {error:.2f}"
    )


def draw(classifier: Classifier, scene: EffectScene, path: Path) -> None:
    """Draw source, reconstruction, counterfactual, change and true change; below them samples."""
    source, target = DIRECTIONS[0]
    image = scene.image(source)
    made = why.counterfactual(classifier, image, target, METHODS[0], steps=2)
    last = made.special_images.get("alpha1", made.images[-1]).astype(float)
    truth = np.asarray(scene.true_change(source, target))
    pictures = {
        f"{source} (source)": image.values,
        "reconstruction": made.reconstruction,
        f"decoded as {target}": last,
        "change": last - made.reconstruction,
        "true change": truth,
    }
    drawn = why.sample(classifier, count=5, seed=1).images if classifier.network.has_prior else []
    rows = len(classifier.channels)
    figure = Figure(figsize=(10, 2.1 * rows * (2 if len(drawn) else 1)), layout="constrained")
    axes = figure.subplots(rows * (2 if len(drawn) else 1), len(pictures), squeeze=False)
    limit = float(np.abs(truth).max())
    for channel, name in enumerate(classifier.channels):
        low, high = (float(value) for value in np.quantile(image.values[channel], (0.001, 0.999)))
        for place, (title, pixels) in zip(axes[channel], pictures.items(), strict=True):
            signed = "change" in title
            place.imshow(
                pixels[channel],
                cmap="RdBu_r" if signed else "gray",
                vmin=-limit if signed else low,
                vmax=limit if signed else high,
            )
            place.set_title(f"{name}: {title}", fontsize=8)
        for place, pixels in zip(axes[rows + channel] if len(drawn) else (), drawn, strict=False):
            place.imshow(pixels[channel], cmap="gray", vmin=low, vmax=high)
            place.set_title(f"{name}: sample", fontsize=8)
    for place in axes.flat:
        place.set_axis_off()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=80)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--networks", default="vae,autoencoder,denoising_autoencoder")
    parser.add_argument("--effect", default="depolarisation")
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--epochs", type=int, default=0, help="0: the network's own")
    parser.add_argument("--scenes", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pictures", type=Path, help="folder for one picture a network")
    parser.add_argument("--data", type=Path, help="real images, of which only reconstructions are")
    return parser.parse_args()


if __name__ == "__main__":
    main()
