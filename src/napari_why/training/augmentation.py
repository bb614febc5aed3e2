"""Random flips and rotations of training images."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Augmentation:
    """Flip and turn images at random; what a cell is does not depend on how it lies.

    Parameters
    ----------
    flips : bool
        Mirror along each axis with probability one half.
    right_angles : bool
        Turn by 0, 90, 180 or 270 degrees (0 or 180 where the image is not square).
    rotation : float
        Largest further turn to either side in degrees, uniformly drawn. Interpolated linearly;
        what turns in from outside is the image reflected at its border, never black.
    """

    flips: bool = True
    right_angles: bool = True
    rotation: float = 10.0

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
            images = _flipped(images, generator)
        if self.right_angles:
            images = _turned(images, generator)
        if self.rotation:
            share = torch.rand(len(images), generator=generator)
            images = rotate(images, (2 * share - 1) * self.rotation)
        return images


def rotate(images: Tensor, degrees: Tensor) -> Tensor:
    """Turn each image (N, C, H, W) about its centre by its own angle (N,) in degrees.

    Linear interpolation, reflection at the border; angles are those of the pixel grid, also where
    height and width differ.
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
    return F.grid_sample(
        images, grid, mode="bilinear", padding_mode="reflection", align_corners=False
    )


def _flipped(images: Tensor, generator: torch.Generator) -> Tensor:
    for axis in (-2, -1):
        chosen = torch.rand(len(images), generator=generator) < 0.5
        images = torch.where(chosen[:, None, None, None], images.flip(axis), images)
    return images


def _turned(images: Tensor, generator: torch.Generator) -> Tensor:
    square = images.shape[-2] == images.shape[-1]
    quarters = torch.randint(4, (len(images),), generator=generator)
    turns = quarters if square else quarters // 2 * 2
    turned = [
        torch.rot90(image, int(turn), (-2, -1)) for image, turn in zip(images, turns, strict=True)
    ]
    return torch.stack(turned)
