"""Make the pictures of docs/attribution.md: all methods on one held-out real image of a data set.

Trains a network and its generator, so that every method can be run, takes the held-out image that the
network is surest of, and draws the map of every method with its default parameters::

    python docs/make_attribution_pictures.py DATA PICTURE.png [--size 64] [--label COLUMN]
        [--classes ONE TWO] [--nuclei CHANNEL]
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from skimage.filters import threshold_otsu
from skimage.measure import label

import napari_why as why
from napari_why.attribution import METHODS, Attribution
from napari_why.core.errors import WhyError

# Maps in a row: a page is read across, and a map stays larger than a stamp.
ACROSS = 6
# Of the brightest absolute value: one single pixel would else leave all others white.
SHOWN_QUANTILE = 0.995


def main() -> None:
    """Train, explain with every method, draw."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--label", default="label")
    parser.add_argument("--classes", nargs="*", default=())
    parser.add_argument("--nuclei", type=int, default=0)
    arguments = parser.parse_args()
    dataset = why.Dataset.open(arguments.data, label=arguments.label)
    if arguments.classes:
        kept = dataset.select(np.flatnonzero(dataset.table["label"].isin(arguments.classes)))
        dataset = replace(kept, classes=tuple(arguments.classes))
    dataset = dataset.split(seed=0)
    classifier = why.fit(dataset, "cam_net", size=arguments.size, generator="iresnet")
    image, name = surest_image(classifier, dataset)
    regions = label_nuclei(image, arguments.nuclei)
    found: dict[str, Attribution] = {}
    for method in METHODS:
        try:
            found[method] = why.attribute(
                classifier, image, method, name, references=dataset, regions=regions
            )
        except WhyError as error:
            sys.stdout.write(f"{method}: {error}\n")
    draw(image, found, name).savefig(arguments.picture, dpi=110)
    sys.stdout.write(
        f"{arguments.picture.name}: {len(found)} of {len(METHODS)} methods on "
        f"{Path(image.attrs['source']).name}, evidence for {name}; accuracy on held-out images "
        f"{classifier.metrics['test']['images']['accuracy']:.2f}\n"
    )


def surest_image(classifier: why.Classifier, dataset: why.Dataset) -> tuple[xr.DataArray, str]:
    """Return the held-out image whose true class gets the highest probability, and that class."""
    held_out = dataset.part("test")
    best = max(
        range(len(held_out)),
        key=lambda row: classifier.predict(held_out.image(row)).probabilities[
            str(held_out.table["label"].iloc[row])
        ],
    )
    return held_out.image(best), str(held_out.table["label"].iloc[best])


def label_nuclei(image: xr.DataArray, channel: int = 0) -> np.ndarray:
    """Label what is bright in the channel of nuclei: a plain threshold, good enough for a picture."""
    nuclei = image.values[channel].astype(float)
    return label(nuclei > threshold_otsu(nuclei)).astype(np.int64)


def draw(image: xr.DataArray, found: dict[str, Attribution], name: str) -> Figure:
    """Draw the channels, then one map a method, each with its own symmetric scale."""
    shown = [*image.coords["c"].values.tolist(), *found]
    rows = -(-len(shown) // ACROSS)
    figure = Figure(figsize=(2.1 * ACROSS, 2.3 * rows), layout="constrained")
    panels = list(figure.subplots(rows, ACROSS, squeeze=False).flat)
    for axes in panels:
        axes.set_axis_off()
    for axes, (channel, plane) in zip(panels, zip(shown, image.values, strict=False), strict=False):
        axes.imshow(plane, cmap="gray", vmax=np.quantile(plane, SHOWN_QUANTILE))
        axes.set_title(channel, fontsize=9)
    for axes, (method, result) in zip(list(figure.axes)[len(image) :], found.items(), strict=False):
        draw_map(axes, result.joint, METHODS[method].title)
    figure.suptitle(f"evidence for {name} (red) and against it (blue)", fontsize=11)
    return figure


def draw_map(axes: Axes, joint: np.ndarray, title: str) -> None:
    """Draw a signed map; its largest shown value stands below it."""
    limit = float(np.quantile(np.abs(joint), SHOWN_QUANTILE)) or float(np.abs(joint).max()) or 1.0
    axes.imshow(joint, cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest")
    axes.set_title(title, fontsize=9)
    axes.text(
        0.5, -0.02, f"±{limit:.2g}", ha="center", va="top", fontsize=7, transform=axes.transAxes
    )


if __name__ == "__main__":
    main()
