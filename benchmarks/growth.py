"""How cost grows: with pixels, channels, classes, steps, images and wells; processor time.

    python benchmarks/growth.py [--repeats 5]

Each row doubles one number and leaves the others alone. The exponent is the slope of the logarithm of
the time against that of the number, by least squares: 1 says in proportion, 0 not at all.
"""

import argparse
import math
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

import napari_why as why
from napari_why.attribution import METHODS, References, explaining
from napari_why.datasets import Preprocessing
from napari_why.images import make_image
from napari_why.model import Classifier
from napari_why.networks import build_network
from napari_why.simulation import simulate_to_folder

NAME, SIZE, CHANNELS, CLASSES = "cam_net", 64, 2, 2
# few enough that a row takes seconds
WINDOWS = {"window": 16, "stride": 8}
OCCLUSION = "occlusion, window 16, step 8"
SIDES, COUNTS, MANY = (64, 128, 256), (1, 2, 4, 8), (2, 8, 32)


def cost(name: str, repeats: int, **changed: int) -> float:
    """Return the median seconds of a method on a network and image of these sizes."""
    given = {"size": SIZE, "channels": CHANNELS, "classes": CLASSES, **changed}
    size, channels, classes = given.pop("size"), given.pop("channels"), given.pop("classes")
    torch.manual_seed(0)
    network = build_network(NAME, input_channels=channels, classes=classes, size=size, seed=0)
    network.freeze()
    x = torch.randn(1, channels, size, size)
    further: dict[str, Any] = {}
    if METHODS[name].takes("references"):
        further["references"] = References(torch.randn(8, *x.shape[1:]), torch.arange(8) % 2)

    def work() -> None:
        with explaining(network):
            METHODS[name].function(network, x, 1, **given, **further)

    return median_time(work, repeats)


def median_time(work: Callable[[], Any], repeats: int) -> float:
    """Return the median processor seconds of several runs, after one to warm up."""
    work()
    times = []
    for _ in range(repeats):
        begun = time.process_time()
        work()
        times.append(time.process_time() - begun)
    return statistics.median(times)


def many_images(count: int, repeats: int) -> float:
    """Return the median seconds of saliency maps of so many images."""
    network = build_network(NAME, input_channels=CHANNELS, classes=CLASSES, size=SIZE, seed=0)
    network.freeze()
    names = tuple(f"channel {index}" for index in range(CHANNELS))
    preprocessing = Preprocessing(
        channels=names,
        size=SIZE,
        fit="resize",
        intensity="linear",
        mean=(2000.0,) * CHANNELS,
        std=(1000.0,) * CHANNELS,
        cofactor=(1.0,) * CHANNELS,
    )
    classifier = Classifier(network, preprocessing, ("one", "other"))
    pixels = np.random.default_rng(0).integers(0, 4000, (CHANNELS, SIZE, SIZE)).astype(np.uint16)
    images = [make_image(pixels, "cyx", names)] * count
    return median_time(lambda: list(why.attribute_many(classifier, images, "saliency")), repeats)


def many_wells(count: int, repeats: int) -> float:
    """Return the median seconds of opening a folder with a field of each of so many wells."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "fields"
        simulate_to_folder(place, count, size=32, wells=count)
        return median_time(lambda: why.Dataset.open(place), repeats)


def exponent(times: Mapping[int, float]) -> float:
    """Return the slope of log time against log number.

    Examples
    --------
    >>> round(exponent({1: 0.5, 2: 1.0, 4: 2.0}), 6)
    1.0
    """
    xs, ys = [math.log(number) for number in times], [math.log(each) for each in times.values()]
    middle, mean = statistics.mean(xs), statistics.mean(ys)
    above = sum((x - middle) * (y - mean) for x, y in zip(xs, ys, strict=True))
    return above / sum((x - middle) ** 2 for x in xs)


def write_tables(repeats: int) -> None:
    """Print one row for each number that grows."""
    torch.set_num_threads(1)
    print(f"\n## How cost grows ({NAME}, {SIZE} px unless said; ms of the processor)\n")
    print("| method | what grows | times | exponent |\n|---|---|---|---|")
    rows: dict[tuple[str, str], tuple[tuple[int, ...], Callable[[int], float]]] = {
        ("saliency", "pixels a side"): (SIDES, lambda n: cost("saliency", repeats, size=n)),
        ("lrp", "pixels a side"): (SIDES, lambda n: cost("lrp", repeats, size=n)),
        (OCCLUSION, "pixels a side"): (
            SIDES[:2],
            lambda n: cost("occlusion", 1, **WINDOWS, size=n),
        ),
        (OCCLUSION, "channels"): (COUNTS, lambda n: cost("occlusion", 1, **WINDOWS, channels=n)),
        ("saliency", "channels"): (COUNTS, lambda n: cost("saliency", repeats, channels=n)),
        ("saliency", "classes"): (MANY, lambda n: cost("saliency", repeats, classes=n)),
        (OCCLUSION, "classes"): (MANY, lambda n: cost("occlusion", 1, **WINDOWS, classes=n)),
        ("integrated_gradients", "steps"): (
            (8, 16, 32, 64),
            lambda n: cost("integrated_gradients", repeats, steps=n),
        ),
        ("expected_gradients", "samples"): (
            (16, 32, 64),
            lambda n: cost("expected_gradients", repeats, samples=n),
        ),
        ("saliency", "images"): ((4, 8, 16, 32), lambda n: many_images(n, repeats)),
        ("opening a data set", "wells"): ((12, 24, 48), lambda n: many_wells(n, repeats)),
    }
    for (method, what), (numbers, timed) in rows.items():
        times = {number: timed(number) for number in numbers}
        shown = ", ".join(f"{number}: {1e3 * seconds:.1f}" for number, seconds in times.items())
        print(f"| {method} | {what} | {shown} | {exponent(times):.2f} |", flush=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=5)
    write_tables(parser.parse_args().repeats)


if __name__ == "__main__":
    main()
