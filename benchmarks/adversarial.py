"""Train networks that make images, on simulated or real images; print what they are worth.

    python benchmarks/adversarial.py dcgan [DATA] [--size 64] [--epochs 100 | --generator FOLDER] ...
    python benchmarks/adversarial.py predict [DATA] --channel TMRM [--size 64] [--epochs 60] ...
    python benchmarks/adversarial.py denoise [DATA] [--size 64] [--epochs 100] [--noise 0.5] ...
                                     [--tile 0] [--counts 10,20,50,100,200] [--pictures FOLDER]

DATA is a folder with one sub-folder a class, or a table; without it, 400 simulated images of the effect
depolarisation. With ``--tile`` it is BBBC013, whose fields are cut into tiles, inactive and active.
``dcgan`` prints the variety of its samples against training images, beside that of as many
held-out real images, which is as good as it gets; and Fréchet distances of more and more images, by texture and by
the pooled features of a reference classifier, which is trained for it. ``predict`` prints errors on held-out wells, beside a
plain U-Net, one linear function and the mean image. ``denoise`` prints PSNR and what is made up.
Translations are measured by ``benchmarks/translations.py``.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from localisation import tiles
from matplotlib.figure import Figure
from numpy.typing import NDArray

import napari_why as why
from napari_why.adversarial import Variety, measure_variety
from napari_why.benchmark.denoising import DenoisingOptions, compare_denoisers
from napari_why.benchmark.rows import train_reference_classifier
from napari_why.datasets import Dataset
from napari_why.datasets.features import image_features
from napari_why.generation import ImageGenerator
from napari_why.simulation import simulate_effect

SIMULATED = 400
SHOWN = 6


def main() -> None:
    """Open the images, train, measure and print."""
    options = arguments()
    if options.data is None:
        dataset = simulate_effect(SIMULATED, "depolarisation", seed=options.seed)
    elif options.tile:
        dataset = tiles(why.Dataset.open(options.data, label="class3"), options.tile)
    else:
        dataset = why.Dataset.open(options.data)
    dataset = dataset if "split" in dataset.table.columns else dataset.split(seed=options.seed)
    start = time.perf_counter()
    {"dcgan": run_dcgan, "predict": run_predictor, "denoise": run_denoisers}[options.what](
        dataset, options
    )
    print(f"{time.perf_counter() - start:.0f} s")


def run_dcgan(dataset: Dataset, options: argparse.Namespace) -> None:
    """Print the variety of samples, and that of held-out images; and how far both are from training images."""
    if options.generator is None:
        generator = why.fit_generator(
            dataset, size=options.size, epochs=options.epochs, seed=options.seed
        )
    else:
        generator = why.load_generator(options.generator)
    train, held_out = (raw_images(generator, dataset.part(name)) for name in ("train", "test"))
    labels = [list(dataset.part(name).table["label"]) for name in ("train", "test")]
    count = len(held_out)
    made = generator.sample(count=count, seed=options.seed)
    # as many of both, since more of them cover more
    for name, images, drawn_as in (
        ("held-out images", held_out, labels[1]),
        ("samples", made.images.astype(float), list(made.drawn_as)),
    ):
        print(line(name, compare(images, drawn_as, train, labels[0])))
    if options.pictures:
        picture = options.pictures / "dcgan.png"
        # of either the classes in turn
        shown = generator.sample(count=SHOWN, seed=options.seed).images
        draw(
            {"real": in_turn(train, labels[0])[:SHOWN], "generated": shown},
            generator.channels,
            picture,
        )
    judge = train_reference_classifier(
        dataset, generator.preprocessing, size=generator.network.size[0], seed=options.seed
    )
    right = np.mean(
        [judge.predict(dataset.part("test").image(i)).label == labels[1][i] for i in range(count)]
    )
    print(f"reference classifier: {right:.0%} of the held-out images right")
    counts = [int(text) for text in options.counts.split(",")]
    report = why.evaluate_generator(
        generator, dataset, classifier=judge, counts=counts, most=len(train), on_event=why.quiet
    )
    assert report is not None
    print(distances(report.table))


def in_turn(images: NDArray[Any], labels: list[str]) -> NDArray[Any]:
    """Return images, or their places, with the classes in turn, as samples of no one class are drawn."""
    places = {name: np.flatnonzero(np.array(labels) == name) for name in dict.fromkeys(labels)}
    rounds = zip(*(places[name] for name in sorted(places)), strict=False)
    return images[[place for each in rounds for place in each]]


def distances(table: pd.DataFrame) -> str:
    """Return Fréchet distances as text: a row for each number of images, mean and deviation."""
    words = table.assign(
        figure=[
            f"{distance:.3g} ± {deviation:.2g}"
            for distance, deviation in zip(table["distance"], table["deviation"], strict=True)
        ]
    )
    shown = words.pivot_table(
        index=["features", "dimensions", "images"],
        columns="compared",
        values="figure",
        aggfunc="first",
        sort=False,
    )
    return shown.to_string(na_rep="-")


def raw_images(generator: ImageGenerator, dataset: Dataset) -> NDArray[np.float64]:
    """Return images as the generator's preprocessing brings them to size, in raw units."""
    prepare = generator.preprocessing
    return np.stack([prepare.inverse(prepare(dataset.image(i))) for i in range(len(dataset))])


