"""Shuffled and augmented batches that depend on the seed and the epoch alone."""

from collections.abc import Iterator

import torch
from torch import Tensor

from napari_why.training.augmentation import Augmentation
from napari_why.training.examples import Examples
from napari_why.training.seeds import derived_seed


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

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        count = len(self.examples.labels)
        if self.seed is None:
            generator, order = None, torch.arange(count)
        else:
            generator = torch.Generator().manual_seed(derived_seed(self.seed, self.epoch))
            order = torch.randperm(count, generator=generator)
        for chosen in torch.tensor_split(order, len(self)):
            images = self.examples.images(chosen.tolist())
            if generator is not None and self.augmentation is not None:
                images = self.augmentation(images, generator)
            yield images, self.examples.labels[chosen]
