"""Channels from other channels: a U-Net by least absolute error, against a discriminator of patches or alone."""

from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_why.adversarial.losses import discriminator_loss, generator_loss
from napari_why.adversarial.play import Game, PlayOptions
from napari_why.adversarial.players import PatchDiscriminator
from napari_why.core.options import Help, Presets, Range, Topic
from napari_why.networks.modules import read_integers
from napari_why.networks.unet import UNet

# Channels of a layer: more than anybody trains, and layers so wide still fit into memory.
WIDEST = 512


@dataclass(frozen=True, kw_only=True)
class ChannelGameOptions(PlayOptions):
    """How a predictor of channels is built and trained.

    Parameters
    ----------
    adversarial : float
        Weight of passing for real beside that of the mean absolute error, which is 1, in standard
        deviations of a channel. As published it is 1/100 in units of half an image's range (Isola et al.
        2017, arXiv:1611.07004), which holds some five standard deviations. 0 trains a plain U-Net.
    widths, discriminator_widths : str
        Channels of the scales of the U-Net, the finest first, and of the discriminator's maps.
    epochs, ..., threads
        See :class:`~napari_why.adversarial.play.PlayOptions`.
    """

    epochs: Annotated[
        int,
        Help("passes over the training images"),
        Range(1, 100_000),
        Presets(quick_look=20, thorough=200),
    ] = 60
    learning_rate: Annotated[
        float, Help("size of the U-Net's steps"), Range(0, 1), Topic("optimiser")
    ] = 1e-3
    adversarial: Annotated[
        float,
        Help(
            "weight of passing for real beside the absolute error, without which what is not known is "
            "blurred; 0: a plain U-Net"
        ),
        Range(0, 1e4),
        Topic("loss"),
    ] = 0.05
    widths: Annotated[
        str, Help("channels of the U-Net's scales, the finest first"), Topic("networks")
    ] = "16,32,64"
    discriminator_widths: Annotated[
        str, Help("channels of the discriminator's maps, each half as large"), Topic("networks")
    ] = "32,64"


class ChannelGame(Game):
    """A U-Net that makes channels of others, and a discriminator that sees both (Isola et al. 2017).

    In a batch the channels that are given come first. Nothing random goes in: the published dropout was
    found to be ignored, so that one prediction is made of an image.

    Parameters
    ----------
    options : ChannelGameOptions
    given, made : int
        Channels.
    """

    generator: UNet

    def __init__(self, options: ChannelGameOptions, given: int, made: int) -> None:
        super().__init__()
        self.options, self.given, self.made = options, given, made
        widths, of_judge = (
            tuple(read_integers(name, getattr(options, name), low=1, high=WIDEST))
            for name in ("widths", "discriminator_widths")
        )
        # built from the seed alone; torch's own generator stays as it is
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(options.seed)
            self.generator = UNet(given, widths, outputs=made)
            # without a second player there is nobody to have weights
            self.discriminator: nn.Module = (
                PatchDiscriminator(given + made, of_judge) if options.adversarial else nn.Identity()
            )

    def discriminator_losses(
        self, images: Tensor, labels: Tensor, random: torch.Generator
    ) -> dict[str, Tensor]:
        """Tell real channels from made ones, beside those that were given."""
        del labels, random
        if not self.options.adversarial:
            return {}
        given = images[:, : self.given]
        with torch.no_grad():
            made = torch.cat([given, self.generator(given)], dim=1)
        logits = self.discriminator(images), self.discriminator(made)
        return {"judging": discriminator_loss("least_squares", *logits)}

    def generator_losses(
        self, images: Tensor, labels: Tensor, random: torch.Generator
    ) -> dict[str, Tensor]:
        """Come near the real channels, and pass for them."""
        del labels, random
        given, real = torch.split(images, [self.given, self.made], dim=1)
        made = self.generator(given)
        losses = {"absolute": F.l1_loss(made, real)}
        if self.options.adversarial:
            logits = self.discriminator(torch.cat([given, made], dim=1))
            passing = generator_loss("least_squares", logits)
            losses["passing"] = self.options.adversarial * passing
        return losses

    def configuration(self) -> dict[str, Any]:
        """Return JSON types that must be the same for a training that goes on."""
        return {"game": "channels", "given": self.given, "made": self.made}
