"""A DCGAN: images from codes that are drawn at random, of a class where that is wanted."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import torch
from torch import Tensor

from napari_why.adversarial.losses import (
    augment_differentiably,
    discriminator_loss,
    generator_loss,
)
from napari_why.adversarial.play import Game, Look, PlayOptions
from napari_why.adversarial.players import (
    CodeToImage,
    Discriminator,
    add_spectral_norms,
    plain_state,
)
from napari_why.adversarial.variety import measure_variety
from napari_why.core.options import Help, Label, Range, Topic
from napari_why.datasets.features import image_features
from napari_why.networks.modules import read_integers
from napari_why.training.examples import Examples

NETWORK, LOSS = Topic("networks"), Topic("loss")
# Images that variety is measured on: features of a hundred small ones take a second.
LOOKED_AT = 100


@dataclass(frozen=True, kw_only=True)
class DcganOptions(PlayOptions):
    """How a DCGAN is built and trained.

    Parameters
    ----------
    conditional : bool
        Whether it learns to make images of a class that is asked for.
    code_dimensions : int
        Numbers that an image is made of.
    widths : str
        Channels of the generator's maps, from the smallest on; the discriminator's go the other way.
    loss : {"hinge", "non_saturating"}
        See :func:`~napari_why.adversarial.losses.discriminator_loss`.
    few_images : bool
        Show the discriminator changed images; see :func:`~napari_why.adversarial.losses.augment_differentiably`.
    epochs, ..., threads
        See :class:`~napari_why.adversarial.play.PlayOptions`.
    """

    conditional: Annotated[bool, Help("learn to make images of a class that is asked for")] = True
    code_dimensions: Annotated[
        int, Help("numbers that an image is made of"), Range(1, 4096), NETWORK
    ] = 64
    widths: Annotated[
        str, Help("channels of the maps, from the smallest to the largest"), NETWORK
    ] = "128,64,32,16"
    loss: Annotated[
        Literal["hinge", "non_saturating"], Help("what the two players minimise"), LOSS
    ] = "hinge"
    few_images: Annotated[
        bool,
        Help(
            "show both real and made images brighter, moved and with holes, so that few images are not "
            "learnt by heart"
        ),
        Label("for small data sets"),
        Topic("images"),
    ] = True


class DcganGame(Game):
    """A generator of images from codes against a discriminator that knows the class.

    Parameters
    ----------
    options : DcganOptions
    channels : int
    classes : sequence of str
        All that labels may name; a generator that knows none has no use for them.
    size : (int, int)
    """

    def __init__(
        self, options: DcganOptions, channels: int, classes: Sequence[str], size: tuple[int, int]
    ) -> None:
        super().__init__()
        self.options, self.classes = options, tuple(classes)
        known = len(self.classes) if options.conditional else 0
        # built from the seed alone; torch's own generator stays as it is
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(options.seed)
            self.generator: CodeToImage = CodeToImage(
                {
                    "channels": channels,
                    "classes": known,
                    "size": list(size),
                    "code_dimensions": options.code_dimensions,
                    "widths": options.widths,
                }
            )
            add_spectral_norms(self.generator)
            widths = read_integers("widths", options.widths, low=1, high=4096)
            self.discriminator = Discriminator(channels, known, size, widths[::-1])
        self._real: tuple[np.ndarray[Any, np.dtype[np.float64]], list[str]] | None = None

    def watch(self, examples: Examples) -> None:
        """Compare samples with these images whenever somebody looks."""
        count = len(examples.labels)
        rows = np.unique(np.linspace(0, count - 1, min(count, LOOKED_AT)).astype(int)).tolist()
        features = _features(examples.images(rows))
        self._real = features, [self.classes[int(examples.labels[row])] for row in rows]

    def discriminator_losses(
        self, images: Tensor, labels: Tensor, random: torch.Generator
    ) -> dict[str, Tensor]:
        """Tell real images of a batch from as many made ones of the same classes."""
        with torch.no_grad():
            made = self.make(len(images), labels, random)
        logits = (
            self.discriminator(self._changed(seen, random), labels) for seen in (images, made)
        )
        return {"judging": discriminator_loss(self.options.loss, *logits)}

    def generator_losses(
        self, images: Tensor, labels: Tensor, random: torch.Generator
    ) -> dict[str, Tensor]:
        """Make images of a batch's classes that pass for real."""
        made = self.make(len(images), labels, random)
        logits = self.discriminator(self._changed(made, random), labels)
        return {"making": generator_loss(self.options.loss, logits)}

    def make(self, count: int, labels: Tensor, random: torch.Generator) -> Tensor:
        """Return so many images of random codes, of the classes (count,) where it knows any.

        Parameters
        ----------
        count : int
            Number of images.
        labels : Tensor, int64, shape (count,)
            Classes; its device is that of the images.
        random : torch.Generator
            On the CPU.

        Returns
        -------
        Tensor, shape (count, C, H, W)
            Standardised.
        """
        codes = torch.randn(count, self.options.code_dimensions, generator=random)
        made: Tensor = self.generator(
            codes.to(labels.device), labels if self.generator.classes else None
        )
        return made

    def look(self, random: torch.Generator) -> Look:
        """Compare the variety of samples with that of real images."""
        if self._real is None:
            return Look()
        real, names = self._real
        place = next(self.generator.parameters()).device
        labels = torch.tensor([self.classes.index(name) for name in names], device=place)
        made = self.make(len(names), labels, random).cpu()
        drawn_as = names if self.generator.classes else None
        found = measure_variety(_features(made), drawn_as, real, names)
        return Look(found.to_dict(), found.findings)

    def plain_generator(self) -> CodeToImage:
        """Return the generator to be kept, its spectral norms divided out once and for all."""
        plain = CodeToImage(self.generator.configuration())
        plain.load_state_dict(plain_state(self.generator))
        return plain.eval().requires_grad_(False)

    def configuration(self) -> dict[str, Any]:
        """Return JSON types that must be the same for a training that goes on."""
        return {"game": "dcgan", "network": self.generator.configuration()}

    def _changed(self, images: Tensor, random: torch.Generator) -> Tensor:
        return augment_differentiably(images, random) if self.options.few_images else images


def _features(images: Tensor) -> "np.ndarray[Any, np.dtype[np.float64]]":
    return image_features(images.numpy(), range(images.shape[1]))
