"""Build an invertible residual network from a handful of numbers."""

import math
from collections import OrderedDict
from typing import Annotated

from napari_why.errors import ParameterError
from napari_why.networks.heads import HeadName, make_head
from napari_why.networks.invertible_stage import InvertibleStage, StageShape
from napari_why.networks.iresnet import IResNet
from napari_why.networks.shapes import (
    Size,
    check_counts,
    check_multiple,
    decimals,
    height_and_width,
    integers,
    locked_channels,
)
from napari_why.parameters import Help, Range

INITIAL_POWER_ITERATIONS = 10


def iresnet(
    *,
    input_channels: int,
    classes: int,
    size: Size,
    frozen: bool = False,
    blocks: Annotated[str, Help("residual blocks of each stage")] = "2,2,2,2",
    widths: Annotated[str, Help("channels inside the blocks of each stage")] = "16,32,64,64",
    downscaling: Annotated[str, Help("factor by which each stage first scales down")] = "2,2,2,2",
    coefficient: Annotated[
        float, Help("largest operator norm of a convolution"), Range(0.1, 0.99)
    ] = 0.8,
    power_iterations: Annotated[int, Help("power iterations per training step"), Range(1, 20)] = 1,
    head: Annotated[
        HeadName, Help("linear, the thesis's three layers, or 1 x 1 convolution and ELU")
    ] = "linear",
    locked: Annotated[
        str, Help("indices of channels that pass through and condition the rest, such as 0,2")
    ] = "",
    isometry: Annotated[
        str, Help("weight of the near-isometry penalty of each stage, such as 1,0.3")
    ] = "",
) -> IResNet:
    """Build an invertible residual network.

    The size of the thesis (Otto 2022), with its latent of 2048 x 7 x 7 for 2 x 224 x 224, is
    ``blocks="3,4,6,3", widths="64,128,256,512", downscaling="4,2,2,2"``.

    Parameters
    ----------
    input_channels, classes : int
        Channels of the images and number of classes.
    size : int or (int, int)
        Height and width in pixels; multiples of the product of ``downscaling``.
    frozen : bool
        Build the skeleton of a frozen network, for its weights to be loaded.
    blocks, widths, downscaling : str
        One whole number a stage.
    coefficient : float
        The blocks' Lipschitz constants stay below its third power.
    power_iterations : int
        More keep the norms closer to the coefficient during training; freezing converges them.
    head : str
        ``linear`` on pooled latents, so that class evidence is exact; ``thesis``; or ``elu``, which
        judges every position before it averages and so can learn texture. All look at the free
        channels alone.
    locked : str
        Channels without class evidence: a counterfactual leaves them as they are, bit for bit.
    isometry : str
        One number a stage, those left out are 0; above 0 it keeps the stage near an isometry, so
        that distances in its latent are about those between images.

    Raises
    ------
    ParameterError
        A size that does not fit, lists of different lengths, or locked channels that are not.
    """
    check_counts(input_channels, classes)
    counts = integers("blocks", blocks, low=1, high=64)
    bottlenecks = integers("widths", widths, low=1, high=4096)
    factors = integers("downscaling", downscaling, low=1, high=16)
    if not len(counts) == len(bottlenecks) == len(factors):
        raise ParameterError(
            f"blocks, widths, downscaling: found {len(counts)}, {len(bottlenecks)} and "
            f"{len(factors)} numbers; expected one number a stage in each"
        )
    height, width = height_and_width(size)
    check_multiple("iresnet", (height, width), math.prod(factors))

    passing = locked_channels(locked, input_channels)
    decimals("isometry", isometry, count=len(factors))
    order = (*passing, *(c for c in range(input_channels) if c not in passing))
    stages: OrderedDict[str, InvertibleStage] = OrderedDict()
    channels, kept, resolution = input_channels - len(passing), len(passing), (height, width)
    for index, (count, bottleneck, factor) in enumerate(
        zip(counts, bottlenecks, factors, strict=True)
    ):
        channels, kept = channels * factor**2, kept * factor**2
        resolution = (resolution[0] // factor, resolution[1] // factor)
        shape = StageShape(channels, bottleneck, resolution, coefficient, power_iterations, kept)
        first = index == 0
        stages[f"stage{index + 1}"] = InvertibleStage(
            shape, count, factor, first=first, order=order if first else None
        )

    configuration = {
        "name": "iresnet",
        "input_channels": input_channels,
        "classes": classes,
        "size": [height, width],
        "blocks": blocks,
        "widths": widths,
        "downscaling": downscaling,
        "coefficient": coefficient,
        "power_iterations": power_iterations,
        "head": head,
        # left out where not used: the fingerprint of classifiers saved before covers this mapping
        **({"locked": locked} if locked else {}),
        **({"isometry": isometry} if isometry else {}),
    }
    network = IResNet(stages, make_head(head, channels, classes), configuration)
    if frozen:
        network.make_plain()
    else:
        network.iterate_norms(INITIAL_POWER_ITERATIONS)
    return network
