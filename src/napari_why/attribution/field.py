"""A classifier made ready for a field larger than its training images, and windows over the field."""

import math
from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass, fields
from itertools import product
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from napari_why.core.errors import MismatchError
from napari_why.datasets.preprocessing import Preprocessing, resize_pixels
from napari_why.images import Grid
from napari_why.model.classifier import Classifier
from napari_why.model.image_facts import ImageFacts, check_image
from napari_why.model.likeness import Unlikeness

Shape = tuple[int, int]


@dataclass(frozen=True)
class ScaledPreprocessing(Preprocessing):
    """Prepare a whole field at the scale of the training images, uncut.

    Parameters
    ----------
    shape : (int, int)
        Height and width that the field is resized to; its own where images were not resized.
    """

    shape: Shape = (0, 0)

    def of_pixels(self, pixels: NDArray[Any]) -> Tensor:
        """Return the raw pixels (C, y, x) of a field, float32, shape (C, H, W), standardised."""
        same = pixels.shape[1:] == self.shape  # then every grey level stays as it is
        raw = pixels if same else resize_pixels(pixels.astype(np.float64), self.shape)
        return super().of_pixels(raw)

    def grid(self, image: xr.DataArray) -> Grid:
        """Return where the prepared pixels lie on those of the field."""
        source = (image.sizes["y"], image.sizes["x"])
        return Grid(source) if source == self.shape else Grid.reduce(source, self.shape)


@dataclass(frozen=True, eq=False)
class FieldClassifier(Classifier):
    """The same classifier for fields of one size, seen at the scale of its training images.

    Parameters
    ----------
    trained : Classifier
        As it was trained; weights and fingerprint are its.
    window : (int, int)
        Height and width of its input in pixels.
    source_window : (int, int)
        How many pixels of the field that is.
    """

    _: KW_ONLY
    trained: Classifier
    window: Shape
    source_window: Shape

    @property
    def configuration(self) -> dict[str, Any]:
        """That of the trained classifier: it is the same one."""
        return self.trained.configuration

    def unlike(self, image: xr.DataArray) -> tuple[Unlikeness, ...]:
        """Return in what windows of a field are unlike the training images, and how many are.

        Windows side by side are looked at, each as a training image of its own.
        """
        plane = check_image(image, self.channels, self.preprocessing)
        windows = list(_side_by_side(plane, self.source_window))
        found: dict[tuple[str, tuple[str, ...]], list[Unlikeness]] = {}
        for window in windows:
            for item in self.trained.unlike(window):
                found.setdefault((item.kind, item.channels), []).append(item)
        return tuple(
            Unlikeness(kind, _said(items, len(windows)), channels)
            for (kind, channels), items in found.items()
        )


def _side_by_side(plane: xr.DataArray, window: Shape) -> Iterator[xr.DataArray]:
    for top, left in product(
        range(0, plane.sizes["y"] - window[0] + 1, window[0]),
        range(0, plane.sizes["x"] - window[1] + 1, window[1]),
    ):
        yield plane.isel(y=slice(top, top + window[0]), x=slice(left, left + window[1]))


def _said(items: list[Unlikeness], windows: int) -> str:
    if windows == 1:
        return items[0].sentence
    return f"{items[0].sentence} (so or alike in {len(items)} of {windows} windows of the field)"


def for_windows(classifier: Classifier, image: xr.DataArray) -> FieldClassifier:
    """Return the classifier for a field, to be explained window by window.

    Images that were cut or used as they are in training leave the field as it is. Where they were
    resized, the field is resized by the same factor: the network sees cells of the size it knows, and
    a window has the size of a training image.

    Parameters
    ----------
    classifier : Classifier
    image : DataArray, dims (c, y, x)
        At least as large as an image of the training.

    Returns
    -------
    FieldClassifier
        Sharing the network with ``classifier``.

    Raises
    ------
    MismatchError
        The training images' size is not known, several were resized to one, or the field is smaller.
    """
    preprocessing = classifier.preprocessing
    window, source_window = _windows_of(classifier)
    size = (image.sizes["y"], image.sizes["x"])
    if size[0] < source_window[0] or size[1] < source_window[1]:
        raise MismatchError(
            f"sliding_window: found an image of {size[0]} x {size[1]} pixels; expected at least the "
            f"{source_window[0]} x {source_window[1]} that the network looks at; leave the wrapper out"
        )
    height, width = (
        round(length * inside / outside)
        for length, inside, outside in zip(size, window, source_window, strict=True)
    )
    plain = {item.name: getattr(preprocessing, item.name) for item in fields(Preprocessing)}
    scaled = ScaledPreprocessing(**(plain | {"size": None, "fit": "none"}), shape=(height, width))
    same = {item.name: getattr(classifier, item.name) for item in fields(Classifier)}
    return FieldClassifier(
        **(same | {"preprocessing": scaled}),
        trained=classifier,
        window=window,
        source_window=source_window,
    )


