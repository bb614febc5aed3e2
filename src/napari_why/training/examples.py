"""The images of a training: in memory or read anew, augmented, in batches, each with its seed."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import psutil
import torch
import torch.nn.functional as F
from torch import Tensor

from napari_why.core.errors import MismatchError
from napari_why.core.events import (
    Advanced,
    Cancelled,
    Message,
    OnEvent,
    Started,
    ignore_event,
    never_cancelled,
)
from napari_why.datasets.dataset import Dataset
from napari_why.datasets.preprocessing import Preprocessing


def derived_seed(seed: int, *parts: int) -> int:
    """Return a seed for one part (an epoch, a purpose) of the work that ``seed`` stands for.

    Numbers depend on the epoch alone, not on what was drawn before it, so that a training
    resumed at an epoch draws what the uninterrupted one draws.

    Parameters
    ----------
    seed : int
        Of the whole work, 0 or more.
    *parts : int
        Numbers that name the part, each 0 or more; their order counts.

    Returns
    -------
    int
        From 0 to 2**63 - 1.

    Examples
    --------
    >>> derived_seed(0, 1) == derived_seed(0, 1), derived_seed(0, 1) == derived_seed(0, 2)
    (True, False)
    """
    # a SeedSequence mixes its parts, so that neighbouring epochs draw unrelated numbers; one bit
    # less, so that it fits a signed 64-bit integer
    return int(np.random.SeedSequence([seed, *parts]).generate_state(1, np.uint64)[0] >> 1)


@dataclass(frozen=True)
class Augmentation:
    """Flip and turn images at random, and make them a little brighter or darker.

    What a cell is does not depend on how it lies. It may depend on how bright it is: jitter takes
    weight from differences of brightness that are about as small as itself, and leaves larger ones.

    Parameters
    ----------
    flips : bool
        Mirror along each axis with probability one half.
    right_angles : bool
        Turn by 0, 90, 180 or 270 degrees (0 or 180 where the image is not square).
    rotation : float
        Largest further turn to either side in degrees, uniformly drawn. Interpolated linearly;
        what turns in from outside is the image reflected at its border, never black.
    jitter : float
        Standard deviation, for every image and channel, of a factor around 1 and of an offset
        around 0, both normally distributed and in units of the standardised image: what differs
        from plate to plate by staining and exposure.
    """

    flips: bool = True
    right_angles: bool = True
    # a choice: enough to blur the grid's directions, little enough that borders stay mostly real
    rotation: float = 10.0
    jitter: float = 0.0

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Return the images (N, C, H, W), each changed by its own random numbers.

        Examples
        --------
        >>> images = torch.arange(4.0).reshape(1, 1, 2, 2)
        >>> still = Augmentation(flips=False, right_angles=False, rotation=0)
        >>> bool((still(images, torch.Generator()) == images).all())
        True
        """
        if self.flips:
            images = _flip(images, generator)
        if self.right_angles:
            images = _turn(images, generator)
        # last, since it alone interpolates: flips and right angles move whole pixels
        if self.rotation:
            share = torch.rand(len(images), generator=generator)
            images = rotate(images, (2 * share - 1) * self.rotation)
        if self.jitter:
            # one row each of gains and offsets; positions share them, which keeps all structure
            gain, offset = self.jitter * torch.randn(
                2, *images.shape[:2], 1, 1, generator=generator
            )
            images = images * (1 + gain) + offset
        return images


def rotate(images: Tensor, degrees: Tensor) -> Tensor:
    """Turn each image (N, C, H, W) about its centre by its own angle (N,) in degrees.

    Linear interpolation, reflection at the border; angles are those of the pixel grid, also where
    height and width differ.

    Parameters
    ----------
    images : Tensor, shape (N, C, H, W)
    degrees : Tensor, shape (N,)
        Taken to the images' dtype and device.

    Returns
    -------
    Tensor, shape (N, C, H, W)
    """
    height, width = images.shape[-2:]
    angles = degrees.to(images) * (math.pi / 180)
    cosine, sine = torch.cos(angles), torch.sin(angles)
    nothing = torch.zeros_like(cosine)
    # affine_grid counts each axis from -1 to 1, hence the aspect ratio beside the sine
    rows = [
        torch.stack([cosine, -sine * (height / width), nothing], dim=1),
        torch.stack([sine * (width / height), cosine, nothing], dim=1),
    ]
    grid = F.affine_grid(torch.stack(rows, dim=1), list(images.shape), align_corners=False)
    # reflection: black corners would tell the network how far an image was turned
    return F.grid_sample(
        images, grid, mode="bilinear", padding_mode="reflection", align_corners=False
    )


