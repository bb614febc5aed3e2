"""Conditional flow matching: free channels of a class given the locked ones, from noise along a flow.

One network and no opponent, in the loop of two players; a flow run backwards gives the noise that an
image comes from, and run forwards for another class what the same noise is there.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_why.adversarial.cycle_gan import WIDEST
from napari_why.adversarial.play import Game, PlayOptions, PlayResult, play
from napari_why.core.errors import ModelFileError, ParameterError
from napari_why.core.events import Cancelled, OnEvent, ignore_event, never_cancelled
from napari_why.core.options import Help, Presets, Range, Topic
from napari_why.core.schema import Fields, Flag, ListOf, Schema, Whole
from napari_why.networks.modules import read_integers
from napari_why.networks.unet import UNet
from napari_why.training.checkpoint import CheckpointFolder
from napari_why.training.examples import Examples

# Planes that tell the time: itself, and its first sine and cosine.
TIME_PLANES = 3
# Of Heun's method; an image that goes to noise and back by as many comes back to a few per cent.
STEPS = 20


@dataclass(frozen=True, kw_only=True)
class FlowOptions(PlayOptions):
    """How a flow is built and trained.

    Parameters
    ----------
    widths : str
        Channels of the scales of the network, the finest first.
    epochs, ..., threads
        See :class:`~napari_why.adversarial.play.PlayOptions`; there is no discriminator.
    """

    epochs: Annotated[
        int,
        Help("passes over the training images"),
        Range(1, 100_000),
        Presets(quick_look=40, thorough=800),
    ] = 200
    learning_rate: Annotated[float, Help("size of the steps"), Range(0, 1), Topic("optimiser")] = (
        1e-3
    )
    widths: Annotated[
        str, Help("channels of the network's scales, the finest first"), Topic("networks")
    ] = "16,32,64"


def take_channels(images: Tensor, channels: Sequence[int]) -> Tensor:
    """Return channels (N, k, H, W) of images (N, C, H, W).

    Parameters
    ----------
    images : Tensor, shape (N, C, H, W)
    channels : sequence of k int

    Returns
    -------
    Tensor, shape (N, k, H, W)
        On the images' device.
    """
    return images.index_select(1, torch.tensor(channels, dtype=torch.int64, device=images.device))


class Velocity(nn.Module):
    """Where noisy free channels have to go, given the locked ones, the class and the time.

    Class and time come in as planes of their own beside the image.

    Parameters
    ----------
    channels : int
    locked : sequence of int
    classes : int
    widths : sequence of int
        Of its U-Net.
    """

    def __init__(
        self, channels: int, locked: Sequence[int], classes: int, widths: Sequence[int]
    ) -> None:
        super().__init__()
        self.locked = list(locked)
        self.free = [index for index in range(channels) if index not in locked]
        self.classes = classes
        planes = channels + classes + TIME_PLANES
        # without normalisation: what a map's usual values are hangs on the time
        self.network = UNet(planes, widths, outputs=len(self.free), normalise=False)

    def forward(self, moving: Tensor, images: Tensor, labels: Tensor, times: Tensor) -> Tensor:
        """Return velocities (N, free, H, W).

        Parameters
        ----------
        moving : Tensor, shape (N, free, H, W)
            Between noise (time 0) and image (time 1).
        images : Tensor, shape (N, C, H, W)
            Standardised; only their locked channels are looked at.
        labels, times : Tensor, shape (N,)

        Returns
        -------
        Tensor, shape (N, free, H, W)
            Standard deviations per unit of time.
        """
        height, width = moving.shape[-2:]
        classes = torch.arange(self.classes).to(labels.device)
        of_class = (labels[:, None] == classes).to(moving)
        angle = 2 * math.pi * times
        of_time = torch.stack([times, torch.sin(angle), torch.cos(angle)], dim=1)
        planes = torch.cat([of_class, of_time], dim=1)[:, :, None, None]
        beside = planes.expand(-1, -1, height, width)
        velocities: Tensor = self.network(
            torch.cat([moving, take_channels(images, self.locked), beside], dim=1)
        )
        return velocities


class FlowGame(Game):
    """Least squares of the velocity on straight lines from noise to images (Lipman et al. 2023).

    x_t = (1 - t) x_0 + t x_1 moves by x_1 - x_0; the network's mean answer at x_t is the velocity of a
    flow that carries noise to images of the class (arXiv:2210.02747, with optimal-transport paths).

    Parameters
    ----------
    options : FlowOptions
    channels : int
    locked : sequence of int
        Channels that condition the flow and are none of it.
    classes : int
    """

    generator: Velocity

    def __init__(
        self, options: FlowOptions, channels: int, locked: Sequence[int], classes: int
    ) -> None:
        super().__init__()
        if len(set(locked)) >= channels:
            raise ParameterError(
                f"locked: found all {channels} channels; expected one that a flow may make"
            )
        self.options = options
        self._sizes = {"channels": channels, "locked": sorted(locked), "classes": classes}
        widths = read_integers("widths", options.widths, low=1, high=WIDEST)
        # built from the seed alone; torch's own generator stays as it is
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(options.seed)
            self.generator = Velocity(channels, sorted(locked), classes, widths)
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
        """Return the mean square error of velocities, at times and noise drawn at random."""
        real = take_channels(images, self.generator.free)
        noise = torch.randn(real.shape, generator=random).to(real)
        times = torch.rand(len(real), generator=random).to(real)
        share = times[:, None, None, None]
        moving = (1 - share) * noise + share * real
        velocity = self.generator(moving, images, labels, times)
        return {"velocity": F.mse_loss(velocity, real - noise)}

    def configuration(self) -> dict[str, Any]:
        """Return JSON types that must be the same for a training that goes on."""
        return {"game": "flow", **self._sizes}


FLOW: Schema = Fields(
    {
        "channels": Whole(1, WIDEST),
        "locked": ListOf(Whole(), unique=True),
        "classes": Whole(2, WIDEST),
        "widths": ListOf(Whole(1, WIDEST), fewest=2, most=10),
        "epochs": Whole(),
        "complete": Flag(),
    }
)


@dataclass(frozen=True)
class ClassFlow:
    """A flow from noise to the free channels of each class, given the locked ones.

    Parameters
    ----------
    velocity : Velocity
        In evaluation mode.
    channels : int
        Of the images.
    epochs : int
        That it was trained for.
    complete : bool
        False where the training was cancelled.
    """

    velocity: Velocity
    channels: int
    epochs: int
    complete: bool = True

    @property
    def locked(self) -> tuple[int, ...]:
        """Channels that stay."""
        return tuple(self.velocity.locked)

    @torch.no_grad()
    def translate(self, images: Tensor, source: int, target: int, steps: int = STEPS) -> Tensor:
        """Return images (N, C, H, W) of a class as the same noise is in another; where they are.

        What is added is the difference of the two flows of that noise: so an error that both make, and a
        detail that no flow reproduces, stays out of the change.

        Parameters
        ----------
        images : Tensor, shape (N, C, H, W)
            Standardised.
        source, target : int
            Class indices.
        steps : int
            Of Heun's method, each way.

        Returns
        -------
        Tensor, shape (N, C, H, W)
            Locked channels are those of ``images``.
        """
        velocity = self.velocity.to(images.device)
        free = velocity.free
        noise = self._follow(take_channels(images, free), images, source, steps, backwards=True)
        ends = [self._follow(noise, images, label, steps) for label in (source, target)]
        places = torch.tensor(free, device=images.device)
        return images.index_add(1, places, ends[1] - ends[0])

    @torch.no_grad()
    def draw(
        self, images: Tensor, label: int, random: torch.Generator, steps: int = STEPS
    ) -> Tensor:
        """Return images of a class drawn from noise, with the locked channels of these (N, C, H, W).

        Parameters
        ----------
        images : Tensor, shape (N, C, H, W)
            Standardised; their locked channels stay.
        label : int
            Class index.
        random : torch.Generator
            On the CPU, of the noise.
        steps : int
            Of Heun's method.

        Returns
        -------
        Tensor, shape (N, C, H, W)
        """
        velocity = self.velocity.to(images.device)
        places = torch.tensor(velocity.free, device=images.device)
        before = take_channels(images, velocity.free)
        noise = torch.randn(before.shape, generator=random).to(images)
        return images.index_copy(1, places, self._follow(noise, images, label, steps))

    def _follow(
        self, start: Tensor, images: Tensor, label: int, steps: int, *, backwards: bool = False
    ) -> Tensor:
        """Follow the flow by Heun's method, from noise to images, or backwards."""
        labels = torch.full((len(images),), label).to(images.device)
        times = torch.linspace(0, 1, steps + 1)
        times = times.flip(0) if backwards else times
        place = start
        for now, then in zip(times[:-1].tolist(), times[1:].tolist(), strict=True):
            first = self.velocity(
                place, images, labels, torch.full((len(images),), float(now)).to(images)
            )
            ahead = place + (then - now) * first
            second = self.velocity(
                ahead, images, labels, torch.full((len(images),), float(then)).to(images)
            )
            place = place + (then - now) / 2 * (first + second)
        return place

    def fits(self, classes: int, channels: int) -> bool:
        """Tell whether it is of so many classes; latents are none of its business.

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
        return self.velocity.classes == classes

    def tensors(self) -> dict[str, Tensor]:
        """Return everything numeric by name, ready for safetensors."""
        return {
            name: value.detach().cpu().contiguous().clone()
            for name, value in self.velocity.state_dict().items()
        }

    def to_dict(self) -> dict[str, Any]:
        """Return the part that is not tensors, as JSON types."""
        return {
            "channels": self.channels,
            "locked": list(self.locked),
            "classes": self.velocity.classes,
            "widths": list(self.velocity.network.widths),
            "epochs": self.epochs,
            "complete": self.complete,
        }

    @classmethod
    def from_parts(cls, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> Self:
        """Put together what :meth:`tensors` and :meth:`to_dict` took apart.

        Parameters
        ----------
        tensors : mapping of str to Tensor
            By name, of the velocity.
        plain : mapping
            JSON types.

        Returns
        -------
        ClassFlow

        Raises
        ------
        ModelFileError
            A part is missing or does not fit the others.
        """
        FLOW.check(plain, "flow:")
        channels, locked = plain["channels"], plain["locked"]
        if any(channel >= channels for channel in locked) or len(locked) == channels:
            raise ModelFileError(
                f"flow: found locked channels {locked} of {channels}; fit the flow again"
            )
        # its own random numbers: whoever loads a classifier finds torch's generator as it was
        with torch.random.fork_rng(devices=[]):
            velocity = Velocity(channels, locked, plain["classes"], plain["widths"])
        wanted = {name: (v.shape, v.dtype) for name, v in velocity.state_dict().items()}
        if wanted != {name: (v.shape, v.dtype) for name, v in tensors.items()}:
            raise ModelFileError("flow: found tensors that do not fit; fit the flow again")
        velocity.load_state_dict(dict(tensors))
        velocity.eval().requires_grad_(False)
        return cls(velocity, channels, plain["epochs"], plain["complete"])


def fit_class_flow(
    examples: Examples,
    classes: Sequence[str],
    locked: Sequence[int],
    options: FlowOptions,
    *,
    checkpoints: CheckpointFolder | None = None,
    on_event: OnEvent = ignore_event,
    cancelled: Cancelled = never_cancelled,
) -> tuple[ClassFlow | None, dict[str, PlayResult]]:
    """Train a flow of all classes.

    Parameters
    ----------
    examples, classes, locked, options, checkpoints, on_event, cancelled
        As for :func:`~napari_why.adversarial.cycle_gan.fit_translators`.

    Returns
    -------
    flow : ClassFlow or None
        None where it was cancelled before the first epoch.
    results : dict of str to PlayResult
        How the training went, by "all classes".
    """
    channels = examples.images([0]).shape[1]
    game = FlowGame(options, channels, locked, len(classes))
    result = play(
        game,
        examples,
        options,
        checkpoints=checkpoints,
        on_event=on_event,
        cancelled=cancelled,
    )
    results = {"all classes": result}
    if not result.history:
        return None, results
    done = result.status == "done"
    return ClassFlow(game.generator, channels, len(result.history), done), results
