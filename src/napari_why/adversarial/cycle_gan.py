"""A CycleGAN: images of one class as those of another, learnt without pairs and back again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Annotated, Any, Literal, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_why.adversarial.losses import discriminator_loss, generator_loss
from napari_why.adversarial.play import Game, PlayOptions, PlayResult, play
from napari_why.adversarial.players import PatchDiscriminator
from napari_why.core.errors import DatasetError, ModelFileError, ParameterError
from napari_why.core.events import (
    Cancelled,
    Message,
    OnEvent,
    ignore_event,
    never_cancelled,
    of_network,
)
from napari_why.core.options import Help, Presets, Range, Topic
from napari_why.core.schema import Fields, Flag, ListOf, Row, Schema, Whole
from napari_why.networks.modules import read_integers
from napari_why.networks.unet import UNet
from napari_why.training.checkpoint import CheckpointFolder
from napari_why.training.examples import Examples

LOSS, NETWORK = Topic("loss"), Topic("networks")


@dataclass(frozen=True, kw_only=True)
class CycleGanOptions(PlayOptions):
    """How translators are built and trained.

    Parameters
    ----------
    cycle, identity : float
        Weights of the mean absolute difference between an image and what it is after going there and
        back, and between an image of a class and its translation to that class, in standard
        deviations. Smaller than the published 10 and 5: an absolute difference pulls as hard at a small
        change as at a large one, and discriminators with spectral norms push no harder than their slope,
        so that with those weights a translator that starts at no change never leaves it.
    loss : {"least_squares", "hinge", "non_saturating"}
        See :func:`~napari_why.adversarial.losses.discriminator_loss`; the first as published.
    widths, discriminator_widths : str
        Channels of the scales of a translator, the finest first, and of a discriminator's maps.
    epochs, ..., threads
        See :class:`~napari_why.adversarial.play.PlayOptions`.
    """

    epochs: Annotated[
        int,
        Help("passes over the training images of the larger class"),
        Range(1, 100_000),
        Presets(quick_look=20, thorough=200),
    ] = 60
    learning_rate: Annotated[
        float, Help("size of the steps of both translators"), Range(0, 1), Topic("optimiser")
    ] = 4e-4
    cycle: Annotated[
        float, Help("weight of the difference after going there and back"), Range(0, 1e4), LOSS
    ] = 0.5
    identity: Annotated[
        float,
        Help("weight of the change of images that belong to the class already"),
        Range(0, 1e4),
        LOSS,
    ] = 0.25
    loss: Annotated[
        Literal["least_squares", "hinge", "non_saturating"],
        Help("what the two sides minimise about which images are real"),
        LOSS,
    ] = "least_squares"
    widths: Annotated[str, Help("channels of a translator's scales, the finest first"), NETWORK] = (
        "16,32,64"
    )
    discriminator_widths: Annotated[
        str, Help("channels of a discriminator's maps, each half as large"), NETWORK
    ] = "32,64"


class Translator(nn.Module):
    """An image with a change of its free channels; what is locked stays, bit for bit, by construction.

    The change is made given all channels. It starts at none, so that what needs no change keeps it there.

    Parameters
    ----------
    channels : int
    locked : sequence of int
        Channels that no translation changes.
    widths : sequence of int
        Of the U-Net that makes the change.

    Examples
    --------
    >>> image = torch.ones(1, 2, 8, 8)
    >>> bool((Translator(2, (0,), (4, 8))(image) == image).all())
    True
    """

    def __init__(self, channels: int, locked: Sequence[int], widths: Sequence[int]) -> None:
        super().__init__()
        free = [index for index in range(channels) if index not in locked]
        self.free = free
        # without normalisation: it sees real images and made ones in turn
        self.change = UNet(channels, widths, outputs=len(free), normalise=False)
        for parameter in self.change.last.parameters():
            nn.init.zeros_(parameter)

    def forward(self, images: Tensor) -> Tensor:
        """Return standardised images (N, C, H, W), translated."""
        places = torch.tensor(self.free, device=images.device)
        return images.index_add(1, places, self.change(images))


class CycleGame(Game):
    """Two translators against two discriminators (Zhu et al. 2017, arXiv:1703.10593).

    A batch has images of the first class in its first channels and of the second in the others
    (:class:`UnpairedExamples`).

    Parameters
    ----------
    options : CycleGanOptions
    channels : int
    locked : sequence of int
        Channels that stay; discriminators see them, so that a change has to suit them.
    """

    generator: nn.ModuleDict
    discriminator: nn.ModuleDict
    title = "training two translators against two discriminators"

    def __init__(self, options: CycleGanOptions, channels: int, locked: Sequence[int]) -> None:
        super().__init__()
        self.options, self.channels, self.locked = options, channels, tuple(locked)
        if len(self.locked) >= channels:
            raise ParameterError(
                f"locked: found all {channels} channels; expected one that a translation may change"
            )
        widths, of_judge = (
            read_integers(name, getattr(options, name), low=1, high=WIDEST)
            for name in ("widths", "discriminator_widths")
        )
        # built from the seed alone; torch's own generator stays as it is
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(options.seed)
            self.generator = nn.ModuleDict(
                {name: Translator(channels, locked, widths) for name in ("forth", "back")}
            )
            self.discriminator = nn.ModuleDict(
                {name: PatchDiscriminator(channels, of_judge) for name in ("first", "second")}
            )

    def discriminator_losses(
        self, images: Tensor, labels: Tensor, random: torch.Generator
    ) -> dict[str, Tensor]:
        """Tell images of each class from those that were translated to it."""
        del labels, random  # both classes are in the images, and nothing is drawn
        first, second = images.chunk(2, dim=1)
        with torch.no_grad():
            made = {
                "second": self.generator["forth"](first),
                "first": self.generator["back"](second),
            }
        return {
            name: discriminator_loss(
                self.options.loss,
                self.discriminator[name](real),
                self.discriminator[name](made[name]),
            )
            for name, real in (("first", first), ("second", second))
        }

    def generator_losses(
        self, images: Tensor, labels: Tensor, random: torch.Generator
    ) -> dict[str, Tensor]:
        """Translate such that it passes for real, leads back, and changes nothing of its own class."""
        del labels, random
        first, second = images.chunk(2, dim=1)
        forth, back = self.generator["forth"], self.generator["back"]
        to_second, to_first = forth(first), back(second)
        passing = generator_loss(self.options.loss, self.discriminator["second"](to_second))
        passing = passing + generator_loss(self.options.loss, self.discriminator["first"](to_first))
        returned = F.l1_loss(back(to_second), first) + F.l1_loss(forth(to_first), second)
        kept = F.l1_loss(forth(second), second) + F.l1_loss(back(first), first)
        return {
            "passing": passing,
            "cycle": self.options.cycle * returned,
            "identity": self.options.identity * kept,
        }

    def configuration(self) -> dict[str, Any]:
        """Return JSON types that must be the same for a training that goes on."""
        return {"game": "cycle_gan", "channels": self.channels, "locked": list(self.locked)}


@dataclass(frozen=True)
class UnpairedExamples:
    """Images of two classes side by side, an image of the smaller class as often as it takes.

    Parameters
    ----------
    examples : Examples
    first, second : sequence of int
        Rows of the two classes.
    """

    examples: Examples
    first: Sequence[int]
    second: Sequence[int]

    @property
    def labels(self) -> Tensor:
        """Zeros, one for each image of the larger class."""
        return torch.zeros(max(len(self.first), len(self.second)), dtype=torch.int64)

    def images(self, indices: Sequence[int]) -> Tensor:
        """Return (n, 2 C, H, W): images of the first class, and of the second."""
        both = [
            self.examples.images([rows[index % len(rows)] for index in indices])
            for rows in (self.first, self.second)
        ]
        return torch.cat(both, dim=1)


# Channels of a layer: more than anybody trains, and layers so wide still fit into memory.
WIDEST = 512
Direction = tuple[int, int]

TRANSLATORS: Schema = Fields(
    {
        "channels": Whole(1, WIDEST),
        "locked": ListOf(Whole(), unique=True),
        "widths": ListOf(Whole(1, WIDEST), fewest=2, most=10),
        "directions": ListOf(Row((Whole(), Whole()))),
        "epochs": Whole(),
        "complete": Flag(),
    }
)


@dataclass(frozen=True)
class ClassTranslators:
    """A translator for each ordered pair of classes.

    Parameters
    ----------
    channels : int
        Of the images.
    locked : tuple of int
        Channels that stay.
    widths : tuple of int
    translators : mapping of (int, int) to Translator
        By source and target class.
    epochs : int
        That each was trained for; the fewest where they differ.
    complete : bool
        False where the training was cancelled.
    """

    channels: int
    locked: tuple[int, ...]
    widths: tuple[int, ...]
    translators: Mapping[Direction, Translator]
    epochs: int
    complete: bool = True

    @torch.no_grad()
    def translate(self, images: Tensor, source: int, target: int) -> Tensor:
        """Return standardised images (N, C, H, W) of a class as those of another, where they are.

        Parameters
        ----------
        images : Tensor, shape (N, C, H, W)
            Standardised.
        source, target : int
            Class indices.

        Returns
        -------
        Tensor, shape (N, C, H, W)
            On the images' device; locked channels as they were.

        Raises
        ------
        ParameterError
            No translator was trained for that.
        """
        translator = self.translators.get((source, target))
        if translator is None:
            raise ParameterError(
                f"translation: found none from class {source} to {target}; its training was cancelled before; "
                "fit the translation again"
            )
        return translator.to(images.device)(images)  # type: ignore[no-any-return]

    def fits(self, classes: int, channels: int) -> bool:
        """Tell whether all directions are between so many classes; latents are none of its business.

        Parameters
        ----------
        classes : int
            Number of classes.
        channels : int
            Of latents; not looked at.

        Returns
        -------
        bool
        """
        del channels
        return all(
            source != target and max(source, target) < classes
            for source, target in self.translators
        )

    def tensors(self) -> dict[str, Tensor]:
        """Return everything numeric by name, ready for safetensors."""
        return {
            f"{source}-{target}.{name}": value.detach().cpu().contiguous().clone()
            for (source, target), translator in self.translators.items()
            for name, value in translator.state_dict().items()
        }

    def to_dict(self) -> dict[str, Any]:
        """Return the part that is not tensors, as JSON types."""
        return {
            "channels": self.channels,
            "locked": list(self.locked),
            "widths": list(self.widths),
            "directions": [list(direction) for direction in self.translators],
            "epochs": self.epochs,
            "complete": self.complete,
        }

    @classmethod
    def from_parts(cls, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> Self:
        """Put together what :meth:`tensors` and :meth:`to_dict` took apart.

        Parameters
        ----------
        tensors : mapping of str to Tensor
            By name, of each direction.
        plain : mapping
            JSON types.

        Returns
        -------
        ClassTranslators

        Raises
        ------
        ModelFileError
            A part is missing or does not fit the others.
        """
        TRANSLATORS.check(plain, "translators:")
        channels, locked, widths = (plain[name] for name in ("channels", "locked", "widths"))
        if any(channel >= channels for channel in locked) or len(locked) == channels:
            raise _misfit(f"locked channels {locked} of {channels}")
        left, translators = dict(tensors), {}
        for source, target in plain["directions"]:
            # its own random numbers: whoever loads a classifier finds torch's generator as it was
            with torch.random.fork_rng(devices=[]):
                built = Translator(channels, locked, widths)
            found = {}
            for name, value in built.state_dict().items():
                given = left.pop(f"{source}-{target}.{name}", None)
                if given is None or (given.shape, given.dtype) != (value.shape, value.dtype):
                    raise _misfit(f"no {source}-{target}.{name} of shape {tuple(value.shape)}")
                found[name] = given
            built.load_state_dict(found)
            translators[source, target] = built.eval().requires_grad_(False)
        if left:
            raise _misfit(f"the tensors {', '.join(sorted(left)[:3])}, which belong to nothing")
        return cls(
            channels, tuple(locked), tuple(widths), translators, plain["epochs"], plain["complete"]
        )


def _misfit(found: str) -> ModelFileError:
    return ModelFileError(f"translators: found {found}; fit the translation again")


def fit_translators(
    examples: Examples,
    classes: Sequence[str],
    locked: Sequence[int],
    options: CycleGanOptions,
    *,
    checkpoints: CheckpointFolder | None = None,
    on_event: OnEvent = ignore_event,
    cancelled: Cancelled = never_cancelled,
) -> tuple[ClassTranslators | None, dict[str, PlayResult]]:
    """Train a CycleGAN for each pair of classes.

    Parameters
    ----------
    examples : Examples
        Standardised training images, not paired.
    classes : sequence of str
        Names by label.
    locked : sequence of int
        Channels that no translation changes.
    options : CycleGanOptions
    checkpoints : CheckpointFolder, optional
        A folder within for each pair.
    on_event, cancelled
        See :mod:`napari_why.core.events`.

    Returns
    -------
    translators : ClassTranslators or None
        Those that were trained for an epoch at least; None where there are none.
    results : dict of str to PlayResult
        How each training went, by "first and second".

    Raises
    ------
    DatasetError
        A class has no image.
    PlayError
        A training broke off.
    """
    channels = examples.images([0]).shape[1]
    rows = {index: _rows_of(examples, index, name) for index, name in enumerate(classes)}
    translators: dict[Direction, Translator] = {}
    results: dict[str, PlayResult] = {}
    for first, second in combinations(rows, 2):
        pair = f"{classes[first]} and {classes[second]}"
        if cancelled():
            break
        game = CycleGame(options, channels, locked)
        on_event(Message(f"training two translators between {pair}, against two discriminators"))
        place = None if checkpoints is None else _within(checkpoints, f"{first}-{second}")
        result = results[pair] = play(
            game,
            UnpairedExamples(examples, rows[first], rows[second]),
            options,
            checkpoints=place,
            on_event=of_network(on_event, f"translators between {pair}"),
            cancelled=cancelled,
        )
        if result.history:
            for direction, name in (((first, second), "forth"), ((second, first), "back")):
                translator = game.generator[name]
                assert isinstance(translator, Translator)  # noqa: S101 - for the type checker
                translators[direction] = translator
    if not translators:
        return None, results
    widths = tuple(read_integers("widths", options.widths, low=1, high=WIDEST))
    wanted = len(classes) * (len(classes) - 1)
    complete = len(translators) == wanted and all(
        result.status == "done" for result in results.values()
    )
    epochs = min(len(result.history) for result in results.values())
    made = ClassTranslators(channels, tuple(locked), widths, translators, epochs, complete)
    return made, results


def _rows_of(examples: Examples, label: int, name: str) -> list[int]:
    rows: list[int] = np.flatnonzero(examples.labels.numpy() == label).tolist()
    if not rows:
        raise DatasetError(f"found no training image of {name}; expected images of every class")
    return rows


def _within(checkpoints: CheckpointFolder, name: str) -> CheckpointFolder:
    return CheckpointFolder(
        checkpoints.folder / name, checkpoints.settings, checkpoints.resume, checkpoints.ends_with
    )
