"""A straight way through the latent space of one stage."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from napari_why.core.errors import ParameterError
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
    alpha0 : float or None
        Where the method itself expects the boundary; None for a method that makes no such guess.
    closed_form : bool
        The method gives ``alpha0`` by a formula, and alpha1 follows from it as published.
    notes : tuple of str
        Sentences that the user should read beside the images.
    details : Tensor or None, shape (1, C, H, W)
        What an approximate decoder leaves out of the image, added to every image on the path.
    full_alpha : float or None
        Where the method holds its change to be complete; None for a method that has no such alpha.
    reset_channels : tuple of int
        Input channels of the images that are put back to the source's, since no class evidence
        is lost by that.
    """

    stage: str
    start: Tensor
    displacement: Tensor
    alpha0: float | None = None
    closed_form: bool = False
    notes: tuple[str, ...] = ()
    details: Tensor | None = None
    full_alpha: float | None = None
    reset_channels: tuple[int, ...] = ()

    def at(self, alphas: Sequence[float]) -> Tensor:
        """Return the latents (A, K, h, w) at ``alphas``."""
        steps = torch.tensor(alphas, dtype=self.start.dtype, device=self.start.device)
        return self.start + steps.reshape(-1, 1, 1, 1) * self.displacement

    def images(self, network: DecodingNetwork, alphas: Sequence[float]) -> Tensor:
        """Return the preprocessed images (A, C, H, W) at ``alphas``."""
        images = network.decode(self.at(alphas), self.stage)
        return images if self.details is None else images + self.details

    def logits(self, network: DecodingNetwork, alphas: Sequence[float]) -> Tensor:
        """Return the logits (A, classes) of the images at ``alphas``.

        An exact inverse need not be run for that: the latent is that of the image.
        """
        if isinstance(network, InvertibleNetwork):
            return network.head(network.encode_from(self.at(alphas), self.stage))
        logits: Tensor = network(self.images(network, alphas))
        return logits


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
