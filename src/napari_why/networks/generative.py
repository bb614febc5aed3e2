"""What generative networks have in common: a latent of a few numbers, a decoder, a linear head."""

from abc import abstractmethod

import torch
from torch import Tensor

from napari_why.errors import ParameterError, UnsupportedNetworkError
from napari_why.networks.network import DecodingNetwork

LATENT = "latent"


class GenerativeNetwork(DecodingNetwork):
    """A network that learns to give its input back from a latent of few numbers, and classifies it.

    The latent is the last feature map (N, K, 1, 1) and the only stage; the head is linear on it.
    ``decode(encode(x))`` is close to x at best: what the latent has no room for is lost.
    Subclasses say in ``training_losses`` what is minimised beside the classification.

    Attributes
    ----------
    size : (int, int)
        Height and width in pixels of the images that it decodes.
    latent_dimensions : int
        K.
    has_prior : bool
        Whether training drew the latents of all images to a standard normal distribution, so that
        a latent drawn from it stands for an image.
    """

    size: tuple[int, int]
    latent_dimensions: int
    has_prior: bool = False

    @abstractmethod
    def decode(self, latent: Tensor, stage: str | None = None) -> Tensor:
        """Return the images (N, C, H, W) of latents (N, K, 1, 1)."""

    @property
    def stage_names(self) -> tuple[str, ...]:
        """``latent`` alone."""
        return (LATENT,)

    @property
    def located_layer(self) -> str:
        """The layer before the latent, which has but one position."""
        return self.layer_names[-2]

    def encode_to(self, x: Tensor, stage: str) -> Tensor:
        """Return the latent (N, K, 1, 1)."""
        self.check_stage(stage)
        return self.encode(x)

    def encode_from(self, latent: Tensor, stage: str) -> Tensor:
        """Return the latent itself."""
        self.check_stage(stage)
        return latent

    def prior_latents(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw latents (count, K, 1, 1) from the standard normal distribution, on the CPU.

        Raises
        ------
        UnsupportedNetworkError
            Training gave the latents no distribution.
        """
        if not self.has_prior:
            raise UnsupportedNetworkError(
                f"{self.name}: its latents have no distribution to draw from; "
                "train a classifier with the network vae"
            )
        return torch.randn(count, self.latent_dimensions, 1, 1, generator=generator)

    def check_stage(self, stage: str | None) -> None:
        """Raise ParameterError unless ``stage`` is the latent (or None: the last)."""
        if stage not in (None, LATENT):
            raise ParameterError(f"stage: found {stage!r}; expected {LATENT}")
