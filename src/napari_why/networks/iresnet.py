"""The invertible residual network: a classifier whose encoder runs backwards.

Behrmann et al. 2019, Invertible residual networks (arXiv:1811.00995). No channel is padded to the
input: a padded network maps onto a thin subset of its latents, so that most counterfactual
latents would have no image. Channels come from pixel-unshuffle downscaling instead.
"""

import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_why.errors import ParameterError
from napari_why.networks.heads import linear_weights
from napari_why.networks.inverse import decode
from napari_why.networks.invertible_stage import ContractiveBlock, InvertibleStage, ResidualBranch
from napari_why.networks.network import InvertibleNetwork
from napari_why.networks.shapes import check_batch, decimals, locked_channels


class IResNet(InvertibleNetwork):
    """Invertible stages ``stage1``, ``stage2``, ... and a head, as ``build_network`` makes them."""

    name = "iresnet"

    def __init__(
        self,
        stages: "OrderedDict[str, InvertibleStage]",
        classifier: nn.Module,
        configuration: Mapping[str, Any],
    ) -> None:
        super().__init__()
        self.input_channels = int(configuration["input_channels"])
        self.classes = int(configuration["classes"])
        self.downscaling = math.prod(s.downscale.downscale_factor for s in stages.values())
        self.stages = nn.Sequential(OrderedDict(stages))
        self.classifier = classifier
        self.locked = locked_channels(configuration.get("locked", ""), self.input_channels)
        self.isometry = decimals("isometry", configuration.get("isometry", ""), count=len(stages))
        self._configuration = dict(configuration)

    def encode(self, x: Tensor) -> Tensor:
        """Return the latent after the last stage."""
        return self.encode_to(x, self.stage_names[-1])

    def head(self, features: Tensor) -> Tensor:
        """Return the logits of latents after the last stage; the free channels alone decide."""
        locked = self.locked_latent_channels()
        logits: Tensor = self.classifier(features[:, locked:] if locked else features)
        return logits

    def feature_maps(self, x: Tensor) -> dict[str, Tensor]:
        """Return the latent after every stage."""
        check_batch(self.name, x, self.input_channels, self.downscaling)
        maps = {}
        for name, stage in self.stages.named_children():
            maps[name] = x = stage(x)
        return maps

    def training_maps(self, x: Tensor) -> tuple[dict[str, Tensor], tuple[ResidualBranch, ...]]:
        """Return the latent after every stage, and what every block added to its input."""
        check_batch(self.name, x, self.input_channels, self.downscaling)
        maps: dict[str, Tensor] = {}
        branches: list[ResidualBranch] = []
        for name, stage in self.stages_to(None):
            maps[name], added = stage.trace(x, name)
            x = maps[name]
            branches += added
        return maps, tuple(branches)

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
        """Names of the stages."""
        return self.stage_names

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
        """Return the last latent of a latent that was taken after ``stage``."""
        done = len(self.stages_to(stage))
        for module in list(self.stages)[done:]:
            latent = module(latent)
        return latent

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

    def configuration(self) -> Mapping[str, Any]:
        """Return the keyword arguments of ``build_network``; ``frozen`` once frozen."""
        return self._configuration | ({"frozen": True} if self.frozen else {})

    @property
    def linear_head_weights(self) -> Tensor | None:
        """Weights (classes, K) of the linear head, 0 for locked channels; None of other heads."""
        weights = linear_weights(self.classifier)
        return None if weights is None else F.pad(weights, (self.locked_latent_channels(), 0))
