"""Denoising learnt from noisy images alone: a network predicts pixels that it is not shown.

As Noise2Void (Krull, Buchholz & Jug 2019, arXiv:1811.10980): of noise that is independent from pixel to
pixel nothing can be foretold from the surroundings, of structure something can.
"""

from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from napari_why.adversarial.channel_game import WIDEST
from napari_why.adversarial.play import Game, PlayOptions, play
from napari_why.core.events import Cancelled, OnEvent, ignore_event, never_cancelled
from napari_why.core.options import Help, Range, Topic
from napari_why.networks.modules import read_integers
from napari_why.networks.unet import UNet
from napari_why.training.examples import Examples

# Pixels to either side from which a hidden pixel's stand-in is taken, as published.
REACH = 2


@dataclass(frozen=True, kw_only=True)
class BlindSpotOptions(PlayOptions):
    """How a denoiser is built and trained on noisy images.

    Parameters
    ----------
    hidden : float
        Share of the pixels that it is not shown, in each step.
    widths : str
        Channels of the scales of the U-Net, the finest first.
    epochs, ..., threads
        See :class:`~napari_why.adversarial.play.PlayOptions`; there is no discriminator.
    """

    learning_rate: Annotated[float, Help("size of the steps"), Range(0, 1), Topic("optimiser")] = (
        1e-3
    )
    hidden: Annotated[
        float, Help("share of the pixels that are hidden in each step"), Range(0.001, 0.5)
    ] = 1 / 64
    widths: Annotated[
        str, Help("channels of the U-Net's scales, the finest first"), Topic("networks")
    ] = "16,32,64"


class BlindSpotGame(Game):
    """Least squares at pixels that others near them stand in for.

    Parameters
    ----------
    options : BlindSpotOptions
    channels : int
    """

    generator: UNet

    def __init__(self, options: BlindSpotOptions, channels: int) -> None:
        super().__init__()
        self.options = options
        widths = read_integers("widths", options.widths, low=1, high=WIDEST)
        # built from the seed alone; torch's own generator stays as it is
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(options.seed)
            self.generator = UNet(channels, widths)
        self.discriminator = nn.Identity()

    def discriminator_losses(
        self, images: Tensor, labels: Tensor, random: torch.Generator
    ) -> dict[str, Tensor]:
        """Return nothing: there is no opponent."""
        del images, labels, random
        return {}

    def generator_losses(
        self, images: Tensor, labels: Tensor, random: torch.Generator
    ) -> dict[str, Tensor]:
        """Return the mean square error at hidden pixels, from images without these."""
        del labels
        shown, hidden = hide_pixels(images, self.options.hidden, random)
        errors = (self.generator(shown) - images).square()
        return {"hidden": (errors * hidden).sum() / hidden.sum().clamp(min=1)}

    def configuration(self) -> dict[str, Any]:
        """Return JSON types that must be the same for a training that goes on."""
        return {"game": "blind spots"}


def hide_pixels(images: Tensor, share: float, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Put neighbours in the place of some pixels.

    Parameters
    ----------
    images : Tensor, shape (N, C, H, W)
    share : float
        Of the pixels of each channel.
    random : torch.Generator
        On the CPU.

    Returns
    -------
    shown, hidden : Tensor, shape (N, C, H, W)
        The images with stand-ins from at most two pixels away; 1 where there is one.
    """
    hidden = (torch.rand(images.shape, generator=random) < share).to(images)
    height, width = images.shape[-2:]
    # never the pixel itself: one of the other places of the square around it
    side = 2 * REACH + 1
    place = torch.randint(0, side * side - 1, images.shape, generator=random)
    place = place + (place >= (side * side) // 2)
    rows = _step(torch.arange(height)[:, None], place // side - REACH, height)
    columns = _step(torch.arange(width)[None, :], place % side - REACH, width)
    stand_ins = images.flatten(2).gather(2, (rows * width + columns).flatten(2).to(images.device))
    return torch.where(hidden > 0, stand_ins.reshape(images.shape), images), hidden


def _step(start: Tensor, step: Tensor, count: int) -> Tensor:
    """Step to a neighbour; the other way where that would leave the image, so never back to the start."""
    there = start + step
    return torch.where((there >= 0) & (there < count), there, start - step)


def fit_denoiser(
    examples: Examples,
    options: BlindSpotOptions,
    *,
    on_event: OnEvent = ignore_event,
    cancelled: Cancelled = never_cancelled,
) -> UNet:
    """Train a denoiser on noisy images.

    Parameters
    ----------
    examples : Examples
        Standardised.
    options : BlindSpotOptions
    on_event, cancelled
        See :mod:`napari_why.core.events`. Cancelled, it is that of the last finished epoch.

    Returns
    -------
    UNet
        Noisy images (N, C, H, W) to denoised ones.
    """
    game = BlindSpotGame(options, examples.images([0]).shape[1])
    play(game, examples, options, on_event=on_event, cancelled=cancelled)
    return game.generator