def compare(
    images: NDArray[np.float64], drawn_as: list[str], real: NDArray[np.float64], labels: list[str]
) -> Variety:
    """Measure the variety of images against real ones."""
    channels = range(images.shape[1])
    return measure_variety(
        image_features(images, channels), drawn_as, image_features(real, channels), labels
    )


def line(name: str, found: Variety) -> str:
    """Return the figures as a line."""
    shares = ", ".join(f"{label} {share:.2f}" for label, share in found.coverage.items())
    return f"{name}: spread {found.spread:.2f}, coverage {shares}"


def run_predictor(dataset: Dataset, options: argparse.Namespace) -> None:
    """Print the report of a predictor."""
    predictor = why.fit_channel_predictor(
        dataset, options.channel, size=options.size, epochs=options.epochs, seed=options.seed
    )
    rows = predictor.card["report"]["rows"]
    print(pd.DataFrame(rows).to_string(index=False, float_format="%.3f"))
    if options.pictures:
        test = dataset.part("test")
        of_classes = in_turn(np.arange(len(test)), list(test.table["label"]))
        found = [why.predict_channel(predictor, test.image(int(i))) for i in of_classes[:SHOWN]]
        real = [one.real for one in found if one.real is not None]
        draw(
            {"real": np.stack(real), "generated": np.stack([one.images for one in found])},
            found[0].channels,
            options.pictures / "predictor.png",
        )


def run_denoisers(dataset: Dataset, options: argparse.Namespace) -> None:
    """Print the table of denoisers."""
    chosen = DenoisingOptions(
        size=options.size, noise=options.noise, epochs=options.epochs, seed=options.seed
    )
    table = compare_denoisers(dataset, chosen)
    print(table.to_string(index=False, float_format="%.3f"))


def draw(rows: dict[str, NDArray[np.floating]], channels: tuple[str, ...], path: Path) -> None:
    """Draw images (N, C, H, W) in a row for each name and channel, in one contrast a channel."""
    count = max(len(images) for images in rows.values())
    figure = Figure(figsize=(1.6 * count, 1.7 * len(rows) * len(channels)), layout="constrained")
    axes = figure.subplots(len(rows) * len(channels), count, squeeze=False)
    for channel, name in enumerate(channels):
        both = np.concatenate([images[:, channel].ravel() for images in rows.values()])
        low, high = np.quantile(both, (0.001, 0.999))
        for row, (title, images) in enumerate(rows.items()):
            places = axes[channel * len(rows) + row]
            for place, image in zip(places, images, strict=False):
                place.imshow(image[channel], cmap="gray", vmin=low, vmax=high)
            places[0].set_title(f"{name}: {title}", fontsize=8)
    for place in axes.flat:
        place.set_axis_off()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=("dcgan", "predict", "denoise"))
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--channel", default="TMRM", help="that is predicted")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--noise", type=float, default=0.5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--generator", type=Path, help="a saved one, in place of training one")
    parser.add_argument("--tile", type=int, default=0, help="pixels of a tile of BBBC013")
    parser.add_argument("--counts", default="10,20,50,100,200", help="images on either side")
    parser.add_argument("--pictures", type=Path, help="folder for a picture")
    return parser.parse_args()


if __name__ == "__main__":
    main()
