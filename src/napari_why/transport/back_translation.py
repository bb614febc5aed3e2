"""Learn the damage, then supervise the repair: a network trained on pairs whose target side is real.

Real images of the target class, moved to the source class, are pairs of a made source and a real
target. A network that learns to undo the move sees further than the move does and averages noise
away (back-translation: Sennrich et al. 2016; of images Bulat, Yang & Tzimiropoulos 2018).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self, get_args

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_why.core.devices import choose_device, seeded_torch
from napari_why.core.errors import ModelFileError, ParameterError
from napari_why.core.events import (
    Advanced,
    Cancelled,
    Finished,
    OnEvent,
    Started,
    ignore_event,
    never_cancelled,
)
from napari_why.core.schema import Fields, ListOf, Maybe, Number, Open, Row, Schema, Text, Whole
from napari_why.networks.unet import WIDTHS
from napari_why.networks.unet import UNet as UNet
from napari_why.simulation.planted_rendering import CameraNoise, estimate_noise
from napari_why.transport.coarse_to_fine import (
    CoarseToFineMap,
    check_images,
    fit_coarse_to_fine,
)
from napari_why.transport.maps import ChangeKind, Mass
from napari_why.transport.pixel_maps import smooth

# As the classifiers' batches.
BATCH = 20
# The peak of a one-cycle schedule (Smith & Topin 2018).
LEARNING_RATE = 3e-3


def train_on_pairs(
    images: Tensor,
    changes: Tensor,
    *,
    epochs: int,
    seed: int = 0,
    device: str = "auto",
    on_event: OnEvent = ignore_event,
    cancelled: Cancelled = never_cancelled,
) -> UNet:
    """Train a U-Net to predict the true change of an image by least squares.

    Parameters
    ----------
    images, changes : Tensor, shape (N, C, H, W)
        Standardised images of one class, and their true changes in the same units.
    epochs : int
        Passes over the images, flipped and transposed at random.
    seed : int
        Of weights, order and flips.
    device : str
        See :func:`napari_why.core.devices.choose_device`.
    on_event, cancelled
        See :mod:`napari_why.core.events`. Cancelled, the network is as far as it got.

    Returns
    -------
    UNet
        On the CPU, in evaluation mode.
    """
    place = choose_device(device).name
    order = torch.Generator().manual_seed(seed)
    on_event(Started("training on true pairs", epochs))
    with seeded_torch(seed, place):
        network = UNet(images.shape[1]).to(place)
        batches = -(-len(images) // BATCH)
        descent = _Descent.start(network, epochs * batches)
        done = 0
        while done < epochs and not cancelled():
            for chosen in torch.randperm(len(images), generator=order).tensor_split(batches):
                descent.step(*_turn(images[chosen], changes[chosen], order))
            done += 1
            on_event(Advanced(done))
    on_event(Finished(partial=done < epochs))
    return network.eval().to("cpu")


@dataclass(frozen=True)
class _Descent:
    """Least squares by AdamW with a one-cycle learning rate."""

    network: UNet
    optimiser: torch.optim.Optimizer
    rate: torch.optim.lr_scheduler.LRScheduler
    channels: Sequence[int] | None

    @classmethod
    def start(
        cls,
        network: UNet,
        steps: int,
        weight_decay: float = 0.01,  # AdamW's own
        channels: Sequence[int] | None = None,
    ) -> "_Descent":
        optimiser = torch.optim.AdamW(
            network.parameters(), LEARNING_RATE, weight_decay=weight_decay
        )
        rate = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, LEARNING_RATE, total_steps=max(2, steps)
        )
        return cls(network, optimiser, rate, channels)

    def step(self, x: Tensor, change: Tensor) -> None:
        place = self.network.last.weight.device
        self.optimiser.zero_grad()
        if self.channels is not None:
            x = x.contiguous(memory_format=torch.channels_last)
        found, wanted = self.network(x.to(place)), change.to(place)
        if self.channels is not None:
            found, wanted = found[:, self.channels], wanted[:, self.channels]
        torch.autograd.backward(F.mse_loss(found, wanted))
        self.optimiser.step()
        self.rate.step()


def _turn(x: Tensor, change: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Flip and transpose images and changes of a batch alike."""
    vertical, horizontal, diagonal = (torch.rand(3, generator=generator) < 0.5).tolist()
    axes = [axis for axis, wanted in ((2, vertical), (3, horizontal)) if wanted]
    both = torch.stack([x, change]).flip([axis + 1 for axis in axes])
    if diagonal and both.shape[-1] == both.shape[-2]:
        both = both.transpose(-1, -2)
    return both[0], both[1]


