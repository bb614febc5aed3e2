"""The convolutional head's blocks: ordinary convolutions on the latent of an invertible network.

A counterfactual moves latents and runs the invertible stages backwards; nothing ever inverts a head.
So the head may throw away what it likes, and be as strong as that of any other network.
"""

from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor, nn

# positions a side that pooling leaves at the least: class activation maps have 4 x 4 positions then,
# and the average that follows does not hang on a single one
FEWEST_POSITIONS = 4


class HeadBlock(nn.Module):
    """Convolution 3 x 3 without bias - batch norm - ReLU - max pool, or no pooling.

    Parameters
    ----------
    inputs, outputs : int
        Channels.
    halves : bool
        Whether height and width are halved, rounded up.

    Attributes
    ----------
    factor : int
        By which the block scales down: 2 or 1.
    """

    reach = 1  # positions that the convolution looks to each side

    def __init__(self, inputs: int, outputs: int, *, halves: bool) -> None:
        super().__init__()
        self.factor = 2 if halves else 1
        # the norm right behind the convolution, and a shift of its own: a bias would do nothing
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU()
        if halves:
            # rounded up, so that no row or column of any image goes unseen
            self.pool = nn.MaxPool2d(2, ceil_mode=True)

    def forward(self, x: Tensor) -> Tensor:
        """Return the maps (N, outputs, ceil(h / factor), ceil(w / factor)) of (N, inputs, h, w)."""
        maps: Tensor = self.relu(self.norm(self.conv(x)))
        return self.pool(maps) if self.factor == 2 else maps


def head_blocks(
    channels: int, widths: Sequence[int], resolution: tuple[int, int]
) -> "OrderedDict[str, nn.Module]":
    """Return the blocks ``head1``, ``head2``, ... for a latent of that many channels.

    Each halves the maps as long as 4 positions a side are left, so that a small latent is not
    pooled away: one of 56 x 56 ends at 7 x 7 after three blocks, one of 16 x 16 or of 8 x 8 at 4 x 4.

    Parameters
    ----------
    channels : int
        Of the latent.
    widths : sequence of int
        Maps of each block.
    resolution : (int, int)
        Height and width of the latent.

    Examples
    --------
    >>> [block.factor for block in head_blocks(8, (32, 64, 128), (16, 16)).values()]
    [2, 2, 1]
    """
    blocks: OrderedDict[str, nn.Module] = OrderedDict()
    sides = resolution
    for index, width in enumerate(widths, start=1):
        smaller = tuple(-(-side // 2) for side in sides)
        halves = min(smaller) >= FEWEST_POSITIONS
        blocks[f"head{index}"] = HeadBlock(channels, width, halves=halves)
        channels, sides = width, (smaller[0], smaller[1]) if halves else sides
    return blocks
