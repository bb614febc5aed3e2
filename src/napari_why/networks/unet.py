"""A U-Net: images to images, by maps of several scales with connections between equal ones."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Three scales, as many as the invertible network of the benchmark has.
WIDTHS = (12, 24, 48)


class UNet(nn.Module):
    """Scales with skip connections (Ronneberger et al. 2015); (N, C, H, W) to (N, outputs, H, W).

    Parameters
    ----------
    channels : int
        Of what it takes.
    widths : sequence of int
        Channels of the scales, the finest first; two at least.
    outputs : int, optional
        Channels of what it gives; as many as it takes by default.
    normalise : bool
        Batch normalisation, whose statistics are those of the images that were trained on together:
        wrong for a network that is shown images of several kinds in turn.

    Examples
    --------
    >>> UNet(2, (4, 8), outputs=1)(torch.zeros(1, 2, 20, 16)).shape
    torch.Size([1, 1, 20, 16])
    """

    def __init__(
        self,
        channels: int,
        widths: Sequence[int] = WIDTHS,
        outputs: int | None = None,
        *,
        normalise: bool = True,
    ) -> None:
        super().__init__()
        self.widths = tuple(widths)
        self.down = nn.ModuleList()
        before = channels
        for width in widths:
            self.down.append(_two_layers(before, width, normalise))
            before = width
        self.up = nn.ModuleList(
            _two_layers(deep + shallow, shallow, normalise)
            for deep, shallow in zip(widths[:0:-1], widths[-2::-1], strict=True)
        )
        self.last = nn.Conv2d(widths[0], outputs or channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return what a standardised image leads to: of a change, the change."""
        skipped: list[Tensor] = []
        for index, layers in enumerate(self.down):
            x = layers(F.avg_pool2d(x, 2) if index else x)
            skipped.append(x)
        for layers, skip in zip(self.up, skipped[-2::-1], strict=True):
            grown = F.interpolate(x, size=skip.shape[-2:], mode="bilinear", align_corners=False)
            x = layers(torch.cat([grown, skip], dim=1))
        made: Tensor = self.last(x)
        return made


def _two_layers(before: int, width: int, normalise: bool) -> nn.Sequential:
    layers: list[nn.Module] = []
    for first in (before, width):
        norm = nn.BatchNorm2d(width) if normalise else nn.Identity()
        layers += [nn.Conv2d(first, width, 3, padding=1), norm, nn.ReLU()]
    return nn.Sequential(*layers)
