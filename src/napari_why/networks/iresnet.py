"""The invertible residual network: a classifier whose encoder runs backwards.

Behrmann et al. 2019, Invertible residual networks (arXiv:1811.00995). No channel is padded to the
input: a padded network maps onto a thin subset of its latents, so that most counterfactual
latents would have no image. Channels come from pixel-unshuffle downscaling instead.

Only the stages are ever inverted. The head behind them is ordinary: by default convolutions, which
tell classes apart that contractive blocks and a linear head do not.
"""

import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_why.core.errors import ParameterError
from napari_why.core.options import Help, Label, Range
from napari_why.networks.inverse import decode
from napari_why.networks.invertible_stage import (
    ContractiveBlock,
    InvertibleStage,
    ResidualBranch,
    StageShape,
    log_determinant,
)
from napari_why.networks.modules import (
    HeadName,
    Size,
    check_batch,
    check_counts,
    check_multiple,
    head_blocks,
    height_and_width,
    linear_weights,
    make_head,
    read_decimals,
    read_integers,
    read_locked_channels,
)
from napari_why.networks.network import InvertibleNetwork, TrainingPass
from napari_why.networks.registry import register_network


class IResNet(InvertibleNetwork):
    """Invertible stages ``stage1``, ``stage2``, ... and a head, as ``build_network`` makes them.

    Images and latents are one to one up to the last stage. A convolutional head goes on with layers
    ``head1``, ``head2``, ..., whose maps are no latents: ``encode`` and ``encode_from`` return
    the last of them, ``encode_to`` and ``decode`` deal with the stages.

    Parameters
    ----------
    stages : mapping of str to InvertibleStage
    blocks : mapping of str to Module
        Those of a convolutional head; none of the other heads.
    classifier : Module
        The rest of the head.
    configuration : mapping
        The arguments of ``build_network``.
    """

    name = "iresnet"
    channels_last = True

    def __init__(
        self,
        stages: "OrderedDict[str, InvertibleStage]",
        blocks: "OrderedDict[str, nn.Module]",
        classifier: nn.Module,
        configuration: Mapping[str, Any],
    ) -> None:
        super().__init__()
        self.input_channels = int(configuration["input_channels"])
        self.classes = int(configuration["classes"])
        self.downscaling = math.prod(s.downscale.downscale_factor for s in stages.values())
        self.stages = nn.Sequential(OrderedDict(stages))
        # no empty module where there are none: whoever lists modules would wait for it to run
        self.head_blocks = nn.Sequential(blocks) if blocks else None
        self.classifier = classifier
        self.locked = read_locked_channels(configuration.get("locked", ""), self.input_channels)
        self.isometry = read_decimals(
            "isometry", configuration.get("isometry", ""), count=len(stages)
        )
        self._configuration = dict(configuration)

    def encode(self, x: Tensor) -> Tensor:
        """Return the maps of the last layer: a convolutional head's, or the last stage's latent."""
        last = self.stage_names[-1]
        return self.encode_from(self.encode_to(x, last), last)

    def head(self, features: Tensor) -> Tensor:
        """Return the logits of maps of the last layer; the free channels alone decide."""
        # a counterfactual cannot change locked channels, so they must not decide; the blocks of a
        # convolutional head have left them out already
        locked = 0 if self.head_blocks else self.locked_latent_channels()
        logits: Tensor = self.classifier(features[:, locked:] if locked else features)
        return logits

    def feature_maps(self, x: Tensor) -> dict[str, Tensor]:
        """Return the latent after every stage, and the maps of every block of the head."""
        check_batch(self.name, x, self.input_channels, self.downscaling)
        maps = {}
        for name, stage in self.stages.named_children():
            maps[name] = x = stage(x)
        return maps | self.head_maps(x)

    def head_maps(self, latent: Tensor) -> dict[str, Tensor]:
        """Return the maps of the head's blocks by name, of a latent after the last stage."""
        maps: dict[str, Tensor] = {}
        locked = self.locked_latent_channels()
        for name, block in self.named_head_blocks().items():
            # the first block alone meets the latent, and with it the locked channels
            given = latent[:, locked:] if locked and not maps else latent
            maps[name] = latent = self.run_head_block(block, given)
        return maps

    def named_head_blocks(self) -> "OrderedDict[str, nn.Module]":
        """Return the blocks of a convolutional head by name; none of other heads."""
        return OrderedDict(self.head_blocks.named_children() if self.head_blocks else ())

    def run_head_block(self, block: nn.Module, maps: Tensor) -> Tensor:
        """Return the maps of one block of the head.

        Parameters
        ----------
        block : Module
            One of a convolutional head.
        maps : Tensor, shape (N, K, h, w)

        Returns
        -------
        Tensor, shape (N, K', h / f, w / f), rounded up
            f is 2 for a block that halves its maps, else 1.
        """
        made: Tensor = block(maps)
        return made

    def training_pass(self, x: Tensor) -> TrainingPass:
        """Return the latents, the near-isometry penalty and the log-determinant of a batch."""
        maps, branches = self.training_maps(x)
        return TrainingPass(maps, self.regularisation(branches), partial(log_determinant, branches))

    def training_maps(self, x: Tensor) -> tuple[dict[str, Tensor], tuple[ResidualBranch, ...]]:
        """Return what ``feature_maps`` does, and what every invertible block added to its input."""
        check_batch(self.name, x, self.input_channels, self.downscaling)
        maps: dict[str, Tensor] = {}
        branches: list[ResidualBranch] = []
        for name, stage in self.stages_to(None):
            maps[name], added = stage.trace(x, name)
            x = maps[name]
            branches += added
        return maps | self.head_maps(x), tuple(branches)

    def regularisation(self, branches: Sequence[ResidualBranch]) -> dict[str, Tensor]:
        """Return ``near_isometry``: the sum of weight * mean|g|^2 / mean|u|^2 over the blocks.

        The weights are those of ``isometry``, one a stage; nothing where all are 0.
        """
        weights = dict(zip(self.stage_names, self.isometry, strict=True))
        terms = [
            weights[one.stage] * one.branch.square().mean() / one.normalised.square().mean()
            for one in branches
            if weights[one.stage]
        ]
        return {"near_isometry": torch.stack(terms).sum()} if terms else {}

    def locked_latent_channels(self, stage: str | None = None) -> int:
        """Return how many leading channels of the latent after ``stage`` (None: last) are locked."""
        return self.stages_to(stage)[-1][1].locked

    @property
    def layer_names(self) -> tuple[str, ...]:
        """Names of the stages, and of the blocks of a convolutional head."""
        return (*self.stage_names, *self.named_head_blocks())

    @property
    def stage_names(self) -> tuple[str, ...]:
        """``stage1``, ``stage2``, ..."""
        return tuple(name for name, _ in self.stages.named_children())

    def encode_to(self, x: Tensor, stage: str) -> Tensor:
        """Return the latent after ``stage``."""
        check_batch(self.name, x, self.input_channels, self.downscaling)
        for _, module in self.stages_to(stage):
            x = module(x)
        return x

    def encode_from(self, latent: Tensor, stage: str) -> Tensor:
        """Return the maps of the last layer for a latent that was taken after ``stage``."""
        done = len(self.stages_to(stage))
        for module in list(self.stages)[done:]:
            latent = module(latent)
        return self.last_maps(latent)

    def last_maps(self, latent: Tensor) -> Tensor:
        """Return the maps of the last layer for a latent after the last stage."""
        return self.head_maps(latent).get(self.layer_names[-1], latent)

    def decode(self, latent: Tensor, stage: str | None = None) -> Tensor:
        """Return the batch whose latent after ``stage`` (None: the last) this is.

        Raises
        ------
        InversionError
            A block's inverse did not converge; :func:`napari_why.networks.invert` reports on it.
        """
        return decode(self, latent, stage)

    def stages_to(self, stage: str | None) -> list[tuple[str, InvertibleStage]]:
        """Return the stages by name up to and including ``stage`` (None: all).

        Raises
        ------
        ParameterError
            There is no such stage.
        """
        chain = [
            (name, module)
            for name, module in self.stages.named_children()
            if isinstance(module, InvertibleStage)
        ]
        if stage is None:
            return chain
        if stage not in self.stage_names:
            known = ", ".join(self.stage_names)
            raise ParameterError(f"stage: found {stage!r}; expected one of {known}")
        return chain[: self.stage_names.index(stage) + 1]

    def named_blocks(self) -> dict[str, ContractiveBlock]:
        """Return every residual block by name, ``stage1.block1`` first."""
        return {
            f"{stage_name}.{name}": block
            for stage_name, stage in self.stages_to(None)
            for name, block in stage.named_blocks()
        }

    @property
    def certified_bounds(self) -> dict[str, float]:
        """Upper bound of the Lipschitz constant of g by block; empty until frozen."""
        bounds = {name: block.lipschitz_bound for name, block in self.named_blocks().items()}
        return {name: bound for name, bound in bounds.items() if math.isfinite(bound)}

    def freeze(self) -> None:
        """Converge and bake the spectral norms, certify them; evaluation mode, no gradients."""
        # before the gradients go: converging changes buffers, baking replaces modules
        for block in self.named_blocks().values():
            block.freeze()
        super().freeze()

    def make_plain(self) -> None:
        """Become a frozen skeleton whose weights are to be loaded: nothing is converged."""
        for block in self.named_blocks().values():
            block.make_plain()
        super().freeze()

    def iterate_norms(self, steps: int) -> None:
        """Run power iterations of every convolution, as a training forward pass does."""
        for block in self.named_blocks().values():
            for _, convolution in block.convolutions():
                convolution.iterate(steps)

    def settle(self) -> None:
        """Converge the norms, as freezing does; see :meth:`Network.settle`."""
        # exact and not a few power iterations: what is validated is then what freezing will make
        for block in self.named_blocks().values():
            for _, convolution in block.convolutions():
                convolution.converge()

    def configuration(self) -> Mapping[str, Any]:
        """Return the keyword arguments of ``build_network``; ``frozen`` once frozen."""
        return self._configuration | ({"frozen": True} if self.frozen else {})

    @property
    def linear_head_weights(self) -> Tensor | None:
        """Weights (classes, K) on averaged maps of the last layer, 0 for locked channels.

        None of a head that is not linear there.
        """
        weights = linear_weights(self.classifier)
        if weights is None or self.head_blocks:
            return weights
        return F.pad(weights, (self.locked_latent_channels(), 0))


