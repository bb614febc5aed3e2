"""Crops of latents, collected in one pass over any number of images in bounded memory."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

CROPS_PER_CLASS = 256
LARGEST_CROP = 64


@dataclass
class LatentCrops:
    """A random sample of crops of one stage's latents, by class.

    One crop of at most 64 x 64 positions is taken of an image; of the images of a class, 256 are
    kept at random (reservoir sampling, Vitter 1985, algorithm R). Which ones depends on the seed
    and on the order of the images alone.

    Parameters
    ----------
    classes : int
        Number of classes.
    seed : int
        Of the choice.
    """

    classes: int
    seed: int = 0
    crops: list[list[Tensor]] = field(init=False)
    seen: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.crops = [[] for _ in range(self.classes)]
        self.seen = [0] * self.classes
        self._generator = torch.Generator().manual_seed(self.seed)

    def add(self, latents: Tensor, labels: Tensor) -> None:
        """Take latents (N, K, h, w) and class indices (N,)."""
        for latent, label in zip(latents, labels.tolist(), strict=True):
            kept = self.crops[label]
            self.seen[label] += 1
            slot = len(kept)
            if slot == CROPS_PER_CLASS:
                slot = self._below(self.seen[label])
                if slot >= CROPS_PER_CLASS:
                    continue
                kept[slot] = self._cut(latent)
            else:
                kept.append(self._cut(latent))

    def of_class(self, label: int) -> Tensor:
        """Return the crops (n, K, h, w) of a class; images of several sizes are cut to the smallest."""
        kept = self.crops[label]
        height, width = (min(crop.shape[axis] for crop in kept) for axis in (1, 2))
        return torch.stack([crop[:, :height, :width] for crop in kept])

    def _cut(self, latent: Tensor) -> Tensor:
        height, width = latent.shape[-2:]
        y = self._below(max(1, height - LARGEST_CROP + 1))
        x = self._below(max(1, width - LARGEST_CROP + 1))
        return latent[:, y : y + LARGEST_CROP, x : x + LARGEST_CROP].detach().cpu().float().clone()

    def _below(self, end: int) -> int:
        return int(torch.randint(end, (), generator=self._generator))
