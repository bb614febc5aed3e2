"""How the images of a transport are judged, and which of two is better."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import permutations
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_why.core.errors import CancellationError
from napari_why.core.events import (
    Advanced,
    Cancelled,
    Finished,
    OnEvent,
    Started,
    ignore_event,
    never_cancelled,
)
from napari_why.datasets.features import feature_distance, image_features
from napari_why.datasets.preprocessing import Preprocessing
from napari_why.images import make_image
from napari_why.images.image import export_dtype, export_pixels
from napari_why.networks.network import InvertibleNetwork, Network
from napari_why.transport import Choice, ClassTransport, Mass

CLEARLY = 0.05
CLEARLY_NEARER = 0.1
AGREED = 0.9


@dataclass(frozen=True)
class Scores:
    """How the exported images of one kind of change were judged.

    Parameters
    ----------
    validity : float
        Share that the network calls the target.
    agreement : float or None
        Share that the second network calls the target; None without one.
    distance : float
        Of texture features to real images of the target; NaN where there is none.
    """

    validity: float
    agreement: float | None
    distance: float

    def beats(self, other: "Scores") -> bool:
        """Whether these are better by the stated rule; not on ties."""
        if abs(self.validity - other.validity) > CLEARLY:
            return self.validity > other.validity
        own, others = self.agreement or 0.0, other.agreement or 0.0
        if abs(own - others) > CLEARLY:
            return own > others
        return self.distance < other.distance - CLEARLY_NEARER

    @property
    def convincing(self) -> bool:
        """Whether the second network agrees often enough, or there is none to ask."""
        return self.agreement is None or self.agreement >= AGREED

    def to_dict(self) -> dict[str, float | None]:
        """Return JSON types by the names that are shown."""
        return {
            "validity": self.validity,
            "second network agrees": self.agreement,
            # NaN, where the classes' features do not differ, has no place in JSON
            "feature distance": None if math.isnan(self.distance) else self.distance,
        }


IMAGES_PER_CLASS = 32
FEWEST = 4
OVERSHOOTS = (1.0, 1.15, 1.3, 1.5)
CONVINCED, CONVINCED_SHARE = 0.9, 0.9
STEPS = 5
"""Of a direction: making the changes, judging both, enlarging, putting channels back."""


@dataclass
class TransportChooser:
    """Judge the transports of a classifier in the making.

    Parameters
    ----------
    network : InvertibleNetwork
        Frozen.
    second_network : Network or None
        Frozen; its agreement is left out where there is none.
    preprocessing : Preprocessing
    transport : ClassTransport
    dtype : str
        Of the training images.
    on_event, cancelled
        See :mod:`napari_why.core.events`. Cancel acts between the steps of a direction.
    """

    network: InvertibleNetwork
    second_network: Network | None
    preprocessing: Preprocessing
    transport: ClassTransport
    dtype: str
    on_event: OnEvent = ignore_event
    cancelled: Cancelled = never_cancelled
    held_out: dict[int, Tensor] = field(default_factory=dict)
    complete: bool = field(default=True, init=False)
    asked: int = field(default=0, init=False)

    def chosen(self, batches: Iterable[tuple[Tensor, Tensor]]) -> ClassTransport:
        """Return the transport with a choice for every direction that has held-out images.

        When cancelled, ``complete`` turns False, and only the directions that were ``asked`` by
        then can have one.

        Parameters
        ----------
        batches : iterable of (Tensor (N, C, H, W), Tensor (N,))
            Preprocessed held-out images and class indices; 32 of each class are used.
        """
        choices = {}
        self.complete = False
        with suppress(CancellationError):
            self.held_out = self._collected(batches)
            pairs = permutations(self.held_out, 2)
            directions = [pair for pair in pairs if (*pair, "full") in self.transport.maps]
            steps = _Steps(len(directions), self.on_event, self.cancelled)
            for done, (source, target) in enumerate(directions, start=1):
                choice = self._direction(source, target, steps)
                if choice is not None:
                    choices[(source, target)] = choice
                steps.advance_to(done * STEPS)
                self.asked = done
            self.complete = True
        self.on_event(Finished(partial=not self.complete))
        return self.transport.chosen(choices)

    def _collected(self, batches: Iterable[tuple[Tensor, Tensor]]) -> dict[int, Tensor]:
        total = len(batches) if isinstance(batches, Sized) else None
        self.on_event(Started("reading validation images", total))
        _stop_if(self.cancelled)
        kept: dict[int, list[Tensor]] = {}
        for done, (images, labels) in enumerate(batches, start=1):
            _stop_if(self.cancelled)
            self.on_event(Advanced(done))
            for image, label in zip(images, labels.tolist(), strict=True):
                if len(kept.setdefault(label, [])) < IMAGES_PER_CLASS:
                    kept[label].append(image)
        return {label: torch.stack(images) for label, images in sorted(kept.items())}

    @torch.no_grad()
    def _direction(self, source: int, target: int, steps: "_Steps") -> Choice | None:
        images = self.held_out[source]
        images = images[self._probabilities(self.network, images).argmax(1) == source]
        if len(images) < FEWEST:
            return None
        with steps.step():
            judge = _Judge(self, images, source, target)
        with steps.step():
            full = judge.scores("full", OVERSHOOTS[0])
        with steps.step():
            excess = judge.scores("excess", OVERSHOOTS[0])
        mass: Mass = "excess" if excess.beats(full) else "full"
        with steps.step():
            plain = excess if mass == "excess" else full
            overshoot, scores = judge.overshoot(mass, plain, steps.stop_if_cancelled)
        with steps.step():
            reset = judge.reset_channels(mass, overshoot)
        described = {
            "images": len(images),
            "all places": full.to_dict(),
            "excess mass": excess.to_dict(),
            "chosen": scores.to_dict(),
        }
        return Choice(mass, overshoot, reset, described)

    def _probabilities(self, network: Network, images: Tensor) -> NDArray[np.float64]:
        device = next(network.parameters()).device
        parts = [
            network(images[start : start + IMAGES_PER_CLASS].to(device)).double().softmax(1).cpu()
            for start in range(0, len(images), IMAGES_PER_CLASS)
        ]
        return np.asarray(torch.cat(parts).numpy())

    def prepared(self, raw: NDArray[Any]) -> Tensor:
        """Return exported images (N, C, H, W) as the networks see them."""
        names = self.preprocessing.channels
        return torch.stack([self.preprocessing(make_image(image, "cyx", names)) for image in raw])

    def exported(self, images: Tensor) -> NDArray[Any]:
        """Return images (N, C, H, W) in raw units as they would be saved."""
        return export_pixels(self.preprocessing.inverse(images), export_dtype(self.dtype))


class _Steps:
    """Tells how far the choice is, and stops it between two steps."""

    def __init__(self, directions: int, on_event: OnEvent, cancelled: Cancelled) -> None:
        self._on_event, self._cancelled, self._done = on_event, cancelled, 0
        on_event(Started("choosing the transport", STEPS * directions))

    def stop_if_cancelled(self) -> None:
        _stop_if(self._cancelled)

    @contextmanager
    def step(self) -> Iterator[None]:
        self.stop_if_cancelled()
        yield
        self.advance_to(self._done + 1)

    def advance_to(self, done: int) -> None:
        if done > self._done:
            self._done = done
            self._on_event(Advanced(done))


def _stop_if(cancelled: Cancelled) -> None:
    if cancelled():
        raise CancellationError("choice of the transport: found that it was cancelled")


class _Judge:
    """Makes and judges the images of one direction."""

    def __init__(self, chooser: TransportChooser, images: Tensor, source: int, target: int) -> None:
        self._chooser, self._source, self._target = chooser, source, target
        network, transport = chooser.network, chooser.transport
        self._images = images
        device = next(network.parameters()).device
        self._start = network.encode_to(images.to(device), transport.stage)
        self._displacements = {
            mass: transport.displacement(self._start, source, target, mass)
            for mass in ("full", "excess")
        }
        free = [index for index in range(images.shape[1]) if index not in network.locked]
        self._free = free
        self._real = self._features(chooser.exported(chooser.held_out[target]))
        self._from = self._features(chooser.exported(images))

    def scores(self, mass: Mass, alpha: float) -> Scores:
        """Judge the images at an alpha."""
        raw = self._made(mass, alpha)
        seen = self._chooser.prepared(raw)
        second = self._chooser.second_network
        return Scores(
            self._share_called(self._chooser.network, seen),
            None if second is None else self._share_called(second, seen),
            feature_distance(self._features(raw), self._real, self._from),
        )

    def overshoot(
        self, mass: Mass, plain: Scores, before_each: Callable[[], None]
    ) -> tuple[float, Scores]:
        """Return the smallest alpha that convinces, else the smallest that is nearly best."""
        tried = [(OVERSHOOTS[0], plain)]
        for alpha in OVERSHOOTS[1:]:
            if tried[-1][1].convincing:
                return tried[-1]
            before_each()
            tried.append((alpha, self.scores(mass, alpha)))
        if tried[-1][1].convincing:
            return tried[-1]
        best = max(scores.agreement or 0.0 for _, scores in tried)
        return next(item for item in tried if (item[1].agreement or 0.0) >= best - CLEARLY)

    def reset_channels(self, mass: Mass, alpha: float) -> tuple[int, ...]:
        """Return the channels whose change can be taken back; never all of them."""
        raw = self._made(mass, alpha)
        before = self._p_target(raw)
        reset: list[int] = []
        while len(reset) < len(self._free) - 1:
            shares = {
                channel: self._share_convinced(raw, before, [*reset, channel])
                for channel in self._free
                if channel not in reset
            }
            best = max(shares, key=lambda channel: shares[channel])
            if shares[best] < CONVINCED_SHARE:
                break
            reset.append(best)
        return tuple(sorted(reset))

    def _share_convinced(
        self, raw: NDArray[Any], before: NDArray[np.float64], channels: Sequence[int]
    ) -> float:
        convinced = before >= CONVINCED
        if convinced.sum() < FEWEST:
            return 0.0
        mixed = raw[convinced].copy()
        source = self._chooser.exported(self._images)[convinced]
        mixed[:, list(channels)] = source[:, list(channels)]
        return float((self._p_target(mixed) >= CONVINCED).mean())

    def _p_target(self, raw: NDArray[Any]) -> NDArray[np.float64]:
        seen = self._chooser.prepared(raw)
        return self._chooser._probabilities(self._chooser.network, seen)[:, self._target]

    def _made(self, mass: Mass, alpha: float) -> NDArray[Any]:
        network, stage = self._chooser.network, self._chooser.transport.stage
        moved = self._start + alpha * self._displacements[mass]
        return self._chooser.exported(network.decode(moved, stage))

    def _share_called(self, network: Network, seen: Tensor) -> float:
        called = self._chooser._probabilities(network, seen).argmax(1) == self._target
        return float(called.mean())

    def _features(self, raw: NDArray[Any]) -> NDArray[np.float64]:
        return image_features(raw, self._free)