Draw = Callable[[torch.Generator], Tensor]
"""Returns what real target images could be as source images (N, C, H, W); maybe others every time."""


@dataclass(frozen=True)
class RestoringOptions:
    """How long and how a restoring network is trained.

    Parameters
    ----------
    steps : int
        Batches of 20, whatever the number of images.
    networks : int
        Trained alike from different weights; their mean counts.
    weight_decay : float
    renoise : bool
        Give moved images the noise that real ones of that brightness have.
    widths : tuple of int
        Channels of the network's scales, the finest first.
    """

    steps: int = 600  # one to two minutes on one core at 64 px
    networks: int = 1
    weight_decay: float = 0.01
    renoise: bool = True
    widths: tuple[int, ...] = WIDTHS


# Of the images: enough to see when training makes worse what it has not seen.
HELD_OUT = 0.15
# Fewer cannot spare one.
FEWEST_TO_HOLD_OUT = 8
# Steps between looks at what is held out, so that looking costs little beside them.
LOOK_EVERY = 50
# Pixels: the brightness that the noise belongs to is that of the image, not that of its noise.
BRIGHTNESS = 1.0
# A hundred small images are a few MB.
AT_A_TIME = 100

# A network undoes no other network, whose way back it might be itself; of draws, which are never chosen,
# there is no one way back.
UNDONE = tuple(
    kind for kind in get_args(ChangeKind) if kind not in {"back_translated", "responding_cells"}
)

PLAIN: Schema = Fields(
    {
        "channels": Whole(1),
        "locked": ListOf(Whole(), unique=True),
        "widths": ListOf(Whole(1)),
        "networks": Whole(1, 100),  # more than anybody trains
        "held_out": Maybe(Row((Number(0), Number(0)))),
        "correction": Maybe(Open()),
    },
    # earlier versions did not note it
    {"undoes": Maybe(Row((Text(UNDONE), Text(get_args(Mass)))))},
)


