"""Residual blocks that scale maps down and up, for encoders and decoders of any image size."""

from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from napari_why.networks.modules import ResidualSum

SMALLEST_MAP = 4
Shape = tuple[int, int]


class ResidualBlock(nn.Module):
    """ReLU(skip(u) + branch(u)) with u = scale(x).

    The branch is conv 3x3 - batch norm - ReLU - conv 3x3 - batch norm, the skip connection conv
    1x1 - batch norm (He et al. 2016, arXiv:1512.03385).

    Parameters
    ----------
    inputs, outputs : int
        Channels.
    stride : int
        2 halves the maps, rounding up.
    enlarged : (int, int), optional
        Height and width to enlarge the maps to first, each value repeated.
    """

    def __init__(
        self, inputs: int, outputs: int, *, stride: int = 1, enlarged: Shape | None = None
    ) -> None:
        super().__init__()
        self.enlarge = nn.Upsample(size=enlarged) if enlarged else nn.Identity()
        self.branch = nn.Sequential(
            OrderedDict(
                conv1=nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False),
                norm1=nn.BatchNorm2d(outputs),
                relu=nn.ReLU(),
                conv2=nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
                norm2=nn.BatchNorm2d(outputs),
            )
        )
        self.skip = nn.Sequential(
            OrderedDict(
                conv=nn.Conv2d(inputs, outputs, 1, stride, bias=False),
                norm=nn.BatchNorm2d(outputs),
            )
        )
        self.sum = ResidualSum()
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's maps of maps (N, inputs, h, w)."""
        enlarged = self.enlarge(x)
        maps: Tensor = self.relu(self.sum(self.skip(enlarged), self.branch(enlarged)))
        return maps


def map_shapes(size: Shape, blocks: int) -> list[Shape]:
    """Return height and width before each block and after the last.

    A block halves its maps, rounding up, as long as at least 4 pixels of the smaller side stay.

    Examples
    --------
    >>> map_shapes((224, 224), 6)
    [(224, 224), (112, 112), (56, 56), (28, 28), (14, 14), (7, 7), (7, 7)]
    >>> map_shapes((33, 20), 2)
    [(33, 20), (17, 10), (9, 5)]
    """
    shapes = [size]
    for _ in range(blocks):
        height, width = shapes[-1]
        if min(height, width) // 2 >= SMALLEST_MAP:
            height, width = -(-height // 2), -(-width // 2)
        shapes.append((height, width))
    return shapes


def encoder_blocks(
    input_channels: int, widths: Sequence[int], shapes: Sequence[Shape]
) -> nn.Sequential:
    """Return ``block1`` to ``blockN`` from images to the smallest maps."""
    channels = pairwise((input_channels, *widths))
    steps = zip(channels, pairwise(shapes), strict=True)
    return nn.Sequential(
        OrderedDict(
            (f"block{number}", ResidualBlock(*pair, stride=1 if before == after else 2))
            for number, (pair, (before, after)) in enumerate(steps, start=1)
        )
    )


def decoder_blocks(
    output_channels: int, widths: Sequence[int], shapes: Sequence[Shape]
) -> nn.Sequential:
    """Return as many blocks the other way round, and a convolution 3x3 to the image's channels.

    Parameters
    ----------
    output_channels : int
        Of the images.
    widths, shapes : sequence
        Those of the encoder.
    """
    upwards = [*reversed(widths), widths[0]]
    sizes = list(reversed(shapes))
    steps = zip(pairwise(upwards), pairwise(sizes), strict=True)
    blocks: OrderedDict[str, nn.Module] = OrderedDict(
        (f"block{number}", ResidualBlock(*pair, enlarged=None if before == after else after))
        for number, (pair, (before, after)) in enumerate(steps, start=1)
    )
    blocks["to_channels"] = nn.Conv2d(widths[0], output_channels, 3, padding=1)
    return nn.Sequential(blocks)
