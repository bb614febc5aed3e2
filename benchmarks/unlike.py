"""Which images unlike the training images are found, and how often a real one is taken for one.

    python benchmarks/unlike.py [--data FOLDER] [--images 60] [--sets NAME;...] [--seed 0]

What ``Classifier.check`` knows of training images is measured on them, without training a network,
in five folds by well: every image is held out once. A false alarm is a held-out image, as it is, of
which anything is said. Then the held-out images of the first fold, at most ``--images``, are spoilt in
ways that chose nothing, and it is counted how many are found, and of the inverted, exchanged and
ten times as bright ones how many by what they are. Wells differ within a plate less than plates do:
``leigh-ds-wt by plate`` learns from one plate and looks at the other. Printed: shares with Wilson's
95 % interval, which takes the fields of a well to be independent.
"""

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import ndimage
from scipy.stats import binomtest

from napari_why.datasets import Dataset, Preprocessing
from napari_why.model.image_facts import ImageFacts, single_plane
from napari_why.simulation import simulate


class Raw(NamedTuple):
    """An image to spoil: its pixels (C, H, W), the highest value of their type, random numbers.

    ``other`` are the pixels of another image of the same size.
    """

    pixels: NDArray[np.float64]
    top: float
    rng: np.random.Generator
    other: NDArray[np.float64]


Spoil = Callable[[Raw], NDArray[np.float64]]
# name of the set: (size the network would see, column of the folds)
REAL = {
    "leigh-ds-tt": (112, None),
    "leigh-ds-wt": (112, None),
    "leigh-ds-wt by plate": (112, "plate"),
    "bbbc013-translocation": (224, None),
    "mitohcs-wt-ko": (112, None),
}
SIMULATED = {"simulated, 32 px": 32, "simulated, 64 px": 64}
FEW = "simulated, 64 px, 24 images"


