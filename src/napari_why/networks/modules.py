"""Small modules shared by the networks."""

from collections import OrderedDict
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn


class ResidualSum(nn.Module):
    """The sum of a skip connection and a branch, as a module so that hooks and rules see it."""

    def forward(self, skip: Tensor, branch: Tensor) -> Tensor:
        """Return ``skip + branch``."""
        return skip + branch


class ActNorm(nn.Module):
    """Scale and shift each channel; the first training batch sets both.

    After the first batch in training mode every channel has mean 0 and standard deviation 1 over
    that batch; from then on scale and shift are learnt (Kingma & Dhariwal 2018, Glow, eq. in
    table 1). Whether that batch was seen is a buffer, so that loading a trained network and
    training on does not wipe the learnt scales.

    Parameters
    ----------
    channels : int
        Size of the channel axis.
    smallest_deviation : float
        Floor of the standard deviation, so that a channel which happens to be constant in the
        first batch is not blown up.
    """

    initialised: Tensor

    # 0.05 of a standardised image's deviation: a scale of at most 20. Without a floor a channel that
    # is constant in the first batch is scaled by hundreds, and its rounding errors with it
    def __init__(self, channels: int, smallest_deviation: float = 0.05) -> None:
        super().__init__()
        self.smallest_deviation = smallest_deviation
        self.log_scale = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.shift = nn.Parameter(torch.zeros(1, channels, 1, 1))
        # a buffer and not an attribute: else the first batch after loading would set them anew
        self.register_buffer("initialised", torch.tensor(False))

    @property
    def scale(self) -> Tensor:
        """Factor of each channel, shape (1, C, 1, 1)."""
        return self.log_scale.exp()

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x * scale + shift`` for a batch (N, C, h, w)."""
        if self.training and not bool(self.initialised):
            self._initialise(x)
        return x * self.scale + self.shift

    def inverse(self, y: Tensor) -> Tensor:
        """Return the batch whose output is ``y``."""
        return (y - self.shift) / self.scale

    @torch.no_grad()
    def _initialise(self, x: Tensor) -> None:
        mean = x.mean((0, 2, 3), keepdim=True)
        deviation = x.std((0, 2, 3), keepdim=True, correction=0).clamp(min=self.smallest_deviation)
        self.log_scale.copy_(-deviation.log())
        self.shift.copy_(-mean / deviation)
        self.initialised.fill_(True)


class RGBComposite(nn.Conv2d):
    """Three colours from any number of channels, as a fixed 1 x 1 convolution.

    One channel is copied to all three; of two, the third colour is their mean; three are taken as
    they are; of more, each colour is the mean of an equal share of neighbouring channels.

    Examples
    --------
    >>> composite = RGBComposite(2)
    >>> composite(torch.tensor([2.0, 4.0]).view(1, 2, 1, 1)).flatten().tolist()
    [2.0, 4.0, 3.0]
    """

    def __init__(self, input_channels: int) -> None:
        super().__init__(input_channels, 3, kernel_size=1, bias=False)
        # a layer and not preprocessing, so that evidence reaches the user's own channels
        self.weight = nn.Parameter(_composite_weights(input_channels), requires_grad=False)


def _composite_weights(channels: int) -> Tensor:
    if channels == 1:
        rows = [[1.0]] * 3
    elif channels == 2:
        rows = [[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]]
    else:
        # whole numbers: each channel belongs to one colour, and none is empty from three on
        shares = [channels * colour // 3 for colour in range(4)]
        rows = [
            [float(low <= channel < high) / (high - low) for channel in range(channels)]
            for low, high in pairwise(shares)
        ]
    return torch.tensor(rows)[:, :, None, None]


HeadName = Literal["linear", "thesis", "elu"]
# maps of the position-wise layer, a choice: as many as the last stage's blocks have inside
ELU_HEAD_WIDTH = 64


def linear_head(features: int, classes: int) -> nn.Sequential:
    """Global average pooling and one linear layer: class activation maps exist for it."""
    return nn.Sequential(
        OrderedDict(
            pool=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
            linear=nn.Linear(features, classes),
        )
    )


def thesis_head(features: int, classes: int) -> nn.Sequential:
    """Global average pooling, then 256 - dropout 0.4 - 100 - ReLU - classes (Otto 2022)."""
    return nn.Sequential(
        OrderedDict(
            pool=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
            linear1=nn.Linear(features, 256),
            dropout=nn.Dropout(0.4),
            linear2=nn.Linear(256, 100),
            relu=nn.ReLU(),
            linear3=nn.Linear(100, classes),
        )
    )


def elu_head(features: int, classes: int) -> nn.Sequential:
    """ActNorm, convolution 1 x 1 to 64 maps, ELU, global average pooling, one linear layer.

    A linear head on pooled maps sees their means alone; here a position is judged by itself before
    it is averaged, so that texture (a fragmented network of mitochondria, say) can be learnt.
    """
    return nn.Sequential(
        OrderedDict(
            actnorm=ActNorm(features),
            convolution=nn.Conv2d(features, ELU_HEAD_WIDTH, 1),
            elu=nn.ELU(),
            pool=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
            linear=nn.Linear(ELU_HEAD_WIDTH, classes),
        )
    )


HEADS = {"linear": linear_head, "thesis": thesis_head, "elu": elu_head}


def make_head(name: HeadName, features: int, classes: int) -> nn.Sequential:
    """Return the head called ``name``."""
    return HEADS[name](features, classes)


def linear_weights(head: nn.Module) -> Tensor | None:
    """Return the weights (classes, K) of a head that is pooling and one linear layer, else None.

    Recognised is an ``nn.Sequential`` of global average pooling, flattening and a linear layer;
    dropout and identity may stand in between.
    """
    if not isinstance(head, nn.Sequential):
        return None
    # both leave the map linear in evaluation mode, where evidence is computed
    core = [item for item in head if not isinstance(item, nn.Dropout | nn.Identity)]
    match core:
        case [nn.AdaptiveAvgPool2d() as pool, nn.Flatten(), nn.Linear() as linear]:
            # pooling to several positions would give each its own weights
            return linear.weight if pool.output_size in (1, (1, 1)) else None
    return None