def _flip(images: Tensor, generator: torch.Generator) -> Tensor:
    for axis in (-2, -1):
        chosen = torch.rand(len(images), generator=generator) < 0.5
        images = torch.where(chosen[:, None, None, None], images.flip(axis), images)
    return images


def _turn(images: Tensor, generator: torch.Generator) -> Tensor:
    square = images.shape[-2] == images.shape[-1]
    # drawn as quarters in both cases, so that shape alone does not shift the random numbers
    quarters = torch.randint(4, (len(images),), generator=generator)
    turns = quarters if square else quarters // 2 * 2
    turned = [
        torch.rot90(image, int(turn), (-2, -1)) for image, turn in zip(images, turns, strict=True)
    ]
    return torch.stack(turned)


# of the free memory: validation images and the network's own maps need some too
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

    Parameters
    ----------
    dataset : Dataset
        Of N images.
    classes : sequence of str
        In the order of the network's outputs; the data set need not hold all of them.

    Returns
    -------
    Tensor, int64, shape (N,)

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
    on_event, cancelled
        See :mod:`napari_why.core.events`; a step per image that is read into memory.

    Returns
    -------
    Examples, or None when cancelled.
    """
    labels = class_indices(dataset, classes)
    # one image tells the size of all: preprocessing makes them alike
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
    """Return the most precise dtype at which this many values fit in the share of free memory.

    Parameters
    ----------
    values : int
        Numbers to be kept: images x channels x pixels.
    memory_share : float
        0 to 1, of the memory that is free now.

    Returns
    -------
    torch.dtype or None
        ``float32``, or ``float16`` where only that fits; None where neither does.
    """
    allowed = psutil.virtual_memory().available * memory_share
    # float16 rounds to 11 significant bits, by at most 0.05 % of a value
    for dtype in (torch.float32, torch.float16):
        if values * dtype.itemsize <= allowed:
            return dtype
    return None


class Batches:
    """An iterable over the batches (images, labels) of one epoch.

    Parameters
    ----------
    examples : Examples
        Labelled images.
    batch_size : int
        Largest number of images in a batch. The images are spread evenly over the batches: a
        last batch of a single image would give batch normalisation nothing to average over.
    seed : int, optional
        Shuffle in an order drawn from this seed and the epoch; in the given order when None.
    augmentation : Augmentation, optional
        Applied to each batch when there is a seed.

    Examples
    --------
    >>> from napari_why.training.examples import TensorExamples
    >>> examples = TensorExamples(torch.zeros(5, 1, 4, 4), torch.zeros(5, dtype=torch.int64))
    >>> [len(labels) for _, labels in Batches(examples, batch_size=4)]
    [3, 2]
    """

    def __init__(
        self,
        examples: Examples,
        batch_size: int,
        seed: int | None = None,
        augmentation: Augmentation | None = None,
    ) -> None:
        self.examples = examples
        self.batch_size = batch_size
        self.seed = seed
        self.augmentation = augmentation
        self.epoch = 1

    def __len__(self) -> int:
        return -(-len(self.examples.labels) // self.batch_size)

    def order(self) -> Tensor:
        """Return the numbers of the images, int64, in the order in which this epoch yields them."""
        return self._shuffle()[0]

    def _shuffle(self) -> tuple[Tensor, torch.Generator | None]:
        count = len(self.examples.labels)
        if self.seed is None:
            return torch.arange(count), None
        generator = torch.Generator().manual_seed(derived_seed(self.seed, self.epoch))
        return torch.randperm(count, generator=generator), generator

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        order, generator = self._shuffle()
        # even parts: 21 images in batches of 20 are 11 and 10, not 20 and 1
        for chosen in torch.tensor_split(order, len(self)):
            images = self.examples.images(chosen.tolist())
            if generator is not None and self.augmentation is not None:
                images = self.augmentation(images, generator)
            yield images, self.examples.labels[chosen]