def mean(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return an image of each channel's mean."""
    return np.broadcast_to(x.mean((1, 2), keepdims=True), x.shape)


def noise(x: NDArray[np.float64], spread: object, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return Gaussian noise about each channel's mean."""
    return np.asarray(mean(x) + spread * rng.normal(size=x.shape))


def deviation(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the standard deviation of each channel."""
    return x.std((1, 2), keepdims=True)


def half(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Blacken the right half of the last channel."""
    there = np.ones_like(x)
    there[-1, :, x.shape[2] // 2 :] = 0
    return x * there


def blurred_noise(raw: Raw, sigma: float) -> NDArray[np.float64]:
    """Put noise of a correlation length into the last channel, with the grey levels that it has."""
    wanted = raw.pixels[-1]
    field = ndimage.gaussian_filter(raw.rng.normal(size=wanted.shape), sigma)
    ranks = field.ravel().argsort().argsort()
    return np.concatenate(
        [raw.pixels[:-1], np.sort(wanted, axis=None)[ranks].reshape(1, *wanted.shape)]
    )


def lines(x: NDArray[np.float64]) -> tuple[float, float]:
    """Return the standard deviations that blur an image to a sixteenth of its size."""
    return x.shape[1] / 16, x.shape[2] / 16


SPOILT: dict[str, Spoil] = {
    "all pixels 0": lambda raw: np.zeros_like(raw.pixels),
    "constant, at the mean": lambda raw: mean(raw.pixels).round(),
    "constant, half of the range": lambda raw: np.full_like(raw.pixels, raw.top // 2),
    "constant, saturated": lambda raw: np.full_like(raw.pixels, raw.top),
    "last channel constant": lambda raw: np.concatenate(
        [raw.pixels[:-1], mean(raw.pixels)[-1:].round()]
    ),
    "mean + read noise (sd 2)": lambda raw: noise(raw.pixels, 2, raw.rng),
    "inverted, largest - x": lambda raw: raw.pixels.max((1, 2), keepdims=True) - raw.pixels,
    "inverted, range - x": lambda raw: raw.top - raw.pixels,
    "channels exchanged": lambda raw: raw.pixels[::-1],
    "x 10, clipped": lambda raw: raw.pixels * 10,
    "x 10": lambda raw: raw.pixels * 10,
    "x 3": lambda raw: raw.pixels * 3,
    "x 0.1": lambda raw: raw.pixels / 10,
    "noise: uniform": lambda raw: raw.rng.uniform(0, raw.top, raw.pixels.shape),
    "noise: Gaussian, mean and sd kept": lambda raw: noise(
        raw.pixels, deviation(raw.pixels), raw.rng
    ),
    "noise: Poisson of the mean": lambda raw: raw.rng.poisson(mean(raw.pixels)).astype(float),
    "noise: pixels shuffled": lambda raw: raw.rng.permuted(
        raw.pixels.reshape(len(raw.pixels), -1), axis=1
    ).reshape(raw.pixels.shape),
    "last channel: noise of 1 px": lambda raw: blurred_noise(raw, 1),
    "last channel: noise of 2 px": lambda raw: blurred_noise(raw, 2),
    "last channel: noise of 4 px": lambda raw: blurred_noise(raw, 4),
    "last channel of another image": lambda raw: np.concatenate([raw.pixels[:-1], raw.other[-1:]]),
    "last channel mirrored": lambda raw: np.concatenate(
        [raw.pixels[:-1], raw.pixels[-1:, :, ::-1]]
    ),
    "noise of 3 sd added": lambda raw: (
        raw.pixels + 3 * deviation(raw.pixels) * raw.rng.normal(size=raw.pixels.shape)
    ),
    "half of a channel black": lambda raw: half(raw.pixels),
    "blurred to 1/16": lambda raw: ndimage.gaussian_filter(raw.pixels, (0, *lines(raw.pixels))),
}
WIDE = "x 10"  # not clipped to the pixel type
NAMES = {"inverted": "inverted", "channels": "swapped", "x 10": "brightness", "noise:": "noise"}


def main() -> None:
    """Measure and print."""
    options = arguments()
    print("| set | measured | held out | false alarms | of which: kinds | ms an image |")
    print("|---|---|---|---|---|---|")
    rates: dict[str, dict[str, str]] = {}
    for name in options.sets.split(";") if options.sets else (*REAL, *SIMULATED, FEW):
        folds, size = open_folds(name, options)
        rates[name] = measure_set(name, folds, size, options)
    print("\n| spoilt | " + " | ".join(rates) + " |")
    print("|---" * (len(rates) + 1) + "|")
    for spoilt in SPOILT:
        print(f"| {spoilt} | " + " | ".join(found[spoilt] for found in rates.values()) + " |")


def arguments() -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    folder = os.environ.get("NAPARI_WHY_DATA", "../shared/data")
    parser.add_argument("--data", type=Path, default=Path(folder))
    parser.add_argument("--images", type=int, default=60)
    parser.add_argument("--sets", default="")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def open_folds(name: str, options: argparse.Namespace) -> tuple[list[Dataset], int]:
    """Return the folds of a set and the size that its network would see."""
    if name in REAL:
        size, by = REAL[name]
        dataset = Dataset.open(options.data / name.removesuffix(" by plate") / "labels.csv")
        # four wells of the rarest class: the more folds, the more images are left to measure
        fewest = min(
            len(set(dataset.groups[dataset.labels == n])) for n in range(len(dataset.classes))
        )
        return dataset.folds(None if by else min(5, fewest), by=by, seed=options.seed), size
    size = SIMULATED.get(name, 64)
    # 36: 24 are left to measure by one fold in three
    dataset = simulate(36 if name == FEW else 300, size=size, seed=options.seed)
    return dataset.folds(3 if name == FEW else None, seed=options.seed), size


def measure_set(
    name: str, folds: list[Dataset], size: int, options: argparse.Namespace
) -> dict[str, str]:
    """Print the false alarms of a set, and return the shares of the spoilt images that are found."""
    alarms: list[tuple[str, ...]] = []
    measured, seconds = [], 0.0
    found: dict[str, str] = {}
    for fold in folds:
        training = fold.select(np.asarray(fold.table["split"] != "test"))
        held_out = fold.part("test")
        ones = (1.0,) * len(fold.channels)
        seen = Preprocessing(fold.channels, size, "resize", "linear", ones, ones, ones)
        facts = ImageFacts.measure(training, seen)
        measured.append(facts.measured)
        for row in range(len(held_out)):
            image = single_plane(held_out.image(row)).load()
            start = time.perf_counter()
            alarms.append(tuple(item.kind for item in facts.unlike(image, seen)))
            seconds += time.perf_counter() - start
        if not found:
            found = find_spoilt(facts, seen, held_out, options)
    kinds = sorted({kind for said in alarms for kind in said})
    counted = ", ".join(f"{kind} {sum(kind in said for said in alarms)}" for kind in kinds)
    false = sum(bool(said) for said in alarms)
    print(
        f"| {name} | {min(measured)} | {len(alarms)} | {share(false, len(alarms))} | {counted} "
        f"| {1000 * seconds / len(alarms):.1f} |",
        flush=True,
    )
    return found


def find_spoilt(
    facts: ImageFacts, seen: Preprocessing, images: Dataset, options: argparse.Namespace
) -> dict[str, str]:
    """Return, for each way of spoiling images, the share that is found and rightly named."""
    rng = np.random.default_rng(options.seed)
    rows = rng.permutation(len(images))[: options.images]
    shares = {}
    for name, spoil in SPOILT.items():
        said = []
        for place, row in enumerate(rows):
            image = single_plane(images.image(int(row))).load()
            other = images.image(int(rows[place - 1]))
            changed = spoilt(image, other, name, spoil, rng)
            kinds = [item.kind for item in facts.unlike(changed, seen)]
            # a wider pixel type would give the image away, whatever its pixels are
            said.append([kind for kind in kinds if kind != "pixel type"])
        found = sum(bool(kinds) for kinds in said)
        wanted = next((kind for start, kind in NAMES.items() if name.startswith(start)), None)
        named = sum(wanted in kinds for kinds in said)
        shares[name] = share(found, len(said)) + (f", named {named}" if wanted else "")
    return shares


def spoilt(
    image: xr.DataArray, other: xr.DataArray, name: str, spoil: Spoil, rng: np.random.Generator
) -> xr.DataArray:
    """Return an image with its pixels spoilt, of the same type unless that cannot hold them."""
    top = float(np.iinfo(image.dtype).max)
    raw, others = (np.asarray(item, dtype=np.float64) for item in (image, single_plane(other)))
    pixels = np.round(spoil(Raw(raw, top, rng, others)))
    if name == WIDE:
        return image.copy(data=pixels.astype(np.uint16 if pixels.max() < 2**16 else np.uint32))
    return image.copy(data=np.clip(pixels, 0, top).astype(image.dtype))


def share(count: int, of: int) -> str:
    """Return a count, its share and Wilson's interval as text."""
    low, high = binomtest(count, of).proportion_ci(0.95, "wilson")
    return f"{count} of {of} ({100 * low:.0f}–{100 * high:.0f} %)"


if __name__ == "__main__":
    main()