# from a random vector ten steps come near enough for the first training steps, which then follow
# the kernel; freezing carries the norms to their limit in any case
INITIAL_POWER_ITERATIONS = 10


@register_network(
    title="Invertible residual network (iresnet)",
    source="Behrmann et al. 2019; thesis settings: Otto 2022",
    purpose="classifies, and makes counterfactual images of its own, since it can be run backwards",
)
def iresnet(
    *,
    input_channels: int,
    classes: int,
    size: Size,
    frozen: bool = False,
    blocks: Annotated[str, Help("residual blocks of each stage")] = "2",
    widths: Annotated[str, Help("channels inside the blocks of each stage")] = "16",
    downscaling: Annotated[str, Help("factor by which each stage first scales down")] = "2",
    # 0.8 (Otto 2022): its third power, 0.51, bounds a block, so that the inverse takes few steps
    coefficient: Annotated[
        float,
        Help("largest operator norm of a convolution; below 1, so that it can be run backwards"),
        Range(0.1, 0.99),
        Label("largest norm"),
    ] = 0.8,
    # 1, as the official training script: five take longer, and freezing converges the norms anyway
    power_iterations: Annotated[
        int,
        Help("how often that norm is measured anew in each training step (power iterations)"),
        Range(1, 20),
        Label("measured ... times a step"),
    ] = 1,
    head: Annotated[
        HeadName,
        Help("convolutional, linear, the thesis's three layers, or 1 x 1 convolution and ELU"),
    ] = "convolutional",
    locked: Annotated[
        str, Help("indices of channels that pass through and condition the rest, such as 0,2")
    ] = "",
    isometry: Annotated[
        str,
        Help(
            "weight, for each stage, of a penalty on changing distances between images, such as 1,0.3"
        ),
        Label("keep distances"),
    ] = "",
    head_widths: Annotated[str, Help("maps of each block of the convolutional head")] = "32,64,128",
) -> IResNet:
    """Build an invertible residual network.

    By default one invertible stage with a convolutional head behind it. The size of the thesis
    (Otto 2022), with its latent of 2048 x 7 x 7 for 2 x 224 x 224, is ``blocks="3,4,6,3",
    widths="64,128,256,512", downscaling="4,2,2,2", head="thesis"``; the default until version 0.1.0 was
    ``blocks="2,2,2,2", widths="16,32,64,64", downscaling="2,2,2,2", head="linear"``.

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
        ``convolutional``: blocks convolution 3 x 3 - batch norm - ReLU - max pool, then a linear layer
        on their averaged maps, dropout before it. ``linear`` on pooled latents, so that class
        evidence in the latent is exact; ``thesis``; or ``elu``, which judges every position before it
        averages. All look at the free channels alone.
    locked : str
        Channels that a counterfactual leaves as they are, bit for bit, and the head does not see.
    isometry : str
        One number a stage, those left out are 0; above 0 it keeps the stage near an isometry, so
        that distances in its latent are about those between images.
    head_widths : str
        Maps of the blocks of the convolutional head; other heads have none. Each block halves the maps
        as long as 4 positions a side are left, so that small images are pooled less.

    Returns
    -------
    IResNet

    Raises
    ------
    ParameterError
        A size that does not fit, lists of different lengths, or locked channels that are not.
    """
    check_counts(input_channels, classes)
    counts = read_integers("blocks", blocks, low=1, high=64)
    bottlenecks = read_integers("widths", widths, low=1, high=4096)
    factors = read_integers("downscaling", downscaling, low=1, high=16)
    if not len(counts) == len(bottlenecks) == len(factors):
        raise ParameterError(
            f"blocks, widths, downscaling: found {len(counts)}, {len(bottlenecks)} and "
            f"{len(factors)} numbers; expected one number a stage in each"
        )
    height, width = height_and_width(size)
    check_multiple("iresnet", (height, width), math.prod(factors))

    passing = read_locked_channels(locked, input_channels)
    read_decimals("isometry", isometry, count=len(factors))
    # locked channels come first, in every latent, so that a slice parts them from the free ones
    order = (*passing, *(c for c in range(input_channels) if c not in passing))
    stages: OrderedDict[str, InvertibleStage] = OrderedDict()
    channels, kept, resolution = input_channels - len(passing), len(passing), (height, width)
    for index, (count, bottleneck, factor) in enumerate(
        zip(counts, bottlenecks, factors, strict=True)
    ):
        channels, kept = channels * factor**2, kept * factor**2
        resolution = (resolution[0] // factor, resolution[1] // factor)
        shape = StageShape(channels, bottleneck, resolution, coefficient, power_iterations, kept)
        first = index == 0  # later stages find the channels in order already
        stages[f"stage{index + 1}"] = InvertibleStage(
            shape, count, factor, first=first, order=order if first else None
        )

    maps_of_blocks = read_integers("head_widths", head_widths, low=1, high=4096)
    of_head: OrderedDict[str, nn.Module] = OrderedDict()
    if head == "convolutional":
        of_head = head_blocks(channels, maps_of_blocks, resolution)

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
        **({"head_widths": head_widths} if of_head else {}),
    }
    features = maps_of_blocks[-1] if of_head else channels
    network = IResNet(stages, of_head, make_head(head, features, classes), configuration)
    if frozen:
        network.make_plain()
    else:
        network.iterate_norms(INITIAL_POWER_ITERATIONS)
    return network
