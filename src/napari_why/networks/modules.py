"""What networks share: checks of sizes and of integers given as text, small modules, heads."""

import math
from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from napari_why.core.devices import at_least_float32
from napari_why.core.errors import MismatchError, ParameterError

Size = int | Sequence[int]


def height_and_width(size: Size) -> tuple[int, int]:
    """Return (height, width) of a size given as one number (square) or as two.

    Raises
    ------
    ParameterError
        Not one or two positive numbers.

    Examples
    --------
    >>> height_and_width(224), height_and_width([64, 96])
    ((224, 224), (64, 96))
    """
    # bool is an int to Python, and True would pass as a size of 1
    pair = (size, size) if isinstance(size, int) else tuple(size)
    if len(pair) != 2 or any(isinstance(n, bool) or not isinstance(n, int) or n < 1 for n in pair):
        raise ParameterError(
            f"size: found {size!r}; expected pixels, one number or (height, width)"
        )
    return pair[0], pair[1]


def read_integers(name: str, text: str, *, low: int, high: int) -> tuple[int, ...]:
    """Read ``"2,2,4"`` as (2, 2, 4).

    Parameters
    ----------
    name : str
        Of the parameter, for the message.
    text : str
        As it was typed or saved.
    low, high : int
        Range of each, both included.

    Returns
    -------
    tuple of int
        One or more.

    Raises
    ------
    ParameterError
        Something else than whole numbers from ``low`` to ``high``, separated by commas.
    """
    try:
        numbers = tuple(int(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if not numbers or any(not low <= number <= high for number in numbers):
        raise ParameterError(
            f"{name}: found {text!r}; expected whole numbers from {low} to {high}, "
            'separated by commas, such as "2,2,2,2"'
        )
    return numbers


def read_decimals(name: str, text: str, *, count: int) -> tuple[float, ...]:
    """Read ``"1,0.3"`` as (1.0, 0.3, 0.0, ...): ``count`` numbers, those left out are 0.

    Parameters
    ----------
    name : str
        Of the parameter, for the message.
    text : str
        As it was typed or saved; may be empty.
    count : int

    Returns
    -------
    tuple of float, length count

    Raises
    ------
    ParameterError
        Something else than numbers of 0 or more, separated by commas, or more than ``count``.
    """
    try:
        numbers = tuple(float(part) for part in text.split(",")) if text.strip() else ()
    except ValueError:
        numbers = (math.nan,)  # refused below with the same words
    if len(numbers) > count or not all(0 <= number < math.inf for number in numbers):
        raise ParameterError(
            f"{name}: found {text!r}; expected at most {count} numbers of 0 or more, separated "
            'by commas, such as "1,0.3"'
        )
    return numbers + (0.0,) * (count - len(numbers))


def read_locked_channels(text: str, input_channels: int) -> tuple[int, ...]:
    """Read ``"0,2"`` as the input channels (0, 2), in ascending order.

    Parameters
    ----------
    text : str
        As it was typed or saved; empty for none.
    input_channels : int
        Channels of the images.

    Returns
    -------
    tuple of int

    Raises
    ------
    ParameterError
        Something else than different channel indices separated by commas, or all channels.
    """
    if not text.strip():
        return ()
    # a text and not a list, since it comes from forms, shells and files alike
    channels = read_integers("locked", text, low=0, high=input_channels - 1)
    if len(set(channels)) < len(channels) or len(channels) == input_channels:
        raise ParameterError(
            f"locked: found {text!r} of {input_channels} channels; expected each channel once, and "
            "one channel at least that is free"
        )
    return tuple(sorted(channels))


def check_counts(input_channels: int, classes: int) -> None:
    """Raise ParameterError unless there are a channel and two classes at least.

    Parameters
    ----------
    input_channels, classes : int
        Channels of the images and number of classes.

    Raises
    ------
    ParameterError
        There are fewer.
    """
    if input_channels < 1:
        raise ParameterError(f"input_channels: found {input_channels}; expected 1 or more")
    if classes < 2:
        raise ParameterError(f"classes: found {classes}; expected 2 or more")


def check_multiple(network: str, size: tuple[int, int], factor: int) -> None:
    """Raise ParameterError, naming sizes that fit, unless both sides are multiples of ``factor``.

    Parameters
    ----------
    network : str
        Its name, for the message.
    size : (int, int)
        Height and width in pixels.
    factor : int
        By which the network scales down.

    Raises
    ------
    ParameterError
        A side is no multiple.
    """
    if any(side % factor for side in size):
        fitting = " or ".join(
            " x ".join(str(max(factor, _multiple(side, factor, up))) for side in size)
            for up in (False, True)
        )
        raise ParameterError(
            f"size: found {size[0]} x {size[1]}; {network} scales down by {factor}, so height and "
            f"width have to be multiples of {factor}, such as {fitting}"
        )


def check_smallest(network: str, size: tuple[int, int], smallest: int) -> None:
    """Raise ParameterError unless both sides have ``smallest`` pixels at least.

    Parameters
    ----------
    network : str
        Its name, for the message.
    size : (int, int)
        Height and width in pixels.
    smallest : int
        Pixels.

    Raises
    ------
    ParameterError
        A side is shorter.
    """
    if min(size) < smallest:
        raise ParameterError(
            f"size: found {size[0]} x {size[1]}; {network} needs {smallest} x {smallest} or more"
        )


def check_batch(network: str, x: Tensor, channels: int, factor: int = 1) -> None:
    """Raise MismatchError unless ``x`` is (N, channels, multiple of factor, multiple of factor).

    Parameters
    ----------
    network : str
        Its name, for the message.
    x : Tensor
        A batch.
    channels : int
        C.
    factor : int
        By which the network scales down; 1 takes any height and width.

    Raises
    ------
    MismatchError
        Another number of axes or channels, or a side that is no multiple.
    """
    if x.ndim != 4 or x.shape[1] != channels or any(side % factor for side in x.shape[2:]):
        sides = f"height and width multiples of {factor}" if factor > 1 else "any height and width"
        raise MismatchError(
            f"{network}: found a batch of shape {tuple(x.shape)}; expected (N, {channels}, H, W), "
            f"{sides}"
        )


def _multiple(side: int, factor: int, up: bool) -> int:
    return -(-side // factor) * factor if up else side // factor * factor


class ResidualSum(nn.Module):
    """The sum of a skip connection and a branch, as a module so that hooks and rules see it."""

    def forward(self, skip: Tensor, branch: Tensor) -> Tensor:
        """Return ``skip + branch``.

        Parameters
        ----------
        skip, branch : Tensor, shape (N, C, h, w)

        Returns
        -------
        Tensor, shape (N, C, h, w)
        """
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
        x = at_least_float32(x)
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


HeadName = Literal["convolutional", "linear", "thesis", "elu"]
# a fifth: less than the thesis's 0.4 on its wide layer, since here one thin layer follows; 0.2 was what
# the comparison of heads was made with
DROPOUT = 0.2
# maps of the position-wise layer, a choice: as many as the last stage's blocks have inside
ELU_HEAD_WIDTH = 64


def linear_head(features: int, classes: int) -> nn.Sequential:
    """Global average pooling and one linear layer: class activation maps exist for it.

    Parameters
    ----------
    features : int
        K, of the last maps.
    classes : int

    Returns
    -------
    Sequential
        (N, K, h, w) to logits (N, classes), of any height and width.
    """
    return nn.Sequential(
        OrderedDict(
            pool=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
            linear=nn.Linear(features, classes),
        )
    )


def thesis_head(features: int, classes: int) -> nn.Sequential:
    """Global average pooling, then 256 - dropout 0.4 - 100 - ReLU - classes (Otto 2022).

    Parameters
    ----------
    features : int
        K, of the last maps.
    classes : int

    Returns
    -------
    Sequential
        (N, K, h, w) to logits (N, classes), of any height and width.
    """
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

    Parameters
    ----------
    features : int
        K, of the last maps.
    classes : int

    Returns
    -------
    Sequential
        (N, K, h, w) to logits (N, classes), of any height and width.
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


# positions a side that pooling leaves at the least: class activation maps have 4 x 4 positions then,
# and the average that follows does not hang on a single one
FEWEST_POSITIONS = 4


class HeadBlock(nn.Module):
    """Convolution 3 x 3 without bias - batch norm - ReLU - max pool, or no pooling.

    For a head behind invertible stages. A counterfactual moves latents and runs the stages
    backwards; nothing ever inverts a head, so it may be as strong as that of any other network.

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

    Returns
    -------
    OrderedDict of str to HeadBlock

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


def averaging_head(features: int, classes: int) -> nn.Sequential:
    """Global average pooling, dropout 0.2 and one linear layer: what follows convolutions.

    Class activation maps exist for it, as for :func:`linear_head`.

    Parameters
    ----------
    features : int
        K, of the last maps.
    classes : int

    Returns
    -------
    Sequential
        (N, K, h, w) to logits (N, classes), of any height and width.
    """
    return nn.Sequential(
        OrderedDict(
            pool=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
            dropout=nn.Dropout(DROPOUT),
            linear=nn.Linear(features, classes),
        )
    )


# of ``convolutional`` what stands behind its blocks, see :func:`head_blocks`
HEADS = {
    "convolutional": averaging_head,
    "linear": linear_head,
    "thesis": thesis_head,
    "elu": elu_head,
}


def make_head(name: HeadName, features: int, classes: int) -> nn.Sequential:
    """Return the head called ``name``; of ``convolutional`` what stands behind its blocks.

    Parameters
    ----------
    name : str
        A key of :data:`HEADS`.
    features : int
        K, of the last maps.
    classes : int

    Returns
    -------
    Sequential
        (N, K, h, w) to logits (N, classes), of any height and width.
    """
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