@dataclass(frozen=True)
class RestoringNetwork:
    """What an image of one class would be as one of another, by networks that undo a move.

    Parameters
    ----------
    channels : int
        Of the images.
    locked : tuple of int
        Channels that stay, bit for bit.
    networks : sequence of UNet
        Their mean counts.
    held_out : (float, float) or None
        Mean squared change of pairs that were held out, and what the networks leave of it; None
        where there were too few images.
    correction : CoarseToFineMap, optional
        Applied to what the networks make: least squares makes images too smooth.
    undoes : (str, str) or None
        Kind and mass of the change from target to source that it learnt to undo; None where that was
        a change of a part of the cells, drawn anew every time, and of earlier versions.
    """

    kind: ClassVar[str] = "back_translated"

    channels: int
    locked: tuple[int, ...]
    networks: Sequence[UNet]
    held_out: tuple[float, float] | None = None
    correction: CoarseToFineMap | None = None
    undoes: tuple[ChangeKind, Mass] | None = None

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Move standardised images (N, C, H, W) of the source class; sides of 8 pixels or more."""
        check_images(images, self.channels)
        x = images.float().cpu()
        changes = [
            torch.stack([network(batch) for network in self.networks]).mean(0)
            for batch in torch.split(x, AT_A_TIME)
        ]
        moved = _add_to_free(x, torch.cat(changes), self.locked)
        moved = moved if self.correction is None else self.correction(moved)
        result = images.clone()
        free = _free(self.channels, self.locked)
        result[:, free] = moved[:, free].to(images)
        return result

    def versions(self, images: Tensor, moved_back: Iterable[Tensor]) -> Iterator[Tensor]:
        """Yield what the images might be as well, had the way back been another version of itself.

        A right result leads, by the way back, to the images that it was made of. Where it leads elsewhere, by
        what is left (one step of Newton's method, with the network for the inverse), the images are moved before
        they go through the network again. So versions differ by how versions of the way back do, and by
        what the network does not undo.

        Parameters
        ----------
        images : Tensor, shape (N, C, H, W)
            Standardised, of the source class.
        moved_back : iterable of Tensor, shape (N, C, H, W)
            What it makes of them, moved back by versions of the change that it undoes.

        Yields
        ------
        Tensor, shape (N, C, H, W)
            One for each of ``moved_back``; locked channels as in ``images``, bit for bit.
        """
        free = _free(self.channels, self.locked)
        for moved in moved_back:
            start = images.clone()
            start[:, free] += images[:, free] - moved[:, free].to(images)
            yield self(start)

    def corrected(
        self,
        sources: Tensor,
        real: Tensor,
        seed: int = 0,
        shares: tuple[tuple[float, ...], ...] = (),
    ) -> "RestoringNetwork":
        """Return this with a closed-form map after it, from what it makes of sources to real targets.

        Parameters
        ----------
        sources, real : Tensor, shape (N, C, H, W), (M, C, H, W)
            Standardised training images of the source and of the target class.
        seed : int
        shares : tuple of tuple of float
            How much of it is made, by scale and free channel: of a map from the sources to the targets
            themselves, where that is known. What these share by chance the correction would repeat.

        Returns
        -------
        RestoringNetwork
            Sharing the networks of this one.
        """
        plain = replace(self, correction=None)
        made = fit_coarse_to_fine(plain(sources), real, self.locked, seed=seed)
        made = replace(made, shares=shares)
        return replace(self, correction=made)

    def tensors(self) -> dict[str, Tensor]:
        """Return everything numeric by name, ready for safetensors."""
        named = {
            f"{index}.{name}": value
            for index, network in enumerate(self.networks)
            for name, value in network.state_dict().items()
            if not name.endswith(COUNTER)
        }
        if self.correction is not None:
            named |= {f"correction.{n}": value for n, value in self.correction.tensors().items()}
        return {name: value.detach().cpu().float().contiguous() for name, value in named.items()}

    def to_dict(self) -> dict[str, Any]:
        """Return the part that is not tensors, as JSON types."""
        return {
            "channels": self.channels,
            "locked": list(self.locked),
            "widths": list(self.networks[0].widths),
            "networks": len(self.networks),
            "held_out": None if self.held_out is None else list(self.held_out),
            "correction": None if self.correction is None else self.correction.to_dict(),
            # left out where it is not known: what was saved before keeps its fingerprint
            **({} if self.undoes is None else {"undoes": list(self.undoes)}),
        }

    @classmethod
    def from_parts(cls, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> Self:
        """Put together what :meth:`tensors` and :meth:`to_dict` took apart.

        Parameters
        ----------
        tensors : mapping of str to Tensor
        plain : mapping
            As read from JSON, or as :meth:`to_dict` made it.

        Returns
        -------
        RestoringNetwork

        Raises
        ------
        ModelFileError
            A part is missing or does not fit the others.
        """
        PLAIN.check(plain, "restoring network:")
        channels, locked = plain["channels"], tuple(plain["locked"])
        if any(channel >= channels for channel in locked) or len(locked) == channels:
            raise _misfit(f"locked channels {locked} of {channels}")
        if len(plain["widths"]) < 2 or max(plain["widths"]) > WIDEST or channels > WIDEST:
            raise _misfit(f"widths {plain['widths']} of {channels} channels")
        left = dict(tensors)
        # its own random numbers: whoever loads a classifier finds torch's generator as it was
        with torch.random.fork_rng(devices=[]):
            built = [UNet(channels, plain["widths"]) for _ in range(plain["networks"])]
        networks = [
            _read_network(network, f"{index}.", left) for index, network in enumerate(built)
        ]
        correction = None
        if plain["correction"] is not None:
            parts = {n: left.pop(n) for n in list(left) if n.startswith("correction.")}
            parts = {name.removeprefix("correction."): value for name, value in parts.items()}
            correction = CoarseToFineMap.from_parts(parts, plain["correction"])
            if (correction.channels, correction.locked) != (channels, locked):
                raise _misfit(f"a correction of {correction.channels} channels")
        if left:
            raise _misfit(f"the tensors {', '.join(sorted(left)[:3])}, which belong to nothing")
        held_out, undoes = plain["held_out"], plain.get("undoes")
        return cls(
            channels,
            locked,
            networks,
            held_out and tuple(held_out),
            correction,
            undoes and tuple(undoes),
        )


# What batch normalisation counts batches in: a whole number that prediction does not need.
COUNTER = "num_batches_tracked"
# Channels of a layer: more than anybody trains, and layers so wide still fit into memory.
WIDEST = 512


def _read_network(network: UNet, prefix: str, tensors: dict[str, Tensor]) -> UNet:
    wanted = network.state_dict()
    found = {name: value for name, value in wanted.items() if name.endswith(COUNTER)}
    for name, value in wanted.items():
        if name in found:
            continue
        given = tensors.pop(prefix + name, None)
        if given is None or given.shape != value.shape or given.dtype != torch.float32:
            raise _misfit(f"no {prefix}{name} of shape {tuple(value.shape)}")
        found[name] = given
    network.load_state_dict(found)
    return network.requires_grad_(False).eval()


def _misfit(found: str) -> ModelFileError:
    return ModelFileError(f"restoring network: found {found}; train anew")


def _free(channels: int, locked: Sequence[int]) -> list[int]:
    return [index for index in range(channels) if index not in locked]


def _add_to_free(images: Tensor, changes: Tensor, locked: Sequence[int]) -> Tensor:
    moved = images.clone()
    free = _free(images.shape[1], locked)
    moved[:, free] += changes[:, free]
    return moved


def fit_restoring_network(
    real: Tensor,
    draw: Draw,
    locked: Sequence[int],
    sources: Tensor,
    options: RestoringOptions | None = None,
    *,
    seed: int = 0,
    device: str = "auto",
    on_event: OnEvent = ignore_event,
    cancelled: Cancelled = never_cancelled,
) -> RestoringNetwork | None:
    """Train networks to undo a move of real target images to the source class.

    Parameters
    ----------
    real : Tensor, shape (N, C, H, W)
        Standardised training images of the target class.
    draw : callable
        Takes a generator and returns the same images, in the same order, as source images. A map
        that leaves nothing to chance is ``lambda generator: fakes``; of
        :class:`~napari_why.transport.responding_cells.RespondingCells` it is ``prepare(real)``.
    locked : sequence of int
        Channels that stay.
    sources : Tensor, shape (M, C, H, W)
        Real training images of the source class: the noise of these is what moved images get.
    options : RestoringOptions, optional
    seed : int
        Of weights, order, flips, noise and draws.
    device : str
        See :func:`napari_why.core.devices.choose_device`.
    on_event, cancelled
        See :mod:`napari_why.core.events`.

    Returns
    -------
    RestoringNetwork or None
        None when cancelled.

    Raises
    ------
    ParameterError
        Images that do not fit each other, or no free channel.
    """
    options = options or RestoringOptions()
    channels = real.shape[1] if real.ndim == 4 else 0
    for images in (real, sources):
        check_images(images, channels)
    locked = tuple(sorted(locked))
    free = _free(channels, locked)
    if not free or set(locked) - set(range(channels)):
        raise ParameterError(
            f"locked: found {locked} of {channels} channels; expected such that one stays free"
        )
    generator = torch.Generator().manual_seed(seed)
    pairs = _Pairs.prepare(real.float(), draw, free, sources.float(), options.renoise, generator)
    place, done = choose_device(device).name, 0
    networks = []
    on_event(Started("training on moved images", options.steps * options.networks))
    for index in range(options.networks):
        training = _Training(pairs, options, generator)
        with seeded_torch(seed + index, place):
            for _ in training.run(place):
                if cancelled():
                    on_event(Finished(partial=True))
                    return None
                done += 1
                on_event(Advanced(done))
        networks.append(training.best())
    on_event(Finished())
    return RestoringNetwork(channels, locked, networks, pairs.judge(networks))


@dataclass(frozen=True)
class MissingNoise:
    """The noise that real images have and moved ones of the same brightness lack; never negative.

    Every map scales the noise together with the image. It is added to what a network sees and not to
    what it has to predict: so it learns to see through it, and not to undo it.

    Parameters
    ----------
    channel : int
    wanted, there : CameraNoise
        Of real images and of moved ones.
    """

    channel: int
    wanted: CameraNoise
    there: CameraNoise

    @classmethod
    def estimate(cls, sources: Tensor, fakes: Tensor, channel: int) -> "MissingNoise":
        """Estimate what moved images (N, C, H, W) lack against real ones (M, C, H, W).

        Parameters
        ----------
        sources : Tensor, shape (M, C, H, W)
            Real images, standardised.
        fakes : Tensor, shape (N, C, H, W)
            Moved ones, in the same units.
        channel : int
            The one whose noise is compared.

        Returns
        -------
        MissingNoise
        """
        found = (estimate_noise(list(images[:, channel].numpy())) for images in (sources, fakes))
        return cls(channel, *found)

    def draw(self, plane: Tensor, generator: torch.Generator) -> Tensor:
        """Draw it for planes (N, H, W).

        Parameters
        ----------
        plane : Tensor, shape (N, H, W)
            Moved images of the channel, whose local brightness says how much is missing.
        generator : torch.Generator
            On the CPU, like ``plane``.

        Returns
        -------
        Tensor, shape (N, H, W)
            The noise alone; 0 where none is missing.
        """
        level = smooth(plane[:, None], BRIGHTNESS)[:, 0].numpy()
        missing = np.maximum(self.wanted.variance(level) - self.there.variance(level), 0)
        deviation = torch.from_numpy(np.sqrt(missing)).to(plane)
        return deviation * torch.randn(plane.shape, generator=generator)


@dataclass(frozen=True)
class _Pairs:
    """Real target images and what they could be as source images, some of them held out."""

    real: Tensor
    draw: Draw
    free: Sequence[int]
    missing: Sequence[MissingNoise]
    training: Tensor
    held_fakes: Tensor
    held_changes: Tensor

    @classmethod
    def prepare(
        cls,
        real: Tensor,
        draw: Draw,
        free: Sequence[int],
        sources: Tensor,
        renoise: bool,
        generator: torch.Generator,
    ) -> "_Pairs":
        fakes = draw(generator)
        if fakes.shape != real.shape:
            raise ParameterError(
                f"moved images: found shape {tuple(fakes.shape)}; expected {tuple(real.shape)}"
            )
        missing = [
            MissingNoise.estimate(sources, fakes, channel) for channel in (free if renoise else ())
        ]
        order = torch.randperm(len(real), generator=generator)
        count = round(HELD_OUT * len(real)) if len(real) >= FEWEST_TO_HOLD_OUT else 0
        held, training = order[:count], order[count:]
        kept = fakes[held]
        pairs = cls(real, draw, free, missing, training, kept, real[held] - kept)
        return replace(pairs, held_fakes=pairs.add_noise(kept, generator))

    def add_noise(self, fakes: Tensor, generator: torch.Generator) -> Tensor:
        """Return moved images with the noise that they lack."""
        noisy = fakes.clone()
        for part in self.missing:
            noisy[:, part.channel] += part.draw(fakes[:, part.channel], generator)
        return noisy

    @torch.no_grad()
    def judge(self, networks: Sequence[UNet]) -> tuple[float, float] | None:
        """Return the mean squared change of held-out pairs, and what networks leave of it."""
        if not len(self.held_fakes):
            return None
        wanted = self.held_changes[:, self.free]
        place = networks[0].last.weight.device
        found = torch.stack(
            [network(self.held_fakes.to(place))[:, self.free].cpu() for network in networks]
        ).mean(0)
        return float(wanted.square().mean()), float((wanted - found).square().mean())


class _Training:
    """One network's training, step by step, and its best state by what is held out."""

    def __init__(
        self, pairs: _Pairs, options: RestoringOptions, generator: torch.Generator
    ) -> None:
        self.pairs, self.options = pairs, options
        self._generator = generator
        self._error = float("inf")
        self._state: dict[str, Tensor] = {}

    def run(self, place: str) -> Iterator[None]:
        """Train, yielding after every step."""
        network = UNet(self.pairs.real.shape[1], self.options.widths)
        # to change nothing is where it starts from: pairs without a difference keep it there
        for parameter in network.last.parameters():
            nn.init.zeros_(parameter)
        # channels last is a quarter to a third faster on a processor
        self._network = network.to(place)
        self._network.to(memory_format=torch.channels_last)
        descent = _Descent.start(
            network, self.options.steps, self.options.weight_decay, self.pairs.free
        )
        self._look()
        for done, (fakes, changes) in enumerate(self._batches(), start=1):
            descent.step(*_turn(fakes, changes, self._generator))
            if done % LOOK_EVERY == 0 or done == self.options.steps:
                self._look()
            yield

    def best(self) -> UNet:
        """Return the network as it was at its best, on the CPU."""
        self._network.load_state_dict(self._state)
        self._network.to("cpu").to(memory_format=torch.contiguous_format)
        return self._network.requires_grad_(False).eval()

    def _batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield moved images and the change back, with new draws in every epoch."""
        pairs, generator = self.pairs, self._generator
        batches = -(-len(pairs.training) // BATCH)
        for done in range(self.options.steps):
            if done % batches == 0:
                drawn = pairs.draw(generator)
                shuffled = torch.randperm(len(pairs.training), generator=generator)
                split = pairs.training[shuffled].tensor_split(batches)
            chosen = split[done % batches]
            fakes = drawn[chosen]
            yield pairs.add_noise(fakes, generator), pairs.real[chosen] - fakes

    def _look(self) -> None:
        """Keep the network's state where it is better than before at what is held out."""
        self._network.eval()
        judged = self.pairs.judge([self._network])
        self._network.train()
        # with nothing held out the last state counts
        if judged is None or judged[1] < self._error:
            self._error = float("inf") if judged is None else judged[1]
            state = self._network.state_dict()
            self._state = {name: value.clone() for name, value in state.items()}
