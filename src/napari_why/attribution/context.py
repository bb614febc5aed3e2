"""What a method may ask for beside the image: images to compare with, regions, a counterfactual.

A method names what it needs in its signature; what the user gave is brought onto the pixels of the
network's input here, and what is missing is asked for in words.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from napari_why.attribution.field import trained_of
from napari_why.attribution.registry import References
from napari_why.attribution.targets import Explained, label_references
from napari_why.core import events
from napari_why.core.errors import CancellationError, MismatchError, ParameterError
from napari_why.core.registry import Method
from napari_why.images.image import Grid

if TYPE_CHECKING:
    import xarray as xr

    from napari_why.counterfactuals import Counterfactual
    from napari_why.datasets import Dataset
    from napari_why.model import Classifier

# Images of a class: enough for their mean to be known to a quarter of their spread, and read in
# seconds from any disk.
REFERENCES_PER_CLASS = 16
# Steps of a counterfactual that is made because a method asks for one: those of the default series.
PATH_STEPS = 11


@dataclass(frozen=True, eq=False)
class Given:
    """What the user gave beside the image.

    Parameters
    ----------
    references : Dataset, References or None
        Images to compare with: a data set, of which those of the part ``train`` are taken where it
        has one, at most 16 of a class, evenly spread over its rows.
    regions : array_like, shape (H, W), or None
        Integer labels on the source image's pixels, 0 where no region is.
    counterfactual : Counterfactual or None
        Of this image, by this classifier.
    """

    references: "Dataset | References | None" = None
    regions: ArrayLike | None = None
    counterfactual: "Counterfactual | None" = None


def gather_context(
    method: Method,
    classifier: "Classifier",
    image: "xr.DataArray",
    x: Tensor,
    explained: Explained,
    given: Given,
    *,
    on_event: events.OnEvent = events.ignore_event,
    cancelled: events.Cancelled = events.never_cancelled,
) -> dict[str, Any]:
    """Return the keywords that a method names, made of what the user gave.

    Parameters
    ----------
    method : Method
    classifier : Classifier
    image : DataArray, dims (c, y, x)
        Raw.
    x : Tensor, shape (1, C, H, W)
        The same, prepared.
    explained : Explained
        What is explained; references are labelled as its column sees them.
    given : Given
    on_event, cancelled : callable

    Returns
    -------
    dict
        By the names of the keywords, those alone that the method names.

    Raises
    ------
    ParameterError
        The method needs something that was not given.
    MismatchError
        What was given does not fit the image or the classifier.
    CancellationError
        Cancelled before there was anything to explain.
    """
    listeners: dict[str, Any] = {"on_event": on_event, "cancelled": cancelled}
    makers: Mapping[str, Any] = {
        "raw_zero": lambda: black_image(classifier, image),
        "references": lambda: label_references(
            explained,
            _check_references(
                find_references(method, trained_of(classifier), given.references, **listeners), x
            ),
        ),
        "regions": lambda: find_regions(method, classifier, image, given.regions).to(x.device),
        "alpha_path": lambda: _find_path(classifier, image, x, explained.index, given, **listeners),
    }
    # made only where it is named: each costs a preprocessing at least
    return {name: make() for name, make in makers.items() if method.takes(name)}


def black_image(classifier: "Classifier", image: "xr.DataArray") -> Tensor:
    """Return the preprocessed image of no light at all, shape (1, C, H, W).

    Parameters
    ----------
    classifier : Classifier
    image : DataArray, dims (c, y, x)
        Raw; its size and channels count, and not its values.

    Returns
    -------
    Tensor, shape (1, C, H, W)
    """
    # raw 0 through the whole preprocessing: what 0 becomes depends on the channel's mean and spread
    return classifier.prepare(image.copy(data=np.zeros_like(image.values)))


def find_references(
    method: Method,
    classifier: "Classifier",
    given: "Dataset | References | None",
    *,
    on_event: events.OnEvent = events.ignore_event,
    cancelled: events.Cancelled = events.never_cancelled,
) -> References:
    """Return prepared images of every class.

    Parameters
    ----------
    method : Method
        Named where none were given.
    classifier : Classifier
        Prepares them, and says which classes there are.
    given : Dataset, References or None
        Of a data set at most 16 images of a class are read; references are returned as they are.
    on_event, cancelled : callable
        One step an image.

    Returns
    -------
    references : References

    Raises
    ------
    ParameterError
        None were given.
    MismatchError
        The data set has none of the classifier's classes, or images that do not fit.
    CancellationError
        Cancelled before all were read.
    """
    if given is None:
        raise ParameterError(
            f"references: found none; expected images that {method.title} compares with: give the "
            "training images (references=dataset; in the shell --references DATA; in the dock open "
            "them on the page Data)"
        )
    if isinstance(given, References):
        return given
    rows = choose_references(given, classifier.classes)
    on_event(events.Started("reading images to compare with", len(rows)))
    images, labels = [], []
    for done, (row, label) in enumerate(rows, start=1):
        if cancelled():
            raise CancellationError("cancelled while reading images to compare with")
        images.append(classifier.prepare(given.image(row)))
        labels.append(label)
        on_event(events.Advanced(done))
    if len({image.shape for image in images}) > 1:
        raise MismatchError(
            "references: found images of several sizes; expected those of one size, as the network "
            "was trained on"
        )
    return References(torch.cat(images), torch.tensor(labels))


def _check_references(references: References, x: Tensor) -> References:
    """Return images to compare with that are made as x is; of a field they may be smaller."""
    images, labels = references.images, references.labels
    if images.ndim != 4 or images.shape[1] != x.shape[1] or labels.shape != images.shape[:1]:
        raise MismatchError(
            f"references: found images of shape {tuple(images.shape)} and labels of shape "
            f"{tuple(labels.shape)}; expected images (N, {x.shape[1]}, H, W), prepared as the one that "
            "is explained, and a label for each; or give the data set itself"
        )
    return references


def choose_references(dataset: "Dataset", classes: tuple[str, ...]) -> list[tuple[int, int]]:
    """Return rows of a data set, and the class index of each, evenly spread over each class.

    Parameters
    ----------
    dataset : Dataset
        Of its images those of the part ``train``, where it has one.
    classes : tuple of str
        In the order of the network's outputs.

    Returns
    -------
    list of (int, int)
        At most 16 of a class.

    Raises
    ------
    MismatchError
        It has none of the classes.
    """
    names = dataset.table["label"].astype(str)
    usable = np.ones(len(dataset), dtype=bool)
    if "split" in dataset.table.columns and (dataset.table["split"] == "train").any():
        usable = (dataset.table["split"] == "train").to_numpy()
    chosen = []
    for index, name in enumerate(classes):
        rows = np.flatnonzero(usable & (names == name).to_numpy())
        # evenly, and not the first: rows lie in the order of wells and plates
        places = np.linspace(0, len(rows) - 1, min(len(rows), REFERENCES_PER_CLASS)).round()
        chosen += [(int(rows[place]), index) for place in places.astype(int)]
    if not chosen:
        raise MismatchError(
            f"references: found images of {', '.join(sorted(set(names)))}; expected some of the "
            f"classes {', '.join(classes)}"
        )
    return chosen


def find_regions(
    method: Method, classifier: "Classifier", image: "xr.DataArray", given: ArrayLike | None
) -> Tensor:
    """Return labels (H, W), int64, on the pixels of the network's input.

    A pixel of the input gets the label of the source pixel that its centre lies on.

    Parameters
    ----------
    method : Method
        Named where none were given.
    classifier : Classifier
        Says where the pixels of its network's input lie on the image.
    image : DataArray, dims (c, y, x)
        Raw.
    given : array_like of int, shape (y, x), or None
        0 where no region is.

    Returns
    -------
    Tensor, int64, shape (H, W)

    Raises
    ------
    ParameterError
        None were given.
    MismatchError
        They are no integers, of another size than the image, or all 0.
    """
    if given is None:
        raise ParameterError(
            f"regions: found none; expected a label image for {method.title}: one number for each "
            "cell, 0 for the background (regions=labels; in the shell --regions FILE; in the dock "
            "choose a Labels layer)"
        )
    labels = np.asarray(given)
    size = image.sizes["y"], image.sizes["x"]
    if labels.shape != size or not np.issubdtype(labels.dtype, np.integer):
        raise MismatchError(
            f"regions: found {labels.dtype} of shape {labels.shape}; expected integers of the "
            f"image's shape {size}"
        )
    on_input = resample_labels(labels, classifier.preprocessing.grid(image))
    if not (on_input > 0).any():
        raise MismatchError(
            "regions: found no label above 0 where the network looks; expected one for each cell"
        )
    return torch.from_numpy(on_input.astype(np.int64))


def resample_labels(labels: NDArray[Any], grid: Grid) -> NDArray[Any]:
    """Return the labels at the centres of a grid's pixels, nearest source pixel.

    Parameters
    ----------
    labels : ndarray, shape (y, x)
        On the source's pixels.
    grid : Grid
        Where the wanted pixels lie on those.

    Returns
    -------
    ndarray, the grid's shape
        Labels as they were, none between two.

    Examples
    --------
    >>> resample_labels(np.array([[1, 1, 2, 2]] * 4), Grid.reduce((4, 4), (2, 2))).tolist()
    [[1, 2], [1, 2]]
    """
    places = [
        # half a pixel up where a centre lies between two, as whole numbers do for even steps
        np.floor(grid.offset[axis] + grid.step[axis] * np.arange(grid.shape[axis]) + 0.5)
        .clip(0, labels.shape[axis] - 1)
        .astype(int)
        for axis in (0, 1)
    ]
    return np.asarray(labels[np.ix_(*places)])


def _find_path(
    classifier: "Classifier",
    image: "xr.DataArray",
    x: Tensor,
    target: int | None,
    given: Given,
    *,
    on_event: events.OnEvent,
    cancelled: events.Cancelled,
) -> Tensor:
    """Return the prepared images (T, C, H, W) of a counterfactual, from x to that at alpha1."""
    from napari_why.counterfactuals import counterfactual

    found = given.counterfactual
    if found is None:
        # towards the class that is explained, unless the image is predicted to be it
        predicted = int(classifier.logits(x)[0].argmax())
        aim = None if target in (None, predicted) else target
        found = counterfactual(
            classifier,
            image,
            None if aim is None else classifier.classes[aim],
            steps=PATH_STEPS,
            draws=0,
            on_event=on_event,
            cancelled=cancelled,
        )
    end = found.special_alphas.get("alpha1")
    last = found.special_images.get("alpha1")
    if end is None or last is None:
        raise CancellationError("cancelled before the counterfactual at alpha1 was made")
    if found.grid != classifier.preprocessing.grid(image):
        raise MismatchError(
            f"counterfactual: found one of {found.grid.shape} pixels; expected the pixels that the "
            f"network looks at, {classifier.preprocessing.grid(image).shape}: make one without "
            "whole_field, of this image and by this classifier"
        )
    between = [
        picture for alpha, picture in zip(found.alphas, found.images, strict=True) if alpha < end
    ]
    path = classifier.prepare_pixels(np.stack([*between, last]))
    # from the image itself, and not from what decoding leaves of it
    return torch.cat([x, path[1:]]) if between else torch.cat([x, path])
