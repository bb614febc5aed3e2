"""Images of nuclei with threads around them, and changes of these that are known."""

from collections.abc import Callable

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from napari_why.transport.pixel_maps import smooth

SIDE = 32


def cells(count: int, seed: int, side: int = SIDE) -> Tensor:
    """Return images (n, 2, s, s): nuclei, and threads around them, brighter near nuclei; standardised."""
    rng = np.random.default_rng(seed)
    images = []
    for _ in range(count):
        nuclei = np.zeros((side, side))
        for _ in range(int(rng.integers(2, 5))):
            y, x = rng.integers(6, side - 6, 2)
            nuclei[y - 3 : y + 4, x - 3 : x + 4] = 1
        distance = ndimage.distance_transform_edt(nuclei == 0)
        threads = np.abs(ndimage.gaussian_filter(rng.normal(size=(side, side)), 1.2))
        threads *= np.exp(-distance / 8) * rng.uniform(0.8, 1.25)
        noise = 0.02 * rng.normal(size=(2, side, side))
        images.append(np.stack([ndimage.gaussian_filter(nuclei, 1), 4 * threads]) + noise)
    return torch.from_numpy(np.stack(images)).float()


def dimmed(images: Tensor) -> Tensor:
    return torch.stack([images[:, 0], 0.55 * images[:, 1]], 1)


def blurred(images: Tensor) -> Tensor:
    return torch.stack([images[:, 0], smooth(images[:, 1], 1.5)], 1)


def gathered(images: Tensor) -> Tensor:
    """Move what emits towards the nuclei."""
    near = smooth((images[:, 0] > 0.5).float(), 3.0)
    return torch.stack([images[:, 0], images[:, 1] * torch.exp(3 * near - 0.8)], 1)


def target_of(change: Callable[[Tensor], Tensor]) -> Tensor:
    """Return other images with the change and the noise of a camera."""
    made = change(cells(30, 1))
    return made + 0.01 * torch.randn(made.shape, generator=torch.Generator().manual_seed(3))
