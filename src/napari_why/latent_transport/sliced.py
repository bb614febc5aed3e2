"""One-dimensional quantile corrections along random directions."""

from dataclasses import dataclass

import torch
from torch import Tensor

QUANTILES = 64


@dataclass(frozen=True)
class SlicedCorrection:
    """Rounds of matching the quantiles of ``u = (z / s) R`` between two classes.

    R is a random rotation of the free channels z of a position (sliced transport: Pitié, Kokaram
    & Dahyot 2007; Bonneel et al. 2015). It mends what a map between Gaussians leaves: the marginal
    laws. Conditions are taken care of by what it is fitted on: positions of the two classes whose
    conditions follow the same law.

    Parameters
    ----------
    scale : Tensor, shape (d,)
        Standard deviation s of the free channels.
    rotations : Tensor, shape (rounds, d, d)
    source, target : Tensor, shape (rounds, 64, d)
        Quantiles of u in the two classes, rising.
    """

    scale: Tensor
    rotations: Tensor
    source: Tensor
    target: Tensor

    @classmethod
    def fitted(
        cls, moved: Tensor, target: Tensor, rounds: int, generator: torch.Generator
    ) -> "SlicedCorrection":
        """Fit on moved source positions and target positions.

        Parameters
        ----------
        moved, target : Tensor, shape (n, d), (m, d)
            Free channels. Their conditions must follow the same law.
        rounds : int
        generator : torch.Generator
        """
        width = target.shape[1]
        scale = target.std(0, correction=0).clamp(min=1e-6)
        current, goal = moved / scale, target / scale
        steps = torch.linspace(0, 1, QUANTILES)
        rotations = [target.new_zeros(0, width, width)]
        sources, targets = [target.new_zeros(0, QUANTILES, width)], []
        targets.append(sources[0])
        for _ in range(rounds):
            rotation = torch.linalg.qr(torch.randn(width, width, generator=generator))[0]
            u = current @ rotation
            source_quantiles = torch.quantile(u, steps, dim=0)
            target_quantiles = torch.quantile(goal @ rotation, steps, dim=0)
            moved_u = quantile_mapped(u, source_quantiles, target_quantiles)
            current = current + (moved_u - u) @ rotation.T
            rotations.append(rotation[None])
            sources.append(source_quantiles[None])
            targets.append(target_quantiles[None])
        return cls(scale, torch.cat(rotations), torch.cat(sources), torch.cat(targets))

    def __call__(self, moved: Tensor) -> Tensor:
        """Return corrected free channels (n, d) of moved positions."""
        current = moved / self.scale
        for rotation, source, target in zip(self.rotations, self.source, self.target, strict=True):
            u = current @ rotation
            current = current + (quantile_mapped(u, source, target) - u) @ rotation.T
        return current * self.scale


def quantile_mapped(values: Tensor, source: Tensor, target: Tensor) -> Tensor:
    """Map each column by linear interpolation between quantiles; beyond them, shift.

    Parameters
    ----------
    values : Tensor, shape (n, d)
    source, target : Tensor, shape (quantiles, d)
        Rising along the first axis.

    Examples
    --------
    >>> source, target = torch.tensor([[0.0], [1.0]]), torch.tensor([[0.0], [2.0]])
    >>> quantile_mapped(torch.tensor([[-1.0], [0.5], [3.0]]), source, target).flatten().tolist()
    [-1.0, 1.0, 4.0]
    """
    columns = values.T.contiguous()
    knots, images = source.T.contiguous(), target.T.contiguous()
    right = torch.searchsorted(knots, columns).clamp(1, knots.shape[1] - 1)
    low, high = knots.gather(1, right - 1), knots.gather(1, right)
    low_image, high_image = images.gather(1, right - 1), images.gather(1, right)
    share = ((columns - low) / (high - low).clamp(min=1e-9)).clamp(0, 1)
    inside = torch.lerp(low_image, high_image, share)
    below, above = columns - knots[:, :1], columns - knots[:, -1:]
    mapped = torch.where(below < 0, images[:, :1] + below, inside)
    return torch.where(above > 0, images[:, -1:] + above, mapped).T
