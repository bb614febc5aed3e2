"""What each of two players minimises, and what both see of an image when images are few."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

LossKind = Literal["hinge", "non_saturating", "least_squares"]


def discriminator_loss(kind: LossKind, real: Tensor, made: Tensor) -> Tensor:
    """Return what a discriminator minimises, a mean over all logits.

    ``hinge``: max(0, 1 - real) + max(0, 1 + made) (Lim & Ye 2017, arXiv:1705.02894);
    ``non_saturating``: the cross-entropy (Goodfellow et al. 2014, arXiv:1406.2661);
    ``least_squares``: (real - 1)^2 + made^2 (Mao et al. 2017, arXiv:1611.04076).

    Parameters
    ----------
    kind : str
    real, made : Tensor
        Logits of real and of made images, of any shape.

    Returns
    -------
    Tensor, shape ()

    Examples
    --------
    >>> sure = torch.tensor([2.0])
    >>> discriminator_loss("hinge", sure, -sure).item(), generator_loss("hinge", -sure).item()
    (0.0, 2.0)
    """
    match kind:
        case "hinge":
            return F.relu(1 - real).mean() + F.relu(1 + made).mean()
        case "non_saturating":
            return F.softplus(-real).mean() + F.softplus(made).mean()
        case "least_squares":
            return (real - 1).square().mean() + made.square().mean()


def generator_loss(kind: LossKind, made: Tensor) -> Tensor:
    """Return what a generator minimises, given the discriminator's logits of what it made.

    ``hinge``: -made; ``non_saturating``: -log p(real); ``least_squares``: (made - 1)^2.

    Parameters
    ----------
    kind : {"hinge", "non_saturating", "least_squares"}
    made : Tensor
        Logits of made images, of any shape.

    Returns
    -------
    Tensor, shape ()
        A mean over all logits.
    """
    match kind:
        case "hinge":
            return -made.mean()
        case "non_saturating":
            return F.softplus(-made).mean()
        case "least_squares":
            return (made - 1).square().mean()


# As published (Zhao et al. 2020): of the side, how far images are moved and how large the hole is.
MOVED, HOLE = 1 / 8, 1 / 2
# Of the published brightness: in standard deviations of a channel, uniformly to either side.
BRIGHTER = 0.5


def augment_differentiably(images: Tensor, random: torch.Generator) -> Tensor:
    """Change images at random such that a gradient reaches them (Zhao et al. 2020, arXiv:2006.10738).

    Each image is made brighter or darker, moved by up to an eighth of its side, and gets a hole of half
    its side. Applied to real and made images alike a discriminator cannot learn few real images by
    heart, and no generator learns the changes, since those are seen of its images too.

    Parameters
    ----------
    images : Tensor, shape (N, C, H, W)
        Standardised, so that 0 is the mean that a hole is filled with.
    random : torch.Generator
        On the CPU.

    Returns
    -------
    Tensor, shape (N, C, H, W)

    Examples
    --------
    >>> augment_differentiably(torch.ones(2, 1, 8, 8), torch.Generator().manual_seed(0)).shape
    torch.Size([2, 1, 8, 8])
    """
    count, _, height, width = images.shape
    shift = BRIGHTER * (2 * torch.rand(count, 1, 1, 1, generator=random) - 1)
    changed = _move(images + shift.to(images), random)
    tops, lefts = (_draw_places(side, count, random) for side in (height, width))
    rows, columns = torch.arange(height)[None, :, None], torch.arange(width)[None, None, :]
    hole = (rows >= tops) & (rows < tops + height * HOLE)
    hole = hole & (columns >= lefts) & (columns < lefts + width * HOLE)
    return changed * (~hole)[:, None].to(images)


def _move(images: Tensor, random: torch.Generator) -> Tensor:
    """Move each image by whole pixels; what comes in from outside is the mean."""
    count, _, height, width = images.shape
    moved = []
    reach = [int(side * MOVED) for side in (height, width)]
    padded = F.pad(images, (reach[1], reach[1], reach[0], reach[0]))
    steps = [torch.randint(0, 2 * most + 1, (count,), generator=random).tolist() for most in reach]
    for image, top, left in zip(padded, *steps, strict=True):
        moved.append(image[:, top : top + height, left : left + width])
    return torch.stack(moved)


def _draw_places(side: int, count: int, random: torch.Generator) -> Tensor:
    # beyond the border on either side, so that a pixel near it is covered as often as any other
    middle = torch.randint(0, side + 1, (count, 1, 1), generator=random)
    return middle - int(side * HOLE) // 2
