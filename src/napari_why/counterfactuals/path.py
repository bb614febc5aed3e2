"""A straight way through the latent space of one stage, and the class scores along it."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from napari_why.core.errors import ParameterError
from napari_why.counterfactuals.alphas import AlphaRule, Convincing
from napari_why.networks.network import DecodingNetwork, InvertibleNetwork


@dataclass(frozen=True)
class LatentPath:
    """The latents ``start + alpha * displacement``; alpha = 0 is that of the image itself.

    Parameters
    ----------
    stage : str
        The stage after which the latents are taken.
    start : Tensor, shape (1, K, h, w)
        Latent of the image.
    displacement : Tensor, shape (1, K, h, w)
        What alpha = 1 adds to it.
    rule : AlphaRule
        How the method finds its convincing alpha.
    put_back : tuple of int
        Input channels whose pixels stay the source's at every alpha.
    notes : tuple of str
        Sentences that the user should read beside the images.
    """

    stage: str
    start: Tensor
    displacement: Tensor
    rule: AlphaRule = field(default_factory=Convincing)
    put_back: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()

    keeps_details = False  # whether the images hold more of the source than its latent does

    def at(self, alphas: Sequence[float]) -> Tensor:
        """Return the latents (A, K, h, w) at ``alphas``."""
        steps = torch.tensor(alphas, dtype=self.start.dtype, device=self.start.device)
        return self.start + steps.reshape(-1, 1, 1, 1) * self.displacement

    def images(self, network: DecodingNetwork, alphas: Sequence[float]) -> Tensor:
        """Return the preprocessed images (A, C, H, W) at ``alphas``."""
        return network.decode(self.at(alphas), self.stage)

    def logits(self, network: DecodingNetwork, alphas: Sequence[float]) -> Tensor:
        """Return the logits (A, classes) of the images at ``alphas``.

        An exact inverse need not be run for that: the latent is that of the image.
        """
        if isinstance(network, InvertibleNetwork):
            return network.head(network.encode_from(self.at(alphas), self.stage))
        logits: Tensor = network(self.images(network, alphas))
        return logits


class ScoresOnPath:
    """Class scores of the latents on a path; each alpha is computed once.

    Parameters
    ----------
    network : DecodingNetwork
        Frozen.
    path : LatentPath
        The path.
    target : int
        Index of the target class.
    """

    def __init__(self, network: DecodingNetwork, path: LatentPath, target: int) -> None:
        self.target = target
        self._network, self._path = network, path
        self._known: dict[float, Tensor] = {}

    @torch.no_grad()
    def logits(self, alpha: float) -> Tensor:
        """Return the logits (classes,) in float64."""
        if alpha not in self._known:
            self._known[alpha] = self._path.logits(self._network, [alpha])[0].cpu().double()
        return self._known[alpha]

    def probability(self, alpha: float) -> float:
        """Return the target's probability."""
        return self.logits(alpha).softmax(0)[self.target].item()

    def margin(self, alpha: float) -> float:
        """Return the target's logit minus the largest of the others'."""
        return (self.logits(alpha)[self.target] - self._others(alpha).max()).item()

    def log_odds(self, alpha: float) -> float:
        """Return log(p / (1 - p)) of the target; falls and rises evenly where p saturates."""
        return (self.logits(alpha)[self.target] - self._others(alpha).logsumexp(0)).item()

    def _others(self, alpha: float) -> Tensor:
        logits = self.logits(alpha)
        return logits[torch.arange(len(logits)) != self.target]


def stage_named(network: DecodingNetwork, stage: str) -> str:
    """Return a stage's name; ``first`` and ``last`` stand for the ends of the encoder.

    Raises
    ------
    ParameterError
        The network has no such stage.
    """
    names = network.stage_names
    ends = {"first": names[0], "last": names[-1]}
    found = ends.get(stage, stage)
    if found not in names:
        known = ", ".join(("first", "last", *names))
        raise ParameterError(f"stage: found {stage!r}; expected one of {known}")
    return found