def trained_of(classifier: Classifier) -> Classifier:
    """Return the classifier for images of the training's size: that of a field's, else itself."""
    return classifier.trained if isinstance(classifier, FieldClassifier) else classifier


def _windows_of(classifier: Classifier) -> tuple[Shape, Shape]:
    """Return the size of the network's input, and of what is made that in an image."""
    preprocessing = classifier.preprocessing
    side = preprocessing.size
    if side is not None and preprocessing.fit == "crop":
        return (side, side), (side, side)
    shapes = ImageFacts.from_dict(classifier.card["images"]).shapes if classifier.card else ()
    if len(shapes) != 1:
        found = ", ".join(f"{height} x {width}" for height, width in shapes) or "none known"
        raise MismatchError(
            f"sliding_window: found a classifier with training images of several or unknown sizes "
            f"({found}); expected one size, which tells the scale that the network knows; train it "
            "with sizing='crop'"
        )
    return (shapes[0] if side is None or preprocessing.fit == "none" else (side, side)), shapes[0]


@dataclass(frozen=True)
class FieldWindow:
    """One window of a field: where it lies, and the share of each of its pixels in the blended map.

    Parameters
    ----------
    top, left : int
        Its corner.
    shares : Tensor, shape (h, w), float64
        Between 0 and 1; those of all windows on a pixel sum to 1.
    """

    top: int
    left: int
    shares: Tensor

    def cut(self, pixels: Tensor) -> Tensor:
        """Return the window (..., h, w) of pixels (..., H, W)."""
        height, width = self.shares.shape
        return pixels[..., self.top : self.top + height, self.left : self.left + width]


def place_windows(size: Shape, window: Shape, overlap: float, step: int = 1) -> list[FieldWindow]:
    """Return windows that cover a field, row by row, and fade into each other.

    Parameters
    ----------
    size, window : (int, int)
        Heights and widths.
    overlap : float
        Share of a window's side that it has in common with the next at the least, 0 to 0.5.
    step : int
        Windows start at multiples of it; the last one of a row ends at the field's edge anyway.

    Returns
    -------
    list of FieldWindow
        One where the field is no larger than a window.

    Examples
    --------
    >>> [(w.top, w.left) for w in place_windows((8, 20), (8, 8), 0.25, 2)]
    [(0, 0), (0, 6), (0, 12)]
    >>> place_windows((8, 8), (8, 8), 0.5)[0].shares.unique().tolist()
    [1.0]
    """
    rows, columns = (
        _spans(length, inside, overlap, step) for length, inside in zip(size, window, strict=True)
    )
    return [
        FieldWindow(top, left, across[:, None] * along[None, :])
        for (top, across), (left, along) in product(rows, columns)
    ]


def _spans(length: int, window: int, overlap: float, step: int) -> list[tuple[int, Tensor]]:
    """Return the starts along one axis with each pixel's share, float64."""
    stride = window * (1 - overlap)
    count = math.ceil((length - window) / stride) + 1
    # evenly spread, and not the last one squeezed in
    ideal = [index * (length - window) / max(count - 1, 1) for index in range(count)]
    starts = [int(start // step) * step for start in ideal[:-1]] + [length - window]
    weights = torch.zeros(count, length, dtype=torch.float64)
    fade = _fade(window, round(window * overlap))
    for index, start in enumerate(starts):
        weights[index, start : start + window] = fade
    shares = weights / weights.sum(dim=0)
    return [(start, shares[i, start : start + window]) for i, start in enumerate(starts)]


def _fade(window: int, ramp: int) -> Tensor:
    """Return 1 in the middle of a window, falling as half a cosine wave over its outer ``ramp``."""
    distance = (
        torch.arange(window, dtype=torch.float64) + 0.5
    )  # never 0: a corner has to be covered
    distance = torch.minimum(distance, distance.flip(0))
    return torch.sin(math.pi / 2 * (distance / max(ramp, 0.5)).clamp(max=1)) ** 2
