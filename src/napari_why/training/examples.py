"""Preprocessed images with their classes, in memory where they fit and read one by one where not."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import psutil
import torch
from torch import Tensor

from napari_why.datasets.dataset import Dataset
from napari_why.datasets.preprocessing import Preprocessing
from napari_why.errors import MismatchError
from napari_why.events import (
    Advanced,
    Cancelled,
    Message,
    OnEvent,
    Started,
    ignore_event,
    never_cancelled,
)

MEMORY_SHARE = 0.25


class Examples(Protocol):
    """What the training loop asks of labelled images."""

    @property
    def labels(self) -> Tensor:
        """Class of each image as an index, int64, shape (N,)."""

    def images(self, indices: Sequence[int]) -> Tensor:
        """Return the preprocessed images (n, C, H, W), float32, at these indices."""


@dataclass(frozen=True)
class TensorExamples:
    """Images that are in memory.

    Parameters
    ----------
    stack : Tensor, float32 or float16, shape (N, C, H, W)
        Preprocessed images.
    labels : Tensor, int64, shape (N,)
        Class indices.

    Examples
    --------
    >>> examples = TensorExamples(torch.zeros(3, 2, 8, 8), torch.tensor([0, 1, 0]))
    >>> examples.images([0, 2]).shape
    torch.Size([2, 2, 8, 8])
    """

    stack: Tensor
    labels: Tensor

    def images(self, indices: Sequence[int]) -> Tensor:
        """Return the images (n, C, H, W), float32, at these indices."""
        return self.stack[list(indices)].float()


@dataclass(frozen=True)
class DatasetExamples:
    """Images that are read and preprocessed each time they are needed."""

    dataset: Dataset
    preprocessing: Preprocessing
    labels: Tensor

    def images(self, indices: Sequence[int]) -> Tensor:
        """Return the images (n, C, H, W), float32, at these indices."""
        read = (self.preprocessing(self.dataset.image(index)) for index in indices)
        return torch.stack(list(read)).float()


def class_indices(dataset: Dataset, classes: Sequence[str]) -> Tensor:
    """Return the place of each image's label among ``classes``, int64, shape (N,).

    Raises
    ------
    MismatchError
        A label is none of the classes.
    """
    unknown = sorted(set(dataset.table["label"]) - set(classes))
    if unknown:
        raise MismatchError(
            f"found images labelled {', '.join(unknown)}; expected {', '.join(classes)}"
        )
    place = {name: index for index, name in enumerate(classes)}
    return torch.tensor([place[label] for label in dataset.table["label"]], dtype=torch.int64)


def examples_of(
    dataset: Dataset,
    preprocessing: Preprocessing,
    classes: Sequence[str],
    *,
    memory_share: float = MEMORY_SHARE,
    on_event: OnEvent = ignore_event,
    cancelled: Cancelled = never_cancelled,
) -> Examples | None:
    """Preprocess a data set once and keep it in memory, or prepare to read it image by image.

    Parameters
    ----------
    dataset : Dataset
        One part of a split data set, at least one image.
    preprocessing : Preprocessing
        Fitted on the training part.
    classes : sequence of str
        Class names in the order of the network's outputs.
    memory_share : float
        Share (0 to 1) of the free memory that the images may take. They are kept as float32 if
        they fit, as float16 if only that fits (rounded to 11 significant bits), and are read
        anew in every epoch if not; a Message tells of the latter two.

    Returns
    -------
    Examples, or None when cancelled.
    """
    labels = class_indices(dataset, classes)
    first = preprocessing(dataset.image(0))
    dtype = storage_dtype(len(dataset) * first.numel(), memory_share)
    if dtype is None:
        on_event(Message("the images do not fit in memory: they are read anew in every epoch"))
        return DatasetExamples(dataset, preprocessing, labels)
    if dtype is torch.float16:
        on_event(Message("the images are kept in memory at half precision to save space"))
    on_event(Started("reading images", len(dataset)))
    stack = torch.empty((len(dataset), *first.shape), dtype=dtype)
    for index in range(len(dataset)):
        if cancelled():
            return None
        stack[index] = first if index == 0 else preprocessing(dataset.image(index))
        on_event(Advanced(index + 1))
    return TensorExamples(stack, labels)


def storage_dtype(values: int, memory_share: float) -> torch.dtype | None:
    """Return the most precise dtype at which this many values fit in the share of free memory."""
    allowed = psutil.virtual_memory().available * memory_share
    for dtype in (torch.float32, torch.float16):
        if values * dtype.itemsize <= allowed:
            return dtype
    return None
